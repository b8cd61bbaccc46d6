//! Passwords: Argon2id, and the threads that compute it.
//!
//! A hash is kept as a PHC string, `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`. It carries its
//! parameters, so they can be changed: who logs in with a hash of other parameters than the
//! configured ones gets a new hash.
//!
//! One hash takes some twenty milliseconds and 19 MiB on purpose. So it is never computed by a
//! worker: a few threads of their own do it, behind a bounded queue, and a storm of logins fills
//! that queue and no other. Registrations have a queue of their own, and are taken when no login waits:
//! whoever makes accounts by the thousand is in the way of other newcomers, and of nobody who has an account.
//! A job whose connection has ended meanwhile is not done.
//!
//! ```text
//!  worker ── PasswordJob ──┬► [logins] ─────────┬► hashing threads ── PasswordDone ──► worker
//!                          └► [registrations] ──┘
//! ```
//!
//! What is hashed has [one spelling](super::spelling::password).
//!
//! [`Hasher::run`] does a job on the spot: the threads call it, and so does a simulation.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::{fmt, io};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use crossbeam_channel::{Receiver, Sender, TrySendError, select_biased};
use ring::hmac;

use super::spelling;
use crate::attempt::Attempt;
use crate::config::PasswordConfig;
use crate::random::Random;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// A stored hash with more than this is damaged: 4 GiB and 1,000 passes would block a thread for
/// an hour.
const MEMORY_KIB_MAX: u32 = 4 * 1024 * 1024;
/// See [`MEMORY_KIB_MAX`].
const ITERATIONS_MAX: u32 = 1000;

/// What there is to compute. Its `Debug` keeps the secrets.
pub enum PasswordJob {
    /// A hash of a new password.
    Hash {
        /// In clear.
        password: String,
    },
    /// The same for somebody who registers.
    Register {
        /// In clear.
        password: String,
        /// Whether somebody waits for it.
        attempt: Attempt,
    },
    /// Is this the password?
    Verify {
        /// In clear.
        password: String,
        /// The stored hash. `None` if there is no such user: the work is done all the same, so
        /// that nobody learns from the time which names exist.
        stored: Option<String>,
        /// Whether somebody waits for it.
        attempt: Attempt,
    },
    /// Is this the password, and if so, what is the hash of the new one?
    Change {
        /// The old one, in clear.
        old: String,
        /// Its stored hash.
        stored: String,
        /// The new one, in clear.
        new: String,
    },
}

impl PasswordJob {
    fn is_registration(&self) -> bool {
        matches!(self, PasswordJob::Register { .. })
    }

    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool {
        match self {
            PasswordJob::Register { attempt, .. } | PasswordJob::Verify { attempt, .. } => {
                attempt.is_abandoned()
            }
            PasswordJob::Hash { .. } | PasswordJob::Change { .. } => false,
        }
    }
}

impl fmt::Debug for PasswordJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PasswordJob::Hash { .. } => "Hash(..)",
            PasswordJob::Register { .. } => "Register(..)",
            PasswordJob::Verify { .. } => "Verify(..)",
            PasswordJob::Change { .. } => "Change(..)",
        })
    }
}

/// What came of it.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordDone {
    /// The hash to store: of `Hash`, or of `Change` if the old password was right.
    Hashed(String),
    /// `Verify`: it is the password.
    Right {
        /// A new hash to store, if the stored one has other parameters than the configured ones.
        rehashed: Option<String>,
    },
    /// It is not the password.
    Wrong,
}

impl fmt::Debug for PasswordDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PasswordDone::Hashed(_) => "Hashed(..)",
            PasswordDone::Right { rehashed: Some(_) } => "Right(rehashed)",
            PasswordDone::Right { rehashed: None } => "Right",
            PasswordDone::Wrong => "Wrong",
        })
    }
}

