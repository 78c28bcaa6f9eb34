//! Expands kernel text: imports, constants, loops. (WGSL has no generics, so tiles are text.)
