//! Backups that share files with earlier ones: each is whole, whatever becomes of the others.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_core::store::contract::ask::{ask, changes, delete, heads, range, registers, write};
use dunlin_core::store::contract::sample::{
    all, all_registers, chat, entry, set, since, with_body,
};
use dunlin_core::store::embedded::{
    BackupReport, DamagedSource, EmbeddedConfig, EmbeddedStore, OpenError, OwnFolder, check_backup,
    restore, restore_to,
};
use dunlin_core::store::{
    Deletion, Head, Page, Range, Registers, Store, StoreReply, StoreRequest, Write, Written,
};
use dunlin_protocol::LogId;

/// Cleans when it is told to.
fn open(path: &Path) -> EmbeddedStore {
    let config = EmbeddedConfig {
        segment_bytes: 256 * 1024,
        cleaning_bytes_per_second: u64::MAX,
        cleaning_interval: Duration::from_hours(24),
        ..EmbeddedConfig::default()
    };
    EmbeddedStore::open(path, config).unwrap()
}

fn logs() -> Vec<LogId> {
    (2..=5).map(|other| chat(1, other)).collect()
}

fn stored(answers: &[Written]) {
    assert!(answers.iter().all(|answer| matches!(answer, Written::Stored { .. })), "{answers:?}");
}

/// Appends about half a megabyte to each log, and sets registers again.
fn append(store: &EmbeddedStore) {
    for log in logs() {
        let head = heads(store, vec![log])[0].seq;
        for seq in head + 1..=head + 100 {
            let long = with_body(entry(log, seq, 0), vec![seq as u8; 5000]);
            let again = Write::registers(log, [set(seq % 7, &format!("as of {seq}"))]);
            stored(&write(store, vec![long, again]));
        }
    }
}

/// What a store answers.
fn answers(store: &EmbeddedStore) -> Vec<(Head, Page, Registers, Registers)> {
    let all_of = |log| {
        let found = registers(store, all_registers(log));
        (heads(store, vec![log])[0], range(store, all(log)), found, changes(store, since(log, 0)))
    };
    logs().into_iter().map(all_of).collect()
}

fn back_up(store: &EmbeddedStore, to: &Path, earlier: &Path) -> BackupReport {
    let earlier = store.earlier_backup(OwnFolder::open_existing(earlier).unwrap()).unwrap();
    store.backup_to(OwnFolder::open(to).unwrap(), Some(earlier)).unwrap()
}

/// Restores a backup into a new folder beside it, and asks what was stored.
fn restored(backup: &Path) -> Vec<(Head, Page, Registers, Registers)> {
    let target = backup.with_extension("restored");
    restore(backup, &target).unwrap();
    let store = open(&target);
    assert_eq!(store.verify().unwrap().damage, []);
    let answers = answers(&store);
    drop(store);
    std::fs::remove_dir_all(target).unwrap();
    answers
}

/// Segments of a backup, sorted.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    files.sort();
    files
}

/// Bytes of the segments that have a name elsewhere too.
fn linked_bytes(folder: &Path) -> u64 {
    let found = segments(folder).into_iter().map(|path| std::fs::metadata(path).unwrap());
    found.filter(|found| found.nlink() > 1).map(|found| found.len()).sum()
}

/// How a file of one folder is called in another.
fn beside(path: &Path, folder: &Path) -> PathBuf {
    folder.join(path.file_name().unwrap())
}

fn is_one_file(one: &Path, other: &Path) -> bool {
    let inode = |path| std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino())).ok();
    inode(one).is_some() && inode(one) == inode(other)
}

