//! The first message of a stranger is a request; what a user hides, clears and sets is shared by the user's
//! devices, survives the server, and nobody else can tell.

mod support;

use dunlin_protocol::LogId;
use dunlin_protocol::wire::update_conversation::Change;
use dunlin_protocol::wire::{
    ErrorCode, Membership, RequestState, SetSetting, Setting, UpdateConversation, frame::Body,
};
use support::messages::{history, login, message};
use support::{Client, Node, token};

fn update(client: &mut Client, log: LogId, change: Change) -> Membership {
    let conversation_id = log.to_wire();
    let update = UpdateConversation { conversation_id, change: Some(change) };
    match client.request(Body::UpdateConversation(update)) {
        Body::Membership(membership) => membership,
        other => panic!("{other:?}"),
    }
}

fn request(state: RequestState) -> Change {
    Change::Request(state.into())
}

fn set(key: &str, value: &'static [u8], if_version: Option<u64>) -> Body {
    Body::SetSetting(SetSetting { key: key.into(), value: value.into(), if_version })
}

fn second_device(node: &Node, name: &str) -> Client {
    let mut client = node.connect_tls();
    client.greet();
    client.try_log_in(login(token::credential(name), "another")).expect("it is the same user");
    client.sync();
    client
}

fn said(client: &mut Client, log: LogId, id: &str) -> u64 {
    match client.request(message(log, id, "hello")) {
        Body::Sent(sent) => sent.seq,
        other => panic!("{other:?}"),
    }
}

/// Waits for the push of an entry, or a word that there is one.
fn heard(client: &mut Client, log: LogId) -> u64 {
    client.wait_for(|frame| match &frame.body {
        Some(Body::Push(push)) if push.conversation_id == log.to_wire() => {
            push.entry.as_ref().map(|entry| entry.seq)
        }
        Some(Body::Behind(behind)) if behind.conversation_id == log.to_wire() => Some(behind.head),
        _ => None,
    })
}

fn told(client: &mut Client) -> Membership {
    client.wait_for(|frame| match &frame.body {
        Some(Body::Membership(membership)) if frame.request_id == 0 => Some(membership.clone()),
        _ => None,
    })
}

#[test]
fn a_request_is_accepted_or_ignored_on_all_devices_and_the_stranger_cannot_tell() {
    let node = Node::start();
    let (mut ada, mut bob) = (node.user("ada"), node.user("bob"));
    let mut tablet = second_device(&node, "bob");
    let log = ada.with(&bob);
    assert_eq!(said(&mut ada, log, "1"), 1);
    assert_eq!((heard(&mut bob, log), heard(&mut tablet, log)), (1, 1), "it is pushed");
    let pending = update(&mut bob, log, Change::MarkedUnread(false));
    assert_eq!(pending.request(), RequestState::Pending);

    let ignored = update(&mut bob, log, request(RequestState::Ignored));
    assert_eq!(ignored.request(), RequestState::Ignored);
    assert_eq!(told(&mut tablet), ignored);
    let of_ada = update(&mut ada, log, Change::MarkedUnread(false));
    assert_eq!(of_ada.request(), RequestState::None);
    assert_eq!((said(&mut ada, log, "2"), said(&mut ada, log, "3")), (2, 3));

    // The first that is heard again is that there is something, and what there is was not lost.
    update(&mut bob, log, request(RequestState::None));
    assert_eq!((heard(&mut bob, log), heard(&mut tablet, log)), (3, 3));
    assert!(
        matches!(bob.request(history(log, 0)), Body::HistoryPage(page) if page.entries.len() == 3)
    );
    drop((ada, bob, tablet));
    node.settle();
}

#[test]
fn what_one_has_cleared_is_there_for_the_other_and_comes_back_with_what_is_new() {
    let node = Node::start();
    let (mut ada, mut bob) = (node.user("ada"), node.user("bob"));
    let log = ada.with(&bob);
    for id in ["1", "2", "3"] {
        said(&mut ada, log, id);
        said(&mut bob, log, id);
    }
    let cleared = update(&mut bob, log, Change::ClearUpTo(u64::MAX));
    assert_eq!((cleared.visible_from, cleared.others_cleared), (7, 3));
    let hidden = update(&mut bob, log, Change::HideUpTo(u64::MAX));
    assert_eq!((hidden.hidden_up_to, hidden.visible_from), (6, 7));
    assert!(hidden.version > cleared.version);
    said(&mut ada, log, "4");
    let page = |client: &mut Client| match client.request(history(log, 0)) {
        Body::HistoryPage(page) => (page.entries.len(), page.expired_below),
        other => panic!("{other:?}"),
    };
    assert_eq!((page(&mut bob), page(&mut ada)), ((1, 7), (7, 0)));
    drop((ada, bob));
    node.settle();
}

#[test]
fn devices_share_settings_and_none_overwrites_what_it_has_not_seen() {
    let node = Node::start();
    let (mut phone, mut laptop) = (node.user("ada"), second_device(&node, "ada"));
    let Body::Setting(first) = phone.request(set("theme", b"dark", Some(0))) else { panic!() };
    let heard = laptop.wait_for(|frame| match &frame.body {
        Some(Body::Setting(setting)) => Some(setting.clone()),
        _ => None,
    });
    assert_eq!((heard, first.key.as_str()), (first.clone(), "theme"));
    match laptop.request(set("theme", b"light", Some(0))) {
        Body::Error(error) => {
            assert_eq!(error.code(), ErrorCode::VersionConflict);
            assert_eq!(error.setting, Some(first.clone()));
        }
        other => panic!("{other:?}"),
    }
    let changed = laptop.request(set("theme", b"light", Some(first.version)));
    assert!(matches!(changed, Body::Setting(Setting { version, .. }) if version > first.version));
    for (key, value) in [("", &b"x"[..]), ("with space", b"x"), ("k", &[0; 4097])] {
        assert_eq!(phone.refused_with(set(key, value, None)), ErrorCode::InvalidArgument);
    }
    let long = "k".repeat(49);
    assert_eq!(phone.refused_with(set(&long, b"x", None)), ErrorCode::InvalidArgument);
    drop((phone, laptop));
    node.settle();
}