/// Why a password could not be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The queue is full.
    #[error("{queue} passwords wait to be hashed")]
    Overloaded {
        /// Its length.
        queue: usize,
    },
    /// Whoever wanted to know has gone.
    #[error("nobody waits for the password any more")]
    Abandoned,
    /// The stored hash is no PHC string of Argon2id.
    #[error("the stored hash is malformed")]
    Malformed,
    /// The parameters are not ones that Argon2 can work with.
    #[error("Argon2 can't work with {memory_kib} KiB and {iterations} passes")]
    Parameters {
        /// Memory.
        memory_kib: u32,
        /// Passes.
        iterations: u32,
    },
    /// There is no memory for a hash.
    #[error("no memory for a hash of {memory_kib} KiB")]
    NoMemory {
        /// What was asked of the system.
        memory_kib: u32,
    },
}

/// Computes hashes. Keeps the memory of the last one for the next.
pub struct Hasher {
    params: Params,
    random: Arc<dyn Random>,
    memory: Vec<Block>,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("params", &self.params).finish_non_exhaustive()
    }
}

impl Hasher {
    /// A hasher with the configured parameters. Salts come from `random`.
    pub fn new(config: &PasswordConfig, random: Arc<dyn Random>) -> Result<Hasher, PasswordError> {
        let params = params(config.memory_kib, config.iterations, 1)?;
        Ok(Hasher { params, random, memory: Vec::new() })
    }

    /// Does a job, here and now.
    pub fn run(&mut self, job: &PasswordJob) -> Result<PasswordDone, PasswordError> {
        if job.is_abandoned() {
            return Err(PasswordError::Abandoned);
        }
        match job {
            PasswordJob::Hash { password } | PasswordJob::Register { password, .. } => {
                self.hash(password).map(PasswordDone::Hashed)
            }
            PasswordJob::Verify { password, stored: None, .. } => {
                // The same work as for a user with a hash of the configured parameters.
                self.compute(&self.params.clone(), password, &[0; SALT_BYTES])?;
                Ok(PasswordDone::Wrong)
            }
            PasswordJob::Verify { password, stored: Some(stored), .. } => {
                let stored = Phc::parse(stored)?;
                if !self.matches(password, &stored)? {
                    return Ok(PasswordDone::Wrong);
                }
                let outdated = !stored.has_params(&self.params);
                let rehashed = if outdated { Some(self.hash(password)?) } else { None };
                Ok(PasswordDone::Right { rehashed })
            }
            PasswordJob::Change { old, stored, new } => {
                if !self.matches(old, &Phc::parse(stored)?)? {
                    return Ok(PasswordDone::Wrong);
                }
                self.hash(new).map(PasswordDone::Hashed)
            }
        }
    }

    /// Gives the memory back until the next job.
    pub fn rest(&mut self) {
        self.memory = Vec::new();
    }

    fn hash(&mut self, password: &str) -> Result<String, PasswordError> {
        let mut salt = [0; SALT_BYTES];
        self.random.fill(&mut salt);
        let params = self.params.clone();
        let hash = self.compute(&params, password, &salt)?;
        Ok(Phc { params, salt: salt.to_vec(), hash }.to_string())
    }

    fn matches(&mut self, password: &str, stored: &Phc) -> Result<bool, PasswordError> {
        let hash = self.compute(&stored.params, password, &stored.salt)?;
        // Compared as HMACs, in constant time.
        let key = hmac::Key::new(hmac::HMAC_SHA256, &stored.salt);
        let tag = hmac::sign(&key, &stored.hash);
        Ok(hmac::verify(&key, &hash, tag.as_ref()).is_ok())
    }

    fn compute(
        &mut self,
        params: &Params,
        password: &str,
        salt: &[u8],
    ) -> Result<[u8; HASH_BYTES], PasswordError> {
        let (memory_kib, iterations) = (params.m_cost(), params.t_cost());
        let blocks = params.block_count();
        if self.memory.len() < blocks {
            let missing = blocks - self.memory.len();
            let grown = self.memory.try_reserve_exact(missing);
            grown.map_err(|_| PasswordError::NoMemory { memory_kib })?;
            self.memory.resize(blocks, Block::new());
        }
        let mut hash = [0; HASH_BYTES];
        let password = spelling::password(password);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
            .hash_password_into_with_memory(password.as_bytes(), salt, &mut hash, &mut self.memory)
            .map_err(|_| PasswordError::Parameters { memory_kib, iterations })?;
        Ok(hash)
    }
}

