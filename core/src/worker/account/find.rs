//! Looking users up by name and by id.

use dunlin_protocol::wire::{self, entry, frame::Body};
use dunlin_protocol::{LogId, UserId};

use crate::auth::names;
use crate::entry::decode_entry;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::refusal::{DATA_CORRUPT, INTERNAL, Refusal, store_refusal};
use crate::store::{Range, StoreReply, StoreRequest};
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, StoreResult};
use crate::worker::{Client, Worker};

/// A look-up that is under way.
#[derive(Debug)]
pub(in crate::worker) struct Find {
    client: Client,
    /// Reads that are not answered yet.
    outstanding: usize,
    found: Vec<wire::User>,
}

/// What one read of a look-up is for.
#[derive(Debug, Clone)]
pub(in crate::worker) enum FindRead {
    /// Who has this name.
    Name(String),
    /// The first entry of an account log.
    Account(UserId),
}

impl Worker {
    pub(in crate::worker) fn take_find_users(
        &mut self,
        client: Client,
        usernames: &[String],
        user_ids: &[UserId],
        effects: &mut Effects,
    ) {
        let find = self.next_work();
        let names = spellings(usernames);
        let outstanding = names.len() + user_ids.len();
        self.finds.insert(find, Find { client, outstanding, found: Vec::new() });
        for name in names {
            let log = names::log_of(&name);
            self.read_first(log, Flow::Find(find, FindRead::Name(name)), effects);
        }
        for &user in user_ids {
            let flow = Flow::Find(find, FindRead::Account(user));
            self.read_first(LogId::account(user), flow, effects);
        }
        self.finish_find(find, effects);
    }

    fn read_first(&mut self, log: LogId, flow: Flow, effects: &mut Effects) {
        let bytes_max = RESPONSE_BYTES_MAX;
        let range = Range { log, from: 1, to: 1, entries_max: 1, bytes_max, backwards: false };
        self.ask_store(StoreRequest::Range(range), flow, effects);
    }

    pub(in crate::worker) fn find_read(
        &mut self,
        find: u64,
        read: FindRead,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        let Some(under_way) = self.finds.get_mut(&find) else { return };
        let body = match first_body(result) {
            Ok(body) => body,
            Err(refusal) => {
                let Client { conn, request_id, .. } = under_way.client;
                self.finds.remove(&find);
                effects.refuse(conn, request_id, refusal);
                return;
            }
        };
        under_way.outstanding -= 1;
        match (read, body) {
            (FindRead::Name(name), Some(entry::Body::NameClaimed(claim))) => {
                if claim.username == name
                    && let Ok(user) = UserId::new(claim.user_id)
                {
                    under_way.outstanding += 1;
                    let flow = Flow::Find(find, FindRead::Account(user));
                    self.read_first(LogId::account(user), flow, effects);
                }
            }
            (FindRead::Account(user), Some(entry::Body::AccountCreated(created))) => {
                under_way.add(user, created);
            }
            // Nobody has the name or the id.
            _ => {}
        }
        self.finish_find(find, effects);
    }

    fn finish_find(&mut self, find: u64, effects: &mut Effects) {
        if self.finds.get(&find).is_some_and(|under_way| under_way.outstanding == 0)
            && let Some(Find { client, found, .. }) = self.finds.remove(&find)
        {
            let users = Body::Users(wire::Users { users: found });
            effects.respond(client.conn, client.request_id, users);
        }
    }
}

impl Find {
    fn add(&mut self, user: UserId, created: wire::AccountCreated) {
        if self.found.iter().any(|found| found.user_id == user.get()) {
            return;
        }
        self.found.push(wire::User {
            user_id: user.get(),
            username: created.username,
            display_name: created.display_name,
            conversation_id: LogId::direct(user, self.client.user).to_wire(),
        });
    }
}

/// Names as they were typed, for those that issuers gave, and as registered names are spelt.
fn spellings(usernames: &[String]) -> Vec<String> {
    let mut names: Vec<_> =
        usernames.iter().flat_map(|name| [name.clone(), names::normalised(name)]).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn first_body(result: StoreResult) -> Result<Option<entry::Body>, Refusal> {
    let page = match result {
        Ok(StoreReply::Page(page)) => page,
        Ok(_) => return Err(INTERNAL),
        Err(error) => return Err(store_refusal(&error)),
    };
    let Some(first) = page.entries.first() else { return Ok(None) };
    decode_entry(first).map(|entry| entry.body).ok_or(DATA_CORRUPT)
}
