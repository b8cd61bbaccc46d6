//! Who may connect: limits of the node and of each address, shared by all shards.
//!
//! Touched when a connection is accepted, closed, or fails to log in, never per message; so a few
//! locks by hash of the address are enough.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dunlin_core::rates::Payer;
use dunlin_core::request::Source;
use parking_lot::Mutex;

use crate::config::Limits;

/// Parts of the table of addresses, each with its lock.
const PARTS: usize = 32;

/// Failures of an address that count, in limits: many people behind one address whose passwords are all wrong wait no
/// longer than for these.
const BLOCKS_MAX: u32 = 8;

/// Addresses in a part before those without connections and failures are swept out, at least.
const SWEEP_AT: usize = 4096;

/// The address of a peer, IPv4 mapped into IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address([u8; 16]);

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        Address(match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        })
    }
}

impl Address {
    /// Of whom a proxy has not told the address yet. Nobody comes from it: no limit of addresses holds meanwhile, but
    /// that of the time in which a handshake must end.
    pub(crate) const NOT_TOLD: Address = Address([0; 16]);

    pub(crate) fn is_told(self) -> bool {
        self != Address::NOT_TOLD
    }

    /// Whether the limits of addresses leave it out.
    fn is_exempt(self, limits: &Limits) -> bool {
        (limits.loopback_exempt && self.is_loopback()) || !self.is_told()
    }

    fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }

    /// Who pays for what is asked from there; nobody if it is this machine, and that is exempt.
    pub(crate) fn payer(self, limits: &Limits) -> Option<Payer> {
        (!self.is_exempt(limits)).then(|| Payer::Address(self.key()))
    }

    fn is_loopback(self) -> bool {
        self.ip().is_loopback()
    }

    /// Whom limits are counted against: an IPv4 address, or the /64 network that one IPv6 user
    /// has to choose addresses from.
    fn key(self) -> [u8; 16] {
        match self.ip() {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(_) => {
                let mut network = self.0;
                network[8..].fill(0);
                network
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

/// Why a connection is refused when it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The node has as many connections as it may have.
    NodeFull,
    /// The address has.
    AddressFull,
    /// Too many have come from the address lately.
    AddressHasty,
}

impl Refusal {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Refusal; 3] =
        [Refusal::NodeFull, Refusal::AddressFull, Refusal::AddressHasty];

    /// For the log: the setting that it comes from.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Refusal::NodeFull => "limits.connections_max",
            Refusal::AddressFull => "limits.connections_per_address_max",
            Refusal::AddressHasty => "rates.connects_per_s",
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    connections: AtomicUsize,
    /// Of these, those on which nobody has logged in.
    strangers: AtomicUsize,
    handshakes: AtomicUsize,
    /// There were as many handshakes as there may be, and a quarter has not ended since.
    hurried: AtomicBool,
    hasher: RandomState,
    parts: [Mutex<Part>; PARTS],
}

#[derive(Debug, Default)]
struct Part {
    peers: HashMap<[u8; 16], Peer>,
    /// How many were left by the last sweep.
    left: usize,
}

impl Part {
    /// Sweeps when there are twice as many as the last sweep left: with a million addresses that
    /// are all connected, each accept would else look at a part of them and find nothing.
    fn sweep(&mut self, now_ms: u64, limits: &Limits) {
        if self.peers.len() < SWEEP_AT.max(2 * self.left) {
            return;
        }
        self.peers.retain(|_, peer| {
            peer.failures.forgive(now_ms, limits);
            peer.connections > 0 || peer.is_remembered(now_ms)
        });
        self.left = self.peers.len();
    }
}

/// What is known of an address.
#[derive(Debug, Default)]
struct Peer {
    connections: u32,
    /// Passwords that are being looked at.
    passwords: u32,
    failures: FailedLogins,
    registrations: Registrations,
}

impl Peer {
    /// Whether something of it counts though nobody is there.
    fn is_remembered(&self, now_ms: u64) -> bool {
        self.failures.count > 0 || self.registrations.empty_ms > now_ms
    }
}

/// Registrations leak out of the count with time: as when all of them will have.
#[derive(Debug, Default)]
struct Registrations {
    empty_ms: u64,
}

impl Registrations {
    /// Counts one, or says in how many milliseconds there is room for it.
    fn begin(&mut self, now_ms: u64, limits: &Limits) -> Result<(), u32> {
        let interval_ms = (3_600_000 / u64::from(limits.registrations_forgiven_per_hour)).max(1);
        let full_ms = now_ms + u64::from(limits.registrations_per_address_max) * interval_ms;
        let empty_ms = self.empty_ms.max(now_ms) + interval_ms;
        if empty_ms > full_ms {
            return Err(u32::try_from(empty_ms - full_ms).unwrap_or(u32::MAX));
        }
        self.empty_ms = empty_ms;
        Ok(())
    }
}

/// Failed logins leak out of the count with time. An address that reached the limit is blocked
/// until half of them have: without that gap it would swing between blocked and not. What was asked before it
/// was blocked and fails afterwards counts as well, or whoever asks often enough at once would have all of it looked at
/// for the price of the limit; so the block may end later than the first were told.
#[derive(Debug, Default)]
struct FailedLogins {
    count: u32,
    /// Up to when forgiveness was applied.
    counted_ms: u64,
    blocked: bool,
}

impl FailedLogins {
    fn forgive(&mut self, now_ms: u64, limits: &Limits) {
        let interval_ms = interval_ms(limits);
        let forgiven = now_ms.saturating_sub(self.counted_ms) / interval_ms;
        self.count = self.count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        self.counted_ms =
            if self.count == 0 { now_ms } else { self.counted_ms + forgiven * interval_ms };
        self.blocked &= self.count > limits.failed_logins_per_address_max / 2;
    }

    /// How long until half of the limit is reached, if that is waited for.
    fn blocked_for_ms(&self, now_ms: u64, limits: &Limits) -> Option<u32> {
        let surplus = self.count.saturating_sub(limits.failed_logins_per_address_max / 2);
        let ends_ms = self.counted_ms + u64::from(surplus) * interval_ms(limits);
        let left_ms = u32::try_from(ends_ms.saturating_sub(now_ms)).unwrap_or(u32::MAX);
        self.blocked.then_some(left_ms)
    }
}

/// Why a password of an address is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PasswordRefusal {
    /// As many are being looked at as may be.
    AtOnce,
    /// It has tried to register too often; so many milliseconds until it may again.
    Registrations(u32),
}

