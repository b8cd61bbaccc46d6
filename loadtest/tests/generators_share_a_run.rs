//! Several processes work as one run: what they count is put together, and whoever is lost, refused
//! or no part of it at all does no harm to the next run.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::chat::churn::Churn;
use dunlin_loadtest::chat::slow::Slow;
use dunlin_loadtest::chat::storm::{Storm, StormReport};
use dunlin_loadtest::chat::{
    self, ChatReport, ChatScenario, Disturbance, DisturbanceReport, Load, Rate, Totals,
};
use dunlin_loadtest::fanout::{self, FanoutGeneratorReport, FanoutScenario};
use dunlin_loadtest::idle::{self, IdleScenario};
use dunlin_loadtest::remote::{Generators, LinkError, Refusal};
use dunlin_loadtest::report::Verdict;
use dunlin_loadtest::target::{Service, Target};
use dunlin_loadtest::token::Issuer;
use model::{Model, Sabotage};
use tempfile::TempDir;

/// Longer than any machine needs.
const DEADLINE: Duration = Duration::from_secs(60);

const PROGRAM: &str = env!("CARGO_BIN_EXE_dunlin-loadtest");

/// A process that ends with the test.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _gone_already = self.0.wait();
    }
}

/// Generators, and the secret that they know.
struct Party {
    folder: TempDir,
    processes: Vec<Process>,
    addresses: Vec<String>,
}

impl Party {
    fn start(generators: usize) -> Party {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "the secret of this test\n").unwrap();
        let mut party = Party { folder, processes: Vec::new(), addresses: Vec::new() };
        for _ in 0..generators {
            let mut child = Command::new(PROGRAM)
                .args(["generate", "--listen", "127.0.0.1:0", "--threads", "2", "--secret-file"])
                .arg(party.secret_file())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            let stdout = child.stdout.take().unwrap();
            party.processes.push(Process(child));
            BufReader::new(stdout).read_line(&mut line).unwrap();
            party.addresses.push(line.trim().strip_prefix("listening at ").unwrap().to_owned());
        }
        party
    }

    fn secret_file(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    fn generators(&self) -> Generators {
        Generators { addresses: self.addresses.clone(), secret_file: self.secret_file() }
    }

    /// A coordinator in a process of its own, in the middle of a run that would last long.
    fn coordinate(&self, server: SocketAddr) -> Process {
        let mut child = Command::new(PROGRAM)
            .args(["chat", "--users", "8", "--duration-s", "3600", "--issuer-key", ISSUER_KEY])
            .args(["--rate-per-s", "100", "--address", &server.to_string()])
            .args(["--generators", &self.addresses.join(","), "--generators-secret-file"])
            .arg(self.secret_file())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let process = Process(child);
        let (measuring, is_measuring) = std::sync::mpsc::channel();
        // Reads up to the end, so that the process is never without a reader.
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("coordinator: {line}");
                if line.starts_with("measuring") {
                    let _nobody_waits_any_more = measuring.send(());
                }
            }
        });
        is_measuring.recv_timeout(DEADLINE).unwrap();
        process
    }
}

/// 32 bytes of 7 in base64.
const ISSUER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn target(address: SocketAddr) -> Target {
    let service = Service::Dunlin(Issuer::new("loadtest", &[7; 32]));
    Target { address, tls: None, web: false, service, pid: None }
}

fn scenario(party: &Party) -> ChatScenario {
    let mut scenario = ChatScenario::new(target(Model::start(Sabotage::Nothing).address));
    scenario.users = 8;
    scenario.load = Load::Open { messages_per_second: Rate::constant(800.0) };
    scenario.warm_up = Duration::from_millis(100);
    scenario.duration = Duration::from_millis(400);
    scenario.drain_timeout = DEADLINE;
    scenario.generators = Some(party.generators());
    scenario
}

fn run(scenario: &ChatScenario) -> Result<ChatReport, LoadtestError> {
    chat::run(scenario, &mut |_, _| {})
}

/// A sound run with these generators; one that still ends another run is waited for.
fn assert_works(party: &Party) {
    let start = Instant::now();
    let report = loop {
        match run(&scenario(party)) {
            Err(LoadtestError::Generator { source: LinkError::Refused(Refusal::Busy), .. })
                if start.elapsed() < DEADLINE => {}
            other => break other.unwrap(),
        }
    };
    assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert_eq!(report.totals.delivered, 400, "{report:#?}");
}

