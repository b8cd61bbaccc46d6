//! Signals: told to whoever is there, and forgotten.
//!
//! A stranger who is ignored is not heard, as little as with what he says. Where the conversation is in use
//! that is known, and costs nothing. Else the account of the other member is asked, and only if that says
//! "ignored", the head: whoever has answered since wants to hear. What it said is known for as long as of messages,
//! so that whoever signals many times a second does not ask the store as often.

use dunlin_protocol::wire::RequestState;
use dunlin_protocol::{LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::account::membership::Membership;
use crate::audience::push::SignalPush;
use crate::entry::encode_signal;
use crate::limits::{HEARING_KNOWN_MS, LISTENERS_MAX, SIGNALS_ASKED_MAX};
use crate::membership::other_member;
use crate::refusal::{NO_SUCH_CONVERSATION, Refusal};
use crate::request::{Client, Signal};
use crate::store::{Head, Register};
use crate::worker::flow::{Answers, HeadsFlow, RegisterFlow, single};
use crate::worker::turn::Turn;

/// Who has wanted to hear the signals of which conversations, as far as the store was asked a moment ago, and how
/// many wait for it.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    known: HashMap<(LogId, UserId), Listener, RandomState>,
    asked: usize,
}

#[derive(Debug, Clone, Copy)]
struct Listener {
    hears: bool,
    since_ms: u64,
}

impl Listener {
    fn is_old(self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= HEARING_KNOWN_MS
    }
}

impl Listeners {
    /// Whether a member wants to hear, if that was asked a moment ago.
    pub(crate) fn hears(&self, log: LogId, user: UserId, now_ms: u64) -> Option<bool> {
        let listener = self.known.get(&(log, user)).filter(|listener| !listener.is_old(now_ms));
        listener.map(|listener| listener.hears)
    }

    /// A member has decided anew.
    pub(crate) fn forget(&mut self, log: LogId, user: UserId) {
        self.known.remove(&(log, user));
    }

    /// The store is going to be asked; false if too many wait for it already.
    pub(crate) fn begin_to_ask(&mut self) -> bool {
        let may_ask = self.asked < SIGNALS_ASKED_MAX;
        self.asked += usize::from(may_ask);
        may_ask
    }

    /// The store has answered. Gives the signal back if it is to be told.
    pub(crate) fn learn(&mut self, told: Told, now_ms: u64) -> Option<SignalPush> {
        let Told { log, push, hears } = told;
        self.asked -= 1;
        if self.known.len() >= LISTENERS_MAX {
            self.known.retain(|_, listener| !listener.is_old(now_ms));
        }
        if self.known.len() >= LISTENERS_MAX {
            // They are asked anew, which is all that it costs.
            self.known.clear();
        }
        self.known.insert((log, push.user), Listener { hears, since_ms: now_ms });
        hears.then_some(push)
    }
}

/// A signal of which the store has told whether somebody wants to hear it.
#[derive(Debug)]
pub(crate) struct Told {
    log: LogId,
    push: SignalPush,
    hears: bool,
}

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

/// What it says; `None` if the head is asked now.
pub(crate) fn register_read(
    signalling: Box<Signalling>,
    answers: Answers<Register>,
    turn: &mut Turn<'_>,
) -> Option<Told> {
    let membership = single(answers).and_then(|register| Membership::of(&register));
    // Of whom it can't be read now hears, as of a message.
    let decided = membership.ok().flatten().map(|membership| membership.decided());
    if decided != Some(RequestState::Ignored) {
        let Signalling { log, push } = *signalling;
        return Some(Told { log, push, hears: true });
    }
    turn.ask_heads(vec![signalling.log], HeadsFlow::Signal(signalling));
    None
}

/// What the head says.
pub(crate) fn head_read(signalling: Signalling, answers: Answers<Head>) -> Told {
    let Signalling { log, push } = signalling;
    let hears = single(answers).is_ok_and(|head| has_said_something(log, &head, &push));
    Told { log, push, hears }
}

fn has_said_something(log: LogId, head: &Head, push: &SignalPush) -> bool {
    super::numbering::silent_in(log, head).all(|silent| silent.user != push.user)
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::EncodedFrame;
    use dunlin_protocol::wire::{Done, frame::Body};

    use super::*;

    fn told(number: u64, hears: bool) -> Told {
        let frame = EncodedFrame::response(0, Body::Done(Done {}));
        let user = UserId::new(number + 2).unwrap();
        let push = SignalPush { user, frame, except: None, is_receipt: false };
        Told { log: LogId::direct(UserId::new(1).unwrap(), user), push, hears }
    }

    #[test]
    fn the_store_is_asked_once_for_a_while_and_after_each_decision() {
        let mut listeners = Listeners::default();
        for hears in [true, false] {
            let Told { log, push, .. } = told(0, hears);
            assert!(listeners.begin_to_ask());
            assert_eq!(listeners.learn(told(0, hears), 1_000).is_some(), hears);
            assert_eq!(listeners.hears(log, push.user, 1_001), Some(hears));
            assert_eq!(
                listeners.hears(log, UserId::new(1).unwrap(), 1_001),
                None,
                "the other member"
            );
            assert_eq!(listeners.hears(log, push.user, 1_000 + HEARING_KNOWN_MS), None);
            listeners.forget(log, push.user);
            assert_eq!(listeners.hears(log, push.user, 1_001), None);
        }
    }

    #[test]
    fn a_worker_keeps_some_in_mind_and_asks_for_some() {
        let mut listeners = Listeners::default();
        for number in 0..LISTENERS_MAX as u64 * 2 + 1 {
            assert!(listeners.begin_to_ask());
            assert!(listeners.learn(told(number, true), number / 1000).is_some());
            assert!(listeners.known.len() <= LISTENERS_MAX);
        }
        let asked = (0..).take_while(|_| listeners.begin_to_ask()).count();
        assert_eq!(asked, SIGNALS_ASKED_MAX);
    }
}
