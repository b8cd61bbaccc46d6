//! The sessions of the users of a worker, and what is pushed to them.

use dunlin_protocol::wire::{self, CloseReason, DeviceKind, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, SessionId, UserId};
use smallvec::SmallVec;

use crate::audience::push::{Push, SignalPush};
use crate::dense_map::DenseMap;
use crate::limits::{HELD_BYTES_MAX, HELD_PUSHES_MAX};
use crate::transport::{ConnId, Delivery};
use crate::worker::effect::{Effects, PresenceChange};
use crate::worker::turn::Turn;

/// The open sessions of all users of a worker. An idle one is all that a user costs here.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    users: DenseMap<UserId, UserSessions>,
    open: usize,
}

/// Most users have one device at a time: no allocation for it.
pub(crate) type UserSessions = SmallVec<[OpenSession; 1]>;

/// A session on a connection of this node.
#[derive(Debug)]
pub(crate) struct OpenSession {
    pub(crate) session: SessionId,
    pub(crate) conn: ConnId,
    pub(crate) kind: DeviceKind,
    /// Tells the devices of the user apart; see `enter::device_tag`.
    pub(crate) device: u32,
    pub(crate) opened_ms: u64,
    /// The place of its login among those of the node; see [`attempt`](crate::attempt). 0 if it
    /// came without one.
    pub(crate) login: u64,
    /// Its identity records it: if it does not any more, the session is over.
    pub(crate) recorded: bool,
    /// It is beside the connection that speaks for its session, and is told nothing by itself.
    pub(crate) only_fetches: bool,
    /// It has synced, and gets pushes.
    is_live: bool,
    /// Pushes wait here until the Synced that they follow is on its way.
    held: Option<Box<Held>>,
}

// Budget: 100 bytes per idle session with the place in the table that finds it, which takes up to
// 12 right after it has grown.
const _: () = assert!(size_of::<(UserId, UserSessions)>() <= 80);

#[derive(Debug, Default)]
struct Held {
    /// Syncs that are not answered yet; a client may send a second one before the first is.
    syncs: u32,
    pushes: Vec<(LogId, u64, EncodedFrame)>,
    receipts: Vec<EncodedFrame>,
    bytes: usize,
    /// More came than is held: the client must sync again.
    overflowed: bool,
}

/// Which sessions of a user end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Closed {
    All,
    AllBut(SessionId),
    Sessions(Vec<SessionId>),
}

/// Sessions of a user that were ended, or replaced, on another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) user: UserId,
    pub(crate) closed: Closed,
    pub(crate) reason: CloseReason,
    /// When, by the clock of the node that did it: what was opened later is not meant.
    pub(crate) at_ms: u64,
}

impl Closed {
    pub(crate) fn includes(&self, session: SessionId) -> bool {
        match self {
            Closed::All => true,
            Closed::AllBut(kept) => session != *kept,
            Closed::Sessions(sessions) => sessions.contains(&session),
        }
    }
}

impl OpenSession {
    pub(crate) fn new(
        session: SessionId,
        conn: ConnId,
        kind: DeviceKind,
        device: u32,
        opened_ms: u64,
    ) -> OpenSession {
        OpenSession {
            session,
            conn,
            kind,
            device,
            opened_ms,
            login: 0,
            recorded: false,
            only_fetches: false,
            is_live: false,
            held: None,
        }
    }

    /// The same, of a login.
    pub(crate) fn entered(self, login: u64, recorded: bool) -> OpenSession {
        OpenSession { login, recorded, ..self }
    }

    /// The same, beside the connection that speaks for the session.
    pub(crate) fn fetching(self) -> OpenSession {
        OpenSession { only_fetches: true, ..self }
    }

    fn push(&mut self, push: &Push, effects: &mut Effects) {
        if let Some(held) = &mut self.held {
            held.push(push);
        } else if self.is_live {
            effects.push(self.conn, push.log, push.head, push.frame.clone());
        }
    }

    /// Tells the client that any of its logs may have grown unseen.
    fn behind(&mut self, effects: &mut Effects) {
        if let Some(held) = &mut self.held {
            held.overflow();
        } else if self.is_live {
            effects.deliver(self.conn, Delivery::Notice(behind_frame()));
        }
    }
}

impl Held {
    fn push(&mut self, push: &Push) {
        if self.has_room(&push.frame) {
            self.pushes.push((push.log, push.head, push.frame.clone()));
        }
    }

    fn receipt(&mut self, frame: &EncodedFrame) {
        if self.has_room(frame) {
            self.receipts.push(frame.clone());
        }
    }

