//! What may be said on a connection, and when: one small state machine for every transport.
//!
//! ```text
//!            Hello              Login               Delivery::LoggedIn
//!  Silent ──────────► Greeted ──────────► LoggingIn ──────────────────► LoggedIn(session)
//!                        ▲                    │
//!                        └────────────────────┘
//!              Delivery::LoginRefused or LoginPostponed
//! ```
//!
//! A Register is to a connection what a Login is, whose end leads back to `Greeted` in any case: it costs a
//! password hash as well, and a connection has one of these under way at most.
//!
//! A transport feeds it the bodies of frames and does what [`Received`] says. So bytes become a
//! valid [`Command`] on the thread that read them, and a worker never sees anything else.
//!
//! What is refused, and how:
//! - what can't be understood at all, or may never be said now, closes the connection;
//! - what has a `request_id` and is merely wrong gets its `Error`, and the connection goes on;
//! - who has logged in only to look gets `FETCH_ONLY` for anything else;
//! - what follows a Login is fed in when that has ended: a client need not wait for the answer, so
//!   a transport lets it wait while [`is_logging_in`](Connection::is_logging_in). One that does not
//!   gets `NOT_LOGGED_IN` for it, and `ALREADY_LOGGED_IN` for a second Login.
//!
//! When it is dropped while a login is under way, that login is [abandoned](crate::attempt).

use bytes::{Bytes, BytesMut};
use dunlin_protocol::frame::FrameError;
use dunlin_protocol::limits::{
    CONTENT_BYTES_MAX, FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_LOGIN, HEARTBEAT_INTERVAL_MS,
    NAME_BYTES_MAX, REQUESTS_OUTSTANDING_MAX, SMALL_FRAME_BYTES_MAX,
};
use dunlin_protocol::wire::{CloseReason, Error, ErrorCode, Hello, Rules, frame::Body};
use dunlin_protocol::{EncodedFrame, frame};

use crate::arrival::Arrival;
use crate::attempt::{Attempt, Tried, Waiting};
use crate::config::EngineConfig;
use crate::rates::{Cost, Kind as Budget, Spending};
use crate::request::{Command, CredentialRequest, InvalidRequest, Purpose, Request};
use crate::transport::{ConnId, Session};
use crate::welcome::{self, Capabilities, EncodedWelcome, TransportLimits};

/// What all connections of a transport have in common.
#[derive(Debug, Clone)]
pub struct ConnectionContext {
    /// Name and version of the server, for Welcome.
    pub server: String,
    /// How often a client must be heard, for Welcome.
    pub heartbeat_interval_ms: u32,
    /// The largest frame body after login.
    pub frame_bytes_max: u32,
    /// The same of all but Send and Sync: see [`SMALL_FRAME_BYTES_MAX`].
    pub small_frame_bytes_max: u32,
    /// How many requests may wait for their response, for Welcome. The transport counts them.
    pub requests_outstanding_max: u32,
    /// What else the transport holds a connection to, for Welcome.
    pub transport: TransportLimits,
    /// What the engine asks of names, passwords and devices, for Welcome: see [`welcome::rules`].
    pub rules: Rules,
    /// What may be in force on a connection whose client has it, too.
    pub capabilities: Capabilities,
    /// Made at the first Hello, of all of the above as it is then.
    pub welcome: EncodedWelcome,
}

impl ConnectionContext {
    /// What suits most servers: the limits and the heartbeat of docs/protocol.md, the rules of an
    /// engine with the default configuration, and all capabilities. `server` is the name and version
    /// of the server.
    pub fn new(server: impl Into<String>) -> ConnectionContext {
        ConnectionContext {
            server: server.into(),
            heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
            frame_bytes_max: FRAME_BYTES_MAX,
            small_frame_bytes_max: SMALL_FRAME_BYTES_MAX,
            requests_outstanding_max: REQUESTS_OUTSTANDING_MAX,
            transport: TransportLimits::default(),
            rules: welcome::rules(&EngineConfig::default()),
            capabilities: Capabilities { deflate: true },
            welcome: EncodedWelcome::default(),
        }
    }
}

