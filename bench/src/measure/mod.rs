//! Measurements that mean something on a noisy machine: what is compared runs in turns within one
//! run of the program, and the medians are put side by side.
//!
//! - [`ratio`]: rates and processor time per message, against the relay; [`fanout`]: per delivery of
//!   one message to many
//! - [`latency`]: durable messages at half of the highest rate, against one fsync
//! - [`memory`]: what an idle connection costs, against the holder; [`kernel`]: and the kernel
//! - [`contender`]: who is measured by the first two; [`servers`]: the programs
//! - [`options`]: what all of them take; [`budget`]: what is promised, and whether it holds

pub mod budget;
pub mod contender;
pub mod fanout;
pub mod kernel;
pub mod latency;
pub mod memory;
pub mod options;
pub mod ratio;
pub mod servers;

use dunlin_loadtest::chat::{ChatReport, ChatScenario, MessageKind};
use dunlin_loadtest::report::Verdict;

/// The value in the middle; of an even number, the mean of the two. 0 if there are none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Messages per second: answered ones, where there is an answer, otherwise delivered ones.
pub fn messages_per_s(report: &ChatReport) -> f64 {
    if report.scenario.message.only() == Some(&MessageKind::QuietSignal.into()) {
        report.rates.delivered_per_s
    } else {
        report.rates.acknowledged_per_s
    }
}

/// Runs a scenario without a word, unless it goes wrong.
fn run(scenario: &ChatScenario) -> Result<ChatReport, dunlin_loadtest::LoadtestError> {
    let report = dunlin_loadtest::chat::run(scenario, &mut |_, _| {})?;
    if report.verdict != Verdict::Ok {
        eprintln!("{:?}: {}", report.verdict, report.reasons.join("; "));
        report.faults.examples.iter().for_each(|example| eprintln!("  {example}"));
    }
    Ok(report)
}

/// The worse of two.
fn worse(one: Verdict, other: Verdict) -> Verdict {
    match (one, other) {
        (Verdict::ProductFailure, _) | (_, Verdict::ProductFailure) => Verdict::ProductFailure,
        (Verdict::MachineFailure, _) | (_, Verdict::MachineFailure) => Verdict::MachineFailure,
        (Verdict::HarnessInvalid, _) | (_, Verdict::HarnessInvalid) => Verdict::HarnessInvalid,
        (Verdict::Interrupted, _) | (_, Verdict::Interrupted) => Verdict::Interrupted,
        (Verdict::Ok, Verdict::Ok) => Verdict::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn one_bad_run_spoils_the_whole() {
        let verdicts = [Verdict::Ok, Verdict::HarnessInvalid, Verdict::ProductFailure, Verdict::Ok];
        assert_eq!(verdicts[..2].iter().copied().fold(Verdict::Ok, worse), Verdict::HarnessInvalid);
        assert_eq!(verdicts.into_iter().fold(Verdict::Ok, worse), Verdict::ProductFailure);
    }
}
