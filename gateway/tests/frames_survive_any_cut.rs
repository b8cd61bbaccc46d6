//! TCP may cut the stream anywhere. However it does, the same is understood.

mod support;

use dunlin_protocol::EncodedFrame;
use dunlin_protocol::wire::frame::Body;
use support::messages::{hello, login, message, sync};
use support::{Client, Node, Random, WAYS, token};

/// Hello, login, and after that: heartbeats, requests, small and large messages.
fn script(client: &mut Client, name: &str) -> (Vec<u8>, Vec<u8>) {
    let mut opening = client.encode(hello()).1.into_wire().to_vec();
    opening.extend_from_slice(client.encode(login(token::credential(name), name)).1.wire());
    let mut rest = vec![0; 4];
    for body in [sync(), Body::ListSessions(Default::default()), sync()] {
        rest.extend_from_slice(client.encode(body).1.wire());
        rest.extend([0; 4]);
    }
    (opening, rest)
}

/// Writes the script in pieces of these lengths, over and over, and expects every answer.
fn speaks(client: &mut Client, name: &str, mut lengths: impl FnMut() -> usize) {
    let (opening, rest) = script(client, name);
    let mut write = |client: &mut Client, mut bytes: &[u8]| {
        while !bytes.is_empty() {
            let (piece, left) = bytes.split_at(lengths().clamp(1, bytes.len()));
            client.write(piece);
            bytes = left;
        }
    };
    write(client, &opening);
    assert!(matches!(client.answer(1), Body::Welcome(_)));
    assert!(matches!(client.answer(2), Body::LoggedIn(_)));
    write(client, &rest);
    assert!(matches!(client.answer(3), Body::Synced(_)));
    assert!(matches!(client.answer(4), Body::Sessions(_)));
    assert!(matches!(client.answer(5), Body::Synced(_)));
    let heartbeat = |frame: &dunlin_protocol::wire::Frame| frame.body.is_none().then_some(());
    (0..4).for_each(|_| client.wait_for(heartbeat));
}

fn ways(node: &Node) -> [(Client, &'static str); WAYS] {
    let [plain, tls, web, web_tls] = node.connect_each_way();
    [(plain, "ada"), (tls, "bob"), (web, "cyd"), (web_tls, "dan")]
}

#[test]
fn one_byte_at_a_time() {
    let node = Node::start();
    for (mut client, name) in ways(&node) {
        speaks(&mut client, name, || 1);
    }
    node.settle();
}

#[test]
fn two_pieces_with_the_cut_at_every_byte() {
    let node = Node::start();
    let (opening, rest) = script(&mut node.connect(), "ada");
    let longest = opening.len().max(rest.len());
    // Over TLS a cut is where a record ends; a few are enough there.
    for (way, step) in [(0, 1), (1, 37), (2, 1), (3, 37)] {
        for cut in (1..longest).step_by(step) {
            let (mut client, name) = ways(&node).into_iter().nth(way).unwrap();
            let mut first = false;
            speaks(&mut client, name, || {
                first = !first;
                if first { cut } else { usize::MAX }
            });
        }
    }
    node.settle();
}

#[test]
fn pieces_of_random_lengths() {
    let node = Node::start();
    let mut random = Random(1);
    for _ in 0..40 {
        for (mut client, name) in ways(&node) {
            speaks(&mut client, name, || random.below(90));
        }
    }
    node.settle();
}

#[test]
fn many_frames_in_one_write() {
    const SENDS: u64 = 2000;
    let node = Node::start();
    for (mut client, name) in ways(&node) {
        client.log_in(name);
        client.sync();
        let to = client.with(&client);
        let mut bytes = Vec::new();
        let sends: Vec<(u64, EncodedFrame)> = (0..SENDS)
            .map(|n| client.encode(message(to, &n.to_string(), format!("{n}"))))
            .collect();
        sends.iter().for_each(|(_, frame)| bytes.extend_from_slice(frame.wire()));
        // Written by another thread, since the server stops reading while too much is unanswered.
        let mut stream = client.stream.socket().try_clone().unwrap();
        std::thread::scope(|scope| {
            if matches!(client.stream, support::Stream::Plain(_)) {
                let bytes = &bytes;
                scope.spawn(move || std::io::Write::write_all(&mut stream, bytes).unwrap());
            } else {
                client.write(&bytes);
            }
            for (seq, (request_id, _)) in (1..).zip(sends) {
                match client.answer(request_id) {
                    Body::Sent(sent) => assert_eq!(sent.seq, seq),
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    node.settle();
}

#[test]
fn large_messages_in_small_pieces() {
    let node = Node::start();
    for (mut client, name) in ways(&node) {
        client.log_in(name);
        let to = client.with(&client);
        for (seq, length) in [(1, 0), (2, 1), (3, 16 * 1024), (4, 64 * 1024)] {
            let content = vec![seq as u8; length];
            let (request_id, frame) = client.encode(message(to, &length.to_string(), content));
            for piece in frame.wire().chunks(1500) {
                client.write(piece);
            }
            assert!(matches!(client.answer(request_id), Body::Sent(sent) if sent.seq == seq));
        }
    }
    node.settle();
}
