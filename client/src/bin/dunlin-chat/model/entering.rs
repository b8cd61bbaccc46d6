//! What the user does.

use dunlin_client::machine::{Credentials, LogoutScope, Password, Request, Status};
use dunlin_protocol::wire;
use dunlin_protocol::wire::update_conversation::Change;

use super::addressee::Addressee;
use super::command::{Command, HELP};
use super::input::{BYTES_MAX, Input};
use super::refusal::check_new_password;
use super::{Effect, Model, PAGE_ENTRIES, Prompt, Purpose, TYPING_INTERVAL_MS};
use crate::text;

/// Of a line that is no command, as much is repeated as is enough to know it again.
const COMMAND_COLUMNS: usize = 40;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entered {
    Taken,
    /// It can't be said now: it stays with whoever typed it.
    Refused,
    /// It is no command that there is, and stays likewise.
    Unknown,
}

impl Model {
    /// Enters the line that was typed.
    pub(crate) fn press_enter(&mut self) {
        let line = std::mem::take(self.input_mut());
        let entered = self.enter(line.text());
        if entered != Entered::Taken {
            // The addressee is still the same: no line that is refused changes it.
            *self.input_mut() = line;
        }
        if entered == Entered::Refused && matches!(self.addressee, Addressee::Nobody) {
            self.refused = Some(self.input().text().to_owned());
            self.notice("Ctrl-Y brings the text back then".into());
        }
    }

    /// The command that opens a conversation is typed behind a text that could not be said without
    /// one: it is a line of its own.
    fn part_from_refused(&mut self, typed: &str) {
        let refused = self.refused.take();
        let is_nobodys = self.prompt.is_none() && matches!(self.addressee, Addressee::Nobody);
        if is_nobodys && typed.starts_with('/') && refused.as_deref() == Some(self.input().text()) {
            self.delete_line();
        }
    }

    /// A line was entered: a message, a command, or the answer to a prompt.
    pub(crate) fn enter(&mut self, line: &str) -> Entered {
        self.notices.clear();
        // What is typed next is said at once: the message has ended "is typing" over there.
        self.typed_ms = 0;
        // A password may look like a command; an empty line is none, and leaves the prompt.
        match self.prompt.take() {
            Some(prompt) if !line.is_empty() => self.answer_prompt(&prompt, line),
            Some(_) => self.cancel(),
            None => return self.carry_out(Command::parse(line)),
        }
        Entered::Taken
    }

    /// A line was entered that is no text.
    pub(crate) fn unreadable(&mut self) {
        self.unsaid += 1;
        self.notice("a line is no UTF-8; nothing is said".into());
    }

    /// Leaves a prompt, and takes the notices away. What was typed for somebody stays.
    pub(crate) fn cancel(&mut self) {
        self.prompt = None;
        self.secrets.clear();
        self.secret = Input::default();
        self.notices.clear();
    }

    /// Deletes the line; [`Model::bring_back`] has it, unless it is a secret.
    pub(crate) fn delete_line(&mut self) {
        let line = self.input_mut().take();
        if self.prompt.is_none() && !line.is_empty() {
            self.deleted = line;
        }
    }

    /// Types the line that was deleted last, wherever the cursor is now.
    pub(crate) fn bring_back(&mut self) {
        if self.prompt.is_none() {
            let deleted = self.deleted.clone();
            if !self.input_mut().insert_text(&deleted) {
                self.no_room(deleted.len());
            }
        }
    }

    /// Types what comes from elsewhere in one piece.
    pub(crate) fn paste(&mut self, now_ms: u64, text: &str) {
        let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', " ");
        // The end of the line that a password was copied from is no part of it.
        let text = if self.prompt.is_some() { text.trim_end_matches('\n') } else { &text };
        self.part_from_refused(text);
        if self.input_mut().insert_text(text) {
            self.typed(now_ms);
        } else {
            self.no_room(text.len());
        }
    }

    /// Types a character.
    pub(crate) fn press(&mut self, now_ms: u64, character: char) {
        self.part_from_refused(character.encode_utf8(&mut [0; 4]));
        if self.input_mut().insert(character) {
            self.typed(now_ms);
        } else {
            self.no_room(character.len_utf8());
        }
    }

