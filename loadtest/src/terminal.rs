//! Reports as they are printed for people: the verdict, then the figures.

use dunlin_loadtest::capacity::{CapacityReport, Judgement};
use dunlin_loadtest::chat::ChatReport;
use dunlin_loadtest::fanout::FanoutReport;
use dunlin_loadtest::idle::IdleReport;
use dunlin_loadtest::latency::LatencySummary;
use dunlin_loadtest::remote::GeneratorReport;
use dunlin_loadtest::report::{Circumstances, ThresholdOutcome, Verdict};

/// Faults of one kind that are printed.
const EXAMPLES_SHOWN: usize = 3;

fn print_verdict(verdict: Verdict, reasons: &[String]) {
    let word = match verdict {
        Verdict::Ok => "ok",
        Verdict::ProductFailure => "PRODUCT FAILURE",
        Verdict::HarnessInvalid => "INVALID (harness)",
        Verdict::MachineFailure => "MACHINE FAILURE",
        Verdict::Interrupted => "INTERRUPTED",
    };
    println!("{word}");
    for reason in reasons {
        println!("  {reason}");
    }
}

/// Many users meet with the same fault: some of each kind are enough to see it.
fn print_examples(examples: &[String]) {
    let kind = |example: &str| example.split(':').next().unwrap_or_default().to_owned();
    for (number, example) in examples.iter().enumerate() {
        let of_kind = |other: &&String| kind(other) == kind(example);
        match examples[..number].iter().filter(of_kind).count() {
            0..EXAMPLES_SHOWN => println!("  {example}"),
            EXAMPLES_SHOWN => println!("  {}: more of it is in the JSON", kind(example)),
            _ => {}
        }
    }
}

pub(crate) fn print_thresholds(outcomes: &[ThresholdOutcome]) {
    for outcome in outcomes {
        let word = if outcome.kept { "kept" } else { "BROKEN" };
        println!("threshold    {word}: {outcome}");
    }
}

pub(crate) fn print_circumstances(run: &Circumstances) {
    let Circumstances { host, version, commit, .. } = run;
    let built = commit.unwrap_or("a build for debugging");
    let memory = host.memory_bytes.map(|bytes| format!(", {:.1} GB", bytes as f64 / 1e9));
    println!(
        "run          {} to {}, dunlin-loadtest {version} ({built})\n\
         machine      {}, {} processors ({}){}",
        run.started_at,
        run.ended_at,
        host.kernel,
        host.processors,
        host.processor.as_deref().unwrap_or("of no known model"),
        memory.unwrap_or_default()
    );
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

pub(crate) fn print_chat(report: &ChatReport) {
    print_verdict(report.verdict, &report.reasons);
    print_examples(&report.faults.examples);
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

pub(crate) fn print_fanout(report: &FanoutReport) {
    print_verdict(report.verdict, &report.reasons);
    print_examples(&report.faults.examples);
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

pub(crate) fn words_of(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Met => "met",
        Judgement::Missed => "missed",
        Judgement::HarnessLate => "harness late",
        Judgement::Broken => "BROKEN",
        Judgement::CutShort => "cut short",
    }
}

pub(crate) fn print_capacity(report: &CapacityReport) {
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

pub(crate) fn print_idle(report: &IdleReport) {
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
