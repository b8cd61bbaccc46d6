//! Sync: what a client lacks, in one round trip.
//!
//! ```text
//!  taken: pushes are held ──► account ──► heads, cursors, account entries ──► newest entries ──► Synced
//! ```
//!
//! Everything that is stored after the heads were read is pushed, and held, and follows the
//! Synced; everything before is in it. So nothing falls between the two.
//!
//! The machine asks its caller for two things: to have the account of a user read, and to let the
//! pushes go that were held ([`Progress`]).

mod rounds;

use std::collections::VecDeque;

use dunlin_protocol::UserId;
use dunlin_protocol::wire::frame::Body;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::account::Account;
use crate::limits::SYNCS_MAX;
use crate::refusal::Refusal;
use crate::request::{Client, SyncFrom};
use crate::store::{Head, Page};
use crate::transport::ConnId;
use crate::worker::flow::{Answer, CursorsFlow, HeadsFlow, PageFlow};
use crate::worker::turn::Turn;
use rounds::{Step, Sync};

/// The syncs that were taken and are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    taken: HashMap<SyncId, Box<Sync>, RandomState>,
    last: u64,
    /// So many of them were begun.
    running: usize,
    /// Those that were not.
    waiting: VecDeque<SyncId>,
}

/// Names a sync of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SyncId(u64);

#[cfg(test)]
impl SyncId {
    /// For the tests of those who let a sync wait.
    pub(crate) fn of(number: u64) -> SyncId {
        SyncId(number)
    }
}

/// What a page of a sync is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SyncPage {
    Account,
    /// The entries of this one of the changed conversations.
    Entries(usize),
}

/// A sync that wants the account of its user: see [`Syncs::account_known`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) id: SyncId,
    pub(crate) user: UserId,
}

/// How a sync goes on.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(crate) enum Progress {
    /// Answers are missing.
    Waits,
    /// It was answered: what was pushed meanwhile follows.
    Ended {
        user: UserId,
        conn: ConnId,
        /// It was not refused.
        synced: bool,
        /// In its place another one begins.
        next: Option<Begun>,
    },
}

impl Syncs {
    /// Takes a sync. `None` if it has to wait for others.
    pub(crate) fn take(&mut self, client: Client, from: SyncFrom) -> Option<Begun> {
        self.last += 1;
        let id = SyncId(self.last);
        self.taken.insert(id, Box::new(Sync::new(client, from)));
        if self.running == SYNCS_MAX {
            self.waiting.push_back(id);
            return None;
        }
        self.running += 1;
        Some(Begun { id, user: client.user })
    }

    /// The account of the user is known, or that there is none: asks for all that follows from it.
    pub(crate) fn account_known(
        &mut self,
        id: SyncId,
        account: Result<&Account, Refusal>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        let Some(sync) = self.taken.get_mut(&id) else { return Progress::Waits };
        let account = match account {
            Ok(account) => account,
            Err(refusal) => return self.refuse(id, refusal, turn),
        };
        let Some(asked) = sync.begin(account, turn.shared.epoch) else { return Progress::Waits };
        turn.ask_page(asked.account_entries, PageFlow::Sync(id, SyncPage::Account));
        turn.ask_heads(asked.logs, HeadsFlow::Sync(id));
        turn.ask_cursors(asked.cursors, CursorsFlow::Sync(id));
        Progress::Waits
    }

    pub(crate) fn page_read(
        &mut self,
        id: SyncId,
        page: SyncPage,
        answer: Answer<Page>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        let step = |sync: &mut Sync| sync.page_read(page, &answer?);
        self.go_on(id, step, turn)
    }

    pub(crate) fn heads_read(
        &mut self,
        id: SyncId,
        answer: Answer<Vec<Head>>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        self.go_on(id, |sync| sync.heads_read(answer?), turn)
    }

    pub(crate) fn cursors_read(
        &mut self,
        id: SyncId,
        answer: Answer<Vec<u64>>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        self.go_on(id, |sync| sync.cursors_read(answer?), turn)
    }

