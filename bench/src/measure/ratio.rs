//! Dunlin beside the relay: the same pairs, the same payload, the same number of messages
//! outstanding, on the same processors, in turns.
//!
//! | contender | what a message is |
//! |---|---|
//! | relay | read and written again; the delivery is the answer |
//! | quiet signals | the same of Dunlin: authorised, told to the other, not answered |
//! | signals | answered as well |
//! | signals by web | the same in WebSockets |
//! | durable messages | stored, answered when durable, then pushed |
//!
//! A closed load keeps each user at its number of outstanding messages, so the rates are those of
//! a server that is never idle, unless the generator is slower than it or something else wants the
//! processors. Processor time per message hardly depends on that, and neither does what follows
//! from it: the rate that one processor of the server would bear if it had it for itself.

use std::str::FromStr;

use clap::Args;
use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::chat::{ChatReport, Load};
use dunlin_loadtest::report::{ServerReport, Verdict};
use serde::Serialize;

use crate::measure::budget::{self, Bound, Budget};
use crate::measure::contender::{Contender, PAIR_CONTENDERS};
use crate::measure::fanout::{self, FanoutLine, FanoutLoad};
use crate::measure::options::Options;
use crate::measure::servers::Server;
use crate::measure::{median, messages_per_s, run, worse};

/// Options of the command.
#[derive(Debug, Clone, Args)]
pub struct RatioOptions {
    #[command(flatten)]
    #[allow(missing_docs, reason = "they have docs of their own")]
    pub common: Options,
    /// Connections, and messages that each keeps outstanding.
    #[arg(
        long,
        value_name = "CONNECTIONSxOUTSTANDING,...",
        value_delimiter = ',',
        default_value = "256x1,9000x1,1000x8"
    )]
    pub loads: Vec<ClosedLoad>,
    /// Deliveries of one message to many: writers, devices that each message of them goes to (1,000
    /// at most), and messages of each that have not reached all devices.
    #[arg(
        long,
        value_name = "SENDERSxDEVICESxOUTSTANDING,...",
        value_delimiter = ',',
        default_value = "1x1000x8"
    )]
    pub fanouts: Vec<FanoutLoad>,
}

/// So many connections, in pairs, each with so many messages outstanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClosedLoad {
    /// Connections.
    pub connections: u32,
    /// Messages of each.
    pub outstanding: u32,
}

impl FromStr for ClosedLoad {
    type Err = String;

    fn from_str(text: &str) -> Result<ClosedLoad, String> {
        let numbers = text.split_once('x').and_then(|(connections, outstanding)| {
            Some((connections.parse().ok()?, outstanding.parse().ok()?))
        });
        match numbers {
            Some((connections, outstanding)) => Ok(ClosedLoad { connections, outstanding }),
            None => Err("256x1, say, is expected".to_owned()),
        }
    }
}

/// What one run showed.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figures {
    /// Messages per second.
    pub messages_per_s: f64,
    /// Processor time of the server per message, in microseconds.
    pub cpu_us_per_message: f64,
    /// Messages per second of processor time.
    pub messages_per_cpu_s: f64,
    /// Processors that the server kept busy.
    pub cpu_share: f64,
    /// Processors that the generator kept busy: near 1, it is the generator that was measured.
    pub generator_cpu_share: f64,
    /// Messages that shared an fsync.
    pub messages_per_fsync: Option<f64>,
}

impl Figures {
    fn of(report: &ChatReport) -> Figures {
        let server = report.server.as_ref();
        let cpu_us_per_message = server.map_or(f64::NAN, |server| server.cpu_us_per_message);
        Figures {
            messages_per_s: messages_per_s(report),
            cpu_us_per_message,
            messages_per_cpu_s: 1e6 / cpu_us_per_message,
            cpu_share: server.map_or(f64::NAN, |server| server.cpu_share),
            generator_cpu_share: report.harness_cpu_us as f64 / 1e6 / report.window_s.max(1e-9),
            messages_per_fsync: server.and_then(ServerReport::messages_per_commit),
        }
    }
}

