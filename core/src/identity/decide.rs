//! What an operation changes in the identity of a user, and what follows from it.
//!
//! These are pure decisions: nothing is told to anybody before the change is durable, and after a
//! conflict the same operation is decided again on what another node has written.

use dunlin_protocol::SessionId;
use dunlin_protocol::wire::{self, CloseReason, DeviceKind, ErrorCode, frame::Body};

use crate::admin::{AdminReply, SessionRecord, UserDetails};
use crate::audience::session::{Closed, OpenSession};
use crate::auth::identity::{Identity, Inadmissible, Recorded, device_to_wire};
use crate::auth::token::Claims;
use crate::clock::Dates;
use crate::identity::asker::Reply;
use crate::identity::enter::{decide_enter, milliseconds, renewal, renewed, sign_tokens};
use crate::identity::operation::{
    Action, Closing, Decision, Operation, Outcome, Recheck, SESSION_ENDED, Speaker,
};
use crate::refusal::Refusal;
use crate::request::Logout;
use crate::worker::turn::Turn;

pub(crate) const WRONG_CREDENTIALS: Refusal =
    Refusal::new(ErrorCode::WrongCredentials, "name or password is wrong");

pub(crate) const ISSUER_ACCOUNT: Refusal =
    Refusal::new(ErrorCode::IssuerAccount, "the account has no password: an issuer vouches");

const NO_SUCH_SESSION: Refusal =
    Refusal::new(ErrorCode::SessionRevoked, "the user has no such session, or has it no more");

/// `open` are the sessions of the user on this node.
pub(super) fn decide(
    operation: &Operation,
    identity: &mut Identity,
    open: &[OpenSession],
    turn: &Turn<'_>,
) -> Decision {
    let user = operation.user;
    if turn.dates.stands {
        identity.bring_ends_back(&renewal(turn));
    }
    let still_speaks = |speaker: Speaker| {
        open.iter().any(|open| open.conn == speaker.conn && open.session == speaker.session)
    };
    match &operation.action {
        Action::Enter(enter) => decide_enter(user, enter, identity, open, turn),
        Action::ResetPassword { hash } => decide_reset(hash, identity, turn.dates.revoking_ms),
        Action::Disable => decide_disable(identity, turn.dates.revoking_ms),
        Action::Enable => decide_enable(identity),
        Action::Kick { session } => decide_kick(*session, identity, open, turn),
        Action::Inspect(details) => inspect(details, identity, open, turn.dates.ending_ms),
        Action::Recheck(recheck) => decide_recheck(recheck, identity, open),
        // The requests of a connection may have been under way when it was closed.
        Action::Refresh { speaker, .. }
        | Action::Logout { speaker, .. }
        | Action::ListSessions { speaker }
        | Action::SetPassword { speaker, .. }
            if !still_speaks(*speaker) =>
        {
            Decision::refuse(SESSION_ENDED)
        }
        Action::Refresh { claims, .. } => decide_refresh(claims, identity, turn),
        Action::Logout { speaker, which } => decide_logout(*speaker, *which, identity, turn),
        Action::ListSessions { .. } => list_sessions(identity, open, turn.dates.ending_ms),
        Action::SetPassword { speaker, checked_hash, new_hash } => {
            decide_password(*speaker, checked_hash, new_hash, identity)
        }
    }
}

/// A session of the user, as far as it is known.
struct Known<'a> {
    session: SessionId,
    /// None of an issuer login, of which little is known.
    recorded: Option<&'a Recorded>,
    kind: DeviceKind,
    opened_ms: u64,
    connected: bool,
}

fn known<'a>(identity: &'a Identity, open: &[OpenSession], now_ms: u64) -> Vec<Known<'a>> {
    let recorded = identity.sessions().iter();
    let is_connected = |session: SessionId| open.iter().any(|open| open.session == session);
    let recorded =
        recorded.filter(|recorded| recorded.expires_ms > now_ms || is_connected(recorded.session));
    let mut sessions: Vec<_> = recorded
        .map(|session| Known {
            session: session.session,
            recorded: Some(session),
            kind: session.device.kind,
            opened_ms: session.opened_ms,
            connected: is_connected(session.session),
        })
        .collect();
    // Of the sessions of issuer logins only the connected ones are known, and little of them.
    // One may have a second connection that only fetches.
    let is_first = |at: usize| open[..at].iter().all(|before| before.session != open[at].session);
    let issued = open
        .iter()
        .enumerate()
        .filter(|(at, open)| identity.session(open.session).is_none() && is_first(*at));
    sessions.extend(issued.map(|(_, open)| Known {
        session: open.session,
        recorded: None,
        kind: open.kind,
        opened_ms: open.opened_ms,
        connected: true,
    }));
    sessions
}

fn list_sessions(identity: &Identity, open: &[OpenSession], now_ms: u64) -> Decision {
    let told = |known: Known<'_>| {
        let issued = || wire::Device { kind: known.kind.into(), ..wire::Device::default() };
        let device = known.recorded.map_or_else(issued, |it| device_to_wire(&it.device));
        wire::SessionInfo {
            session_id: known.session.get(),
            device: Some(device),
            connected: known.connected,
            opened_ms: known.opened_ms,
        }
    };
    let sessions = known(identity, open, now_ms).into_iter().map(told).collect();
    Decision::tell(Reply::Body(Box::new(Body::Sessions(wire::Sessions { sessions }))))
}