    fn go_on(
        &mut self,
        id: SyncId,
        step: impl FnOnce(&mut Sync) -> Result<Step, Refusal>,
        turn: &mut Turn<'_>,
    ) -> Progress {
        // One that was refused hears the rest of its answers in vain.
        let Some(sync) = self.taken.get_mut(&id) else { return Progress::Waits };
        match step(sync) {
            Ok(Step::Wait) => Progress::Waits,
            Ok(Step::Read(ranges)) => {
                for (index, range) in ranges {
                    turn.ask_page(range, PageFlow::Sync(id, SyncPage::Entries(index)));
                }
                Progress::Waits
            }
            Ok(Step::Done) => self.finish(id, turn),
            Err(refusal) => self.refuse(id, refusal, turn),
        }
    }

    fn finish(&mut self, id: SyncId, turn: &mut Turn<'_>) -> Progress {
        let Some(sync) = self.taken.remove(&id) else { return Progress::Waits };
        let client = sync.client;
        let synced = sync.synced(turn.shared.epoch, turn.now_ms);
        turn.effects.respond(client.conn, client.request_id, Body::Synced(synced));
        self.ended(client, true)
    }

    /// It can't be answered now.
    fn refuse(&mut self, id: SyncId, refusal: Refusal, turn: &mut Turn<'_>) -> Progress {
        let Some(sync) = self.taken.remove(&id) else { return Progress::Waits };
        let client = sync.client;
        turn.effects.refuse(client.conn, client.request_id, refusal);
        self.ended(client, false)
    }

    fn ended(&mut self, client: Client, synced: bool) -> Progress {
        self.running -= 1;
        let next = self.waiting.pop_front().and_then(|id| {
            let user = self.taken.get(&id)?.client.user;
            self.running += 1;
            Some(Begun { id, user })
        });
        Progress::Ended { user: client.user, conn: client.conn, synced, next }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::LogId;

    use super::*;
    use crate::account::NO_SUCH_USER;
    use crate::store::StoreRequest;
    use crate::worker::turn::stage::Stage;

    fn client(id: u64) -> Client {
        let conn = ConnId { shard: 0, slot: id as u32, generation: 0 };
        Client { conn, user: UserId::new(id).unwrap(), request_id: 1 }
    }

    fn from_nothing() -> SyncFrom {
        let positions = Vec::new();
        SyncFrom { epoch: 0, account_seq: 0, positions, entries_per_conversation: 1 }
    }

    #[test]
    fn so_many_run_at_a_time_and_the_end_of_one_begins_the_next() {
        let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
        let ids = 1..=SYNCS_MAX as u64;
        let begun: Vec<_> = ids.map(|id| syncs.take(client(id), from_nothing()).unwrap()).collect();
        let last = client(SYNCS_MAX as u64 + 1);
        assert!(syncs.take(last, from_nothing()).is_none());
        let refused = syncs.account_known(begun[3].id, Err(NO_SUCH_USER), &mut stage.turn());
        match refused {
            Progress::Ended { user, synced: false, next: Some(next), .. } => {
                assert_eq!((user, next.user), (begun[3].user, last.user));
            }
            Progress::Ended { .. } | Progress::Waits => panic!("{refused:?}"),
        }
    }

    #[test]
    fn one_that_was_refused_hears_the_rest_of_its_answers_in_vain() {
        let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
        let Begun { id, user } = syncs.take(client(1), from_nothing()).unwrap();
        let account = Account::default();
        assert!(matches!(
            syncs.account_known(id, Ok(&account), &mut stage.turn()),
            Progress::Waits
        ));
        let asked = stage.asked();
        assert!(
            matches!(
                &asked[..],
                [StoreRequest::Range(range), StoreRequest::Heads(_), StoreRequest::Cursors(_)]
                    if range.log == LogId::account(user)
            ),
            "{asked:?}"
        );
        // One head too many: the store has answered for somebody else.
        let refused = syncs.heads_read(id, Ok(vec![Head::default()]), &mut stage.turn());
        assert!(matches!(refused, Progress::Ended { synced: false, next: None, .. }));
        let late = syncs.cursors_read(id, Ok(Vec::new()), &mut stage.turn());
        assert!(matches!(late, Progress::Waits));
    }
}
