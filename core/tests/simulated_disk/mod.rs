//! A disk in memory that treats the store as badly as a real one may.
//!
//! It keeps two states of everything: what processes see (the page cache) and what is on the
//! medium. A sync moves the first to the second. At a power cut whatever was not synced is there,
//! is not there, or is there in parts: every sector of every write and every change of a name
//! meets its own fate, in no order. A failed sync forgets what it should have written, as Linux
//! does: the page cache still shows it, and no later sync will write it.
//!
//! What chance meets seldom can be tried one by one: a disk that records keeps what it was before each
//! call that changes something, and of each such moment all that a power cut may leave is made.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use dunlin_core::random::Random;
use dunlin_core::store::embedded::disk::unreadable::{RawFile, Unreadable};
use dunlin_core::store::embedded::disk::{Disk, DiskFile};
use rustix::io::Errno;

/// The unit that a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// The unit that it can't read any more: what goes through the cache of a system is read in pages, and one
/// with a sector that can't be read is not there.
const PAGE_BYTES: usize = 4096;

/// A small generator of random numbers (SplitMix64), so that a seed can be replayed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The same numbers for the store's own identity.
#[derive(Debug)]
pub(crate) struct SeededRandom(pub(crate) Mutex<Dice>);

impl SeededRandom {
    pub(crate) fn new(seed: u64) -> SeededRandom {
        SeededRandom(Mutex::new(Dice::new(seed)))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut dice = self.0.lock().unwrap();
        bytes.fill_with(|| dice.next() as u8);
    }
}

/// What may go wrong, each in percent of the calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) write: u64,
    pub(crate) sync: u64,
    pub(crate) reserve: u64,
    pub(crate) names: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct SimulatedDisk(Arc<Mutex<World>>);

type Names = HashMap<String, u64>;

/// What is done when a file with this end of its name is synced next, before it is.
#[derive(Clone)]
struct Meanwhile {
    end: &'static str,
    act: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meanwhile").field("end", &self.end).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
struct World {
    dice: Dice,
    faults: Faults,
    /// Says that it has synced, and has not.
    lies: bool,
    /// Names can't be synced.
    refuses_names: bool,
    /// A file that can't be written to.
    refused: Option<u64>,
    meanwhile: Option<Meanwhile>,
    /// What it was before each call, if that is kept.
    moments: Option<Vec<World>>,
    /// Calls until the power fails.
    calls_left: Option<u64>,
    files: HashMap<u64, Content>,
    names: Names,
    durable_names: Names,
    /// Changes of names since they were synced.
    name_changes: Vec<NameChange>,
    next_file: u64,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(String, u64),
    Rename(String, String, u64),
    Remove(String),
}

#[derive(Debug, Clone, Default)]
struct Content {
    seen: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// Changes since the last sync.
    changes: Vec<Change>,
    /// What some earlier syncs have left, the oldest first.
    earlier: Vec<Arc<Vec<u8>>>,
    /// Pages that can't be read before all of them is written anew.
    unreadable: BTreeSet<usize>,
    /// Nothing can be read.
    is_cut_off: bool,
}

/// Earlier states that are kept of a file.
const EARLIER_MAX: usize = 6;

/// What a medium does to what was synced long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediumFault {
    /// A bit changes.
    Flip,
    /// A file is gone.
    Lose,
    /// A file ends early.
    Cut,
    /// A file is what it was at an earlier sync.
    RollBack,
    /// A sector can't be read, and so its page.
    Unreadable,
}

