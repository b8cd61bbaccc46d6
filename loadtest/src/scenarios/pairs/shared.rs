//! What the coordinator of a chat run and its threads tell each other: what is on the board of every
//! run, and beside it what a storm needs.

use std::ops::Deref;

use crate::chat::storm;
use crate::net::Clock;
use crate::phases::Board;

#[derive(Debug)]
pub(crate) struct Shared {
    board: Board,
    pub(crate) storm: storm::Board,
}

impl Shared {
    pub(crate) fn new(clock: Clock) -> Shared {
        Shared { board: Board::new(clock), storm: storm::Board::default() }
    }
}

impl Deref for Shared {
    type Target = Board;

    fn deref(&self) -> &Board {
        &self.board
    }
}
