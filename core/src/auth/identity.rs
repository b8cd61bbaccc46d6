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

mod recorded;
pub(crate) mod registers;

use dunlin_protocol::wire;
use dunlin_protocol::{DeviceId, SessionId};
use ring::digest;

use super::issuer::LEEWAY_MS;
use super::room::{Held, Room};
use super::token::Claims;
use crate::config::DevicePolicy;
use crate::request::Device;
pub use recorded::{Recorded, Renewal};

/// Ended sessions that are remembered by name. A user with more of them within the life of a
/// resume token ends all sessions with the next one: an identity stays within a few KiB.
const ENDED_MAX: usize = 32;

/// Devices that are known to be the user's. More than anybody has, and they are 8 bytes each.
const KNOWN_DEVICES_MAX: usize = 32;

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
    /// Marks of devices, newest last.
    known_devices: Vec<u64>,
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
    /// The session was not used for too long.
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

    /// Whether a token of an issuer that was made at this time, as its clock has it, still counts. All
    /// that were made before `tokens_valid_from_ms` do not; but clocks differ, and for a minute after that
    /// moment nobody can tell by the time alone what was made before it. So for that minute a token is
    /// good that is no older than a minute: who has just got one is not sent away for what his issuer's
    /// clock says, and an older one never comes back.
    pub fn admits_issued(&self, made_ms: u64, now_ms: u64) -> bool {
        made_ms >= self.tokens_valid_from_ms.min(now_ms.saturating_sub(LEEWAY_MS))
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

    /// Whether the user has logged in on this device by the password that is good now.
    pub fn knows(&self, device: DeviceId) -> bool {
        self.known_devices.contains(&device_mark(device))
    }

    /// Forgets all devices on which the user was logged in, but this one. Who was shown out is a stranger.
    pub fn forget_devices_but(&mut self, kept: Option<DeviceId>) {
        let kept = kept.map(device_mark);
        self.known_devices.retain(|mark| Some(*mark) == kept);
    }

    fn learn(&mut self, device: DeviceId) {
        if self.knows(device) {
            return;
        }
        if self.known_devices.len() >= KNOWN_DEVICES_MAX {
            self.known_devices.remove(0);
        }
        self.known_devices.push(device_mark(device));
    }

    /// Records a new session, and returns those that make room for it: that of the same device,
    /// then the oldest of its kind, then the oldest of all. Those that have expired are forgotten, unless
    /// they are `connected`: as long as somebody speaks for one, it can be listed and ended.
    pub fn open(
        &mut self,
        opened: Recorded,
        now_ms: u64,
        policy: &DevicePolicy,
        connected: &[SessionId],
    ) -> Vec<SessionId> {
        let stays = |recorded: &Recorded| {
            recorded.expires_ms > now_ms || connected.contains(&recorded.session)
        };
        self.sessions.retain(stays);
        self.ended.retain(|ended| ended.until_ms > now_ms);
        self.learn(opened.device.id);
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
    /// are worthless from now on. Those that had expired at `ending_ms` are forgotten.
    pub fn end(&mut self, session: SessionId, until_ms: u64, now_ms: u64, ending_ms: u64) {
        self.ended.retain(|ended| ended.until_ms > ending_ms && ended.session != session);
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

    /// Somebody has come back to a recorded session with an access or resume token. The session lives on,
    /// and the refresh token that came with that one has arrived. Usually nothing changes by it.
    pub fn used(&mut self, claims: &Claims, device_name: &str, renewal: &Renewal) {
        let Some(recorded) = self.recorded_mut(claims.session) else { return };
        recorded.arrived(claims.generation);
        recorded.renew(renewal);
        recorded.rename(device_name);
    }

    /// Uses a refresh token, and returns the generation of the next one. The session lives on.
    ///
    /// The newest is good, and so is the one that it was given for, and any other that was given for that one,
    /// until somebody shows which of them has arrived: of those whose answers were lost nobody has anything, and
    /// the owner may have nothing but the first, however long that takes. Any older one was given up by its owner for a newer one, so one of the two who have it is a
    /// thief, and the session ends. One that is newer than all that are known here is good as well: it was
    /// given before the store was put back to an older state.
    pub fn refresh(
        &mut self,
        claims: &Claims,
        device_name: &str,
        now_ms: u64,
        renewal: &Renewal,
    ) -> Result<u32, Inadmissible> {
        self.admits(claims, now_ms)?;
        let recorded = self.recorded_mut(claims.session).ok_or(Inadmissible::Revoked)?;
        let used = claims.generation;
        if !recorded.is_good(used) {
            self.close(claims.session);
            return Err(Inadmissible::Reused);
        }
        recorded.rename(device_name);
        Ok(recorded.next_generation(used, renewal))
    }

    /// New tokens for somebody who has come back by an access or resume token. Returns their generation.
    pub fn reissue(&mut self, claims: &Claims, renewal: &Renewal) -> Option<u32> {
        let recorded = self.recorded_mut(claims.session)?;
        let generation = claims.generation;
        let used = if recorded.is_good(generation) { generation } else { recorded.generation };
        Some(recorded.next_generation(used, renewal))
    }

    /// Sessions that were used while the date was ahead end far too late. None can end later than one that is
    /// used now, so they end then; the date must be right for that.
    pub fn bring_ends_back(&mut self, renewal: &Renewal) {
        self.sessions.iter_mut().for_each(|recorded| recorded.bring_end_back(renewal));
    }

    fn recorded_mut(&mut self, session: SessionId) -> Option<&mut Recorded> {
        self.sessions.iter_mut().find(|recorded| recorded.session == session)
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

/// Stands for a device for as long as its user may come back on it. Its id can't be found out from this, and
/// who has it is let in by no more than a few guesses.
pub(crate) fn device_mark(device: DeviceId) -> u64 {
    const DOMAIN: &[u8] = b"dunlin known device 1\0";
    let hash = digest::digest(&digest::SHA256, &[DOMAIN, &device.0].concat());
    let first = hash.as_ref().first_chunk().expect("SHA-256 has more than 8 bytes");
    u64::from_be_bytes(*first)
}

/// A device for the wire.
pub fn device_to_wire(device: &Device) -> wire::Device {
    wire::Device {
        device_id: device.id.to_wire(),
        kind: device.kind.into(),
        name: device.name.clone(),
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
        let (session, opened_ms, expires_ms) = (id(number), 1_000 + number, 100_000);
        Recorded {
            session,
            device,
            number: 0,
            opened_ms,
            generation: 0,
            previous: None,
            given_from: 0,
            expires_ms,
        }
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

    /// Opened at the time that it says.
    fn open(
        identity: &mut Identity,
        opened: Recorded,
        policy: &DevicePolicy,
        connected: &[SessionId],
    ) -> Vec<SessionId> {
        let now_ms = opened.opened_ms;
        identity.open(opened, now_ms, policy, connected)
    }

    fn policy(sessions_per_kind: usize, sessions_max: usize) -> DevicePolicy {
        let by_kind = vec![(DeviceKind::Phone, 1)];
        DevicePolicy { sessions_per_kind, by_kind, sessions_max }
    }

    fn identity(sessions: &[(u64, DeviceKind)]) -> Identity {
        let mut identity = Identity::with_password("$argon2id".into());
        for (number, kind) in sessions {
            open(&mut identity, recorded(*number, *kind), &DevicePolicy::default(), &[]);
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
        assert_eq!(open(&mut identity, recorded(1, DeviceKind::Phone), &policy, &[]), []);
        assert_eq!(open(&mut identity, recorded(2, DeviceKind::Web), &policy, &[]), []);
        assert_eq!(open(&mut identity, recorded(3, DeviceKind::Web), &policy, &[]), []);
        assert_eq!(open(&mut identity, recorded(4, DeviceKind::Phone), &policy, &[]), [id(1)]);
        assert_eq!(open(&mut identity, recorded(5, DeviceKind::Web), &policy, &[]), [id(2)]);
        assert_eq!(ids(&identity), [3, 4, 5]);
    }

    #[test]
    fn all_kinds_together_have_a_number_too() {
        let policy = policy(5, 2);
        let mut identity = Identity::default();
        open(&mut identity, recorded(1, DeviceKind::Web), &policy, &[]);
        open(&mut identity, recorded(2, DeviceKind::Desktop), &policy, &[]);
        assert_eq!(open(&mut identity, recorded(3, DeviceKind::Tablet), &policy, &[]), [id(1)]);
        assert_eq!(ids(&identity), [2, 3]);
        // A policy of none would lock everybody out; it means one.
        assert_eq!(
            open(
                &mut identity,
                recorded(4, DeviceKind::Web),
                &DevicePolicy { sessions_per_kind: 0, by_kind: Vec::new(), sessions_max: 0 },
                &[]
            ),
            [id(2), id(3)]
        );
    }

    #[test]
    fn a_device_replaces_itself_first() {
        let mut identity = identity(&[(1, DeviceKind::Phone), (2, DeviceKind::Phone)]);
        let mut again = recorded(7, DeviceKind::Phone);
        again.device.id = DeviceId([2; 16]);
        assert_eq!(open(&mut identity, again, &DevicePolicy::default(), &[]), [id(2)]);
        assert_eq!(ids(&identity), [1, 7]);
    }

    #[test]
    fn sessions_that_expired_make_room_by_themselves() {
        let mut identity = identity(&[(1, DeviceKind::Phone)]);
        let mut late = recorded(2, DeviceKind::Phone);
        late.opened_ms = 100_000;
        assert_eq!(open(&mut identity, late, &policy(1, 1), &[]), []);
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
        identity.end(id(1), 50_000, 2_000, 2_000);
        identity.end(id(1), 50_000, 2_000, 2_000);
        assert_eq!(identity.ended.len(), 1);
        assert_eq!(identity.admits(&issued(1), 2_000), Err(Inadmissible::Revoked));
        assert_eq!(identity.admits(&issued(2), 2_000), Ok(()));
        // What has expired is forgotten.
        identity.end(id(2), 90_000, 50_000, 50_000);
        assert_eq!(identity.ended.len(), 1);
        // The list is bounded; beyond it everything ends.
        for number in 3..3 + ENDED_MAX as u64 {
            identity.end(id(number), 90_000, 50_000, 50_000);
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
        identity.end(id(2), 50_000, 2_000, 2_000);
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
        identity.end(id(1), 5_000, 2_000, 2_000);
        identity.end(id(2), 5_001, 2_000, 2_000);
        let mut opened = recorded(3, DeviceKind::Phone);
        opened.opened_ms = 5_000;
        open(&mut identity, opened, &DevicePolicy::default(), &[]);
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

    fn refresh(identity: &mut Identity, generation: u32) -> Result<u32, Inadmissible> {
        let renewal = Renewal { expires_ms: 200_000, step_ms: 1_000 };
        identity.refresh(&claims(1, generation, 2_000), "", 2_000, &renewal)
    }

    fn used(identity: &mut Identity, generation: u32) {
        let renewal = Renewal { expires_ms: 100_500, step_ms: 1_000 };
        identity.used(&claims(1, generation, 2_000), "", &renewal);
    }

    #[test]
    fn a_refresh_token_is_good_until_the_next_has_arrived() {
        let mut identity = identity(&[(1, DeviceKind::Phone), (2, DeviceKind::Web)]);
        assert_eq!(refresh(&mut identity, 0), Ok(1));
        assert_eq!(identity.session(id(1)).unwrap().expires_ms, 200_000);
        assert_eq!(refresh(&mut identity, 0), Ok(2), "the answer was lost");
        assert_eq!(refresh(&mut identity, 0), Ok(3), "and once more");
        assert_eq!(refresh(&mut identity, 3), Ok(4));
        assert_eq!(refresh(&mut identity, 0), Err(Inadmissible::Reused));
        // Both the thief and the robbed are out.
        assert_eq!(refresh(&mut identity, 4), Err(Inadmissible::Revoked));
        assert_eq!(ids(&identity), [2]);
    }

    #[test]
    fn of_two_who_use_the_same_refresh_token_one_is_found_out() {
        let mut identity = identity(&[(1, DeviceKind::Phone)]);
        let mut held = [0, 0];
        let found_out = (0..10).position(|step| {
            let turn = step % 2;
            match refresh(&mut identity, held[turn]) {
                Ok(next) => held[turn] = next,
                Err(why) => assert_eq!(why, Inadmissible::Reused),
            }
            ids(&identity).is_empty()
        });
        assert_eq!(found_out, Some(3), "of two that were given for one, one was used");
    }

    #[test]
    fn any_of_several_answers_may_be_the_one_that_arrived() {
        let given = || {
            let mut identity = identity_of_one();
            let all: Vec<_> = (0..3).map(|_| refresh(&mut identity, 0).unwrap()).collect();
            (identity, all)
        };
        for at in 0..3 {
            let (mut identity, all) = given();
            let next = refresh(&mut identity, all[at]).unwrap();
            assert_eq!(
                refresh(&mut identity.clone(), all[at]),
                Ok(next + 1),
                "its answer was lost"
            );
            // Who has another one of them is somebody else.
            let other = all[(at + 1) % 3];
            assert_eq!(refresh(&mut identity, other), Err(Inadmissible::Reused));
            // A token that came with one says the same as its use.
            let (mut identity, all) = given();
            used(&mut identity, all[at]);
            assert!(refresh(&mut identity.clone(), all[at]).is_ok());
            assert_eq!(refresh(&mut identity.clone(), 0), Err(Inadmissible::Reused));
            assert_eq!(refresh(&mut identity, all[(at + 2) % 3]), Err(Inadmissible::Reused));
        }
    }

    #[test]
    fn a_token_that_came_with_a_refresh_token_shows_that_it_has_arrived() {
        let mut identity = identity(&[(1, DeviceKind::Phone)]);
        assert_eq!(refresh(&mut identity, 0), Ok(1));
        used(&mut identity, 0);
        assert_eq!(refresh(&mut identity.clone(), 0), Ok(2), "it is older");
        used(&mut identity, 1);
        assert_eq!(refresh(&mut identity.clone(), 0), Err(Inadmissible::Reused));
        let before = identity.clone();
        used(&mut identity, 1);
        assert_eq!(identity, before, "nothing is to be written");
    }

    #[test]
    fn tokens_that_are_newer_than_what_was_restored_are_good() {
        let mut identity = identity(&[(1, DeviceKind::Phone)]);
        assert_eq!(refresh(&mut identity, 5), Ok(6));
        assert_eq!(refresh(&mut identity, 5), Ok(7), "the answer was lost");
        assert_eq!(refresh(&mut identity, 4), Err(Inadmissible::Reused));
        let mut identity = identity_of_one();
        used(&mut identity, 5);
        assert_eq!(refresh(&mut identity, 5), Ok(6));
    }

    fn identity_of_one() -> Identity {
        identity(&[(1, DeviceKind::Phone)])
    }

    #[test]
    fn a_new_password_keeps_one_session() {
        let mut identity = identity(&[(1, DeviceKind::Phone), (2, DeviceKind::Web)]);
        identity.close_others(id(2));
        assert_eq!(ids(&identity), [2]);
    }

    /// What an honest client does, and what becomes of the answer.
    #[derive(Debug, Clone, Copy)]
    enum Deed {
        Refresh { arrives: bool },
        Resume,
        Backup,
        Restore,
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            6 => any::<bool>().prop_map(|arrives| Deed::Refresh { arrives }),
            3 => Just(Deed::Resume),
            2 => Just(Deed::Backup),
            1 => Just(Deed::Restore),
        ]
    }

    proptest! {
        #[test]
        fn no_honest_client_is_ever_out(deeds in proptest::collection::vec(deed(), 0..60)) {
            let mut identity = identity_of_one();
            let (mut held, mut backup) = (0, identity.clone());
            for deed in deeds {
                match deed {
                    Deed::Refresh { arrives } => {
                        let next = refresh(&mut identity, held);
                        prop_assert!(next.is_ok(), "{:?}", next);
                        held = if arrives { next.unwrap() } else { held };
                    }
                    Deed::Resume => {
                        prop_assert!(identity.admits(&claims(1, held, 2_000), 2_000).is_ok());
                        used(&mut identity, held);
                    }
                    Deed::Backup => backup.clone_from(&identity),
                    Deed::Restore => identity.clone_from(&backup),
                }
            }
        }

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
                let replaced = open(&mut identity, opened, &policy, &[]);
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
