//! What a conversation is to one of its members: the request of a stranger, hidden, marked, cleared.

mod engine_support;

use bytes::Bytes;
use dunlin_core::request::{
    AccountRequest, ConversationRequest, MembershipChange, Request, Signal,
};
use dunlin_protocol::wire::{self, ErrorCode, RequestState, frame::Body};
use dunlin_protocol::{LogId, UserId};
use engine_support::{Client, Server, text_of};

fn update(conversation: LogId, change: MembershipChange) -> Request {
    AccountRequest::UpdateConversation { conversation, change }.into()
}

fn changed(client: &mut Client, log: LogId, change: MembershipChange) -> wire::Membership {
    client.update(log, change)
}

/// What it is, by a change that changes nothing.
fn looked_at(client: &mut Client, log: LogId) -> wire::Membership {
    changed(client, log, MembershipChange::MarkedUnread(false))
}

const IGNORE: MembershipChange = MembershipChange::Request(RequestState::Ignored);
const ACCEPT: MembershipChange = MembershipChange::Request(RequestState::None);

#[test]
fn the_first_message_of_a_stranger_is_a_request_until_it_is_answered() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut anns, mut bobs) = (server.live(ann), server.live(bob));
    let log = LogId::direct(ann, bob);
    assert_eq!(bobs.refused(update(log, ACCEPT)), ErrorCode::NoSuchConversation);
    anns.send(bob, 1, "hello");
    assert_eq!(text_of(&bobs.pushed(log)), "hello");
    assert_eq!(looked_at(&mut anns, log).request(), RequestState::None, "who wrote first");
    assert_eq!(looked_at(&mut bobs, log).request(), RequestState::Pending);
    bobs.send(ann, 2, "who are you?");
    assert_eq!(looked_at(&mut bobs, log).request(), RequestState::None);
    // It is over for good.
    assert_eq!(changed(&mut bobs, log, IGNORE).request(), RequestState::None);
    anns.send(bob, 3, "Ann!");
    assert_eq!(text_of(&bobs.pushed(log)), "Ann!");
    server.engine.stop();
}

#[test]
fn what_is_ignored_is_not_pushed_and_the_stranger_cannot_tell() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut anns, mut bobs, tablet) = (server.live(ann), server.live(bob), server.live(bob));
    let log = LogId::direct(ann, bob);
    anns.send(bob, 1, "hello");
    for device in [&bobs, &tablet] {
        device.pushed(log);
    }
    let ignored = changed(&mut bobs, log, IGNORE);
    assert_eq!(ignored.request(), RequestState::Ignored);
    assert_eq!(tablet.told(), Body::Membership(ignored));
    for id in 2..5 {
        assert_eq!(anns.send(bob, id, "hello?").seq, u64::from(id), "as if nothing were");
        assert_eq!(anns.send(bob, id, "hello?").seq, u64::from(id), "a retry too");
    }
    assert_eq!(looked_at(&mut anns, log).request(), RequestState::None);
    for device in [&bobs, &tablet] {
        let told = server.inbox.drain(device.conn);
        assert_eq!(told, [], "nothing comes");
    }
    assert_eq!(bobs.history(log).entries.len(), 4, "it can be looked at");

    // Whoever wants to hear again is told where there is something.
    assert_eq!(changed(&mut bobs, log, ACCEPT).request(), RequestState::None);
    assert_eq!((bobs.told_behind_in(log), tablet.told_behind_in(log)), (4, 4));
    anns.send(bob, 5, "well?");
    assert_eq!(tablet.pushed(log).seq, 5);
    server.engine.stop();
}

#[test]
fn an_answer_ends_it_at_once_on_all_devices() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut anns, mut bobs, tablet) = (server.live(ann), server.live(bob), server.live(bob));
    let log = LogId::direct(ann, bob);
    anns.send(bob, 1, "hello");
    changed(&mut bobs, log, IGNORE);
    anns.send(bob, 2, "hello?");
    bobs.send(ann, 3, "all right");
    anns.send(bob, 4, "oh");
    let seqs: Vec<u64> = [(); 3].iter().map(|()| tablet.pushed(log).seq).collect();
    assert_eq!(seqs, [1, 3, 4], "a gap, which the device fetches");
    assert_eq!(looked_at(&mut bobs, log).request(), RequestState::None);
    server.engine.stop();
}

#[test]
fn what_was_decided_holds_after_a_restart() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let log = LogId::direct(ann, bob);
    let mut bobs = server.live(bob);
    server.live(ann).send(bob, 1, "hello");
    changed(&mut bobs, log, IGNORE);
    let store = server.store.clone();
    server.engine.stop();
    let mut server = Server::with(2, store, |builder| builder);
    let (mut anns, mut bobs) = (server.live(ann), server.live(bob));
    anns.send(bob, 2, "hello?");
    assert_eq!(looked_at(&mut bobs, log).request(), RequestState::Ignored);
    assert_eq!(server.inbox.drain(bobs.conn), []);
    server.engine.stop();
}

#[test]
fn it_is_hidden_until_something_newer_comes_and_marked_until_the_mark_is_taken_off() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut phone, laptop) = (server.live(ann), server.live(ann));
    let log = LogId::direct(ann, bob);
    phone.send(bob, 1, "hello");
    phone.send(bob, 2, "hello?");
    let hidden = changed(&mut phone, log, MembershipChange::HideUpTo(99));
    assert_eq!(hidden.hidden_up_to, 2, "what is above the head is the head");
    assert_eq!(laptop.told(), Body::Membership(hidden));
    assert_eq!(changed(&mut phone, log, MembershipChange::HideUpTo(0)).hidden_up_to, 0);
    let marked = changed(&mut phone, log, MembershipChange::MarkedUnread(true));
    phone.mark_read(log, 2);
    assert_eq!(changed(&mut phone, log, MembershipChange::MarkedUnread(true)), marked);
    assert!(!looked_at(&mut phone, log).marked_unread);
    server.engine.stop();
}

