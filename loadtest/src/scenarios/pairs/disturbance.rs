//! What may befall the users of a chat run: one of four, each in a folder of its own.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::crowd::{self, ARRIVING_MAX, Departure, Scene, Turmoil};
use crate::net::Links;
use crate::phases::Schedule;
use crate::problem::Problem;
use crate::scenarios::churn::{self, Churn, ChurnReport};
use crate::scenarios::hostile::{Hostile, HostileReport};
use crate::scenarios::pairs::{ChatParameters, ChatScenario, SECTION};
use crate::scenarios::slow::{self, Slow, SlowReport};
use crate::scenarios::storm::{self, Storm, StormReport};
use crate::target::Target;

/// What befalls the users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// Connections break, all at one moment, and everybody comes back.
    Storm(Storm),
    /// Some readers stop reading from time to time.
    Slow(Slow),
    /// Sessions come and go.
    Churn(Churn),
    /// Others attack the server.
    Hostile(Hostile),
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DisturbanceReport {
    /// Of a storm.
    Storm(StormReport),
    /// Of readers who stall.
    Slow(Box<SlowReport>),
    /// Of coming and going.
    Churn(Box<ChurnReport>),
    /// Of an attack.
    Hostile(Box<HostileReport>),
}

impl fmt::Display for DisturbanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DisturbanceReport::Storm(report) => report.fmt(f),
            DisturbanceReport::Slow(report) => report.fmt(f),
            DisturbanceReport::Churn(report) => report.fmt(f),
            DisturbanceReport::Hostile(report) => report.fmt(f),
        }
    }
}

impl From<Storm> for Disturbance {
    fn from(storm: Storm) -> Disturbance {
        Disturbance::Storm(storm)
    }
}

impl From<Slow> for Disturbance {
    fn from(slow: Slow) -> Disturbance {
        Disturbance::Slow(slow)
    }
}

impl From<Churn> for Disturbance {
    fn from(churn: Churn) -> Disturbance {
        Disturbance::Churn(churn)
    }
}

impl From<Hostile> for Disturbance {
    fn from(hostile: Hostile) -> Disturbance {
        Disturbance::Hostile(hostile)
    }
}

impl Disturbance {
    /// What makes no sense against this server.
    pub(crate) fn problems_with(&self, target: &Target) -> Vec<Problem> {
        match self {
            Disturbance::Hostile(hostile) => hostile.problems_with(target),
            Disturbance::Storm(_) | Disturbance::Slow(_) | Disturbance::Churn(_) => Vec::new(),
        }
    }

    /// Everything that makes no sense.
    pub(crate) fn problems(&self, chat: &ChatParameters) -> Vec<Problem> {
        let mut problems = match self {
            Disturbance::Storm(storm) => storm.problems(chat.users),
            Disturbance::Slow(slow) => slow.problems(),
            Disturbance::Churn(churn) => churn.problems(),
            Disturbance::Hostile(hostile) => hostile.problems(),
        };
        if chat.rate_per_s.is_none() {
            let reason = "a closed load would wait for those who are away: give a rate";
            problems.push(Problem::new(SECTION, "rate_per_s", reason));
        }
        problems
    }
}

/// The disturbance as a thread lives it.
#[derive(Debug)]
pub(crate) enum Disturber {
    Nothing,
    Storm(Box<storm::Troop>),
    Slow(Box<slow::Troop>),
    Churn(Box<churn::Troop>),
}

/// What a thread has counted, where it is not the coordinator that asks for it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tally {
    Slow(Box<slow::Tally>),
    Churn(Box<churn::Tally>),
}

impl Tally {
    /// Whether those who live this disturbance count so: what another process says of itself may be
    /// anything.
    pub(crate) fn fits(tally: Option<&Tally>, disturbance: Option<&Disturbance>) -> bool {
        match (disturbance, tally) {
            (None | Some(Disturbance::Storm(_) | Disturbance::Hostile(_)), None)
            | (Some(Disturbance::Slow(_)), Some(Tally::Slow(_)))
            | (Some(Disturbance::Churn(_)), Some(Tally::Churn(_))) => true,
            (None | Some(Disturbance::Storm(_) | Disturbance::Hostile(_)), Some(_))
            | (Some(Disturbance::Slow(_)), None | Some(Tally::Churn(_)))
            | (Some(Disturbance::Churn(_)), None | Some(Tally::Slow(_))) => false,
        }
    }

