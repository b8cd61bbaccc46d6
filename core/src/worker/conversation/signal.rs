//! Signals: told to whoever is there, and forgotten.

use dunlin_protocol::LogId;
use dunlin_protocol::wire::{self, frame::Body};

use crate::audience::push::SignalPush;
use crate::entry::encode_signal;
use crate::membership::other_member;
use crate::refusal::NO_SUCH_CONVERSATION;
use crate::request::Signal;
use crate::worker::effect::Effects;
use crate::worker::{Client, Worker};

impl Worker {
    pub(in crate::worker) fn take_signal(
        &mut self,
        client: Client,
        log: LogId,
        signal: &Signal,
        effects: &mut Effects,
    ) {
        let Some(other) = other_member(log, client.user) else {
            effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
            return;
        };
        let frame = encode_signal(log, signal, client.user);
        let push = SignalPush { user: other, frame, except: Some(client.conn) };
        self.signal_to_user(push, effects);
        effects.respond(client.conn, client.request_id, Body::Done(wire::Done {}));
    }
}
