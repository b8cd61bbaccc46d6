//! What waits for room before it is read: pages of history, messages that are looked for, and syncs.

use dunlin_protocol::{ClientMessageId, LogId, UserId};

use super::flow::Answers;
use super::router::Router;
use super::turn::Turn;
use crate::conversation::find::{self, Finding};
use crate::conversation::history::{self, FlooredPage, Form, Reader};
use crate::limits::{STORE_DEADLINE_MS, TICK_MS};
use crate::refusal::STORE_UNAVAILABLE;
use crate::request::{Client, History};
use crate::room::Wanted;
use crate::store::{KeyedEntry, Register};
use crate::sync::SyncId;
use crate::transport::ConnId;

/// See the module.
#[derive(Debug)]
pub(super) enum Reading {
    History(Client, LogId, History),
    Find(Client, LogId, ClientMessageId),
    Sync(SyncId),
}

impl Router {
    pub(super) fn take_history(
        &mut self,
        client: Client,
        log: LogId,
        history: History,
        turn: &mut Turn<'_>,
    ) {
        if let Some(wanted) = history::take(client, log, &history, turn) {
            let reading = Reading::History(client, log, history);
            self.room.want(client.user, client.conn, wanted, reading);
        }
    }

    pub(super) fn take_find(
        &mut self,
        client: Client,
        log: LogId,
        id: ClientMessageId,
        turn: &mut Turn<'_>,
    ) {
        if let Some(wanted) = find::take(client, log, turn) {
            self.room.want(client.user, client.conn, wanted, Reading::Find(client, log, id));
        }
    }

    pub(super) fn want_sync(&mut self, user: UserId, conn: ConnId, sync: SyncId) {
        let bytes = self.syncs.room_bytes(sync);
        let wanted = Wanted { least: bytes, most: bytes };
        self.room.want(user, conn, wanted, Reading::Sync(sync));
    }

    /// Begins to read all that there is room for.
    pub(super) fn begin_reads(&mut self, turn: &mut Turn<'_>) {
        while let Some((reading, claim)) = self.room.next() {
            match reading {
                Reading::History(client, log, history) => {
                    let reader = Reader { client, claim, form: Form::Page };
                    history::ask_floor(FlooredPage { reader, log, history }, turn);
                }
                Reading::Find(client, log, id) => {
                    let reader = Reader { client, claim, form: Form::Message };
                    find::ask(Finding { reader, log }, id, turn);
                }
                Reading::Sync(sync) => self.syncs.begin(sync, claim, turn),
            }
        }
    }

    /// The store does not answer what it was asked to read. Whoever has waited for room as long as that is
    /// not let wait for the same again.
    pub(super) fn refuse_late_reads(&mut self, turn: &mut Turn<'_>) {
        for reading in self.room.take_late(STORE_DEADLINE_MS / TICK_MS) {
            match reading {
                Reading::History(Client { conn, request_id, .. }, ..)
                | Reading::Find(Client { conn, request_id, .. }, ..) => {
                    turn.effects.refuse(conn, request_id, STORE_UNAVAILABLE);
                }
                Reading::Sync(sync) => self.refuse_sync(sync, turn),
            }
        }
    }

    /// It is known where a conversation begins for who wants to read it.
    pub(super) fn floor_read(
        &mut self,
        page: FlooredPage,
        answers: Answers<Register>,
        turn: &mut Turn<'_>,
    ) {
        let user = page.reader.client.user;
        if !history::floor_read(page, answers, turn) {
            self.room.was_read(user);
        }
    }

    /// It is known where a message is that somebody looks for.
    pub(super) fn key_found(
        &mut self,
        finding: Finding,
        answers: Answers<Option<KeyedEntry>>,
        turn: &mut Turn<'_>,
    ) {
        let user = finding.reader.client.user;
        if !find::found(finding, answers, turn) {
            self.room.was_read(user);
        }
    }

    /// Nobody is left to answer on a connection.
    pub(super) fn forget_reads(&mut self, user: UserId, conn: ConnId) {
        for reading in self.room.forget(user, conn) {
            match reading {
                Reading::History(..) | Reading::Find(..) => {}
                Reading::Sync(sync) => self.syncs.forget(sync),
            }
        }
        self.syncs.forget_behind(conn);
    }
}
