//! What the program knows and shows, without a terminal and without a connection: events and lines
//! go in, effects come out.

pub(crate) mod addressee;
pub(crate) mod chat;
mod command;
pub(crate) mod entering;
pub(crate) mod input;
pub(crate) mod news;
pub(crate) mod refusal;
pub(crate) mod unsent;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dunlin_client::machine::{
    ConversationView, Credentials, Event, Failure, Request, Response, SavedTokens, SkipReason,
    Status, Ticket,
};
use dunlin_protocol::wire::{self, Entry};
use dunlin_protocol::{ClientMessageId, LogId, UserId, limits};

use crate::text;
use addressee::Addressee;
use chat::Chat;
use input::Input;
use news::News;

/// Notices that are shown at one time: the help is the most of them.
const NOTICES_MAX: usize = 20;
const _: () = assert!(command::HELP.len() <= NOTICES_MAX);
/// Older messages that are read at one time.
const PAGE_ENTRIES: u32 = 50;
/// News that may wait for names: a server that never tells one must not fill the memory.
const UNTOLD_MAX: usize = 100_000;
/// A read cursor moves at most this often.
const MARK_INTERVAL_MS: u64 = 1000;
/// "Typing" is said this often while one types, and believed a little longer.
const TYPING_INTERVAL_MS: u64 = 3000;
const TYPING_BELIEVED_MS: u64 = 5000;
/// The kind of the signal.
const TYPING: &str = "typing";

/// Something to do outside.
#[derive(Debug)]
pub(crate) enum Effect {
    Ask(Purpose, Request),
    /// Keep a message in the outbox, under a new id.
    Say(LogId, String),
    /// Hand a message to the client.
    Send(LogId, ClientMessageId, String),
    /// Take a message out of the outbox.
    Settle(ClientMessageId),
    Typing(LogId),
    LogIn(Credentials),
    Store(SavedTokens),
    Tell(News),
    Quit,
}

/// What a request is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Purpose {
    /// Open the conversation with this user, unless something else was opened since.
    To {
        name: String,
        number: u64,
    },
    Names,
    Older(LogId),
    MarkRead(LogId),
    /// Change what a conversation is.
    Change,
    Say(LogId, ClientMessageId),
    Sessions,
    Logout,
    Password,
}

/// A secret that is asked for instead of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    LogIn,
    Register,
    OldPassword,
    NewPassword,
    RepeatPassword,
}

// As the questions say.
const _: () = assert!(*limits::PASSWORD_BYTES.start() == 8 && *limits::PASSWORD_BYTES.end() == 128);

