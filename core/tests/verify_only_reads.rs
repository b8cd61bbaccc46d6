//! A full check of a folder without a server changes nothing in it, whatever state it is in.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use dunlin_core::store::Written;
use dunlin_core::store::contract::ask::write;
use dunlin_core::store::contract::sample::{chat, entry, with_body};
use dunlin_core::store::embedded::{
    DamageKind, EmbeddedConfig, EmbeddedStore, OpenError, verify_folder,
};

fn small() -> EmbeddedConfig {
    EmbeddedConfig { segment_bytes: 64 * 1024, readers: 1, ..EmbeddedConfig::default() }
}

/// Everything that can be seen of a folder.
fn look(folder: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, (std::fs::read(&path).unwrap(), changed))
    });
    files.collect()
}

fn fill(folder: &Path) {
    let store = EmbeddedStore::open(folder, small()).unwrap();
    for seq in 1..=150 {
        let batch = (0..8).map(|other| {
            let body = vec![1 + seq as u8; 300];
            with_body(entry(chat(1, other + 2), seq, other), body)
        });
        assert!(
            write(&store, batch.collect())
                .iter()
                .all(|answer| matches!(answer, Written::Stored { .. }))
        );
    }
}

/// A copy as `cp` makes it of the files of a server that was killed: spare segments, no index files,
/// half a batch at the end, no lock.
fn killed(folder: &Path, copy: &Path) {
    std::fs::create_dir(copy).unwrap();
    for (name, (content, _)) in look(folder) {
        if !name.ends_with(".idx") && name != "LOCK" {
            std::fs::write(copy.join(name), content).unwrap();
        }
    }
    std::fs::write(copy.join("spare-1.tmp"), [0; 9000]).unwrap();
    std::fs::write(copy.join("STORE.tmp"), [7; 9]).unwrap();
    let newest = copy.join(newest(copy));
    let mut content = std::fs::read(&newest).unwrap();
    let used = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // Of a batch that has begun behind it, only the second sector was written.
    let second = used.next_multiple_of(512);
    content[second..second + 100].fill(7);
    std::fs::write(newest, content).unwrap();
    let mut extent = std::fs::read(copy.join("EXTENT")).unwrap();
    // (The stop was not an orderly one: the slot that says so is the one before.)
    let slots =
        [0, 4096].map(|at| u64::from_le_bytes(extent[at + 32..at + 40].try_into().unwrap()));
    let newer = if slots[0] > slots[1] { 0 } else { 4096 };
    extent[newer..newer + 512].fill(0);
    std::fs::write(copy.join("EXTENT"), extent).unwrap();
}

fn newest(folder: &Path) -> String {
    look(folder).into_keys().filter(|name| name.ends_with(".log")).max().unwrap()
}

#[test]
fn a_whole_store_is_whole_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    fill(&data);
    killed(&data, &copy);
    for path in [&data, &copy] {
        let before = look(path);
        let mut steps = Vec::new();
        let report = verify_folder(path, small(), |step| steps.push(step)).unwrap();
        assert_eq!((report.damage, report.told), (vec![], vec![]));
        assert_eq!((report.entries, report.logs), (1200, 8));
        assert!(look(path) == before, "{} was changed", path.display());
        let last = steps.last().unwrap();
        assert_eq!((last.files, last.bytes), (last.files_total, last.bytes_total));
        assert!(steps.len() > 3 && steps.iter().any(|step| step.bytes < step.bytes_total));
    }
    // It is the same store for a server.
    assert_eq!(EmbeddedStore::open(&copy, small()).unwrap().recovery().damage, []);
}

#[test]
fn damage_is_found_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fill(&data);
    let newest = newest(&data);
    std::fs::remove_file(data.join(&newest)).unwrap();
    let oldest = data.join("00000001.log");
    let mut content = std::fs::read(&oldest).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&oldest, content).unwrap();
    let before = look(&data);
    for _ in 0..2 {
        let report = verify_folder(&data, small(), |_| {}).unwrap();
        let of = |file: &str| report.damage.iter().filter(|d| d.file == file).count();
        assert!(of("00000001.log") >= 1, "{report:?}");
        let missing = report.damage.iter().find(|damage| damage.kind == DamageKind::Missing);
        assert_eq!(missing.map(|damage| &damage.file), Some(&newest));
        assert!(look(&data) == before);
    }
    // A check of a store that has told it says both: what is so still, and what was told.
    drop(EmbeddedStore::open(&data, small()).unwrap());
    let report = verify_folder(&data, small(), |_| {}).unwrap();
    assert!(report.told.iter().any(|told| told.what.contains(&newest)), "{report:?}");
}

/// A flipped bit anywhere in an index file, a file that is cut and one that is longer: each is one place,
/// with the name of the file, and everything else is checked all the same.
#[test]
fn a_damaged_index_file_is_one_place_with_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fill(&data);
    let index = look(&data).into_keys().find(|name| name.ends_with(".idx")).unwrap();
    let path = data.join(&index);
    let good = std::fs::read(&path).unwrap();
    let whole = verify_folder(&data, small(), |_| {}).unwrap();
    let flips = (8..good.len()).step_by(good.len() / 40).map(|at| {
        let mut content = good.clone();
        content[at] ^= 1;
        content
    });
    let cut = good[..good.len() / 2].to_vec();
    let longer = [&good[..], &[7; 100]].concat();
    for content in flips.chain([cut, longer, Vec::new()]) {
        std::fs::write(&path, &content).unwrap();
        let report = verify_folder(&data, small(), |_| {}).unwrap();
        let said: Vec<_> =
            report.damage.iter().map(|damage| (&*damage.file, damage.kind)).collect();
        assert_eq!(said, [(&*index, DamageKind::Index)]);
        assert_eq!((report.entries, report.logs), (whole.entries, whole.logs));
        assert_eq!(report.losses, []);
        // What is damaged besides is found, too.
        let oldest = data.join("00000001.log");
        let before = std::fs::read(&oldest).unwrap();
        let mut damaged = before.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        std::fs::write(&oldest, damaged).unwrap();
        let report = verify_folder(&data, small(), |_| {}).unwrap();
        assert_eq!(report.damage.len(), 2, "{report:?}");
        std::fs::write(&oldest, before).unwrap();
    }
}

#[test]
fn a_folder_that_a_server_uses_and_one_that_holds_no_store_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let store = EmbeddedStore::open(&data, small()).unwrap();
    let refused = verify_folder(&data, small(), |_| {}).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    drop(store);
    std::fs::remove_file(data.join("STORE")).unwrap();
    let refused = verify_folder(&data, small(), |_| {}).unwrap_err();
    assert!(matches!(refused, OpenError::NoIdentity { .. }), "{refused}");
}
