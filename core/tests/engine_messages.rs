//! Messages of two users through the engine: stored, acknowledged, pushed, read and found again.

mod engine_support;

use bytes::Bytes;
use dunlin_core::request::{AccountRequest, ConversationRequest, History, Request};
use dunlin_core::store::RegisterRange;
use dunlin_core::store::contract::ask;
use dunlin_protocol::wire::{self, ErrorCode, Notice, frame::Body};
use dunlin_protocol::{LogId, UserId};
use engine_support::{Server, history, send, send_with, text_of};

#[test]
fn a_message_reaches_every_device_of_both_users() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut phone, laptop) = (server.live(ann), server.live(ann));
    let (tablet, mut silent) = (server.live(bob), server.client(bob));
    let log = LogId::direct(ann, bob);

    let sent = phone.send(bob, 1, "hello");
    assert_eq!(sent.seq, 1);
    for device in [&laptop, &tablet] {
        let entry = device.pushed(log);
        assert_eq!((entry.seq, entry.time_ms, entry.sender), (1, sent.time_ms, ann.get()));
        assert_eq!(text_of(&entry), "hello");
    }
    // Whoever sent it has the response; whoever has not synced gets no pushes.
    assert_eq!(silent.history(log).entries.len(), 1);
    assert!(server.inbox.drain(phone.conn).is_empty());
    assert!(server.inbox.drain(silent.conn).is_empty());
    server.engine.stop();
}

#[test]
fn a_retry_stores_nothing_and_gets_the_first_answer() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let mut phone = server.live(ann);
    let log = LogId::direct(ann, bob);
    let first = phone.send(bob, 1, "hello");
    phone.send(bob, 2, "again");
    assert_eq!(phone.send(bob, 1, "hello"), first);
    assert_eq!(phone.refused(send(log, 1, "goodbye")), ErrorCode::MessageIdConflict);
    let silently = send_with(Notice::Silent, log, 1, "hello");
    assert_eq!(phone.refused(silently), ErrorCode::MessageIdConflict, "another notice");
    // Another sender may use the same id.
    assert_eq!(server.live(bob).send(ann, 1, "hello").seq, 3);
    assert_eq!(phone.history(log).head, 3);
    server.engine.stop();
}

#[test]
fn retries_among_new_messages_leave_no_gap() {
    let mut server = Server::start(1);
    let (ann, bob) = (server.account(1), server.account(2));
    let mut phone = server.live(ann);
    let log = LogId::direct(ann, bob);
    let ids = [1, 1, 2, 1, 3, 2, 4, 4, 5];
    let requests: Vec<_> = ids.iter().map(|&id| phone.submit(send(log, id, "x"))).collect();
    for (id, request) in ids.iter().zip(requests) {
        match phone.response(request) {
            Body::Sent(sent) => assert_eq!(sent.seq, u64::from(*id)),
            other => panic!("{other:?}"),
        }
    }
    let page = phone.history(log);
    assert_eq!(page.entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    server.engine.stop();
}

#[test]
fn a_private_mark_is_heard_by_ones_own_devices_alone() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut anns, mut bobs, bobs_other) = (server.live(ann), server.live(bob), server.live(bob));
    let log = LogId::direct(ann, bob);
    for id in 1..=4 {
        anns.send(bob, id, "word");
    }
    let seen_by_ann = |server: &mut Server| {
        let synced = server.client(ann).sync(wire::Sync::default());
        synced.conversations[0].peer_read_seq
    };
    let heard = |client: &engine_support::Client| match client.signalled() {
        Body::ReadReceipt(receipt) => (receipt.user_id, receipt.seq),
        other => panic!("{other:?}"),
    };
    assert_eq!(bobs.mark_read_with(log, 3, true), (3, 3));
    assert_eq!(heard(&bobs_other), (bob.get(), 3));
    assert_eq!(seen_by_ann(&mut server), 0);
    // The next thing that Ann hears of is what is public: below the cursor, and then all of it.
    assert_eq!(bobs.mark_read(log, 2), (3, 3));
    assert_eq!(heard(&anns), (bob.get(), 2));
    assert_eq!(seen_by_ann(&mut server), 2);
    assert_eq!(bobs.mark_read_with(log, 4, true), (4, 4));
    assert_eq!(seen_by_ann(&mut server), 2, "it takes nothing back, and tells nothing");
    assert_eq!(bobs.mark_read(log, 4), (4, 4));
    assert_eq!(heard(&anns), (bob.get(), 4));
    // One's own devices have heard of each move once.
    assert_eq!(heard(&bobs_other), (bob.get(), 4));
    assert!(server.inbox.drain(bobs_other.conn).iter().all(|body| matches!(body, Body::Push(_))));
    server.engine.stop();
}

