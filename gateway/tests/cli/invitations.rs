//! `dunlin invite`, and registering by what it prints.

use dunlin_protocol::wire::{ErrorCode, Register, frame::Body};

use crate::program::Place;
use crate::wire::Client;

fn register(client: &mut Client, username: &str, invitation: &str) -> Result<(), ErrorCode> {
    let register = Register {
        username: username.into(),
        password: "pass word 1".into(),
        invitation: invitation.into(),
        ..Register::default()
    };
    match client.ask(Body::Register(register)) {
        Body::Registered(_) => Ok(()),
        Body::Error(error) => Err(error.code()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_invitation_is_made_used_listed_and_revoked() {
    let place = Place::new();
    // Without a server ...
    let made = place.run(&["invite", "create", "--note", "the choir"]).done();
    let (first, id) = made.trim().split_once("  (id ").unwrap();
    let id = id.trim_end_matches(')');
    let server = place.serve_with(&["--set", "engine.registration=invitation"]);
    // ... and with one.
    let made = place.run(&["invite", "create", "--uses", "2", "--days", "1"]).done();
    let (second, _) = made.split_once(' ').unwrap();
    let mut client = Client::connect(server.tcp);
    assert_eq!(register(&mut client, "ada", ""), Err(ErrorCode::InvitationInvalid));
    register(&mut client, "ada", first).unwrap();
    assert_eq!(register(&mut client, "bob", first), Err(ErrorCode::InvitationInvalid));
    register(&mut client, "bob", &second.to_lowercase()).unwrap();
    let listed = place.run(&["invite", "list"]).done();
    assert!(listed.contains(id) && listed.contains("the choir"), "{listed}");
    assert!(listed.contains(" 1/1 ") && listed.contains(" 1/2 "), "{listed}");
    assert!(!listed.contains(first) && !listed.contains(second));
    let json = place.run(&["invite", "list", "--json"]).done();
    let uid = rustix::process::geteuid().as_raw();
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["made_by"] == format!("uid {uid}")), "{json}");
    for line in &lines {
        let id = format!("{:016x}", line["number"].as_u64().unwrap());
        place.run(&["invite", "revoke", &id]).done();
    }
    place.run(&["invite", "revoke", id]).refused("there is no such invitation");
    assert_eq!(register(&mut client, "eve", second), Err(ErrorCode::InvitationInvalid));
    place.run(&["invite", "create", "--uses", "0"]).refused("uses: 0, not 1 to 500");
}
