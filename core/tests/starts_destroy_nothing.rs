//! A start removes and cuts nothing that it does not know to be superfluous: not what the disk can't read
//! this time, not what it does not understand, not what another file seems to take the place of, and not what
//! a file of another copy of the store would overrule. Whatever was acknowledged is in some file afterwards.

mod simulated_disk;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dunlin_core::store::contract::ask::{ask, heads, write as write_all};
use dunlin_core::store::contract::sample::{self, all, chat, entry_of, key, set, with_body};
use dunlin_core::store::embedded::disk::{Disk, Folder};
use dunlin_core::store::embedded::{
    DamageKind, EmbeddedConfig, EmbeddedStore, OpenError, OwnFolder, verify_folder,
};
use dunlin_core::store::{Range, Store, StoreError, StoreReply, StoreRequest, Write, Written};
use dunlin_protocol::LogId;
use simulated_disk::{SeededRandom, SimulatedDisk};

fn config() -> EmbeddedConfig {
    EmbeddedConfig {
        segment_bytes: 32 * 1024,
        cleaning_bytes_per_second: u64::MAX,
        cleaning_interval: Duration::from_hours(24),
        gone_within: Duration::ZERO,
        readers: 1,
        ..EmbeddedConfig::default()
    }
}

static STARTS: AtomicU64 = AtomicU64::new(1);

/// Opens a store on a simulated disk; each start draws other numbers.
fn open_on(disk: &SimulatedDisk) -> Result<EmbeddedStore, OpenError> {
    let random = SeededRandom::new(STARTS.fetch_add(1, Ordering::Relaxed));
    EmbeddedStore::open_on(Arc::new(disk.clone()), config(), &random)
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, config()).unwrap()
}

fn log() -> LogId {
    chat(1, 2)
}

/// A text that says whose it is, and when it was written.
fn text(whose: &str, seq: u64) -> Vec<u8> {
    format!("entry {seq} of {whose}, ").repeat(20).into_bytes()
}

/// The entries that were acknowledged.
type Acknowledged = BTreeMap<u64, Vec<u8>>;

fn say(store: &EmbeddedStore, whose: &str, count: u64, acknowledged: &mut Acknowledged) {
    for _ in 0..count {
        let seq = heads(store, vec![log()])[0].seq + 1;
        let write = with_body(sample::entry(log(), seq, 0), text(whose, seq));
        acknowledged.insert(seq, entry_of(&write).body.to_vec());
        assert_eq!(write_all(store, vec![write]), [Written::Stored { version: 0 }]);
    }
}

/// Sets registers of another log again and again: most of what is written is dead.
fn waste(store: &EmbeddedStore, count: u64) {
    for _ in 0..count {
        let sets = (0..3).map(|number| set(number, &"what is set again ".repeat(60)));
        let written = write_all(store, vec![Write::registers(chat(8, 9), sets)]);
        assert!(matches!(written[..], [Written::Stored { .. }]), "{written:?}");
    }
}

fn read(store: &EmbeddedStore, seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let range = Range { from: seq, to: seq, ..all(log()) };
    match ask(store, StoreRequest::Ranges(vec![range]))? {
        StoreReply::Pages(mut pages) => {
            Ok(pages.remove(0)?.entries.into_iter().next().map(|found| found.body.to_vec()))
        }
        other => panic!("{other:?}"),
    }
}

/// How many of the acknowledged entries are served, all as they were; the others are refused, or gone with
/// the epoch.
fn served(store: &EmbeddedStore, acknowledged: &Acknowledged) -> usize {
    let mut served = 0;
    for (&seq, body) in acknowledged {
        match read(store, seq) {
            Ok(Some(found)) => {
                assert!(found == *body, "{seq} is {}", String::from_utf8_lossy(&found));
                served += 1;
            }
            Ok(None) => {}
            Err(error) => assert_eq!(error, StoreError::Corrupt { log: log(), seq }),
        }
    }
    served
}

fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    // A running store may have renamed one meanwhile.
    let named = |entry: std::fs::DirEntry| match std::fs::read(entry.path()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        content => Some((entry.file_name().into_string().unwrap(), content.unwrap())),
    };
    files.filter_map(named).filter(|(name, _)| name != "LOCK").collect()
}

/// All that was acknowledged is in some file.
fn assert_kept(files: &BTreeMap<String, Vec<u8>>, acknowledged: &Acknowledged) {
    let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|found| found == part);
    for (seq, body) in acknowledged {
        let is_kept = files.values().any(|file| holds(file, body));
        assert!(is_kept, "entry {seq} is in none of {:?}", files.keys());
    }
}

