//! Every query of every dashboard returns data while a server has something to do, and every alert fires: by
//! `promtool` with made-up numbers, and some of them live, by what they are for. With a real Prometheus, see
//! `support::prometheus`.
#![cfg(feature = "http")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use dunlin_protocol::wire::{ErrorCode, frame::Body};
use rustix::process::{Resource, Signal};
use serde_json::Value;
use support::messages::{history, login, message, password, typing};
use support::process::Process;
use support::prometheus::{Programs, Prometheus};
use support::{Client, eventually, tls};

const METRICS: &str = include_str!("../../docs/metrics.md");

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy")
}

fn read(path: &str) -> String {
    let path = deploy().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The dashboards by their file names.
fn dashboards() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(deploy().join("grafana")).unwrap();
    let mut dashboards: Vec<_> = files
        .map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            let json = serde_json::from_str(&read(&format!("grafana/{name}"))).expect(&name);
            (name, json)
        })
        .filter(|(name, _)| name.ends_with(".json"))
        .collect();
    dashboards.sort_by(|(one, _), (other, _)| one.cmp(other));
    dashboards
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

/// The queries of a dashboard, each with the title of its panel, as Grafana would ask them of all servers.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let of_panel = |panel: &Value| -> Vec<(String, String)> {
        let title = panel["title"].as_str().unwrap().to_owned();
        let query = |target: &Value| {
            let query = target["expr"].as_str().unwrap();
            // So that it has two points as soon as there are two scrapes.
            query.replace("$instance", ".*").replace("$__rate_interval", "20s")
        };
        list(&panel["targets"]).iter().map(|target| (title.clone(), query(target))).collect()
    };
    list(&dashboard["panels"]).iter().flat_map(of_panel).collect()
}

/// The names of our measures in a query.
fn names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|at: char| !at.is_ascii_alphanumeric() && at != '_');
    words.filter(|word| word.starts_with("dunlin_") || word.starts_with("process_")).collect()
}

/// Without what a kind of measure puts behind its name.
fn is_documented(name: &str) -> bool {
    let has = |name: &str| METRICS.contains(&format!("| `{name}` |"));
    let ends = ["_total", "_bucket", "_sum", "_count"];
    has(name) || ends.iter().any(|end| name.strip_suffix(end).is_some_and(has))
}

#[test]
fn dashboards_are_whole() {
    let dashboards = dashboards();
    let files: Vec<&str> = dashboards.iter().map(|(name, _)| &name[..]).collect();
    let expected =
        ["connections.json", "hostile.json", "latency.json", "overview.json", "store.json"];
    assert_eq!(files, expected);
    let mut known = BTreeSet::new();
    for (file, dashboard) in &dashboards {
        assert!(known.insert(dashboard["uid"].to_string()), "{file}: another one has its uid");
        for panel in list(&dashboard["panels"]) {
            let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
            assert!(text(&panel["title"]) && text(&panel["description"]), "{file}: {panel}");
            assert!(text(&panel["fieldConfig"]["defaults"]["unit"]), "{file}: {panel}");
            assert!(!list(&panel["targets"]).is_empty(), "{file}: {panel}");
        }
        for (title, query) in queries(dashboard) {
            let names = names(&query);
            assert!(!names.is_empty(), "{file}, {title}: {query}");
            for name in names {
                assert!(is_documented(name), "{file}, {title}: {name} is not in docs/metrics.md");
            }
            // A variable that nobody has replaced.
            assert!(!query.contains("$__") && !query.contains("$instance"), "{query}");
        }
    }
}

/// Values behind a key, of a file whose lines we write ourselves.
fn values<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    let lines = yaml.lines().map(|line| line.trim_start().trim_start_matches("- "));
    lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).collect()
}

#[test]
fn alerts_are_about_what_there_is_and_each_has_a_test() {
    let (alerts, tests) = (read("prometheus/alerts.yml"), read("prometheus/alerts_test.yml"));
    let names_of_alerts = values(&alerts, "alert");
    assert!(names_of_alerts.len() >= 20, "{names_of_alerts:?}");
    let unique: BTreeSet<_> = names_of_alerts.iter().collect();
    assert_eq!(unique.len(), names_of_alerts.len(), "{names_of_alerts:?}");
    for query in values(&alerts, "expr") {
        for name in names(query) {
            assert!(is_documented(name), "{name} is not in docs/metrics.md: {query}");
        }
    }
    for alert in names_of_alerts {
        for way in ["fires", "is silent"] {
            assert!(tests.contains(&format!("- name: {alert} {way}\n")), "{alert} {way}: no test");
        }
    }
}

#[test]
fn promtool_is_content() {
    let Some(programs) = Programs::find() else { return };
    let folder = deploy().join("prometheus");
    let said = programs.promtool(&folder, &["check", "config", "prometheus.yml"]);
    assert!(said.contains("SUCCESS") && said.contains("rules found"), "{said}");
    let said = programs.promtool(&folder, &["test", "rules", "alerts_test.yml"]);
    assert!(said.contains("SUCCESS"), "{said}");
}

