//! One look at a server before a crowd is sent to it: a wrong address, port, protocol, certificate
//! or key is said once and at once, and not by every user of a run that could only fail.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use dunlin_protocol::frame;
use dunlin_protocol::limits::FRAME_BYTES_MAX;
use dunlin_protocol::wire::{Error, ErrorCode, Frame, frame::Body};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::error::LoadtestError;
use crate::login::{hello, login};
use crate::net::web::WaitingWeb;
use crate::shortage::shortage;
use crate::target::{Service, Target};
use crate::token::Issuer;

/// How long the server may take for each step. One that is so slow is no server to put load on.
const PATIENCE: Duration = Duration::from_secs(10);

/// The user who looks: a name of its own, so that it is none of the run's.
const PREFIX: &str = "dunlin-loadtest-probe";

/// First bytes of an answer that tell what is spoken there instead.
const TLS_ALERT: u8 = 0x15;
const HTTP: &[u8] = b"HTTP/";

/// Connects, greets and logs in as a run would. What the server might do to anybody under load, such
/// as asking to come later, is left to the run.
pub fn probe(target: &Target) -> Result<(), LoadtestError> {
    let issuer = match &target.service {
        Service::Dunlin(issuer) => issuer,
        // They say nothing by themselves.
        Service::Relay | Service::Holder => return Ok(()),
    };
    let wrong = |reason: String| {
        let address = target.address.to_string();
        LoadtestError::Target { address, reason }
    };
    let socket = match connect(target) {
        Err(error) if shortage(&error).is_some() => {
            return Err(LoadtestError::machine("connecting to the server")(error));
        }
        connected => connected.map_err(|error| wrong(of_connecting(&error)))?,
    };
    match &target.tls {
        None => greet(socket, target, issuer).map_err(wrong),
        Some(trust) => {
            let config = trust.client_config().map_err(|error| wrong(error.to_string()))?;
            let session = shake_hands(socket, target, config).map_err(wrong)?;
            greet(session, target, issuer).map_err(wrong)
        }
    }
}

/// Speaks as the target says, below the requests.
fn greet(stream: impl Read + Write, target: &Target, issuer: &Issuer) -> Result<(), String> {
    let over_tls = target.tls.is_some();
    if target.web {
        converse(WaitingWeb::begin(stream, target.address)?, issuer, over_tls)
    } else {
        converse(stream, issuer, over_tls)
    }
}

fn connect(target: &Target) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&target.address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn of_connecting(error: &io::Error) -> String {
    let seconds = PATIENCE.as_secs();
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused: nobody listens there".to_owned(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => format!("no answer within {seconds} s"),
        _ => format!("no connection: {error}"),
    }
}

fn shake_hands(
    mut socket: TcpStream,
    target: &Target,
    config: Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let name = ServerName::IpAddress(target.address.ip().into());
    let session = ClientConnection::new(config, name);
    let mut session = session.map_err(|error| format!("TLS: {error}"))?;
    while session.is_handshaking() {
        session.complete_io(&mut socket).map_err(|error| of_handshake(&error))?;
    }
    Ok(StreamOwned::new(session, socket))
}

fn of_handshake(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (inner, error.kind()) {
        (Some(rustls::Error::InvalidCertificate(reason)), _) => {
            format!("its certificate is not to be trusted: {reason}")
        }
        (Some(rustls::Error::InvalidMessage(_)), _)
        | (_, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            "it does not speak TLS: is this its port for TLS?".to_owned()
        }
        (_, ErrorKind::WouldBlock | ErrorKind::TimedOut) => silent(),
        _ => format!("TLS: {error}"),
    }
}

fn silent() -> String {
    format!("it accepts connections, but says nothing for {} s", PATIENCE.as_secs())
}

