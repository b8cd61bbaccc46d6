//! Splitting a stream into frames, as a shard does with each read: bodies share the memory of the
//! buffer they were read into.
//!
//! The limit is what a read of the same bytes costs: 0.3 us of processor time per message when 16
//! come at once. Splitting should be a tenth of that at most.
#![forbid(unsafe_code)]

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dunlin_protocol::frame;

const FRAME_BYTES_MAX: u32 = 1 << 20;

/// What a read of a shard brings at most.
const READ_BYTES: usize = 64 * 1024;

/// As many whole frames with bodies of this length as one read brings, one at least.
fn stream(body_bytes: usize) -> (BytesMut, u64) {
    let frames = (READ_BYTES / (body_bytes + 4)).max(1);
    let mut stream = BytesMut::new();
    for _ in 0..frames {
        stream.extend_from_slice(&(body_bytes as u32).to_be_bytes());
        stream.resize(stream.len() + body_bytes, 7);
    }
    (stream, frames as u64)
}

fn splitter(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("splitter");
    for body_bytes in [0, 32, 256, 4096, 512 * 1024] {
        let (stream, frames) = stream(body_bytes);
        group.throughput(Throughput::Elements(frames));
        group.bench_function(format!("take/{body_bytes} B"), |bencher| {
            let take_all = |mut input: BytesMut| {
                let mut bytes = 0;
                while let Ok(Some(body)) = frame::take(&mut input, FRAME_BYTES_MAX) {
                    bytes += body.len();
                }
                bytes
            };
            bencher.iter_batched(|| stream.clone(), take_all, BatchSize::LargeInput);
        });
        group.bench_function(format!("borrow/{body_bytes} B"), |bencher| {
            bencher.iter(|| {
                let (mut rest, mut bytes) = (&stream[..], 0);
                while let Ok(Some((body, behind))) = frame::split(rest, FRAME_BYTES_MAX) {
                    bytes += body.len();
                    rest = behind;
                }
                bytes
            });
        });
    }
    group.finish();
}

criterion_group!(benches, splitter);
criterion_main!(benches);
