//! The thread that writes. It is the only one that may wait for standard error, for as long as that
//! takes: for ever, where nobody reads.

use std::io;
use std::sync::Arc;

use tracing::Level;

use super::Shared;
use super::line::Line;
use super::outlet::{Outlet, chunks};

/// The target of lines about the log itself.
pub(super) const TARGET: &str = "dunlin_gateway::log";

/// See the module.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    shared: Arc<Shared>,
    outlet: Outlet<'a>,
    /// Lines that could not be written, which no line has told of yet, and why.
    failed: u64,
    error: Option<io::Error>,
}

impl Writer<'_> {
    pub(super) fn new(shared: Arc<Shared>, outlet: Outlet<'_>) -> Writer<'_> {
        Writer { shared, outlet, failed: 0, error: None }
    }

    pub(super) fn run(mut self) {
        let mut lines = Vec::new();
        loop {
            let work = self.shared.queue.take(&mut lines);
            chunks(&lines).for_each(|chunk| self.write(chunk));
            lines.clear();
            if work.dropped > 0 {
                self.tell_of_dropped(work.dropped);
            }
            if work.report {
                self.tell_of_left_out();
            }
        }
    }

    /// Writes whole lines; or counts them, and is done with them.
    fn write(&mut self, lines: &[u8]) {
        if self.failed > 0 {
            self.tell_of_failed();
        }
        let count = count_lines(lines);
        match self.outlet.write(lines) {
            Ok(()) => self.shared.counters.written(count),
            Err(error) => {
                self.failed += count;
                self.error = Some(error);
                self.shared.counters.failed(count);
            }
        }
    }

    /// If this fails too, the next line tries again.
    fn tell_of_failed(&mut self) {
        let mut line = self.line("lines could not be written");
        line.plain("left_out", self.failed);
        if let Some(error) = &self.error {
            line.text("error", &error.to_string());
        }
        let line = line.finish(Level::WARN, TARGET);
        match self.outlet.write(line.as_bytes()) {
            Ok(()) => {
                self.shared.counters.written(1);
                (self.failed, self.error) = (0, None);
            }
            Err(error) => self.error = Some(error),
        }
    }

    fn tell_of_dropped(&mut self, count: u64) {
        let mut line = self.line("lines were not taken in time");
        line.plain("left_out", count);
        self.write(line.finish(Level::WARN, TARGET).as_bytes());
    }

    fn tell_of_left_out(&mut self) {
        for left_out in self.shared.limits.take_left_out() {
            let mut line = self.line("lines of one kind were left out");
            line.text("of", &left_out.of);
            line.plain("left_out", left_out.count);
            let line = line.finish(*left_out.metadata.level(), left_out.metadata.target());
            self.write(line.as_bytes());
        }
    }

    fn line(&self, message: &str) -> Line {
        let mut line = Line::new(self.shared.settings.read().format);
        line.message(message);
        line
    }
}

fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::os::fd::{AsFd, OwnedFd};

    use super::*;
    use crate::log::line::Format;
    use crate::log::queue::{QUEUE_BYTES_MAX, Room};
    use crate::log::{Counters, Settings};

    /// Runs for as long as the process: nothing ends a writer.
    fn writer_to(descriptor: OwnedFd) -> Arc<Shared> {
        let settings = Settings { levels: "info".parse().unwrap(), format: Format::Json };
        let shared = Arc::new(Shared::new(settings));
        let of_writer = Arc::clone(&shared);
        std::thread::spawn(move || Writer::new(of_writer, Outlet::new(descriptor.as_fd())).run());
        shared
    }

    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

    #[test]
    fn a_line_says_how_many_found_nobody_who_took_them() {
        let (reader, writer) = io::pipe().unwrap();
        let shared = writer_to(writer.into());
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let pushed = 4 * QUEUE_BYTES_MAX / line.len();
        let dropped = (0..pushed).filter(|_| !shared.queue.push(&line, Room::Shared)).count();
        assert!(dropped > 0, "nobody reads");
        // It may have taken some between those that were dropped.
        let (mut told, mut tellings) = (0, 0);
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            if line.contains("not taken in time") {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                (told, tellings) = (told + line["left_out"].as_u64().unwrap(), tellings + 1);
            }
            if told >= dropped as u64 {
                break;
            }
        }
        assert_eq!(told, dropped as u64);
        assert!(shared.queue.wait_until_idle(PATIENCE));
        let Counters { lines_written, .. } = shared.counted();
        assert_eq!(lines_written, (pushed - dropped) as u64 + tellings);
    }

    #[test]
    fn what_fails_is_counted_and_told_when_it_works_again() {
        let (mut reader, writer) = io::pipe().unwrap();
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let settings = Settings { levels: "info".parse().unwrap(), format: Format::Json };
        let shared = Arc::new(Shared::new(settings));
        let mut log = Writer::new(Arc::clone(&shared), Outlet::new(full.as_fd()));
        log.write(b"one\ntwo\n");
        log.write(b"three\n");
        // The disk has room again.
        log.outlet = Outlet::new(writer.as_fd());
        log.write(b"four\n");
        drop(log);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let (told, rest) = text.split_once('\n').unwrap();
        assert!(told.contains("lines could not be written\",\"left_out\":3,\"error\":"), "{told}");
        assert_eq!(rest, "four\n");
        let Counters { lines_written, lines_failed, writes_failed, .. } = shared.counted();
        assert_eq!((lines_written, lines_failed, writes_failed), (2, 3, 2));
    }
}