fn params(memory_kib: u32, iterations: u32, lanes: u32) -> Result<Params, PasswordError> {
    let error = PasswordError::Parameters { memory_kib, iterations };
    if memory_kib > MEMORY_KIB_MAX || iterations > ITERATIONS_MAX {
        return Err(error);
    }
    Params::new(memory_kib, iterations, lanes, Some(HASH_BYTES)).map_err(|_| error)
}

/// A PHC string of Argon2id, version 19.
struct Phc {
    params: Params,
    salt: Vec<u8>,
    hash: [u8; HASH_BYTES],
}

impl Phc {
    fn parse(text: &str) -> Result<Phc, PasswordError> {
        Phc::fields(text).unwrap_or(Err(PasswordError::Malformed))
    }

    fn fields(text: &str) -> Option<Result<Phc, PasswordError>> {
        let mut fields = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (costs, salt, hash) = (fields.next()?, fields.next()?, fields.next()?);
        let mut costs = costs.split(',');
        let mut cost = |name: &str| costs.next()?.strip_prefix(name)?.parse::<u32>().ok();
        let (memory_kib, iterations, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
        let salt = STANDARD_NO_PAD.decode(salt).ok()?;
        let hash = STANDARD_NO_PAD.decode(hash).ok()?.try_into().ok()?;
        if fields.next().is_some() || costs.next().is_some() {
            return None;
        }
        Some(params(memory_kib, iterations, lanes).map(|params| Phc { params, salt, hash }))
    }

    fn has_params(&self, params: &Params) -> bool {
        let costs = |of: &Params| (of.m_cost(), of.t_cost(), of.p_cost());
        costs(&self.params) == costs(params)
    }
}

impl fmt::Display for Phc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Phc { params, salt, hash } = self;
        let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
        let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
        write!(f, "$argon2id$v=19$m={m},t={t},p={p}${salt}${hash}")
    }
}

/// Called once with what came of a job, on a hashing thread. It must be quick.
pub type PasswordCallback = Box<dyn FnOnce(Result<PasswordDone, PasswordError>) + Send>;

/// What a hashing thread is given.
type Given = (PasswordJob, PasswordCallback);

/// The hashing threads.
#[derive(Debug)]
pub struct PasswordThreads {
    /// `None` only while it is dropped.
    queues: Option<Queues>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Queues {
    logins: Sender<Given>,
    registrations: Sender<Given>,
}

/// The other ends.
#[derive(Debug, Clone)]
struct Jobs {
    logins: Receiver<Given>,
    registrations: Receiver<Given>,
}

impl PasswordThreads {
    /// Starts them.
    pub fn start(config: &PasswordConfig, random: &Arc<dyn Random>) -> io::Result<PasswordThreads> {
        let (logins, logins_taken) = crossbeam_channel::bounded(config.queue.max(1));
        let (registrations, registrations_taken) = crossbeam_channel::bounded(config.queue.max(1));
        let jobs = Jobs { logins: logins_taken, registrations: registrations_taken };
        let mut threads = Vec::new();
        for index in 0..config.threads.max(1) {
            let hasher = Hasher::new(config, Arc::clone(random)).map_err(io::Error::other)?;
            let jobs = jobs.clone();
            let thread = std::thread::Builder::new().name(format!("password-{index}"));
            threads.push(thread.spawn(move || serve(hasher, &jobs))?);
        }
        Ok(PasswordThreads { queues: Some(Queues { logins, registrations }), threads })
    }

    /// Takes a job and returns at once. If its queue is full it is refused: `done` is not called
    /// then, and the caller answers the request.
    pub fn submit(&self, job: PasswordJob, done: PasswordCallback) -> Result<(), PasswordError> {
        let queues = self.queues.as_ref().expect("the queues live until drop");
        let queue = if job.is_registration() { &queues.registrations } else { &queues.logins };
        let length = queue.capacity().unwrap_or(0);
        queue.try_send((job, done)).map_err(|refused| match refused {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => {
                PasswordError::Overloaded { queue: length }
            }
        })
    }
}

impl Drop for PasswordThreads {
    /// Waits until everything that was taken is answered.
    fn drop(&mut self) {
        self.queues = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a password thread panicked");
            }
        }
    }
}

