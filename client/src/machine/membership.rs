//! What a conversation is to this user: the request of a stranger, hidden, marked, cleared.

use dunlin_protocol::LogId;
use dunlin_protocol::wire::{self, RequestState};

use super::Machine;
use super::reading::Reading;
use super::saved::SavedMembership;

/// What the server has told of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Membership {
    /// The server has told what holds, if only by leaving it out.
    is_told: bool,
    request: RequestState,
    pub(super) hidden_up_to: u64,
    pub(super) marked_unread: bool,
    pub(super) visible_from: u64,
    pub(super) others_cleared: u64,
    pub(super) version: u64,
}

impl Membership {
    fn of(told: &wire::Membership) -> Membership {
        Membership {
            is_told: true,
            request: told.request(),
            hidden_up_to: told.hidden_up_to,
            marked_unread: told.marked_unread,
            visible_from: told.visible_from,
            others_cleared: told.others_cleared,
            version: told.version,
        }
    }

    /// For a later run.
    pub(super) fn saved(&self) -> SavedMembership {
        SavedMembership {
            is_told: self.is_told,
            request: self.request.into(),
            hidden_up_to: self.hidden_up_to,
            marked_unread: self.marked_unread,
            visible_from: self.visible_from,
            others_cleared: self.others_cleared,
            version: self.version,
        }
    }

    pub(super) fn restored(saved: &SavedMembership) -> Membership {
        Membership {
            is_told: saved.is_told,
            request: RequestState::try_from(saved.request).unwrap_or_default(),
            hidden_up_to: saved.hidden_up_to,
            marked_unread: saved.marked_unread,
            visible_from: saved.visible_from,
            others_cleared: saved.others_cleared,
            version: saved.version,
        }
    }

    /// Whether it is a request. The server says so in Sync and when it changes, but not with the push that begins it:
    /// that somebody else began it tells. What the user says in it ends that, without a word of the server too.
    pub(super) fn request(&self, reading: &Reading) -> RequestState {
        match (reading.has_spoken, self.is_told) {
            (true, _) => RequestState::None,
            (false, true) => self.request,
            (false, false) if reading.others_began() => RequestState::Pending,
            (false, false) => RequestState::None,
        }
    }
}

impl Machine {
    /// As an answer or a hint: one that is older than what is known says nothing.
    pub(super) fn membership_told(&mut self, told: &wire::Membership) {
        let Ok(log_id) = LogId::from_wire(&told.conversation_id) else { return };
        let log = self.logs.touch(log_id);
        if told.version <= log.membership.version {
            return;
        }
        let before = log.membership.others_cleared;
        log.membership = Membership::of(told);
        let Membership { visible_from, others_cleared, .. } = log.membership;
        let is_known = others_cleared <= before
            || log.reading.cleared(log.position, visible_from, others_cleared);
        if !is_known {
            self.sync.want();
        }
        self.floor_known(log_id, visible_from);
    }

    /// As a part of Synced, which tells what is unread as well. It is left out where nothing was decided; but what was
    /// told since the Sync was asked for may be newer than that. (Otherwise it holds whatever its version: an
    /// earlier state may have been put back.)
    pub(super) fn membership_synced(&mut self, log_id: LogId, told: Option<&wire::Membership>) {
        let log = self.logs.touch(log_id);
        let Membership { version, .. } = log.membership;
        log.membership = match told {
            Some(told) if told.version >= version || version == log.asked.membership_version => {
                Membership::of(told)
            }
            Some(_) => log.membership,
            None if version == log.asked.membership_version => {
                Membership { is_told: true, version, ..Membership::default() }
            }
            None => log.membership,
        };
        let Membership { visible_from, .. } = log.membership;
        self.floor_known(log_id, visible_from);
    }
}
