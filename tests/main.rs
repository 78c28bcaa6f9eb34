//! All tests of the workspace that are no models of interleavings: one binary of modules.

mod supervise;
mod supervise_policy;
