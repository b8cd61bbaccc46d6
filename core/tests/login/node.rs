//! A node in one thread: its workers, a store in memory, and password hashes on the spot.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dunlin_core::admin::{AdminError, AdminReply, AdminRequest};
use dunlin_core::arrival::Arrival;
use dunlin_core::attempt::Attempt;
use dunlin_core::auth::issuer::Issuers;
use dunlin_core::auth::password::{Hasher, PasswordError};
use dunlin_core::auth::token::TokenKeys;
use dunlin_core::clock::Now;
use dunlin_core::config::{EngineConfig, IssuerConfig, IssuerKey, PasswordConfig, Registration};
use dunlin_core::placement::worker_of_user;
use dunlin_core::random::Random;
use dunlin_core::request::{
    Command, CredentialRequest, Device, IdentityRequest, Login, Logout, Purpose, Register, Request,
    Source,
};
use dunlin_core::statistics::WorkerStatistics;
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{Store, StoreError, StoreReply, StoreRequest, Write, Written};
use dunlin_core::transport::{ConnId, Delivery, Outbound, Session};
use dunlin_core::worker::effect::{Effects, Ticket};
use dunlin_core::worker::input::Input;
use dunlin_core::worker::{Shared, Worker};
use dunlin_protocol::wire::login::Credential;
use dunlin_protocol::wire::{self, CloseReason, DeviceKind, ErrorCode, frame::Body};
use dunlin_protocol::{DeviceId, EncodedFrame, UserId, frame};

pub(crate) const WORKERS: usize = 3;
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;
pub(crate) const SIGNING_KEY: [u8; 32] = [7; 32];
pub(crate) const ISSUER_SECRET: &[u8] = b"a secret of at least thirty-two bytes";
pub(crate) const PASSWORD: &str = "correct horse";

/// What becomes of a request to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not done.
    Refused,
    /// A write is done, but the answer is lost. (A read is not done.)
    AnswerLost,
    /// The verdict of the last write of the request is that nobody knows; it was done. (Of a read, one
    /// item is not answered.)
    Unknown,
}

pub(crate) struct Node {
    pub(crate) workers: Vec<Worker>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) now_ms: u64,
    /// So far is the date wrong that the machine has.
    pub(crate) ahead_ms: u64,
    /// The store request of this number fails so; they count from 0 since `fail_at` was called.
    fault: Option<(usize, Fault)>,
    has_failed: bool,
    /// Of so many requests in a thousand, one fails in one of the ways, as this seed has it.
    pub(crate) unsteady: Option<(u64, u64)>,
    pub(crate) store_requests: usize,
    /// What the store was asked to write so far.
    pub(crate) writes: Vec<Write>,
    /// Writes that were refused since somebody else was faster.
    pub(crate) conflicts: usize,
    /// The password threads take nothing.
    pub(crate) passwords_busy: bool,
    hasher: Hasher,
    effects: Effects,
    inputs: VecDeque<(usize, Input)>,
    delivered: Vec<Outbound>,
    admin: Vec<(u64, Result<AdminReply, AdminError>)>,
    next_request_id: u64,
    /// Which of the inputs that wait comes next; `None` is the first.
    pub(crate) shuffle: Option<u64>,
}

/// The same numbers in each run.
#[derive(Debug)]
struct Counter(AtomicU64);

impl Random for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
            // Spread, so that users land on all workers.
            let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) fn config() -> EngineConfig {
    let issuer = |name: &str| IssuerConfig::new(name, IssuerKey::Hs256(ISSUER_SECRET.into()));
    EngineConfig {
        workers: WORKERS,
        registration: Some(Registration::Open),
        passwords: PasswordConfig { memory_kib: 8, iterations: 1, ..PasswordConfig::default() },
        issuers: vec![issuer("app"), issuer("other")],
        ..EngineConfig::default()
    }
}

impl Node {
    pub(crate) fn new() -> Node {
        Node::with(config(), Arc::new(MemoryStore::default()))
    }

    pub(crate) fn with(config: EngineConfig, store: Arc<MemoryStore>) -> Node {
        Node::one_of_several(config, store, 0)
    }

