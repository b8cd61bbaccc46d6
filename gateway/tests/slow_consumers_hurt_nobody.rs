//! Who reads too slowly is told less, and in the end to go; nobody else notices.

mod support;

use std::collections::BTreeMap;

use dunlin_protocol::wire::{CloseReason, Frame, entry, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId};
use socket2::SockRef;
use support::messages::{history, message};
use support::{Client, Node, eventually};

const SOFT: usize = 64 * 1024;

fn small_window(client: &Client) {
    SockRef::from(client.stream.socket()).set_recv_buffer_size(64 * 1024).unwrap();
}

/// The text of a message in a frame of pushes or pages.
fn texts(body: Body) -> Vec<(u64, bytes::Bytes)> {
    let entries = match body {
        Body::Push(push) => push.entry.into_iter().collect(),
        Body::HistoryPage(page) => page.entries,
        _ => Vec::new(),
    };
    let text = |entry: dunlin_protocol::wire::Entry| match entry.body? {
        entry::Body::Message(message) => Some((entry.seq, message.content)),
        _ => None,
    };
    entries.into_iter().filter_map(text).collect()
}

/// Fetches what lies after `have`, page by page.
fn fetch(client: &mut Client, log: LogId, have: &mut BTreeMap<u64, bytes::Bytes>, head: u64) {
    let mut next = 1;
    while next <= head {
        let page = client.request(history(log, next));
        let fetched = texts(page);
        next = fetched.last().expect("a page is never empty below the head").0 + 1;
        have.extend(fetched);
    }
}

#[test]
fn pushes_collapse_to_behind_and_history_has_them_all() {
    const MESSAGES: u64 = 300;
    let node = Node::with(|config| config.limits.outbox_bytes_soft = SOFT);
    for connect in [Node::user, Node::user_over_tls] {
        let mut slow = connect(&node, "slow");
        small_window(&slow);
        let mut senders = ["ada", "bob"].map(|name| node.user(name));
        let mut watcher = node.user("watcher");
        // Far more than sockets and outbox hold, from two conversations.
        let way = format!("{connect:?}");
        let mut heads = BTreeMap::new();
        for number in 0..MESSAGES {
            for sender in &mut senders {
                let log = sender.with(&slow);
                let content = vec![number as u8 % 128; 30_000];
                match sender.request(message(log, &format!("{way}{number}"), content)) {
                    Body::Sent(sent) => heads.insert(log.to_wire(), sent.seq),
                    other => panic!("{other:?}"),
                };
            }
            // Memory is bounded, whatever was sent.
            let waiting = node.server.outbox_bytes();
            assert!(waiting <= SOFT + 40_000, "{waiting} bytes wait");
        }
        // Others are served meanwhile.
        let log = senders[0].with(&watcher);
        assert!(matches!(senders[0].request(message(log, &way, "hello")), Body::Sent(_)));
        watcher.wait_for(|frame| matches!(frame.body, Some(Body::Push(_))).then_some(()));
        // It reads again: whole frames, and of each conversation it learns the head, by a push or
        // by a Behind for all that was left out.
        let mut learnt = BTreeMap::new();
        let (mut pushed, mut behind) = (0, 0);
        while learnt != heads {
            let (log, head) = match slow.next().expect("it stays connected").body.unwrap() {
                Body::Behind(it) => {
                    behind += 1;
                    (it.conversation_id, it.head)
                }
                Body::Push(push) => {
                    pushed += 1;
                    (push.conversation_id, push.entry.unwrap().seq)
                }
                other => panic!("{other:?}"),
            };
            if heads.contains_key(&log) {
                learnt.insert(log, head);
            }
        }
        assert!(pushed < 2 * MESSAGES && behind > 0, "{pushed} pushes, {behind} behind");
        for (conversation_id, head) in heads {
            let log = LogId::from_wire(&conversation_id).unwrap();
            let mut have = BTreeMap::new();
            fetch(&mut slow, log, &mut have, head);
            assert_eq!(have.len() as u64, head);
            assert_eq!(have.keys().copied().collect::<Vec<_>>(), (1..=head).collect::<Vec<_>>());
        }
        // And live again: the next message is pushed.
        let log = senders[1].with(&slow);
        assert!(matches!(
            senders[1].request(message(log, &format!("{way}last"), "x")),
            Body::Sent(_)
        ));
        slow.wait_for(|frame: &Frame| {
            let body = frame.body.clone()?;
            texts(body).iter().any(|(_, text)| text == "x").then_some(())
        });
        drop((slow, senders, watcher));
        node.wait_quiet();
    }
    node.settle();
}

