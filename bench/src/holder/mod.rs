//! The limit of holding: accepts connections, and gives back what they say. To somebody who sends
//! heartbeats that is a server that answers them; it knows nothing else. It keeps one descriptor for
//! each connection, so whatever a messaging server needs beyond it is what it knows of its users.
//!
//! One thread with one epoll, for which this process is started: its memory and its processor time
//! are nothing but that.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use clap::Args;
use dunlin_loadtest::process::raise_descriptor_limit;
use rustix::event::epoll;
use serde::Serialize;

use crate::sockets::{self, EVENTS_MAX};

/// Many heartbeats fit.
const READ_BYTES: usize = 512;

/// How many clients may wait to be accepted: they come by the thousands.
const BACKLOG: i32 = 4096;

/// The event of the listener; the others carry their descriptors.
const LISTENER: u64 = u64::MAX;

/// Options of the program.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Its only line of output, in JSON.
#[derive(Debug, Serialize)]
struct Started {
    address: SocketAddr,
    pid: u32,
}

/// Runs until it is killed.
pub fn main(arguments: &Arguments) -> ExitCode {
    let listening = raise_descriptor_limit().and_then(|_| Holder::listen(arguments.listen));
    let ran = listening.and_then(|holder| {
        let started = Started { address: holder.address()?, pid: std::process::id() };
        println!("{}", serde_json::to_string(&started)?);
        holder.run()
    });
    if let Err(error) = ran {
        eprintln!("holder: {error}");
    }
    ExitCode::FAILURE
}

/// The connections by their descriptors: four bytes each.
#[derive(Debug)]
pub struct Holder {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: Vec<Option<TcpStream>>,
}

impl Holder {
    /// Listens; accepts nobody yet.
    pub fn listen(address: SocketAddr) -> io::Result<Holder> {
        let listener = TcpListener::bind(address)?;
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, data, epoll::EventFlags::IN)?;
        Ok(Holder { epoll, listener, connections: Vec::new() })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Holds for ever.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            sockets::wait(&self.epoll, &mut events)?;
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    descriptor => self.answer(descriptor as usize),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (stream, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let descriptor = stream.as_raw_fd().unsigned_abs();
            let data = epoll::EventData::new_u64(u64::from(descriptor));
            epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN)?;
            let at = descriptor as usize;
            if self.connections.len() <= at {
                self.connections.resize_with(at + 1, || None);
            }
            self.connections[at] = Some(stream);
        }
    }

    /// One read, one write. Somebody who does not read what he gets back is let go.
    fn answer(&mut self, descriptor: usize) {
        let Some(stream) = &mut self.connections[descriptor] else {
            return;
        };
        let mut buffer = [0; READ_BYTES];
        let filled = sockets::read(stream, &mut buffer);
        let answered = filled.and_then(|filled| stream.write_all(&buffer[..filled.unwrap_or(0)]));
        if answered.is_err() {
            self.connections[descriptor] = None;
        }
    }
}
