//! Settings: what the devices of a user share.

mod engine_support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_core::request::{AccountRequest, Request};
use dunlin_protocol::limits::{SETTING_VALUE_BYTES_MAX, SETTINGS_BYTES_MAX, SETTINGS_MAX};
use dunlin_protocol::wire::{self, ErrorCode, frame::Body};
use engine_support::{Client, Server};

fn set(key: &str, value: &[u8], if_version: Option<u64>) -> Request {
    let (key, value) = (key.to_owned(), Bytes::copy_from_slice(value));
    AccountRequest::SetSetting { key, value, if_version }.into()
}

fn setting(client: &mut Client, key: &str, value: &[u8], if_version: Option<u64>) -> wire::Setting {
    match client.ask(set(key, value, if_version)) {
        Body::Setting(setting) => setting,
        other => panic!("{other:?}"),
    }
}

fn conflict(client: &mut Client, key: &str, value: &[u8], if_version: u64) -> wire::Setting {
    match client.ask(set(key, value, Some(if_version))) {
        Body::Error(error) if error.code() == ErrorCode::VersionConflict => {
            error.setting.expect("how it is")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_devices_of_a_user_hear_of_a_setting_and_nobody_else() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut phone, laptop, other) = (server.live(ann), server.live(ann), server.live(bob));
    let first = setting(&mut phone, "theme", b"dark", None);
    assert_eq!((&first.key[..], &first.value[..]), ("theme", &b"dark"[..]));
    assert_eq!(laptop.told(), Body::Setting(first.clone()));
    let second = setting(&mut phone, "theme", b"light", None);
    assert!(second.version > first.version);
    assert_eq!(laptop.told(), Body::Setting(second.clone()));
    // What is so already is no change, and nobody is told of it.
    assert_eq!(setting(&mut phone, "theme", b"light", None), second);
    let gone = setting(&mut phone, "theme", b"", None);
    assert!(gone.value.is_empty() && gone.version > second.version);
    assert_eq!(laptop.told(), Body::Setting(gone));
    assert!(server.inbox.drain(phone.conn).is_empty());
    assert!(server.inbox.drain(other.conn).is_empty());
    server.engine.stop();
}

#[test]
fn of_two_devices_that_change_a_setting_at_once_one_is_told_what_the_other_has_set() {
    let mut server = Server::start(1);
    let ann = server.account(1);
    let (mut phone, mut laptop) = (server.live(ann), server.live(ann));
    let none = conflict(&mut phone, "draft", b"hi", 7);
    assert_eq!((none.value.len(), none.version), (0, 0));
    let first = setting(&mut phone, "draft", b"hi", Some(0));
    assert_eq!(conflict(&mut laptop, "draft", b"hello", 0), first);
    let second = setting(&mut laptop, "draft", b"hello", Some(first.version));
    assert_eq!(conflict(&mut phone, "draft", b"hi there", first.version), second);
    // Once it is removed, it is as if it had never been there.
    setting(&mut phone, "draft", b"", Some(second.version));
    let none = conflict(&mut phone, "draft", b"hi", second.version);
    assert_eq!((none.value.len(), none.version), (0, 0));
    setting(&mut laptop, "draft", b"again", Some(0));
    server.engine.stop();
}

#[test]
fn changes_that_are_sent_in_a_row_are_made_one_after_another() {
    let mut server = Server::start(1);
    let ann = server.account(1);
    let mut phone = server.live(ann);
    let asked: Vec<_> =
        (0..=255_u8).map(|n| phone.submit(set(&format!("key{}", n % 3), &[n, 1], None))).collect();
    let mut last = 0;
    for request in asked {
        let Body::Setting(setting) = phone.response(request) else { panic!("refused") };
        assert!(setting.version > last, "in their order");
        last = setting.version;
    }
    server.engine.stop();
}

#[test]
fn an_account_has_room_for_so_many_and_what_is_removed_makes_room() {
    let mut server = Server::start(1);
    let ann = server.account(1);
    let mut phone = server.live(ann);
    for number in 0..SETTINGS_MAX {
        setting(&mut phone, &format!("k{number}"), b"x", None);
    }
    assert_eq!(phone.refused(set("one.more", b"x", None)), ErrorCode::LimitReached);
    setting(&mut phone, "k7", b"y", None);
    setting(&mut phone, "k7", b"", None);
    setting(&mut phone, "one.more", b"x", None);
    assert_eq!(phone.refused(set("k7", b"x", None)), ErrorCode::LimitReached);
    server.engine.stop();
}

#[test]
fn an_account_has_room_for_so_many_bytes() {
    let mut server = Server::start(1);
    let ann = server.account(1);
    let mut phone = server.live(ann);
    let large = vec![b'x'; SETTING_VALUE_BYTES_MAX];
    let fit = SETTINGS_BYTES_MAX as usize / (SETTING_VALUE_BYTES_MAX + 4);
    for number in 0..fit {
        setting(&mut phone, &format!("k{number:03}"), &large, None);
    }
    assert_eq!(phone.refused(set("last", &large, None)), ErrorCode::LimitReached);
    setting(&mut phone, "k000", b"small", None);
    setting(&mut phone, "last", &large, None);
    server.engine.stop();
}

#[test]
fn what_is_refused_is_counted_by_its_code_whatever_it_is() {
    let mut server = Server::start(1);
    let ann = server.account(1);
    let mut phone = server.live(ann);
    conflict(&mut phone, "draft", b"hi", 7);
    let large = vec![b'x'; SETTING_VALUE_BYTES_MAX];
    let refused =
        (0..).find_map(|number| match phone.ask(set(&format!("k{number}"), &large, None)) {
            Body::Error(error) => Some(error.code()),
            _ => None,
        });
    assert_eq!(refused, Some(ErrorCode::LimitReached));
    // A worker publishes what it has counted a few times a second.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let counted = server.engine.statistics().total();
        let of = [ErrorCode::VersionConflict, ErrorCode::LimitReached];
        match of.map(|code| counted.errors_of(code)) {
            [1, 1] => break,
            counts => assert!(Instant::now() < deadline, "{counts:?}"),
        }
        std::thread::yield_now();
    }
    server.engine.stop();
}
