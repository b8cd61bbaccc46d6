//! An identity as registers of the user's identity log.
//!
//! What holds for the user as a whole is one register, each recorded session is one, and so is each
//! session that was ended before its tokens expire: whoever logs in writes one session, however many
//! the user has.
//!
//! | key | holds |
//! |---|---|
//! | `u` | [`stored::Credentials`]; absent for a user of an issuer of whom nothing was ever recorded |
//! | `s` and the session's id | [`stored::RecordedSession`] |
//! | `e` and the session's id | [`stored::EndedSession`] |

use dunlin_protocol::wire::DeviceKind;
use dunlin_protocol::{DeviceId, SessionId};

use super::{ENDED_MAX, Ended, Identity, Recorded};
use crate::limits::SESSIONS_MAX;
use crate::request::Device;
use crate::store::{Register, RegisterKey, Set};
use crate::stored;

const CREDENTIALS: u8 = b'u';
const RECORDED: u8 = b's';
const ENDED: u8 = b'e';

/// The most registers that the log of an identity has.
pub(crate) const REGISTERS_MAX: usize = 1 + SESSIONS_MAX + ENDED_MAX;

/// A stored identity that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the register {key:?} of an identity is malformed")]
pub(crate) struct MalformedIdentity {
    /// Which of its registers.
    pub(crate) key: RegisterKey,
}

/// The register of what holds for the user as a whole.
pub(crate) fn credentials_key() -> RegisterKey {
    RegisterKey::letter(CREDENTIALS)
}

impl Identity {
    /// Reads all registers of an identity log. Those of letters that are not known are passed over.
    pub(crate) fn from_registers(registers: &[Register]) -> Result<Identity, MalformedIdentity> {
        let mut identity = Identity::default();
        for register in registers {
            let malformed = || MalformedIdentity { key: register.key.clone() };
            identity.take_register(register).ok_or_else(malformed)?;
        }
        // The store has them in the order of their ids.
        identity.sessions.sort_by_key(|recorded| recorded.number);
        Ok(identity)
    }

    /// What the register of [`credentials_key`] alone says: the hash of the user's password, which is empty if
    /// there is none, and which devices are known.
    pub(crate) fn without_sessions(register: &Register) -> Result<Identity, MalformedIdentity> {
        Identity::from_registers(std::slice::from_ref(register))
    }

    /// The sets that make the registers of `before` those of this one: of what has changed, and
    /// nothing else. What ends sessions comes before what opens them: if there are too many sets for
    /// one write, those that are written first let nobody in.
    pub(crate) fn sets_after(&self, before: &Identity) -> Vec<Set> {
        let mut sets = Vec::new();
        let (credentials, credentials_before) = (self.credentials(), before.credentials());
        if credentials != credentials_before {
            sets.push(Set::always(credentials_key(), stored::encode(&credentials)));
        }
        let over = before.sessions.iter().map(|recorded| recorded.session);
        let over = over.filter(|session| self.session(*session).is_none());
        sets.extend(over.map(|session| Set::removal(recorded_key(session))));
        for ended in before.ended.iter().filter(|ended| !self.has_ended(ended.session)) {
            sets.push(Set::removal(ended_key(ended.session)));
        }
        for ended in self.ended.iter().filter(|ended| !before.ended.contains(ended)) {
            let until = stored::EndedSession { until_ms: ended.until_ms };
            sets.push(Set::always(ended_key(ended.session), stored::encode(&until)));
        }
        for recorded in &self.sessions {
            if before.session(recorded.session) != Some(recorded) {
                let value = stored::encode(&recorded.to_stored());
                sets.push(Set::always(recorded_key(recorded.session), value));
            }
        }
        sets
    }

    /// `None` if it is malformed.
    fn take_register(&mut self, register: &Register) -> Option<()> {
        let Some(value) = &register.value else { return Some(()) };
        match register.key.as_bytes() {
            [CREDENTIALS] => {
                let credentials: stored::Credentials = stored::decode(value).ok()?;
                self.password_hash = credentials.password_hash;
                self.disabled = credentials.disabled;
                self.tokens_valid_from_ms = credentials.tokens_valid_from_ms;
                self.known_devices = credentials.known_devices;
            }
            [RECORDED, id @ ..] => {
                let recorded = stored::decode(value).ok()?;
                self.sessions.push(Recorded::from_stored(session_of(id)?, recorded)?);
            }
            [ENDED, id @ ..] => {
                let stored::EndedSession { until_ms } = stored::decode(value).ok()?;
                self.ended.push(Ended { session: session_of(id)?, until_ms });
            }
            _ => {}
        }
        Some(())
    }

    fn credentials(&self) -> stored::Credentials {
        stored::Credentials {
            password_hash: self.password_hash.clone(),
            disabled: self.disabled,
            tokens_valid_from_ms: self.tokens_valid_from_ms,
            known_devices: self.known_devices.clone(),
        }
    }
}