impl Prompt {
    pub(crate) fn question(&self) -> &'static str {
        match self {
            Prompt::LogIn => "password",
            Prompt::Register => "a password for the new account, 8 to 128 bytes",
            Prompt::OldPassword => "password so far",
            Prompt::NewPassword => "new password, 8 to 128 bytes",
            Prompt::RepeatPassword => "new password again",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Model {
    /// Who this should be.
    pub(crate) username: String,
    /// Who it is, once the server has said so.
    pub(crate) me: Option<UserId>,
    pub(crate) status: Option<Status>,
    pub(crate) chats: BTreeMap<LogId, Chat>,
    pub(crate) addressee: Addressee,
    /// Names that were looked up so far.
    sought: u64,
    /// What is typed while no conversation is open.
    nobodys_line: Input,
    /// What was entered there, and could not be said.
    refused: Option<String>,
    /// What is typed for a prompt.
    secret: Input,
    /// The line that was deleted last.
    deleted: String,
    pub(crate) prompt: Option<Prompt>,
    pub(crate) notices: VecDeque<String>,
    names: BTreeMap<UserId, String>,
    names_asked: BTreeSet<UserId>,
    /// News that wait for a name.
    untold: Vec<(LogId, News)>,
    pending: BTreeMap<Ticket, Purpose>,
    /// Passwords that a prompt has got so far: the old one, the new one.
    secrets: Vec<String>,
    /// The last line was /quit, and something speaks against it.
    is_leaving: bool,
    /// Texts that were entered and went to nobody.
    pub(crate) unsaid: usize,
    /// Commands that were entered and that there are not.
    pub(crate) unknown: usize,
    /// Others do not learn how far this user has read.
    pub(crate) reads_privately: bool,
    marked_ms: u64,
    typed_ms: u64,
    effects: Vec<Effect>,
}

impl Model {
    pub(crate) fn new(username: String) -> Model {
        Model {
            username,
            me: None,
            status: None,
            chats: BTreeMap::new(),
            addressee: Addressee::Nobody,
            sought: 0,
            nobodys_line: Input::default(),
            refused: None,
            secret: Input::default(),
            deleted: String::new(),
            prompt: None,
            notices: VecDeque::new(),
            names: BTreeMap::new(),
            names_asked: BTreeSet::new(),
            untold: Vec::new(),
            pending: BTreeMap::new(),
            secrets: Vec::new(),
            is_leaving: false,
            unsaid: 0,
            unknown: 0,
            reads_privately: false,
            marked_ms: 0,
            typed_ms: 0,
            effects: Vec::new(),
        }
    }

    /// What is to be done since the last call.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// A request is on its way.
    pub(crate) fn asked(&mut self, ticket: Ticket, purpose: Purpose) {
        self.pending.insert(ticket, purpose);
    }

    pub(crate) fn apply(&mut self, now_ms: u64, event: Event) {
        match event {
            Event::Status(status) => self.status_changed(now_ms, status),
            // The machine keeps to it, and what is refused says why.
            Event::Welcomed(_) => {}
            Event::LoggedIn { user, username, .. } => self.logged_in(user, username),
            Event::Tokens(tokens) => self.effects.push(Effect::Store(tokens)),
            Event::Entry { conversation, entry } => self.appended(conversation, &entry),
            Event::Skipped { conversation, from_seq, to_seq, why } => {
                self.skipped(conversation, (from_seq, to_seq), why);
            }
            Event::Conversation(view) => self.viewed(view),
            Event::HistoryLost => self.history_lost(),
            Event::ConversationLost { conversation } => {
                self.chat(conversation).into_iter().for_each(Chat::forget);
            }
            // It has none of its own, and keeps nothing but tokens.
            Event::Setting(_) | Event::Saved(_) => {}
            Event::Peer { user, .. } => {
                self.learn_names(&[user]);
                self.tell_untold();
            }
            Event::Signal { conversation, kind, .. } => {
                if kind == TYPING
                    && let Some(chat) = self.chat(conversation)
                    && !chat.is_ignored()
                {
                    let is_new = chat.typing_until_ms <= now_ms;
                    chat.typing_until_ms = now_ms + TYPING_BELIEVED_MS;
                    if is_new {
                        self.tell_of(conversation, News::Typing { with: String::new() });
                    }
                }
            }
            Event::Completed { ticket, result } => self.completed(ticket, result),
        }
        self.ask_names();
        self.tick(now_ms);
    }

    /// What time brings: read cursors.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        if self.status != Some(Status::Online) || now_ms < self.marked_ms + MARK_INTERVAL_MS {
            return;
        }
        let Some(conversation) = self.open() else { return };
        let Some(chat) = self.chats.get_mut(&conversation) else { return };
        let Some((seq, private)) = chat.next_mark(self.reads_privately) else { return };
        self.marked_ms = now_ms;
        chat.marked_seq = chat.marked_seq.max(seq);
        if !private {
            chat.owed_seq = 0;
        }
        let request = Request::MarkRead { conversation, seq, private };
        self.effects.push(Effect::Ask(Purpose::MarkRead(conversation), request));
    }

    fn status_changed(&mut self, now_ms: u64, status: Status) {
        self.status = Some(status);
        self.tell(News::Status(self.status_line(now_ms)));
    }

    /// For the bottom of the screen.
    pub(crate) fn status_line(&self, now_ms: u64) -> String {
        match &self.status {
            None => "starting".into(),
            Some(Status::Connecting { address }) => format!("connecting to {address}"),
            Some(Status::LoggingIn) => "logging in".into(),
            Some(Status::Syncing) => "reading what is new".into(),
            Some(Status::Online) => "connected".into(),
            Some(Status::Waiting { until_ms, lost }) => {
                let seconds = until_ms.saturating_sub(now_ms).div_ceil(1000);
                format!("reconnecting in {seconds} s: {lost}")
            }
            Some(Status::Stopped(stop)) => {
                format!("stopped: {} (/login)", refusal::why_stopped(stop))
            }
        }
    }

    fn appended(&mut self, conversation: LogId, entry: &Entry) {
        let is_mine = self.me.is_some_and(|me| me.get() == entry.sender);
        let Some(chat) = self.chat(conversation) else { return };
        chat.typing_until_ms = 0;
        let Some((line, is_from_here)) = chat.append(entry) else { return };
        let (seq, text) = (line.seq, line.text.clone());
        let with = String::new();
        // Those that are on their way from here are told when they are stored.
        let news = match is_from_here {
            true => News::Stored { with, seq, text },
            false => News::Message { with, is_mine, seq, text },
        };
        self.tell_of(conversation, news);
        if is_from_here {
            self.settle_entry(entry);
        }
    }