fn copy(from: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files(from) {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn ending(names: impl IntoIterator<Item = String>, end: &str) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().filter(|name| name.ends_with(end)).collect();
    names.sort();
    names
}

fn logs(path: &Path) -> Vec<String> {
    ending(files(path).into_keys(), ".log")
}

/// What was told at a start, by file.
fn told(store: &EmbeddedStore) -> Vec<(String, DamageKind)> {
    store.recovery().damage.iter().map(|damage| (damage.file.clone(), damage.kind)).collect()
}

fn is_told(store: &EmbeddedStore, file: &str, kind: DamageKind) -> bool {
    told(store).contains(&(file.to_owned(), kind))
}

fn wait_for_index(names: impl Fn() -> Vec<String>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while ending(names(), ".idx").is_empty() {
        assert!(Instant::now() < deadline, "no index file is made");
        std::thread::yield_now();
    }
}

/// A store of several segments on a simulated disk, of which the newest has no index file.
fn simulated() -> (SimulatedDisk, Acknowledged) {
    let (disk, mut acknowledged) = (SimulatedDisk::new(1), Acknowledged::new());
    let store = open_on(&disk).unwrap();
    write_all(&store, vec![Write::registers(chat(8, 9), [set(1, "a name that is taken")])]);
    say(&store, "this", 150, &mut acknowledged);
    wait_for_index(|| disk.names().unwrap());
    drop(store);
    let store = open_on(&disk).unwrap();
    say(&store, "this", 20, &mut acknowledged);
    // It is killed.
    let disk = disk.after_kill();
    drop(store);
    (disk, acknowledged)
}

fn contents(disk: &SimulatedDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.lengths().into_iter().map(|(name, _)| name);
    let names = names.filter(|name| !name.ends_with(".tmp"));
    names.map(|name| (name.clone(), disk.content(&name).unwrap())).collect()
}

/// A path to the disk is gone for one start, and comes back: nothing was changed by it.
#[test]
fn a_start_that_can_read_nothing_changes_nothing() {
    let (before, acknowledged) = simulated();
    let names = before.names().unwrap();
    let newest = ending(names.clone(), ".log").pop().unwrap();
    let patterns: [&[&str]; 5] = [
        &["EXTENT", ".log", ".idx"],
        &["EXTENT", ".log"],
        &["EXTENT", &newest],
        &[".log", ".idx"],
        &[".log"],
    ];
    for pattern in patterns {
        let disk = before.copy();
        let gone = names.iter().filter(|name| pattern.iter().any(|end| name.ends_with(end)));
        let gone: Vec<&String> = gone.collect();
        gone.iter().for_each(|name| disk.cut_off(name, true));
        let was = contents(&disk);
        let refused = open_on(&disk).unwrap_err();
        assert!(matches!(refused, OpenError::Unread { .. }), "{pattern:?}: {refused}");
        let after = contents(&disk);
        for (name, content) in was.iter().filter(|(name, _)| !name.ends_with(".idx")) {
            assert!(after[name] == *content, "{pattern:?}: {name} was changed");
        }
        gone.iter().for_each(|name| disk.cut_off(name, false));
        let store = open_on(&disk).unwrap();
        assert_eq!(served(&store, &acknowledged), acknowledged.len(), "{pattern:?}");
        assert_eq!(told(&store), [], "{pattern:?}");
    }
}

/// `EXTENT` alone keeps nobody from starting; it stays, and what is behind it gets higher numbers. So does a segment
/// of which something can be read.
#[test]
fn a_file_that_cannot_be_read_stays() {
    let (before, acknowledged) = simulated();
    let newest = ending(before.names().unwrap(), ".log").pop().unwrap();
    for name in ["EXTENT", &newest] {
        let disk = before.copy();
        let was = disk.content(name).unwrap();
        if name == "EXTENT" {
            disk.cut_off(name, true);
        } else {
            // Its header and its first batches.
            disk.spoil(name, 0);
            disk.spoil(name, 4096);
        }
        let store = open_on(&disk).unwrap();
        assert!(!told(&store).is_empty());
        say(&store, "later", 3, &mut Acknowledged::new());
        drop(store);
        let kept = if name == "EXTENT" { "EXTENT.stray" } else { name };
        assert!(disk.content(kept).unwrap() == was, "{kept}");
        let after = contents(&disk);
        let logs = ending(contents(&before).into_keys(), ".log");
        assert!(logs.iter().all(|name| after.contains_key(name)), "{logs:?}");
        assert_kept(&after, &acknowledged);
    }
}

/// Where nothing at all can be read of a segment that no index file knows, the disk is away. Who knows better moves the
/// file.
#[test]
fn a_segment_of_which_nothing_can_be_read_stops_the_start() {
    let (disk, acknowledged) = simulated();
    let newest = ending(disk.names().unwrap(), ".log").pop().unwrap();
    disk.cut_off(&newest, true);
    let OpenError::Unread { names, way_out, .. } = open_on(&disk).unwrap_err() else { panic!() };
    assert_eq!((names, &way_out), (vec![newest.clone()], &newest));
    let other = disk.copy();
    disk.cut_off(&newest, false);
    assert_eq!(served(&open_on(&disk).unwrap(), &acknowledged), acknowledged.len());
    other.lose(&way_out);
    let store = open_on(&other).unwrap();
    assert!(is_told(&store, &newest, DamageKind::Missing) && store.recovery().history_lost);
    assert_eq!(served(&store, &acknowledged), acknowledged.len() - 20);
}

/// `LIFE` alone knows a process that was killed before it wrote `EXTENT`; without it the batches tell.
#[test]
fn what_a_process_has_begun_is_read_without_its_life() {
    let (before, acknowledged) = simulated();
    for spoil in
        [|disk: &SimulatedDisk| disk.lose("LIFE"), |disk: &SimulatedDisk| disk.flip("LIFE", 33, 1)]
    {
        let disk = before.copy();
        spoil(&disk);
        let store = open_on(&disk).unwrap();
        assert_eq!(served(&store, &acknowledged), acknowledged.len(), "{:?}", told(&store));
        assert!(!store.recovery().history_lost);
    }
}

/// Without a whole `EXTENT` nobody knows where the newest segment ends.
#[test]
fn nothing_is_cut_without_a_whole_extent() {
    let (disk, acknowledged) = simulated();
    let newest = ending(disk.names().unwrap(), ".log").pop().unwrap();
    let bytes = disk.content(&newest).unwrap().len();
    disk.lose("EXTENT");
    let store = open_on(&disk).unwrap();
    assert_eq!(served(&store, &acknowledged), acknowledged.len());
    drop(store);
    assert_eq!(disk.content(&newest).unwrap().len(), bytes);
}

/// An index file says which names are taken: a start that can't read what it has made does not go on as if
/// there were none.
#[test]
fn an_index_file_that_cannot_be_read_back_stops_the_start() {
    /// A disk that reads no index file while it is told so.
    #[derive(Debug)]
    struct Blind(SimulatedDisk);
    impl Disk for Blind {
        fn path(&self) -> std::path::PathBuf {
            self.0.path()
        }
        fn create(
            &self,
            name: &str,
        ) -> std::io::Result<Arc<dyn dunlin_core::store::embedded::disk::DiskFile>> {
            self.0.create(name)
        }
        fn open(
            &self,
            name: &str,
        ) -> std::io::Result<Arc<dyn dunlin_core::store::embedded::disk::DiskFile>> {
            if name.ends_with(".idx") {
                self.0.cut_off(name, true);
            }
            self.0.open(name)
        }
        fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove(&self, name: &str) -> std::io::Result<()> {
            self.0.remove(name)
        }
        fn names(&self) -> std::io::Result<Vec<String>> {
            self.0.names()
        }
        fn folders(&self) -> std::io::Result<Vec<String>> {
            self.0.folders()
        }
        fn sync_names(&self) -> std::io::Result<()> {
            self.0.sync_names()
        }
    }
    let (disk, acknowledged) = simulated();
    let blind = Arc::new(Blind(disk.clone()));
    let refused = EmbeddedStore::open_on(blind, config(), &SeededRandom::new(99)).unwrap_err();
    assert!(refused.to_string().contains("can't read back"), "{refused}");
    ending(disk.names().unwrap(), ".idx").iter().for_each(|name| disk.cut_off(name, false));
    let store = open_on(&disk).unwrap();
    let register = StoreRequest::Register(vec![(chat(8, 9), key(1))]);
    match ask(&store, register).unwrap() {
        StoreReply::Register(found) => assert!(found[0].as_ref().unwrap().value.is_some()),
        other => panic!("{other:?}"),
    }
    assert_eq!(served(&store, &acknowledged), acknowledged.len());
}

/// A wide name covers no index file.
#[test]
fn a_stray_index_file_takes_the_place_of_none() {
    let (disk, acknowledged) = simulated();
    drop(open_on(&disk).unwrap());
    let indexed = ending(disk.names().unwrap(), ".idx");
    // A segment is lost: only its index file knows what was in it.
    let lost = disk.content("00000001.log").unwrap();
    disk.lose("00000001.log");
    drop(open_on(&disk).unwrap());
    disk.put("00000001-000000ff.idx", b"");
    let store = open_on(&disk).unwrap();
    assert!(served(&store, &acknowledged) < acknowledged.len());
    drop(store);
    // Meanwhile they may have become one; it is of what there was, and knows the same.
    let left = ending(disk.names().unwrap(), ".idx");
    let covers = |wide: &str, name: &str| wide[..8] <= name[..8] && name[9..17] <= wide[9..17];
    let is_left = |name: &String| left.iter().any(|wide| covers(wide, name));
    assert!(indexed.iter().all(is_left), "{indexed:?} {left:?}");
    assert!(!left.contains(&"00000001-000000ff.idx".to_owned()));
    disk.put("00000001.log", &lost);
    assert_eq!(served(&open_on(&disk).unwrap(), &acknowledged), acknowledged.len());
}

/// An index file under another name is no worse for it: it may be all that knows what a lost segment had.
#[test]
fn an_index_file_under_another_name_is_kept() {
    let (disk, acknowledged) = simulated();
    drop(open_on(&disk).unwrap());
    let lost = disk.content("00000001.log").unwrap();
    disk.lose("00000001.log");
    drop(open_on(&disk).unwrap());
    let names = ending(disk.names().unwrap(), ".idx");
    let own = names.into_iter().find(|name| name.starts_with("00000001-")).unwrap();
    let content = disk.content(&own).unwrap();
    // Of a segment that gets one now; of more than there are; of what another one covers.
    for name in ["00000002-00000002.idx", "00000001-000000ff.idx", "00000003-00000003.idx"] {
        if name == own {
            continue;
        }
        let disk = disk.copy();
        disk.lose(&own);
        disk.put(name, &content);
        let aside = format!("{name}.stray");
        let store = open_on(&disk).unwrap();
        assert!(is_told(&store, &aside, DamageKind::Stray), "{:?}", told(&store));
        drop(store);
        assert!(disk.content(&aside).unwrap() == content, "{name}");
        disk.lose(&aside);
        disk.put(&own, &content);
        disk.put("00000001.log", &lost);
        let store = open_on(&disk).unwrap();
        assert_eq!(served(&store, &acknowledged), acknowledged.len(), "{:?}", told(&store));
    }
}

/// A segment under another number, with a header that is no more whole, gets another name each time.
#[test]
fn what_is_not_understood_is_set_aside_under_a_free_name() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut acknowledged) = (folder.path(), Acknowledged::new());
    let store = open(path);
    say(&store, "this", 200, &mut acknowledged);
    drop(store);
    let mut moved = std::fs::read(path.join("00000002.log")).unwrap();
    moved[100] ^= 1;
    std::fs::remove_file(path.join("00000002.log")).unwrap();
    for aside in ["00000009.log.stray", "00000009.log.stray.2", "00000009.log.stray.3"] {
        std::fs::write(path.join("00000009.log"), &moved).unwrap();
        let store = open(path);
        assert!(is_told(&store, aside, DamageKind::Stray), "{:?}", told(&store));
        drop(store);
        assert!(std::fs::read(path.join(aside)).unwrap() == moved);
        assert!(!path.join("00000009.log").exists());
    }
    assert_kept(&files(path), &acknowledged);
}