#[test]
fn two_generators_bring_home_one_run_and_are_ready_for_the_next() {
    let party = Party::start(2);
    for _ in 0..2 {
        let report = run(&scenario(&party)).unwrap();
        // The machine may be busy, so that the harness is late: only faults count here.
        assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}");
        assert!(report.faults.counts.is_empty(), "{report:#?}");
        let totals = report.totals;
        assert_eq!((totals.sent, totals.acknowledged, totals.delivered), (400, 400, 400));
        assert_eq!((totals.entries_read, totals.connections_opened), (800, 8));
        assert_eq!(report.generators.len(), 2);
        let sum = |of: fn(&chat::ChatGeneratorReport) -> u64| -> u64 {
            report.generators.iter().map(of).sum()
        };
        assert!(report.generators.iter().all(|part| part.totals.sent == 200), "{report:#?}");
        assert_eq!(sum(|part| part.totals.entries_read), 800);
        assert_eq!(sum(|part| part.lateness.count), report.latency.lateness.count);
        assert_eq!(sum(|part| u64::from(part.generator.users)), 8);
        assert!(sum(|part| part.generator.cpu_us) > 0, "{report:#?}");
        assert!(report.latency.acknowledge.count > 200, "{report:#?}");
    }
}

#[test]
fn an_even_share_of_all_pairs_sends_whoever_has_them() {
    let party = Party::start(2);
    let mut scenario = scenario(&party);
    scenario.active_share = 0.25;
    let report = run(&scenario).unwrap();
    assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    // One pair of four: that is the first generator's.
    let sent: Vec<_> = report.generators.iter().map(|part| part.totals.sent).collect();
    assert_eq!((report.totals.sent, sent), (400, vec![400, 0]));
    let points = &report.series.points;
    let told = points.iter().map(|point| point.rates["delivered"] * point.interval_s);
    assert_eq!(told.sum::<f64>().round(), 400.0, "{points:#?}");
    let measured = |name| -> u64 {
        points.iter().filter_map(|point| point.latency.get(name)).map(|latency| latency.count).sum()
    };
    assert_eq!((measured("acknowledge"), measured("deliver")), (400, 400), "{points:#?}");
}

#[test]
fn latencies_of_the_kinds_of_a_mix_are_put_together() {
    let party = Party::start(2);
    let mut scenario = scenario(&party);
    scenario.message = "durable:1,signal:1".parse().unwrap();
    let report = run(&scenario).unwrap();
    assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert_eq!(report.latency_by_kind.len(), 2, "{report:#?}");
    let of_kinds = report.latency_by_kind.values();
    let acknowledged: u64 = of_kinds.map(|latency| latency.acknowledge.count).sum();
    assert_eq!(acknowledged, report.latency.acknowledge.count, "{report:#?}");
}

/// What is true of every sound run: the whole is the sum of its parts, and they sent all there was.
fn assert_whole(report: &ChatReport, generators: usize) {
    assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert!(report.faults.counts.is_empty(), "{report:#?}");
    assert_eq!(report.generators.len(), generators, "{report:#?}");
    let counts = |totals: &Totals| {
        let Totals { sent, acknowledged, delivered, connections_opened, entries_read, .. } =
            *totals;
        [sent, acknowledged, delivered, connections_opened, entries_read]
    };
    let parts = report.generators.iter().map(|part| counts(&part.totals));
    let sum = |sum: [u64; 5], part: [u64; 5]| std::array::from_fn(|at| sum[at] + part[at]);
    assert_eq!(parts.reduce(sum).unwrap(), counts(&report.totals), "{report:#?}");
    let totals = report.totals;
    assert_eq!((totals.sent, totals.sent), (totals.acknowledged, totals.delivered), "{totals:?}");
    assert_eq!((totals.entries_read, totals.unsent_at_end), (2 * totals.sent, 0), "{totals:?}");
}

