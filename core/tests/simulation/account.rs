//! What a simulated client knows of its account: settings, and what its conversations are to it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dunlin_protocol::LogId;
use dunlin_protocol::wire::{self, RequestState, update_conversation::Change};

use super::chance::Chance;

/// Few, so that the devices of a user meet.
const KEYS: [&str; 3] = ["drafts", "order", "theme"];

#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) settings: BTreeMap<String, wire::Setting>,
    pub(crate) memberships: BTreeMap<LogId, wire::Membership>,
    /// All that it was ever told, for the checks at the end: no version names two things.
    pub(crate) told: Vec<Told>,
    /// Settings that were set, as the answers say.
    pub(crate) set: Vec<Set>,
    /// Settings that it wanted to be removed, whatever came of it.
    pub(crate) removed: BTreeSet<String>,
    /// Conversations that it wanted to ignore, whatever came of it: pushes of them may be missing.
    pub(crate) ignored: BTreeSet<LogId>,
    /// What was known of conversations when a sync was asked for that is under way.
    asked: BTreeMap<LogId, u64>,
    /// The settings that were named since everything is told anew, until that is done.
    named: Option<BTreeSet<String>>,
    /// Makes each value another one.
    made: u64,
}

/// Something of a version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    Setting(wire::Setting),
    Membership(wire::Membership),
}

/// A setting that was set, and what it was to replace.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) key: String,
    pub(crate) if_version: Option<u64>,
    pub(crate) version: u64,
}

impl Told {
    pub(crate) fn version(&self) -> u64 {
        match self {
            Told::Setting(setting) => setting.version,
            Told::Membership(membership) => membership.version,
        }
    }
}

impl Account {
    /// A change of a setting: of whatever is there, or of what is known; at times its removal.
    pub(crate) fn change(&mut self, number: u8, chance: &mut Chance) -> wire::SetSetting {
        let key = chance.pick(&KEYS).expect("there are some").to_string();
        let known = self.settings.get(&key);
        let version = known.map_or(0, |it| if it.value.is_empty() { 0 } else { it.version });
        let if_version = chance.permille(500).then_some(version);
        self.made += 1;
        let value = format!("{number}-{}", self.made);
        let value = if chance.permille(150) { Bytes::new() } else { value.into() };
        if value.is_empty() {
            self.removed.insert(key.clone());
        }
        wire::SetSetting { key, value, if_version }
    }

    /// Some change of what a conversation is, of which so much is there.
    pub(crate) fn update(&mut self, log: LogId, position: u64, chance: &mut Chance) -> Change {
        match chance.below(10) {
            0..3 => Change::HideUpTo(chance.below(position + 1)),
            3..5 => Change::MarkedUnread(chance.permille(600)),
            5..9 => {
                let states = [RequestState::None, RequestState::Pending, RequestState::Ignored];
                let state = *chance.pick(&states).expect("there are some");
                if state == RequestState::Ignored {
                    self.ignored.insert(log);
                }
                Change::Request(state.into())
            }
            // Little of it, or nothing would be left to be looked at.
            _ => Change::ClearUpTo(chance.between(1, position.div_ceil(4))),
        }
    }

    /// Takes a setting, whatever it came by: the higher version holds.
    pub(crate) fn take_setting(&mut self, setting: wire::Setting) {
        if setting.version > 0 {
            self.told.push(Told::Setting(setting.clone()));
        }
        let known = self.settings.entry(setting.key.clone()).or_default();
        if setting.version >= known.version {
            *known = setting;
        }
    }

    /// The same of a membership. True if the conversation was ignored and is not any more.
    pub(crate) fn take_membership(&mut self, log: LogId, mut membership: wire::Membership) -> bool {
        membership.conversation_id = log.to_wire();
        self.told.push(Told::Membership(membership.clone()));
        let known = self.memberships.entry(log).or_default();
        if membership.version < known.version {
            return false;
        }
        let is_ignored = |it: &wire::Membership| it.request() == RequestState::Ignored;
        let is_back = is_ignored(known) && !is_ignored(&membership);
        *known = membership;
        is_back
    }

    /// A sync tells settings.
    pub(crate) fn take_synced(&mut self, afresh: bool, settings: Vec<wire::Setting>) {
        if afresh {
            self.named = Some(BTreeSet::new());
        }
        for setting in settings {
            if let Some(named) = &mut self.named {
                named.insert(setting.key.clone());
            }
            self.take_setting(setting);
        }
    }

    /// Everything was told: what was not named is gone, or was set later. True if that is so of anything.
    pub(crate) fn is_told(&mut self) -> bool {
        let Some(named) = self.named.take() else { return false };
        let before = self.settings.len();
        self.settings.retain(|key, _| named.contains(key));
        self.settings.len() < before
    }

    /// A sync is asked for.
    pub(crate) fn asks(&mut self) {
        let known = self.memberships.iter().map(|(log, it)| (*log, it.version));
        self.asked = known.collect();
    }

    /// A sync says that nothing is decided about a conversation, or was not when it was asked for.
    pub(crate) fn take_ordinary(&mut self, log: LogId) {
        let known = self.memberships.entry(log).or_default();
        if self.asked.get(&log).copied().unwrap_or(0) == known.version {
            *known = wire::Membership { version: known.version, ..wire::Membership::default() };
        }
    }
}

/// Whether a membership is what was asked for.
pub(crate) fn is_met(change: &Change, told: &wire::Membership) -> bool {
    match *change {
        Change::HideUpTo(seq) => told.hidden_up_to == seq,
        Change::MarkedUnread(marked) => told.marked_unread == marked,
        // It may be none any more, or never have been one.
        Change::Request(state) => told.request == state || told.request() == RequestState::None,
        Change::ClearUpTo(seq) => told.visible_from > seq,
    }
}
