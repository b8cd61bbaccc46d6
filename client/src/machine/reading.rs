//! How far users have read a conversation, and how much is unread. Nothing is counted: entries
//! carry running counts, so unread is a subtraction.

use dunlin_protocol::wire::{Entry, entry};
use dunlin_protocol::{LogId, UserId};

use super::saved::SavedReading;

/// The running counts at the position of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    counted: u64,
    mine: u64,
}

impl Counts {
    fn others(self) -> u64 {
        self.counted.saturating_sub(self.mine)
    }
}

/// The read cursors of a conversation.
#[derive(Debug)]
pub(super) struct Reading {
    /// The user has said something that counts, as far as it was seen.
    pub(super) has_spoken: bool,
    /// Whether somebody else has said the first thing in it; `None` as long as nothing was said.
    others_began: Option<bool>,
    pub(super) read_seq: u64,
    pub(super) peer_read_seq: u64,
    pub(super) unread: u64,
    /// `unread` holds for the log up to here.
    unread_to: u64,
    /// What others had said at `read_seq`, where that is known.
    others_read: Option<u64>,
    /// Known as long as no entry was skipped since.
    counts: Option<Counts>,
}

impl Reading {
    pub(super) fn new() -> Reading {
        Reading {
            has_spoken: false,
            others_began: None,
            read_seq: 0,
            peer_read_seq: 0,
            unread: 0,
            unread_to: 0,
            others_read: Some(0),
            counts: Some(Counts::default()),
        }
    }

    /// For a later run.
    pub(super) fn saved(&self) -> SavedReading {
        SavedReading {
            has_spoken: self.has_spoken,
            others_began: self.others_began,
            read_seq: self.read_seq,
            peer_read_seq: self.peer_read_seq,
            unread: self.unread,
            unread_to: self.unread_to,
            others_read: self.others_read,
            counted: self.counts.map(|counts| counts.counted),
            mine: self.counts.map_or(0, |counts| counts.mine),
        }
    }

    pub(super) fn restored(saved: &SavedReading) -> Reading {
        let counts = |counted| Counts { counted, mine: saved.mine };
        Reading {
            has_spoken: saved.has_spoken,
            others_began: saved.others_began,
            read_seq: saved.read_seq,
            peer_read_seq: saved.peer_read_seq,
            unread: saved.unread,
            unread_to: saved.unread_to,
            others_read: saved.others_read,
            counts: saved.counted.map(counts),
        }
    }

    /// The next entry of the log. Fills in the counts of an entry that this client wrote, and
    /// knows only by its Sent.
    pub(super) fn take(&mut self, conversation: LogId, entry: &mut Entry, me: UserId) {
        let is_mine = entry.sender == me.get();
        if entry.sender != 0 {
            self.others_began.get_or_insert(!is_mine);
        }
        let is_message = matches!(entry.body, Some(entry::Body::Message(_)));
        let counts_itself = is_message && entry.notice().counts();
        if is_mine
            && is_message
            && entry.counted == 0
            && let Some(counts) = self.counts
        {
            let more = u64::from(counts_itself);
            (entry.counted, entry.sender_counted) = (counts.counted + more, counts.mine + more);
        }
        if entry.counted > 0 && entry.sender != 0 {
            let mine = if is_mine {
                entry.sender_counted
            } else {
                entry.counted.saturating_sub(entry.sender_counted)
            };
            self.counts = Some(Counts { counted: entry.counted, mine });
        }
        self.has_spoken |=
            is_mine && counts_itself || self.counts.is_some_and(|counts| counts.mine > 0);
        self.recount(entry.seq, counts_itself && !is_mine, others_matter(conversation, me));
    }

    fn recount(&mut self, seq: u64, is_new: bool, others_matter: bool) {
        if seq < self.unread_to || !others_matter {
            return;
        }
        let others = self.counts.map(Counts::others);
        match (others, self.others_read) {
            (Some(others), Some(read)) => self.unread = others.saturating_sub(read),
            (Some(others), None) if seq == self.unread_to => {
                self.others_read = others.checked_sub(self.unread);
            }
            _ if seq > self.unread_to && seq > self.read_seq && is_new => self.unread += 1,
            _ => {}
        }
        self.unread_to = seq;
    }

