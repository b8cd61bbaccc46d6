//! The door: programs ask without a connection, and each call is answered once, whatever happens.

mod engine_support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use dunlin_core::admin::{AdminError, AdminReply, AdminRequest};
use dunlin_core::config::{EngineConfig, PasswordConfig};
use dunlin_core::engine::door::DoorError;
use dunlin_core::limits::DOOR_CALLS_MAX;
use dunlin_core::request::{AccountRequest, IdentityRequest};
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{Store, StoreDone, StoreRequest};
use dunlin_protocol::wire::{self, ErrorCode, frame::Body};
use dunlin_protocol::{LogId, UserId};
use engine_support::{Server, history, send, text_of};
use parking_lot::Mutex;

const DEADLINE: Duration = Duration::from_secs(60);

/// A store that keeps its answers back until it is told to give them.
#[derive(Default)]
struct Holding {
    sound: MemoryStore,
    held: Mutex<Option<Vec<(StoreRequest, StoreDone)>>>,
}

impl Holding {
    fn hold(&self) {
        *self.held.lock() = Some(Vec::new());
    }

    fn let_go(&self) {
        let held = self.held.lock().take();
        held.into_iter().flatten().for_each(|(request, done)| self.sound.submit(request, done));
    }
}

impl Store for Holding {
    fn epoch(&self) -> u64 {
        self.sound.epoch()
    }

    fn submit(&self, request: StoreRequest, done: StoreDone) {
        match &mut *self.held.lock() {
            Some(held) => held.push((request, done)),
            None => self.sound.submit(request, done),
        }
    }
}

