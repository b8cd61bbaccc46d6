//! A page of all accounts: three questions to the store, however many accounts are on it.
//!
//! ```text
//! [logs of names] ─► [all their names at once] ─► [all their identities at once] ─► the page
//! ```
//!
//! What is damaged is named, and does not keep the rest from being listed.

use dunlin_protocol::wire::ErrorCode;
use dunlin_protocol::{LogId, LogKind, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::CredentialRegister;
use crate::admin::{AdminReply, LIST_USERS_MAX, UserRecord};
use crate::identity::look_up;
use crate::refusal::Refusal;
use crate::store::{Register, Registers};
use crate::stored::NameClaim;
use crate::worker::flow::{Answer, Answers, LogsFlow, RegisterFlow, RegistersFlow};
use crate::worker::turn::Turn;

/// The pages that are under way, by the call that asked. One is as long as [`LIST_USERS_MAX`], and
/// there are no more of them than calls at the door.
#[derive(Debug, Default)]
pub(super) struct Listings(HashMap<u64, Listing, RandomState>);

/// A page, as far as it is known.
#[derive(Debug)]
struct Listing {
    /// The logs of its names, in order.
    logs: Vec<LogId>,
    users: Vec<UserRecord>,
    damaged: Vec<LogId>,
    next: Option<LogId>,
}

impl Listings {
    pub(super) fn begin(
        &mut self,
        call: u64,
        after: Option<LogId>,
        limit: usize,
        turn: &mut Turn<'_>,
    ) {
        let limit = limit.clamp(1, LIST_USERS_MAX);
        let flow = LogsFlow::List { call, limit };
        turn.ask_logs(LogKind::Name, after, limit, flow);
    }

    /// The logs of at most so many names were listed.
    pub(super) fn logs_listed(
        &mut self,
        call: u64,
        limit: usize,
        answer: Answer<Vec<LogId>>,
        turn: &mut Turn<'_>,
    ) {
        let logs = match answer {
            Ok(logs) => logs,
            Err(refusal) => return refuse(call, refusal, turn),
        };
        let next = logs.last().copied().filter(|_| logs.len() >= limit);
        let names = logs.iter().map(|log| look_up::name_register_of(*log)).collect();
        let listing = Listing { logs, users: Vec::new(), damaged: Vec::new(), next };
        if listing.logs.is_empty() {
            return listing.finish(call, turn);
        }
        self.0.insert(call, listing);
        let flow = CredentialRegister::ListNames(call);
        turn.ask_register(names, RegisterFlow::Credential(flow));
    }

    pub(super) fn names_read(
        &mut self,
        call: u64,
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        let Some(mut listing) = self.0.remove(&call) else { return };
        if let Err(refusal) = listing.take_names(answers) {
            return refuse(call, refusal, turn);
        }
        if listing.users.is_empty() {
            return listing.finish(call, turn);
        }
        let users = listing.users.iter();
        let identities = users.map(|record| look_up::read_identity(record.user)).collect();
        self.0.insert(call, listing);
        turn.ask_registers(identities, RegistersFlow::List(call));
    }

    pub(super) fn identities_read(
        &mut self,
        call: u64,
        answers: Answers<Registers>,
        turn: &mut Turn<'_>,
    ) {
        let Some(mut listing) = self.0.remove(&call) else { return };
        match listing.take_identities(answers) {
            Ok(()) => listing.finish(call, turn),
            Err(refusal) => refuse(call, refusal, turn),
        }
    }
}

impl Listing {
    fn take_names(&mut self, answers: Answers<Register>) -> Answer<()> {
        for (log, answer) in self.logs.iter().zip(answers?) {
            let claimed = answer.and_then(|register| look_up::name_claim(&register));
            match claimed.and_then(|claimed| claimed.map(record).transpose()) {
                Ok(Some(record)) => self.users.push(record),
                // It is the log of a name that nobody has.
                Ok(None) => {}
                Err(refusal) if is_damage(refusal) => self.damaged.push(*log),
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    fn take_identities(&mut self, answers: Answers<Registers>) -> Answer<()> {
        for (record, answer) in self.users.iter_mut().zip(answers?) {
            match look_up::identity(answer) {
                Ok((identity, _)) => {
                    record.disabled = identity.disabled;
                    record.sessions = identity.sessions().len();
                }
                Err(refusal) if is_damage(refusal) => record.damaged = true,
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    fn finish(self, call: u64, turn: &mut Turn<'_>) {
        let Listing { users, damaged, next, .. } = self;
        turn.effects.admin.push((call, Ok(AdminReply::Users { users, damaged, next })));
    }
}

/// What is known of the user of a name by the name alone.
fn record(claimed: NameClaim) -> Answer<UserRecord> {
    let user: UserId = look_up::claimant(&claimed)?;
    let NameClaim { username, issuer, .. } = claimed;
    Ok(UserRecord { user, username, issuer, disabled: false, sessions: 0, damaged: false })
}

fn is_damage(refusal: Refusal) -> bool {
    refusal.code == ErrorCode::DataCorrupt
}

fn refuse(call: u64, refusal: Refusal, turn: &mut Turn<'_>) {
    turn.effects.admin.push((call, Err(refusal.into())));
}
