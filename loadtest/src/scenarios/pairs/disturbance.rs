//! What may befall the users of a chat run, and where the crowd meets it.
//!
//! A disturbance adds to a chat run and takes nothing away: messages are sent, sent again, repaired
//! and audited as ever. The crowd calls the functions of this file at the few places that matter.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chat::churn::{self, Churn, ChurnReport};
use crate::chat::crowd::Crowd;
use crate::chat::slow::{self, Slow, SlowReport};
use crate::chat::storm::{self, Storm, StormReport};
use crate::chat::{ChatParameters, ChatScenario, SECTION};
use crate::net::Links;
use crate::problem::Problem;

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
}

impl fmt::Display for DisturbanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DisturbanceReport::Storm(report) => report.fmt(f),
            DisturbanceReport::Slow(report) => report.fmt(f),
            DisturbanceReport::Churn(report) => report.fmt(f),
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

impl Disturbance {
    /// Everything that makes no sense.
    pub(crate) fn problems(&self, chat: &ChatParameters) -> Vec<Problem> {
        let mut problems = match self {
            Disturbance::Storm(storm) => storm.problems(chat.users),
            Disturbance::Slow(slow) => slow.problems(),
            Disturbance::Churn(churn) => churn.problems(),
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
pub(crate) enum Turmoil {
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
            (None | Some(Disturbance::Storm(_)), None)
            | (Some(Disturbance::Slow(_)), Some(Tally::Slow(_)))
            | (Some(Disturbance::Churn(_)), Some(Tally::Churn(_))) => true,
            (None | Some(Disturbance::Storm(_)), Some(_))
            | (Some(Disturbance::Slow(_)), None | Some(Tally::Churn(_)))
            | (Some(Disturbance::Churn(_)), None | Some(Tally::Slow(_))) => false,
        }
    }

    pub(crate) fn merge(&mut self, other: &Tally) {
        match (self, other) {
            (Tally::Slow(one), Tally::Slow(other)) => one.merge(other),
            (Tally::Churn(one), Tally::Churn(other)) => one.merge(other),
            (Tally::Slow(_), Tally::Churn(_)) | (Tally::Churn(_), Tally::Slow(_)) => {
                unreachable!("all threads of a run live the same disturbance")
            }
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
            (Disturbance::Storm(_) | Disturbance::Slow(_) | Disturbance::Churn(_), _) => None,
        }
    }
}

impl Turmoil {
    /// For the users of one thread.
    pub(crate) fn new(scenario: &ChatScenario, users: std::ops::Range<u32>) -> Turmoil {
        match &scenario.disturbance {
            None => Turmoil::Nothing,
            Some(Disturbance::Storm(storm)) => {
                Turmoil::Storm(Box::new(storm::Troop::new(storm, scenario.users, users)))
            }
            Some(Disturbance::Slow(slow)) => {
                Turmoil::Slow(Box::new(slow::Troop::new(slow, scenario, users)))
            }
            Some(Disturbance::Churn(churn)) => {
                Turmoil::Churn(Box::new(churn::Troop::new(churn, &users)))
            }
        }
    }

    pub(crate) fn into_tally(self) -> Option<Tally> {
        match self {
            Turmoil::Nothing | Turmoil::Storm(_) => None,
            Turmoil::Slow(troop) => Some(Tally::Slow(Box::new(troop.into_tally()))),
            Turmoil::Churn(troop) => Some(Tally::Churn(Box::new(troop.into_tally()))),
        }
    }
}

impl Crowd<'_> {
    /// In each tick of the run; returns when the next one is wanted.
    pub(crate) fn disturb(&mut self, now_ns: u64, links: &mut Links) -> u64 {
        match self.turmoil {
            Turmoil::Nothing => u64::MAX,
            Turmoil::Storm(_) => self.storm(now_ns, links),
            Turmoil::Slow(_) => self.stall(now_ns, links),
            Turmoil::Churn(_) => self.depart(now_ns, links),
        }
    }

    /// The run is over: everybody is to be there, and to take in what is missing.
    pub(crate) fn end_disturbance(&mut self, links: &mut Links) {
        match self.turmoil {
            Turmoil::Nothing | Turmoil::Storm(_) => {}
            Turmoil::Slow(_) => self.end_stalls(links),
            Turmoil::Churn(_) => self.recall(links.now_ns()),
        }
    }

    /// A connection is being made.
    pub(crate) fn note_attempt(&mut self, slot: usize, links: &Links) {
        match &mut self.turmoil {
            Turmoil::Nothing | Turmoil::Slow(_) | Turmoil::Churn(_) => {}
            Turmoil::Storm(troop) => troop.attempted(slot, links.now_ns()),
        }
    }

