//! Moving read cursors: all that are asked for in a tick go to the store together.
//!
//! ```text
//! taken ─(end of tick)─► the entry up to which was read ─(end of tick)─► the register moves
//!   └────────── that is the newest one, which is known ────────▲               │
//!                                                              └── compare and set ◄┘ if it has to be looked at
//! ```
//!
//! A public mark is written if it is greater than what is there, and that is all; so are nearly all of them. Only
//! one that others know less of has to be looked at: by a private mark, which must not take back what others know
//! already, and by a public one at or below a private cursor.
//!
//! Where that entry can't be read, since all up to there has expired or it is damaged, the cursor stays, and
//! is read instead: a lower sequence is accepted whatever became of its entry.
//!
//! Who asked is answered with the cursor as it is then. If it has moved, the other sessions of the user are
//! told, and the other member of as much as that one may know.

use dunlin_protocol::wire::{self, ErrorCode, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId};

use super::cursor::ReadCursor;
use crate::audience::push::SignalPush;
use crate::entry::others_counted;
use crate::limits::{MARK_READS_MAX, MARKS_MAX, OVERLOADED_RETRY_MS, RESPONSE_BYTES_MAX};
use crate::membership::other_member;
use crate::refusal::{DATA_CORRUPT, INTERNAL, NO_SUCH_CONVERSATION, Refusal, STORE_UNAVAILABLE};
use crate::request::Client;
use crate::store::{Head, Page, Range, Register, RegisterKey, Rule, RunningCounts, Written};
use crate::worker::flow::{Answer, Answers, PagesFlow, RegisterFlow, WriteFlow, each};
use crate::worker::turn::Turn;

/// The cursors that are to be moved at the end of the tick.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Whose entries are to be read.
    asked: Vec<MarkRead>,
    /// Whose registers are to be written.
    known: Vec<MarkRead>,
    /// Whose entries are damaged, and whose registers are to be read: they are answered all the same if
    /// the cursor is there already.
    damaged: Vec<MarkRead>,
    /// Those that are not answered yet, at the store as well.
    under_way: usize,
    /// Those whose entries are read just now.
    reading: usize,
}

/// A read cursor that shall move.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MarkRead {
    client: Client,
    conversation: LogId,
    /// Where to: once the entry was read, exactly.
    cursor: ReadCursor,
    is_private: bool,
    /// What was found where it had to be looked at.
    found: Option<Found>,
}

/// The cursor that is there, at a version of the register.
#[derive(Debug, Clone, Copy)]
struct Found {
    cursor: ReadCursor,
    version: u64,
    /// How often it has changed while somebody looked.
    looks: u32,
}

/// What is asked by a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) conversation: LogId,
    /// Up to where.
    pub(crate) seq: u64,
    pub(crate) is_private: bool,
    /// What the cursor counts there, if that is known.
    pub(crate) others_counted: Option<u64>,
}

/// How a mark goes on when the store has answered.
enum Verdict {
    Done(Marked),
    /// What was found is to be looked at.
    Again(MarkRead),
}

/// Each time another one has moved the cursor, so somebody gets on; but nobody tries for ever.
const LOOKS_MAX: u32 = 16;

/// What became of it, for those whom it concerns.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) client: Client,
    /// The cursor as it is now.
    pub(crate) response: Result<wire::ReadReceipt, Refusal>,
    /// Who else is to be told.
    pub(crate) receipts: Vec<SignalPush>,
}

impl Marks {
    /// Takes a request of a client.
    pub(crate) fn take(&mut self, client: Client, mark: Mark, turn: &mut Turn<'_>) {
        let Mark { conversation, seq, is_private, others_counted } = mark;
        if other_member(conversation, client.user).is_none() {
            turn.effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
            return;
        }
        if self.under_way >= MARKS_MAX {
            turn.effects.refuse(client.conn, client.request_id, TOO_MANY);
            return;
        }
        self.under_way += 1;
        let cursor = marked(seq, others_counted.unwrap_or(0), is_private);
        let marks = if others_counted.is_some() { &mut self.known } else { &mut self.asked };
        marks.push(MarkRead { client, conversation, cursor, is_private, found: None });
    }

