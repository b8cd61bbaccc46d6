//! The physical limit: reads length-prefixed frames from a connection and writes the same bytes to
//! its partner. It decodes nothing, stores nothing and answers nothing, so whatever a messaging
//! server costs beyond it is the price of being one.
//!
//! ```text
//!  acceptor thread                       forwarder threads (1 unless asked for more)
//!  accept -> first frame: whose it is    epoll: read once -> count frames -> write once
//!     ├────── channel + eventfd ───────────▲  both connections of a pair are on one thread
//!     │                                  spreader threads (as many)
//!     └────── channel + eventfd ───────────▲  read once -> write once to each of a group
//! ```
//!
//! The first frame of a connection is not forwarded. Of 8 bytes, it is the number of a pair,
//! big-endian: the second connection that names a pair completes it. Of 12 bytes, it is the number of
//! a group, 0 for the one that writes or 1 for one that reads, and how many read: what the writer
//! says goes to all of them, from the moment at which all are there.

mod counters;
mod forwarder;
mod frames;
mod mailbox;
pub mod program;
mod spreader;

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::relay::forwarder::Forwarder;
use crate::relay::mailbox::Mailbox;
use crate::relay::spreader::{Seat, Spreader};

pub use counters::Counters;

/// Body of the first frame of a connection that is one of a pair, in bytes.
pub const PAIR_BYTES: usize = 8;

/// The same of a connection that belongs to a group.
pub const GROUP_BYTES: usize = 12;

/// How long a connection may take for its first frame. Accepting goes one by one, so a client
/// that says nothing would hold up the others for this long.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(2);

/// A relay that runs in threads of this process until the process ends.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    counters: Arc<Counters>,
}

impl Relay {
    /// Listens on `address` and starts one acceptor and `threads` forwarders.
    pub fn start(address: SocketAddr, threads: usize) -> io::Result<Relay> {
        let listener = TcpListener::bind(address)?;
        // The backlog of the standard library is 128, too short for thousands of clients at once.
        rustix::net::listen(&listener, 4096)?;
        let address = listener.local_addr()?;
        let counters = Arc::new(Counters::default());
        let threads = 0..threads.max(1);
        let forwarders =
            threads.clone().map(|_| spawn_forwarder(&counters)).collect::<io::Result<_>>()?;
        let spreaders = threads.map(|_| spawn_spreader(&counters)).collect::<io::Result<_>>()?;
        let switch = Switch { forwarders, spreaders };
        thread::Builder::new()
            .name("acceptor".to_owned())
            .spawn(move || switch.accept_for_ever(&listener))?;
        Ok(Relay { address, counters })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn spawn_forwarder(counters: &Arc<Counters>) -> io::Result<Mailbox<(u64, TcpStream)>> {
    let (forwarder, mailbox) = Forwarder::new(Arc::clone(counters))?;
    thread::Builder::new().name("forwarder".to_owned()).spawn(|| die_with(forwarder.run()))?;
    Ok(mailbox)
}

fn spawn_spreader(counters: &Arc<Counters>) -> io::Result<Mailbox<(Seat, TcpStream)>> {
    let (spreader, mailbox) = Spreader::new(Arc::clone(counters))?;
    thread::Builder::new().name("spreader".to_owned()).spawn(|| die_with(spreader.run()))?;
    Ok(mailbox)
}

/// Without all of its threads the relay is of no use, and a benchmark must not go on.
fn die_with(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        eprintln!("relay: {error}");
        std::process::exit(1);
    }
}

/// The threads among which connections are shared.
#[derive(Debug)]
struct Switch {
    forwarders: Vec<Mailbox<(u64, TcpStream)>>,
    spreaders: Vec<Mailbox<(Seat, TcpStream)>>,
}

impl Switch {
    fn accept_for_ever(&self, listener: &TcpListener) {
        loop {
            let handed_over = listener.accept().and_then(|(stream, _)| self.hand_over(stream));
            if let Err(error) = handed_over {
                // One bad client is its own problem; a lack of descriptors shows on the other side.
                eprintln!("relay: a connection was not taken: {error}");
            }
        }
    }

    fn hand_over(&self, mut stream: TcpStream) -> io::Result<()> {
        let place = read_place(&mut stream)?;
        stream.set_nonblocking(true)?;
        match place {
            Place::Pair(pair) => {
                let forwarder = (pair % self.forwarders.len() as u64) as usize;
                self.forwarders[forwarder].hand_over((pair, stream))
            }
            Place::Group(seat) => {
                let spreader = seat.group as usize % self.spreaders.len();
                self.spreaders[spreader].hand_over((seat, stream))
            }
        }
    }
}

/// What a connection says of itself.
#[derive(Debug)]
enum Place {
    Pair(u64),
    Group(Seat),
}

fn read_place(stream: &mut TcpStream) -> io::Result<Place> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(FIRST_FRAME_TIMEOUT))?;
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    match u32::from_be_bytes(prefix) as usize {
        PAIR_BYTES => {
            let mut pair = [0; PAIR_BYTES];
            stream.read_exact(&mut pair)?;
            Ok(Place::Pair(u64::from_be_bytes(pair)))
        }
        GROUP_BYTES => {
            let mut words = [[0; 4]; GROUP_BYTES / 4];
            stream.read_exact(words.as_flattened_mut())?;
            let [group, role, readers] = words.map(u32::from_be_bytes);
            Ok(Place::Group(Seat { group, is_reader: role != 0, readers }))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the first frame names no place")),
    }
}