    fn no_room(&mut self, bytes: usize) {
        self.notices.clear();
        self.notice(format!(
            "no room for {bytes} bytes more: a message has at most {BYTES_MAX}; nothing was typed"
        ));
    }

    /// The line has changed by a key.
    pub(super) fn typed(&mut self, now_ms: u64) {
        let is_message = self.prompt.is_none() && !self.input().text().starts_with('/');
        if let Some(conversation) = self.open()
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
        let Some(conversation) = self.open() else { return };
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
                ..Default::default()
            });
            self.effects.push(Effect::Ask(Purpose::Older(conversation), request));
        }
    }

    fn carry_out(&mut self, command: Command<'_>) -> Entered {
        self.secrets.clear();
        self.is_leaving &= command == Command::Quit;
        match command {
            Command::Nothing => {}
            Command::Say(text) => return self.say(text),
            Command::To(name) => self.seek(name),
            Command::Change(change) => self.change_open(change),
            Command::LogIn => self.ask_for(Prompt::LogIn),
            Command::Register => self.ask_for(Prompt::Register),
            Command::Password => self.ask_for(Prompt::OldPassword),
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
                self.unknown += 1;
                let line = text::shorten(&text::clean(line), COMMAND_COLUMNS);
                self.notice(format!("what is {line}? /help lists what there is"));
                return Entered::Unknown;
            }
        }
        Entered::Taken
    }

    fn say(&mut self, text: &str) -> Entered {
        match self.may_say(text) {
            Ok(conversation) => {
                self.effects.push(Effect::Say(conversation, text.to_owned()));
                if let Some(Status::Stopped(_)) = self.status {
                    self.notice("this waits until you are logged in again: /login".into());
                }
                Entered::Taken
            }
            Err(why) => {
                self.unsaid += 1;
                self.notice(why);
                Entered::Refused
            }
        }
    }

    /// Changes what the open conversation is to the user. What is to be out of sight is closed.
    fn change_open(&mut self, change: Change) {
        let Some(conversation) = self.open() else {
            return self.notice("/to NAME opens a conversation first".into());
        };
        match change {
            Change::HideUpTo(_) | Change::MarkedUnread(true) => self.go_to_nobody(),
            Change::Request(_) | Change::ClearUpTo(_) | Change::MarkedUnread(false) => {}
        }
        let request = Request::UpdateConversation { conversation, change };
        self.effects.push(Effect::Ask(Purpose::Change, request));
    }

    fn ask_for(&mut self, prompt: Prompt) {
        self.secret = Input::default();
        self.prompt = Some(prompt);
    }

    /// Messages are in the outbox: those that are not, who leaves now would lose.
    fn quit(&mut self) {
        let not_kept = self.not_kept();
        if not_kept == 0 || self.is_leaving {
            self.effects.push(Effect::Quit);
            return;
        }
        self.is_leaving = true;
        self.notice(format!(
            "{not_kept} messages are not sent yet and can't be kept; /quit again to lose them"
        ));
    }

    /// Asks again for a password that can't be one. Says whether it can.
    fn accepts(&mut self, secret: &str, prompt: Prompt) -> bool {
        let checked = check_new_password(secret);
        let is_good = checked.is_ok();
        if let Err(why) = checked {
            self.notice(why);
            self.ask_for(prompt);
        }
        is_good
    }

    fn answer_prompt(&mut self, prompt: &Prompt, secret: &str) {
        match prompt {
            Prompt::LogIn => self.log_in(secret, None),
            Prompt::Register => {
                if self.accepts(secret, Prompt::Register) {
                    self.log_in(secret, Some(String::new()));
                }
            }
            Prompt::OldPassword => {
                self.secrets = vec![secret.to_owned()];
                self.ask_for(Prompt::NewPassword);
            }
            Prompt::NewPassword => {
                if self.accepts(secret, Prompt::NewPassword) {
                    self.secrets.push(secret.to_owned());
                    self.ask_for(Prompt::RepeatPassword);
                }
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
