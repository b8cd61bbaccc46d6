//! The credentials and sessions of a user, and how they change.
//!
//! An identity is what the registers of the user's identity log hold: see `registers`. Each
//! operation here changes it in memory; the flow that called it writes what is different then, and
//! answers when that is durable. If another node was faster, the fence says `Conflict`, and the flow
//! begins anew with what that node wrote.
//!
//! There are two sorts of sessions. Those that a password opened are *recorded* here: a token of a
//! session that is not found is worthless. A login by an issuer's token writes nothing, since a
//! million of them may come at once; its session is good until it is *ended*: by name, in a short
//! list that forgets what has expired anyway, or by `tokens_valid_from_ms`, which ends everything
//! before it.

pub(crate) mod registers;

use dunlin_protocol::wire;
use dunlin_protocol::{DeviceId, SessionId};

use super::room::{Held, Room};
use super::token::Claims;
use crate::config::DevicePolicy;
use crate::request::Device;

/// Ended sessions that are remembered by name. A user with more of them within the life of a
/// resume token ends all sessions with the next one: an identity stays within a few KiB.
const ENDED_MAX: usize = 32;

/// How long the refresh token before the newest is still taken, in milliseconds: the answer that
/// brought the newest one may have been lost with the connection, and its owner tries again.
const REFRESH_RETRY_MS: u64 = 60_000;

/// The credentials and sessions of a user. [`Default`] is that of a user of an issuer of whom
/// nothing was ever recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// PHC string; empty if the user logs in by an issuer.
    pub password_hash: String,
    /// Nobody can log in.
    pub disabled: bool,
    /// Tokens that were signed earlier are worthless. Unix time in milliseconds.
    pub tokens_valid_from_ms: u64,
    sessions: Vec<Recorded>,
    ended: Vec<Ended>,
}

/// A recorded session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Which.
    pub session: SessionId,
    /// On which device.
    pub device: Device,
    /// Its place among the sessions of the user, in the order in which they were opened: clocks of
    /// several nodes would not tell it. Given by [`Identity::open`].
    pub number: u64,
    /// Since when. Unix time in milliseconds.
    pub opened_ms: u64,
    /// Only the refresh token of this generation is good.
    pub generation: u32,
    /// If it is not refreshed before, it ends. Unix time in milliseconds.
    pub expires_ms: u64,
}

/// A session of an issuer login that was ended before its tokens expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended {
    session: SessionId,
    /// When its last token expires, and it can be forgotten.
    until_ms: u64,
}

/// Why a token of this server is not good, though its signature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Inadmissible {
    /// The account is disabled.
    #[error("the account is disabled")]
    Disabled,
    /// The session was logged out, replaced or revoked.
    #[error("the session was ended")]
    Revoked,
    /// The session was not refreshed in time.
    #[error("the session has expired")]
    Expired,
    /// A refresh token that was used before: the session was ended by it.
    #[error("the refresh token was used before")]
    Reused,
}

impl Identity {
    /// The identity of a new account.
    pub fn with_password(password_hash: String) -> Identity {
        Identity { password_hash, ..Identity::default() }
    }

    /// The recorded sessions, oldest first.
    pub fn sessions(&self) -> &[Recorded] {
        &self.sessions
    }

    /// A recorded session.
    pub fn session(&self, session: SessionId) -> Option<&Recorded> {
        self.sessions.iter().find(|recorded| recorded.session == session)
    }

