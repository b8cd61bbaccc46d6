//! The threads of this process for a share of the users: all of them, or some if other processes
//! have the others.

use std::ops::Range;
use std::thread::Scope;

use crate::audit::content::Contents;
use crate::chat::crowd::Crowd;
use crate::chat::outcome::Outcome;
use crate::chat::shared::Shared;
use crate::chat::{ChatScenario, Disturbance};
use crate::error::LoadtestError;
use crate::generators::{Generator, shares};
use crate::phases::{self, Thread};

pub(super) struct Crew<'a> {
    scenario: &'a ChatScenario,
    shared: &'a Shared,
    contents: Contents,
    run: u64,
    users: Range<u32>,
    generator: Generator,
}

impl<'a> Crew<'a> {
    /// For users with these indices in the run.
    pub(super) fn new(
        scenario: &'a ChatScenario,
        shared: &'a Shared,
        run: u64,
        users: Range<u32>,
    ) -> Result<Crew<'a>, LoadtestError> {
        let mut route = scenario.target.route_of(&users)?;
        match &scenario.disturbance {
            Some(Disturbance::Storm(storm)) => route.resume_tls(storm.tls_resumption),
            Some(Disturbance::Slow(_) | Disturbance::Churn(_)) => route.resume_tls(true),
            None => {}
        }
        let (count, threads) = (users.end - users.start, scenario.threads);
        let processors = &scenario.processors;
        let generator = Generator::new(route, shared.clock, processors, count, threads)?;
        let contents = Contents::new(run, scenario.content_bytes.clone());
        Ok(Crew { scenario, shared, contents, run, users, generator })
    }

    /// The users of each thread. Those whom a storm spares have one of their own beside the others.
    fn shares(&self) -> Vec<Range<u32>> {
        let Range { start, end } = self.users;
        let first = self.scenario.spared().clamp(start, end);
        let others = shares(end - first, 2, self.scenario.threads).into_iter();
        let others = others.map(|share| first + share.start..first + share.end);
        (first > start).then_some(start..first).into_iter().chain(others).collect()
    }
}

impl phases::Crew for Crew<'_> {
    type Outcome = Outcome;

    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
    ) -> Vec<Thread<'scope, Outcome>> {
        let threads = self.shares().into_iter().map(|share| {
            let mut crowd = Crowd::new(self.scenario, self.shared, &self.contents, self.run, share);
            let generator = self.generator.clone();
            scope.spawn(move || {
                generator.drive(crowd.users.len(), &mut crowd)?;
                Ok(crowd.finish())
            })
        });
        threads.collect()
    }
}
