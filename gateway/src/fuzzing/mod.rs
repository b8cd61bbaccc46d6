//! A shard under fire: any bytes are a script of what peers, the engine and the time do to it.
//!
//! Frames good and bad, cut anywhere; TLS and what is none; peers that stall, leave, or reset;
//! an engine that answers late, in any order, or takes nothing; deadlines that come; limits that
//! change; a drain in the middle. Whatever the script:
//!
//! - nothing panics, and the shard comes to rest: with nothing to do, it would sleep
//! - a shard that sleeps has a timer for every connection: all slots are freed in the end
//! - who speaks well and reads gets an answer to every request, or a `Close` with a reason
//! - nothing follows a `Close`, nothing is answered twice, no stream ends within a frame
//! - the engine learns of the end of each session once, and a login is abandoned if and only if its
//!   connection is gone
//! - in the end, connections, handshakes and bytes in outboxes are counted as 0, and closes by
//!   reason are as many as accepts
//!
//! It is the real shard with real sockets, but without a thread and with a clock of its own, so
//! that an hour takes no time. `gateway/fuzz` feeds it from libFuzzer, the test below with chance.

mod peer;
mod script;
mod stage;
mod stand_in;
pub(crate) mod websocket;

use std::time::{Duration, Instant};

use dunlin_protocol::wire::{
    CloseReason, Device, Hello, History, ListSessions, Login, MarkRead, PasswordCredential,
    Register, Send, Signal, Sync, frame::Body, login::Credential,
};
use dunlin_protocol::{LogId, UserId};

use crate::stream::entrance::Entrance;
use peer::Peer;
use script::Script;
use stage::{Stage, WRITE_TIMEOUT_MS};
use stand_in::StandIn;

/// Peers at once: more than the limits allow.
const PEERS_MAX: usize = 8;

/// Steps of the clock in the end, until everyone must be gone.
const STEPS_MAX: usize = 20_000;

/// Plays a script. Panics if the shard breaks a promise.
pub(crate) fn play(script: &[u8]) {
    let (stage, intercepted) = Stage::new();
    let engine = StandIn::new(stage.transport.clone(), intercepted);
    let mut play = Play { stage, engine, peers: Vec::new(), slept_ms: 0 };
    let mut script = Script::new(script);
    while let Some(step) = script.step() {
        play.step(step, &mut script);
    }
    play.answer_everyone();
    play.end(&mut script);
}

struct Play {
    stage: Stage,
    engine: StandIn,
    peers: Vec<Peer>,
    /// Time in which peers may have read nothing.
    slept_ms: u64,
}

