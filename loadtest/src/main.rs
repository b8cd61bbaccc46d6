//! `dunlin-loadtest`: the harness as a program. docs/benchmarks.md shows how to use it.
#![forbid(unsafe_code)]

mod arguments;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use dunlin_loadtest::chat::{self, ChatReport, ChatScenario};
use dunlin_loadtest::doctor::{self, Facts};
use dunlin_loadtest::idle::{self, IdleReport};
use dunlin_loadtest::plan::{OutputArguments, Plan};
use dunlin_loadtest::report::Verdict;
use dunlin_loadtest::{LoadtestError, Problems, latency::LatencySummary};
use serde::Serialize;

use arguments::{Arguments, Command, DoctorArguments, FileArguments};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage, or a machine that can't run the scenario.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Plan(plan) => run(&plan),
        Command::Run(arguments) => run_files(&arguments),
        Command::Check(arguments) => return check(&arguments),
        Command::Doctor(arguments) => return doctor(&arguments),
    };
    outcome.map_or_else(
        |error| {
            eprintln!("dunlin-loadtest: {error}");
            ExitCode::from(USAGE)
        },
        Verdict::exit_code,
    )
}

fn run(plan: &Plan) -> Result<Verdict, LoadtestError> {
    Problems::check(plan.problems())?;
    match plan {
        Plan::Chat(plan) => {
            plan.server.with_target(|target| run_chat(&plan.scenario(target)?, &plan.output))
        }
        Plan::Storm(plan) => {
            plan.server.with_target(|target| run_chat(&plan.scenario(target)?, &plan.output))
        }
        Plan::Slow(plan) => {
            plan.server.with_target(|target| run_chat(&plan.scenario(target)?, &plan.output))
        }
        Plan::Churn(plan) => {
            plan.server.with_target(|target| run_chat(&plan.scenario(target)?, &plan.output))
        }
        Plan::Idle(plan) => plan.server.with_target(|target| {
            let quiet = plan.output.quiet;
            let report = idle::run(&plan.scenario(target)?, &mut |doing, connections| {
                if !quiet {
                    eprintln!("{doing}: {connections} connections");
                }
            })?;
            print(&plan.output, &report, print_idle)?;
            Ok(report.verdict)
        }),
    }
}

fn run_chat(scenario: &ChatScenario, output: &OutputArguments) -> Result<Verdict, LoadtestError> {
    let report = chat::run(scenario, &mut |doing, progress| {
        if !output.quiet {
            eprintln!(
                "{doing}: {} users, {} sent, {} acknowledged, {} delivered",
                progress.active, progress.sent, progress.acknowledged, progress.delivered
            );
        }
    })?;
    print(output, &report, print_chat)?;
    Ok(report.verdict)
}

/// One after the other, until one is not ok. All are read before the first one is run.
fn run_files(arguments: &FileArguments) -> Result<Verdict, LoadtestError> {
    let plans = arguments.files.iter().map(|file| arguments.read(file));
    for plan in plans.collect::<Result<Vec<_>, _>>()? {
        let verdict = run(&plan)?;
        if verdict != Verdict::Ok {
            return Ok(verdict);
        }
    }
    Ok(Verdict::Ok)
}

fn check(arguments: &FileArguments) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for file in &arguments.files {
        let name = file.display();
        let missing = |plan: Plan| Ok(Problems::check(plan.server().missing())?);
        match arguments.read(file).and_then(missing) {
            Ok(()) => println!("{name}: ok"),
            Err(LoadtestError::Problems(problems)) => {
                problems.iter().for_each(|problem| eprintln!("{name}: {problem}"));
                code = ExitCode::from(USAGE);
            }
            Err(error) => {
                eprintln!("{name}: {error}");
                code = ExitCode::from(USAGE);
            }
        }
    }
    code
}

