//! Somebody stops the server, puts an older copy of its data folder back, and starts it again: clients
//! that have more than there is forget it, nobody misses what is said from then on, and the operator
//! is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dunlin_client::driver::{Client, ClientConfig, Transport, new_device_id};
use dunlin_client::machine::{
    Backlog, Config, Credentials, Device, Event, Password, Request, Response, Status, Ticket,
};
use dunlin_protocol::wire::{DeviceKind, entry};
use dunlin_protocol::{LogId, UserId};

const DEADLINE: Duration = Duration::from_secs(120);

struct Server {
    child: Child,
    tcp: String,
}

impl Server {
    fn start(folder: &Path, tcp: &str) -> Server {
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_dunlin"))
            .current_dir(folder)
            .arg("serve")
            .args(["--set", "listen.shards=1", "--set", "passwords.memory_kib=8"])
            .args(["--set", &format!("listen.tcp={tcp}"), "--set", "listen.tls=127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let tcp = line.split(' ').find_map(|part| part.strip_prefix("tcp=")).expect(&line).trim();
        Server { child, tcp: tcp.to_owned() }
    }

    fn stop(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.tcp.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Person {
    client: Client,
    user: Option<UserId>,
    is_online: bool,
    /// What it has of its conversations, in order.
    texts: BTreeMap<LogId, Vec<String>>,
    lost: usize,
    completed: BTreeMap<Ticket, Response>,
}

impl Person {
    fn start(address: &str, name: &str) -> Person {
        Person::keeping(address, name, 0)
    }

    /// One who keeps so many bytes of what was stored.
    fn keeping(address: &str, name: &str, resend_after_restore_bytes_max: usize) -> Person {
        let id = new_device_id().unwrap();
        let device = Device { id, kind: DeviceKind::Desktop, name: name.into() };
        let password = Password { username: name.into(), password: format!("{name} has a secret") };
        let client = Client::connect(ClientConfig {
            machine: Config {
                backlog: Backlog::Everything,
                resend_after_restore_bytes_max,
                ..Config::new(address, device)
            },
            transport: Transport::Tcp,
            credentials: Credentials {
                password: Some(password),
                register: Some(String::new()),
                ..Credentials::default()
            },
        });
        Person {
            client: client.unwrap(),
            user: None,
            is_online: false,
            texts: BTreeMap::new(),
            lost: 0,
            completed: BTreeMap::new(),
        }
    }

    fn until(&mut self, what: &str, is_true: impl Fn(&Person) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_true(self) {
            match self.client.events().recv_deadline(deadline) {
                Ok(event) => self.take(event),
                Err(_) => panic!("{:?} in vain: {what}; {:?}", self.user, self.texts),
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Status(status) => self.is_online = status == Status::Online,
            Event::LoggedIn { user, .. } => self.user = Some(user),
            Event::Entry { conversation, entry } => {
                let texts = self.texts.entry(conversation).or_default();
                assert_eq!(entry.seq, texts.len() as u64 + 1, "once and in order");
                let Some(entry::Body::Message(message)) = entry.body else { panic!("{entry:?}") };
                texts.push(String::from_utf8(message.content.to_vec()).unwrap());
            }
            Event::ConversationLost { conversation } => {
                self.texts.remove(&conversation);
                self.lost += 1;
            }
            Event::Completed { ticket, result } => {
                self.completed.insert(ticket, result.unwrap());
            }
            Event::Welcomed(_)
            | Event::Conversation(_)
            | Event::Tokens(_)
            | Event::Peer { .. }
            | Event::Setting(_)
            | Event::Signal { .. } => {}
            Event::Skipped { .. } | Event::HistoryLost | Event::Saved(_) => panic!("{event:?}"),
        }
    }

    fn has(&self, conversation: LogId, texts: &[&str]) -> bool {
        self.texts.get(&conversation).map_or(&[][..], Vec::as_slice) == texts
    }
}

/// Everybody who is named has exactly this in the end.
fn all_have(people: [&mut Person; 2], conversation: LogId, texts: &[&str]) {
    for person in people {
        person.until(&format!("{texts:?}"), |person| {
            person.is_online && person.has(conversation, texts)
        });
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
    for file in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, kind) = (file.path(), file.file_type().unwrap());
        let to = to.join(file.file_name());
        if kind.is_dir() {
            copy(&path, &to);
        } else if kind.is_file() {
            std::fs::copy(path, to).unwrap();
        }
    }
}

/// Who keeps what was stored says it again, once: what the older copy has it knows again.
#[test]
fn a_client_that_keeps_its_messages_sends_again_what_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (data, older) = (folder.path().join("data"), folder.path().join("older"));
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let mut ann = Person::keeping(&server.tcp, "ann", 1 << 20);
    let mut bob = Person::start(&server.tcp, "bob");
    for person in [&mut ann, &mut bob] {
        person.until("online", |person| person.is_online);
    }
    let chat = LogId::direct(ann.user.unwrap(), bob.user.unwrap());
    ann.client.send_text(chat, "one").unwrap();
    all_have([&mut ann, &mut bob], chat, &["one"]);

    let tcp = server.stop();
    copy(&data, &older);
    let server = Server::start(folder.path(), &tcp);
    for (text, so_far) in [("two", &["one", "two"][..]), ("three", &["one", "two", "three"])] {
        ann.client.send_text(chat, text).unwrap();
        all_have([&mut ann, &mut bob], chat, so_far);
    }

    let tcp = server.stop();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&older, &data).unwrap();
    let server = Server::start(folder.path(), &tcp);
    // (If Ann is the first to be back, Bob finds what he has.)
    ann.until("it is noticed", |ann| ann.lost == 1);
    all_have([&mut ann, &mut bob], chat, &["one", "two", "three"]);
    server.stop();
}

#[test]
fn clients_forget_what_is_gone_and_the_operator_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (data, older) = (folder.path().join("data"), folder.path().join("older"));
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let (mut ann, mut bob) = (Person::start(&server.tcp, "ann"), Person::start(&server.tcp, "bob"));
    for person in [&mut ann, &mut bob] {
        person.until("online", |person| person.is_online);
    }
    let chat = LogId::direct(ann.user.unwrap(), bob.user.unwrap());
    for text in ["one", "two"] {
        ann.client.send_text(chat, text).unwrap();
    }
    all_have([&mut ann, &mut bob], chat, &["one", "two"]);

    let tcp = server.stop();
    copy(&data, &older);
    let server = Server::start(folder.path(), &tcp);
    ann.client.send_text(chat, "three").unwrap();
    all_have([&mut ann, &mut bob], chat, &["one", "two", "three"]);
    let read = bob
        .client
        .request(Request::MarkRead { conversation: chat, seq: 3, private: false })
        .unwrap();
    bob.until("read", |bob| bob.completed.contains_key(&read));

    let tcp = server.stop();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&older, &data).unwrap();
    let server = Server::start(folder.path(), &tcp);
    for person in [&mut ann, &mut bob] {
        person.until("it is noticed", |person| person.lost == 1 && person.is_online);
    }
    all_have([&mut ann, &mut bob], chat, &["one", "two"]);
    // The sequence of what is gone is given again, and means something else to everybody.
    bob.client.send_text(chat, "instead").unwrap();
    all_have([&mut ann, &mut bob], chat, &["one", "two", "instead"]);
    assert_eq!((ann.lost, bob.lost), (1, 1), "once is enough");

    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let is_alarm = |line: &&str| line.contains("ERROR") && line.contains("more than the store");
    assert_eq!(log.lines().filter(is_alarm).count(), 2, "{log}");
    let status = Command::new(env!("CARGO_BIN_EXE_dunlin"))
        .current_dir(folder.path())
        .arg("status")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("more of 2 conversations than the store"), "{status}");
    drop(server);
}
