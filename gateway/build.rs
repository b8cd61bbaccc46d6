//! What the program knows of its making: the commit, and which modules log something.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates that log, and where their sources are.
const CRATES: [(&str, &str); 2] = [("dunlin_core", "../core/src"), ("dunlin_gateway", "src")];

fn main() -> io::Result<()> {
    let mut modules = BTreeSet::new();
    for (name, folder) in CRATES {
        modules.insert(name.to_owned());
        // The sources of another crate are not there if this one was taken out of its tree.
        if Path::new(folder).is_dir() {
            println!("cargo:rerun-if-changed={folder}");
            find_modules(Path::new(folder), name, &mut modules)?;
        }
    }
    let modules: Vec<String> = modules.into_iter().collect();
    // Not `DUNLIN_..`, which would be settings: cargo gives these to tests, and they to servers.
    println!("cargo:rustc-env=MODULES_THAT_LOG={}", modules.join(","));
    println!("cargo:rustc-env=COMMIT_OF_BUILD={}", commit().unwrap_or_default());
    Ok(())
}

/// Adds the modules whose files log something, with those that they are in.
fn find_modules(folder: &Path, of: &str, modules: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if path.is_dir() {
            find_modules(&path, &format!("{of}::{stem}"), modules)?;
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && logs_something(&std::fs::read_to_string(&path)?)
        {
            let module = if ["lib", "mod", "main"].contains(&stem) {
                of.to_owned()
            } else {
                format!("{of}::{stem}")
            };
            let ends = module.match_indices("::").map(|(end, _)| end);
            modules.extend(ends.map(|end| module[..end].to_owned()));
            modules.insert(module);
        }
    }
    Ok(())
}

fn logs_something(source: &str) -> bool {
    ["error", "warn", "info", "debug", "trace"]
        .iter()
        .any(|level| source.contains(&format!("tracing::{level}!(")))
}

/// The commit that is checked out, if these are the sources of a clone: from a tarball there is none,
/// and the repository around it, if it lies in another one, says nothing about it.
fn commit() -> Option<String> {
    println!("cargo:rerun-if-env-changed=DUNLIN_COMMIT");
    if let Ok(given) = std::env::var("DUNLIN_COMMIT") {
        return Some(given);
    }
    let root = PathBuf::from("..").canonicalize().ok()?;
    if PathBuf::from(git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != root {
        return None;
    }
    // What changes with each commit, and when another one is checked out.
    for name in ["HEAD", "logs/HEAD"] {
        watch(&git(&["rev-parse", "--git-path", name])?);
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// A file that is not there would be taken for one that has changed each time.
fn watch(path: &str) {
    if Path::new(path).exists() {
        println!("cargo:rerun-if-changed={path}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
