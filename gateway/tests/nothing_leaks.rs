//! After hundreds of connections that end in every way there is, descriptors, slots, sessions and
//! memory are where they were.

mod support;

use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use dunlin_protocol::LogId;
use dunlin_protocol::wire::{CloseReason, Logout, frame::Body};
use rustix::process::Signal;
use rustls::ClientConfig;
use socket2::SockRef;
use support::messages::{hello, history, login, message, password};
use support::process::Process;
use support::{Client, Node, Random, eventually, tls, token};

/// Connections of a round.
const CYCLES: usize = 60;

/// Rounds after which caches are full, every user is known, and the allocator has its room.
const ROUNDS_TO_WARM_UP: usize = 8;

const ROUNDS: usize = 32;

/// How much more memory there may be in the end. The allocator takes it in pieces of 2 MiB, and on a
/// busy machine keeps a few of them; 12 KiB of each connection would be more.
const GROWTH_BYTES_MAX: usize = 16 << 20;
const _: () = assert!((ROUNDS - ROUNDS_TO_WARM_UP) * CYCLES * 12_288 > GROWTH_BYTES_MAX);

/// A server, from outside.
struct Target {
    tcp: SocketAddr,
    tls: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Target {
    fn new(tcp: SocketAddr, tls: SocketAddr, certificate: &Path) -> Target {
        Target { tcp, tls, config: tls::both_versions(certificate) }
    }

    fn connect(&self, is_plain: bool) -> Client {
        if is_plain { Client::plain(self.tcp) } else { tls::connect_to(self.tls, &self.config) }
    }
}

/// One connection, from its beginning to one of its ends.
fn cycle(target: &Target, random: &mut Random) {
    if random.below(8) == 0 {
        return no_tls_at_all(target, random);
    }
    let mut client = target.connect(random.below(2) == 0);
    let name = format!("user{}", random.below(10));
    // One device of each: a login that nobody waits for must not take the place of the next one.
    let device = name.clone();
    let phase = random.below(7);
    if phase >= 1 {
        client.greet();
    }
    if phase == 2 {
        client.send(login(token::credential(&name), &device));
    }
    if phase == 3 {
        let nobody = format!("nobody{}", random.next());
        client.try_log_in(login(password(&nobody, "a wrong one"), &device)).unwrap_err();
    }
    if phase >= 4 {
        client.try_log_in(login(token::credential(&name), &device)).unwrap();
        client.sync();
        let log = client.with(&client);
        for id in 0..random.below(20) {
            // The same ones in every round: a retry stores nothing.
            client.send(message(log, &format!("{name}{id}"), vec![7; 500]));
        }
        if phase == 5 {
            client.send(history(log, 0));
            client.heartbeat();
        }
        if phase == 6 {
            read_nothing(&mut client, log);
        }
    }
    end(client, random);
}

/// Asks for far more than the sockets hold, so that the server is left with the rest.
fn read_nothing(client: &mut Client, log: LogId) {
    SockRef::from(client.stream.socket()).set_recv_buffer_size(4096).unwrap();
    for _ in 0..60 {
        let (_, request) = client.encode(history(log, 1));
        // It may have been sent away, for reading nothing.
        if client.try_write(request.wire()).and_then(|()| client.try_write(&[0; 2000])).is_err() {
            return;
        }
    }
}

fn no_tls_at_all(target: &Target, random: &mut Random) {
    let mut client = Client::plain(target.tls);
    let mut bytes = random.bytes(300);
    let mut flight = Vec::new();
    tls::connection(&target.config).write_tls(&mut flight).unwrap();
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
fn a_process_is_as_large_as_before() {
    // The memory of a password hash would be a third of all, and comes and goes.
    // And nobody is closed for asking too much, whose end would come while somebody else is let in.
    let config = "[passwords]\nmemory_kib = 8\niterations = 1\n[log]\nlevel = \"error\"\n\
                  [rates]\nsignals_per_s = 0\nrequests_per_s = 0\n";
    let mut server = Process::start(config);
    let target = Target::new(server.tcp, server.tls, &server.certificate());
    let mut random = Random(99);
    let mut witness = Client::plain(server.tcp);
    witness.log_in("witness");
    let mut round = || (0..CYCLES).for_each(|_| cycle(&target, &mut random));
    let memory = (0..ROUNDS_TO_WARM_UP).map(|_| {
        round();
        server.memory_bytes()
    });
    // The least of the later rounds: without what the allocator was about to give back.
    let memory = memory.skip(ROUNDS_TO_WARM_UP / 2).min().unwrap();
    let level = settled(&server);
    for _ in ROUNDS_TO_WARM_UP..ROUNDS {
        round();
        eventually("descriptors are back", || server.descriptors() <= level);
        witness.heartbeat();
    }
    // The allocator gives back what is free in its own time, and while it is used.
    eventually("memory is back", || {
        witness.heartbeat();
        server.memory_bytes() <= memory + GROWTH_BYTES_MAX
    });
    drop(witness);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.logged(&["ERROR"]), 0);
}

#[test]
fn slots_sessions_and_outboxes_are_free_again() {
    let node = Node::with(|config| config.limits.failed_logins_per_address_max = 1_000_000);
    let target = Target::new(node.tcp(), node.tls(), &node.certificate());
    let mut random = Random(98);
    for _ in 0..3 {
        (0..CYCLES).for_each(|_| cycle(&target, &mut random));
        node.wait_quiet();
        eventually("no session is left", || {
            let statistics = node.server.engine().statistics();
            statistics.workers.iter().all(|of_worker| of_worker.sessions == 0)
        });
        let reasons = (0..100).filter_map(|reason| CloseReason::try_from(reason).ok());
        let closed: u64 = reasons.map(|reason| node.server.closed(reason)).sum();
        assert!(closed >= CYCLES as u64, "{closed} connections were closed for a reason");
    }
    assert_eq!(node.server.closed(CloseReason::ServerError), 0);
    node.settle();
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
