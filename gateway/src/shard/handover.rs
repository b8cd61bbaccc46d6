//! Commands on their way to the workers: in one piece per worker and tick, or sooner if there are
//! many.

use dunlin_core::engine::submitter::Submitter;
use dunlin_core::request::Command;
use dunlin_core::transport::{ConnId, Session};

use crate::limits::{COMMAND_BYTES_PER_FLUSH, COMMANDS_PER_FLUSH};

/// See the module.
pub(super) struct Handover {
    submitter: Submitter,
    /// Commands since the last flush.
    unflushed: usize,
    blocked: bool,
}

impl Handover {
    pub(super) fn new(submitter: Submitter) -> Handover {
        Handover { submitter, unflushed: 0, blocked: false }
    }

    pub(super) fn command(&mut self, command: Command) {
        self.submitter.command(command);
        self.unflushed += 1;
        if self.unflushed >= COMMANDS_PER_FLUSH
            || self.submitter.waiting_bytes() >= COMMAND_BYTES_PER_FLUSH
        {
            self.flush();
        }
    }

    /// Tells the engine that nobody is there any more.
    pub(super) fn disconnected(&mut self, conn: ConnId, session: Option<Session>) {
        self.submitter.disconnected(conn, session);
    }

    /// Hands over what there is.
    pub(super) fn flush(&mut self) {
        self.blocked = !self.submitter.flush();
        self.unflushed = 0;
    }

    /// A worker's queue was full at the last flush: read nothing.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// How much was not handed over yet.
    pub(super) fn waiting(&self) -> usize {
        self.submitter.waiting()
    }
}
