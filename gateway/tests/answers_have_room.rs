//! Large answers take their room before they are read: who asks for everything and reads nothing holds a
//! part of it, whoever else asks is answered, and all that was asked for comes when it is read.

mod support;

use dunlin_core::limits::{RESPONSE_BYTES_MAX, SYNC_ROOM_BYTES};
use dunlin_protocol::LogId;
use dunlin_protocol::wire::frame::Body;
use support::messages::{history, login, message, sync};
use support::store::HeldStore;
use support::{Client, Node, eventually, token};

/// The least that two workers can have.
const ROOM: usize = 2 * SYNC_ROOM_BYTES;

/// A page of all entries of the log takes about a megabyte.
fn fill(client: &mut Client, log: LogId) {
    for number in 0..20 {
        let content = vec![number; 60_000];
        assert!(matches!(
            client.request(message(log, &number.to_string(), content)),
            Body::Sent(_)
        ));
    }
}

/// One more session of a user, who asks for so many pages and reads none.
fn greedy(node: &Node, user: &str, device: usize, log: LogId, pages: usize) -> (Client, Vec<u64>) {
    let mut client = node.connect();
    client.greet();
    client.try_log_in(login(token::credential(user), &format!("device {device}"))).unwrap();
    let asked = (0..pages).map(|_| client.send(history(log, 1))).collect();
    (client, asked)
}

#[test]
fn who_reads_nothing_holds_a_part_of_the_room() {
    const SESSIONS: usize = 4;
    const PAGES: usize = 40;
    let store = HeldStore::new();
    let node = Node::over(store.clone(), |config| {
        config.engine.answer_bytes_max = ROOM;
        config.devices.sessions_per_kind = 2 * SESSIONS;
    });
    let (mut ada, mut bob) = (node.user("ada"), node.user("bob"));
    let (logs_of_ada, log_of_bob) = (ada.with(&ada), bob.with(&bob));
    fill(&mut ada, logs_of_ada);
    fill(&mut bob, log_of_bob);
    let before = store.pages_read();
    let mut sessions: Vec<_> =
        (0..SESSIONS).map(|n| greedy(&node, "ada", n, logs_of_ada, PAGES)).collect();
    let counted = || node.server.engine().statistics().total();
    eventually("some of them wait", || counted().answers_waiting > 0);
    for _ in 0..5 {
        assert!(
            matches!(bob.request(history(log_of_bob, 1)), Body::HistoryPage(page) if page.more)
        );
        assert!(matches!(bob.request(sync()), Body::Synced(_)));
        assert!(counted().answer_bytes as usize <= ROOM);
        assert!(node.server.outbox_bytes() <= ROOM, "{}", node.server.outbox_bytes());
    }
    let read = store.pages_read() - before;
    assert!(read < SESSIONS * PAGES, "{read} pages were read for those who read nothing");
    // Nobody was sent away, and nothing is lost.
    // (All read at a time: what one of them has not read is room that the others of this user lack.)
    std::thread::scope(|scope| {
        for (client, asked) in &mut sessions {
            scope.spawn(|| {
                for request_id in asked.drain(..) {
                    let answer = client.answer(request_id);
                    let Body::HistoryPage(page) = answer else { panic!("{answer:?}") };
                    assert!(!page.entries.is_empty() && page.entries[0].seq == 1);
                }
            });
        }
    });
    eventually("all room is given back", || counted().answer_bytes == 0);
    drop((ada, bob, sessions));
    node.settle();
}

#[test]
fn a_page_is_as_large_as_it_ever_was_while_there_is_room() {
    let node = Node::start();
    let mut ada = node.user("ada");
    let log = ada.with(&ada);
    fill(&mut ada, log);
    let Body::HistoryPage(page) = ada.request(history(log, 1)) else { panic!("no page") };
    assert_eq!(page.entries.len(), RESPONSE_BYTES_MAX / 60_050);
    drop(ada);
    node.settle();
}

#[test]
fn who_goes_while_waiting_leaves_nothing_behind() {
    let node = Node::with(|config| config.engine.answer_bytes_max = ROOM);
    let mut ada = node.user("ada");
    let log = ada.with(&ada);
    fill(&mut ada, log);
    let counted = || node.server.engine().statistics().total();
    for device in 0..3 {
        let (client, _) = greedy(&node, "ada", device, log, 100);
        eventually("some of them wait", || counted().answers_waiting > 0);
        client.reset();
        eventually("nothing of it is left", || {
            let counted = counted();
            (counted.answers_waiting, counted.answer_bytes) == (0, 0)
        });
    }
    drop(ada);
    node.settle();
}

#[test]
fn many_syncs_of_a_session_are_answered_one_after_the_other() {
    let node = Node::start();
    let (mut ada, mut bob) = (node.user("ada"), node.user("bob"));
    let log = ada.with(&bob);
    let asked: Vec<_> = (0..64).map(|_| ada.send(sync())).collect();
    assert!(matches!(bob.request(message(log, "meanwhile", "x")), Body::Sent(_)));
    for request_id in asked {
        assert!(matches!(ada.answer(request_id), Body::Synced(_)));
    }
    // What was stored meanwhile is in the last of them, or was pushed behind it.
    assert!(matches!(bob.request(message(log, "afterwards", "x")), Body::Sent(_)));
    let is_push = |frame: &dunlin_protocol::wire::Frame| match &frame.body {
        Some(Body::Push(push)) => push.entry.as_ref().map(|entry| entry.seq),
        _ => None,
    };
    while ada.wait_for(is_push) != 2 {}
    drop((ada, bob));
    node.settle();
}
