//! Copies that can be trusted: an online backup with a manifest of checksums, and a restore that
//! believes nothing before it has checked everything.

pub(super) mod earlier;
pub(super) mod own_folder;

use std::io;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::random::SystemSource;

use self::earlier::{EarlierBackup, Sharing};
use self::own_folder::OwnFolder;
use super::Shared;
use super::cleaning::file::open_if_cleaned;
use super::cleaning::scan::scan_cleaned;
use super::config::OpenError;
use super::disk::{Disk, DiskFile, ReadFolder, read_all, write_whole};
use super::identity::{self, FORMAT, Identity};
use super::recovery::damage::{Damage, DamageKind};
use super::recovery::extent::{self, Content, Row};
use super::recovery::scan::{End, Scan};
use super::segment::{SEGMENT_HEAD_BYTES, SegmentHead, Span, first_batches_behind};
use super::verify::losses::{Loss, Losses};
use super::verify::{
    LogsCheck, SegmentsCheck, VerifyReport, durable_parts, first_batches, read_part,
};

/// The name of the manifest, which is written last.
pub(super) const MANIFEST: &str = "MANIFEST";

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// Segments.
    pub segments: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// How many of these bytes are in files that an earlier backup has as well.
    pub linked_bytes: u64,
    /// Files of the earlier backup that are not what its manifest says. What they should be was copied.
    pub damaged: usize,
    /// Entries.
    pub entries: u64,
    /// What of it is damaged in the store that was backed up, and so in the backup: all else is whole.
    pub damage: Vec<Damage>,
    /// What is damaged and is no loss: see [`VerifyReport`].
    pub dead: Vec<Damage>,
    /// What is lost, as far as a backup knows it.
    pub losses: Vec<Loss>,
    /// Files of which something is lost that are not among these.
    pub losses_left_out: usize,
    /// The epoch of the copy: after a backup that of the store, after a restore a new one.
    pub epoch: u64,
}

/// What to do with a backup of a store that was damaged when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamagedSource {
    /// Restore nothing: there may be a better one.
    Refuse,
    /// Restore what there is. What is damaged is told again when the store opens.
    Accept,
}

/// What was found in a backup whose files are as they were written.
struct CheckedFiles {
    found: VerifyReport,
    /// Its segments, as `EXTENT` knows them.
    rows: Vec<(u32, Row)>,
}

/// A file as the manifest names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    bytes: u64,
    sha256: String,
}

impl Listed {
    fn of(name: &str, content: &[u8]) -> Listed {
        Listed { name: name.into(), bytes: content.len() as u64, sha256: sha256(content) }
    }
}

/// Copies the durable part of an open store into an empty folder; what an earlier backup has of it is
/// shared with that one. What is damaged is copied as it is, and told: nobody should find out when the
/// backup is needed.
pub(super) fn backup(
    shared: &Shared,
    target: &OwnFolder,
    earlier: Option<&EarlierBackup>,
) -> Result<BackupReport, OpenError> {
    target.ensure_empty()?;
    let _names = shared.segments.hold_names();
    let mut listed = vec![copy(target, identity::NAME, &shared.identity.encode())?];
    let mut report = BackupReport { epoch: shared.identity.epoch, ..BackupReport::default() };
    let parts = durable_parts(shared)?;
    // It is still written to: to look for it in an earlier backup would nearly always be in vain.
    let newest = parts.last().map(|part| part.span);
    let mut check = SegmentsCheck::of_open(shared);
    let firsts = first_batches(shared, &parts)?;
    for (part, next_first) in parts.iter().zip(first_batches_behind(&firsts)) {
        let name = part.span.name();
        let content = read_part(shared, part);
        let content =
            content.map_err(OpenError::io("can't read", shared.disk.path().join(&name)))?;
        let earlier = earlier.filter(|_| Some(part.span) != newest);
        listed.push(link_or_copy(target, earlier, (&name, &content), &mut report)?);
        drop(content);
        check.part(shared, part, next_first)?;
    }
    let found = check.finish();
    (report.entries, report.damage, report.dead) = (found.entries, found.damage, found.dead);
    let manifest = encode_manifest(&shared.identity, &listed);
    let written = write_whole(target, MANIFEST, manifest.as_bytes());
    written.map_err(OpenError::io("can't write", target.path().join(MANIFEST)))?;
    report.bytes = listed.iter().map(|file| file.bytes).sum();
    report.segments = listed.len() - 1;
    Ok(report)
}

