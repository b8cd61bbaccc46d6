//! How hostile a run is. Chosen by the seed, so that some runs are calm and others are not.

use dunlin_core::limits::STORE_DEADLINE_MS;

use super::chance::Chance;

/// What is broken on purpose, to show that the checks find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The store forgets the keys of messages.
    NoDedupe,
    /// The store takes whatever sequence is asked for as the next one.
    NoFence,
    /// The store says that it has stored what it has not, at times.
    ForgetsAppends,
    /// The bus loses envelopes and renumbers nothing, but clients don't hear that they are behind.
    DeafClients,
    /// Requests of a connection overtake each other on their way in.
    UnorderedRequests,
    /// Requests get lost on their way in.
    LostRequests,
}

/// What is between the nodes and their store, beside the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    /// Nothing: what arrives is done at once.
    Nothing,
    /// Everything takes its time, and overtakes each other.
    Slowness,
    /// Each log is somewhere else.
    Parts,
    /// Items fail, some of which were done.
    Failures,
    /// Some requests are never answered.
    LostAnswers,
}

impl Between {
    pub(crate) const ALL: [Between; 5] = [
        Between::Nothing,
        Between::Slowness,
        Between::Parts,
        Between::Failures,
        Between::LostAnswers,
    ];

    /// Of a thousand items, or requests: so many fail while there is trouble.
    pub(crate) fn permille(self) -> u64 {
        match self {
            Between::Nothing | Between::Slowness | Between::Parts => 0,
            Between::Failures => 50,
            Between::LostAnswers => 15,
        }
    }

    /// How much longer everything may take: whoever asks hears of a lost answer after a while, and some
    /// requests ask several times.
    pub(crate) fn patience_ms(self) -> u64 {
        match self {
            Between::Nothing | Between::Slowness | Between::Parts | Between::Failures => 0,
            Between::LostAnswers => STORE_DEADLINE_MS + 1_000,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// Times of trouble, each of which ends with everything healed.
    pub(crate) rounds: u64,
    pub(crate) trouble_ms: u64,
    /// Of a thousand rounds: so many end with a crash.
    pub(crate) last_crash: u64,
    /// Of a thousand envelopes.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Envelopes that come very late.
    pub(crate) late: u64,
    /// The usual delay of an envelope is up to this, each its own: so they overtake each other.
    pub(crate) bus_delay_ms: u64,
    /// Of a thousand requests to the store.
    pub(crate) refused: u64,
    pub(crate) answer_lost: u64,
    pub(crate) store_delay_ms: u64,
    /// Mean time between two crashes, partitions, outages of the store; 0 for none.
    pub(crate) crash_every_ms: u64,
    pub(crate) partition_every_ms: u64,
    pub(crate) outage_every_ms: u64,
    /// How long it takes a node to see a change of the members, at most.
    pub(crate) view_delay_ms: u64,
    /// How often a client does something, about.
    pub(crate) client_every_ms: u64,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) between: Between,
}

impl Profile {
    pub(crate) fn of_seed(chance: &mut Chance) -> Profile {
        let mut sometimes = |permille: u64, most: u64| {
            if chance.permille(permille) { chance.between(1, most) } else { 0 }
        };
        Profile {
            rounds: 3,
            trouble_ms: 3_000 + sometimes(500, 3_000),
            last_crash: sometimes(700, 1_000),
            lost: sometimes(700, 150),
            doubled: sometimes(500, 150),
            late: sometimes(500, 50),
            bus_delay_ms: 1 + sometimes(700, 80),
            refused: sometimes(500, 60),
            answer_lost: sometimes(500, 60),
            store_delay_ms: 2 + sometimes(700, 60),
            crash_every_ms: sometimes(600, 4_000) * 2,
            partition_every_ms: sometimes(500, 3_000) * 2,
            outage_every_ms: sometimes(300, 4_000) * 2,
            view_delay_ms: 1 + sometimes(800, 2_500),
            client_every_ms: 20 + sometimes(800, 150),
            sabotage: None,
            between: Between::Nothing,
        }
    }
}
