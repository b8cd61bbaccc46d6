//! What was promised about accounts, checked against what is in the store.

use std::collections::BTreeMap;

use dunlin_protocol::wire::{self, RequestState};
use dunlin_protocol::{LogId, UserId};
use prost::Message as _;

use super::account::{Set, Told};
use super::client::Client;
use super::world::{USERS, World};

/// The account of a user as it is stored.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    settings: BTreeMap<String, wire::Setting>,
    memberships: BTreeMap<LogId, wire::Membership>,
    /// How many settings there are, and their bytes, as the account says.
    total: (u32, u32),
}

/// As docs/storage-format.md says.
#[derive(Clone, PartialEq, prost::Message)]
struct Joined {
    #[prost(int32, tag = "2")]
    request: i32,
    #[prost(uint64, tag = "3")]
    hidden_up_to: u64,
    #[prost(bool, tag = "4")]
    marked_unread: bool,
    #[prost(uint64, tag = "5")]
    visible_from: u64,
    #[prost(uint64, tag = "6")]
    others_cleared: u64,
}

/// The same.
#[derive(Clone, PartialEq, prost::Message)]
struct Total {
    #[prost(uint32, tag = "1")]
    settings: u32,
    #[prost(uint32, tag = "2")]
    bytes: u32,
}

pub(crate) fn stored(world: &World, user: UserId) -> Stored {
    let mut stored = Stored::default();
    for register in world.store.registers(LogId::account(user)) {
        let (version, value) = (register.version, register.value.unwrap_or_default());
        match register.key.as_bytes() {
            [b's', key @ ..] => {
                let key = String::from_utf8(key.to_vec()).unwrap();
                let setting = wire::Setting { key: key.clone(), value, version };
                stored.settings.insert(key, setting);
            }
            [b't'] => {
                let Total { settings, bytes } = Total::decode(value).unwrap();
                stored.total = (settings, bytes);
            }
            [b'c', id @ ..] => {
                let log = LogId::from_wire(id).unwrap();
                stored.memberships.insert(log, membership(log, version, &value));
            }
            _ => {}
        }
    }
    stored
}

fn membership(log: LogId, version: u64, value: &[u8]) -> wire::Membership {
    let Joined { request, hidden_up_to, marked_unread, visible_from, others_cleared } =
        Joined::decode(value).unwrap();
    wire::Membership {
        conversation_id: log.to_wire(),
        request,
        hidden_up_to,
        marked_unread,
        visible_from,
        others_cleared,
        version,
    }
}

impl Stored {
    /// The lowest sequence that there is for the user.
    pub(crate) fn floor(&self, log: LogId) -> u64 {
        self.memberships.get(&log).map_or(0, |it| it.visible_from)
    }

    /// All of it that a client is told of, by its version.
    fn by_version(&self) -> BTreeMap<u64, Told> {
        let settings = self.settings.values().cloned().map(Told::Setting);
        let memberships = self.memberships.values().cloned().map(Told::Membership);
        settings.chain(memberships).map(|it| (it.version(), it)).collect()
    }
}

/// Nothing that was told was undone but by what is newer, no version names two things, and who set
/// a setting only if it was of a version replaced that version.
pub(crate) fn check(world: &World, found: &mut Vec<String>) {
    for user in (1..=USERS).map(|id| UserId::new(id).unwrap()) {
        let stored = stored(world, user);
        let mut versions = stored.by_version();
        let clients = world.clients.iter().filter(|client| client.user == user);
        let told = clients.clone().flat_map(|client| &client.account.told);
        for told in told {
            let known = versions.entry(told.version()).or_insert_with(|| told.clone());
            if without_request(known) != without_request(told) {
                found.push(format!("{user}: one version of {known:?} and {told:?}"));
            }
            let may_be_gone =
                |key: &String| clients.clone().any(|it| it.account.removed.contains(key));
            if stored.version_of(told, may_be_gone).is_none_or(|it| it < told.version()) {
                found.push(format!("{user}: told was {told:?}, which is not stored"));
            }
        }
        let settings: Vec<_> = versions.values().filter_map(as_setting).collect();
        for set in clients.flat_map(|client| &client.account.set) {
            check_set(user, set, &settings, found);
        }
        check_total(user, &stored, found);
    }
}

