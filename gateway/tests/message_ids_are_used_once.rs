//! A retry stores nothing twice, whichever connection it comes over; the same id with other
//! content is a conflict.

mod support;

use dunlin_protocol::wire::{ErrorCode, entry, frame::Body};
use support::messages::{history, message};
use support::{Client, Node};

fn sent(client: &mut Client, body: Body) -> u64 {
    match client.request(body) {
        Body::Sent(sent) => sent.seq,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_content_gets_the_first_sequence_and_other_content_a_conflict() {
    let node = Node::start();
    let (mut ada, mut bob) = (node.user("ada"), node.user("bob"));
    let log = ada.with(&bob);
    assert_eq!(sent(&mut ada, message(log, "a", "one")), 1);
    assert_eq!(sent(&mut ada, message(log, "b", "two")), 2);
    // Bob's ids are Bob's own.
    assert_eq!(sent(&mut bob, message(log, "a", "three")), 3);
    drop(ada);
    for connect in [Node::user, Node::user_over_tls] {
        let mut ada = connect(&node, "ada");
        assert_eq!(sent(&mut ada, message(log, "a", "one")), 1);
        assert_eq!(sent(&mut ada, message(log, "b", "two")), 2);
        for content in ["", "One", "one ", "three"] {
            let conflict = ada.refused_with(message(log, "a", content));
            assert_eq!(conflict, ErrorCode::MessageIdConflict, "{content:?}");
        }
        let mut other_type = message(log, "a", "one");
        if let Body::Send(send) = &mut other_type {
            send.content_type = "text/html".into();
        }
        assert_eq!(ada.refused_with(other_type), ErrorCode::MessageIdConflict);
        assert!(matches!(ada.request(history(log, 0)), Body::HistoryPage(page) if page.head == 3));
    }
    drop(bob);
    node.settle();
}

/// Whichever of its two names a client gives to text, it is the same message.
#[test]
fn text_has_two_names_and_is_stored_under_one() {
    let node = Node::start();
    let mut ada = node.user("ada");
    let log = ada.with(&ada);
    let typed = |id: &str, content_type: &str, content: &'static [u8]| {
        let mut body = message(log, id, content);
        if let Body::Send(send) = &mut body {
            send.content_type = content_type.into();
        }
        body
    };
    for (seq, names) in [(1, ["", "text/plain"]), (2, ["text/plain", ""])] {
        for name in names {
            assert_eq!(sent(&mut ada, typed(&seq.to_string(), name, b"one")), seq, "{name:?}");
        }
    }
    let Body::HistoryPage(page) = ada.request(history(log, 0)) else { panic!("no page") };
    for entry in page.entries {
        let Some(entry::Body::Message(message)) = entry.body else { panic!("no message") };
        assert_eq!(message.content_type, "");
    }
    for name in ["", "text/plain"] {
        let refused = ada.refused(typed("3", name, b"caf\xe9"));
        assert_eq!((refused.code(), &*refused.field), (ErrorCode::ContentInvalid, "content"));
    }
    assert_eq!(sent(&mut ada, typed("3", "application/x-own", b"caf\xe9")), 3);
}

#[test]
fn copies_that_are_under_way_together() {
    let node = Node::start();
    let (mut ada, bob) = (node.user("ada"), node.user("bob"));
    let log = ada.with(&bob);
    let copies: Vec<_> = (0..200).map(|_| ada.encode(message(log, "a", "one"))).collect();
    let other: Vec<_> = (0..50).map(|_| ada.encode(message(log, "a", "other"))).collect();
    for (_, frame) in copies.iter().chain(&other) {
        ada.write(frame.wire());
    }
    for (request_id, _) in copies {
        assert!(matches!(ada.answer(request_id), Body::Sent(sent) if sent.seq == 1));
    }
    for (request_id, _) in other {
        match ada.answer(request_id) {
            Body::Error(error) => assert_eq!(error.code(), ErrorCode::MessageIdConflict),
            unexpected => panic!("{unexpected:?}"),
        }
    }
    drop((ada, bob));
    node.settle();
}
