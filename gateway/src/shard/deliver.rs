//! What the engine has for connections, into their outboxes.

use dunlin_core::transport::{ConnId, Delivery, Outbound, Session};
use dunlin_protocol::EncodedFrame;

use super::Shard;
use super::connection::Stage;
use crate::stream::outbox::{Outbox, SlowConsumer};

impl Shard {
    pub(super) fn deliver(&mut self, outbound: Outbound) {
        let Outbound { conn, arrived, delivery } = outbound;
        let Some(key) = self.open_slot(conn) else {
            if let Delivery::LoggedIn { session, .. } = delivery {
                // The connection went while its login was under way: the engine has a session
                // for it that nobody will use.
                self.handover.disconnected(conn, Some(session));
            }
            return;
        };
        match delivery {
            Delivery::Response(frame) => {
                self.tally.acknowledging(arrived);
                self.respond(key, frame);
            }
            Delivery::LoggedIn { session, response } => self.logged_in(key, session, response),
            Delivery::LoginRefused(frame) => self.login_refused(key, frame),
            Delivery::LoginPostponed(frame) => self.login_postponed(key, frame),
            Delivery::Registered(frame) => self.registered(key, frame),
            Delivery::Notice(frame) => self.keep(key, frame),
            Delivery::Push { log, head, frame } => {
                self.tally.pushing(arrived);
                let limits = self.outbox_limits;
                self.with_outbox(key, |outbox| outbox.push(log, head, frame, limits));
            }
            Delivery::Signal(frame) => {
                let limits = self.outbox_limits;
                self.with_outbox(key, |outbox| outbox.signal(frame, limits));
            }
            Delivery::Close { reason, reconnect_delay_ms } => {
                self.close(key, reason, reconnect_delay_ms);
            }
            _newer => tracing::error!(%conn, "a delivery is of an unknown kind"),
        }
    }

    pub(super) fn respond(&mut self, key: usize, frame: EncodedFrame) {
        debug_assert!(self.slots[key].outstanding > 0, "a response without a request");
        self.request_ended(key, &frame);
        let flags = &self.slots[key].flags;
        let (hung_up, said_all) = (flags.hung_up(), flags.said_all());
        self.keep(key, frame);
        // Perhaps it was all that the peer waits for.
        if said_all && self.slots.get(key).is_some_and(|slot| slot.stage == Stage::Open) {
            self.peer_said_all(key);
        } else if hung_up {
            self.queue_read(key);
        }
    }

    /// Queues a frame that must arrive, or closes the connection.
    pub(super) fn keep(&mut self, key: usize, frame: EncodedFrame) {
        let limits = self.outbox_limits;
        if self.with_outbox(key, |outbox| outbox.keep(frame, limits)) == Err(SlowConsumer) {
            self.close_slow_consumer(key);
        }
    }

    /// Changes an outbox, keeps count of the bytes, and has it written at the end of the tick.
    pub(super) fn with_outbox<T>(
        &mut self,
        key: usize,
        change: impl FnOnce(&mut Outbox) -> T,
    ) -> T {
        let outbox = self.slots[key].outbox.get_or_insert_default();
        let (frames, before) = (outbox.frames(), outbox.bytes());
        let result = change(outbox);
        self.tally.queued(outbox.frames().saturating_sub(frames));
        self.tally.outbox_changed(before, outbox.bytes());
        self.mark_dirty(key);
        result
    }

    /// Tells the engine that nobody is there any more.
    pub(super) fn disconnected(&mut self, conn: ConnId, session: Option<Session>) {
        self.handover.disconnected(conn, session);
    }
}
