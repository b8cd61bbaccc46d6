//! Sessions that end on one node, and were open on another.

use dunlin_core::admin::AdminRequest;
use dunlin_core::arrival::Arrival;
use dunlin_core::attempt::Attempt;
use dunlin_core::request::{
    Command, CredentialRequest, Device, IdentityRequest, Login, Logout, Purpose, Register, Request,
    Source,
};
use dunlin_core::transport::Delivery;
use dunlin_protocol::DeviceId;
use dunlin_protocol::wire::login::Credential;
use dunlin_protocol::wire::{self, CloseReason, DeviceKind, ErrorCode, frame::Body};

use super::engine_support::{Client, body_of};
use super::nodes::Nodes;

const PASSWORD: &str = "correct horse";

fn password() -> Credential {
    let (username, password) = ("ann".into(), PASSWORD.into());
    Credential::Password(wire::PasswordCredential { username, password })
}

fn device(number: u8) -> Device {
    Device { id: DeviceId([number; 16]), kind: DeviceKind::Phone, name: "a phone".into() }
}

impl Nodes {
    fn request(&mut self, node: usize, request: Request) -> Delivery {
        let server = &mut self.servers[node];
        let conn = server.next_conn();
        let mut submitter = server.engine.submitter();
        submitter.command(Command {
            conn,
            session: None,
            request_id: 1,
            may_deflate: false,
            arrived: Arrival::UNKNOWN,
            request,
        });
        assert!(submitter.flush());
        server.inbox.take(conn, |delivery| Some(delivery.clone()))
    }

    fn register(&mut self) {
        let (username, display_name) = ("ann".to_owned(), "Ann".to_owned());
        let register = Register {
            username,
            password: PASSWORD.into(),
            display_name,
            invitation: String::new(),
            attempt: Attempt::default(),
        };
        let answer = self.request(0, CredentialRequest::Register(register).into());
        assert!(matches!(body_of(&answer), Some((_, Body::Registered(_)))), "{answer:?}");
    }

    /// Logs in and syncs.
    fn login(&mut self, node: usize, credential: Credential, device: Device) -> (Client, Body) {
        let login = Login {
            credential,
            device,
            attempt: Attempt::default(),
            purpose: Purpose::Live,
            source: Source::default(),
        };
        let conn = self.servers[node].next_conn();
        let mut submitter = self.servers[node].engine.submitter();
        let request = CredentialRequest::Login(login).into();
        submitter.command(Command {
            conn,
            session: None,
            request_id: 1,
            may_deflate: false,
            arrived: Arrival::UNKNOWN,
            request,
        });
        assert!(submitter.flush());
        let inbox = &self.servers[node].inbox;
        let (session, body) = inbox.take(conn, |delivery| match delivery {
            Delivery::LoggedIn { session, .. } => Some((*session, body_of(delivery)?.1)),
            _ => None,
        });
        let mut client = self.servers[node].client_on(conn, session);
        client.sync(wire::Sync::default());
        (client, body)
    }

    fn login_error(&mut self, node: usize, credential: Credential, device: Device) -> ErrorCode {
        let login = Login {
            credential,
            device,
            attempt: Attempt::default(),
            purpose: Purpose::Live,
            source: Source::default(),
        };
        let answer = self.request(node, CredentialRequest::Login(login).into());
        match body_of(&answer) {
            Some((_, Body::Error(error))) => error.code(),
            other => panic!("{other:?}"),
        }
    }
}

fn done(client: &mut Client, request: Request) {
    assert_eq!(client.ask(request), Body::Done(wire::Done {}));
}

#[test]
fn a_logout_closes_sessions_on_other_nodes() {
    let mut nodes = Nodes::start(3);
    nodes.register();
    let (mut here, _) = nodes.login(0, password(), device(1));
    let (there, _) = nodes.login(1, password(), device(2));
    let (mut kept, _) = nodes.login(2, password(), device(3));
    done(&mut here, IdentityRequest::Logout(Logout::Other(there.session.session)).into());
    assert_eq!(there.closed(), CloseReason::LoggedOut);
    done(&mut here, IdentityRequest::Logout(Logout::This).into());
    assert_eq!(here.closed(), CloseReason::LoggedOut);
    // The third one goes on.
    kept.sync(wire::Sync::default());
    let (mut again, _) = nodes.login(0, password(), device(1));
    done(&mut again, IdentityRequest::Logout(Logout::All).into());
    assert_eq!((again.closed(), kept.closed()), (CloseReason::LoggedOut, CloseReason::LoggedOut));
    nodes.stop();
}

#[test]
fn a_new_password_and_a_disabled_account_close_sessions_on_other_nodes() {
    let mut nodes = Nodes::start(2);
    nodes.register();
    let (mut here, _) = nodes.login(0, password(), device(1));
    let (there, _) = nodes.login(1, password(), device(2));
    let (old, new) = (PASSWORD.to_owned(), "another horse".to_owned());
    done(&mut here, IdentityRequest::ChangePassword { old, new }.into());
    assert_eq!(there.closed(), CloseReason::LoggedOut);
    let disable = AdminRequest::DisableUser { username: "ann".into() };
    nodes.servers[1].engine.administer(disable).unwrap();
    assert_eq!(here.closed(), CloseReason::AccountDisabled);
    nodes.stop();
}

#[test]
fn a_session_that_comes_back_elsewhere_is_no_replacement() {
    let mut nodes = Nodes::start(2);
    nodes.register();
    let (old, body) = nodes.login(0, password(), device(1));
    let Body::LoggedIn(logged_in) = body else { panic!("{body:?}") };
    let resume = Credential::ResumeToken(logged_in.resume_token);
    let (mut new, _) = nodes.login(1, resume, device(1));
    assert_eq!(new.session, old.session);
    assert_eq!(old.closed(), CloseReason::Reconnected);
    new.sync(wire::Sync::default());
    // A new login on the same device takes the place of the session, wherever it is.
    let (_newest, _) = nodes.login(0, password(), device(1));
    assert_eq!(new.closed(), CloseReason::Replaced);
    nodes.stop();
}

#[test]
fn word_of_a_logout_that_gets_lost_is_made_good() {
    let mut nodes = Nodes::start(2);
    nodes.register();
    let (mut here, _) = nodes.login(0, password(), device(1));
    let (there, body) = nodes.login(1, password(), device(2));
    let Body::LoggedIn(logged_in) = body else { panic!("{body:?}") };
    nodes.bus.silence(nodes.id(1));
    done(&mut here, IdentityRequest::Logout(Logout::All).into());
    assert_eq!(here.closed(), CloseReason::LoggedOut);
    // Even now nobody comes in by what has ended.
    let resume = Credential::ResumeToken(logged_in.resume_token);
    assert_eq!(nodes.login_error(1, resume, device(2)), ErrorCode::SessionRevoked);
    nodes.bus.hear_all();
    assert_eq!(there.closed(), CloseReason::LoggedOut);
    nodes.stop();
}
