//! The relay hands every byte of a writer to all of its readers, in order, also when one of them
//! does not read for a while.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use dunlin_bench::relay::Relay;

const READERS: u32 = 3;
const GROUPS: u32 = 2;

/// Far more than the socket buffers hold, so that the relay has to keep leftovers.
const FRAMES: usize = 800;
const FRAME_BYTES: usize = 60_000;

fn connect(address: SocketAddr, group: u32, is_reader: bool) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    for word in [12, group, u32::from(is_reader), READERS] {
        stream.write_all(&word.to_be_bytes()).unwrap();
    }
    stream
}

/// No two frames are the same, so that what is missing or doubled shifts all that follows.
fn frame(number: usize) -> Vec<u8> {
    let mut frame = (number as u64).to_be_bytes().repeat(FRAME_BYTES / 8);
    frame[..4].copy_from_slice(&(FRAME_BYTES as u32 - 4).to_be_bytes());
    frame
}

/// Reads up to the end: when the writer goes, the relay lets all of its group go.
fn read_all(mut reader: TcpStream, mut received: Vec<u8>) {
    reader.set_read_timeout(None).unwrap();
    reader.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), FRAMES * FRAME_BYTES);
    let mut frames = received.chunks_exact(FRAME_BYTES).enumerate();
    assert!(frames.all(|(number, received)| received == frame(number)));
}

#[test]
fn bytes_reach_all_readers_in_order_even_when_one_does_not_read() {
    let relay = Relay::start("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    for group in 0..GROUPS {
        let mut writer = connect(relay.address(), group, false);
        let late = connect(relay.address(), group, true);
        let mut early = connect(relay.address(), group, true);
        let other = connect(relay.address(), group, true);
        thread::scope(|scope| {
            scope.spawn(|| {
                (0..FRAMES).for_each(|number| writer.write_all(&frame(number)).unwrap());
                writer.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(|| read_all(other, Vec::new()));
            // It gets nothing more when the relay waits for the late one. (On a machine whose buffers
            // hold all of it, or that takes so long over a frame, this test shows less.)
            early.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let (mut received, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
            while let Ok(filled @ 1..) = early.read(&mut buffer) {
                received.extend_from_slice(&buffer[..filled]);
            }
            scope.spawn(|| read_all(late, Vec::new()));
            read_all(early, received);
        });
    }
    let deliveries = u64::from(GROUPS * READERS) * FRAMES as u64;
    assert_eq!(relay.counters().frames.load(Ordering::Relaxed), deliveries);
    assert_eq!(relay.counters().bytes.load(Ordering::Relaxed), deliveries * FRAME_BYTES as u64);
}
