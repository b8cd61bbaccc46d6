//! The physical limit: reads length-prefixed frames from a connection and writes the same bytes to
//! its partner. It decodes nothing, stores nothing and answers nothing, so whatever a messaging
//! server costs beyond it is the price of being one.
//!
//! ```text
//!  acceptor thread                       forwarder threads (1 unless asked for more)
//!  accept -> first frame: pair number    epoll: read once -> count frames -> write once
//!     └────── channel + eventfd ───────────▲  both connections of a pair are on one thread
//! ```
//!
//! The first frame of a connection is 8 bytes: the number of its pair, big-endian. It is not
//! forwarded. The second connection that names a pair completes it.

mod forwarder;
mod frames;
pub mod program;

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::relay::forwarder::{Forwarder, Mailbox};

/// Body of the first frame of a connection, in bytes.
pub const PAIR_BYTES: usize = 8;

/// How long a connection may take for its first frame. Accepting goes one by one, so a client
/// that says nothing would hold up the others for this long.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(2);

/// What the relay has done so far; updated by its threads while it runs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that are in a pair or wait for their partner.
    pub connections: AtomicU64,
    /// Frames that were forwarded.
    pub frames: AtomicU64,
    /// Bytes that were forwarded, prefixes included.
    pub bytes: AtomicU64,
    /// Calls of read and write: frames per call is how well the load was batched.
    pub reads: AtomicU64,
    /// See `reads`.
    pub writes: AtomicU64,
}

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
        let mailboxes = (0..threads.max(1))
            .map(|_| spawn_forwarder(&counters))
            .collect::<io::Result<Vec<_>>>()?;
        thread::Builder::new()
            .name("acceptor".to_owned())
            .spawn(move || accept_for_ever(&listener, &mailboxes))?;
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

fn spawn_forwarder(counters: &Arc<Counters>) -> io::Result<Mailbox> {
    let (forwarder, mailbox) = Forwarder::new(Arc::clone(counters))?;
    thread::Builder::new().name("forwarder".to_owned()).spawn(move || {
        if let Err(error) = forwarder.run() {
            // Without its only thread the relay is of no use, and a benchmark must not go on.
            eprintln!("relay: {error}");
            std::process::exit(1);
        }
    })?;
    Ok(mailbox)
}

fn accept_for_ever(listener: &TcpListener, mailboxes: &[Mailbox]) {
    loop {
        let handed_over = listener.accept().and_then(|(mut stream, _)| {
            let pair = read_pair(&mut stream)?;
            stream.set_nonblocking(true)?;
            let forwarder = (pair % mailboxes.len() as u64) as usize;
            mailboxes[forwarder].hand_over(pair, stream)
        });
        if let Err(error) = handed_over {
            // One bad client is its own problem; a lack of descriptors shows on the other side.
            eprintln!("relay: a connection was not taken: {error}");
        }
    }
}

fn read_pair(stream: &mut TcpStream) -> io::Result<u64> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(FIRST_FRAME_TIMEOUT))?;
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix)?;
    if u32::from_be_bytes(prefix) as usize != PAIR_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first frame has no 8 bytes"));
    }
    let mut pair = [0; PAIR_BYTES];
    stream.read_exact(&mut pair)?;
    Ok(u64::from_be_bytes(pair))
}

impl Counters {
    fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}
