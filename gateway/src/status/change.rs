//! What happened between two snapshots of one server.

use serde::Serialize;

use super::report::{Moments, Status};

/// Rates and moments. Without an earlier snapshot they are those since the start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Change {
    /// How long it took.
    pub(crate) over_ms: u64,
    pub(crate) accepted_per_s: f64,
    pub(crate) requests_per_s: f64,
    pub(crate) appends_per_s: f64,
    pub(crate) pushes_per_s: f64,
    pub(crate) signals_per_s: f64,
    pub(crate) errors_per_s: f64,
    pub(crate) frames_in_per_s: f64,
    pub(crate) bytes_in_per_s: f64,
    pub(crate) frames_out_per_s: f64,
    pub(crate) bytes_out_per_s: f64,
    pub(crate) fsyncs_per_s: f64,
    pub(crate) shard_tick_us: Moments,
    pub(crate) worker_tick_us: Moments,
    pub(crate) store_round_us: Moments,
    pub(crate) batch_entries: Moments,
    pub(crate) outbox_flush_bytes: Moments,
    pub(crate) fsync_us: Option<Moments>,
}

impl Change {
    /// From `before` to `after`, if both are of one process; since its start otherwise.
    pub(crate) fn between(before: Option<&Status>, after: &Status) -> Change {
        // In a container each server has the same number.
        let is_same =
            |before: &&Status| before.pid == after.pid && before.uptime_ms <= after.uptime_ms;
        let before = before.filter(is_same);
        let over_ms = after.uptime_ms - before.map_or(0, |before| before.uptime_ms);
        let number = |of: &dyn Fn(&Status) -> u64| {
            let more = of(after).saturating_sub(before.map_or(0, of));
            // Numbers of a moment ago, over less than a millisecond, are no rate.
            more as f64 * 1000.0 / over_ms.max(1) as f64
        };
        let moments = |of: &dyn Fn(&Status) -> &Moments| match before {
            Some(before) => of(after).since(of(before)),
            None => of(after).clone(),
        };
        let fsyncs = |status: &Status| status.store.as_ref().map_or(0, |store| store.fsyncs);
        let fsync_us = after.store.as_ref().map(|store| {
            let earlier = before.and_then(|before| before.store.as_ref());
            earlier.map_or_else(|| store.fsync_us.clone(), |of| store.fsync_us.since(&of.fsync_us))
        });
        Change {
            over_ms,
            accepted_per_s: number(&|status| status.connections.accepted),
            requests_per_s: number(&|status| status.engine.requests),
            appends_per_s: number(&|status| status.engine.appends),
            pushes_per_s: number(&|status| status.engine.pushes),
            signals_per_s: number(&|status| status.engine.signals),
            errors_per_s: number(&|status| status.engine.errors.values().sum()),
            frames_in_per_s: number(&|status| status.traffic.frames_in),
            bytes_in_per_s: number(&|status| status.traffic.bytes_in),
            frames_out_per_s: number(&|status| status.traffic.frames_out),
            bytes_out_per_s: number(&|status| status.traffic.bytes_out),
            fsyncs_per_s: number(&fsyncs),
            shard_tick_us: moments(&|status| &status.traffic.tick_us),
            worker_tick_us: moments(&|status| &status.engine.tick_us),
            store_round_us: moments(&|status| &status.engine.store_round_us),
            batch_entries: moments(&|status| &status.engine.batch_entries),
            outbox_flush_bytes: moments(&|status| &status.traffic.outbox_flush_bytes),
            fsync_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Connections;
    use super::*;

    #[test]
    fn a_server_that_began_between_two_looks_is_another_one() {
        let status = |uptime_ms, accepted| {
            let connections = Connections { accepted, ..Connections::default() };
            Status { pid: 1, uptime_ms, connections, ..Status::default() }
        };
        let change = Change::between(Some(&status(60_000, 5)), &status(500, 10));
        assert_eq!((change.over_ms, change.accepted_per_s), (500, 20.0));
        let change = Change::between(Some(&status(60_000, 5)), &status(60_500, 10));
        assert_eq!((change.over_ms, change.accepted_per_s), (500, 10.0));
    }
}
