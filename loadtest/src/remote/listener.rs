//! The generator's side: waits for a coordinator, does what it says, and waits for the next one.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::account::Account;
use super::assignment::Assignment;
use super::error::{LinkError, Refusal};
use super::handshake;
use super::link::Link;
use super::secret::Secret;
use super::team::{Question, Report};
use crate::error::LoadtestError;
use crate::generators::threads_for;
use crate::interrupt::Interrupt;
use crate::net::Clock;
use crate::probe::probe;
use crate::target::Target;

/// Connections that are looked at, at once. Those of strangers end soon.
const CONNECTIONS_MAX: usize = 16;

/// How long a coordinator is kept waiting while another one is served: runs that follow each other
/// meet here for a moment.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// The wait after a connection could not be accepted: descriptors may be short for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a generator runs.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Its threads; as many as the limit of descriptors demands if `None`.
    pub threads: Option<usize>,
    /// Processors that they may use; all if empty.
    pub processors: Vec<usize>,
}

impl Place {
    /// Threads for so many users.
    pub(crate) fn threads_for(&self, users: &Range<u32>) -> Result<usize, LoadtestError> {
        let count = users.end.saturating_sub(users.start);
        self.threads.map_or_else(|| threads_for(count), Ok)
    }
}

/// What happened, for those who look on.
#[derive(Debug)]
pub enum Event {
    /// A connection came to nothing.
    Refused(LinkError),
    /// A run began, with these users.
    Begun(Range<u32>),
    /// Its outcome was brought home.
    Done,
    /// The coordinator is lost; its run was stopped.
    Lost(LinkError),
}

/// What a generator does for a share of a run.
pub(crate) struct Share<'a> {
    pub(crate) led: Led,
    pub(crate) target: Target,
    pub(crate) place: &'a Place,
    /// Of the run.
    pub(crate) clock: Clock,
    /// Indices within the run.
    pub(crate) users: Range<u32>,
}

/// Does it, for the kinds of runs that there are.
pub(crate) type Play<T> = fn(T, Share<'_>) -> Result<(), LinkError>;

/// Listens for coordinators.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    secret: Secret,
    place: Place,
}

impl Listener {
    /// Listens at an address; nothing is accepted until it serves.
    pub fn bind(
        address: SocketAddr,
        secret_file: &Path,
        place: Place,
    ) -> Result<Listener, LoadtestError> {
        let secret = Secret::read(secret_file)?;
        let socket = TcpListener::bind(address)
            .map_err(LoadtestError::machine("listening for a coordinator"))?;
        Ok(Listener { socket, secret, place })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> Result<SocketAddr, LoadtestError> {
        self.socket.local_addr().map_err(LoadtestError::machine("listening for a coordinator"))
    }

    /// Serves one coordinator after the other until it is interrupted; a run that goes on then is
    /// brought to its end. What a coordinator orders, `play` does.
    pub(crate) fn serve_by<T: DeserializeOwned + 'static>(
        self,
        play: Play<T>,
        interrupt: &Interrupt,
        on_event: impl Fn(SocketAddr, Event) + Send + Sync + 'static,
    ) {
        let desk = Arc::new(Desk {
            secret: self.secret,
            place: self.place,
            connections: AtomicUsize::new(0),
            is_busy: Mutex::new(false),
            freed: Condvar::new(),
            play,
            on_event: Box::new(on_event),
        });
        let (socket, served) = (self.socket, Arc::clone(&desk));
        thread::spawn(move || accept(&socket, &served));
        interrupt.wait();
        desk.close();
    }
}

