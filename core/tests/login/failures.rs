//! A store that fails at any step: every request is answered, nobody gets in by it, and when the
//! store works again, so does everything.

use dunlin_core::admin::{AdminError, AdminRequest};
use dunlin_core::request::{IdentityRequest, Logout};
use dunlin_protocol::wire::ErrorCode;

use super::node::*;

/// Runs a flow again and again, with the first, the second ... request to the store failing,
/// until it comes to its end untouched.
fn at_every_step(mut flow: impl FnMut(&mut Node, &mut dyn FnMut(&mut Node))) {
    for fault in [Fault::Refused, Fault::AnswerLost, Fault::Unknown] {
        let mut step = 0;
        loop {
            let mut node = Node::new();
            flow(&mut node, &mut |node| node.fail_at(step, fault));
            if !node.heal() {
                break;
            }
            step += 1;
            assert!(step < 50, "the flow has no end");
        }
        assert!(step > 0, "the flow never asks the store");
    }
}

#[test]
fn registering() {
    at_every_step(|node, break_store| {
        break_store(node);
        let registered = node.register("ada");
        let failed = node.heal();
        match registered {
            Ok(_) => assert!(!failed),
            Err(code) => {
                assert!(failed);
                assert_eq!(code, ErrorCode::StoreUnavailable);
                // It may have been stored for all that.
                let again = node.register("ada");
                assert!(matches!(again, Ok(_) | Err(ErrorCode::NameTaken)), "{again:?}");
            }
        }
        node.login(conn(1), password("ada"), device(1)).unwrap();
    });
}

#[test]
fn logging_in_with_each_credential() {
    for which in 0..4 {
        at_every_step(|node, break_store| {
            let ada = node.registered("ada");
            let credential = match which {
                0 => password("ada"),
                1 => ada.access(),
                2 => ada.resume(),
                _ => ada.refresh(),
            };
            break_store(node);
            let result = node.login(conn(2), credential.clone(), device(1));
            if !node.heal() {
                result.unwrap();
                return;
            }
            assert_eq!(result.postponed(), ErrorCode::StoreUnavailable);
            // Also if a refresh was stored and its answer lost.
            node.login(conn(2), credential, device(1)).unwrap();
        });
    }
}

#[test]
fn the_first_login_of_an_issuers_user() {
    at_every_step(|node, break_store| {
        break_store(node);
        let result = node.login(conn(1), issued("ada"), device(1));
        if node.heal() {
            assert_eq!(result.postponed(), ErrorCode::StoreUnavailable);
            node.login(conn(1), issued("ada"), device(1)).unwrap();
        } else {
            result.unwrap();
        }
        let again = node.login(conn(2), issued("ada"), device(2)).unwrap();
        assert_eq!(node.sessions(conn(2), again.session).len(), 2);
    });
}

#[test]
fn requests_of_a_session() {
    for which in 0..4 {
        at_every_step(|node, break_store| {
            let ada = node.registered("ada");
            let other = node.login(conn(2), password("ada"), device(2)).unwrap();
            let new = "battery staple".to_owned();
            let request = match which {
                0 => IdentityRequest::ListSessions.into(),
                1 => IdentityRequest::Logout(Logout::Other(other.session.session)).into(),
                2 => IdentityRequest::Refresh { refresh_token: ada.tokens().refresh_token.clone() }
                    .into(),
                _ => IdentityRequest::ChangePassword { old: PASSWORD.into(), new }.into(),
            };
            break_store(node);
            let body = node.request(conn(1), Some(ada.session), request);
            if node.heal() {
                let dunlin_protocol::wire::frame::Body::Error(error) = body else {
                    panic!("{body:?}");
                };
                assert_eq!(error.code(), ErrorCode::StoreUnavailable);
                node.assert_open(conn(1));
                node.assert_open(conn(2));
            }
        });
    }
}

#[test]
fn administration() {
    for which in 0..5 {
        at_every_step(|node, break_store| {
            node.registered("ada");
            let (username, password) = ("ada".to_owned(), PASSWORD.to_owned());
            let request = match which {
                0 => AdminRequest::ListUsers { after: None, limit: 10 },
                1 => AdminRequest::DisableUser { username },
                2 => {
                    node.administer(AdminRequest::DisableUser { username: "ada".into() }).unwrap();
                    AdminRequest::EnableUser { username }
                }
                3 => AdminRequest::ResetPassword { username, password },
                _ => {
                    let (username, display_name) = ("bob".to_owned(), String::new());
                    AdminRequest::AddUser { username, password, display_name }
                }
            };
            break_store(node);
            let result = node.administer(request.clone());
            if node.heal() {
                assert!(
                    matches!(
                        result,
                        Err(AdminError::Refused { code: ErrorCode::StoreUnavailable, .. })
                    ),
                    "{result:?}"
                );
                if which != 4 {
                    node.administer(request).unwrap();
                }
            } else {
                result.unwrap();
            }
        });
    }
}
