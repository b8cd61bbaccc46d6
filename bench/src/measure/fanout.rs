//! Deliveries of one message to many, beside the relay: the same writers, each with as many
//! connections that read, the same payload, the same number of messages on the way.
//!
//! The relay reads a frame and writes the bytes to each reader; it has no users, no conversations
//! and nothing to decide, so it is what the machine could do. A message of Dunlin goes to all devices
//! of one user, which is the same work as a group of as many members: encoded once, shared by all.

use std::str::FromStr;

use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::chat::Load;
use dunlin_loadtest::fanout::{self, FanoutReport, FanoutScenario};
use dunlin_loadtest::report::Verdict;
use serde::Serialize;

use crate::measure::budget::{Bound, Budget};
use crate::measure::contender::{CONTENDERS, Contender};
use crate::measure::options::Options;
use crate::measure::servers::Server;
use crate::measure::{median, worse};

/// So many writers, each with one reader of so many devices, and so many messages of each writer
/// that have not reached all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FanoutLoad {
    /// Writers.
    pub senders: u32,
    /// Devices that each message goes to.
    pub devices: u32,
    /// Messages of each writer.
    pub outstanding: u32,
}

impl FromStr for FanoutLoad {
    type Err = String;

    fn from_str(text: &str) -> Result<FanoutLoad, String> {
        let numbers: Result<Vec<u32>, _> = text.split('x').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[senders, devices, outstanding]) => {
                Ok(FanoutLoad { senders, devices, outstanding })
            }
            _ => Err("1x1000x8, say, is expected".to_owned()),
        }
    }
}

/// What one run showed.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct FanoutFigures {
    /// A message counts once for each device.
    pub deliveries_per_s: f64,
    /// Processor time of the server per delivery, in microseconds.
    pub cpu_us_per_delivery: f64,
    /// Deliveries per second of processor time.
    pub deliveries_per_cpu_s: f64,
    /// Processors that the server kept busy.
    pub cpu_share: f64,
    /// Processors that the generator kept busy: near 1, it is the generator that was measured.
    pub generator_cpu_share: f64,
}

impl FanoutFigures {
    fn of(report: &FanoutReport) -> FanoutFigures {
        let server = report.server.as_ref();
        let of_server =
            |figure: fn(&fanout::FanoutServerReport) -> f64| server.map_or(f64::NAN, figure);
        FanoutFigures {
            deliveries_per_s: report.rates.delivered_per_s,
            cpu_us_per_delivery: of_server(|server| server.cpu_us_per_delivery),
            deliveries_per_cpu_s: of_server(|server| server.deliveries_per_cpu_s),
            cpu_share: of_server(|server| server.usage.cpu_share),
            generator_cpu_share: report.harness_cpu_us as f64 / 1e6 / report.window_s.max(1e-9),
        }
    }
}

/// One contender under one load: medians over the repetitions.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct FanoutLine {
    pub contender: Contender,
    pub load: FanoutLoad,
    pub median: FanoutFigures,
    /// Its deliveries per second of processor time by those of the relay in the same turn.
    pub cpu_rate_ratio: f64,
    pub repetitions: Vec<FanoutFigures>,
}

type Turn = [FanoutFigures; CONTENDERS.len()];

/// Measures one load in turns.
pub(super) fn measure(
    options: &Options,
    load: FanoutLoad,
    verdict: &mut Verdict,
) -> Result<Vec<FanoutLine>, LoadtestError> {
    let mut turns = Vec::new();
    for repetition in 1..=options.repetitions {
        let FanoutLoad { senders, devices, outstanding } = load;
        eprintln!(
            "{senders} to {devices} each, {outstanding} outstanding: turn {repetition} of {}",
            options.repetitions
        );
        turns.push(turn(options, load, verdict)?);
    }
    Ok((0..CONTENDERS.len()).map(|place| line(load, place, &turns)).collect())
}

fn turn(options: &Options, load: FanoutLoad, verdict: &mut Verdict) -> Result<Turn, LoadtestError> {
    let mut figures = Vec::with_capacity(CONTENDERS.len());
    for contender in CONTENDERS {
        let server = match contender {
            Contender::Relay => Server::relay(options)?,
            Contender::QuietSignals
            | Contender::Signals
            | Contender::SignalsByWeb
            | Contender::DurableMessages => {
                Server::dunlin_with(options, &fanout::server_settings(load.devices))?
            }
        };
        let mut scenario = FanoutScenario::new(server.target(false));
        scenario.senders = load.senders;
        scenario.devices = load.devices;
        scenario.load = Load::Closed { outstanding: load.outstanding };
        scenario.message = contender.message();
        options.apply_to(&mut scenario);
        let report = fanout::run(&scenario, &mut |_, _| {})?;
        if report.verdict != Verdict::Ok {
            eprintln!("{:?}: {}", report.verdict, report.reasons.join("; "));
            report.faults.examples.iter().for_each(|example| eprintln!("  {example}"));
        }
        *verdict = worse(*verdict, report.verdict);
        figures.push(FanoutFigures::of(&report));
    }
    Ok(figures.try_into().expect("one for each contender"))
}

