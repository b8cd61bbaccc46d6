//! Messages that the server has stored, the newest of them: should it be put back to an earlier state, they are
//! sent again with their old ids. What it still has it knows again; what it has lost is there once more.

use std::collections::VecDeque;

use dunlin_protocol::LogId;

use super::outbox::Said;

/// What a message takes beside its content, about: so that empty ones are bounded, too.
const OVERHEAD_BYTES: usize = 128;

/// The newest messages that were stored, of all conversations, in the order of their answers.
#[derive(Debug)]
pub(super) struct Kept {
    messages: VecDeque<(LogId, Said)>,
    bytes: usize,
    /// 0: none is kept.
    bytes_max: usize,
}

impl Kept {
    pub(super) fn new(bytes_max: usize) -> Kept {
        Kept { messages: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// A message is stored. The oldest go for it if there is no room.
    pub(super) fn keep(&mut self, conversation: LogId, said: &Said) {
        if bytes(said) > self.bytes_max {
            return;
        }
        self.bytes += bytes(said);
        self.messages.push_back((conversation, said.clone()));
        while self.bytes > self.bytes_max
            && let Some((_, oldest)) = self.messages.pop_front()
        {
            self.bytes -= bytes(&oldest);
        }
    }

    /// All of it, or that of one conversation: it is kept no more, until it is stored again.
    pub(super) fn take(&mut self, conversation: Option<LogId>) -> Vec<(LogId, Said)> {
        let is_wanted = |of: &LogId| conversation.is_none_or(|wanted| wanted == *of);
        let all = std::mem::take(&mut self.messages);
        let (taken, left): (Vec<_>, Vec<_>) = all.into_iter().partition(|(of, _)| is_wanted(of));
        self.messages = left.into();
        self.bytes = self.messages.iter().map(|(_, said)| bytes(said)).sum();
        taken
    }
}

fn bytes(said: &Said) -> usize {
    OVERHEAD_BYTES + said.content.len() + said.content_type.len()
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::wire::Notice;
    use dunlin_protocol::{ClientMessageId, UserId};

    use super::*;

    fn conversation(id: u64) -> LogId {
        LogId::direct(UserId::new(1).unwrap(), UserId::new(id).unwrap())
    }

    fn said(id: u8, bytes: usize) -> Said {
        let (message_id, content) = (ClientMessageId([id; 16]), vec![b'x'; bytes].into());
        Said { message_id, content_type: String::new(), content, notice: Notice::Loud }
    }

    fn ids(taken: &[(LogId, Said)]) -> Vec<u8> {
        taken.iter().map(|(_, said)| said.message_id.0[0]).collect()
    }

    #[test]
    fn the_newest_are_kept_within_their_bound() {
        let mut kept = Kept::new(3 * (OVERHEAD_BYTES + 100));
        (1..=5).for_each(|id| kept.keep(conversation(2), &said(id, 100)));
        kept.keep(conversation(2), &said(6, 1000));
        assert_eq!(ids(&kept.take(None)), [3, 4, 5], "one that has no room at all takes nobody's");
        assert_eq!((kept.bytes, kept.take(None).len()), (0, 0));
        let mut none = Kept::new(0);
        none.keep(conversation(2), &said(1, 0));
        assert_eq!(none.take(None).len(), 0);
    }

    #[test]
    fn one_conversation_is_taken_and_the_others_stay() {
        let mut kept = Kept::new(10_000);
        for (id, with) in [(1, 2), (2, 3), (3, 2), (4, 3)] {
            kept.keep(conversation(with), &said(id, 10));
        }
        assert_eq!(ids(&kept.take(Some(conversation(2)))), [1, 3]);
        assert_eq!(ids(&kept.take(None)), [2, 4]);
    }
}