#[test]
fn readers_stall_on_both_generators_and_miss_nothing() {
    let party = Party::start(2);
    let mut scenario = scenario(&party);
    let pause = Duration::from_millis(100);
    let (stall_s, between_s) = (pause.into(), pause.into());
    let slow = Slow { stalling_share: 0.5, stall_s, between_s, ..Slow::default() };
    scenario.disturbance = Some(Disturbance::Slow(slow));
    let report = run(&scenario).unwrap();
    assert_whole(&report, 2);
    assert_eq!(report.totals.sent, 400);
    let Some(DisturbanceReport::Slow(slow)) = &report.disturbance else { panic!("{report:#?}") };
    // Of 4 pairs the first and the third: one on each generator.
    assert_eq!(slow.stalling_users, 2, "{slow:#?}");
    assert!(slow.stalls >= 2 && slow.closes.is_empty(), "{slow:#?}");
    let (stalling, others) = (slow.disturbed.deliver, slow.undisturbed.deliver);
    assert_eq!(stalling.count + others.count, report.latency.deliver.count, "{report:#?}");
    // However fast or slow all is: some message has waited for a stall to end.
    assert!(others.count > 0 && stalling.max_us > 20_000.0, "{slow:#?}");
}

#[test]
fn users_come_and_go_on_both_generators_and_find_everything() {
    let party = Party::start(2);
    let mut scenario = scenario(&party);
    let (stay_s, away_s) = (Duration::from_millis(100).into(), Duration::from_millis(50).into());
    scenario.disturbance = Some(Disturbance::Churn(Churn { stay_s, away_s, ..Churn::default() }));
    let report = run(&scenario).unwrap();
    assert_whole(&report, 2);
    let Some(DisturbanceReport::Churn(churn)) = &report.disturbance else { panic!("{report:#?}") };
    assert_eq!(report.totals.sent + churn.unwritten, 400, "{report:#?}");
    // Everybody who left has come back, at the latest when the run was over.
    let opened = report.generators.iter().map(|part| part.totals.connections_opened);
    assert!(opened.clone().all(|opened| opened > 4), "{report:#?}");
    assert_eq!(opened.sum::<u64>(), 8 + churn.departures, "{report:#?}");
    let (present, absent) = (churn.present.deliver, churn.deliver_to_absent);
    assert_eq!(present.count + absent.count, report.latency.deliver.count, "{report:#?}");
}

/// 2 rounds among 20 users.
fn storm(party: &Party, model: &Model, established_share: f64) -> (ChatReport, StormReport) {
    let mut scenario = scenario(party);
    scenario.target = target(model.address);
    scenario.users = 20;
    let calm_s = Duration::from_millis(100).into();
    let storm = Storm { rounds: 2, established_share, calm_s, ..Storm::default() };
    scenario.disturbance = Some(Disturbance::Storm(storm));
    let report = run(&scenario).unwrap();
    let Some(DisturbanceReport::Storm(storm)) = report.disturbance.clone() else {
        panic!("{report:#?}");
    };
    (report, storm)
}

#[test]
fn a_storm_breaks_over_both_generators_and_everybody_comes_back() {
    let party = Party::start(2);
    let model = Model::start(Sabotage::Nothing);
    let (report, storm) = storm(&party, &model, 0.1);
    assert_whole(&report, 2);
    assert_eq!((storm.established, storm.rounds.len()), (2, 2), "{storm:#?}");
    for round in &storm.rounds {
        assert_eq!((round.dropped, round.returned, round.arrive.count), (18, 18, 18), "{round:#?}");
        assert!(round.back_100_s.is_some(), "{round:#?}");
    }
    // Those who are spared are users of the first one, on a thread of their own beside two others.
    let opened: Vec<_> =
        report.generators.iter().map(|part| part.totals.connections_opened).collect();
    assert_eq!(opened, [10 + 2 * 8, 10 + 2 * 10], "{report:#?}");
    let threads: Vec<_> = report.generators.iter().map(|part| part.generator.threads).collect();
    assert_eq!(threads, [3, 2], "{report:#?}");
    let established = storm
        .rounds
        .iter()
        .map(|round| round.established.deliver.count + round.established_calm.deliver.count);
    assert!(established.sum::<u64>() > 0, "{storm:#?}");
    assert_eq!(model.resumed(), 2 * 18);
    assert_eq!(report.totals.connections_lost, 0, "{report:#?}");
}

