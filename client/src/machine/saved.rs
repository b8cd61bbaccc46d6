//! What a client knows, for a later run of the program: with it the next sync tells only what has
//! changed since, and every entry still comes once.
//!
//! It holds numbers and settings, and no entry: those are the application's. What waits for a missing entry
//! is not in it either, and is fetched again.

use bytes::Bytes;
use dunlin_protocol::wire::Setting;
use dunlin_protocol::{LogId, UserId};
use prost::Message as _;

use super::Machine;
use super::event::Event;
use super::log::Log;

/// The one layout that there is. A client that finds another one begins anew.
const LAYOUT: u32 = 1;

/// What a client knows.
#[derive(Clone, PartialEq, prost::Message)]
struct Saved {
    #[prost(uint32, tag = "1")]
    layout: u32,
    #[prost(uint64, tag = "2")]
    user: u64,
    #[prost(uint64, tag = "3")]
    epoch: u64,
    #[prost(bytes = "bytes", tag = "4")]
    token: Bytes,
    /// Those that were used last come last.
    #[prost(message, repeated, tag = "5")]
    logs: Vec<SavedLog>,
    #[prost(message, repeated, tag = "6")]
    settings: Vec<Setting>,
}

/// What it knows of a conversation.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SavedLog {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) id: Bytes,
    /// Something of it is known that no Synced has told.
    #[prost(bool, tag = "2")]
    pub(super) is_heard: bool,
    #[prost(uint64, tag = "3")]
    pub(super) position: u64,
    #[prost(uint64, tag = "4")]
    pub(super) head: u64,
    #[prost(uint64, tag = "5")]
    pub(super) expired_below: u64,
    #[prost(message, required, tag = "6")]
    pub(super) reading: SavedReading,
    #[prost(message, required, tag = "7")]
    pub(super) membership: SavedMembership,
    /// The newest entry that has arrived, and its time.
    #[prost(uint64, tag = "8")]
    pub(super) newest_seq: u64,
    #[prost(uint64, tag = "9")]
    pub(super) newest_time_ms: u64,
}

/// How far it is read.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SavedReading {
    #[prost(bool, tag = "1")]
    pub(super) has_spoken: bool,
    #[prost(bool, optional, tag = "2")]
    pub(super) others_began: Option<bool>,
    #[prost(uint64, tag = "3")]
    pub(super) read_seq: u64,
    #[prost(uint64, tag = "4")]
    pub(super) peer_read_seq: u64,
    #[prost(uint64, tag = "5")]
    pub(super) unread: u64,
    #[prost(uint64, tag = "6")]
    pub(super) unread_to: u64,
    #[prost(uint64, optional, tag = "7")]
    pub(super) others_read: Option<u64>,
    /// With `mine`: the running counts at the position.
    #[prost(uint64, optional, tag = "8")]
    pub(super) counted: Option<u64>,
    #[prost(uint64, tag = "9")]
    pub(super) mine: u64,
}

/// What it is to the user.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SavedMembership {
    #[prost(bool, tag = "1")]
    pub(super) is_told: bool,
    #[prost(int32, tag = "2")]
    pub(super) request: i32,
    #[prost(uint64, tag = "3")]
    pub(super) hidden_up_to: u64,
    #[prost(bool, tag = "4")]
    pub(super) marked_unread: bool,
    #[prost(uint64, tag = "5")]
    pub(super) visible_from: u64,
    #[prost(uint64, tag = "6")]
    pub(super) others_cleared: u64,
    #[prost(uint64, tag = "7")]
    pub(super) version: u64,
}

impl Machine {
    /// Asks for what this client knows, for a later run: it comes as [`Event::Saved`], behind the events
    /// that it stands for.
    pub fn save(&mut self) {
        let saved = self.saved().encode_to_vec();
        self.events.push_back(Event::Saved(saved));
    }

    fn saved(&self) -> Saved {
        let (epoch, token) = self.sync.saved();
        let log = |(id, log, is_heard): (LogId, &Log, bool)| SavedLog {
            id: id.to_wire(),
            is_heard,
            ..log.saved()
        };
        Saved {
            layout: LAYOUT,
            user: self.user.map_or(0, UserId::get),
            epoch,
            token,
            logs: self.logs.in_order_of_use().map(log).collect(),
            settings: self.settings.saved(),
        }
    }

    /// Goes on where an earlier run has come to. What can't be read is a state of which nothing is left.
    pub(super) fn restore(&mut self) {
        let saved = std::mem::take(&mut self.config.saved);
        if saved.is_empty() {
            return;
        }
        let saved = Saved::decode(&saved[..]).ok().filter(|saved| saved.layout == LAYOUT);
        let user = saved.as_ref().and_then(|saved| UserId::new(saved.user).ok());
        let (Some(saved), Some(user)) = (saved, user) else {
            return self.events.push_back(Event::HistoryLost);
        };
        self.user = Some(user);
        self.sync.restore(saved.epoch, saved.token);
        for log in saved.logs {
            let Ok(id) = LogId::from_wire(&log.id) else { continue };
            self.logs.restore(id, Log::restored(&log), log.is_heard);
        }
        for setting in saved.settings {
            self.setting_told(setting, true);
        }
        self.announce_conversations();
    }
}
