//! Several engines with threads of their own over one store: what crosses between nodes.
//!
//! That the promise holds whatever happens is for the simulation to show; here it is shown that the
//! engines are linked as the simulation assumes.

#[path = "../engine_support/mod.rs"]
mod engine_support;
mod nodes;
mod sessions;
mod strangers;

use dunlin_core::request::Request;
use dunlin_protocol::wire::{self, ErrorCode, frame::Body};
use dunlin_protocol::{LogId, UserId};

use engine_support::{send, text_of};
use nodes::Nodes;

#[test]
fn users_on_different_nodes_talk() {
    let mut nodes = Nodes::start(3);
    let (ann, bob) = (nodes.account(1), nodes.account(2));
    let (mut phone, mut laptop) = (nodes.live(0, ann), nodes.live(1, bob));
    let log = LogId::direct(ann, bob);
    for id in 0..50 {
        let seq = phone.send(bob, id, &format!("ann {id}")).seq;
        let pushed = laptop.pushed(log);
        assert_eq!((pushed.seq, text_of(&pushed)), (seq, &*format!("ann {id}")));
        let seq = laptop.send(ann, id, &format!("bob {id}")).seq;
        let pushed = phone.pushed(log);
        assert_eq!((pushed.seq, text_of(&pushed)), (seq, &*format!("bob {id}")));
    }
    // A third node knows all of it, takes no retry for a new message, and no other for a retry.
    let mut tablet = nodes.live(2, ann);
    assert_eq!(tablet.history(log).head, 100);
    assert_eq!(tablet.send(bob, 7, "ann 7").seq, 15);
    assert_eq!(tablet.refused(send(log, 7, "other")), ErrorCode::MessageIdConflict);
    assert_eq!(tablet.send(bob, 200, "last").seq, 101);
    assert_eq!(text_of(&laptop.pushed(log)), "last");
    assert_eq!(text_of(&phone.pushed(log)), "last");
    nodes.stop();
}

#[test]
fn many_sends_at_once_keep_their_order() {
    let mut nodes = Nodes::start(3);
    let ann = nodes.account(1);
    let mut phone = nodes.live(0, ann);
    // Conversations with homes on each of the nodes.
    let friends: Vec<_> = (2..12).map(|id| nodes.account(id)).collect();
    let mut requests = Vec::new();
    for id in 0..100 {
        for friend in &friends {
            requests.push(phone.submit(send(phone.with(*friend), id, "x")));
        }
    }
    for (place, request) in requests.into_iter().enumerate() {
        match phone.response(request) {
            Body::Sent(sent) => assert_eq!(sent.seq, (place / friends.len()) as u64 + 1),
            other => panic!("{other:?}"),
        }
    }
    assert!(nodes.forwarded() > 0);
    nodes.stop();
}

#[test]
fn receipts_and_signals_and_cursors_cross_nodes() {
    let mut nodes = Nodes::start(2);
    let (ann, bob) = (nodes.account(1), nodes.account(2));
    let (mut phone, mut laptop) = (nodes.live(0, ann), nodes.live(1, bob));
    let other_device = nodes.live(0, bob);
    let log = LogId::direct(ann, bob);
    phone.send(bob, 1, "one");
    laptop.mark_read(log, 1);
    let (conversation_id, user_id) = (log.to_wire(), bob.get());
    let receipt = wire::ReadReceipt { conversation_id, user_id, seq: 1, others_counted: 0 };
    assert_eq!(phone.signalled(), Body::ReadReceipt(receipt.clone()));
    let own = wire::ReadReceipt { others_counted: 1, ..receipt };
    assert_eq!(other_device.signalled(), Body::ReadReceipt(own));
    let signal = wire::Signal {
        conversation_id: log.to_wire(),
        kind: "typing".into(),
        ..wire::Signal::default()
    };
    assert_eq!(phone.ask(Request::try_from(signal).unwrap()), Body::Done(wire::Done {}));
    for device in [&laptop, &other_device] {
        assert!(matches!(device.signalled(), Body::Signal(signal) if signal.sender == ann.get()));
    }
    nodes.stop();
}

#[test]
fn a_home_that_does_not_answer_is_done_without() {
    let mut nodes = Nodes::start(2);
    let ann = nodes.account(1);
    let mut phone = nodes.live(0, ann);
    let bob = nodes.friend_with_home(ann, 1);
    nodes.bus.silence(nodes.id(1));
    let log = LogId::direct(ann, bob);
    let requests: Vec<_> = (0..20).map(|id| phone.submit(send(log, id, "x"))).collect();
    for (seq, request) in (1..).zip(requests) {
        assert!(matches!(phone.response(request), Body::Sent(sent) if sent.seq == seq));
    }
    // Nothing more waits for it, until it is heard again.
    assert_eq!(phone.send(bob, 100, "x").seq, 21);
    nodes.stop();
}

#[test]
fn what_the_bus_loses_is_told() {
    let mut nodes = Nodes::start(2);
    let (ann, bob) = (nodes.account(1), nodes.account(2));
    let (mut phone, mut laptop) = (nodes.live(0, ann), nodes.live(1, bob));
    phone.send(bob, 1, "one");
    laptop.pushed(phone.with(bob));
    nodes.bus.silence(nodes.id(1));
    let seq = phone.send(bob, 2, "two").seq;
    nodes.bus.hear_all();
    laptop.told_behind();
    assert_eq!(laptop.sync(wire::Sync::default()).conversations[0].head, seq);
    nodes.stop();
}

#[test]
fn a_node_that_stops_answers_what_it_has_taken() {
    let mut nodes = Nodes::start(2);
    let ann = nodes.account(1);
    let (mut here, mut there) = (nodes.live(0, ann), nodes.live(1, ann));
    let friends = [nodes.friend_with_home(ann, 0), nodes.friend_with_home(ann, 1)];
    let mut requests = Vec::new();
    for id in 0..100 {
        for friend in friends {
            let log = LogId::direct(ann, friend);
            requests.push((log, here.submit(send(log, id, "x")), 0));
            requests.push((log, there.submit(send(log, 100 + id, "x")), 1));
        }
    }
    nodes.stop_one(1);
    let mut stored = std::collections::BTreeMap::<LogId, Vec<u64>>::new();
    for (log, request, from) in requests {
        let client = if from == 0 { &here } else { &there };
        match client.response(request) {
            Body::Sent(sent) => stored.entry(log).or_default().push(sent.seq),
            // Whatever came to the node after it began to stop.
            Body::Error(error) if from == 1 => assert_eq!(error.code(), ErrorCode::ShuttingDown),
            other => panic!("{other:?}"),
        }
    }
    for (log, mut seqs) in stored {
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "{log}");
        assert_eq!(here.history(log).head, seqs.len() as u64);
    }
    nodes.stop();
}

/// A user of another node who has an account.
fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}
