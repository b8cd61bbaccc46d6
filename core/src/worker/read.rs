//! Moving the read cursor of a user: an entry of the account log, so that the other devices and a
//! later sync know, and a receipt for the other member.

use dunlin_protocol::wire::{self, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId};

use super::account_log::Change;
use super::effect::Effects;
use super::entry::others_counted;
use super::flow::{Flow, StoreResult};
use super::message::SignalPush;
use super::send::{NO_SUCH_CONVERSATION, other_member};
use super::{Client, INTERNAL, Worker, store_refusal};
use crate::limits::RESPONSE_BYTES_MAX;
use crate::store::{Range, StoreReply, StoreRequest};

/// A read cursor that shall move.
#[derive(Debug, Clone, Copy)]
pub(super) struct MarkRead {
    pub(super) client: Client,
    pub(super) conversation: LogId,
    pub(super) seq: u64,
    /// Entries of others that count up to `seq`.
    pub(super) others_counted: u64,
}

impl Worker {
    pub(super) fn take_mark_read(
        &mut self,
        client: Client,
        conversation: LogId,
        seq: u64,
        effects: &mut Effects,
    ) {
        if other_member(conversation, client.user).is_none() {
            effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
            return;
        }
        // The newest entry up to seq: the counts are in it, and a seq beyond the head is the head.
        let range = Range {
            log: conversation,
            from: 1,
            to: seq,
            entries_max: 1,
            bytes_max: RESPONSE_BYTES_MAX,
            backwards: true,
        };
        let mark = MarkRead { client, conversation, seq, others_counted: 0 };
        self.ask_store(StoreRequest::Range(range), Flow::MarkRead(mark), effects);
    }

    /// The entry that the cursor shall move to was read.
    pub(super) fn read_entry_known(
        &mut self,
        mut mark: MarkRead,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        let Client { conn, user, request_id } = mark.client;
        let refusal = match result {
            Ok(StoreReply::Page(page)) => match page.entries.first() {
                Some(entry) => {
                    mark.seq = entry.seq;
                    mark.others_counted = others_counted(&entry.meta, user);
                    self.change_account(user, Change::Read(mark), effects);
                    return;
                }
                None => NO_SUCH_CONVERSATION,
            },
            Ok(_) => INTERNAL,
            Err(error) => store_refusal(&error),
        };
        effects.refuse(conn, request_id, refusal);
    }

    /// The cursor is durable where it was asked to be, or was further already.
    pub(super) fn read_moved(&mut self, mark: MarkRead, has_moved: bool, effects: &mut Effects) {
        let Client { conn, user, request_id } = mark.client;
        effects.respond(conn, request_id, Body::Done(wire::Done {}));
        let other = other_member(mark.conversation, user).filter(|other| *other != user);
        let Some(other) = other.filter(|_| has_moved) else { return };
        let frame = EncodedFrame::push(Body::ReadReceipt(wire::ReadReceipt {
            conversation_id: mark.conversation.to_wire(),
            user_id: user.get(),
            seq: mark.seq,
        }));
        self.signal_to_user(SignalPush { user: other, frame, except: None }, effects);
    }
}
