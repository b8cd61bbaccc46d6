//! The idle users of one thread: a byte of state each beside the connection.

use std::ops::Range;

use bytes::Bytes;
use dunlin_protocol::frame;
use dunlin_protocol::limits::HEARTBEAT_INTERVAL_MS;
use dunlin_protocol::wire::{Error, Frame, Sync, frame::Body};

use crate::crowd::{ARRIVING_MAX, CHORES_INTERVAL, HEARTBEAT, Newcomers, retry_after_ms};
use crate::login::{hello, login};
use crate::net::{CloseCause, Handler, Links, Next};
use crate::report::Interval;
use crate::scenarios::idle::arrivals::Arrivals;
use crate::scenarios::idle::board::Board;
use crate::scenarios::idle::heartbeats::Heartbeats;
use crate::scenarios::idle::outcome::Outcome;
use crate::scenarios::idle::scenario::IdleScenario;
use crate::target::Service;

// Request ids.
const HELLO: u64 = 1;
const LOGIN: u64 = 2;
const SYNC: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Away,
    Arriving,
    Active,
    Gone,
}

/// Whether an attempt that failed is worth another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Never,
    /// Not before this time has passed.
    After {
        wait_ns: u64,
    },
}

impl Again {
    fn after(error: &Error) -> Again {
        match retry_after_ms(error) {
            Some(wait_ms) => Again::After { wait_ns: u64::from(wait_ms) * 1_000_000 },
            // A request that is wrong stays wrong.
            None => Again::Never,
        }
    }
}

/// How an attempt, or a connection, ended.
#[derive(Debug)]
struct Ending {
    reason: String,
    again: Again,
    /// It is this machine's fault.
    is_of_machine: bool,
}

impl Ending {
    fn by_server(reason: String, again: Again) -> Ending {
        Ending { reason, again, is_of_machine: false }
    }
}

/// The users of one thread.
pub(crate) struct Idlers<'a> {
    scenario: &'a IdleScenario,
    board: &'a Board,
    prefix: &'a str,
    first: u32,
    stages: Vec<Stage>,
    arrivals: Arrivals,
    heartbeats: Heartbeats,
    farewells: hashbrown::HashMap<usize, String>,
    start_ns: Option<u64>,
    newcomers: Newcomers,
    next_chores_ns: u64,
    /// The account of the running second.
    second: Interval,
    pub(crate) outcome: Outcome,
}

impl<'a> Idlers<'a> {
    pub(crate) fn new(
        scenario: &'a IdleScenario,
        board: &'a Board,
        prefix: &'a str,
        share: Range<u32>,
    ) -> Idlers<'a> {
        let (all, per_second) = (scenario.connections, scenario.connects_per_second);
        let newcomers = Newcomers::new(share.len(), all, per_second);
        let asked_ms = u64::from(HEARTBEAT_INTERVAL_MS);
        let asked_for = scenario.heartbeat_interval.map(|interval| interval.as_nanos() as u64);
        Idlers {
            scenario,
            board,
            prefix,
            first: share.start,
            stages: vec![Stage::Away; share.len()],
            arrivals: Arrivals::new(scenario.retries_max),
            heartbeats: Heartbeats::new(share.len(), asked_for.unwrap_or(asked_ms * 1_000_000 / 2)),
            farewells: hashbrown::HashMap::new(),
            start_ns: None,
            newcomers,
            next_chores_ns: 0,
            second: Interval::default(),
            outcome: Outcome::default(),
        }
    }

    fn connect_some(&mut self, now_ns: u64, links: &mut Links) {
        let start_ns = *self.start_ns.get_or_insert(now_ns);
        while self.arrivals.len() < ARRIVING_MAX
            && let Some(slot) = self.newcomers.due(now_ns - start_ns)
        {
            self.stages[slot] = Stage::Arriving;
            self.arrivals.begin(slot, now_ns);
            links.connect(slot);
        }
        while let Some(slot) = self.arrivals.due(now_ns) {
            links.connect(slot);
        }
    }

    /// Ends attempts that take too long.
    fn give_up_some(&mut self, now_ns: u64, links: &mut Links) {
        let timeout = self.scenario.arrive_timeout;
        let overdue = self.arrivals.begun_before(now_ns.saturating_sub(timeout.as_nanos() as u64));
        for slot in overdue {
            // The end of one that is not open is on its way.
            if links.is_open(slot) {
                links.close(slot);
                let reason = format!("not logged in after {timeout:?}");
                let again = Again::After { wait_ns: 0 };
                self.ended(slot, Ending::by_server(reason, again), now_ns);
            }
        }
    }

    /// Those who are there say so, each in its turn.
    fn heartbeat(&mut self, links: &mut Links) {
        let now_ns = links.now_ns();
        let while_held = self.board.is_gathered();
        let sent_before = self.outcome.pulse.sent;
        while let Some(turn) = self.heartbeats.next_turn(now_ns) {
            if self.stages[turn.slot] == Stage::Active
                && let Some(outbox) = links.outbox(turn.slot)
            {
                outbox.extend_from_slice(&HEARTBEAT);
                self.heartbeats.sent(turn, now_ns, while_held, &mut self.outcome.pulse);
            }
        }
        let sent = self.outcome.pulse.sent - sent_before;
        self.board.beat(sent);
    }

    fn put(&self, slot: usize, request_id: u64, body: Body, links: &mut Links) {
        if let Some(outbox) = links.outbox(slot) {
            frame::encode_into(&Frame { request_id, body: Some(body) }, outbox);
        }
    }

    fn on_frame(&mut self, slot: usize, frame: Frame, links: &mut Links) {
        match (frame.request_id, frame.body) {
            (HELLO, Some(Body::Welcome(welcome))) if self.scenario.heartbeat_interval.is_none() => {
                let limits = welcome.limits.unwrap_or_default();
                let asked_ms = u64::from(limits.heartbeat_interval_ms.max(2));
                self.heartbeats.set_interval(asked_ms * 1_000_000 / 2);
            }
            (SYNC, Some(Body::Synced(_))) => self.arrived(slot, links),
            (_, Some(Body::Error(error))) => {
                let reason = format!("{:?}: {}", error.code(), error.message);
                links.close(slot);
                let ending = Ending::by_server(reason, Again::after(&error));
                self.ended(slot, ending, links.now_ns());
            }
            (0, Some(Body::Close(close))) => {
                let farewell = format!("{:?}: {}", close.reason(), close.detail);
                self.farewells.insert(slot, farewell);
            }
            // Pushes and the like: not what this is about.
            _ => {}
        }
    }

    fn arrived(&mut self, slot: usize, links: &Links) {
        if let Some(begun_ns) = self.arrivals.complete(slot) {
            let now_ns = links.now_ns();
            self.stages[slot] = Stage::Active;
            self.outcome.arrive.record(now_ns.saturating_sub(begun_ns));
            self.second.arrive.record(now_ns.saturating_sub(begun_ns));
            self.outcome.arrived += 1;
            self.outcome.last_arrival_ns = now_ns;
            self.board.arrive();
        }
    }

    /// A connection is gone. On its way it may try again; one that was held is lost.
    fn ended(&mut self, slot: usize, ending: Ending, now_ns: u64) {
        let Ending { reason, again, is_of_machine } = ending;
        self.heartbeats.gone(slot);
        if self.stages[slot] != Stage::Gone {
            self.second.closes.add(&reason);
        }
        let count = match (self.stages[slot], again) {
            (Stage::Gone, _) => return,
            (Stage::Active, _) => {
                self.board.leave();
                &mut self.outcome.closed
            }
            (Stage::Away | Stage::Arriving, Again::After { wait_ns })
                if self.arrivals.fail(slot, now_ns, wait_ns) =>
            {
                *self.outcome.retried.entry(reason).or_default() += 1;
                return;
            }
            (Stage::Away | Stage::Arriving, Again::After { .. } | Again::Never) => {
                self.arrivals.give_up(slot);
                &mut self.outcome.failed
            }
        };
        let count = if is_of_machine { &mut self.outcome.machine } else { count };
        *count.entry(reason).or_default() += 1;
        self.stages[slot] = Stage::Gone;
        self.board.fail();
    }
}

