//! Replays the corpus of the fuzz targets with the compiler at hand, so that what was found once
//! stays found.

use std::fs;
use std::path::Path;

use dunlin_protocol::limits::FRAME_PREFIX_BYTES;
use support::{hex, text, vectors};

mod support;

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

/// A body of which there is no input is found by chance, if at all.
#[test]
fn every_golden_frame_is_where_fuzzing_begins() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/frame");
    for vector in vectors("frames.json") {
        let body = hex(&vector, "wire").split_off(FRAME_PREFIX_BYTES);
        if body.is_empty() {
            continue;
        }
        let name = text(&vector, "name").to_lowercase();
        let words =
            name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let file = words.collect::<Vec<_>>().join("-");
        let input = fs::read(corpus.join(&file)).unwrap_or_default();
        assert!(input == body, "write the body of {name:?} to fuzz/corpus/frame/{file}");
    }
}

#[test]
fn ids() {
    replay("ids", checks::ids);
}