#[test]
fn what_a_message_does_to_others_is_said_by_its_entry_and_stays_so() {
    let mut server = Server::start(1);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut phone, mut other) = (server.live(ann), server.live(bob));
    let log = LogId::direct(ann, bob);
    let notices = [Notice::Uncounted, Notice::Loud, Notice::Silent, Notice::Uncounted];
    let mut sent = Vec::new();
    for (id, notice) in (1..).zip(notices) {
        sent.push(phone.send_with(notice, bob, id, "word"));
        assert_eq!(other.pushed(log).notice(), notice);
        assert_eq!(phone.send_with(notice, bob, id, "word"), sent[usize::from(id) - 1]);
    }
    let page = other.history(log);
    let told: Vec<_> = page.entries.iter().map(|entry| (entry.notice(), entry.counted)).collect();
    assert_eq!(told, notices.into_iter().zip([0, 1, 2, 2]).collect::<Vec<_>>());
    assert!(page.entries.iter().all(|entry| entry.counted == entry.sender_counted));
    let unknown = wire::Send {
        conversation_id: log.to_wire(),
        client_message_id: vec![9; 16].into(),
        notice: 3,
        ..wire::Send::default()
    };
    let refused = Request::try_from(unknown).unwrap_err();
    assert_eq!((refused.field, refused.code), ("notice", ErrorCode::InvalidArgument));
    server.engine.stop();
}

#[test]
fn nobody_reaches_a_conversation_of_others() {
    let mut server = Server::start(2);
    let (ann, bob, eve) = (server.account(1), server.account(2), server.account(3));
    server.live(ann).send(bob, 1, "secret");
    let mut spy = server.live(eve);
    let log = LogId::direct(ann, bob);
    let signal = wire::Signal { conversation_id: log.to_wire(), ..wire::Signal::default() };
    let first = History {
        from: 1,
        to: 1,
        limit: 1,
        backwards: false,
        from_time_ms: None,
        bytes_max: 1 << 20,
    };
    for request in [
        send(log, 1, "let me in"),
        history(log),
        Request::Conversation(LogId::account(ann), ConversationRequest::History(first)),
        AccountRequest::MarkRead { conversation: log, seq: 1, private: false }.into(),
        signal.try_into().unwrap(),
        send(LogId::group([7; 14]), 1, "hello"),
    ] {
        assert_eq!(spy.refused(request), ErrorCode::NoSuchConversation);
    }
    let synced = spy.sync(wire::Sync::default());
    assert!(synced.conversations.is_empty());
    server.engine.stop();
}

#[test]
fn a_message_needs_an_account_at_both_ends() {
    let mut server = Server::start(2);
    let ann = server.account(1);
    let mut phone = server.live(ann);
    let nobody = UserId::new(99).unwrap();
    let log = phone.with(nobody);
    assert_eq!(phone.refused(send(log, 1, "hello?")), ErrorCode::NoSuchUser);
    // It is no dead end: the user may come into being.
    server.account(99);
    assert_eq!(phone.send(nobody, 1, "hello?").seq, 1);
    server.engine.stop();
}

#[test]
fn who_writes_to_nobody_leaves_nothing_behind() {
    let mut server = Server::start(2);
    let ann = server.account(1);
    let mut phone = server.live(ann);
    for id in 50..60 {
        let log = phone.with(UserId::new(id).unwrap());
        assert_eq!(phone.refused(send(log, 1, "hello?")), ErrorCode::NoSuchUser);
    }
    let account = LogId::account(ann);
    let all = RegisterRange {
        log: account,
        prefix: Default::default(),
        after: None,
        registers_max: 100,
        bytes_max: 1 << 20,
    };
    let registers = ask::registers(&*server.store, all).registers;
    assert_eq!(registers.len(), 1, "that there is the account, and nothing else: {registers:?}");
    server.engine.stop();
}

