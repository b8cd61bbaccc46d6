//! Registering by invitation: no use of it counts twice, and none is lost, whatever fails.

use std::sync::Arc;

use dunlin_core::admin::{
    AdminError, AdminReply, AdminRequest, InvitationRecord, InvitationRequest, NewInvitation,
};
use dunlin_core::config::{EngineConfig, Registration};
use dunlin_protocol::wire::ErrorCode;

use super::node::*;

const DAY_MS: u64 = 24 * 3600 * 1000;

fn by_invitation() -> EngineConfig {
    EngineConfig { registration: Some(Registration::Invitation), ..config() }
}

fn node() -> Node {
    Node::with(by_invitation(), Arc::default())
}

fn ask(node: &mut Node, request: InvitationRequest) -> Result<AdminReply, AdminError> {
    node.administer(AdminRequest::Invitations(request))
}

fn new(uses_max: u32) -> NewInvitation {
    let (note, made_by) = ("for the choir".to_owned(), "uid 7".to_owned());
    NewInvitation { uses_max, lifetime_ms: DAY_MS, note, made_by }
}

fn invite(node: &mut Node, uses_max: u32) -> String {
    match ask(node, InvitationRequest::Make(new(uses_max))) {
        Ok(AdminReply::InvitationMade { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

fn listed(node: &mut Node) -> Vec<InvitationRecord> {
    match ask(node, InvitationRequest::List { after: None }) {
        Ok(AdminReply::Invitations { invitations, next: None }) => invitations,
        other => panic!("{other:?}"),
    }
}

const INVALID: Result<dunlin_protocol::UserId, ErrorCode> = Err(ErrorCode::InvitationInvalid);

#[test]
fn whoever_is_invited_registers_and_nobody_else() {
    let mut node = node();
    let code = invite(&mut node, 2);
    for wrong in ["", "0000-0000-0000-0000", &code[1..], "no code"] {
        assert_eq!(node.register_by(wrong, "ada"), INVALID, "{wrong}");
    }
    node.register_by(&code, "ada").unwrap();
    // A name that is taken costs no use.
    assert_eq!(node.register_by(&code, "ada"), Err(ErrorCode::NameTaken));
    node.register_by(&code.to_lowercase(), "bob").unwrap();
    assert_eq!(node.register_by(&code, "eve"), INVALID);
    node.login(conn(1), password("bob"), device(1)).unwrap();
    let [invitation] = &listed(&mut node)[..] else { panic!("there is one") };
    assert_eq!((invitation.uses, invitation.uses_max, invitation.under_way), (2, 2, 0));
    assert_eq!((&invitation.note[..], &invitation.made_by[..]), ("for the choir", "uid 7"));
    assert_eq!(invitation.expires_ms - invitation.made_ms, DAY_MS);
}

#[test]
fn an_invitation_ends() {
    let mut node = node();
    let (late, revoked) = (invite(&mut node, 1), invite(&mut node, 1));
    let all = listed(&mut node);
    assert_eq!(all.len(), 2);
    let last = all[1].number;
    ask(&mut node, InvitationRequest::Revoke { number: last }).unwrap();
    assert!(ask(&mut node, InvitationRequest::Revoke { number: last }).is_err());
    assert_eq!(listed(&mut node).len(), 1);
    let results = [&late, &revoked].map(|code| node.register_by(code, "ada").is_ok());
    assert_eq!(results.iter().filter(|is_good| **is_good).count(), 1);
    let other = invite(&mut node, 1);
    node.now_ms += DAY_MS;
    assert_eq!(node.register_by(&other, "bob"), INVALID);
}

#[test]
fn the_operator_is_told_what_is_wrong() {
    let mut node = node();
    for wrong in [
        new(0),
        new(501),
        NewInvitation { lifetime_ms: 0, ..new(1) },
        NewInvitation { lifetime_ms: 367 * DAY_MS, ..new(1) },
        NewInvitation { note: "x".repeat(129), ..new(1) },
        NewInvitation { note: "\u{1b}[2J".into(), ..new(1) },
    ] {
        let refused = ask(&mut node, InvitationRequest::Make(wrong));
        assert!(matches!(refused, Err(AdminError::Invalid(_))), "{refused:?}");
    }
}

#[test]
fn many_who_come_at_once_get_as_many_accounts_as_there_are_uses() {
    for seed in 0..30 {
        let mut node = node();
        let code = invite(&mut node, 3);
        node.shuffle = Some(seed);
        let asked: Vec<_> = (0..8)
            .map(|number| {
                let request = registering(&code, &format!("user{number}"));
                node.submit(conn(number), None, request)
            })
            .collect();
        node.run();
        let mut registered = 0;
        for (number, request_id) in (0..).zip(asked) {
            use dunlin_protocol::wire::frame::Body;
            match node.response(conn(number), request_id) {
                Body::Registered(_) => registered += 1,
                Body::Error(error) => assert_eq!(error.code(), ErrorCode::InvitationInvalid),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(registered, 3);
        let [invitation] = &listed(&mut node)[..] else { panic!("there is one") };
        assert_eq!((invitation.uses, invitation.under_way), (3, 0));
    }
}

/// Whatever step of it fails and is not made up for before the server ends, the next run knows what became
/// of it.
#[test]
fn no_use_counts_twice_and_none_is_lost() {
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Unknown] {
        for step in 0.. {
            assert!(step < 50, "the flow has no end");
            let mut first = node();
            let code = invite(&mut first, 1);
            first.fail_at(step, fault);
            let told = first.register_by(&code, "ada");
            let failed = first.heal();
            let mut next = Node::one_of_several(by_invitation(), first.store, 1);
            let ada = next.login(conn(1), password("ada"), device(1));
            let has_registered = matches!(ada, LoginResult::In(_));
            assert!(has_registered || told.is_err(), "{fault:?} at {step}");
            let bob = next.register_by(&code, "bob");
            assert_eq!(bob.is_ok(), !has_registered, "{fault:?} at {step}: {bob:?}");
            assert_eq!(next.register_by(&code, "eve"), INVALID);
            let [invitation] = &listed(&mut next)[..] else { panic!("there is one") };
            assert_eq!(invitation.uses + invitation.under_way, 1);
            if !failed {
                assert!(step > 3);
                break;
            }
        }
    }
}
