//! The report of a run has every second in it, and its JSON becomes a page.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the model is shared with tests that need more of it")]
mod model;

use std::time::Duration;

use dunlin_loadtest::chat::{self, ChatScenario, Load, Rate};
use dunlin_loadtest::fanout::{self, FanoutScenario};
use dunlin_loadtest::idle::{self, IdleScenario};
use dunlin_loadtest::report::{Second, Series, html};
use dunlin_loadtest::target::Target;
use model::{Model, Sabotage};
use serde::Serialize;

fn target() -> Target {
    Model::start(Sabotage::Nothing).target()
}

/// How often something happened by the rates of a series.
fn counted(series: &Series, name: &str) -> f64 {
    series.points.iter().map(|point| point.rates[name] * point.interval_s).sum()
}

fn measured(series: &Series, name: &str) -> u64 {
    series.points.iter().filter_map(|point| point.latency.get(name)).map(|of| of.count).sum()
}

/// The page that comes out of the JSON that was written, as a later `render` makes it.
fn page(report: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(report).unwrap();
    html::render(&serde_json::from_str(&json).unwrap())
}

/// Each tag is closed where it should be, and nothing is loaded from elsewhere.
fn assert_well_formed(page: &str) {
    let mut open = Vec::new();
    for tag in page.split('<').skip(2) {
        let (tag, _) = tag.split_once('>').expect("a tag has an end");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "{page}"),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split(' ').next().unwrap()),
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "{page}");
    for foreign in ["<script", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn a_chat_run_has_every_message_in_its_series_and_a_page_with_plots() {
    let mut scenario = ChatScenario::new(target());
    scenario.users = 8;
    scenario.threads = 2;
    scenario.load = Load::Open { messages_per_second: Rate::constant(400.0) };
    scenario.warm_up = Duration::from_millis(100);
    scenario.duration = Duration::from_millis(1400);
    scenario.drain_timeout = Duration::from_secs(60);
    let report = chat::run(&scenario, &mut |_, _| {}).unwrap();

    let series = &report.series;
    assert_eq!(counted(series, "delivered").round() as u64, report.totals.delivered);
    // The warm-up is in the series, and not in the figures.
    assert_eq!(measured(series, "acknowledge"), report.totals.acknowledged);
    assert!(report.latency.acknowledge.count < report.totals.acknowledged);
    assert!(series.points.iter().any(|point| point.connections == 8), "{series:?}");
    assert!(series.points.iter().all(|point| point.server.is_some() && point.kernel.is_some()));
    let buckets = &report.distributions["acknowledge"].buckets;
    let in_buckets: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    assert_eq!(in_buckets, report.latency.acknowledge.count);

    let page = page(&report);
    assert_well_formed(&page);
    for words in
        ["Load test: chat", "Latency", "Percentiles", "Memory of the server", "acknowledge"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(page.matches("<svg").count() >= 8, "{page}");
}

#[test]
fn an_idle_run_has_every_arrival_in_its_series_and_a_page_with_plots() {
    let mut scenario = IdleScenario::new(target(), 40);
    scenario.hold = Duration::from_millis(1200);
    scenario.heartbeat_interval = Some(Duration::from_millis(50));
    let report = idle::run(&scenario, &mut |_, _| {}).unwrap();
    let series = &report.series;
    assert_eq!(counted(series, "arrived").round() as u32, report.arrived);
    assert_eq!(counted(series, "heartbeats").round() as u64, report.heartbeats);
    assert_eq!(measured(series, "arrive"), u64::from(report.arrived));
    let page = page(&report);
    assert_well_formed(&page);
    for words in ["Load test: idle", "arrive p99", "heartbeats", "Memory of the kernel"] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[test]
fn a_fan_out_run_has_every_delivery_in_its_series_and_a_page_with_plots() {
    let mut scenario = FanoutScenario::new(target());
    (scenario.senders, scenario.devices, scenario.threads) = (2, 3, 2);
    scenario.load = Load::Open { messages_per_second: Rate::constant(200.0) };
    scenario.warm_up = Duration::from_millis(100);
    scenario.duration = Duration::from_millis(1400);
    scenario.drain_timeout = Duration::from_secs(60);
    let mut seconds = 0;
    let on_second = &mut |second: &Second<'_>| {
        seconds += 1;
        assert!(second.point.connections <= 8, "{second:?}");
    };
    let report = fanout::run_watched(&scenario, &mut |_, _| {}, on_second).unwrap();

    let series = &report.series;
    assert_eq!((report.totals.sent, report.totals.delivered), (300, 900));
    assert_eq!(counted(series, "delivered").round() as u64, report.totals.delivered);
    assert_eq!(measured(series, "deliver"), report.totals.delivered);
    assert_eq!(measured(series, "acknowledge"), report.totals.acknowledged);
    assert!(series.points.iter().any(|point| point.connections == 8), "{series:?}");
    assert!(seconds >= series.points.len() && seconds > 0, "{seconds}: {series:?}");

    let page = page(&report);
    assert_well_formed(&page);
    for words in ["Load test: fanout", "Latency", "Memory of the server", "deliver p99"] {
        assert!(page.contains(words), "{words}: {page}");
    }
}
