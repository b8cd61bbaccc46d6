//! The threads of this process for a share of the connections: all of them, or some if other
//! processes have the others.

use std::ops::Range;
use std::thread::Scope;

use crate::audit::content::Contents;
use crate::crowd::Scenario;
use crate::crowd::state::{Crowd, OutcomeOf, Setup};
use crate::error::LoadtestError;
use crate::generators::Generator;
use crate::phases::{self, Board, Thread};

pub(crate) struct Crew<'a, S: Scenario> {
    setup: Setup<'a, S>,
    /// The connections of each thread.
    shares: Vec<Range<u32>>,
    generator: Generator,
}

impl<'a, S: Scenario> Crew<'a, S> {
    /// For connections with these indices in the run.
    pub(crate) fn new(
        scenario: &'a S,
        board: &'a Board,
        aside: &'a S::Aside,
        run: u64,
        connections: &Range<u32>,
    ) -> Result<Crew<'a, S>, LoadtestError> {
        let terms = scenario.terms();
        let mut route = terms.target.route_of(connections)?;
        if let Some(resumes) = scenario.resumes_tls() {
            route.resume_tls(resumes);
        }
        let shares = scenario.shares(connections);
        // Groups are not divided, so the largest share may be more than its part.
        let largest = shares.iter().map(|share| share.end - share.start).max().unwrap_or(0);
        let all = largest.saturating_mul(shares.len() as u32);
        let generator = Generator::new(route, board.clock, &terms.processors, all, shares.len())?;
        let contents = Contents::new(run, terms.content_bytes.clone());
        let setup = Setup { scenario, terms, board, aside, contents, run };
        Ok(Crew { setup, shares, generator })
    }
}

impl<S: Scenario> phases::Crew for Crew<'_, S> {
    type Outcome = OutcomeOf<S>;

    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
    ) -> Vec<Thread<'scope, OutcomeOf<S>>> {
        let threads = self.shares.iter().map(|share| {
            let mut crowd = Crowd::new(&self.setup, share.clone());
            let (slots, generator) = (share.len(), self.generator.clone());
            scope.spawn(move || {
                generator.drive(slots, &mut crowd)?;
                Ok(crowd.finish())
            })
        });
        threads.collect()
    }
}