/// One contender under one load: medians over the repetitions.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct Line {
    pub contender: Contender,
    pub load: ClosedLoad,
    pub median: Figures,
    /// Its processor time per message by that of the relay in the same turn.
    pub cpu_ratio: f64,
    /// Its rate by that of the relay in the same turn.
    pub rate_ratio: f64,
    /// Its rate per second of processor time by that of the relay in the same turn.
    pub cpu_rate_ratio: f64,
    pub repetitions: Vec<Figures>,
}

/// The result.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "docs/loadtest-reports.md explains each field")]
pub struct RatioReport {
    pub schema: &'static str,
    pub verdict: Verdict,
    pub content_bytes: usize,
    pub lines: Vec<Line>,
    pub fanouts: Vec<FanoutLine>,
    pub budgets: Vec<Budget>,
}

/// Measures.
pub fn measure(options: &RatioOptions) -> Result<RatioReport, LoadtestError> {
    let mut verdict = Verdict::Ok;
    let mut lines = Vec::new();
    for &load in &options.loads {
        let mut turns = Vec::new();
        for repetition in 1..=options.common.repetitions {
            eprintln!(
                "{} connections, {} outstanding: turn {repetition} of {}",
                load.connections, load.outstanding, options.common.repetitions
            );
            turns.push(turn(&options.common, load, &mut verdict)?);
        }
        lines.extend((0..PAIR_CONTENDERS.len()).map(|place| line(load, place, &turns)));
    }
    let mut fanouts = Vec::new();
    for &load in &options.fanouts {
        fanouts.extend(fanout::measure(&options.common, load, &mut verdict)?);
    }
    let mut budgets = budgets(&lines);
    budgets.extend(fanout::budgets(&fanouts));
    Ok(RatioReport {
        schema: "dunlin-bench/ratio/1",
        verdict,
        content_bytes: options.common.content_bytes,
        lines,
        fanouts,
        budgets,
    })
}

type Turn = [Figures; PAIR_CONTENDERS.len()];

fn turn(options: &Options, load: ClosedLoad, verdict: &mut Verdict) -> Result<Turn, LoadtestError> {
    let mut figures = Vec::with_capacity(PAIR_CONTENDERS.len());
    for contender in PAIR_CONTENDERS {
        let server = match contender {
            Contender::Relay => Server::relay(options)?,
            Contender::SignalsByWeb => Server::dunlin_with_web(options)?,
            Contender::QuietSignals | Contender::Signals | Contender::DurableMessages => {
                Server::dunlin(options)?
            }
        };
        let target = match contender {
            Contender::SignalsByWeb => server
                .web_target()
                .ok_or_else(|| LoadtestError::Server("it knows no WebSocket".into()))?,
            Contender::Relay
            | Contender::QuietSignals
            | Contender::Signals
            | Contender::DurableMessages => server.target(false),
        };
        let mut scenario = options.scenario(target, load.connections, contender.message());
        scenario.load = Load::Closed { outstanding: load.outstanding };
        let report = run(&scenario)?;
        *verdict = worse(*verdict, report.verdict);
        figures.push(Figures::of(&report));
    }
    Ok(figures.try_into().expect("one for each contender"))
}

fn line(load: ClosedLoad, place: usize, turns: &[Turn]) -> Line {
    let of = |figure: fn(&Figures) -> f64| median(turns.iter().map(|turn| figure(&turn[place])));
    let by_relay = |figure: fn(&Figures) -> f64| {
        median(turns.iter().map(|turn| figure(&turn[place]) / figure(&turn[0])))
    };
    let per_fsync: Vec<f64> =
        turns.iter().filter_map(|turn| turn[place].messages_per_fsync).collect();
    Line {
        contender: PAIR_CONTENDERS[place],
        load,
        median: Figures {
            messages_per_s: of(|figures| figures.messages_per_s),
            cpu_us_per_message: of(|figures| figures.cpu_us_per_message),
            messages_per_cpu_s: of(|figures| figures.messages_per_cpu_s),
            cpu_share: of(|figures| figures.cpu_share),
            generator_cpu_share: of(|figures| figures.generator_cpu_share),
            messages_per_fsync: (!per_fsync.is_empty()).then(|| median(per_fsync)),
        },
        cpu_ratio: by_relay(|figures| figures.cpu_us_per_message),
        rate_ratio: by_relay(|figures| figures.messages_per_s),
        cpu_rate_ratio: by_relay(|figures| figures.messages_per_cpu_s),
        repetitions: turns.iter().map(|turn| turn[place]).collect(),
    }
}

