//! Sync: what a client lacks, in one round trip.
//!
//! ```text
//!  taken: pushes are held ──► account ──► heads, cursors, account entries ──► newest entries ──► Synced
//! ```
//!
//! Everything that is stored after the heads were read is pushed, and held, and follows the
//! Synced; everything before is in it. So nothing falls between the two.

mod rounds;

use dunlin_protocol::LogId;
use dunlin_protocol::wire::frame::Body;

use super::{Client, Worker};
use crate::limits::{ACCOUNT_CONVERSATIONS_MAX, SYNC_ACCOUNT_BYTES_MAX, SYNCS_MAX};
use crate::membership::other_member;
use crate::refusal::Refusal;
use crate::request::SyncFrom;
use crate::store::{Range, StoreRequest};
use crate::worker::account::Account;
use crate::worker::account::log::Reader;
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, StoreResult};
use rounds::Step;
pub(super) use rounds::{FirstRound, Sync};

/// A sync that was taken.
#[derive(Debug)]
pub(super) struct SyncRequest {
    client: Client,
    sync: SyncFrom,
}

/// What one read of a sync is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum SyncRead {
    Account,
    Heads,
    Cursors,
    /// The entries of this one of the changed conversations.
    Entries(usize),
}

impl Worker {
    pub(super) fn take_sync(&mut self, client: Client, sync: SyncFrom, effects: &mut Effects) {
        self.sessions.begin_sync(client.user, client.conn);
        let request = Box::new(SyncRequest { client, sync });
        if self.syncs_running == SYNCS_MAX {
            self.syncs_waiting.push_back(request);
        } else {
            self.start_sync(request, effects);
        }
    }

    fn start_sync(&mut self, request: Box<SyncRequest>, effects: &mut Effects) {
        self.syncs_running += 1;
        self.read_account(request.client.user, Reader::Sync(request), effects);
    }

    /// The account is known: asks for everything that follows from it.
    pub(super) fn sync_account_known(
        &mut self,
        request: &SyncRequest,
        first: FirstRound,
        effects: &mut Effects,
    ) {
        let user = request.client.user;
        let logs = first.logs();
        let peers = logs.iter().map(|&log| (log, other_member(log, user).unwrap_or(user)));
        let cursors = StoreRequest::Cursors(peers.collect());
        let id = self.next_work();
        let (account_from, account_to) = first.account_entries_wanted();
        self.syncs.insert(id, Box::new(Sync::new(request.client, first)));
        let range = Range {
            log: LogId::account(user),
            from: account_from,
            to: account_to,
            entries_max: ACCOUNT_CONVERSATIONS_MAX * 2,
            bytes_max: SYNC_ACCOUNT_BYTES_MAX,
            backwards: false,
        };
        let flow = |read| Flow::Sync(id, read);
        self.ask_store(StoreRequest::Range(range), flow(SyncRead::Account), effects);
        self.ask_store(StoreRequest::Heads(logs), flow(SyncRead::Heads), effects);
        self.ask_store(cursors, flow(SyncRead::Cursors), effects);
    }

    pub(super) fn sync_read(
        &mut self,
        id: u64,
        read: SyncRead,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        let Some(sync) = self.syncs.get_mut(&id) else { return };
        match sync.answered(read, result) {
            Ok(Step::Wait) => {}
            Ok(Step::Read(ranges)) => {
                for (index, range) in ranges {
                    let flow = Flow::Sync(id, SyncRead::Entries(index));
                    self.ask_store(StoreRequest::Range(range), flow, effects);
                }
            }
            Ok(Step::Done) => self.finish_sync(id, effects),
            Err(refusal) => {
                let client = sync.client;
                self.syncs.remove(&id);
                self.refuse_sync(client, refusal, effects);
            }
        }
    }

    fn finish_sync(&mut self, id: u64, effects: &mut Effects) {
        let Some(sync) = self.syncs.remove(&id) else { return };
        let Client { conn, user, request_id } = sync.client;
        let synced = sync.synced(self.shared.epoch, self.now_ms);
        effects.respond(conn, request_id, Body::Synced(synced));
        self.sessions.end_sync(user, conn, true, effects);
        self.sync_ended(effects);
    }

    /// A sync can't be answered now.
    pub(super) fn refuse_sync(&mut self, client: Client, refusal: Refusal, effects: &mut Effects) {
        effects.refuse(client.conn, client.request_id, refusal);
        self.sessions.end_sync(client.user, client.conn, false, effects);
        self.sync_ended(effects);
    }

    fn sync_ended(&mut self, effects: &mut Effects) {
        self.syncs_running -= 1;
        if let Some(next) = self.syncs_waiting.pop_front() {
            self.start_sync(next, effects);
        }
    }
}

impl SyncRequest {
    /// What to read, now that the account is known.
    pub(super) fn begin(&self, account: &Account, epoch: u64) -> Option<FirstRound> {
        Some(FirstRound::new(&self.sync, account, epoch))
    }

    pub(super) fn client(&self) -> Client {
        self.client
    }
}
