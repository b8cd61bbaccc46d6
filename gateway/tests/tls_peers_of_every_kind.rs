//! TLS as it should be, and what else comes to its port.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use dunlin_protocol::EncodedFrame;
use dunlin_protocol::wire::{CloseReason, Frame, frame::Body};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion};
use support::client::connect;
use support::messages::{hello, history, message};
use support::{Client, Node, Random, Stream, tls};

/// The content type of an alert.
const ALERT: u8 = 21;

fn tls_of(client: &mut Client) -> &mut rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    match &mut client.stream {
        Stream::Tls(tls) => tls,
        Stream::Plain(_) | Stream::Web(_) => panic!("no TLS"),
    }
}

/// Sends what is no TLS; expects an alert, then the end in good order.
fn gets_an_alert(node: &Node, bytes: &[u8]) {
    let mut socket = connect(node.tls());
    socket.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).expect("an end, not a reset");
    assert_eq!(answer.first(), Some(&ALERT), "{answer:02x?} to {:02x?}", &bytes[..9]);
    assert_eq!(answer.len(), 7, "one alert: {answer:02x?}");
}

#[test]
fn what_is_no_tls_gets_an_alert() {
    let node = Node::start();
    let mut random = Random(7);
    let mut said: Vec<Vec<u8>> = vec![
        EncodedFrame::response(1, hello()).into_wire().to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".into(),
        vec![0xff; 100],
        // A record that is longer than any may be.
        vec![0x16, 3, 1, 0xff, 0xff, 1, 0, 0, 0],
        // Application data and an alert of our own before any handshake.
        vec![0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5],
    ];
    said.extend((0..20).map(|round| {
        // The first byte decides nothing: all of them are wrong.
        let mut bytes = random.bytes(64);
        bytes[0] = 24 + round;
        bytes
    }));
    // More than is read before it is known to be wrong.
    said.push(vec![0x47; 1 << 20]);
    for bytes in &said {
        gets_an_alert(&node, bytes);
    }
    node.wait_closed(CloseReason::TlsError, said.len() as u64);
    // A handshake message of 16 MiB gets its end without one.
    let mut socket = connect(node.tls());
    socket.write_all(&[0x16, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff]).unwrap();
    assert_eq!(socket.read(&mut [0]).expect("an end, not a reset"), 0);
    node.wait_closed(CloseReason::TlsError, said.len() as u64 + 1);
    drop(socket);
    node.settle();
}

#[test]
fn garbage_after_the_handshake() {
    let node = Node::start();
    for version in [&TLS12, &TLS13] {
        let config = tls::config(&node.certificate(), &[version]);
        let mut client = tls::connect_to(node.tls(), &config);
        client.log_in("ada");
        // A whole record that was not encrypted with the right key, and unread bytes behind it.
        let mut socket = client.stream.socket();
        socket.write_all(&[&[0x17, 3, 3, 0, 64][..], &[9; 300_000]].concat()).unwrap();
        let mut byte = [0];
        let end = client.stream.read(&mut byte);
        let error = end.expect_err("an alert").to_string();
        assert!(error.contains("BadRecordMac"), "{error}");
        drop(client);
    }
    node.wait_closed(CloseReason::TlsError, 2);
    node.settle();
}

#[test]
fn tls_on_the_plain_port_is_a_frame_too_large() {
    let node = Node::start();
    let mut flight = Vec::new();
    tls::connection(&tls::both_versions(&node.certificate())).write_tls(&mut flight).unwrap();
    let mut client = node.connect();
    client.write(&flight);
    assert_eq!(client.read_to_close(), Some(CloseReason::FrameTooLarge));
    drop(client);
    node.settle();
}

