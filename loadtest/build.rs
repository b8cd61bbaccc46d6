//! Tells reports which commit the harness was built from, so that figures can be traced to a state of
//! the code.

use std::path::Path;
use std::process::Command;

fn main() {
    // Figures of other builds are good for nothing, and asking would build them anew with each commit.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    println!("cargo::rerun-if-env-changed=DUNLIN_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    // Whoever builds without the history may say it.
    if !is_release || std::env::var_os("DUNLIN_COMMIT").is_some() {
        return;
    }
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo::rustc-env=DUNLIN_COMMIT={commit}");
    }
    // A commit changes the log of HEAD, a checkout HEAD itself.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
