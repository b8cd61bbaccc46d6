//! What follows from the progress of syncs.

use super::router::Router;
use super::turn::Turn;
use crate::refusal::STORE_UNAVAILABLE;
use crate::request::{Client, SyncFrom};
use crate::sync::{Progress, SyncId, Taken};

impl Router {
    pub(super) fn take_sync(&mut self, client: Client, from: SyncFrom, turn: &mut Turn<'_>) {
        let Client { user, conn, .. } = client;
        match self.syncs.take(client, from, turn) {
            Taken::Waits(sync) => {
                self.sessions.begin_sync(user, conn);
                self.want_sync(user, conn, sync);
            }
            Taken::Behind => self.sessions.begin_sync(user, conn),
            Taken::Refused => {}
        }
    }

    /// The store does not answer: neither this one, which was not begun, nor those behind it have to wait
    /// for what it will not say.
    pub(super) fn refuse_sync(&mut self, sync: SyncId, turn: &mut Turn<'_>) {
        let mut next = Some(sync);
        while let Some(sync) = next.take() {
            let progress = self.syncs.refuse(sync, STORE_UNAVAILABLE, turn);
            if let Progress::Ended { user, conn, synced, next: behind } = progress {
                self.sessions.end_sync(user, conn, synced, turn.effects);
                next = behind;
            }
        }
    }

    pub(super) fn sync_goes_on(&mut self, progress: Progress, turn: &mut Turn<'_>) {
        match progress {
            Progress::Waits => {}
            Progress::Ended { user, conn, synced, next } => {
                self.room.was_read(user);
                self.sessions.end_sync(user, conn, synced, turn.effects);
                next.into_iter().for_each(|next| self.want_sync(user, conn, next));
            }
        }
    }
}