/// What is there after a power cut of what was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Nothing,
    All,
    FirstHalf,
    SecondHalf,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl SimulatedDisk {
    pub(crate) fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(World {
            dice: Dice::new(seed),
            faults: Faults::default(),
            lies: false,
            refuses_names: false,
            refused: None,
            meanwhile: None,
            moments: None,
            calls_left: None,
            files: HashMap::new(),
            names: HashMap::new(),
            durable_names: HashMap::new(),
            name_changes: Vec::new(),
            next_file: 0,
        })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.world().faults = faults;
    }

    /// A disk with a volatile cache that answers a sync before anything is written.
    pub(crate) fn lie_about_syncs(&self) {
        self.world().lies = true;
    }

    /// Lets syncs of names fail, or not any more.
    pub(crate) fn refuse_names(&self, refuses: bool) {
        self.world().refuses_names = refuses;
    }

    /// Lets whatever is written to a file fail; `None` for no file.
    pub(crate) fn refuse_writes_to(&self, name: Option<&str>) {
        let mut world = self.world();
        world.refused = name.map(|name| world.names[name]);
    }

    /// Does something when a file with this end of its name is synced next, before it is.
    pub(crate) fn meanwhile(&self, end: &'static str, act: impl Fn() + Send + Sync + 'static) {
        self.world().meanwhile = Some(Meanwhile { end, act: Arc::new(act) });
    }

    /// From now on, what the disk is before each call that changes something is kept.
    pub(crate) fn record(&self) {
        self.world().moments = Some(Vec::new());
    }

    /// How many moments were kept.
    pub(crate) fn recorded(&self) -> usize {
        self.world().moments.as_ref().map_or(0, Vec::len)
    }

    /// The moments that were kept, and the end.
    pub(crate) fn moments(&self) -> Vec<SimulatedDisk> {
        let mut world = self.world();
        let mut moments = world.moments.take().unwrap_or_default();
        moments.push(world.clone());
        moments.into_iter().map(|world| SimulatedDisk(Arc::new(Mutex::new(world)))).collect()
    }

    /// What a power cut may leave of it, as far as that can be tried: of all that was not synced, each
    /// change of a name and the content of each file by itself, is there nothing, everything, one alone, or
    /// everything but one; or of one file only the first half of the sectors, or the second.
    pub(crate) fn power_cuts(&self) -> Vec<SimulatedDisk> {
        let world = self.world();
        let mut changed: Vec<u64> = world.files.keys().copied().collect();
        changed.retain(|id| !world.files[id].changes.is_empty());
        changed.sort_unstable();
        let (names, all) = (world.name_changes.len(), world.name_changes.len() + changed.len());
        let mut cuts = Vec::new();
        let mut cut = |is_there: &dyn Fn(usize) -> Part| {
            let mut left = world.durable_names.clone();
            let kept =
                world.name_changes.iter().enumerate().filter(|(at, _)| is_there(*at) == Part::All);
            kept.for_each(|(_, change)| change.apply(&mut left));
            let mut files = world.files.clone();
            for (at, id) in (names..).zip(&changed) {
                let content = files.get_mut(id).unwrap();
                content.make_durable_in_part(is_there(at));
            }
            for content in files.values_mut() {
                content.seen = Arc::clone(&content.durable);
            }
            cuts.push(SimulatedDisk::next(&world, files, (left.clone(), left), Vec::new()));
        };
        let whole = |is_there| if is_there { Part::All } else { Part::Nothing };
        cut(&|_| Part::Nothing);
        cut(&|_| Part::All);
        for one in 0..all {
            cut(&|at| whole(at == one));
            cut(&|at| whole(at != one));
        }
        for one in names..all {
            cut(&|at| if at == one { Part::FirstHalf } else { Part::Nothing });
            cut(&|at| if at == one { Part::SecondHalf } else { Part::Nothing });
        }
        cuts
    }

    /// A number for all that is on the medium.
    pub(crate) fn fingerprint(&self) -> u64 {
        let world = self.world();
        let mut names: Vec<_> = world.durable_names.iter().collect();
        names.sort();
        let mut hasher = DefaultHasher::new();
        for (name, id) in names {
            (name, &world.files[id].durable).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Lets the power fail after so many calls that change something.
    pub(crate) fn cut_power_after(&self, calls: u64) {
        self.world().calls_left = Some(calls);
    }

    /// Whether the power has failed.
    pub(crate) fn is_dead(&self) -> bool {
        self.world().calls_left == Some(0)
    }

    /// The disk of the next process: the same chance goes on, without faults.
    fn next(
        world: &World,
        files: HashMap<u64, Content>,
        (names, durable_names): (Names, Names),
        name_changes: Vec<NameChange>,
    ) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(World {
            dice: world.dice.clone(),
            faults: Faults::default(),
            lies: world.lies,
            refuses_names: false,
            refused: None,
            meanwhile: None,
            moments: None,
            calls_left: None,
            files,
            names,
            durable_names,
            name_changes,
            next_file: world.next_file,
        })))
    }

    /// What is on the medium when the power comes back.
    pub(crate) fn after_power_cut(&self) -> SimulatedDisk {
        let mut world = self.world();
        // Sometimes all that was written has made it, sometimes nothing.
        let percent = [0, 20, 50, 80, 100][world.dice.below(5) as usize];
        let world = &mut *world;
        let mut names = world.durable_names.clone();
        for change in world.name_changes.clone() {
            if world.dice.chance(percent) {
                change.apply(&mut names);
            }
        }
        let mut files = world.files.clone();
        for content in files.values_mut() {
            content.lose_some(&mut world.dice, percent);
            content.seen = Arc::clone(&content.durable);
        }
        SimulatedDisk::next(world, files, (names.clone(), names), Vec::new())
    }

    /// What the next process sees when this one was killed: everything, synced or not.
    pub(crate) fn after_kill(&self) -> SimulatedDisk {
        let world = self.world();
        let names = (world.names.clone(), world.durable_names.clone());
        SimulatedDisk::next(&world, world.files.clone(), names, world.name_changes.clone())
    }

    /// A disk of its own with the same content.
    pub(crate) fn copy(&self) -> SimulatedDisk {
        let world = self.world();
        let names = (world.names.clone(), world.names.clone());
        SimulatedDisk::next(&world, world.files.clone(), names, Vec::new())
    }

    /// All names with the lengths of the files.
    pub(crate) fn lengths(&self) -> Vec<(String, usize)> {
        let world = self.world();
        let length = |(name, id): (&String, &u64)| (name.clone(), world.files[id].seen.len());
        let mut lengths: Vec<_> = world.names.iter().map(length).collect();
        lengths.sort();
        lengths
    }

    /// What is in a file.
    pub(crate) fn content(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        let id = world.names.get(name)?;
        Some(world.files[id].seen.to_vec())
    }

    /// Puts a content on the medium, of a file that may not have been there.
    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        let mut world = self.world();
        let id = world.next_file;
        world.next_file += 1;
        let seen = Arc::new(content.to_vec());
        let durable = Arc::clone(&seen);
        world.files.insert(id, Content { seen, durable, ..Content::default() });
        world.names.insert(name.to_owned(), id);
        world.durable_names.insert(name.to_owned(), id);
    }

    /// Lets the medium do something to a file; returns whether there was something to be done.
    pub(crate) fn damage(&self, name: &str, fault: MediumFault, dice: &mut Dice) -> bool {
        let mut world = self.world();
        let Some(&id) = world.names.get(name) else { return false };
        let content = world.files.get_mut(&id).unwrap();
        let mut bytes = content.seen.to_vec();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        match fault {
            MediumFault::Lose => {
                world.names.remove(name);
                world.durable_names.remove(name);
                return true;
            }
            _ if used == 0 => return false,
            MediumFault::Flip => bytes[dice.below(used) as usize] ^= 1 << dice.below(8),
            MediumFault::Cut => bytes.truncate(dice.below(used) as usize),
            MediumFault::Unreadable => {
                return content.unreadable.insert(dice.below(used) as usize / PAGE_BYTES);
            }
            MediumFault::RollBack => {
                let earlier = &content.earlier;
                if earlier.is_empty() {
                    return false;
                }
                bytes = earlier[dice.below(earlier.len() as u64) as usize].to_vec();
            }
        }
        let changed = bytes != *content.seen;
        content.become_other(bytes);
        changed
    }

    /// Lets the page with this byte be one that can't be read, and that can't be changed in part.
    pub(crate) fn spoil(&self, name: &str, place: usize) {
        let mut world = self.world();
        let id = world.names[name];
        world.files.get_mut(&id).unwrap().unreadable.insert(place / PAGE_BYTES);
    }

    /// Lets nothing of a file be read, or all of it again: a path to a disk is gone, and comes back.
    pub(crate) fn cut_off(&self, name: &str, is_cut_off: bool) {
        let mut world = self.world();
        let id = world.names[name];
        world.files.get_mut(&id).unwrap().is_cut_off = is_cut_off;
    }

    /// Lets a page that can't be read be read again, as it was.
    pub(crate) fn heal(&self, name: &str) {
        let mut world = self.world();
        let id = world.names[name];
        world.files.get_mut(&id).unwrap().unreadable.clear();
    }

    /// Takes a file off the medium.
    pub(crate) fn lose(&self, name: &str) {
        let mut world = self.world();
        world.names.remove(name);
        world.durable_names.remove(name);
    }

    /// Flips bits of a byte on the medium.
    pub(crate) fn flip(&self, name: &str, place: usize, bits: u8) {
        let mut world = self.world();
        let id = world.names[name];
        let content = world.files.get_mut(&id).unwrap();
        Arc::make_mut(&mut content.seen)[place] ^= bits;
        Arc::make_mut(&mut content.durable)[place] ^= bits;
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Set(name, file) => {
                names.insert(name.clone(), *file);
            }
            NameChange::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Content {
    /// Keeps what is on the medium, now and then, before it changes.
    fn remember(&mut self, dice: &mut Dice) {
        if self.durable.is_empty() || !dice.chance(40) {
            return;
        }
        if self.earlier.len() == EARLIER_MAX {
            self.earlier.remove(dice.below(EARLIER_MAX as u64) as usize);
        }
        self.earlier.push(Arc::clone(&self.durable));
    }

    /// Puts something else in its place, for good.
    fn become_other(&mut self, content: Vec<u8>) {
        self.changes.clear();
        self.seen = Arc::new(content);
        self.durable = Arc::clone(&self.seen);
    }

    /// Whether the medium can read these bytes.
    fn can_be_read(&self, from: usize, to: usize) -> io::Result<()> {
        let mut pages = from / PAGE_BYTES..to.div_ceil(PAGE_BYTES);
        if from < to && (self.is_cut_off || pages.any(|page| self.unreadable.contains(&page))) {
            return Err(Errno::IO.into());
        }
        Ok(())
    }

    /// Whether these bytes can be written: of a page that can't be read, all or nothing. The disk takes
    /// other sectors for it then.
    fn can_be_written(&mut self, from: usize, to: usize) -> io::Result<()> {
        for end in [from, to].into_iter().filter(|end| !end.is_multiple_of(PAGE_BYTES)) {
            if self.unreadable.contains(&(end / PAGE_BYTES)) {
                return Err(Errno::IO.into());
            }
        }
        let written = from / PAGE_BYTES..to / PAGE_BYTES;
        self.unreadable.retain(|page| !written.contains(page));
        Ok(())
    }

    /// Makes all changes durable.
    fn make_durable(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(Arc::make_mut(&mut self.durable));
        }
    }

    /// Makes this part of the changes durable and forgets the others.
    fn make_durable_in_part(&mut self, part: Part) {
        let changes = self.take_parts();
        let half = changes.len() / 2;
        let kept = match part {
            Part::Nothing => 0..0,
            Part::All => 0..changes.len(),
            Part::FirstHalf => 0..half,
            Part::SecondHalf => half..changes.len(),
        };
        for change in &changes[kept] {
            change.apply(Arc::make_mut(&mut self.durable));
        }
    }

    /// All changes, as what the disk does whole or not at all.
    fn take_parts(&mut self) -> Vec<Change> {
        let mut parts = Vec::new();
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Length(bytes) => parts.push(Change::Length(bytes)),
                Change::Write(start, bytes) => parts.extend(sectors(start, &bytes)),
            }
        }
        parts
    }

    /// Makes a random part of the changes durable and forgets the others.
    fn lose_some(&mut self, dice: &mut Dice, percent: u64) {
        let mut parts = self.take_parts();
        // Sectors may be written in any order.
        for at in (1..parts.len()).rev() {
            parts.swap(at, dice.below(at as u64 + 1) as usize);
        }
        for part in parts {
            if dice.chance(percent) {
                part.apply(Arc::make_mut(&mut self.durable));
            }
        }
    }
}

