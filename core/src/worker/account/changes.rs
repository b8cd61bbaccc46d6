//! The account logs of the users of a worker: read when needed, appended to by nobody else on
//! this node.

use dunlin_protocol::wire::{self, ErrorCode, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, UserId};

use crate::audience::push::LogPush;
use crate::entry::EncodedEntry;
use crate::limits::{ACCOUNT_PUSH_BYTES_MAX, OVERLOADED_RETRY_MS, STATE_IDLE_MS};
use crate::refusal::{INTERNAL, Refusal, store_refusal};
use crate::store::{Append, Appended, StoreReply, StoreRequest};
use crate::worker::Worker;
use crate::worker::account::log::{AccountLog, Change, Changed, Load, Need, Reader};
use crate::worker::account::read::MarkRead;
use crate::worker::batch::Owner;
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, StoreResult};
use crate::worker::message::{Join, Joined, WorkerMessage};

pub(in crate::worker) const NO_SUCH_USER: Refusal =
    Refusal::new(ErrorCode::NoSuchUser, "no user has this id");

const QUEUE_FULL: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    "too many changes wait for this account",
    OVERLOADED_RETRY_MS,
);

const TOO_MANY_CONVERSATIONS: Refusal =
    Refusal::new(ErrorCode::PermissionDenied, "the user has too many conversations");

impl Worker {
    /// A user shall become a member of a conversation.
    pub(in crate::worker) fn take_join(&mut self, join: Join, effects: &mut Effects) {
        self.change_account(join.user, Change::Join(join), effects);
    }

    /// Queues a change of an account, and sees to it that it is appended.
    pub(in crate::worker) fn change_account(
        &mut self,
        user: UserId,
        change: Change,
        effects: &mut Effects,
    ) {
        let account = self.account_log(user);
        match account.enqueue(change) {
            Ok(()) => self.serve_account(user, effects),
            Err(change) => self.refuse_change(&change, QUEUE_FULL, effects),
        }
    }

    /// Has the account read, once it is durable and up to date.
    pub(in crate::worker) fn read_account(
        &mut self,
        user: UserId,
        reader: Reader,
        effects: &mut Effects,
    ) {
        let others_append = self.others_append();
        self.account_log(user).add_reader(reader, others_append);
        self.serve_account(user, effects);
    }

    fn account_log(&mut self, user: UserId) -> &mut AccountLog {
        let (account, is_new) = self.accounts.get_or_insert_with(user, AccountLog::new);
        if is_new {
            self.sweep.push_back((self.now_ms + STATE_IDLE_MS, Owner::Account(user)));
        }
        account.used_ms = self.now_ms;
        account
    }

    /// Takes the next steps of an account.
    fn serve_account(&mut self, user: UserId, effects: &mut Effects) {
        loop {
            let Some(log) = self.accounts.get_mut(&user) else { return };
            match log.next_step(user) {
                Need::Nothing => return,
                Need::Load(range) => {
                    self.ask_store(StoreRequest::Range(range), Flow::LoadAccount(user), effects);
                }
                Need::Serve(readers) => self.serve_readers(user, readers, effects),
                Need::Number => self.ready.push(Owner::Account(user)),
            }
        }
    }

    fn serve_readers(&mut self, user: UserId, readers: Vec<Reader>, effects: &mut Effects) {
        for Reader::Sync(request) in readers {
            let log = self.accounts.get(&user);
            match log.and_then(|log| request.begin(log.durable()?, self.shared.epoch)) {
                Some(first) => self.sync_account_known(&request, first, effects),
                None => self.refuse_sync(request.client(), NO_SUCH_USER, effects),
            }
        }
    }

    /// A page of an account log was read.
    pub(in crate::worker) fn account_page_read(
        &mut self,
        user: UserId,
        result: &StoreResult,
        effects: &mut Effects,
    ) {
        let Some(account) = self.accounts.get_mut(&user) else { return };
        let load = match result {
            Ok(StoreReply::Page(page)) => account.loaded(user, page),
            Ok(_) => return self.account_failed(user, INTERNAL, effects),
            Err(error) => return self.account_failed(user, store_refusal(error), effects),
        };
        match load {
            Load::Read(range) => {
                self.ask_store(StoreRequest::Range(range), Flow::LoadAccount(user), effects);
            }
            Load::Done => self.serve_account(user, effects),
            Load::Damaged => self.account_failed(user, INTERNAL, effects),
        }
    }