// Fields of `Frame.body` in the .proto file, of the requests that may be large.
const SEND_FIELD: u32 = 2;
const SYNC_FIELD: u32 = 37;

/// The state of one connection.
#[derive(Debug, Default)]
pub struct Connection {
    phase: Phase,
}

/// What holds since the Hello is in each of them: there it takes no room beside the tag.
#[derive(Debug, Default)]
enum Phase {
    /// No Hello yet.
    #[default]
    Silent,
    /// Hello was said.
    Greeted(Standing),
    /// A Login is under way, and what for.
    LoggingIn(Standing, Waiting, Purpose),
    /// A Register is under way.
    Registering(Standing, Waiting),
    /// It speaks for a session.
    LoggedIn(Standing, Session),
    /// It looks at what a session may see.
    Fetching(Standing, Session),
}

/// What holds since the Hello.
#[derive(Debug, Default, Clone, Copy)]
struct Standing {
    in_force: Capabilities,
    spending: Spending,
}

// There is one per connection, a million in a process.
const _: () = assert!(size_of::<Connection>() <= 24);

/// What a transport does about a frame.
#[derive(Debug)]
pub enum Received {
    /// Nothing.
    Nothing,
    /// Send this.
    Respond(EncodedFrame),
    /// Submit this to the engine; its response comes by [`Transport::deliver`].
    ///
    /// [`Transport::deliver`]: crate::transport::Transport::deliver
    Submit(Command),
    /// Say why, and close.
    Close(CloseReason),
}

impl Connection {
    /// A connection on which nothing was said yet.
    pub fn new() -> Connection {
        Connection::default()
    }

    /// The largest frame body that it may send now.
    pub fn frame_bytes_max(&self, context: &ConnectionContext) -> u32 {
        match self.phase {
            Phase::LoggedIn(..) | Phase::Fetching(..) => context.frame_bytes_max,
            Phase::Silent | Phase::Greeted(_) | Phase::LoggingIn(..) | Phase::Registering(..) => {
                FRAME_BYTES_MAX_BEFORE_LOGIN.min(context.frame_bytes_max)
            }
        }
    }

    /// Takes the body of the first frame off `input`; `None` if it is incomplete. What is too large is
    /// refused as soon as its first bytes say what it is.
    #[inline]
    pub fn take_frame(
        &self,
        context: &ConnectionContext,
        input: &mut BytesMut,
    ) -> Result<Option<Bytes>, FrameError> {
        let bytes_max = self.frame_bytes_max(context);
        let length = frame::body_length(input, bytes_max)?;
        if length.is_some_and(|length| length > context.small_frame_bytes_max as usize) {
            self.check_large_frame(context, input)?;
        }
        frame::take(input, bytes_max)
    }

    /// A large frame is only allowed to some requests. Before login there is nobody to have a small one
    /// of: tokens are what is large then.
    #[cold]
    fn check_large_frame(
        &self,
        context: &ConnectionContext,
        input: &[u8],
    ) -> Result<(), FrameError> {
        let Some(field) = frame::body_field(input) else { return Ok(()) };
        let bytes_max = match (&self.phase, field) {
            (
                Phase::Silent | Phase::Greeted(_) | Phase::LoggingIn(..) | Phase::Registering(..),
                _,
            )
            | (Phase::LoggedIn(..) | Phase::Fetching(..), SYNC_FIELD) => return Ok(()),
            (Phase::LoggedIn(..) | Phase::Fetching(..), SEND_FIELD) => {
                context.small_frame_bytes_max.saturating_add(CONTENT_BYTES_MAX as u32)
            }
            (Phase::LoggedIn(..) | Phase::Fetching(..), _) => context.small_frame_bytes_max,
        };
        frame::body_length(input, bytes_max.min(context.frame_bytes_max)).map(|_| ())
    }

    /// Whether the first frame in `input`, which need not be there whole, may be a message to store; `false`
    /// as long as too little of it is there. One in the order of no encoder may be anything.
    pub fn may_be_message(&self, input: &[u8]) -> bool {
        match (&self.phase, frame::body_field(input)) {
            (Phase::LoggedIn(..), Some(SEND_FIELD | 0)) => true,
            (
                Phase::Silent
                | Phase::Greeted(_)
                | Phase::LoggingIn(..)
                | Phase::Registering(..)
                | Phase::LoggedIn(..)
                | Phase::Fetching(..),
                _,
            ) => false,
        }
    }

