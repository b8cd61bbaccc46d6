//! `dunlin-loadtest`: the harness as a program. docs/benchmarks.md shows how to use it.
#![forbid(unsafe_code)]

mod arguments;
mod output;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use dunlin_loadtest::capacity::{self, CapacityReport, Judgement};
use dunlin_loadtest::chat::{self, ChatReport, ChatScenario, Progress};
use dunlin_loadtest::doctor::{self, Facts};
use dunlin_loadtest::fanout::{self, FanoutReport};
use dunlin_loadtest::idle::{self, IdleReport};
use dunlin_loadtest::plan::{FanoutPlan, OutputArguments, Plan};
use dunlin_loadtest::remote::{Event, GeneratorReport, Listener, Place};
use dunlin_loadtest::report::{Report, Second, Verdict};
use dunlin_loadtest::view::View;
use dunlin_loadtest::{LoadtestError, Problems, latency::LatencySummary};

use arguments::{Arguments, Command, DoctorArguments, FileArguments, GenerateArguments};
use output::{print, render};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Plan(plan) => run(&plan),
        Command::Run(arguments) => run_files(&arguments),
        Command::Check(arguments) => return check(&arguments),
        Command::Generate(arguments) => generate(arguments),
        Command::Doctor(arguments) => return doctor(&arguments),
        Command::Render(arguments) => render(&arguments).map(|()| Verdict::Ok),
    };
    outcome.map_or_else(
        |error| {
            eprintln!("dunlin-loadtest: {error}");
            error.exit_code()
        },
        Verdict::exit_code,
    )
}

fn run(plan: &Plan) -> Result<Verdict, LoadtestError> {
    Problems::check(plan.problems())?;
    match plan {
        Plan::Chat(plan) => plan
            .server
            .with_target(|target| run_chat("chat", &plan.scenario(target)?, &plan.output)),
        Plan::Storm(plan) => plan
            .server
            .with_target(|target| run_chat("storm", &plan.scenario(target)?, &plan.output)),
        Plan::Slow(plan) => plan
            .server
            .with_target(|target| run_chat("slow", &plan.scenario(target)?, &plan.output)),
        Plan::Churn(plan) => plan
            .server
            .with_target(|target| run_chat("churn", &plan.scenario(target)?, &plan.output)),
        Plan::Capacity(plan) => plan.server.with_target(|target| {
            let mut view = View::new("capacity", plan.output.quiet);
            let on_event = &mut |event: capacity::Event<'_>| show_event(&mut view, &event);
            let report = capacity::run(&plan.scenario(target)?, on_event)?;
            print(&plan.output, report, print_capacity)
        }),
        Plan::Fanout(plan) => run_fanout(plan),
        Plan::Idle(plan) => plan.server.with_target(|target| {
            let mut view = View::new("idle", plan.output.quiet);
            let lines = view.leaves_lines();
            let on_progress = &mut |doing: &str, connections: u32| {
                if lines {
                    eprintln!("{doing}: {connections} connections");
                }
            };
            let on_second = &mut |second: &Second<'_>| view.show(second);
            let report = idle::run_watched(&plan.scenario(target)?, on_progress, on_second)?;
            print(&plan.output, report, print_idle)
        }),
    }
}

fn run_fanout(plan: &FanoutPlan) -> Result<Verdict, LoadtestError> {
    plan.server().with_target(|target| {
        let scenario = plan.scenario(target)?;
        watch("fanout", &plan.output, print_fanout, |on_progress, on_second| {
            fanout::run_watched(&scenario, on_progress, on_second)
        })
    })
}

fn run_chat(
    name: &'static str,
    scenario: &ChatScenario,
    output: &OutputArguments,
) -> Result<Verdict, LoadtestError> {
    watch(name, output, print_chat, |on_progress, on_second| {
        chat::run_watched(scenario, on_progress, on_second)
    })
}

/// Shows a run while it goes on, and then its report.
fn watch<R: Report>(
    name: &'static str,
    output: &OutputArguments,
    for_people: impl FnOnce(&R),
    run: impl FnOnce(
        &mut dyn FnMut(&str, Progress),
        &mut dyn FnMut(&Second<'_>),
    ) -> Result<R, LoadtestError>,
) -> Result<Verdict, LoadtestError> {
    let mut view = View::new(name, output.quiet);
    let lines = view.leaves_lines();
    let on_progress = &mut |doing: &str, progress: Progress| {
        if lines {
            eprintln!(
                "{doing}: {} connections, {} sent, {} acknowledged, {} delivered",
                progress.active, progress.sent, progress.acknowledged, progress.delivered
            );
        }
    };
    let report = run(on_progress, &mut |second: &Second<'_>| view.show(second))?;
    print(output, report, for_people)
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
                code = error.exit_code();
            }
        }
    }
    code
}

