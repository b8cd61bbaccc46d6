//! What strangers and users can do to the memory of a server, against the real program and with the
//! harness that measures it: it stays below the bound that docs/operating.md says, and a pair beside the
//! attackers misses nothing.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dunlin_loadtest::chat::hostile::{Attack, Hostile, HostileReport};
use dunlin_loadtest::chat::{
    self, ChatReport, ChatScenario, Disturbance, DisturbanceReport, Load, Rate,
};
use dunlin_loadtest::report::Verdict;
use dunlin_loadtest::spawn::SpawnedServer;

const MIB: u64 = 1024 * 1024;

/// Small bounds, so that small attacks reach them: what each of them bounds is beside it.
const SETTINGS: [&str; 7] = [
    "engine.workers=1",
    "listen.shards=1",
    "limits.input_bytes_node_max=16777216", // unfinished frames
    "limits.outbox_bytes_node_max=33554432", // answers and pushes that are not taken
    "engine.answer_bytes_max=33554432",     // answers from when they are read
    "store.filter_bytes_max=1048576",
    "passwords.memory_kib=8",
];

/// The sum of docs/operating.md with these settings: 20 MB of the program, three segments that have no
/// index file, the queue of one worker and what it has taken, and the settings above.
const RESIDENT_BYTES_MAX: u64 = (20 + 3 * 64 + 32 + 64 + 16 + 32 + 32 + 1) * MIB;

fn server(more: &[&str]) -> SpawnedServer {
    let program = Path::new(env!("CARGO_BIN_EXE_dunlin"));
    let settings: Vec<String> = SETTINGS.iter().chain(more).map(ToString::to_string).collect();
    SpawnedServer::start(program, &[], &settings, Stdio::inherit()).unwrap()
}

/// A pair that was there before the attack, and what came of both.
fn attacked(server: &SpawnedServer, attack: Attack, attackers: u32) -> (ChatReport, HostileReport) {
    let mut scenario = ChatScenario::new(server.target(false));
    scenario.users = 2;
    scenario.load = Load::Open { messages_per_second: Rate::constant(20.0) };
    scenario.warm_up = Duration::from_millis(500);
    scenario.duration = Duration::from_secs(4);
    scenario.drain_timeout = Duration::from_secs(60);
    scenario.progress_interval = Duration::from_millis(50);
    let resident_bytes_max = RESIDENT_BYTES_MAX;
    scenario.disturbance =
        Some(Disturbance::Hostile(Hostile { attack, attackers, resident_bytes_max }));
    let report = chat::run(&scenario, &mut |_, _| {}).unwrap();
    // The machine may be busy, so that the harness is late: only faults and the bound count.
    assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert_eq!(report.totals.sent, report.totals.delivered, "{report:#?}");
    assert_eq!(report.totals.connections_lost, 0, "{report:#?}");
    let Some(DisturbanceReport::Hostile(told)) = report.disturbance.clone() else {
        panic!("{report:#?}");
    };
    assert!(told.connects > 0 && told.resident_bytes_max > 0, "{told:#?}");
    (report, *told)
}

#[test]
fn frames_that_never_end() {
    let (_, told) = attacked(&server(&[]), Attack::BegunFrames, 60);
    // More than the server may hold of it, and most of them were told so.
    assert!(told.bytes_out > 16 * MIB, "{told:#?}");
    assert!(told.closes.contains_key("overloaded"), "{told:#?}");
}

#[test]
fn pages_that_nobody_reads() {
    let (_, told) = attacked(&server(&[]), Attack::UnreadPages, 16);
    assert!(told.connects >= 16 && told.turned_away == 0, "{told:#?}");
}

#[test]
fn the_largest_messages_without_end() {
    let (_, told) = attacked(&server(&[]), Attack::LargeSends, 60);
    assert!(told.bytes_in > 0 && told.closes.is_empty(), "{told:#?}");
}

#[test]
fn many_syncs_at_once() {
    let (_, told) = attacked(&server(&[]), Attack::ManySyncs, 20);
    assert!(told.bytes_in > 0 && told.closes.is_empty(), "{told:#?}");
}

#[test]
fn more_silent_connections_than_places() {
    let server = server(&["limits.connections_max=100"]);
    let (_, told) = attacked(&server, Attack::SilentConnections, 150);
    assert!(told.connects >= 150, "{told:#?}");
}
