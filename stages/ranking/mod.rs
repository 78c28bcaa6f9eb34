//! Rankings of completions by people: the store, the page, the figures, and the files in and out.
//!
//! An [`Item`] is a prompt with 2 to 9 completions. A rater gets items one at a time ([`Store::next`]), in an order of
//! completions of their own and without a word about who wrote them; every change of a [`Draft`] is on the disk before
//! it is answered, and so is every submitted [`Answer`]. [`freeze`] writes all of them to a file that is named by its
//! hash, [`agreement`] says how far raters agree, [`blind`] compares two checkpoints, [`exchange`] speaks the formats
//! of other programs, [`page`] serves it all to a browser on this machine, and [`simulate`] ranks as the little world.

pub mod agreement;
pub mod blind;
mod draw;
pub mod exchange;
pub mod flags;
mod freeze;
mod interval;
mod item;
pub mod page;
mod simulated;
mod store;

pub use flags::Flags;
pub use freeze::{Frozen, freeze};
pub use interval::{Rate, rate, wilson};
pub use item::{Answer, COMPLETIONS, Completion, Draft, Item, TEXT};
pub use simulated::{Simulated, simulate};
pub use store::{Added, Counts, Judged, Mode, Options, Progress, Store, Task};
