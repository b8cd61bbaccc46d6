//! Whom the line is for that is being typed.
//!
//! Two rules keep a text from going to the wrong person. Only the user changes the addressee: an
//! answer that comes late opens nothing, once something else was opened or looked up. And each
//! addressee has a line of its own, so that what was typed for one is never entered for another.

use dunlin_client::machine::Request;
use dunlin_protocol::LogId;
use dunlin_protocol::wire::User;
use dunlin_protocol::wire::update_conversation::Change;

use super::input::Input;
use super::news::News;
use super::{Effect, Model, Purpose};
use crate::text;

/// Whom the line is for.
#[derive(Debug, Default)]
pub(crate) enum Addressee {
    /// Nobody: commands can be entered, texts can't.
    #[default]
    Nobody,
    /// Somebody of this name, if the server knows one: texts can be typed and wait.
    Sought(Sought),
    /// Whoever is in this conversation.
    Chat(LogId),
}

/// A name that is looked up.
#[derive(Debug)]
pub(crate) struct Sought {
    pub(crate) name: String,
    /// Which look-up this is.
    number: u64,
    line: Input,
}

impl Model {
    /// The conversation that is open.
    pub(crate) fn open(&self) -> Option<LogId> {
        match self.addressee {
            Addressee::Chat(conversation) => Some(conversation),
            Addressee::Nobody | Addressee::Sought(_) => None,
        }
    }

    /// Whether a name is being looked up.
    pub(crate) fn is_seeking(&self) -> bool {
        match self.addressee {
            Addressee::Sought(_) => true,
            Addressee::Nobody | Addressee::Chat(_) => false,
        }
    }

    /// What is being typed.
    pub(crate) fn input(&self) -> &Input {
        if self.prompt.is_some() {
            return &self.secret;
        }
        match &self.addressee {
            Addressee::Nobody => &self.nobodys_line,
            Addressee::Sought(sought) => &sought.line,
            Addressee::Chat(conversation) => {
                self.chats.get(conversation).map_or(&self.nobodys_line, |chat| &chat.draft)
            }
        }
    }

    pub(crate) fn input_mut(&mut self) -> &mut Input {
        if self.prompt.is_some() {
            return &mut self.secret;
        }
        match &mut self.addressee {
            Addressee::Nobody => &mut self.nobodys_line,
            Addressee::Sought(sought) => &mut sought.line,
            Addressee::Chat(conversation) => match self.chats.get_mut(conversation) {
                Some(chat) => &mut chat.draft,
                None => &mut self.nobodys_line,
            },
        }
    }

    /// Opens a conversation, because the user wants it.
    pub(crate) fn go_to(&mut self, conversation: LogId) {
        if self.chat(conversation).is_some() {
            self.go_to_nobody();
            self.addressee = Addressee::Chat(conversation);
            let with = self.name_of_chat(conversation);
            self.tell(News::Notice(format!("talking to {with}")));
            let is_marked = self.chats[&conversation].view.is_some_and(|view| view.marked_unread);
            if is_marked {
                let change = Change::MarkedUnread(false);
                let request = Request::UpdateConversation { conversation, change };
                self.effects.push(Effect::Ask(Purpose::Change, request));
            }
        }
    }

    /// Closes the conversation. What was typed for a name that is still looked up stays in sight.
    pub(crate) fn go_to_nobody(&mut self) {
        if let Addressee::Sought(sought) = std::mem::take(&mut self.addressee) {
            add(&mut self.nobodys_line, &sought.line, &mut self.deleted);
        }
    }

    /// Looks a name up. Until it is found, nothing can be said to anybody.
    pub(super) fn seek(&mut self, name: &str) {
        self.go_to_nobody();
        self.sought += 1;
        let (number, name) = (self.sought, name.to_owned());
        let request = Request::FindUsers { usernames: vec![name.clone()], users: Vec::new() };
        let name = text::clean(&name);
        let purpose = Purpose::To { name: name.clone(), number };
        self.effects.push(Effect::Ask(purpose, request));
        self.addressee = Addressee::Sought(Sought { name, number, line: Input::default() });
    }

    /// The answer to a look-up.
    pub(super) fn found(&mut self, name: &str, number: u64, user: Option<&User>) {
        let Some(user) = user else {
            self.not_found(number);
            return self.notice(format!("there is no {name}"));
        };
        let conversation = LogId::from_wire(&user.conversation_id).ok();
        let conversation = conversation.filter(|id| self.chat(*id).is_some());
        let Some(conversation) = conversation else {
            self.not_found(number);
            return self.notice(format!("there is no conversation with {name}"));
        };
        if let Some(sought) = self.take_sought(number) {
            if let Some(chat) = self.chats.get_mut(&conversation) {
                add(&mut chat.draft, &sought.line, &mut self.deleted);
            }
            self.go_to(conversation);
        }
    }

    /// A look-up came to nothing: its line is nobody's.
    pub(super) fn not_found(&mut self, number: u64) {
        if let Some(sought) = self.take_sought(number) {
            add(&mut self.nobodys_line, &sought.line, &mut self.deleted);
        }
    }

    /// What is looked up, if it is this.
    fn take_sought(&mut self, number: u64) -> Option<Sought> {
        match std::mem::take(&mut self.addressee) {
            Addressee::Sought(sought) if sought.number == number => Some(sought),
            other @ (Addressee::Nobody | Addressee::Sought(_) | Addressee::Chat(_)) => {
                self.addressee = other;
                None
            }
        }
    }

    /// Opens the next conversation in the list, and after the last one the first.
    pub(crate) fn walk_around(&mut self) {
        let order = self.order();
        match (self.open(), order.as_slice()) {
            (Some(open), [first, .., last]) if open == *last => self.go_to(*first),
            _ => self.walk(true),
        }
    }

    /// Opens the next conversation in the list, or the one before. Above the first is nobody, if
    /// something was typed there.
    pub(crate) fn walk(&mut self, is_down: bool) {
        let order = self.order();
        let index = self.open().and_then(|open| order.iter().position(|id| *id == open));
        let next = match index {
            None => order.first(),
            Some(index) if is_down => order.get(index + 1),
            Some(0) => {
                if !self.nobodys_line.is_blank() {
                    self.go_to_nobody();
                }
                None
            }
            Some(index) => order.get(index - 1),
        };
        if let Some(next) = next {
            self.go_to(*next);
        }
    }
}

/// Adds what was typed in one line to another. If it has no room there, it can be put back by hand,
/// as a line that was deleted.
fn add(line: &mut Input, more: &Input, deleted: &mut String) {
    if more.is_blank() {
        return;
    }
    let between = if line.is_blank() { "" } else { "\n" };
    line.end();
    if !line.insert_text(&format!("{between}{}", more.text())) {
        more.text().clone_into(deleted);
    }
}

#[cfg(test)]
mod tests;
