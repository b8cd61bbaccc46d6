//! Finding out what a folder holds, and bringing it into order after a crash.

pub(super) mod damage;
pub(super) mod extent;
mod folder;
pub(super) mod inventory;
pub(super) mod life;
pub(super) mod new_epoch;
mod origin;
mod rows;
mod runs;
pub(super) mod scan;
mod segments;
mod strays;
pub(super) mod told;
pub(super) mod torn;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use crate::random::Random;

use self::damage::Damage;
use self::extent::{Content, Extent};
pub use self::folder::inspect;
use self::folder::{make, remove_unfinished};
use self::life::{FoundLives, Lives};
use self::told::ToldDamage;
use self::watch::Watch;
use super::cleaning::cleaner::now_ms;
use super::config::{EmbeddedConfig, OpenError};
use super::disk::{Disk, DiskFile};
use super::identity::{self, Identity};
use super::index::memory::SegmentIndex;
use super::index::run::Run;
use super::index::run_segments;
use super::segment::{Span, segment_name};

/// What opening a store had to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Segments that were read because they had no index file, or were not what they should be.
    pub segments_scanned: usize,
    /// Index files that were damaged and are made again.
    pub indexes_rebuilt: usize,
    /// Whole batches in them.
    pub batches: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of an unfinished batch at the end that were cut off. It was never acknowledged.
    pub unfinished_bytes: u64,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// Entries may be lost, and the store has a new epoch.
    pub history_lost: bool,
    /// All damage that was told when the store was opened, now or earlier, and was not acknowledged.
    pub told: Vec<ToldDamage>,
}

/// A folder in order.
pub(super) struct Recovered {
    pub identity: Identity,
    pub extent: Extent,
    /// Segments whose files are there and are not ours, or came back too late.
    pub passed_over: BTreeSet<u32>,
    /// Of these, the files that are not what their names say.
    pub refused: Vec<(Span, Damage)>,
    /// Index files that were damaged, and were made again.
    pub damaged_runs: Vec<String>,
    pub runs: Vec<Arc<Run>>,
    /// The files that hold more than one segment.
    pub rows: Vec<Span>,
    pub sealed: Vec<Arc<SegmentIndex>>,
    pub next_segment: u32,
    /// Numbers above it that files have, whatever they are.
    pub taken: BTreeSet<u32>,
    pub next_batch: u64,
    /// Random: what is begun from now on is told by it from what an older copy would begin.
    pub life: u64,
    pub told: Vec<ToldDamage>,
    pub report: RecoveryReport,
}

/// A segment that has to be scanned.
pub(super) struct Unindexed {
    number: u32,
    file: Arc<dyn DiskFile>,
    /// By its header, or if that is damaged, by its first readable frame, if it has one.
    pub first_batch: Option<u64>,
    head_damaged: bool,
}

/// Opens what is in the folder, or makes a new store in an empty one.
pub(super) fn recover(
    disk: &dyn Disk,
    config: &EmbeddedConfig,
    random: &dyn Random,
) -> Result<Recovered, OpenError> {
    let names = disk.names().map_err(OpenError::io("can't list", disk.path()))?;
    let identity = if names.iter().any(|name| name == identity::NAME) {
        Identity::load(disk)?
    } else {
        make(disk, &names, random)?
    };
    remove_unfinished(disk, &names)?;
    let watch = Watch::new(disk);
    let mut recovery = Recovery::new(&watch, identity, &names);
    recovery.set_folders_aside()?;
    recovery.open_runs(&names, config.filter_bytes_max)?;
    recovery.take_inventory(&names)?;
    recovery.scan_all()?;
    recovery.finish(random)
}

/// The state of a recovery.
pub(super) struct Recovery<'a> {
    pub disk: &'a dyn Disk,
    /// The same, to read files: what can't be read of them is kept in mind.
    pub watch: &'a Watch<'a>,
    /// All names that are taken.
    names: BTreeSet<String>,
    pub identity: Identity,
    /// How far the store had come.
    pub extent: Content,
    /// As it was read, if it was whole.
    pub extent_before: Option<Content>,
    /// It is whole, and of the last life: what it does not know was never acknowledged.
    pub extent_is_whole: bool,
    lives: FoundLives,
    /// The lives in which segments were begun, by their headers.
    head_lives: BTreeMap<u32, u64>,
    /// Index files that are whole, by their first segment.
    pub runs: BTreeMap<u32, Arc<Run>>,
    /// Those that were not.
    pub damaged_runs: Vec<String>,
    filter_bytes_left: usize,
    /// The files of segments that are there and are ours, in the order of what they hold.
    pub files: Vec<Span>,
    pub passed_over: BTreeSet<u32>,
    pub refused: Vec<(Span, Damage)>,
    /// The batch that comes next, if it is known.
    pub expected: Option<u64>,
    next_segment: u32,
    taken: BTreeSet<u32>,
    /// The index of the newest segment, if it has no file.
    sealed: Option<SegmentIndex>,
    /// Files that are longer than what is in them.
    uncut: Vec<(Arc<dyn DiskFile>, u64)>,
    /// Files in which nothing is that counts.
    unneeded: Vec<String>,
    /// Files that get another name.
    asides: Vec<(String, String)>,
    /// Files of segments that stay under their names, and are not read.
    left: Vec<Span>,
    told: Vec<ToldDamage>,
    pub report: RecoveryReport,
}

