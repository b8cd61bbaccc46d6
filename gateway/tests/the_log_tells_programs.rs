//! What programs and auditors find in the log: values, names of the documents, failed logins, and how many
//! lines are missing.

mod support;

use dunlin_protocol::wire::{
    CloseReason, ErrorCode, PasswordCredential, frame::Body, login::Credential,
};
use rustix::process::Signal;
use serde_json::Value;
use support::messages::{login, message};
use support::process::Process;
use support::{Client, eventually};

fn with_message(log: &[Value], message: &str) -> Vec<Value> {
    log.iter().filter(|line| line["message"] == message).cloned().collect()
}

#[test]
fn the_first_line_says_what_runs() {
    let server =
        Process::start("[limits]\nhandshakes_max = 7\n[engine]\nregistration = \"closed\"\n");
    let first = &server.log()[0];
    assert_eq!(first["message"], "starting");
    assert_eq!(first["level"], "INFO");
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert!(first["pid"].is_u64(), "{first}");
    let settings = &first["settings"];
    assert_eq!(settings["limits.handshakes_max"], 7);
    assert_eq!(settings["engine.registration"], "closed");
    assert_eq!(settings["listen.tcp"], "127.0.0.1:0");
    assert_eq!(settings["timeouts.login_timeout_ms"], Value::Null, "a default");
    let secret = support::token::secret_text();
    assert!(!first.to_string().contains(&secret), "{first}");
}

fn by_password(name: &str, password: &str) -> Body {
    let credential = PasswordCredential { username: name.into(), password: password.into() };
    login(Credential::Password(credential), name)
}

#[test]
fn failed_logins_are_logged_with_address_and_name() {
    let server = Process::start("[passwords]\nmemory_kib = 8\n");
    let forged = "a line\n{\"level\":\"ERROR\"}\u{1b}[2J";
    let mut stranger = Client::plain(server.tcp);
    stranger.greet();
    for (body, code) in [
        (by_password("ada", "guessed-1"), ErrorCode::WrongCredentials),
        (by_password(forged, "guessed-2"), ErrorCode::WrongCredentials),
        (login(Credential::AccessToken("guessed-3".into()), "ada"), ErrorCode::TokenInvalid),
        (login(Credential::IssuerToken("guessed-4".into()), "ada"), ErrorCode::TokenInvalid),
    ] {
        assert_eq!(stranger.refused_with(body), code);
    }
    let failed = || with_message(&server.log(), "login failed");
    eventually("four lines", || failed().len() == 4);
    for (line, (name, credential, code)) in failed().iter().zip([
        (Value::from("ada"), "password", "WRONG_CREDENTIALS"),
        (Value::from(forged), "password", "WRONG_CREDENTIALS"),
        (Value::Null, "access_token", "TOKEN_INVALID"),
        (Value::Null, "issuer_token", "TOKEN_INVALID"),
    ]) {
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["peer"], "127.0.0.1");
        assert_eq!(
            (&line["name"], &line["credential"], &line["code"]),
            (&name, &credential.into(), &code.into())
        );
    }
    assert_eq!(server.logged(&["guessed"]), 0, "no secret");
    assert_eq!(server.logged(&["\u{1b}"]), 0, "nothing that a terminal obeys");
}

#[test]
fn a_stolen_token_names_its_user() {
    let server = Process::start("");
    let mut ada = Client::plain(server.tcp);
    let token = ada.log_in("ada").resume_token;
    let mut thief = Client::plain(server.tcp);
    thief.greet();
    let stolen = login(Credential::ResumeToken(token), "another device");
    assert_eq!(thief.refused_with(stolen), ErrorCode::TokenInvalid);
    let failed = || with_message(&server.log(), "login failed");
    eventually("a line", || failed().len() == 1);
    let line = &failed()[0];
    assert_eq!((&line["name"], &line["credential"]), (&"ada".into(), &"resume_token".into()));
}

