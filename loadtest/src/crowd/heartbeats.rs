//! Who has been silent for so long that the server would close its connection.

use std::time::Duration;

use dunlin_protocol::limits::HEARTBEAT_INTERVAL_MS;

use crate::target::Service;

/// What a client says if it has nothing else to say: an empty frame.
pub(crate) const HEARTBEAT: [u8; 4] = [0; 4];

/// How often all connections are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Heartbeats {
    /// None are sent to what knows none.
    interval_ms: Option<u32>,
    next_look_ns: u64,
}

impl Heartbeats {
    pub(crate) fn new(service: &Service) -> Heartbeats {
        let interval_ms = match service {
            Service::Dunlin(_) | Service::Holder => Some(HEARTBEAT_INTERVAL_MS),
            Service::Relay => None,
        };
        Heartbeats { interval_ms, next_look_ns: 0 }
    }

    /// The server said how often it wants them.
    pub(crate) fn set_interval(&mut self, interval_ms: u32) {
        self.interval_ms = Some(interval_ms.max(1));
    }

    /// If it is time to look at all connections: those that last wrote something before the moment
    /// that this returns are to send a heartbeat.
    pub(crate) fn silent_since(&mut self, now_ns: u64) -> Option<u64> {
        let interval_ms = self.interval_ms.filter(|_| now_ns >= self.next_look_ns)?;
        self.next_look_ns = now_ns + LOOK_INTERVAL.as_nanos() as u64;
        // Half of what the server asks for, since this looks only once a second.
        Some(now_ns.saturating_sub(u64::from(interval_ms) * 1_000_000 / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Issuer;

    #[test]
    fn who_wrote_nothing_for_half_of_the_interval_is_to_send_one() {
        let mut heartbeats = Heartbeats::new(&Service::Dunlin(Issuer::new("test", &[0; 32])));
        let second = 1_000_000_000;
        let half = u64::from(HEARTBEAT_INTERVAL_MS) * 1_000_000 / 2;
        assert_eq!(heartbeats.silent_since(0), Some(0));
        assert_eq!(heartbeats.silent_since(second - 1), None, "it has just looked");
        assert_eq!(heartbeats.silent_since(half + 7), Some(7));
        heartbeats.set_interval(4000);
        assert_eq!(heartbeats.silent_since(half + 7 + second), Some(half + 7 - second));
    }

    #[test]
    fn a_relay_knows_no_heartbeats() {
        assert_eq!(Heartbeats::new(&Service::Relay).silent_since(1 << 60), None);
    }
}
