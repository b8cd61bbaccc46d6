//! The loop itself: see the picture in the parent module.

use std::io::{self, ErrorKind};
use std::time::Duration;

use dunlin_protocol::frame;
use dunlin_protocol::limits::FRAME_BYTES_MAX;
use mio::event::Event;
use mio::{Events, Poll, Token};

use crate::net::link::{CloseCause, Link};
use crate::net::links::Links;
use crate::net::timer::Timer;
use crate::net::web::{self, Web};
use crate::net::{Clock, Route};

/// Free bytes that a read should find in the scratch buffer.
const READ_BYTES: usize = 128 * 1024;

/// The longest sleep: how late a thread may notice a change of phase.
const TICK_MAX: Duration = Duration::from_millis(20);

/// Waiting for less than this is not worth the system calls: look again at once.
const WAIT_MIN_NS: u64 = 5_000;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// The token of the timer; slots count from 0, so none has this number.
const TIMER: Token = Token(usize::MAX);

/// What drives connections. Slots are numbered by the handler: its users have the same numbers.
pub trait Handler {
    /// A connection stands; the handler speaks first.
    fn opened(&mut self, slot: usize, links: &mut Links);
    /// A frame came; `body` is empty for a heartbeat.
    fn frame(&mut self, slot: usize, body: &[u8], links: &mut Links);
    /// A connection is gone. Not called for those that the handler closed itself.
    fn closed(&mut self, slot: usize, cause: CloseCause, links: &mut Links);
    /// Called before each wait.
    fn tick(&mut self, now_ns: u64, links: &mut Links) -> Next;
}

/// What the handler wants of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next tick is wanted at this time; it may come earlier.
    At(u64),
    /// All is done.
    Stop,
}

/// The event loop of one thread.
#[derive(Debug)]
pub struct Reactor {
    poll: Poll,
    timer: Timer,
    links: Links,
    scratch: Vec<u8>,
}

