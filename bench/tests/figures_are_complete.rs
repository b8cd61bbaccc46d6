//! Every measurement runs to its end at a tiny scale and says all that it should. What the
//! figures are is not looked at.
#![forbid(unsafe_code)]

use std::process::{Command, Stdio};

use serde_json::Value;

/// On one processor, so that it runs on any machine.
const TINY: [&str; 14] = [
    "--server-cpu",
    "0",
    "--client-cpu",
    "0",
    "--repetitions",
    "2",
    "--warm-up",
    "0.05",
    "--duration",
    "0.5",
    "--content-bytes",
    "64",
    "--json",
    "-",
];

/// The exit code and the report. On a busy machine the harness may be too slow, which is said by
/// code 3; anything else but success is a failure.
fn report(command: &str, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_dunlin-bench"))
        .arg(command)
        .args(arguments)
        .args(TINY)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).expect(&complaints);
    let expected = match report["verdict"].as_str() {
        Some("ok") => 0,
        Some("harness_invalid") => 3,
        other => panic!("{other:?}: {complaints}"),
    };
    assert_eq!(output.status.code(), Some(expected), "{complaints}");
    report
}

/// A figure that was really measured: JSON has no NaN, it becomes null.
fn is_positive(figure: &Value) -> bool {
    figure.as_f64().is_some_and(|figure| figure > 0.0)
}

#[test]
fn ratios_have_every_contender_under_every_load() {
    let report = report("ratio", &["--loads", "4x1,6x3", "--fanouts", "2x20x3"]);
    let lines = report["lines"].as_array().unwrap();
    let contenders = ["relay", "quiet_signals", "signals", "durable_messages", "signals_by_web"];
    let expected = [(4, 1), (6, 3)].into_iter().flat_map(|load| contenders.map(|who| (load, who)));
    assert_eq!(lines.len(), 2 * contenders.len());
    for (line, ((connections, outstanding), contender)) in lines.iter().zip(expected) {
        assert_eq!(line["contender"], contender);
        assert_eq!(line["load"]["connections"], connections);
        assert_eq!(line["load"]["outstanding"], outstanding);
        assert_eq!(line["repetitions"].as_array().unwrap().len(), 2);
        for figure in ["messages_per_s", "cpu_us_per_message", "cpu_share", "generator_cpu_share"] {
            assert!(is_positive(&line["median"][figure]), "{contender} {figure}: {line:#}");
        }
        assert!(is_positive(&line["cpu_ratio"]) && is_positive(&line["rate_ratio"]), "{line:#}");
        let stored = is_positive(&line["median"]["messages_per_fsync"]);
        assert_eq!(stored, contender == "durable_messages", "{line:#}");
    }
    assert_eq!(lines[0]["cpu_ratio"], 1.0);
    let budgets = report["budgets"].as_array().unwrap();
    assert_eq!(budgets.len(), 5 + 3);
    assert!(budgets.iter().all(|budget| is_positive(&budget["measured"])), "{budgets:#?}");
}

#[test]
fn deliveries_to_many_have_every_contender() {
    let report = report("ratio", &["--loads", "4x1", "--fanouts", "2x20x3,1x5x1"]);
    let lines = report["fanouts"].as_array().unwrap();
    let contenders = ["relay", "quiet_signals", "signals", "durable_messages"];
    let expected = [(2, 20), (1, 5)].into_iter().flat_map(|load| contenders.map(|who| (load, who)));
    assert_eq!(lines.len(), 2 * contenders.len());
    for (line, ((senders, devices), contender)) in lines.iter().zip(expected) {
        assert_eq!(line["contender"], contender);
        assert_eq!(
            (&line["load"]["senders"], &line["load"]["devices"]),
            (&senders.into(), &devices.into())
        );
        assert_eq!(line["repetitions"].as_array().unwrap().len(), 2);
        for figure in ["deliveries_per_s", "cpu_us_per_delivery", "deliveries_per_cpu_s"] {
            assert!(is_positive(&line["median"][figure]), "{contender} {figure}: {line:#}");
        }
        assert!(is_positive(&line["cpu_rate_ratio"]), "{line:#}");
    }
    assert_eq!(lines[0]["cpu_rate_ratio"], 1.0);
}

#[test]
fn latencies_stand_beside_one_fsync_and_the_relay() {
    let report = report("latency", &["--connections", "4", "--outstanding", "2", "--rate", "200"]);
    let repetitions = report["repetitions"].as_array().unwrap();
    assert_eq!(repetitions.len(), 2);
    for repetition in repetitions {
        assert!(is_positive(&repetition["fsync_us"]), "{repetition:#}");
        assert!(is_positive(&repetition["messages_per_fsync"]), "{repetition:#}");
        for percentile in ["p50_us", "p99_us", "p999_us"] {
            assert!(is_positive(&repetition["acknowledge"][percentile]), "{repetition:#}");
            assert!(is_positive(&repetition["deliver"][percentile]), "{repetition:#}");
            assert!(is_positive(&repetition["relay_deliver"][percentile]), "{repetition:#}");
        }
    }
    assert!(is_positive(&report["budgets"][0]["measured"]), "{report:#}");
}

#[test]
fn memory_is_measured_of_dunlin_and_of_the_holder() {
    let report = report("memory", &["--connections", "40", "--hold", "0.2"]);
    let lines = report["lines"].as_array().unwrap();
    let contenders: Vec<_> = lines.iter().map(|line| line["contender"].as_str().unwrap()).collect();
    assert_eq!(contenders, ["holder", "plain", "tls"].repeat(2));
    for line in lines {
        assert!(is_positive(&line["arrivals_per_s"]), "{line:#}");
        // Other programs come and go, so what the kernel keeps may also have shrunk.
        assert!(line["kernel_per_connection"]["slab_bytes"].is_f64(), "{line:#}");
    }
    assert_eq!(report["budgets"].as_array().unwrap().len(), 2);
}

#[test]
fn wrong_usage_and_a_server_that_is_none_have_codes_of_their_own() {
    let code = |arguments: &[&str]| {
        let program = Command::new(env!("CARGO_BIN_EXE_dunlin-bench"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        program.status.code()
    };
    assert_eq!(code(&["ratio", "--loads", "many"]), Some(2));
    assert_eq!(code(&["latency", "--program", "true", "--server-cpu", "0"]), Some(2));
}
