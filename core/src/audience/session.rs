//! The sessions of the users of a worker, and what is pushed to them.

use dunlin_protocol::wire::{self, CloseReason, DeviceKind, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, SessionId, UserId};
use smallvec::SmallVec;

use crate::arrival::Arrival;
use crate::audience::push::{Push, SignalPush};
use crate::dense_map::DenseMap;
use crate::limits::{HELD_BYTES_MAX, HELD_BYTES_WORKER_MAX, HELD_PUSHES_MAX};
use crate::transport::{ConnId, Delivery};
use crate::worker::effect::{Effects, PresenceChange};
use crate::worker::turn::Turn;

/// The open sessions of all users of a worker. An idle one is all that a user costs here.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    users: DenseMap<UserId, UserSessions>,
    open: usize,
    /// Of pushes that wait for a Synced.
    held_bytes: HeldBytes,
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

/// Bytes that all sessions of a worker hold.
#[derive(Debug, Default)]
struct HeldBytes(usize);

/// Of what is left, a session may hold the part that this divides by.
const HELD_SHARE_DIVISOR: usize = 8;

impl HeldBytes {
    /// How much one session may hold now.
    fn share(&self) -> usize {
        let left = HELD_BYTES_WORKER_MAX.saturating_sub(self.0);
        HELD_BYTES_MAX.min(left / HELD_SHARE_DIVISOR)
    }
}

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

    fn push(&mut self, push: &Push, all_held: &mut HeldBytes, effects: &mut Effects) {
        if let Some(held) = &mut self.held {
            held.push(push, all_held);
        } else if self.is_live {
            effects.push(push.arrived, self.conn, push.log, push.head, push.frame.clone());
        }
    }

    /// Tells the client that any of its logs may have grown unseen.
    fn behind(&mut self, all_held: &mut HeldBytes, effects: &mut Effects) {
        if let Some(held) = &mut self.held {
            held.overflow(all_held);
        } else if self.is_live {
            effects.deliver(self.conn, Delivery::Notice(behind_frame()));
        }
    }
}

impl Held {
    fn push(&mut self, push: &Push, all: &mut HeldBytes) {
        if self.has_room(&push.frame, all) {
            self.pushes.push((push.log, push.head, push.frame.clone()));
        }
    }

    fn receipt(&mut self, frame: &EncodedFrame, all: &mut HeldBytes) {
        if self.has_room(frame, all) {
            self.receipts.push(frame.clone());
        }
    }

    /// Takes the room for a frame. Where there is none, the client will have to sync again.
    fn has_room(&mut self, frame: &EncodedFrame, all: &mut HeldBytes) -> bool {
        if self.overflowed {
            return false;
        }
        let bytes = frame.wire().len();
        let held = self.pushes.len() + self.receipts.len();
        if held >= HELD_PUSHES_MAX || self.bytes + bytes > all.share() {
            self.overflow(all);
            return false;
        }
        self.bytes += bytes;
        all.0 += bytes;
        true
    }

    fn overflow(&mut self, all: &mut HeldBytes) {
        self.overflowed = true;
        self.pushes = Vec::new();
        self.receipts = Vec::new();
        self.give_back(all);
    }

    fn give_back(&mut self, all: &mut HeldBytes) {
        all.0 -= std::mem::take(&mut self.bytes);
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
        for session in sessions.iter_mut().filter(|session| session.conn == conn) {
            session.held.iter_mut().for_each(|held| held.give_back(&mut self.held_bytes));
        }
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
        others.for_each(|session| session.push(push, &mut self.held_bytes, effects));
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
        let all = &mut self.held_bytes;
        others
            .filter_map(|session| session.held.as_mut())
            .for_each(|held| held.receipt(frame, all));
    }

    /// Tells everybody that pushes may have been lost.
    pub(crate) fn all_behind(&mut self, effects: &mut Effects) {
        let sessions = self.users.values_mut().flatten();
        sessions.for_each(|session| session.behind(&mut self.held_bytes, effects));
    }

    /// A Sync was taken: from now on its connection's pushes are held.
    pub(crate) fn begin_sync(&mut self, user: UserId, conn: ConnId) {
        let Some(session) = find(&mut self.users, user, conn) else { return };
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
        let Sessions { users, held_bytes, .. } = self;
        let Some(session) = find(users, user, conn) else { return };
        let Some(held) = &mut session.held else { return };
        session.is_live |= synced && !session.only_fetches;
        held.syncs -= 1;
        if held.syncs > 0 {
            return;
        }
        let Some(mut held) = session.held.take() else { return };
        held.give_back(held_bytes);
        if !session.is_live {
            return;
        }
        for (log, head, frame) in held.pushes {
            // What it waited for is the sync, and no part of the way of a message.
            effects.push(Arrival::UNKNOWN, conn, log, head, frame);
        }
        held.receipts.into_iter().for_each(|frame| effects.signal(conn, frame));
        if held.overflowed {
            effects.deliver(conn, Delivery::Notice(behind_frame()));
        }
    }
}

fn find(
    users: &mut DenseMap<UserId, UserSessions>,
    user: UserId,
    conn: ConnId,
) -> Option<&mut OpenSession> {
    users.get_mut(&user)?.iter_mut().find(|session| session.conn == conn)
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
        Push {
            user: user(),
            log,
            head,
            frame: behind_frame(),
            except: None,
            arrived: Arrival::UNKNOWN,
        }
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
    fn what_all_hold_is_bounded_and_who_comes_late_gets_a_part() {
        let (mut sessions, mut effects) = (Sessions::default(), Effects::new());
        let user = |id: u64| UserId::new(id).unwrap();
        let conn = |id: u64| ConnId { slot: id as u32, ..CONN };
        let large = EncodedFrame::push(Body::Signal(wire::Signal {
            payload: vec![7; 60_000].into(),
            ..wire::Signal::default()
        }));
        let bytes = large.wire().len();
        for id in 1..=1000 {
            let session = SessionId::new(id).unwrap();
            let session = OpenSession::new(session, conn(id), DeviceKind::Phone, 0, 0);
            assert!(sessions.open(user(id), session));
            sessions.begin_sync(user(id), conn(id));
            let frame = large.clone();
            let of_it = Push { user: user(id), frame, ..push(1) };
            (0..4).for_each(|_| sessions.push(&of_it, &mut effects));
            assert!(sessions.held_bytes.0 <= HELD_BYTES_WORKER_MAX);
            if id == 1 {
                assert_eq!(sessions.held_bytes.0, 4 * bytes, "alone it holds what it may");
            }
        }
        // What is left is for little ones.
        let before = sessions.held_bytes.0;
        assert!(HELD_BYTES_WORKER_MAX - before >= 8 * behind_frame().wire().len());
        // Whether it is answered or goes, its part is given back.
        sessions.end_sync(user(1), conn(1), true, &mut effects);
        assert_eq!(delivered(&mut effects).len(), 4);
        assert_eq!(sessions.held_bytes.0, before - 4 * bytes);
        (2..=1000).for_each(|id| assert!(sessions.close(user(id), conn(id))));
        assert_eq!(sessions.held_bytes.0, 0);
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
