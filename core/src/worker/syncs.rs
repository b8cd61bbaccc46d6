//! What follows from the progress of syncs.

use super::router::Router;
use super::turn::Turn;
use crate::request::{Client, SyncFrom};
use crate::sync::{Progress, Taken};

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
