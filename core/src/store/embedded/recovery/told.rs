//! The file `DAMAGE`: what was found damaged when the store was opened, until an operator has seen
//! it.
//!
//! What is missing can be found once: afterwards the store goes on without it, and would look whole.
//! So it is written down, and stays in every answer of `verify` until it is acknowledged.

use std::io;

use serde_json::{Value, json};

use super::super::disk::{Disk, read_all, write_whole};
use super::damage::Damage;

/// The name of the file.
pub(in super::super) const NAME: &str = "DAMAGE";

/// Places that are written down, the first ones: with so many, each more says nothing new.
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

/// All that was told, the oldest first. A line that can't be read is shown as
/// it is: it says at least that there was something.
pub(in super::super) fn load(disk: &dyn Disk) -> io::Result<Vec<ToldDamage>> {
    let content = match disk.open(NAME).and_then(|file| read_all(&*file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        content => content?,
    };
    Ok(String::from_utf8_lossy(&content).lines().map(decode).collect())
}

/// Those that nobody has acknowledged.
pub(in super::super) fn unacknowledged(told: &[ToldDamage]) -> Vec<ToldDamage> {
    told.iter().filter(|told| !told.acknowledged).cloned().collect()
}

fn decode(line: &str) -> ToldDamage {
    let value: Value = serde_json::from_str(line).unwrap_or(Value::Null);
    ToldDamage {
        time_ms: value["time_ms"].as_u64().unwrap_or(0),
        what: value["what"].as_str().unwrap_or(line).to_owned(),
        new_epoch: value["new_epoch"].as_bool().unwrap_or(false),
        acknowledged: value["acknowledged"].as_bool().unwrap_or(false),
    }
}

/// Adds what was not told before, durably.
pub(in super::super) fn add(
    disk: &dyn Disk,
    told: &mut Vec<ToldDamage>,
    damage: &[Damage],
    new_epoch: bool,
    time_ms: u64,
) -> io::Result<()> {
    let before = told.len();
    for what in damage.iter().map(ToString::to_string) {
        let is_known = told.iter().any(|told| told.what == what && told.new_epoch >= new_epoch);
        if !is_known && told.len() < TOLD_MAX {
            told.push(ToldDamage { time_ms, what, new_epoch, acknowledged: false });
        }
    }
    if told.len() == before { Ok(()) } else { write_whole(disk, NAME, &encode(told)) }
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
    write_whole(disk, NAME, &encode(told))
}
