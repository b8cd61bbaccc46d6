//! `[rates]`: how fast is too fast.

use dunlin_core::rates::{self, Kind, Rate};
use dunlin_protocol::wire;

use super::error::SectionFaults;
use super::section::{Section, section};
use crate::shard::control::NodeRates;

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;

section! {
    /// How fast is too fast, for a user on all connections; 0 is no limit.
    Rates {
        /// Messages to store.
        messages_per_s: u32 = 30,
        /// Messages at once.
        messages_burst: u32 = 1000,
        /// Bytes of messages.
        message_bytes_per_s: u64 = 512 * 1024,
        /// Bytes of messages at once.
        message_bytes_burst: u64 = 64 * 1024 * 1024,
        /// Bytes of messages in a day.
        message_bytes_per_day: u64 = 1024 * 1024 * 1024,
        /// Points of all other requests.
        requests_per_s: u32 = 100,
        /// Points at once.
        requests_burst: u32 = 5000,
        /// Signals and heartbeats.
        signals_per_s: u32 = 20,
        /// Signals and heartbeats at once.
        signals_burst: u32 = 500,
        /// User names that are looked up, and as many at once.
        names_per_hour: u32 = 1000,
        /// An address may ask as much as so many users.
        users_per_address: u32 = 100,
        /// Connections that come from an address.
        connects_per_s: u32 = 100,
        /// Connections that come from an address at once.
        connects_burst: u32 = 2000,
    }
}

impl Section for Rates {
    const NAME: &'static str = "rates";
    type Checked = ();

    fn check(&self, faults: &mut SectionFaults<'_>) {
        let bursts = [
            ("messages_burst", u64::from(self.messages_burst)),
            ("message_bytes_burst", self.message_bytes_burst),
            ("requests_burst", self.requests_burst.into()),
            ("signals_burst", self.signals_burst.into()),
            ("connects_burst", self.connects_burst.into()),
        ];
        for (key, burst) in bursts {
            faults.within(key, burst, 1..=1 << 50);
        }
        faults.within("users_per_address", self.users_per_address, 1..=1_000_000);
    }
}

impl Rates {
    /// For the shards.
    pub(crate) fn of_node(&self) -> NodeRates {
        let user = rates::Rates::of(|kind| self.of_user(kind));
        let many = user.times(self.users_per_address.into());
        let connects = Rate::new(self.connects_per_s.into(), 1, self.connects_burst.into());
        let address = rates::Rates::of(|kind| match kind {
            Kind::Connects => connects,
            Kind::Messages
            | Kind::Bytes
            | Kind::Requests
            | Kind::Signals
            | Kind::Names
            | Kind::StoredBytes => many[kind],
        });
        NodeRates { user, address }
    }

    fn of_user(&self, kind: Kind) -> Rate {
        let a_second = |units: u32, burst: u32| Rate::new(units.into(), 1, burst.into());
        let names = u64::from(self.names_per_hour);
        let day = self.message_bytes_per_day;
        match kind {
            Kind::Messages => a_second(self.messages_per_s, self.messages_burst),
            Kind::Bytes => Rate::new(self.message_bytes_per_s, 1, self.message_bytes_burst),
            Kind::Requests => a_second(self.requests_per_s, self.requests_burst),
            Kind::Signals => a_second(self.signals_per_s, self.signals_burst),
            Kind::Names => Rate::new(names, HOUR_S, names),
            Kind::StoredBytes => Rate::new(day, DAY_S, day),
            Kind::Connects => Rate::UNLIMITED,
        }
    }

    /// What clients are told.
    pub(crate) fn told(&self) -> wire::Rates {
        wire::Rates {
            messages_per_s: self.messages_per_s,
            messages_burst: self.messages_burst,
            message_bytes_per_s: self.message_bytes_per_s,
            message_bytes_burst: self.message_bytes_burst,
            requests_per_s: self.requests_per_s,
            requests_burst: self.requests_burst,
            signals_per_s: self.signals_per_s,
            signals_burst: self.signals_burst,
            names_per_hour: self.names_per_hour,
            message_bytes_per_day: self.message_bytes_per_day,
        }
    }
}
