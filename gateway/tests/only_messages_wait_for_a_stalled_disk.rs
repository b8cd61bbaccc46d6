//! While a disk stalls and some fill all room for messages, whoever needs no disk is answered, and only those
//! wait who send; who sends little waits for the disk alone.

mod support;

use std::sync::mpsc;
use std::thread::JoinHandle;

use dunlin_core::engine::door::DoorError;
use dunlin_core::request::Message;
use dunlin_protocol::wire::{
    ErrorCode, FindUsers, LoggedIn, Notice, frame::Body, login::Credential,
};
use dunlin_protocol::{ClientMessageId, EncodedFrame, LogId};
use support::messages::{history, login, message, sync, typing};
use support::store::HeldStore;
use support::{Client, Node, eventually};

/// As many as make it likely that some are at each shard and each worker.
const PEOPLE: usize = 6;

/// Nearly the largest.
const MESSAGE_BYTES: usize = 60_000;

/// Somebody who has a conversation with himself, and a message in it.
struct Person {
    name: String,
    client: Client,
    log: LogId,
    logged_in: LoggedIn,
}

impl Person {
    fn new(node: &Node, name: String) -> Person {
        let mut client = node.connect();
        let logged_in = client.log_in(&name);
        client.sync();
        let log = client.with(&client);
        assert!(matches!(client.request(message(log, "first", "x")), Body::Sent(_)));
        Person { name, client, log, logged_in }
    }

    /// Asks for whatever needs no write.
    fn ask_all(&mut self, node: &Node) {
        let Person { name, client, log, logged_in } = self;
        assert!(matches!(client.request(history(*log, 1)), Body::HistoryPage(_)), "{name}");
        assert!(matches!(client.request(typing(*log)), Body::Done(_)), "{name}");
        assert!(matches!(client.request(sync()), Body::Synced(_)), "{name}");
        let user_ids = vec![client.user.unwrap().get()];
        let find = Body::FindUsers(FindUsers { user_ids, ..FindUsers::default() });
        assert!(matches!(client.request(find), Body::Users(_)), "{name}");
        // Its new connection takes the place of the old one.
        let mut resumed = node.connect();
        resumed.greet();
        let resume = Credential::ResumeToken(logged_in.resume_token.clone());
        *logged_in = resumed.try_log_in(login(resume, name)).unwrap();
        *client = resumed;
    }
}

fn people(node: &Node, role: &str) -> Vec<Person> {
    (0..PEOPLE).map(|number| Person::new(node, format!("{role} {number}"))).collect()
}

/// Writes sends until the socket takes no more, and goes on when it does.
struct Pipeline {
    client: Client,
    ids: Vec<u64>,
    writing: JoinHandle<()>,
}

impl Pipeline {
    fn begin(mut client: Client, log: LogId, count: usize) -> Pipeline {
        let sends: Vec<(u64, EncodedFrame)> = (0..count)
            .map(|id| client.encode(message(log, &id.to_string(), vec![1; MESSAGE_BYTES])))
            .collect();
        let ids = sends.iter().map(|(id, _)| *id).collect();
        let mut socket = client.stream.socket().try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            for (_, frame) in sends {
                std::io::Write::write_all(&mut socket, frame.wire()).unwrap();
            }
        });
        Pipeline { client, ids, writing }
    }

    fn end(mut self) {
        for (request_id, seq) in self.ids.into_iter().zip(2..) {
            let answer = self.client.answer(request_id);
            assert!(matches!(answer, Body::Sent(sent) if sent.seq == seq), "{seq}");
        }
        self.writing.join().unwrap();
    }
}

#[test]
fn pipelines_of_large_messages_hold_up_nobody_who_reads_or_sends_little() {
    const PIPELINES: usize = 4;
    // More than all workers have room for, in their queues as well.
    const SENDS: usize = 600;
    let store = HeldStore::new();
    let node = Node::over(store.clone(), |config| {
        config.limits.request_bytes_max = 1 << 30;
        config.protocol.requests_outstanding_max = 1000;
    });
    let mut readers = people(&node, "reader");
    let hostile: Vec<_> = (0..PIPELINES)
        .map(|number| {
            let mut client = node.user(&format!("hostile {number}"));
            let log = client.with(&client);
            assert!(matches!(client.request(message(log, "first", "x")), Body::Sent(_)));
            (client, log)
        })
        .collect();
    store.hold();
    let hostile: Vec<_> =
        hostile.into_iter().map(|(client, log)| Pipeline::begin(client, log, SENDS)).collect();
    eventually("messages wait", || store.waiting() >= PIPELINES);
    for round in 0..5 {
        readers.iter_mut().for_each(|reader| reader.ask_all(&node));
        // Each has one more at the store, which was asked in time.
        let id = format!("round {round}");
        let sent: Vec<_> = readers
            .iter_mut()
            .map(|reader| reader.client.send(message(reader.log, &id, "x")))
            .collect();
        let users = || readers.iter().map(|reader| reader.client.user.unwrap());
        eventually("the store has them", || users().all(|user| store.waiting_of(user) > 0));
        if round == 4 {
            store.release();
            for (reader, request_id) in readers.iter_mut().zip(sent) {
                assert!(matches!(reader.client.answer(request_id), Body::Sent(_)));
            }
        }
    }
    hostile.into_iter().for_each(Pipeline::end);
    drop(readers);
    node.settle();
}

/// A message of which the workers take as many as they have room for.
fn filler(number: u64) -> Message {
    Message {
        client_message_id: ClientMessageId(u128::from(number).to_be_bytes()),
        content_type: "filler".into(),
        content: vec![7; MESSAGE_BYTES].into(),
        notice: Notice::Silent,
    }
}

#[test]
fn where_no_room_is_left_senders_wait_in_turn_and_readers_do_not() {
    let store = HeldStore::new();
    let node = Node::over(store.clone(), |_| {});
    let mut readers = people(&node, "reader");
    let mut senders = people(&node, "sender");
    store.hold();
    let door = node.server.engine().door();
    let (answers, answered) = mpsc::channel();
    let mut taken = 0;
    // Half a gigabyte, if nobody says that it is enough.
    for number in 0..8_000 {
        let reader = &readers[number as usize % PEOPLE];
        let answers = answers.clone();
        let request = filler(number).to(reader.log);
        door.ask(reader.client.user.unwrap(), request, move |sent| drop(answers.send(sent)));
        taken += 1;
        if let Ok(Err(DoorError::Refused(error))) = answered.try_recv() {
            assert_eq!(error.code(), ErrorCode::Overloaded);
            taken -= 1;
            break;
        }
    }
    assert!(taken < 8_000, "there is a bound");
    let sent: Vec<_> = senders
        .iter_mut()
        .map(|Person { client, log, .. }| {
            // Nothing behind it is read, so nothing behind it is answered before it.
            (client.send(message(*log, "held", "x")), client.send(typing(*log)))
        })
        .collect();
    for _ in 0..5 {
        readers.iter_mut().for_each(|reader| reader.ask_all(&node));
        for sender in &senders {
            let waiting = store.waiting_of(sender.client.user.unwrap());
            assert_eq!(waiting, 0, "there was no room for it");
        }
    }
    store.release();
    for (Person { client, .. }, (sent, behind)) in senders.iter_mut().zip(sent) {
        assert!(matches!(client.answer(sent), Body::Sent(sent) if sent.seq == 2));
        assert!(matches!(client.answer(behind), Body::Done(_)));
    }
    for _ in 0..taken {
        assert!(matches!(answered.recv().unwrap(), Ok(Body::Sent(_))));
    }
    drop((readers, senders));
    node.settle();
}