    pub(crate) fn report(
        self,
        disturbance: &Disturbance,
        window_s: f64,
    ) -> Option<DisturbanceReport> {
        match (disturbance, self) {
            (Disturbance::Slow(slow), Tally::Slow(tally)) => {
                Some(DisturbanceReport::Slow(Box::new(SlowReport::new(slow, *tally))))
            }
            (Disturbance::Churn(churn), Tally::Churn(tally)) => {
                let report = ChurnReport::new(churn, &tally, window_s);
                Some(DisturbanceReport::Churn(Box::new(report)))
            }
            (
                Disturbance::Storm(_)
                | Disturbance::Slow(_)
                | Disturbance::Churn(_)
                | Disturbance::Hostile(_),
                _,
            ) => None,
        }
    }
}

impl crowd::Tally for Tally {
    fn merge(&mut self, other: &Tally) {
        match (self, other) {
            (Tally::Slow(one), Tally::Slow(other)) => one.merge(other),
            (Tally::Churn(one), Tally::Churn(other)) => one.merge(other),
            (Tally::Slow(_), Tally::Churn(_)) | (Tally::Churn(_), Tally::Slow(_)) => {
                unreachable!("all threads of a run live the same disturbance")
            }
        }
    }
}

impl Disturber {
    /// For the users of one thread.
    pub(crate) fn new(scenario: &ChatScenario, users: &Range<u32>) -> Disturber {
        match &scenario.disturbance {
            // Attackers are no users of the crowd.
            None | Some(Disturbance::Hostile(_)) => Disturber::Nothing,
            Some(Disturbance::Storm(storm)) => {
                Disturber::Storm(Box::new(storm::Troop::new(storm, scenario.users, users)))
            }
            Some(Disturbance::Slow(slow)) => {
                let senders = |pairs| scenario.senders(pairs);
                let troop = slow::Troop::new(slow, senders, scenario.pairs(), users);
                Disturber::Slow(Box::new(troop))
            }
            Some(Disturbance::Churn(churn)) => {
                Disturber::Churn(Box::new(churn::Troop::new(churn, users)))
            }
        }
    }
}

impl Turmoil for Disturber {
    type Tally = Tally;
    type Aside = storm::Board;

    fn act(
        &mut self,
        scene: &Scene<'_>,
        board: &storm::Board,
        links: &mut Links,
        departures: &mut Vec<Departure>,
    ) -> u64 {
        match self {
            Disturber::Nothing => u64::MAX,
            Disturber::Storm(troop) => troop.drop_some(scene, board, departures),
            Disturber::Slow(troop) => troop.stall_some(scene, links),
            Disturber::Churn(troop) => troop.let_some_go(scene, departures),
        }
    }

    fn end(&mut self, now_ns: u64, links: &mut Links) -> bool {
        match self {
            Disturber::Nothing | Disturber::Storm(_) => false,
            Disturber::Slow(troop) => {
                troop.end_stalls(links);
                false
            }
            Disturber::Churn(troop) => {
                troop.recall(now_ns);
                true
            }
        }
    }

    fn attempted(&mut self, slot: usize, now_ns: u64) {
        match self {
            Disturber::Nothing | Disturber::Slow(_) | Disturber::Churn(_) => {}
            Disturber::Storm(troop) => troop.attempted(slot, now_ns),
        }
    }

    fn arrived(&mut self, slot: usize, schedule: &Schedule, links: &Links) {
        match self {
            Disturber::Nothing => {}
            Disturber::Storm(troop) => troop.arrived(slot, links),
            Disturber::Slow(troop) => troop.arrived(slot, links),
            Disturber::Churn(troop) => {
                troop.arrived(slot, links.now_ns(), |at_ns| schedule.measures(at_ns));
            }
        }
    }

    fn acknowledged(&mut self, slot: usize, intended_ns: u64, now_ns: u64) {
        match self {
            Disturber::Nothing => {}
            Disturber::Storm(troop) => troop.acknowledged(slot, intended_ns, now_ns),
            Disturber::Slow(troop) => troop.acknowledged(slot, now_ns.saturating_sub(intended_ns)),
            Disturber::Churn(troop) => troop.acknowledged(slot, intended_ns, now_ns),
        }
    }

