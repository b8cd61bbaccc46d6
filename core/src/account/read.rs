//! Moving the read cursor of a user: an entry of the account log, so that the other devices and a
//! later sync know, and a receipt for the other member.

use dunlin_protocol::wire::{self, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId};

use super::AccountPage;
use crate::audience::push::SignalPush;
use crate::entry::others_counted;
use crate::limits::RESPONSE_BYTES_MAX;
use crate::membership::other_member;
use crate::refusal::{NO_SUCH_CONVERSATION, Refusal};
use crate::request::Client;
use crate::store::{Page, Range};
use crate::worker::flow::{Answer, PageFlow};
use crate::worker::turn::Turn;

/// A read cursor that shall move.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MarkRead {
    pub(crate) client: Client,
    pub(super) conversation: LogId,
    pub(super) seq: u64,
    /// Entries of others that count up to `seq`.
    pub(super) others_counted: u64,
}

/// Asks for the entry that the cursor shall move to.
pub(crate) fn ask(client: Client, conversation: LogId, seq: u64, turn: &mut Turn<'_>) {
    if other_member(conversation, client.user).is_none() {
        turn.effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
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
    turn.ask_page(range, PageFlow::Account(AccountPage::MarkRead(mark)));
}

impl MarkRead {
    /// The entry was read: where the cursor goes.
    pub(crate) fn entry_known(self, answer: Answer<Page>) -> Result<MarkRead, Refusal> {
        let page = answer?;
        let entry = page.entries.first().ok_or(NO_SUCH_CONVERSATION)?;
        let others_counted = others_counted(&entry.meta, self.client.user);
        Ok(MarkRead { seq: entry.seq, others_counted, ..self })
    }

    /// What the other member is told, now that it has moved.
    pub(crate) fn receipt(self) -> Option<SignalPush> {
        let user = self.client.user;
        let other = other_member(self.conversation, user).filter(|other| *other != user)?;
        let frame = EncodedFrame::push(Body::ReadReceipt(wire::ReadReceipt {
            conversation_id: self.conversation.to_wire(),
            user_id: user.get(),
            seq: self.seq,
        }));
        Some(SignalPush { user: other, frame, except: None })
    }
}