/// A store in which cleaning has made one file of several segments, with others behind it.
fn with_row(path: &Path) -> (String, Acknowledged) {
    let mut acknowledged = Acknowledged::new();
    let store = open(path);
    for _ in 0..20 {
        say(&store, "this", 1, &mut acknowledged);
        waste(&store, 4);
    }
    store.clean().unwrap();
    drop(store);
    let store = open(path);
    say(&store, "this", 120, &mut acknowledged);
    drop(store);
    let row = logs(path).into_iter().find(|name| name.contains('-'));
    (row.expect("cleaning makes one file of several"), acknowledged)
}

#[test]
fn a_file_within_a_row_goes_only_if_the_row_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let (row, acknowledged) = with_row(folder.path());
    let first = u32::from_str_radix(&row[..8], 16).unwrap();
    let inside = format!("{:08x}.log", first + 1);
    let newest = logs(folder.path()).pop().unwrap();
    for (from, is_junk) in [(newest, false), ("junk".to_owned(), true)] {
        let copy = copy(folder.path());
        let path = copy.path();
        let content =
            if is_junk { vec![b'x'; 5000] } else { std::fs::read(path.join(&from)).unwrap() };
        if !is_junk {
            std::fs::remove_file(path.join(&from)).unwrap();
        }
        std::fs::write(path.join(&inside), &content).unwrap();
        let store = open(path);
        let aside = format!("{inside}.stray");
        assert!(is_told(&store, &aside, DamageKind::Stray), "{:?}", told(&store));
        drop(store);
        assert!(std::fs::read(path.join(&aside)).unwrap() == content);
        assert!(path.join(&row).exists());
        assert_kept(&files(path), &acknowledged);
    }
}

