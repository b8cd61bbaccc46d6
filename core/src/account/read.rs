//! Moving read cursors: all that are asked for in a tick go to the store together.
//!
//! ```text
//! taken ─(end of tick)─► the entry up to which was read ─(end of tick)─► the register moves
//!   └────────── that is the newest one, which is known ────────▲
//! ```
//!
//! Where that entry can't be read, since all up to there has expired or it is damaged, the cursor stays, and
//! is read instead: a lower sequence is accepted whatever became of its entry.
//!
//! Who asked is answered with the cursor as it is then. If it has moved, the other member and the
//! other sessions of the user are told.

use dunlin_protocol::wire::{self, ErrorCode, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId};

use super::cursor::ReadCursor;
use crate::audience::push::SignalPush;
use crate::entry::others_counted;
use crate::limits::{MARK_READS_MAX, MARKS_MAX, OVERLOADED_RETRY_MS, RESPONSE_BYTES_MAX};
use crate::membership::other_member;
use crate::refusal::{DATA_CORRUPT, INTERNAL, NO_SUCH_CONVERSATION, Refusal, STORE_UNAVAILABLE};
use crate::request::Client;
use crate::store::{Head, Page, Range, Register, RegisterKey, RunningCounts, Written};
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
}

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
    /// Takes a request of a client. `others_counted` is what the cursor counts there, if that is known.
    pub(crate) fn take(
        &mut self,
        client: Client,
        conversation: LogId,
        seq: u64,
        others_counted: Option<u64>,
        turn: &mut Turn<'_>,
    ) {
        if other_member(conversation, client.user).is_none() {
            turn.effects.refuse(client.conn, client.request_id, NO_SUCH_CONVERSATION);
            return;
        }
        if self.under_way >= MARKS_MAX {
            turn.effects.refuse(client.conn, client.request_id, TOO_MANY);
            return;
        }
        self.under_way += 1;
        let cursor = ReadCursor { seq, others_counted: others_counted.unwrap_or(0) };
        let marks = if others_counted.is_some() { &mut self.known } else { &mut self.asked };
        marks.push(MarkRead { client, conversation, cursor });
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
            self.under_way -= 1;
            let cursor = answer.and_then(|register| ReadCursor::of(&register));
            let response = match cursor {
                Ok(cursor) if cursor.seq < mark.cursor.seq => Err(DATA_CORRUPT),
                cursor => cursor.map(|cursor| mark.own(cursor)),
            };
            mark.answer(response, turn);
        }
    }

    /// The registers were written, or not.
    pub(crate) fn written(
        &mut self,
        known: Vec<MarkRead>,
        answer: Answer<Vec<Written>>,
    ) -> impl Iterator<Item = Marked> + use<> {
        self.under_way -= known.len();
        let answers = answer.map(|all| all.into_iter().map(Ok).collect());
        each(known, answers).map(|(mark, answer)| mark.done(answer))
    }
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
        Ok(MarkRead { cursor: ReadCursor { seq, others_counted }, ..self })
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

    fn write(&self) -> crate::store::Write {
        self.cursor.moving(self.conversation, self.client.user)
    }

    fn done(self, answer: Answer<Written>) -> Marked {
        let stays = |response| Marked { client: self.client, response, receipts: Vec::new() };
        match answer {
            Ok(Written::Stored { .. }) => {
                Marked { receipts: self.receipts(), ..stays(Ok(self.own(self.cursor))) }
            }
            // It is there already, or further.
            Ok(Written::Unmet { found, .. }) => {
                stays(ReadCursor::of(&found).map(|at| self.own(at)))
            }
            Ok(Written::Corrupt) => stays(Err(DATA_CORRUPT)),
            Ok(Written::Unknown) => stays(Err(STORE_UNAVAILABLE)),
            Ok(Written::Duplicate { .. } | Written::Conflict { .. }) => stays(Err(INTERNAL)),
            Err(refusal) => stays(Err(refusal)),
        }
    }

    /// What the user is told of the own cursor.
    fn own(&self, cursor: ReadCursor) -> wire::ReadReceipt {
        wire::ReadReceipt { others_counted: cursor.others_counted, ..self.receipt(cursor.seq) }
    }

    fn receipt(&self, seq: u64) -> wire::ReadReceipt {
        let (conversation_id, user_id) = (self.conversation.to_wire(), self.client.user.get());
        wire::ReadReceipt { conversation_id, user_id, seq, others_counted: 0 }
    }

    fn receipts(&self) -> Vec<SignalPush> {
        let Client { user, conn, .. } = self.client;
        let push = |receipt| EncodedFrame::push(Body::ReadReceipt(receipt));
        let is_receipt = true;
        let frame = push(self.own(self.cursor));
        let own = SignalPush { user, frame, except: Some(conn), is_receipt };
        let other = other_member(self.conversation, user).filter(|other| *other != user);
        let other = other.map(|user| {
            let frame = push(self.receipt(self.cursor.seq));
            SignalPush { user, frame, except: None, is_receipt }
        });
        [own].into_iter().chain(other).collect()
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::UserId;
    use dunlin_protocol::frame::decode;

    use super::*;
    use crate::store::{EntryMeta, Head, StoreRequest, StoredEntry};
    use crate::transport::{ConnId, Delivery, Outbound};
    use crate::worker::turn::stage::Stage;

    fn client(request_id: u64) -> Client {
        let conn = ConnId { shard: 0, slot: 1, generation: 1 };
        Client { conn, user: UserId::new(1).unwrap(), request_id, may_deflate: false }
    }

    fn chat() -> LogId {
        LogId::direct(client(1).user, UserId::new(2).unwrap())
    }

    fn page(seq: u64) -> Answer<Page> {
        let meta = EntryMeta { time_ms: 1, sender: 2, counted: seq, sender_counted: seq };
        let entry = StoredEntry { seq, meta, erased: false, body: bytes::Bytes::new() };
        Ok(Page { entries: vec![entry], head: Head::default(), more: false })
    }

    /// What holds a cursor.
    fn register(cursor: ReadCursor) -> Register {
        let set = cursor.moving(chat(), client(1).user).sets.remove(0);
        Register { key: set.key, version: 3, value: set.value }
    }

    /// So many marks whose entries were read.
    fn asked(marks: &mut Marks, stage: &mut Stage, count: u64) -> Vec<MarkRead> {
        (1..=count).for_each(|id| marks.take(client(id), chat(), 9, None, &mut stage.turn()));
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
        let found = register(ReadCursor { seq: 12, others_counted: 10 });
        let answer = vec![
            Written::Stored { version: 2 },
            Written::Unmet { set: 0, found },
            Written::Unknown,
            Written::Conflict { head: Head::default() },
        ];
        let told: Vec<_> = marks.written(known, Ok(answer)).collect();
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
        marks.take(client(1), chat(), 9, Some(4), &mut stage.turn());
        marks.end_tick(&mut stage.turn());
        let expected = ReadCursor { seq: 9, others_counted: 4 }.moving(chat(), client(1).user);
        assert_eq!(stage.asked(), [StoreRequest::Write(vec![expected])]);
    }

    #[test]
    fn what_has_expired_can_be_read_to_its_end() {
        let mark = |seq| {
            let cursor = ReadCursor { seq, others_counted: 0 };
            MarkRead { client: client(1), conversation: chat(), cursor }
        };
        // Of a conversation of twelve, nine have expired.
        let expired = RunningCounts { sender: 2, counted: 9, sender_counted: 7 };
        let head = Head { seq: 12, expired, expired_below: 10, ..Head::default() };
        let page = Page { head, ..Page::default() };
        for seq in [1, 8, 9] {
            let cursor = mark(seq).at(&page).map(|mark| mark.cursor);
            assert_eq!(cursor, Ok(ReadCursor { seq: 9, others_counted: 7 }));
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
        let at = |seq| Ok(register(ReadCursor { seq, others_counted: 5 }));
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
            marks.take(client(id), chat(), 9, None, &mut stage.turn());
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
        marks.take(client(1), chat(), 9, None, &mut stage.turn());
        assert_eq!(marks.asked.len(), 1);
    }
}
