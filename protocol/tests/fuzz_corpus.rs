//! Replays the corpus of the fuzz targets with the compiler at hand, so that what was found once
//! stays found.

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks.rs"]
mod checks;

fn replay(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let inputs = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{corpus:?}: {error}"));
    let mut replayed = 0;
    for input in inputs {
        let path = input.unwrap().path();
        println!("{}", path.display());
        check(&fs::read(path).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 10, "{replayed} inputs: the corpus of {target} is not there");
}

#[test]
fn splitter() {
    replay("splitter", checks::splitter);
}

#[test]
fn frame() {
    replay("frame", checks::frame);
}

#[test]
fn ids() {
    replay("ids", checks::ids);
}