/// What a row was copied from is left by a crash, and goes.
#[test]
fn what_a_row_was_copied_from_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut acknowledged = Acknowledged::new();
    let store = open(path);
    for _ in 0..20 {
        say(&store, "this", 1, &mut acknowledged);
        waste(&store, 4);
    }
    let before = files(path);
    store.clean().unwrap();
    drop(store);
    let row = logs(path).into_iter().find(|name| name.contains('-'));
    let row = row.expect("cleaning makes one file of several");
    let is_of = |name: &&String| name[..8] >= row[..8] && name[..8] <= row[9..17];
    let old: Vec<&String> =
        before.keys().filter(|name| name.ends_with(".log")).filter(is_of).collect();
    assert!(old.len() > 1, "{row} {:?}", before.keys());
    old.iter().for_each(|name| std::fs::write(path.join(name), &before[*name]).unwrap());
    let store = open(path);
    assert_eq!(told(&store), []);
    assert_eq!(served(&store, &acknowledged), acknowledged.len());
    assert!(old.iter().all(|name| !path.join(name).exists()), "{:?}", logs(path));
}

/// One of its two headers is enough, whatever lies beside it.
#[test]
fn a_row_with_one_damaged_header_is_served_beside_junk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (row, acknowledged) = with_row(path);
    let mut content = std::fs::read(path.join(&row)).unwrap();
    content[50] ^= 1;
    std::fs::write(path.join(&row), &content).unwrap();
    let first = u32::from_str_radix(&row[..8], 16).unwrap();
    std::fs::write(path.join(format!("{:08x}.log", first + 1)), [b'x'; 5000]).unwrap();
    let store = open(path);
    assert_eq!(served(&store, &acknowledged), acknowledged.len(), "{:?}", told(&store));
}

