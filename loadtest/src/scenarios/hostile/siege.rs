//! All attackers, on a thread of their own: they begin when the pairs are there, and end with them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use dunlin_protocol::limits::FRAME_BYTES_MAX;
use dunlin_protocol::wire::{Frame, frame::Body};
use dunlin_protocol::{EncodedFrame, UserId, frame};

use super::{Attack, Hostile, HostileReport};
use crate::error::LoadtestError;
use crate::login::{hello, login};
use crate::process::usage;
use crate::target::{Service, Target};
use crate::token::Issuer;

/// How long the server may take for each step of a login. An attacker who is not let in tries again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at the memory of the server, and at attackers for whom there is nothing to do.
const REST: Duration = Duration::from_millis(10);

/// Who was sent away comes back after this time.
const RETURN: Duration = Duration::from_millis(500);

/// What is read of an attacker's answers at a time.
const READ_BYTES: usize = 64 * 1024;

/// A Close is no longer than this: other frames need not be decoded.
const CLOSE_BYTES_MAX: usize = 256;

/// The most that is written for one attacker before the others have their turn.
const WRITE_BYTES: usize = 256 * 1024;

/// An attack that goes on until it is [ended](Siege::end).
#[derive(Debug)]
pub(crate) struct Siege {
    signals: Arc<Signals>,
    thread: JoinHandle<HostileReport>,
}

#[derive(Debug, Default)]
struct Signals {
    begins: AtomicBool,
    ends: AtomicBool,
}

impl Siege {
    /// Makes everything ready.
    pub(crate) fn prepare(hostile: &Hostile, target: &Target) -> Result<Siege, LoadtestError> {
        let signals = Arc::<Signals>::default();
        let besiegers = Besiegers::new(hostile, target, Arc::clone(&signals));
        let thread = thread::Builder::new().name("attackers".into());
        let thread = thread.spawn(move || besiegers.run());
        let thread = thread.map_err(LoadtestError::machine("starting a thread"))?;
        Ok(Siege { signals, thread })
    }

    /// The pairs are there.
    pub(crate) fn begin(&self) {
        self.signals.begins.store(true, Ordering::Relaxed);
    }

    /// Ends it.
    pub(crate) fn end(self) -> HostileReport {
        self.signals.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("attackers do not panic")
    }
}

/// The state of the thread.
struct Besiegers {
    target: Target,
    attackers: Vec<Attacker>,
    signals: Arc<Signals>,
    report: HostileReport,
    scratch: Vec<u8>,
}

/// One connection, again and again.
struct Attacker {
    name: String,
    state: State,
}

enum State {
    /// Away, until then.
    Away(Instant),
    Attacking(Attacking),
}

struct Attacking {
    socket: TcpStream,
    user: Option<UserId>,
    round: u64,
    words: Vec<u8>,
    written: usize,
    input: BytesMut,
    /// Of a Close that was read.
    reason: Option<String>,
}

impl Besiegers {
    fn new(hostile: &Hostile, target: &Target, signals: Arc<Signals>) -> Besiegers {
        let run = std::process::id();
        let attacker = |number| Attacker {
            name: format!("attacker-{run}-{number}"),
            state: State::Away(Instant::now()),
        };
        Besiegers {
            target: target.clone(),
            attackers: (0..hostile.attackers).map(attacker).collect(),
            signals,
            report: HostileReport { settings: hostile.clone(), ..HostileReport::default() },
            scratch: vec![0; READ_BYTES],
        }
    }

    fn run(mut self) -> HostileReport {
        self.report.resident_bytes_before = self.resident_bytes();
        while !self.signals.begins.load(Ordering::Relaxed) && !self.is_over() {
            thread::sleep(REST);
        }
        while !self.is_over() {
            let is_busy = self.turn();
            self.look();
            if !is_busy {
                thread::sleep(REST);
            }
        }
        self.look();
        self.look_back();
        self.report
    }

