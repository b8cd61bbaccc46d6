//! One conversation as it is shown.

use std::collections::VecDeque;

use dunlin_client::machine::ConversationView;
use dunlin_protocol::wire::{Entry, RequestState, entry};
use dunlin_protocol::{ClientMessageId, UserId};

use super::input::Input;

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

/// A message of one's own that is not known to be in the conversation.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) message_id: ClientMessageId,
    pub(crate) text: String,
    /// Whether it is in the outbox, so that closing does not lose it.
    pub(crate) is_kept: bool,
    pub(crate) progress: Progress,
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// For a login: whose the client is must be known before it says anything.
    Waiting,
    /// The client has it, and says it until it is answered.
    UnderWay,
    /// The server has it; its entry comes in its turn.
    Stored { seq: u64 },
    /// It was refused in this run.
    Failed { why: String },
}

impl Unsent {
    /// Whether it would be lost, or late, if the program ended now.
    pub(crate) fn is_on_its_way(&self) -> bool {
        match self.progress {
            Progress::Waiting | Progress::UnderWay => true,
            Progress::Stored { .. } | Progress::Failed { .. } => false,
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        match self.progress {
            Progress::Waiting | Progress::UnderWay => Mark::OnItsWay,
            Progress::Stored { .. } => Mark::Stored,
            Progress::Failed { .. } => Mark::Failed,
        }
    }
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
    /// What is typed for this conversation, and for no other.
    pub(crate) draft: Input,
    pub(crate) view: Option<ConversationView>,
    pub(crate) is_loading: bool,
    /// Lines of the screen between its bottom and the newest message.
    pub(crate) scroll: usize,
    /// The other one types until then.
    pub(crate) typing_until_ms: u64,
    /// Up to here it was marked as read, or asked to be.
    pub(crate) marked_seq: u64,
    /// Up to here it was read as long as it was a request. It is none any more: the other one is to learn it. 0: all
    /// is said.
    pub(crate) owed_seq: u64,
}

impl Chat {
    pub(crate) fn new(peer: UserId) -> Chat {
        Chat {
            peer,
            lines: VecDeque::new(),
            first_seq: 1,
            unsent: Vec::new(),
            draft: Input::default(),
            view: None,
            is_loading: false,
            scroll: 0,
            typing_until_ms: 0,
            marked_seq: 0,
            owed_seq: 0,
        }
    }

    /// Takes what the server says of it now; returns what it said before.
    pub(crate) fn now_is(&mut self, view: ConversationView) -> Option<ConversationView> {
        let before = self.view.replace(view);
        let was_request = before.is_some_and(|before| before.request != RequestState::None);
        if was_request && view.request == RequestState::None {
            self.owed_seq = view.read_seq.max(self.marked_seq);
        }
        before
    }

    /// What is to be marked as read now, if it is looked at, and whether the other one does not learn it.
    pub(crate) fn next_mark(&self, reads_privately: bool) -> Option<(u64, bool)> {
        let view = self.view?;
        // A stranger learns it once the request is accepted.
        let private = reads_privately || view.request != RequestState::None;
        let is_new = self.scroll == 0
            && view.unread > 0
            && view.position > view.read_seq.max(self.marked_seq);
        let seq = if is_new { view.position } else { self.owed_seq };
        (is_new || seq > 0 && !private).then_some((seq, private))
    }

    /// Whether the user does not want to see it until something newer comes.
    pub(crate) fn is_hidden(&self) -> bool {
        self.view.is_some_and(|view| view.hidden_up_to > 0 && view.head <= view.hidden_up_to)
    }

    /// Whether the user wants to hear nothing of it.
    pub(crate) fn is_ignored(&self) -> bool {
        self.view.is_some_and(|view| view.request == RequestState::Ignored)
    }

    /// What the list says of it beside the name.
    pub(crate) fn remark(&self) -> String {
        let Some(view) = self.view else { return String::new() };
        let kind = match view.request {
            RequestState::None if view.marked_unread => " •",
            RequestState::None => "",
            RequestState::Pending => " new",
            RequestState::Ignored => " ignored",
        };
        match view.unread {
            0 => kind.into(),
            unread => format!("{kind} {unread}"),
        }
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

    /// The next entry of the log. Returns the line, if there is something to show, and whether it
    /// is a message that was on its way from here.
    pub(crate) fn append(&mut self, entry: &Entry) -> Option<(&Line, bool)> {
        let line = line_of(entry)?;
        let before = self.unsent.len();
        if let Some(entry::Body::Message(message)) = &entry.body {
            self.unsent.retain(|unsent| unsent.message_id.0 != message.client_message_id[..]);
        }
        let is_from_here = self.unsent.len() < before;
        self.lines.push_back(line);
        if self.lines.len() > LINES_MAX && self.scroll == 0 {
            self.lines.pop_front();
            self.first_seq = self.lines.front().map_or(1, |line| line.seq);
        }
        self.lines.back().map(|line| (line, is_from_here))
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

    /// The entry before the oldest one is damaged: a page would have begun with it, and the next one
    /// begins behind it. Returns which.
    pub(crate) fn pass_damaged(&mut self) -> u64 {
        self.is_loading = false;
        self.first_seq = self.first_seq.saturating_sub(1).max(1);
        self.first_seq
    }

    /// What follows begins behind `to_seq`; what is shown does not reach it.
    pub(crate) fn skip(&mut self, to_seq: u64) {
        self.lines.clear();
        self.first_seq = to_seq + 1;
        self.scroll = 0;
    }

    /// What is below has expired, or was cleared.
    pub(crate) fn forget_below(&mut self, floor: u64) {
        if self.first_seq < floor {
            let below = self.lines.iter().take_while(|line| line.seq < floor).count();
            self.lines.drain(..below);
            self.first_seq = floor;
        }
    }

    /// The server has lost what was here: all begins anew, but for what was not sent.
    pub(crate) fn forget(&mut self) {
        self.skip(0);
        self.view = None;
        self.marked_seq = 0;
        self.owed_seq = 0;
    }

    pub(crate) fn unsent_mut(&mut self, message_id: ClientMessageId) -> Option<&mut Unsent> {
        self.unsent.iter_mut().find(|unsent| unsent.message_id == message_id)
    }

    /// Takes those that are stored at or below this sequence: their entries came before, or will
    /// not come, because they were skipped.
    pub(crate) fn take_stored(&mut self, position: u64) -> Vec<(u64, String)> {
        let mut stored = Vec::new();
        self.unsent.retain(|unsent| match unsent.progress {
            Progress::Stored { seq } if seq <= position => {
                stored.push((seq, unsent.text.clone()));
                false
            }
            Progress::Stored { .. }
            | Progress::Waiting
            | Progress::UnderWay
            | Progress::Failed { .. } => true,
        });
        stored
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
