//! Decoding and encoding the frames that make up nearly all of the traffic: prost, as the server
//! and clients do it, beside the hand-written ones of the harness.
//!
//! The limit is a scan of the same bytes by hand, which is here as well: 40 to 60 ns for a frame
//! of 250 B. A whole message has 3.2 us of processor time in the best server of its kind.
#![forbid(unsafe_code)]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dunlin_loadtest::wire as by_hand;
use dunlin_protocol::wire::{self, Frame, entry, frame::Body};
use dunlin_protocol::{EncodedFrame, frame};

const CONTENT: [u8; 200] = [b'x'; 200];

fn send() -> Body {
    Body::Send(wire::Send {
        conversation_id: Bytes::from_static(&[1; 16]),
        client_message_id: Bytes::from_static(&[2; 16]),
        content_type: "x-load".to_owned(),
        content: Bytes::from_static(&CONTENT),
        ..wire::Send::default()
    })
}

fn signal() -> Body {
    Body::Signal(wire::Signal {
        conversation_id: Bytes::from_static(&[1; 16]),
        kind: "load".to_owned(),
        payload: Bytes::from_static(&CONTENT),
        sender: 77,
    })
}

fn push() -> Body {
    let message = wire::Message {
        client_message_id: Bytes::from_static(&[2; 16]),
        content_type: "x-load".to_owned(),
        content: Bytes::from_static(&CONTENT),
    };
    let entry = wire::Entry {
        seq: 70_000,
        time_ms: 1 << 40,
        sender: 77,
        counted: 70_000,
        sender_counted: 35_000,
        body: Some(entry::Body::Message(message)),
        ..wire::Entry::default()
    };
    Body::Push(wire::Push { conversation_id: Bytes::from_static(&[1; 16]), entry: Some(entry) })
}

fn frames() -> [(&'static str, Frame); 5] {
    let frame = |request_id, body| Frame { request_id, body: Some(body) };
    [
        ("Send", frame(900, send())),
        ("Push", frame(0, push())),
        ("Sent", frame(900, Body::Sent(wire::Sent { seq: 70_000, time_ms: 1 << 40 }))),
        ("Signal", frame(0, signal())),
        ("heartbeat", Frame::default()),
    ]
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(1));
    for (name, frame) in frames() {
        let body = EncodedFrame::new(&frame).body();
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| frame::decode(body.clone()));
        });
        group.bench_function(format!("decode by hand/{name}"), |bencher| {
            bencher.iter(|| matches!(by_hand::read(&body), by_hand::Inbound::Other));
        });
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter(|| EncodedFrame::new(&frame));
        });
    }
    group.bench_function("encode by hand/Send", |bencher| {
        let mut output = Vec::with_capacity(1024);
        bencher.iter(|| {
            output.clear();
            by_hand::put_send(&mut output, 900, &[1; 16], &[2; 16], CONTENT.len(), |output| {
                output.extend_from_slice(&CONTENT);
            });
            output.len()
        });
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
