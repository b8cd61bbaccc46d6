//! The contract of stores can fail: stores with one defect each are found, by the part that is
//! there for it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use dunlin_core::store::contract::{PARTS, Part};
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{
    Append, Appended, CursorMove, Head, Range, Store, StoreDone, StoreReply, StoreRequest,
};
use dunlin_protocol::LogId;
use parking_lot::Mutex;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    /// Keys are forgotten.
    NoDedupe,
    /// The key is looked at after the sequence.
    SequenceBeforeKey,
    /// A duplicate has the digest of the retry.
    DigestOfRetry,
    /// Whatever sequence is wanted, the entry is stored after the head.
    NoFence,
    /// Each item of a batch is judged alone.
    ItemsAlone,
    /// A conflict does not say where the head is.
    NoHead,
    /// Now and then something is called stored that is not.
    Forgets,
    /// The numbers beside an entry are lost.
    NoNumbers,
    /// A cursor can move backwards.
    CursorsBack,
    /// The limit of bytes is not kept.
    NoByteLimit,
    /// It is not said that something was left out.
    NoMore,
    /// `backwards` is not looked at.
    OnlyForwards,
    /// Lists begin at the beginning again.
    ListsStartOver,
    /// Heads are those of a replica that is one append behind.
    OldHeads,
    /// Appends that are under way at the same time overtake each other.
    Overtaking,
    /// It answers before `submit` returns.
    AnswersWithin,
    /// It answers on another thread, and `submit` waits for that.
    WaitsWithin,
}

/// Which part must find it.
const FOUND_BY: &[(Defect, &str)] = &[
    (Defect::NoDedupe, "a_key_is_used_once_in_its_log"),
    (Defect::SequenceBeforeKey, "a_key_is_used_once_in_its_log"),
    (Defect::DigestOfRetry, "a_key_is_used_once_in_its_log"),
    (Defect::NoFence, "the_fence_orders_appends"),
    (Defect::ItemsAlone, "a_batch_is_done_in_order"),
    (Defect::ItemsAlone, "what_counts_on_a_duplicate_is_refused"),
    (Defect::NoHead, "the_fence_orders_appends"),
    (Defect::Forgets, "many_threads_share_one_log"),
    (Defect::NoNumbers, "heads_tell_the_newest_numbers"),
    (Defect::CursorsBack, "cursors_only_move_forwards"),
    (Defect::NoByteLimit, "ranges_keep_their_limits"),
    (Defect::NoMore, "ranges_keep_their_limits"),
    (Defect::OnlyForwards, "ranges_keep_their_limits"),
    (Defect::ListsStartOver, "logs_are_listed_by_kind_and_id"),
    (Defect::OldHeads, "a_read_sees_what_was_stored_before"),
    (Defect::Overtaking, "appends_of_one_caller_keep_their_order"),
    (Defect::AnswersWithin, "submitting_waits_for_no_answer"),
    (Defect::WaitsWithin, "submitting_waits_for_no_answer"),
];

/// A store in memory with a defect.
struct Defective {
    defect: Defect,
    sound: MemoryStore,
    old_heads: Mutex<BTreeMap<LogId, Head>>,
    cursors: Mutex<BTreeMap<CursorKey, u64>>,
    waiting: Mutex<Option<(StoreRequest, StoreDone)>>,
    batches: AtomicU64,
}

type CursorKey = (LogId, u64);

impl Defective {
    fn new(defect: Defect) -> Defective {
        Defective {
            defect,
            sound: MemoryStore::default(),
            old_heads: Mutex::default(),
            cursors: Mutex::default(),
            waiting: Mutex::default(),
            batches: AtomicU64::new(0),
        }
    }

    /// The store in memory answers within `submit`.
    fn ask(&self, request: StoreRequest) -> StoreReply {
        let (sender, receiver) = mpsc::channel();
        self.sound.submit(request, Box::new(move |answer| sender.send(answer).unwrap()));
        receiver.recv().unwrap().unwrap()
    }

    fn head(&self, log: LogId) -> Head {
        match self.ask(StoreRequest::Heads(vec![log])) {
            StoreReply::Heads(heads) => heads[0],
            other => panic!("{other:?}"),
        }
    }

