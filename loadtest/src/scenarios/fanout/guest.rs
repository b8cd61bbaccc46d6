//! Fans as guests of a crowd: one writes, and all the others of the fan read.

use std::convert::Infallible;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::crowd::{Calm, Identity, Scenario, Seating, Senders, Terms};
use crate::error::LoadtestError;
use crate::scenarios::fanout::shape::{Shape, WRITER};
use crate::scenarios::fanout::{FanoutParameters, FanoutScenario};
use crate::target::Target;

/// Who reads the log of a conversation: its writer, and the first device of the other user. It is the
/// same for all of them.
const READERS_OF_THE_LOG: usize = 2;

/// A share of a run, for another process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    parameters: FanoutParameters,
    pub(crate) run: u64,
}

impl Task {
    pub(crate) fn scenario(&self, target: Target) -> FanoutScenario {
        self.parameters.scenario(target)
    }
}

impl Scenario for FanoutScenario {
    type Seating = Shape;
    type Turmoil = Calm;
    type Aside = ();
    type Sequel = Infallible;
    type Task = Task;

    const CALLED: &'static str = "connections";
    const TASK: &'static str = "fanout";

    fn terms(&self) -> Terms {
        Terms {
            target: self.target.clone(),
            connections: FanoutParameters::of(self).connections().unwrap_or(u32::MAX),
            threads: self.threads,
            processors: self.processors.clone(),
            generators: self.generators.clone(),
            message: self.message.into(),
            content_bytes: self.content_bytes.into(),
            history_entries: 0,
            load: self.load.clone(),
            warm_up: self.warm_up,
            duration: self.duration,
            connects_per_second: self.connects_per_second,
            gather_timeout: self.gather_timeout,
            drain_timeout: self.drain_timeout,
            read_timeout: self.read_timeout,
            progress_interval: self.progress_interval,
            reconnect: false,
            gathers_at_once: true,
            stop: self.stop.clone(),
        }
    }

    fn check(&self) -> Result<(), LoadtestError> {
        FanoutScenario::check(self).map(|_| ())
    }

    fn seating(&self) -> Shape {
        Shape { conversations: self.conversations, devices: self.devices }
    }

    fn senders(&self, connections: &Range<u32>) -> Senders {
        let fan = self.seating().group_connections();
        let (first, end) = (connections.start / fan, connections.end / fan);
        Senders { all: self.senders, first, own: (0..end - first).collect(), sides: 1 }
    }

    fn connection_of_sender(&self, sender: usize) -> usize {
        sender * self.seating().group_connections() as usize
    }

    fn member(&self, run: u64, connection: u32) -> Identity {
        let (seating, connection) = (self.seating(), connection as usize);
        let seat = seating.seat(connection);
        let (name, device) = if seat.reader == WRITER {
            (format!("writer-{}", seating.group(connection)), 0)
        } else {
            (format!("reader-{}", seat.first_conversation), seat.reader as u32 - 1)
        };
        Identity { user: format!("fanout-{run:016x}-{name}"), device }
    }

    fn relay_words(&self, connection: u32) -> Vec<u32> {
        let (seating, connection) = (self.seating(), connection as usize);
        let is_reader = seating.seat(connection).reader != WRITER;
        vec![seating.group(connection) as u32, u32::from(is_reader), self.devices]
    }

    fn reads_log(&self, reader: usize) -> bool {
        reader < READERS_OF_THE_LOG
    }

    fn waits_for_delivery(&self) -> bool {
        true
    }

    fn turmoil(&self, _connections: &Range<u32>) -> Calm {
        Calm
    }

    fn fits(&self, tally: Option<&()>) -> bool {
        tally.is_none()
    }

    fn task(&self, run: u64) -> Task {
        Task { parameters: FanoutParameters::of(self), run }
    }

    fn settle_in(&mut self, threads: usize, processors: &[usize]) {
        self.threads = threads;
        self.processors = processors.to_vec();
    }
}
