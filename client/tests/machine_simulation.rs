//! Three users on five devices, whose programs crash, talk over connections that break at any byte, to a server that
//! loses and reorders pushes, refuses for a while, forgets tokens, changes its epoch, and is put back
//! to an earlier state without changing it. When the world is whole again, everyone must have everything once, in order, and every request must have
//! had one answer. A seed repeats a run: `DUNLIN_SIMULATION_SEED=17 cargo test ...`

mod simulated_server;

use std::collections::BTreeMap;

use bytes::BytesMut;
use dunlin_client::machine::{
    Action, Backlog, Config, ConversationView, Credentials, Device, Disconnect, Event, Machine,
    Password, Request, Response, Status, Ticket,
};
use dunlin_protocol::wire::{self, DeviceKind, Notice, entry};
use dunlin_protocol::{ClientMessageId, DeviceId, LogId, UserId};
use simulated_server::{ConnectionId, Random, Server};

const STEPS: u64 = 3000;
const SEEDS: u64 = 40;

/// What an application makes of the events of one conversation.
#[derive(Clone, Default)]
struct Seen {
    /// Delivered or skipped up to here.
    position: u64,
    messages: Vec<(u64, Vec<u8>)>,
    view: Option<ConversationView>,
}

struct Client {
    machine: Machine,
    config: Config,
    user: UserId,
    connection: Option<(ConnectionId, BytesMut, BytesMut)>,
    seen: BTreeMap<LogId, Seen>,
    /// What a crash leaves: what the machine has told of itself, with what was seen by then.
    saved: Option<(Vec<u8>, BTreeMap<LogId, Seen>)>,
    /// Messages that are to be sent until they are stored, by ticket.
    unsent: BTreeMap<u64, Request>,
    /// Ticket to (conversation, message id) and sequence.
    sends: BTreeMap<u64, (LogId, [u8; 16], Option<u64>)>,
    others: BTreeMap<u64, bool>,
    is_online: bool,
    /// It sends again what was stored and is gone.
    sends_again: bool,
    /// It has synced since something was put back.
    has_compared: bool,
}

struct World {
    random: Random,
    now_ms: u64,
    server: Server,
    clients: Vec<Client>,
    next_number: u64,
    /// What was put back to an earlier state, and not everybody has noticed yet.
    restored: Vec<LogId>,
    crashes: u64,
    seed: u64,
}

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

