//! The device policy and the end of sessions, from end to end: whoever is thrown out hears why.

mod support;

use dunlin_core::admin::{AdminReply, AdminRequest};
use dunlin_protocol::wire::{
    ChangePassword, CloseReason, DeviceKind, ErrorCode, ListSessions, Login, Logout, frame::Body,
    login::Credential,
};
use support::messages::{login, login_on, message, password, register, sync};
use support::{Client, Node, token};

fn on(node: &Node, user: &str, device: &str, kind: DeviceKind) -> Client {
    let mut client = node.connect();
    client.greet();
    client.try_log_in(login_on(token::credential(user), device, kind)).unwrap();
    client
}

fn sessions(client: &mut Client) -> usize {
    match client.request(Body::ListSessions(ListSessions {})) {
        Body::Sessions(list) => list.sessions.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_oldest_of_a_kind_is_replaced() {
    let node = Node::with(|config| {
        config.devices.sessions_per_kind = 2;
        config.devices.by_kind.insert("desktop".into(), 1);
    });
    let mut first = on(&node, "ada", "phone 1", DeviceKind::Phone);
    let mut second = on(&node, "ada", "phone 2", DeviceKind::Phone);
    let mut desktop = on(&node, "ada", "desktop 1", DeviceKind::Desktop);
    let mut bob = on(&node, "bob", "phone 1", DeviceKind::Phone);
    let mut third = on(&node, "ada", "phone 3", DeviceKind::Phone);
    assert_eq!(first.read_to_close(), Some(CloseReason::Replaced));
    let mut other_desktop = on(&node, "ada", "desktop 2", DeviceKind::Desktop);
    assert_eq!(desktop.read_to_close(), Some(CloseReason::Replaced));
    for client in [&mut second, &mut third, &mut other_desktop, &mut bob] {
        client.heartbeat();
    }
    assert_eq!(sessions(&mut third), 3);
    node.wait_closed(CloseReason::Replaced, 2);
    drop((first, second, third, desktop, other_desktop, bob));
    node.settle();
}

#[test]
fn the_same_device_and_the_same_session_have_one_connection() {
    let node = Node::start();
    let mut before = node.connect();
    let logged_in = before.log_in("ada");
    // Another login on the device is another session.
    let mut after = node.connect_tls();
    assert_ne!(after.log_in("ada").session_id, logged_in.session_id);
    assert_eq!(before.read_to_close(), Some(CloseReason::Replaced));
    drop((before, after));
    node.settle();
}

#[test]
fn who_only_fetches_is_beside_the_app_and_hears_nothing() {
    let node = Node::start();
    let (mut app, mut bob) = (node.connect(), node.connect());
    let logged_in = app.log_in("ada");
    app.sync();
    bob.log_in("bob");
    let mut extension = node.connect();
    extension.greet();
    let resume = Credential::ResumeToken(logged_in.resume_token);
    let Body::Login(login) = login(resume, "ada") else { panic!("it is a login") };
    let fetching = Body::Login(Login { fetch_only: true, ..login });
    assert_eq!(extension.try_log_in(fetching).unwrap().session_id, logged_in.session_id);
    extension.user = app.user;
    extension.sync();
    let log = bob.with(&app);
    assert!(matches!(bob.request(message(log, "1", "hello")), Body::Sent(_)));
    app.wait_for(|frame| matches!(frame.body, Some(Body::Push(_))).then_some(()));
    // Whatever was pushed to it would be here before the answer.
    extension.sync();
    let request_id = extension.send(message(log, "2", "me, too"));
    let next = extension.next().unwrap();
    let Some(Body::Error(error)) = next.body else { panic!("{next:?}") };
    assert_eq!((next.request_id, error.code()), (request_id, ErrorCode::FetchOnly));
    app.heartbeat();
    assert!(matches!(app.request(Body::Logout(Logout::default())), Body::Done(_)));
    assert_eq!(extension.read_to_close(), Some(CloseReason::LoggedOut));
    drop((app, bob, extension));
    node.settle();
}

#[test]
fn a_log_out_closes_what_it_ends() {
    let node = Node::start();
    let mut phone = on(&node, "ada", "phone", DeviceKind::Phone);
    let mut tablet = on(&node, "ada", "tablet", DeviceKind::Tablet);
    let mut desktop = on(&node, "ada", "desktop", DeviceKind::Desktop);
    assert!(matches!(phone.request(Body::Logout(Logout::default())), Body::Done(_)));
    assert_eq!(phone.read_to_close(), Some(CloseReason::LoggedOut));
    tablet.heartbeat();
    let all = Body::Logout(Logout { session_id: 0, all: true });
    assert!(matches!(tablet.request(all), Body::Done(_)));
    assert_eq!(tablet.read_to_close(), Some(CloseReason::LoggedOut));
    assert_eq!(desktop.read_to_close(), Some(CloseReason::LoggedOut));
    drop((phone, tablet, desktop));
    node.settle();
}

#[test]
fn a_changed_password_ends_the_others() {
    let node = Node::start();
    let with_password = |device: &str, secret: &str| {
        let mut client = node.connect();
        client.greet();
        client.try_log_in(login(password("ada", secret), device)).map(|_| client)
    };
    let mut new = node.connect();
    new.greet();
    assert!(matches!(new.request(register("ada", "correct horse")), Body::Registered(_)));
    drop(new);
    let mut here = with_password("here", "correct horse").unwrap();
    let mut there = with_password("there", "correct horse").unwrap();
    let change = Body::ChangePassword(ChangePassword {
        old_password: "correct horse".into(),
        new_password: "battery staple".into(),
    });
    assert!(matches!(here.request(change), Body::Done(_)));
    assert_eq!(there.read_to_close(), Some(CloseReason::LoggedOut));
    assert_eq!(
        with_password("x", "correct horse").unwrap_err().code(),
        ErrorCode::WrongCredentials
    );
    drop(with_password("x", "battery staple").unwrap());
    here.heartbeat();
    drop((here, there));
    node.settle();
}

#[test]
fn a_disabled_account_is_closed_and_stays_out() {
    let node = Node::start();
    let mut ada = node.user("ada");
    let mut over_tls = node.connect_tls();
    over_tls.greet();
    over_tls.try_log_in(login(token::credential("ada"), "another")).unwrap();
    let mut bob = node.user("bob");
    let username = || "ada".to_owned();
    let disable = AdminRequest::DisableUser { username: username() };
    assert_eq!(node.server.engine().administer(disable), Ok(AdminReply::Done));
    for client in [&mut ada, &mut over_tls] {
        assert_eq!(client.read_to_close(), Some(CloseReason::AccountDisabled));
    }
    node.wait_closed(CloseReason::AccountDisabled, 2);
    let mut again = node.connect();
    again.greet();
    let error = again.try_log_in(login(token::credential("ada"), "ada")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AccountDisabled);
    assert_eq!(again.refused_with(sync()), ErrorCode::NotLoggedIn);
    bob.heartbeat();
    let enable = AdminRequest::EnableUser { username: username() };
    assert_eq!(node.server.engine().administer(enable), Ok(AdminReply::Done));
    again.try_log_in(login(token::credential("ada"), "ada")).unwrap();
    drop((ada, over_tls, bob, again));
    node.settle();
}
