//! Signals: told to whoever is there, and forgotten.
//!
//! A stranger who is ignored is not heard, as little as with what he says. Where the conversation is in use
//! that is known, and costs nothing. Else the account of the other member is asked, and only if that says
//! "ignored", the head: whoever has answered since wants to hear.

use dunlin_protocol::LogId;
use dunlin_protocol::wire::RequestState;

use crate::account::membership::Membership;
use crate::audience::push::SignalPush;
use crate::entry::encode_signal;
use crate::membership::other_member;
use crate::refusal::{NO_SUCH_CONVERSATION, Refusal};
use crate::request::{Client, Signal};
use crate::store::{Head, Register};
use crate::worker::flow::{Answers, HeadsFlow, RegisterFlow, single};
use crate::worker::turn::Turn;

/// A signal of which it is asked whether somebody wants to hear it.
#[derive(Debug)]
pub(crate) struct Signalling {
    log: LogId,
    push: SignalPush,
}

/// What is told to whom.
pub(crate) fn push_of(client: Client, log: LogId, signal: &Signal) -> Result<SignalPush, Refusal> {
    let other = other_member(log, client.user).ok_or(NO_SUCH_CONVERSATION)?;
    let frame = encode_signal(log, signal, client.user);
    Ok(SignalPush { user: other, frame, except: Some(client.conn), is_receipt: false })
}

/// Asks the account of whom it is for.
pub(crate) fn ask(log: LogId, push: SignalPush, turn: &mut Turn<'_>) {
    let register = (LogId::account(push.user), Membership::key(log));
    let flow = RegisterFlow::Signal(Box::new(Signalling { log, push }));
    turn.ask_register(vec![register], flow);
}

/// What it says. Gives the signal back if it is to be told; `None` if the head is asked now.
pub(crate) fn register_read(
    signalling: Box<Signalling>,
    answers: Answers<Register>,
    turn: &mut Turn<'_>,
) -> Option<SignalPush> {
    let membership = single(answers).and_then(|register| Membership::of(&register));
    // Of whom it can't be read now hears, as of a message.
    let decided = membership.ok().flatten().map(|membership| membership.decided());
    if decided != Some(RequestState::Ignored) {
        return Some(signalling.push);
    }
    turn.ask_heads(vec![signalling.log], HeadsFlow::Signal(signalling));
    None
}

/// What the head says. Gives the signal back if it is to be told.
pub(crate) fn head_read(signalling: Signalling, answers: Answers<Head>) -> Option<SignalPush> {
    let Signalling { log, push } = signalling;
    let has_answered = single(answers).is_ok_and(|head| has_said_something(log, &head, &push));
    has_answered.then_some(push)
}

fn has_said_something(log: LogId, head: &Head, push: &SignalPush) -> bool {
    super::numbering::silent_in(log, head).all(|silent| silent.user != push.user)
}