    /// At the end of a tick: asks for what the next steps need.
    pub(crate) fn end_tick(&mut self, turn: &mut Turn<'_>) {
        let readable = self.asked.len().min(MARK_READS_MAX.saturating_sub(self.reading));
        if readable > 0 {
            let asked: Vec<_> = self.asked.drain(..readable).collect();
            self.reading += readable;
            let ranges = asked.iter().map(MarkRead::entry).collect();
            turn.ask_pages(ranges, PagesFlow::MarkRead(asked));
        }
        if !self.known.is_empty() {
            let known = std::mem::take(&mut self.known);
            let writes = known.iter().map(MarkRead::write).collect();
            turn.write(writes, WriteFlow::Cursors(known));
        }
        if !self.damaged.is_empty() {
            let damaged = std::mem::take(&mut self.damaged);
            let registers = damaged.iter().map(MarkRead::register).collect();
            turn.ask_register(registers, RegisterFlow::MarkRead(damaged));
        }
    }

    /// The entries were read: their cursors move at the end of the tick.
    pub(crate) fn entries_read(
        &mut self,
        asked: Vec<MarkRead>,
        answers: Answers<Page>,
        turn: &mut Turn<'_>,
    ) {
        self.reading -= asked.len();
        for (mark, answer) in each(asked, answers) {
            match answer.and_then(|page| mark.at(&page)) {
                Ok(mark) => self.known.push(mark),
                Err(DATA_CORRUPT) => self.damaged.push(mark),
                Err(refusal) => {
                    self.under_way -= 1;
                    mark.answer(Err(refusal), turn);
                }
            }
        }
    }

    /// The cursors were read of which the entries are damaged.
    pub(crate) fn cursors_read(
        &mut self,
        damaged: Vec<MarkRead>,
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        for (mark, answer) in each(damaged, answers) {
            let found = answer.and_then(|register| mark.found_in(&register));
            let response = match found {
                Ok(found) if found.cursor.seq < mark.cursor.seq => Err(DATA_CORRUPT),
                Ok(found) if found.cursor.after(mark.cursor) != found.cursor => {
                    self.known.push(MarkRead { found: Some(found), ..mark });
                    continue;
                }
                found => found.map(|found| mark.own(found.cursor)),
            };
            self.under_way -= 1;
            mark.answer(response, turn);
        }
    }

    /// The registers were written, or not.
    pub(crate) fn written(
        &mut self,
        known: Vec<MarkRead>,
        answer: Answer<Vec<Written>>,
    ) -> Vec<Marked> {
        let answers = answer.map(|all| all.into_iter().map(Ok).collect());
        let mut done = Vec::with_capacity(known.len());
        for (mark, answer) in each(known, answers) {
            match mark.verdict(answer) {
                Verdict::Done(marked) => done.push(marked),
                Verdict::Again(mark) => self.known.push(mark),
            }
        }
        self.under_way -= done.len();
        done
    }
}

/// Where somebody has read to, and what others may know of it.
fn marked(seq: u64, others_counted: u64, is_private: bool) -> ReadCursor {
    ReadCursor { seq, others_counted, receipt_seq: if is_private { 0 } else { seq } }
}

const TOO_MANY: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    "too many read cursors are under way",
    OVERLOADED_RETRY_MS,
);

impl MarkRead {
    /// The newest entry up to seq: the counts are in it, and a seq beyond the head is the head.
    fn entry(&self) -> Range {
        Range {
            log: self.conversation,
            from: 1,
            to: self.cursor.seq,
            entries_max: 1,
            bytes_max: RESPONSE_BYTES_MAX,
            backwards: true,
            since: None,
        }
    }