impl Play {
    /// One step of the script. Common ones have several numbers.
    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        self.engine.is_over = self.stage.shard.has_ended();
        match step % 40 {
            0 | 1 => self.connect(Entrance::Tcp),
            2 => self.connect(Entrance::Tls),
            3..6 => self.of_peer(script, |peer, _| peer.ask(hello())),
            6..9 => self.of_peer(script, |peer, _| peer.ask(login())),
            9..15 => self.of_peer(script, |peer, script| peer.ask(request(script))),
            15 => self.of_peer(script, |peer, script| {
                (0..script.below(200)).for_each(|_| peer.heartbeat());
            }),
            16 => self.of_peer(script, |peer, _| peer.mention(signal())),
            17..21 => self.of_peer(script, |peer, _| {
                peer.write(usize::MAX);
            }),
            21 | 22 => self.of_peer(script, |peer, script| {
                peer.write(script.size());
            }),
            23 => self.of_peer(script, |peer, script| {
                peer.read(script.below(20));
            }),
            24 => self.misbehave(script),
            25 => self.leave(script),
            26..30 => self.engine.answer(script.below(8), script.below(3), script.size()),
            30 | 31 => {
                let (whom, what) = (script.below(8), script.below(6));
                let (count, bytes) = (script.below(20), script.size());
                (0..count).for_each(|_| self.engine.tell(whom, what, bytes));
            }
            32 => self.engine.stalled ^= true,
            33..37 => {
                self.stage.run();
            }
            37 => {
                self.stage.tick(Duration::ZERO);
            }
            38 => self.sleep([1, 64, 1000, 10_000, 31_000, 3_600_000][script.below(6)]),
            _ => match script.below(20) {
                0 => self.stage.stop(),
                1 => self.stage.drain([10, 60_000][script.below(2)]),
                choice => self.stage.reload(choice),
            },
        }
        self.engine.take();
        self.engine.check_logins(|conn| self.stage.shard.is_in_use(conn));
    }

    fn connect(&mut self, entrance: Entrance) {
        if self.peers.len() < PEERS_MAX {
            let (address, tls) = self.stage.address(entrance);
            self.peers.extend(Peer::connect(address, tls));
        }
    }

    fn of_peer(&mut self, script: &mut Script<'_>, act: impl FnOnce(&mut Peer, &mut Script<'_>)) {
        let index = script.below(self.peers.len());
        if let Some(peer) = self.peers.get_mut(index) {
            act(peer, script);
        }
    }

    fn misbehave(&mut self, script: &mut Script<'_>) {
        self.of_peer(script, |peer, script| match script.below(6) {
            0 => peer.babble(script.bytes()),
            1 => peer.babble_in_a_frame(script.bytes()),
            2 => peer.babble(&u32::MAX.to_be_bytes()),
            3 => peer.turn_bit(script.size()),
            4 => peer.break_off(),
            _ => peer.spoil_tls(script.bytes()),
        });
    }

    fn leave(&mut self, script: &mut Script<'_>) {
        let index = script.below(self.peers.len());
        if index >= self.peers.len() {
            return;
        }
        match script.below(4) {
            0 => self.peers[index].shut_writing(),
            1 => drop(self.peers.swap_remove(index)),
            _ => self.peers.swap_remove(index).reset(),
        }
    }

    fn sleep(&mut self, milliseconds: u64) {
        self.slept_ms += milliseconds;
        self.stage.pass(milliseconds);
        self.stage.run();
    }

    /// Everyone reads, says what is left to say, and is answered. True if there was anything.
    fn everyone_goes_on(&mut self) -> bool {
        let mut moved = false;
        for peer in &mut self.peers {
            moved |= peer.write(usize::MAX);
            moved |= peer.read(1000);
        }
        self.engine.stalled = false;
        self.engine.is_over = self.stage.shard.has_ended();
        self.engine.take();
        self.engine.answer_all();
        self.stage.run() | moved
    }

    /// Whoever speaks well and reads is answered, or told why not.
    fn answer_everyone(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if self.everyone_goes_on() {
                continue;
            }
            let Some(peer) = self.peers.iter().find(|peer| peer.lacks_answers()) else { return };
            // Accepting and flushing may have to wait for a moment of the shard's clock, and bytes
            // may be on their way for one of the kernel's.
            let is_soon = |timeout: &Duration| *timeout <= Duration::from_millis(10);
            if let Some(timeout) = self.stage.shard.would_sleep().filter(is_soon) {
                self.stage.pass(timeout.as_millis() as u64);
            } else {
                assert!(Instant::now() < deadline, "{peer:?} is not answered");
                self.stage.tick(Duration::from_millis(1));
            }
        }
    }

    /// Everyone goes, in one way or another, or stays until a deadline.
    fn end(mut self, script: &mut Script<'_>) {
        for index in (0..self.peers.len()).rev() {
            match script.below(4) {
                0 => {}
                1 => self.peers[index].shut_writing(),
                2 => drop(self.peers.swap_remove(index)),
                _ => self.peers.swap_remove(index).reset(),
            }
        }
        for _ in 0..STEPS_MAX {
            if self.everyone_goes_on() {
                continue;
            }
            match self.stage.shard.would_sleep() {
                None => break,
                Some(_) if self.stage.shard.has_ended() => break,
                // Bytes may be on their way, which the kernel takes a moment for.
                Some(_) if self.someone_is_blocked() && self.wait_a_moment() => {}
                Some(timeout) => self.stage.pass(timeout.as_millis() as u64),
            }
            self.leave_what_has_ended();
        }
        self.stage.shard.hand_over();
        self.engine.take();
        if self.stage.shard.has_ended() {
            // What it has handed over with its last breath is answered to nobody.
            self.engine.is_over = true;
            self.engine.answer_all();
        }
        self.stage.assert_idle();
        self.engine.assert_idle();
        let peers = std::mem::take(&mut self.peers);
        peers.iter().for_each(|peer| self.check_the_end(peer));
        // No socket is left waiting behind a reset.
        peers.iter().for_each(Peer::reset);
    }

    fn someone_is_blocked(&self) -> bool {
        self.stage.shard.someone_is_blocked()
    }

    fn wait_a_moment(&mut self) -> bool {
        self.stage.tick(Duration::from_millis(1))
    }

    fn leave_what_has_ended(&mut self) {
        for index in (0..self.peers.len()).rev() {
            if self.peers[index].has_ended() {
                let peer = self.peers.swap_remove(index);
                self.check_the_end(&peer);
            }
        }
    }

    fn check_the_end(&self, peer: &Peer) {
        let gave_up = self.stage.node.counters.closed(CloseReason::WriteTimeout) > 0
            || self.slept_ms >= WRITE_TIMEOUT_MS;
        peer.assert_told(gave_up || self.stage.is_going_down);
    }
}

