//! A session that is recorded, and how its refresh tokens follow each other.

use dunlin_protocol::{DeviceId, SessionId};

use crate::auth::room::Held;
use crate::request::Device;

/// A recorded session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Which.
    pub session: SessionId,
    /// On which device.
    pub device: Device,
    /// Its place among the sessions of the user, in the order in which they were opened: clocks of
    /// several nodes would not tell it. Given by [`Identity::open`](super::Identity::open).
    pub number: u64,
    /// Since when. Unix time in milliseconds.
    pub opened_ms: u64,
    /// The newest refresh token is of this generation.
    pub generation: u32,
    /// That of the one before it, as long as nobody has shown that the newest arrived.
    pub previous: Option<u32>,
    /// All from here up to the newest were given for that one: any of them may be the one that arrived.
    pub given_from: u32,
    /// If it is not used before, it ends. Unix time in milliseconds.
    pub expires_ms: u64,
}

/// Until when a session lives that is used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// Unix time in milliseconds.
    pub expires_ms: u64,
    /// What is gained by less than this is not worth a write.
    pub step_ms: u64,
}

impl Recorded {
    /// Whoever has a token of this generation has the refresh token of it.
    pub(super) fn arrived(&mut self, generation: u32) {
        if generation >= self.generation {
            self.generation = generation;
            self.previous = None;
        } else if self.is_one_of_several(generation) {
            // The others that were given with it, the newest too, are in nobody's hands who may have them.
            self.previous = Some(generation);
            self.generation = self.generation.saturating_add(1);
            self.given_from = self.generation;
        }
    }

    /// Whether a refresh token of this generation is good: the newest or a newer one, the one that it was
    /// given for, or another one that was given for that.
    pub(super) fn is_good(&self, generation: u32) -> bool {
        generation >= self.generation
            || self.previous == Some(generation)
            || self.is_one_of_several(generation)
    }

    fn is_one_of_several(&self, generation: u32) -> bool {
        self.previous.is_some() && (self.given_from..self.generation).contains(&generation)
    }

    /// The generation of the refresh token that is given for this one.
    pub(super) fn next_generation(&mut self, used: u32, renewal: &Renewal) -> u32 {
        let is_again = self.previous == Some(used);
        self.generation = self.generation.max(used).saturating_add(1);
        if !is_again {
            self.previous = Some(used);
            self.given_from = self.generation;
        }
        self.expires_ms = self.expires_ms.max(renewal.expires_ms);
        self.generation
    }

    pub(super) fn renew(&mut self, renewal: &Renewal) {
        if renewal.expires_ms >= self.expires_ms.saturating_add(renewal.step_ms) {
            self.expires_ms = renewal.expires_ms;
        }
    }

    pub(super) fn bring_end_back(&mut self, renewal: &Renewal) {
        // Clocks of several nodes differ, which is not worth a write either.
        if self.expires_ms > renewal.expires_ms.saturating_add(renewal.step_ms) {
            self.expires_ms = renewal.expires_ms;
        }
    }

    /// Devices get new names. One that says none keeps the one that it had.
    pub(super) fn rename(&mut self, name: &str) {
        if !name.is_empty() && self.device.name != name {
            name.clone_into(&mut self.device.name);
        }
    }
}

impl From<&Recorded> for Held<DeviceId> {
    fn from(recorded: &Recorded) -> Held<DeviceId> {
        let Recorded { session, device, .. } = recorded;
        Held { session: *session, device: device.id, kind: device.kind }
    }
}
