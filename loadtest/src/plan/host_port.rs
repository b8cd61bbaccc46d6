//! Where a server listens, as people write it.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// `HOST:PORT`, where the host is an address or a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort(String);

/// A text that is no such place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid socket address {0:?}: HOST:PORT is expected, for example 127.0.0.1:7410")]
pub struct NoHostPort(String);

impl HostPort {
    /// Its address, or why it has none. A name with several addresses stands for the first one.
    pub fn resolve(&self) -> Result<SocketAddr, String> {
        let mut addresses =
            self.0.to_socket_addrs().map_err(|error| format!("the host is unknown: {error}"))?;
        addresses.next().ok_or_else(|| "the host has no address".to_owned())
    }
}

impl FromStr for HostPort {
    type Err = NoHostPort;

    fn from_str(text: &str) -> Result<HostPort, NoHostPort> {
        let parts = text.rsplit_once(':').filter(|(host, port)| {
            let is_bare = host.contains(':') && !host.starts_with('[');
            !host.is_empty() && !is_bare && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        parts.map(|_| HostPort(text.to_owned())).ok_or_else(|| NoHostPort(text.to_owned()))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for HostPort {
    type Error = NoHostPort;

    fn try_from(text: String) -> Result<HostPort, NoHostPort> {
        text.parse()
    }
}

impl From<HostPort> for String {
    fn from(place: HostPort) -> String {
        place.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_name_has_a_port() {
        for sound in ["127.0.0.1:7410", "[::1]:1", "localhost:65535", "im.example.org:7411"] {
            assert_eq!(sound.parse::<HostPort>().unwrap().to_string(), sound);
        }
        for wrong in ["nowhere", ":1", "::1:7410", "a:0", "a:65536", "a:b", "a:", ""] {
            assert!(wrong.parse::<HostPort>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_said_to_be_unknown() {
        let place: HostPort = "127.0.0.1:7".parse().unwrap();
        assert_eq!(place.resolve(), Ok("127.0.0.1:7".parse().unwrap()));
        // No name at all has an empty part in it, whoever answers for names here.
        let nowhere: HostPort = "no..where:7".parse().unwrap();
        assert!(nowhere.resolve().unwrap_err().starts_with("the host is unknown: "));
    }
}
