//! Ten thousand connections that never say a word cost an established pair nothing, are closed by
//! the deadline, and leave nothing behind.

mod support;

use std::io::Read;
use std::net::TcpStream;

use dunlin_protocol::wire::frame::Body;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use support::messages::message;
use support::process::Process;
use support::{Client, eventually};

const SILENT: usize = 10_000;

/// Both ends count against a limit; each process has its own.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let room = limit.maximum.unwrap_or(u64::MAX);
    assert!(room > SILENT as u64 + 100, "{room} descriptors are not enough for this test");
}

/// Ada writes, and Bob gets it.
fn say(ada: &mut Client, bob: &mut Client, number: usize) {
    let log = ada.with(bob);
    let sent = ada.request(message(log, &number.to_string(), number.to_string()));
    let Body::Sent(sent) = sent else { panic!("{sent:?}") };
    bob.wait_for(|frame| match &frame.body {
        Some(Body::Push(push)) => (push.entry.as_ref()?.seq == sent.seq).then_some(()),
        _ => None,
    });
}

#[test]
fn ten_thousand_who_never_say_a_word() {
    raise_descriptor_limit();
    // Long enough that all of them are inside at one time, on a slow machine too; and so many places that
    // the part of those who are not logged in has room for them.
    let config = |handshake_ms: u32| {
        format!(
            "[limits]\nconnections_max = 16000\n\
             [timeouts]\nhandshake_timeout_ms = {handshake_ms}\n\
             [log]\nlevel = \"warn,dunlin_gateway=info\"\n"
        )
    };
    let mut server = Process::start(&config(3_600_000));
    let mut ada = Client::plain(server.tcp);
    let mut bob = Client::plain(server.tcp);
    for (client, name) in [(&mut ada, "ada"), (&mut bob, "bob")] {
        client.log_in(name);
        client.sync();
    }
    say(&mut ada, &mut bob, 0);
    let descriptors = server.descriptors();

    let mut crowd = Vec::with_capacity(SILENT);
    for number in 0..SILENT {
        // A third of them at the TLS port, where they would have to shake hands.
        let address = if number % 3 == 0 { server.tls } else { server.tcp };
        crowd.push(TcpStream::connect(address).unwrap());
        if number % 100 == 0 {
            say(&mut ada, &mut bob, 1 + number);
        }
    }
    eventually("all are inside", || server.descriptors() >= descriptors + SILENT);
    let memory = server.memory_bytes();
    assert!(memory < 200 << 20, "{memory} bytes");
    for number in 0..100 {
        say(&mut ada, &mut bob, 20_000 + number);
    }

    // The deadline comes; nobody is left, and every one of them sees the end.
    server.write_config(&config(100));
    server.signal(Signal::HUP);
    let mut said = 0;
    for silent in &mut crowd {
        silent.set_read_timeout(Some(support::DEADLINE)).unwrap();
        let mut last_word = Vec::new();
        silent.read_to_end(&mut last_word).unwrap();
        said += usize::from(!last_word.is_empty());
    }
    assert_eq!(said, SILENT - SILENT.div_ceil(3), "a Close frame, where it can be said");
    drop(crowd);
    eventually("all are gone", || server.descriptors() <= descriptors);
    for number in 0..10 {
        say(&mut ada, &mut bob, 30_000 + number);
    }
    drop((ada, bob));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}
