//! Catching up: after each login, and whenever the server says that any log may be behind.

use bytes::Bytes;
use dunlin_protocol::wire::{self, ConversationState, Error, Synced};
use dunlin_protocol::{ErrorClass, LogId, class};
use hashbrown::HashSet;

use super::Machine;
use super::config::Backlog;
use super::connection::Phase;
use super::event::{Event, Lost, SkipReason, Status};

/// Whether a sync is wanted, and what we know.
#[derive(Debug)]
pub(super) struct Sync {
    /// 0: nothing is known.
    epoch: u64,
    /// What we were told, as the server names it; empty: nothing.
    token: Bytes,
    /// The conversations that were named since everything is told anew, until that is done.
    named: Option<HashSet<LogId>>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Due {
        at_ms: u64,
    },
    /// `again`: the server said "behind" meanwhile, perhaps after it had read what it answers.
    InFlight {
        again: bool,
    },
}

impl Sync {
    pub(super) fn new() -> Sync {
        Sync { epoch: 0, token: Bytes::new(), named: None, state: State::Idle }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        matches!(self.state, State::Due { at_ms } if now_ms >= at_ms)
    }

    pub(super) fn deadline_ms(&self) -> Option<u64> {
        match self.state {
            State::Due { at_ms } => Some(at_ms),
            State::Idle | State::InFlight { .. } => None,
        }
    }

    pub(super) fn started(&mut self) {
        self.state = State::InFlight { again: false };
    }

    /// Any log may be behind.
    pub(super) fn want(&mut self) {
        match &mut self.state {
            State::Idle | State::Due { .. } => self.state = State::Due { at_ms: 0 },
            State::InFlight { again } => *again = true,
        }
    }

    pub(super) fn disconnected(&mut self) {
        self.state = State::Idle;
    }

    /// The epoch and the token, for a later run. While everything is told anew, a token says less than what
    /// was named, so then there is none.
    pub(super) fn saved(&self) -> (u64, Bytes) {
        let token = if self.named.is_none() { self.token.clone() } else { Bytes::new() };
        (self.epoch, token)
    }

    pub(super) fn restore(&mut self, epoch: u64, token: Bytes) {
        (self.epoch, self.token) = (epoch, token);
    }

    /// Another user.
    pub(super) fn forget(&mut self) {
        self.told_nothing(0);
    }

    fn told_nothing(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.token = Bytes::new();
        self.named = None;
    }
}

impl Machine {
    pub(super) fn sync_request(&mut self) -> wire::Sync {
        let positions_max = self.attachment.terms.limits.sync_positions_max as usize;
        wire::Sync {
            epoch: self.sync.epoch,
            token: self.sync.token.clone(),
            positions: self.logs.positions(positions_max),
            entries_per_conversation: self.config.backlog.entries_per_conversation(),
            bytes_max: self.config.sync_bytes_max,
        }
    }

    pub(super) fn synced(&mut self, synced: Synced) {
        let mut again = self.sync.state == State::InFlight { again: true };
        self.sync.state = State::Idle;
        if synced.epoch != self.sync.epoch {
            self.forget_history(synced.epoch);
        }
        if synced.afresh {
            self.sync.named = Some(HashSet::new());
            self.settings.told_anew();
        }
        // A slice of the frame would keep all of that alive.
        let token = Bytes::copy_from_slice(&synced.token);
        let more = synced.more;
        self.apply(synced);
        self.sync.token = token;
        if !more {
            self.logs.told();
            self.forget_unnamed();
            again |= self.forget_unnamed_settings();
        }
        if again || more {
            self.sync.want();
            return;
        }
        self.backoff.reset();
        if matches!(self.phase, Phase::Syncing) {
            self.phase = Phase::Live;
            self.events.push_back(Event::Status(Status::Online));
        }
    }

    fn apply(&mut self, synced: Synced) {
        for setting in synced.settings {
            self.setting_told(setting, true);
        }
        for state in synced.conversations {
            if let Ok(log_id) = LogId::from_wire(&state.conversation_id) {
                self.apply_conversation(log_id, state);
            }
        }
    }

    fn apply_conversation(&mut self, log_id: LogId, state: ConversationState) {
        if let Some(named) = &mut self.sync.named {
            named.insert(log_id);
        }
        if state.forget {
            self.forget_conversation(log_id);
        }
        self.membership_synced(log_id, state.membership.as_ref());
        let log = self.logs.touch(log_id);
        let cursors = (log.asked.read_seq, state.read_seq);
        if !log.reading.synced(log.position, state.head, cursors, state.unread) {
            self.sync.want();
        }
        log.reading.peer_read_seq = state.peer_read_seq;
        self.floor_known(log_id, state.expired_below);
        let has_entries = !state.entries.is_empty();
        self.arrived(log_id, state.entries);
        self.skip_below_newest(log_id, state.head, has_entries);
        self.head_known(log_id, state.head);
        if let Some(peer) = state.peer {
            self.events.push_back(Event::Peer { conversation: log_id, user: peer });
        }
    }

    /// Everything was told anew: what was not named is no more.
    fn forget_unnamed(&mut self) {
        let Some(named) = self.sync.named.take() else { return };
        for log_id in self.logs.unnamed(&named) {
            self.logs.forget(log_id);
            self.events.push_back(Event::ConversationLost { conversation: log_id });
            self.outbox.push_again(self.kept.take(Some(log_id)));
        }
    }

    /// For an application that wants only the newest entries: leaves out what lies below those that
    /// came, or if there was no room for them, below as many.
    fn skip_below_newest(&mut self, log_id: LogId, head: u64, has_entries: bool) {
        let Backlog::Newest(keep) = self.config.backlog else { return };
        let log = self.logs.touch(log_id);
        let to_seq = match has_entries {
            true => log.first_aside().map(|first| first - 1),
            false => head.checked_sub(u64::from(keep)).filter(|to_seq| *to_seq > log.position),
        };
        if let Some(to_seq) = to_seq {
            self.skip(log_id, to_seq, SkipReason::Backlog);
        }
    }

    /// We have more of a conversation than there is. What was stored between the question and the
    /// answer was taken for something that we had, so there is another question.
    fn forget_conversation(&mut self, log_id: LogId) {
        self.logs.forget(log_id);
        self.events.push_back(Event::ConversationLost { conversation: log_id });
        self.outbox.push_again(self.kept.take(Some(log_id)));
        self.sync.want();
    }

    pub(super) fn sync_refused(&mut self, now_ms: u64, error: &Error) {
        match class(error.code) {
            ErrorClass::NotNow | ErrorClass::Server => {
                let delay_ms = u64::from(error.retry_after_ms.max(1000));
                self.sync.state = State::Due { at_ms: now_ms + delay_ms };
            }
            ErrorClass::Request | ErrorClass::Credentials | ErrorClass::NotAllowed => {
                self.lose(now_ms, Lost::NotNow(error.code()), error.retry_after_ms);
            }
        }
    }

    /// An epoch came by. If it is another one, everything is read anew; says whether that is so.
    pub(super) fn epoch_seen(&mut self, epoch: u64) -> bool {
        if epoch == self.sync.epoch || self.sync.epoch == 0 {
            return false;
        }
        self.forget_history(epoch);
        self.sync.want();
        true
    }

    fn forget_history(&mut self, epoch: u64) {
        if self.sync.epoch != 0 {
            self.logs.clear();
            self.events.push_back(Event::HistoryLost);
            self.outbox.push_again(self.kept.take(None));
        }
        self.sync.told_nothing(epoch);
    }
}
