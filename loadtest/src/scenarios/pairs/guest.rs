//! Pairs as guests of a crowd: two and two sit together, and each of them writes.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::crowd::{Identity, Place, Scenario, Seat, Seating, Senders, Terms};
use crate::error::LoadtestError;
use crate::phases::Coordinator;
use crate::scenarios::pairs::disturbance::{Disturber, Tally};
use crate::scenarios::pairs::{ChatParameters, ChatScenario, Disturbance, DisturbanceReport};
use crate::scenarios::storm;
use crate::target::Target;

/// One conversation for two connections, both of which write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InPairs;

impl Seating for InPairs {
    fn group_connections(&self) -> u32 {
        2
    }

    fn group_conversations(&self) -> u32 {
        1
    }

    fn readers(&self) -> usize {
        2
    }

    fn writers(&self) -> usize {
        2
    }

    fn seat(&self, connection: usize) -> Seat {
        Seat { first_conversation: connection / 2, conversations: 1, reader: connection % 2 }
    }

    fn connection(&self, place: Place) -> usize {
        2 * place.conversation + place.reader
    }
}

/// A share of a run, for another process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    parameters: ChatParameters,
    disturbance: Option<Disturbance>,
    pub(crate) run: u64,
}

impl Task {
    pub(crate) fn scenario(&self, target: Target) -> ChatScenario {
        let disturbance = self.disturbance.clone();
        ChatScenario { disturbance, ..self.parameters.scenario(target) }
    }
}

impl Scenario for ChatScenario {
    type Seating = InPairs;
    type Turmoil = Disturber;
    type Aside = storm::Board;
    type Sequel = DisturbanceReport;
    type Task = Task;

    const CALLED: &'static str = "users";
    const TASK: &'static str = "chat";

    fn terms(&self) -> Terms {
        Terms {
            target: self.target.clone(),
            connections: self.users,
            threads: self.threads,
            processors: self.processors.clone(),
            generators: self.generators.clone(),
            message: self.message.clone(),
            content_bytes: self.content_bytes.clone(),
            history_entries: self.history_entries,
            load: self.load.clone(),
            warm_up: self.warm_up,
            duration: self.duration,
            connects_per_second: self.connects_per_second,
            gather_timeout: self.gather_timeout,
            drain_timeout: self.drain_timeout,
            read_timeout: self.read_timeout,
            progress_interval: self.progress_interval,
            reconnect: self.reconnect,
            gathers_at_once: false,
            stop: self.stop.clone(),
        }
    }

    fn check(&self) -> Result<(), LoadtestError> {
        ChatScenario::check(self)
    }

    fn seating(&self) -> InPairs {
        InPairs
    }

    fn senders(&self, connections: &Range<u32>) -> Senders {
        self.senders_of(connections.start / 2..connections.end / 2)
    }

    fn connection_of_sender(&self, sender: usize) -> usize {
        sender
    }

    fn member(&self, run: u64, connection: u32) -> Identity {
        Identity { user: format!("load-{run:016x}-{connection}"), device: connection }
    }

    fn relay_words(&self, connection: u32) -> Vec<u32> {
        vec![0, connection / 2]
    }

    fn turmoil(&self, connections: &Range<u32>) -> Disturber {
        Disturber::new(self, connections)
    }

    fn spared(&self) -> u32 {
        ChatScenario::spared(self)
    }

    fn resumes_tls(&self) -> Option<bool> {
        self.disturbance.as_ref().map(|disturbance| match disturbance {
            Disturbance::Storm(storm) => storm.tls_resumption,
            Disturbance::Slow(_) | Disturbance::Churn(_) | Disturbance::Hostile(_) => true,
        })
    }

    fn sequel_at_most(&self) -> Duration {
        self.disturbed_at_most()
    }

    fn follow<T>(
        &self,
        board: &storm::Board,
        coordinator: &mut Coordinator<'_, '_, T>,
        reasons: &mut Vec<String>,
    ) -> Option<DisturbanceReport> {
        match &self.disturbance {
            Some(Disturbance::Storm(storm)) => {
                let report = storm.lead(self.users, board, coordinator, reasons);
                Some(DisturbanceReport::Storm(report))
            }
            Some(Disturbance::Slow(_) | Disturbance::Churn(_) | Disturbance::Hostile(_)) | None => {
                None
            }
        }
    }

    fn fits(&self, tally: Option<&Tally>) -> bool {
        Tally::fits(tally, self.disturbance.as_ref())
    }

    fn task(&self, run: u64) -> Task {
        let parameters = ChatParameters::of(self);
        Task { parameters, disturbance: self.disturbance.clone(), run }
    }

    fn settle_in(&mut self, threads: usize, processors: &[usize]) {
        self.threads = threads;
        self.processors = processors.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_has_one_seat_and_leads_back_to_itself() {
        for connection in 0..6 {
            let seat = InPairs.seat(connection);
            assert_eq!(InPairs.connection(seat.place(0)), connection);
            assert_eq!((seat.first_conversation, seat.reader), (connection / 2, connection % 2));
        }
    }
}