fn code(answer: Result<Body, DoorError>) -> ErrorCode {
    match answer {
        Err(DoorError::Refused(error)) => error.code(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_program_writes_and_reads_as_a_user() {
    let mut server = Server::start(2);
    let (ann, bob) = (server.account(1), server.account(2));
    let (phone, tablet) = (server.live(ann), server.live(bob));
    let (log, door) = (LogId::direct(ann, bob), server.engine.door());

    match door.ask_and_wait(ann, send(log, 1, "from a program")) {
        Ok(Body::Sent(sent)) => assert_eq!(sent.seq, 1),
        other => panic!("{other:?}"),
    }
    // Both sides hear of it, the user's own sessions as well: none of them has sent it.
    for device in [&phone, &tablet] {
        assert_eq!(text_of(&device.pushed(log)), "from a program");
    }
    // A retry is one also if a connection makes it.
    let mut laptop = server.live(ann);
    assert_eq!(laptop.send(bob, 1, "from a program").seq, 1);
    match door.ask_and_wait(bob, history(log)) {
        Ok(Body::HistoryPage(page)) => assert_eq!(page.entries.len(), 1),
        other => panic!("{other:?}"),
    }
    let read = AccountRequest::MarkRead { conversation: log, seq: 1, private: false };
    match door.ask_and_wait(bob, read) {
        Ok(Body::ReadReceipt(cursor)) => assert_eq!((cursor.seq, cursor.others_counted), (1, 1)),
        other => panic!("{other:?}"),
    }
    // Nobody on a connection has asked for it.
    assert!(matches!(tablet.signalled(), Body::ReadReceipt(cursor) if cursor.user_id == bob.get()));
    match door.ask_and_wait(bob, wire_sync()) {
        Ok(Body::Synced(synced)) => assert_eq!(synced.conversations.len(), 1),
        other => panic!("{other:?}"),
    }
    // Nothing of a stranger's.
    let eve = server.account(3);
    assert_eq!(code(door.ask_and_wait(eve, history(log))), ErrorCode::NoSuchConversation);
    server.engine.stop();
}

fn wire_sync() -> dunlin_core::request::Request {
    wire::Sync::default().try_into().unwrap()
}

#[test]
fn what_needs_a_session_is_refused() {
    let server = Server::start(2);
    let (ann, door) = (server.account(1), server.engine.door());
    assert_eq!(code(door.ask_and_wait(ann, IdentityRequest::ListSessions)), ErrorCode::NotLoggedIn);
    let register = wire::Register {
        username: "eve".into(),
        password: "correct horse".into(),
        display_name: String::new(),
        ..wire::Register::default()
    };
    let register = dunlin_core::request::Request::try_from(register).unwrap();
    assert_eq!(code(door.ask_and_wait(ann, register)), ErrorCode::NotLoggedIn);
    server.engine.stop();
}

#[test]
fn the_operator_reaches_accounts_of_all_workers() {
    let server = Server::start(4);
    let door = server.engine.door();
    let (sender, answers) = channel();
    for number in 0..30 {
        let (username, sender) = (format!("user{number}"), sender.clone());
        let (password, display_name) = ("correct horse".into(), String::new());
        let add = AdminRequest::AddUser { username, password, display_name };
        door.administer(add, move |answer| sender.send(answer).unwrap());
    }
    let ids: BTreeSet<UserId> = (0..30)
        .map(|_| match answers.recv_timeout(DEADLINE).unwrap() {
            Ok(AdminReply::UserAdded { user }) => user,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 30);
    let disable = AdminRequest::DisableUser { username: "user7".into() };
    assert_eq!(server.engine.administer(disable), Ok(AdminReply::Done));
    let (mut listed, mut disabled, mut after) = (BTreeSet::new(), Vec::new(), None);
    loop {
        let page = door.administer_and_wait(AdminRequest::ListUsers { after, limit: 8 });
        let Ok(AdminReply::Users { users, next, .. }) = page else { panic!("{page:?}") };
        for user in users {
            assert!(listed.insert(user.user), "{user:?} is listed twice");
            disabled.extend(user.disabled.then_some(user.username));
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((listed, disabled), (ids, vec!["user7".to_owned()]));
    server.engine.stop();
}

#[test]
fn an_answer_may_ask_again() {
    let server = Server::start(1);
    let (ann, door) = (server.account(1), server.engine.door());
    let log = LogId::direct(ann, ann);
    let (sender, answers) = channel();
    let again = door.clone();
    door.ask(ann, send(log, 1, "one"), move |first| {
        assert!(matches!(first, Ok(Body::Sent(_))), "{first:?}");
        again.ask(ann, send(log, 2, "two"), move |second| sender.send(second).unwrap());
    });
    match answers.recv_timeout(DEADLINE).unwrap() {
        Ok(Body::Sent(sent)) => assert_eq!(sent.seq, 2),
        other => panic!("{other:?}"),
    }
    server.engine.stop();
}

/// A server whose workers have room for more than the door lets in.
fn over(store: Arc<Holding>) -> Server<Holding> {
    let passwords = PasswordConfig { memory_kib: 8, iterations: 1, ..Default::default() };
    let worker_queue_batches = 2 * DOOR_CALLS_MAX;
    let config =
        EngineConfig { workers: 2, worker_queue_batches, passwords, ..EngineConfig::default() };
    Server::with(2, store, |builder| builder.config(config))
}

#[test]
fn more_calls_than_there_is_room_for_are_refused_at_once_and_none_is_forgotten() {
    let store = Arc::new(Holding::default());
    let server = over(Arc::clone(&store));
    let (ann, door) = (server.account(1), server.engine.door());
    let log = LogId::direct(ann, ann);
    store.hold();
    let (sender, answers) = channel();
    for _ in 0..DOOR_CALLS_MAX {
        let sender = sender.clone();
        door.ask(ann, history(log), move |answer| sender.send(answer).unwrap());
    }
    assert_eq!(code(door.ask_and_wait(ann, history(log))), ErrorCode::Overloaded);
    let list = AdminRequest::ListUsers { after: None, limit: 1 };
    match door.administer_and_wait(list) {
        Err(AdminError::Refused { code, .. }) => assert_eq!(code, ErrorCode::Overloaded),
        other => panic!("{other:?}"),
    }
    assert!(answers.try_recv().is_err(), "nothing can have been answered yet");
    store.let_go();
    for _ in 0..DOOR_CALLS_MAX {
        let answer = answers.recv_timeout(DEADLINE).expect("each call is answered");
        assert!(matches!(answer, Ok(Body::HistoryPage(_))), "{answer:?}");
    }
    // There is room again.
    assert!(door.ask_and_wait(ann, history(log)).is_ok());
    server.engine.stop();
    nothing_more(&answers);
}

#[test]
fn who_waits_when_the_engine_ends_is_told() {
    let store = Arc::new(Holding::default());
    let server = over(Arc::clone(&store));
    let (ann, door) = (server.account(1), server.engine.door());
    store.hold();
    let (sender, answers) = channel();
    let of_user = sender.clone();
    door.ask(ann, history(LogId::direct(ann, ann)), move |answer| {
        of_user.send(answer.map(drop).map_err(|error| error == DoorError::Stopped)).unwrap();
    });
    let list = AdminRequest::ListUsers { after: None, limit: 1 };
    door.administer(list.clone(), move |answer| {
        sender.send(answer.map(drop).map_err(|error| error == AdminError::Stopped)).unwrap();
    });
    // The store answers nothing, so this takes as long as a stop waits for it.
    server.engine.stop();
    for _ in 0..2 {
        assert_eq!(answers.recv_timeout(DEADLINE), Ok(Err(true)));
    }
    assert_eq!(door.ask_and_wait(ann, IdentityRequest::ListSessions), Err(DoorError::Stopped));
    assert_eq!(door.administer_and_wait(list), Err(AdminError::Stopped));
    // What the store says now meets nobody.
    store.let_go();
    nothing_more(&answers);
}

/// Whoever would have answered a second time is gone: its way to this one is closed.
fn nothing_more<T: std::fmt::Debug>(answers: &Receiver<T>) {
    assert!(answers.try_recv().is_err());
}
