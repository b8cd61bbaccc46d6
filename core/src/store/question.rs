//! Questions whose answers have a type: whoever asks for pages gets pages, or an error.
//!
//! A store takes a [`StoreRequest`] and answers with a [`StoreReply`], so that it is one trait that can
//! be wrapped. Which of the replies belongs to which request, and that there is one item for each
//! that was asked, is looked at here and nowhere else.

use dunlin_protocol::{LogId, LogKind};

use super::{
    ChangeRange, ChangedLogs, Consumer, ConsumerChange, DedupeKey, Deleted, Deletion, FeedPage,
    FeedRange, Head, KeyedEntry, Moment, Page, Range, Register, RegisterKey, RegisterRange,
    Registers, Store, StoreError, StoreReply, StoreRequest, Write, Written,
};

/// What a store answers to one kind of question.
pub trait Reply: Sized {
    /// `None` if it is the answer to another kind.
    fn of(reply: StoreReply) -> Option<Self>;
}

/// Something that can be asked of a store.
pub trait Question {
    /// What answers it.
    type Answer: Reply + 'static;

    /// As a store takes it.
    fn request(self) -> StoreRequest;
}

/// The newest numbers of logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heads(pub Vec<LogId>);

/// Which of these logs have changed: see [`StoreRequest::Changed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Which logs.
    pub logs: Vec<LogId>,
    /// Since when; `None` for all of these that were ever written to.
    pub since: Option<Moment>,
}

/// The logs of a kind, by ascending id: see [`StoreRequest::Logs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logs {
    /// Which kind.
    pub kind: LogKind,
    /// Where to go on.
    pub after: Option<LogId>,
    /// At most so many.
    pub limit: usize,
}

/// All consumers of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumers;

/// Asks a store; `done` gets the answer as [`Store::submit`] says. A reply that is none to this
/// question is [`StoreError::Mismatched`].
pub fn ask<Q: Question>(
    store: &dyn Store,
    question: Q,
    done: impl FnOnce(Result<Q::Answer, StoreError>) + Send + 'static,
) {
    let request = question.request();
    let asked = request.items();
    let answer = move |reply: StoreReply| {
        let reply = Some(reply).filter(|reply| reply.items() == asked);
        reply.and_then(Q::Answer::of).ok_or(StoreError::Mismatched)
    };
    store.submit(request, Box::new(move |reply| done(reply.and_then(answer))));
}

impl StoreRequest {
    /// How many items are asked, if each has an answer of its own.
    pub fn items(&self) -> Option<usize> {
        match self {
            StoreRequest::Write(writes) => Some(writes.len()),
            StoreRequest::Ranges(ranges) => Some(ranges.len()),
            StoreRequest::Register(registers) => Some(registers.len()),
            StoreRequest::Registers(ranges) => Some(ranges.len()),
            StoreRequest::Changes(ranges) => Some(ranges.len()),
            StoreRequest::Delete(deletions) => Some(deletions.len()),
            StoreRequest::Heads(logs) => Some(logs.len()),
            StoreRequest::Keys(keys) => Some(keys.len()),
            StoreRequest::Changed { .. }
            | StoreRequest::Feed(_)
            | StoreRequest::Consumer(_)
            | StoreRequest::Consumers
            | StoreRequest::Logs { .. } => None,
        }
    }
}

impl StoreReply {
    /// How many items were answered, if it has one for each that was asked.
    pub fn items(&self) -> Option<usize> {
        match self {
            StoreReply::Written(verdicts) => Some(verdicts.len()),
            StoreReply::Pages(pages) => Some(pages.len()),
            StoreReply::Register(registers) => Some(registers.len()),
            StoreReply::Registers(lists) => Some(lists.len()),
            StoreReply::Deleted(verdicts) => Some(verdicts.len()),
            StoreReply::Heads(heads) => Some(heads.len()),
            StoreReply::Keys(keys) => Some(keys.len()),
            StoreReply::Changed(_)
            | StoreReply::Feed(_)
            | StoreReply::Consumers(_)
            | StoreReply::Done
            | StoreReply::Logs(_) => None,
        }
    }
}

/// Implements [`Reply`] for what an arm of [`StoreReply`] holds.
macro_rules! reply {
    ($arm:ident, $held:ty) => {
        impl Reply for $held {
            fn of(reply: StoreReply) -> Option<$held> {
                if let StoreReply::$arm(held) = reply { Some(held) } else { None }
            }
        }
    };
}

