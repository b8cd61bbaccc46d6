//! Where files may not grow, messages are refused as on a full disk, and the server goes on: the signal
//! that tells of the limit ends a process that does not expect it.

mod support;

use dunlin_protocol::wire::{ErrorCode, frame::Body};
use rustix::process::{Resource, Signal};
use support::Client;
use support::messages::message;
use support::process::Process;

/// Far below the end of the segment, which has all its bytes from the beginning.
const LIMIT_BYTES: u64 = 256 * 1024;

/// More than fit into what may be written.
const MESSAGES_MAX: usize = 100;

#[test]
fn what_does_not_fit_is_refused_and_the_server_lives() {
    let mut server = Process::start("");
    let [mut ada, bob] = ["ada", "bob"].map(|name| {
        let mut client = Client::plain(server.tcp);
        client.log_in(name);
        client.sync();
        client
    });
    let conversation = ada.with(&bob);
    server.limit(Resource::Fsize, LIMIT_BYTES);
    let text = "x".repeat(50 * 1024);
    let refused = (0..MESSAGES_MAX).find_map(|number| {
        match ada.request(message(conversation, &number.to_string(), text.clone())) {
            Body::Sent(_) => None,
            Body::Error(error) => Some(error.code()),
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(refused, Some(ErrorCode::StoreUnavailable));
    ada.sync();
    assert!(server.ask(&["user", "list"]).contains("ada"));
    server.signal(Signal::TERM);
    assert!(server.wait().success());
}
