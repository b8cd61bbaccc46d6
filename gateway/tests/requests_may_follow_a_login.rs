//! A client need not wait for Welcome, nor for LoggedIn: what follows a Login is taken when that has
//! ended. So whoever comes back is there after one round trip.

mod support;

use dunlin_protocol::wire::{CloseReason, ErrorCode, frame::Body, login::Credential};
use support::messages::{hello, login, sync};
use support::{Client, Node, token};

/// Sends these in one piece; gives back by which numbers they are answered.
fn send_together(client: &mut Client, bodies: Vec<Body>) -> Vec<u64> {
    let (ids, frames): (Vec<_>, Vec<_>) =
        bodies.into_iter().map(|body| client.encode(body)).unzip();
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.wire().to_vec()).collect();
    client.write(&bytes);
    ids
}

fn code(answer: &Body) -> ErrorCode {
    match answer {
        Body::Error(error) => error.code(),
        other => panic!("no error: {other:?}"),
    }
}

#[test]
fn all_that_a_client_begins_with_fits_into_one_piece() {
    let node = Node::start();
    for mut client in node.connect_each_way() {
        let ada = || login(token::credential("ada"), "ada");
        let ids = send_together(&mut client, vec![hello(), ada(), sync(), sync()]);
        assert!(matches!(client.answer(ids[0]), Body::Welcome(_)));
        assert!(matches!(client.answer(ids[1]), Body::LoggedIn(_)));
        assert!(matches!(client.answer(ids[2]), Body::Synced(_)));
        assert!(matches!(client.answer(ids[3]), Body::Synced(_)));
        // Heartbeats keep their places as well, and what comes behind is as ever.
        client.heartbeat();
        assert_eq!(client.refused_with(ada()), ErrorCode::AlreadyLoggedIn);
    }
    node.settle();
}

#[test]
fn what_follows_a_login_that_fails_comes_before_any_login() {
    let node = Node::start();
    for mut client in node.connect_each_way() {
        let forged = login(Credential::IssuerToken("x.y.z".into()), "ada");
        let good = login(token::credential("ada"), "ada");
        let ids = send_together(&mut client, vec![hello(), forged, sync(), good, sync()]);
        assert_eq!(code(&client.answer(ids[1])), ErrorCode::TokenInvalid);
        assert_eq!(code(&client.answer(ids[2])), ErrorCode::NotLoggedIn);
        assert!(matches!(client.answer(ids[3]), Body::LoggedIn(_)));
        assert!(matches!(client.answer(ids[4]), Body::Synced(_)));
    }
    node.settle();
}

#[test]
fn a_request_may_be_cut_anywhere_behind_a_login() {
    let node = Node::start();
    let mut client = node.connect();
    let bodies = [hello(), login(token::credential("ada"), "ada"), sync()];
    let (ids, frames): (Vec<_>, Vec<_>) =
        bodies.into_iter().map(|body| client.encode(body)).unzip();
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.wire().to_vec()).collect();
    let last = frames[2].wire().len();
    let (head, tail) = bytes.split_at(bytes.len() - last + 2);
    client.write(head);
    assert!(matches!(client.answer(ids[1]), Body::LoggedIn(_)));
    client.write(tail);
    assert!(matches!(client.answer(ids[2]), Body::Synced(_)));
    drop(client);
    node.settle();
}

#[test]
fn who_goes_while_requests_wait_is_gone() {
    let node = Node::start();
    for number in 0..20 {
        let mut client = node.connect();
        let name = format!("user{number}");
        let requests = vec![hello(), login(token::credential(&name), &name), sync(), sync()];
        send_together(&mut client, requests);
        drop(client);
    }
    let violations = node.server.closed(CloseReason::ProtocolViolation);
    assert_eq!(violations, 0);
    node.settle();
}
