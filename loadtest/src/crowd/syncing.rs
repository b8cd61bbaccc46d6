//! What is new: asked on the way to being there, when pushes were left out, or as a request of a mix.

use bytes::Bytes;
use dunlin_protocol::limits::SYNC_ENTRIES_MAX;
use dunlin_protocol::wire::{ConversationState, LogPosition, Sync, Synced, frame::Body};

use crate::audit::{Fault, Way};
use crate::crowd::ids::SYNC;
use crate::crowd::member::Stage;
use crate::crowd::state::Crowd;
use crate::crowd::{Place, Scenario};
use crate::net::Links;

/// A question for whatever is new.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    /// On the way to being there, or since pushes were left out.
    Itself,
    /// As a request beside the messages, which is about a conversation of which so much was known.
    Beside { conversation: usize, known: u64 },
}

impl<S: Scenario> Crowd<'_, S> {
    pub(crate) fn sync(&mut self, slot: usize, links: &mut Links) {
        for Place { conversation, reader } in self.seat(slot).places() {
            let of = &mut self.conversations[conversation];
            let known = of.ledger.known(reader);
            of.following[reader].syncing.get_or_insert(known);
        }
        let sync = self.what_is_new(slot);
        self.put(slot, SYNC, Body::Sync(sync), links);
    }

    /// The question for whatever this user was not told yet. All users of a run are new: the first
    /// answer is where they begin.
    pub(crate) fn what_is_new(&self, slot: usize) -> Sync {
        let token = &self.members[slot].sync_token;
        if token.is_empty() {
            return Sync { entries_per_conversation: SYNC_ENTRIES_MAX, ..Sync::default() };
        }
        let position = |Place { conversation, reader }| {
            let of = &self.conversations[conversation];
            let seq = of.ledger.told_up_to(reader);
            (seq > of.following[reader].synced).then(|| LogPosition {
                conversation_id: Bytes::copy_from_slice(&of.id),
                seq,
                // So each answer says where the cursors are.
                ..LogPosition::default()
            })
        };
        Sync {
            epoch: self.epoch,
            token: Bytes::copy_from_slice(token),
            positions: self.seat(slot).places().filter_map(position).collect(),
            entries_per_conversation: SYNC_ENTRIES_MAX,
            ..Sync::default()
        }
    }

    pub(crate) fn on_synced(
        &mut self,
        slot: usize,
        synced: &Synced,
        asked: Asked,
        links: &mut Links,
    ) {
        self.see_epoch(slot, synced.epoch);
        let member = &mut self.members[slot];
        let had_started = member.has_started;
        member.has_started |= !synced.more;
        member.sync_token = synced.token[..].into();
        for state in &synced.conversations {
            let Some(place) = self.place_of(slot, &state.conversation_id) else {
                continue;
            };
            if had_started {
                self.take_in(place, state, asked, links);
            } else {
                let ledger = &mut self.conversations[place.conversation].ledger;
                ledger.start_at(place.reader, state.head);
            }
        }
        if synced.more {
            // What was asked beside the messages is answered by what it has told.
            if let Asked::Itself = asked {
                let sync = self.what_is_new(slot);
                self.put(slot, SYNC, Body::Sync(sync), links);
            }
            return;
        }
        self.all_is_told(slot, asked);
        if self.members[slot].stage == Stage::Syncing {
            self.become_active(slot, links);
        }
        for place in self.seat(slot).places() {
            self.repair_if_behind(place, links);
        }
    }

    fn all_is_told(&mut self, slot: usize, asked: Asked) {
        for Place { conversation, reader } in self.seat(slot).places() {
            let of = &mut self.conversations[conversation];
            let following = &mut of.following[reader];
            following.synced = of.ledger.told_up_to(reader);
            if let Asked::Itself = asked {
                following.syncing = None;
            }
        }
    }

    fn see_epoch(&mut self, slot: usize, after: u64) {
        let before = std::mem::replace(&mut self.epoch, after);
        if before != 0 && before != after {
            self.fault(Fault::EpochChanged { user: self.user_index(slot), before, after });
        }
    }

    /// What the server knows of a conversation, to a question that was asked when less was known.
    fn take_in(
        &mut self,
        place: Place,
        state: &ConversationState,
        asked: Asked,
        links: &mut Links,
    ) {
        for entry in &state.entries {
            self.on_whole_entry(place, entry, Way::Repair, links);
        }
        self.see_read_cursors(place, state);
        let Place { conversation, reader } = place;
        let of = &mut self.conversations[conversation];
        let following = &mut of.following[reader];
        following.head = following.head.max(state.head);
        let known = match asked {
            Asked::Itself => following.syncing,
            Asked::Beside { conversation: about, known } => {
                (about == conversation).then_some(known)
            }
        };
        if let Some(known) = known {
            of.ledger.head_seen(reader, known, state.head, &mut self.outcome.faults);
        }
    }
}
