//! The end of the socket that answers: a thread of its own, and one more for each command that is
//! under way. They share the descriptor table of the process; shards have their own.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Uid;

use super::administration::Administration;
use super::message::{
    self, ANSWER_BYTES_MAX, Answer, Fault, MessageError, REQUEST_BYTES_MAX, Reply, Request,
};
use super::socket;

/// Commands that may be under way at a time. People and scripts of one machine need few; each has
/// a thread.
const CALLERS_MAX: usize = 16;

/// From the connection to the end of the request, and for taking the answer: both ends are on
/// this machine.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long accepting pauses when the system has no descriptor for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers commands until it is stopped.
#[derive(Debug)]
pub(crate) struct AdminServer {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
    /// Its end tells all threads to end.
    running: Option<UnixStream>,
}

#[derive(Debug)]
struct Shared {
    administration: Administration,
    /// Readable, by its end, when the server is stopped.
    stopped: UnixStream,
}

impl AdminServer {
    /// Begins to listen. The caller holds the lock of the store: nobody else listens here.
    pub(crate) fn start(path: PathBuf, administration: Administration) -> io::Result<AdminServer> {
        let listener = socket::listen(&path)?;
        listener.set_nonblocking(true)?;
        let (running, stopped) = UnixStream::pair()?;
        let shared = Arc::new(Shared { administration, stopped });
        let thread = std::thread::Builder::new().name("admin".into());
        let thread = thread.spawn(move || accept_all(&listener, &shared))?;
        Ok(AdminServer { path, thread: Some(thread), running: Some(running) })
    }

    /// Lets nobody in any more, and waits for what is under way. To be called while the store is
    /// still locked: afterwards the socket might be that of another server.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.running = None;
        let Some(thread) = self.thread.take() else { return };
        if thread.join().is_err() {
            tracing::error!("the thread of the admin socket panicked");
        }
        if let Err(error) = socket::remove(&self.path) {
            tracing::warn!(%error, "can't remove the admin socket");
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.end();
    }
}

