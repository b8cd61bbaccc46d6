//! The promise, checked after a run against what is in the store.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_core::store::{RegisterKey, StoredEntry};
use dunlin_protocol::wire::{self, entry};
use dunlin_protocol::{LogId, UserId};
use prost::Message as _;

use super::accounts;
use super::client::{Client, Order, State};
use super::log::Seen;
use super::world::{USERS, World};

/// A log as it is stored.
struct Stored {
    entries: Vec<(wire::Entry, StoredEntry)>,
}

type Logs = BTreeMap<LogId, Stored>;

/// All that is not as it was promised.
pub(crate) fn violations(world: &World) -> Vec<String> {
    let mut found = world.violations.clone();
    let logs = stored_logs(world, &mut found);
    for (log, stored) in &logs {
        check_log(*log, stored, &mut found);
    }
    check_members(world, &logs, &mut found);
    accounts::check(world, &mut found);
    let cursors = cursors_of(world, &logs, &mut found);
    for (number, client) in world.clients.iter().enumerate() {
        let mut of_client = client.violations.clone();
        check_client(client, &logs, &mut of_client);
        check_cursors(client, &cursors, &mut of_client);
        found.extend(of_client.into_iter().map(|what| format!("client {number}: {what}")));
    }
    found
}

/// What clients still lack, or should lack, when everything was quiet for long.
pub(crate) fn left_behind(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let logs = stored_logs(world, &mut found);
    let ended: BTreeSet<_> = world
        .clients
        .iter()
        .flat_map(|client| &client.ended)
        .map(|session| session.get())
        .collect();
    for (number, client) in world.clients.iter().enumerate() {
        let session = client.link.as_ref().map(|link| link.session.session);
        if session.is_some_and(|session| ended.contains(&session.get())) {
            found.push(format!("client {number} goes on with {session:?}, which was ended"));
        }
        if !client.is_settled() {
            let waits = client.link.as_ref().map(|link| &link.outstanding);
            found.push(format!("client {number} has not come to rest: {waits:?}"));
        }
        for (log, stored) in &logs {
            let is_ignored =
                |of: &Client| of.user == client.user && of.account.ignored.contains(log);
            if world.clients.iter().any(is_ignored) {
                continue;
            }
            let has = client.logs.get(log).map_or(0, |has| has.position);
            if reads(client.user, *log) && has != stored.entries.len() as u64 {
                let head = stored.entries.len();
                found.push(format!("client {number} has {log} up to {has} of {head}"));
            }
        }
    }
    found
}

/// Where a client that has just synced by its token differs from what is stored, which is what a new
/// device is told.
pub(crate) fn not_synced(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let logs = stored_logs(world, &mut found);
    for (number, client) in world.clients.iter().enumerate() {
        for (log, Stored { entries }) in logs.iter().filter(|(log, _)| reads(client.user, **log)) {
            let has = client.logs.get(log).map_or(0, |has| has.position);
            if has != entries.len() as u64 {
                let head = entries.len();
                found.push(format!("client {number} has synced {log} up to {has} of {head}"));
            }
        }
        let voices =
            |log: &LogId| logs.get(log).map(|it| voices(client.user, it)).unwrap_or_default();
        let differs = accounts::differs(world, client, voices);
        found.extend(differs.into_iter().map(|what| format!("client {number}: {what}")));
    }
    found
}

fn voices(user: UserId, stored: &Stored) -> accounts::Voices {
    let mut entries = stored.entries.iter().map(|(entry, _)| entry);
    let others_began = entries.clone().next().is_some_and(|first| first.sender != user.get());
    let own = entries.any(|entry| entry.sender == user.get() && entry.notice().counts());
    accounts::Voices { own, others_began }
}

fn reads(user: UserId, log: LogId) -> bool {
    log.direct_members().is_some_and(|(lower, higher)| user == lower || user == higher)
}

fn stored_logs(world: &World, found: &mut Vec<String>) -> Logs {
    let users = || (1..=USERS).map(|id| UserId::new(id).unwrap());
    let direct = users().flat_map(|one| users().map(move |other| LogId::direct(one, other)));
    let all: BTreeSet<_> = direct.collect();
    let mut logs = Logs::new();
    for log in all {
        let mut entries = Vec::new();
        for stored in world.store.entries(log) {
            match wire::Entry::decode(stored.body.clone()) {
                Ok(entry) => entries.push((entry, stored)),
                Err(error) => found.push(format!("{log}: an entry can't be read: {error}")),
            }
        }
        logs.insert(log, Stored { entries });
    }
    logs
}