    /// Takes the room for a frame. Where there is none, the client will have to sync again.
    fn has_room(&mut self, frame: &EncodedFrame) -> bool {
        let bytes = frame.wire().len();
        let held = self.pushes.len() + self.receipts.len();
        if held >= HELD_PUSHES_MAX || self.bytes + bytes > HELD_BYTES_MAX {
            self.overflow();
        }
        self.bytes += bytes;
        !self.overflowed
    }

    fn overflow(&mut self) {
        self.overflowed = true;
        self.pushes = Vec::new();
        self.receipts = Vec::new();
        self.bytes = 0;
    }
}

fn behind_frame() -> EncodedFrame {
    EncodedFrame::push(Body::Behind(wire::Behind::default()))
}

impl Sessions {
    /// How many sessions are open.
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    /// The open sessions of a user.
    pub(crate) fn of(&self, user: UserId) -> &[OpenSession] {
        self.users.get(&user).map_or(&[], |sessions| sessions)
    }

    /// Who has a session.
    pub(crate) fn users(&self) -> impl Iterator<Item = &UserId> {
        self.users.keys()
    }

    /// Tells other nodes that the user is connected here, before anything is read for the user: so
    /// what they store, or end, after it was read is told here.
    pub(crate) fn announce(&self, user: UserId, turn: &mut Turn<'_>) {
        if turn.others_append() && self.of(user).is_empty() {
            turn.effects.presence.push(PresenceChange::Arrived(user));
        }
    }

    /// Adds a session. True if it is the first one of the user.
    pub(crate) fn open(&mut self, user: UserId, session: OpenSession) -> bool {
        let (sessions, _) = self.users.get_or_insert_with(user, UserSessions::new);
        sessions.push(session);
        self.open += 1;
        sessions.len() == 1
    }

    /// Removes the session of a connection. True if it was the last one of the user.
    pub(crate) fn close(&mut self, user: UserId, conn: ConnId) -> bool {
        let Some(sessions) = self.users.get_mut(&user) else { return false };
        let before = sessions.len();
        sessions.retain(|session| session.conn != conn);
        self.open -= before - sessions.len();
        let last = sessions.is_empty();
        if last {
            self.users.remove(&user);
        }
        last
    }

    /// Pushes an entry to the sessions of its user.
    pub(crate) fn push(&mut self, push: &Push, effects: &mut Effects) {
        let Some(sessions) = self.users.get_mut(&push.user) else { return };
        let others = sessions.iter_mut().filter(|session| Some(session.conn) != push.except);
        others.for_each(|session| session.push(push, effects));
    }

    /// Delivers something momentary to the live sessions of its user. Nearly everybody has one:
    /// that one gets the frame itself, since to share it would take memory and count references.
    pub(crate) fn signal(&mut self, signal: SignalPush, effects: &mut Effects) {
        let SignalPush { user, frame, except, is_receipt } = signal;
        if is_receipt {
            self.hold_receipt(user, &frame, except);
        }
        let hears = |session: &&OpenSession| {
            session.is_live && session.held.is_none() && Some(session.conn) != except
        };
        let mut sessions = self.of(user).iter().filter(hears);
        let Some(mut last) = sessions.next() else { return };
        for session in sessions {
            effects.signal(last.conn, frame.clone());
            last = session;
        }
        effects.signal(last.conn, frame);
    }

    /// Keeps a receipt for the sessions of a user that sync just now.
    fn hold_receipt(&mut self, user: UserId, frame: &EncodedFrame, except: Option<ConnId>) {
        let Some(sessions) = self.users.get_mut(&user) else { return };
        let others = sessions.iter_mut().filter(|session| Some(session.conn) != except);
        others.filter_map(|session| session.held.as_mut()).for_each(|held| held.receipt(frame));
    }

    /// Tells everybody that pushes may have been lost.
    pub(crate) fn all_behind(&mut self, effects: &mut Effects) {
        let sessions = self.users.values_mut().flatten();
        sessions.for_each(|session| session.behind(effects));
    }

    /// A Sync was taken: from now on its connection's pushes are held.
    pub(crate) fn begin_sync(&mut self, user: UserId, conn: ConnId) {
        let Some(session) = self.find(user, conn) else { return };
        session.held.get_or_insert_default().syncs += 1;
    }