impl Recorded {
    fn from_stored(session: SessionId, stored: stored::RecordedSession) -> Option<Recorded> {
        let id = DeviceId::from_wire(&stored.device_id).ok()?;
        // One that is not known is a kind of a newer version.
        let kind = DeviceKind::try_from(stored.device_kind).unwrap_or_default();
        Some(Recorded {
            session,
            device: Device { id, kind, name: stored.device_name },
            number: stored.number,
            opened_ms: stored.opened_ms,
            generation: stored.refresh_generation,
            previous: stored.refresh_previous,
            given_from: stored.refresh_given_from,
            expires_ms: stored.expires_ms,
        })
    }

    fn to_stored(&self) -> stored::RecordedSession {
        stored::RecordedSession {
            device_id: self.device.id.to_wire(),
            device_kind: self.device.kind.into(),
            device_name: self.device.name.clone(),
            number: self.number,
            opened_ms: self.opened_ms,
            refresh_generation: self.generation,
            expires_ms: self.expires_ms,
            refresh_previous: self.previous,
            refresh_given_from: self.given_from,
        }
    }
}

fn recorded_key(session: SessionId) -> RegisterKey {
    RegisterKey::numbered(RECORDED, session.get())
}

fn ended_key(session: SessionId) -> RegisterKey {
    RegisterKey::numbered(ENDED, session.get())
}