/// Somebody has given a file of several segments another name. It is told, with its own name or as what was set
/// aside, and nothing of it goes; under its own name it is served again.
#[test]
fn a_row_under_another_name_is_told_and_served_under_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (row, acknowledged) = with_row(folder.path());
    let (first, last) = (&row[..8], &row[9..17]);
    let number = |text: &str| u32::from_str_radix(text, 16).unwrap();
    let kind = DamageKind::Misplaced { first: number(first), last: number(last) };
    let wider = format!("{first}-{:08x}.log", number(last) + 1);
    let names = [format!("{first}.log"), format!("{last}.log"), "00000900.log".to_owned(), wider];
    for (name, is_damaged) in names.iter().flat_map(|name| [(name, false), (name, true)]) {
        let copy = copy(folder.path());
        let path = copy.path();
        let mut content = std::fs::read(path.join(&row)).unwrap();
        content[50] ^= u8::from(is_damaged);
        std::fs::remove_file(path.join(&row)).unwrap();
        std::fs::write(path.join(name), &content).unwrap();
        let aside = format!("{name}.stray");
        for _ in 0..2 {
            let found = verify_folder(path, config(), |_| {}).unwrap();
            assert!(!found.damage.is_empty() || !found.told.is_empty());
            let store = open(path);
            let is_aside = path.join(&aside).exists();
            assert!(is_aside || is_told(&store, name, kind), "{name} {:?}", told(&store));
            assert!(served(&store, &acknowledged) > 0);
        }
        assert_kept(&files(path), &acknowledged);
        let now = if path.join(&aside).exists() { &aside } else { name };
        assert!(std::fs::read(path.join(now)).unwrap() == content, "{now}");
        std::fs::rename(path.join(now), path.join(&row)).unwrap();
        let store = open(path);
        assert_eq!(served(&store, &acknowledged), acknowledged.len(), "{:?}", told(&store));
    }
}

/// Two copies of a store that have both gone on: this one with many small batches, the other one with more
/// segments.
struct Fork {
    own: tempfile::TempDir,
    other: tempfile::TempDir,
    acknowledged: Acknowledged,
}

fn fork(is_orderly: bool, others: u64) -> Fork {
    let (own, mut acknowledged) = (tempfile::tempdir().unwrap(), Acknowledged::new());
    let store = open(own.path());
    say(&store, "both", 20, &mut acknowledged);
    drop(store);
    let other = copy(own.path());
    let store = open(other.path());
    say(&store, "the other", others, &mut Acknowledged::new());
    drop(store);
    let store = open(own.path());
    say(&store, "this", 30, &mut acknowledged);
    if is_orderly {
        drop(store);
        return Fork { own, other, acknowledged };
    }
    let killed = copy(own.path());
    drop(store);
    Fork { own: killed, other, acknowledged }
}

