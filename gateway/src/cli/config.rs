//! `dunlin config`: every setting as it counts, and where it was said.

use std::io::Write;

use toml::{Table, Value};

use super::{Failure, SettingsArgs, check, printed};
use crate::config::{Config, Key, Loaded};

/// What stands for a secret: as long as that, whatever it is.
const MASK: &str = "(secret)";

/// Prints what a server that starts now would use, as a configuration file, with the origin of each setting behind
/// it. What is wrong with it is told afterwards.
pub(super) fn run(settings: &SettingsArgs, changed_only: bool) -> Result<(), Failure> {
    let loaded = settings.load();
    let config = masked(loaded.config().clone());
    let table = Table::try_from(config)?;
    printed(|out| print_table(out, &Key::new(&[]), &table, &loaded, changed_only))?;
    check(loaded).map(drop).map_err(Failure::from)
}

/// Without what nobody should see over somebody's shoulder, or paste into a ticket.
fn masked(mut config: Config) -> Config {
    for issuer in config.issuers.values_mut() {
        if issuer.is_secret() && !issuer.key.is_empty() {
            issuer.key = MASK.into();
        }
    }
    config
}

/// The settings of a section, then the sections in it.
fn print_table(
    out: &mut dyn Write,
    section: &Key,
    table: &Table,
    loaded: &Loaded,
    changed_only: bool,
) -> std::io::Result<()> {
    let mut is_headed = section.segments().is_empty();
    for (name, value) in table.iter().filter(|(_, value)| !value.is_table()) {
        let origin = loaded.origin(&section.inside(name));
        if changed_only && origin.is_none() {
            continue;
        }
        if !std::mem::replace(&mut is_headed, true) {
            let names: Vec<String> = section.segments().iter().map(|name| bare(name)).collect();
            writeln!(out, "[{}]", names.join("."))?;
        }
        let origin = origin.map_or_else(|| "default".to_owned(), |origin| origin.to_string());
        writeln!(out, "{} = {}  # {origin}", bare(name), written(value)?)?;
    }
    for (name, value) in table {
        if let Value::Table(inner) = value {
            print_table(out, &section.inside(name), inner, loaded, changed_only)?;
        }
    }
    Ok(())
}

/// A name as a key of a file: with quotes, if it needs them.
fn bare(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(is_bare) {
        return name.to_owned();
    }
    serde_json::Value::from(name).to_string()
}

/// As TOML writes numbers, texts and words, which JSON writes alike; there is nothing else.
fn written(value: &Value) -> std::io::Result<String> {
    Ok(serde_json::to_string(value)?)
}
