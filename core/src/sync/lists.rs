//! Which conversations users have, as far as a worker remembers it.
//!
//! To list ten thousand registers takes longer than to ask whether anything is new in them, and whoever
//! comes back asks for both. So the lists of those who were here last are kept, with the version of the
//! account that they are as of: what has changed since then is asked for in any case, so a list is
//! never out of date, whoever has written to the account.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_protocol::{LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::limits::{SYNC_LIST_LEAST, SYNC_LIST_MOST, SYNC_LISTS_BYTES_MAX};

/// A conversation of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) log: LogId,
    /// The version of the account that has changed something of it.
    pub(super) version: u64,
}

/// The conversations of a user.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    /// As of this version of the account.
    pub(super) version: u64,
    /// Ascending.
    pub(super) members: Vec<Member>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lists {
    held: HashMap<UserId, (Arc<List>, u64), RandomState>,
    /// Their users by when they were used last.
    used: BTreeMap<u64, UserId>,
    uses: u64,
    bytes: usize,
}

impl List {
    /// Memory of it, with what is around it.
    fn bytes(&self) -> usize {
        self.members.capacity() * size_of::<Member>() + 160
    }

    /// The same after these changes, of which the last of each counts; `None` are those that are no more.
    pub(super) fn changed(&self, version: u64, changes: &[(LogId, Option<u64>)]) -> List {
        let mut newest: BTreeMap<LogId, Option<u64>> = changes.iter().copied().collect();
        let mut members = Vec::with_capacity(self.members.len() + newest.len());
        for member in &self.members {
            match newest.remove(&member.log) {
                None => members.push(*member),
                Some(version) => {
                    members.extend(version.map(|version| Member { version, ..*member }));
                }
            }
        }
        let new = newest.into_iter();
        let new = new.filter_map(|(log, version)| Some(Member { log, version: version? }));
        members.extend(new);
        members.sort_unstable_by_key(|member| member.log);
        List { version, members }
    }
}

impl Lists {
    /// The list of a user, if it is remembered; it counts as used now.
    pub(super) fn of(&mut self, user: UserId) -> Option<Arc<List>> {
        let (list, used) = self.held.get_mut(&user)?;
        self.used.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.used.insert(*used, user);
        Some(Arc::clone(list))
    }

    /// Remembers a list, unless it is so short that it need not be, or so long that many others would
    /// be forgotten for it.
    pub(super) fn keep(&mut self, user: UserId, list: Arc<List>) {
        self.forget(user);
        if !(SYNC_LIST_LEAST..=SYNC_LIST_MOST).contains(&list.members.len()) {
            return;
        }
        self.uses += 1;
        self.bytes += list.bytes();
        self.used.insert(self.uses, user);
        self.held.insert(user, (list, self.uses));
        while self.bytes > SYNC_LISTS_BYTES_MAX
            && let Some((_, user)) = self.used.first_key_value()
        {
            self.forget(*user);
        }
    }

    pub(super) fn forget(&mut self, user: UserId) {
        if let Some((list, used)) = self.held.remove(&user) {
            self.used.remove(&used);
            self.bytes -= list.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn log(id: u64) -> LogId {
        LogId::direct(user(1), user(id))
    }

    fn list(count: u64) -> Arc<List> {
        let members = (1..=count).map(|id| Member { log: log(id), version: id }).collect();
        Arc::new(List { version: count, members })
    }

    #[test]
    fn changes_are_in_the_next_list() {
        let changes = [(log(9), Some(20)), (log(2), Some(21)), (log(3), Some(22)), (log(3), None)];
        let next = list(4).changed(30, &changes);
        let members: Vec<_> =
            next.members.iter().map(|member| (member.log, member.version)).collect();
        assert_eq!(members, [(log(1), 1), (log(2), 21), (log(4), 4), (log(9), 20)]);
        assert_eq!(next.version, 30);
    }

    #[test]
    fn those_that_were_used_last_are_remembered_as_far_as_there_is_room() {
        let mut lists = Lists::default();
        let long = list(10_000);
        let room = SYNC_LISTS_BYTES_MAX / long.bytes();
        let users = 1..=room as u64;
        users.clone().for_each(|id| lists.keep(user(id), Arc::clone(&long)));
        assert!(users.clone().all(|id| lists.of(user(id)).is_some()));
        assert!(lists.of(user(1)).is_some());
        lists.keep(user(1000), Arc::clone(&long));
        assert!(lists.of(user(2)).is_none() && lists.of(user(1)).is_some());
        assert!(lists.bytes <= SYNC_LISTS_BYTES_MAX);
        // One that has replaced another counts once.
        lists.keep(user(1), list(100));
        lists.forget(user(1000));
        users.for_each(|id| lists.forget(user(id)));
        assert_eq!((lists.bytes, lists.used.len(), lists.held.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_short_or_much_too_long_is_read_each_time() {
        let mut lists = Lists::default();
        for count in [0, SYNC_LIST_LEAST - 1, SYNC_LIST_MOST + 1] {
            lists.keep(user(1), list(count as u64));
            assert!(lists.of(user(1)).is_none());
        }
    }
}
