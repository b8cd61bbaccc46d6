//! One conversation as it is shown.

use std::collections::VecDeque;

use dunlin_client::machine::{ConversationView, Ticket};
use dunlin_protocol::wire::{Entry, entry};
use dunlin_protocol::{ClientMessageId, UserId};

/// Messages that are kept of a conversation; older ones are read again when they are wanted.
const LINES_MAX: usize = 5000;

/// A message that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    pub(crate) sender: u64,
    pub(crate) text: String,
}

/// A message that is on its way.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) ticket: Ticket,
    pub(crate) message_id: ClientMessageId,
    pub(crate) text: String,
    /// Why it will never be stored.
    pub(crate) failure: Option<String>,
}

/// What became of a message of one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    OnItsWay,
    Stored,
    Read,
    Failed,
}

impl Mark {
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Mark::OnItsWay => "…",
            Mark::Stored => "✓",
            Mark::Read => "✓✓",
            Mark::Failed => "✗",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) peer: UserId,
    pub(crate) lines: VecDeque<Line>,
    /// Everything from here on is in `lines`.
    pub(crate) first_seq: u64,
    pub(crate) unsent: Vec<Unsent>,
    pub(crate) view: Option<ConversationView>,
    pub(crate) is_loading: bool,
    /// Lines of the screen between its bottom and the newest message.
    pub(crate) scroll: usize,
    /// The other one types until then.
    pub(crate) typing_until_ms: u64,
    /// Up to here it was marked as read, or asked to be.
    pub(crate) marked_seq: u64,
}

impl Chat {
    pub(crate) fn new(peer: UserId) -> Chat {
        Chat {
            peer,
            lines: VecDeque::new(),
            first_seq: 1,
            unsent: Vec::new(),
            view: None,
            is_loading: false,
            scroll: 0,
            typing_until_ms: 0,
            marked_seq: 0,
        }
    }

    pub(crate) fn unread(&self) -> u64 {
        self.view.map_or(0, |view| view.unread)
    }

    pub(crate) fn mark(&self, seq: u64) -> Mark {
        match self.view {
            Some(view) if view.peer_read_seq >= seq => Mark::Read,
            _ => Mark::Stored,
        }
    }

    /// When something was said last, for the order of conversations.
    pub(crate) fn last_ms(&self) -> u64 {
        self.lines.back().map_or(0, |line| line.time_ms)
    }

    /// Whether this entry is a message that is on its way from here.
    pub(crate) fn is_from_here(&self, entry: &Entry) -> bool {
        let Some(entry::Body::Message(message)) = &entry.body else { return false };
        let id = &message.client_message_id[..];
        self.unsent.iter().any(|unsent| unsent.message_id.0 == id)
    }

    /// The next entry of the log. Returns the line, if there is something to show.
    pub(crate) fn append(&mut self, entry: &Entry) -> Option<&Line> {
        let line = line_of(entry)?;
        if let Some(entry::Body::Message(message)) = &entry.body {
            self.unsent.retain(|unsent| unsent.message_id.0 != message.client_message_id[..]);
        }
        self.lines.push_back(line);
        if self.lines.len() > LINES_MAX && self.scroll == 0 {
            self.lines.pop_front();
            self.first_seq = self.lines.front().map_or(1, |line| line.seq);
        }
        self.lines.back()
    }

    /// Older entries, the newest of them first.
    pub(crate) fn prepend(&mut self, entries: &[Entry]) {
        self.is_loading = false;
        for entry in entries.iter().filter(|entry| entry.seq < self.first_seq) {
            if let Some(line) = line_of(entry) {
                self.lines.push_front(line);
            }
        }
        let oldest = entries.last().map_or(self.first_seq, |entry| entry.seq);
        self.first_seq = self.first_seq.min(oldest);
    }

    /// What follows begins behind `to_seq`; what is shown does not reach it.
    pub(crate) fn skip(&mut self, to_seq: u64) {
        self.lines.clear();
        self.first_seq = to_seq + 1;
        self.scroll = 0;
    }

    pub(crate) fn fail(&mut self, ticket: Ticket, failure: String) {
        if let Some(unsent) = self.unsent.iter_mut().find(|unsent| unsent.ticket == ticket) {
            unsent.failure = Some(failure);
        }
    }
}

fn line_of(entry: &Entry) -> Option<Line> {
    let Some(entry::Body::Message(message)) = &entry.body else { return None };
    let text = match message.content_type.as_str() {
        "" | "text/plain" => String::from_utf8_lossy(&message.content).into_owned(),
        other => format!("[{other}, {} bytes]", message.content.len()),
    };
    let (seq, time_ms, sender) = (entry.seq, entry.time_ms, entry.sender);
    Some(Line { seq, time_ms, sender, text })
}
