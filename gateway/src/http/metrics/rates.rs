//! Budgets of rates: who asks too much.

use std::collections::BTreeMap;

use dunlin_core::rates::Kind;
use dunlin_http::metrics::Metrics;

pub(super) fn add(metrics: &mut Metrics, overdrawn: &BTreeMap<String, u64>) {
    let mut counter = metrics.counter(
        "dunlin_overdrawn",
        None,
        "How often there was no more of a budget of rates, by what it is a budget of",
    );
    for budget in Kind::ALL.map(Kind::name) {
        let count = overdrawn.get(budget).copied().unwrap_or(0);
        counter = counter.labelled([("budget", budget)], count);
    }
}