    /// Where it moves to. What has expired has no unread entry any more: who has read up to somewhere in
    /// it has read all of it.
    fn at(self, page: &Page) -> Result<MarkRead, Refusal> {
        let Head { seq: head, expired, expired_below, .. } = page.head;
        let (seq, counts) = match page.entries.first() {
            Some(entry) => (entry.seq, RunningCounts::from(entry.meta)),
            None if head == 0 => return Err(NO_SUCH_CONVERSATION),
            None => (expired_below.saturating_sub(1), expired),
        };
        let others_counted = others_counted(counts, self.client.user);
        Ok(MarkRead { cursor: marked(seq, others_counted, self.is_private), ..self })
    }

    fn register(&self) -> (LogId, RegisterKey) {
        (self.conversation, ReadCursor::key(self.client.user))
    }

    fn answer(&self, response: Result<wire::ReadReceipt, Refusal>, turn: &mut Turn<'_>) {
        let Client { conn, request_id, .. } = self.client;
        match response {
            Ok(cursor) => turn.effects.respond(conn, request_id, Body::ReadReceipt(cursor)),
            Err(refusal) => turn.effects.refuse(conn, request_id, refusal),
        }
    }

    /// What others know stays as it is where a private mark is the first.
    fn write(&self) -> crate::store::Write {
        let rule = match self.found {
            Some(Found { version, .. }) => Rule::IfVersion(version),
            None if self.is_private => Rule::IfAbsent,
            None => Rule::IfGreater,
        };
        self.target().write(self.conversation, self.client.user, rule)
    }

    /// What the cursor becomes.
    fn target(&self) -> ReadCursor {
        self.found.map_or(self.cursor, |found| found.cursor.after(self.cursor))
    }

    fn found_in(&self, register: &Register) -> Result<Found, Refusal> {
        let cursor = ReadCursor::of(register)?;
        let looks = self.found.map_or(0, |found| found.looks + 1);
        Ok(Found { cursor, version: register.version, looks })
    }

    fn verdict(self, answer: Answer<Written>) -> Verdict {
        let stays = |response| Marked { client: self.client, response, receipts: Vec::new() };
        Verdict::Done(match answer {
            Ok(Written::Stored { .. }) => {
                Marked { receipts: self.receipts(), ..stays(Ok(self.own(self.target()))) }
            }
            Ok(Written::Unmet { found, .. }) => match self.found_in(&found) {
                Ok(found) if found.cursor.after(self.cursor) == found.cursor => {
                    stays(Ok(self.own(found.cursor)))
                }
                Ok(found) if found.looks < LOOKS_MAX => {
                    return Verdict::Again(MarkRead { found: Some(found), ..self });
                }
                Ok(_) => stays(Err(TOO_MANY)),
                Err(refusal) => stays(Err(refusal)),
            },
            Ok(Written::Corrupt) => stays(Err(DATA_CORRUPT)),
            Ok(Written::Unknown) => stays(Err(STORE_UNAVAILABLE)),
            Ok(Written::Duplicate { .. } | Written::Conflict { .. }) => stays(Err(INTERNAL)),
            Err(refusal) => stays(Err(refusal)),
        })
    }

    /// What the user is told of the own cursor.
    fn own(&self, cursor: ReadCursor) -> wire::ReadReceipt {
        wire::ReadReceipt { others_counted: cursor.others_counted, ..self.receipt(cursor.seq) }
    }

    fn receipt(&self, seq: u64) -> wire::ReadReceipt {
        let (conversation_id, user_id) = (self.conversation.to_wire(), self.client.user.get());
        wire::ReadReceipt { conversation_id, user_id, seq, others_counted: 0 }
    }

