//! docs/protocol.md says something about everything that can be on the wire, and nothing wrong
//! about the numbers.

mod support;

use std::fs;
use std::path::Path;

use dunlin_protocol::limits;
use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor};

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    fs::read_to_string(path).expect("the document is part of the repository")
}

/// The text from a heading to the next one.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let (_, from) = document.split_once(heading).unwrap_or_else(|| panic!("no {heading:?}"));
    from.split("\n#").next().expect("split gives at least one part")
}

/// The cells of the rows of the tables of a section.
fn rows(section: &str) -> Vec<Vec<&str>> {
    let rows = section.lines().filter(|line| line.starts_with("| "));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn an_enum(message: &MessageDescriptor, field: &str) -> EnumDescriptor {
    match message.get_field_by_name(field).expect(field).kind() {
        Kind::Enum(descriptor) => descriptor,
        kind => panic!("{field} is {kind:?}"),
    }
}

fn a_message(name: &str) -> MessageDescriptor {
    let pool = support::frame_descriptor().parent_pool().clone();
    pool.get_message_by_name(&format!("dunlin.v1.{name}")).expect(name)
}

/// Every value but the unspecified one has a row with its number, its name, and two full cells.
fn assert_documented(descriptor: &EnumDescriptor, prefix: &str, heading: &str) {
    let document = document();
    let rows = rows(section(&document, heading));
    let codes: Vec<_> = rows.iter().filter(|row| row[0].parse::<u32>().is_ok()).collect();
    let values: Vec<_> = descriptor.values().filter(|value| value.number() != 0).collect();
    for value in &values {
        let name = value.name().strip_prefix(prefix).expect("all values share the prefix");
        let row = codes.iter().find(|row| row[1] == format!("`{name}`"));
        let row = row.unwrap_or_else(|| panic!("{name} is not under {heading:?}"));
        assert_eq!(row[0], value.number().to_string(), "the number of {name}");
        assert_eq!(row.len(), 4, "{row:?}");
        assert!(row[2..].iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
    assert_eq!(codes.len(), values.len(), "{heading:?} documents a code that does not exist");
}

#[test]
fn every_error_code_says_what_to_do() {
    let code = an_enum(&a_message("Error"), "code");
    assert_documented(&code, "ERROR_CODE_", "### Error codes\n");
}

#[test]
fn every_close_reason_says_what_to_do() {
    let reason = an_enum(&a_message("Close"), "reason");
    assert_documented(&reason, "CLOSE_REASON_", "### Close reasons\n");
}

#[test]
fn every_frame_body_is_mentioned() {
    let document = document();
    let words: Vec<&str> = document.split(|c: char| !c.is_alphanumeric()).collect();
    for field in support::frame_descriptor().fields() {
        if let Kind::Message(body) = field.kind() {
            assert!(words.contains(&body.name()), "{} is not in docs/protocol.md", body.name());
        }
    }
}

#[test]
fn limits_in_the_document_are_those_of_the_code() {
    let document = document();
    let rows = rows(section(&document, "## 18. Limits\n"));
    let expected = [
        ("frame body before login", limits::FRAME_BYTES_MAX_BEFORE_LOGIN as usize),
        ("frame body of the server", limits::FRAME_BYTES_MAX as usize),
        ("content of a message", limits::CONTENT_BYTES_MAX),
        ("payload of a signal", limits::SIGNAL_BYTES_MAX),
        ("content type, signal kind", limits::TYPE_BYTES_MAX),
        ("display name, device name, client name", limits::NAME_BYTES_MAX),
        ("user name", *limits::USERNAME_LENGTH.start()),
        ("password", *limits::PASSWORD_BYTES.start()),
        ("entries in a History page", limits::HISTORY_ENTRIES_MAX as usize),
        ("positions in a Sync", limits::SYNC_POSITIONS_MAX),
        ("entries per conversation in Synced", limits::SYNC_ENTRIES_MAX as usize),
        ("names and ids in FindUsers", limits::FIND_USERS_MAX),
        ("settings of an account", limits::SETTINGS_MAX as usize),
        ("keys and values of all of them", limits::SETTINGS_BYTES_MAX as usize),
        ("key of a setting", limits::SETTING_KEY_BYTES_MAX),
        ("value of a setting", limits::SETTING_VALUE_BYTES_MAX),
        ("frame body after login", limits::FRAME_BYTES_MAX as usize),
        ("requests that wait for their response", limits::REQUESTS_OUTSTANDING_MAX as usize),
        ("heartbeat interval", limits::HEARTBEAT_INTERVAL_MS as usize),
    ];
    for (name, value) in expected {
        let row = rows.iter().find(|row| row[0] == name);
        let cell = row.unwrap_or_else(|| panic!("{name:?} is not in the table"))[1];
        let number = cell.split(' ').next().expect("split gives at least one part");
        assert_eq!(number.replace(',', ""), value.to_string(), "{name}");
    }
}

#[test]
fn links_within_the_document_lead_somewhere() {
    let document = document();
    let anchors: Vec<String> = document
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
        })
        .collect();
    for link in document.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(anchors.iter().any(|anchor| anchor == link), "#{link} leads nowhere");
    }
}
