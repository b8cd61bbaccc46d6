//! The holder answers heartbeats of whoever is connected, and lets go of whoever leaves.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use dunlin_bench::holder::Holder;

#[test]
fn heartbeats_come_back_to_all_who_stay() {
    let holder = Holder::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = holder.address().unwrap();
    thread::spawn(|| holder.run());
    let mut connections: Vec<_> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    for round in 1..=3 {
        for (number, connection) in connections.iter_mut().enumerate() {
            // Told apart, so that an answer to somebody else would be noticed.
            connection.write_all(&[round, number as u8, 0, 0]).unwrap();
        }
        for (number, connection) in connections.iter_mut().enumerate() {
            let mut answer = [9; 4];
            connection.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [round, number as u8, 0, 0]);
        }
        // Their descriptors are for the next ones.
        connections.truncate(connections.len() - 10);
        connections.extend((0..10).map(|_| TcpStream::connect(address).unwrap()));
    }
}
