//! Room for large answers: it is taken before they are read, and given back when they are written.
//!
//! A page of history is a megabyte, and asking for it takes thirty bytes. So whoever asks waits here until
//! there is room for the answer, in memory that all answers of a worker share, and the store is asked
//! only then. What was read keeps its room until the last that refers to its bytes is gone: the frame in
//! the outbox of a connection that reads slowly.
//!
//! ```text
//!  asked ──► waits, by user ──► room, and its turn ──► read ──► encoded ──► written
//!                 ▲                                                            │
//!                 └──────────────────── room is given back ◄───────────────────┘
//! ```
//!
//! It is fair by user: they take turns, and what one of them may hold is a part of what nobody holds, the
//! smaller the less that is ([`SHARE_DIVISOR`]). So who fills it finds ever less: `n` users who want all
//! of it, and give nothing back, leave about `4 / n` of it to those who come after them.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dunlin_protocol::{EncodedFrame, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::limits::{READS_MAX, READS_PER_USER_MAX};
use crate::transport::ConnId;

/// One user may hold so large a part of what nobody holds, if nobody holds anything; less by the part that
/// is held. With a part that does not shrink, two dozen users would leave nothing.
const SHARE_DIVISOR: usize = 4;

/// An answer that is smaller is counted where it waits, like all others: its claim would cost more than
/// it says.
const CARRIED_BYTES_MIN: usize = 4096;

/// Who waits for room, for something of type `T`.
#[derive(Debug)]
pub(crate) struct Room<T> {
    bytes_max: usize,
    taken: usize,
    /// Answers that are read just now.
    reading: usize,
    waiting: usize,
    users: HashMap<UserId, Share<T>, RandomState>,
    /// The users of whom something waits, each once: the first is the next.
    turns: VecDeque<UserId>,
    /// Ticks of the worker since the beginning.
    ticks: u64,
    returned: Arc<Returned>,
}

/// What a user has of it.
#[derive(Debug)]
struct Share<T> {
    taken: usize,
    reading: usize,
    waiting: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    conn: ConnId,
    /// The tick since which it waits.
    since: u64,
    wanted: Wanted,
    what: T,
}

/// How much room is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// With less it makes no sense.
    pub(crate) least: usize,
    /// More would be of no use.
    pub(crate) most: usize,
}

/// Room that was taken. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    user: UserId,
    bytes: usize,
    returned: Arc<Returned>,
}

/// What was given back, by whatever thread, and the worker does not know of yet.
#[derive(Default)]
struct Returned {
    state: Mutex<Back>,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Debug, Default)]
struct Back {
    claims: Vec<(UserId, usize)>,
    /// The worker waits for more room, and is to be told.
    is_wanted: bool,
}

impl std::fmt::Debug for Returned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Returned").field(&self.state).finish()
    }
}

