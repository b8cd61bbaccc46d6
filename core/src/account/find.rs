//! Looking users up by name and by id.

use dunlin_protocol::wire::{self, frame::Body};
use dunlin_protocol::{LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::register::account_key;
use crate::auth::names;
use crate::identity::look_up;
use crate::refusal::{INTERNAL, Refusal};
use crate::request::Client;
use crate::store::Register;
use crate::stored::{self, Account};
use crate::worker::flow::{Answer, Answers, RegisterFlow};
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
    /// Questions that are not answered yet.
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
        let outstanding = usize::from(!names.is_empty()) + usize::from(!user_ids.is_empty());
        self.under_way.insert(id, Find { client, outstanding, found: Vec::new() });
        if !names.is_empty() {
            let registers = names.iter().map(|name| look_up::name_register(name)).collect();
            turn.ask_register(registers, RegisterFlow::FindNames(id, names));
        }
        if !user_ids.is_empty() {
            ask_accounts(id, user_ids.to_vec(), turn);
        }
        self.finish(id, turn);
    }

    pub(crate) fn names_read(
        &mut self,
        id: FindId,
        names: &[String],
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        let Some(find) = self.under_way.get_mut(&id) else { return };
        find.outstanding -= 1;
        match users_of(names, answers) {
            Ok(users) if users.is_empty() => {}
            Ok(users) => {
                find.outstanding += 1;
                ask_accounts(id, users, turn);
            }
            Err(refusal) => return self.refuse(id, refusal, turn),
        }
        self.finish(id, turn);
    }

    pub(crate) fn accounts_read(
        &mut self,
        id: FindId,
        users: &[UserId],
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        let Some(find) = self.under_way.get_mut(&id) else { return };
        find.outstanding -= 1;
        match accounts_of(users, answers) {
            Ok(accounts) => {
                accounts.into_iter().for_each(|(user, account)| find.add(user, account));
            }
            Err(refusal) => return self.refuse(id, refusal, turn),
        }
        self.finish(id, turn);
    }

    fn refuse(&mut self, id: FindId, refusal: Refusal, turn: &mut Turn<'_>) {
        if let Some(Find { client: Client { conn, request_id, .. }, .. }) =
            self.under_way.remove(&id)
        {
            turn.effects.refuse(conn, request_id, refusal);
        }
    }

    fn finish(&mut self, id: FindId, turn: &mut Turn<'_>) {
        if self.under_way.get(&id).is_some_and(|find| find.outstanding == 0)
            && let Some(Find { client, found, .. }) = self.under_way.remove(&id)
        {
            let users = Body::Users(wire::Users { users: found });
            turn.effects.respond_large(client, users, None);
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

/// Asks how these users are called.
fn ask_accounts(id: FindId, users: Vec<UserId>, turn: &mut Turn<'_>) {
    let accounts = users.iter().map(|user| (LogId::account(*user), account_key())).collect();
    turn.ask_register(accounts, RegisterFlow::FindAccounts(id, users));
}

/// Those of them who exist.
fn accounts_of(users: &[UserId], answers: Answers<Register>) -> Answer<Vec<(UserId, Account)>> {
    let answers = answers?;
    if answers.len() != users.len() {
        return Err(INTERNAL);
    }
    let mut accounts = Vec::new();
    for (user, answer) in users.iter().zip(answers) {
        if let Some(value) = answer?.value {
            accounts.push((*user, stored::decode(&value)?));
        }
    }
    Ok(accounts)
}

impl Find {
    fn add(&mut self, user: UserId, account: Account) {
        if self.found.iter().any(|found| found.user_id == user.get()) {
            return;
        }
        self.found.push(wire::User {
            user_id: user.get(),
            username: account.username,
            display_name: account.display_name,
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
