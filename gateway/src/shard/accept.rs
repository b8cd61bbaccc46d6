//! New connections, as many as the limits allow.
//!
//! What may not come in yet waits in the kernel's backlog, which costs nothing here; what may not
//! come in at all is told so and closed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use dunlin_core::connection::Connection;
use dunlin_protocol::wire::CloseReason;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};

use super::Shard;
use super::close::close_frame;
use super::connection::{Flags, Slot, Stage};
use super::control::{Control, Settings};
use crate::admission::{Address, Refusal};
use crate::limits::{ACCEPT_PAUSE_MS, ACCEPTS_PER_TICK, LAST_ACCEPTS, OVERLOADED_DELAY_MS};
use crate::stream::entrance::{Entrance, ListenOn};

/// How long to wait when the accept rate or the number of handshakes is at its limit: often
/// enough that the limit, and not the waiting, decides the rate.
const RATE_PAUSE_MS: u64 = 5;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) token: Token,
    pub(super) entrance: Entrance,
    /// There may be connections in the backlog.
    pub(super) ready: bool,
    /// Nothing is accepted before.
    pub(super) paused_until_ms: u64,
}

impl Listener {
    /// With the port that was found for port 0.
    pub(super) fn listens_on(&self) -> io::Result<ListenOn> {
        Ok((self.entrance, self.socket.local_addr()?))
    }

    /// When to accept without waiting for an event.
    pub(super) fn next_accept_ms(&self) -> Option<u64> {
        self.ready.then_some(self.paused_until_ms)
    }
}

/// Connections that may be accepted now: a bucket that fills at the rate of the limit and holds a
/// tenth of a second of it.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// In thousandths of a connection.
    tokens: u64,
    filled_ms: u64,
}

impl Budget {
    fn fill(&mut self, now_ms: u64, per_second: u64) {
        let burst = (per_second * 100).max(1000);
        let gained = (now_ms - self.filled_ms).saturating_mul(per_second);
        self.tokens = self.tokens.saturating_add(gained).min(burst);
        self.filled_ms = now_ms;
    }

    fn take(&mut self) -> bool {
        let taken = self.tokens.checked_sub(1000);
        self.tokens = taken.unwrap_or(self.tokens);
        taken.is_some()
    }

    /// Nobody came for it. Without this, connections that come one by one would cost two each.
    fn give_back(&mut self) {
        self.tokens += 1000;
    }
}

impl Shard {
    pub(super) fn accept_ready(&mut self) {
        let rate = self.settings.limits.accepts_per_second.div_ceil(self.node.shards as u64);
        self.accept_budget.fill(self.clock.now_ms(), rate);
        let mut served = None;
        for index in 0..self.listeners.len() {
            let listener = &self.listeners[index];
            if listener.ready && listener.paused_until_ms <= self.clock.now_ms() {
                let before = self.accept_budget.tokens;
                self.accept_from(index);
                if self.accept_budget.tokens != before {
                    served = served.or(Some(index));
                }
            }
        }
        // Who was served is the last the next time: a flood on one port must leave the others
        // their share of a budget that it could use up alone.
        if let Some(index) = served {
            self.listeners[index..].rotate_left(1);
        }
    }

    /// Listens no more. Who has connected already is taken in first: the kernel resets who is in
    /// the backlog of a socket that closes, and nobody would tell them when to come back. Nothing
    /// can be told before a handshake.
    pub(super) fn stop_listening(&mut self) {
        let listeners = std::mem::take(&mut self.listeners);
        for listener in listeners.iter().filter(|listener| !listener.entrance.is_secure()) {
            for _ in 0..LAST_ACCEPTS {
                match listener.socket.accept() {
                    Ok((socket, peer)) => self.let_in(socket, peer, listener.entrance),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if is_shortage(&error) => break,
                    Err(error) => tracing::debug!(shard = self.index, %error, "an accept failed"),
                }
            }
        }
    }

