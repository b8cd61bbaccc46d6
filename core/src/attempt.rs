//! Logins that are under way: whether somebody waits for them still, and which are newer.
//!
//! A login passes up to three workers, the store and the password threads, each with a queue of its
//! own. Meanwhile the client may lose its connection, make another one and log in there, perhaps on
//! another shard and by a credential that is checked sooner. What it wants is its newest login. So:
//!
//! - A login is *abandoned* when its connection ends. From then on it has no effect: it opens no
//!   session, replaces none, and uses no token up. Only what had become durable before stays so.
//! - A login is *overtaken* when a newer one of the same device has opened its session before it. It
//!   is closed as `RECONNECTED`, as it would have been if it had been faster. This is for connections
//!   whose end nobody has seen yet, as when a phone leaves a network.
//!
//! Newer is what a transport has handed over later: of one client, that is what was said later, as
//! long as what it had said before was not kept waiting in a socket by a shard that reads nothing.
//! That holds among the threads of one node; between nodes the order of the identity log decides.
//!
//! The end of a connection is a fact that any worker may look up at any time, not an input that one
//! of them gets: an input would have to run after the login through all of its queues, with a table
//! at each of them of what has passed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use dunlin_protocol::wire::login::Credential;

/// Characters of a name that was tried: nobody has a longer one that is worth reading.
const NAME_CHARACTERS_MAX: usize = 128;

/// Waits for the answer to a login: kept by its connection. Whoever drops it abandons the login.
#[derive(Debug)]
pub struct Waiting(Arc<Tried>);

impl Waiting {
    /// Who tries to get in, and by what.
    pub fn tried(&self) -> &Tried {
        &self.0
    }
}

/// Who tries to get in, and by what: for those who are told that a login failed. No secrets.
#[derive(Debug, Default)]
pub struct Tried {
    credential: &'static str,
    name: OnceLock<Box<str>>,
}

impl Tried {
    fn by(credential: &Credential) -> Tried {
        let tried = Tried { credential: kind_of(credential), name: OnceLock::new() };
        if let Credential::Password(password) = credential {
            tried.set_name(&password.username);
        }
        tried
    }

    fn registering(username: &str) -> Tried {
        let tried = Tried { credential: "registration", name: OnceLock::new() };
        tried.set_name(username);
        tried
    }

    fn set_name(&self, name: &str) {
        // The first one is what was tried.
        self.name.get_or_init(|| name.chars().take(NAME_CHARACTERS_MAX).collect());
    }

    /// What kind of credential it is; empty if nobody knows.
    pub fn credential(&self) -> &'static str {
        self.credential
    }

    /// The name that was typed, or that a token with a good signature has in it. Whoever tries a password
    /// chooses it: it may be anything.
    pub fn name(&self) -> Option<&str> {
        self.name.get().map(|name| &**name)
    }
}

fn kind_of(credential: &Credential) -> &'static str {
    match credential {
        Credential::Password(_) => "password",
        Credential::AccessToken(_) => "access_token",
        Credential::RefreshToken(_) => "refresh_token",
        Credential::ResumeToken(_) => "resume_token",
        Credential::IssuerToken(_) => "issuer_token",
    }
}

/// A try to log in, as it goes through the workers. The default is the oldest of all, and nobody
/// can abandon it.
#[derive(Debug, Clone, Default)]
pub struct Attempt {
    /// Of whom it would be known if they had gone.
    waiting: Option<Weak<Tried>>,
    pub(crate) number: u64,
}

impl Attempt {
    /// A try, and what stands for somebody who waits for it.
    pub fn begin() -> (Waiting, Attempt) {
        Attempt::begun(Tried::default())
    }

    /// The same, which knows by what somebody tries to get in.
    pub fn begin_by(credential: &Credential) -> (Waiting, Attempt) {
        Attempt::begun(Tried::by(credential))
    }

    /// The same of somebody who registers this name.
    pub fn begin_registering(username: &str) -> (Waiting, Attempt) {
        Attempt::begun(Tried::registering(username))
    }

    fn begun(tried: Tried) -> (Waiting, Attempt) {
        let waiting = Arc::new(tried);
        let attempt = Attempt { waiting: Some(Arc::downgrade(&waiting)), number: 0 };
        (Waiting(waiting), attempt)
    }

    /// Whether nobody waits for it any more. It stays so.
    pub fn is_abandoned(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.strong_count() == 0)
    }

    /// Says whom a token with a good signature names, to who waits.
    pub fn names(&self, name: &str) {
        if let Some(waiting) = self.waiting.as_ref().and_then(Weak::upgrade) {
            waiting.set_name(name);
        }
    }

    /// Its place among all logins of the node: a newer one has a higher number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Sets its place. A [`Submitter`](crate::engine::submitter::Submitter) does it by itself; it is for
    /// those who drive workers without one.
    #[must_use]
    pub fn numbered(self, number: u64) -> Attempt {
        Attempt { number, ..self }
    }
}

/// Two are the same if they have the same place and the same connection waits for them.
impl PartialEq for Attempt {
    fn eq(&self, other: &Attempt) -> bool {
        let same_waiting = match (&self.waiting, &other.waiting) {
            (Some(one), Some(another)) => one.ptr_eq(another),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_waiting && self.number == other.number
    }
}

/// Counts the logins of a node. Shared by all ways in.
#[derive(Debug, Default)]
pub(crate) struct Attempts(AtomicU64);

impl Attempts {
    /// The place of the next one.
    pub(crate) fn next(&self) -> u64 {
        // Only the order counts, which all threads see alike for one number.
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::wire::PasswordCredential;

    use super::*;

    #[test]
    fn it_is_abandoned_once_nobody_waits() {
        let (waiting, attempt) = Attempt::begin();
        let on_its_way = attempt.clone().numbered(7);
        assert!(!on_its_way.is_abandoned());
        drop(waiting);
        assert!(attempt.is_abandoned() && on_its_way.is_abandoned());
        assert!(!Attempt::default().is_abandoned(), "nobody could have gone");
    }

    #[test]
    fn who_waits_knows_who_tried_what() {
        let name = "n".repeat(1000);
        let typed = PasswordCredential { username: name.clone(), password: "secret".into() };
        let (waiting, attempt) = Attempt::begin_by(&Credential::Password(typed));
        attempt.names("somebody else");
        assert_eq!(waiting.tried().credential(), "password");
        assert_eq!(waiting.tried().name(), Some(&name[..NAME_CHARACTERS_MAX]));
        assert!(!format!("{waiting:?}").contains("secret"));
        let (waiting, attempt) = Attempt::begin_by(&Credential::AccessToken("token".into()));
        assert_eq!((waiting.tried().credential(), waiting.tried().name()), ("access_token", None));
        attempt.names("ada");
        assert_eq!(waiting.tried().name(), Some("ada"));
    }

    #[test]
    fn each_has_a_place_of_its_own() {
        let attempts = Attempts::default();
        let numbers: Vec<_> = (0..3).map(|_| attempts.next()).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        assert!(numbers[0] > Attempt::default().number());
    }
}