fn serve(mut hasher: Hasher, jobs: &Jobs) {
    loop {
        let waiting = jobs.logins.try_recv().or_else(|_| jobs.registrations.try_recv());
        let next = waiting.ok().or_else(|| {
            // The last of a burst: 19 MiB are not kept for the next one.
            hasher.rest();
            next_job(jobs)
        });
        let Some((job, done)) = next else { return };
        done(hasher.run(&job));
    }
}

/// Waits for a job; `None` if none can come any more. Both queues are closed together.
fn next_job(jobs: &Jobs) -> Option<Given> {
    let first = select_biased! {
        recv(jobs.logins) -> next => next,
        recv(jobs.registrations) -> next => next,
    };
    first.or_else(|_| jobs.logins.recv()).or_else(|_| jobs.registrations.recv()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemSource;

    fn config(memory_kib: u32) -> PasswordConfig {
        PasswordConfig { memory_kib, iterations: 1, threads: 1, queue: 1 }
    }

    fn hasher(memory_kib: u32) -> Hasher {
        Hasher::new(&config(memory_kib), Arc::new(SystemSource::new())).unwrap()
    }

    fn hash(hasher: &mut Hasher, password: &str) -> String {
        match hasher.run(&PasswordJob::Hash { password: password.into() }).unwrap() {
            PasswordDone::Hashed(hash) => hash,
            other => panic!("{other:?}"),
        }
    }

    fn verify(hasher: &mut Hasher, password: &str, stored: &str) -> PasswordDone {
        let (password, stored) = (password.into(), Some(stored.into()));
        hasher.run(&PasswordJob::Verify { password, stored, attempt: Attempt::default() }).unwrap()
    }

    #[test]
    fn the_right_password_and_no_other_is_right() {
        let mut hasher = hasher(64);
        let stored = hash(&mut hasher, "correct horse");
        assert!(stored.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{stored}");
        let right = verify(&mut hasher, "correct horse", &stored);
        assert_eq!(right, PasswordDone::Right { rehashed: None });
        for wrong in ["correct hors", "correct horse ", "Correct horse", "", "correct horse\0"] {
            assert_eq!(verify(&mut hasher, wrong, &stored), PasswordDone::Wrong);
        }
        assert_ne!(stored, hash(&mut hasher, "correct horse"), "salts differ");
    }

    #[test]
    fn others_hashes_are_understood() {
        // Made by the reference implementation (by way of Python's argon2-cffi): m=256, t=2, p=2.
        let stored = concat!(
            "$argon2id$v=19$m=256,t=2,p=2$MDEyMzQ1Njc4OWFiY2RlZg$",
            "+GOGKJvIoTEl91TCgE0yArmEow80raLkxOXPceNYR9E",
        );
        let mut hasher = hasher(64);
        let PasswordDone::Right { rehashed: Some(rehashed) } =
            verify(&mut hasher, "correct horse", stored)
        else {
            panic!("the password is right, and its hash has other parameters");
        };
        let again = verify(&mut hasher, "correct horse", &rehashed);
        assert_eq!(again, PasswordDone::Right { rehashed: None });
        assert_eq!(verify(&mut hasher, "battery staple", stored), PasswordDone::Wrong);
    }

    #[test]
    fn unknown_users_have_no_password() {
        let job = PasswordJob::Verify {
            password: "correct horse".into(),
            stored: None,
            attempt: Attempt::default(),
        };
        assert_eq!(hasher(64).run(&job), Ok(PasswordDone::Wrong));
    }

    #[test]
    fn a_change_needs_the_old_password() {
        let mut hasher = hasher(64);
        let stored = hash(&mut hasher, "correct horse");
        let mut change = |old: &str| {
            let (old, stored, new) = (old.into(), stored.clone(), "battery staple".into());
            hasher.run(&PasswordJob::Change { old, stored, new }).unwrap()
        };
        assert_eq!(change("wrong horse"), PasswordDone::Wrong);
        let PasswordDone::Hashed(changed) = change("correct horse") else {
            panic!("the old password is right");
        };
        let right = verify(&mut hasher, "battery staple", &changed);
        assert_eq!(right, PasswordDone::Right { rehashed: None });
    }

    #[test]
    fn malformed_hashes_are_named_so() {
        let mut hasher = hasher(64);
        let good = hash(&mut hasher, "correct horse");
        let mut run = |stored: &str| {
            let (password, stored) = (String::new(), Some(stored.into()));
            hasher.run(&PasswordJob::Verify { password, stored, attempt: Attempt::default() })
        };
        for malformed in [
            "",
            "plain",
            "$argon2i$v=19$m=64,t=1,p=1$AAAA$AAAA",
            "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA",
            "$argon2id$v=19$m=64,t=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA",
            &good[..good.len() - 1],
            &format!("{good}$"),
            &good.replace("p=1", "p=1,x=2"),
        ] {
            assert_eq!(run(malformed), Err(PasswordError::Malformed), "{malformed}");
        }
        for costs in ["m=4294967295,t=1", "m=64,t=4294967295", "m=0,t=1", "m=64,t=0"] {
            let refused = run(&good.replace("m=64,t=1", costs));
            assert!(matches!(refused, Err(PasswordError::Parameters { .. })), "{costs}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let job = PasswordJob::Hash { password: "correct horse".into() };
        assert_eq!(format!("{job:?}"), "Hash(..)");
        let done = PasswordDone::Right { rehashed: Some("$argon2id".into()) };
        assert_eq!(format!("{done:?}"), "Right(rehashed)");
    }

    #[test]
    fn logins_come_before_registrations_and_nobody_is_looked_at_who_has_gone() {
        let random: Arc<dyn Random> = Arc::new(SystemSource::new());
        let config = PasswordConfig { queue: 8, ..config(64) };
        let threads = PasswordThreads::start(&config, &random).unwrap();
        let (release, released) = crossbeam_channel::bounded::<()>(1);
        let (answer, answers) = crossbeam_channel::unbounded();
        let hold = PasswordJob::Hash { password: "correct horse".into() };
        threads.submit(hold, Box::new(move |_| released.recv().unwrap())).unwrap();
        let submit = |job: PasswordJob, name: &'static str| {
            let answer = answer.clone();
            let done = move |done: Result<_, _>| answer.send((name, done.is_ok())).unwrap();
            threads.submit(job, Box::new(done)).unwrap();
        };
        let register = || PasswordJob::Register {
            password: "correct horse".into(),
            attempt: Attempt::default(),
        };
        let verify = |attempt| PasswordJob::Verify {
            password: "correct horse".into(),
            stored: None,
            attempt,
        };
        submit(register(), "register");
        submit(register(), "register");
        let (waiting, attempt) = Attempt::begin();
        submit(verify(attempt), "gone");
        submit(verify(Attempt::default()), "log in");
        drop(waiting);
        release.send(()).unwrap();
        drop(threads);
        let order: Vec<_> = answers.try_iter().collect();
        let expected = [("gone", false), ("log in", true), ("register", true), ("register", true)];
        assert_eq!(order, expected);
    }

    #[test]
    fn a_full_queue_refuses_and_what_was_taken_is_answered() {
        let random: Arc<dyn Random> = Arc::new(SystemSource::new());
        let threads = PasswordThreads::start(&config(64), &random).unwrap();
        let (started, starts) = crossbeam_channel::bounded(1);
        let (release, released) = crossbeam_channel::bounded::<()>(1);
        let (answer, answers) = crossbeam_channel::unbounded();
        let job = || PasswordJob::Hash { password: "correct horse".into() };
        // The first holds the thread, the second fills the queue.
        let first = answer.clone();
        threads
            .submit(
                job(),
                Box::new(move |done| {
                    started.send(()).unwrap();
                    released.recv().unwrap();
                    first.send(done).unwrap();
                }),
            )
            .unwrap();
        starts.recv().unwrap();
        threads.submit(job(), Box::new(move |done| answer.send(done).unwrap())).unwrap();
        let refused = threads.submit(job(), Box::new(|_| panic!("it was refused")));
        assert_eq!(refused, Err(PasswordError::Overloaded { queue: 1 }));
        release.send(()).unwrap();
        drop(threads);
        let answers: Vec<_> = answers.try_iter().collect();
        assert_eq!(answers.len(), 2);
        assert!(answers.iter().all(|done| matches!(done, Ok(PasswordDone::Hashed(_)))));
    }
}