/// Turns a bit in the middle of a file, for every folder in which it has a name.
fn damage(path: &Path) {
    let mut content = std::fs::read(path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(path, content).unwrap();
}

#[test]
fn each_of_a_row_brings_back_what_the_store_answered_then() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |number: u64| folder.path().join(format!("copy-{number}"));
    let store = open(&folder.path().join("data"));
    append(&store);
    store.backup(&copy(0)).unwrap();
    let mut then = vec![answers(&store)];

    append(&store);
    let first = back_up(&store, &copy(1), &copy(0));
    assert!(first.linked_bytes > 1_000_000 && first.bytes > 2 * first.linked_bytes - 500_000);
    then.push(answers(&store));

    // An entry in a segment that both backups have is overwritten there, and the length is the same.
    delete(&store, Deletion::Erase { log: logs()[0], seq: 10 });
    let second = back_up(&store, &copy(2), &copy(1));
    then.push(answers(&store));
    let erased = "00000001.log";
    assert!(is_one_file(&copy(0).join(erased), &copy(1).join(erased)));
    assert!(!is_one_file(&copy(1).join(erased), &copy(2).join(erased)));
    let bytes = |number| std::fs::metadata(copy(number).join(erased)).unwrap().len();
    assert_eq!(bytes(1), bytes(2));
    assert!(second.linked_bytes > first.linked_bytes);

    // Of the third, files are cleaned and merged.
    delete(&store, Deletion::Drop { log: logs()[1] });
    delete(&store, Deletion::Truncate { log: logs()[2], below: 150 });
    append(&store);
    store.clean().unwrap();
    assert!(store.statistics().cleaned_files > 0);
    let third = back_up(&store, &copy(3), &copy(2));
    then.push(answers(&store));
    assert!(third.linked_bytes < second.linked_bytes, "{third:?}");

    let reports = [first, second, third.clone()];
    for (number, report) in (1..).zip(&reports) {
        assert_eq!(report.damaged, 0);
        assert_eq!(check_backup(&copy(number)).unwrap().bytes, report.bytes);
    }
    assert!(then.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(linked_bytes(&copy(3)), third.linked_bytes);
    for (number, then) in (0..).zip(&then) {
        assert!(restored(&copy(number)) == *then, "backup {number}");
    }
    // Whichever go, the others stay.
    for gone in [1, 3, 0] {
        std::fs::remove_dir_all(copy(gone)).unwrap();
        assert!(restored(&copy(2)) == then[2], "without backup {gone}");
    }
    assert_eq!(linked_bytes(&copy(2)), 0);
}

#[test]
fn what_was_interrupted_is_refused_and_confuses_no_later_backup() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| folder.path().join(name);
    let store = open(&folder.path().join("data"));
    append(&store);
    store.backup(&copy("whole")).unwrap();
    append(&store);
    back_up(&store, &copy("next"), &copy("whole"));
    // Files come in this order, so a process that is killed leaves the first of them.
    let mut order = vec![copy("next").join("STORE")];
    order.extend(segments(&copy("next")));
    for left in 0..=order.len() + 1 {
        let cut = copy(&format!("cut-{left}"));
        std::fs::create_dir(&cut).unwrap();
        for path in order.iter().take(left) {
            std::fs::hard_link(path, beside(path, &cut)).unwrap();
        }
        if left > order.len() {
            std::fs::copy(copy("next").join("MANIFEST"), cut.join("MANIFEST.tmp")).unwrap();
        }
        assert!(check_backup(&cut).is_err());
        assert!(restore(&cut, &copy("restored")).is_err());
        assert!(!copy("restored").exists());
        let own = || OwnFolder::open_existing(&cut).unwrap();
        assert!(store.earlier_backup(own()).is_err());
        if left > 0 {
            let refused = store.backup_to(own(), None).unwrap_err();
            assert!(matches!(refused, OpenError::NotEmpty { .. }), "{refused}");
        }
    }
    let report = back_up(&store, &copy("later"), &copy("whole"));
    assert!(report.linked_bytes > 0 && report.damaged == 0);
    let now = answers(&store);
    assert!(restored(&copy("later")) == now);
    assert!(restored(&copy("next")) == now);
}