#[test]
fn those_whom_a_storm_spares_are_on_one_generator_however_many_they_are() {
    let party = Party::start(2);
    let model = Model::start(Sabotage::Nothing);
    let (report, storm) = storm(&party, &model, 0.7);
    assert_whole(&report, 2);
    assert_eq!(storm.established, 14, "{storm:#?}");
    assert!(storm.rounds.iter().all(|round| round.returned == 6), "{storm:#?}");
    let users: Vec<_> = report.generators.iter().map(|part| part.generator.users).collect();
    assert_eq!(users, [14, 6], "{report:#?}");
    let opened: Vec<_> =
        report.generators.iter().map(|part| part.totals.connections_opened).collect();
    assert_eq!(opened, [14, 6 + 2 * 6], "{report:#?}");
}

#[test]
fn somebody_who_does_not_come_back_to_a_generator_is_a_failure() {
    let party = Party::start(2);
    let mut scenario = scenario(&party);
    scenario.target = target(Model::start(Sabotage::ShutOut).address);
    scenario.users = 20;
    // One of them is let in once and never again, and is waited for in vain.
    let wait = Duration::from_secs(1);
    (scenario.drain_timeout, scenario.read_timeout) = (wait, wait);
    let (return_timeout_s, calm_s) = (Duration::from_secs(3).into(), wait.into());
    let storm = Storm { established_share: 0.0, return_timeout_s, calm_s, ..Storm::default() };
    scenario.disturbance = Some(Disturbance::Storm(storm));
    let report = run(&scenario).unwrap();
    assert_eq!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert!(report.reasons.iter().any(|reason| reason.starts_with("storm 1: ")), "{report:#?}");
    let Some(DisturbanceReport::Storm(storm)) = &report.disturbance else { panic!("{report:#?}") };
    let [round] = &storm.rounds[..] else { panic!("{storm:#?}") };
    assert!(round.returned < round.dropped && round.attempts_repeated > 0, "{round:#?}");
}

#[test]
fn what_a_generator_finds_fails_the_run() {
    let party = Party::start(2);
    let mut scenario = scenario(&party);
    scenario.target = target(Model::start(Sabotage::LoseStored).address);
    let report = run(&scenario).unwrap();
    assert_eq!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert!(report.faults.counts.contains_key("lost"), "{report:#?}");
    assert!(report.faults.examples.iter().any(|words| words.starts_with("lost: ")), "{report:#?}");
}

#[test]
fn fans_are_shared_and_none_is_divided() {
    let party = Party::start(2);
    let mut scenario = FanoutScenario::new(target(Model::start(Sabotage::Nothing).address));
    (scenario.senders, scenario.conversations, scenario.devices) = (5, 2, 3);
    scenario.load = Load::Open { messages_per_second: Rate::constant(800.0) };
    scenario.warm_up = Duration::from_millis(100);
    scenario.duration = Duration::from_millis(400);
    scenario.drain_timeout = DEADLINE;
    scenario.generators = Some(party.generators());
    let report = fanout::run(&scenario, &mut |_, _| {}).unwrap();
    assert_ne!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert!(report.faults.counts.is_empty(), "{report:#?}");
    let totals = report.totals;
    assert_eq!((totals.sent, totals.acknowledged, totals.delivered), (400, 400, 1200));
    assert_eq!((totals.entries_read, totals.connections_opened), (800, 35));
    // 2 and 3 fans of 7 connections each, which take their turns evenly.
    let part = |of: fn(&FanoutGeneratorReport) -> u64| report.generators.iter().map(of);
    assert_eq!(part(|part| part.generator.users.into()).collect::<Vec<_>>(), [14, 21]);
    assert_eq!(part(|part| part.totals.sent).collect::<Vec<_>>(), [160, 240]);
    let lateness: u64 = part(|part| part.lateness.count).sum();
    assert_eq!(lateness, report.latency.lateness.count);
    let points = &report.series.points;
    let told = points.iter().map(|point| point.rates["delivered"] * point.interval_s);
    assert_eq!(told.sum::<f64>().round(), 1200.0, "{points:#?}");

    scenario.target = target(Model::start(Sabotage::LoseStored).address);
    let report = fanout::run(&scenario, &mut |_, _| {}).unwrap();
    assert_eq!(report.verdict, Verdict::ProductFailure, "{report:#?}");
    assert!(report.faults.counts.contains_key("lost"), "{report:#?}");
}

