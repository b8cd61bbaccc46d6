//! What follows from the progress of syncs.

use super::router::Router;
use super::turn::Turn;
use crate::account::Reader;
use crate::request::{Client, SyncFrom};
use crate::sync::{Begun, Progress};

impl Router {
    pub(super) fn take_sync(&mut self, client: Client, from: SyncFrom, turn: &mut Turn<'_>) {
        self.sessions.begin_sync(client.user, client.conn);
        if let Some(begun) = self.syncs.take(client, from) {
            self.sync_begun(begun, turn);
        }
    }

    fn sync_begun(&mut self, begun: Begun, turn: &mut Turn<'_>) {
        let Begun { id, user } = begun;
        self.accounts.read(user, Reader::Sync(id), turn);
        self.serve_account(user, turn);
    }

    pub(super) fn sync_goes_on(&mut self, progress: Progress, turn: &mut Turn<'_>) {
        let (user, conn, synced, next) = match progress {
            Progress::Waits => return,
            Progress::Ended { user, conn, synced, next } => (user, conn, synced, next),
        };
        self.sessions.end_sync(user, conn, synced, turn.effects);
        if let Some(begun) = next {
            self.sync_begun(begun, turn);
        }
    }
}
