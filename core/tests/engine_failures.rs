//! Every request is answered, also when the store fails and when the engine stops.

mod engine_support;

use dunlin_core::admin::{AdminError, AdminReply, AdminRequest};
use dunlin_core::store::memory::AppendFailure;
use dunlin_protocol::LogId;
use dunlin_protocol::wire::{ErrorCode, frame::Body};
use engine_support::{Server, send};

#[test]
fn without_the_store_nothing_is_acknowledged() {
    for failure in [AppendFailure::NotStored, AppendFailure::AnswerLost] {
        let mut server = Server::start(2);
        let (ann, bob) = (server.account(1), server.account(2));
        let mut phone = server.live(ann);
        let log = LogId::direct(ann, bob);
        phone.send(bob, 1, "one");
        server.store.fail_appends(1, failure);
        assert_eq!(phone.refused(send(log, 2, "two")), ErrorCode::StoreUnavailable);
        // The retry finds out what became of the first try; nothing is stored twice.
        assert_eq!(phone.send(bob, 2, "two").seq, 2);
        assert_eq!(phone.send(bob, 3, "three").seq, 3);
        assert_eq!(phone.history(log).head, 3);
        server.engine.stop();
    }
}

#[test]
fn a_first_message_survives_a_failed_join() {
    for failure in [AppendFailure::NotStored, AppendFailure::AnswerLost] {
        let mut server = Server::start(2);
        let (ann, bob) = (server.account(1), server.account(2));
        let mut phone = server.live(ann);
        let log = LogId::direct(ann, bob);
        server.store.fail_appends(1, failure);
        assert_eq!(phone.refused(send(log, 1, "one")), ErrorCode::StoreUnavailable);
        server.store.heal();
        assert_eq!(phone.send(bob, 1, "one").seq, 1);
        let synced = server.client(bob).sync(Default::default());
        assert_eq!(synced.conversations.len(), 1);
        server.engine.stop();
    }
}

#[test]
fn who_may_have_missed_something_is_told_without_a_retry() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut phone, mut tablet, mut other) = (server.live(ann), server.live(ann), server.live(bob));
    let log = LogId::direct(ann, bob);
    phone.send(bob, 1, "one");
    assert_eq!((tablet.pushed(log).seq, other.pushed(log).seq), (1, 1));
    server.store.fail_appends(1, AppendFailure::AnswerLost);
    assert_eq!(phone.refused(send(log, 2, "two")), ErrorCode::StoreUnavailable);
    // It was stored, and nobody says it again: all devices of both hear that there is more.
    for client in [&mut phone, &mut tablet, &mut other] {
        assert_eq!(client.told_behind_in(log), 2);
        assert_eq!(client.history(log).head, 2);
    }
    server.engine.stop();
}

#[test]
fn a_stop_answers_what_was_taken_and_refuses_the_rest() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let mut phone = server.live(ann);
    let log = LogId::direct(ann, bob);
    let requests: Vec<_> = (0..200).map(|id| phone.submit(send(log, id, "x"))).collect();
    server.engine.stop();
    for (seq, request) in (1..).zip(requests) {
        match phone.response(request) {
            Body::Sent(sent) => assert_eq!(sent.seq, seq),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(phone.refused(send(log, 201, "too late")), ErrorCode::ShuttingDown);
}

#[test]
fn a_door_may_outlive_the_engine() {
    let server = Server::start(2);
    let door = server.engine.door();
    let list = || door.administer_and_wait(AdminRequest::ListUsers { after: None, limit: 1 });
    assert_eq!(
        list(),
        Ok(AdminReply::Users { users: Vec::new(), damaged: Vec::new(), next: None })
    );
    server.engine.stop();
    assert_eq!(list(), Err(AdminError::Stopped));
}

#[test]
fn statistics_tell_what_happened() {
    let mut server = Server::start(1);
    let (ann, bob) = (server.account(1), server.account(2));
    let (mut phone, tablet) = (server.live(ann), server.live(bob));
    phone.send(bob, 1, "one");
    phone.refused(send(LogId::direct(bob, bob), 1, "two"));
    tablet.pushed(phone.with(bob));
    tablet.disconnect();
    // They are published a few times a second.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let counts = &server.engine.statistics().workers[0];
        if counts.sessions == 1 && counts.commands == 4 {
            assert_eq!((counts.appends, counts.conversations), (1, 1));
            assert_eq!(counts.errors_of(ErrorCode::NoSuchConversation), 1);
            assert!(counts.pushes >= 1 && counts.append_batches == 1);
            assert_eq!(counts.batch_entries.count(), counts.append_batches);
            assert_eq!(counts.batch_entries.sum(), counts.appends);
            // Appends, and what was read before them.
            assert!(counts.store_round_us.count() > counts.append_batches);
            assert!(counts.tick_us.count() >= 1);
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{counts:?}");
        std::thread::yield_now();
    }
    server.engine.stop();
}