#[test]
fn closes_have_the_reasons_of_the_document() {
    let server = Process::start("[log]\nlevel = \"debug\"\n");
    let mut ada = Client::plain(server.tcp);
    ada.log_in("ada");
    let user = ada.user.unwrap().get();
    ada.write(&[0xff; 4]);
    assert_eq!(ada.read_to_close(), Some(CloseReason::FrameTooLarge));
    let closed = || with_message(&server.log(), "closed");
    eventually("a line", || closed().iter().any(|line| line["reason"] == "FRAME_TOO_LARGE"));
    let line = closed().into_iter().find(|line| line["reason"] == "FRAME_TOO_LARGE").unwrap();
    assert_eq!((&line["user"], &line["peer"]), (&user.into(), &"127.0.0.1".into()));
    let open = &with_message(&server.log(), "the store is open")[0];
    assert!(open["entries"].is_u64() && open["history_lost"].is_boolean(), "{open}");
}

#[test]
fn lines_that_are_left_out_are_counted_to_the_last() {
    const STRANGERS: u64 = 300;
    let mut server = Process::start("");
    for _ in 0..STRANGERS {
        let mut stranger = Client::plain(server.tcp);
        stranger.write(&[0xff; 4]);
        assert_eq!(stranger.read_to_close(), Some(CloseReason::FrameTooLarge));
    }
    // The flood of one kind keeps no other one out.
    let [mut ada, mut bob] = ["ada", "bob"].map(|name| {
        let mut client = Client::plain(server.tcp);
        client.log_in(name);
        client
    });
    let conversation = ada.with(&bob);
    assert!(matches!(ada.request(message(conversation, "first", "hello")), Body::Sent(_)));
    bob.write(&[0, 0, 0, 1, 0xff]);
    assert_eq!(bob.read_to_close(), Some(CloseReason::MalformedFrame));
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    let log = server.log();
    let malformed = |line: &Value| line["reason"] == "MALFORMED_FRAME";
    assert_eq!(log.iter().filter(|line| malformed(line)).count(), 1);
    let too_large: Vec<_> = log.iter().filter(|line| line["reason"] == "FRAME_TOO_LARGE").collect();
    assert!(too_large.len() < STRANGERS as usize, "some are left out");
    let reported: Vec<_> = log.iter().filter(|line| line["of"] == "closed").collect();
    let left_out = |line: &&Value| line["left_out"].as_u64().unwrap_or(0);
    let told: u64 = too_large.iter().chain(&reported).copied().map(|line| left_out(&line)).sum();
    assert_eq!(too_large.len() as u64 + told, STRANGERS);
}

#[test]
fn a_reload_changes_the_level() {
    let server = Process::start("");
    let vanished = || {
        drop(Client::plain(server.tcp));
        server.logged(&["PEER_CLOSED"]) > 0
    };
    let reload = |level: &str, times: usize| {
        server.write_config(&format!("[log]\nlevel = {level:?}\n"));
        server.signal(Signal::HUP);
        eventually("it is reloaded", || server.logged(&["reloaded"]) == times);
    };
    assert!(!vanished());
    reload("debug", 1);
    eventually("everyday ends are logged", vanished);
    reload("loud", 2);
    let refused = &with_message(&server.log(), "not reloaded; everything is as before")[0];
    assert!(refused["error"].as_str().unwrap().contains("log.level: \"loud\""), "{refused}");
    let before = server.logged(&["PEER_CLOSED"]);
    eventually("everything is as before", || {
        vanished() && server.logged(&["PEER_CLOSED"]) > before
    });
}

/// Who asks every second must not keep out of the log what was changed.
#[test]
fn commands_that_only_look_are_not_logged() {
    let server = Process::start("");
    for _ in 0..3 {
        server.ask(&["status", "--over", "0"]);
    }
    server.ask(&["user", "list"]);
    let carried_out = || with_message(&server.log(), "an admin command was carried out");
    eventually("a line", || !carried_out().is_empty());
    assert_eq!(carried_out().len(), 1, "{:?}", carried_out());
    assert_eq!(carried_out()[0]["command"], "list_users");
}

/// Programs alert on who was changed by which command.
#[test]
fn commands_are_logged_with_what_they_are_about() {
    let server = Process::start("");
    assert!(!server.answer(&["user", "disable", "nobody"]).status.success());
    let refused = || with_message(&server.log(), "an admin command was refused");
    eventually("a line", || !refused().is_empty());
    assert_eq!(refused()[0]["command"], "disable_user");
    assert_eq!(refused()[0]["name"], "nobody");
    assert!(refused()[0].get("folder").is_none(), "{:?}", refused()[0]);
}
