//! Invitations to register: their codes, and how they are used up.
//!
//! A code is drawn by the server: 80 random bits, told once and written nowhere. What is kept stands under a hash of
//! it, so whoever reads the disk can't register.
//!
//! An account is made by the claim of its name, which is in another log than the invitation, so they can't be written
//! at once. Therefore:
//!
//! ```text
//! take a use, "by this user, who is about to claim that name" ─► claim the name ─► count it, or give it back
//! ```
//!
//! If the server is killed in between, the use stays taken with what it was taken for. The next run looks whether that
//! user has the name: then it counts, else it is free again. So none is used twice, and none is lost. Only a
//! run that is over can be judged so, since the claim of one that goes on may be under way; what one node can't know
//! of others it takes for over after `OTHERS_OVER_MS`.

use dunlin_protocol::{LogId, UserId};
use ring::digest;

use crate::random::Random;
use crate::store::RegisterKey;
use crate::stored::{Invitation, InvitedUser};

/// Keeps these hashes apart from every other use of SHA-256.
const DOMAIN: &[u8] = b"dunlin invitation 1\0";

/// Without letters that are taken for digits, or for each other (Crockford's base 32).
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of a code, beside the dashes.
const CODE_CHARACTERS: usize = 16;

/// The most uses of an invitation: each that is under way is a few dozen bytes of its register.
pub const USES_MAX: u32 = 500;

/// The longest note of the operator.
pub const NOTE_BYTES_MAX: usize = 128;

/// Nothing that another node is about to write is under way for longer: its store is given up on in seconds.
const OTHERS_OVER_MS: u64 = 10 * 60 * 1000;

/// The register key's letter.
pub(crate) const INVITATION: u8 = b'i';

/// The log of all invitations.
pub(crate) fn log() -> LogId {
    LogId::service(b"invitations")
}

/// The register of an invitation.
pub(crate) fn register(number: u64) -> (LogId, RegisterKey) {
    (log(), key(number))
}

pub(crate) fn key(number: u64) -> RegisterKey {
    RegisterKey::numbered(INVITATION, number)
}

/// The number of a register of the log, if it is an invitation.
pub(crate) fn number_of(key: &RegisterKey) -> Option<u64> {
    match key.as_bytes() {
        [INVITATION, number @ ..] => Some(u64::from_be_bytes(number.try_into().ok()?)),
        _ => None,
    }
}

/// A new code, and the number under which it is kept.
pub(crate) fn draw(random: &dyn Random) -> (String, u64) {
    let mut bytes = [0; CODE_CHARACTERS];
    random.fill(&mut bytes);
    let code = bytes.map(|byte| ALPHABET[usize::from(byte % 32)]);
    let groups: Vec<_> = code.chunks(4).map(String::from_utf8_lossy).collect();
    (groups.join("-"), number(&code))
}

/// Under which number an invitation is kept whose code somebody has typed; `None` if it is no code.
pub(crate) fn number_of_code(typed: &str) -> Option<u64> {
    let mut code = [0; CODE_CHARACTERS];
    let mut places = code.iter_mut();
    for c in typed.chars().filter(|c| !matches!(c, '-' | ' ')) {
        *places.next()? = match c.to_ascii_uppercase() {
            'O' => b'0',
            'I' | 'L' => b'1',
            c => u8::try_from(c).ok().filter(|byte| ALPHABET.contains(byte))?,
        };
    }
    places.next().is_none().then(|| number(&code))
}

fn number(code: &[u8; CODE_CHARACTERS]) -> u64 {
    let hash = digest::digest(&digest::SHA256, &[DOMAIN, code].concat());
    let first = hash.as_ref().first_chunk().expect("SHA-256 has more than 8 bytes");
    u64::from_be_bytes(*first)
}

/// When and by whom an invitation is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looker {
    pub(crate) now_ms: u64,
    pub(crate) run: u64,
    /// There may be other nodes.
    pub(crate) has_others: bool,
}

impl Looker {
    /// Whether somebody's claim can't be under way any more.
    pub(crate) fn is_over(&self, user: &InvitedUser) -> bool {
        let is_long_ago = self.now_ms.saturating_sub(user.since_ms) > OTHERS_OVER_MS;
        user.run != self.run && (is_long_ago || !self.has_others)
    }
}