#[test]
fn a_later_segment_of_another_copy_overrules_nothing() {
    for is_orderly in [false, true] {
        let Fork { own, other, acknowledged } = fork(is_orderly, 300);
        let (path, later) = (own.path(), logs(other.path()).pop().unwrap());
        assert!(!path.join(&later).exists());
        std::fs::copy(other.path().join(&later), path.join(&later)).unwrap();
        let store = open(path);
        assert!(is_told(&store, &later, DamageKind::OtherCopy), "{:?}", told(&store));
        assert_eq!(served(&store, &acknowledged), acknowledged.len());
        drop(store);
        assert_kept(&files(path), &acknowledged);
        assert_eq!(served(&open(path), &acknowledged), acknowledged.len());
    }
}

#[test]
fn an_extent_of_another_copy_cuts_nothing() {
    for is_orderly in [false, true] {
        let Fork { own, other, acknowledged } = fork(is_orderly, 5);
        let path = own.path();
        std::fs::copy(other.path().join("EXTENT"), path.join("EXTENT")).unwrap();
        let store = open(path);
        assert!(is_told(&store, "EXTENT", DamageKind::Outdated), "{:?}", told(&store));
        assert_eq!(served(&store, &acknowledged), acknowledged.len());
        drop(store);
        assert_kept(&files(path), &acknowledged);
        let store = open(path);
        assert_eq!((served(&store, &acknowledged), told(&store)), (acknowledged.len(), vec![]));
    }
}

/// Its texts would be served under the sequences of ours.
#[test]
fn a_segment_of_another_copy_in_the_place_of_ours_is_told_and_not_served() {
    for is_orderly in [false, true] {
        let Fork { own, other, acknowledged } = fork(is_orderly, 30);
        let (path, newest) = (own.path(), logs(own.path()).pop().unwrap());
        let theirs = std::fs::read(other.path().join(&newest)).unwrap();
        std::fs::write(path.join(&newest), &theirs).unwrap();
        let before = store_epoch(path);
        let store = open(path);
        assert!(is_told(&store, &newest, DamageKind::OtherCopy), "{:?}", told(&store));
        assert_eq!(served(&store, &acknowledged), 20);
        assert_ne!(store.epoch(), before);
        drop(store);
        assert!(std::fs::read(path.join(&newest)).unwrap() == theirs);
    }
}

/// The epoch that stands in `STORE`.
fn store_epoch(path: &Path) -> u64 {
    let content = std::fs::read(path.join("STORE")).unwrap();
    u64::from_le_bytes(content[32..40].try_into().unwrap())
}

/// What it was made of is not what has these numbers here.
#[test]
fn a_row_of_another_copy_takes_the_place_of_nothing() {
    let Fork { own, other, mut acknowledged } = fork(true, 1);
    let path = own.path();
    let store = open(path);
    say(&store, "this", 300, &mut acknowledged);
    drop(store);
    let store = open(other.path());
    for _ in 0..20 {
        say(&store, "the other", 1, &mut Acknowledged::new());
        waste(&store, 4);
    }
    store.clean().unwrap();
    drop(store);
    let row = logs(other.path()).into_iter().find(|name| name.contains('-'));
    let row = row.expect("cleaning makes one file of several");
    assert!(logs(path).iter().filter(|name| **name > row && name[..8] <= row[9..17]).count() > 1);
    std::fs::copy(other.path().join(&row), path.join(&row)).unwrap();
    let store = open(path);
    let aside = format!("{row}.stray");
    assert!(is_told(&store, &aside, DamageKind::Stray), "{:?}", told(&store));
    assert_eq!(served(&store, &acknowledged), acknowledged.len());
}

/// Somebody has seen it once; the second time it is another loss.
#[test]
fn a_loss_is_told_each_time_it_happens() {
    let (disk, _) = simulated();
    for _ in 0..3 {
        disk.lose("EXTENT");
        let store = open_on(&disk).unwrap();
        let told = store.verify().unwrap().told;
        assert!(told.iter().any(|told| told.what == "EXTENT is missing"), "{told:?}");
        store.acknowledge_damage().unwrap();
        assert_eq!(store.verify().unwrap().told, []);
    }
}