#[test]
fn a_damaged_earlier_backup_passes_nothing_on() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| folder.path().join(name);
    let store = open(&folder.path().join("data"));
    append(&store);
    store.backup(&copy("earlier")).unwrap();
    append(&store);
    let files = segments(&copy("earlier"));
    damage(&files[0]);
    std::fs::remove_file(&files[1]).unwrap();
    // As if somebody had replaced files, once by a link to what he may not read.
    std::fs::rename(&files[2], copy("victim")).unwrap();
    symlink(copy("victim"), &files[2]).unwrap();
    let longer = [std::fs::read(&files[3]).unwrap(), b"more".to_vec()].concat();
    std::fs::write(&files[3], longer).unwrap();
    // The content is right, but others may read it.
    let open_to_others = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&files[4], open_to_others).unwrap();
    assert!(files.len() > 6);
    assert!(check_backup(&copy("earlier")).is_err());

    let report = back_up(&store, &copy("new"), &copy("earlier"));
    assert_eq!(report.damaged, 4);
    assert!(report.linked_bytes > 0);
    for (number, path) in files.iter().enumerate() {
        let found = std::fs::symlink_metadata(beside(path, &copy("new"))).unwrap();
        assert!(found.is_file() && found.mode() & 0o777 == 0o600, "{found:?}");
        if number < 5 {
            assert_eq!(found.nlink(), 1, "{}", path.display());
        }
    }
    assert!(restored(&copy("new")) == answers(&store));

    // Nor is a manifest believed that was changed, or is one of another store.
    let earlier = |name: &str| {
        let folder = OwnFolder::open_existing(&copy(name)).unwrap();
        store.earlier_backup(folder).unwrap_err()
    };
    damage(&copy("earlier").join("MANIFEST"));
    assert!(matches!(earlier("earlier"), OpenError::Damaged { .. }));
    open(&copy("other")).backup(&copy("of-other")).unwrap();
    assert!(matches!(earlier("of-other"), OpenError::Foreign { .. }));
}

/// A shared file is one file: what damages it damages all backups that have it, and each of them says so.
#[test]
fn damage_of_a_shared_file_is_found_in_each_backup_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| folder.path().join(name);
    let store = open(&folder.path().join("data"));
    append(&store);
    store.backup(&copy("earlier")).unwrap();
    append(&store);
    back_up(&store, &copy("new"), &copy("earlier"));
    damage(&segments(&copy("earlier"))[0]);
    for name in ["earlier", "new"] {
        assert!(check_backup(&copy(name)).is_err());
        assert!(restore(&copy(name), &copy("restored")).is_err());
    }
    let report = back_up(&store, &copy("newest"), &copy("new"));
    assert_eq!(report.damaged, 1);
    assert!(restored(&copy("newest")) == answers(&store));
}

/// A damaged store can still be backed up, whoever does it is told, and what is whole can be restored.
#[test]
fn damage_of_the_store_is_told_by_its_backup_and_takes_nothing_else_with_it() {
    for file_is_lost in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (data, copy, target) =
            (folder.path().join("data"), folder.path().join("copy"), folder.path().join("new"));
        let store = open(&data);
        append(&store);
        drop(store);
        let hurt = segments(&data)[1].clone();
        if file_is_lost {
            std::fs::remove_file(&hurt).unwrap();
        } else {
            damage(&hurt);
        }
        let store = open(&data);
        let report = store.backup(&copy).unwrap();
        assert!(!report.damage.is_empty());
        let name = hurt.file_name().unwrap().to_str().unwrap();
        assert!(report.damage.iter().any(|damage| damage.file == name), "{report:?}");
        let checked = check_backup(&copy).unwrap();
        assert!(!checked.damage.is_empty());
        assert_eq!(checked.entries, report.entries);

        let refused = restore(&copy, &target).unwrap_err();
        let OpenError::DamagedSource { damage } = &refused else { panic!("{refused}") };
        assert_eq!(*damage, checked.damage);
        assert!(!target.exists(), "nothing is made before that");
        let accepted = restore_to(&copy, DamagedSource::Accept, || OwnFolder::open(&target));
        assert_eq!(accepted.unwrap().damage, checked.damage);
        let restored = open(&target);
        assert!(!restored.recovery().damage.is_empty(), "it is told again");
        assert_ne!(restored.epoch(), store.epoch());
        for log in logs() {
            let read = |store: &EmbeddedStore, seq| {
                let one = Range { from: seq, to: seq, ..all(log) };
                let request = StoreRequest::Ranges(vec![one]);
                let Ok(StoreReply::Pages(mut pages)) = ask(store, request) else { panic!() };
                pages.remove(0).map(|page| page.entries)
            };
            for seq in 1..=100 {
                assert_eq!(read(&restored, seq), read(&store, seq), "{seq} of {log}");
            }
        }
    }
}
