//! The threads of this process for a share of the connections.

use std::ops::Range;
use std::thread::Scope;

use crate::audit::content::Contents;
use crate::error::LoadtestError;
use crate::fanout::FanoutScenario;
use crate::fanout::crowd::Crowd;
use crate::fanout::outcome::Outcome;
use crate::generators::{Generator, shares};
use crate::phases::{self, Board, Thread};

pub(super) struct Crew<'a> {
    scenario: &'a FanoutScenario,
    board: &'a Board,
    contents: Contents,
    run: u64,
    /// The connections of each thread: whole fans.
    shares: Vec<Range<u32>>,
    generator: Generator,
}

impl<'a> Crew<'a> {
    /// For connections with these indices in the run.
    pub(super) fn new(
        scenario: &'a FanoutScenario,
        board: &'a Board,
        run: u64,
        connections: Range<u32>,
    ) -> Result<Crew<'a>, LoadtestError> {
        let route = scenario.target.route_of(&connections)?;
        let Range { start, end } = connections;
        let shares = shares(end - start, scenario.shape().connections(), scenario.threads);
        let shares = shares.into_iter().map(|share| start + share.start..start + share.end);
        let shares: Vec<_> = shares.collect();
        // Fans are not divided, so the largest share may be more than its part.
        let largest = shares.iter().map(|share| share.end - share.start).max().unwrap_or(0);
        let all = largest.saturating_mul(shares.len() as u32);
        let processors = &scenario.processors;
        let generator = Generator::new(route, board.clock, processors, all, shares.len())?;
        let contents = Contents::new(run, scenario.content_bytes);
        Ok(Crew { scenario, board, contents, run, shares, generator })
    }
}

impl phases::Crew for Crew<'_> {
    type Outcome = Outcome;

    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
    ) -> Vec<Thread<'scope, Outcome>> {
        let threads = self.shares.iter().map(|share| {
            let (slots, contents) = (share.len(), &self.contents);
            let mut crowd =
                Crowd::new(self.scenario, self.board, contents, self.run, share.clone());
            let generator = self.generator.clone();
            scope.spawn(move || {
                generator.drive(slots, &mut crowd)?;
                Ok(crowd.finish())
            })
        });
        threads.collect()
    }
}