    /// Whether a token that this server signed is still good for its session.
    pub fn admits(&self, claims: &Claims, now_ms: u64) -> Result<(), Inadmissible> {
        if self.disabled {
            return Err(Inadmissible::Disabled);
        }
        if claims.issued_ms < self.tokens_valid_from_ms || self.has_ended(claims.session) {
            return Err(Inadmissible::Revoked);
        }
        match self.session(claims.session) {
            Some(recorded) if recorded.expires_ms <= now_ms => Err(Inadmissible::Expired),
            Some(recorded) if recorded.device.id != claims.device => Err(Inadmissible::Revoked),
            None if claims.recorded => Err(Inadmissible::Revoked),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a session that was let in at this time may stay. `recorded` if the identity recorded
    /// it then.
    pub fn keeps(&self, session: SessionId, recorded: bool, opened_ms: u64) -> bool {
        if self.disabled || self.has_ended(session) {
            return false;
        }
        if recorded {
            self.session(session).is_some()
        } else {
            opened_ms >= self.tokens_valid_from_ms
        }
    }

    /// Records a new session, and returns those that make room for it: that of the same device,
    /// then the oldest of its kind, then the oldest of all.
    pub fn open(&mut self, opened: Recorded, policy: &DevicePolicy) -> Vec<SessionId> {
        let now_ms = opened.opened_ms;
        self.sessions.retain(|recorded| recorded.expires_ms > now_ms);
        self.ended.retain(|ended| ended.until_ms > now_ms);
        let held: Vec<_> = self.sessions.iter().map(Held::from).collect();
        let room = Room::make(&held, &opened.device.id, opened.device.kind, policy);
        let replaced = room.into_sessions();
        self.sessions.retain(|recorded| !replaced.contains(&recorded.session));
        let number = self.sessions.last().map_or(1, |newest| newest.number + 1);
        self.sessions.push(Recorded { number, ..opened });
        replaced
    }

    /// Ends a recorded session; false if there is none of this id.
    pub fn close(&mut self, session: SessionId) -> bool {
        let before = self.sessions.len();
        self.sessions.retain(|recorded| recorded.session != session);
        self.sessions.len() < before
    }

    /// Ends a session that is not recorded: its tokens, which expire at `until_ms` at the latest,
    /// are worthless from now on.
    pub fn end(&mut self, session: SessionId, until_ms: u64, now_ms: u64) {
        self.ended.retain(|ended| ended.until_ms > now_ms && ended.session != session);
        if self.ended.len() >= ENDED_MAX {
            self.revoke_tokens(now_ms);
            return;
        }
        self.ended.push(Ended { session, until_ms });
        self.ended.sort_unstable_by_key(|ended| ended.session);
    }

    /// Whether a session that is not recorded was ended, and its tokens have not expired since.
    fn has_ended(&self, session: SessionId) -> bool {
        self.ended.iter().any(|ended| ended.session == session)
    }

    /// Ends every session.
    pub fn close_all(&mut self, now_ms: u64) {
        self.sessions.clear();
        self.revoke_tokens(now_ms);
    }

    /// Ends every session but this one, which must be recorded to survive.
    pub fn close_others(&mut self, kept: SessionId) {
        self.sessions.retain(|recorded| recorded.session == kept);
    }

    /// Uses a refresh token up, and returns the generation of the next one. The session then lives
    /// until `expires_ms`. A token that was used before ends the session, since one of the two who
    /// have it is a thief; unless it is the one before the newest, and is tried again at once.
    pub fn refresh(
        &mut self,
        claims: &Claims,
        now_ms: u64,
        expires_ms: u64,
    ) -> Result<u32, Inadmissible> {
        self.admits(claims, now_ms)?;
        let recorded = self.sessions.iter_mut().find(|known| known.session == claims.session);
        let recorded = recorded.ok_or(Inadmissible::Revoked)?;
        let lifetime_ms = expires_ms.saturating_sub(now_ms);
        let refreshed_ms = recorded.expires_ms.saturating_sub(lifetime_ms);
        let is_retry = recorded.generation == claims.generation.wrapping_add(1)
            && now_ms < refreshed_ms.saturating_add(REFRESH_RETRY_MS);
        if recorded.generation != claims.generation && !is_retry {
            self.close(claims.session);
            return Err(Inadmissible::Reused);
        }
        recorded.generation = recorded.generation.wrapping_add(1);
        recorded.expires_ms = expires_ms;
        Ok(recorded.generation)
    }

    /// When a token that is signed now counts as signed: not before `tokens_valid_from_ms`, even
    /// if the clock went back.
    pub fn issue_time_ms(&self, now_ms: u64) -> u64 {
        now_ms.max(self.tokens_valid_from_ms)
    }

    /// Makes everything that was signed up to now worthless.
    fn revoke_tokens(&mut self, now_ms: u64) {
        self.tokens_valid_from_ms = self.issue_time_ms(now_ms) + 1;
        // It says the same of all of them.
        self.ended.clear();
    }
}

/// A device for the wire.
pub fn device_to_wire(device: &Device) -> wire::Device {
    wire::Device {
        device_id: device.id.to_wire(),
        kind: device.kind.into(),
        name: device.name.clone(),
    }
}

impl From<&Recorded> for Held<DeviceId> {
    fn from(recorded: &Recorded) -> Held<DeviceId> {
        let Recorded { session, device, .. } = recorded;
        Held { session: *session, device: device.id, kind: device.kind }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::UserId;
    use dunlin_protocol::wire::DeviceKind;
    use proptest::prelude::*;

    use super::*;

    fn id(number: u64) -> SessionId {
        SessionId::new(number).unwrap()
    }

    fn recorded(number: u64, kind: DeviceKind) -> Recorded {
        let device = Device { id: DeviceId([number as u8; 16]), kind, name: format!("d{number}") };
        let (session, opened_ms) = (id(number), 1_000 + number);
        Recorded { session, device, number: 0, opened_ms, generation: 0, expires_ms: 100_000 }
    }

    fn claims(number: u64, generation: u32, issued_ms: u64) -> Claims {
        Claims {
            user: UserId::new(1).unwrap(),
            username: "ada".into(),
            session: id(number),
            device: DeviceId([number as u8; 16]),
            device_kind: DeviceKind::Phone,
            recorded: true,
            generation,
            issued_ms,
            expires_ms: 100_000,
        }
    }

    fn policy(sessions_per_kind: usize, sessions_max: usize) -> DevicePolicy {
        let by_kind = vec![(DeviceKind::Phone, 1)];
        DevicePolicy { sessions_per_kind, by_kind, sessions_max }
    }

    fn identity(sessions: &[(u64, DeviceKind)]) -> Identity {
        let mut identity = Identity::with_password("$argon2id".into());
        for (number, kind) in sessions {
            identity.open(recorded(*number, *kind), &DevicePolicy::default());
        }
        identity
    }

    fn ids(identity: &Identity) -> Vec<u64> {
        identity.sessions().iter().map(|recorded| recorded.session.get()).collect()
    }

    #[test]
    fn a_device_kind_has_its_number_of_sessions() {
        let policy = policy(2, 10);
        let mut identity = Identity::default();
        assert_eq!(identity.open(recorded(1, DeviceKind::Phone), &policy), []);
        assert_eq!(identity.open(recorded(2, DeviceKind::Web), &policy), []);
        assert_eq!(identity.open(recorded(3, DeviceKind::Web), &policy), []);
        assert_eq!(identity.open(recorded(4, DeviceKind::Phone), &policy), [id(1)]);
        assert_eq!(identity.open(recorded(5, DeviceKind::Web), &policy), [id(2)]);
        assert_eq!(ids(&identity), [3, 4, 5]);
    }

    #[test]
    fn all_kinds_together_have_a_number_too() {
        let policy = policy(5, 2);
        let mut identity = Identity::default();
        identity.open(recorded(1, DeviceKind::Web), &policy);
        identity.open(recorded(2, DeviceKind::Desktop), &policy);
        assert_eq!(identity.open(recorded(3, DeviceKind::Tablet), &policy), [id(1)]);
        assert_eq!(ids(&identity), [2, 3]);
        // A policy of none would lock everybody out; it means one.
        assert_eq!(
            identity.open(
                recorded(4, DeviceKind::Web),
                &DevicePolicy { sessions_per_kind: 0, by_kind: Vec::new(), sessions_max: 0 }
            ),
            [id(2), id(3)]
        );
    }

    #[test]
    fn a_device_replaces_itself_first() {
        let mut identity = identity(&[(1, DeviceKind::Phone), (2, DeviceKind::Phone)]);
        let mut again = recorded(7, DeviceKind::Phone);
        again.device.id = DeviceId([2; 16]);
        assert_eq!(identity.open(again, &DevicePolicy::default()), [id(2)]);
        assert_eq!(ids(&identity), [1, 7]);
    }

    #[test]
    fn sessions_that_expired_make_room_by_themselves() {
        let mut identity = identity(&[(1, DeviceKind::Phone)]);
        let mut late = recorded(2, DeviceKind::Phone);
        late.opened_ms = 100_000;
        assert_eq!(identity.open(late, &policy(1, 1)), []);
        assert_eq!(ids(&identity), [2]);
    }

    #[test]
    fn a_token_is_good_as_long_as_its_session() {
        let mut identity = identity(&[(1, DeviceKind::Phone), (2, DeviceKind::Web)]);
        assert_eq!(identity.admits(&claims(1, 0, 2_000), 2_000), Ok(()));
        assert_eq!(identity.admits(&claims(1, 0, 2_000), 100_000), Err(Inadmissible::Expired));
        assert_eq!(identity.admits(&claims(3, 0, 2_000), 2_000), Err(Inadmissible::Revoked));
        let elsewhere = Claims { device: DeviceId([9; 16]), ..claims(1, 0, 2_000) };
        assert_eq!(identity.admits(&elsewhere, 2_000), Err(Inadmissible::Revoked));
        assert!(identity.close(id(1)));
        assert!(!identity.close(id(1)));
        assert_eq!(identity.admits(&claims(1, 0, 2_000), 2_000), Err(Inadmissible::Revoked));
        identity.disabled = true;
        assert_eq!(identity.admits(&claims(2, 0, 2_000), 2_000), Err(Inadmissible::Disabled));
    }

    #[test]
    fn sessions_of_issuers_are_good_until_ended() {
        let issued = |number| Claims { recorded: false, ..claims(number, 0, 2_000) };
        let mut identity = Identity::default();
        assert_eq!(identity.admits(&issued(1), 2_000), Ok(()));
        identity.end(id(1), 50_000, 2_000);
        identity.end(id(1), 50_000, 2_000);
        assert_eq!(identity.ended.len(), 1);
        assert_eq!(identity.admits(&issued(1), 2_000), Err(Inadmissible::Revoked));
        assert_eq!(identity.admits(&issued(2), 2_000), Ok(()));
        // What has expired is forgotten.
        identity.end(id(2), 90_000, 50_000);
        assert_eq!(identity.ended.len(), 1);
        // The list is bounded; beyond it everything ends.
        for number in 3..3 + ENDED_MAX as u64 {
            identity.end(id(number), 90_000, 50_000);
        }
        assert!(identity.ended.is_empty());
        assert_eq!(identity.tokens_valid_from_ms, 50_001);
        assert_eq!(identity.admits(&issued(99), 50_000), Err(Inadmissible::Revoked));
    }

    #[test]
    fn a_connection_stays_as_long_as_its_session() {
        let mut identity = identity(&[(1, DeviceKind::Phone)]);
        assert!(identity.keeps(id(1), true, 1_001) && !identity.keeps(id(2), true, 1_001));
        // Of those that are not recorded, all stay that were not ended.
        assert!(identity.keeps(id(2), false, 0));
        identity.end(id(2), 50_000, 2_000);
        assert!(!identity.keeps(id(2), false, 3_000) && identity.keeps(id(3), false, 3_000));
        identity.close_all(4_000);
        assert!(!identity.keeps(id(1), true, 1_001) && !identity.keeps(id(3), false, 4_000));
        assert!(identity.keeps(id(3), false, identity.issue_time_ms(4_000)));
        identity.disabled = true;
        assert!(!identity.keeps(id(3), false, identity.issue_time_ms(4_000)));
    }

    #[test]
    fn a_login_forgets_ended_sessions_whose_tokens_have_expired() {
        let mut identity = Identity::default();
        identity.end(id(1), 5_000, 2_000);
        identity.end(id(2), 5_001, 2_000);
        let mut opened = recorded(3, DeviceKind::Phone);
        opened.opened_ms = 5_000;
        identity.open(opened, &DevicePolicy::default());
        assert_eq!(identity.ended, [Ended { session: id(2), until_ms: 5_001 }]);
    }

    #[test]
    fn logging_out_everywhere_ends_what_was_signed_in_the_same_millisecond() {
        let mut identity = identity(&[(1, DeviceKind::Phone)]);
        identity.close_all(5_000);
        let issued = |issued_ms| Claims { recorded: false, ..claims(1, 0, issued_ms) };
        assert_eq!(identity.admits(&issued(5_000), 5_000), Err(Inadmissible::Revoked));
        let next_ms = identity.issue_time_ms(5_000);
        assert_eq!(identity.admits(&issued(next_ms), 5_000), Ok(()));
        // And a clock that goes back brings nothing back.
        identity.close_all(4_000);
        assert_eq!(identity.admits(&issued(next_ms), 4_000), Err(Inadmissible::Revoked));
    }

    #[test]
    fn a_refresh_token_is_good_once() {
        let mut identity = identity(&[(1, DeviceKind::Phone), (2, DeviceKind::Web)]);
        assert_eq!(identity.refresh(&claims(1, 0, 2_000), 2_000, 200_000), Ok(1));
        assert_eq!(identity.session(id(1)).unwrap().expires_ms, 200_000);
        assert_eq!(identity.refresh(&claims(1, 1, 2_000), 2_000, 200_000), Ok(2));
        let reused = identity.refresh(&claims(1, 0, 2_000), 2_000, 200_000);
        assert_eq!(reused, Err(Inadmissible::Reused));
        // Both the thief and the robbed are out.
        let newest = identity.refresh(&claims(1, 2, 2_000), 2_000, 200_000);
        assert_eq!(newest, Err(Inadmissible::Revoked));
        assert_eq!(ids(&identity), [2]);
    }

    #[test]
    fn a_refresh_that_got_lost_can_be_tried_again_at_once() {
        let refresh = |identity: &mut Identity, generation: u32, now_ms: u64| {
            identity.refresh(&claims(1, generation, 2_000), now_ms, now_ms + 90_000)
        };
        let mut refreshed = identity(&[(1, DeviceKind::Phone)]);
        assert_eq!(refresh(&mut refreshed, 0, 2_000), Ok(1));
        let mut late = refreshed.clone();
        assert_eq!(refresh(&mut refreshed, 0, 61_999), Ok(2));
        assert_eq!(refresh(&mut late, 0, 62_000), Err(Inadmissible::Reused));
        // Not one that is two generations old.
        assert_eq!(refresh(&mut refreshed, 0, 61_999), Err(Inadmissible::Reused));
    }

    #[test]
    fn a_new_password_keeps_one_session() {
        let mut identity = identity(&[(1, DeviceKind::Phone), (2, DeviceKind::Web)]);
        identity.close_others(id(2));
        assert_eq!(ids(&identity), [2]);
    }

    proptest! {
        #[test]
        fn no_series_of_logins_exceeds_the_policy(
            logins in proptest::collection::vec((1u64..1000, 0u8..20, 0i32..6), 0..60),
            per_kind in 0usize..5,
            sessions_max in 0usize..8,
        ) {
            let policy = policy(per_kind, sessions_max);
            let mut identity = Identity::default();
            for (time, (number, device, kind)) in logins.into_iter().enumerate() {
                let kind = DeviceKind::try_from(kind).unwrap();
                let before = identity.sessions.len();
                let mut opened = recorded(number + 1000 * time as u64, kind);
                opened.device.id = DeviceId([device; 16]);
                let session = opened.session;
                let replaced = identity.open(opened, &policy);
                prop_assert_eq!(identity.sessions.len(), before - replaced.len() + 1);
                prop_assert!(identity.session(session).is_some());
                prop_assert!(identity.sessions.len() <= sessions_max.max(1));
                let same = |of: &&Recorded| of.device.kind == kind;
                let of_kind = identity.sessions.iter().filter(same).count();
                prop_assert!(of_kind <= policy.sessions_of(kind).max(1));
            }
        }
    }
}
