//! The promise, from end to end: two people talk over TCP and TLS, the server is killed in the
//! middle, and nothing that was acknowledged is missing or there twice.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use dunlin_client::driver::{Client, ClientConfig, Transport, Trust, new_device_id};
use dunlin_client::machine::{
    Backlog, Config, ConversationView, Credentials, Device, Event, Password, Request, Response,
    Status, Stop, Ticket,
};
use dunlin_protocol::wire::{DeviceKind, entry};
use dunlin_protocol::{LogId, UserId};

const DEADLINE: Duration = Duration::from_secs(120);

struct Server {
    child: Child,
    tcp: String,
    tls: String,
    fingerprint: String,
}

impl Server {
    fn start(folder: &Path, tcp: &str, tls: &str) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dunlin"))
            .current_dir(folder)
            .arg("serve")
            .args(["--set", "listen.shards=1", "--set", "engine.workers=1"])
            .args(["--set", &format!("listen.tcp={tcp}"), "--set", &format!("listen.tls={tls}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.next().expect("it says where it listens").unwrap();
        let address = |name: &str| {
            let part = listening.split(' ').find_map(|part| part.strip_prefix(name));
            part.unwrap_or_else(|| panic!("no {name} in {listening:?}")).to_owned()
        };
        let (tcp, tls) = (address("tcp="), address("tls="));
        let fingerprint = lines
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("certificate sha256 ").map(str::to_owned))
            .expect("it says its fingerprint");
        Server { child, tcp, tls, fingerprint }
    }

    /// As a power failure would, as far as a process can.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client and what it was told.
struct Person {
    client: Client,
    user: Option<UserId>,
    status: Option<Status>,
    /// Per conversation: text by sequence. Order and uniqueness are checked on arrival.
    texts: BTreeMap<LogId, BTreeMap<u64, String>>,
    positions: BTreeMap<LogId, u64>,
    views: BTreeMap<LogId, ConversationView>,
    completed: BTreeMap<Ticket, Response>,
    signals: Vec<String>,
}

impl Person {
    fn start(address: &str, name: &str, transport: Transport, register: bool) -> Person {
        let device = Device {
            id: new_device_id().unwrap(),
            kind: DeviceKind::Desktop,
            name: format!("{name}'s"),
        };
        let password = Password { username: name.into(), password: format!("{name} has a secret") };
        let client = Client::connect(ClientConfig {
            machine: Config { backlog: Backlog::Everything, ..Config::new(address, device) },
            transport,
            credentials: Credentials {
                password: Some(password),
                register: register.then(String::new),
                ..Credentials::default()
            },
        });
        Person {
            client: client.unwrap(),
            user: None,
            status: None,
            texts: BTreeMap::new(),
            positions: BTreeMap::new(),
            views: BTreeMap::new(),
            completed: BTreeMap::new(),
            signals: Vec::new(),
        }
    }

    /// Listens until something is true.
    fn until(&mut self, what: &str, is_true: impl Fn(&Person) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_true(self) {
            match self.client.events().recv_deadline(deadline) {
                Ok(event) => self.take(event),
                Err(_) => panic!("{:?} in vain: {what}; {:?}", self.user, self.status),
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Status(status) => self.status = Some(status),
            Event::LoggedIn { user, .. } => self.user = Some(user),
            Event::Entry { conversation, entry } => {
                let position = self.positions.entry(conversation).or_default();
                assert_eq!(entry.seq, *position + 1, "once and in order");
                *position = entry.seq;
                if let Some(entry::Body::Message(message)) = entry.body {
                    let text = String::from_utf8(message.content.to_vec()).unwrap();
                    self.texts.entry(conversation).or_default().insert(entry.seq, text);
                }
            }
            Event::Conversation(view) => {
                self.views.insert(view.conversation, view);
            }
            Event::Completed { ticket, result } => {
                let before = self.completed.insert(ticket, result.unwrap());
                assert_eq!(before, None, "one answer");
            }
            Event::Signal { kind, .. } => self.signals.push(kind),
            Event::Welcomed(_) | Event::Tokens(_) | Event::Peer { .. } | Event::Setting(_) => {}
            Event::Skipped { .. }
            | Event::HistoryLost
            | Event::ConversationLost { .. }
            | Event::Saved(_) => {
                panic!("{event:?}")
            }
        }
    }

    fn until_online(&mut self) {
        self.until("online", |person| person.status == Some(Status::Online));
    }

    fn ask(&mut self, request: Request) -> Response {
        let ticket = self.client.request(request).unwrap();
        self.until("an answer", |person| person.completed.contains_key(&ticket));
        self.completed[&ticket].clone()
    }

    fn say(&self, conversation: LogId, text: &str) -> Ticket {
        self.client.send_text(conversation, text).unwrap().0
    }

    /// Where a message was stored.
    fn stored(&mut self, ticket: Ticket) -> u64 {
        self.until("stored", |person| person.completed.contains_key(&ticket));
        match self.completed[&ticket] {
            Response::Sent { seq, .. } => seq,
            ref other => panic!("{other:?}"),
        }
    }

    fn has(&self, conversation: LogId, head: u64) -> bool {
        self.positions.get(&conversation).is_some_and(|position| *position >= head)
    }

    fn unread(&self, conversation: LogId) -> Option<u64> {
        self.views.get(&conversation).map(|view| view.unread)
    }
}

fn pinned(server: &Server) -> Transport {
    Transport::Tls(Trust::Fingerprint(server.fingerprint.parse().unwrap()))
}

#[test]
fn two_people_talk_and_the_server_is_killed_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), "127.0.0.1:0", "127.0.0.1:0");
    let mut alice = Person::start(&server.tcp, "alice", Transport::Tcp, true);
    let mut bob = Person::start(&server.tls, "bob", pinned(&server), true);
    alice.until_online();
    bob.until_online();

