//! Every example in `scenarios/` can be run as it is.
#![forbid(unsafe_code)]

use std::path::Path;

use dunlin_loadtest::plan;

#[test]
fn every_example_is_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        if let Err(error) = plan::read(&file) {
            panic!("{}: {error}", file.display());
        }
    }
}