    /// Entries were left out; the next one tells the counts anew. Who has said the first of them is not known.
    pub(super) fn skipped(&mut self) {
        self.counts = None;
        self.others_began.get_or_insert(false);
    }

    /// Whether somebody else has said the first thing in it, as far as that was seen.
    pub(super) fn others_began(&self) -> bool {
        self.others_began == Some(true)
    }

    /// What Synced says holds at `head`. If the cursor has not moved since the Sync, it stands where
    /// the server says, wherever that is; else the answer may be older. False then: only another Sync
    /// can tell the count.
    pub(super) fn synced(
        &mut self,
        position: u64,
        head: u64,
        (asked_read_seq, read_seq): (u64, u64),
        unread: u64,
    ) -> bool {
        let is_older = self.read_seq != asked_read_seq && self.read_seq > read_seq;
        if !is_older {
            self.read_seq = read_seq;
        }
        self.unread = unread;
        self.unread_to = head.max(position);
        self.others_read = None;
        if position >= head {
            self.others_read = self.counts.and_then(|counts| counts.others().checked_sub(unread));
        }
        !is_older
    }

    /// The cursor moved, on this device or another one. `others_read` is what others had said there, or in what was
    /// cleared, if that is more: it never goes back, for what was cleared may lie above the cursor.
    pub(super) fn read_moved(&mut self, position: u64, seq: u64, others_read: u64) {
        if seq < self.read_seq {
            return;
        }
        self.read_seq = seq;
        let read = self.others_read.unwrap_or(0).max(others_read);
        self.others_read = Some(read);
        if seq >= self.unread_to {
            self.unread = 0;
        } else if let Some(counts) = self.counts.filter(|_| position >= self.unread_to) {
            self.unread = counts.others().saturating_sub(read);
        }
    }

    /// Entries below `floor` are no more for this user, of which so many of others count. False if only a Sync can
    /// tell what is unread now.
    pub(super) fn cleared(&mut self, position: u64, floor: u64, others_cleared: u64) -> bool {
        if floor > self.unread_to {
            self.unread = 0;
            self.others_read = Some(others_cleared);
            return true;
        }
        let Some(read) = self.others_read else { return false };
        let read = read.max(others_cleared);
        self.others_read = Some(read);
        match self.counts.filter(|_| position >= self.unread_to) {
            Some(counts) => self.unread = counts.others().saturating_sub(read),
            None => return false,
        }
        true
    }

    pub(super) fn peer_read(&mut self, seq: u64) {
        self.peer_read_seq = self.peer_read_seq.max(seq);
    }
}