    /// Messages are left out. Of those that nobody would miss nothing is said: a conversation that
    /// begins with its newest ones, or later than it did.
    fn skipped(&mut self, conversation: LogId, (from_seq, to_seq): (u64, u64), why: SkipReason) {
        let Some(chat) = self.chat(conversation) else { return };
        let is_missed = match why {
            SkipReason::Damaged => true,
            SkipReason::Backlog => from_seq > 1,
            SkipReason::Expired => false,
        };
        match why {
            // What is before it stays in sight.
            SkipReason::Damaged if from_seq > 1 => {}
            SkipReason::Damaged | SkipReason::Backlog | SkipReason::Expired => chat.skip(to_seq),
        }
        if is_missed {
            let mut news = News::Skipped { with: String::new(), from_seq, to_seq, why };
            self.tell_of(conversation, news.clone());
            news.set_name(&self.name_of_chat(conversation));
            self.show(news.to_string());
        }
    }

    /// What is on the screen may be no more, and what comes is no news: nobody should wonder why.
    fn history_lost(&mut self) {
        self.chats.values_mut().for_each(Chat::forget);
        self.notice(
            "the server was put back to an earlier state of its history, which is read anew".into(),
        );
    }

    fn viewed(&mut self, view: ConversationView) {
        let conversation = view.conversation;
        let Some(chat) = self.chat(conversation) else { return };
        let before = chat.now_is(view).map_or(0, |view| view.peer_read_seq);
        chat.forget_below(view.expired_below);
        if view.peer_read_seq > before {
            let news = News::Read { with: String::new(), seq: view.peer_read_seq };
            self.tell_of(conversation, news);
        }
        self.forget_stored(conversation);
    }

    fn completed(&mut self, ticket: Ticket, result: Result<Response, Failure>) {
        let Some(purpose) = self.pending.remove(&ticket) else { return };
        match (purpose, result) {
            (Purpose::To { name, number }, Ok(Response::Users(users))) => {
                self.learn_names(&users);
                self.found(&name, number, users.first());
            }
            (Purpose::To { name, number }, Err(failure)) => {
                self.not_found(number);
                let why = refusal::why_failed(&failure);
                self.notice(format!("{name} can't be looked up: {why}"));
            }
            (Purpose::Names, Ok(Response::Users(users))) => {
                self.learn_names(&users);
                self.tell_untold();
            }
            (Purpose::Older(conversation), Ok(Response::Page(page))) => {
                if let Some(chat) = self.chats.get_mut(&conversation) {
                    chat.prepend(&page.entries);
                }
            }
            (Purpose::Older(conversation), Err(failure)) if refusal::is_damage(&failure) => {
                if let Some(chat) = self.chats.get_mut(&conversation) {
                    let seq = chat.pass_damaged();
                    self.notice(format!("message {seq} is damaged and can't be read"));
                }
            }
            (Purpose::Older(conversation), Err(failure)) => {
                if let Some(chat) = self.chats.get_mut(&conversation) {
                    chat.is_loading = false;
                }
                self.notice(format!(
                    "older messages can't be read: {}",
                    refusal::why_failed(&failure)
                ));
            }
            (Purpose::Say(conversation, id), Ok(Response::Sent { seq, .. })) => {
                self.stored(conversation, id, seq);
            }
            (Purpose::Say(conversation, id), Err(failure)) => {
                self.not_sent(conversation, id, &failure);
            }
            (Purpose::MarkRead(conversation), Err(_)) => {
                // It is tried again with the next message.
                if let Some(chat) = self.chats.get_mut(&conversation) {
                    chat.marked_seq = 0;
                }
            }
            (Purpose::Sessions, Ok(Response::Sessions(sessions))) => self.show_sessions(&sessions),
            (Purpose::Logout, Ok(_)) => self.notice("logged out".into()),
            (Purpose::Password, Ok(_)) => {
                self.notice("the password is changed; all other sessions have ended".into());
            }
            (Purpose::Names, Err(_)) => {
                self.names_asked.clear();
                self.tell_untold();
            }
            (_, Err(failure)) => self.notice(refusal::why_failed(&failure)),
            // A cursor shows by itself that it has moved.
            (_, Ok(_)) => {}
        }
    }

