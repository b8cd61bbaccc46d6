//! Two nodes that do something to one user at once, over one store and without a word between them:
//! the fence decides, and nothing of what either was told is lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_core::config::{DevicePolicy, EngineConfig};
use dunlin_core::request::{IdentityRequest, Logout};
use dunlin_core::store::contract::ask;
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{Register, RegisterRange};
use dunlin_core::transport::ConnId;
use dunlin_protocol::wire::{ErrorCode, frame::Body};
use dunlin_protocol::{LogId, UserId};

use super::node::*;

const SEEDS: u64 = 60;
const STEPS: u64 = 40;

/// What somebody waits for, on one of the nodes.
enum Waiting {
    Login { device: u8, conn: ConnId },
    Refresh { session: u64, request_id: u64, conn: ConnId },
    Logout { session: u64, request_id: u64, conn: ConnId },
}

/// A session as its owner knows it.
struct Known {
    node: usize,
    device: u8,
    login: LoggedIn,
    refresh_token: String,
    /// A request of it is under way.
    busy: bool,
}

struct Stage {
    nodes: [Node; 2],
    seed: u64,
    user: UserId,
    devices: DevicePolicy,
    waiting: [Vec<Waiting>; 2],
    known: BTreeMap<u64, Known>,
    logged_out: Vec<u64>,
    next: u32,
}

impl Stage {
    fn new(seed: u64, devices: DevicePolicy) -> Stage {
        let store = Arc::new(MemoryStore::default());
        let node = |number| {
            let config = EngineConfig { devices: devices.clone(), ..config() };
            Node::one_of_several(config, Arc::clone(&store), number)
        };
        let mut nodes = [node(1), node(2)];
        let user = nodes[0].register("ada").unwrap();
        nodes.iter_mut().zip([seed, !seed]).for_each(|(node, seed)| node.shuffle = Some(seed));
        let (waiting, known) = Default::default();
        Stage { nodes, seed, user, devices, waiting, known, logged_out: Vec::new(), next: 0 }
    }

    /// A choice that the seed makes.
    fn below(&mut self, choices: usize) -> usize {
        next_number(&mut self.seed) as usize % choices
    }

    fn begin_something(&mut self) {
        let idle: Vec<_> =
            self.known.iter().filter(|(_, known)| !known.busy).map(|(id, _)| *id).collect();
        let what = self.below(10);
        if idle.is_empty() || what < 5 {
            return self.begin_login();
        }
        let session = idle[self.below(idle.len())];
        let known = self.known.get_mut(&session).unwrap();
        known.busy = true;
        let (node, conn) = (&mut self.nodes[known.node], conn(known.device.into()));
        let by = Some(known.login.session);
        let waiting = if what < 8 {
            let refresh_token = known.refresh_token.clone();
            let request_id =
                node.submit(conn, by, IdentityRequest::Refresh { refresh_token }.into());
            Waiting::Refresh { session, request_id, conn }
        } else {
            let request_id = node.submit(conn, by, IdentityRequest::Logout(Logout::This).into());
            Waiting::Logout { session, request_id, conn }
        };
        self.waiting[known.node].push(waiting);
    }

    fn begin_login(&mut self) {
        self.next += 1;
        let (node, device_number) = (self.below(2), self.next as u8);
        let conn = conn(self.next);
        self.nodes[node].submit(conn, None, entering(password("ada"), device(device_number)));
        self.waiting[node].push(Waiting::Login { device: device_number, conn });
    }

    /// Takes one step of one of the nodes. False if neither has anything left to do.
    fn step(&mut self) -> bool {
        let first = self.below(2);
        let stepped = self.nodes[first].step() || self.nodes[1 - first].step();
        let stored = self.stored();
        let most = self.devices.sessions_max.min(self.devices.sessions_per_kind);
        assert!(stored.len() <= most, "{} sessions are recorded", stored.len());
        stepped
    }

    /// Hears all answers, once nothing is under way any more.
    fn hear(&mut self) {
        for node in 0..2 {
            for waiting in std::mem::take(&mut self.waiting[node]) {
                match waiting {
                    Waiting::Login { device, conn } => self.login_answered(node, device, conn),
                    Waiting::Refresh { session, request_id, conn } => {
                        let body = self.nodes[node].response(conn, request_id);
                        self.refresh_answered(session, body);
                    }
                    Waiting::Logout { session, request_id, conn } => {
                        let body = self.nodes[node].response(conn, request_id);
                        self.logout_answered(session, body);
                    }
                }
            }
        }
        self.known.values_mut().for_each(|known| known.busy = false);
        self.logged_out.iter().for_each(|session| drop(self.known.remove(session)));
    }

