//! Settings of the engine. A transport fills them in from wherever it has them.

use std::time::Duration;

use dunlin_protocol::wire::DeviceKind;

/// Settings of the engine; [`Default`] is what a single node wants.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Worker threads; conversations and users are spread over them by hash. 1 to 256.
    pub workers: usize,
    /// Batches of commands that may wait for one worker before its transports must hold back.
    pub worker_queue_batches: usize,
    /// Memory for large answers, of all workers, from when they are read to when they are written.
    pub answer_bytes_max: usize,
    /// Who may register an account. Without a word of it anyone, as long as there are no issuers:
    /// where some vouch for names, a stranger could register those of their users first.
    pub registration: Option<Registration>,
    /// How passwords are hashed and checked.
    pub passwords: PasswordConfig,
    /// How long tokens are good.
    pub tokens: TokenConfig,
    /// Whose tokens are believed.
    pub issuers: Vec<IssuerConfig>,
    /// How many sessions of which kind one user may have.
    pub devices: DevicePolicy,
    /// How long messages are kept.
    pub retention: RetentionConfig,
    /// A date that it has been, as an earlier run knew it. Unix time in milliseconds, 0 if there is none. A
    /// clock that is behind it at the start is taken for one that was set back.
    pub known_ms: u64,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            workers: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(256)),
            worker_queue_batches: 1024,
            answer_bytes_max: crate::limits::ANSWER_BYTES_MAX,
            registration: None,
            passwords: PasswordConfig::default(),
            tokens: TokenConfig::default(),
            issuers: Vec::new(),
            devices: DevicePolicy::default(),
            retention: RetentionConfig::default(),
            known_ms: 0,
        }
    }
}

impl EngineConfig {
    /// The memory of one worker for large answers: its part, and room for two syncs at least.
    pub fn answer_bytes_of_worker(&self) -> usize {
        (self.answer_bytes_max / self.workers.max(1)).max(2 * crate::limits::SYNC_ROOM_BYTES)
    }

    /// Who may register an account.
    pub fn registration(&self) -> Registration {
        let default =
            if self.issuers.is_empty() { Registration::Open } else { Registration::Closed };
        self.registration.unwrap_or(default)
    }

    /// The issuer for whose users this name is kept, if it is.
    pub fn name_is_reserved_for(&self, username: &str) -> Option<&str> {
        let mut keepers = self.issuers.iter().filter(|issuer| issuer.reserves(username));
        keepers.next().map(|issuer| issuer.name.as_str())
    }
}

/// Who may register an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Anyone.
    Open,
    /// Whoever was [invited](crate::admin::InvitationRequest).
    Invitation,
    /// Nobody; the operator makes accounts.
    Closed,
}

/// Argon2id. The defaults are the first recommendation of the OWASP Password Storage Cheat Sheet
/// that keeps memory low (m = 19 MiB, t = 2, p = 1).
#[derive(Debug, Clone)]
pub struct PasswordConfig {
    /// Memory of one hash in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Threads that hash, apart from everything else.
    pub threads: usize,
    /// Logins that may wait for them; more are answered `OVERLOADED`.
    pub queue: usize,
}

impl Default for PasswordConfig {
    fn default() -> PasswordConfig {
        PasswordConfig { memory_kib: 19 * 1024, iterations: 2, threads: 1, queue: 256 }
    }
}

/// Lifetimes of tokens.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// Access tokens: short, since other servers may check them without asking.
    pub access: Duration,
    /// Sessions, and with them their refresh tokens, from when they are used last.
    pub refresh: Duration,
    /// Resume tokens, renewed at each login.
    pub resume: Duration,
}

impl Default for TokenConfig {
    fn default() -> TokenConfig {
        TokenConfig {
            access: Duration::from_secs(15 * 60),
            refresh: Duration::from_secs(30 * 24 * 3600),
            resume: Duration::from_secs(24 * 3600),
        }
    }
}

/// An issuer of tokens: the backend of the app that uses Dunlin.
#[derive(Clone)]
pub struct IssuerConfig {
    /// The `iss` claim of its tokens.
    pub name: String,
    /// What verifies them. The algorithm belongs to the key; a token can't choose it.
    pub key: IssuerKey,
    /// A token that is good for longer is not believed: as long as one is good, it must be remembered
    /// that its user's were revoked.
    pub lifetime_max: Duration,
    /// Names that begin so are kept for users of this issuer; empty for none.
    pub reserved_prefix: String,
}

impl IssuerConfig {
    /// An issuer with what suits most: tokens of a month at most, and no names kept for it.
    pub fn new(name: impl Into<String>, key: IssuerKey) -> IssuerConfig {
        IssuerConfig {
            name: name.into(),
            key,
            lifetime_max: Duration::from_secs(30 * 24 * 3600),
            reserved_prefix: String::new(),
        }
    }

    fn reserves(&self, username: &str) -> bool {
        !self.reserved_prefix.is_empty() && username.starts_with(&self.reserved_prefix)
    }
}

impl std::fmt::Debug for IssuerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuerConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A key that verifies an issuer's tokens.
#[derive(Clone)]
#[non_exhaustive]
pub enum IssuerKey {
    /// HMAC-SHA256 with a shared secret of at least 32 bytes.
    Hs256(Vec<u8>),
    /// Ed25519, the 32 bytes of the public key.
    EdDsa(Vec<u8>),
    /// ECDSA on P-256 with SHA-256, the uncompressed point (65 bytes).
    Es256(Vec<u8>),
}

impl std::fmt::Debug for IssuerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            IssuerKey::Hs256(_) => "Hs256(..)",
            IssuerKey::EdDsa(_) => "EdDsa(..)",
            IssuerKey::Es256(_) => "Es256(..)",
        })
    }
}

/// How many sessions of each kind of device one user may have at a time. A login beyond it
/// replaces the oldest session of its kind, which is told so.
#[derive(Debug, Clone)]
pub struct DevicePolicy {
    /// The most sessions of kinds that are not named in `by_kind`.
    pub sessions_per_kind: usize,
    /// Exceptions.
    pub by_kind: Vec<(DeviceKind, usize)>,
    /// The most sessions in all, whatever their kind.
    pub sessions_max: usize,
}

impl Default for DevicePolicy {
    fn default() -> DevicePolicy {
        DevicePolicy { sessions_per_kind: 4, by_kind: Vec::new(), sessions_max: 16 }
    }
}

impl DevicePolicy {
    /// The most sessions of this kind.
    pub fn sessions_of(&self, kind: DeviceKind) -> usize {
        let exception = self.by_kind.iter().find(|(of, _)| *of == kind);
        exception.map_or(self.sessions_per_kind, |(_, sessions)| *sessions)
    }
}

/// How long messages are kept. A conversation may say so itself, within these.
#[derive(Debug, Clone)]
pub struct RetentionConfig {
    /// No message is kept longer; `None` for ever.
    pub kept_ms_max: Option<u64>,
    /// A conversation can't have its messages expire sooner.
    pub kept_ms_min: u64,
    /// How many conversations are looked at in a second, about: all of them, again and again.
    pub conversations_per_second: u32,
}

impl Default for RetentionConfig {
    fn default() -> RetentionConfig {
        RetentionConfig { kept_ms_max: None, kept_ms_min: 0, conversations_per_second: 100 }
    }
}