fn accept_all(listener: &UnixListener, shared: &Arc<Shared>) {
    let mut callers: Vec<JoinHandle<()>> = Vec::new();
    while shared.wait(listener, PollFlags::IN, None).is_ok() {
        callers.retain(|caller| !caller.is_finished());
        match listener.accept() {
            Ok((stream, _)) if callers.len() >= CALLERS_MAX => shared.turn_away(stream),
            Ok((stream, _)) => {
                let of_caller = Arc::clone(shared);
                let thread = std::thread::Builder::new().name("admin-call".into());
                match thread.spawn(move || of_caller.serve(stream)) {
                    Ok(caller) => callers.push(caller),
                    Err(error) => tracing::warn!(%error, "no thread for an admin command"),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!(%error, "can't accept an admin command");
                let until = Some(Instant::now() + ACCEPT_PAUSE);
                // Whichever comes first, the end of the pause or the stop, the loop sees it.
                let _pause = shared.wait(&shared.stopped, PollFlags::empty(), until);
            }
        }
    }
    for caller in callers {
        if caller.join().is_err() {
            tracing::error!("an admin command panicked");
        }
    }
}

impl Shared {
    fn serve(&self, stream: UnixStream) {
        if let Err(error) = self.converse(stream) {
            // Somebody who connects and leaves, or says nothing: harmless.
            tracing::debug!(%error, "an admin connection ended early");
        }
    }

    fn converse(&self, stream: UnixStream) -> Result<(), MessageError> {
        let mut call = Call::new(self, stream)?;
        let answer: Answer = match self.ensure_allowed(&call.stream) {
            Ok(uid) => match message::read::<Request>(&mut call, REQUEST_BYTES_MAX) {
                Ok(mut request) => {
                    request.asked_by(uid);
                    self.carry_out(request, &mut |step| call.tell(step))
                }
                Err(MessageError::Io(error)) => return Err(error.into()),
                Err(error) => Err(Fault::new(error)),
            },
            Err(fault) => Err(fault),
        };
        call.until = Instant::now() + CALL_TIMEOUT;
        message::write(&mut call, &answer, ANSWER_BYTES_MAX)
    }

    fn carry_out(&self, request: Request, told: &mut dyn FnMut(Reply)) -> Answer {
        let (command, is_look) = (request.command(), matches!(request, Request::Status));
        let (name, folder) = (request.username().map(str::to_owned), request.folder());
        let answer = self.administration.carry_out(request, told);
        match &answer {
            // Programs ask every few seconds, and would keep what was changed out of the log.
            Ok(_) if is_look => tracing::debug!(command, "an admin command was carried out"),
            Ok(_) => tracing::info!(command, name, folder, "an admin command was carried out"),
            Err(error) => {
                tracing::warn!(command, name, folder, %error, "an admin command was refused");
            }
        }
        answer
    }

    /// Returns who asks. The mode of the socket keeps others out; this also holds where a file system has no modes.
    fn ensure_allowed(&self, stream: &UnixStream) -> Result<u32, Fault> {
        let peer = rustix::net::sockopt::socket_peercred(stream).map_err(Fault::new)?.uid;
        let own = rustix::process::geteuid();
        if may_command(peer, own) {
            return Ok(peer.as_raw());
        }
        let (peer, own) = (peer.as_raw(), own.as_raw());
        tracing::warn!(peer, "an admin command of another user is refused");
        Err(Fault::new(format_args!("user {peer} may not do this; user {own} and root may")))
    }

    fn turn_away(&self, stream: UnixStream) {
        let answer: Answer = Err(Fault::new("too many commands at a time; try again"));
        let told = Call::new(self, stream).map_err(MessageError::from).and_then(|mut call| {
            // A new connection has room for so little: nobody is waited for.
            call.until = Instant::now();
            message::write(&mut call, &answer, ANSWER_BYTES_MAX)
        });
        if let Err(error) = told {
            tracing::debug!(%error, "an admin command was turned away");
        }
    }

    /// Waits until something can be done with a socket; an error if the server is stopped, or if
    /// it takes too long.
    fn wait(&self, fd: impl AsFd, wanted: PollFlags, until: Option<Instant>) -> io::Result<()> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [PollFd::new(&fd, wanted), PollFd::new(&self.stopped, PollFlags::IN)];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) if !fds[1].revents().is_empty() => {
                    return Err(io::Error::other("the server is stopping"));
                }
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whoever may read the data folder anyway.
fn may_command(peer: Uid, own: Uid) -> bool {
    peer == own || peer.is_root()
}

/// A connection with a deadline, which ends early when the server is stopped.
struct Call<'a> {
    shared: &'a Shared,
    stream: UnixStream,
    until: Instant,
}

impl Call<'_> {
    fn new(shared: &Shared, stream: UnixStream) -> io::Result<Call<'_>> {
        stream.set_nonblocking(true)?;
        Ok(Call { shared, stream, until: Instant::now() + CALL_TIMEOUT })
    }

    /// Tells how far something has come. Who does not listen is not waited for long, and learns it
    /// from the end.
    fn tell(&mut self, step: Reply) {
        self.until = Instant::now() + CALL_TIMEOUT;
        if let Err(error) = message::write(self, &Ok::<Reply, Fault>(step), ANSWER_BYTES_MAX) {
            tracing::debug!(%error, "nobody listens to how far an admin command has come");
        }
    }

    fn retry<T>(
        &mut self,
        wanted: PollFlags,
        mut attempt: impl FnMut(&UnixStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match attempt(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.shared.wait(&self.stream, wanted, Some(self.until))?;
                }
                done => return done,
            }
        }
    }
}

impl Read for Call<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.retry(PollFlags::IN, |mut stream| stream.read(buffer))
    }
}

impl Write for Call<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(PollFlags::OUT, |mut stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_the_server_and_root_may_command() {
        let (root, own, other) = (Uid::ROOT, Uid::from_raw(7), Uid::from_raw(8));
        assert!(may_command(own, own) && may_command(root, own) && may_command(root, root));
        assert!(!may_command(other, own) && !may_command(own, root));
    }
}
