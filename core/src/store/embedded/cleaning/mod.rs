//! Cleaning: what is dead leaves the disk, by copying what is alive.
//!
//! A cleaned file takes the place of one segment or of a row of neighbours. It holds what is alive of
//! them in *chunks*: records that lay side by side, byte for byte as they were, so that damage is never
//! given a good checksum. A *guide* at its end says where each chunk came from: the address of a record
//! is the same for ever, and index files stay good.

mod ages;
mod choice;
pub(super) mod chunk;
pub(super) mod cleaner;
mod copy;
pub(super) mod deaths;
pub(super) mod file;
pub(super) mod guide;
pub(super) mod life;
mod marks;
mod oldest;
mod pace;
pub(super) mod pieces;
mod read_ahead;
pub(super) mod scan;
mod survey;
pub(super) mod writer;

#[cfg(test)]
mod tests;
