//! Requests about accounts, and what follows from what the store answers.

use dunlin_protocol::LogId;
use dunlin_protocol::wire::frame::Body;

use super::flow::{Answer, Answers};
use super::router::Router;
use super::turn::Turn;
use crate::account::changes::{self, Changed};
use crate::account::join;
use crate::account::read::{Mark, MarkRead, Marked};
use crate::account::setting::SettingChange;
use crate::audience::push::Knower;
use crate::refusal::Refusal;
use crate::request::{AccountRequest, Client};
use crate::store::{Register, Written};

impl Router {
    pub(super) fn take_account_request(
        &mut self,
        client: Client,
        request: AccountRequest,
        turn: &mut Turn<'_>,
    ) {
        match request {
            AccountRequest::MarkRead { conversation, seq, private: is_private } => {
                let others_counted =
                    self.conversations.others_counted_at(conversation, seq, client.user);
                let mark = Mark { conversation, seq, is_private, others_counted };
                self.marks.take(client, mark, turn);
            }
            AccountRequest::SetSetting { key, value, if_version } => {
                self.changes.set(client, SettingChange::new(&key, value, if_version), turn);
            }
            AccountRequest::UpdateConversation { conversation, change } => {
                self.changes.update(client, conversation, change, turn);
            }
            AccountRequest::FindUsers { usernames, user_ids } => {
                self.finds.take(client, &usernames, &user_ids, turn);
            }
        }
    }

    /// It is known which members of conversations exist that are to be joined.
    pub(super) fn members_known(
        &mut self,
        logs: Vec<LogId>,
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        let writes_to = |log, user| self.conversations.writes_to(log, user);
        for (log, refusal) in join::members_known(logs, answers, writes_to, turn) {
            self.conversation_joined(log, Err(refusal), turn);
        }
    }

    pub(super) fn joins_written(
        &mut self,
        logs: Vec<LogId>,
        answer: Answer<Vec<Written>>,
        turn: &mut Turn<'_>,
    ) {
        for (log, result) in join::written(logs, answer) {
            self.conversation_joined(log, result, turn);
        }
    }

    fn conversation_joined(
        &mut self,
        log: LogId,
        result: Result<(), Refusal>,
        turn: &mut Turn<'_>,
    ) {
        let refused = self.conversations.joined(log, result, turn);
        self.refuse_sends(refused, turn);
    }

    /// A change of what an account holds has come to its end, perhaps.
    pub(super) fn change_finished(
        &mut self,
        finished: Option<changes::Finished>,
        turn: &mut Turn<'_>,
    ) {
        let Some(finished) = finished else { return };
        if let Some(Changed { user, conn, hint, heard }) = self.changes.finish(finished, turn) {
            self.push_to_users(&[user], &hint, Some(Knower::Here(conn)), turn);
            if let Some((heard, head)) = heard {
                self.tell_heard(heard, head, turn);
            }
        }
    }

    pub(super) fn cursors_written(
        &mut self,
        known: Vec<MarkRead>,
        answer: Answer<Vec<Written>>,
        turn: &mut Turn<'_>,
    ) {
        for Marked { client: Client { conn, request_id, .. }, response, receipts } in
            self.marks.written(known, answer)
        {
            match response {
                Ok(cursor) => turn.effects.respond(conn, request_id, Body::ReadReceipt(cursor)),
                Err(refusal) => turn.effects.refuse(conn, request_id, refusal),
            }
            receipts.into_iter().for_each(|receipt| self.signal_to_user(receipt, turn));
        }
    }
}
