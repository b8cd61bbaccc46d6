//! Becoming members: before anything is said in a conversation, each member has it in the account log.
//!
//! ```text
//! the log is empty ─► do its members exist? ─► written to both accounts ─► the first message
//!                              └── no: refused, and nothing was written
//! ```
//!
//! Both are asked before either is written to, so whoever writes to nobody leaves nothing behind. What
//! a crash leaves between the two is a conversation without an entry, which nobody is told of; the
//! next one who writes to it finds it joined, and goes on.

use dunlin_protocol::{LogId, UserId};

use super::NO_SUCH_USER;
use super::membership::Membership;
use super::register::account_key;
use crate::membership::users_of;
use crate::refusal::{DATA_CORRUPT, INTERNAL, Refusal, STORE_UNAVAILABLE};
use crate::store::{Register, Written};
use crate::worker::flow::{Answer, Answers, RegisterFlow, WriteFlow};
use crate::worker::turn::Turn;

/// What became of a conversation that is to be joined.
pub(crate) type Verdict = (LogId, Result<(), Refusal>);

/// Asks whether the members of these conversations exist; see [`members_known`].
pub(crate) fn ask(logs: Vec<LogId>, turn: &mut Turn<'_>) {
    let members = members_of(&logs).map(|(_, user)| (LogId::account(user), account_key()));
    turn.ask_register(members.collect(), RegisterFlow::Members(logs));
}

/// It is known which of the members exist: those of whom all do are written to, see [`written`]. To who
/// writes nothing it is a request. Gives back those that can't be joined.
pub(crate) fn members_known(
    logs: Vec<LogId>,
    answers: Answers<Register>,
    writes_to: impl Fn(LogId, UserId) -> bool,
    turn: &mut Turn<'_>,
) -> Vec<(LogId, Refusal)> {
    let exists = |answer: Answer<Register>| match answer?.value {
        Some(_) => Ok(()),
        None => Err(NO_SUCH_USER),
    };
    let (mut joining_now, mut refused) = (Vec::new(), Vec::new());
    for (log, verdict) in of_each(logs, answers, exists) {
        match verdict {
            Ok(()) => joining_now.push(log),
            Err(refusal) => refused.push((log, refusal)),
        }
    }
    if !joining_now.is_empty() {
        let joining = |(log, user)| {
            let is_request = !writes_to(log, user);
            Membership::new(turn.now.unix_ms, is_request).joining(user, log)
        };
        let writes = members_of(&joining_now).map(joining).collect();
        turn.write(writes, WriteFlow::Joins(joining_now));
    }
    refused
}

/// It was written to the accounts, or not.
pub(crate) fn written(logs: Vec<LogId>, answer: Answer<Vec<Written>>) -> Vec<Verdict> {
    of_each(logs, answer, |written| match written {
        // If it was so before, that is as good.
        Written::Stored { .. } | Written::Unmet { .. } => Ok(()),
        Written::Corrupt => Err(DATA_CORRUPT),
        Written::Unknown => Err(STORE_UNAVAILABLE),
        Written::Duplicate { .. } | Written::Conflict { .. } => Err(INTERNAL),
    })
}

/// All members, in the order of the conversations.
fn members_of(logs: &[LogId]) -> impl Iterator<Item = (LogId, UserId)> {
    logs.iter().flat_map(|&log| users_of(log).into_iter().map(move |user| (log, user)))
}

/// Puts the answers for all members together for each conversation.
fn of_each<T>(
    logs: Vec<LogId>,
    answers: Answer<Vec<T>>,
    judge: impl Fn(T) -> Result<(), Refusal>,
) -> Vec<Verdict> {
    let mut answers = answers.map(Vec::into_iter);
    let mut of_log = |log: LogId| {
        let answers = answers.as_mut().map_err(|refusal| *refusal)?;
        let judged = users_of(log).into_iter().map(|_| judge(answers.next().ok_or(INTERNAL)?));
        // All of them, so that the next conversation finds its own.
        judged.fold(Ok(()), Result::and)
    };
    logs.into_iter().map(|log| (log, of_log(log))).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dunlin_protocol::wire::RequestState;

    use super::*;
    use crate::store::{Head, Set, StoreRequest, Write};
    use crate::worker::turn::stage::Stage;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn log(id: u64) -> LogId {
        LogId::direct(user(1), user(id))
    }

    fn account(exists: bool) -> Answer<Register> {
        let value = exists.then(Bytes::new);
        Ok(Register { key: account_key(), version: u64::from(exists), value })
    }

    #[test]
    fn only_where_both_exist_anything_is_written() {
        let mut stage = Stage::new();
        let logs = vec![log(2), log(1), log(3), log(4)];
        ask(logs.clone(), &mut stage.turn());
        let asked = stage.asked();
        let [StoreRequest::Register(asked)] = &asked[..] else { panic!("{asked:?}") };
        assert_eq!(asked.len(), 7, "oneself is asked for once");
        let all = vec![
            account(true),
            account(true),
            account(true),
            account(true),
            account(false),
            account(true),
            Err(DATA_CORRUPT),
        ];
        let writes_to = |_, sender| sender == user(1);
        let refused = members_known(logs, Ok(all), writes_to, &mut stage.turn());
        assert_eq!(refused, [(log(3), NO_SUCH_USER), (log(4), DATA_CORRUPT)]);
        let asked = stage.asked();
        let [StoreRequest::Write(writes)] = &asked[..] else { panic!("{asked:?}") };
        let accounts: Vec<_> = writes.iter().map(|Write { log, .. }| *log).collect();
        assert_eq!(accounts, [1, 2, 1].map(|id| LogId::account(user(id))));
        let is_request = |write: &Write| {
            let Set { key, value, .. } = write.sets[0].clone();
            let membership = Membership::of(&Register { key, version: 1, value }).unwrap().unwrap();
            membership.request(&Head::default(), user(1)) == RequestState::Pending
        };
        let requests: Vec<_> = writes.iter().map(is_request).collect();
        assert_eq!(requests, [false, true, false], "to who was written to");
    }

    #[test]
    fn what_was_so_before_is_joined_and_what_is_not_known_is_not() {
        let stored = Written::Stored { version: 1 };
        let found = account(true).unwrap();
        let unmet = Written::Unmet { set: 0, found };
        let answer = vec![stored.clone(), unmet, Written::Unknown, stored.clone(), stored];
        let verdicts = written(vec![log(2), log(3), log(4)], Ok(answer));
        let right = [(log(2), Ok(())), (log(3), Err(STORE_UNAVAILABLE)), (log(4), Err(INTERNAL))];
        assert_eq!(verdicts, right);
        assert_eq!(written(vec![log(2)], Err(INTERNAL)), [(log(2), Err(INTERNAL))]);
    }
}