impl Stored {
    /// The version in which something is stored that a client was told of. Of what was removed that is
    /// forgotten.
    fn version_of(&self, told: &Told, may_be_gone: impl Fn(&String) -> bool) -> Option<u64> {
        match told {
            Told::Setting(setting) => match self.settings.get(&setting.key) {
                Some(there) => Some(there.version),
                None => may_be_gone(&setting.key).then_some(u64::MAX),
            },
            Told::Membership(membership) => {
                let log = LogId::from_wire(&membership.conversation_id).unwrap();
                self.memberships.get(&log).map(|it| it.version)
            }
        }
    }
}

/// A request ends when its user says something, without another version.
fn without_request(told: &Told) -> Told {
    match told.clone() {
        Told::Membership(membership) => {
            Told::Membership(wire::Membership { request: 0, ..membership })
        }
        Told::Setting(setting) => Told::Setting(setting),
    }
}

fn as_setting(told: &Told) -> Option<&wire::Setting> {
    match told {
        Told::Setting(setting) => Some(setting),
        Told::Membership(_) => None,
    }
}

fn check_set(user: UserId, set: &Set, settings: &[&wire::Setting], found: &mut Vec<String>) {
    // Version 0 is that of all that have been removed.
    let Some(replaced) = set.if_version.filter(|version| *version > 0) else { return };
    let between = settings
        .iter()
        .find(|it| it.key == set.key && replaced < it.version && it.version < set.version);
    if let Some(lost) = between {
        found.push(format!("{user}: {lost:?} was overwritten by {set:?}"));
    }
}

fn check_total(user: UserId, stored: &Stored, found: &mut Vec<String>) {
    let there = stored.settings.values().filter(|it| !it.value.is_empty());
    let bytes = there.clone().map(|it| (it.key.len() + it.value.len()) as u32).sum();
    let right = (there.count() as u32, bytes);
    if stored.total != right {
        found.push(format!("{user}: settings are {right:?}, and count as {:?}", stored.total));
    }
}

/// Who has said something in a conversation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Voices {
    /// The user, and it counts.
    pub(crate) own: bool,
    /// Somebody else said the first thing.
    pub(crate) others_began: bool,
}

/// Where what a client knows differs from what is stored.
pub(crate) fn differs(
    world: &World,
    client: &Client,
    voices: impl Fn(&LogId) -> Voices,
) -> Vec<String> {
    let mut found = Vec::new();
    let stored = stored(world, client.user);
    let there = |settings: &BTreeMap<String, wire::Setting>| -> Vec<_> {
        settings.values().filter(|it| !it.value.is_empty()).cloned().collect()
    };
    let (right, known) = (there(&stored.settings), there(&client.account.settings));
    if known != right {
        found.push(format!("it knows the settings {known:?}, stored are {right:?}"));
    }
    for (log, right) in &stored.memberships {
        let Voices { own, others_began } = voices(log);
        // A request that begins with a push is not told of.
        let request = if others_began { RequestState::Pending } else { RequestState::None }.into();
        let untold = wire::Membership { request, ..wire::Membership::default() };
        let known = client.account.memberships.get(log).unwrap_or(&untold);
        let (right, known) = (seen(right, own), seen(known, own));
        if client.logs.contains_key(log) && right != known {
            found.push(format!("{log}: it knows {known:?}, stored is {right:?}"));
        }
    }
    found
}

/// A membership as a client shows it: which version it has is told only if there is something to tell.
fn seen(membership: &wire::Membership, says: bool) -> wire::Membership {
    let request = if says { RequestState::None.into() } else { membership.request };
    let conversation_id = Default::default();
    wire::Membership { request, conversation_id, version: 0, ..membership.clone() }
}