    fn append(&self, items: Vec<Append>) -> Vec<Appended> {
        match self.ask(StoreRequest::Append(items)) {
            StoreReply::Appended(answers) => answers,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&self, request: StoreRequest) -> StoreReply {
        match request {
            StoreRequest::Append(items) => StoreReply::Appended(self.append_wrongly(items)),
            StoreRequest::Range(range) => self.read_wrongly(range),
            StoreRequest::Heads(logs) if self.defect == Defect::OldHeads => {
                let old = self.old_heads.lock();
                let head = |log| old.get(&log).copied().unwrap_or_default();
                StoreReply::Heads(logs.into_iter().map(head).collect())
            }
            StoreRequest::Cursors(questions) if self.defect == Defect::CursorsBack => {
                let cursors = self.cursors.lock();
                let cursor = |(log, user): (LogId, dunlin_protocol::UserId)| {
                    cursors.get(&(log, user.get())).copied().unwrap_or(0)
                };
                StoreReply::Cursors(questions.into_iter().map(cursor).collect())
            }
            StoreRequest::Logs { kind, limit, .. } if self.defect == Defect::ListsStartOver => {
                self.ask(StoreRequest::Logs { kind, after: None, limit })
            }
            request => self.ask(request),
        }
    }

    fn append_wrongly(&self, mut items: Vec<Append>) -> Vec<Appended> {
        let batch = self.batches.fetch_add(1, Ordering::Relaxed);
        if self.defect == Defect::Forgets && batch % 50 == 49 {
            return vec![Appended::Stored; items.len()];
        }
        if self.defect == Defect::ItemsAlone {
            return items.into_iter().flat_map(|item| self.append(vec![item])).collect();
        }
        for item in &mut items {
            self.spoil(item);
        }
        let asked = items.clone();
        let mut answers = self.append(items);
        for (item, answer) in asked.iter().zip(&mut answers) {
            self.spoil_answer(item, answer);
        }
        answers
    }

    fn spoil(&self, item: &mut Append) {
        match self.defect {
            Defect::NoDedupe => item.key = None,
            Defect::NoFence => item.seq = self.head(item.log).seq + 1,
            Defect::NoNumbers => item.meta.counted = 0,
            Defect::SequenceBeforeKey if item.seq != self.head(item.log).seq + 1 => {
                item.key = None;
            }
            Defect::OldHeads => {
                self.old_heads.lock().insert(item.log, self.head(item.log));
            }
            _ => {}
        }
    }

    fn spoil_answer(&self, item: &Append, answer: &mut Appended) {
        match (self.defect, answer) {
            (Defect::DigestOfRetry, Appended::Duplicate { digest, .. }) => *digest = item.digest,
            (Defect::NoHead, Appended::Conflict { head }) => *head = Head::default(),
            (Defect::CursorsBack, Appended::Stored) => {
                if let Some(CursorMove { conversation, user, seq }) = item.cursor {
                    self.cursors.lock().insert((conversation, user.get()), seq);
                }
            }
            _ => {}
        }
    }

    fn read_wrongly(&self, mut range: Range) -> StoreReply {
        match self.defect {
            Defect::NoByteLimit => range.bytes_max = usize::MAX,
            Defect::OnlyForwards => range.backwards = false,
            _ => {}
        }
        match self.ask(StoreRequest::Range(range)) {
            StoreReply::Page(mut page) => {
                page.more &= self.defect != Defect::NoMore;
                StoreReply::Page(page)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Of two appends that come one after the other, the second is done first.
    fn overtake(&self, request: StoreRequest, done: StoreDone) {
        let earlier = self.waiting.lock().take();
        match (earlier, request) {
            (None, StoreRequest::Append(items)) => {
                *self.waiting.lock() = Some((StoreRequest::Append(items), done));
            }
            (earlier, request) => {
                done(Ok(self.answer(request)));
                if let Some((request, done)) = earlier {
                    done(Ok(self.answer(request)));
                }
            }
        }
    }
}

impl Store for Defective {
    fn epoch(&self) -> u64 {
        self.sound.epoch()
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        match self.defect {
            Defect::Overtaking => self.overtake(request, done),
            Defect::WaitsWithin => {
                let answer = self.answer(request);
                thread::spawn(move || done(Ok(answer))).join().unwrap();
            }
            _ => done(Ok(self.answer(request))),
        }
    }
}

fn fails(part: &Part, defect: Defect) -> bool {
    catch_unwind(AssertUnwindSafe(|| (part.check)(&Defective::new(defect)))).is_err()
}

#[test]
fn each_defect_is_found_by_the_part_that_is_there_for_it() {
    thread::scope(|scope| {
        for &(defect, name) in FOUND_BY {
            let part = PARTS.iter().find(|part| part.name == name).unwrap();
            scope.spawn(move || assert!(fails(part, defect), "{name} does not find {defect:?}"));
        }
    });
}

#[test]
fn every_part_has_a_defect_that_it_finds() {
    for part in PARTS {
        assert!(FOUND_BY.iter().any(|(_, name)| *name == part.name), "{}", part.name);
    }
}