reply!(Written, Vec<Written>);
reply!(Pages, Vec<Result<Page, StoreError>>);
reply!(Register, Vec<Result<Register, StoreError>>);
reply!(Registers, Vec<Result<Registers, StoreError>>);
reply!(Deleted, Vec<Deleted>);
reply!(Heads, Vec<Result<Head, StoreError>>);
reply!(Changed, ChangedLogs);
reply!(Keys, Vec<Result<Option<KeyedEntry>, StoreError>>);
reply!(Feed, FeedPage);
reply!(Consumers, Vec<Consumer>);
reply!(Logs, Vec<LogId>);

impl Reply for () {
    fn of(reply: StoreReply) -> Option<()> {
        if let StoreReply::Done = reply { Some(()) } else { None }
    }
}

/// Implements [`Question`]: what is asked, what answers it, and the request that it makes.
macro_rules! question {
    ($asked:ty => $answer:ty, $pattern:pat => $request:expr) => {
        impl Question for $asked {
            type Answer = $answer;

            fn request(self) -> StoreRequest {
                let $pattern = self;
                $request
            }
        }
    };
}

question!(Vec<Write> => Vec<Written>, writes => StoreRequest::Write(writes));
question!(Vec<Range> => Vec<Result<Page, StoreError>>, ranges => StoreRequest::Ranges(ranges));
question!(
    Vec<(LogId, RegisterKey)> => Vec<Result<Register, StoreError>>,
    names => StoreRequest::Register(names)
);
question!(
    Vec<RegisterRange> => Vec<Result<Registers, StoreError>>,
    ranges => StoreRequest::Registers(ranges)
);
question!(
    Vec<ChangeRange> => Vec<Result<Registers, StoreError>>,
    ranges => StoreRequest::Changes(ranges)
);
question!(Vec<Deletion> => Vec<Deleted>, deletions => StoreRequest::Delete(deletions));
question!(
    Heads => Vec<Result<Head, StoreError>>,
    Heads(logs) => StoreRequest::Heads(logs)
);
question!(
    Changed => ChangedLogs,
    Changed { logs, since } => StoreRequest::Changed { logs, since }
);
question!(
    Vec<(LogId, DedupeKey)> => Vec<Result<Option<KeyedEntry>, StoreError>>,
    keys => StoreRequest::Keys(keys)
);
question!(FeedRange => FeedPage, range => StoreRequest::Feed(range));
question!(ConsumerChange => (), change => StoreRequest::Consumer(change));
question!(Consumers => Vec<Consumer>, Consumers => StoreRequest::Consumers);
question!(
    Logs => Vec<LogId>,
    Logs { kind, after, limit } => StoreRequest::Logs { kind, after, limit }
);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::store::StoreDone;

    /// Gives the same reply to whatever it is asked.
    struct Parrot(StoreReply);

    impl Store for Parrot {
        fn epoch(&self) -> u64 {
            1
        }

        fn submit(&self, _: StoreRequest, done: StoreDone) {
            done(Ok(self.0.clone()));
        }
    }

    fn answer<Q: Question>(reply: StoreReply, question: Q) -> Result<Q::Answer, StoreError>
    where
        Q::Answer: Send,
    {
        let (sender, receiver) = mpsc::channel();
        ask(&Parrot(reply), question, move |answer| sender.send(answer).unwrap());
        receiver.recv().unwrap()
    }

    #[test]
    fn a_reply_fits_by_its_kind_and_its_items() {
        let heads = || StoreReply::Heads(vec![Ok(Head::default())]);
        let log = LogId::account(dunlin_protocol::UserId::new(1).unwrap());
        assert_eq!(answer(heads(), Heads(vec![log])), Ok(vec![Ok(Head::default())]));
        assert_eq!(answer(heads(), Heads(vec![log, log])), Err(StoreError::Mismatched));
        assert_eq!(answer(heads(), Consumers), Err(StoreError::Mismatched));
        assert_eq!(answer(StoreReply::Consumers(Vec::new()), Consumers), Ok(Vec::new()));
        assert_eq!(
            answer(StoreReply::Logs(vec![log]), Logs { kind: log.kind(), after: None, limit: 9 }),
            Ok(vec![log])
        );
    }
}
