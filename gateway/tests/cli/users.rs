//! `dunlin user ..`, with and without a server.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, chown};

use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::wire::{CloseReason, ErrorCode, Register};

use crate::program::Place;
use crate::wire::Client;

/// A user that is not this one, if this one may give files away.
const NOBODY: u32 = 65_534;

/// Name and state of each user in a list of JSON lines, sorted.
fn listed(lines: &str) -> Vec<(String, bool)> {
    let user = |line: &str| {
        let user: serde_json::Value = serde_json::from_str(line).expect(line);
        (user["username"].as_str().unwrap().to_owned(), user["disabled"].as_bool().unwrap())
    };
    let mut users: Vec<_> = lines.lines().map(user).collect();
    users.sort();
    users
}

#[test]
fn users_are_added_listed_and_found_with_and_without_a_server() {
    let place = Place::new();
    let out = place.add("ada", "pass word 1\n").done();
    assert!(out.starts_with("ada is added, id "), "{out}");
    let json = place.run(&["user", "list", "--json"]).done();
    assert_eq!(listed(&json), [("ada".into(), false)]);

    let server = place.serve();
    let ada = Client::connect(server.tcp).log_in("ada", "pass word 1").unwrap();
    assert!(out.contains(&ada.to_string()), "{out}");
    place.add("bob", "pass word 2").done();
    Client::connect(server.tcp).log_in("bob", "pass word 2").unwrap();
    let table = place.run(&["user", "list"]).done();
    assert!(table.lines().next().is_some_and(|title| title.contains("NAME")), "{table}");
    let line = table.lines().find(|line| line.ends_with("  ada")).expect(&table);
    assert!(line.contains(&ada.to_string()) && line.contains("enabled"), "{line}");
    server.end();

    let json = place.run(&["user", "list", "--json"]).done();
    assert_eq!(listed(&json), [("ada".into(), false), ("bob".into(), false)]);
}

#[test]
fn a_disabled_user_is_out_at_once_and_comes_back_when_enabled() {
    let place = Place::new();
    place.add("ada", "pass word 1").done();
    let server = place.serve();
    let mut connected = Client::connect(server.tcp);
    connected.log_in("ada", "pass word 1").unwrap();
    place.run(&["user", "disable", "ada"]).done();
    assert_eq!(connected.closed(), CloseReason::AccountDisabled);
    let log_in = || Client::connect(server.tcp).log_in("ada", "pass word 1");
    assert_eq!(log_in(), Err(ErrorCode::AccountDisabled));
    let json = place.run(&["user", "list", "--json"]).done();
    assert_eq!(listed(&json), [("ada".into(), true)]);
    place.run(&["user", "enable", "ada"]).done();
    log_in().unwrap();
    server.end();

    // Without a server it is the same.
    place.run(&["user", "disable", "ada"]).done();
    let server = place.serve();
    let refused = Client::connect(server.tcp).log_in("ada", "pass word 1");
    assert_eq!(refused, Err(ErrorCode::AccountDisabled));
}

#[test]
fn a_new_password_replaces_the_old_one_and_ends_all_sessions() {
    let place = Place::new();
    place.add("ada", "pass word 1").done();
    let server = place.serve();
    let mut connected = Client::connect(server.tcp);
    connected.log_in("ada", "pass word 1").unwrap();
    let reset = ["user", "reset-password", "ada", "--password-stdin"];
    place.run_with(&reset, "pass word 2\n").done();
    assert_eq!(connected.closed(), CloseReason::LoggedOut);
    let old = Client::connect(server.tcp).log_in("ada", "pass word 1");
    assert_eq!(old, Err(ErrorCode::WrongCredentials));
    Client::connect(server.tcp).log_in("ada", "pass word 2").unwrap();
}

/// The sessions of ada, by their ids, and whether they are connected.
fn sessions(place: &Place) -> Vec<(u64, bool)> {
    let lines = place.run(&["user", "sessions", "ada", "--json"]).done();
    let session = |line: &str| {
        let session: serde_json::Value = serde_json::from_str(line).expect(line);
        assert_eq!(
            (&session["device_kind"], &session["device_name"]),
            (&"desktop".into(), &"test".into())
        );
        assert!(session["opened_ms"].as_u64() < session["expires_ms"].as_u64(), "{line}");
        (session["session_id"].as_u64().unwrap(), session["connected"].as_bool().unwrap())
    };
    lines.lines().map(session).collect()
}

