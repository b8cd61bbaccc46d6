//! One thread with one epoll: what the writer of a group says is read once, and the same bytes are
//! written to each of its readers, in one call each.
//!
//! A group has one writer, so its readers get nothing else in the same tick: writing when the read
//! is done batches as much as writing at the end of the tick would.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::event::epoll;

use crate::relay::counters::Counters;
use crate::relay::frames::FrameCounter;
use crate::relay::mailbox::{Mail, Mailbox};
use crate::sockets::{self, EVENTS_MAX};

/// The same as for pairs: see the forwarder.
const READ_BYTES: usize = 64 * 1024;

/// The event of the mail; groups are counted from 0 and never so many.
const MAIL: u64 = u64::MAX;

/// Where a connection belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat {
    /// Number of its group.
    pub(crate) group: u32,
    /// It only listens.
    pub(crate) is_reader: bool,
    /// Readers of the group.
    pub(crate) readers: u32,
}

#[derive(Debug)]
struct Reader {
    stream: TcpStream,
    /// What could not be written. While any reader has something, the writer is not read, so this
    /// is one read at most.
    unwritten: Vec<u8>,
}

#[derive(Debug, Default)]
struct Group {
    writer: Option<TcpStream>,
    readers: Vec<Reader>,
    /// Readers that have something unwritten.
    stalled: usize,
    frames: FrameCounter,
}

#[derive(Debug)]
pub(crate) struct Spreader {
    epoll: OwnedFd,
    mail: Mail<(Seat, TcpStream)>,
    /// Groups that are not complete.
    gathering: HashMap<u32, Group>,
    /// Groups that were complete, by index; `None` after their end.
    groups: Vec<Option<Group>>,
    buffer: Vec<u8>,
    counters: Arc<Counters>,
}

/// The event of a connection: its group, and 0 for the writer or its place among the readers.
fn event(group: usize, place: usize) -> epoll::EventData {
    epoll::EventData::new_u64((group as u64) << 32 | place as u64)
}

impl Spreader {
    pub(crate) fn new(
        counters: Arc<Counters>,
    ) -> io::Result<(Spreader, Mailbox<(Seat, TcpStream)>)> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (mail, mailbox) = Mail::new(&epoll, MAIL)?;
        let spreader = Spreader {
            epoll,
            mail,
            gathering: HashMap::new(),
            groups: Vec::new(),
            buffer: vec![0; READ_BYTES],
            counters,
        };
        Ok((spreader, mailbox))
    }

    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            sockets::wait(&self.epoll, &mut events)?;
            for event in events.drain(..) {
                match event.data.u64() {
                    MAIL => self.take_mail()?,
                    data => self.serve((data >> 32) as usize, data as u32 as usize, event.flags),
                }
            }
        }
    }

    fn take_mail(&mut self) -> io::Result<()> {
        self.mail.open()?;
        while let Some((seat, stream)) = self.mail.next() {
            Counters::add(&self.counters.connections, 1);
            let group = self.gathering.entry(seat.group).or_default();
            if seat.is_reader {
                group.readers.push(Reader { stream, unwritten: Vec::new() });
            } else {
                group.writer = Some(stream);
            }
            if group.writer.is_some()
                && group.readers.len() == seat.readers as usize
                && let Some(group) = self.gathering.remove(&seat.group)
            {
                self.begin(group)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, group: Group) -> io::Result<()> {
        let index = self.groups.len();
        let streams = group.writer.iter().chain(group.readers.iter().map(|reader| &reader.stream));
        for (place, stream) in streams.enumerate() {
            epoll::add(&self.epoll, stream, event(index, place), epoll::EventFlags::IN)?;
        }
        self.groups.push(Some(group));
        Ok(())
    }

    fn serve(&mut self, group: usize, place: usize, ready: epoll::EventFlags) {
        let outcome = match place.checked_sub(1) {
            None => self.spread(group),
            Some(reader) if ready.contains(epoll::EventFlags::OUT) => {
                self.write_leftover(group, reader)
            }
            Some(reader) => self.listen_to_reader(group, reader),
        };
        if outcome.is_err() {
            self.end(group);
        }
    }

    /// One read, and one write for each reader. Level-triggered: what is left comes back with the
    /// next event.
    fn spread(&mut self, index: usize) -> io::Result<()> {
        let Some(Group { writer: Some(writer), readers, stalled, frames }) =
            &mut self.groups[index]
        else {
            return Ok(()); // It ended earlier in this batch of events.
        };
        let Some(filled) = sockets::read(writer, &mut self.buffer)? else {
            return Ok(());
        };
        let input = &self.buffer[..filled];
        let copies = readers.len() as u64;
        Counters::add(&self.counters.reads, 1);
        Counters::add(&self.counters.frames, frames.advance(input) * copies);
        Counters::add(&self.counters.bytes, filled as u64 * copies);
        Counters::add(&self.counters.writes, copies);
        for (place, reader) in (1..).zip(readers) {
            let written = sockets::write(&reader.stream, input)?;
            if written < filled {
                reader.unwritten.extend_from_slice(&input[written..]);
                *stalled += 1;
                let interest = epoll::EventFlags::OUT;
                epoll::modify(&self.epoll, &reader.stream, event(index, place), interest)?;
            }
        }
        if *stalled > 0 {
            epoll::modify(&self.epoll, writer, event(index, 0), epoll::EventFlags::empty())?;
        }
        Ok(())
    }

    fn write_leftover(&mut self, index: usize, place: usize) -> io::Result<()> {
        let Some(group) = &mut self.groups[index] else {
            return Ok(());
        };
        let reader = &mut group.readers[place];
        Counters::add(&self.counters.writes, 1);
        let written = sockets::write(&reader.stream, &reader.unwritten)?;
        reader.unwritten.drain(..written);
        if reader.unwritten.is_empty() {
            reader.unwritten = Vec::new();
            let interest = epoll::EventFlags::IN;
            epoll::modify(&self.epoll, &reader.stream, event(index, place + 1), interest)?;
            group.stalled -= 1;
            if let (0, Some(writer)) = (group.stalled, &group.writer) {
                epoll::modify(&self.epoll, writer, event(index, 0), interest)?;
            }
        }
        Ok(())
    }

    /// Readers have nothing to say but that they go.
    fn listen_to_reader(&mut self, index: usize, place: usize) -> io::Result<()> {
        let Some(group) = &mut self.groups[index] else {
            return Ok(());
        };
        sockets::read(&group.readers[place].stream, &mut self.buffer).map(drop)
    }

    /// Closing the descriptors takes them out of the epoll.
    fn end(&mut self, index: usize) {
        if let Some(group) = self.groups[index].take() {
            let connections = 1 + group.readers.len() as u64;
            self.counters.connections.fetch_sub(connections, Ordering::Relaxed);
        }
    }
}