/// Splits a write where sectors end.
fn sectors(mut start: usize, mut bytes: &[u8]) -> Vec<Change> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let length = (SECTOR_BYTES - start % SECTOR_BYTES).min(bytes.len());
        let (part, rest) = bytes.split_at(length);
        parts.push(Change::Write(start, part.to_vec()));
        (start, bytes) = (start + length, rest);
    }
    parts
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write(start, bytes) => {
                let end = start + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*start..end].copy_from_slice(bytes);
            }
            Change::Length(bytes) => content.resize(*bytes, 0),
        }
    }
}

impl World {
    /// Counts a call that changes something, and says whether it fails.
    fn call(&mut self, fault_percent: u64) -> io::Result<()> {
        if let Some(mut moments) = self.moments.take() {
            moments.push(self.clone());
            self.moments = Some(moments);
        }
        match &mut self.calls_left {
            Some(0) => return Err(io::Error::other("the power is off")),
            Some(calls) => *calls -= 1,
            None => {}
        }
        if self.dice.chance(fault_percent) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn id(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimulatedDisk {
    fn path(&self) -> PathBuf {
        PathBuf::from("/simulated")
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        let percent = world.faults.names;
        world.call(percent)?;
        let id = world.next_file;
        world.next_file += 1;
        world.files.insert(id, Content::default());
        world.change_name(NameChange::Set(name.to_owned(), id));
        Ok(Arc::new(SimulatedFile { disk: self.clone(), id, unreadable: Unreadable::default() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.world().id(name)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), id, unreadable: Unreadable::default() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        let percent = world.faults.names;
        world.call(percent)?;
        let id = world.id(from)?;
        world.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        let percent = world.faults.names;
        world.call(percent)?;
        world.id(name)?;
        world.change_name(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.world().names.keys().cloned().collect())
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut world = self.world();
        let percent = if world.refuses_names { 100 } else { world.faults.sync };
        world.call(percent)?;
        world.durable_names = world.names.clone();
        world.name_changes.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    id: u64,
    unreadable: Unreadable,
}

impl SimulatedFile {
    fn do_meanwhile(&self) {
        let meanwhile = {
            let mut world = self.disk.world();
            let World { names, meanwhile, .. } = &mut *world;
            let mut mine = names.iter().filter(|(_, id)| **id == self.id);
            meanwhile.take_if(|waits| mine.any(|(name, _)| name.ends_with(waits.end)))
        };
        if let Some(meanwhile) = meanwhile {
            (meanwhile.act)();
        }
    }

    fn change(&self, world: &mut World, change: Change) {
        let content = world.files.get_mut(&self.id).unwrap();
        change.apply(Arc::make_mut(&mut content.seen));
        content.changes.push(change);
    }
}

impl RawFile for SimulatedFile {
    fn name(&self) -> String {
        let world = self.disk.world();
        let mine = world.names.iter().find(|(_, id)| **id == self.id);
        mine.map_or_else(|| "?".into(), |(name, _)| name.clone())
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.disk.world();
        let content = &world.files[&self.id];
        let rest = content.seen.get(offset as usize..).unwrap_or(&[]);
        let length = rest.len().min(buffer.len());
        content.can_be_read(offset as usize, offset as usize + length)?;
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_all(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        let refused = world.refused == Some(self.id);
        let percent = if refused { 100 } else { world.faults.write };
        let start = offset as usize;
        if let Err(error) = world.call(percent) {
            // Some of it may have been written nevertheless: whole sectors, since what is written
            // goes through pages.
            let end = start + world.dice.below(bytes.len() as u64 + 1) as usize;
            let end = if end == start + bytes.len() { end } else { end - end % SECTOR_BYTES };
            let written = bytes[..end.saturating_sub(start)].to_vec();
            self.change(&mut world, Change::Write(start, written));
            return Err(error);
        }
        let content = world.files.get_mut(&self.id).unwrap();
        content.can_be_written(start, start + bytes.len())?;
        self.change(&mut world, Change::Write(start, bytes.to_vec()));
        Ok(())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        let percent = world.faults.write;
        world.call(percent)?;
        let content = world.files.get_mut(&self.id).unwrap();
        let end = bytes as usize;
        if !end.is_multiple_of(PAGE_BYTES) {
            content.can_be_read(end, end + 1)?;
        }
        content.unreadable.retain(|page| page * PAGE_BYTES < end);
        self.change(&mut world, Change::Length(end));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.world().files[&self.id].seen.len() as u64)
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.unreadable.read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.unreadable.write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.do_meanwhile();
        let mut world = self.disk.world();
        let percent = world.faults.sync;
        let called = world.call(percent);
        let world = &mut *world;
        let dead = world.calls_left == Some(0) && called.is_err();
        let content = world.files.get_mut(&self.id).unwrap();
        match called {
            Ok(()) if world.lies => {}
            // Not all that is seen: what an earlier sync failed to write is not tried again.
            Ok(()) => {
                content.remember(&mut world.dice);
                content.make_durable();
            }
            // The power cut itself decides what is left.
            Err(_) if dead => {}
            Err(_) => content.lose_some(&mut world.dice, 50),
        }
        called
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.unreadable.truncate(self, bytes)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        let percent = world.faults.reserve;
        world.call(percent)?;
        let content = world.files.get_mut(&self.id).unwrap();
        content.seen = Arc::new(vec![0; bytes as usize]);
        content.durable = Arc::clone(&content.seen);
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        self.length()
    }

    fn has_unreadable(&self) -> bool {
        self.unreadable.is_known()
    }
}