impl<'a> Recovery<'a> {
    fn new(watch: &'a Watch<'a>, identity: Identity, names: &[String]) -> Recovery<'a> {
        Recovery {
            disk: watch.unwatched(),
            watch,
            names: names.iter().cloned().collect(),
            identity,
            extent: Content::new(identity.epoch),
            extent_before: None,
            extent_is_whole: true,
            lives: FoundLives::Missing,
            head_lives: BTreeMap::new(),
            runs: BTreeMap::new(),
            damaged_runs: Vec::new(),
            filter_bytes_left: 0,
            files: Vec::new(),
            passed_over: BTreeSet::new(),
            refused: Vec::new(),
            // A new store begins with batch 1 in segment 1.
            expected: Some(1),
            next_segment: 1,
            taken: BTreeSet::new(),
            sealed: None,
            uncut: Vec::new(),
            unneeded: Vec::new(),
            asides: Vec::new(),
            left: Vec::new(),
            told: Vec::new(),
            report: RecoveryReport::default(),
        }
    }

    /// Finds out what should be there and is not.
    fn take_inventory(&mut self, names: &[String]) -> Result<(), OpenError> {
        self.load_lives()?;
        self.load_extent(names)?;
        self.choose_files(names)?;
        // No number is given twice, whatever has become of the file.
        let sealed = self.extent.sealed().last().map_or(0, |(segment, _)| segment);
        let indexed = self.runs.values().next_back().map_or(0, |run| run.segments().1);
        let known = sealed.max(self.extent.bound.segment).max(indexed);
        let newest = self.newest_named(known)?;
        self.taken = self.taken_above(newest);
        self.next_segment = newest.saturating_add(1);
        self.check_presence()
    }

    /// Fails if files can't be read that vouch for each other: what the one had, only the other could say.
    /// Nothing was removed or cut until here.
    pub(super) fn check_witnesses(&self) -> Result<(), OpenError> {
        let unread = self.watch.unread();
        let witness = unread.iter().find(|name| {
            let segments = run_segments(name);
            let is_of = |other: &String| {
                Span::of_name(other)
                    .zip(segments)
                    .is_some_and(|(span, (first, last))| span.first <= last && first <= span.last)
            };
            (*name == extent::NAME && unread.len() > 1) || unread.iter().any(is_of)
        });
        let Some(way_out) = witness.cloned() else { return Ok(()) };
        Err(OpenError::Unread { path: self.disk.path(), names: unread, way_out })
    }

    /// Gives a file its other name at once, if it is to have one: another file is going to take its place.
    pub(super) fn make_room(&mut self, name: &str) -> io::Result<bool> {
        let aside = self.asides.iter().position(|(aside, _)| aside == name);
        if let Some(at) = aside {
            let (name, aside) = self.asides.remove(at);
            self.disk.rename(&name, &aside)?;
        }
        Ok(aside.is_some())
    }

    /// Gives files that are not what their names say other names.
    fn move_aside(&self) -> Result<(), OpenError> {
        for (name, aside) in &self.asides {
            let renamed = self.disk.rename(name, aside);
            renamed.map_err(OpenError::io("can't rename", self.disk.path().join(name)))?;
        }
        Ok(())
    }

    fn finish(mut self, random: &dyn Random) -> Result<Recovered, OpenError> {
        self.check_witnesses()?;
        self.let_runs_go();
        // Before anything gets another name: if this start ends here, the next one tells it again.
        self.tell()?;
        self.move_aside()?;
        // What is written down below must be there.
        self.disk.sync_names().map_err(OpenError::io("can't sync", self.disk.path()))?;
        let next_batch = self.expected.unwrap_or(1).max(self.extent.bound.next_batch);
        let lives = self.begin_life(random)?;
        let life = lives.life;
        if self.extent.bound.segment > 0 {
            self.extent.know_lives(&self.head_lives, !self.extent_is_whole);
            let watch = self.watch;
            self.extent.adopt(life, |number| watch.is_unread(&segment_name(number)));
        }
        self.save_extent(next_batch, life, random)?;
        let cut = if self.extent_is_whole { &self.uncut[..] } else { &[] };
        for (file, end) in cut {
            let cut = file.truncate(*end).and_then(|()| file.sync());
            cut.map_err(OpenError::io("can't cut a file in", self.disk.path()))?;
        }
        for name in &self.unneeded {
            let removed = self.disk.remove(name);
            removed.map_err(OpenError::io("can't remove", self.disk.path().join(name)))?;
        }
        self.disk.sync_names().map_err(OpenError::io("can't sync", self.disk.path()))?;
        self.lives = FoundLives::Known(lives);
        self.save_lives(Lives { served: life, ..lives })?;
        if let Some(sealed) = &mut self.sealed {
            sealed.life = self.extent.life_of(sealed.segment);
            sealed.keeps_end |= !self.extent_is_whole;
        }
        let extent = Extent::open(self.disk, self.identity, self.extent);
        let rows = self.files.into_iter().filter(|span| span.first != span.last).collect();
        Ok(Recovered {
            rows,
            identity: self.identity,
            passed_over: self.passed_over,
            refused: self.refused,
            extent: extent.map_err(OpenError::io("can't open", self.disk.path()))?,
            damaged_runs: self.damaged_runs,
            runs: self.runs.into_values().collect(),
            sealed: self.sealed.into_iter().map(Arc::new).collect(),
            next_segment: self.next_segment,
            taken: self.taken,
            next_batch,
            life,
            told: self.told,
            report: self.report,
        })
    }

    /// Says what is damaged, in the log and in a file that stays until somebody has seen it.
    fn tell(&mut self) -> Result<(), OpenError> {
        let now_ms = now_ms();
        let io = |doing| OpenError::io(doing, self.disk.path().join(told::NAME));
        let (mut told, is_moved) = self.load_told(now_ms).map_err(io("can't read"))?;
        for damage in &self.report.damage {
            tracing::error!(file = damage.file, %damage, "the store is damaged");
        }
        let RecoveryReport { damage, history_lost, .. } = &self.report;
        if told::add(&mut told, damage, *history_lost, now_ms) || is_moved {
            told::save(self.disk, &told).map_err(io("can't write"))?;
        }
        self.report.told = told::unacknowledged(&told);
        self.told = told;
        Ok(())
    }

    /// What was told before, and whether the file that says it has got another name: if it can't be read now, it may
    /// say it another time.
    fn load_told(&mut self, now_ms: u64) -> io::Result<(Vec<ToldDamage>, bool)> {
        let is_file = !self.is_set_aside(told::NAME);
        let told = is_file.then(|| told::load(self.watch.open(told::NAME), now_ms)).transpose()?;
        if self.watch.is_unread(told::NAME) {
            self.set_aside(told::NAME.to_owned());
        }
        Ok((told.unwrap_or_default(), self.make_room(told::NAME)?))
    }

    /// Writes down that a life begins, before anything is written in it.
    fn begin_life(&self, random: &dyn Random) -> Result<Lives, OpenError> {
        let written_by = self.extent.bound.written_by;
        let served = match self.lives {
            FoundLives::Known(lives) => lives.served,
            FoundLives::Missing | FoundLives::Damaged => written_by,
        };
        let before = if self.extent_is_whole { written_by } else { life::NOBODY };
        let lives = Lives { life: random.next_u64(), before, served };
        self.save_lives(lives)?;
        Ok(lives)
    }

    fn save_lives(&self, lives: Lives) -> Result<(), OpenError> {
        let saved = lives.save(self.disk, &self.identity, self.lives);
        saved.map_err(OpenError::io("can't write", self.disk.path().join(life::NAME)))
    }

    /// Writes how far the store has come, and a new epoch if entries may be lost. The epoch is
    /// first in `EXTENT`: whatever is interrupted there is finished at the next start.
    fn save_extent(
        &mut self,
        next_batch: u64,
        life: u64,
        random: &dyn Random,
    ) -> Result<(), OpenError> {
        self.extent.bound.next_batch = next_batch;
        if self.report.history_lost {
            self.identity = self.identity.with_new_epoch(random);
            tracing::error!(
                epoch = self.identity.epoch,
                "entries may have been lost; the epoch is new"
            );
        }
        self.extent.bound.epoch = self.identity.epoch;
        self.extent.bound.written_by = life;
        extent::save(self.disk, &mut self.extent, &self.identity, self.report.history_lost)
    }
}
