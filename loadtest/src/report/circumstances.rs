//! Under which circumstances a report came about: when, by which program, on which machine. Two
//! reports can be compared only by who knows that.

use std::thread;

use jiff::{Timestamp, Unit};
use serde::Serialize;

/// All of them.
#[derive(Debug, Clone, Serialize)]
pub struct Circumstances {
    /// When the run began, in UTC.
    pub started_at: String,
    /// When it was over.
    pub ended_at: String,
    /// Of this program.
    pub version: &'static str,
    /// What it was built from; null in builds for debugging, whose figures are good for nothing.
    pub commit: Option<&'static str>,
    /// The machine that it ran on.
    pub host: Host,
    /// How it was called, without its secrets.
    pub command: String,
    /// It was told to end before its time.
    pub interrupted: bool,
}

/// A machine, as far as figures depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Name and release.
    pub kernel: String,
    /// Its model, where the kernel knows it.
    pub processor: Option<String>,
    /// Those that this process may use.
    pub processors: usize,
    /// All of its memory.
    pub memory_bytes: Option<u64>,
}

impl Circumstances {
    /// At the beginning of a run; the end is to follow.
    pub fn begin(command: String) -> Circumstances {
        Circumstances {
            started_at: now(),
            ended_at: String::new(),
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("DUNLIN_COMMIT"),
            host: Host::this(),
            command,
            interrupted: false,
        }
    }

    /// At its end.
    pub fn end(&mut self, interrupted: bool) {
        (self.ended_at, self.interrupted) = (now(), interrupted);
    }
}

impl Host {
    /// This machine.
    pub fn this() -> Host {
        let uname = rustix::system::uname();
        let words = [uname.sysname(), uname.release()].map(|word| word.to_string_lossy());
        let read = |path| std::fs::read_to_string(path).ok();
        Host {
            kernel: words.join(" "),
            processor: read("/proc/cpuinfo").and_then(|text| model(&text)),
            processors: thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: read("/proc/meminfo").and_then(|text| memory_bytes(&text)),
        }
    }
}

fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}

fn model(processors: &str) -> Option<String> {
    let (_, model) = processors.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then_some((name, value))
    })?;
    Some(model.trim().to_owned())
}

fn memory_bytes(memory: &str) -> Option<u64> {
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_proc_are_understood() {
        let processors = "processor\t: 0\nmodel name\t: A Model @ 2.50GHz\n\nprocessor\t: 1\n";
        assert_eq!(model(processors).as_deref(), Some("A Model @ 2.50GHz"));
        assert_eq!(model("processor\t: 0\n"), None);
        assert_eq!(memory_bytes("MemTotal:       24684096 kB\n"), Some(24_684_096 * 1024));
    }

    #[test]
    fn a_run_knows_when_and_where_it_was() {
        let mut run = Circumstances::begin("dunlin-loadtest chat".to_owned());
        run.end(true);
        assert!(run.interrupted && run.started_at <= run.ended_at, "{run:?}");
        assert!(run.started_at.starts_with("20") && run.started_at.ends_with('Z'), "{run:?}");
        assert_eq!(run.started_at.len(), "2026-11-30T00:00:00Z".len());
        assert!(run.host.kernel.starts_with("Linux ") && run.host.processors > 0, "{run:?}");
    }
}