#[test]
fn a_folder_that_is_called_like_a_file_is_set_aside() {
    for name in [
        "00000009.log",
        "00000001-00000003.log",
        "00000001-00000001.idx",
        "EXTENT",
        "EXTENT.tmp",
        "LIFE",
        "DAMAGE",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut acknowledged) = (folder.path(), Acknowledged::new());
        let store = open(path);
        say(&store, "this", 3, &mut acknowledged);
        drop(store);
        if path.join(name).exists() {
            std::fs::remove_file(path.join(name)).unwrap();
        }
        std::fs::create_dir(path.join(name)).unwrap();
        std::fs::write(path.join(name).join("file"), "as it was").unwrap();
        let store = open(path);
        let aside = format!("{name}.stray");
        assert!(is_told(&store, &aside, DamageKind::Stray), "{name}: {:?}", told(&store));
        assert_eq!(served(&store, &acknowledged), 3);
        assert_eq!(std::fs::read(path.join(aside).join("file")).unwrap(), b"as it was");
    }
}

/// Where a disk should be mounted and is not, a copy is not made elsewhere.
#[test]
fn a_backup_makes_no_folders_above_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mistyped = folder.path().join("mounted").join("backup");
    assert!(matches!(OwnFolder::open(&mistyped), Err(OpenError::Io { .. })));
    assert!(!folder.path().join("mounted").exists());
    drop(Folder::open(folder.path()).unwrap());
}

/// What one start could not read, and how many batches it was, the next one reads: nothing has their numbers.
#[test]
fn what_comes_behind_an_unreadable_end_overrules_nothing() {
    let (disk, acknowledged) = simulated();
    let newest = ending(disk.names().unwrap(), ".log").pop().unwrap();
    // With the first batch, which `EXTENT` knows, or only with later ones.
    for pages in [1..4, 2..4] {
        let disk = disk.copy();
        pages.for_each(|page| disk.spoil(&newest, page * 4096));
        let store = open_on(&disk).unwrap();
        assert!(store.recovery().history_lost);
        assert!(served(&store, &acknowledged) < acknowledged.len());
        waste(&store, 3);
        drop(store);
        disk.heal(&newest);
        ending(disk.names().unwrap(), ".idx").iter().for_each(|name| disk.lose(name));
        let store = open_on(&disk).unwrap();
        assert_eq!(served(&store, &acknowledged), acknowledged.len(), "{:?}", told(&store));
        drop(store);
        assert_kept(&contents(&disk), &acknowledged);
        let store = open_on(&disk).unwrap();
        assert_eq!(served(&store, &acknowledged), acknowledged.len(), "{:?}", told(&store));
    }
}

/// A store, and a copy that was made of it while it ran: both have gone on, the store in the same life.
fn fork_of_running(is_started: bool) -> Fork {
    let (other, mut acknowledged) = (tempfile::tempdir().unwrap(), Acknowledged::new());
    let store = open(other.path());
    for _ in 0..10 {
        say(&store, "both", 2, &mut acknowledged);
        waste(&store, 4);
    }
    let own = copy(other.path());
    let mut others = Acknowledged::new();
    for _ in 0..10 {
        say(&store, "the other", 1, &mut others);
        waste(&store, 4);
    }
    store.clean().unwrap();
    say(&store, "the other", 100, &mut others);
    drop(store);
    if is_started {
        let store = open(own.path());
        say(&store, "this", 1, &mut acknowledged);
        waste(&store, 20);
    }
    Fork { own, other, acknowledged }
}

/// A copy that was never started has the life of the store that it was made of, whose files take the place of its own:
/// these stay under another name, and that is told.
#[test]
fn a_copy_that_was_never_started_loses_nothing_to_a_row_of_the_store() {
    let Fork { own, other, acknowledged } = fork_of_running(false);
    let row = logs(other.path()).into_iter().find(|name| name.contains('-')).unwrap();
    let path = own.path();
    assert!(!path.join(&row).exists());
    std::fs::copy(other.path().join(&row), path.join(&row)).unwrap();
    let before = logs(path);
    let store = open(path);
    assert!(!told(&store).is_empty());
    drop(store);
    let after = files(path);
    let is_kept =
        |name: &String| after.contains_key(name) || after.contains_key(&format!("{name}.stray"));
    assert!(before.iter().all(is_kept), "{before:?} {:?}", after.keys());
    assert_kept(&after, &acknowledged);
}