    fn login_answered(&mut self, node: usize, device: u8, conn: ConnId) {
        let mut answers = self.nodes[node].take(conn);
        let answer = answers.remove(0);
        match LoginResult::of(answer) {
            LoginResult::In(login) => {
                let refresh_token = login.tokens().refresh_token.clone();
                let session = login.session.session.get();
                let (login, busy) = (*login, false);
                let known = Known { node, device, login, refresh_token, busy };
                self.known.insert(session, known);
            }
            LoginResult::Postponed(error) => self.assert_harmless(error.code()),
            LoginResult::Refused(error) => panic!("{error:?}"),
        }
    }

    fn logout_answered(&mut self, session: u64, body: Body) {
        match body {
            Body::Done(_) => self.logged_out.push(session),
            Body::Error(error) => self.request_refused(session, error.code()),
            other => panic!("{other:?}"),
        }
    }

    /// If nobody knows whether it was done, nothing can be said of the session any more.
    fn request_refused(&mut self, session: u64, code: ErrorCode) {
        if code == ErrorCode::StoreUnavailable {
            self.known.remove(&session);
        }
        self.assert_harmless(code);
    }

    fn assert_harmless(&self, code: ErrorCode) {
        let harmless = match code {
            ErrorCode::SessionRevoked | ErrorCode::Overloaded => true,
            ErrorCode::StoreUnavailable => self.nodes[0].unsteady.is_some(),
            _ => false,
        };
        assert!(harmless, "{code:?}");
    }

    fn refresh_answered(&mut self, session: u64, body: Body) {
        match body {
            Body::Tokens(tokens) => {
                self.known.get_mut(&session).unwrap().refresh_token = tokens.refresh_token;
            }
            Body::Error(error) => self.request_refused(session, error.code()),
            other => panic!("{other:?}"),
        }
    }

    /// The recorded sessions, by id: what the registers hold.
    fn stored(&self) -> BTreeMap<u64, Vec<u8>> {
        let range = RegisterRange {
            log: LogId::identity(self.user),
            prefix: b"s"[..].into(),
            after: None,
            registers_max: 1000,
            bytes_max: usize::MAX,
        };
        let read = ask::registers(&*self.nodes[0].store, range);
        let session = |register: Register| {
            let id = register.key.as_bytes()[1..].try_into().unwrap();
            (u64::from_be_bytes(id), register.value.unwrap().to_vec())
        };
        read.registers.into_iter().map(session).collect()
    }
}

fn run(seed: u64, devices: DevicePolicy) -> Stage {
    run_on(Stage::new(seed, devices))
}

fn run_on(mut stage: Stage) -> Stage {
    for _ in 0..STEPS {
        for _ in 0..=stage.below(4) {
            stage.begin_something();
        }
        while stage.step() {}
        stage.hear();
    }
    stage
}

fn policy(sessions: usize) -> DevicePolicy {
    DevicePolicy { sessions_per_kind: sessions, by_kind: Vec::new(), sessions_max: sessions }
}

#[test]
fn no_session_and_no_refresh_is_lost() {
    let mut conflicts = 0;
    for seed in 0..SEEDS {
        let mut stage = run(seed, policy(250));
        let stored = stage.stored();
        let known: Vec<_> = stage.known.keys().copied().collect();
        assert_eq!(stored.keys().copied().collect::<Vec<_>>(), known, "seed {seed}");
        assert!(!stage.logged_out.is_empty() && !known.is_empty());
        // The newest refresh token of each is good, on the other node as well.
        for (_, known) in std::mem::take(&mut stage.known) {
            let credential =
                dunlin_protocol::wire::login::Credential::RefreshToken(known.refresh_token);
            let other = 1 - known.node;
            stage.nodes[other].submit(conn(9000), None, entering(credential, device(known.device)));
            stage.nodes[other].run();
            stage.nodes[other].take_login(conn(9000)).unwrap();
        }
        conflicts += stage.nodes.iter().map(|node| node.conflicts).sum::<usize>();
    }
    assert!(conflicts > 100, "they hardly met: {conflicts}");
}

#[test]
fn no_policy_is_exceeded() {
    for seed in 0..SEEDS {
        // Each step looks at what is recorded.
        let stage = run(seed, policy(3));
        let stored = stage.stored();
        assert!(stored.keys().all(|session| stage.known.contains_key(session)), "seed {seed}");
        assert!(!stored.is_empty(), "seed {seed}");
    }
}

#[test]
fn what_was_answered_holds_over_a_store_that_fails_and_forgets_to_answer() {
    let mut unanswered = 0;
    for seed in 0..SEEDS {
        let mut stage = Stage::new(seed, policy(250));
        let unsteady = |number: u64| Some((seed << 1 | number, 40));
        stage.nodes.iter_mut().zip(0..).for_each(|(node, number)| node.unsteady = unsteady(number));
        let stage = run_on(stage);
        let stored = stage.stored();
        assert!(stage.known.keys().all(|session| stored.contains_key(session)), "seed {seed}");
        assert!(stage.logged_out.iter().all(|session| !stored.contains_key(session)));
        unanswered += stored.len() - stage.known.len();
    }
    assert!(unanswered > 10, "the store hardly failed: {unanswered}");
}
