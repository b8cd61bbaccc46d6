//! Letting somebody in: the last step of every login, done by the worker of the user.
//!
//! | credential | session | written |
//! |---|---|---|
//! | password | a new one, recorded | the session, and what goes for it |
//! | refresh token | the same | the session, with the next generation |
//! | access token, resume token | the same | nothing; once a day, that the session lives on |
//! | issuer's token | a new one, not recorded | nothing, unless others have to go: that these are ended |
//!
//! Before that it is asked whether the login is still wanted: see [`attempt`](crate::attempt).
//!
//! The device policy holds for recorded sessions whether or not they are connected, and for those
//! of issuers among the connected ones.

use std::time::Duration;

use dunlin_protocol::wire::{self, CloseReason, ErrorCode, frame::Body};
use dunlin_protocol::{DeviceId, EncodedFrame, SessionId, UserId};

use crate::attempt::Attempt;
use crate::audience::session::{Closed, OpenSession};
use crate::auth::identity::{Identity, Recorded, Renewal};
use crate::auth::room::{Held, Room};
use crate::auth::token::{Claims, TokenKind};
use crate::identity::decide::{WRONG_CREDENTIALS, end_issued, refused_token};
use crate::identity::operation::{ACCOUNT_DISABLED, Closing, Decision, NEW_TOKEN_NEEDED, Outcome};
use crate::refusal::Refusal;
use crate::request::{Device, Purpose};
use crate::transport::{ConnId, Session};
use crate::worker::turn::Turn;

/// Somebody who has shown a credential.
#[derive(Debug, Clone)]
pub(crate) struct Enter {
    pub(crate) conn: ConnId,
    pub(crate) request_id: u64,
    pub(crate) attempt: Attempt,
    pub(crate) username: String,
    pub(crate) device: Device,
    pub(crate) proof: Proof,
}

impl Enter {
    /// Whether it leads back to a session that is recorded, and spends nothing.
    pub(super) fn continues_recorded(&self) -> bool {
        match &self.proof {
            Proof::Token(claims, _) => claims.recorded,
            Proof::Password { .. } | Proof::Refresh(_) | Proof::Issued { .. } => false,
        }
    }

    /// Whether it is to look only: see [`Purpose::Fetch`].
    fn only_fetches(&self) -> bool {
        match &self.proof {
            Proof::Token(_, purpose) => *purpose == Purpose::Fetch,
            Proof::Password { .. } | Proof::Refresh(_) | Proof::Issued { .. } => false,
        }
    }
}

/// What was shown. What the identity has to say to it is still open.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    /// A password that fits this hash, and a better hash of it if there is one.
    Password { checked_hash: String, rehashed: Option<String> },
    /// An access or resume token of this server, and what for.
    Token(Claims, Purpose),
    /// A refresh token, which is used up.
    Refresh(Claims),
    /// An issuer's token.
    Issued { issued_ms: u64 },
}

/// Somebody who is in.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) conn: ConnId,
    pub(crate) attempt: Attempt,
    pub(crate) session: Session,
    device: Device,
    opened_ms: u64,
    recorded: bool,
    /// It is beside the connection that speaks for its session.
    pub(crate) only_fetches: bool,
    pub(crate) response: EncodedFrame,
}

impl Entered {
    /// The session that it opens.
    pub(crate) fn opens(&self) -> OpenSession {
        let (kind, tag) = (self.device.kind, device_tag(self.device.id));
        let session = self.session.session;
        let open = OpenSession::new(session, self.conn, kind, tag, self.opened_ms);
        let open = open.entered(self.attempt.number(), self.recorded);
        if self.only_fetches { open.fetching() } else { open }
    }
}

/// Nobody reads it: it is for a transport that waits until every request is answered.
pub(crate) const ABANDONED: Refusal =
    Refusal::new(ErrorCode::NotLoggedIn, "the connection ended before the login did");

pub(crate) const OVERTAKEN: Refusal =
    Refusal::new(ErrorCode::Overtaken, "a newer login of this device came before it");

