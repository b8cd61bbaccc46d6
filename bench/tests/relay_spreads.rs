//! The relay hands every byte of a writer to all of its readers, in order, also when one of them
//! reads late.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;

use dunlin_bench::relay::Relay;

const READERS: u32 = 3;

fn connect(address: SocketAddr, group: u32, is_reader: bool) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    for word in [12, group, u32::from(is_reader), READERS] {
        stream.write_all(&word.to_be_bytes()).unwrap();
    }
    stream
}

#[test]
fn bytes_reach_all_readers_in_order_even_when_one_reads_late() {
    let relay = Relay::start("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    // Far more than the socket buffers hold, so that the relay has to keep leftovers.
    let frame: Vec<u8> = 60_000u32.to_be_bytes().into_iter().chain([7; 60_000]).collect();
    let frames = 200;
    for group in 0..3 {
        let mut writer = connect(relay.address(), group, false);
        let mut early = connect(relay.address(), group, true);
        let rest = [(); 2].map(|()| connect(relay.address(), group, true));
        let copy = frame.clone();
        let written = thread::spawn(move || {
            for _ in 0..frames {
                writer.write_all(&copy).unwrap();
            }
            writer
        });
        let mut received = vec![0; frame.len()];
        early.read_exact(&mut received).unwrap();
        assert!(received == frame);
        // The others have not read a byte so far.
        let whole = frame.clone();
        let readers = rest.into_iter().map(|mut reader| {
            let frame = whole.clone();
            thread::spawn(move || {
                let mut received = vec![0; frame.len()];
                for _ in 0..frames {
                    reader.read_exact(&mut received).unwrap();
                    assert!(received == frame);
                }
                reader
            })
        });
        let readers: Vec<_> = readers.collect();
        for _ in 1..frames {
            early.read_exact(&mut received).unwrap();
            assert!(received == frame);
        }
        let mut rest: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        // One that goes takes the others with it.
        written.join().unwrap().shutdown(Shutdown::Both).unwrap();
        for reader in rest.iter_mut().chain([&mut early]) {
            assert_eq!(reader.read(&mut received).unwrap(), 0);
        }
    }
    let deliveries = 3 * u64::from(READERS) * frames;
    assert_eq!(relay.counters().frames.load(Ordering::Relaxed), deliveries);
    assert_eq!(relay.counters().bytes.load(Ordering::Relaxed), deliveries * 60_004);
}