fn line(load: FanoutLoad, place: usize, turns: &[Turn]) -> FanoutLine {
    let of =
        |figure: fn(&FanoutFigures) -> f64| median(turns.iter().map(|turn| figure(&turn[place])));
    let by_relay = |turn: &Turn| turn[place].deliveries_per_cpu_s / turn[0].deliveries_per_cpu_s;
    FanoutLine {
        contender: CONTENDERS[place],
        load,
        median: FanoutFigures {
            deliveries_per_s: of(|figures| figures.deliveries_per_s),
            cpu_us_per_delivery: of(|figures| figures.cpu_us_per_delivery),
            deliveries_per_cpu_s: of(|figures| figures.deliveries_per_cpu_s),
            cpu_share: of(|figures| figures.cpu_share),
            generator_cpu_share: of(|figures| figures.generator_cpu_share),
        },
        cpu_rate_ratio: median(turns.iter().map(by_relay)),
        repetitions: turns.iter().map(|turn| turn[place]).collect(),
    }
}

/// Of a load's lines. The budget is that of a group of 1,000 members.
pub(super) fn budgets(lines: &[FanoutLine]) -> Vec<Budget> {
    let of_dunlin = lines.iter().filter(|line| line.contender != Contender::Relay);
    let budget = |line: &FanoutLine| {
        let FanoutLoad { senders, devices, outstanding } = line.load;
        let name = line.contender.name();
        let what =
            format!("{senders} to {devices}, {outstanding} out: {name} per core by the relay's");
        Budget::new(what, line.cpu_rate_ratio, Bound::AtLeast(2.0 / 3.0))
    };
    of_dunlin.map(budget).collect()
}

/// Prints lines for people.
pub(super) fn print(lines: &[FanoutLine]) {
    if lines.is_empty() {
        return;
    }
    println!(
        "senders  devices  out  contender       deliveries/s  us CPU    per CPU s  :relay  busy  gen."
    );
    for line in lines {
        println!(
            "{:>7}  {:>7}  {:>3}  {:<16} {:>11.0} {:>7.2} {:>12.0} {:>7.3} {:>5.2} {:>5.2}",
            line.load.senders,
            line.load.devices,
            line.load.outstanding,
            line.contender.name(),
            line.median.deliveries_per_s,
            line.median.cpu_us_per_delivery,
            line.median.deliveries_per_cpu_s,
            line.cpu_rate_ratio,
            line.median.cpu_share,
            line.median.generator_cpu_share,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_three_numbers() {
        let load = FanoutLoad { senders: 2, devices: 500, outstanding: 8 };
        assert_eq!("2x500x8".parse(), Ok(load));
        assert!("2x500".parse::<FanoutLoad>().is_err());
        assert!("2x500x8x1".parse::<FanoutLoad>().is_err());
        assert!("2xx8".parse::<FanoutLoad>().is_err());
    }

    #[test]
    fn ratios_are_those_within_a_turn_and_the_relay_has_no_budget() {
        let figures = |per_cpu_s: f64| FanoutFigures {
            deliveries_per_s: 1.0,
            cpu_us_per_delivery: 1e6 / per_cpu_s,
            deliveries_per_cpu_s: per_cpu_s,
            cpu_share: 1.0,
            generator_cpu_share: 0.5,
        };
        // The machine is twice as slow in the second turn, for everybody.
        let turns = [1.0, 0.5, 1.0]
            .map(|speed| [1000.0, 900.0, 700.0, 500.0].map(|rate| figures(rate * speed)));
        let load = FanoutLoad { senders: 1, devices: 1000, outstanding: 8 };
        let lines: Vec<_> = (0..4).map(|place| line(load, place, &turns)).collect();
        let ratios: Vec<_> = lines.iter().map(|line| line.cpu_rate_ratio).collect();
        assert_eq!(ratios, [1.0, 0.9, 0.7, 0.5]);
        let kept: Vec<_> = budgets(&lines).iter().map(|budget| budget.kept).collect();
        assert_eq!(kept, [true, true, false]);
    }
}
