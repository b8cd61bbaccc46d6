//! Finding out who has a name, and what is known of a user: reads that begin most flows, and the
//! writes that end them.

use std::collections::VecDeque;

use dunlin_protocol::{LogId, UserId};

use crate::auth::identity::Identity;
use crate::auth::identity::registers::{REGISTERS_MAX, credentials_key};
use crate::auth::names;
use crate::refusal::{DATA_CORRUPT, INTERNAL, STORE_UNAVAILABLE};
use crate::store::write::SETS_MAX;
use crate::store::{
    Fence, Register, RegisterKey, RegisterRange, Registers, Rule, Set, Write, Written,
};
use crate::stored::{self, NameClaim};
use crate::worker::flow::{Answer, Answers, single};

/// Bytes of the registers of an identity: some 150 of each, of which there are at most
/// [`REGISTERS_MAX`].
const IDENTITY_BYTES_MAX: usize = 1024 * 1024;

/// Who has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody.
    Free,
    /// This user.
    Of {
        /// The user.
        user: UserId,
        /// Who vouches for the name; empty for a registered one.
        issuer: String,
    },
    /// A user with another name of the same hash: the name can't be used.
    Blocked,
}

/// The register that says who has a name; see [`claim`].
pub(crate) fn name_register(username: &str) -> (LogId, RegisterKey) {
    name_register_of(names::log_of(username))
}

/// The same, by the log of the name.
pub(crate) fn name_register_of(log: LogId) -> (LogId, RegisterKey) {
    (log, RegisterKey::letter(b'n'))
}

/// Who has a name, by its register.
pub(crate) fn claim(username: &str, answers: Answers<Register>) -> Answer<Claim> {
    let Some(claimed) = name_claim(&single(answers)?)? else { return Ok(Claim::Free) };
    if claimed.username != username {
        return Ok(Claim::Blocked);
    }
    Ok(Claim::Of { user: claimant(&claimed)?, issuer: claimed.issuer })
}

/// What the register of a name holds.
pub(crate) fn name_claim(register: &Register) -> Answer<Option<NameClaim>> {
    register.value.as_ref().map(stored::decode).transpose()
}

/// The user who has a name.
pub(crate) fn claimant(claimed: &NameClaim) -> Answer<UserId> {
    UserId::new(claimed.user_id).map_err(|_| DATA_CORRUPT)
}

/// Claims a name for a user, if nobody has it.
pub(crate) fn claim_name(user: UserId, username: &str, issuer: &str) -> Write {
    let (log, key) = name_register(username);
    let (username, issuer) = (username.to_owned(), issuer.to_owned());
    let claim = NameClaim { user_id: user.get(), username, issuer };
    let value = Some(stored::encode(&claim));
    Write::registers(log, [Set { key, value, rule: Rule::IfAbsent }])
}

/// The register that keeps names apart that look alike: it holds the first of them.
pub(crate) fn look_register(username: &str) -> (LogId, RegisterKey) {
    (names::log_of_look(username), RegisterKey::letter(b'k'))
}

/// Claims the look of a name for a user, if nobody has it.
pub(crate) fn claim_look(user: UserId, username: &str) -> Write {
    let (log, key) = look_register(username);
    let claim =
        NameClaim { user_id: user.get(), username: username.to_owned(), issuer: String::new() };
    let value = Some(stored::encode(&claim));
    Write::registers(log, [Set { key, value, rule: Rule::IfAbsent }])
}

/// Asks for all registers of an identity; see [`identity`].
pub(crate) fn read_identity(user: UserId) -> RegisterRange {
    RegisterRange {
        log: LogId::identity(user),
        prefix: Default::default(),
        after: None,
        registers_max: REGISTERS_MAX,
        bytes_max: IDENTITY_BYTES_MAX,
    }
}

/// What is known of a user, by the answer to [`read_identity`], and at which version.
pub(crate) fn identity(answer: Answer<Registers>) -> Answer<(Identity, u64)> {
    let Registers { registers, version, more, .. } = answer?;
    if more {
        // There are never so many.
        return Err(INTERNAL);
    }
    let identity = Identity::from_registers(&registers).map_err(|_| DATA_CORRUPT)?;
    Ok((identity, version))
}

/// The register with the password hash of a user; see [`credentials`].
pub(crate) fn credentials_register(user: UserId) -> (LogId, RegisterKey) {
    (LogId::identity(user), credentials_key())
}

/// The identity of a user but for the sessions, by its register.
pub(crate) fn credentials(answers: Answers<Register>) -> Answer<Identity> {
    Identity::without_sessions(&single(answers)?).map_err(|_| DATA_CORRUPT)
}

/// Writes some of what has changed of an identity that was read at this version: at most so much as
/// one write takes. The rest stays in `sets`.
pub(crate) fn write_identity(user: UserId, version: u64, sets: &mut VecDeque<Set>) -> Write {
    let some = sets.drain(..sets.len().min(SETS_MAX));
    let fence = Fence { version: Some(version), ..Fence::default() };
    Write { fence, ..Write::registers(LogId::identity(user), some) }
}

/// Whether all writes of a request were stored; if not, somebody else was faster.
pub(crate) fn all_stored(answer: Answer<Vec<Written>>) -> Answer<bool> {
    let mut all = true;
    for written in answer? {
        all &= stored_at(&written)?.is_some();
    }
    Ok(all)
}

/// At which version the only write of a request was stored; `None` if somebody else was faster.
pub(crate) fn stored_alone(answer: Answer<Vec<Written>>) -> Answer<Option<u64>> {
    match &answer?[..] {
        [written] => stored_at(written),
        _ => Err(INTERNAL),
    }
}

pub(crate) fn stored_at(written: &Written) -> Answer<Option<u64>> {
    match written {
        Written::Stored { version } => Ok(Some(*version)),
        Written::Duplicate { .. } | Written::Conflict { .. } | Written::Unmet { .. } => Ok(None),
        Written::Corrupt => Err(DATA_CORRUPT),
        Written::Unknown => Err(STORE_UNAVAILABLE),
    }
}