#[test]
fn both_versions_carry_all_sizes() {
    let node = Node::start();
    for (version, name) in [(&TLS12, "ada"), (&TLS13, "bob")] {
        let config = tls::config(&node.certificate(), &[version]);
        let mut client = tls::connect_to(node.tls(), &config);
        let wanted =
            if name == "ada" { ProtocolVersion::TLSv1_2 } else { ProtocolVersion::TLSv1_3 };
        assert_eq!(tls_of(&mut client).conn.protocol_version(), Some(wanted));
        client.log_in(name);
        let log = client.with(&client);
        // Around the size of a record, and the largest; then all of them at once, in a page that
        // takes many records.
        let sizes = [1, 16_300, 16_384, 16_400, 32_768, 50_000, 65_536, 65_536, 65_536, 65_536];
        for (id, size) in sizes.into_iter().enumerate() {
            let sent = client.request(message(log, &id.to_string(), vec![id as u8; size]));
            assert!(matches!(sent, Body::Sent(_)), "{sent:?}");
        }
        let Body::HistoryPage(page) = client.request(history(log, 0)) else { panic!("no page") };
        assert_eq!(page.entries.len(), sizes.len());
        for (id, entry) in page.entries.into_iter().enumerate() {
            let Some(dunlin_protocol::wire::entry::Body::Message(message)) = entry.body else {
                panic!("no message");
            };
            assert_eq!(message.content, vec![id as u8; sizes[id]]);
        }
    }
    node.settle();
}

#[test]
fn sessions_are_resumed() {
    let node = Node::start();
    for version in [&TLS12, &TLS13] {
        let config = tls::config(&node.certificate(), &[version]);
        for (round, name) in ["ada", "bob", "eve"].into_iter().enumerate() {
            let mut client = tls::connect_to(node.tls(), &config);
            client.log_in(name);
            let kind = tls_of(&mut client).conn.handshake_kind();
            let resumed = kind == Some(HandshakeKind::Resumed);
            assert_eq!(resumed, round > 0, "{version:?} {kind:?}");
        }
    }
    node.settle();
}

#[test]
fn keys_are_changed_under_way() {
    let node = Node::start();
    let config = tls::config(&node.certificate(), &[&TLS13]);
    let mut client = tls::connect_to(node.tls(), &config);
    client.log_in("ada");
    let log = client.with(&client);
    for id in 0..20 {
        tls_of(&mut client).conn.refresh_traffic_keys().unwrap();
        assert!(matches!(client.request(message(log, &id.to_string(), "x")), Body::Sent(_)));
    }
    drop(client);
    node.settle();
}

#[test]
fn both_sides_say_that_nothing_more_follows() {
    let node = Node::start();
    for version in [&TLS12, &TLS13] {
        let config = tls::config(&node.certificate(), &[version]);
        // The server's word: the end is in order only if it came.
        let mut client = tls::connect_to(node.tls(), &config);
        client.write(&u32::MAX.to_be_bytes());
        let Some(Frame { body: Some(Body::Close(_)), .. }) = client.read_frame() else {
            panic!("no Close")
        };
        assert_eq!(client.stream.read(&mut [0]).expect("in good order"), 0);
        // Ours, in each phase; the socket stays open meanwhile.
        for phase in 0..3 {
            let closed = node.server.closed(CloseReason::PeerClosed);
            let mut client = tls::connect_to(node.tls(), &config);
            if phase > 0 {
                client.greet();
            }
            if phase > 1 {
                let (_, frame) = client.encode(hello());
                client.write(&frame.wire()[..6]);
            }
            let tls = tls_of(&mut client);
            tls.conn.send_close_notify();
            tls.conn.complete_io(&mut tls.sock).unwrap_or_default();
            node.wait_closed(CloseReason::PeerClosed, closed + 1);
        }
    }
    node.settle();
}

#[test]
fn records_survive_any_cut() {
    let node = Node::start();
    for version in [&TLS12, &TLS13] {
        let config = tls::config(&node.certificate(), &[version]);
        let mut conn = tls::connection(&config);
        let mut socket = connect(node.tls());
        let frame = EncodedFrame::response(1, hello()).into_wire();
        conn.writer().write_all(&frame).unwrap();
        let mut plain = Vec::new();
        while plain.len() < 8 {
            // Each byte is a segment of its own.
            while conn.wants_write() {
                let mut records = Vec::new();
                conn.write_tls(&mut records).unwrap();
                for byte in records {
                    socket.write_all(&[byte]).unwrap();
                }
            }
            conn.read_tls(&mut socket).unwrap();
            conn.process_new_packets().unwrap();
            conn.reader().read_to_end(&mut plain).unwrap_or_default();
        }
        let length = u32::from_be_bytes(plain[..4].try_into().unwrap()) as usize;
        assert_eq!(plain.len(), length + 4, "the Welcome");
    }
    node.settle();
}