#[test]
fn beyond_the_hard_limit_it_is_closed() {
    let node = Node::with(|config| {
        config.limits.outbox_bytes_soft = SOFT;
        config.limits.outbox_bytes_max = 4 << 20;
    });
    let mut other = node.user("other");
    for (count, connect) in (1..).zip([Node::user, Node::user_over_tls]) {
        let mut slow = connect(&node, "slow");
        small_window(&slow);
        let log = slow.with(&slow);
        for number in 0..15 {
            let id = format!("{number}");
            assert!(matches!(slow.request(message(log, &id, vec![7; 60_000])), Body::Sent(_)));
        }
        // Asked for in one piece, so that all of it is under way before any answer waits.
        let asked: Vec<_> = (0..40).map(|_| slow.encode(history(log, 0)).1.into_wire()).collect();
        slow.write(&asked.concat());
        // What waited is gone at once; a part of a frame and the reason are left.
        let mut largest = 0;
        eventually("the memory is given back", || {
            let waiting = node.server.outbox_bytes();
            largest = largest.max(waiting);
            waiting < 1 << 20
        });
        assert!(largest <= 5 << 20, "{largest}");
        let to_other = other.with(&other);
        assert!(matches!(
            other.request(message(to_other, &format!("{count}"), "x")),
            Body::Sent(_)
        ));
        assert_eq!(slow.read_to_close(), Some(CloseReason::SlowConsumer));
        drop(slow);
        node.wait_closed(CloseReason::SlowConsumer, count);
        // It comes back, and finds all.
        let mut back = connect(&node, "slow");
        let mut have = BTreeMap::new();
        fetch(&mut back, log, &mut have, 15);
        assert_eq!(have.len(), 15);
    }
    drop(other);
    node.settle();
}

#[test]
fn requests_of_a_slow_reader_wait_and_none_is_dropped() {
    let node = Node::with(|config| {
        config.limits.outbox_bytes_soft = SOFT;
        // Their answers together stay below the limit at which it would be closed.
        config.protocol.requests_outstanding_max = 8;
    });
    let mut slow = node.user("slow");
    small_window(&slow);
    let log = slow.with(&slow);
    assert!(matches!(slow.request(message(log, "1", vec![7; 60_000])), Body::Sent(_)));
    // Far more answers than the sockets take; written by another thread, for it will block.
    let asked: Vec<(u64, EncodedFrame)> = (0..1000).map(|_| slow.encode(history(log, 1))).collect();
    let mut writer = slow.stream.socket().try_clone().unwrap();
    let bytes: Vec<u8> = asked.iter().flat_map(|(_, frame)| frame.wire().to_vec()).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| std::io::Write::write_all(&mut writer, &bytes).unwrap());
        eventually("answers wait", || node.server.outbox_bytes() > SOFT);
        for (request_id, _) in &asked {
            assert!(matches!(slow.answer(*request_id), Body::HistoryPage(_)));
        }
    });
    drop((slow, writer));
    node.settle();
}