#[test]
fn a_note_to_oneself_is_never_unread() {
    let mut server = Server::start(2);
    let ann = server.account(1);
    let (mut phone, laptop) = (server.live(ann), server.live(ann));
    phone.send(ann, 1, "milk");
    assert_eq!(text_of(&laptop.pushed(phone.with(ann))), "milk");
    let synced = server.client(ann).sync(wire::Sync::default());
    assert_eq!((synced.conversations.len(), synced.conversations[0].unread), (1, 0));
    server.engine.stop();
}

#[test]
fn what_is_unread_follows_the_read_cursor() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut anns, mut bobs) = (server.live(ann), server.live(bob));
    let other_device = server.live(bob);
    let log = LogId::direct(ann, bob);
    anns.send(bob, 1, "one");
    bobs.send(ann, 1, "two");
    anns.send(bob, 2, "three");
    anns.send(bob, 3, "four");
    let unread = |server: &mut Server, user| {
        let synced = server.client(user).sync(wire::Sync::default());
        let state = &synced.conversations[0];
        (state.read_seq, state.unread, state.peer_read_seq)
    };
    assert_eq!(unread(&mut server, bob), (0, 3, 0));

    assert_eq!(bobs.mark_read(log, 3), (3, 2));
    assert_eq!(unread(&mut server, bob), (3, 1, 0));
    assert_eq!(unread(&mut server, ann), (0, 1, 3));
    let (conversation_id, user_id) = (log.to_wire(), bob.get());
    let receipt = wire::ReadReceipt { conversation_id, user_id, seq: 3, others_counted: 0 };
    assert_eq!(anns.signalled(), Body::ReadReceipt(receipt.clone()));
    // The other devices know as much as the one that asked; the other member need not.
    let own = wire::ReadReceipt { others_counted: 2, ..receipt };
    assert_eq!(other_device.signalled(), Body::ReadReceipt(own));

    // It never moves back, and beyond the head it is the head.
    assert_eq!(bobs.mark_read(log, 1), (3, 2));
    assert_eq!(unread(&mut server, bob), (3, 1, 0));
    assert_eq!(bobs.mark_read(log, 1000), (4, 3));
    assert_eq!(unread(&mut server, bob), (4, 0, 0));
    // What did not move is no news.
    assert!(matches!(anns.signalled(), Body::ReadReceipt(receipt) if receipt.seq == 4));
    assert!(matches!(other_device.signalled(), Body::ReadReceipt(receipt) if receipt.seq == 4));
    assert!(server.inbox.drain(bobs.conn).iter().all(|body| matches!(body, Body::Push(_))));
    server.engine.stop();
}

#[test]
fn a_signal_reaches_the_other_member_only() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut phone, laptop, tablet) = (server.live(ann), server.live(ann), server.live(bob));
    let conversation_id = phone.with(bob).to_wire();
    let (kind, payload) = ("typing".to_owned(), Bytes::from_static(b"..."));
    let mut signal = wire::Signal { conversation_id, kind, payload, sender: 0 };
    let done = phone.ask(signal.clone().try_into().unwrap());
    assert_eq!(done, Body::Done(wire::Done {}));
    signal.sender = ann.get();
    assert_eq!(tablet.signalled(), Body::Signal(signal));
    assert!(server.inbox.drain(laptop.conn).is_empty());
    server.engine.stop();
}

#[test]
fn users_are_found_by_id() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let mut phone = server.live(ann);
    let find = wire::FindUsers { usernames: vec!["nobody".into()], user_ids: vec![2, 2, 77] };
    let users = match phone.ask(find.try_into().unwrap()) {
        Body::Users(users) => users.users,
        other => panic!("{other:?}"),
    };
    assert_eq!(users.len(), 1);
    assert_eq!((users[0].user_id, users[0].username.as_str()), (2, "user2"));
    assert_eq!(users[0].conversation_id, LogId::direct(ann, bob).to_wire());
    server.engine.stop();
}
