//! The look that the harness takes at a server before it sends a crowd there, at the real one: who is
//! called by the wrong entrance, with the wrong certificate or the wrong key is told so.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Stdio;

use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::net::Trust;
use dunlin_loadtest::probe::probe;
use dunlin_loadtest::spawn::{ISSUER, LISTEN_FOR_WEB, SpawnedServer};
use dunlin_loadtest::target::{Service, Target};
use dunlin_loadtest::token::Issuer;

fn server() -> SpawnedServer {
    let program = Path::new(env!("CARGO_BIN_EXE_dunlin"));
    SpawnedServer::start(program, &[], &LISTEN_FOR_WEB.map(str::to_owned), Stdio::inherit())
        .unwrap()
}

fn refused(target: &Target) -> String {
    match probe(target) {
        Err(LoadtestError::Target { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_right_is_let_in_and_what_is_wrong_is_named() {
    let server = server();
    let (plain, tls) = (server.target(false), server.target(true));
    let own = Trust::PemFile(server.data_folder().join("tls/certificate.pem"));
    let trusted = Target { tls: Some(own), ..tls.clone() };
    let [web, web_tls] = [false, true].map(|over_tls| server.web_target(over_tls).unwrap());
    for right in [&plain, &tls, &trusted, &web, &web_tls] {
        probe(right).unwrap();
    }
    let no_web = Target { web: true, ..plain.clone() };
    assert!(refused(&no_web).contains("no WebSocket"), "{}", refused(&no_web));

    let without_tls = Target { tls: None, ..tls.clone() };
    assert!(refused(&without_tls).contains("tls is missing"), "{}", refused(&without_tls));
    let with_tls = Target { tls: Some(Trust::Insecure), ..plain.clone() };
    assert!(refused(&with_tls).contains("does not speak TLS"), "{}", refused(&with_tls));
    let stranger = self::server();
    let foreign = Trust::PemFile(stranger.data_folder().join("tls/certificate.pem"));
    let other_authority = Target { tls: Some(foreign), ..tls };
    assert!(
        refused(&other_authority).contains("not to be trusted"),
        "{}",
        refused(&other_authority)
    );

    for (name, key) in [(ISSUER, [9; 32]), ("somebody", [9; 32])] {
        let service = Service::Dunlin(Issuer::new(name, &key));
        let other_key = Target { service, ..plain.clone() };
        assert!(refused(&other_key).contains("refuses the token"), "{}", refused(&other_key));
    }
}