    /// A user is logged in and synced.
    pub(crate) fn note_arrival(&mut self, slot: usize, links: &Links) {
        let measured = self.schedule.measure_from_ns..self.schedule.measure_to_ns;
        match &mut self.turmoil {
            Turmoil::Nothing => {}
            Turmoil::Storm(troop) => troop.arrived(slot, links),
            Turmoil::Slow(troop) => troop.arrived(slot, links),
            Turmoil::Churn(troop) => {
                troop.arrived(slot, links.now_ns(), |at_ns| measured.contains(&at_ns));
            }
        }
    }

    /// A message of this user was answered after its intended start.
    pub(crate) fn note_acknowledged(&mut self, slot: usize, intended_ns: u64, now_ns: u64) {
        match &mut self.turmoil {
            Turmoil::Nothing => {}
            Turmoil::Storm(troop) => troop.acknowledged(slot, intended_ns, now_ns),
            Turmoil::Slow(troop) => troop.acknowledged(slot, now_ns.saturating_sub(intended_ns)),
            Turmoil::Churn(troop) => troop.acknowledged(slot, intended_ns, now_ns),
        }
    }

    /// A message reached this user.
    pub(crate) fn note_delivered(&mut self, slot: usize, intended_ns: u64, now_ns: u64) {
        match &mut self.turmoil {
            Turmoil::Nothing => {}
            Turmoil::Storm(troop) => troop.delivered(slot, intended_ns, now_ns),
            Turmoil::Slow(troop) => troop.delivered(slot, now_ns.saturating_sub(intended_ns)),
            Turmoil::Churn(troop) => troop.delivered(slot, intended_ns, now_ns),
        }
    }

    /// The server left pushes out, and said so.
    pub(crate) fn note_behind(&mut self, slot: usize) {
        match &mut self.turmoil {
            Turmoil::Nothing | Turmoil::Storm(_) | Turmoil::Churn(_) => {}
            Turmoil::Slow(troop) => troop.fell_behind(slot),
        }
    }

    /// A user asks for what is missing.
    pub(crate) fn note_repair(&mut self, slot: usize) {
        match &mut self.turmoil {
            Turmoil::Nothing | Turmoil::Storm(_) | Turmoil::Churn(_) => {}
            Turmoil::Slow(troop) => troop.repairs(slot),
        }
    }

    /// The connection of a user ended, and not by the harness.
    pub(crate) fn note_close(&mut self, slot: usize, reason: &str) {
        match &mut self.turmoil {
            Turmoil::Nothing | Turmoil::Storm(_) | Turmoil::Churn(_) => {}
            Turmoil::Slow(troop) => troop.closed(slot, reason),
        }
    }

    /// Whether the server may close this user's connection, or not let it in at once.
    pub(crate) fn may_be_closed(&self, slot: usize) -> bool {
        self.scenario.reconnect
            || match &self.turmoil {
                Turmoil::Nothing => false,
                Turmoil::Storm(troop) => troop.is_missing(slot),
                Turmoil::Slow(troop) => troop.is_stalling(slot),
                Turmoil::Churn(troop) => troop.is_away(slot),
            }
    }

    /// Whether a user who is to write now does: nobody writes while away.
    pub(crate) fn writes(&mut self, slot: usize) -> bool {
        match &mut self.turmoil {
            Turmoil::Nothing | Turmoil::Storm(_) | Turmoil::Slow(_) => true,
            Turmoil::Churn(troop) => troop.writes(slot),
        }
    }

    /// What a user who comes back logs in with, if not with a new token of the issuer.
    pub(crate) fn resume_token(&self, slot: usize) -> Option<&[u8]> {
        match &self.turmoil {
            Turmoil::Nothing | Turmoil::Slow(_) => None,
            Turmoil::Storm(troop) => troop.resume_tokens.get(slot),
            Turmoil::Churn(troop) => troop.resume_tokens.get(slot),
        }
    }

    /// For the next login of this user.
    pub(crate) fn keep_resume_token(&mut self, slot: usize, token: &[u8]) {
        match &mut self.turmoil {
            Turmoil::Nothing | Turmoil::Slow(_) => {}
            Turmoil::Storm(troop) => troop.resume_tokens.keep(slot, token),
            Turmoil::Churn(troop) => troop.resume_tokens.keep(slot, token),
        }
    }

    /// Whether a user waits as long as the server says before coming back.
    pub(crate) fn heeds_delay(&self) -> bool {
        match &self.turmoil {
            Turmoil::Nothing | Turmoil::Slow(_) | Turmoil::Churn(_) => true,
            Turmoil::Storm(troop) => troop.heeds_delay(),
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
