//! Messages that were said and are not stored by the server yet, in a file of the state folder: who
//! closes the chat, or loses power, finds them there, and they go out at the next start with the
//! ids that they had, so that nothing is stored twice.
//!
//! ```text
//! + ID CONVERSATION SENDER PEER TEXT     said; on the disk before the message is shown
//! - ID                                   settled: the server has it, or will never take it
//! ```
//!
//! The ids and the name of the peer are hexadecimal, the text is as it was said, but for line breaks
//! and backslashes: whoever has nothing but this file can read it. Only the first kind of line is
//! waited for: what is settled twice does no harm.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};

use dunlin_protocol::{ClientMessageId, LogId, UserId};

use crate::state::{StateFolder, from_hex, to_hex};

const OUTBOX: &str = "outbox";
/// Locked by whoever uses the outbox: two writers would damage it.
const LOCK: &str = "lock";
/// A file with lines that make no sense is kept under this name.
const DAMAGED: &str = "outbox.damaged";
/// Bytes of settled lines beyond those of the others, at which the file is written anew: often
/// enough to be small, seldom enough to cost nothing for each message.
const SETTLED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A message in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) message_id: ClientMessageId,
    pub(crate) conversation: LogId,
    /// Who said it: another account of the same name must not say it again.
    pub(crate) sender: UserId,
    /// The name of the other one, to be shown before the server can be asked.
    pub(crate) peer: String,
    pub(crate) text: String,
}

/// The file, and what is in it.
#[derive(Debug)]
pub(crate) struct Outbox {
    folder: StateFolder,
    /// `None` until something is written.
    file: Option<File>,
    file_bytes: u64,
    kept: VecDeque<Kept>,
    kept_bytes: u64,
    _lock: File,
}

/// What an earlier run has left.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) outbox: Outbox,
    /// Lines that could not be read, and are in a file of their own now.
    pub(crate) damaged: usize,
}

impl Outbox {
    /// Reads the file; [`ErrorKind::WouldBlock`] if another program has it.
    pub(crate) fn open(folder: StateFolder) -> io::Result<Opened> {
        let lock = folder.open_to_append(LOCK)?;
        lock.try_lock()?;
        let bytes = match folder.read(OUTBOX) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let (kept, damaged) = parse(&bytes);
        if damaged > 0 {
            folder.write(DAMAGED, &bytes)?;
        }
        let mut outbox =
            Outbox { folder, file: None, file_bytes: 0, kept, kept_bytes: 0, _lock: lock };
        outbox.kept_bytes = outbox.kept.iter().map(|kept| line_of(kept).len() as u64).sum();
        // A line that power loss has torn must not be gone on with.
        if !bytes.is_empty() {
            outbox.write_anew()?;
        }
        Ok(Opened { outbox, damaged })
    }

    /// What is not settled, in the order in which it was said.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Kept> {
        self.kept.iter()
    }

    /// Keeps a message; it is on the disk when this returns.
    pub(crate) fn keep(&mut self, kept: Kept) -> io::Result<()> {
        let line = line_of(&kept);
        let written = self.append(&line).and_then(|()| self.file()?.sync_data());
        if let Err(error) = written {
            // A part of it may be there, which the next line must not follow.
            self.file = None;
            return Err(error);
        }
        self.kept_bytes += line.len() as u64;
        self.kept.push_back(kept);
        Ok(())
    }

    /// A message needs to be said no more.
    pub(crate) fn settle(&mut self, message_id: ClientMessageId) -> io::Result<()> {
        let Some(index) = self.kept.iter().position(|kept| kept.message_id == message_id) else {
            return Ok(());
        };
        if let Some(kept) = self.kept.remove(index) {
            self.kept_bytes -= line_of(&kept).len() as u64;
        }
        if self.kept.is_empty() {
            // Whether this is on the disk or not: the next start finds nothing, or what is settled.
            self.file()?.set_len(0)?;
            self.file_bytes = 0;
            return Ok(());
        }
        if self.file_bytes > 2 * self.kept_bytes + SETTLED_BYTES_MAX {
            return self.write_anew();
        }
        self.append(&format!("- {}\n", to_hex(&message_id.0)))
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        self.file()?.write_all(line.as_bytes())?;
        self.file_bytes += line.len() as u64;
        Ok(())
    }

    /// The file to append to. What a failure has left in it is written over first.
    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.write_anew()?;
        }
        self.file.as_mut().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Whole or not at all, with nothing but what is kept.
    fn write_anew(&mut self) -> io::Result<()> {
        self.file = None;
        let text: String = self.kept.iter().map(line_of).collect();
        self.folder.write(OUTBOX, text.as_bytes())?;
        self.file = Some(self.folder.open_to_append(OUTBOX)?);
        self.file_bytes = text.len() as u64;
        Ok(())
    }
}

fn line_of(kept: &Kept) -> String {
    let (id, conversation) = (to_hex(&kept.message_id.0), to_hex(kept.conversation.as_bytes()));
    let (sender, peer) = (kept.sender.get(), to_hex(kept.peer.as_bytes()));
    let text = kept.text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
    format!("+ {id} {conversation} {sender} {peer} {text}\n")
}

/// What is not settled, and how many lines make no sense. A last line without its end was torn
/// while it was written: nobody was told that it is kept.
fn parse(bytes: &[u8]) -> (VecDeque<Kept>, usize) {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let (mut kept, mut damaged) = (VecDeque::new(), 0);
    for line in bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match std::str::from_utf8(line).ok().and_then(parse_line) {
            Some(Line::Said(said)) => kept.push_back(said),
            Some(Line::Settled(id)) => {
                if let Some(index) = kept.iter().position(|kept: &Kept| kept.message_id == id) {
                    kept.remove(index);
                }
            }
            None => damaged += 1,
        }
    }
    (kept, damaged)
}

