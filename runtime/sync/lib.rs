//! The only atomics and locks of Pleach: prefetch ring, vault slots, gate, heartbeat, and a plain lock.
//!
//! All of it is safe code over [`facade`], which is the standard library, or loom's model of it under `--cfg loom`:
//! `RUSTFLAGS="--cfg loom" cargo test -p pleach-sync --test models --target-dir target/loom`
//! walks the interleavings of each piece, and shows that each of its mutants is caught.

mod facade;
pub mod gate;
pub mod heartbeat;
pub mod ring;
pub mod vault;

pub use facade::Lock;
pub use gate::Gate;
pub use heartbeat::{Busy, Heartbeat};
pub use ring::{Popped, Pushed, Ring};
pub use vault::{Reader, Vault};