    /// Who speaks on it, after login.
    pub fn session(&self) -> Option<Session> {
        match self.phase {
            Phase::LoggedIn(_, session) | Phase::Fetching(_, session) => Some(session),
            Phase::Silent | Phase::Greeted(_) | Phase::LoggingIn(..) | Phase::Registering(..) => {
                None
            }
        }
    }

    /// Whether Hello was said.
    pub fn greeted(&self) -> bool {
        !matches!(self.phase, Phase::Silent)
    }

    /// Whether a Login or a Register is under way.
    pub fn is_logging_in(&self) -> bool {
        matches!(self.phase, Phase::LoggingIn(..) | Phase::Registering(..))
    }

    /// Whether a Register is under way.
    pub fn is_registering(&self) -> bool {
        matches!(self.phase, Phase::Registering(..))
    }

    /// Who tries to get in by the Login or Register that is under way, and by what.
    pub fn login_tried(&self) -> Option<&Tried> {
        match &self.phase {
            Phase::LoggingIn(_, waiting, _) | Phase::Registering(_, waiting) => {
                Some(waiting.tried())
            }
            Phase::Silent | Phase::Greeted(_) | Phase::LoggedIn(..) | Phase::Fetching(..) => None,
        }
    }

    /// The engine delivered `LoggedIn`.
    pub fn logged_in(&mut self, session: Session) {
        let mut standing = self.standing();
        // Now it is known who asks.
        standing.spending.begin();
        self.phase = match self.phase {
            Phase::LoggingIn(_, _, Purpose::Fetch) => Phase::Fetching(standing, session),
            Phase::LoggingIn(_, _, Purpose::Live | Purpose::NewTokens)
            | Phase::Registering(..)
            | Phase::Silent
            | Phase::Greeted(_)
            | Phase::LoggedIn(..)
            | Phase::Fetching(..) => Phase::LoggedIn(standing, session),
        };
    }

    /// The engine delivered `LoginRefused`, `LoginPostponed` or `Registered`: login may be tried (again).
    pub fn login_refused(&mut self) {
        if self.is_logging_in() {
            self.phase = Phase::Greeted(self.standing());
        }
    }

    fn standing(&self) -> Standing {
        match self.phase {
            Phase::Silent => Standing::default(),
            Phase::Greeted(standing)
            | Phase::LoggingIn(standing, ..)
            | Phase::Registering(standing, _)
            | Phase::LoggedIn(standing, _)
            | Phase::Fetching(standing, _) => standing,
        }
    }

    /// Before the Hello there is nobody to have any.
    fn spending(&mut self) -> Option<&mut Spending> {
        match &mut self.phase {
            Phase::Silent => None,
            Phase::Greeted(standing)
            | Phase::LoggingIn(standing, ..)
            | Phase::Registering(standing, _)
            | Phase::LoggedIn(standing, _)
            | Phase::Fetching(standing, _) => Some(&mut standing.spending),
        }
    }

    /// Counts what was asked. What has to be [paid](crate::rates::Budgets::take) for it now, if anything: what is
    /// small is added up, until it is enough to look at budgets for it. If it can't be paid, say
    /// [`refuse`](Self::refuse) and do nothing of it.
    #[inline]
    pub fn spend(&mut self, cost: Cost) -> Option<Cost> {
        self.spending()?.add(cost)
    }

    /// What was asked and not paid, when the connection ends.
    pub fn unpaid(&mut self) -> Cost {
        self.spending().map_or_else(Cost::default, Spending::take)
    }

    /// What had to be paid was paid.
    pub fn paid(&mut self, cost: Cost) {
        if let Some(spending) = self.spending() {
            spending.paid(cost);
        }
    }

    /// It could not be paid, for want of this: from now on each request that costs some is to be paid by itself. How
    /// many could not, less those that could since: a transport closes the connection of who goes on and on.
    pub fn refuse(&mut self, kind: Budget) -> u16 {
        self.spending().map_or(0, |spending| spending.refuse(kind))
    }