/// Works for one coordinator after the other.
fn generate(arguments: GenerateArguments) -> Result<Verdict, LoadtestError> {
    let GenerateArguments { listen, secret_file, threads, client_cpu } = arguments;
    let place = Place { threads, processors: client_cpu };
    let listener = Listener::bind(listen, &secret_file, place)?;
    println!("listening at {}", listener.local_addr()?);
    listener.serve(|peer, event| match event {
        Event::Begun(users) => {
            eprintln!("{peer}: users {} to {}", users.start, users.end.saturating_sub(1));
        }
        Event::Done => eprintln!("{peer}: done"),
        Event::Refused(error) => eprintln!("{peer}: no run: {error}"),
        Event::Lost(error) => eprintln!("{peer}: the run was stopped: {error}"),
    })
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
            let error = LoadtestError::machine("writing the findings")(error);
            eprintln!("dunlin-loadtest: {error}");
            error.exit_code()
        }
    }
}

fn print_verdict(verdict: Verdict, reasons: &[String]) {
    let word = match verdict {
        Verdict::Ok => "ok",
        Verdict::ProductFailure => "PRODUCT FAILURE",
        Verdict::HarnessInvalid => "INVALID (harness)",
        Verdict::MachineFailure => "MACHINE FAILURE",
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

fn print_generator(generator: &GeneratorReport) {
    println!(
        "generator    {}: {} users, {:.2} processors busy, {:.1} MB resident, clock to {:.0} us",
        generator.address,
        generator.users,
        generator.cpu_share,
        generator.resident_bytes as f64 / 1e6,
        generator.clock_error_us
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
    for (kind, latency) in &report.latency_by_kind {
        print_latency(&format!("  {kind}"), &latency.acknowledge);
    }
    print_latency("deliver", &report.latency.deliver);
    for (kind, latency) in &report.latency_by_kind {
        print_latency(&format!("  {kind}"), &latency.deliver);
    }
    for (kind, latency) in &report.request_latency {
        print_latency(&kind.to_string(), latency);
    }
    print_latency("lateness", &report.latency.lateness);
    for part in &report.generators {
        print_generator(&part.generator);
        print_latency("  lateness", &part.lateness);
    }
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

fn print_fanout(report: &FanoutReport) {
    print_verdict(report.verdict, &report.reasons);
    for example in &report.faults.examples {
        println!("  {example}");
    }
    println!(
        "rates        {:.0} sent, {:.0} acknowledged, {:.0} deliveries per second",
        report.rates.sent_per_s, report.rates.acknowledged_per_s, report.rates.delivered_per_s
    );
    print_latency("acknowledge", &report.latency.acknowledge);
    print_latency("deliver", &report.latency.deliver);
    print_latency("lateness", &report.latency.lateness);
    for part in &report.generators {
        print_generator(&part.generator);
        print_latency("  lateness", &part.lateness);
    }
    if let Some(server) = &report.server {
        println!(
            "server       {:.2} us per delivery, {:.0} deliveries per second of its time, {:.2} \
             processors busy, {:.1} MB resident",
            server.cpu_us_per_delivery,
            server.deliveries_per_cpu_s,
            server.usage.cpu_share,
            server.usage.resident_bytes_after as f64 / 1e6
        );
        if let Some(messages) = server.usage.messages_per_commit() {
            println!("store        {messages:.1} messages per fsync");
        }
    }
}

fn show_event(view: &mut View, event: &capacity::Event<'_>) {
    match event {
        capacity::Event::Begun { rate_per_s } => view.begin(&format!("{rate_per_s:.0}/s")),
        capacity::Event::Progress { rate_per_s, doing, progress } => {
            if view.leaves_lines() {
                eprintln!(
                    "{rate_per_s:.0}/s: {doing}: {} users, {} sent",
                    progress.active, progress.sent
                );
            }
        }
        capacity::Event::Second(second) => view.show(second),
        capacity::Event::Step(step) => {
            view.say(&format!("{:.0}/s: {}", step.rate_per_s, words_of(step.judgement)));
            step.reasons.iter().for_each(|reason| view.say(&format!("  {reason}")));
        }
    }
}

fn words_of(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Met => "met",
        Judgement::Missed => "missed",
        Judgement::HarnessLate => "harness late",
        Judgement::Broken => "BROKEN",
    }
}

fn print_capacity(report: &CapacityReport) {
    print_verdict(report.verdict, &report.reasons);
    match report.highest_met_per_s {
        Some(rate_per_s) => println!("highest      {rate_per_s:.0} per second"),
        None => println!("highest      none"),
    }
    println!("    rate/s  ack p99 us  deliver p99  late p99  server CPU  harness CPU");
    for step in &report.steps {
        let latency = &step.latency;
        let server = step.server_cpu_share.map_or("-".to_owned(), |share| format!("{share:.2}"));
        println!(
            "{:>10.0}  {:>10.0}  {:>11.0}  {:>8.0}  {server:>10}  {:>11.2}  {}",
            step.rate_per_s,
            latency.acknowledge.p99_us,
            latency.deliver.p99_us,
            latency.lateness.p99_us,
            step.harness_cpu_share,
            words_of(step.judgement)
        );
    }
}

fn print_idle(report: &IdleReport) {
    print_verdict(report.verdict, &report.reasons);
    println!("arrivals     {} at {:.0} per second", report.arrived, report.arrivals_per_s);
    print_latency("arrive", &report.arrive);
    report.generators.iter().for_each(|part| print_generator(&part.generator));
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
