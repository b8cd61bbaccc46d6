//! Which of some conversations have changed, with their heads.

use dunlin_protocol::LogId;

use super::detailing::Positions;
use super::lists::Member;
use crate::refusal::{DATA_CORRUPT, INTERNAL, MOMENT_UNKNOWN, Refusal, store_refusal};
use crate::store::{ChangedLogs, Head, Moment, StoreError};
use crate::worker::flow::Answer;

/// Since when it is asked what has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// Since the client was told everything.
    Everything,
    /// Since the last answer, of several.
    LastAnswer,
}

/// Some conversations of a user, with what is known of each.
#[derive(Debug)]
pub(super) struct Comparing {
    members: Vec<Member>,
    pub(super) is_last: bool,
    since_everything: Option<Heads>,
    since_last_answer: Option<Heads>,
    is_moment_unknown: bool,
    /// Both together, by ascending place.
    compared: Vec<Compared>,
    /// The places of those whose heads are read, since something else than they says that they changed.
    lacking: Vec<u32>,
}

/// The changed ones: their places among all, and their heads. `None` of one that is damaged.
type Heads = Vec<(u32, Option<Head>)>;

/// A conversation that is to be looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compared {
    at: u32,
    pub(super) head: Head,
    /// It has changed since the last answer.
    pub(super) is_again: bool,
}

impl Comparing {
    /// `asks_twice`: also since the last answer.
    pub(super) fn new(members: Vec<Member>, is_last: bool, asks_twice: bool) -> Comparing {
        Comparing {
            members,
            is_last,
            since_everything: None,
            since_last_answer: if asks_twice { None } else { Some(Vec::new()) },
            is_moment_unknown: false,
            compared: Vec::new(),
            lacking: Vec::new(),
        }
    }

    pub(super) fn logs(&self) -> Vec<LogId> {
        self.members.iter().map(|member| member.log).collect()
    }

    /// Some of the heads are here, as of the moment that is returned.
    pub(super) fn take(
        &mut self,
        since: Since,
        answer: Answer<ChangedLogs>,
    ) -> Result<Option<Moment>, Refusal> {
        let (heads, now) = match answer {
            Ok(ChangedLogs { heads, now }) => (heads, Some(now)),
            Err(refusal) if refusal == MOMENT_UNKNOWN => {
                self.is_moment_unknown = true;
                (Vec::new(), None)
            }
            Err(refusal) => return Err(refusal),
        };
        let head = |(at, head): (u32, Result<Head, StoreError>)| {
            let is_asked = (at as usize) < self.members.len();
            let head = head.map_err(|error| store_refusal(&error));
            if is_asked { Ok((at, head_of(head)?)) } else { Err(INTERNAL) }
        };
        let heads: Heads = heads.into_iter().map(head).collect::<Result<_, Refusal>>()?;
        match since {
            Since::Everything => self.since_everything = Some(heads),
            Since::LastAnswer => self.since_last_answer = Some(heads),
        }
        Ok(now)
    }

    /// Whether one of two answers is missing.
    pub(super) fn lacks_an_answer(&self) -> bool {
        self.since_everything.is_none() || self.since_last_answer.is_none()
    }

    /// Whether the store does not know since when it was asked.
    pub(super) fn is_moment_unknown(&self) -> bool {
        self.is_moment_unknown
    }

    /// Those whose heads have to be read although nothing has changed in them: what changed is told by the account,
    /// since a version of it (`None` if all are told in any case), or is claimed by the client.
    pub(super) fn lacking(&mut self, version: Option<u64>, positions: &Positions) -> Vec<LogId> {
        let again = self.since_last_answer.take().into_iter().flatten();
        let once = self.since_everything.take().into_iter().flatten();
        let again = again.map(|(at, head)| (at, head, true));
        let mut known: Vec<_> = again.chain(once.map(|(at, head)| (at, head, false))).collect();
        // Of one that is there twice the first remains: it says more.
        known.sort_by_key(|(at, _, is_again)| (*at, !is_again));
        known.dedup_by_key(|(at, _, _)| *at);
        let mut next_known = known.iter().map(|(at, _, _)| *at).peekable();
        for (at, member) in self.members.iter().enumerate() {
            let at = at as u32;
            if next_known.next_if_eq(&at).is_some() {
                continue;
            }
            let is_changed = version.is_some_and(|version| member.version > version);
            if is_changed || positions.contains_key(&member.log) {
                self.lacking.push(at);
            }
        }
        // Of what can't be read now nothing is said: the client keeps what it has.
        let compared = known
            .into_iter()
            .filter_map(|(at, head, is_again)| head.map(|head| Compared { at, head, is_again }));
        self.compared = compared.collect();
        self.lacking.iter().map(|at| self.members[*at as usize].log).collect()
    }

    /// The heads that were lacking are here.
    pub(super) fn take_heads(&mut self, heads: Vec<Answer<Head>>) -> Result<(), Refusal> {
        if heads.len() != self.lacking.len() {
            return Err(INTERNAL);
        }
        for (at, answer) in std::mem::take(&mut self.lacking).into_iter().zip(heads) {
            let head = head_of(answer)?;
            self.compared.extend(head.map(|head| Compared { at, head, is_again: false }));
        }
        Ok(())
    }

    /// All that are to be looked at.
    pub(super) fn into_compared(self) -> impl Iterator<Item = (Member, Compared)> {
        let Comparing { members, compared, .. } = self;
        compared.into_iter().map(move |compared| (members[compared.at as usize], compared))
    }
}

/// Damage holds up what it is in, and nothing else.
fn head_of(answer: Answer<Head>) -> Result<Option<Head>, Refusal> {
    match answer {
        Err(refusal) if refusal == DATA_CORRUPT => Ok(None),
        head => head.map(Some),
    }
}