#[test]
fn who_floods_and_reads_nothing_is_not_read_any_more() {
    // More than the buffers of any socket.
    const HEARTBEATS: usize = 64 << 20;
    let node = Node::with(|config| {
        config.limits.outbox_bytes_soft = SOFT;
        // The last one waits for the floods of the others.
        config.timeouts.handshake_timeout_ms = 600_000;
    });
    let [mut ada, mut bob] = ["ada", "bob"].map(|name| node.user(name));
    for (way, mut client) in node.connect_each_way().into_iter().enumerate() {
        small_window(&client);
        let socket = client.stream.socket().try_clone().unwrap();
        socket.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        let flooding = std::thread::spawn(move || {
            // It ends when the sockets are full, since nobody reads at either end.
            client.log_in(&format!("mallory{way}"));
            let full = client.try_write(&vec![0; HEARTBEATS]).is_err();
            (client, full)
        });
        let log = ada.with(&bob);
        let mut largest = 0;
        let mut number = 0;
        while !flooding.is_finished() {
            number += 1;
            let id = format!("{way} {number}");
            assert!(matches!(ada.request(message(log, &id, "x")), Body::Sent(_)));
            bob.wait_for(|frame| matches!(frame.body, Some(Body::Push(_))).then_some(()));
            largest = largest.max(node.server.outbox_bytes());
        }
        let (client, full) = flooding.join().unwrap();
        assert!(full, "all {HEARTBEATS} bytes were read");
        assert!(largest < 2 * SOFT, "{largest} bytes wait");
        // The next one's bytes must not be added to those of one that is just going.
        drop((client, socket));
        eventually("nothing waits", || node.server.outbox_bytes() == 0);
    }
    drop((ada, bob));
    node.settle();
}

/// A client that asks for so many pages of 900 KB and reads none; waits until they wait for it.
fn hoard(node: &Node, name: &str, pages: usize) -> Client {
    let mut hoarder = node.user(name);
    small_window(&hoarder);
    let log = hoarder.with(&hoarder);
    for id in 0..15 {
        let sent = hoarder.request(message(log, &id.to_string(), vec![7; 60_000]));
        assert!(matches!(sent, Body::Sent(_)));
    }
    let asked: Vec<_> = (0..pages).map(|_| hoarder.encode(history(log, 0)).1.into_wire()).collect();
    let before = node.server.outbox_bytes();
    hoarder.write(&asked.concat());
    eventually("pages wait", || node.server.outbox_bytes() > before + 3_000_000);
    hoarder
}

#[test]
fn when_all_together_hold_too_much_each_may_hold_less() {
    const EACH: usize = 256 * 1024;
    let mut node = Node::with(|config| config.limits.outbox_bytes_max = 16 << 20);
    let hoarders = ["one", "two"].map(|name| hoard(&node, name, 10));
    // Some of the pages may still be read.
    let (mut held, mut looks) = (0, 0);
    eventually("no more pages come", || {
        let now = node.server.outbox_bytes();
        looks = if now == held { looks + 1 } else { 0 };
        held = now;
        looks == 100
    });
    // What they hold is too much from now on.
    node.reload(|config| {
        config.limits.outbox_bytes_soft = EACH;
        config.limits.outbox_bytes_max = 4 << 20;
        config.limits.outbox_bytes_node_max = 4 << 20;
    });
    // Under pressure a slow reader may hold an eighth: pushes collapse sooner.
    let (mut ada, mut slow) = (node.user("ada"), node.user("slow"));
    small_window(&slow);
    let log = ada.with(&slow);
    for id in 0..400 {
        let sent = ada.request(message(log, &id.to_string(), vec![1; 20_000]));
        assert!(matches!(sent, Body::Sent(_)));
        let more = node.server.outbox_bytes().saturating_sub(held);
        assert!(more < EACH / 4, "{more} bytes more");
    }
    // It learns of all of them, of most by being told that it is behind.
    let (mut learnt, mut pushed) = (0, 0);
    while learnt != 400 {
        match slow.next().expect("it stays connected").body.unwrap() {
            Body::Behind(it) if it.conversation_id == log.to_wire() => learnt = it.head,
            Body::Push(push) if push.conversation_id == log.to_wire() => {
                learnt = push.entry.unwrap().seq;
                pushed += 1;
            }
            Body::Push(_) | Body::Behind(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(pushed < 400, "nothing was left out");
    drop((hoarders, ada, slow));
    node.settle();
}