/// The first requests of every connection.
fn converse(mut stream: impl Read + Write, issuer: &Issuer, over_tls: bool) -> Result<(), String> {
    let requests = [Body::Hello(hello()), Body::Login(login(issuer, PREFIX, 0))];
    for (request_id, request) in (1..).zip(requests) {
        let answer = ask(&mut stream, request_id, request, over_tls)?;
        if let Body::Error(error) = &answer
            && let Some(reason) = refusal(error)
        {
            return Err(reason);
        }
        // Turned away for now, or for reasons that every user would meet with differently.
        if matches!(answer, Body::Error(_) | Body::Close(_)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Why it is in vain to try it again, or for others to try it.
fn refusal(error: &Error) -> Option<String> {
    let said = &error.message;
    match error.code() {
        ErrorCode::WrongCredentials | ErrorCode::TokenExpired | ErrorCode::TokenInvalid => Some(
            format!("it refuses the token of a user ({said}): are issuer and issuer_key its own?"),
        ),
        ErrorCode::InvalidArgument
        | ErrorCode::UnknownCommand
        | ErrorCode::PermissionDenied
        | ErrorCode::InvitationInvalid
        | ErrorCode::RegistrationClosed => {
            Some(format!("it refuses what every user would ask for: {said}"))
        }
        ErrorCode::Unspecified
        | ErrorCode::NotLoggedIn
        | ErrorCode::AlreadyLoggedIn
        | ErrorCode::NoSuchConversation
        | ErrorCode::NoSuchUser
        | ErrorCode::MessageIdConflict
        | ErrorCode::NameTaken
        | ErrorCode::ContentInvalid
        | ErrorCode::Overtaken
        | ErrorCode::NoSuchEntry
        | ErrorCode::VersionConflict
        | ErrorCode::LimitReached
        | ErrorCode::SessionRevoked
        | ErrorCode::NewTokenNeeded
        | ErrorCode::AccountDisabled
        | ErrorCode::IssuerAccount
        | ErrorCode::FetchOnly
        | ErrorCode::RateLimited
        | ErrorCode::Overloaded
        | ErrorCode::StoreUnavailable
        | ErrorCode::Timeout
        | ErrorCode::ShuttingDown
        | ErrorCode::Internal
        | ErrorCode::DataCorrupt => None,
    }
}

fn ask(
    stream: &mut (impl Read + Write),
    request_id: u64,
    body: Body,
    over_tls: bool,
) -> Result<Body, String> {
    let mut bytes = BytesMut::new();
    frame::encode_into(&Frame { request_id, body: Some(body) }, &mut bytes);
    let failed = |error: io::Error| of_conversation(&error, over_tls);
    stream.write_all(&bytes).and_then(|()| stream.flush()).map_err(failed)?;
    let mut input = BytesMut::new();
    loop {
        let taken = frame::take(&mut input, FRAME_BYTES_MAX);
        let taken = taken.map_err(|_| of_foreigner(&input))?;
        let Some(body) = taken else {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).map_err(failed)? {
                0 if input.is_empty() => return Err(closed(over_tls)),
                0 => return Err(of_foreigner(&input)),
                count => input.extend_from_slice(&chunk[..count]),
            }
            // What is spoken elsewhere announces frames that nobody sends.
            if is_foreign(&input) {
                return Err(of_foreigner(&input));
            }
            continue;
        };
        let frame = frame::decode(body).map_err(|error| format!("it speaks no Dunlin: {error}"))?;
        // Heartbeats and pushes may come in between.
        if let Frame { request_id: answered, body: Some(body) } = frame
            && (answered == request_id || matches!(body, Body::Close(_)))
        {
            return Ok(body);
        }
    }
}

fn is_foreign(input: &[u8]) -> bool {
    input.starts_with(HTTP) || input.first() == Some(&TLS_ALERT)
}

fn of_foreigner(input: &[u8]) -> String {
    if input.first() == Some(&TLS_ALERT) {
        return "it speaks TLS: tls is missing, or this is another port".to_owned();
    }
    if input.starts_with(HTTP) {
        return "it speaks HTTP: is this the port of another program?".to_owned();
    }
    "what it answers is no frame of Dunlin's: is this the port of another program?".to_owned()
}

fn of_conversation(error: &io::Error, over_tls: bool) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => silent(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            closed(over_tls)
        }
        _ => error.to_string(),
    }
}

fn closed(over_tls: bool) -> String {
    let hint = if over_tls { "" } else { " (if it speaks TLS there, tls is missing)" };
    format!("it closes the connection when it is greeted: is it Dunlin?{hint}")
}