fn session_of(id: &[u8]) -> Option<SessionId> {
    SessionId::new(u64::from_be_bytes(id.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use dunlin_protocol::UserId;
    use proptest::prelude::*;

    use super::*;
    use crate::auth::identity::Renewal;
    use crate::auth::token::Claims;
    use crate::config::DevicePolicy;

    /// What a store holds, by key.
    type Held = BTreeMap<RegisterKey, Bytes>;

    fn id(number: u64) -> SessionId {
        SessionId::new(number).unwrap()
    }

    fn recorded(number: u64, now_ms: u64) -> Recorded {
        let kind = DeviceKind::try_from((number % 5) as i32).unwrap();
        let id_bytes = DeviceId([number as u8 % 7; 16]);
        let device = Device { id: id_bytes, kind, name: format!("d{number}") };
        let (session, opened_ms, expires_ms) = (id(number), now_ms, now_ms + 5_000);
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

    fn claims(of: &Recorded, issued_ms: u64) -> Claims {
        Claims {
            user: UserId::new(1).unwrap(),
            username: "ada".into(),
            session: of.session,
            device: of.device.id,
            device_kind: of.device.kind,
            recorded: true,
            generation: of.generation,
            issued_ms,
            expires_ms: u64::MAX,
        }
    }

    fn renewal(now_ms: u64) -> Renewal {
        Renewal { expires_ms: now_ms + 5_000, step_ms: 500 }
    }

    fn apply(held: &mut Held, set: &Set) {
        match &set.value {
            Some(value) => held.insert(set.key.clone(), value.clone()),
            None => held.remove(&set.key),
        };
    }

    fn read(held: &Held) -> Identity {
        Identity::from_registers(&registers(held)).expect("it was written so")
    }

    fn registers(held: &Held) -> Vec<Register> {
        let register = |(key, value): (&RegisterKey, &Bytes)| Register {
            key: key.clone(),
            version: 1,
            value: Some(value.clone()),
        };
        held.iter().map(register).collect()
    }

    #[derive(Debug, Clone)]
    enum Change {
        Open,
        Refresh(usize),
        Use(usize),
        Close(usize),
        End(u64),
        CloseAll,
        CloseOthers(usize),
        Password(String),
        Disabled(bool),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            6 => Just(Change::Open),
            3 => any::<usize>().prop_map(Change::Refresh),
            3 => any::<usize>().prop_map(Change::Use),
            1 => any::<usize>().prop_map(Change::Close),
            3 => (1000u64..1060).prop_map(Change::End),
            1 => Just(Change::CloseAll),
            1 => any::<usize>().prop_map(Change::CloseOthers),
            1 => "[a-z]{0,4}".prop_map(Change::Password),
            1 => any::<bool>().prop_map(Change::Disabled),
        ]
    }

    /// Makes a change at the given time.
    fn make(change: &Change, identity: &mut Identity, now_ms: u64, policy: &DevicePolicy) {
        let chosen = |identity: &Identity, which: usize| {
            let sessions = identity.sessions();
            (!sessions.is_empty()).then(|| sessions[which % sessions.len()].clone())
        };
        match change {
            Change::Open => drop(identity.open(recorded(now_ms, now_ms), now_ms, policy, &[])),
            Change::Refresh(which) => {
                if let Some(of) = chosen(identity, *which) {
                    let issued_ms = identity.issue_time_ms(now_ms);
                    let _ = identity.refresh(&claims(&of, issued_ms), "", now_ms, &renewal(now_ms));
                }
            }
            Change::Use(which) => {
                if let Some(of) = chosen(identity, *which) {
                    let (claims, name) = (claims(&of, identity.issue_time_ms(now_ms)), "new name");
                    identity.used(&claims, name, &renewal(now_ms));
                }
            }
            Change::Close(which) => {
                if let Some(of) = chosen(identity, *which) {
                    assert!(identity.close(of.session));
                }
            }
            Change::End(number) => identity.end(id(*number), now_ms + 300, now_ms, now_ms),
            Change::CloseAll => identity.close_all(now_ms),
            Change::CloseOthers(which) => {
                if let Some(of) = chosen(identity, *which) {
                    identity.close_others(of.session);
                }
            }
            Change::Password(hash) => identity.password_hash.clone_from(hash),
            Change::Disabled(disabled) => identity.disabled = *disabled,
        }
    }

    proptest! {
        #[test]
        fn whatever_is_done_is_read_back_and_nothing_else_is_written(
            changes in proptest::collection::vec((change(), 1u64..200), 0..80),
            sessions_per_kind in 1usize..6,
            sessions_max in 1usize..20,
        ) {
            let policy = DevicePolicy { sessions_per_kind, by_kind: Vec::new(), sessions_max };
            let (mut held, mut identity, mut now_ms) = (Held::new(), Identity::default(), 1);
            for (change, waited_ms) in changes {
                now_ms += waited_ms;
                let before = identity.clone();
                make(&change, &mut identity, now_ms, &policy);
                let sets = identity.sets_after(&before);
                let known: Vec<_> = before.sessions.iter().chain(&identity.sessions).collect();
                for set in &sets {
                    prop_assert_ne!(held.get(&set.key), set.value.as_ref(), "it was so before");
                    apply(&mut held, set);
                    let between = read(&held);
                    for of in &known {
                        let issued_ms = identity.issue_time_ms(now_ms);
                        let claims = claims(of, issued_ms);
                        let admits = |by: &Identity| by.admits(&claims, now_ms).is_ok();
                        prop_assert!(!admits(&between) || admits(&before) || admits(&identity));
                    }
                }
                prop_assert_eq!(&read(&held), &identity);
                prop_assert!(held.len() <= REGISTERS_MAX);
                let hash = held.get(&credentials_key()).cloned();
                let register = Register { key: credentials_key(), version: 1, value: hash };
                let alone = Identity::without_sessions(&register).unwrap();
                prop_assert_eq!(&alone.password_hash, &identity.password_hash);
                prop_assert_eq!(&alone.known_devices, &identity.known_devices);
            }
        }
    }

    #[test]
    fn one_of_many_sessions_is_one_register() {
        let policy = DevicePolicy {
            sessions_per_kind: SESSIONS_MAX,
            by_kind: Vec::new(),
            sessions_max: SESSIONS_MAX,
        };
        let mut identity = Identity::with_password("$argon2id".into());
        for number in 1..=50 {
            let mut opened = recorded(number, 1_000);
            opened.device.id = DeviceId([number as u8; 16]);
            assert_eq!(identity.open(opened, 1_000, &policy, &[]), []);
        }
        let before = identity.clone();
        let of = identity.sessions()[17].clone();
        assert_eq!(identity.refresh(&claims(&of, 2_000), "", 2_000, &renewal(2_000)), Ok(1));
        let sets = identity.sets_after(&before);
        assert_eq!(sets.iter().map(|set| &set.key).collect::<Vec<_>>(), [&recorded_key(id(18))]);
    }

    #[test]
    fn what_is_malformed_is_named_and_what_is_unknown_is_passed_over() {
        let mut held = Held::new();
        let mut identity = Identity::with_password("$argon2id".into());
        identity.open(recorded(7, 1_000), 1_000, &DevicePolicy::default(), &[]);
        identity.end(id(9), 50_000, 2_000, 2_000);
        identity.sets_after(&Identity::default()).iter().for_each(|set| apply(&mut held, set));
        assert_eq!(held.keys().map(|key| key.as_bytes()[0]).collect::<Vec<_>>(), *b"esu");
        held.insert(RegisterKey::letter(b'z'), Bytes::from_static(b"\xff"));
        assert_eq!(read(&held), identity);
        let short = RegisterKey::new(b"s\0\0\x07").unwrap();
        let no_session = RegisterKey::numbered(b'e', 0);
        for key in [credentials_key(), recorded_key(id(7)), ended_key(id(9)), short, no_session] {
            let mut spoilt = held.clone();
            spoilt.insert(key.clone(), Bytes::from_static(b"\xff"));
            let read = Identity::from_registers(&registers(&spoilt));
            assert_eq!(read, Err(MalformedIdentity { key }));
        }
        let unreadable = Some(Bytes::from_static(b"\xff"));
        let register = Register { key: credentials_key(), version: 1, value: unreadable };
        assert!(Identity::without_sessions(&register).is_err());
    }
}