/// A program that has just started, and logs in.
fn started(config: &Config, id: u64, seed: u64) -> Machine {
    let mut machine = Machine::new(config.clone(), seed);
    let password = Password { username: id.to_string(), password: String::new() };
    machine.log_in(Credentials { password: Some(password), ..Credentials::default() });
    machine
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let clients = [1, 1, 2, 2, 3].into_iter().enumerate().map(|(index, id)| {
            let device = Device {
                id: DeviceId([index as u8; 16]),
                kind: DeviceKind::Bot,
                name: String::new(),
            };
            let backlog = match random.one_in(3) {
                true => Backlog::Newest(1 + random.below(5) as u32),
                false => Backlog::Everything,
            };
            let sends_again = random.one_in(2);
            let config = Config {
                backlog,
                resend_after_restore_bytes_max: if sends_again { 1 << 20 } else { 0 },
                sends_per_conversation: 1 + random.below(3) as usize,
                // Small, so that it is hit.
                aside_bytes_max: 2000,
                ..Config::new("server", device)
            };
            Client {
                machine: started(&config, id, random.next()),
                config,
                user: user(id),
                connection: None,
                seen: BTreeMap::new(),
                saved: None,
                unsent: BTreeMap::new(),
                sends: BTreeMap::new(),
                others: BTreeMap::new(),
                is_online: false,
                sends_again,
                has_compared: true,
            }
        });
        let clients = clients.collect();
        let server = Server::new(Random(random.next()));
        World {
            random,
            now_ms: 0,
            server,
            clients,
            next_number: 0,
            restored: Vec::new(),
            crashes: 0,
            seed,
        }
    }

    fn step(&mut self) {
        self.now_ms += self.random.below(60);
        let index = self.random.below(self.clients.len() as u64) as usize;
        match self.random.below(12) {
            0 => self.say_something(index),
            1 => self.mark_read(index),
            2 if self.random.one_in(10) => self.cut(index),
            3 if self.random.one_in(60) => {
                self.server.change_epoch();
                (0..self.clients.len()).for_each(|index| self.cut(index));
            }
            4 => self.ask(index),
            6 if self.random.one_in(3) => self.save(index),
            7 if self.random.one_in(15) => self.crash(index),
            5 if self.random.one_in(60) => {
                self.restored.extend(self.server.restore_older());
                for index in 0..self.clients.len() {
                    self.cut(index);
                    self.listen(index);
                    self.clients[index].has_compared = false;
                    // A device that slept meanwhile can't know that a log of the same length is another one.
                    self.clients[index].saved = None;
                }
            }
            _ => {}
        }
        self.thaw();
        for index in 0..self.clients.len() {
            self.turn(index);
        }
    }

    /// Conversations go on that were put back, once everybody has synced: nobody has more of them then
    /// than there is.
    fn thaw(&mut self) {
        if self.clients.iter().any(|client| !client.has_compared) {
            return;
        }
        for id in std::mem::take(&mut self.restored) {
            let head = self.server.log(id).len() as u64;
            for client in &self.clients {
                let position = client.seen.get(&id).map_or(0, |seen| seen.position);
                assert!(position <= head, "seed {}: ahead of what was put back", self.seed);
            }
            self.server.thaw(id);
        }
    }

    /// Everything that can happen to a client without its application.
    fn turn(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.machine.next_deadline().is_some_and(|deadline_ms| deadline_ms <= self.now_ms) {
            client.machine.handle_timeout(self.now_ms);
            let next_ms = client.machine.next_deadline();
            let is_later = next_ms.is_none_or(|next_ms| next_ms > self.now_ms);
            assert!(is_later, "seed {}: it would be woken for nothing", self.seed);
        }
        while let Some(action) = client.machine.poll_action() {
            if let Some((id, ..)) = client.connection.take() {
                self.server.disconnected(id);
            }
            match action {
                Action::Disconnect => {}
                Action::Connect { .. } => {
                    let id = self.server.connect();
                    client.connection = Some((id, BytesMut::new(), BytesMut::new()));
                    client.machine.connected(self.now_ms);
                }
            }
        }
        self.transport(index);
        self.listen(index);
    }

    /// Moves some bytes in both directions.
    fn transport(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some((id, up, down)) = &mut client.connection else { return };
        while let Some(bytes) = client.machine.poll_output() {
            up.extend_from_slice(&bytes);
        }
        let count = self.random.below(up.len() as u64 * 2 + 1).min(up.len() as u64);
        let bytes = up.split_to(count as usize);
        self.server.handle_input(*id, &bytes);
        self.server.poll_output(*id, down);
        let count = self.random.below(down.len() as u64 * 2 + 1).min(down.len() as u64);
        let bytes = down.split_to(count as usize);
        if !bytes.is_empty() {
            client.machine.handle_input(self.now_ms, &bytes);
        }
    }

    fn cut(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some((id, ..)) = client.connection.take() {
            self.server.disconnected(id);
            client.machine.disconnected(self.now_ms, Disconnect::Network("cut".into()));
        }
    }

    fn save(&mut self, index: usize) {
        if self.restored.is_empty() {
            self.clients[index].machine.save();
            self.listen(index);
        }
    }

    /// All that the program had in memory is gone.
    fn crash(&mut self, index: usize) {
        let client = &mut self.clients[index];
        // What is to be sent again after a restore is in memory alone.
        let Some((saved, seen)) = client.saved.clone().filter(|_| !client.sends_again) else {
            return;
        };
        if let Some((id, ..)) = client.connection.take() {
            self.server.disconnected(id);
        }
        let config = Config { saved, ..client.config.clone() };
        client.machine = started(&config, client.user.get(), self.random.next());
        (client.seen, client.is_online) = (seen, false);
        client.others.retain(|_, done| *done);
        for (number, request) in client.unsent.clone() {
            client.machine.request(self.now_ms, Ticket(number), request);
        }
        self.crashes += 1;
    }

    fn conversation(&mut self, index: usize) -> LogId {
        let peer = user(1 + self.random.below(3));
        LogId::direct(self.clients[index].user, peer)
    }

    fn say_something(&mut self, index: usize) {
        let conversation = self.conversation(index);
        self.next_number += 1;
        let number = self.next_number;
        let mut message_id = [0; 16];
        message_id[..8].copy_from_slice(&number.to_be_bytes());
        let content = format!("{number} {}", "x".repeat(self.random.below(300) as usize));
        let notice =
            [Notice::Loud, Notice::Silent, Notice::Uncounted][self.random.below(3) as usize];
        let client = &mut self.clients[index];
        client.sends.insert(number, (conversation, message_id, None));
        let message_id = ClientMessageId(message_id);
        let request = Request::Send {
            conversation,
            message_id,
            content_type: String::new(),
            content: content.into(),
            notice,
        };
        client.unsent.insert(number, request.clone());
        client.machine.request(self.now_ms, Ticket(number), request);
    }

    fn mark_read(&mut self, index: usize) {
        let conversation = self.conversation(index);
        let client = &mut self.clients[index];
        let Some(seen) = client.seen.get(&conversation) else { return };
        let seq = seen.position - self.random.below(4).min(seen.position);
        if seq > 0 {
            let private = self.random.one_in(3);
            self.other(index, Request::MarkRead { conversation, seq, private });
        }
    }

    fn ask(&mut self, index: usize) {
        let conversation_id = self.conversation(index).to_wire();
        let request = match self.random.below(2) {
            0 => Request::FindUsers { usernames: vec!["2".into()], users: Vec::new() },
            _ => Request::History(wire::History { conversation_id, ..Default::default() }),
        };
        self.other(index, request);
    }

    fn other(&mut self, index: usize, request: Request) {
        self.next_number += 1;
        let client = &mut self.clients[index];
        client.others.insert(self.next_number, false);
        client.machine.request(self.now_ms, Ticket(self.next_number), request);
    }

    /// What an application does.
    fn listen(&mut self, index: usize) {
        let seed = self.seed;
        let client = &mut self.clients[index];
        while let Some(event) = client.machine.poll_event() {
            match event {
                Event::Entry { conversation, entry } => {
                    let seen = client.seen.entry(conversation).or_default();
                    assert_eq!(entry.seq, seen.position + 1, "seed {seed}: order");
                    seen.position = entry.seq;
                    if let Some(entry::Body::Message(message)) = entry.body {
                        let real = self.server.log(conversation).get(entry.seq as usize - 1);
                        // Its own message behind a skipped one has no counts.
                        if let Some(real) = real
                            && (entry.counted > 0 || entry.sender != client.user.get())
                            && !self.restored.contains(&conversation)
                        {
                            assert_eq!(entry.counted, real.counted, "seed {seed}: counts");
                            assert_eq!(entry.sender_counted, real.sender_counted, "seed {seed}");
                        }
                        seen.messages.push((entry.seq, message.content.to_vec()));
                    }
                }
                Event::Skipped { conversation, from_seq, to_seq, .. } => {
                    let seen = client.seen.entry(conversation).or_default();
                    assert_eq!(from_seq, seen.position + 1, "seed {seed}: order");
                    seen.position = to_seq;
                }
                Event::HistoryLost => client.seen.clear(),
                Event::ConversationLost { conversation } => {
                    client.seen.remove(&conversation);
                }
                Event::Conversation(view) => {
                    client.seen.entry(view.conversation).or_default().view = Some(view);
                }
                Event::Completed { ticket, result } => {
                    let result = result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
                    client.completed(ticket.0, &result, seed);
                }
                Event::Status(status) => {
                    assert!(!matches!(status, Status::Stopped(_)), "seed {seed}: {status:?}");
                    client.is_online = status == Status::Online;
                    client.has_compared |= client.is_online;
                }
                Event::Saved(saved) => client.saved = Some((saved, client.seen.clone())),
                Event::Setting(setting) => panic!("seed {seed}: nobody has set {setting:?}"),
                Event::Peer { conversation, user } => {
                    let (one, other) = conversation.direct_members().unwrap();
                    assert!([one.get(), other.get()].contains(&user.user_id), "seed {seed}");
                }
                Event::Welcomed(_)
                | Event::LoggedIn { .. }
                | Event::Tokens(_)
                | Event::Signal { .. } => {}
            }
        }
    }

    fn heal(&mut self) {
        self.server.heal();
        for _ in 0..20_000 {
            self.now_ms += 200;
            for index in 0..self.clients.len() {
                self.turn(index);
            }
            self.thaw();
            if self.is_quiet() {
                return;
            }
        }
        panic!("seed {}: it never came to rest", self.seed);
    }

    fn is_quiet(&self) -> bool {
        self.clients.iter().all(|client| {
            let sent = client.sends.values().all(|(conversation, message_id, seq)| {
                let is_back =
                    !client.sends_again || !self.stored(*conversation, message_id).is_empty();
                seq.is_some() && is_back
            });
            let done = sent && client.others.values().all(|done| *done);
            done && client.is_online
                && self.server.conversations(client.user).into_iter().all(|(id, log)| {
                    let seen = client.seen.get(&id);
                    seen.is_some_and(|seen| seen.position == log.len() as u64)
                })
                && client.views_are_true(&self.server)
        })
    }

    fn check(&self) {
        let seed = self.seed;
        for client in &self.clients {
            for (id, log) in self.server.conversations(client.user) {
                let seen = &client.seen[&id];
                for (seq, content) in &seen.messages {
                    let Some(entry::Body::Message(real)) = &log[*seq as usize - 1].body else {
                        panic!("seed {seed}: a message where there is none")
                    };
                    assert_eq!(real.content, content, "seed {seed}");
                }
            }
            self.check_sends(client);
        }
    }

    /// Where a message is in the log of the server.
    fn stored(&self, conversation: LogId, message_id: &[u8]) -> Vec<u64> {
        let is_it = |entry: &&wire::Entry| match &entry.body {
            Some(entry::Body::Message(message)) => message.client_message_id == message_id,
            _ => false,
        };
        self.server.log(conversation).iter().filter(is_it).map(|entry| entry.seq).collect()
    }

    fn check_sends(&self, client: &Client) {
        for (number, (conversation, message_id, seq)) in &client.sends {
            let stored = self.stored(*conversation, message_id);
            if self.server.is_gone(message_id) {
                assert!(!client.sends_again || stored.len() == 1, "seed {}: {number}", self.seed);
                assert!(stored.len() <= 1, "seed {}: message {number}: {stored:?}", self.seed);
            } else {
                assert_eq!(stored, [seq.unwrap()], "seed {}: message {number}", self.seed);
            }
        }
    }
}

