//! SIGHUP to the real program: new handshakes see the new certificate, limits change, connections
//! stay; and a configuration that is wrong changes nothing.

mod support;

use std::path::Path;

use dunlin_protocol::wire::{CloseReason, frame::Body};
use rustix::process::Signal;
use rustls::HandshakeKind;
use support::messages::hello;
use support::process::Process;
use support::{Client, Stream, eventually, tls};

/// Writes a new certificate with its key.
fn certificate(folder: &Path, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let signed = params.self_signed(&key).unwrap();
    let paths = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    std::fs::write(&paths.0, signed.pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}

fn shakes_hands(server: &Process, trusted: &Path) -> bool {
    let config = tls::both_versions(trusted);
    tls::over(&config, support::client::connect(server.tls)).is_ok()
}

#[test]
fn a_new_certificate_for_new_handshakes() {
    let outside = tempfile::tempdir().unwrap();
    let (certificate_file, key_file) = certificate(outside.path(), "current");
    let config =
        format!("[tls]\ncertificate_file = {certificate_file:?}\nkey_file = {key_file:?}\n");
    let server = Process::start(&config);
    let first = outside.path().join("first.pem");
    std::fs::copy(&certificate_file, &first).unwrap();
    let with_tickets = tls::both_versions(&first);
    let mut old = tls::connect_to(server.tls, &with_tickets);
    old.log_in("ada");

    let (second, second_key) = certificate(outside.path(), "second");
    std::fs::copy(&second, &certificate_file).unwrap();
    std::fs::copy(&second_key, &key_file).unwrap();
    assert!(!shakes_hands(&server, &second), "not before the signal");
    server.signal(Signal::HUP);
    server.wait_logged(&["are reloaded"]);
    eventually("the new certificate is shown", || shakes_hands(&server, &second));
    assert!(!shakes_hands(&server, &first));
    // Old connections live, and their sessions are resumed, for which no certificate is shown.
    old.heartbeat();
    let resumed = tls::connect_to(server.tls, &with_tickets);
    let Stream::Tls(stream) = &resumed.stream else { panic!("no TLS") };
    assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Resumed));

    // A broken certificate, a key of another, no file: each is refused as a whole.
    let before = std::fs::read(&key_file).unwrap();
    for (number, breakage) in ["garbage", "other key", "gone"].into_iter().enumerate() {
        match breakage {
            "garbage" => std::fs::write(&key_file, "no PEM").unwrap(),
            "other key" => {
                let (_, other_key) = certificate(outside.path(), "other");
                std::fs::copy(other_key, &key_file).map(drop).unwrap();
            }
            _ => std::fs::remove_file(&key_file).unwrap(),
        }
        server.signal(Signal::HUP);
        let refused = || server.logged(&["not reloaded"]) == number + 1;
        eventually("it is refused", refused);
        assert!(shakes_hands(&server, &second), "{breakage}");
        old.heartbeat();
    }
    std::fs::write(&key_file, before).unwrap();
    drop((old, resumed));
}

/// Whether another connection is let in; a hello tells.
fn is_let_in(server: &Process) -> Option<Client> {
    let mut client = Client::plain(server.tcp);
    let (_, frame) = client.encode(hello());
    client.try_write(frame.wire()).unwrap_or_default();
    matches!(client.read_frame()?.body, Some(Body::Welcome(_))).then_some(client)
}

#[test]
fn limits_change_and_wrong_ones_do_not() {
    let limits = |max: u32, more: &str| {
        format!("[limits]\nloopback_exempt = false\nconnections_per_address_max = {max}\n{more}")
    };
    let server = Process::start(&limits(2, ""));
    let mut inside = vec![is_let_in(&server).unwrap(), is_let_in(&server).unwrap()];
    assert!(is_let_in(&server).is_none());
    server.write_config(&limits(3, ""));
    server.signal(Signal::HUP);
    server.wait_logged(&["are reloaded"]);
    eventually("one more is let in", || is_let_in(&server).map(|it| inside.push(it)).is_some());
    assert!(is_let_in(&server).is_none());
    for (number, wrong) in [
        limits(9, "no_such_limit = 1\n"),
        limits(9, "handshakes_max = \"many\"\n"),
        limits(9, "accepts_per_second = 0\n"),
        "[limits".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        server.write_config(&wrong);
        server.signal(Signal::HUP);
        let refused = || server.logged(&["not reloaded"]) == number + 1;
        eventually("it is refused", refused);
        assert!(is_let_in(&server).is_none(), "{wrong}");
    }
    inside.iter_mut().for_each(Client::heartbeat);
}

#[test]
fn deadlines_come_nearer_for_those_who_are_here() {
    let timeouts =
        |ms| format!("[timeouts]\nhandshake_timeout_ms = {ms}\nlogin_timeout_ms = {ms}\n");
    let server = Process::start(&timeouts(3_600_000));
    let mut silent = Client::plain(server.tcp);
    let mut greeted = Client::plain(server.tcp);
    greeted.greet();
    server.write_config(&timeouts(100));
    server.signal(Signal::HUP);
    assert_eq!(silent.read_to_close(), Some(CloseReason::HandshakeTimeout));
    assert_eq!(greeted.read_to_close(), Some(CloseReason::LoginTimeout));
}
