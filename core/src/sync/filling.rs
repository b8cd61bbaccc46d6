//! Which of the told conversations get their newest entries: as many as there is room for, the most recently
//! used first.

use dunlin_protocol::LogId;
use dunlin_protocol::wire;
use prost::Message as _;

use crate::entry::decode_entries;
use crate::limits::{SYNC_CONVERSATION_BYTES_MAX, SYNC_FILLED_MAX, SYNC_READS_FIRST};
use crate::refusal::{DATA_CORRUPT, INTERNAL, Refusal};
use crate::store::{Moment, Page, Range};
use crate::worker::flow::Answer;

/// A conversation of which something is told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) log: LogId,
    /// The first sequence that the client may lack.
    pub(super) from: u64,
    /// The newest entry that it has, and the time of that, if it has said so. Then that is read as well: if it is
    /// another one by now, the client has what was there before the store was put back.
    pub(super) newest: Option<(u64, u64)>,
    /// It has what was appended before, if it has said so.
    pub(super) since: Option<Moment>,
    pub(super) state: wire::ConversationState,
}

/// The told conversations, with some of their entries.
#[derive(Debug)]
pub(super) struct Filling {
    entries_max: usize,
    /// So many are read at a time.
    reads_max: usize,
    /// The most recently used first.
    told: Vec<Told>,
    /// Bytes that are left for entries.
    room: usize,
    /// So many were asked for their entries, ...
    asked: usize,
    /// ... so many have some, of so many bytes, ...
    filled: usize,
    filled_bytes: usize,
    /// ... and these are not answered.
    reading: Vec<usize>,
    is_full: bool,
}

/// Tag and length around an entry or a conversation, at most.
pub(super) const FIELD_BYTES: usize = 5;

/// Of the entries of one conversation so much is read in any case.
const READ_BYTES_MIN: usize = 4096;

impl Told {
    /// The newest entries that the client lacks, newest first; `None` if it lacks none.
    fn range(&self, entries_max: usize, bytes_max: usize) -> Option<Range> {
        let (from, entries_max) = match self.newest {
            Some((seq, _)) if seq < self.from => (seq, entries_max + 1),
            Some(_) | None => (self.from, entries_max),
        };
        (self.from <= self.state.head).then_some(Range {
            log: self.log,
            from,
            to: self.state.head,
            entries_max,
            bytes_max,
            backwards: true,
            since: self.since,
        })
    }

    /// Takes what the client has from the entries that were read, newest first. False if it has another one.
    fn has_what_is_there(&self, entries: &mut Vec<wire::Entry>) -> bool {
        let Some((seq, time_ms)) = self.newest else { return true };
        let is_there = |entry: &wire::Entry| entry.time_ms == time_ms;
        match entries.pop_if(|entry| entry.seq == seq) {
            Some(entry) if !is_there(&entry) => {
                entries.push(entry);
                false
            }
            Some(_) | None => true,
        }
    }
}

impl Filling {
    pub(super) fn new(
        told: Vec<Told>,
        entries_max: usize,
        reads_max: usize,
        room: usize,
    ) -> Filling {
        Filling {
            entries_max,
            reads_max,
            told,
            room,
            asked: 0,
            filled: 0,
            filled_bytes: 0,
            reading: Vec::new(),
            is_full: false,
        }
    }

    /// The entries to read next; `None` if there are no more, or there is no room.
    pub(super) fn next(&mut self) -> Option<Vec<Range>> {
        let left = SYNC_FILLED_MAX.saturating_sub(self.filled);
        if self.is_full || left == 0 {
            return None;
        }
        let reads_max = self.reads_max().min(left);
        let bytes_max =
            (self.room / reads_max * 4).clamp(READ_BYTES_MIN, SYNC_CONVERSATION_BYTES_MAX);
        let mut ranges = Vec::new();
        while ranges.len() < reads_max && self.asked < self.told.len() {
            let range = self.told[self.asked].range(self.entries_max, bytes_max);
            if let Some(range) = range {
                ranges.push(range);
                self.reading.push(self.asked);
            }
            self.asked += 1;
        }
        (!ranges.is_empty()).then_some(ranges)
    }

    /// How many may fit, by what those before have taken.
    fn reads_max(&self) -> usize {
        match self.filled_bytes.checked_div(self.filled) {
            // Where the answer is short, few will fit.
            None => (self.room / READ_BYTES_MIN).clamp(1, SYNC_READS_FIRST),
            Some(each) => (self.room / each.max(1)).clamp(1, self.reads_max),
        }
    }