    /// A node that signs with this key, and knows no other.
    pub(crate) fn with_key(key: &[u8; 32], store: Arc<MemoryStore>) -> Node {
        Node::signing(TokenKeys::new(key, &[]), config(), store, 0)
    }

    /// A node that signs with this key, and knows that of the others as a retired one.
    pub(crate) fn with_new_key(key: &[u8; 32], store: Arc<MemoryStore>) -> Node {
        Node::signing(TokenKeys::new(key, &[SIGNING_KEY]), config(), store, 0)
    }

    /// A node whose users and sessions have other ids than those of nodes of other numbers.
    pub(crate) fn one_of_several(
        config: EngineConfig,
        store: Arc<MemoryStore>,
        number: u64,
    ) -> Node {
        Node::signing(TokenKeys::new(&SIGNING_KEY, &[]), config, store, number)
    }

    fn signing(
        tokens: TokenKeys,
        config: EngineConfig,
        store: Arc<MemoryStore>,
        number: u64,
    ) -> Node {
        let random: Arc<dyn Random> = Arc::new(Counter(AtomicU64::new(number << 32)));
        let hasher = Hasher::new(&config.passwords, Arc::clone(&random)).unwrap();
        let shared = Arc::new(Shared {
            epoch: 1,
            run: number,
            random,
            tokens,
            issuers: Issuers::new(&config.issuers).unwrap(),
            config,
            cluster: None,
        });
        Node {
            workers: (0..WORKERS as u16).map(|i| Worker::new(i, Arc::clone(&shared))).collect(),
            store,
            now_ms: NOW_MS,
            ahead_ms: 0,
            fault: None,
            has_failed: false,
            unsteady: None,
            store_requests: 0,
            writes: Vec::new(),
            conflicts: 0,
            passwords_busy: false,
            hasher,
            effects: Effects::new(),
            inputs: VecDeque::new(),
            delivered: Vec::new(),
            admin: Vec::new(),
            next_request_id: 100,
            shuffle: None,
        }
    }

    /// The store request of this number, from now on, fails.
    pub(crate) fn fail_at(&mut self, number: usize, fault: Fault) {
        self.store_requests = 0;
        self.fault = Some((number, fault));
    }

    /// No fault is to happen any more. Whether the ordered one has happened.
    pub(crate) fn heal(&mut self) -> bool {
        if let Some((number, _)) = self.fault.take() {
            self.has_failed = self.store_requests > number;
        }
        self.has_failed
    }

    /// A login from a place of this number.
    pub(crate) fn login_from(
        &mut self,
        source: u64,
        conn: ConnId,
        credential: Credential,
        device: Device,
    ) -> LoginResult {
        self.submit(conn, None, entering_from(source, credential, device));
        self.run();
        self.take_login(conn)
    }

    /// Submits a request without waiting for its answer; returns its id.
    pub(crate) fn submit(
        &mut self,
        conn: ConnId,
        session: Option<Session>,
        request: Request,
    ) -> u64 {
        let worker = match session {
            Some(session) => usize::from(worker_of_user(session.user, WORKERS)),
            // Any worker will do.
            None => self.next_request_id as usize % WORKERS,
        };
        self.submit_to(worker, conn, session, request)
    }

    /// The same, to the worker that the test chooses.
    pub(crate) fn submit_to(
        &mut self,
        worker: usize,
        conn: ConnId,
        session: Option<Session>,
        request: Request,
    ) -> u64 {
        self.next_request_id += 1;
        let request_id = self.next_request_id;
        let command = Command {
            conn,
            session,
            request_id,
            may_deflate: false,
            arrived: Arrival::UNKNOWN,
            request,
        };
        self.inputs.push_back((worker, Input::Command(command)));
        request_id
    }

    /// A connection is gone.
    pub(crate) fn disconnect(&mut self, conn: ConnId, session: Session) {
        let worker = usize::from(worker_of_user(session.user, WORKERS));
        self.inputs.push_back((worker, Input::Disconnected { conn, session }));
        self.run();
    }

    /// Takes steps until nothing is left to do.
    pub(crate) fn run(&mut self) {
        while self.step() {}
        assert!(self.workers.iter().all(|worker| worker.outstanding() == 0), "a flow was left");
    }