impl Client {
    fn completed(&mut self, ticket: u64, response: &Response, seed: u64) {
        match response {
            Response::Sent { seq, .. } => {
                let (_, _, known) = self.sends.get_mut(&ticket).unwrap();
                assert_eq!(known.replace(*seq), None, "seed {seed}: two answers");
                self.unsent.remove(&ticket);
            }
            Response::Done
            | Response::Page(_)
            | Response::Found(_)
            | Response::Users(_)
            | Response::Setting(_)
            | Response::Membership(_)
            | Response::Sessions(_) => {
                let done = self.others.get_mut(&ticket).unwrap();
                assert!(!std::mem::replace(done, true), "seed {seed}: two answers");
            }
        }
    }

    fn views_are_true(&self, server: &Server) -> bool {
        self.seen.iter().all(|(id, seen)| {
            let view = seen.view.expect("numbers come with the first entry");
            let (read_seq, unread, peer_read_seq) = server.numbers(self.user, *id);
            (view.read_seq, view.unread, view.peer_read_seq) == (read_seq, unread, peer_read_seq)
        })
    }
}

#[test]
fn after_every_storm_everyone_has_everything_once_and_in_order() {
    let seeds = match std::env::var("DUNLIN_SIMULATION_SEED") {
        Ok(seed) => seed.parse().map(|seed: u64| seed..seed + 1).expect("the seed is a number"),
        Err(_) => 0..SEEDS,
    };
    let (mut stored, mut crashes) = (0, 0);
    let all = seeds.end - seeds.start == SEEDS;
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.heal();
        world.check();
        crashes += world.crashes;
        stored += world.clients.iter().map(|client| client.sends.len()).sum::<usize>();
    }
    assert!(crashes > SEEDS || !all, "{crashes} crashes");
    assert!(stored > 100, "little was said: {stored} messages");
}
