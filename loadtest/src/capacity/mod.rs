//! The highest rate at which the server meets given thresholds, found without a person.
//!
//! Each step is a whole chat run with an open load of its own: new connections, a warm-up, the
//! measured window, and an audit of everything that was sent. A crowd that stayed connected would
//! save the connecting, but what a rate that is too high leaves behind (queues, postponed messages,
//! gaps to repair) would spoil the next window. So each step ends when all is answered and told.

mod parameters;
mod report;
mod search;

pub use parameters::CapacityParameters;
pub(crate) use parameters::SECTION;
pub use report::{CapacityReport, Step};
pub use search::{Judgement, Limit};

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use crate::chat::{self, ChatParameters, ChatReport, ChatScenario, Load, Progress, Rate};
use crate::error::LoadtestError;
use crate::problem::Problems;
use crate::report::Second;

/// A search.
#[derive(Debug, Clone)]
pub struct CapacityScenario {
    /// What the users do; the load is the search's.
    pub chat: ChatScenario,
    /// Where to search, and for what.
    pub search: CapacityParameters,
}

/// What a search tells while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step begins.
    Begun {
        /// Its rate.
        rate_per_s: f64,
    },
    /// About once a second, within a step.
    Progress {
        /// Its rate.
        rate_per_s: f64,
        /// What the run is doing.
        doing: &'a str,
        /// How far it is.
        progress: Progress,
    },
    /// Once a second, within a step.
    Second(&'a Second<'a>),
    /// A step was measured.
    Step(&'a Step),
}

/// Runs a search.
pub fn run(
    scenario: &CapacityScenario,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<CapacityReport, LoadtestError> {
    let search = &scenario.search;
    let chat = ChatParameters {
        rate_per_s: None,
        outstanding: None,
        ..ChatParameters::of(&scenario.chat)
    };
    Problems::check(search.problems(&chat))?;
    // The run tells its progress and its seconds in two ways, which are one here.
    let on_event = RefCell::new(on_event);
    let tell = |event: Event<'_>| (on_event.borrow_mut())(event);
    let mut steps: Vec<Step> = Vec::new();
    let mut best: Option<ChatReport> = None;
    let found = search::search(search.bounds(), |rate_per_s| {
        let mut run = scenario.chat.clone();
        run.load = Load::Open { messages_per_second: Rate::constant(rate_per_s) };
        tell(Event::Begun { rate_per_s });
        let on_progress = &mut |doing: &str, progress| {
            tell(Event::Progress { rate_per_s, doing, progress });
        };
        let on_second = &mut |second: &Second<'_>| tell(Event::Second(second));
        let report = chat::run_watched(&run, on_progress, on_second)?;
        let is_cut_short = run.stop.is_some_and(|stop| stop.load(Ordering::Acquire));
        let step = Step::new(rate_per_s, &report, is_cut_short, search);
        tell(Event::Step(&step));
        let judgement = step.judgement;
        steps.push(step);
        // Each rate that is met is higher than those before.
        if judgement == Judgement::Met {
            best = Some(report::met(report));
        }
        Ok::<_, LoadtestError>(judgement)
    })?;
    Ok(report::compose(search, found, steps, best))
}