/// Dense, in time, counted right, nothing twice.
fn check_log(log: LogId, stored: &Stored, found: &mut Vec<String>) {
    let (mut time_ms, mut counted) = (0, 0);
    let mut of_sender = BTreeMap::<u64, u64>::new();
    let mut ids = BTreeSet::new();
    for (place, (entry, stored)) in (1..).zip(&stored.entries) {
        if entry.seq != place || stored.seq != place {
            found.push(format!("{log}: {} stands at {place}", entry.seq));
        }
        if entry.time_ms < time_ms {
            found.push(format!("{log}: time goes back at {place}"));
        }
        time_ms = entry.time_ms;
        if let Some(entry::Body::Message(message)) = &entry.body {
            let counts = u64::from(entry.notice().counts());
            counted += counts;
            let of_sender = of_sender.entry(entry.sender).or_default();
            *of_sender += counts;
            let counts = (entry.counted, entry.sender_counted);
            let meta = (stored.meta.counted, stored.meta.sender_counted);
            if counts != (counted, *of_sender) || meta != counts {
                let right = (counted, *of_sender);
                found.push(format!("{log}: counts of {place} are {counts:?}, not {right:?}"));
            }
            if !ids.insert((entry.sender, message.client_message_id.clone())) {
                found.push(format!("{log}: {place} is stored twice"));
            }
        }
    }
}

fn check_client(client: &Client, logs: &Logs, found: &mut Vec<String>) {
    for (log, has) in &client.logs {
        let entries = logs.get(log).map_or(&[][..], |stored| &stored.entries);
        for (seq, seen) in &has.entries {
            let there = entries.get(*seq as usize - 1).map(|(entry, _)| Seen::of(entry));
            if there.as_ref() != Some(seen) {
                found.push(format!("{log}: saw {seen:?} at {seq}, stored is {there:?}"));
            }
        }
    }
    for message in &client.messages {
        let State::Acknowledged { seq, time_ms } = message.state else { continue };
        let stored = logs[&message.log].entries.get(seq as usize - 1);
        let is_right = stored.is_some_and(|(entry, _)| {
            let sent = Seen {
                sender: client.user.get(),
                id: message.id.0.to_vec(),
                content: message.content.clone(),
            };
            Seen::of(entry) == sent && entry.time_ms == time_ms
        });
        if !is_right {
            found.push(format!("{}: {:?} is not stored at {seq}", message.log, message.id));
        }
    }
    client.orders.iter().for_each(|order| check_order(client, order, logs, found));
}

/// What one connection has sent to one conversation is stored in that order, up to the first that
/// was refused; and what was acknowledged is never stored without what was sent before it.
fn check_order(client: &Client, order: &Order, logs: &Logs, found: &mut Vec<String>) {
    let until = order.refused_from.unwrap_or(order.sends.len());
    let promised = &order.sends[..until];
    let Some(last) = promised.iter().rposition(|(_, acknowledged)| *acknowledged) else { return };
    let mut before = 0;
    for (index, _) in &promised[..=last] {
        let message = &client.messages[*index];
        let entries = &logs[&message.log].entries;
        let place = entries.iter().find(|(entry, _)| match &entry.body {
            Some(entry::Body::Message(stored)) => {
                stored.client_message_id.as_ref() == message.id.0
                    && entry.sender == client.user.get()
            }
            _ => false,
        });
        let seq = place.map_or(0, |(entry, _)| entry.seq);
        if seq <= before {
            found.push(format!("{}: message {index} is at {seq}, after {before}", message.log));
        }
        before = seq;
    }
}

/// A cursor that was acknowledged is durable, and of no cursor a client knows more than is stored.
fn check_cursors(client: &Client, cursors: &Cursors, found: &mut Vec<String>) {
    let stored = |log: &LogId, user| cursors.get(&(*log, user)).copied().unwrap_or_default();
    for (log, read) in &client.read {
        let stored = stored(log, client.user).seq;
        if stored < *read {
            found.push(format!("{log}: read up to {read}, stored is {stored}"));
        }
    }
    for (log, has) in &client.logs {
        let Some((lower, higher)) = log.direct_members() else { continue };
        let peer = if lower == client.user { higher } else { lower };
        let (own, other) = (stored(log, client.user).seq, stored(log, peer).receipt_seq);
        if has.read_seq > own || has.peer_read_seq > other {
            let knows = (has.read_seq, has.peer_read_seq);
            found.push(format!("{log}: knows of cursors {knows:?}, stored are {own}, {other}"));
        }
    }
}