impl Returned {
    fn give(&self, user: UserId, bytes: usize) {
        let is_wanted = {
            let mut back = self.state.lock();
            back.claims.push((user, bytes));
            std::mem::take(&mut back.is_wanted)
        };
        // Not under the lock: the worker may be woken on this very thread.
        if is_wanted && let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

impl Claim {
    /// How much was taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The frame of the answer, which holds what it needs of the room from now on.
    pub(crate) fn carry(mut self, frame: EncodedFrame) -> EncodedFrame {
        let bytes = frame.wire().len();
        if bytes < CARRIED_BYTES_MIN {
            return frame;
        }
        if let Some(rest) = self.bytes.checked_sub(bytes) {
            self.returned.give(self.user, rest);
            self.bytes = bytes;
        }
        let carried = Carried { bytes: frame.into_wire(), _claim: self };
        EncodedFrame::from_wire(Bytes::from_owner(carried)).expect("it was a frame before")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.returned.give(self.user, self.bytes);
    }
}

/// The bytes of an answer, with the room that they take.
struct Carried {
    bytes: Bytes,
    _claim: Claim,
}

impl AsRef<[u8]> for Carried {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T> Room<T> {
    pub(crate) fn new(bytes_max: usize) -> Room<T> {
        Room {
            bytes_max,
            taken: 0,
            reading: 0,
            waiting: 0,
            users: HashMap::default(),
            turns: VecDeque::new(),
            ticks: 0,
            returned: Arc::default(),
        }
    }

    /// What is called, on any thread, when there is room that somebody waits for.
    pub(crate) fn wake_by(&self, wake: Box<dyn Fn() + Send + Sync>) {
        let set = self.returned.wake.set(wake);
        debug_assert!(set.is_ok(), "a worker is driven by one driver");
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many are read just now.
    pub(crate) fn reading(&self) -> usize {
        self.reading
    }

    /// How much is taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Lets something of a user wait for its turn.
    pub(crate) fn want(&mut self, user: UserId, conn: ConnId, wanted: Wanted, what: T) {
        let share = self.users.entry(user).or_insert_with(Share::new);
        if share.waiting.is_empty() {
            self.turns.push_back(user);
        }
        share.waiting.push_back(Waiting { conn, since: self.ticks, wanted, what });
        self.waiting += 1;
    }

    /// The next that may be read, with its room. To be asked again until there is none.
    pub(crate) fn next(&mut self) -> Option<(T, Claim)> {
        if self.waiting == 0 {
            return None;
        }
        loop {
            self.take_back();
            let next = self.find();
            if next.is_some() || self.is_told_later() {
                return next;
            }
        }
    }

    /// An answer was read, or will not be.
    pub(crate) fn was_read(&mut self, user: UserId) {
        self.reading -= 1;
        if let Some(share) = self.users.get_mut(&user) {
            share.reading -= 1;
        }
        self.forget_if_idle(user);
    }

    /// Nobody waits on this connection any more. What waited is given back.
    pub(crate) fn forget(&mut self, user: UserId, conn: ConnId) -> Vec<T> {
        self.take_out(user, |waiting| waiting.conn == conn)
    }

    /// A tick has passed.
    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
    }

    /// Takes out what waits since so many ticks or longer.
    pub(crate) fn take_late(&mut self, ticks: u64) -> Vec<T> {
        let Some(last) = self.ticks.checked_sub(ticks) else { return Vec::new() };
        let users: Vec<_> = self.turns.iter().copied().collect();
        let late = |waiting: &Waiting<T>| waiting.since <= last;
        users.into_iter().flat_map(|user| self.take_out(user, late)).collect()
    }

    fn take_out(&mut self, user: UserId, is_out: impl Fn(&Waiting<T>) -> bool) -> Vec<T> {
        let Some(share) = self.users.get_mut(&user) else { return Vec::new() };
        let (gone, left) = std::mem::take(&mut share.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|waiting| is_out(waiting));
        share.waiting = left;
        self.waiting -= gone.len();
        if !gone.is_empty() && share.waiting.is_empty() {
            self.turns.retain(|other| *other != user);
            self.forget_if_idle(user);
        }
        gone.into_iter().map(|waiting| waiting.what).collect()
    }

    fn find(&mut self) -> Option<(T, Claim)> {
        if self.reading >= READS_MAX {
            return None;
        }
        for _ in 0..self.turns.len() {
            let user = self.turns.pop_front()?;
            let free = self.bytes_max.saturating_sub(self.taken);
            let Some(share) = self.users.get_mut(&user) else { continue };
            let bytes = share.may_take(free, self.bytes_max);
            let next = bytes.and_then(|bytes| Some((share.waiting.pop_front()?, bytes)));
            if !share.waiting.is_empty() {
                self.turns.push_back(user);
            }
            if let Some((Waiting { what, .. }, bytes)) = next {
                share.taken += bytes;
                share.reading += 1;
                self.taken += bytes;
                self.reading += 1;
                self.waiting -= 1;
                let returned = Arc::clone(&self.returned);
                return Some((what, Claim { user, bytes, returned }));
            }
        }
        None
    }

    /// Takes over what was given back.
    fn take_back(&mut self) {
        let claims = std::mem::take(&mut self.returned.state.lock().claims);
        for (user, bytes) in claims {
            self.taken -= bytes;
            if let Some(share) = self.users.get_mut(&user) {
                share.taken -= bytes;
            }
            self.forget_if_idle(user);
        }
    }

    /// Whoever gives room back says so from now on; unless somebody just did.
    fn is_told_later(&self) -> bool {
        let mut back = self.returned.state.lock();
        back.is_wanted = back.claims.is_empty();
        back.is_wanted
    }

    fn forget_if_idle(&mut self, user: UserId) {
        let is_idle =
            |share: &Share<T>| share.taken == 0 && share.reading == 0 && share.waiting.is_empty();
        if self.users.get(&user).is_some_and(is_idle) {
            self.users.remove(&user);
        }
    }
}

/// What a worker holds between its ticks.
impl<T> Room<T> {
    /// To be called now and then when nobody waits: users who have got everything are forgotten.
    pub(crate) fn sweep(&mut self) {
        if self.taken > 0 {
            self.take_back();
        }
        if self.users.is_empty() {
            self.users.shrink_to(0);
            self.turns.shrink_to(0);
        }
    }
}

impl<T> Share<T> {
    fn new() -> Share<T> {
        Share { taken: 0, reading: 0, waiting: VecDeque::new() }
    }

    /// How much room the first that waits gets now, if so much is free of all.
    fn may_take(&self, free: usize, bytes_max: usize) -> Option<usize> {
        let Wanted { least, most } = self.waiting.front()?.wanted;
        if self.reading >= READS_PER_USER_MAX {
            return None;
        }
        let fair = fair_share(free, bytes_max).saturating_sub(self.taken);
        if fair >= least {
            return Some(most.min(fair));
        }
        // Who holds nothing gets what is needed, as long as it is there.
        (self.taken == 0 && free >= least).then_some(least)
    }
}

/// What one user may hold, if so much is free of all.
pub(crate) fn fair_share(free: usize, bytes_max: usize) -> usize {
    let part = free as u128 * free as u128 / (bytes_max.max(1) * SHARE_DIVISOR) as u128;
    usize::try_from(part).unwrap_or(free)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use dunlin_protocol::wire::{Signal, frame::Body};

    use super::*;

    const KIB: usize = 1024;

    const PAGE: Wanted = Wanted { least: 100 * KIB, most: 1000 * KIB };

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn conn(slot: u32) -> ConnId {
        ConnId { shard: 0, slot, generation: 1 }
    }

    fn want(room: &mut Room<u64>, id: u64, count: u64) {
        (0..count).for_each(|number| room.want(user(id), conn(id as u32), PAGE, number));
    }

    /// Everything that may be read now, and is.
    fn read_all(room: &mut Room<u64>) -> Vec<Claim> {
        let mut claims = Vec::new();
        while let Some((_, claim)) = room.next() {
            room.was_read(claim.user);
            claims.push(claim);
        }
        claims
    }

    fn of(claims: &[Claim], id: u64) -> usize {
        claims.iter().filter(|claim| claim.user == user(id)).map(Claim::bytes).sum()
    }

    #[test]
    fn who_asks_for_everything_gets_a_part_and_leaves_the_rest() {
        let mut room = Room::new(64_000 * KIB);
        want(&mut room, 1, 1000);
        let greedy = read_all(&mut room);
        assert!((10_000 * KIB..=12_500 * KIB).contains(&room.taken()), "{}", room.taken());
        want(&mut room, 2, 1);
        let modest = read_all(&mut room);
        assert_eq!(of(&modest, 2), PAGE.most);
        // Dozens of them leave something: each that comes finds a part of what is left.
        let others: Vec<_> = (10..1000)
            .flat_map(|id| {
                want(&mut room, id, 100);
                read_all(&mut room)
            })
            .collect();
        assert!(room.taken() <= 64_000 * KIB);
        assert!(of(&others, 10) >= PAGE.most && of(&others, 80) >= PAGE.least);
        drop((greedy, modest, others));
        let waiting = room.waiting();
        drop(read_all(&mut room));
        assert!(room.waiting() < waiting);
    }

    #[test]
    fn users_take_turns() {
        let mut room = Room::new(1000 * KIB * KIB);
        want(&mut room, 1, 50);
        want(&mut room, 2, 2);
        let order: Vec<_> = std::iter::from_fn(|| room.next())
            .map(|(_, claim)| (claim.user.get(), claim))
            .collect();
        let users: Vec<_> = order.iter().map(|(user, _)| *user).collect();
        assert_eq!(users[..4], [1, 2, 1, 2]);
        assert_eq!(users.len(), 2 + READS_PER_USER_MAX, "so many of a user at a time");
        room.was_read(order[0].1.user);
        assert_eq!(room.next().map(|(number, _)| number), Some(READS_PER_USER_MAX as u64));
    }

    #[test]
    fn so_many_are_read_at_a_time() {
        let mut room = Room::new(1 << 40);
        (1..=2 * READS_MAX as u64).for_each(|id| want(&mut room, id, 1));
        let claims: Vec<_> = std::iter::from_fn(|| room.next()).collect();
        assert_eq!(claims.len(), READS_MAX);
    }

    #[test]
    fn what_was_read_keeps_its_room_until_its_bytes_are_gone() {
        let mut room = Room::new(10_000 * KIB);
        want(&mut room, 1, 2);
        let (_, large) = room.next().unwrap();
        let (_, small) = room.next().unwrap();
        let frame = |bytes| {
            let payload = vec![7; bytes].into();
            EncodedFrame::push(Body::Signal(Signal { payload, ..Signal::default() }))
        };
        let (plain, little) = (frame(50 * KIB), frame(10));
        [&large, &small].into_iter().for_each(|claim| room.was_read(claim.user));
        let (carried, light) = (large.carry(plain.clone()), small.carry(little.clone()));
        assert_eq!((&carried, &light), (&plain, &little));
        room.take_back();
        assert_eq!(room.taken(), plain.wire().len());
        let content = carried.body().slice(100..);
        drop(carried);
        room.take_back();
        assert_eq!(room.taken(), plain.wire().len(), "a part of it is in use");
        drop(content);
        room.sweep();
        assert_eq!(room.taken(), 0);
        assert!(room.users.is_empty());
    }

    #[test]
    fn who_waits_is_woken_once_when_there_is_room() {
        let mut room = Room::new(100 * KIB);
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        room.wake_by(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        want(&mut room, 1, 1);
        let (_, claim) = room.next().unwrap();
        room.was_read(claim.user);
        drop(claim);
        assert_eq!(woken.load(Ordering::SeqCst), 0, "nobody waited");
        want(&mut room, 1, 1);
        let (_, claim) = room.next().unwrap();
        room.was_read(claim.user);
        want(&mut room, 2, 2);
        assert!(room.next().is_none());
        drop(claim);
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        let (_, claim) = room.next().unwrap();
        drop(claim);
        assert_eq!(woken.load(Ordering::SeqCst), 1, "it looked meanwhile");
    }

    #[test]
    fn who_has_gone_waits_no_more() {
        let mut room = Room::new(1 << 30);
        room.want(user(1), conn(1), PAGE, 10);
        room.want(user(1), conn(2), PAGE, 20);
        room.want(user(1), conn(1), PAGE, 11);
        assert_eq!(room.forget(user(1), conn(1)), [10, 11]);
        assert_eq!(room.next().map(|(what, _)| what), Some(20));
        room.want(user(2), conn(3), PAGE, 30);
        assert_eq!(room.forget(user(2), conn(3)), [30]);
        assert_eq!((room.waiting(), room.next().is_none()), (0, true));
        assert!(room.turns.is_empty() && !room.users.contains_key(&user(2)));
    }

    #[test]
    fn what_waits_for_too_long_is_taken_out() {
        let mut room = Room::new(1 << 30);
        room.want(user(1), conn(1), PAGE, 10);
        room.want(user(2), conn(2), PAGE, 20);
        room.tick();
        room.want(user(1), conn(1), PAGE, 11);
        assert!(room.take_late(2).is_empty(), "not so many have passed");
        room.tick();
        assert_eq!(room.take_late(2), [10, 20]);
        assert_eq!(room.next().map(|(what, _)| what), Some(11));
        assert!(room.turns.is_empty() && !room.users.contains_key(&user(2)));
    }
}
