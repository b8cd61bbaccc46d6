//! What follows from the progress of syncs.

use super::router::Router;
use super::turn::Turn;
use crate::request::{Client, SyncFrom};
use crate::sync::Progress;

impl Router {
    pub(super) fn take_sync(&mut self, client: Client, from: SyncFrom, turn: &mut Turn<'_>) {
        self.sessions.begin_sync(client.user, client.conn);
        self.syncs.take(client, from, turn);
    }

    pub(super) fn sync_goes_on(&mut self, progress: Progress, turn: &mut Turn<'_>) {
        match progress {
            Progress::Waits => {}
            Progress::Ended { user, conn, synced } => {
                self.sessions.end_sync(user, conn, synced, turn.effects);
            }
        }
    }
}