    /// Numbers the changes of an account at the end of a tick.
    pub(in crate::worker) fn number_account(
        &mut self,
        user: UserId,
        appends: &mut Vec<Append>,
        effects: &mut Effects,
    ) -> usize {
        let now_ms = self.now_ms;
        let Some(account) = self.accounts.get_mut(&user) else { return 0 };
        let mut done = Vec::new();
        let count =
            account.number(user, now_ms, appends, |change, changed| done.push((change, changed)));
        for (change, changed) in done {
            self.change_done(user, &change, changed, effects);
        }
        count
    }

    /// A batch of changes is durable.
    pub(in crate::worker) fn account_appended(
        &mut self,
        user: UserId,
        results: &[Appended],
        effects: &mut Effects,
    ) {
        let Some(account) = self.accounts.get_mut(&user) else { return };
        let mut done = Vec::new();
        account.settle(results, |change, changed| done.push((change, changed)));
        for (change, changed) in done {
            self.change_done(user, &change, changed, effects);
        }
        self.serve_account(user, effects);
    }

    /// The log of an account can't be read or appended to.
    pub(in crate::worker) fn account_failed(
        &mut self,
        user: UserId,
        refusal: Refusal,
        effects: &mut Effects,
    ) {
        let Some(account) = self.accounts.get_mut(&user) else { return };
        let unsure_after = account.unsure_after();
        let (changes, readers) = account.fail();
        if let Some(head) = unsure_after {
            self.is_unsure_after(LogId::account(user), head);
        }
        changes.iter().for_each(|change| self.refuse_change(change, refusal, effects));
        for Reader::Sync(request) in readers {
            self.refuse_sync(request.client(), refusal, effects);
        }
    }

    fn change_done(
        &mut self,
        user: UserId,
        change: &Change,
        changed: Changed,
        effects: &mut Effects,
    ) {
        match changed {
            Changed::Stored { seq, entry } => {
                self.push_account_entry(user, seq, &entry, effects);
                self.confirm_change(change, true, effects);
            }
            Changed::AlreadySo => self.confirm_change(change, false, effects),
            Changed::TooMany => self.refuse_change(change, TOO_MANY_CONVERSATIONS, effects),
            Changed::NoSuchUser => self.refuse_change(change, NO_SUCH_USER, effects),
        }
    }

    fn confirm_change(&mut self, change: &Change, is_new: bool, effects: &mut Effects) {
        match *change {
            Change::Join(join) => self.answer_join(join, Ok(()), effects),
            Change::Read(mark) => self.read_moved(mark, is_new, effects),
            Change::Snapshot => {}
        }
    }

    fn refuse_change(&mut self, change: &Change, refusal: Refusal, effects: &mut Effects) {
        match *change {
            Change::Join(join) => self.answer_join(join, Err(refusal), effects),
            Change::Read(MarkRead { client, .. }) => {
                effects.refuse(client.conn, client.request_id, refusal);
            }
            // The next change of the account asks for it again.
            Change::Snapshot => {}
        }
    }

    fn answer_join(&mut self, join: Join, result: Result<(), Refusal>, effects: &mut Effects) {
        let Join { user, conversation } = join;
        let joined = WorkerMessage::Joined(Joined { user, conversation, result });
        self.tell_worker(self.worker_of_log(conversation), joined, effects);
    }

    fn push_account_entry(
        &mut self,
        user: UserId,
        seq: u64,
        entry: &EncodedEntry,
        effects: &mut Effects,
    ) {
        let log = LogId::account(user);
        let frame = if entry.body.len() > ACCOUNT_PUSH_BYTES_MAX {
            let conversation_id = log.to_wire();
            EncodedFrame::push(Body::Behind(wire::Behind { conversation_id, head: seq }))
        } else {
            entry.frame.clone()
        };
        let push = LogPush { log, head: seq, frame };
        self.push_to_users(&[user], &push, None, effects);
    }
}
