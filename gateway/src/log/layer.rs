//! From an event to a line in the queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Shared;
use super::limit::Verdict;
use super::line::Line;
use super::queue::Room;

/// A kind of line that was left out and does not come again is reported after this time: late enough
/// that one which goes on tells of it by itself.
const REPORT_AFTER: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct LogLayer {
    shared: Arc<Shared>,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
}

impl LogLayer {
    pub(super) fn new(shared: Arc<Shared>) -> LogLayer {
        LogLayer { shared, clock: Box::new(Instant::now) }
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    /// Asked once for each place in the code, and again when the levels change: in between the place
    /// knows by itself whether it is enabled.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.shared.settings.read().levels.allow(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.shared.settings.read().levels.highest())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Shared { limits, queue, settings, counters } = &*self.shared;
        let (metadata, now) = (event.metadata(), (self.clock)());
        let mut kind = limits.kind(event);
        let (left_out, is_new) = match limits.take(&mut kind, metadata, now) {
            Verdict::Log { left_out, is_new } => (left_out, is_new),
            Verdict::LeaveOut { is_first } => {
                counters.left_out();
                if is_first {
                    queue.report_by(now + REPORT_AFTER);
                }
                return;
            }
        };
        let format = settings.read().format;
        let mut line = Line::new(format);
        event.record(&mut line);
        if is_new {
            limits.name(&kind, line.said());
        }
        if left_out > 0 {
            line.plain("left_out", left_out);
        }
        let room = if *metadata.level() <= Level::WARN { Room::Whole } else { Room::Shared };
        let line = line.finish(*metadata.level(), metadata.target());
        if !queue.push(line.as_bytes(), room) {
            counters.dropped();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use parking_lot::Mutex;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::log::line::Format;
    use crate::log::{Counters, Settings};

    /// A log without a writer, whose time a test sets.
    pub(in crate::log) struct Captured {
        shared: Arc<Shared>,
        now: Arc<Mutex<Instant>>,
    }

    impl std::ops::Deref for Captured {
        type Target = Shared;

        fn deref(&self) -> &Shared {
            &self.shared
        }
    }

    impl Captured {
        pub(in crate::log) fn at(&self, time: Instant) {
            *self.now.lock() = time;
        }

        pub(in crate::log) fn lines(&self) -> Vec<String> {
            self.queue.report_by(Instant::now());
            let mut bytes = Vec::new();
            self.queue.take(&mut bytes);
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
        }
    }

    /// The lines of what is logged at `info` meanwhile, by this thread.
    pub(in crate::log) fn capture(logs: impl FnOnce(&Captured)) -> Vec<String> {
        let settings = Settings { levels: "info".parse().unwrap(), format: Format::Json };
        let shared = Arc::new(Shared::new(settings));
        let now = Arc::new(Mutex::new(Instant::now()));
        let clock = Arc::clone(&now);
        let clock = Box::new(move || *clock.lock());
        let layer = LogLayer { shared: Arc::clone(&shared), clock };
        let captured = Captured { shared, now };
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || logs(&captured));
        captured.lines()
    }

    #[test]
    fn fields_are_values_and_levels_hold() {
        let lines = capture(|_| {
            let (shard, user) = (3_u16, Some(7_u64));
            tracing::info!(shard, user, secure = true, peer = %"192.0.2.1", "closed");
            tracing::debug!("not at this level");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["message"], "closed");
        assert_eq!((&line["shard"], &line["user"]), (&3.into(), &7.into()));
        assert_eq!((&line["secure"], &line["peer"]), (&true.into(), &"192.0.2.1".into()));
    }

    #[test]
    fn what_is_left_out_and_what_is_dropped_is_counted() {
        let mut counted = Counters::default();
        capture(|log| {
            (0..100).for_each(|_| tracing::info!("often"));
            while log.queue.push(&[b'x'; 16], Room::Whole) {}
            tracing::error!("no room");
            counted = log.counted();
        });
        let Counters { lines_left_out, lines_dropped, bytes_queued, .. } = counted;
        assert_eq!((lines_left_out, lines_dropped), (50, 1));
        assert!(bytes_queued > 0);
    }
}