    /// Who was closed lately, and did not come to notice it.
    fn look_back(&mut self) {
        let Besiegers { attackers, report, scratch, .. } = self;
        for attacker in attackers {
            let State::Attacking(attacking) = &mut attacker.state else { continue };
            if report.settings.attack.reads() {
                let _ended = attacking.read(report, scratch);
                if let Some(reason) = attacking.reason.take() {
                    *report.closes.entry(reason).or_default() += 1;
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.signals.ends.load(Ordering::Relaxed)
    }

    fn resident_bytes(&self) -> u64 {
        let usage = self.target.pid.and_then(|pid| usage(pid).ok());
        usage.map_or(0, |usage| usage.resident_bytes)
    }

    fn look(&mut self) {
        self.report.resident_bytes_max = self.report.resident_bytes_max.max(self.resident_bytes());
    }

    /// Lets everybody go on. True if somebody did something.
    fn turn(&mut self) -> bool {
        let mut is_busy = false;
        for index in 0..self.attackers.len() {
            if self.is_over() {
                return false;
            }
            is_busy |= self.step(index);
            // A crowd takes long to come, and each may cost something.
            if index.is_multiple_of(64) {
                self.look();
            }
        }
        is_busy
    }

    fn step(&mut self, index: usize) -> bool {
        let Besiegers { target, attackers, report, scratch, .. } = self;
        let attack = report.settings.attack;
        let attacker = &mut attackers[index];
        match &mut attacker.state {
            State::Away(until) if *until > Instant::now() => false,
            State::Away(_) => {
                report.connects += 1;
                attacker.state = match arrive(target, attack, &attacker.name) {
                    Ok(attacking) => State::Attacking(attacking),
                    Err(_) => {
                        report.turned_away += 1;
                        State::Away(Instant::now() + RETURN)
                    }
                };
                true
            }
            State::Attacking(attacking) => match attacking.go_on(attack, report, scratch) {
                Ok(is_busy) => is_busy,
                Err(_) => {
                    *report.closes.entry(attacking.why_closed(scratch)).or_default() += 1;
                    attacker.state = State::Away(Instant::now() + RETURN);
                    true
                }
            },
        }
    }
}

/// Connects, and logs in if the attack needs it.
fn arrive(target: &Target, attack: Attack, name: &str) -> io::Result<Attacking> {
    let socket = TcpStream::connect_timeout(&target.address, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let (input, words) = (BytesMut::new(), Vec::new());
    let mut arrived =
        Attacking { socket, user: None, round: 0, words, written: 0, input, reason: None };
    arrived.ask(Body::Hello(hello()))?;
    if attack.needs_login() {
        let Service::Dunlin(issuer) = &target.service else {
            return Err(ErrorKind::Unsupported.into());
        };
        arrived.log_in(issuer, name)?;
    }
    for body in attack.preparation(arrived.user) {
        arrived.ask(body)?;
    }
    arrived.socket.set_nonblocking(true)?;
    Ok(arrived)
}

impl Attacking {
    fn log_in(&mut self, issuer: &Issuer, name: &str) -> io::Result<()> {
        match self.ask(Body::Login(login(issuer, name, 0)))?.body {
            Some(Body::LoggedIn(logged_in)) => {
                self.user = UserId::new(logged_in.user_id).ok();
                Ok(())
            }
            Some(_) | None => Err(ErrorKind::PermissionDenied.into()),
        }
    }

    /// Asks something and waits for the answer.
    fn ask(&mut self, body: Body) -> io::Result<Frame> {
        self.socket.write_all(EncodedFrame::response(1, body).wire())?;
        let mut room = [0; 16 * 1024];
        loop {
            let body = frame::take(&mut self.input, FRAME_BYTES_MAX).map_err(io::Error::other)?;
            let frame = body.map(frame::decode).transpose().map_err(io::Error::other)?;
            match frame {
                Some(frame) if frame.request_id == 1 => return Ok(frame),
                Some(_) => {}
                None => match self.socket.read(&mut room)? {
                    0 => return Err(ErrorKind::UnexpectedEof.into()),
                    count => self.input.extend_from_slice(&room[..count]),
                },
            }
        }
    }

    /// Says what it can, and reads if it reads at all. True if it did something.
    fn go_on(
        &mut self,
        attack: Attack,
        report: &mut HostileReport,
        scratch: &mut [u8],
    ) -> io::Result<bool> {
        let mut is_busy = false;
        if attack.reads() {
            is_busy = self.read(report, scratch)?;
        }
        let mut said = 0;
        while said < WRITE_BYTES {
            if self.written == self.words.len() {
                self.words = attack.words(self.user, self.round);
                (self.round, self.written) = (self.round + 1, 0);
                if self.words.is_empty() {
                    break;
                }
            }
            let Some(count) = if_ready(self.socket.write(&self.words[self.written..]))? else {
                break;
            };
            self.written += count;
            said += count;
        }
        report.bytes_out += said as u64;
        if said == 0 && !is_busy && !attack.reads() {
            self.look_for_the_end(scratch)?;
        }
        Ok(is_busy || said > 0)
    }

    /// Reads what is there. True if something was.
    fn read(&mut self, report: &mut HostileReport, scratch: &mut [u8]) -> io::Result<bool> {
        let mut is_busy = false;
        while let Some(count) = if_ready(self.socket.read(scratch))? {
            report.bytes_in += count as u64;
            self.hear(&scratch[..count]);
            is_busy = true;
        }
        Ok(is_busy)
    }

    /// Who reads nothing still notices that it was closed, if nothing waits to be read: nothing is taken out
    /// of the socket.
    fn look_for_the_end(&self, scratch: &mut [u8]) -> io::Result<()> {
        match self.socket.peek(&mut scratch[..1]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => self.socket.take_error()?.map_or(Ok(()), Err),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Looks for a Close in what was read.
    fn hear(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Ok(Some(body)) = frame::take(&mut self.input, FRAME_BYTES_MAX) {
            if body.len() <= CLOSE_BYTES_MAX
                && let Ok(Frame { body: Some(Body::Close(close)), .. }) = frame::decode(body)
            {
                let name = close.reason().as_str_name();
                let name = name.strip_prefix("CLOSE_REASON_").unwrap_or(name);
                self.reason = Some(name.to_lowercase());
            }
        }
    }

    /// The reason of the Close that may be the last thing that can be read.
    fn why_closed(&mut self, scratch: &mut [u8]) -> String {
        while let Ok(count @ 1..) = self.socket.read(scratch) {
            self.hear(&scratch[..count]);
        }
        self.reason.take().unwrap_or_else(|| "without a reason".into())
    }
}

/// What a socket has done; `None` if it can't do anything now.
fn if_ready(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(count) => Ok(Some(count)),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        },
    }
}