/// A read cursor as it is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cursor {
    seq: u64,
    others_counted: u64,
    receipt_seq: u64,
}

type Cursors = BTreeMap<(LogId, UserId), Cursor>;

/// The read cursors of everybody, as docs/storage-format.md says where they are; each counts right.
fn cursors_of(world: &World, logs: &Logs, found: &mut Vec<String>) -> Cursors {
    let mut cursors = Cursors::new();
    for (log, stored) in logs {
        for register in world.store.registers(*log) {
            let (key, value) = (register.key.as_bytes(), register.value.unwrap_or_default());
            let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
            let user = UserId::new(number(&key[1..])).unwrap();
            let (seq, others_counted) = (number(&value[..8]), number(&value[8..16]));
            let receipt_seq = if value.len() == 16 { seq } else { number(&value[16..]) };
            if receipt_seq > seq {
                found.push(format!("{log}: {user} told of {receipt_seq}, and has read {seq}"));
            }
            let others = counted_of_others(stored, user).filter(|entry| entry.seq <= seq);
            let right = others.count() as u64;
            if right != others_counted {
                let is = others_counted;
                found.push(format!("{log}: the cursor {seq} of {user} counts {is}, not {right}"));
            }
            cursors.insert((*log, user), Cursor { seq, others_counted, receipt_seq });
        }
    }
    cursors
}

/// What others have said that counts.
fn counted_of_others(stored: &Stored, user: UserId) -> impl Iterator<Item = &wire::Entry> {
    let entries = stored.entries.iter().map(|(entry, _)| entry);
    entries.filter(move |entry| entry.sender != user.get() && entry.notice().counts())
}

/// Who is in a conversation with entries is a member of it, in the account log.
fn check_members(world: &World, logs: &Logs, found: &mut Vec<String>) {
    for (log, stored) in logs.iter().filter(|(_, stored)| !stored.entries.is_empty()) {
        let (lower, higher) = log.direct_members().expect("conversations here are direct");
        for user in [lower, higher] {
            let key = RegisterKey::of(b'c', log.as_bytes());
            let mut registers = world.store.registers(LogId::account(user)).into_iter();
            if !registers.any(|register| register.key == key) {
                let entries = stored.entries.len();
                found.push(format!("{user} is in {log} with {entries} entries, and no member"));
            }
        }
    }
}

/// What a new device of the user is told: each conversation with its head, and with as many unread
/// messages as one counts from scratch.
pub(crate) fn check_new_device(
    world: &World,
    user: UserId,
    synced: Option<&wire::Synced>,
) -> Vec<String> {
    let mut found = Vec::new();
    let Some(synced) = synced else { return vec![format!("{user:?}: a new device can't sync")] };
    let logs = stored_logs(world, &mut found);
    let cursors = cursors_of(world, &logs, &mut found);
    let told = |log: LogId| {
        let mut states = synced.conversations.iter();
        states.find(|state| state.conversation_id == log.to_wire())
    };
    for (log, stored) in logs.iter().filter(|(log, _)| log.direct_members().is_some()) {
        if !reads(user, *log) || stored.entries.is_empty() {
            continue;
        }
        let read = cursors.get(&(*log, user)).map_or(0, |cursor| cursor.seq);
        let floor = accounts::stored(world, user).floor(*log);
        let unread = counted_of_others(stored, user);
        let unread = unread.filter(|entry| entry.seq > read && entry.seq >= floor);
        let unread = unread.count() as u64;
        let right = Some((stored.entries.len() as u64, read, unread));
        let below = told(*log).into_iter().flat_map(|state| &state.entries);
        for entry in below.filter(|entry| entry.seq < floor) {
            found.push(format!("{user:?}, {log}: is told {}, which is below {floor}", entry.seq));
        }
        let is = told(*log).map(|state| (state.head, state.read_seq, state.unread));
        if is != right {
            found.push(format!("{user:?}, {log}: a new device is told {is:?}, right is {right:?}"));
        }
    }
    found
}