/// Names a device among those of one user, in four bytes instead of sixteen: there may be a
/// million open sessions, and a user has sixteen of them.
pub(crate) fn device_tag(device: DeviceId) -> u32 {
    crc32c::crc32c(&device.0)
}

pub(super) fn decide_enter(
    user: UserId,
    enter: &Enter,
    identity: &mut Identity,
    open: &[OpenSession],
    turn: &Turn<'_>,
) -> Decision {
    if enter.attempt.is_abandoned() {
        return Decision::refuse(ABANDONED);
    }
    if !enter.only_fetches() && is_overtaken(enter, open) {
        return Decision::overtaken();
    }
    if identity.disabled {
        return Decision::refuse(ACCOUNT_DISABLED);
    }
    match &enter.proof {
        Proof::Password { checked_hash, rehashed } => {
            if identity.password_hash != *checked_hash {
                // It was changed since it was checked.
                return Decision::refuse(WRONG_CREDENTIALS);
            }
            if let Some(rehashed) = rehashed {
                identity.password_hash.clone_from(rehashed);
            }
            enter_recorded(user, enter, identity, open, turn)
        }
        Proof::Token(claims, purpose) => match identity.admits(claims, turn.dates.ending_ms) {
            Ok(()) if claims.recorded => continue_session(enter, claims, *purpose, identity, turn),
            Ok(()) if enter.only_fetches() => fetch_issued(enter, claims, turn),
            Ok(()) => enter_issued(enter, claims.clone(), identity, open, turn),
            Err(why) => refused_token(claims.session, why),
        },
        Proof::Refresh(claims) => {
            let (name, renewal) = (&enter.device.name, renewal(turn));
            match identity.refresh(claims, name, turn.dates.ending_ms, &renewal) {
                Ok(generation) => {
                    let renewed = renewed(claims, generation, identity, turn.now.unix_ms);
                    let tokens = Some(sign_tokens(&renewed, renewal.expires_ms, turn));
                    let closed = Closed::Sessions(vec![claims.session]);
                    let_in(enter, &renewed, renewal.expires_ms, tokens, closed, turn)
                }
                Err(why) => refused_token(claims.session, why),
            }
        }
        Proof::Issued { issued_ms } => {
            // Most issuers count in seconds: the token may have been made up to 999 ms later.
            if !identity.admits_issued(issued_ms.saturating_add(999), turn.now.unix_ms) {
                return Decision::refuse(NEW_TOKEN_NEEDED);
            }
            let claims = new_claims(user, enter, identity, turn, false);
            enter_issued(enter, claims, identity, open, turn)
        }
    }
}

/// A session of an issuer login, new or on another connection. Its resume token expires when
/// the first one does: without its issuer's word nobody stays for ever.
fn enter_issued(
    enter: &Enter,
    claims: Claims,
    identity: &mut Identity,
    open: &[OpenSession],
    turn: &Turn<'_>,
) -> Decision {
    let held: Vec<_> = open
        .iter()
        .filter(|open| open.session != claims.session && !open.only_fetches)
        .map(|open| Held { session: open.session, device: open.device, kind: open.kind })
        .collect();
    let device = device_tag(enter.device.id);
    let policy = &turn.shared.config.devices;
    let room = Room::make(&held, &device, enter.device.kind, policy);
    if room.surplus.is_empty() {
        let mut closed = room.same_device;
        closed.push(claims.session);
        return let_in(enter, &claims, claims.expires_ms, None, Closed::Sessions(closed), turn);
    }
    let closed = match end_issued(&room.surplus, identity, turn) {
        Closed::Sessions(mut sessions) => {
            sessions.extend(room.same_device);
            sessions.push(claims.session);
            Closed::Sessions(sessions)
        }
        all => all,
    };
    // If everything signed so far was ended, this one is signed after it.
    let claims = Claims { issued_ms: identity.issue_time_ms(claims.issued_ms), ..claims };
    let_in(enter, &claims, claims.expires_ms, None, closed, turn)
}