    /// Who is told of what has moved.
    fn receipts(&self) -> Vec<SignalPush> {
        let Client { user, conn, .. } = self.client;
        let push = |receipt| EncodedFrame::push(Body::ReadReceipt(receipt));
        let is_receipt = true;
        let before = self.found.map_or_else(ReadCursor::default, |found| found.cursor);
        let now = self.target();
        let own = (now.seq > before.seq).then(|| {
            let frame = push(self.own(now));
            SignalPush { user, frame, except: Some(conn), is_receipt }
        });
        let other = other_member(self.conversation, user)
            .filter(|other| *other != user && now.receipt_seq > before.receipt_seq);
        let other = other.map(|user| {
            let frame = push(self.receipt(now.receipt_seq));
            SignalPush { user, frame, except: None, is_receipt }
        });
        own.into_iter().chain(other).collect()
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::UserId;
    use dunlin_protocol::frame::decode;

    use super::*;
    use crate::account::cursor::tests::held;
    use crate::arrival::Arrival;
    use crate::store::{EntryMeta, Head, StoreRequest, StoredEntry};
    use crate::transport::{ConnId, Delivery, Outbound};
    use crate::worker::turn::stage::Stage;

    fn client(request_id: u64) -> Client {
        let conn = ConnId { shard: 0, slot: 1, generation: 1 };
        Client {
            conn,
            user: UserId::new(1).unwrap(),
            request_id,
            may_deflate: false,
            arrived: Arrival::UNKNOWN,
        }
    }

    fn chat() -> LogId {
        LogId::direct(client(1).user, UserId::new(2).unwrap())
    }

    fn page(seq: u64) -> Answer<Page> {
        let meta = EntryMeta { time_ms: 1, sender: 2, counted: seq, sender_counted: seq };
        let entry = StoredEntry { seq, meta, erased: false, body: bytes::Bytes::new() };
        Ok(Page { entries: vec![entry], head: Head::default(), more: false })
    }

    fn up_to(seq: u64, others_counted: Option<u64>) -> Mark {
        Mark { conversation: chat(), seq, is_private: false, others_counted }
    }

    /// So many marks whose entries were read.
    fn asked(marks: &mut Marks, stage: &mut Stage, count: u64) -> Vec<MarkRead> {
        (1..=count).for_each(|id| marks.take(client(id), up_to(9, None), &mut stage.turn()));
        let asked = marks.asked.clone();
        marks.end_tick(&mut stage.turn());
        assert!(
            matches!(&stage.asked()[..], [StoreRequest::Ranges(all)] if all.len() == asked.len())
        );
        asked
    }

    #[test]
    fn each_hears_where_the_cursor_is_and_others_only_that_it_moved() {
        let (mut stage, mut marks) = (Stage::new(), Marks::default());
        let all = asked(&mut marks, &mut stage, 5);
        // One entry can't be read; the others are told together.
        let answers = vec![page(9), page(9), Err(STORE_UNAVAILABLE), page(9), page(9)];
        marks.entries_read(all, Ok(answers), &mut stage.turn());
        let known = marks.known.clone();
        marks.end_tick(&mut stage.turn());
        assert!(matches!(&stage.asked()[..], [StoreRequest::Write(writes)] if writes.len() == 4));
        let found = held(ReadCursor::public(12, 10));
        let answer = vec![
            Written::Stored { version: 2 },
            Written::Unmet { set: 0, found },
            Written::Unknown,
            Written::Conflict { head: Head::default() },
        ];
        let told = marks.written(known, Ok(answer));
        let cursor = |marked: &Marked| {
            let response = marked.response.as_ref();
            response.map(|at| (at.seq, at.others_counted)).map_err(|refusal| *refusal)
        };
        let cursors: Vec<_> = told.iter().map(cursor).collect();
        let right = [Ok((9, 9)), Ok((12, 10)), Err(STORE_UNAVAILABLE), Err(INTERNAL)];
        assert_eq!(cursors, right);
        let receipts: Vec<_> = told.iter().map(|marked| marked.receipts.len()).collect();
        assert_eq!(receipts, [2, 0, 0, 0]);
        assert_eq!(marks.under_way, 0);
    }

    #[test]
    fn what_is_known_is_not_read() {
        let (mut stage, mut marks) = (Stage::new(), Marks::default());
        marks.take(client(1), up_to(9, Some(4)), &mut stage.turn());
        marks.end_tick(&mut stage.turn());
        let expected = ReadCursor::public(9, 4).write(chat(), client(1).user, Rule::IfGreater);
        assert_eq!(stage.asked(), [StoreRequest::Write(vec![expected])]);
    }

    /// A mark up to 7 that finds this cursor at each look: what is told to whom in the end, by how many
    /// writes.
    fn looked_at(is_private: bool, before: ReadCursor) -> (ReadCursor, Vec<(UserId, u64)>, usize) {
        let (mut stage, mut marks) = (Stage::new(), Marks::default());
        let mark = Mark { is_private, ..up_to(7, Some(4)) };
        marks.take(client(1), mark, &mut stage.turn());
        let (mut register, mut writes) = (held(before), 0);
        register.value = register.value.filter(|_| before.seq > 0);
        register.version *= u64::from(before.seq > 0);
        loop {
            let known = marks.known.clone();
            marks.end_tick(&mut stage.turn());
            let [StoreRequest::Write(write)] = &stage.asked()[..] else { panic!("no write") };
            let set = &write[0].sets[0];
            writes += 1;
            let holds =
                set.rule.holds(register.version, register.value.as_deref(), set.value.as_deref());
            let answer = match holds {
                true => Written::Stored { version: 4 },
                false => Written::Unmet { set: 0, found: register.clone() },
            };
            if holds {
                register.value.clone_from(&set.value);
            }
            if let Some(told) = marks.written(known, Ok(vec![answer])).pop() {
                let now = ReadCursor::of(&register).unwrap();
                assert_eq!(told.response, Ok(known_of(now)));
                assert_eq!(marks.under_way, 0);
                let receipts = told.receipts.iter().map(|push| (push.user, seq_of(&push.frame)));
                return (now, receipts.collect(), writes);
            }
        }
    }

    fn known_of(cursor: ReadCursor) -> wire::ReadReceipt {
        let ReadCursor { seq, others_counted, .. } = cursor;
        let (conversation_id, user_id) = (chat().to_wire(), 1);
        wire::ReadReceipt { conversation_id, user_id, seq, others_counted }
    }

    fn seq_of(frame: &EncodedFrame) -> u64 {
        match decode(frame.body()).unwrap().body {
            Some(Body::ReadReceipt(receipt)) => receipt.seq,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_private_mark_is_told_to_oneself_alone_and_takes_nothing_back() {
        let (me, other) = (client(1).user, UserId::new(2).unwrap());
        let cursor =
            |seq, others_counted, receipt_seq| ReadCursor { seq, others_counted, receipt_seq };
        let own = vec![(me, 7)];
        let private = |before| looked_at(true, before);
        assert_eq!(private(ReadCursor::default()), (cursor(7, 4, 0), own.clone(), 1));
        assert_eq!(private(ReadCursor::public(5, 3)), (cursor(7, 4, 5), own.clone(), 2));
        assert_eq!(private(cursor(5, 3, 2)), (cursor(7, 4, 2), own, 2));
        assert_eq!(private(ReadCursor::public(9, 6)), (ReadCursor::public(9, 6), vec![], 1));
        // A public one tells what was private.
        let public = |before| looked_at(false, before);
        let both = vec![(me, 7), (other, 7)];
        assert_eq!(public(ReadCursor::default()), (ReadCursor::public(7, 4), both.clone(), 1));
        assert_eq!(public(cursor(5, 3, 2)), (ReadCursor::public(7, 4), both, 1));
        assert_eq!(public(cursor(7, 4, 2)), (ReadCursor::public(7, 4), vec![(other, 7)], 2));
        assert_eq!(public(cursor(9, 6, 2)), (cursor(9, 6, 7), vec![(other, 7)], 2));
        assert_eq!(public(cursor(9, 6, 8)), (cursor(9, 6, 8), vec![], 1));
    }

    #[test]
    fn nobody_looks_for_ever() {
        let (mut stage, mut marks) = (Stage::new(), Marks::default());
        let mark = Mark { is_private: true, ..up_to(7, Some(4)) };
        marks.take(client(1), mark, &mut stage.turn());
        let mut looks = 0;
        let told = loop {
            let known = marks.known.clone();
            marks.end_tick(&mut stage.turn());
            looks += 1;
            let found = Register { version: looks, ..held(ReadCursor::public(5, 3)) };
            let unmet = Written::Unmet { set: 0, found };
            if let Some(told) = marks.written(known, Ok(vec![unmet])).pop() {
                break told;
            }
        };
        assert_eq!(told.response.err(), Some(TOO_MANY));
        assert_eq!((looks, marks.under_way), (u64::from(LOOKS_MAX) + 1, 0));
    }

    #[test]
    fn what_has_expired_can_be_read_to_its_end() {
        let mark = |seq| {
            let (client, conversation, found) = (client(1), chat(), None);
            let cursor = ReadCursor::public(seq, 0);
            MarkRead { client, conversation, cursor, is_private: false, found }
        };
        // Of a conversation of twelve, nine have expired.
        let expired = RunningCounts { sender: 2, counted: 9, sender_counted: 7 };
        let head = Head { seq: 12, expired, expired_below: 10, ..Head::default() };
        let page = Page { head, ..Page::default() };
        for seq in [1, 8, 9] {
            let cursor = mark(seq).at(&page).map(|mark| mark.cursor);
            assert_eq!(cursor, Ok(ReadCursor::public(9, 7)));
        }
        assert_eq!(mark(8).at(&Page::default()).err(), Some(NO_SUCH_CONVERSATION));
    }

    /// Which cursor a client was answered.
    fn answered(outbound: &Outbound) -> Result<(u64, u64), ErrorCode> {
        let Delivery::Response(response) = &outbound.delivery else { panic!("{outbound:?}") };
        match decode(response.body()).unwrap().body {
            Some(Body::ReadReceipt(cursor)) => Ok((cursor.seq, cursor.others_counted)),
            Some(Body::Error(error)) => Err(error.code()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lower_one_is_accepted_though_its_entry_is_damaged() {
        let (mut stage, mut marks) = (Stage::new(), Marks::default());
        let all = asked(&mut marks, &mut stage, 4);
        marks.entries_read(all, Ok(vec![Err(DATA_CORRUPT); 4]), &mut stage.turn());
        let damaged = marks.damaged.clone();
        marks.end_tick(&mut stage.turn());
        let key = ReadCursor::key(client(1).user);
        assert_eq!(stage.asked(), [StoreRequest::Register(vec![(chat(), key.clone()); 4])]);
        // The cursor is at what was asked for, or just below it, or was never moved.
        let at = |seq| Ok(held(ReadCursor::public(seq, 5)));
        let never = Ok(Register { key, version: 0, value: None });
        let answers = vec![at(9), at(8), never, Err(STORE_UNAVAILABLE)];
        marks.cursors_read(damaged, Ok(answers), &mut stage.turn());
        let told: Vec<_> = stage.effects.outbound.iter().flatten().map(answered).collect();
        let corrupt = Err(ErrorCode::DataCorrupt);
        let unavailable = Err(ErrorCode::StoreUnavailable);
        assert_eq!(told, [Ok((9, 5)), corrupt, corrupt, unavailable]);
        assert_eq!(marks.under_way, 0);
    }

    #[test]
    fn more_than_so_many_are_refused_until_some_are_answered() {
        let (mut stage, mut marks) = (Stage::new(), Marks::default());
        for id in 1..=MARKS_MAX as u64 + 1 {
            marks.take(client(id), up_to(9, None), &mut stage.turn());
        }
        assert_eq!((marks.asked.len(), marks.under_way), (MARKS_MAX, MARKS_MAX), "one was refused");
        // So many entries are in memory at a time.
        while marks.under_way > 0 {
            let waiting = marks.asked.clone();
            marks.end_tick(&mut stage.turn());
            let reading = waiting.len() - marks.asked.len();
            assert!(reading > 0 && marks.reading <= MARK_READS_MAX);
            marks.end_tick(&mut stage.turn());
            assert_eq!(stage.asked().len(), 1, "the others wait for it");
            let read = waiting[..reading].to_vec();
            marks.entries_read(read, Err(STORE_UNAVAILABLE), &mut stage.turn());
        }
        marks.take(client(1), up_to(9, None), &mut stage.turn());
        assert_eq!(marks.asked.len(), 1);
    }
}
