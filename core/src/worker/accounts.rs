//! Requests about accounts, and what follows from what accounts tell.

use dunlin_protocol::wire::{self, frame::Body};
use dunlin_protocol::{LogId, UserId};

use super::flow::Answer;
use super::message::{Join, WorkerMessage};
use super::router::Router;
use super::turn::Turn;
use crate::account::read::{self, MarkRead};
use crate::account::{AccountPage, Change, Loaded, NO_SUCH_USER, Reader, Told};
use crate::refusal::Refusal;
use crate::request::{AccountRequest, Client};
use crate::store::{Append, Appended, Page};

impl Router {
    pub(super) fn take_account_request(
        &mut self,
        client: Client,
        request: AccountRequest,
        turn: &mut Turn<'_>,
    ) {
        match request {
            AccountRequest::MarkRead { conversation, seq } => {
                read::ask(client, conversation, seq, turn);
            }
            AccountRequest::FindUsers { usernames, user_ids } => {
                self.finds.take(client, &usernames, &user_ids, turn);
            }
        }
    }

    pub(super) fn account_page_read(
        &mut self,
        page: AccountPage,
        answer: Answer<Page>,
        turn: &mut Turn<'_>,
    ) {
        match page {
            AccountPage::Log(user) => self.log_page_read(user, answer, turn),
            AccountPage::MarkRead(mark) => self.read_entry_known(mark, answer, turn),
            AccountPage::Find(find, user) => self.finds.page_read(find, user, answer, turn),
        }
    }

    /// A user shall become a member of a conversation.
    pub(super) fn take_join(&mut self, join: Join, turn: &mut Turn<'_>) {
        self.change_account(join.user, Change::Join(join), turn);
    }

    /// The entry that a read cursor shall move to was read.
    fn read_entry_known(&mut self, mark: MarkRead, answer: Answer<Page>, turn: &mut Turn<'_>) {
        let client = mark.client;
        match mark.entry_known(answer) {
            Ok(mark) => self.change_account(client.user, Change::Read(mark), turn),
            Err(refusal) => turn.effects.refuse(client.conn, client.request_id, refusal),
        }
    }

    fn change_account(&mut self, user: UserId, change: Change, turn: &mut Turn<'_>) {
        match self.accounts.change(user, change, turn) {
            Ok(()) => self.serve_account(user, turn),
            Err(refused) => {
                if let Some(told) = refused {
                    self.account_told(told, turn);
                }
            }
        }
    }

    /// Lets an account take its next steps, and those read it who wait for it.
    pub(super) fn serve_account(&mut self, user: UserId, turn: &mut Turn<'_>) {
        while let Some(readers) = self.accounts.serve(user, turn) {
            for Reader::Sync(sync) in readers {
                let account = self.accounts.durable(user).ok_or(NO_SUCH_USER);
                let progress = self.syncs.account_known(sync, account, turn);
                self.sync_goes_on(progress, turn);
            }
        }
    }

    fn log_page_read(&mut self, user: UserId, answer: Answer<Page>, turn: &mut Turn<'_>) {
        match self.accounts.page_read(user, answer, turn) {
            Loaded::Waits => {}
            Loaded::Done => self.serve_account(user, turn),
            Loaded::Failed(refusal) => self.account_failed(user, refusal, turn),
        }
    }

    pub(super) fn number_account(
        &mut self,
        user: UserId,
        appends: &mut Vec<Append>,
        turn: &mut Turn<'_>,
    ) -> usize {
        let mut told = std::mem::take(&mut self.told);
        let count = self.accounts.number(user, turn.now_ms, appends, &mut told);
        self.account_tells(told, turn);
        count
    }

    pub(super) fn account_appended(
        &mut self,
        user: UserId,
        results: &[Appended],
        turn: &mut Turn<'_>,
    ) {
        let mut told = std::mem::take(&mut self.told);
        self.accounts.appended(user, results, &mut told);
        self.account_tells(told, turn);
        self.serve_account(user, turn);
    }

    pub(super) fn account_failed(&mut self, user: UserId, refusal: Refusal, turn: &mut Turn<'_>) {
        let mut told = std::mem::take(&mut self.told);
        let failed = self.accounts.fail(user, refusal, &mut told);
        if let Some(head) = failed.as_ref().and_then(|failed| failed.unsure_after) {
            self.unsure.after(LogId::account(user), head);
        }
        self.account_tells(told, turn);
        for Reader::Sync(sync) in failed.into_iter().flat_map(|failed| failed.readers) {
            let progress = self.syncs.account_known(sync, Err(refusal), turn);
            self.sync_goes_on(progress, turn);
        }
    }

    /// Tells all of it, and keeps the list.
    fn account_tells(&mut self, mut told: Vec<Told>, turn: &mut Turn<'_>) {
        told.drain(..).for_each(|told| self.account_told(told, turn));
        self.told = told;
    }

    fn account_told(&mut self, told: Told, turn: &mut Turn<'_>) {
        match told {
            Told::Entry { user, push } => self.push_to_users(&[user], &push, None, turn),
            Told::Joined(joined) => {
                let worker = turn.worker_of_log(joined.conversation);
                self.tell_worker(worker, WorkerMessage::Joined(joined), turn);
            }
            Told::Read { mark, has_moved } => {
                let done = Body::Done(wire::Done {});
                turn.effects.respond(mark.client.conn, mark.client.request_id, done);
                if let Some(receipt) = mark.receipt().filter(|_| has_moved) {
                    self.signal_to_user(receipt, turn);
                }
            }
            Told::Refused { client, refusal } => {
                turn.effects.refuse(client.conn, client.request_id, refusal);
            }
        }
    }
}