#[test]
fn idle_connections_are_shared_too() {
    let party = Party::start(2);
    let mut scenario = IdleScenario::new(target(Model::start(Sabotage::Nothing).address), 41);
    scenario.hold = Duration::from_millis(300);
    scenario.heartbeat_interval = Some(Duration::from_millis(20));
    scenario.generators = Some(party.generators());
    let report = idle::run(&scenario, &mut |_, _| {}).unwrap();
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
    assert_eq!((report.arrived, report.arrive.count), (41, 41));
    let arrived: Vec<_> = report.generators.iter().map(|part| part.arrived).collect();
    assert_eq!(arrived, [20, 21]);
    let heartbeats: u64 = report.generators.iter().map(|part| part.heartbeats).sum();
    assert_eq!(heartbeats, report.heartbeats);
    let arrivals = report.series.points.iter().filter_map(|point| point.latency.get("arrive"));
    assert_eq!(arrivals.map(|latency| latency.count).sum::<u64>(), 41, "{:#?}", report.series);
}

#[test]
fn a_generator_that_dies_fails_the_harness_and_frees_the_others() {
    let mut party = Party::start(2);
    let mut coordinator = party.coordinate(Model::start(Sabotage::Nothing).address);
    party.processes.remove(0).kill();
    party.addresses.remove(0);
    assert_eq!(coordinator.wait().code(), Some(3));
    assert_works(&party);
}

#[test]
fn a_generator_survives_its_coordinator() {
    let party = Party::start(1);
    let mut coordinator = party.coordinate(Model::start(Sabotage::Nothing).address);
    coordinator.kill();
    assert_works(&party);
}

#[test]
fn another_secret_is_refused_and_so_is_a_second_coordinator() {
    let party = Party::start(1);
    let mut other = scenario(&party);
    let secret_file = party.folder.path().join("other");
    std::fs::write(&secret_file, "the secret of another test").unwrap();
    other.generators = Some(Generators { secret_file, ..party.generators() });
    let refusal = |scenario: &ChatScenario| match run(scenario) {
        Err(LoadtestError::Generator { source: LinkError::Refused(refusal), .. }) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(&other), Refusal::OtherSecret);
    let _first = party.coordinate(Model::start(Sabotage::Nothing).address);
    assert_eq!(refusal(&scenario(&party)), Refusal::Busy);
}

#[test]
fn strangers_on_the_port_do_no_harm() {
    let party = Party::start(1);
    let mut strangers = Vec::new();
    let greetings: [&[u8]; 6] = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        &[0, 0, 0, 2, b'{', b'}'],
        &[0, 0, 4, 0, 1, 2],
        b"\0\0\0\x24{\"dunlin_loadtest\":7,\"nonce\":\"AAAA\"}",
    ];
    for greeting in greetings {
        let mut stranger = TcpStream::connect(&party.addresses[0]).unwrap();
        stranger.write_all(greeting).unwrap();
        strangers.push(stranger); // Stays, and says nothing more.
    }
    assert_works(&party);
}

#[test]
fn who_is_no_generator_is_named_with_the_reason() {
    let mut party = Party::start(1);
    // Bound and dropped: nobody listens on this port now.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    party.addresses.push(nobody.clone());
    let error = run(&scenario(&party)).unwrap_err();
    assert!(error.to_string().starts_with(&format!("generator {nobody}: it can't be")), "{error}");
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    party.addresses[1] = stranger.local_addr().unwrap().to_string();
    let closes = thread::spawn(move || drop(stranger.accept().unwrap()));
    let error = run(&scenario(&party)).unwrap_err();
    assert!(matches!(error, LoadtestError::Generator { .. }), "{error}");
    closes.join().unwrap();
    party.addresses.truncate(1);
    assert_works(&party);
    party.addresses = vec![party.addresses[0].clone(); 5];
    assert!(matches!(run(&scenario(&party)), Err(LoadtestError::Scenario { .. })));
}