/// For as long as the process lives.
fn accept<T: DeserializeOwned + 'static>(socket: &TcpListener, desk: &Arc<Desk<T>>) {
    loop {
        let Ok((socket, peer)) = socket.accept() else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        if desk.connections.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            desk.connections.fetch_sub(1, Ordering::AcqRel);
            continue; // Dropped, which closes it.
        }
        let desk = Arc::clone(desk);
        thread::spawn(move || {
            let event = desk.receive(socket, peer);
            (desk.on_event)(peer, event);
            desk.connections.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

/// What the threads of all connections share.
struct Desk<T> {
    secret: Secret,
    place: Place,
    connections: AtomicUsize,
    is_busy: Mutex<bool>,
    freed: Condvar,
    play: Play<T>,
    on_event: Box<dyn Fn(SocketAddr, Event) + Send + Sync>,
}

impl<T: DeserializeOwned> Desk<T> {
    fn receive(&self, socket: TcpStream, peer: SocketAddr) -> Event {
        match handshake::answer(socket, &self.secret, || self.admit()) {
            Err(error) => Event::Refused(error),
            Ok((link, _admitted)) => match self.serve(link, peer) {
                Ok(()) => Event::Done,
                Err(error) => Event::Lost(error),
            },
        }
    }

    /// One coordinator at a time.
    fn admit(&self) -> Result<Admitted<'_>, Refusal> {
        let is_busy = self.is_busy.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_timeout_while(is_busy, BUSY_PATIENCE, |is_busy| *is_busy);
        let (mut is_busy, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *is_busy {
            return Err(Refusal::Busy);
        }
        *is_busy = true;
        Ok(Admitted { is_busy: &self.is_busy, freed: &self.freed })
    }

    /// Waits until nobody is served, and lets nobody in from then on.
    fn close(&self) {
        let is_busy = self.is_busy.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.freed.wait_while(is_busy, |is_busy| *is_busy);
        *waited.unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn serve(&self, mut link: Link, peer: SocketAddr) -> Result<(), LinkError> {
        let clock = Clock::start();
        let assignment = loop {
            match link.receive()? {
                Question::Time => link.send(&clock.now_ns())?,
                Question::Begin(assignment) => break *assignment,
            }
        };
        (self.on_event)(peer, Event::Begun(assignment.users.clone()));
        self.work(Led { link, owes_answer: false }, clock, assignment)
    }

    fn work(&self, led: Led, clock: Clock, assignment: Assignment<T>) -> Result<(), LinkError> {
        let Assignment { server, users, clock_zero_ns, task } = assignment;
        let Some(clock) = clock.with_zero_at(clock_zero_ns) else {
            return led.fail("the clock of the run started too long ago");
        };
        let (target, _certificates) = match server.target() {
            Ok(target) => target,
            Err(error) => return led.fail(&error.to_string()),
        };
        // Here, since the coordinator need not have a way there: said once, and not by every user.
        if let Err(error) = probe(&target) {
            return led.fail(&error.to_string());
        }
        (self.play)(task, Share { led, target, place: &self.place, clock, users })
    }
}

/// Lets the next coordinator in when it is dropped.
struct Admitted<'a> {
    is_busy: &'a Mutex<bool>,
    freed: &'a Condvar,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        *self.is_busy.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.freed.notify_one();
    }
}

/// A run that is led from elsewhere.
#[derive(Debug)]
pub(crate) struct Led {
    link: Link,
    /// The last order was not answered yet.
    owes_answer: bool,
}

impl Led {
    /// Does what is ordered, and says how far it has come, until it is over or the coordinator is
    /// lost. The last answer is that of [`Led::finish`].
    pub(crate) fn obey<O: DeserializeOwned, S: Serialize>(
        &mut self,
        mut order: impl FnMut(O),
        state: impl Fn() -> S,
        is_over: impl Fn() -> bool,
    ) -> Result<(), LinkError> {
        loop {
            order(self.link.receive()?);
            self.owes_answer = true;
            if is_over() {
                return Ok(());
            }
            self.link.send(&Report::<S, ()>::Running(state()))?;
            self.owes_answer = false;
        }
    }

    /// Brings the outcome home.
    pub(crate) fn finish<T: Serialize>(
        self,
        outcome: Result<T, LoadtestError>,
        account: Account,
    ) -> Result<(), LinkError> {
        match outcome {
            Ok(outcome) => self.answer(&Report::<(), T>::Done(Box::new(outcome), account)),
            Err(error) => self.fail(&error.to_string()),
        }
    }

    /// Says why there is no outcome.
    pub(crate) fn fail(self, reason: &str) -> Result<(), LinkError> {
        self.answer(&Report::<(), ()>::Failed(reason.to_owned()))
    }

    fn answer(mut self, answer: &impl Serialize) -> Result<(), LinkError> {
        if !self.owes_answer {
            let _: IgnoredAny = self.link.receive()?;
        }
        self.link.send_last(answer)
    }
}
