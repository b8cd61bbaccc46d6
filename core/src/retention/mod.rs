//! Retention: messages that are older than they may be expire.
//!
//! One worker of a node walks slowly over all conversations, a page of them at a time:
//!
//! ```text
//! [conversations] ─► [what each says itself] ─► [entries, to find where what is too old ends] ─► [truncate]
//!                                                        └───────── again and again ──┘
//! ```
//!
//! It works with any store, and needs nothing of the machines that own the conversations: sequences go
//! on, and what has expired is no gap. Several nodes may do it at the same time. What could not be
//! read or done in one walk is done in the next.

mod policy;

use dunlin_protocol::{LogId, LogKind};

use crate::admin::{AdminError, AdminReply, RetentionRequest};
use crate::limits::{
    RETENTION_CONVERSATIONS_MAX, RETENTION_FIRST_MS, RETENTION_REST_MS, RETENTION_STEP_MS,
};
use crate::refusal::{DATA_CORRUPT, INTERNAL, NO_SUCH_CONVERSATION, Refusal, STORE_UNAVAILABLE};
use crate::store::question::{Logs, Question};
use crate::store::{
    Deleted, Deletion, Page, Register, Set, StoreError, StoreReply, Write, Written,
};
use crate::time_search::{Step, TimeSearch};
use crate::worker::flow::{self, Answer, Answers};
use crate::worker::turn::Turn;

/// The walk of a node, at its first worker.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    /// Until the next page is due; `None` before the first tick.
    rest: Option<Rest>,
    place: Place,
}

/// A while in which nothing is asked, by the clock that is never set.
#[derive(Debug, Clone, Copy)]
struct Rest {
    since_ms: u64,
    for_ms: u64,
}

impl Rest {
    fn is_over(self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= self.for_ms
    }
}

/// How far the walk has come.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    kind: Walked,
    after: Option<LogId>,
}

/// The kinds of logs that have messages, in the order in which they are walked.
#[derive(Debug, Clone, Copy, Default)]
enum Walked {
    #[default]
    Direct,
    Groups,
}

/// What a question of the retention is for.
#[derive(Debug)]
pub(crate) enum RetentionFlow {
    /// The next conversations.
    Logs,
    /// What these say themselves.
    Registers(Vec<LogId>, Purpose),
    /// Where what is too old ends: what is still looked for, and what was found.
    Pages(Vec<TimeSearch>, Vec<Deletion>, Purpose),
    /// What was found is deleted.
    Deleted(Purpose),
    /// A conversation says how long.
    Written(u64),
}

/// Why something is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// The walk.
    Walk,
    /// A call at the door, about one conversation.
    Call(u64),
}

