//! What an operator does with all of a store: check it, save it, bring it back.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use dunlin_core::store::embedded::{OwnFolder, restore as restore_store};
use dunlin_core::store::{EntryMeta, NewEntry, Write};
use dunlin_loadtest::LoadtestError;
use dunlin_protocol::LogId;

use super::fill::Writer;
use super::footprint::DiskUse;
use super::{Place, ScaleReport, failed};

/// Messages between two backups.
const LITTLE: u64 = 1_000;

/// The log that they are in; nothing of the population is.
const OTHER_LOG: [u8; 14] = [7; 14];

const FIRST_BACKUP: &str = "backup-1";
const SECOND_BACKUP: &str = "backup-2";
const RESTORED: &str = "restored";

pub(super) fn verify(place: &Place, report: &mut ScaleReport) -> Result<(), LoadtestError> {
    let store = place.open(&place.store())?;
    report.memory("before verify")?;
    let start = Instant::now();
    let found = store.verify().map_err(failed("verify"))?;
    by_size(report, "verify", start, found.bytes);
    report.count("entries", found.entries);
    report.count("logs", found.logs as u64);
    report.count("places that are damaged", found.damage.len() as u64);
    report.memory("after verify")
}

pub(super) fn backup(place: &Place, report: &mut ScaleReport) -> Result<(), LoadtestError> {
    let store = place.open(&place.store())?;
    report.memory("before the backup")?;
    let (first, second) = (place.folder.join(FIRST_BACKUP), place.folder.join(SECOND_BACKUP));
    let start = Instant::now();
    let saved = store.backup(&first).map_err(failed("backup"))?;
    by_size(report, "backup", start, saved.bytes);
    let mut writer = Writer::new(&store);
    (1..=LITTLE).try_for_each(|seq| writer.write(another(seq)))?;
    writer.finish()?;
    let own = |path: &Path| OwnFolder::open(path).map_err(failed("opening a backup"));
    let earlier = store.earlier_backup(own(&first)?).map_err(failed("opening the first backup"))?;
    let start = Instant::now();
    let saved = store.backup_to(own(&second)?, Some(earlier)).map_err(failed("backup --since"))?;
    by_size(report, "backup --since", start, saved.bytes);
    report.bytes("backup --since, copied", saved.bytes - saved.linked_bytes);
    report.memory("after the backups")
}

/// A message of somebody else. Whoever backs up twice writes it twice: the second time is a failure.
fn another(seq: u64) -> Write {
    let (meta, body) = (EntryMeta::default(), Bytes::from_static(b"something new"));
    Write::entry(LogId::group(OTHER_LOG), NewEntry { seq, meta, key: None, digest: 0, body })
}

pub(super) fn restore(place: &Place, report: &mut ScaleReport) -> Result<(), LoadtestError> {
    let restored = place.folder.join(RESTORED);
    report.memory("before restore")?;
    let start = Instant::now();
    let saved = restore_store(&place.folder.join(FIRST_BACKUP), &restored);
    let saved = saved.map_err(failed("restore"))?;
    by_size(report, "restore", start, saved.bytes);
    report.memory("after restore")?;
    let start = Instant::now();
    let store = place.open(&restored)?;
    by_size(report, "first start, all index files made anew", start, saved.bytes);
    report.count("segments that had to be read", store.recovery().segments_scanned as u64);
    report.memory("after the first start")?;
    drop(store);
    let found = DiskUse::look(&restored);
    let found = found.map_err(LoadtestError::machine("looking at the files of the copy"))?;
    report.bytes("index files that were made", found.index.bytes);
    Ok(())
}

/// How long something took, in all and by its size.
fn by_size(report: &mut ScaleReport, what: &str, start: Instant, bytes: u64) {
    let seconds = start.elapsed().as_secs_f64();
    report.add(what, seconds, "s");
    report.bytes(format!("{what}, of"), bytes);
    report.add(format!("{what}, per GB"), seconds * 1e9 / bytes.max(1) as f64, "s");
}