/// Whether a newer login of the device has opened its session before this one. Only those who
/// are connected count: if it has gone since, this one does no worse than any other.
fn is_overtaken(enter: &Enter, open: &[OpenSession]) -> bool {
    let device = device_tag(enter.device.id);
    let is_newer = |open: &OpenSession| open.login > enter.attempt.number() && !open.only_fetches;
    open.iter().any(|open| open.device == device && is_newer(open))
}

/// At most a hundred years, so that sums of times don't overflow.
pub(crate) fn milliseconds(lifetime: Duration) -> u64 {
    const HUNDRED_YEARS_MS: u64 = 100 * 366 * 24 * 3600 * 1000;
    u64::try_from(lifetime.as_millis()).map_or(HUNDRED_YEARS_MS, |ms| ms.min(HUNDRED_YEARS_MS))
}

fn seconds_until(expires_ms: u64, now_ms: u64) -> u32 {
    u32::try_from(expires_ms.saturating_sub(now_ms) / 1000).unwrap_or(u32::MAX)
}

/// A new session by password.
fn enter_recorded(
    user: UserId,
    enter: &Enter,
    identity: &mut Identity,
    open: &[OpenSession],
    turn: &Turn<'_>,
) -> Decision {
    let claims = new_claims(user, enter, identity, turn, true);
    let expires_ms = renewal(turn).expires_ms;
    let recorded = Recorded {
        session: claims.session,
        device: enter.device.clone(),
        number: 0,
        opened_ms: claims.issued_ms,
        generation: 0,
        previous: None,
        given_from: 0,
        expires_ms,
    };
    let connected: Vec<_> = open.iter().map(|open| open.session).collect();
    let replaced =
        identity.open(recorded, turn.dates.ending_ms, &turn.shared.config.devices, &connected);
    let tokens = Some(sign_tokens(&claims, expires_ms, turn));
    let_in(enter, &claims, expires_ms, tokens, Closed::Sessions(replaced), turn)
}

/// A recorded session on another connection.
fn continue_session(
    enter: &Enter,
    claims: &Claims,
    purpose: Purpose,
    identity: &mut Identity,
    turn: &Turn<'_>,
) -> Decision {
    // The extension of an app that shows a notification may know another name of the device.
    let name = if enter.only_fetches() { "" } else { &enter.device.name };
    let renewal = renewal(turn);
    identity.used(claims, name, &renewal);
    let recorded = identity.session(claims.session);
    let (ends_ms, newest) =
        recorded.map_or((0, 0), |recorded| (recorded.expires_ms, recorded.generation));
    // By a date that was ahead it may end later, but nobody is promised that.
    let ends_ms = ends_ms.min(renewal.expires_ms);
    let closed = Closed::Sessions(vec![claims.session]);
    let renewed = |generation| renewed(claims, generation, identity, turn.now.unix_ms);
    match purpose {
        Purpose::Live | Purpose::Fetch => {
            let_in(enter, &renewed(claims.generation), ends_ms, None, closed, turn)
        }
        // Of the same generation as the newest that were given: nothing is to be written for it, and
        // whichever of them arrives is good.
        Purpose::NewTokens => {
            let renewed = renewed(newest);
            let tokens = Some(sign_tokens(&renewed, ends_ms, turn));
            let_in(enter, &renewed, ends_ms, tokens, closed, turn)
        }
    }
}

/// A second connection of a session of an issuer login: it takes nobody's place.
fn fetch_issued(enter: &Enter, claims: &Claims, turn: &Turn<'_>) -> Decision {
    let closed = Closed::Sessions(vec![claims.session]);
    let_in(enter, claims, claims.expires_ms, None, closed, turn)
}

