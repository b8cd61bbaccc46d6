//! Where memory is, for people: what is counted in bytes with its bounds, and how many there are of what is not.

use std::io::{self, Write};

use super::memory::{Bounded, Counted};
use super::page::bytes;
use super::report::{Log, Status, Store};

/// Bytes of something, and at most.
struct Part {
    name: &'static str,
    bytes: u64,
    bytes_max: Option<u64>,
    /// It is in another part, too.
    counted_twice: bool,
}

impl Part {
    fn new(name: &'static str, bytes: u64, bytes_max: Option<u64>) -> Part {
        Part { name, bytes, bytes_max, counted_twice: false }
    }
}

pub(crate) fn write_memory_page(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    let parts = parts(status);
    writeln!(out, "{:22}  {:>10}  {:>10}", "BYTES", "NOW", "AT MOST")?;
    for Part { name, bytes: held, bytes_max, .. } in &parts {
        write_row(out, name, &bytes(*held), bytes_max.map(bytes))?;
    }
    let unknown = || "-".to_owned();
    let process = &status.process;
    let told = |number: Option<u64>| number.map_or_else(unknown, bytes);
    let rest = process.anonymous_bytes.map(|all| rest(all, &parts));
    write_row(out, "elsewhere, about", &told(rest), None)?;
    write_row(out, "process, of no file", &told(process.anonymous_bytes), None)?;
    write_row(out, "process, resident", &told(process.resident_bytes), None)?;
    writeln!(out, "\n{:22}  {:>10}  {:>10}", "NUMBER", "NOW", "AT MOST")?;
    counts(status).into_iter().try_for_each(|(name, count, count_max)| {
        write_row(out, name, &count.to_string(), count_max.map(|max| max.to_string()))
    })
}

fn parts(status: &Status) -> Vec<Part> {
    let bounded = |(name, Bounded { bytes, bytes_max })| Part {
        // The outboxes have them too, once they are encoded.
        counted_twice: name == "answers",
        ..Part::new(name, bytes, Some(bytes_max))
    };
    let mut parts: Vec<_> = status.memory.rows().into_iter().map(bounded).collect();
    if let Some(Store { filter_bytes, unfiled_index_bytes, .. }) = &status.store {
        parts.push(Part::new("filters of the index", *filter_bytes, None));
        parts.push(Part::new("index without a file", *unfiled_index_bytes, None));
    }
    let Log { queued_bytes, queued_bytes_max, .. } = status.log;
    parts.push(Part::new("lines of the log", queued_bytes, Some(queued_bytes_max)));
    parts
}

/// Sessions, conversations, connections, and what the allocator keeps. (Each part is looked at by itself, a moment after
/// the one before.)
fn rest(all: u64, parts: &[Part]) -> u64 {
    let counted = parts.iter().filter(|part| !part.counted_twice).map(|part| part.bytes);
    all.saturating_sub(counted.sum())
}

fn counts(status: &Status) -> [(&'static str, u64, Option<u64>); 7] {
    let (connections, engine, queues) = (&status.connections, &status.engine, &status.queues);
    let queue = |name, Counted { count, count_max }: Counted| (name, count, Some(count_max));
    [
        ("connections", connections.open, Some(connections.open_max)),
        ("sessions", engine.sessions, None),
        ("conversations", engine.conversations, None),
        queue("batches of requests", queues.commands),
        queue("mail of workers", queues.mail),
        queue("requests at the store", queues.store),
        queue("calls at the door", queues.calls),
    ]
}

fn write_row(
    out: &mut dyn Write,
    name: &str,
    now: &str,
    at_most: Option<String>,
) -> io::Result<()> {
    let at_most = at_most.unwrap_or_else(|| "-".to_owned());
    writeln!(out, "{name:22}  {now:>10}  {at_most:>10}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::memory::Memory;

    #[test]
    fn answers_are_taken_off_once() {
        let held = |bytes| Bounded { bytes, bytes_max: 1000 };
        let memory = Memory { answers: held(100), outboxes: held(300), ..Memory::default() };
        let status = Status { memory, ..Status::default() };
        assert_eq!(rest(1000, &parts(&status)), 700);
        assert_eq!(rest(10, &parts(&status)), 0);
    }

    #[test]
    fn what_is_unknown_is_a_dash() {
        let mut page = Vec::new();
        write_memory_page(&mut page, &Status::default()).unwrap();
        let page = String::from_utf8(page).unwrap();
        let row = page.lines().find(|line| line.starts_with("process, resident")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["process,", "resident", "-", "-"]);
    }
}
