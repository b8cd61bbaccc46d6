//! The server under test, and how to log in to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

use crate::error::LoadtestError;
use crate::net::{Route, Trust};
use crate::token::Issuer;

/// Connections from one loopback address to one server address, at most. The kernel gives out
/// 28,232 ports by default, and `connect` finds a free one among them as long as many are; this
/// leaves room for what other programs hold.
pub(crate) const CONNECTIONS_PER_SOURCE: u32 = 10_000;

/// What is spoken with the server.
#[derive(Debug, Clone)]
pub enum Service {
    /// Dunlin, with tokens of an issuer that it trusts.
    Dunlin(Issuer),
    /// The raw relay of the benchmarks: the first frame names the pair or the group, all others are
    /// forwarded.
    Relay,
    /// The holder of the benchmarks: it gives back what it gets, so that heartbeats are answered.
    Holder,
}

/// Where the server is.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// TLS, and whom to trust then.
    pub tls: Option<Trust>,
    /// Whether frames go in a WebSocket.
    pub web: bool,
    /// What it speaks.
    pub service: Service,
    /// Its process if it runs on this machine: its memory and processor time are reported.
    pub pid: Option<u32>,
}

impl Target {
    /// The way there, for this many connections. Towards a loopback address, many connections come
    /// from many loopback addresses.
    pub fn route(&self, connections: usize) -> Result<Route, LoadtestError> {
        self.route_of(&(0..u32::try_from(connections).unwrap_or(u32::MAX)))
    }

    /// The way there for some of the connections of a run. Those of other processes on this machine
    /// come from other addresses, if they are many.
    pub(crate) fn route_of(&self, connections: &Range<u32>) -> Result<Route, LoadtestError> {
        let tls = self.tls.as_ref().map(Trust::client_config).transpose();
        let tls = tls.map_err(io::Error::other);
        let tls = tls.map_err(LoadtestError::machine("reading the certificates to trust"))?;
        let sources = sources(self.address, connections);
        Ok(Route { address: self.address, tls, web: self.web, sources })
    }
}

/// Addresses to connect from, if it matters: towards a loopback address, all of 127/8 may be used.
pub(crate) fn sources(server: SocketAddr, connections: &Range<u32>) -> Vec<IpAddr> {
    let is_loopback = server.ip().is_loopback() && server.is_ipv4();
    if !is_loopback || connections.end <= CONNECTIONS_PER_SOURCE {
        return Vec::new();
    }
    (connections.start / CONNECTIONS_PER_SOURCE..connections.end.div_ceil(CONNECTIONS_PER_SOURCE))
        .map(|number| IpAddr::V4(Ipv4Addr::new(127, 1, (number >> 8) as u8, number as u8)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_come_from_many_addresses_and_shares_from_different_ones() {
        let here = "127.0.0.1:1".parse().unwrap();
        let per_source = CONNECTIONS_PER_SOURCE;
        assert_eq!(sources(here, &(0..per_source)), [] as [IpAddr; 0]);
        let all = sources(here, &(0..4 * per_source));
        assert_eq!(all.len(), 4);
        let shares = [0..2 * per_source, 2 * per_source..4 * per_source];
        assert_eq!(shares.map(|share| sources(here, &share)).concat(), all);
        assert_eq!(sources("10.0.0.1:1".parse().unwrap(), &(0..4 * per_source)), [] as [IpAddr; 0]);
    }
}