#[test]
fn a_user_is_shown_and_sessions_are_ended() {
    let place = Place::new();
    place.add("ada", "pass word 1").done();
    place.add("bob", "pass word 2").done();
    let server = place.serve();
    let mut bob = Client::connect(server.tcp);
    bob.log_in("bob", "pass word 2").unwrap();
    let mut ada = Client::connect(server.tcp);
    let id = ada.log_in("ada", "pass word 1").unwrap();
    let shown = place.run(&["user", "show", "ada"]).done();
    for line in [
        format!("id            {id}").as_str(),
        "login         by password",
        "sessions      1, 1 connected",
    ] {
        assert!(shown.lines().any(|it| it == line), "{line}: {shown}");
    }
    let [(session, true)] = sessions(&place)[..] else { panic!("one session, connected") };
    let table = place.run(&["user", "sessions", "ada"]).done();
    assert!(table.contains(&session.to_string()) && table.contains("online"), "{table}");

    let kick =
        |session: u64| place.run(&["user", "kick", "ada", "--session", &session.to_string()]);
    kick(session + 1).refused("the user has no such session");
    kick(0).refused("0");
    kick(session).done();
    assert_eq!(ada.closed(), CloseReason::LoggedOut);
    assert_eq!(sessions(&place), []);
    kick(session).refused("the user has no such session");

    let mut ada = Client::connect(server.tcp);
    ada.log_in("ada", "pass word 1").unwrap();
    place.run(&["user", "kick", "ada"]).done();
    assert_eq!(ada.closed(), CloseReason::LoggedOut);
    assert_eq!(sessions(&place), []);
    assert_eq!(
        bob.log_in("bob", "pass word 2"),
        Err(ErrorCode::AlreadyLoggedIn),
        "bob is not concerned"
    );

    // Without a server it is the same, and nobody is connected.
    let mut ada = Client::connect(server.tcp);
    ada.log_in("ada", "pass word 1").unwrap();
    server.end();
    let [(session, false)] = sessions(&place)[..] else { panic!("one session, not connected") };
    let shown = place.run(&["user", "show", "ada", "--json"]).done();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["display_name"], "ada");
    assert!(shown["created_ms"].as_u64().unwrap() > 0);
    kick(session).done();
    assert_eq!(sessions(&place), []);
    place.run(&["user", "show", "eve"]).refused("no user has this name");
    place.run(&["user", "kick", "eve"]).refused("no user has this name");
}

#[test]
fn a_user_before_the_first_start_is_no_reason_to_worry() {
    let place = Place::new();
    place.add("ada", "pass word 1").done();
    place.serve().end();
    let log = fs::read_to_string(place.path("server.log")).unwrap();
    assert!(!log.contains("there was no signing key"), "{log}");
    // One that was lost is.
    fs::remove_file(place.data().join("signing.key")).unwrap();
    place.serve().end();
    place.wait_for_log("there was no signing key");
}

/// Root can work everywhere, and would lock the owner out. (Another user can't make such a folder, nor
/// work on it.)
#[test]
fn nobody_works_on_the_folder_of_another_user() {
    let place = Place::new();
    DirBuilder::new().mode(0o700).create(place.data()).unwrap();
    if chown(place.data(), Some(NOBODY), None).is_err() {
        return;
    }
    let refusals = |path: &str| {
        let because =
            format!("can't work on {path}: it belongs to user {NOBODY}; run it as that user");
        place.run(&["serve", "--log", "error"]).refused(&because);
        place.run(&["check-config"]).refused(&because);
        place.add("eve", "pass word 1").refused(&because);
    };
    refusals("data");
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 0, "nothing was made");

    chown(place.data(), Some(0), None).unwrap();
    place.add("ada", "pass word 1").done();
    chown(place.data().join("store"), Some(NOBODY), None).unwrap();
    refusals("data/store");
    place.run(&["user", "list"]).refused("it belongs to user");
}

