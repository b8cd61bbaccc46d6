//! Commands on their way to the workers: in one piece per worker and tick, or sooner if there are
//! many.

use dunlin_core::engine::submitter::{MessageRoom, Submitter};
use dunlin_core::request::Command;
use dunlin_core::transport::{ConnId, Session};

use crate::limits::{COMMAND_BYTES_PER_FLUSH, COMMANDS_PER_FLUSH, CROWDED_BYTES_PER_FLUSH};

/// See the module.
pub(super) struct Handover {
    submitter: Submitter,
    /// Commands since the last flush.
    unflushed: usize,
    blocked: bool,
    message_room: MessageRoom,
}

impl Handover {
    pub(super) fn new(submitter: Submitter) -> Handover {
        Handover { submitter, unflushed: 0, blocked: false, message_room: MessageRoom::Free }
    }

    pub(super) fn command(&mut self, command: Command) {
        self.submitter.command(command);
        self.unflushed += 1;
        let bytes_enough = match self.message_room {
            MessageRoom::Free => COMMAND_BYTES_PER_FLUSH,
            MessageRoom::Crowded | MessageRoom::Full => CROWDED_BYTES_PER_FLUSH,
        };
        if self.unflushed >= COMMANDS_PER_FLUSH || self.submitter.waiting_bytes() >= bytes_enough {
            self.flush();
            self.look();
        }
    }

    /// Looks how much room the workers have for messages.
    pub(super) fn look(&mut self) {
        self.message_room = self.submitter.message_room();
    }

    /// How much room they had when it was looked at last.
    pub(super) fn message_room(&self) -> MessageRoom {
        self.message_room
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
