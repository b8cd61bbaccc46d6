//! The threads of this process for a share of the connections: all of them, or some if other
//! processes have the others.

use std::ops::Range;
use std::thread::Scope;

use crate::error::LoadtestError;
use crate::generators::{Generator, shares};
use crate::net::Clock;
use crate::phases::{self, Thread};
use crate::scenarios::idle::board::Board;
use crate::scenarios::idle::idlers::Idlers;
use crate::scenarios::idle::outcome::Outcome;
use crate::scenarios::idle::scenario::IdleScenario;

pub(super) struct Crew<'a> {
    scenario: &'a IdleScenario,
    board: &'a Board,
    prefix: &'a str,
    users: Range<u32>,
    generator: Generator,
}

impl<'a> Crew<'a> {
    /// For users with these indices in the run.
    pub(super) fn new(
        scenario: &'a IdleScenario,
        board: &'a Board,
        clock: Clock,
        prefix: &'a str,
        users: Range<u32>,
    ) -> Result<Crew<'a>, LoadtestError> {
        let route = scenario.target.route_of(&users)?;
        let (count, threads) = (users.end - users.start, scenario.threads);
        let generator = Generator::new(route, clock, &scenario.processors, count, threads)?;
        Ok(Crew { scenario, board, prefix, users, generator })
    }
}

impl phases::Crew for Crew<'_> {
    type Outcome = Outcome;

    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
    ) -> Vec<Thread<'scope, Outcome>> {
        let (first, count) = (self.users.start, self.users.end - self.users.start);
        let threads = shares(count, 1, self.scenario.threads).into_iter().map(|share| {
            let share = first + share.start..first + share.end;
            let slots = share.len();
            let mut idlers = Idlers::new(self.scenario, self.board, self.prefix, share);
            let generator = self.generator.clone();
            scope.spawn(move || {
                generator.drive(slots, &mut idlers)?;
                Ok(idlers.outcome)
            })
        });
        threads.collect()
    }
}
