//! Messages of one's own until they are in the conversation: kept first, then shown, then sent.
//!
//! ```text
//!  enter ─► Say ─► outbox ─► said: Waiting ─► Send: UnderWay ─► Stored ─► its entry
//!                    │           ▲ of before         └────────► Failed
//!                    └───────────┘
//! ```

use dunlin_client::machine::{Failure, Ticket};
use dunlin_protocol::wire::{Entry, ErrorCode, entry};
use dunlin_protocol::{ClientMessageId, ErrorClass, LogId, UserId, class, limits};

use super::addressee::Addressee;
use super::chat::{Chat, Progress, Unsent};
use super::input::BYTES_MAX;
use super::news::News;
use super::refusal::why_failed;
use super::{Effect, Model, Purpose};
use crate::outbox::Kept;

/// Messages that may be on their way, and their bytes: what the memory and the file of somebody who
/// is offline for long are bounded by.
pub(crate) const MESSAGES_MAX: usize = 10_000;
/// See [`MESSAGES_MAX`].
pub(crate) const MESSAGES_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Model {
    /// Whether a text may be said now; if not, why.
    pub(super) fn may_say(&self, text: &str) -> Result<LogId, String> {
        let conversation = match &self.addressee {
            Addressee::Nobody => return Err("to whom? /to NAME opens a conversation".into()),
            Addressee::Sought(sought) => {
                return Err(format!("{} is not found yet; nothing is said", sought.name));
            }
            Addressee::Chat(conversation) => *conversation,
        };
        if self.me.is_some_and(|me| !has_member(conversation, me)) {
            return Err("this conversation is another account's".into());
        }
        if text.len() > BYTES_MAX {
            return Err(format!(
                "a message has at most {BYTES_MAX} bytes, this has {}",
                text.len()
            ));
        }
        let unsent = || self.chats.values().flat_map(|chat| &chat.unsent);
        let bytes: usize = unsent().map(|unsent| unsent.text.len()).sum();
        if unsent().count() >= MESSAGES_MAX || bytes + text.len() > MESSAGES_BYTES_MAX {
            return Err("too many messages are on their way; nothing is said".into());
        }
        Ok(conversation)
    }

    /// A message as the outbox keeps it.
    pub(crate) fn to_keep(
        &self,
        conversation: LogId,
        message_id: ClientMessageId,
        text: &str,
    ) -> Option<Kept> {
        let peer = self.chats.get(&conversation)?.peer;
        let (one, other) = conversation.direct_members()?;
        let sender = if one == peer { other } else { one };
        let peer = self.names.get(&peer).cloned().unwrap_or_default();
        Some(Kept { message_id, conversation, sender, peer, text: text.to_owned() })
    }

    /// A message was said. `is_kept`: it is in the outbox.
    pub(crate) fn said(
        &mut self,
        conversation: LogId,
        message_id: ClientMessageId,
        text: String,
        is_kept: bool,
    ) {
        if let Some(chat) = self.chats.get_mut(&conversation) {
            chat.unsent.push(Unsent { message_id, text, is_kept, progress: Progress::Waiting });
            chat.scroll = 0;
        }
        self.send_waiting();
    }

    /// Messages of an earlier run, which are shown at once, and sent after the login.
    pub(crate) fn restore(&mut self, kept: impl Iterator<Item = Kept>) {
        let mut messages = 0_usize;
        for Kept { message_id, conversation, sender, peer, text } in kept {
            let Some((one, other)) = conversation.direct_members() else { continue };
            let peer_id = if one == sender { other } else { one };
            if !peer.is_empty() {
                self.names.entry(peer_id).or_insert(peer);
            }
            let chat = self.chats.entry(conversation).or_insert_with(|| Chat::new(peer_id));
            let progress = Progress::Waiting;
            chat.unsent.push(Unsent { message_id, text, is_kept: true, progress });
            messages += 1;
        }
        if messages > 0 {
            self.notice(format!("{messages} messages of before are on their way"));
        }
    }

    /// A message was handed to the client.
    pub(crate) fn sending(
        &mut self,
        conversation: LogId,
        message_id: ClientMessageId,
        ticket: Ticket,
    ) {
        self.pending.insert(ticket, Purpose::Say(conversation, message_id));
    }

    /// Whose client this is. Messages of another account, of the same name on a server that has
    /// lost its data, are not for this one to say.
    pub(super) fn logged_in(&mut self, user: UserId, username: String) {
        let before = self.me.replace(user);
        self.names.insert(user, username);
        if before != Some(user) {
            if self.open().is_some_and(|open| !has_member(open, user)) {
                self.go_to_nobody();
            }
            self.give_up_foreign(user);
        }
        self.send_waiting();
    }

    fn give_up_foreign(&mut self, user: UserId) {
        let mut given_up = 0_usize;
        for (conversation, chat) in &mut self.chats {
            if has_member(*conversation, user) {
                continue;
            }
            for unsent in chat.unsent.iter_mut().filter(|unsent| unsent.is_on_its_way()) {
                unsent.progress = Progress::Failed { why: "said by another account".into() };
                self.effects.push(Effect::Settle(unsent.message_id));
                given_up += 1;
            }
        }
        self.chats.retain(|conversation, chat| {
            has_member(*conversation, user) || !chat.unsent.is_empty() || !chat.draft.is_blank()
        });
        if given_up > 0 {
            self.notice(format!(
                "{given_up} messages were said by another account of this name, and are not sent"
            ));
        }
    }

    /// Sends what waits, in the order in which it was said.
    fn send_waiting(&mut self) {
        let Some(me) = self.me else { return };
        for (conversation, chat) in &mut self.chats {
            if !has_member(*conversation, me) {
                continue;
            }
            for unsent in &mut chat.unsent {
                if unsent.progress == Progress::Waiting {
                    unsent.progress = Progress::UnderWay;
                    let (id, text) = (unsent.message_id, unsent.text.clone());
                    self.effects.push(Effect::Send(*conversation, id, text));
                }
            }
        }
    }

    /// The server has it. Its entry may have come before, with a sync, or comes now.
    pub(super) fn stored(&mut self, conversation: LogId, message_id: ClientMessageId, seq: u64) {
        let chat = self.chats.get_mut(&conversation);
        if let Some(unsent) = chat.and_then(|chat| chat.unsent_mut(message_id)) {
            unsent.progress = Progress::Stored { seq };
        }
        self.effects.push(Effect::Settle(message_id));
        self.forget_stored(conversation);
    }

    /// Those whose entries will not come any more are told without them.
    pub(super) fn forget_stored(&mut self, conversation: LogId) {
        let Some(chat) = self.chats.get_mut(&conversation) else { return };
        let position = chat.view.map_or(0, |view| view.position);
        for (seq, text) in chat.take_stored(position) {
            self.tell_of(conversation, News::Stored { with: String::new(), seq, text });
        }
    }

    /// A message from here came back as an entry, with its answer or without it.
    pub(super) fn settle_entry(&mut self, entry: &Entry) {
        let Some(entry::Body::Message(message)) = &entry.body else { return };
        if let Ok(message_id) = ClientMessageId::from_wire(&message.client_message_id) {
            self.effects.push(Effect::Settle(message_id));
        }
    }

    /// The client gave a message up. What may be possible another time stays in the outbox.
    pub(super) fn not_sent(
        &mut self,
        conversation: LogId,
        message_id: ClientMessageId,
        failure: &Failure,
    ) {
        if *failure == Failure::Closed {
            return;
        }
        let chat = self.chats.get_mut(&conversation);
        let Some(unsent) = chat.and_then(|chat| chat.unsent_mut(message_id)) else { return };
        let why = why_failed(failure);
        let is_kept = unsent.is_kept && !is_final(failure);
        unsent.progress = Progress::Failed { why: why.clone() };
        if is_kept {
            self.notice(format!("a message is not sent, but tried again at the next start: {why}"));
        } else {
            self.effects.push(Effect::Settle(message_id));
            self.notice(format!("a message is not sent: {why}"));
        }
    }

    /// Messages that are neither stored nor refused.
    pub(crate) fn on_their_way(&self) -> usize {
        self.unsent().filter(|unsent| unsent.is_on_its_way()).count()
    }

    /// Whether each message has been told of: as an entry, or as failed.
    pub(super) fn is_nothing_awaited(&self) -> bool {
        self.unsent().all(|unsent| match unsent.progress {
            Progress::Waiting | Progress::UnderWay | Progress::Stored { .. } => false,
            Progress::Failed { .. } => true,
        })
    }

    /// Messages that would be lost if the program ended now.
    pub(super) fn not_kept(&self) -> usize {
        self.unsent().filter(|unsent| unsent.is_on_its_way() && !unsent.is_kept).count()
    }

    fn unsent(&self) -> impl Iterator<Item = &Unsent> {
        self.chats.values().flat_map(|chat| &chat.unsent)
    }
}

/// Whether the same request can never succeed: not so if the server was at fault, or the login was, or
/// the account is disabled, which may be taken back.
fn is_final(failure: &Failure) -> bool {
    match failure {
        Failure::Refused(error) => match class(error.code) {
            ErrorClass::Request => error.code() != ErrorCode::NotLoggedIn,
            ErrorClass::NotAllowed => error.code() != ErrorCode::AccountDisabled,
            ErrorClass::Credentials | ErrorClass::NotNow | ErrorClass::Server => false,
        },
        Failure::TooLarge | Failure::OtherUser => true,
        // Also what a later version may add.
        _ => false,
    }
}

fn has_member(conversation: LogId, user: UserId) -> bool {
    conversation.direct_members().is_some_and(|(one, other)| one == user || other == user)
}

const _: () = assert!(limits::CONTENT_BYTES_MAX <= MESSAGES_BYTES_MAX);

#[cfg(test)]
mod tests;
