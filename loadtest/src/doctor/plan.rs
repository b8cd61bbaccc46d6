//! What a run of so many connections takes.

use std::net::SocketAddr;

use serde::Serialize;

use crate::generators;
use crate::target;

/// Kernel memory of an established socket: 3.6 KB, and 0.3 KB for its place in an epoll (Linux 6.18,
/// 1,002,000 loopback connections: 8.0 GB of slab for both ends).
const KERNEL_BYTES_PER_SOCKET: u64 = 3_900;

/// User memory of the server for a connection of a user who logs in for the first time
/// (docs/benchmarks/diary.md, memory of idle connections).
const SERVER_BYTES_PLAIN: u64 = 1_280;
const SERVER_BYTES_TLS: u64 = 4_950;

/// User memory of this harness. Plain: the budget, of which 24 B are the connection and the rest
/// is what threads need. TLS: the session of rustls with its buffers, by slope from 500 to 2,000.
const HARNESS_BYTES_PLAIN: u64 = 300;
const HARNESS_BYTES_TLS: u64 = 8_600;

/// The run that the machine is asked about.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Connections at the same time.
    pub connections: u32,
    /// Whether they speak TLS.
    pub tls: bool,
    /// The server; if it is a loopback address, it shares this machine.
    pub address: SocketAddr,
}

impl Plan {
    /// Whether the server runs here, too.
    pub fn is_local(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// Sockets on this machine: both ends of a connection may be here.
    pub(super) fn sockets(&self) -> u64 {
        u64::from(self.connections) * if self.is_local() { 2 } else { 1 }
    }

    /// Generator threads, if each has a descriptor table of its own.
    pub(super) fn threads(&self, descriptors: u64) -> u64 {
        generators::threads_needed(self.connections, descriptors)
    }

    /// Addresses that the harness connects from.
    pub(super) fn sources(&self) -> u64 {
        target::sources(self.address, &(0..self.connections)).len().max(1) as u64
    }

    /// Memory of one connection on this machine.
    pub(super) fn bytes_per_connection(&self) -> u64 {
        let (server, harness) = match self.tls {
            false => (SERVER_BYTES_PLAIN, HARNESS_BYTES_PLAIN),
            true => (SERVER_BYTES_TLS, HARNESS_BYTES_TLS),
        };
        if self.is_local() {
            2 * KERNEL_BYTES_PER_SOCKET + server + harness
        } else {
            KERNEL_BYTES_PER_SOCKET + harness
        }
    }

    /// Memory of all connections on this machine.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.connections) * self.bytes_per_connection()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::million;
    use super::*;

    #[test]
    fn a_server_elsewhere_leaves_half_of_the_sockets_and_the_memory() {
        let here = million();
        let there = Plan { address: "192.0.2.1:7410".parse().unwrap(), ..million() };
        assert_eq!((here.sockets(), there.sockets()), (2_000_000, 1_000_000));
        assert_eq!((here.sources(), there.sources()), (100, 1));
        assert!(there.bytes() * 2 < here.bytes());
        assert!(Plan { tls: true, ..million() }.bytes() > 2 * here.bytes());
    }

    #[test]
    fn a_million_here_is_known_to_fit_into_ten_gigabytes() {
        assert!((9_000_000_000..10_000_000_000).contains(&million().bytes()));
    }
}
