//! stub
mod stories;
pub use stories::Stories;
