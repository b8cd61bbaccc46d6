//! The real program over HTTP: whether it lives, whether it should be given connections, what it measures.
#![cfg(feature = "http")]

mod support;

use std::net::TcpListener;
use std::process::{Command, Stdio};

use dunlin_protocol::wire::{ErrorCode, frame::Body};
use rustix::process::{Resource, Signal};
use support::http::{get, metric};
use support::messages::{message, typing};
use support::process::Process;
use support::{Client, eventually, tls};

fn user(server: &Process, name: &str) -> Client {
    let mut client = Client::plain(server.tcp);
    client.log_in(name);
    client.sync();
    client
}

#[test]
fn what_happens_is_measured() {
    let server = Process::start("");
    let of = |name: &str| metric(server.http, name);
    assert_eq!(of("dunlin_requests_total{kind=\"send\"}"), 0.0, "a rate begins with a number");
    assert_eq!(of("dunlin_errors_total{code=\"MESSAGE_ID_CONFLICT\"}"), 0.0);
    let (mut ada, bob) = (user(&server, "ada"), user(&server, "bob"));
    let mut eve = tls::connect_to(server.tls, &tls::both_versions(&server.certificate()));
    eve.log_in("eve");
    let conversation = ada.with(&bob);
    for number in 0..10 {
        let Body::Sent(_) = ada.request(message(conversation, &number.to_string(), "hi")) else {
            panic!("not sent")
        };
    }
    assert_eq!(
        ada.refused_with(message(conversation, "0", "something else")),
        ErrorCode::MessageIdConflict
    );
    let Body::Done(_) = ada.request(typing(conversation)) else { panic!("not told") };
    for (name, value) in [
        ("dunlin_requests_total{kind=\"send\"}", 11.0),
        ("dunlin_requests_total{kind=\"login\"}", 3.0),
        ("dunlin_requests_total{kind=\"history\"}", 0.0),
        ("dunlin_errors_total{code=\"MESSAGE_ID_CONFLICT\"}", 1.0),
        ("dunlin_messages_total{kind=\"appended\"}", 11.0),
        ("dunlin_messages_total{kind=\"pushed\"}", 10.0),
        ("dunlin_messages_total{kind=\"signalled\"}", 1.0),
        ("dunlin_acknowledge_seconds_count", 10.0),
        ("dunlin_push_seconds_count", 10.0),
        ("dunlin_connections{entrance=\"tcp\"}", 2.0),
        ("dunlin_connections{entrance=\"tls\"}", 1.0),
        ("dunlin_connection_states{state=\"session\"}", 3.0),
        ("dunlin_handshakes_total{result=\"done\"}", 1.0),
        ("dunlin_sessions", 3.0),
        ("dunlin_store_failing", 0.0),
    ] {
        // Each worker publishes what it has counted a few times a second.
        eventually(&format!("{name} is {value}"), || of(name) == value);
    }
    // Each of them waited for the disk, and nobody for longer than this test.
    let (sum, fsyncs) = (of("dunlin_acknowledge_seconds_sum"), of("dunlin_fsync_seconds_count"));
    assert!(sum > 0.0 && sum < 600.0 && fsyncs >= 10.0, "{sum} {fsyncs}");
    assert_eq!(of("dunlin_acknowledge_seconds_bucket{le=\"+Inf\"}"), 10.0);
    drop((ada, eve));
    eventually("who goes is counted", || {
        of("dunlin_connections_closed_total{reason=\"PEER_CLOSED\"}") == 2.0
            && of("dunlin_connections{entrance=\"tls\"}") == 0.0
            && of("dunlin_connections{entrance=\"tcp\"}") == 1.0
    });
    let mut stranger = Client::plain(server.tls);
    stranger.write(b"this is no TLS, as anybody can see");
    eventually("a handshake that fails is counted", || {
        of("dunlin_handshakes_total{result=\"failed\"}") == 1.0
    });
}

#[test]
fn it_lives_and_is_ready_until_it_goes_down() {
    let mut server = Process::start("[drain]\ntimeout_ms = 60000\n");
    let mut ada = user(&server, "ada");
    for _ in 0..3 {
        assert_eq!(get(server.http, "/healthz"), (200, "ok\n".into()));
        assert_eq!(get(server.http, "/readyz"), (200, "ok\n".into()));
    }
    server.signal(Signal::STOP);
    server.signal(Signal::CONT);
    // Who does not go keeps it from its end.
    server.signal(Signal::TERM);
    eventually("it is not ready", || get(server.http, "/readyz") == (503, "it goes down\n".into()));
    assert_eq!(get(server.http, "/healthz").0, 200, "to go down is no illness");
    assert!(get(server.http, "/metrics").1.contains("dunlin_connections_max"));
    while ada.next().is_some() {}
    drop(ada);
    assert!(server.wait().success());
}

#[test]
fn who_can_write_nothing_is_not_ready() {
    let server = Process::start("");
    let mut ada = user(&server, "ada");
    let conversation = ada.with(&ada);
    server.limit(Resource::Fsize, 256 * 1024);
    let text = "x".repeat(50 * 1024);
    let is_refused = (0..100).any(|number| {
        let sent = ada.request(message(conversation, &number.to_string(), text.clone()));
        matches!(sent, Body::Error(error) if error.code() == ErrorCode::StoreUnavailable)
    });
    assert!(is_refused);
    let (status, why) = get(server.http, "/readyz");
    assert_eq!(status, 503);
    assert!(why.starts_with("the store can't be written to, as of "), "{why}");
    assert_eq!(metric(server.http, "dunlin_store_failing"), 1.0);
    assert!(metric(server.http, "dunlin_store_failed_batches_total") >= 1.0);
    assert_eq!(get(server.http, "/healthz").0, 200);
    // It would never find out that it works again, if nobody was sent there.
    eventually("it gets another chance", || get(server.http, "/readyz").0 == 200);
}

#[test]
fn who_has_no_place_left_is_not_ready() {
    let server = Process::start("[limits]\nconnections_max = 2\n");
    let _two = (user(&server, "ada"), user(&server, "bob"));
    let full = (503, "all places for 2 connections are taken\n".into());
    assert_eq!(get(server.http, "/readyz"), full);
    let mut third = Client::plain(server.tcp);
    while third.next().is_some() {}
    let refused = "dunlin_connections_refused_total{limit=\"limits.connections_max\"}";
    assert_eq!(metric(server.http, refused), 1.0);
}

#[test]
fn a_second_server_of_a_machine_starts_without_it_unless_it_was_asked_for() {
    // If it is taken already, that is as good.
    let _taken = TcpListener::bind("127.0.0.1:7412");
    let server = Process::start_without_http("");
    server.wait_logged(&["another program listens there", "127.0.0.1:7412"]);
    let _ada = user(&server, "ada");

    let folder = tempfile::tempdir().unwrap();
    let mut second = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    second.args(["--listen-tcp", "127.0.0.1:0", "--listen-tls", ""]).arg("--listen-http");
    second.arg(server.tcp.to_string()).arg("--data").arg(folder.path().join("data"));
    let refused = second.stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success(), "{error}");
    assert!(error.contains(&format!("listen.http {}: ", server.tcp)), "{error}");
}