/// Puts a file into a backup: that of the earlier one, if it is the same, else a copy.
fn link_or_copy(
    target: &OwnFolder,
    earlier: Option<&EarlierBackup>,
    (name, content): (&str, &[u8]),
    report: &mut BackupReport,
) -> Result<Listed, OpenError> {
    let Some(earlier) = earlier else { return copy(target, name, content) };
    let listed = Listed::of(name, content);
    match earlier.share(target, &listed, content)? {
        Sharing::Linked => {
            report.linked_bytes += listed.bytes;
            return Ok(listed);
        }
        Sharing::Damaged => report.damaged += 1,
        Sharing::Other | Sharing::Impossible => {}
    }
    copy(target, name, content)
}

/// Checks a backup as [`restore`] does, and writes nothing.
pub fn check_backup(backup: &Path) -> Result<BackupReport, OpenError> {
    let source = ReadFolder::open(backup)?;
    let listed = read_manifest(&source)?;
    let check = check_files(&source, &listed)?;
    Ok(check.report(&listed, Identity::load(&source)?.epoch))
}

/// Makes a store in an empty folder from a backup, after checking the whole backup: its manifest,
/// the checksum of every file, and every entry. The store has a new epoch: entries that were
/// acknowledged after the backup are gone, so a sequence may name another entry now.
pub fn restore(backup: &Path, target: &Path) -> Result<BackupReport, OpenError> {
    restore_to(backup, DamagedSource::Refuse, || OwnFolder::open(target))
}

/// The same, into a folder that is opened after the backup was checked.
pub fn restore_to(
    backup: &Path,
    damaged: DamagedSource,
    target: impl FnOnce() -> Result<OwnFolder, OpenError>,
) -> Result<BackupReport, OpenError> {
    let source = ReadFolder::open(backup)?;
    let listed = read_manifest(&source)?;
    let check = check_files(&source, &listed)?;
    if damaged == DamagedSource::Refuse && !check.found.damage.is_empty() {
        return Err(OpenError::DamagedSource { damage: check.found.damage });
    }
    let target = target()?;
    target.ensure_empty()?;
    for file in listed.iter().filter(|file| file.name != identity::NAME) {
        let content = read_listed(&source, file)?;
        copy(&target, &file.name, &content)?;
    }
    target.sync_names().map_err(OpenError::io("can't sync", target.path()))?;
    // The last, so that a folder with half of a store is none.
    let identity = Identity::load(&source)?.with_new_epoch(&SystemSource::new());
    let mut extent = Content::of_segments(identity.epoch, &check.rows);
    extent::save(&target, &mut extent, &identity, false)?;
    identity.save(&target)?;
    Ok(check.report(&listed, identity.epoch))
}

impl CheckedFiles {
    fn report(self, listed: &[Listed], epoch: u64) -> BackupReport {
        let VerifyReport { entries, damage, dead, losses, losses_left_out, .. } = self.found;
        BackupReport {
            segments: listed.len() - 1,
            bytes: listed.iter().map(|file| file.bytes).sum(),
            entries,
            damage,
            dead,
            losses,
            losses_left_out,
            epoch,
            ..BackupReport::default()
        }
    }
}