    /// The entries that were asked for are here. Those of a conversation that is damaged are left out:
    /// the client will ask for them, and learn which one it is. Says of how many the client has other entries.
    pub(super) fn take(&mut self, pages: Vec<Answer<Page>>) -> Result<u64, Refusal> {
        let mut others = 0;
        let reading = std::mem::take(&mut self.reading);
        if pages.len() != reading.len() {
            return Err(INTERNAL);
        }
        for (index, answer) in reading.into_iter().zip(pages) {
            match answer.and_then(|page| decode_entries(&page).ok_or(DATA_CORRUPT)) {
                Ok(mut entries) => {
                    let told = &mut self.told[index];
                    if !told.has_what_is_there(&mut entries) {
                        told.state.forget = true;
                        others += 1;
                    }
                    self.fill(index, entries);
                }
                Err(refusal) if refusal == DATA_CORRUPT => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(others)
    }

    fn fill(&mut self, index: usize, mut entries: Vec<wire::Entry>) {
        let sizes = entries.iter().map(|entry| entry.encoded_len() + FIELD_BYTES);
        match self.room.checked_sub(sizes.sum()) {
            Some(room) if !self.is_full => {
                entries.reverse();
                self.told[index].state.entries = entries;
                self.filled_bytes += self.room - room;
                self.room = room;
                self.filled += 1;
            }
            // Older ones do not get what there was no room for.
            Some(_) | None => self.is_full = true,
        }
    }

    /// What the response says.
    pub(super) fn into_states(self) -> Vec<wire::ConversationState> {
        self.told.into_iter().map(|told| told.state).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dunlin_protocol::UserId;
    use dunlin_protocol::limits::CONTENT_BYTES_MAX;

    use super::*;
    use crate::limits::{RESPONSE_BYTES_MAX, SYNC_READS_MAX, sync_reads_max, sync_room_bytes};
    use crate::store::{EntryMeta, StoredEntry};

    const ROOM: usize = 1 << 20;

    fn told(id: u64, head: u64) -> Told {
        let user = |id| UserId::new(id).unwrap();
        let log = LogId::direct(user(1), user(id + 1));
        let conversation_id = log.to_wire();
        let state = wire::ConversationState { conversation_id, head, ..Default::default() };
        Told { log, from: 1, newest: None, since: None, state }
    }

    fn page(range: &Range, bytes: usize) -> Answer<Page> {
        let message = wire::Message { content: vec![b'x'; bytes].into(), ..Default::default() };
        let body = Some(wire::entry::Body::Message(message));
        let entry = wire::Entry { seq: range.to, body, ..wire::Entry::default() };
        let body = Bytes::from(entry.encode_to_vec());
        let meta = EntryMeta::default();
        let entry = StoredEntry { seq: range.to, meta, erased: false, body };
        Ok(Page { entries: vec![entry], ..Page::default() })
    }

    /// Fills with entries of this size; returns how many were asked for in each question.
    fn fill(filling: &mut Filling, bytes: usize) -> Vec<usize> {
        let mut questions = Vec::new();
        while let Some(ranges) = filling.next() {
            questions.push(ranges.len());
            let pages = ranges.iter().map(|range| page(range, bytes)).collect();
            filling.take(pages).unwrap();
        }
        questions
    }

    #[test]
    fn thousands_of_small_ones_take_few_questions() {
        let all = (1..=2000).map(|id| told(id, 1)).collect();
        let mut filling = Filling::new(all, 20, SYNC_READS_MAX, ROOM);
        let questions = fill(&mut filling, 200);
        assert!(questions.len() < 20 && questions[0] == SYNC_READS_FIRST, "{questions:?}");
        let states = filling.into_states();
        assert_eq!(states.len(), 2000);
        let filled = states.iter().filter(|state| state.entries.len() == 1).count();
        assert_eq!(filled, SYNC_FILLED_MAX);
    }

    #[test]
    fn what_is_read_at_a_time_has_room_whatever_its_size() {
        for answer in [4096, 20_000, 256 * 1024, RESPONSE_BYTES_MAX] {
            let all = (1..=2000).map(|id| told(id, 1)).collect();
            let mut filling = Filling::new(all, 20, sync_reads_max(answer), answer);
            let mut largest = 0;
            while let Some(ranges) = filling.next() {
                // The first ones are small, so that the next question is for as many as ever.
                let page_bytes = ranges.iter().map(|range| range.bytes_max.max(CONTENT_BYTES_MAX));
                largest = largest.max(page_bytes.sum::<usize>());
                filling.take(ranges.iter().map(|range| page(range, 10)).collect()).unwrap();
            }
            let room = sync_room_bytes(answer);
            assert!(largest + 2 * answer <= room, "{answer}: {largest} of {room}");
        }
        assert!(sync_room_bytes(4096) * 2 < sync_room_bytes(RESPONSE_BYTES_MAX));
    }

    #[test]
    fn what_has_no_room_for_entries_is_there_in_numbers() {
        let all = (1..=100).map(|id| told(id, 1)).collect();
        let mut filling = Filling::new(all, 20, SYNC_READS_MAX, ROOM);
        fill(&mut filling, 60_000);
        let states = filling.into_states();
        assert_eq!(states.len(), 100);
        let filled = states.iter().take_while(|state| !state.entries.is_empty()).count();
        assert!((14..=17).contains(&filled), "{filled}");
        assert!(states[filled..].iter().all(|state| state.entries.is_empty()));
        let entries: usize = states.iter().map(prost::Message::encoded_len).sum();
        assert!(entries <= ROOM + 100 * 30);
    }

    #[test]
    fn who_lacks_no_entry_is_not_asked_for() {
        let up_to_date = Told { from: 2, ..told(1, 1) };
        let mut filling = Filling::new(vec![up_to_date], 20, SYNC_READS_MAX, ROOM);
        assert_eq!(filling.next(), None);
        assert_eq!(filling.into_states().len(), 1);
        assert_eq!(Filling::new(Vec::new(), 1, 1, 0).take(vec![Err(INTERNAL)]), Err(INTERNAL));
    }
}
