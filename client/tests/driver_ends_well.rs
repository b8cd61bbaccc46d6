//! The thread of the driver listens to commands whatever its connection does, and ends when it
//! shall, with an answer to everything.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use dunlin_client::driver::{
    Client, ClientConfig, StartError, Transport, Trust, TrustError, new_device_id,
};
use dunlin_client::machine::{
    Config, Credentials, Device, Event, Failure, Lost, Password, Request, Status, Stop,
};
use dunlin_protocol::wire::DeviceKind;
use dunlin_protocol::{LogId, UserId};

const DEADLINE: Duration = Duration::from_secs(60);

fn config(address: &str) -> ClientConfig {
    let id = new_device_id().unwrap();
    let device = Device { id, kind: DeviceKind::Bot, name: "test".into() };
    let password = Password { username: "alice".into(), password: "correct horse".into() };
    ClientConfig {
        machine: Config::new(address, device),
        transport: Transport::Tcp,
        credentials: Credentials { password: Some(password), ..Credentials::default() },
    }
}

fn until(client: &Client, is_it: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match client.events().recv_deadline(deadline).expect("it happens in time") {
            Event::Status(status) if is_it(&status) => return status,
            _ => {}
        }
    }
}

fn conversation() -> LogId {
    LogId::direct(UserId::new(1).unwrap(), UserId::new(2).unwrap())
}

#[test]
fn nobody_listens_and_what_waits_is_answered_at_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let client = Client::connect(config(&address)).unwrap();
    let (message, _) = client.send_text(conversation(), "hello").unwrap();
    let question = client.request(Request::ListSessions).unwrap();
    let status = until(&client, |status| matches!(status, Status::Waiting { .. }));
    assert!(matches!(status, Status::Waiting { lost: Lost::Network(_), .. }), "{status:?}");
    let rest = client.close();
    for ticket in [message, question] {
        let closed = Event::Completed { ticket, result: Err(Failure::Closed) };
        assert_eq!(rest.iter().filter(|event| **event == closed).count(), 1, "{rest:?}");
    }
}

#[test]
fn a_server_that_says_nothing_does_not_keep_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = Client::connect(config(&address)).unwrap();
    until(&client, |status| *status == Status::LoggingIn);
    client.close();
    let (mut socket, _) = listener.accept().unwrap();
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut socket, &mut said).expect("the connection is closed");
    assert!(said.len() > 20, "Hello and Login came in one go: {said:?}");
}

#[test]
fn a_second_address_is_tried_and_commands_are_heard_while_waiting() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&nobody.local_addr().unwrap().to_string());
    config.machine.addresses.push(listener.local_addr().unwrap().to_string());
    drop(nobody);
    let client = Client::connect(config).unwrap();
    until(&client, |status| matches!(status, Status::Waiting { .. }));
    client.hurry().unwrap();
    until(&client, |status| *status == Status::LoggingIn);
    client.close();
}

#[test]
fn without_credentials_it_waits_for_the_user() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(&listener.local_addr().unwrap().to_string());
    config.credentials = Credentials::default();
    let client = Client::connect(config).unwrap();
    until(&client, |status| *status == Status::Stopped(Stop::NoCredentials));
    client.close();
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let mut without_address = config("");
    without_address.machine.addresses.clear();
    assert!(matches!(Client::connect(without_address), Err(StartError::NoAddress)));
    let mut without_file = config("127.0.0.1:1");
    without_file.transport = Transport::Tls(Trust::PemFile("/nowhere/at.all".into()));
    let result = Client::connect(without_file);
    assert!(matches!(result, Err(StartError::Trust(TrustError::Pem { .. }))));
}