    let found = alice.ask(Request::FindUsers { usernames: vec!["bob".into()], users: vec![] });
    let Response::Users(users) = found else { panic!("{found:?}") };
    let conversation = LogId::from_wire(&users[0].conversation_id).unwrap();
    assert_eq!(conversation, LogId::direct(alice.user.unwrap(), bob.user.unwrap()));

    both_ways(&mut alice, &mut bob, conversation);

    // Half of these are not answered when the server dies; all are, once, when it is back.
    let mut tickets = Vec::new();
    for number in 0..30 {
        tickets.push(alice.say(conversation, &format!("alice {number}")));
    }
    alice.stored(tickets[5]);
    server.kill();
    let (tcp, tls) = (server.tcp.clone(), server.tls.clone());
    let while_away = bob.say(conversation, "said while the server was away");
    let before = server.fingerprint.clone();
    let server = Server::start(folder.path(), &tcp, &tls);
    assert_eq!(server.fingerprint, before, "the certificate stays");
    let mut seqs: Vec<u64> = tickets.iter().map(|ticket| alice.stored(*ticket)).collect();
    seqs.push(bob.stored(while_away));
    let head = *seqs.iter().max().unwrap();
    for person in [&mut alice, &mut bob] {
        person.until("all of it", |person| person.has(conversation, head));
        for (number, seq) in seqs[..30].iter().enumerate() {
            assert_eq!(person.texts[&conversation][seq], format!("alice {number}"));
        }
    }
    assert!(seqs[..30].is_sorted(), "in the order in which they were said: {seqs:?}");
    let all: Vec<&String> = alice.texts[&conversation].values().collect();
    assert_eq!(all.len(), 4 + 30 + 1, "nothing is there twice: {all:?}");
    assert_eq!(alice.texts, bob.texts);

    a_second_device_gets_everything(&server, &mut alice, conversation, head);
    alice.client.close();
    bob.client.close();
}

fn both_ways(alice: &mut Person, bob: &mut Person, conversation: LogId) {
    let ticket = alice.say(conversation, "hello bob");
    assert_eq!(alice.stored(ticket), 1);
    bob.until("hello", |bob| bob.has(conversation, 1));
    bob.until("unread", |bob| bob.unread(conversation) == Some(1));
    let ticket = bob.say(conversation, "hello alice");
    assert_eq!(bob.stored(ticket), 2);
    alice.until("hello", |alice| alice.has(conversation, 2));

    assert_eq!(bob.ask(Request::MarkRead { conversation, seq: 2, private: false }), Response::Done);
    bob.until("nothing unread", |bob| bob.unread(conversation) == Some(0));
    alice.until("a receipt", |alice| {
        alice.views.get(&conversation).is_some_and(|view| view.peer_read_seq == 2)
    });

    for (text, seq) in [("one more", 3), ("and another", 4)] {
        let ticket = alice.say(conversation, text);
        assert_eq!(alice.stored(ticket), seq);
    }
    bob.until("both", |bob| bob.unread(conversation) == Some(2));
    assert_eq!(bob.ask(Request::MarkRead { conversation, seq: 3, private: false }), Response::Done);
    bob.until("one unread", |bob| bob.unread(conversation) == Some(1));

    bob.client.signal(conversation, "typing", Default::default()).unwrap();
    alice.until("a signal", |alice| alice.signals == ["typing"]);
}