    /// The connection ends, though this is kept for a while: a login that is under way is abandoned.
    pub fn abandon_login(&mut self) {
        self.login_refused();
    }

    /// Takes the body of a frame. `now_ms` is the Unix time, for Welcome.
    pub fn receive(
        &mut self,
        context: &ConnectionContext,
        conn: ConnId,
        now_ms: u64,
        body: Bytes,
    ) -> Received {
        if body.is_empty() {
            return Received::Respond(EncodedFrame::heartbeat());
        }
        let Ok(frame) = frame::decode(body) else {
            return Received::Close(CloseReason::MalformedFrame);
        };
        let request_id = frame.request_id;
        match (&self.phase, Said::of(frame.body)) {
            (Phase::Silent, Said::Hello(hello)) if request_id != 0 => {
                self.greet(context, now_ms, request_id, &hello)
            }
            (Phase::Silent, _) | (_, Said::Hello(_) | Said::ServerOnly) => {
                Received::Close(CloseReason::ProtocolViolation)
            }
            (_, Said::Unknown) if request_id == 0 => {
                Received::Close(CloseReason::ProtocolViolation)
            }
            (_, Said::Unknown) => {
                let message = "this server does not know the request";
                refuse(request_id, ErrorCode::UnknownCommand, message)
            }
            (_, Said::Request(kind, parsed)) => self.request(conn, request_id, kind, parsed),
        }
    }

    fn greet(
        &mut self,
        context: &ConnectionContext,
        now_ms: u64,
        request_id: u64,
        hello: &Hello,
    ) -> Received {
        if hello.protocol_version == 0 {
            return Received::Close(CloseReason::UnsupportedVersion);
        }
        if hello.client.len() > NAME_BYTES_MAX {
            let reason = format!("{} bytes of at most {NAME_BYTES_MAX}", hello.client.len());
            let invalid =
                InvalidRequest { field: "client", reason, code: ErrorCode::InvalidArgument };
            return refuse_invalid(request_id, &invalid);
        }
        let in_force = context.capabilities.in_common(hello);
        self.phase = Phase::Greeted(Standing { in_force, ..Standing::default() });
        Received::Respond(welcome::welcome(context, in_force, now_ms, request_id, hello))
    }

    fn request(&mut self, conn: ConnId, request_id: u64, kind: Kind, parsed: Parsed) -> Received {
        let unanswered = request_id == 0;
        if unanswered && (kind != Kind::Signal || self.session().is_none()) {
            return Received::Close(CloseReason::ProtocolViolation);
        }
        match self.permits(kind) {
            Ok(()) => {}
            // It asked for no response.
            Err(_) if unanswered => return Received::Nothing,
            Err((code, message)) => return refuse(request_id, code, message),
        }
        match parsed {
            Ok(mut request) => {
                let session = self.session();
                if let Request::Credential(request) = &mut request {
                    self.begin(request);
                }
                let may_deflate = self.standing().in_force.deflate;
                let arrived = Arrival::UNKNOWN;
                Received::Submit(Command {
                    conn,
                    session,
                    request_id,
                    may_deflate,
                    arrived,
                    request,
                })
            }
            // It asked for no response, and a signal may get lost anyway.
            Err(_) if unanswered => Received::Nothing,
            Err(invalid) => refuse_invalid(request_id, &invalid),
        }
    }

    fn begin(&mut self, request: &mut CredentialRequest) {
        let standing = self.standing();
        self.phase = match request {
            CredentialRequest::Login(login) => {
                let (waiting, attempt) = Attempt::begin_by(&login.credential);
                login.attempt = attempt;
                Phase::LoggingIn(standing, waiting, login.purpose)
            }
            CredentialRequest::Register(register) => {
                let (waiting, attempt) = Attempt::begin_registering(&register.username);
                register.attempt = attempt;
                Phase::Registering(standing, waiting)
            }
        };
    }