impl Retention {
    /// Time has passed.
    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        if turn.index != 0 {
            return;
        }
        let since_ms = turn.now.monotonic_ms;
        let rest = self.rest.get_or_insert(Rest { since_ms, for_ms: RETENTION_FIRST_MS });
        if !rest.is_over(since_ms) {
            return;
        }
        // Should an answer say nothing, the walk goes on by itself.
        self.rest = Some(Rest { since_ms, for_ms: RETENTION_REST_MS });
        let Place { kind, after } = self.place;
        let kind = match kind {
            Walked::Direct => LogKind::Direct,
            Walked::Groups => LogKind::Group,
        };
        let limit = RETENTION_CONVERSATIONS_MAX;
        ask(Logs { kind, after, limit }, RetentionFlow::Logs, turn);
    }

    /// Somebody has set the clock ahead. If that was a mistake, nothing comes back that is deleted by it: so
    /// the walk rests, and there is time to set it right.
    pub(crate) fn clock_jumped(&mut self, turn: &Turn<'_>) {
        let since_ms = turn.now.monotonic_ms;
        self.rest = Some(Rest { since_ms, for_ms: RETENTION_REST_MS });
    }

    /// An answer of the store.
    pub(crate) fn answered(
        &mut self,
        flow: RetentionFlow,
        result: Result<StoreReply, StoreError>,
        turn: &mut Turn<'_>,
    ) {
        let goes_on = match flow {
            RetentionFlow::Logs => self.logs_listed(flow::answer(result), turn),
            RetentionFlow::Registers(logs, purpose) => {
                registers_read(&logs, flow::answers(result), purpose, turn)
            }
            RetentionFlow::Pages(searches, found, purpose) => {
                pages_read(searches, found, flow::answers(result), purpose, turn)
            }
            RetentionFlow::Deleted(purpose) => deleted(flow::answer(result), purpose, turn),
            RetentionFlow::Written(call) => {
                written(call, flow::answer(result), turn);
                return;
            }
        };
        if let Progress::Ended(Purpose::Walk) = goes_on {
            self.page_ended(turn);
        }
    }

    fn logs_listed(&mut self, answer: Answer<Vec<LogId>>, turn: &mut Turn<'_>) -> Progress {
        // What can't be listed now is listed in the next walk.
        let logs = answer.unwrap_or_default();
        self.place = match (logs.last(), self.place.kind) {
            (Some(last), kind) => Place { kind, after: Some(*last) },
            (None, Walked::Direct) => Place { kind: Walked::Groups, after: None },
            (None, Walked::Groups) => {
                // All of them were looked at. It rests, as the tick has noted.
                self.place = Place::default();
                return Progress::Asked;
            }
        };
        if logs.is_empty() {
            return Progress::Ended(Purpose::Walk);
        }
        ask_registers(logs, Purpose::Walk, turn);
        Progress::Asked
    }

    fn page_ended(&mut self, turn: &mut Turn<'_>) {
        let rate = u64::from(turn.shared.config.retention.conversations_per_second.max(1));
        let page_ms = RETENTION_CONVERSATIONS_MAX as u64 * 1000 / rate;
        let for_ms = page_ms.max(RETENTION_STEP_MS);
        self.rest = Some(Rest { since_ms: turn.now.monotonic_ms, for_ms });
    }
}

/// Whether something was asked, or nothing is left to ask.
#[derive(Debug, Clone, Copy)]
enum Progress {
    Asked,
    Ended(Purpose),
}

/// A request of the operator.
pub(crate) fn take_admin(call: u64, request: RetentionRequest, turn: &mut Turn<'_>) {
    match request {
        RetentionRequest::Set { conversation, kept_ms } => {
            if !is_conversation(conversation) {
                return refuse(call, NO_SUCH_CONVERSATION, turn);
            }
            let set = match kept_ms {
                Some(kept_ms) => Set::always(policy::key(), policy::value_of(kept_ms)),
                None => Set::removal(policy::key()),
            };
            let write = Write::registers(conversation, [set]);
            ask(vec![write], RetentionFlow::Written(call), turn);
        }
        RetentionRequest::Apply { conversation } => {
            if !is_conversation(conversation) {
                return refuse(call, NO_SUCH_CONVERSATION, turn);
            }
            ask_registers(vec![conversation], Purpose::Call(call), turn);
        }
    }
}

fn is_conversation(log: LogId) -> bool {
    match log.kind() {
        LogKind::Direct | LogKind::Group => true,
        LogKind::Account | LogKind::Name | LogKind::Identity | LogKind::Service => false,
    }
}

fn ask_registers(logs: Vec<LogId>, purpose: Purpose, turn: &mut Turn<'_>) {
    let names: Vec<_> = logs.iter().map(|log| (*log, policy::key())).collect();
    ask(names, RetentionFlow::Registers(logs, purpose), turn);
}

fn registers_read(
    logs: &[LogId],
    answers: Answers<Register>,
    purpose: Purpose,
    turn: &mut Turn<'_>,
) -> Progress {
    let registers = match answers {
        Ok(registers) => registers,
        Err(refusal) => return give_up(purpose, refusal, turn),
    };
    let config = &turn.shared.config.retention;
    // One that can't be read may have asked for less than the node allows, never for more.
    let search = |(log, register): (&LogId, Answer<Register>)| {
        let own_ms = policy::own_kept_ms(register.ok().and_then(|it| it.value).as_deref());
        let kept_ms = config.kept_ms(own_ms)?;
        Some(TimeSearch::new(*log, turn.now.unix_ms.saturating_sub(kept_ms)))
    };
    let searches = logs.iter().zip(registers).filter_map(search).collect();
    go_on(searches, Vec::new(), purpose, turn)
}