fn a_second_device_gets_everything(
    server: &Server,
    alice: &mut Person,
    conversation: LogId,
    head: u64,
) {
    let mut second = Person::start(&server.tls, "alice", pinned(server), false);
    second.until("all of it", |second| second.has(conversation, head));
    second.until_online();
    assert_eq!(second.texts, alice.texts);
    // What one device has read, the other one knows.
    second.ask(Request::MarkRead { conversation, seq: head, private: false });
    alice.until("read", |alice| alice.views[&conversation].read_seq == head);
    assert_eq!(alice.unread(conversation), Some(0));
    second.client.close();
}

#[test]
fn a_server_is_believed_by_its_certificate_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0", "127.0.0.1:0");
    let certificate = folder.path().join("data/tls/certificate.pem");
    let by_file = Transport::Tls(Trust::PemFile(certificate));
    let mut carol = Person::start(&server.tls, "carol", by_file, true);
    carol.until_online();

    let insecure = Transport::Tls(Trust::Insecure);
    let mut again = Person::start(&server.tls, "carol", insecure, false);
    again.until_online();

    let mut wrong = server.fingerprint.clone().into_bytes();
    wrong[0] = if wrong[0] == b'0' { b'1' } else { b'0' };
    let wrong = String::from_utf8(wrong).unwrap();
    let trust = Trust::Fingerprint(wrong.parse().unwrap());
    let mut mallory = Person::start(&server.tls, "carol", Transport::Tls(trust), false);
    mallory.until("a refusal", |person| {
        matches!(person.status, Some(Status::Stopped(Stop::Untrusted(_))))
    });
}

/// Passes bytes on, and cuts each connection after some of them, at any byte, in either direction.
struct CuttingProxy {
    address: String,
    is_cutting: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
}

impl CuttingProxy {
    fn start(target: &str) -> CuttingProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (is_cutting, cuts) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (target, shared) = (target.to_owned(), (Arc::clone(&is_cutting), Arc::clone(&cuts)));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for (number, near) in listener.incoming().enumerate() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(&target)) else { continue };
                // Another number of bytes each time; prime, so that it is another byte of a frame.
                let budget = 900 + number * 577 % 4000;
                for (from, to, budget) in [(&near, &far, budget / 2), (&far, &near, budget)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let shared = shared.clone();
                    std::thread::spawn(move || pass_on(from, to, budget, &shared));
                }
            }
        });
        CuttingProxy { address, is_cutting, cuts }
    }
}

fn pass_on(
    mut from: TcpStream,
    mut to: TcpStream,
    mut budget: usize,
    (is_cutting, cuts): &(Arc<AtomicBool>, Arc<AtomicUsize>),
) {
    let mut buffer = [0; 4096];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        let passed = if is_cutting.load(Relaxed) { bytes.min(budget) } else { bytes };
        budget -= passed.min(budget);
        if to.write_all(&buffer[..passed]).is_err() || passed < bytes {
            cuts.fetch_add(usize::from(passed < bytes), Relaxed);
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn connections_that_break_at_any_byte_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0", "127.0.0.1:0");
    let tcp = CuttingProxy::start(&server.tcp);
    let tls = CuttingProxy::start(&server.tls);
    let mut erin = Person::start(&tcp.address, "erin", Transport::Tcp, true);
    let mut frank = Person::start(&tls.address, "frank", pinned(&server), true);
    erin.until("an id", |person| person.user.is_some());
    frank.until("an id", |person| person.user.is_some());
    let conversation = LogId::direct(erin.user.unwrap(), frank.user.unwrap());
    let mut said = Vec::new();
    for number in 0..60 {
        said.push((true, erin.say(conversation, &format!("erin {number}"))));
        said.push((false, frank.say(conversation, &format!("frank {number}"))));
        if number % 20 == 19 {
            // What is cut meanwhile comes again.
            let (_, ticket) = said[said.len() - 2];
            erin.stored(ticket);
        }
    }
    tcp.is_cutting.store(false, Relaxed);
    tls.is_cutting.store(false, Relaxed);
    for (is_erin, ticket) in said {
        let person = if is_erin { &mut erin } else { &mut frank };
        person.stored(ticket);
    }
    for person in [&mut erin, &mut frank] {
        person.until("all of it", |person| person.has(conversation, 120));
        assert_eq!(person.texts[&conversation].len(), 120);
    }
    assert_eq!(erin.texts, frank.texts);
    for name in ["erin", "frank"] {
        let of_one = erin.texts[&conversation].values().filter(|text| text.starts_with(name));
        let expected: Vec<String> = (0..60).map(|number| format!("{name} {number}")).collect();
        assert!(of_one.eq(&expected), "the order of {name}");
    }
    assert!(tcp.cuts.load(Relaxed) + tls.cuts.load(Relaxed) > 0, "nothing was cut");
}