/// What of a name can't be read is counted, not listed; and what concerns one says what helps.
#[test]
fn users_whose_names_are_lost_are_one_line() {
    let place = Place::new();
    let names = ["ada", "bob", "eve", "joe", "kim"];
    names.iter().for_each(|name| drop(place.add(name, "pass word 1").done()));
    place.serve().end();
    let store = place.data().join("store");
    let indexed = |number: usize| {
        let names = fs::read_dir(&store).unwrap().map(|file| file.unwrap().file_name());
        let mut names = names.filter_map(|name| name.into_string().ok());
        let number = format!("{number:08x}");
        names.any(|it| it.ends_with(".idx") && it[..8] <= *number && *number <= it[9..17])
    };
    // Each was made by a command of its own, which begins a segment.
    for number in 1..=3 {
        assert!(indexed(number));
        fs::remove_file(store.join(format!("{number:08x}.log"))).unwrap();
    }
    let online_too = [None, Some(place.serve())];
    for _server in online_too {
        let ended = place.run(&["user", "list"]);
        assert!(!ended.success && ended.error.lines().count() == 2, "{ended:?}");
        assert!(ended.error.contains("the names of 3 users can't be read"), "{ended:?}");
        assert!(ended.out.contains("joe") && ended.out.contains("kim"), "{ended:?}");
        place.add("ada", "pass word 1").refused("nothing but a backup helps");
    }
}

#[test]
fn what_is_refused_says_why_in_one_line() {
    let place = Place::new();
    place.run(&["user", "list"]).refused("holds no data of a server");
    assert!(!place.data().exists(), "a typing error must not make a folder");
    place.run(&["user", "add", "ada"]).refused("--password-stdin");
    place.add("ada", "").refused("a password is needed");
    place.add("ada", "pass word 1").done();
    let online_too = [None, Some(place.serve())];
    for _server in online_too {
        place.add("ada", "pass word 1").refused("the user name is taken");
        place.add("ada", "short").refused("password: 5 bytes, not 8 to 128");
        place.add("No Name", "pass word 1").refused("username");
        place.run(&["user", "disable", "eve"]).refused("dunlin user list");
        place.run(&["user", "enable", "Ada "]).refused("no user has this name");
    }
}

#[test]
fn a_long_list_comes_in_pages_and_is_whole() {
    let place = Place::new();
    let server = place.serve();
    let mut client = Client::connect(server.tcp);
    let names: Vec<(String, bool)> =
        (0..250).map(|number| (format!("u{number:03}"), false)).collect();
    for (username, _) in &names {
        let (username, password) = (username.clone(), "pass word".to_owned());
        let register = Register { username, password, ..Register::default() };
        let registered = client.ask(Body::Register(register));
        assert!(matches!(registered, Body::Registered(_)), "{registered:?}");
    }
    let json = place.run(&["user", "list", "--json"]).done();
    assert_eq!(listed(&json), names);
    assert_eq!(place.run(&["user", "list"]).done().lines().count(), 251);
}

#[test]
fn users_are_searched_and_sorted() {
    let place = Place::new();
    for name in ["mallory", "ada", "adam", "bob"] {
        place.add(name, "pass word 1").done();
    }
    let server = place.serve();
    let mut bob = Client::connect(server.tcp);
    bob.log_in("bob", "pass word 1").unwrap();
    let names = |arguments: &[&str]| -> Vec<String> {
        let lines = place.run(arguments).done();
        let name = |line: &str| {
            let user: serde_json::Value = serde_json::from_str(line).expect(line);
            user["username"].as_str().unwrap().to_owned()
        };
        lines.lines().map(name).collect()
    };
    let all = ["ada", "adam", "bob", "mallory"];
    assert_eq!(names(&["user", "list", "--json", "--sort", "name"]), all);
    let by_sessions = ["bob", "ada", "adam", "mallory"];
    assert_eq!(names(&["user", "list", "--json", "--sort", "sessions"]), by_sessions);
    assert_eq!(names(&["user", "search", "ADA", "--json"]), ["ada", "adam"]);
    assert_eq!(names(&["user", "search", "--json", "nobody"]), [""; 0]);
    let table = place.run(&["user", "search", "mall"]).done();
    assert_eq!(table.lines().count(), 2, "{table}");
    server.end();
}
