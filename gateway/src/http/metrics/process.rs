//! Version, memory, processor, log.

use dunlin_http::metrics::{Metrics, Unit};

use crate::status::Status;
use crate::status::report::{Log, Process};

pub(super) fn add(metrics: &mut Metrics, status: &Status) {
    let Status { server, commit, started_ms, shards, engine, process, log, .. } = status;
    let version = server.rsplit_once('/').map_or(&server[..], |(_, version)| version);
    metrics
        .gauge("dunlin_build_info", None, "1, with what the server was built from")
        .labelled([("version", version.to_owned()), ("commit", commit.clone())], 1.0);
    metrics
        .gauge("process_start_time", Some(Unit::Seconds), "When the server began, as Unix time")
        .value(*started_ms as f64 / 1000.0);
    metrics.gauge("dunlin_shards", None, "I/O threads").number(*shards);
    metrics.gauge("dunlin_workers", None, "Workers").number(engine.workers);
    add_process(metrics, process);
    add_log(metrics, log);
}

fn add_process(metrics: &mut Metrics, process: &Process) {
    let Process { cpu_us, resident_bytes, anonymous_bytes, threads } = *process;
    metrics
        .counter("process_cpu", Some(Unit::Seconds), "Time of processors, all threads together")
        .amount(cpu_us as f64 / 1e6);
    if let Some(resident) = resident_bytes {
        metrics
            .gauge("process_resident_memory", Some(Unit::Bytes), "Memory that is resident")
            .number(resident);
    }
    if let Some(anonymous) = anonymous_bytes {
        metrics
            .gauge(
                "process_anonymous_memory",
                Some(Unit::Bytes),
                "Memory that is resident and belongs to no file",
            )
            .number(anonymous);
    }
    if let Some(threads) = threads {
        metrics.gauge("process_threads", None, "Threads").number(threads);
    }
}

fn add_log(metrics: &mut Metrics, log: &Log) {
    let Log { lines_written, lines_dropped, lines_left_out, lines_failed, .. } = *log;
    metrics
        .counter("dunlin_log_lines", None, "Lines of the log by what became of them")
        .labelled([("outcome", "written")], lines_written)
        .labelled([("outcome", "left_out")], lines_left_out)
        .labelled([("outcome", "dropped")], lines_dropped)
        .labelled([("outcome", "failed")], lines_failed);
}