/// Judges this machine; the exit code is not that of a run.
fn doctor(arguments: &DoctorArguments) -> ExitCode {
    let diagnosis = doctor::evaluate(arguments.plan(), &Facts::gather());
    let text = if arguments.json {
        serde_json::to_string_pretty(&diagnosis).map_err(io::Error::other)
    } else {
        Ok(diagnosis.to_string())
    };
    match text.and_then(|text| writeln!(io::stdout(), "{text}")) {
        Ok(()) => diagnosis.exit_code(),
        Err(error) => {
            eprintln!("dunlin-loadtest: writing the findings: {error}");
            ExitCode::from(USAGE)
        }
    }
}

fn print<R: Serialize>(
    output: &OutputArguments,
    report: &R,
    for_people: impl FnOnce(&R),
) -> Result<(), LoadtestError> {
    let failed = LoadtestError::machine("writing the report");
    let json = serde_json::to_string_pretty(report).map_err(io::Error::other);
    let written = match &output.json {
        None => {
            for_people(report);
            Ok(())
        }
        Some(path) if path.as_os_str() == "-" => {
            json.and_then(|json| writeln!(io::stdout(), "{json}"))
        }
        Some(path) => {
            for_people(report);
            json.and_then(|json| std::fs::write(path, json + "\n"))
        }
    };
    written.map_err(failed)
}

fn print_verdict(verdict: Verdict, reasons: &[String]) {
    let word = match verdict {
        Verdict::Ok => "ok",
        Verdict::ProductFailure => "PRODUCT FAILURE",
        Verdict::HarnessInvalid => "INVALID (harness)",
    };
    println!("{word}");
    for reason in reasons {
        println!("  {reason}");
    }
}

fn print_latency(name: &str, latency: &LatencySummary) {
    println!(
        "{name:<12} p50 {:>9.0}  p99 {:>9.0}  p99.9 {:>9.0}  max {:>9.0} us  ({})",
        latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us, latency.count
    );
}

fn print_chat(report: &ChatReport) {
    print_verdict(report.verdict, &report.reasons);
    for example in &report.faults.examples {
        println!("  {example}");
    }
    println!(
        "rates        {:.0} sent, {:.0} acknowledged, {:.0} delivered per second",
        report.rates.sent_per_s, report.rates.acknowledged_per_s, report.rates.delivered_per_s
    );
    print_latency("acknowledge", &report.latency.acknowledge);
    print_latency("deliver", &report.latency.deliver);
    print_latency("lateness", &report.latency.lateness);
    if let Some(disturbance) = &report.disturbance {
        print!("{disturbance}");
    }
    if let Some(server) = &report.server {
        println!(
            "server       {:.2} us per message, {:.2} processors busy, {:.1} MB resident",
            server.cpu_us_per_message,
            server.cpu_share,
            server.resident_bytes_after as f64 / 1e6
        );
        if let Some(messages) = server.messages_per_commit() {
            println!("store        {messages:.1} messages per fsync");
        }
    }
}

fn print_idle(report: &IdleReport) {
    print_verdict(report.verdict, &report.reasons);
    println!("arrivals     {} at {:.0} per second", report.arrived, report.arrivals_per_s);
    print_latency("arrive", &report.arrive);
    if report.heartbeat_lateness.count > 0 {
        print_latency("heartbeat", &report.heartbeat_round_trip);
        print_latency("lateness", &report.heartbeat_lateness);
    }
    for (reason, count) in &report.closes.retried {
        println!("retried      {count}: {reason}");
    }
    if let Some(server) = &report.server {
        println!(
            "memory       {:.0} B per connection, by slope {:.0} B; {:.1} MB resident at the end",
            server.resident_bytes_per_connection,
            server.resident_bytes_per_connection_slope,
            server.resident_bytes_end as f64 / 1e6
        );
        println!(
            "processor    {:.1} us per arrival, {:.4} processors busy while idle, {:.2} us per \
             heartbeat",
            server.cpu_us_per_arrival, server.idle_cpu_share, server.cpu_us_per_heartbeat
        );
    }
    if let Some(harness) = &report.harness {
        println!(
            "harness      {:.0} B per connection, {:.1} MB resident at the end; {:.1} us per \
             arrival, {:.4} processors busy while idle",
            harness.resident_bytes_per_connection,
            harness.resident_bytes_end as f64 / 1e6,
            harness.cpu_us_per_arrival,
            harness.idle_cpu_share
        );
    }
}
