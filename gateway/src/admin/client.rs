//! The end of the socket that asks.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::message::{
    self, ANSWER_BYTES_MAX, Answer, Fault, MessageError, REQUEST_BYTES_MAX, Reply, Request,
};

/// How long an answer about accounts may take: hashing a password behind a crowd of logins. A
/// backup or a check takes as long as it takes; a server that dies meanwhile closes the socket.
const ACCOUNTS_TIMEOUT: Duration = Duration::from_secs(60);

/// Asks over a new connection. `told` gets what comes before the answer.
pub(super) fn ask(
    mut stream: UnixStream,
    request: &Request,
    told: &mut dyn FnMut(Reply),
) -> Answer {
    let patient = matches!(request, Request::Backup { .. } | Request::Verify);
    let timeout = (!patient).then_some(ACCOUNTS_TIMEOUT);
    let asked = stream
        .set_read_timeout(timeout)
        .map_err(MessageError::from)
        .and_then(|()| message::write(&mut stream, request, REQUEST_BYTES_MAX));
    // Who is turned away is told so without being heard: the answer is there, and nobody listens.
    loop {
        match message::read::<Answer>(&mut stream, ANSWER_BYTES_MAX) {
            Ok(Ok(step @ Reply::Verifying { .. })) => told(step),
            Ok(answer) => return answer,
            Err(error) => return Err(explain(&asked.err().unwrap_or(error))),
        }
    }
}

fn explain(error: &MessageError) -> Fault {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
    let kind = match error {
        MessageError::Io(error) => Some(error.kind()),
        _ => None,
    };
    match kind {
        Some(UnexpectedEof | ConnectionReset | BrokenPipe) => Fault::new(
            "the server ended before it answered; whether it was done is not known, so look first",
        ),
        Some(WouldBlock | TimedOut) => Fault::new(
            "the server did not answer in time; whether it was done is not known, so look first",
        ),
        _ => Fault::new(format_args!("the server: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_turned_away_learns_why() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let answer: Answer = Err(Fault::new("too many commands at a time; try again"));
        message::write(&mut there, &answer, ANSWER_BYTES_MAX).unwrap();
        drop(there);
        assert_eq!(ask(here, &Request::Verify, &mut |_| {}), answer);
    }

    #[test]
    fn a_server_that_has_gone_is_named() {
        let (here, there) = UnixStream::pair().unwrap();
        drop(there);
        let fault = ask(here, &Request::Verify, &mut |_| {}).unwrap_err().to_string();
        assert!(fault.starts_with("the server ended before it answered"), "{fault}");
    }
}