/// What the operator is told of a user.
fn inspect(
    details: &UserDetails,
    identity: &Identity,
    open: &[OpenSession],
    now_ms: u64,
) -> Decision {
    let told = |known: Known<'_>| SessionRecord {
        session: known.session,
        device_kind: known.kind,
        device_name: known.recorded.map(|it| it.device.name.clone()).unwrap_or_default(),
        opened_ms: known.opened_ms,
        expires_ms: known.recorded.map(|it| it.expires_ms),
        connected: known.connected,
    };
    let sessions = known(identity, open, now_ms).into_iter().map(told).collect();
    let details = UserDetails { disabled: identity.disabled, sessions, ..details.clone() };
    Decision::tell(Reply::Admin(AdminReply::User(Box::new(details))))
}

/// Ends a session, or all, of a user who may come back.
fn decide_kick(
    session: Option<SessionId>,
    identity: &mut Identity,
    open: &[OpenSession],
    turn: &Turn<'_>,
) -> Decision {
    let done = Outcome::Reply(Reply::Done);
    let Some(session) = session else {
        identity.close_all(turn.dates.revoking_ms);
        return Decision::close(done, Closed::All, CloseReason::LoggedOut);
    };
    let is_open = open.iter().any(|open| open.session == session);
    if identity.close(session) {
        let closed = Closed::Sessions(vec![session]);
        return Decision::close(done, closed, CloseReason::LoggedOut);
    }
    if identity.password_hash.is_empty() {
        // One of an issuer login may be on another node, or asleep: nobody can tell that there is none.
        let closed = end_issued(&[session], identity, turn);
        return Decision::close(done, closed, CloseReason::LoggedOut);
    }
    if is_open {
        // It had expired while it was connected, and is forgotten by now.
        let closed = Closed::Sessions(vec![session]);
        return Decision::close(done, closed, CloseReason::LoggedOut);
    }
    Decision::refuse(NO_SUCH_SESSION)
}

/// Closes what the identity no longer admits, and what another node has replaced.
fn decide_recheck(recheck: &Recheck, identity: &Identity, open: &[OpenSession]) -> Decision {
    let is_over = |open: &&OpenSession| {
        let was_ended = recheck.ended.as_ref().is_some_and(|ended| {
            ended.closed.includes(open.session) && open.opened_ms <= ended.at_ms
        });
        was_ended || !identity.keeps(open.session, open.recorded, open.opened_ms)
    };
    let over: Vec<_> = open.iter().filter(is_over).collect();
    let over = over.into_iter().map(|open| open.session).collect();
    let reason = match &recheck.ended {
        _ if identity.disabled => CloseReason::AccountDisabled,
        Some(ended) => ended.reason,
        None => CloseReason::LoggedOut,
    };
    let closing = Some(Closing { of: Closed::Sessions(over), reason });
    let outcome = Ok(Outcome::Reply(Reply::Done));
    Decision { closing, outcome }
}

fn decide_enable(identity: &mut Identity) -> Decision {
    identity.disabled = false;
    Decision::tell(Reply::Done)
}

fn decide_password(
    speaker: Speaker,
    checked_hash: &str,
    new_hash: &str,
    identity: &mut Identity,
) -> Decision {
    if identity.password_hash != checked_hash {
        // It was changed since the old one was checked.
        return Decision::refuse(WRONG_CREDENTIALS);
    }
    identity.password_hash = new_hash.to_owned();
    let device = identity.session(speaker.session).map(|recorded| recorded.device.id);
    identity.forget_devices_but(device);
    identity.close_others(speaker.session);
    let done = Outcome::Reply(Reply::Done);
    Decision::close(done, Closed::AllBut(speaker.session), CloseReason::LoggedOut)
}

/// A token of this server whose session does not admit it. The session of a refresh token that
/// was used before is gone from the identity, which must be stored.
pub(crate) fn refused_token(session: SessionId, why: Inadmissible) -> Decision {
    if why != Inadmissible::Reused {
        return Decision::refuse(why);
    }
    let closing =
        Some(Closing { of: Closed::Sessions(vec![session]), reason: CloseReason::LoggedOut });
    Decision { closing, outcome: Err(why.into()) }
}

fn decide_refresh(claims: &Claims, identity: &mut Identity, turn: &Turn<'_>) -> Decision {
    let renewal = renewal(turn);
    match identity.refresh(claims, "", turn.dates.ending_ms, &renewal) {
        Ok(generation) => {
            let renewed = renewed(claims, generation, identity, turn.now.unix_ms);
            let tokens = sign_tokens(&renewed, renewal.expires_ms, turn);
            Decision::tell(Reply::Body(Box::new(Body::Tokens(tokens))))
        }
        Err(why) => refused_token(claims.session, why),
    }
}