impl Handler for Idlers<'_> {
    fn opened(&mut self, slot: usize, links: &mut Links) {
        match self.scenario.target.service {
            Service::Holder => self.arrived(slot, links),
            // In one piece: the server takes one after the other.
            Service::Dunlin(ref issuer) => {
                let number = self.first + slot as u32;
                let login = login(issuer, &format!("{}-{number}", self.prefix), number);
                self.put(slot, HELLO, Body::Hello(hello()), links);
                self.put(slot, LOGIN, Body::Login(login), links);
                self.put(slot, SYNC, Body::Sync(Sync::default()), links);
            }
            Service::Relay => self.put(slot, HELLO, Body::Hello(hello()), links),
        }
    }

    fn frame(&mut self, slot: usize, body: &[u8], links: &mut Links) {
        if body.is_empty() {
            let pulse = &mut self.outcome.pulse;
            if let Some(ns) = self.heartbeats.answered(slot, || links.now_ns(), pulse) {
                self.second.heartbeat.record(ns);
            }
            return;
        }
        match frame::decode(Bytes::copy_from_slice(body)) {
            Ok(frame) => self.on_frame(slot, frame, links),
            Err(error) => {
                links.close(slot);
                let ending = Ending::by_server(error.to_string(), Again::Never);
                self.ended(slot, ending, links.now_ns());
            }
        }
    }

    fn closed(&mut self, slot: usize, cause: CloseCause, links: &mut Links) {
        let reason = self.farewells.remove(&slot).unwrap_or_else(|| cause.to_string());
        let is_of_machine = cause.is_of_machine();
        let ending = Ending { reason, again: Again::After { wait_ns: 0 }, is_of_machine };
        self.ended(slot, ending, links.now_ns());
    }

    fn tick(&mut self, now_ns: u64, links: &mut Links) -> Next {
        if self.board.is_stopped() {
            self.second.hand_over(&self.board.seconds);
            return Next::Stop;
        }
        if now_ns >= self.next_chores_ns && self.board.is_started() {
            self.next_chores_ns = now_ns + CHORES_INTERVAL.as_nanos() as u64;
            self.second.hand_over_if_past(now_ns, &self.board.seconds);
            self.give_up_some(now_ns, links);
            self.connect_some(now_ns, links);
            self.heartbeat(links);
        }
        Next::At(self.next_chores_ns.max(now_ns + 1_000_000))
    }
}
