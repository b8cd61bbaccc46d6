//! The threads of this process for a share of the connections: all of them, or some if other
//! processes have the others.

use std::ops::Range;
use std::thread::{Scope, ScopedJoinHandle};

use crate::error::LoadtestError;
use crate::generators::{Generator, shares};
use crate::idle::IdleScenario;
use crate::idle::crowd::{Crowd, Outcome, Shared};
use crate::net::Clock;

pub(super) type ThreadResult = Result<Outcome, LoadtestError>;

pub(super) fn join(thread: ScopedJoinHandle<'_, ThreadResult>) -> ThreadResult {
    thread.join().map_err(|_| LoadtestError::Panicked)?
}

pub(super) struct Crew<'a> {
    scenario: &'a IdleScenario,
    shared: &'a Shared,
    prefix: &'a str,
    users: Range<u32>,
    generator: Generator,
}

impl<'a> Crew<'a> {
    /// For users with these indices in the run.
    pub(super) fn new(
        scenario: &'a IdleScenario,
        shared: &'a Shared,
        clock: Clock,
        prefix: &'a str,
        users: Range<u32>,
    ) -> Result<Crew<'a>, LoadtestError> {
        let route = scenario.target.route_of(&users)?;
        let (count, threads) = (users.end - users.start, scenario.threads);
        let generator = Generator::new(route, clock, &scenario.processors, count, threads)?;
        Ok(Crew { scenario, shared, prefix, users, generator })
    }

    pub(super) fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
    ) -> Vec<ScopedJoinHandle<'scope, ThreadResult>> {
        let (first, count) = (self.users.start, self.users.end - self.users.start);
        let threads = shares(count, 1, self.scenario.threads).into_iter().map(|share| {
            let share = first + share.start..first + share.end;
            let slots = share.len();
            let mut crowd = Crowd::new(self.scenario, self.shared, self.prefix, share);
            let generator = self.generator.clone();
            scope.spawn(move || {
                generator.drive(slots, &mut crowd)?;
                Ok(crowd.outcome)
            })
        });
        threads.collect()
    }
}