fn conversation() -> LogId {
    let user = |number| UserId::new(number).expect("it is not 0");
    LogId::direct(user(1), user(2))
}

fn hello() -> Body {
    Body::Hello(Hello { protocol_version: 1, client: "under fire".into(), ..Hello::default() })
}

fn login() -> Body {
    let (username, password) = ("ada".into(), "correct horse".into());
    let credential = Some(Credential::Password(PasswordCredential { username, password }));
    let device = Device { device_id: vec![7; 16].into(), kind: 1, name: "a phone".into() };
    Body::Login(Login { credential, device: Some(device), ..Login::default() })
}

fn signal() -> Body {
    let conversation_id = conversation().to_wire();
    Body::Signal(Signal { conversation_id, kind: "typing".into(), ..Signal::default() })
}

fn request(script: &mut Script<'_>) -> Body {
    let conversation_id = conversation().to_wire();
    match script.below(8) {
        0 => Body::Register(Register {
            username: "bob".into(),
            password: "correct horse".into(),
            ..Register::default()
        }),
        1 => Body::Sync(Sync::default()),
        2 => Body::History(History { conversation_id, ..History::default() }),
        3 => Body::ListSessions(ListSessions::default()),
        4 => Body::MarkRead(MarkRead { conversation_id, seq: 1, private: false }),
        5 => signal(),
        _ => Body::Send(Send {
            conversation_id,
            client_message_id: vec![9; 16].into(),
            content: vec![b'x'; script.size() % 19_000].into(),
            ..Send::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dunlin_core::engine::submitter::Submitted;
    use dunlin_core::request::{Command, CredentialRequest, Request};
    use mio::Events;

    use super::*;
    use crate::limits::TRANSIT_READS_PER_TICK;

    /// Until a frame that was written must have been read.
    const TICKS_MAX: usize = 60_000;

    /// Scripts by seed (splitmix64). `CONNECTION_SEEDS=1000..2000` plays others.
    fn script(seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        };
        let length = 20 + next() % 600;
        (0..length).map(|_| next() as u8).collect()
    }

    fn seeds() -> std::ops::Range<u64> {
        let Ok(text) = std::env::var("CONNECTION_SEEDS") else { return 0..200 };
        let range = text
            .split_once("..")
            .and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
        range.expect("CONNECTION_SEEDS is like 1000..2000")
    }

    fn quiet() -> Play {
        let (stage, intercepted) = Stage::new();
        let engine = StandIn::new(stage.transport.clone(), intercepted);
        Play { stage, engine, peers: Vec::new(), slept_ms: 0 }
    }

    /// Goes on until something is true.
    fn go_on(play: &mut Play, what: &str, mut is_true: impl FnMut(&mut Play) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_true(play) {
            assert!(Instant::now() < deadline, "never: {what}");
            play.stage.tick(Duration::from_millis(1));
            play.engine.take();
            play.engine.answer_all();
        }
    }

    /// A user who is logged in.
    fn established(play: &mut Play, entrance: Entrance) -> Peer {
        play.connect(entrance);
        let mut peer = play.peers.pop().expect("the shard listens");
        peer.ask(hello());
        peer.ask(login());
        go_on(play, "somebody is logged in", |play| {
            peer.write(usize::MAX);
            peer.read(1);
            play.stage.shard.someone_is_logged_in()
        });
        peer
    }

    /// What a socket may hold: many times of what the peers here take at once.
    const LARGE_SEND_BUFFER_BYTES: usize = 200_000;

    /// Somebody to whom more was written than the socket holds.
    fn with_a_full_socket(play: &mut Play, entrance: Entrance) -> Peer {
        play.stage.make_room(6);
        play.stage.shard.set_send_buffers(LARGE_SEND_BUFFER_BYTES).expect("the listeners are open");
        let mut peer = established(play, entrance);
        go_on(play, "the socket is full", |play| {
            let is_full = play.stage.shard.someone_is_blocked();
            if !is_full {
                play.engine.tell(0, 4, 8000);
            }
            is_full
        });
        // Nothing more is said to it than what waits.
        peer.ask(signal());
        peer
    }

    #[test]
    fn who_takes_little_at_a_time_stays_and_who_takes_nothing_goes() {
        for entrance in [Entrance::Tcp, Entrance::Tls] {
            let mut play = quiet();
            let mut peer = with_a_full_socket(&mut play, entrance);
            // Longer than the time after which somebody who says nothing is idle.
            for round in 0..12 {
                peer.heartbeat();
                peer.write(usize::MAX);
                let before = play.stage.shard.unacknowledged_bytes();
                go_on(&mut play, "the peer takes something", |play| {
                    peer.read(1);
                    play.stage.shard.unacknowledged_bytes() < before
                });
                for _ in 0..4 {
                    play.stage.pass(WRITE_TIMEOUT_MS / 5);
                    play.stage.run();
                }
                assert!(
                    play.stage.shard.someone_is_open(),
                    "{entrance:?}: closed in round {round}"
                );
                assert!(play.stage.shard.someone_is_blocked(), "the kernel says it by itself");
            }
            // Who has stopped has its time, and as much again as lies between two looks.
            for _ in 0..6 {
                play.stage.pass(WRITE_TIMEOUT_MS / 4);
                play.stage.run();
            }
            let given_up = play.stage.node.counters.closed(CloseReason::WriteTimeout);
            assert_eq!(given_up, 1, "{entrance:?}: it takes nothing any more");
            peer.reset();
        }
    }

    #[test]
    fn a_tick_ends_few_of_many_connections_that_break_together() {
        const CROWD: usize = 60;
        let mut play = quiet();
        // Strangers have a part of the places.
        play.stage.make_room(2 * CROWD);
        let mut user = established(&mut play, Entrance::Tcp);
        let (address, tls) = play.stage.address(Entrance::Tcp);
        let crowd: Vec<Peer> =
            (0..CROWD).map(|_| Peer::connect(address, tls).expect("the shard listens")).collect();
        let deadline = Instant::now() + Duration::from_secs(60);
        while play.stage.shard.connections() < CROWD + 1 {
            assert!(Instant::now() < deadline, "not all were accepted");
            play.stage.pass(10);
            play.stage.tick(Duration::from_millis(1));
        }
        crowd.into_iter().for_each(|peer| peer.reset());
        user.ask(signal());
        user.write(usize::MAX);
        let mut answered_before_the_last = false;
        while play.stage.shard.connections() > 1 {
            assert!(Instant::now() < deadline, "not all were closed");
            let before = play.stage.shard.connections();
            play.stage.tick(Duration::from_millis(1));
            let ended = before - play.stage.shard.connections();
            assert!(ended <= TRANSIT_READS_PER_TICK, "{ended} ended in one tick");
            play.engine.take();
            play.engine.answer_all();
            user.read(10);
            answered_before_the_last |= !user.lacks_answers();
        }
        assert!(answered_before_the_last, "one who talks waited for all who left");
        user.reset();
    }

    #[test]
    fn a_login_is_abandoned_before_a_worker_gets_it_if_its_connection_has_ended() {
        let (mut stage, intercepted) = Stage::new();
        let (address, tls) = stage.address(Entrance::Tcp);
        let mut peer = Peer::connect(address, tls).expect("it listens");
        peer.ask(hello());
        peer.ask(login());
        assert!(peer.write(usize::MAX));
        let mut peer = Some(peer);
        let mut events = Events::with_capacity(8);
        let batch = (0..TICKS_MAX).find_map(|_| {
            let waited = stage.shard.wait(&mut events, Duration::from_millis(1));
            waited.expect("the poll works");
            if stage.shard.connections() > 0 && !events.is_empty() {
                // The shard knows that there is something to read, and of no end.
                drop(peer.take());
            }
            stage.shard.turn(&events);
            intercepted.take()
        });
        let [
            Submitted::Command(Command {
                request: Request::Credential(CredentialRequest::Login(login)),
                ..
            }),
        ] = &batch.expect("the login is handed over")[..]
        else {
            panic!("something else came before the login");
        };
        assert!(login.attempt.is_abandoned());
        assert_eq!(stage.shard.connections(), 0);
    }

    /// What the fuzzer has found, and what it found new ways with.
    #[test]
    fn whatever_was_found_once_ends_well() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/connections");
        let scripts = std::fs::read_dir(&corpus).expect("the corpus is there");
        let mut played = 0;
        for script in scripts {
            let path = script.expect("it can be listed").path();
            println!("{}", path.display());
            play(&std::fs::read(path).expect("it can be read"));
            played += 1;
        }
        assert!(played >= 10, "{played} scripts: the corpus is not there");
    }

    #[test]
    fn whatever_happens_every_connection_ends_well() {
        for seed in seeds() {
            let played = std::panic::catch_unwind(|| play(&script(seed)));
            assert!(played.is_ok(), "replay it with CONNECTION_SEEDS={seed}..{}", seed + 1);
        }
    }
}