/// `claims` as of the resume token, of a session that ends then if it is not used before.
fn let_in(
    enter: &Enter,
    claims: &Claims,
    session_expires_ms: u64,
    tokens: Option<wire::Tokens>,
    closed: Closed,
    turn: &Turn<'_>,
) -> Decision {
    let resume_ms = milliseconds(turn.shared.config.tokens.resume);
    let expires_ms = session_expires_ms.min(turn.now.unix_ms + resume_ms);
    let resume = Claims { expires_ms, ..claims.clone() };
    let keys = &turn.shared.tokens;
    let logged_in = wire::LoggedIn {
        user_id: claims.user.get(),
        session_id: claims.session.get(),
        username: enter.username.clone(),
        tokens,
        resume_token: keys.sign(TokenKind::Resume, &resume).into(),
        resume_expires_in_s: seconds_until(expires_ms, turn.now.unix_ms),
        session_expires_in_s: seconds_until(session_expires_ms, turn.now.unix_ms),
    };
    let entered = Box::new(Entered {
        conn: enter.conn,
        attempt: enter.attempt.clone(),
        session: Session { user: claims.user, session: claims.session },
        device: enter.device.clone(),
        // By another clock it may have been admitted as of later than now.
        opened_ms: turn.now.unix_ms.max(claims.issued_ms),
        recorded: claims.recorded,
        only_fetches: enter.only_fetches(),
        response: EncodedFrame::response(enter.request_id, Body::LoggedIn(logged_in)),
    });
    let closing = Some(Closing { of: closed, reason: CloseReason::Replaced });
    Decision { closing, outcome: Ok(Outcome::Entered(entered)) }
}

fn new_claims(
    user: UserId,
    enter: &Enter,
    identity: &Identity,
    turn: &Turn<'_>,
    recorded: bool,
) -> Claims {
    Claims {
        user,
        username: enter.username.clone(),
        session: SessionId::from_random(turn.shared.random.next_u64()),
        device: enter.device.id,
        device_kind: enter.device.kind,
        recorded,
        generation: 0,
        issued_ms: identity.issue_time_ms(turn.now.unix_ms),
        expires_ms: turn.now.unix_ms + milliseconds(turn.shared.config.tokens.resume),
    }
}

/// The claims of a session whose refresh token was used up.
pub(crate) fn renewed(
    claims: &Claims,
    generation: u32,
    identity: &Identity,
    now_ms: u64,
) -> Claims {
    let issued_ms = identity.issue_time_ms(now_ms);
    Claims { generation, issued_ms, ..claims.clone() }
}

/// New access and refresh tokens for a recorded session that ends then if it is not used before. A refresh
/// token is good for as long as its session is: that is the identity's to say, since use of the session
/// moves its end.
pub(crate) fn sign_tokens(
    claims: &Claims,
    session_expires_ms: u64,
    turn: &Turn<'_>,
) -> wire::Tokens {
    let sign = |kind, expires_ms| {
        turn.shared.tokens.sign_text(kind, &Claims { expires_ms, ..claims.clone() })
    };
    let access_ms = milliseconds(turn.shared.config.tokens.access);
    let access_ends_ms = session_expires_ms.min(turn.now.unix_ms + access_ms);
    wire::Tokens {
        access_token: sign(TokenKind::Access, access_ends_ms),
        access_expires_in_s: seconds_until(access_ends_ms, turn.now.unix_ms),
        refresh_token: sign(TokenKind::Refresh, u64::MAX),
        refresh_expires_in_s: seconds_until(session_expires_ms, turn.now.unix_ms),
    }
}

/// Until when a recorded session lives that is used now. What is gained by less than a day is not worth a
/// write: somebody who comes back a hundred times a day has it written once. Where sessions are short, by
/// less than a tenth of their life.
///
/// It counts from now, not from when the tokens of it count as signed: that may be later, if all of before were
/// revoked by a date that was ahead.
pub(crate) fn renewal(turn: &Turn<'_>) -> Renewal {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let lifetime_ms = milliseconds(turn.shared.config.tokens.refresh);
    let expires_ms = turn.now.unix_ms + lifetime_ms;
    Renewal { expires_ms, step_ms: DAY_MS.min(lifetime_ms / 10) }
}