    /// A Sync was answered: what was held follows its answer, once no other Sync is open.
    pub(crate) fn end_sync(
        &mut self,
        user: UserId,
        conn: ConnId,
        synced: bool,
        effects: &mut Effects,
    ) {
        let Some(session) = self.find(user, conn) else { return };
        let Some(held) = &mut session.held else { return };
        session.is_live |= synced && !session.only_fetches;
        held.syncs -= 1;
        if held.syncs > 0 {
            return;
        }
        let Some(held) = session.held.take() else { return };
        if !session.is_live {
            return;
        }
        for (log, head, frame) in held.pushes {
            effects.push(conn, log, head, frame);
        }
        held.receipts.into_iter().for_each(|frame| effects.signal(conn, frame));
        if held.overflowed {
            effects.deliver(conn, Delivery::Notice(behind_frame()));
        }
    }

    fn find(&mut self, user: UserId, conn: ConnId) -> Option<&mut OpenSession> {
        self.users.get_mut(&user)?.iter_mut().find(|session| session.conn == conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: ConnId = ConnId { shard: 0, slot: 1, generation: 1 };

    fn user() -> UserId {
        UserId::new(1).unwrap()
    }

    fn with_one_session() -> Sessions {
        let mut sessions = Sessions::default();
        let id = SessionId::new(1).unwrap();
        let session = OpenSession::new(id, CONN, DeviceKind::Phone, 0, 0);
        assert!(sessions.open(user(), session));
        sessions
    }

    fn push(head: u64) -> Push {
        let log = LogId::account(user());
        Push { user: user(), log, head, frame: behind_frame(), except: None }
    }

    fn delivered(effects: &mut Effects) -> Vec<Delivery> {
        let mut all = Vec::new();
        effects.take_outbound(|_, batch| all.extend(batch.into_iter().map(|out| out.delivery)));
        all
    }

    #[test]
    fn pushes_wait_for_the_answer_of_the_sync() {
        let (mut sessions, mut effects) = (with_one_session(), Effects::new());
        sessions.push(&push(1), &mut effects);
        sessions.begin_sync(user(), CONN);
        sessions.begin_sync(user(), CONN);
        sessions.push(&push(2), &mut effects);
        sessions.end_sync(user(), CONN, true, &mut effects);
        assert!(delivered(&mut effects).is_empty());
        sessions.end_sync(user(), CONN, false, &mut effects);
        sessions.push(&push(3), &mut effects);
        let heads: Vec<_> = delivered(&mut effects)
            .into_iter()
            .map(|delivery| match delivery {
                Delivery::Push { head, .. } => head,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(heads, [2, 3]);
    }

    #[test]
    fn of_what_is_momentary_only_receipts_wait_for_the_answer_of_the_sync() {
        let (mut sessions, mut effects) = (with_one_session(), Effects::new());
        let signal = |is_receipt, except| {
            let (user, frame) = (user(), behind_frame());
            SignalPush { user, frame, except, is_receipt }
        };
        sessions.begin_sync(user(), CONN);
        for (is_receipt, except) in [(true, None), (false, None), (true, Some(CONN))] {
            sessions.signal(signal(is_receipt, except), &mut effects);
        }
        assert!(delivered(&mut effects).is_empty());
        sessions.end_sync(user(), CONN, true, &mut effects);
        let all = delivered(&mut effects);
        assert!(matches!(all[..], [Delivery::Signal(_)]), "{all:?}");
        // Too many of them are a reason to sync again.
        sessions.begin_sync(user(), CONN);
        for _ in 0..=HELD_PUSHES_MAX {
            sessions.signal(signal(true, None), &mut effects);
        }
        sessions.end_sync(user(), CONN, true, &mut effects);
        let all = delivered(&mut effects);
        assert!(matches!(all[..], [Delivery::Notice(_)]), "{all:?}");
    }

    #[test]
    fn too_many_held_pushes_collapse_to_one_notice() {
        let (mut sessions, mut effects) = (with_one_session(), Effects::new());
        sessions.begin_sync(user(), CONN);
        (0..=HELD_PUSHES_MAX as u64).for_each(|head| sessions.push(&push(head), &mut effects));
        sessions.end_sync(user(), CONN, true, &mut effects);
        let all = delivered(&mut effects);
        assert!(matches!(all[..], [Delivery::Notice(_)]), "{all:?}");
    }

    #[test]
    fn a_session_that_never_synced_stays_quiet_after_a_failed_sync() {
        let (mut sessions, mut effects) = (with_one_session(), Effects::new());
        sessions.begin_sync(user(), CONN);
        sessions.push(&push(1), &mut effects);
        sessions.end_sync(user(), CONN, false, &mut effects);
        sessions.all_behind(&mut effects);
        assert!(delivered(&mut effects).is_empty());
        assert!(sessions.close(user(), CONN));
        assert_eq!(sessions.open_count(), 0);
    }
}
