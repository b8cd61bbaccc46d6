//! Looking users up by name and by id.

use dunlin_protocol::wire::{self, entry, frame::Body};
use dunlin_protocol::{LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::AccountPage;
use crate::auth::names;
use crate::entry::decode_entry;
use crate::identity::look_up;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::refusal::{DATA_CORRUPT, Refusal};
use crate::request::Client;
use crate::store::{Page, Range, Register};
use crate::worker::flow::{Answer, Answers, PageFlow, RegisterFlow};
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
        let outstanding = usize::from(!names.is_empty()) + user_ids.len();
        self.under_way.insert(id, Find { client, outstanding, found: Vec::new() });
        if !names.is_empty() {
            let registers = names.iter().map(|name| look_up::name_register(name)).collect();
            turn.ask_register(registers, RegisterFlow::Find(id, names));
        }
        for &user in user_ids {
            ask_account(user, id, turn);
        }
        self.finish(id, turn);
    }

    /// The registers of the names were read.
    pub(crate) fn names_read(
        &mut self,
        id: FindId,
        names: &[String],
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        let Some(find) = self.under_way.get_mut(&id) else { return };
        match users_of(names, answers) {
            Ok(users) => {
                find.outstanding += users.len();
                find.outstanding -= 1;
                users.into_iter().for_each(|user| ask_account(user, id, turn));
                self.finish(id, turn);
            }
            Err(refusal) => self.refuse(id, refusal, turn),
        }
    }

    /// The first entry of an account log was read.
    pub(crate) fn page_read(
        &mut self,
        id: FindId,
        user: UserId,
        answer: Answer<Page>,
        turn: &mut Turn<'_>,
    ) {
        let Some(find) = self.under_way.get_mut(&id) else { return };
        find.outstanding -= 1;
        match first_body(answer) {
            Ok(Some(entry::Body::AccountCreated(created))) => find.add(user, created),
            // Nobody has the id.
            Ok(_) => {}
            Err(refusal) => return self.refuse(id, refusal, turn),
        }
        self.finish(id, turn);
    }

    fn refuse(&mut self, id: FindId, refusal: Refusal, turn: &mut Turn<'_>) {
        if let Some(Find { client, .. }) = self.under_way.remove(&id) {
            turn.effects.refuse(client.conn, client.request_id, refusal);
        }
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

/// Who has these names.
fn users_of(names: &[String], answers: Answers<Register>) -> Answer<Vec<UserId>> {
    let mut users = Vec::new();
    for (name, register) in names.iter().zip(answers?) {
        let claimed = look_up::name_claim(&register?)?;
        if let Some(claimed) = claimed.filter(|claimed| claimed.username == *name) {
            users.push(look_up::claimant(&claimed)?);
        }
    }
    Ok(users)
}

/// Reads the first entry of an account log for a look-up.
fn ask_account(user: UserId, id: FindId, turn: &mut Turn<'_>) {
    let (log, bytes_max) = (LogId::account(user), RESPONSE_BYTES_MAX);
    let range = Range { log, from: 1, to: 1, entries_max: 1, bytes_max, backwards: false };
    turn.ask_page(range, PageFlow::Account(AccountPage::Find(id, user)));
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