enum Line {
    Said(Kept),
    Settled(ClientMessageId),
}

fn parse_line(line: &str) -> Option<Line> {
    let id_of = |hex| ClientMessageId::from_wire(&from_hex(hex)?).ok();
    let (kind, rest) = line.split_once(' ')?;
    if kind == "-" {
        return Some(Line::Settled(id_of(rest)?));
    }
    let mut parts = rest.splitn(5, ' ');
    let message_id = id_of(parts.next().filter(|_| kind == "+")?)?;
    let conversation = LogId::from_wire(&from_hex(parts.next()?)?).ok()?;
    let sender = UserId::new(parts.next()?.parse().ok()?).ok()?;
    let peer = String::from_utf8(from_hex(parts.next()?)?).ok()?;
    let text = unescape(parts.next()?)?;
    Some(Line::Said(Kept { message_id, conversation, sender, peer, text }))
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next()? {
                '\\' => '\\',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::path::Path;

    use super::*;

    fn message(id: u8, text: &str) -> Kept {
        let (me, bob) = (UserId::new(1).unwrap(), UserId::new(2).unwrap());
        Kept {
            message_id: ClientMessageId([id; 16]),
            conversation: LogId::direct(me, bob),
            sender: me,
            peer: "bob".into(),
            text: text.into(),
        }
    }

    fn open(folder: &Path) -> Opened {
        Outbox::open(StateFolder::open(folder.to_owned()).unwrap()).unwrap()
    }

    fn texts(outbox: &Outbox) -> Vec<&str> {
        outbox.kept().map(|kept| kept.text.as_str()).collect()
    }

    #[test]
    fn what_is_not_settled_is_there_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let odd = "two\nlines \\n and\r a\u{1b} grüße 世界 ";
        {
            let mut outbox = open(folder.path()).outbox;
            for (id, text) in [(1, "one"), (2, odd), (3, "three")] {
                outbox.keep(message(id, text)).unwrap();
            }
            outbox.settle(ClientMessageId([1; 16])).unwrap();
            outbox.settle(ClientMessageId([9; 16])).unwrap();
        }
        let mut outbox = open(folder.path()).outbox;
        assert_eq!(
            outbox.kept().cloned().collect::<Vec<_>>(),
            [message(2, odd), message(3, "three")]
        );
        outbox.keep(message(4, "four")).unwrap();
        outbox.settle(ClientMessageId([2; 16])).unwrap();
        drop(outbox);
        let mut outbox = open(folder.path()).outbox;
        assert_eq!(texts(&outbox), ["three", "four"]);
        outbox.settle(ClientMessageId([3; 16])).unwrap();
        outbox.settle(ClientMessageId([4; 16])).unwrap();
        assert_eq!(fs::metadata(folder.path().join(OUTBOX)).unwrap().len(), 0);
    }

    #[test]
    fn two_programs_do_not_write_to_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path());
        let state = StateFolder::open(folder.path().to_owned()).unwrap();
        let second = Outbox::open(state.clone());
        assert_eq!(second.unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(first);
        assert!(Outbox::open(state).is_ok());
    }

    #[test]
    fn a_torn_end_is_left_and_damage_is_kept_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(OUTBOX);
        let whole = [line_of(&message(1, "one")), line_of(&message(2, "two"))].concat();
        for cut in 0..whole.len() {
            fs::write(&path, &whole.as_bytes()[..cut]).unwrap();
            let Opened { mut outbox, damaged } = open(folder.path());
            let first = line_of(&message(1, "one")).len();
            let expected: &[&str] = if cut < first { &[] } else { &["one"] };
            assert_eq!((texts(&outbox).as_slice(), damaged), (expected, 0), "{cut}");
            outbox.keep(message(3, "three")).unwrap();
            drop(outbox);
            assert_eq!(texts(&open(folder.path()).outbox).last(), Some(&"three"), "{cut}");
        }
        assert!(!folder.path().join(DAMAGED).exists());
        let zeros = [whole.as_bytes(), &[0; 20], b"\n- zz\n+ 00 1\n"].concat();
        fs::write(&path, &zeros).unwrap();
        let Opened { outbox, damaged } = open(folder.path());
        assert_eq!((texts(&outbox), damaged), (vec!["one", "two"], 3));
        assert_eq!(fs::read(folder.path().join(DAMAGED)).unwrap(), zeros);
    }

    #[test]
    fn the_file_does_not_grow_with_what_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = open(folder.path()).outbox;
        outbox.keep(message(0, "waits")).unwrap();
        let long = "x".repeat(60_000);
        for id in 1..=200 {
            outbox.keep(message(id, &long)).unwrap();
            outbox.settle(ClientMessageId([id; 16])).unwrap();
        }
        let length = fs::metadata(folder.path().join(OUTBOX)).unwrap().len();
        assert!(length < SETTLED_BYTES_MAX + 200_000, "{length}");
        assert_eq!(texts(&outbox), ["waits"]);
    }

    #[test]
    fn what_cant_be_written_is_an_error_and_spoils_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut outbox = open(folder.path()).outbox;
        outbox.keep(message(1, "one")).unwrap();
        // Every write to it fails as on a full disk.
        outbox.file = Some(OpenOptions::new().append(true).open("/dev/full").unwrap());
        assert!(outbox.keep(message(2, "two")).is_err());
        outbox.keep(message(3, "three")).unwrap();
        drop(outbox);
        assert_eq!(texts(&open(folder.path()).outbox), ["one", "three"]);
    }
}
