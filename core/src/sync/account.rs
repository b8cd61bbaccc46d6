//! What a sync reads of the account first: the settings, and which conversations are new or changed.

use dunlin_protocol::{LogId, UserId};
use smallvec::SmallVec;

use super::lists::List;
use crate::account::membership::{CONVERSATION, conversation_of};
use crate::account::setting::SETTING;
use crate::limits::{
    RESPONSE_BYTES_MAX, SYNC_CHANGES_BYTES_MAX, SYNC_LIST_MOST, SYNC_PAGE_CONVERSATIONS,
    SYNC_SETTINGS_MAX,
};
use crate::store::{ChangeRange, Register, RegisterKey, RegisterRange, Registers};

/// The registers of an account that are being read.
#[derive(Debug)]
pub(super) struct Account {
    user: UserId,
    part: Part,
    /// Everything is known as of this version.
    version: u64,
    settings: Vec<Register>,
    conversations: Conversations,
}

/// What has become of conversations.
#[derive(Debug)]
enum Conversations {
    /// Nobody asks: they are listed.
    Unasked,
    /// With the version that has changed something of them; `None` of those that are no more.
    Changed(Vec<(LogId, Option<u64>)>),
    /// More have changed than a list may have.
    TooMany,
}

#[derive(Debug)]
enum Part {
    /// All settings, after this one.
    Settings(Option<RegisterKey>),
    /// Whatever has changed since this version.
    Changes(u64),
}

/// What to do when some of them are here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Read these.
    Settings(RegisterRange),
    /// Read these.
    Changes(ChangeRange),
    /// All are here.
    Done,
    /// What has changed is not known any more; `is_ahead` if it never was, since the account has not seen that
    /// version.
    Afresh { is_ahead: bool },
}

impl Account {
    /// Of a client that is told everything.
    pub(super) fn afresh(user: UserId) -> Account {
        Account::new(user, Part::Settings(None), Conversations::Unasked)
    }

    /// Of one that was told everything up to a version. `has_list`: conversations count as well.
    pub(super) fn since(user: UserId, version: u64, has_list: bool) -> Account {
        let conversations =
            if has_list { Conversations::Changed(Vec::new()) } else { Conversations::Unasked };
        Account::new(user, Part::Changes(version), conversations)
    }

    fn new(user: UserId, part: Part, conversations: Conversations) -> Account {
        Account { user, part, version: 0, settings: Vec::new(), conversations }
    }

    pub(super) fn next(&self) -> Next {
        let log = LogId::account(self.user);
        match &self.part {
            Part::Settings(after) => Next::Settings(RegisterRange {
                log,
                prefix: SmallVec::from_slice(&[SETTING]),
                after: after.clone(),
                registers_max: SYNC_SETTINGS_MAX,
                bytes_max: RESPONSE_BYTES_MAX,
            }),
            Part::Changes(since) => Next::Changes(ChangeRange {
                log,
                since: *since,
                registers_max: SYNC_PAGE_CONVERSATIONS,
                bytes_max: SYNC_CHANGES_BYTES_MAX,
            }),
        }
    }

    pub(super) fn take(&mut self, page: Registers) -> Next {
        let Registers { registers, version, more, afresh } = page;
        match &mut self.part {
            // What is set meanwhile has a later version than the first page.
            Part::Settings(after) => {
                if after.is_none() {
                    self.version = version;
                }
                *after = registers.last().map(|last| last.key.clone());
            }
            Part::Changes(since) if afresh => return Next::Afresh { is_ahead: version < *since },
            Part::Changes(since) => {
                self.version = version;
                *since = registers.last().map_or(version, |last| last.version);
            }
        }
        registers.into_iter().for_each(|register| self.sort(register));
        if more { self.next() } else { Next::Done }
    }

    fn sort(&mut self, register: Register) {
        match register.key.as_bytes().first() {
            Some(&SETTING) => self.settings.push(register),
            Some(&CONVERSATION) => self.conversations.add(&register),
            // Of other parts of the server.
            Some(_) | None => {}
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The list as it is now; `None` if it has to be read again.
    pub(super) fn brought_up_to_date(&self, list: &List) -> Option<List> {
        match &self.conversations {
            Conversations::Changed(changes) => Some(list.changed(self.version, changes)),
            Conversations::Unasked | Conversations::TooMany => None,
        }
    }

    /// Whether nothing has changed of the list.
    pub(super) fn is_as(&self, list: &List) -> bool {
        self.version == list.version
    }

    /// The settings that were set after a version, in the order in which that was done.
    pub(super) fn into_settings(self, since: u64) -> Vec<Register> {
        let mut settings = self.settings;
        settings.retain(|setting| setting.version > since);
        settings.sort_by_key(|setting| setting.version);
        settings
    }
}

impl Conversations {
    fn add(&mut self, register: &Register) {
        match self {
            Conversations::Changed(changes) if changes.len() < SYNC_LIST_MOST => {
                let version = register.value.is_some().then_some(register.version);
                changes.extend(conversation_of(register).map(|log| (log, version)));
            }
            Conversations::Changed(_) => *self = Conversations::TooMany,
            Conversations::Unasked | Conversations::TooMany => {}
        }
    }
}