impl Reactor {
    /// A loop for slots `0..slots`.
    pub fn new(slots: usize, route: Route, clock: Clock) -> io::Result<Reactor> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let links = Links::new(slots, poll.registry().try_clone()?, route, clock);
        Ok(Reactor { poll, timer, links, scratch: vec![0; 2 * READ_BYTES] })
    }

    /// Runs until the handler says stop.
    pub fn run(mut self, handler: &mut impl Handler) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let Next::At(wake_ns) = handler.tick(self.links.now_ns(), &mut self.links) else {
                return Ok(());
            };
            self.read_unpaused(handler);
            self.links.write_dirty();
            let reported = self.report_ends(handler);
            let now_ns = self.links.now_ns();
            let wait = if reported { Duration::ZERO } else { self.wait(now_ns, wake_ns)? };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                if event.token() != TIMER {
                    self.serve(event, handler);
                }
            }
        }
    }

    fn wait(&mut self, now_ns: u64, wake_ns: u64) -> io::Result<Duration> {
        if wake_ns < now_ns + WAIT_MIN_NS {
            return Ok(Duration::ZERO);
        }
        if wake_ns < now_ns + TICK_MAX.as_nanos() as u64 {
            self.timer.arm(now_ns, wake_ns)?;
        }
        Ok(TICK_MAX)
    }

    /// No event will tell again of what came during the pause.
    fn read_unpaused(&mut self, handler: &mut impl Handler) {
        while let Some(slot) = self.links.unpaused.pop() {
            let may_have_ended = true;
            self.read(slot, may_have_ended, handler);
        }
    }

    fn report_ends(&mut self, handler: &mut impl Handler) -> bool {
        let ended = std::mem::take(&mut self.links.ended);
        let any = !ended.is_empty();
        for (slot, cause) in ended {
            handler.closed(slot, cause, &mut self.links);
        }
        any
    }

    fn serve(&mut self, event: &Event, handler: &mut impl Handler) {
        let slot = event.token().0;
        let Some(link) = self.links.slots[slot].as_mut() else {
            return; // Closed earlier in this batch of events.
        };
        if !link.connected {
            match link.finish_connect() {
                Ok(false) => return,
                Ok(true) => {
                    if let Err(error) = link.socket.set_nodelay(true) {
                        return self.links.end(slot, CloseCause::broken(&error));
                    }
                    self.links.upgrade(slot);
                    handler.opened(slot, &mut self.links);
                    self.links.write(slot);
                }
                Err(error) => {
                    return self.links.end(slot, CloseCause::not_connected(&error));
                }
            }
        }
        let ended = event.is_read_closed() || event.is_error();
        if event.is_readable() || ended {
            self.read(slot, ended, handler);
        }
        let unwritten = self.links.slots[slot].as_ref().is_some_and(Link::is_unwritten);
        if event.is_writable() && unwritten {
            self.links.write(slot);
        }
    }

    /// Reads until a short read: edge-triggered, so nothing may be left. If the end was there when
    /// the event was made, no other event will tell of it: then it reads up to the end.
    fn read(&mut self, slot: usize, ended: bool, handler: &mut impl Handler) {
        loop {
            let link = self.links.slots[slot].as_mut();
            let Some(link) = link.filter(|link| link.connected && !link.paused) else {
                return;
            };
            let kept = link.partial_bytes();
            if self.scratch.len() < kept + READ_BYTES {
                self.scratch.resize(kept + READ_BYTES, 0);
            }
            let free = self.scratch.len() - kept;
            let filled = match link.read(&mut self.scratch[kept..]) {
                Ok(0) => return self.links.end(slot, CloseCause::End),
                Ok(filled) => filled,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.links.end(slot, CloseCause::broken(&error)),
            };
            // TLS gives its records one by one: only nothing at all means that no more is there.
            let last = filled < free && !ended && link.tls.is_none();
            if let Some(backlog) = &mut link.backlog {
                self.scratch[..kept].copy_from_slice(&backlog.partial);
                backlog.partial.clear();
            }
            self.split(slot, kept + filled, handler);
            if last {
                break;
            }
        }
        // The handshake of TLS writes while it reads.
        if let Some(Link { tls: Some(_), .. }) = &self.links.slots[slot] {
            self.links.write(slot);
        }
    }

    fn split(&mut self, slot: usize, filled: usize, handler: &mut impl Handler) {
        let mut input = &self.scratch[..filled];
        loop {
            let Some(link) = self.links.slots[slot].as_mut() else { return };
            let split = match link.web {
                Web::None => frame::split(input, FRAME_BYTES_MAX).map_err(CloseCause::Frame),
                Web::Open => web::split(input),
                Web::Upgrading => match web::upgraded(input) {
                    Ok(Some(behind)) => {
                        link.web = Web::Open;
                        self.links.write(slot);
                        input = behind;
                        continue;
                    }
                    Ok(None) => Ok(None),
                    Err(cause) => Err(cause),
                },
            };
            match split {
                Ok(Some((body, rest))) => {
                    handler.frame(slot, body, &mut self.links);
                    if !self.links.is_open(slot) {
                        return;
                    }
                    input = rest;
                }
                Ok(None) => break,
                Err(cause) => return self.links.end(slot, cause),
            }
        }
        if input.is_empty() {
            self.links.take_back(slot);
        } else {
            self.links.keep(slot, input);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    /// Longer than any machine needs to deliver an event.
    const DEADLINE_NS: u64 = 60_000_000_000;

    /// Connects to a server that says one thing and closes, before the loop looks at its events.
    struct Visitor {
        server: TcpListener,
        heard: usize,
        cause: Option<CloseCause>,
        connected: bool,
    }

    impl Handler for Visitor {
        fn opened(&mut self, _: usize, _: &mut Links) {}

        fn frame(&mut self, _: usize, _: &[u8], _: &mut Links) {
            self.heard += 1;
        }

        fn closed(&mut self, _: usize, cause: CloseCause, _: &mut Links) {
            self.cause = Some(cause);
        }

        fn tick(&mut self, now_ns: u64, links: &mut Links) -> Next {
            if !std::mem::replace(&mut self.connected, true) {
                links.connect(0);
                let (mut peer, _) = self.server.accept().unwrap();
                peer.write_all(&[0; 4]).unwrap();
                peer.shutdown(Shutdown::Both).unwrap();
            }
            if self.cause.is_some() || now_ns > DEADLINE_NS {
                return Next::Stop;
            }
            Next::At(u64::MAX)
        }
    }

    /// Hears frames of which one byte comes per tick, answers each with a heartbeat, and lets the
    /// next one come when no backlog is left of the one before.
    struct PatientVisitor {
        server: TcpListener,
        peer: Option<std::net::TcpStream>,
        unsaid: VecDeque<&'static [u8]>,
        said: usize,
        heard: Vec<Vec<u8>>,
        ticks_with_backlog: usize,
    }

    impl Handler for PatientVisitor {
        fn opened(&mut self, _: usize, _: &mut Links) {}

        fn frame(&mut self, slot: usize, body: &[u8], links: &mut Links) {
            self.heard.push(body.to_vec());
            links.outbox(slot).unwrap().extend_from_slice(&[0; 4]);
        }

        fn closed(&mut self, _: usize, cause: CloseCause, _: &mut Links) {
            panic!("{cause}");
        }

        fn tick(&mut self, now_ns: u64, links: &mut Links) -> Next {
            let Some(peer) = &mut self.peer else {
                links.connect(0);
                self.peer = Some(self.server.accept().unwrap().0);
                return Next::At(now_ns);
            };
            let link = links.slots[0].as_ref().unwrap();
            self.ticks_with_backlog += usize::from(link.backlog.is_some());
            match self.unsaid.front() {
                Some(frame) if self.said < frame.len() => {
                    peer.write_all(&frame[self.said..=self.said]).unwrap();
                    self.said += 1;
                }
                Some(_)
                    if self.heard.len() + self.unsaid.len() > FRAMES && link.backlog.is_none() =>
                {
                    self.unsaid.pop_front();
                    self.said = 0;
                }
                Some(_) => {}
                None => return Next::Stop,
            }
            if now_ns > DEADLINE_NS { Next::Stop } else { Next::At(now_ns) }
        }
    }

    const FRAMES: usize = 2;

    #[test]
    fn a_backlog_is_lent_for_a_part_of_a_frame_and_taken_back() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let route = Route {
            address: server.local_addr().unwrap(),
            tls: None,
            web: false,
            sources: Vec::new(),
        };
        let frames: [&[u8]; FRAMES] = [&[0, 0, 0, 3, 1, 2, 3], &[0, 0, 0, 1, 9]];
        let mut visitor = PatientVisitor {
            server,
            peer: None,
            unsaid: frames.into(),
            said: 0,
            heard: Vec::new(),
            ticks_with_backlog: 0,
        };
        Reactor::new(1, route, Clock::start()).unwrap().run(&mut visitor).unwrap();
        assert_eq!(visitor.heard, [vec![1, 2, 3], vec![9]]);
        assert!(visitor.unsaid.is_empty(), "the backlog of the last frame is still there");
        assert!(visitor.ticks_with_backlog > 0);
    }

    /// Pauses as soon as it is connected; reads on when everything, with the end, has long come.
    struct StallingVisitor {
        server: TcpListener,
        peer: Option<std::net::TcpStream>,
        heard_in_pause: Option<usize>,
        heard: usize,
        cause: Option<CloseCause>,
    }

    impl Handler for StallingVisitor {
        fn opened(&mut self, slot: usize, links: &mut Links) {
            links.pause(slot);
            let mut peer = self.peer.take().unwrap();
            peer.write_all(&[0; 4 * STALLED_FRAMES]).unwrap();
            peer.shutdown(Shutdown::Both).unwrap();
        }

        fn frame(&mut self, _: usize, _: &[u8], _: &mut Links) {
            self.heard += 1;
        }

        fn closed(&mut self, _: usize, cause: CloseCause, _: &mut Links) {
            self.cause = Some(cause);
        }

        fn tick(&mut self, now_ns: u64, links: &mut Links) -> Next {
            if links.slots[0].is_none() && self.cause.is_none() {
                links.connect(0);
                self.peer = Some(self.server.accept().unwrap().0);
            }
            let link = links.slots[0].as_ref();
            let all_is_there = link.filter(|link| link.paused).is_some_and(|link| {
                // The end is readable, too: then no other event will come.
                let mut buffer = [0; 8 * STALLED_FRAMES];
                link.socket.peek(&mut buffer).is_ok_and(|bytes| bytes == 4 * STALLED_FRAMES)
                    && self.peer.is_none()
            });
            if all_is_there && self.heard_in_pause.is_none() {
                self.heard_in_pause = Some(self.heard);
                return Next::At(now_ns); // The events of it are taken first.
            }
            if self.heard_in_pause.is_some() {
                links.unpause(0);
            }
            if self.cause.is_some() || now_ns > DEADLINE_NS { Next::Stop } else { Next::At(now_ns) }
        }
    }

    const STALLED_FRAMES: usize = 5;

    #[test]
    fn what_comes_during_a_pause_is_read_after_it_up_to_the_end() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let route = Route { address, tls: None, web: false, sources: Vec::new() };
        let mut visitor =
            StallingVisitor { server, peer: None, heard_in_pause: None, heard: 0, cause: None };
        Reactor::new(1, route, Clock::start()).unwrap().run(&mut visitor).unwrap();
        assert_eq!((visitor.heard_in_pause, visitor.heard), (Some(0), STALLED_FRAMES));
        assert_eq!(visitor.cause, Some(CloseCause::End));
    }

    #[test]
    fn an_end_that_comes_together_with_the_last_bytes_is_noticed() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let route = Route { address, tls: None, web: false, sources: Vec::new() };
        let mut visitor = Visitor { server, heard: 0, cause: None, connected: false };
        Reactor::new(1, route, Clock::start()).unwrap().run(&mut visitor).unwrap();
        assert_eq!((visitor.heard, visitor.cause), (1, Some(CloseCause::End)));
    }
}