#[test]
fn nobody_changes_what_a_conversation_of_others_is() {
    let mut server = Server::start(2);
    let (ann, bob, eve) = (server.account(1), server.account(2), server.account(3));
    server.live(ann).send(bob, 1, "secret");
    let mut spy = server.live(eve);
    for log in [LogId::direct(ann, bob), LogId::direct(eve, bob), LogId::account(eve)] {
        assert_eq!(spy.refused(update(log, IGNORE)), ErrorCode::NoSuchConversation);
        let clear = MembershipChange::ClearUpTo(1);
        assert_eq!(spy.refused(update(log, clear)), ErrorCode::NoSuchConversation);
    }
    server.engine.stop();
}

#[test]
fn clearing_never_moves_back_and_counts_what_is_cleared() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut anns, mut bobs) = (server.live(ann), server.live(bob));
    let log = LogId::direct(ann, bob);
    for id in 1..=3 {
        anns.send(bob, id, "hello");
        bobs.send(ann, id, "hello");
    }
    let floor = |client: &mut Client, seq| {
        let membership = changed(client, log, MembershipChange::ClearUpTo(seq));
        (membership.visible_from, membership.others_cleared)
    };
    assert_eq!(floor(&mut bobs, 3), (4, 2));
    assert_eq!(floor(&mut bobs, 2), (4, 2));
    let page = bobs.history(log);
    let seqs: Vec<_> = page.entries.iter().map(|entry| entry.seq).collect();
    assert_eq!((seqs, page.head, page.expired_below), (vec![4, 5, 6], 6, 4));
    assert_eq!(anns.history(log).entries.len(), 6, "the other one has all of it");
    let conversation_id = log.to_wire();
    let below = wire::History { conversation_id, to_seq: 3, ..wire::History::default() };
    let Body::HistoryPage(page) = bobs.ask(below.try_into().unwrap()) else { panic!("no page") };
    assert_eq!((page.entries.len(), page.head, page.more), (0, 6, false));
    assert_eq!(floor(&mut bobs, 99), (7, 3));
    assert_eq!(bobs.history(log).entries, []);
    assert_eq!(floor(&mut anns, 1), (2, 0), "each has a floor of one's own");
    server.engine.stop();
}

/// Ten thousand strangers wrote one word each, and the victim could begin no conversation any more, nor could
/// anybody new write to it. The number is smaller here; nothing depends on it.
#[test]
fn a_crowd_of_strangers_locks_nobody_out() {
    let mut server = Server::start(2);
    let victim = server.account(1);
    let mut phone = server.live(victim);
    for id in 100..1_300 {
        let stranger = server.account(id);
        let mut client = server.client(stranger);
        client.send(victim, 1, "hi");
        client.disconnect();
    }
    let (friend, newcomer) = (server.account(2), server.account(3));
    assert_eq!(phone.send(friend, 1, "hello").seq, 1);
    server.live(newcomer).send(victim, 1, "hello");
    let log = LogId::direct(victim, newcomer);
    assert_eq!(text_of(&phone.pushed(log)), "hello");
    assert_eq!(looked_at(&mut phone, log).request(), RequestState::Pending);
    let log = phone.with(friend);
    assert_eq!(looked_at(&mut phone, log).request(), RequestState::None);
    server.engine.stop();
}

/// Who is heard to type next.
fn typing_heard(client: &Client) -> u64 {
    match client.signalled() {
        Body::Signal(signal) => signal.sender,
        other => panic!("{other:?}"),
    }
}

fn types(client: &mut Client, to: UserId) {
    let signal = Signal { kind: "typing".into(), payload: Bytes::new() };
    let log = client.with(to);
    let done = client.ask(Request::Conversation(log, ConversationRequest::Signal(signal)));
    assert!(matches!(done, Body::Done(_)), "as if nothing were: {done:?}");
}

#[test]
fn who_is_ignored_is_not_heard_to_type() {
    // One worker, so that what comes later is told later.
    let mut server = Server::start(1);
    let (ann, bob, cid) = (server.account(1), server.account(2), server.account(3));
    let (mut anns, mut bobs, mut cids) = (server.live(ann), server.live(bob), server.live(cid));
    let log = LogId::direct(ann, bob);
    types(&mut anns, bob);
    assert_eq!(typing_heard(&bobs), ann.get(), "nothing was said yet");
    anns.send(bob, 1, "hello");
    types(&mut anns, bob);
    assert_eq!(typing_heard(&bobs), ann.get(), "a request is heard");
    changed(&mut bobs, log, IGNORE);
    types(&mut anns, bob);
    types(&mut cids, bob);
    assert_eq!(typing_heard(&bobs), cid.get());
    let store = server.store.clone();
    server.engine.stop();

    // Nothing is known of the conversation, but what is stored.
    let mut server = Server::with(1, store, |builder| builder);
    let (mut anns, mut bobs, mut cids) = (server.live(ann), server.live(bob), server.live(cid));
    types(&mut anns, bob);
    types(&mut cids, bob);
    assert_eq!(typing_heard(&bobs), cid.get());
    // Who answers wants to hear, though nobody has taken back that it is ignored.
    bobs.send(ann, 2, "all right");
    types(&mut anns, bob);
    assert_eq!(typing_heard(&bobs), ann.get());
    let store = server.store.clone();
    server.engine.stop();
    let mut server = Server::with(1, store, |builder| builder);
    let (mut anns, bobs) = (server.live(ann), server.live(bob));
    types(&mut anns, bob);
    assert_eq!(typing_heard(&bobs), ann.get());
    server.engine.stop();
}
