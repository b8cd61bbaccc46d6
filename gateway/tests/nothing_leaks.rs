//! After hundreds of connections that end in every way there is, descriptors and memory are where
//! they were.

mod support;

use std::net::Shutdown;

use dunlin_protocol::wire::{Logout, frame::Body};
use rustix::process::Signal;
use support::messages::{hello, history, login, message, password};
use support::process::Process;
use support::{Client, Random, eventually, tls, token};

/// One connection, from its beginning to one of its ends.
fn cycle(server: &Process, config: &std::sync::Arc<rustls::ClientConfig>, random: &mut Random) {
    if random.below(8) == 0 {
        return no_tls_at_all(server, random);
    }
    let mut client = match random.below(2) {
        0 => Client::plain(server.tcp),
        _ => tls::connect_to(server.tls, config),
    };
    let name = format!("user{}", random.below(10));
    // A device of its own: a login that nobody waits for may be carried out after the next one,
    // and would take its place.
    let device = random.next().to_string();
    let phase = random.below(6);
    if phase >= 1 {
        client.greet();
    }
    if phase == 2 {
        client.send(login(token::credential(&name), &device));
    }
    if phase == 3 {
        client
            .try_log_in(login(password(&format!("nobody{device}"), "a wrong one"), &device))
            .unwrap_err();
    }
    if phase >= 4 {
        client.try_log_in(login(token::credential(&name), &device)).unwrap();
        client.sync();
        let log = client.with(&client);
        for id in 0..random.below(20) {
            let id = format!("{}{id}", random.next());
            client.send(message(log, &id, random.bytes(200)));
        }
        if phase == 5 {
            client.send(history(log, 0));
            client.heartbeat();
        }
    }
    end(client, random);
}

fn no_tls_at_all(server: &Process, random: &mut Random) {
    let mut client = Client::plain(server.tls);
    let mut bytes = random.bytes(300);
    let mut flight = Vec::new();
    let config = tls::both_versions(&server.certificate());
    tls::connection(&config).write_tls(&mut flight).unwrap();
    match random.below(3) {
        0 => {}
        1 => bytes = flight[..random.below(flight.len())].to_vec(),
        _ => bytes = flight,
    }
    client.try_write(&bytes).unwrap_or_default();
    end(client, random);
}

fn end(mut client: Client, random: &mut Random) {
    match random.below(7) {
        0 => client.reset(),
        1 => client.shut_writing(),
        2 => client.stream.socket().shutdown(Shutdown::Both).unwrap_or_default(),
        3 => client.try_write(&random.bytes(100)).unwrap_or_default(),
        4 => client.try_write(&u32::MAX.to_be_bytes()).unwrap_or_default(),
        5 => {
            let body =
                if client.user.is_some() { Body::Logout(Logout::default()) } else { hello() };
            let (_, frame) = client.encode(body);
            client.try_write(frame.wire()).unwrap_or_default();
        }
        _ => {}
    }
}

#[test]
fn hundreds_of_connections_that_end_in_every_way() {
    let mut server = Process::start("[log]\nlevel = \"error\"\n");
    let config = tls::both_versions(&server.certificate());
    let mut random = Random(99);
    // The first ones fill caches and make the users.
    (0..200).for_each(|_| cycle(&server, &config, &mut random));
    let mut witness = Client::plain(server.tcp);
    witness.log_in("witness");
    let level = settled(&server);
    let memory = server.memory_bytes();
    for _ in 0..3 {
        (0..200).for_each(|_| cycle(&server, &config, &mut random));
        eventually("descriptors are back", || server.descriptors() <= level);
        witness.heartbeat();
    }
    // Messages are kept on the disk, with something of each in memory; connections keep nothing.
    let grown = server.memory_bytes().saturating_sub(memory);
    assert!(grown < 32 << 20, "{grown} bytes more");
    drop(witness);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.logged(&["ERROR"]), 0);
}

/// The number of descriptors when only the witness is left.
fn settled(server: &Process) -> usize {
    let mut seen = Vec::new();
    eventually("descriptors are settled", || {
        seen.push(server.descriptors());
        seen.len() > 400 && seen[seen.len() - 300..].iter().all(|it| it == seen.last().unwrap())
    });
    seen.pop().unwrap()
}