fn pages_read(
    searches: Vec<TimeSearch>,
    mut found: Vec<Deletion>,
    answers: Answers<Page>,
    purpose: Purpose,
    turn: &mut Turn<'_>,
) -> Progress {
    let pages = match answers {
        Ok(pages) => pages,
        Err(refusal) => return give_up(purpose, refusal, turn),
    };
    let mut unfinished = Vec::new();
    for (mut search, page) in searches.into_iter().zip(pages) {
        match search.take(page) {
            Step::Next => unfinished.push(search),
            Step::Nothing => {}
            Step::Below(below) => found.push(Deletion::Truncate { log: search.log, below }),
        }
    }
    go_on(unfinished, found, purpose, turn)
}

/// What was not found yet is looked for; in the end all that was found is deleted.
fn go_on(
    searches: Vec<TimeSearch>,
    found: Vec<Deletion>,
    purpose: Purpose,
    turn: &mut Turn<'_>,
) -> Progress {
    if !searches.is_empty() {
        let ranges: Vec<_> = searches.iter().map(TimeSearch::range).collect();
        ask(ranges, RetentionFlow::Pages(searches, found, purpose), turn);
        return Progress::Asked;
    }
    if !found.is_empty() {
        ask(found, RetentionFlow::Deleted(purpose), turn);
        return Progress::Asked;
    }
    if let Purpose::Call(call) = purpose {
        turn.effects.admin.push((call, Ok(AdminReply::Done)));
    }
    Progress::Ended(purpose)
}

fn deleted(answer: Answer<Vec<Deleted>>, purpose: Purpose, turn: &mut Turn<'_>) -> Progress {
    let verdicts = match answer {
        Ok(verdicts) => verdicts,
        Err(refusal) => return give_up(purpose, refusal, turn),
    };
    let done = verdicts.iter().filter(|verdict| matches!(verdict, Deleted::Done { .. })).count();
    turn.effects.counters.expirations += done as u64;
    if let Purpose::Call(call) = purpose {
        let reply = if done == verdicts.len() {
            Ok(AdminReply::Done)
        } else {
            Err(AdminError::from(STORE_UNAVAILABLE))
        };
        turn.effects.admin.push((call, reply));
    }
    Progress::Ended(purpose)
}

fn written(call: u64, answer: Answer<Vec<Written>>, turn: &mut Turn<'_>) {
    let verdict = answer.map(|verdicts| verdicts.into_iter().next());
    match verdict {
        Ok(Some(Written::Stored { .. })) => turn.effects.admin.push((call, Ok(AdminReply::Done))),
        Ok(Some(Written::Corrupt)) => refuse(call, DATA_CORRUPT, turn),
        Ok(Some(Written::Unknown)) => refuse(call, STORE_UNAVAILABLE, turn),
        // It has no fence, no rule and no key.
        Ok(
            None
            | Some(Written::Duplicate { .. } | Written::Conflict { .. } | Written::Unmet { .. }),
        ) => refuse(call, INTERNAL, turn),
        Err(refusal) => refuse(call, refusal, turn),
    }
}

/// The walk comes back another time; whoever called is told.
fn give_up(purpose: Purpose, refusal: Refusal, turn: &mut Turn<'_>) -> Progress {
    if let Purpose::Call(call) = purpose {
        refuse(call, refusal, turn);
    }
    Progress::Ended(purpose)
}

fn refuse(call: u64, refusal: Refusal, turn: &mut Turn<'_>) {
    turn.effects.admin.push((call, Err(refusal.into())));
}

fn ask(question: impl Question, flow: RetentionFlow, turn: &mut Turn<'_>) {
    turn.ask_retention(question.request(), flow);
}