    fn show_sessions(&mut self, sessions: &[wire::SessionInfo]) {
        for session in sessions {
            let device = session.device.clone().unwrap_or_default();
            let kind = format!("{:?}", device.kind()).to_lowercase();
            let state = if session.connected { "connected" } else { "away" };
            let since = text::clock(session.opened_ms);
            self.list(format!("{} ({kind}), {state}, since {since}", device.name));
        }
        if sessions.len() > NOTICES_MAX {
            self.list(format!("these are the last of {} sessions", sessions.len()));
        }
    }

    /// The chat of a direct conversation, made if it is new.
    fn chat(&mut self, conversation: LogId) -> Option<&mut Chat> {
        let (one, other) = conversation.direct_members()?;
        let peer = if Some(one) == self.me { other } else { one };
        Some(self.chats.entry(conversation).or_insert_with(|| Chat::new(peer)))
    }

    /// Those with something in them or open, the last used first, but for those that are hidden.
    pub(crate) fn order(&self) -> Vec<LogId> {
        let is_shown = |id: &&LogId| self.open() == Some(**id) || !self.chats[*id].is_hidden();
        let mut order: Vec<&LogId> = self.chats.keys().filter(is_shown).collect();
        order.sort_by_key(|id| std::cmp::Reverse(self.chats[*id].last_ms()));
        order.into_iter().copied().collect()
    }

    pub(crate) fn name(&self, user: u64) -> String {
        let name = UserId::new(user).ok().and_then(|user| self.names.get(&user));
        name.map_or_else(|| format!("user {user}"), |name| text::clean(name))
    }

    pub(crate) fn name_of_chat(&self, conversation: LogId) -> String {
        self.chats.get(&conversation).map_or_else(String::new, |chat| self.name(chat.peer.get()))
    }

    fn learn_names(&mut self, users: &[wire::User]) {
        for user in users {
            if let Ok(id) = UserId::new(user.user_id) {
                self.names.insert(id, user.username.clone());
            }
        }
    }

    fn ask_names(&mut self) {
        let unknown = self.chats.values().map(|chat| chat.peer);
        let unknown = unknown.filter(|user| !self.names.contains_key(user));
        let unknown: Vec<UserId> =
            unknown.filter(|user| !self.names_asked.contains(user)).take(100).collect();
        if !unknown.is_empty() && self.status == Some(Status::Online) {
            self.names_asked.extend(&unknown);
            let request = Request::FindUsers { usernames: Vec::new(), users: unknown };
            self.effects.push(Effect::Ask(Purpose::Names, request));
        }
    }

    /// Whether nothing more happens unless somebody wants it: everything is answered and sent, or
    /// can't be.
    pub(crate) fn is_settled(&self) -> bool {
        match self.status {
            Some(Status::Online) => self.pending.is_empty() && self.is_nothing_awaited(),
            Some(Status::Stopped(_)) => self.pending.is_empty(),
            Some(
                Status::Connecting { .. }
                | Status::LoggingIn
                | Status::Syncing
                | Status::Waiting { .. },
            )
            | None => false,
        }
    }

    pub(crate) fn notice(&mut self, notice: String) {
        self.tell(News::Notice(notice.clone()));
        self.show(notice);
    }

    /// The same for a line of a list: another one may read alike.
    fn list(&mut self, line: String) {
        self.tell(News::Notice(line.clone()));
        self.put(line);
    }

    /// Puts a notice on the screen, unless it is there: what goes wrong again and again is said once.
    fn show(&mut self, notice: String) {
        if self.notices.back() != Some(&notice) {
            self.put(notice);
        }
    }

    fn put(&mut self, notice: String) {
        self.notices.push_back(notice);
        if self.notices.len() > NOTICES_MAX {
            self.notices.pop_front();
        }
    }

    /// Tells news of a conversation, but not before it is known with whom it is.
    fn tell_of(&mut self, conversation: LogId, mut news: News) {
        let is_known =
            self.chats.get(&conversation).is_some_and(|chat| self.names.contains_key(&chat.peer));
        if is_known {
            news.set_name(&self.name_of_chat(conversation));
            self.tell(news);
        } else if self.untold.len() < UNTOLD_MAX {
            self.untold.push((conversation, news));
        }
    }

    fn tell_untold(&mut self) {
        for (conversation, mut news) in std::mem::take(&mut self.untold) {
            news.set_name(&self.name_of_chat(conversation));
            self.tell(news);
        }
    }

    fn tell(&mut self, news: News) {
        self.effects.push(Effect::Tell(news));
    }
}

#[cfg(test)]
pub(crate) mod tests;