impl Invitation {
    /// How many may still register by it.
    pub(crate) fn free(&self) -> u32 {
        let under_way = u32::try_from(self.under_way.len()).unwrap_or(u32::MAX);
        self.uses_max.saturating_sub(self.uses).saturating_sub(under_way)
    }

    /// Whether somebody may register by it, as far as that can be said without looking whose names are claimed.
    pub(crate) fn may_be_free(&self, looker: &Looker) -> bool {
        let is_free = self.free() > 0 || self.under_way.iter().any(|user| looker.is_over(user));
        self.expires_ms > looker.now_ms && is_free
    }

    /// Takes a use; false if there is none.
    pub(crate) fn take(&mut self, user: UserId, username: &str, looker: &Looker) -> bool {
        if self.free() == 0 || self.expires_ms <= looker.now_ms {
            return false;
        }
        let (run, since_ms) = (looker.run, looker.now_ms);
        let username = username.to_owned();
        self.under_way.push(InvitedUser { user_id: user.get(), username, run, since_ms });
        true
    }

    /// It is known what came of a use. False if it was known before.
    pub(crate) fn settle(&mut self, user_id: u64, has_registered: bool) -> bool {
        let before = self.under_way.len();
        self.under_way.retain(|user| user.user_id != user_id);
        let is_new = self.under_way.len() < before;
        self.uses += u32::from(is_new && has_registered);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemSource;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn looker(run: u64) -> Looker {
        Looker { now_ms: 1_000, run, has_others: false }
    }

    fn invitation(uses_max: u32) -> Invitation {
        Invitation { uses_max, expires_ms: 10_000, ..Invitation::default() }
    }

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let (code, number) = draw(&SystemSource::new());
        assert_eq!(code.len(), 19, "{code}");
        let typed =
            [code.clone(), code.to_lowercase(), code.replace('-', " "), code.replace('-', "")];
        for typed in typed {
            assert_eq!(number_of_code(&typed), Some(number), "{typed}");
        }
        let mistaken = code.replace('0', "o").replace('1', "l");
        assert_eq!(number_of_code(&mistaken), Some(number));
        for wrong in ["", "ABCD", &code[1..], &format!("{code}0"), &code.replace('-', "ü")] {
            assert_ne!(number_of_code(wrong), Some(number), "{wrong}");
        }
        assert_ne!(draw(&SystemSource::new()).1, number);
        // Golden: another value would make all codes unknown.
        assert_eq!(number_of_code("0000-0000-0000-0000"), Some(0xc95e_fa58_9073_991f));
    }

    #[test]
    fn a_use_is_taken_once_and_given_back_once() {
        let mut invitation = invitation(2);
        let looker = looker(1);
        assert!(
            invitation.take(user(1), "ada", &looker) && invitation.take(user(2), "bob", &looker)
        );
        assert!(!invitation.take(user(3), "eve", &looker));
        assert!(invitation.settle(1, true) && !invitation.settle(1, true));
        assert!(invitation.settle(2, false) && !invitation.settle(2, false));
        assert_eq!((invitation.uses, invitation.free()), (1, 1));
    }

    #[test]
    fn only_a_run_that_is_over_is_judged() {
        let mut invitation = invitation(1);
        assert!(invitation.take(user(1), "ada", &looker(1)));
        assert!(!invitation.may_be_free(&looker(1)) && invitation.may_be_free(&looker(2)));
        let others = |now_ms| Looker { has_others: true, now_ms, ..looker(2) };
        assert!(!invitation.may_be_free(&others(2_000)));
        invitation.expires_ms = u64::MAX;
        assert!(invitation.may_be_free(&others(2_000 + OTHERS_OVER_MS)));
    }

    #[test]
    fn an_invitation_expires() {
        let mut invitation = invitation(1);
        let late = Looker { now_ms: 10_000, ..looker(1) };
        assert!(!invitation.may_be_free(&late) && !invitation.take(user(1), "ada", &late));
        assert!(invitation.take(user(1), "ada", &Looker { now_ms: 9_999, ..late }));
    }
}
