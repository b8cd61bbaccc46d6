//! The file `DAMAGE`: what was found damaged when the store was opened, until an operator has seen
//! it.
//!
//! What is missing can be found once: afterwards the store goes on without it, and would look whole.
//! So it is written down, and stays in every answer of `verify` until it is acknowledged.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::disk::{Disk, DiskFile, read_all, write_whole};
use super::damage::Damage;

/// The name of the file.
pub(in super::super) const NAME: &str = "DAMAGE";

/// Places that are written down: with so many that nobody has seen, each more says nothing new.
const TOLD_MAX: usize = 1000;

/// Damage that was told at a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldDamage {
    /// When, in Unix milliseconds.
    pub time_ms: u64,
    /// What and where.
    pub what: String,
    /// Entries may be gone with it, so that the store began a new epoch.
    pub new_epoch: bool,
    /// Somebody has seen it. It is kept so that nothing is told twice that is still as it was.
    pub acknowledged: bool,
}

/// What stands for all lines that the disk can't read. There may be the only one among them that says that
/// entries are lost.
const UNREAD: &str = "what was told at earlier starts can't be read by the disk; the file that says it is kept, \
                      under another name";

/// All that was told, the oldest first. A line that can't be understood is shown as it is: it says at least that
/// there was something. If it is the disk that can't read it, a line of now says so.
pub(in super::super) fn load(
    file: io::Result<Arc<dyn DiskFile>>,
    now_ms: u64,
) -> io::Result<Vec<ToldDamage>> {
    let file = match file {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let content = read_all(&*file)?;
    let text = String::from_utf8_lossy(&content);
    if !file.has_unreadable() {
        return Ok(text
            .lines()
            .map(|line| decode(line).unwrap_or_else(|| as_it_is(line)))
            .collect());
    }
    let unread = ToldDamage { time_ms: now_ms, ..as_it_is(UNREAD) };
    Ok(text.lines().filter_map(decode).chain([unread]).collect())
}

/// Those that nobody has acknowledged.
pub(in super::super) fn unacknowledged(told: &[ToldDamage]) -> Vec<ToldDamage> {
    told.iter().filter(|told| !told.acknowledged).cloned().collect()
}

fn decode(line: &str) -> Option<ToldDamage> {
    let value: Value = serde_json::from_str(line).ok()?;
    Some(ToldDamage {
        time_ms: value["time_ms"].as_u64().unwrap_or(0),
        what: value["what"].as_str()?.to_owned(),
        new_epoch: value["new_epoch"].as_bool().unwrap_or(false),
        acknowledged: value["acknowledged"].as_bool().unwrap_or(false),
    })
}

/// A line that says nothing else.
fn as_it_is(line: &str) -> ToldDamage {
    ToldDamage { time_ms: 0, what: line.to_owned(), new_epoch: false, acknowledged: false }
}

/// Adds what was not told before. Where entries are lost now, all is told that was found with it: a loss is no
/// less for having happened before in the same words. Returns whether anything was added.
pub(in super::super) fn add(
    told: &mut Vec<ToldDamage>,
    damage: &[Damage],
    new_epoch: bool,
    time_ms: u64,
) -> bool {
    let before = told.clone();
    for what in damage.iter().map(ToString::to_string) {
        let says_it = |told: &ToldDamage| {
            told.what == what && told.new_epoch >= new_epoch && !(new_epoch && told.acknowledged)
        };
        if !told.iter().any(says_it) {
            tell(told, ToldDamage { time_ms, what, new_epoch, acknowledged: false });
        }
    }
    *told != before
}

/// Writes it, durably.
pub(in super::super) fn save(disk: &dyn Disk, told: &[ToldDamage]) -> io::Result<()> {
    write_whole(disk, NAME, &encode(told))
}

/// Adds a line, in the place of what somebody has seen of the same words; if there is no room, of the oldest
/// that somebody has seen.
fn tell(told: &mut Vec<ToldDamage>, line: ToldDamage) {
    told.retain(|told| !(told.acknowledged && told.what == line.what));
    if told.len() >= TOLD_MAX
        && let Some(seen) = told.iter().position(|told| told.acknowledged)
    {
        told.remove(seen);
    }
    if told.len() < TOLD_MAX {
        told.push(line);
    }
}

fn encode(told: &[ToldDamage]) -> Vec<u8> {
    let line = |told: &ToldDamage| {
        let ToldDamage { time_ms, what, new_epoch, acknowledged } = told;
        let line = json!({
            "time_ms": time_ms,
            "what": what,
            "new_epoch": new_epoch,
            "acknowledged": acknowledged,
        });
        format!("{line}\n")
    };
    told.iter().map(line).collect::<String>().into_bytes()
}

/// Writes down that somebody has seen all of it.
pub(in super::super) fn acknowledge(disk: &dyn Disk, told: &mut [ToldDamage]) -> io::Result<()> {
    if told.iter().all(|told| told.acknowledged) {
        return Ok(());
    }
    told.iter_mut().for_each(|told| told.acknowledged = true);
    save(disk, told)
}

#[cfg(test)]
mod tests {
    use super::super::super::disk::Folder;
    use super::super::damage::DamageKind;
    use super::*;

    fn whats(told: &[ToldDamage]) -> Vec<&str> {
        told.iter().map(|told| &*told.what).collect()
    }

    #[test]
    fn a_loss_is_told_each_time_and_a_state_once() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder::open(folder.path()).unwrap();
        let (loss, state) = (
            Damage::of_file("EXTENT", DamageKind::Missing),
            Damage::of_file("00000001.log", DamageKind::Foreign),
        );
        let mut told = Vec::new();
        assert!(add(&mut told, std::slice::from_ref(&loss), true, 1));
        assert!(add(&mut told, std::slice::from_ref(&state), false, 2));
        assert!(!add(&mut told, std::slice::from_ref(&loss), true, 3));
        assert_eq!(whats(&told), ["EXTENT is missing", "00000001.log belongs to another store"]);
        acknowledge(&disk, &mut told).unwrap();
        assert!(!add(&mut told, &[state], false, 4));
        assert_eq!(unacknowledged(&told), []);
        assert!(add(&mut told, &[loss], true, 5));
        save(&disk, &told).unwrap();
        assert_eq!(whats(&unacknowledged(&told)), ["EXTENT is missing"]);
        assert_eq!(load(disk.open(NAME), 6).unwrap(), told);
    }

    #[test]
    fn what_was_seen_makes_room_for_what_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder::open(folder.path()).unwrap();
        let file =
            |number: usize| Damage::of_file(format!("{number:08x}.log"), DamageKind::Missing);
        let mut told = Vec::new();
        let many: Vec<Damage> = (0..2 * TOLD_MAX).map(file).collect();
        assert!(add(&mut told, &many, true, 1));
        assert_eq!(told.len(), TOLD_MAX);
        acknowledge(&disk, &mut told).unwrap();
        assert!(add(&mut told, &[file(3 * TOLD_MAX)], true, 2));
        assert_eq!((told.len(), unacknowledged(&told).len()), (TOLD_MAX, 1));
    }
}
