//! Moving the read cursor of a user: an entry of the account log, so that the other devices and a
//! later sync know, and a receipt for the other member.

use dunlin_protocol::wire::{self, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId};

use crate::audience::push::SignalPush;
use crate::entry::others_counted;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::membership::other_member;
use crate::refusal::{INTERNAL, NO_SUCH_CONVERSATION, store_refusal};
use crate::store::{Range, StoreReply, StoreRequest};
use crate::worker::account::log::Change;
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, StoreResult};
use crate::worker::{Client, Worker};

/// A read cursor that shall move.
#[derive(Debug, Clone, Copy)]
pub(in crate::worker) struct MarkRead {
    pub(in crate::worker) client: Client,
    pub(in crate::worker) conversation: LogId,
    pub(in crate::worker) seq: u64,
    /// Entries of others that count up to `seq`.
    pub(in crate::worker) others_counted: u64,
}

impl Worker {
    pub(in crate::worker) fn take_mark_read(
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
    pub(in crate::worker) fn read_entry_known(
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
    pub(in crate::worker) fn read_moved(
        &mut self,
        mark: MarkRead,
        has_moved: bool,
        effects: &mut Effects,
    ) {
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