    fn accept_from(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_TICK {
            let entrance = self.listeners[index].entrance;
            let handshakes_max = self.settings.limits.handshakes_max;
            if entrance.is_secure() && !self.node.admission.handshake_may_begin(handshakes_max) {
                return self.pause(index, RATE_PAUSE_MS);
            }
            if !self.accept_budget.take() {
                return self.pause(index, RATE_PAUSE_MS);
            }
            match self.listeners[index].socket.accept() {
                Ok((socket, peer)) => self.let_in(socket, peer, entrance),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.accept_budget.give_back();
                    self.listeners[index].ready = false;
                    return;
                }
                Err(error) if is_shortage(&error) && self.send_a_stranger_away() => {}
                Err(error) if is_shortage(&error) => {
                    self.node.counters.accept_pauses.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(shard = self.index, %error, "accepting pauses");
                    return self.pause(index, ACCEPT_PAUSE_MS);
                }
                // The peer is gone already, or a signal came: go on with the next one.
                Err(error) => tracing::debug!(shard = self.index, %error, "an accept failed"),
            }
        }
    }

    fn pause(&mut self, index: usize, pause_ms: u64) {
        self.listeners[index].paused_until_ms = self.clock.now_ms() + pause_ms;
    }

    /// Lets somebody in here, or where there is a place.
    fn let_in(&mut self, socket: TcpStream, peer: SocketAddr, entrance: Entrance) {
        if self.node.places.take(self.index) {
            return self.admit(socket, peer, entrance);
        }
        if let Some(shard) = self.node.places.take_anywhere() {
            return self.pass_on(socket, peer, entrance, shard);
        }
        if self.send_a_stranger_away() && self.node.places.take(self.index) {
            return self.admit(socket, peer, entrance);
        }
        self.turn_away(socket, Address::from(peer.ip()), Refusal::NodeFull, entrance);
    }

    /// Passes somebody on to a shard that has a place for him.
    fn pass_on(&mut self, socket: TcpStream, peer: SocketAddr, entrance: Entrance, shard: u16) {
        match self.node.places.pass(socket.as_fd(), entrance) {
            Ok(()) => self.transport.tell(shard, Control::TakeIn),
            Err(error) => {
                // Too many are on their way.
                tracing::debug!(shard = self.index, %error, "a connection can't be passed on");
                self.node.places.give_back(shard);
                self.node.places.take_beyond(self.index);
                self.admit(socket, peer, entrance);
            }
        }
    }

    /// Takes somebody in whom another shard has passed on.
    pub(super) fn take_in(&mut self) {
        let passed = self.node.places.take_passed().and_then(|(socket, entrance)| {
            let socket = std::net::TcpStream::from(socket);
            let peer = socket.peer_addr()?;
            Ok((TcpStream::from_std(socket), peer, entrance))
        });
        match passed {
            Ok((socket, peer, entrance)) if self.drain.is_some() => {
                self.node.places.give_back(self.index);
                let address = Address::from(peer.ip());
                self.turn_away(socket, address, Refusal::NodeFull, entrance);
            }
            Ok((socket, peer, entrance)) => self.admit(socket, peer, entrance),
            Err(error) => {
                // He may be gone by now.
                tracing::debug!(shard = self.index, %error, "nobody was passed on");
                self.node.places.give_back(self.index);
            }
        }
    }

    fn turn_away(
        &mut self,
        socket: TcpStream,
        address: Address,
        refusal: Refusal,
        entrance: Entrance,
    ) {
        self.node.counters.refuse(refusal);
        let reason = refusal.name();
        tracing::info!(peer = %address, reason, "a connection is turned away");
        refuse(socket, entrance, self.buffers.waste());
    }

    /// Somebody comes who has a place here.
    fn admit(&mut self, socket: TcpStream, peer: SocketAddr, entrance: Entrance) {
        let is_proxy = self.settings.proxies.contain(peer.ip());
        let peer = Address::from(peer.ip());
        let address = if is_proxy { Address::NOT_TOLD } else { peer };
        if self.strangers_are_too_many() {
            // Whoever is left is about to log in: then there may be one more of them.
            self.send_a_stranger_away();
        }
        if let Err(refusal) = self.pay_connect(address).and_then(|()| self.enter(address)) {
            self.node.places.give_back(self.index);
            return self.turn_away(socket, peer, refusal, entrance);
        }
        self.node.counters.accepted.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.open(socket, address, entrance) {
            tracing::warn!(shard = self.index, %error, "a new connection can't be set up");
            self.node.admission.leave(address, true, self.clock.monotonic_ms());
            self.node.places.give_back(self.index);
        }
    }

    /// Counts a connection in, in the place of a stranger if there is no other.
    fn enter(&mut self, address: Address) -> Result<(), Refusal> {
        let try_to = |shard: &Shard| {
            let Settings { limits, connections_max, .. } = &*shard.settings;
            shard.node.admission.enter(
                address,
                *connections_max,
                limits,
                shard.clock.monotonic_ms(),
            )
        };
        match try_to(self) {
            Err(Refusal::NodeFull) if self.send_a_stranger_away() => try_to(self),
            entered => entered,
        }
    }

    fn open(
        &mut self,
        mut socket: TcpStream,
        address: Address,
        entrance: Entrance,
    ) -> io::Result<()> {
        let key = self.slots.next_key();
        self.poll.registry().register(&mut socket, Token(key), Interest::READABLE)?;
        let stream = self.streams.open(entrance, self.settings.tls.as_ref())?;
        self.node.counters.stream_begins(entrance);
        self.next_generation = self.next_generation.wrapping_add(1);
        let now = self.clock.now();
        if entrance.is_secure() {
            self.node.admission.handshake_begins();
        }
        self.slots.insert(Slot {
            socket,
            generation: self.next_generation,
            protocol: Connection::new(),
            stage: Stage::Open,
            address,
            unfinished: None,
            outbox: None,
            stream: Some(stream),
            opened: now,
            active: now,
            progress: now,
            armed: 0,
            outstanding: 0,
            failed_logins: 0,
            flags: Flags { handshaking: entrance.is_secure(), ..Flags::default() },
        });
        self.arm(key);
        self.add_stranger(key);
        Ok(())
    }
}

