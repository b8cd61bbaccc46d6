//! Signals: told to whoever is there, and forgotten.

use dunlin_protocol::EncodedFrame;
use dunlin_protocol::wire::{self, frame::Body};

use super::effect::Effects;
use super::message::SignalPush;
use super::send::{NO_SUCH_CONVERSATION, other_member};
use super::{Client, Worker};
use crate::request::Signal;

impl Worker {
    pub(super) fn take_signal(&mut self, client: Client, signal: Signal, effects: &mut Effects) {
        let Some(other) = other_member(signal.conversation, client.user) else {
            effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
            return;
        };
        let frame = EncodedFrame::push(Body::Signal(wire::Signal {
            conversation_id: signal.conversation.to_wire(),
            kind: signal.kind,
            payload: signal.payload,
            sender: client.user.get(),
        }));
        let push = SignalPush { user: other, frame, except: Some(client.conn) };
        self.signal_to_user(push, effects);
        effects.respond(client.conn, client.request_id, Body::Done(wire::Done {}));
    }
}