/// Writes a file, durably, and reads it back.
fn copy(target: &OwnFolder, name: &str, content: &[u8]) -> Result<Listed, OpenError> {
    let io = OpenError::io("can't write", target.path().join(name));
    let written = (|| {
        let file = target.create(name)?;
        file.write_at(content, 0)?;
        file.sync()?;
        if read_all(&*file)? == content { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    })();
    written.map_err(io)?;
    Ok(Listed::of(name, content))
}

fn sha256(content: &[u8]) -> String {
    digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One line of JSON, and a second line with its checksum.
fn encode_manifest(identity: &Identity, listed: &[Listed]) -> String {
    let files = listed
        .iter()
        .map(|file| json!({ "name": file.name, "bytes": file.bytes, "sha256": file.sha256 }));
    let files: Vec<Value> = files.collect();
    let line = json!({ "format": FORMAT, "epoch": identity.epoch, "files": files }).to_string();
    let checksum = sha256(line.as_bytes());
    format!("{line}\n{checksum}\n")
}

fn damaged(name: &str, what: &'static str) -> OpenError {
    OpenError::Damaged { name: name.into(), what }
}

fn read_manifest(source: &ReadFolder) -> Result<Vec<Listed>, OpenError> {
    let content = source.open(MANIFEST).and_then(|file| read_all(&*file));
    let content = content.map_err(OpenError::io("can't read", source.path().join(MANIFEST)))?;
    decode_manifest(&content)
}

pub(super) fn decode_manifest(content: &[u8]) -> Result<Vec<Listed>, OpenError> {
    let text = std::str::from_utf8(content).map_err(|_| damaged(MANIFEST, "it is no text"))?;
    let mut lines = text.lines();
    let (Some(line), Some(checksum)) = (lines.next(), lines.next()) else {
        return Err(damaged(MANIFEST, "it is incomplete"));
    };
    if sha256(line.as_bytes()) != checksum {
        return Err(damaged(MANIFEST, "its checksum is wrong"));
    }
    let manifest: Value =
        serde_json::from_str(line).map_err(|_| damaged(MANIFEST, "it is no JSON"))?;
    let found = manifest["format"].as_u64().and_then(|format| u32::try_from(format).ok());
    if found != Some(FORMAT) {
        let (name, found) = (MANIFEST.into(), found.unwrap_or(0));
        return Err(OpenError::Version { name, found, known: FORMAT });
    }
    let files = manifest["files"].as_array().map_or(&[][..], Vec::as_slice);
    let listed: Option<Vec<Listed>> = files.iter().map(decode_listed).collect();
    let listed = listed.ok_or_else(|| damaged(MANIFEST, "it names a file wrongly"))?;
    if listed.iter().filter(|file| file.name == identity::NAME).count() != 1 {
        return Err(damaged(MANIFEST, "it names no store"));
    }
    Ok(listed)
}

/// Only names of our own files are accepted: nothing outside of the folder can be named.
fn decode_listed(file: &Value) -> Option<Listed> {
    let name = file["name"].as_str()?.to_owned();
    let known = name == identity::NAME || Span::of_name(&name).is_some();
    let (bytes, sha256) = (file["bytes"].as_u64()?, file["sha256"].as_str()?.to_owned());
    known.then_some(Listed { name, bytes, sha256 })
}

/// Whether all files of the backup are what the manifest says; all that are not are named.
fn check_sums(source: &ReadFolder, listed: &[Listed]) -> Result<(), OpenError> {
    let mut wrong = Vec::new();
    for file in listed {
        match read_listed(source, file) {
            Err(OpenError::Damaged { name, .. }) => wrong.push(name),
            read => drop(read?),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(damaged(&wrong.join(", "), NOT_AS_LISTED)) }
}

const NOT_AS_LISTED: &str = "the checksum is not that of the manifest";

/// A file of the backup, if it is what the manifest says.
fn read_listed(source: &ReadFolder, file: &Listed) -> Result<Vec<u8>, OpenError> {
    let content = source.open(&file.name).and_then(|file| read_all(&*file));
    let content = content.map_err(OpenError::io("can't read", source.path().join(&file.name)))?;
    if content.len() as u64 != file.bytes || sha256(&content) != file.sha256 {
        return Err(damaged(&file.name, NOT_AS_LISTED));
    }
    Ok(content)
}

/// Checks every file and every entry.
fn check_files(source: &ReadFolder, listed: &[Listed]) -> Result<CheckedFiles, OpenError> {
    check_sums(source, listed)?;
    let identity = Identity::load(source)?;
    let mut files: Vec<(Span, &Listed)> =
        listed.iter().filter_map(|file| Some((Span::of_name(&file.name)?, file))).collect();
    files.sort_unstable_by_key(|(span, _)| *span);
    let first = |&(span, file): &(Span, &Listed)| {
        let head = source.open(&file.name).and_then(|file| read_begin(&*file));
        let head = head.map_err(OpenError::io("can't read", source.path().join(&file.name)))?;
        let head = SegmentHead::decode(&identity, span, &head)?;
        Ok(head.map(|head| head.first_batch))
    };
    let firsts = files.iter().map(first).collect::<Result<Vec<_>, OpenError>>()?;
    let (mut check, mut logs) = (SegmentsCheck::of_all(), LogsCheck::default());
    let mut losses = Losses::default();
    let behind = first_batches_behind(&firsts);
    let next_spans = files.iter().skip(1).map(|(span, _)| Some(*span)).chain([None]);
    for (((span, file), next_first), next_span) in files.iter().zip(behind).zip(next_spans) {
        let content = read_listed(source, file)?;
        let end = match next_first {
            None => End::Open,
            Some(batch) if next_span.is_some_and(|next| next.first == span.last + 1) => {
                End::At(batch)
            }
            Some(batch) => End::Before(batch),
        };
        for scan in scan_listed(source, &identity, (*span, &content), end, &mut check)? {
            if scan.unfinished_bytes > 0 && next_first.is_none() {
                // A backup ends with a whole batch.
                let (offset, bytes) = (scan.index.end, scan.unfinished_bytes);
                let (file, kind) = (file.name.clone(), DamageKind::Frame);
                check.report.damage.push(Damage { file, offset, bytes, kind });
            }
            losses.add_scan(*span, &scan, None);
            logs.add(&scan.index);
        }
    }
    let missing = std::mem::take(&mut check.missing);
    missing.iter().for_each(|(number, row)| losses.add_file(Span::one(*number), *number, row));
    // When the store opens, it tells of these as of others that are missing.
    let mut rows = std::mem::take(&mut check.rows);
    rows.extend(missing);
    rows.sort_unstable_by_key(|(number, _)| *number);
    let mut found = check.finish();
    losses.count(&[], |_, found| logs.missing(found));
    (found.losses, found.losses_left_out) = losses.finish(&mut found.damage);
    Ok(CheckedFiles { found, rows })
}

/// As much of a file as a header has.
fn read_begin(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut begin = vec![0; SEGMENT_HEAD_BYTES];
    let read = file.read_at(&mut begin, 0)?;
    begin.truncate(read);
    Ok(begin)
}

/// Reads a file of segments, whether it was cleaned or not.
fn scan_listed(
    source: &ReadFolder,
    identity: &Identity,
    (span, content): (Span, &[u8]),
    end: End,
    check: &mut SegmentsCheck,
) -> Result<Vec<Scan>, OpenError> {
    let io = OpenError::io("can't read", source.path().join(span.name()));
    let file = source.open(&span.name()).map_err(&io)?;
    let Some(cleaned) = open_if_cleaned(identity, &file, span).map_err(&io)? else {
        return Ok(vec![check.segment(identity, span.first, content, end)?]);
    };
    let scans = scan_cleaned(identity, &cleaned).map_err(&io)?;
    check.cleaned(&cleaned, &scans);
    Ok(scans)
}
