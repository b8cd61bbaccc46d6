//! Connections are spread over shards by hash, and a shard has as many places as its descriptors: who
//! comes to one that is full is passed on to one that has room, until all places of the node are taken.

mod support;

use std::net::Shutdown;

use dunlin_protocol::wire::{CloseReason, frame::Body};
use rustix::process::Signal;
use support::messages::message;
use support::process::Process;
use support::{Client, Stream, tls};

const DESCRIPTORS: u32 = 80;
const SHARDS: u32 = 4;

/// Of all shards: each keeps 32 descriptors for itself, and one for each shard.
const PLACES: usize = (SHARDS * (DESCRIPTORS - 32 - SHARDS)) as usize;

fn config() -> String {
    format!("[listen]\nshards = {SHARDS}\n\n[engine]\nworkers = 2\n")
}

#[test]
fn all_places_are_taken_whatever_the_hash_says() {
    let mut process = Process::start_with_descriptors(&config(), DESCRIPTORS);
    let tls = tls::both_versions(&process.certificate());
    let mut users = Vec::new();
    for number in 0..PLACES {
        let mut client = match number % 4 {
            0 => tls::connect_to(process.tls, &tls),
            _ => Client::plain(process.tcp),
        };
        client.log_in(&format!("user{number}"));
        users.push(client);
    }
    // They are as good as others: whoever is passed on speaks and hears.
    for client in &mut users {
        let log = client.with(client);
        assert!(matches!(client.request(message(log, "here", "x")), Body::Sent(_)));
    }
    let mut late = Client::plain(process.tcp);
    assert_eq!(late.read_to_close(), Some(CloseReason::Overloaded));
    // A place that is free again is found, whoever has it.
    let (mut over_tls, mut plain): (Vec<_>, Vec<_>) =
        users.into_iter().partition(|client| matches!(client.stream, Stream::Tls(_)));
    for number in 0..SHARDS as usize * 8 {
        leave(plain.swap_remove(number * 7 % plain.len()));
        let mut later = Client::plain(process.tcp);
        later.log_in(&format!("later{number}"));
        plain.push(later);
    }
    over_tls.iter_mut().chain(&mut plain).for_each(Client::heartbeat);
    drop((over_tls, plain));
    process.signal(Signal::TERM);
    assert!(process.wait().success());
}

/// Goes, and waits until the server has let go of it.
fn leave(mut client: Client) {
    client.stream.socket().shutdown(Shutdown::Write).unwrap();
    while client.read_frame().is_some() {}
}
