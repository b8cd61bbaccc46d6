//! Which pairs send, and which are only there.

use std::ops::Range;
use std::time::Duration;

use crate::crowd::Senders;
use crate::scenarios::chosen;
use crate::scenarios::pairs::{ChatScenario, Disturbance};

impl ChatScenario {
    /// Those of a thread with these pairs, among all.
    pub(crate) fn senders_of(&self, pairs: Range<u32>) -> Senders {
        let own = pairs.clone().filter(|&pair| self.senders(pair..pair + 1) > 0);
        Senders {
            all: self.senders(0..self.pairs()),
            first: self.senders(0..pairs.start),
            own: own.map(|pair| pair - pairs.start).collect(),
            sides: 2,
        }
    }

    pub(crate) fn pairs(&self) -> u32 {
        self.users / 2
    }

    /// Users whom a storm spares: the first ones.
    pub(crate) fn spared(&self) -> u32 {
        match &self.disturbance {
            Some(Disturbance::Storm(storm)) => storm.established(self.users),
            Some(Disturbance::Slow(_) | Disturbance::Churn(_) | Disturbance::Hostile(_)) | None => {
                0
            }
        }
    }

    /// Pairs in a range that send: those that a storm spares, and an even choice of the others.
    pub(crate) fn senders(&self, pairs: Range<u32>) -> u32 {
        let spared = self.spared() / 2;
        let others = pairs.start.max(spared)..pairs.end.max(spared);
        let spared = pairs.end.min(spared).saturating_sub(pairs.start);
        spared + chosen(others, self.active_share)
    }

    /// By how much the measured window may be longer, for what befalls the users.
    pub(crate) fn disturbed_at_most(&self) -> Duration {
        match &self.disturbance {
            Some(Disturbance::Storm(storm)) => storm.takes_at_most(),
            Some(Disturbance::Slow(_) | Disturbance::Churn(_) | Disturbance::Hostile(_)) | None => {
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::{Load, Rate};
    use crate::scenarios::storm::Storm;
    use crate::target::{Service, Target};
    use crate::token::Issuer;

    #[test]
    fn an_even_share_of_the_pairs_sends_and_all_that_are_spared() {
        let service = Service::Dunlin(Issuer::new("test", &[0; 32]));
        let address = "127.0.0.1:1".parse().unwrap();
        let mut scenario =
            ChatScenario::new(Target { address, tls: None, web: false, service, pid: None });
        scenario.users = 2000;
        assert_eq!(scenario.senders(0..1000), 1000);
        scenario.active_share = 0.1;
        assert_eq!((scenario.senders(0..1000), scenario.senders(0..1)), (100, 1));
        let parts = [0..300, 300..301, 301..1000].map(|part| scenario.senders(part));
        assert_eq!(parts.iter().sum::<u32>(), 100);
        assert_eq!(parts[0], 30);
        let storm = Storm { established_share: 0.05, ..Storm::default() };
        scenario.disturbance = Some(Disturbance::Storm(storm));
        assert_eq!((scenario.senders(0..50), scenario.senders(0..1000)), (50, 145));
        scenario.active_share = 0.0;
        assert_eq!((scenario.senders(25..1000), scenario.senders(50..1000)), (25, 0));
        scenario.disturbance = None;
        scenario.load = Load::Open { messages_per_second: Rate::constant(1.0) };
        assert!(scenario.check().is_err());
    }
}
