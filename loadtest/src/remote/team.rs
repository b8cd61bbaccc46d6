//! The coordinator's side: calls the generators, compares the clocks, and leads each by a thread.

use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Generators;
use super::account::{Account, GeneratorReport};
use super::assignment::{Assignment, Server};
use super::error::LinkError;
use super::handshake;
use super::link::Link;
use super::secret::Secret;
use crate::error::LoadtestError;
use crate::generators::shares;
use crate::net::Clock;
use crate::target::Target;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Questions for the time. Only the quickest answer counts: whatever delays the others on their
/// way, it is unlikely to meet all.
const CLOCK_QUESTIONS: usize = 16;

/// Between two orders: how late a generator may learn of a new phase, and how old the progress of
/// a run may be.
const ORDER_INTERVAL: Duration = Duration::from_millis(50);

/// How long a generator may take to end when it is told to.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// What a coordinator asks before a run.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question<T> {
    /// What does your clock say?
    Time,
    /// Do this; orders follow.
    Begin(Box<Assignment<T>>),
}

/// What a generator answers to an order.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report<S, T> {
    Running(S),
    Done(Box<T>, Account),
    Failed(String),
}

/// Calls all generators and gives each its share of the connections of a run. Groups of `group` stay
/// together, and so do the first `together` of all.
pub(crate) fn call_generators(
    generators: &Generators,
    connections: u32,
    group: u32,
    together: u32,
) -> Result<Vec<Member>, LoadtestError> {
    let addresses = &generators.addresses;
    let shares = shares_together(connections, group, together, addresses.len());
    if shares.is_empty() || shares.len() < addresses.len() {
        let reason = format!("{} can't share {connections} users", addresses.len());
        return Err(LoadtestError::Scenario { field: "generators", reason });
    }
    let secret = Secret::read(&generators.secret_file)?;
    // All at once: the first one would not wait for as long as many others may take.
    thread::scope(|scope| {
        let calls = addresses.iter().zip(shares).map(|(address, users)| {
            let secret = &secret;
            scope.spawn(move || Member::call(address, secret, users).map_err(lost(address)))
        });
        let calls: Vec<_> = calls.collect();
        let join =
            |call: ScopedJoinHandle<'_, _>| call.join().map_err(|_| LoadtestError::Panicked)?;
        calls.into_iter().map(join).collect()
    })
}

/// Even shares; but the first is as large as it needs to be for those who stay together.
fn shares_together(
    connections: u32,
    group: u32,
    together: u32,
    generators: usize,
) -> Vec<Range<u32>> {
    let even = shares(connections, group, generators);
    if even.first().is_none_or(|first| first.end >= together) {
        return even;
    }
    let others = shares(connections - together, group, generators - 1).into_iter();
    let others = others.map(|share| together + share.start..together + share.end);
    std::iter::once(0..together).chain(others).collect()
}

fn lost(address: &str) -> impl FnOnce(LinkError) -> LoadtestError {
    let address = address.to_owned();
    move |source| LoadtestError::Generator { address, source }
}

/// A generator that has proved to be one.
#[derive(Debug)]
pub(crate) struct Member {
    address: String,
    pub(crate) users: Range<u32>,
    link: Link,
    /// Of the link; the run has another one, which starts when all are there.
    clock: Clock,
    distance: Distance,
    /// It runs on this machine.
    is_here: bool,
}

impl Member {
    fn call(address: &str, secret: &Secret, users: Range<u32>) -> Result<Member, LinkError> {
        let socket = connect(address)?;
        let ends = socket.local_addr().and_then(|own| Ok((own.ip(), socket.peer_addr()?.ip())));
        let is_here =
            ends.map(|(own, peer)| is_of_machine(own, peer)).map_err(LinkError::Broken)?;
        let mut link = handshake::call(socket, secret)?;
        let clock = Clock::start();
        let mut best: Option<Distance> = None;
        for _ in 0..CLOCK_QUESTIONS {
            let sent_ns = clock.now_ns();
            let theirs_ns = link.ask(&Question::<()>::Time)?;
            let distance = Distance::new(sent_ns, theirs_ns, clock.now_ns());
            if best.is_none_or(|best| distance.error_ns < best.error_ns) {
                best = Some(distance);
            }
        }
        let distance = best.ok_or_else(|| LinkError::Own("it was not asked".to_owned()))?;
        Ok(Member { address: address.to_owned(), users, link, clock, distance, is_here })
    }