/// A server that lets one user be as busy as a crowd.
const UNHURRIED: &str = "[rates]\n\
    messages_per_s = 1_000_000\nmessages_burst = 1_000_000\n\
    requests_per_s = 1_000_000\nrequests_burst = 1_000_000\n\
    signals_per_s = 1_000_000\nsignals_burst = 1_000_000\n\
    connects_per_s = 1_000_000\nconnects_burst = 1_000_000\n";

fn user(server: &Process, name: &str) -> Client {
    let mut client = Client::plain(server.tcp);
    client.log_in(name);
    client.sync();
    client
}

/// Something of everything, until it is enough.
fn keep_busy(server: &Process, is_enough: &AtomicBool) {
    let (mut ada, bob) = (user(server, "ada"), user(server, "bob"));
    let conversation = ada.with(&bob);
    let config = tls::both_versions(&server.certificate());
    for number in 0.. {
        if is_enough.load(Ordering::Relaxed) {
            return;
        }
        let sent = ada.request(message(conversation, &number.to_string(), "a message"));
        assert!(matches!(sent, Body::Sent(_)), "{sent:?}");
        ada.request(typing(conversation));
        ada.request(history(conversation, 1));
        let mut guest = tls::connect_to(server.tls, &config);
        guest.log_in("eve");
        guest.sync();
    }
}

#[test]
fn every_query_of_every_dashboard_returns_data() {
    let Some(programs) = Programs::find() else { return };
    let server = Process::start(UNHURRIED);
    let folder = tempfile::tempdir().unwrap();
    let rules = read("prometheus/alerts.yml");
    let prometheus = Prometheus::start(&programs, folder.path(), server.http, &rules);
    let is_enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // However it ends: a scope waits for its threads.
        let enough = enough_when_dropped(&is_enough);
        scope.spawn(|| keep_busy(&server, &is_enough));
        for (file, dashboard) in dashboards() {
            for (title, query) in queries(&dashboard) {
                let has_data = || {
                    let values = prometheus.query(&query);
                    !values.is_empty() && values.iter().all(|value| value.is_finite())
                };
                eventually(&format!("{file}, {title}: {query}"), has_data);
            }
        }
        assert_eq!(prometheus.firing(), [""; 0], "nothing is wrong");
        drop(enough);
    });
}

/// Says that it is enough when it is dropped, after a panic too.
fn enough_when_dropped(is_enough: &AtomicBool) -> impl Drop + '_ {
    struct Enough<'a>(&'a AtomicBool);
    impl Drop for Enough<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    Enough(is_enough)
}

#[test]
fn what_goes_wrong_is_told_by_the_alert_that_is_for_it() {
    let Some(programs) = Programs::find() else { return };
    let mut server = Process::start(
        "[limits]\nfailed_logins_per_address_max = 10_000\n[passwords]\nmemory_kib = 8\n",
    );
    let folder = tempfile::tempdir().unwrap();
    // At once, instead of after minutes, and over seconds.
    let rules = read("prometheus/alerts.yml");
    let waits: BTreeSet<&str> = values(&rules, "for").into_iter().collect();
    let rules = waits
        .iter()
        .fold(rules.clone(), |rules, wait| rules.replace(&format!("for: {wait}\n"), "for: 0s\n"));
    let rules = rules.replace("[5m]", "[20s]");
    let prometheus = Prometheus::start(&programs, folder.path(), server.http, &rules);
    let fires = |alert: &str| {
        eventually(alert, || prometheus.firing().iter().any(|firing| firing == alert));
    };
    let mut ada = user(&server, "ada");
    let conversation = ada.with(&ada);
    eventually("it is seen", || prometheus.query("up") == [1.0]);

    for attempt in 0..1000 {
        let mut guesser = Client::plain(server.tcp);
        guesser.greet();
        let guess = password(&format!("somebody{attempt}"), "a guess");
        assert_eq!(guesser.refused_with(login(guess, "device")), ErrorCode::WrongCredentials);
        if prometheus.firing().iter().any(|firing| firing == "DunlinPasswordsGuessed") {
            break;
        }
    }
    fires("DunlinPasswordsGuessed");

    server.limit(Resource::Fsize, 256 * 1024);
    let text = "x".repeat(50 * 1024);
    let refused = (0..100).find_map(|number| {
        match ada.request(message(conversation, &number.to_string(), text.clone())) {
            Body::Error(error) => Some(error.code()),
            _ => None,
        }
    });
    assert_eq!(refused, Some(ErrorCode::StoreUnavailable));
    fires("DunlinStoreFailing");

    server.signal(Signal::KILL);
    server.wait();
    fires("DunlinDown");
}
