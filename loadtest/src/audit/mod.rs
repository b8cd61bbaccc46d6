//! The auditor: fails a run on any lost, duplicated, reordered, phantom or altered message.
//!
//! Every message carries who sent it, which one it is and a checksum ([`content`]). A [`Ledger`]
//! per conversation keeps the books of all who write and read in it; a [`SignalBook`] those of signals,
//! which may be dropped. What they find goes to a [`FaultLog`]. No book keeps messages, so an audit of any length fits in memory: what is
//! left of an entry is its part in a running hash.

pub mod content;
mod fault;
mod ledger;
mod order;
mod page;
mod read_mark;
mod signals;
mod view;
mod window;

pub use fault::{Fault, FaultLog};
pub use ledger::{Ledger, Told, Way};
pub use page::NewestPage;
pub use read_mark::ReadMark;
pub use signals::SignalBook;
pub use view::Item;