    fn delivered(&mut self, slot: usize, intended_ns: u64, now_ns: u64) {
        match self {
            Disturber::Nothing => {}
            Disturber::Storm(troop) => troop.delivered(slot, intended_ns, now_ns),
            Disturber::Slow(troop) => troop.delivered(slot, now_ns.saturating_sub(intended_ns)),
            Disturber::Churn(troop) => troop.delivered(slot, intended_ns, now_ns),
        }
    }

    fn fell_behind(&mut self, slot: usize) {
        match self {
            Disturber::Nothing | Disturber::Storm(_) | Disturber::Churn(_) => {}
            Disturber::Slow(troop) => troop.fell_behind(slot),
        }
    }

    fn repairs(&mut self, slot: usize) {
        match self {
            Disturber::Nothing | Disturber::Storm(_) | Disturber::Churn(_) => {}
            Disturber::Slow(troop) => troop.repairs(slot),
        }
    }

    fn closed(&mut self, slot: usize, reason: &str) {
        match self {
            Disturber::Nothing | Disturber::Storm(_) | Disturber::Churn(_) => {}
            Disturber::Slow(troop) => troop.closed(slot, reason),
        }
    }

    fn may_be_closed(&self, slot: usize) -> bool {
        match self {
            Disturber::Nothing => false,
            Disturber::Storm(troop) => troop.is_missing(slot),
            Disturber::Slow(troop) => troop.is_stalling(slot),
            Disturber::Churn(troop) => troop.is_away(slot),
        }
    }

    fn writes(&mut self, slot: usize) -> bool {
        match self {
            Disturber::Nothing | Disturber::Storm(_) | Disturber::Slow(_) => true,
            Disturber::Churn(troop) => troop.writes(slot),
        }
    }

    fn resume_token(&self, slot: usize) -> Option<&[u8]> {
        match self {
            Disturber::Nothing | Disturber::Slow(_) => None,
            Disturber::Storm(troop) => troop.resume_tokens.get(slot),
            Disturber::Churn(troop) => troop.resume_tokens.get(slot),
        }
    }

    fn keep_resume_token(&mut self, slot: usize, token: &[u8]) {
        match self {
            Disturber::Nothing | Disturber::Slow(_) => {}
            Disturber::Storm(troop) => troop.resume_tokens.keep(slot, token),
            Disturber::Churn(troop) => troop.resume_tokens.keep(slot, token),
        }
    }

    fn heeds_delay(&self) -> bool {
        match self {
            Disturber::Nothing | Disturber::Slow(_) | Disturber::Churn(_) => true,
            Disturber::Storm(troop) => troop.heeds_delay(),
        }
    }

    fn arriving_max(&self) -> usize {
        match self {
            Disturber::Nothing | Disturber::Slow(_) | Disturber::Churn(_) => ARRIVING_MAX,
            Disturber::Storm(troop) => troop.arriving_max(),
        }
    }

    fn into_tally(self) -> Option<Tally> {
        match self {
            Disturber::Nothing | Disturber::Storm(_) => None,
            Disturber::Slow(troop) => Some(Tally::Slow(Box::new(troop.into_tally()))),
            Disturber::Churn(troop) => Some(Tally::Churn(Box::new(troop.into_tally()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_of_another_disturbance_does_not_fit() {
        let disturbances = [
            None,
            Some(Disturbance::Storm(Storm::default())),
            Some(Disturbance::Slow(Slow::default())),
            Some(Disturbance::Churn(Churn::default())),
        ];
        let tallies = [None, Some(Tally::Slow(Box::default())), Some(Tally::Churn(Box::default()))];
        let fitting = disturbances.iter().map(|disturbance| {
            let fits = |tally: &Option<Tally>| Tally::fits(tally.as_ref(), disturbance.as_ref());
            tallies.iter().map(fits).collect::<Vec<_>>()
        });
        let expected = [
            [true, false, false],
            [true, false, false],
            [false, true, false],
            [false, false, true],
        ];
        assert_eq!(fitting.collect::<Vec<_>>(), expected);
    }
}