    /// Does the same with a request of the operator, and counts the rounds to the store: how often
    /// all that was asked at a time is answered at a time.
    pub(crate) fn rounds_of(&mut self, request: AdminRequest) -> usize {
        self.inputs.push_back((0, Input::Admin { call: 5, request }));
        self.step();
        let mut rounds = 0;
        while !self.inputs.is_empty() {
            rounds += 1;
            for _ in 0..self.inputs.len() {
                self.step();
            }
        }
        assert_eq!(std::mem::take(&mut self.admin).len(), 1, "it is answered once");
        rounds
    }

    /// Takes one step. False if nothing is left to do.
    pub(crate) fn step(&mut self) -> bool {
        let Some((worker, input)) = self.next_input() else { return false };
        let now = self.now();
        self.workers[worker].handle(now, input, &mut self.effects);
        self.workers[worker].end_tick(&mut self.effects);
        self.carry_out(worker);
        true
    }

    /// Sets the date so far ahead. Every worker has seen the one before it, and sees this one.
    pub(crate) fn set_date(&mut self, ahead_ms: u64) {
        self.tick();
        self.ahead_ms = ahead_ms;
        self.tick();
    }

    fn tick(&mut self) {
        self.inputs.extend((0..self.workers.len()).map(|worker| (worker, Input::Tick)));
        self.run();
    }

    fn now(&self) -> Now {
        Now { unix_ms: self.now_ms + self.ahead_ms, monotonic_ms: self.now_ms }
    }

    /// How many sessions are open.
    pub(crate) fn open_sessions(&self) -> u64 {
        let mut statistics = WorkerStatistics::default();
        let count = |worker: &Worker| {
            worker.count(&mut statistics);
            statistics.sessions
        };
        self.workers.iter().map(count).sum()
    }

    fn next_input(&mut self) -> Option<(usize, Input)> {
        let Some(seed) = &mut self.shuffle else { return self.inputs.pop_front() };
        if self.inputs.is_empty() {
            return None;
        }
        let index = next_number(seed) as usize % self.inputs.len();
        self.inputs.remove(index)
    }

    fn carry_out(&mut self, worker: usize) {
        for (ticket, request) in std::mem::take(&mut self.effects.store) {
            let result = self.ask_store(request);
            self.inputs.push_back((worker, Input::Store { ticket, result }));
        }
        for (ticket, job) in std::mem::take(&mut self.effects.passwords) {
            let result = if self.passwords_busy {
                Err(PasswordError::Overloaded { queue: 1 })
            } else {
                self.hasher.run(&job)
            };
            self.inputs.push_back((worker, Input::Password { ticket, result }));
        }
        let inputs = &mut self.inputs;
        self.effects.take_workers(|to, messages| {
            let messages = messages.into_iter();
            inputs.extend(messages.map(|message| (usize::from(to), Input::Worker(message))));
        });
        let delivered = &mut self.delivered;
        self.effects.take_outbound(|_, batch| delivered.extend(batch));
        self.admin.append(&mut self.effects.admin);
    }

