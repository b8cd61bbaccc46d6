//! One thread with one epoll: a read and a write per event, nothing else.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll;

use crate::relay::counters::Counters;
use crate::relay::frames::FrameCounter;
use crate::relay::mailbox::{Mail, Mailbox};
use crate::sockets::{self, EVENTS_MAX};

/// One buffer for all connections stays in the cache; 64 KiB hold all that a hot pair can send
/// between two reads.
const READ_BYTES: usize = 64 * 1024;

/// The event of the mailbox; slots count from 0, so none has this number.
const MAILBOX: u64 = u64::MAX;

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    partner: usize,
    frames: FrameCounter,
    /// What could not be written to this connection. While it is not empty, its partner is not
    /// read, so it holds at most one read.
    unwritten: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Forwarder {
    epoll: OwnedFd,
    /// Connections and the numbers of their pairs.
    mail: Mail<(u64, TcpStream)>,
    /// First connections of pairs, until the second comes.
    waiting: HashMap<u64, TcpStream>,
    /// Two neighbouring slots are a pair; a pair that ended leaves its slots for the next.
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    counters: Arc<Counters>,
}

impl Forwarder {
    pub(crate) fn new(
        counters: Arc<Counters>,
    ) -> io::Result<(Forwarder, Mailbox<(u64, TcpStream)>)> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (mail, mailbox) = Mail::new(&epoll, MAILBOX)?;
        let forwarder = Forwarder {
            epoll,
            mail,
            waiting: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            buffer: vec![0; READ_BYTES],
            counters,
        };
        Ok((forwarder, mailbox))
    }

    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            sockets::wait(&self.epoll, &mut events)?;
            for event in events.drain(..) {
                match event.data.u64() {
                    MAILBOX => self.take_mail()?,
                    slot => self.serve(slot as usize, event.flags)?,
                }
            }
        }
    }

    fn take_mail(&mut self) -> io::Result<()> {
        self.mail.open()?;
        while let Some((pair, stream)) = self.mail.next() {
            Counters::add(&self.counters.connections, 1);
            match self.waiting.remove(&pair) {
                Some(first) => self.join(first, stream)?,
                None => {
                    self.waiting.insert(pair, stream);
                }
            }
        }
        Ok(())
    }

    fn join(&mut self, first: TcpStream, second: TcpStream) -> io::Result<()> {
        let base = self.free.pop().unwrap_or_else(|| {
            self.slots.extend([None, None]);
            self.slots.len() - 2
        });
        for (slot, stream) in [(base, first), (base + 1, second)] {
            let data = epoll::EventData::new_u64(slot as u64);
            epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN)?;
            self.slots[slot] = Some(Connection {
                stream,
                partner: slot ^ 1,
                frames: FrameCounter::default(),
                unwritten: Vec::new(),
            });
        }
        Ok(())
    }

    fn serve(&mut self, slot: usize, ready: epoll::EventFlags) -> io::Result<()> {
        let outcome = if ready.contains(epoll::EventFlags::OUT) {
            self.write_leftover(slot)
        } else {
            self.forward(slot)
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(_gone) => {
                self.end_pair(slot);
                Ok(())
            }
        }
    }

    /// One read, one write. Level-triggered: what is left comes back with the next event.
    fn forward(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = &mut self.slots[slot] else {
            return Ok(()); // Its pair ended earlier in this batch of events.
        };
        let Some(filled) = sockets::read(&connection.stream, &mut self.buffer)? else {
            return Ok(());
        };
        let input = &self.buffer[..filled];
        Counters::add(&self.counters.reads, 1);
        Counters::add(&self.counters.frames, connection.frames.advance(input));
        Counters::add(&self.counters.bytes, filled as u64);
        let partner = connection.partner;
        let Some(receiver) = &mut self.slots[partner] else {
            return Ok(());
        };
        Counters::add(&self.counters.writes, 1);
        let written = sockets::write(&receiver.stream, input)?;
        if written < filled {
            receiver.unwritten.extend_from_slice(&input[written..]);
            self.listen(partner)?;
            self.listen(slot)?;
        }
        Ok(())
    }

    fn write_leftover(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = &mut self.slots[slot] else {
            return Ok(());
        };
        Counters::add(&self.counters.writes, 1);
        let written = sockets::write(&connection.stream, &connection.unwritten)?;
        connection.unwritten.drain(..written);
        if connection.unwritten.is_empty() {
            connection.unwritten = Vec::new();
            let partner = connection.partner;
            self.listen(partner)?;
            self.listen(slot)?;
        }
        Ok(())
    }

    /// Listens for what `slot` needs next: to be written while it has unwritten bytes, to be read
    /// while neither side of the pair has.
    fn listen(&self, slot: usize) -> io::Result<()> {
        let waits = |slot: usize| {
            self.slots[slot].as_ref().is_some_and(|connection| !connection.unwritten.is_empty())
        };
        let Some(connection) = &self.slots[slot] else {
            return Ok(());
        };
        let mut interest = epoll::EventFlags::empty();
        interest.set(epoll::EventFlags::OUT, waits(slot));
        interest.set(epoll::EventFlags::IN, !waits(slot) && !waits(slot ^ 1));
        let data = epoll::EventData::new_u64(slot as u64);
        epoll::modify(&self.epoll, &connection.stream, data, interest)?;
        Ok(())
    }

    /// Closing the descriptors takes them out of the epoll.
    fn end_pair(&mut self, slot: usize) {
        let base = slot & !1;
        if self.slots[base].take().is_some() {
            self.slots[base + 1] = None;
            self.free.push(base);
            self.counters.connections.fetch_sub(2, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
