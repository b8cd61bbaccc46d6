//! Replays the corpus of the fuzz target with the compiler at hand, and what becomes of it by chance, so
//! that what was found once stays found. `REQUESTS_SEEDS=1000..2000` tries other seeds.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/checks.rs"]
mod checks;

/// Inputs that are made of others, in each of which bytes change by chance.
const SEEDS: std::ops::Range<u64> = 0..200;

fn folder(path: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Bodies one after the other, as the target reads them.
fn said(bodies: &[&Vec<u8>]) -> Vec<u8> {
    let framed = |body: &&Vec<u8>| [&(body.len() as u16).to_be_bytes()[..], &body[..]].concat();
    bodies.iter().flat_map(framed).collect()
}

#[test]
fn what_was_found_once_is_answered_well() {
    let corpus = folder("fuzz/corpus/requests");
    assert!(corpus.len() >= 10, "{} inputs: the corpus is not there", corpus.len());
    corpus.iter().for_each(|input| checks::requests(input));
}

#[test]
fn whatever_a_client_says_each_request_is_answered_once() {
    let mut golden = folder("../protocol/fuzz/corpus/frame");
    golden.retain(|body| body.len() < 1000 && checks::goes_on(body));
    assert!(golden.len() > 20, "{} requests: the corpus is not there", golden.len());
    let seeds = std::env::var("REQUESTS_SEEDS").map_or(SEEDS, |text| {
        let (first, end) = text.split_once("..").expect("REQUESTS_SEEDS is like 1000..2000");
        first.parse().unwrap()..end.parse().unwrap()
    });
    for seed in seeds {
        let mut state = seed;
        // splitmix64
        let mut below = |end: usize| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed ^ (mixed >> 31)) as usize % end
        };
        let bodies: Vec<_> = (0..1 + below(40)).map(|_| &golden[below(golden.len())]).collect();
        let mut input = said(&bodies);
        for _ in 0..below(12) {
            let place = below(input.len());
            input[place] = below(256) as u8;
        }
        let answered = std::panic::catch_unwind(|| checks::requests(&input));
        assert!(answered.is_ok(), "replay it with REQUESTS_SEEDS={seed}..{}", seed + 1);
    }
}