fn decide_logout(
    speaker: Speaker,
    which: Logout,
    identity: &mut Identity,
    turn: &Turn<'_>,
) -> Decision {
    let session = match which {
        Logout::This => speaker.session,
        Logout::Other(session) => session,
        Logout::All => {
            identity.close_all(turn.dates.revoking_ms);
            let done = Outcome::Reply(Reply::Done);
            return Decision::close(done, Closed::All, CloseReason::LoggedOut);
        }
    };
    let done = Outcome::Reply(Reply::Done);
    if identity.close(session) {
        let closed = Closed::Sessions(vec![session]);
        return Decision::close(done, closed, CloseReason::LoggedOut);
    }
    if !identity.password_hash.is_empty() {
        // All sessions of this user are recorded, so its tokens are worthless; but another node may have
        // forgotten one that expired while it is connected here.
        return Decision::close(done, Closed::Sessions(vec![session]), CloseReason::LoggedOut);
    }
    let closed = end_issued(&[session], identity, turn);
    Decision::close(done, closed, CloseReason::LoggedOut)
}

/// Ends sessions of issuer logins. Returns which connections end by it: all of them, if there
/// were so many that they could only be ended together.
pub(crate) fn end_issued(
    sessions: &[SessionId],
    identity: &mut Identity,
    turn: &Turn<'_>,
) -> Closed {
    let valid_from_ms = identity.tokens_valid_from_ms;
    // No resume token that is signed by now is taken for longer: see `in_reach` beside the credentials.
    let Dates { ending_ms, revoking_ms, .. } = turn.dates;
    let until_ms = revoking_ms + 2 * milliseconds(turn.shared.config.tokens.resume);
    for session in sessions {
        identity.end(*session, until_ms, revoking_ms, ending_ms);
    }
    if identity.tokens_valid_from_ms == valid_from_ms {
        Closed::Sessions(sessions.to_vec())
    } else {
        Closed::All
    }
}

fn decide_reset(hash: &str, identity: &mut Identity, now_ms: u64) -> Decision {
    // Whoever asks has looked that no issuer vouches for the name. Without a hash it is an identity
    // that is made anew.
    identity.password_hash = hash.to_owned();
    identity.forget_devices_but(None);
    identity.close_all(now_ms);
    let done = Outcome::Reply(Reply::Done);
    Decision::close(done, Closed::All, CloseReason::LoggedOut)
}

fn decide_disable(identity: &mut Identity, now_ms: u64) -> Decision {
    if identity.disabled {
        return Decision::tell(Reply::Done);
    }
    identity.disabled = true;
    identity.close_all(now_ms);
    let done = Outcome::Reply(Reply::Done);
    Decision::close(done, Closed::All, CloseReason::AccountDisabled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::session::Ended;
    use crate::transport::ConnId;
    use dunlin_protocol::UserId;

    fn session(number: u64) -> SessionId {
        SessionId::new(number).unwrap()
    }

    /// A session of an issuer login on this node.
    fn open(number: u64, opened_ms: u64) -> OpenSession {
        let conn = ConnId { shard: 0, slot: number as u32, generation: 1 };
        OpenSession::new(session(number), conn, DeviceKind::Web, 1, opened_ms).entered(1, false)
    }

    /// Which of the open sessions go, and why.
    fn rechecked(
        ended: Option<Ended>,
        identity: &Identity,
        open: &[OpenSession],
    ) -> (Vec<u64>, CloseReason) {
        let recheck = Recheck { ended: ended.map(Box::new), is_counted: false };
        match decide_recheck(&recheck, identity, open).closing {
            Some(Closing { of: Closed::Sessions(over), reason }) => {
                (over.iter().map(|session| session.get()).collect(), reason)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_another_node_has_ended_goes_and_nothing_that_came_later() {
        let open = [open(1, 5_000), open(2, 5_001), open(3, 4_999)];
        let mut identity = Identity::default();
        assert_eq!(rechecked(None, &identity, &open), (vec![], CloseReason::LoggedOut));
        let ended = |closed| {
            let (at_ms, reason) = (5_000, CloseReason::Replaced);
            Some(Ended { user: UserId::new(1).unwrap(), closed, at_ms, reason })
        };
        let told = ended(Closed::Sessions(vec![session(1), session(2)]));
        assert_eq!(rechecked(told, &identity, &open), (vec![1], CloseReason::Replaced));
        let told = ended(Closed::All);
        assert_eq!(rechecked(told, &identity, &open), (vec![1, 3], CloseReason::Replaced));
        // What the identity does not keep goes, whether or not it was told.
        identity.end(session(2), 90_000, 5_000, 5_000);
        assert_eq!(rechecked(None, &identity, &open), (vec![2], CloseReason::LoggedOut));
        let told = ended(Closed::Sessions(vec![session(3)]));
        assert_eq!(rechecked(told, &identity, &open), (vec![2, 3], CloseReason::Replaced));
        identity.disabled = true;
        let told = ended(Closed::Sessions(Vec::new()));
        let all = (vec![1, 2, 3], CloseReason::AccountDisabled);
        assert_eq!(rechecked(told, &identity, &open), all);
    }
}
