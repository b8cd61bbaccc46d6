//! Joins the model and the client: does what the model wants done.

use bytes::Bytes;
use dunlin_client::driver::{Client, Closed};
use dunlin_client::machine::Event;

use crate::model::news::News;
use crate::model::{Effect, Model};
use crate::state::StateFolder;

/// The kind of signal that says that somebody types.
const TYPING: &str = "typing";

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) model: Model,
    state: StateFolder,
}

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Stay,
    Quit,
}

impl Session {
    pub(crate) fn new(client: Client, model: Model, state: StateFolder) -> Session {
        Session { client, model, state }
    }

    pub(crate) fn apply(&mut self, event: Event) {
        let now_ms = self.client.now_ms();
        self.model.apply(now_ms, event);
    }

    /// Does what the model wants; `tell` gets the news.
    pub(crate) fn perform(&mut self, mut tell: impl FnMut(&News)) -> Result<Next, Closed> {
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
                    Effect::Say(conversation, text) => {
                        let (ticket, id) = self.client.send_text(conversation, &text)?;
                        self.model.saying(conversation, ticket, id, text);
                    }
                    Effect::Typing(conversation) => {
                        self.client.signal(conversation, TYPING, Bytes::new())?;
                    }
                    Effect::LogIn(credentials) => self.client.log_in(credentials)?,
                    Effect::Store(tokens) => {
                        if let Err(error) = self.state.store(&tokens) {
                            let path = self.state.path().display();
                            self.model.notice(format!("{path} can't be written: {error}"));
                        }
                    }
                    Effect::Tell(news) => tell(&news),
                    Effect::Quit => return Ok(Next::Quit),
                }
            }
        }
    }
}