    /// Tells what to do, with times on the clock of the run.
    pub(crate) fn begin(
        &mut self,
        target: &Target,
        clock: Clock,
        task: impl Serialize,
    ) -> Result<(), LoadtestError> {
        let server_ip = target.address.ip().to_canonical();
        if !self.is_here && (server_ip.is_loopback() || server_ip.is_unspecified()) {
            let generator = &self.address;
            let reason = format!("{server_ip} is another machine to generator {generator}");
            return Err(LoadtestError::Scenario { field: "address", reason });
        }
        let server = Server::new(target)
            .map_err(LoadtestError::machine("reading the certificates to trust"))?;
        let clock_zero_ns = self.clock.zero_of(clock) + self.distance.ahead_ns;
        let users = self.users.clone();
        let assignment = Assignment { server, users, clock_zero_ns, task };
        let begin = Question::Begin(Box::new(assignment));
        self.link.send(&begin).map_err(lost(&self.address))
    }

    /// Passes on what the coordinator wants (and whether it is the end), and takes what the
    /// generator says, until it has brought home its outcome.
    pub(crate) fn lead<O, S, T>(
        mut self,
        mut order: impl FnMut() -> (O, bool),
        mut heard: impl FnMut(S),
    ) -> Result<(T, GeneratorReport), LoadtestError>
    where
        O: Serialize,
        S: DeserializeOwned,
        T: DeserializeOwned,
    {
        let mut end: Option<Instant> = None;
        loop {
            let (order, is_end) = order();
            if is_end && end.get_or_insert_with(Instant::now).elapsed() > END_TIMEOUT {
                let silent = LinkError::Silent { seconds: END_TIMEOUT.as_secs() };
                return Err(lost(&self.address)(silent));
            }
            match self.link.ask(&order).map_err(lost(&self.address))? {
                Report::Running(state) => heard(state),
                Report::Done(outcome, account) => return Ok((*outcome, self.report(account))),
                Report::Failed(reason) => {
                    return Err(lost(&self.address)(LinkError::Failed(reason)));
                }
            }
            thread::sleep(ORDER_INTERVAL);
        }
    }

    fn report(&self, account: Account) -> GeneratorReport {
        GeneratorReport {
            address: self.address.clone(),
            users: self.users.end - self.users.start,
            threads: account.threads,
            clock_error_us: self.distance.error_ns as f64 / 1e3,
            cpu_us: account.cpu_us,
            cpu_share: account.cpu_share,
            resident_bytes: account.resident_bytes,
        }
    }
}

fn connect(address: &str) -> Result<TcpStream, LinkError> {
    let addresses = address.to_socket_addrs().map_err(LinkError::Unreachable)?;
    let mut error = std::io::Error::other("its name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => return Ok(socket),
            Err(failed) => error = failed,
        }
    }
    Err(LinkError::Unreachable(error))
}

/// Whether a connection with these addresses stays within this machine: it may have taken the way
/// by one of the machine's names.
fn is_of_machine(own: IpAddr, peer: IpAddr) -> bool {
    own == peer || peer.to_canonical().is_loopback()
}

/// How far another clock is from one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Distance {
    /// What it says, less what one's own does.
    ahead_ns: i64,
    /// By how much that may be wrong.
    error_ns: u64,
}

impl Distance {
    /// The other clock said `theirs_ns` at some time between two of one's own.
    fn new(sent_ns: u64, theirs_ns: u64, heard_ns: u64) -> Distance {
        let error_ns = (heard_ns - sent_ns).div_ceil(2);
        let own_ns = sent_ns + error_ns;
        Distance { ahead_ns: theirs_ns.cast_signed() - own_ns.cast_signed(), error_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_stay_together_are_on_the_first_generator() {
        assert_eq!(shares_together(12, 2, 4, 3), [0..4, 4..8, 8..12]);
        assert_eq!(shares_together(12, 2, 6, 3), [0..6, 6..8, 8..12]);
        assert_eq!(shares_together(12, 2, 10, 2), [0..10, 10..12]);
        assert_eq!(shares_together(12, 2, 10, 1).len(), 1);
        assert_eq!(shares_together(12, 2, 10, 3).len(), 2, "one of three has nobody");
        assert!(shares_together(0, 2, 0, 3).is_empty());
    }

    #[test]
    fn who_is_on_this_machine_is_known_by_any_of_its_addresses() {
        let is_here =
            |own: &str, peer: &str| is_of_machine(own.parse().unwrap(), peer.parse().unwrap());
        assert!(is_here("127.0.0.1", "127.0.0.1") && is_here("127.0.0.1", "127.0.0.2"));
        assert!(is_here("::1", "::1") && is_here("::ffff:127.0.0.1", "::ffff:127.0.0.9"));
        assert!(is_here("10.0.0.7", "10.0.0.7") && !is_here("10.0.0.7", "10.0.0.8"));
        assert!(!is_here("fd00::7", "fd00::8"));
    }

    #[test]
    fn the_distance_of_two_clocks_is_known_to_half_a_round_trip() {
        // The other clock is 1,000 behind; the way there takes 30, the way back 10.
        let distance = Distance::new(5_000, 4_030, 5_040);
        assert_eq!(distance, Distance { ahead_ns: -990, error_ns: 20 });
        assert!((distance.ahead_ns + 1_000).unsigned_abs() <= distance.error_ns);
    }
}