    fn ask_store(&mut self, request: StoreRequest) -> Result<StoreReply, StoreError> {
        let number = self.store_requests;
        self.store_requests += 1;
        let is_write = matches!(request, StoreRequest::Write(_));
        if let StoreRequest::Write(writes) = &request {
            self.writes.extend(writes.iter().cloned());
        }
        let ordered = self.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        let fault = ordered.or_else(|| self.by_chance());
        if fault == Some(Fault::Refused) || (fault == Some(Fault::AnswerLost) && !is_write) {
            return Err(unavailable());
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        self.store.submit(request, Box::new(move |result| sender.send(result).unwrap()));
        let result = receiver.try_recv().unwrap();
        if let Ok(StoreReply::Written(verdicts)) = &result {
            let refused = |verdict: &&Written| matches!(verdict, Written::Conflict { .. });
            self.conflicts += verdicts.iter().filter(refused).count();
        }
        match fault {
            None => result,
            Some(Fault::Refused | Fault::AnswerLost) => Err(unavailable()),
            Some(Fault::Unknown) => spoil_last(result?),
        }
    }

    fn by_chance(&mut self) -> Option<Fault> {
        let (seed, permille) = self.unsteady.as_mut()?;
        let number = next_number(seed);
        let fault = match number / 1000 % 3 {
            0 => Fault::Refused,
            1 => Fault::AnswerLost,
            _ => Fault::Unknown,
        };
        (number % 1000 < *permille).then_some(fault)
    }

    /// What was delivered to a connection since it was last asked.
    pub(crate) fn take(&mut self, conn: ConnId) -> Vec<Delivery> {
        let (of_conn, rest) =
            std::mem::take(&mut self.delivered).into_iter().partition(|out| out.conn == conn);
        self.delivered = rest;
        let of_conn: Vec<Outbound> = of_conn;
        of_conn.into_iter().map(|out| out.delivery).collect()
    }

    /// The only delivery to a connection: the reason why it is closed.
    #[track_caller]
    pub(crate) fn assert_closed(&mut self, conn: ConnId, reason: CloseReason) {
        let deliveries = self.take(conn);
        assert!(
            matches!(deliveries[..], [Delivery::Close { reason: why, .. }] if why == reason),
            "{deliveries:?}"
        );
    }

    #[track_caller]
    pub(crate) fn assert_open(&mut self, conn: ConnId) {
        let deliveries = self.take(conn);
        assert!(deliveries.is_empty(), "{deliveries:?}");
    }

    /// What a login came to that was submitted before.
    pub(crate) fn take_login(&mut self, conn: ConnId) -> LoginResult {
        let mut deliveries = self.take(conn);
        assert_eq!(deliveries.len(), 1, "a login has one answer: {deliveries:?}");
        LoginResult::of(deliveries.remove(0))
    }

    pub(crate) fn login(
        &mut self,
        conn: ConnId,
        credential: Credential,
        device: Device,
    ) -> LoginResult {
        self.login_for(Purpose::Live, conn, credential, device)
    }

    pub(crate) fn login_for(
        &mut self,
        purpose: Purpose,
        conn: ConnId,
        credential: Credential,
        device: Device,
    ) -> LoginResult {
        self.submit(conn, None, entering_for(purpose, credential, device));
        self.run();
        self.take_login(conn)
    }

    pub(crate) fn register(&mut self, username: &str) -> Result<UserId, ErrorCode> {
        self.register_by("", username)
    }

    pub(crate) fn register_by(
        &mut self,
        invitation: &str,
        username: &str,
    ) -> Result<UserId, ErrorCode> {
        match self.request(conn(99), None, registering(invitation, username)) {
            Body::Registered(registered) => Ok(UserId::new(registered.user_id).unwrap()),
            Body::Error(error) => Err(error.code()),
            other => panic!("{other:?}"),
        }
    }

    /// Registers a user and logs in with the password on device 1.
    pub(crate) fn registered(&mut self, username: &str) -> LoggedIn {
        self.register(username).unwrap();
        self.login(conn(1), password(username), device(1)).unwrap()
    }

    /// The response to a request; other deliveries to the connection stay.
    #[track_caller]
    pub(crate) fn request(
        &mut self,
        conn: ConnId,
        session: Option<Session>,
        request: Request,
    ) -> Body {
        let request_id = self.submit(conn, session, request);
        self.run();
        self.response(conn, request_id)
    }

    /// The response to a request that was submitted before.
    #[track_caller]
    pub(crate) fn response(&mut self, conn: ConnId, request_id: u64) -> Body {
        let mut responses = Vec::new();
        self.delivered.retain(|out| match &out.delivery {
            Delivery::Response(response)
            | Delivery::Registered(response)
            | Delivery::LoginRefused(response)
            | Delivery::LoginPostponed(response)
                if out.conn == conn =>
            {
                let frame = decoded(response);
                let answers = frame.request_id == request_id;
                if answers {
                    responses.push(frame);
                }
                !answers
            }
            _ => true,
        });
        assert_eq!(responses.len(), 1, "a request has one response: {responses:?}");
        responses.remove(0).body.expect("a response has a body")
    }

    #[track_caller]
    pub(crate) fn error(&mut self, conn: ConnId, session: Session, request: Request) -> ErrorCode {
        match self.request(conn, Some(session), request) {
            Body::Error(error) => error.code(),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn done(&mut self, conn: ConnId, session: Session, request: Request) {
        let body = self.request(conn, Some(session), request);
        assert!(matches!(body, Body::Done(_)), "{body:?}");
    }

    pub(crate) fn logout(&mut self, conn: ConnId, session: Session, logout: Logout) {
        self.done(conn, session, IdentityRequest::Logout(logout).into());
    }

    pub(crate) fn sessions(&mut self, conn: ConnId, session: Session) -> Vec<wire::SessionInfo> {
        match self.request(conn, Some(session), IdentityRequest::ListSessions.into()) {
            Body::Sessions(sessions) => sessions.sessions,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn refresh(
        &mut self,
        conn: ConnId,
        session: Session,
        refresh_token: &str,
    ) -> Result<wire::Tokens, ErrorCode> {
        let refresh_token = refresh_token.to_owned();
        match self.request(conn, Some(session), IdentityRequest::Refresh { refresh_token }.into()) {
            Body::Tokens(tokens) => Ok(tokens),
            Body::Error(error) => Err(error.code()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn administer(&mut self, request: AdminRequest) -> Result<AdminReply, AdminError> {
        self.inputs.push_back((0, Input::Admin { call: 5, request }));
        self.run();
        let mut answers = std::mem::take(&mut self.admin);
        assert_eq!(answers.len(), 1, "{answers:?}");
        let (call, answer) = answers.remove(0);
        assert_eq!(call, 5);
        answer
    }

    /// An answer that nobody waits for.
    pub(crate) fn stray_answer(&mut self) {
        for worker in 0..WORKERS {
            let result = Ok(StoreReply::Logs(Vec::new()));
            let ticket = Ticket(u64::MAX);
            self.inputs.push_back((worker, Input::Store { ticket, result }));
            let result = Err(PasswordError::Malformed);
            self.inputs.push_back((worker, Input::Password { ticket, result }));
        }
        self.run();
    }
}

/// The next number of a seed.
pub(crate) fn next_number(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { reason: "ordered".into() }
}

/// The same answer, of which the last item is not known.
fn spoil_last(reply: StoreReply) -> Result<StoreReply, StoreError> {
    fn spoil<T>(mut items: Vec<T>, spoilt: T) -> Vec<T> {
        *items.last_mut().expect("something was asked") = spoilt;
        items
    }
    match reply {
        StoreReply::Written(items) => Ok(StoreReply::Written(spoil(items, Written::Unknown))),
        StoreReply::Pages(items) => Ok(StoreReply::Pages(spoil(items, Err(unavailable())))),
        StoreReply::Register(items) => Ok(StoreReply::Register(spoil(items, Err(unavailable())))),
        StoreReply::Registers(items) => Ok(StoreReply::Registers(spoil(items, Err(unavailable())))),
        _ => Err(unavailable()),
    }
}

/// What a login came to.
#[derive(Debug)]
pub(crate) enum LoginResult {
    In(Box<LoggedIn>),
    Refused(wire::Error),
    Postponed(wire::Error),
}

/// Who is in.
#[derive(Debug, Clone)]
pub(crate) struct LoggedIn {
    pub(crate) session: Session,
    pub(crate) reply: wire::LoggedIn,
}

impl LoggedIn {
    pub(crate) fn tokens(&self) -> &wire::Tokens {
        self.reply.tokens.as_ref().expect("tokens came with it")
    }

    pub(crate) fn resume(&self) -> Credential {
        Credential::ResumeToken(self.reply.resume_token.clone())
    }

    pub(crate) fn access(&self) -> Credential {
        Credential::AccessToken(self.tokens().access_token.clone())
    }

    pub(crate) fn refresh(&self) -> Credential {
        Credential::RefreshToken(self.tokens().refresh_token.clone())
    }
}

impl LoginResult {
    pub(crate) fn of(delivery: Delivery) -> LoginResult {
        let error = |response: &EncodedFrame| match decoded(response).body {
            Some(Body::Error(error)) => error,
            other => panic!("{other:?}"),
        };
        match delivery {
            Delivery::LoggedIn { session, response } => match decoded(&response).body {
                Some(Body::LoggedIn(reply)) => {
                    assert_eq!(reply.user_id, session.user.get());
                    assert_eq!(reply.session_id, session.session.get());
                    LoginResult::In(Box::new(LoggedIn { session, reply }))
                }
                other => panic!("{other:?}"),
            },
            Delivery::LoginRefused(response) => LoginResult::Refused(error(&response)),
            Delivery::LoginPostponed(response) => LoginResult::Postponed(error(&response)),
            other => panic!("{other:?} answers no login"),
        }
    }

    #[track_caller]
    pub(crate) fn unwrap(self) -> LoggedIn {
        match self {
            LoginResult::In(logged_in) => *logged_in,
            other => panic!("{other:?}"),
        }
    }

    /// Refused, and counted against the address.
    #[track_caller]
    pub(crate) fn refused(self) -> ErrorCode {
        match self {
            LoginResult::Refused(error) => error.code(),
            other => panic!("{other:?}"),
        }
    }

    /// Refused, but counted against nobody.
    #[track_caller]
    pub(crate) fn postponed(self) -> ErrorCode {
        match self {
            LoginResult::Postponed(error) => error.code(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn decoded(response: &EncodedFrame) -> wire::Frame {
    frame::decode(response.body()).unwrap()
}

pub(crate) fn conn(slot: u32) -> ConnId {
    ConnId { shard: 0, slot, generation: 1 }
}

pub(crate) fn device(number: u8) -> Device {
    device_of(number, DeviceKind::Phone)
}

pub(crate) fn device_of(number: u8, kind: DeviceKind) -> Device {
    Device { id: DeviceId([number; 16]), kind, name: format!("device {number}") }
}

/// The same from somewhere else.
pub(crate) fn entering_from(source: u64, credential: Credential, device: Device) -> Request {
    let mut request = entering(credential, device);
    request.comes_from(Source(source));
    request
}

/// A registration by an invitation, which nobody can abandon.
pub(crate) fn registering(invitation: &str, username: &str) -> Request {
    CredentialRequest::Register(Register {
        username: username.into(),
        password: PASSWORD.into(),
        display_name: username.to_uppercase(),
        invitation: invitation.into(),
        attempt: Attempt::default(),
    })
    .into()
}

/// A login that nobody can abandon.
pub(crate) fn entering(credential: Credential, device: Device) -> Request {
    entering_for(Purpose::Live, credential, device)
}

/// The same, for something else than to stay.
pub(crate) fn entering_for(purpose: Purpose, credential: Credential, device: Device) -> Request {
    let attempt = Attempt::default();
    CredentialRequest::Login(Login {
        credential,
        device,
        purpose,
        attempt,
        source: Source::default(),
    })
    .into()
}

pub(crate) fn password(username: &str) -> Credential {
    password_of(username, PASSWORD)
}

pub(crate) fn password_of(username: &str, password: &str) -> Credential {
    Credential::Password(wire::PasswordCredential {
        username: username.into(),
        password: password.into(),
    })
}

/// A token of an issuer, made `age_s` seconds ago.
pub(crate) fn issued_at(issuer: &str, username: &str, made_s: u64) -> Credential {
    signed(&serde_json::json!({
        "iss": issuer, "sub": username, "iat": made_s, "exp": made_s + 86_400 * 30,
    }))
}

/// A token with these claims.
pub(crate) fn signed(claims: &serde_json::Value) -> Credential {
    use base64::Engine as _;
    let part = |json: &serde_json::Value| {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json.to_string())
    };
    let header = part(&serde_json::json!({"alg": "HS256"}));
    let claims = part(claims);
    let signed = format!("{header}.{claims}");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, ISSUER_SECRET);
    let tag = ring::hmac::sign(&key, signed.as_bytes());
    let tag = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(tag);
    Credential::IssuerToken(format!("{signed}.{tag}"))
}

pub(crate) fn issued(username: &str) -> Credential {
    issued_at("app", username, NOW_MS / 1000)
}