/// The budgets speak of requests that come one by one, and of 500 pairs with 8 outstanding each.
fn budgets(lines: &[Line]) -> Vec<Budget> {
    let mut budgets = Vec::new();
    for turn in lines.chunks_exact(PAIR_CONTENDERS.len()) {
        let [_, quiet, signals, durable, _] = turn else { continue };
        let load = quiet.load;
        let name = |what: &str| format!("{}x{} {what}", load.connections, load.outstanding);
        if load.outstanding == 1 {
            let what = name("quiet signals: CPU by the relay's");
            budgets.push(Budget::new(what, quiet.cpu_ratio, Bound::AtMost(1.25)));
            continue;
        }
        let of_signals = durable.median.messages_per_s / signals.median.messages_per_s;
        let per_fsync = durable.median.messages_per_fsync.unwrap_or(f64::NAN);
        let mut at_least = |what: &str, measured: f64, least: f64| {
            budgets.push(Budget::new(name(what), measured, Bound::AtLeast(least)));
        };
        at_least("signals: rate per core by the relay's", signals.cpu_rate_ratio, 0.25);
        at_least("durable: rate per core by the relay's", durable.cpu_rate_ratio, 0.125);
        at_least("durable: rate by that of signals", of_signals, 0.6);
        at_least("durable: messages per fsync", per_fsync, 200.0);
    }
    budgets
}

/// Prints the report for people.
pub fn print(report: &RatioReport) {
    println!(
        "connections  out  contender         messages/s  us CPU  CPU:relay    per CPU s  :relay  \
         busy  gen.  msgs/fsync"
    );
    for line in &report.lines {
        let Figures { messages_per_s, cpu_us_per_message, cpu_share, generator_cpu_share, .. } =
            line.median;
        let per_fsync = line.median.messages_per_fsync;
        println!(
            "{:>11}  {:>3}  {:<16} {:>11.0} {:>7.2} {:>10.2} {:>12.0} {:>7.3} {:>5.2} {:>5.2}  {:>10}",
            line.load.connections,
            line.load.outstanding,
            line.contender.name(),
            messages_per_s,
            cpu_us_per_message,
            line.cpu_ratio,
            line.median.messages_per_cpu_s,
            line.cpu_rate_ratio,
            cpu_share,
            generator_cpu_share,
            per_fsync.map_or_else(String::new, |messages| format!("{messages:.0}")),
        );
    }
    fanout::print(&report.fanouts);
    budget::print(&report.budgets);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_two_numbers() {
        let load = ClosedLoad { connections: 256, outstanding: 1 };
        assert_eq!("256x1".parse(), Ok(load));
        assert!("256".parse::<ClosedLoad>().is_err());
        assert!("256xx".parse::<ClosedLoad>().is_err());
    }

    #[test]
    fn ratios_are_those_within_a_turn() {
        let figures = |rate: f64, cpu: f64| Figures {
            messages_per_s: rate,
            cpu_us_per_message: cpu,
            messages_per_cpu_s: 1e6 / cpu,
            cpu_share: 1.0,
            generator_cpu_share: 0.5,
            messages_per_fsync: None,
        };
        // The machine is twice as slow in the second turn, for everybody.
        let turns = [(100.0, 1.0), (50.0, 2.0), (100.0, 1.0)].map(|(rate, cpu)| {
            [
                figures(rate, cpu),
                figures(rate, cpu),
                figures(rate / 2.0, cpu),
                { figures(rate / 4.0, cpu * 4.0) },
                figures(rate / 2.0, cpu),
            ]
        });
        let load = ClosedLoad { connections: 2, outstanding: 8 };
        let lines: Vec<_> = (0..5).map(|place| line(load, place, &turns)).collect();
        let ratios = |line: &Line| (line.cpu_ratio, line.rate_ratio, line.cpu_rate_ratio);
        assert_eq!(ratios(&lines[3]), (4.0, 0.25, 0.25));
        let kept: Vec<_> = budgets(&lines).iter().map(|budget| budget.kept).collect();
        // Half of the rate of signals is too little, and nothing was stored.
        assert_eq!(kept, [true, true, false, false]);
    }
}