#[test]
fn a_running_store_and_its_copy_have_different_lives() {
    let Fork { own, other, acknowledged } = fork_of_running(true);
    let names = logs(other.path());
    let row = names.iter().find(|name| name.contains('-')).expect("it has cleaned");
    for name in [names.last().unwrap(), row] {
        let copy = copy(own.path());
        let path = copy.path();
        assert!(!path.join(name).exists());
        std::fs::copy(other.path().join(name), path.join(name)).unwrap();
        let store = open(path);
        assert_eq!(served(&store, &acknowledged), acknowledged.len(), "{name} {:?}", told(&store));
        let file = |file: &str| file.starts_with(name.as_str());
        assert!(told(&store).iter().any(|(told, _)| file(told)), "{name} {:?}", told(&store));
        drop(store);
        assert_kept(&files(path), &acknowledged);
    }
}

/// It is told, and nothing is cut by it, not one batch.
#[test]
fn an_extent_of_a_copy_that_was_made_of_a_running_store_cuts_nothing() {
    let (own, mut acknowledged) = (tempfile::tempdir().unwrap(), Acknowledged::new());
    let store = open(own.path());
    say(&store, "both", 20, &mut acknowledged);
    let (copied, backup) = (copy(own.path()), tempfile::tempdir().unwrap());
    let (backup, restored) = (backup.path().join("backup"), tempfile::tempdir().unwrap());
    store.backup(&backup).unwrap();
    dunlin_core::store::embedded::restore(&backup, restored.path()).unwrap();
    say(&store, "this", 1, &mut acknowledged);
    drop(store);
    drop(open(copied.path()));
    for (other, names) in [
        (copied.path(), &["EXTENT"][..]),
        (copied.path(), &["EXTENT", "LIFE"][..]),
        (restored.path(), &["EXTENT"][..]),
        (restored.path(), &["EXTENT", "STORE"][..]),
    ] {
        let copy = copy(own.path());
        let path = copy.path();
        for name in names {
            std::fs::copy(other.join(name), path.join(name)).unwrap();
        }
        let store = open(path);
        if !names.contains(&"LIFE") {
            assert!(
                is_told(&store, "EXTENT", DamageKind::Outdated),
                "{names:?} {:?}",
                told(&store)
            );
            assert_eq!(served(&store, &acknowledged), acknowledged.len(), "{names:?}");
        }
        drop(store);
        assert_kept(&files(path), &acknowledged);
    }
}

/// What could not be read says later in which life it was begun.
#[test]
fn a_header_that_can_be_read_again_is_of_no_other_copy() {
    let (before, acknowledged) = simulated();
    for name in ending(before.names().unwrap(), ".log") {
        let disk = before.copy();
        disk.lose("EXTENT");
        disk.spoil(&name, 0);
        drop(open_on(&disk).unwrap());
        disk.heal(&name);
        let store = open_on(&disk).unwrap();
        assert_eq!(told(&store), [], "{name}");
        assert_eq!(served(&store, &acknowledged), acknowledged.len(), "{name}");
    }
}

#[test]
fn what_was_told_and_cannot_be_read_is_kept() {
    let (disk, _) = simulated();
    let newest = ending(disk.names().unwrap(), ".log").pop().unwrap();
    disk.flip(&newest, 5000, 1);
    drop(open_on(&disk).unwrap());
    let was = disk.content("DAMAGE").unwrap();
    disk.cut_off("DAMAGE", true);
    disk.flip(&newest, 6000, 1);
    ending(disk.names().unwrap(), ".idx").iter().for_each(|name| disk.lose(name));
    let store = open_on(&disk).unwrap();
    assert!(is_told(&store, "DAMAGE.stray", DamageKind::Stray), "{:?}", told(&store));
    drop(store);
    assert!(disk.content("DAMAGE.stray").unwrap() == was && disk.content("DAMAGE").is_some());
    // It stays told that there was something else.
    for _ in 0..2 {
        let store = open_on(&disk).unwrap();
        let whats: Vec<String> = store.told_damage().into_iter().map(|told| told.what).collect();
        let unread = "what was told at earlier starts can't be read by the disk";
        assert!(whats.iter().any(|what| what.starts_with(unread)), "{whats:?}");
        assert!(!whats.iter().any(|what| what.contains("??")), "{whats:?}");
        drop(store);
        // A second one, of which only a part can't be read.
        disk.lose("DAMAGE.stray");
        let mut content = disk.content("DAMAGE").unwrap();
        content.resize(content.len().next_multiple_of(4096), b'\n');
        content.extend_from_slice(&was);
        disk.put("DAMAGE", &content);
        disk.spoil("DAMAGE", content.len() - 1);
    }
    let store = open_on(&disk).unwrap();
    assert!(disk.content("DAMAGE").unwrap().starts_with(b"{"));
    assert!(store.told_damage().len() > 1, "{:?}", store.told_damage());
}
