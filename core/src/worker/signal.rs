//! Signals: told to whoever is there, and forgotten.

use dunlin_protocol::wire::{self, frame::Body};

use super::effect::Effects;
use super::entry::encode_signal;
use super::message::SignalPush;
use super::send::{NO_SUCH_CONVERSATION, other_member};
use super::{Client, Worker};
use crate::request::Signal;

impl Worker {
    pub(super) fn take_signal(&mut self, client: Client, signal: &Signal, effects: &mut Effects) {
        let Some(other) = other_member(signal.conversation, client.user) else {
            effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
            return;
        };
        let frame = encode_signal(signal, client.user);
        let push = SignalPush { user: other, frame, except: Some(client.conn) };
        self.signal_to_user(push, effects);
        effects.respond(client.conn, client.request_id, Body::Done(wire::Done {}));
    }
}
