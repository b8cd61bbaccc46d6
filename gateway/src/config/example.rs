//! The example is the documentation: it must say all, and say the truth.

use toml::{Table, Value};

use super::Sources;
use super::known::defaults;

const EXAMPLE: &str = include_str!("../../dunlin.example.toml");

#[test]
fn the_example_names_every_key_with_its_default() {
    let example: Table = EXAMPLE.parse().unwrap();
    assert_eq!(example, defaults());
}

#[test]
fn the_example_explains_every_key() {
    let mut explained = false;
    for line in EXAMPLE.lines() {
        match line.chars().next() {
            None | Some('[') => explained = false,
            Some('#') => explained = true,
            // Keys that belong together share what is written above them.
            Some(_) => assert!(explained, "{line}"),
        }
    }
}

/// The unit of a time or of a size is in the name, and numbers of both kinds say so.
#[test]
fn names_carry_their_unit() {
    let times = ["timeout", "interval", "delay", "lifetime"];
    let sizes = ["memory", "outbox", "segment", "filter"];
    let sections = defaults();
    let keys = sections.values().filter_map(Value::as_table).flat_map(Table::keys);
    for key in keys {
        let is = |words: &[&str]| words.iter().any(|word| key.contains(word));
        assert!(!is(&times) || key.ends_with("_ms") || key.ends_with("_s"), "{key}");
        assert!(!is(&sizes) || key.contains("_bytes") || key.ends_with("_kib"), "{key}");
    }
}

/// Reads a file.
fn tcp_of(file: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dunlin.toml");
    std::fs::write(&path, file).unwrap();
    let sources = Sources { file: Some(path), ..Sources::default() };
    sources.read().unwrap().listen.tcp
}

#[test]
fn what_the_example_has_in_comments_can_be_used() {
    let uncommented = |first: &str| -> String {
        let (_, rest) = EXAMPLE.split_once(first).expect(first);
        let lines = rest.lines().map_while(|line| line.strip_prefix("# "));
        let lines = lines.filter(|line| line.contains(" = "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let issuer = format!("[issuers.my-app]\n{}", uncommented("# [issuers.my-app]\n"));
    assert_eq!(issuer.matches(" = ").count(), 5, "{issuer}");
    assert_eq!(tcp_of(&issuer), "127.0.0.1:7410");
    let kinds =
        format!("[devices.by_kind]\n{}", uncommented("(phone, tablet, desktop, web, bot):\n"));
    assert!(kinds.contains("phone = 1"), "{kinds}");
    assert_eq!(tcp_of(&kinds), "127.0.0.1:7410");
}
