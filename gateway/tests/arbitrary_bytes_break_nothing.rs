//! Whatever bytes come, however they are cut, and whenever the peer goes: the server stands, and
//! serves the next one. Each round has a seed; a failure names it.

mod support;

use std::io::Write;

use dunlin_protocol::wire::{CloseReason, frame::Body};
use support::client::connect;
use support::messages::{hello, history, login, mark_read, message, sync, typing};
use support::{Client, Node, Random, tls, token};

/// A good conversation, as bytes.
fn script(client: &mut Client, name: &str, random: &mut Random) -> Vec<Vec<u8>> {
    let log = dunlin_protocol::LogId::direct(
        dunlin_protocol::UserId::new(1 + random.next() % 1000).unwrap(),
        dunlin_protocol::UserId::new(1 + random.next() % 1000).unwrap(),
    );
    let bodies = [
        hello(),
        login(token::credential(name), name),
        sync(),
        message(log, name, random.bytes(50)),
        history(log, random.next() % 3),
        mark_read(log, random.next() % 3),
        typing(log),
        Body::ListSessions(Default::default()),
    ];
    bodies.map(|body| client.encode(body).1.into_wire().to_vec()).into()
}

/// Changes some bytes, lengths or the order of frames.
fn mutate(frames: &mut Vec<Vec<u8>>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let index = random.below(frames.len());
        let frame = &mut frames[index];
        match random.below(7) {
            0 => drop(frames.remove(index)),
            1 => frame.truncate(random.below(frame.len() + 1)),
            2 => frame.extend(random.bytes(5)),
            3 => frame.iter_mut().take(4).for_each(|byte| *byte = random.next() as u8),
            4 => {
                let again = frame.clone();
                frames.push(again);
            }
            _ if !frame.is_empty() => {
                let at = random.below(frame.len());
                frame[at] ^= 1 << random.below(8);
            }
            _ => {}
        }
        if frames.is_empty() {
            frames.push(vec![0; 4]);
        }
    }
}

/// Writes in pieces, and goes in one way or another. The server may close at any time.
fn speak(mut client: Client, bytes: &[u8], random: &mut Random) {
    let mut left = bytes;
    while !left.is_empty() {
        let (piece, rest) = left.split_at((1 + random.below(200)).min(left.len()));
        if client.try_write(piece).is_err() {
            break;
        }
        left = rest;
    }
    match random.below(4) {
        0 => client.reset(),
        1 => client.shut_writing(),
        _ => {}
    }
}

fn still_serves(node: &Node, seed: u64) {
    let mut client = node.connect();
    client.greet();
    client.heartbeat();
    let standing = node.server.shards_ended().is_empty();
    assert!(standing, "a shard ended after seed {seed}");
}

#[test]
fn mutated_frames() {
    let node = Node::with(|config| config.limits.failed_logins_per_address_max = 1_000_000);
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut client = if seed % 4 == 0 { node.connect_tls() } else { node.connect() };
        let mut frames = script(&mut client, &format!("user{}", seed % 7), &mut random);
        mutate(&mut frames, &mut random);
        speak(client, &frames.concat(), &mut random);
        if seed % 20 == 0 {
            still_serves(&node, seed);
        }
    }
    still_serves(&node, 400);
    assert_eq!(node.server.closed(CloseReason::ServerError), 0);
    node.settle();
}

#[test]
fn random_bytes() {
    let node = Node::start();
    for seed in 1000..1200 {
        let mut random = Random(seed);
        let length = random.below(3000);
        let bytes = random.bytes(length);
        let client = match seed % 3 {
            0 => node.connect(),
            1 => node.connect_tls(),
            _ => Client::plain(node.tls()),
        };
        speak(client, &bytes, &mut random);
    }
    still_serves(&node, 1200);
    node.settle();
}

/// TLS itself: a good handshake with some bits of its records turned, in every phase.
#[test]
fn mutated_records() {
    let node = Node::start();
    let certificate = node.certificate();
    let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
    let configs = versions.map(|version| tls::config(&certificate, &[version]));
    for seed in 2000..2600u64 {
        let mut random = Random(seed);
        let mut conn = tls::connection(&configs[seed as usize % 2]);
        let mut socket = connect(node.tls());
        conn.writer().write_all(&[0; 40]).unwrap();
        // The flight that is changed: 0 is the ClientHello, then the Finished, then data.
        let changed = random.below(3);
        for flight in 0..3 {
            let mut records = Vec::new();
            while conn.wants_write() {
                conn.write_tls(&mut records).unwrap();
            }
            if flight == changed && !records.is_empty() {
                change_records(&mut records, &mut random);
            }
            let cut = random.below(records.len() + 1);
            let written = socket.write_all(&records[..cut]);
            if written.and_then(|()| socket.write_all(&records[cut..])).is_err()
                || flight == changed
            {
                break;
            }
            if conn.read_tls(&mut socket).is_err() || conn.process_new_packets().is_err() {
                break;
            }
            conn.writer().write_all(&[0; 40]).unwrap();
        }
        if seed % 50 == 0 {
            still_serves(&node, seed);
        }
    }
    still_serves(&node, 2600);
    node.settle();
}

/// Turns bits, cuts, repeats, or splits one record into two so that a message spans both.
fn change_records(records: &mut Vec<u8>, random: &mut Random) {
    match random.below(5) {
        0 => records.truncate(random.below(records.len())),
        1 => {
            let again = records.clone();
            records.extend(again);
        }
        2 if records.len() > 7 => {
            let length = usize::from(u16::from_be_bytes([records[3], records[4]]));
            let body = records[5..(5 + length).min(records.len())].to_vec();
            let (first, second) = body.split_at(random.below(body.len()));
            let header = [records[0], records[1], records[2]];
            let record = |part: &[u8]| {
                let length = (part.len() as u16).to_be_bytes();
                [&header[..], &length, part].concat()
            };
            *records = [record(first), record(second), record(&[1, 0xff, 0xff, 0xff])].concat();
        }
        _ => {
            for _ in 0..1 + random.below(3) {
                // The beginning decides more than the rest.
                let end = if random.below(2) == 0 { records.len().min(12) } else { records.len() };
                let at = random.below(end);
                records[at] ^= 1 << random.below(8);
            }
        }
    }
}
