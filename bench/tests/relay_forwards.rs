//! The relay hands every byte to the partner, in order, also when the partner reads late.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;

use dunlin_bench::relay::Relay;

fn connect(address: SocketAddr, pair: u64) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&8u32.to_be_bytes()).unwrap();
    stream.write_all(&pair.to_be_bytes()).unwrap();
    stream
}

#[test]
fn bytes_reach_the_partner_in_order_even_when_it_reads_late() {
    let relay = Relay::start("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let pairs: Vec<_> = (0..4)
        .map(|pair| (connect(relay.address(), pair), connect(relay.address(), pair)))
        .collect();
    // Far more than the socket buffers hold, so that the relay has to keep leftovers.
    let frame: Vec<u8> = 60_000u32.to_be_bytes().into_iter().chain([7; 60_000]).collect();
    let frames = 400;
    for (mut sender, mut receiver) in pairs {
        let copy = frame.clone();
        let writer = thread::spawn(move || {
            for _ in 0..frames {
                sender.write_all(&copy).unwrap();
            }
            sender.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = vec![0; frame.len()];
        for _ in 0..frames {
            receiver.read_exact(&mut received).unwrap();
            assert!(received == frame);
        }
        writer.join().unwrap();
    }
    assert_eq!(relay.counters().frames.load(Ordering::Relaxed), 4 * frames);
    assert_eq!(relay.counters().bytes.load(Ordering::Relaxed), 4 * frames * 60_004);
}
