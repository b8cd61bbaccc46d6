//! How the simulated server answers a sync: what has changed since its token, two conversations at a time.

use std::collections::BTreeMap;

use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::{LogId, UserId, wire};

use super::{ConnectionId, Server, peer};

/// Conversations that one answer has room for.
const TOLD_MAX: usize = 2;

/// What was written when, and what the tokens say.
#[derive(Default)]
pub(super) struct Told {
    /// Counts what is written.
    now: u64,
    /// When each entry of a log was written, ...
    entries: BTreeMap<LogId, Vec<u64>>,
    /// ... and when anything of it was.
    changed: BTreeMap<LogId, u64>,
    /// Each token is its place here.
    tokens: Vec<Token>,
    /// A state from before this was put back, when there were so many tokens: those that are later are of another
    /// history.
    put_back: Vec<(u64, usize)>,
}

#[derive(Clone, Copy)]
struct Token {
    user: UserId,
    epoch: u64,
    /// Everything up to here was told; 0 of who is told all.
    since: u64,
    /// There was no room for everything: when that was, and up to where it was told.
    listing: Option<(u64, LogId)>,
    forget: bool,
}

impl Told {
    pub(super) fn changed(&mut self, id: LogId) {
        self.now += 1;
        self.changed.insert(id, self.now);
    }

    pub(super) fn appended(&mut self, id: LogId) {
        self.changed(id);
        self.entries.entry(id).or_default().push(self.now);
    }

    /// A log ends there again.
    pub(super) fn put_back(&mut self, id: LogId, head: u64) {
        let entries = self.entries.entry(id).or_default();
        let lost = entries.split_off(head as usize);
        self.put_back.push((lost[0], self.tokens.len()));
        self.changed(id);
    }

    fn last_change(&self, id: LogId) -> u64 {
        self.changed.get(&id).copied().unwrap_or(0)
    }

    /// Whether a token has seen what is gone.
    fn is_of_another_history(&self, place: usize) -> bool {
        let token = &self.tokens[place];
        let seen = token.listing.map_or(token.since, |(now, _)| now);
        self.put_back.iter().any(|(lost, tokens)| place < *tokens && seen >= *lost)
    }

    fn issue(&mut self, token: Token) -> bytes::Bytes {
        self.tokens.push(token);
        (self.tokens.len() - 1).to_string().into()
    }
}

impl Server {
    pub(super) fn sync(&mut self, id: ConnectionId, user: UserId, sync: &wire::Sync) -> Body {
        let connection = self.connections.get_mut(&id).expect("it has just said something");
        connection.is_synced = true;
        let (token, afresh) = self.token_of(user, sync);
        let knows_nothing = sync.epoch != self.epoch || token.forget;
        let now = self.told.now;
        let mut conversations = Vec::new();
        let mut listing = None;
        for (log_id, log) in self.conversations(user) {
            let known = sync.positions.iter().filter(|_| !knows_nothing);
            let known = known.clone().find(|known| known.conversation_id == log_id.as_bytes()[..]);
            let head = log.len() as u64;
            let (read_seq, unread, peer_read_seq) = self.numbers(user, log_id);
            let is_ahead =
                known.is_some_and(|at| at.seq.max(at.read_seq).max(at.peer_read_seq) > head);
            let change = self.told.last_change(log_id);
            let is_next = token.listing.is_none_or(|(last, told)| log_id > told || change > last);
            let is_news = change > token.since && is_next;
            let numbers = (head, read_seq, peer_read_seq);
            let is_known =
                known.is_some_and(|at| (at.seq, at.read_seq, at.peer_read_seq) == numbers);
            if !is_ahead && (!is_news || (is_known && token.since > 0)) {
                continue;
            }
            if conversations.len() == TOLD_MAX {
                let last: &wire::ConversationState = &conversations[TOLD_MAX - 1];
                listing = Some((now, LogId::from_wire(&last.conversation_id).unwrap()));
                break;
            }
            let forget = token.forget || is_ahead;
            let first = match known {
                _ if forget => 0,
                Some(at) => at.seq,
                None => {
                    let times = &self.told.entries[&log_id];
                    times.iter().take_while(|time| **time <= token.since).count() as u64
                }
            };
            // Sometimes there is room for few of them, or none.
            let room = u64::from(sync.entries_per_conversation.min(7))
                * u64::from(!head.is_multiple_of(4));
            let first = first.max(head.saturating_sub(room));
            conversations.push(wire::ConversationState {
                conversation_id: log_id.to_wire(),
                head,
                read_seq,
                unread,
                peer_read_seq,
                entries: log[first.min(head) as usize..].to_vec(),
                forget,
                peer: (token.since == 0).then(|| name_of(peer(user, log_id))),
                ..wire::ConversationState::default()
            });
        }
        let more = listing.is_some();
        let token = match listing {
            Some(_) => Token { listing, ..token },
            None => Token { since: now, listing: None, forget: false, ..token },
        };
        let token = self.told.issue(token);
        let epoch = self.epoch;
        let synced =
            wire::Synced { epoch, token, more, conversations, afresh, ..Default::default() };
        Body::Synced(synced)
    }

    /// What the client was told before, and whether it is told everything anew.
    fn token_of(&mut self, user: UserId, sync: &wire::Sync) -> (Token, bool) {
        let epoch = self.epoch;
        let nothing = Token { user, epoch, since: 0, listing: None, forget: false };
        let place = std::str::from_utf8(&sync.token).ok().and_then(|place| place.parse().ok());
        let Some(place) = place else { return (nothing, true) };
        if self.told.is_of_another_history(place) {
            return (Token { forget: true, ..nothing }, true);
        }
        let token = self.told.tokens[place];
        let is_good = token.user == user && token.epoch == epoch && sync.epoch == epoch;
        // Now and then it does not know any more what it had told, but what has to be forgotten.
        match is_good && !self.random.one_in(20) {
            true => (token, false),
            false => (Token { forget: is_good && token.forget, ..nothing }, true),
        }
    }
}

fn name_of(user: UserId) -> wire::User {
    let (user_id, username) = (user.get(), user.get().to_string());
    wire::User { user_id, username, ..wire::User::default() }
}