    fn permits(&self, kind: Kind) -> Result<(), (ErrorCode, &'static str)> {
        match (&self.phase, kind) {
            (Phase::LoggedIn(..) | Phase::Fetching(..), Kind::Login | Kind::Register) => {
                Err((ErrorCode::AlreadyLoggedIn, "the connection is logged in already"))
            }
            (Phase::LoggingIn(..) | Phase::Registering(..), Kind::Login | Kind::Register) => {
                Err((ErrorCode::AlreadyLoggedIn, "a login is under way on the connection"))
            }
            (
                Phase::Silent | Phase::Greeted(_) | Phase::LoggingIn(..) | Phase::Registering(..),
                Kind::Signal | Kind::Fetch | Kind::Other,
            ) => Err((ErrorCode::NotLoggedIn, "log in first")),
            (Phase::Fetching(..), Kind::Signal | Kind::Other) => {
                Err((ErrorCode::FetchOnly, "this login is to fetch only"))
            }
            (Phase::LoggedIn(..), Kind::Signal | Kind::Fetch | Kind::Other)
            | (Phase::Fetching(..), Kind::Fetch)
            | (Phase::Silent | Phase::Greeted(_), Kind::Login | Kind::Register) => Ok(()),
        }
    }
}

type Parsed = Result<Request, InvalidRequest>;

/// What the body of a frame is to this side.
enum Said {
    Hello(Hello),
    /// A request for the engine.
    Request(Kind, Parsed),
    /// What only a server says.
    ServerOnly,
    /// Nothing that this version knows.
    Unknown,
}

/// What matters of a request here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Register,
    Login,
    /// The one request that need not be answered.
    Signal,
    /// What somebody may ask who only looks.
    Fetch,
    Other,
}

impl Said {
    fn of(body: Option<Body>) -> Said {
        let Some(body) = body else {
            return Said::Unknown;
        };
        match body {
            Body::Hello(hello) => Said::Hello(hello),
            Body::Register(register) => Said::Request(Kind::Register, register.try_into()),
            Body::Login(login) => Said::Request(Kind::Login, login.try_into()),
            Body::Signal(signal) => Said::Request(Kind::Signal, signal.try_into()),
            Body::Send(send) => Said::Request(Kind::Other, send.try_into()),
            Body::MarkRead(mark) => Said::Request(Kind::Fetch, mark.try_into()),
            Body::SetSetting(set) => Said::Request(Kind::Other, set.try_into()),
            Body::UpdateConversation(update) => Said::Request(Kind::Other, update.try_into()),
            Body::Refresh(refresh) => Said::Request(Kind::Other, Ok(refresh.into())),
            Body::Logout(logout) => Said::Request(Kind::Other, logout.try_into()),
            Body::Sync(sync) => Said::Request(Kind::Fetch, sync.try_into()),
            Body::History(history) => Said::Request(Kind::Fetch, history.try_into()),
            Body::FindMessage(find) => Said::Request(Kind::Fetch, find.try_into()),
            Body::FindUsers(find) => Said::Request(Kind::Fetch, find.try_into()),
            Body::ListSessions(list) => Said::Request(Kind::Other, Ok(list.into())),
            Body::ChangePassword(change) => Said::Request(Kind::Other, change.try_into()),
            Body::Sent(_)
            | Body::Push(_)
            | Body::ReadReceipt(_)
            | Body::Done(_)
            | Body::Error(_)
            | Body::Behind(_)
            | Body::Welcome(_)
            | Body::Registered(_)
            | Body::LoggedIn(_)
            | Body::Tokens(_)
            | Body::Synced(_)
            | Body::HistoryPage(_)
            | Body::Users(_)
            | Body::Sessions(_)
            | Body::Setting(_)
            | Body::Membership(_)
            | Body::FoundMessage(_)
            | Body::GoAway(_)
            | Body::Close(_)
            | Body::Compressed(_) => Said::ServerOnly,
        }
    }
}

fn refuse(request_id: u64, code: ErrorCode, message: &str) -> Received {
    let error = Error { code: code.into(), message: message.into(), ..Error::default() };
    Received::Respond(EncodedFrame::response(request_id, Body::Error(error)))
}

fn refuse_invalid(request_id: u64, invalid: &InvalidRequest) -> Received {
    let error = Error {
        code: invalid.code.into(),
        message: invalid.to_string(),
        field: invalid.field.into(),
        ..Error::default()
    };
    Received::Respond(EncodedFrame::response(request_id, Body::Error(error)))
}
