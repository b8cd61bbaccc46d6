//! SIGTERM to the real program: everyone is told to go and when to come back, what is under way is
//! answered, and the exit code is 0.

mod support;

use dunlin_protocol::wire::{CloseReason, frame::Body};
use rustix::process::Signal;
use support::messages::{history, message};
use support::process::Process;
use support::{Client, tls};

/// Reads to the end: the delay of GoAway, and the reason and delay of Close.
fn farewell(client: &mut Client) -> (Option<u32>, Option<(CloseReason, u32)>) {
    let (mut go_away, mut close) = (None, None);
    while let Some(frame) = client.next() {
        assert_eq!(close, None, "{frame:?} after a Close");
        match frame.body {
            Some(Body::GoAway(it)) => {
                assert_eq!(it.address, "chat.example:7411");
                go_away = Some(it.reconnect_delay_ms);
            }
            Some(Body::Close(it)) => close = Some((it.reason(), it.reconnect_delay_ms)),
            _ => {}
        }
    }
    (go_away, close)
}

const CONFIG: &str = "[drain]\nreconnect_delay_ms = 2000\naddress = \"chat.example:7411\"\n";

#[test]
fn everyone_is_told_to_go_and_the_program_ends_well() {
    let mut server = Process::start(CONFIG);
    let config = tls::both_versions(&server.certificate());
    let mut clients = Vec::new();
    for number in 0..20 {
        let mut client = match number % 2 {
            0 => Client::plain(server.tcp),
            _ => tls::connect_to(server.tls, &config),
        };
        client.log_in(&format!("user{number}"));
        client.sync();
        clients.push(client);
    }
    // Some are in earlier phases, one of them in mid-handshake.
    let mut silent = Client::plain(server.tcp);
    let mut greeted = Client::plain(server.tcp);
    greeted.greet();
    let mut shaking = Client::plain(server.tls);
    shaking.write(&[0x16, 3, 1]);
    // Sends are under way when the signal comes.
    let mut sent = Vec::new();
    for client in &mut clients {
        let log = client.with(client);
        sent.push(
            (0..20).map(|id| client.send(message(log, &id.to_string(), "x"))).collect::<Vec<_>>(),
        );
    }
    server.signal(Signal::TERM);
    let mut answered = Vec::new();
    for (client, sent) in clients.iter_mut().zip(sent) {
        let mut stored = Vec::new();
        let mut told = (None, None);
        while let Some(frame) = client.next() {
            match frame.body {
                Some(Body::Sent(it)) if sent.contains(&frame.request_id) => stored.push(it.seq),
                Some(Body::GoAway(it)) => told.0 = Some(it.reconnect_delay_ms),
                Some(Body::Close(it)) => told.1 = Some((it.reason(), it.reconnect_delay_ms)),
                _ => {}
            }
        }
        let (Some(go_away), Some((reason, delay))) = told else { panic!("{told:?}") };
        assert_eq!(reason, CloseReason::ServerDraining);
        for delay_ms in [go_away, delay] {
            assert!((2000..=4000).contains(&delay_ms), "{delay_ms}");
        }
        answered.push(stored);
    }
    for client in [&mut silent, &mut greeted] {
        let (_, close) = farewell(client);
        assert_eq!(close.map(|(reason, _)| reason), Some(CloseReason::ServerDraining));
    }
    assert!(shaking.read_frame().is_none());
    assert_eq!(server.wait().code(), Some(0));
    // What was said to be stored is there.
    assert_eq!(server.logged(&["ERROR"]), 0);
    drop(clients);
    for stored in answered {
        let dense: Vec<u64> = (1..=stored.len() as u64).collect();
        assert_eq!(stored, dense);
    }
}

#[test]
fn what_was_taken_before_the_signal_is_answered() {
    let mut server = Process::start(CONFIG);
    let mut ada = Client::plain(server.tcp);
    ada.log_in("ada");
    let log = ada.with(&ada);
    assert!(matches!(ada.request(message(log, "0", "x")), Body::Sent(_)));
    // The heartbeat behind them is answered: the server has read them all.
    let sends: Vec<u64> = (1..200).map(|id| ada.send(message(log, &id.to_string(), "x"))).collect();
    ada.heartbeat();
    server.signal(Signal::TERM);
    for (request_id, seq) in sends.into_iter().zip(2..) {
        assert!(matches!(ada.answer(request_id), Body::Sent(sent) if sent.seq == seq));
    }
    assert_eq!(ada.read_to_close(), Some(CloseReason::ServerDraining));
    assert_eq!(server.wait().code(), Some(0));
}

/// What was on its way when the client was told to go, as over a slow network, is answered.
#[test]
fn what_is_asked_before_the_client_knows_is_answered() {
    let mut server = Process::start("[drain]\nleave_ms = 600000\n");
    let mut ada = Client::plain(server.tcp);
    ada.log_in("ada");
    let log = ada.with(&ada);
    server.signal(Signal::TERM);
    // The server has said it, and has nothing under way of this client.
    ada.wait_for(|frame| matches!(frame.body, Some(Body::GoAway(_))).then_some(()));
    for (seq, id) in (1..).zip(["a", "b", "c"]) {
        let answer = ada.request(message(log, id, "x"));
        assert!(matches!(&answer, Body::Sent(sent) if sent.seq == seq), "{answer:?}");
    }
    drop(ada);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn who_waits_to_be_accepted_is_told_as_well() {
    let mut server = Process::start(CONFIG);
    // It finds the signal and a backlog of several ticks when it goes on.
    server.signal(Signal::STOP);
    let mut waiting: Vec<Client> = (0..400).map(|_| Client::plain(server.tcp)).collect();
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for client in &mut waiting {
        let (go_away, close) = farewell(client);
        assert!(go_away.is_some());
        assert_eq!(close.map(|(reason, _)| reason), Some(CloseReason::ServerDraining));
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_second_signal_makes_it_quick() {
    // One connection in two shards is told to go per second: a drain of minutes.
    let mut server = Process::start("[drain]\nconnections_per_second = 1\ntimeout_ms = 3600000\n");
    let mut clients: Vec<Client> = (0..300)
        .map(|number| {
            let mut client = Client::plain(server.tcp);
            client.log_in(&format!("user{number}"));
            client
        })
        .collect();
    server.signal(Signal::TERM);
    server.wait_logged(&["draining"]);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    for client in &mut clients {
        assert_eq!(client.read_to_close(), Some(CloseReason::ServerDraining));
    }
}

#[test]
fn who_does_not_leave_is_left_behind_in_the_end() {
    let mut server =
        Process::start("[drain]\ntimeout_ms = 200\n[timeouts]\nwrite_timeout_ms = 600000\n");
    let mut stuck = Client::plain(server.tcp);
    stuck.log_in("ada");
    let log = stuck.with(&stuck);
    for id in 0..15 {
        assert!(matches!(
            stuck.request(message(log, &id.to_string(), vec![1; 60_000])),
            Body::Sent(_)
        ));
    }
    // It asks for much and reads nothing, so its Close frame can't be written.
    for _ in 0..60 {
        stuck.send(history(log, 0));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    drop(stuck);
}
