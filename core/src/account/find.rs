//! Looking users up by name and by id.

use dunlin_protocol::wire::{self, entry, frame::Body};
use dunlin_protocol::{LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::AccountPage;
use crate::auth::names;
use crate::entry::decode_entry;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::refusal::{DATA_CORRUPT, Refusal};
use crate::request::Client;
use crate::store::{Page, Range};
use crate::worker::flow::{Answer, PageFlow};
use crate::worker::turn::Turn;

/// The look-ups that are under way.
#[derive(Debug, Default)]
pub(crate) struct Finds {
    under_way: HashMap<FindId, Find, RandomState>,
    last: u64,
}

/// Names a look-up of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FindId(u64);

/// A look-up that is under way.
#[derive(Debug)]
struct Find {
    client: Client,
    /// Reads that are not answered yet.
    outstanding: usize,
    found: Vec<wire::User>,
}

/// What one read of a look-up is for.
#[derive(Debug, Clone)]
pub(crate) enum FindRead {
    /// Who has this name.
    Name(String),
    /// The first entry of an account log.
    Account(UserId),
}

impl Finds {
    pub(crate) fn take(
        &mut self,
        client: Client,
        usernames: &[String],
        user_ids: &[UserId],
        turn: &mut Turn<'_>,
    ) {
        self.last += 1;
        let id = FindId(self.last);
        let names = spellings(usernames);
        let outstanding = names.len() + user_ids.len();
        self.under_way.insert(id, Find { client, outstanding, found: Vec::new() });
        for name in names {
            ask_first(names::log_of(&name), id, FindRead::Name(name), turn);
        }
        for &user in user_ids {
            ask_first(LogId::account(user), id, FindRead::Account(user), turn);
        }
        self.finish(id, turn);
    }

    pub(crate) fn page_read(
        &mut self,
        id: FindId,
        read: FindRead,
        answer: Answer<Page>,
        turn: &mut Turn<'_>,
    ) {
        let Some(find) = self.under_way.get_mut(&id) else { return };
        let body = match first_body(answer) {
            Ok(body) => body,
            Err(refusal) => {
                let Client { conn, request_id, .. } = find.client;
                self.under_way.remove(&id);
                turn.effects.refuse(conn, request_id, refusal);
                return;
            }
        };
        find.outstanding -= 1;
        match (read, body) {
            (FindRead::Name(name), Some(entry::Body::NameClaimed(claim))) => {
                if claim.username == name
                    && let Ok(user) = UserId::new(claim.user_id)
                {
                    find.outstanding += 1;
                    ask_first(LogId::account(user), id, FindRead::Account(user), turn);
                }
            }
            (FindRead::Account(user), Some(entry::Body::AccountCreated(created))) => {
                find.add(user, created);
            }
            // Nobody has the name or the id.
            (FindRead::Name(_) | FindRead::Account(_), _) => {}
        }
        self.finish(id, turn);
    }

    fn finish(&mut self, id: FindId, turn: &mut Turn<'_>) {
        if self.under_way.get(&id).is_some_and(|find| find.outstanding == 0)
            && let Some(Find { client, found, .. }) = self.under_way.remove(&id)
        {
            let users = Body::Users(wire::Users { users: found });
            turn.effects.respond(client.conn, client.request_id, users);
        }
    }
}

/// Reads the first entry of a log for a look-up.
fn ask_first(log: LogId, id: FindId, read: FindRead, turn: &mut Turn<'_>) {
    let bytes_max = RESPONSE_BYTES_MAX;
    let range = Range { log, from: 1, to: 1, entries_max: 1, bytes_max, backwards: false };
    turn.ask_page(range, PageFlow::Account(AccountPage::Find(id, read)));
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

fn first_body(answer: Answer<Page>) -> Result<Option<entry::Body>, Refusal> {
    let page = answer?;
    let Some(first) = page.entries.first() else { return Ok(None) };
    decode_entry(first).map(|entry| entry.body).ok_or(DATA_CORRUPT)
}