/// Out of descriptors or memory: of the process, of the system, of the network.
fn is_shortage(error: &io::Error) -> bool {
    let shortages = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    error.raw_os_error().is_some_and(|code| shortages.contains(&code))
}

/// Turns a connection away. It was never a slot: one write, as far as it goes, and the end. Who
/// has yet to shake hands can't be told anything.
fn refuse(mut socket: TcpStream, entrance: Entrance, scratch: &mut [u8]) {
    let close = close_frame(CloseReason::Overloaded, OVERLOADED_DELAY_MS);
    let Some(farewell) = entrance.farewell(close) else { return };
    // A fresh socket takes a few bytes; if it does not, its peer is gone.
    let _best_effort = socket.write(&farewell);
    let _best_effort = socket.shutdown(Shutdown::Write);
    // The Hello has often arrived. Closing a socket with unread bytes is a reset, which may
    // destroy what is on its way to the peer.
    let _best_effort = socket.read(scratch);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_follows_the_rate() {
        let mut budget = Budget::default();
        budget.fill(1000, 200);
        let burst = std::iter::repeat_with(|| budget.take()).take_while(|&taken| taken).count();
        assert_eq!(burst, 20, "a tenth of a second");
        budget.fill(1010, 200);
        assert!(budget.take() && budget.take() && !budget.take());
    }

    #[test]
    fn a_slow_rate_still_lets_one_in() {
        let mut budget = Budget::default();
        budget.fill(999, 1);
        assert!(!budget.take());
        budget.fill(1000, 1);
        assert!(budget.take());
    }
}
