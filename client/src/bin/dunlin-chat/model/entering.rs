//! What the user does.

use dunlin_client::machine::{Credentials, LogoutScope, Password, Request};
use dunlin_protocol::wire;

use super::command::{Command, HELP};
use super::{Effect, Model, PAGE_ENTRIES, Prompt, Purpose, TYPING_INTERVAL_MS};
use crate::text;

impl Model {
    /// A line was entered: a message, a command, or the answer to a prompt.
    pub(crate) fn enter(&mut self, line: &str) {
        self.notices.clear();
        // What is typed next is said at once: the message has ended "is typing" over there.
        self.typed_ms = 0;
        // A password may look like a command; an empty line is none, and leaves the prompt.
        match self.prompt.take() {
            Some(prompt) if !line.is_empty() => self.answer_prompt(&prompt, line),
            Some(_) => self.cancel(),
            None => self.carry_out(Command::parse(line)),
        }
    }

    /// Leaves a prompt, or clears the line.
    pub(crate) fn cancel(&mut self) {
        self.prompt = None;
        self.secrets.clear();
        self.notices.clear();
        self.input.take();
    }

    /// The line has changed by a key.
    pub(crate) fn typed(&mut self, now_ms: u64) {
        let is_message = self.prompt.is_none() && !self.input.text().starts_with('/');
        if let Some(conversation) = self.open
            && is_message
            && now_ms >= self.typed_ms + TYPING_INTERVAL_MS
        {
            self.typed_ms = now_ms;
            self.effects.push(Effect::Typing(conversation));
        }
    }

    /// Scrolls by so many lines of the screen; positive is towards older messages. `is_at_top`:
    /// the oldest message that is there is shown already.
    pub(crate) fn scroll(&mut self, lines: isize, is_at_top: bool) {
        let Some(conversation) = self.open else { return };
        let Some(chat) = self.chats.get_mut(&conversation) else { return };
        if lines < 0 || !is_at_top {
            chat.scroll = chat.scroll.saturating_add_signed(lines);
        }
        if lines > 0 && is_at_top && chat.first_seq > 1 && !chat.is_loading {
            chat.is_loading = true;
            let request = Request::History(wire::History {
                conversation_id: conversation.to_wire(),
                from_seq: chat.first_seq - 1,
                to_seq: 0,
                limit: PAGE_ENTRIES,
                backwards: true,
            });
            self.effects.push(Effect::Ask(Purpose::Older(conversation), request));
        }
    }

    /// Opens the next conversation in the list, or the one before.
    pub(crate) fn walk(&mut self, is_down: bool) {
        let order = self.order();
        let index = self.open.and_then(|open| order.iter().position(|id| *id == open));
        let next = match index {
            None => order.first(),
            Some(index) if is_down => order.get(index + 1),
            Some(index) => index.checked_sub(1).and_then(|index| order.get(index)),
        };
        if let Some(next) = next {
            self.open(*next);
        }
    }

    fn carry_out(&mut self, command: Command<'_>) {
        self.secrets.clear();
        self.is_leaving &= command == Command::Quit;
        match command {
            Command::Nothing => {}
            Command::Say(text) => match self.open {
                Some(conversation) => self.effects.push(Effect::Say(conversation, text.into())),
                None => self.notice("to whom? /to NAME opens a conversation".into()),
            },
            Command::To(name) => {
                let (usernames, users) = (vec![name.to_owned()], Vec::new());
                let request = Request::FindUsers { usernames, users };
                self.effects.push(Effect::Ask(Purpose::To(text::clean(name)), request));
            }
            Command::LogIn => self.prompt = Some(Prompt::LogIn),
            Command::Register => self.prompt = Some(Prompt::Register),
            Command::Password => self.prompt = Some(Prompt::OldPassword),
            Command::Sessions => {
                self.effects.push(Effect::Ask(Purpose::Sessions, Request::ListSessions));
            }
            Command::Logout => {
                let request = Request::Logout(LogoutScope::This);
                self.effects.push(Effect::Ask(Purpose::Logout, request));
            }
            Command::Help => HELP.iter().for_each(|line| self.notice((*line).into())),
            Command::Quit => self.quit(),
            Command::Unknown(line) => {
                let line = text::clean(line);
                self.notice(format!("what is {line}? /help lists what there is"));
            }
        }
    }

    /// Messages are kept in memory alone: who leaves now loses those that are not stored.
    fn quit(&mut self) {
        let unsent = self.chats.values().flat_map(|chat| &chat.unsent);
        let on_their_way = unsent.filter(|unsent| unsent.failure.is_none()).count();
        if on_their_way == 0 || self.is_leaving {
            self.effects.push(Effect::Quit);
            return;
        }
        self.is_leaving = true;
        self.notice(format!("{on_their_way} messages are not sent yet; /quit again to leave them"));
    }

    fn answer_prompt(&mut self, prompt: &Prompt, secret: &str) {
        match prompt {
            Prompt::LogIn => self.log_in(secret, None),
            Prompt::Register => self.log_in(secret, Some(String::new())),
            Prompt::OldPassword => {
                self.secrets = vec![secret.to_owned()];
                self.prompt = Some(Prompt::NewPassword);
            }
            Prompt::NewPassword => {
                self.secrets.push(secret.to_owned());
                self.prompt = Some(Prompt::RepeatPassword);
            }
            Prompt::RepeatPassword => {
                let secrets = std::mem::take(&mut self.secrets);
                match <[String; 2]>::try_from(secrets) {
                    Ok([old, new]) if new == secret => {
                        let request = Request::ChangePassword { old, new };
                        self.effects.push(Effect::Ask(Purpose::Password, request));
                    }
                    Ok(_) | Err(_) => self.notice("the two are not the same; nothing done".into()),
                }
            }
        }
    }

    fn log_in(&mut self, password: &str, register: Option<String>) {
        let (username, password) = (self.username.clone(), password.to_owned());
        let password = Some(Password { username, password });
        let credentials = Credentials { password, register, ..Credentials::default() };
        self.effects.push(Effect::LogIn(credentials));
    }
}
