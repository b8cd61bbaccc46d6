//! Joins the model and the client: does what the model wants done.

use std::error::Error;

use bytes::Bytes;
use dunlin_client::driver::{Client, new_message_id};
use dunlin_client::machine::{Event, Request, SavedTokens};
use dunlin_protocol::wire::Notice;
use dunlin_protocol::{ClientMessageId, LogId};

use crate::model::news::News;
use crate::model::{Effect, Model};
use crate::outbox::Outbox;
use crate::state::StateFolder;

/// The kind of signal that says that somebody types.
const TYPING: &str = "typing";

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) model: Model,
    disk: Disk,
}

/// What outlives the program.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) state: StateFolder,
    pub(crate) outbox: Outbox,
}

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Stay,
    Quit,
}

impl Session {
    pub(crate) fn new(client: Client, model: Model, disk: Disk) -> Session {
        Session { client, model, disk }
    }

    pub(crate) fn apply(&mut self, event: Event) {
        let now_ms = self.client.now_ms();
        self.model.apply(now_ms, event);
    }

    /// Does what the model wants; `tell` gets the news.
    pub(crate) fn perform(&mut self, mut tell: impl FnMut(&News)) -> Result<Next, Box<dyn Error>> {
        loop {
            let effects = self.model.take_effects();
            if effects.is_empty() {
                return Ok(Next::Stay);
            }
            for effect in effects {
                match effect {
                    Effect::Ask(purpose, request) => {
                        let ticket = self.client.request(request)?;
                        self.model.asked(ticket, purpose);
                    }
                    Effect::Say(conversation, text) => self.say(conversation, text)?,
                    Effect::Send(conversation, message_id, text) => {
                        let content = Bytes::from(text);
                        let content_type = String::new();
                        let ticket = self.client.request(Request::Send {
                            conversation,
                            message_id,
                            content_type,
                            content,
                            notice: Notice::Loud,
                        })?;
                        self.model.sending(conversation, message_id, ticket);
                    }
                    Effect::Settle(message_id) => self.disk.settle(message_id, &mut self.model),
                    Effect::Typing(conversation) => {
                        self.client.signal(conversation, TYPING, Bytes::new())?;
                    }
                    Effect::LogIn(credentials) => self.client.log_in(credentials)?,
                    Effect::Store(tokens) => self.disk.store(&tokens, &mut self.model),
                    Effect::Tell(news) => tell(&news),
                    Effect::Quit => return Ok(Next::Quit),
                }
            }
        }
    }

    /// On the disk first, then on the screen and on its way. What the disk does not take is sent all
    /// the same, and said to be so.
    fn say(&mut self, conversation: LogId, text: String) -> Result<(), Box<dyn Error>> {
        let message_id = new_message_id()?;
        let kept = self.model.to_keep(conversation, message_id, &text);
        let kept = kept.map_or(Ok(()), |kept| self.disk.outbox.keep(kept));
        if let Err(error) = &kept {
            let path = self.disk.state.path().display();
            self.model.notice(format!(
                "{path}: {error}; if the chat is closed before this message is sent, it is lost"
            ));
        }
        self.model.said(conversation, message_id, text, kept.is_ok());
        Ok(())
    }

    /// Ends the client, and keeps what it says at last. Returns how many messages are not sent.
    pub(crate) fn close(self) -> usize {
        let Session { client, mut model, mut disk } = self;
        let now_ms = client.now_ms();
        for event in client.close() {
            model.apply(now_ms, event);
        }
        for effect in model.take_effects() {
            match effect {
                Effect::Settle(message_id) => disk.settle(message_id, &mut model),
                Effect::Store(tokens) => disk.store(&tokens, &mut model),
                Effect::Ask(..)
                | Effect::Say(..)
                | Effect::Send(..)
                | Effect::Typing(_)
                | Effect::LogIn(_)
                | Effect::Tell(_)
                | Effect::Quit => {}
            }
        }
        model.on_their_way()
    }
}

impl Disk {
    fn settle(&mut self, message_id: ClientMessageId, model: &mut Model) {
        if let Err(error) = self.outbox.settle(message_id) {
            // At the next start it is sent once more, and stored once.
            model.notice(format!("{} can't be written: {error}", self.state.path().display()));
        }
    }

    fn store(&self, tokens: &SavedTokens, model: &mut Model) {
        if let Err(error) = self.state.store(tokens) {
            model.notice(format!("{} can't be written: {error}", self.state.path().display()));
        }
    }
}