/// In how much time one failed login is forgiven.
fn interval_ms(limits: &Limits) -> u64 {
    (60_000 / u64::from(limits.failed_logins_forgiven_per_minute)).max(1)
}

impl Admission {
    /// Connections of the node.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection in, or says why not. One that came in must [`leave`](Self::leave).
    pub(crate) fn enter(
        &self,
        address: Address,
        connections_max: usize,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= connections_max {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::NodeFull);
        }
        let entered = self.enter_address(address, limits, now_ms);
        match entered {
            Ok(()) => self.strangers.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.connections.fetch_sub(1, Ordering::Relaxed),
        };
        entered
    }

    /// Connections on which nobody has logged in.
    pub(crate) fn strangers(&self) -> usize {
        self.strangers.load(Ordering::Relaxed)
    }

    /// Somebody has logged in on a connection.
    pub(crate) fn logged_in(&self) {
        self.strangers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections of an address; 0 if it is exempt of limits.
    pub(crate) fn connections_of(&self, address: Address) -> u32 {
        let part = self.part(address).lock();
        part.peers.get(&address.key()).map_or(0, |peer| peer.connections)
    }

    /// The same of an address that was told later than its connection was counted in.
    pub(crate) fn enter_address(
        &self,
        address: Address,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        if address.is_exempt(limits) {
            return Ok(());
        }
        let mut part = self.part(address).lock();
        part.sweep(now_ms, limits);
        let peer = part.peers.entry(address.key()).or_default();
        if peer.connections >= limits.connections_per_address_max {
            return Err(Refusal::AddressFull);
        }
        peer.connections += 1;
        Ok(())
    }

    /// Counts a connection out, on which nobody had logged in, or somebody had.
    pub(crate) fn leave(&self, address: Address, is_stranger: bool, now_ms: u64) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.strangers.fetch_sub(usize::from(is_stranger), Ordering::Relaxed);
        let mut part = self.part(address).lock();
        // Absent if it was exempt when it came in.
        if let Some(peer) = part.peers.get_mut(&address.key()) {
            peer.connections = peer.connections.saturating_sub(1);
            if peer.connections == 0 && !peer.is_remembered(now_ms) {
                part.peers.remove(&address.key());
            }
        }
    }

    /// Counts a failed login. `Some` with a delay if the address is blocked by it; one that was before stays so for
    /// longer.
    pub(crate) fn login_failed(
        &self,
        address: Address,
        limits: &Limits,
        now_ms: u64,
    ) -> Option<u32> {
        if address.is_exempt(limits) {
            return None;
        }
        let mut part = self.part(address).lock();
        let failures = &mut part.peers.entry(address.key()).or_default().failures;
        failures.forgive(now_ms, limits);
        let limit = limits.failed_logins_per_address_max;
        failures.count = failures.count.saturating_add(1).min(limit.saturating_mul(BLOCKS_MAX));
        let was_blocked = failures.blocked;
        failures.blocked |= failures.count >= limit;
        if was_blocked { None } else { failures.blocked_for_ms(now_ms, limits) }
    }

    /// For how many milliseconds no password of an address is looked at, if too many logins have
    /// failed there.
    pub(crate) fn blocked_for_ms(
        &self,
        address: Address,
        limits: &Limits,
        now_ms: u64,
    ) -> Option<u32> {
        let mut part = self.part(address).lock();
        // Absent if it is exempt.
        let failures = &mut part.peers.get_mut(&address.key())?.failures;
        failures.forgive(now_ms, limits);
        failures.blocked_for_ms(now_ms, limits)
    }

    /// A password of an address is to be looked at: for a login, or for an account that is to be made. If it may,
    /// that it was must be [told](Self::password_ends).
    pub(crate) fn password_begins(
        &self,
        address: Address,
        is_registration: bool,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<(), PasswordRefusal> {
        if address.is_exempt(limits) {
            return Ok(());
        }
        let mut part = self.part(address).lock();
        let peer = part.peers.entry(address.key()).or_default();
        if peer.passwords >= limits.passwords_at_once_per_address_max {
            return Err(PasswordRefusal::AtOnce);
        }
        if is_registration {
            let begun = peer.registrations.begin(now_ms, limits);
            begun.map_err(PasswordRefusal::Registrations)?;
        }
        peer.passwords += 1;
        Ok(())
    }

    /// A password was looked at, or nobody wants to know any more.
    pub(crate) fn password_ends(&self, address: Address) {
        let mut part = self.part(address).lock();
        // Absent if it is exempt.
        if let Some(peer) = part.peers.get_mut(&address.key()) {
            peer.passwords = peer.passwords.saturating_sub(1);
        }
    }

    /// What stands for an address in the engine. It changes with each start.
    pub(crate) fn source(&self, address: Address) -> Source {
        Source(self.hasher.hash_one(address.key()))
    }

    /// Whether one more TLS handshake may begin. If not, those that are under way are hurried until
    /// a quarter of them has ended.
    pub(crate) fn handshake_may_begin(&self, handshakes_max: usize) -> bool {
        let may = self.handshakes.load(Ordering::Relaxed) < handshakes_max;
        if !may {
            self.hurried.store(true, Ordering::Relaxed);
        }
        may
    }

    /// Whether handshakes keep others out. Without that gap one would end for each that came, and
    /// only when the wheel happened to look at it.
    pub(crate) fn handshakes_are_hurried(&self, handshakes_max: usize) -> bool {
        if !self.hurried.load(Ordering::Relaxed) {
            return false;
        }
        let enough = handshakes_max - handshakes_max / 4;
        if self.handshakes.load(Ordering::Relaxed) < enough {
            self.hurried.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// TLS handshakes that are under way.
    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    pub(crate) fn handshake_begins(&self) {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn handshake_ends(&self) {
        self.handshakes.fetch_sub(1, Ordering::Relaxed);
    }

    fn part(&self, address: Address) -> &Mutex<Part> {
        &self.parts[self.hasher.hash_one(address.key()) as usize % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn limits() -> Limits {
        Limits {
            connections_per_address_max: 2,
            failed_logins_per_address_max: 10,
            failed_logins_forgiven_per_minute: 60,
            ..Limits::default()
        }
    }

    #[test]
    fn an_address_registers_no_more_than_is_forgiven() {
        let limits = Limits {
            registrations_per_address_max: 3,
            registrations_forgiven_per_hour: 6,
            passwords_at_once_per_address_max: 10,
            ..limits()
        };
        let (admission, peer) = (Admission::default(), address("10.0.0.1"));
        let begin = |now_ms| {
            let begun = admission.password_begins(peer, true, &limits, now_ms);
            admission.password_ends(peer);
            begun
        };
        assert!((0..3).all(|_| begin(HOUR_MS).is_ok()));
        assert_eq!(begin(HOUR_MS), Err(PasswordRefusal::Registrations(600_000)));
        assert_eq!(begin(HOUR_MS + 599_999), Err(PasswordRefusal::Registrations(1)));
        // To log in is another matter.
        assert_eq!(admission.password_begins(peer, false, &limits, HOUR_MS), Ok(()));
        assert_eq!(begin(HOUR_MS + 600_000), Ok(()));
        assert_eq!(begin(HOUR_MS + 600_000), Err(PasswordRefusal::Registrations(600_000)));
        assert!((0..3).all(|_| begin(3 * HOUR_MS).is_ok()));
    }

    #[test]
    fn registrations_are_remembered_when_everybody_has_left() {
        let limits = Limits { registrations_per_address_max: 1, ..limits() };
        let (admission, peer) = (Admission::default(), address("10.0.0.1"));
        admission.enter(peer, 10, &limits, 0).unwrap();
        admission.password_begins(peer, true, &limits, 0).unwrap();
        admission.password_ends(peer);
        admission.leave(peer, true, 1);
        assert!(admission.password_begins(peer, true, &limits, 2).is_err());
    }

    #[test]
    fn so_many_passwords_of_an_address_are_looked_at_at_once() {
        let limits = Limits { passwords_at_once_per_address_max: 2, ..limits() };
        let (admission, one, other) =
            (Admission::default(), address("10.0.0.1"), address("10.0.0.2"));
        let begin = |who| admission.password_begins(who, false, &limits, 0);
        assert_eq!([begin(one), begin(one)], [Ok(()), Ok(())]);
        assert_eq!((begin(one), begin(other)), (Err(PasswordRefusal::AtOnce), Ok(())));
        admission.password_ends(one);
        assert_eq!((begin(one), begin(one)), (Ok(()), Err(PasswordRefusal::AtOnce)));
    }

    #[test]
    fn handshakes_are_hurried_from_the_limit_until_a_quarter_has_ended() {
        let admission = Admission::default();
        (0..7).for_each(|_| admission.handshake_begins());
        assert!(admission.handshake_may_begin(8) && !admission.handshakes_are_hurried(8));
        admission.handshake_begins();
        assert!(!admission.handshakes_are_hurried(8), "nobody else came yet");
        assert!(!admission.handshake_may_begin(8) && admission.handshakes_are_hurried(8));
        (0..2).for_each(|_| admission.handshake_ends());
        assert!(admission.handshakes_are_hurried(8));
        admission.handshake_ends();
        assert!(!admission.handshakes_are_hurried(8));
        (0..2).for_each(|_| admission.handshake_begins());
        assert!(!admission.handshakes_are_hurried(8));
    }

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let (admission, limits) = (Admission::default(), limits());
        let (one, other) = (address("10.0.0.1"), address("10.0.0.2"));
        let enter = |who| admission.enter(who, 10, &limits, 0);
        assert_eq!([enter(one), enter(one)], [Ok(()), Ok(())]);
        assert_eq!(enter(one), Err(Refusal::AddressFull));
        assert_eq!(enter(other), Ok(()));
        admission.leave(one, true, 0);
        assert_eq!(enter(one), Ok(()));
        assert_eq!(admission.connections(), 3);
        assert_eq!((admission.connections_of(one), admission.connections_of(other)), (2, 1));
    }

    #[test]
    fn who_has_logged_in_is_no_stranger() {
        let (admission, limits) = (Admission::default(), limits());
        let peer = address("10.0.0.1");
        for _ in 0..2 {
            admission.enter(peer, 10, &limits, 0).unwrap();
        }
        assert!(admission.enter(peer, 10, &limits, 0).is_err());
        assert_eq!(admission.strangers(), 2);
        admission.logged_in();
        admission.leave(peer, false, 0);
        assert_eq!((admission.strangers(), admission.connections()), (1, 1));
        admission.leave(peer, true, 0);
        assert_eq!((admission.strangers(), admission.connections()), (0, 0));
    }

    #[test]
    fn neighbours_in_an_ipv6_network_share_their_limit() {
        let (admission, limits) = (Admission::default(), limits());
        for (ip, result) in [
            ("2001:db8::1", Ok(())),
            ("2001:db8::2", Ok(())),
            ("2001:db8::3", Err(Refusal::AddressFull)),
            ("2001:db8:0:1::1", Ok(())),
        ] {
            assert_eq!(admission.enter(address(ip), 10, &limits, 0), result, "{ip}");
        }
    }

    #[test]
    fn the_node_has_its_limit() {
        let (admission, limits) = (Admission::default(), limits());
        let own = |number: u8| Address::from(IpAddr::from([10, 0, 0, number]));
        assert!((1..=5).all(|number| admission.enter(own(number), 5, &limits, 0).is_ok()));
        assert_eq!(admission.enter(own(6), 5, &limits, 0), Err(Refusal::NodeFull));
        assert_eq!(admission.connections(), 5);
    }

    #[test]
    fn failed_logins_block_until_half_of_them_are_forgiven() {
        let (admission, limits) = (Admission::default(), limits());
        let peer = address("10.0.0.1");
        for _ in 1..10 {
            assert_eq!(admission.login_failed(peer, &limits, HOUR_MS), None);
        }
        assert_eq!(admission.login_failed(peer, &limits, HOUR_MS), Some(5000));
        let blocked = |now_ms| admission.blocked_for_ms(peer, &limits, now_ms);
        assert_eq!(blocked(HOUR_MS), Some(5000));
        assert_eq!(blocked(HOUR_MS + 100), Some(4900));
        assert_eq!(blocked(HOUR_MS + 4001), Some(999));
        assert_eq!(blocked(HOUR_MS + 5000), None);
        // Five are left, so five more block it again.
        for _ in 0..4 {
            assert_eq!(admission.login_failed(peer, &limits, HOUR_MS + 5000), None);
        }
        assert_eq!(admission.login_failed(peer, &limits, HOUR_MS + 5000), Some(5000));
    }

    #[test]
    fn what_fails_in_a_block_was_asked_at_once_and_makes_it_longer() {
        let (admission, limits) = (Admission::default(), limits());
        let peer = address("10.0.0.1");
        let blocked = |now_ms| admission.blocked_for_ms(peer, &limits, now_ms);
        let fail = |count: u32| {
            let told = (0..count).filter_map(|_| admission.login_failed(peer, &limits, HOUR_MS));
            told.count()
        };
        assert_eq!((fail(30), blocked(HOUR_MS)), (1, Some(25_000)), "it is told once");
        assert_eq!((fail(1000), blocked(HOUR_MS)), (0, Some(75_000)), "there is an end");
    }

    #[test]
    fn a_blocked_address_may_connect() {
        let (admission, limits) = (Admission::default(), limits());
        let (peer, neighbour) = (address("10.0.0.1"), address("10.0.0.2"));
        for _ in 0..10 {
            admission.login_failed(peer, &limits, HOUR_MS);
        }
        assert!(admission.blocked_for_ms(peer, &limits, HOUR_MS).is_some());
        assert_eq!(admission.blocked_for_ms(neighbour, &limits, HOUR_MS), None);
        let enter = || admission.enter(peer, 10, &limits, HOUR_MS);
        assert_eq!([enter(), enter()], [Ok(()), Ok(())]);
        assert_eq!(enter(), Err(Refusal::AddressFull), "as many as any other");
    }

    #[test]
    fn loopback_is_exempt_only_where_it_may_be() {
        let admission = Admission::default();
        let peer = address("127.0.0.1");
        let open = Limits { loopback_exempt: true, ..limits() };
        let strict = Limits { loopback_exempt: false, ..limits() };
        assert!((0..5).all(|_| admission.enter(peer, 100, &open, 0).is_ok()));
        assert!((0..2).all(|_| admission.enter(peer, 100, &strict, 0).is_ok()));
        assert_eq!(admission.enter(peer, 100, &strict, 0), Err(Refusal::AddressFull));
    }

    #[test]
    fn an_address_that_left_is_forgotten() {
        let (admission, limits) = (Admission::default(), limits());
        for number in 0..1000u32 {
            let peer = Address::from(IpAddr::from(number.to_be_bytes()));
            admission.enter(peer, 10, &limits, 0).unwrap();
            admission.leave(peer, true, 0);
        }
        assert!(admission.parts.iter().all(|part| part.lock().peers.is_empty()));
    }

    #[test]
    fn sweeps_get_rarer_as_more_addresses_stay() {
        let (mut part, limits) = (Part::default(), limits());
        let mut sweeps = 0;
        for number in 0..100_000u128 {
            let left = part.left;
            part.sweep(0, &limits);
            sweeps += u32::from(part.left != left);
            part.peers.insert(number.to_be_bytes(), Peer { connections: 1, ..Peer::default() });
        }
        assert!(sweeps < 10, "{sweeps} sweeps that found nothing");
        part.peers.values_mut().for_each(|peer| peer.connections = 0);
        (100_000..200_000u128).for_each(|number| {
            part.sweep(0, &limits);
            part.peers.insert(number.to_be_bytes(), Peer::default());
        });
        assert!(part.peers.len() < 100_000, "those that left are forgotten");
    }
}