/// In a conversation with oneself nothing is unread.
fn others_matter(conversation: LogId, me: UserId) -> bool {
    conversation.direct_members() != Some((me, me))
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::wire::{Message, Notice};

    use super::*;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    const ME: u64 = 1;
    const PEER: u64 = 2;

    fn conversation() -> LogId {
        LogId::direct(user(ME), user(PEER))
    }

    fn entry(seq: u64, sender: u64, counted: u64, sender_counted: u64) -> Entry {
        let body = Some(entry::Body::Message(Message::default()));
        Entry { seq, sender, counted, sender_counted, body, ..Entry::default() }
    }

    fn take(reading: &mut Reading, mut entry: Entry) -> Entry {
        reading.take(conversation(), &mut entry, user(ME));
        entry
    }

    #[test]
    fn messages_of_the_other_are_unread_until_the_cursor_moves() {
        let mut reading = Reading::new();
        take(&mut reading, entry(1, PEER, 1, 1));
        take(&mut reading, entry(2, PEER, 2, 2));
        assert_eq!(reading.unread, 2);
        reading.read_moved(2, 1, 1);
        assert_eq!((reading.read_seq, reading.unread), (1, 1));
        take(&mut reading, entry(3, PEER, 3, 3));
        assert_eq!(reading.unread, 2);
        reading.read_moved(3, 3, 3);
        assert_eq!(reading.unread, 0);
        take(&mut reading, entry(4, PEER, 4, 4));
        assert_eq!(reading.unread, 1);
        reading.read_moved(4, 2, 2);
        assert_eq!(reading.unread, 1, "the cursor never moves back");
    }

    #[test]
    fn what_was_cleared_is_not_unread_again_when_the_cursor_comes_below() {
        let mut reading = Reading::new();
        for seq in 1..=5 {
            take(&mut reading, entry(seq, PEER, seq, seq));
        }
        assert!(reading.cleared(5, 4, 3));
        assert_eq!(reading.unread, 2);
        reading.read_moved(5, 2, 2);
        assert_eq!((reading.read_seq, reading.unread), (2, 2));
        take(&mut reading, entry(6, PEER, 6, 6));
        assert_eq!(reading.unread, 3);
        reading.read_moved(6, 4, 4);
        assert_eq!(reading.unread, 2);
    }

    #[test]
    fn ones_own_message_gets_its_counts_and_is_not_unread() {
        let mut reading = Reading::new();
        take(&mut reading, entry(1, PEER, 1, 1));
        let own = take(&mut reading, entry(2, ME, 0, 0));
        assert_eq!((own.counted, own.sender_counted), (2, 1));
        take(&mut reading, entry(3, PEER, 3, 2));
        assert_eq!(reading.unread, 2);
    }

    #[test]
    fn what_does_not_count_is_not_unread() {
        let quiet = |entry| Entry { notice: Notice::Uncounted.into(), ..entry };
        let mut reading = Reading::new();
        take(&mut reading, quiet(entry(1, PEER, 0, 0)));
        let own = take(&mut reading, quiet(entry(2, ME, 0, 0)));
        assert_eq!((reading.unread, own.counted, own.sender_counted), (0, 0, 0));
        take(&mut reading, entry(3, PEER, 1, 1));
        take(&mut reading, quiet(entry(4, PEER, 1, 1)));
        assert_eq!(reading.unread, 1);
        let own = take(&mut reading, quiet(entry(5, ME, 0, 0)));
        assert_eq!((own.counted, own.sender_counted), (1, 0));
        // The same where only Synced knows the count.
        let mut reading = Reading::new();
        reading.skipped();
        assert!(reading.synced(3, 10, (0, 2), 4));
        take(&mut reading, Entry { sender: 0, ..quiet(entry(11, PEER, 9, 9)) });
        assert_eq!(reading.unread, 4);
    }

    #[test]
    fn what_sync_says_holds_until_the_log_has_caught_up() {
        let mut reading = Reading::new();
        reading.skipped();
        assert!(reading.synced(7, 10, (0, 6), 3));
        take(&mut reading, entry(8, PEER, 8, 5));
        assert_eq!(reading.unread, 3);
        take(&mut reading, entry(9, ME, 9, 4));
        take(&mut reading, entry(10, PEER, 10, 6));
        assert_eq!(reading.unread, 3);
        take(&mut reading, entry(11, PEER, 11, 7));
        assert_eq!(reading.unread, 4);
        reading.read_moved(11, 10, 6);
        assert_eq!(reading.unread, 1);
    }

    #[test]
    fn a_void_changes_nothing_and_oneself_is_never_unread() {
        let mut reading = Reading::new();
        take(&mut reading, entry(1, PEER, 1, 1));
        take(&mut reading, Entry { seq: 2, ..Entry::default() });
        take(&mut reading, entry(3, PEER, 2, 2));
        assert_eq!(reading.unread, 2);

        let mut reading = Reading::new();
        let alone = LogId::direct(user(ME), user(ME));
        reading.take(alone, &mut entry(1, ME, 1, 1), user(ME));
        assert_eq!(reading.unread, 0);
    }

    #[test]
    fn the_cursor_is_where_the_server_says_unless_it_has_moved_since() {
        let mut reading = Reading::new();
        reading.read_moved(0, 8, 8);
        // The store was put back.
        assert!(reading.synced(0, 9, (8, 5), 4));
        assert_eq!((reading.read_seq, reading.unread), (5, 4));
        // The answer to a Sync that was asked for before the cursor moved.
        reading.read_moved(0, 7, 7);
        assert!(!reading.synced(0, 9, (5, 6), 3));
        assert_eq!(reading.read_seq, 7);
        assert!(reading.synced(0, 9, (7, 9), 0));
        assert_eq!((reading.read_seq, reading.unread), (9, 0));
    }
}
