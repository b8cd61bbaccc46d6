//! The program `dunlin-chat` itself, with a server: what is said goes to whom it was said, once,
//! whatever is killed in between, and a terminal is given back as it was.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use dunlin_core::store::Store;
use dunlin_core::store::memory::MemoryStore;
use dunlin_gateway::config::{Checked, Config};
use dunlin_gateway::node::Server;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(120);
const PROGRAM: &str = env!("CARGO_BIN_EXE_dunlin-chat");
const PASSWORD: &str = "DUNLIN_TEST_PASSWORD";

/// A server that can go and come back, and the folders of its users.
struct House {
    folder: TempDir,
    store: Arc<dyn Store>,
    address: SocketAddr,
    server: Option<Server>,
}

impl House {
    fn new() -> House {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let address = "127.0.0.1:0".parse().unwrap();
        let mut house = House { folder, store, address, server: None };
        house.open();
        house.address = house.server.as_ref().unwrap().tcp_address().unwrap();
        house
    }

    fn open(&mut self) {
        let mut config = Config::default();
        config.data.folder = self.folder.path().join("data");
        config.listen.tcp = self.address.to_string();
        config.listen.tls = String::new();
        config.listen.shards = 1;
        config.engine.workers = 1;
        config.passwords.memory_kib = 8;
        config.passwords.iterations = 1;
        let checked = Checked::new(config, 20_000, 2).unwrap();
        self.server = Some(Server::start(checked, Arc::clone(&self.store)).unwrap());
    }

    fn close(&mut self) {
        let mut server = self.server.take().expect("it is open");
        server.stop();
        server.finish().unwrap();
    }

    fn state(&self, user: &str) -> PathBuf {
        self.folder.path().join(user)
    }

    fn outbox(&self, user: &str) -> PathBuf {
        self.state(user).join("outbox")
    }

    /// The program, as this user; the account is made if it is not there.
    fn chat(&self, user: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["--user", user, "--register", "--password-env", PASSWORD])
            .args(["--server", &self.address.to_string()])
            .arg("--state")
            .arg(self.state(user))
            .env(PASSWORD, "correct horse")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it with these lines, to its end.
    fn say(&self, user: &str, lines: impl AsRef<[u8]>) -> (Output, String) {
        let mut chat = self.chat(user).spawn().unwrap();
        // A program that ends before it has read everything is seen by what it says.
        let _ = chat.stdin.take().unwrap().write_all(lines.as_ref());
        let output = chat.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        (output, said)
    }
}

/// How often a line is there.
fn count(said: &str, line: &str) -> usize {
    said.lines().filter(|said| *said == line).count()
}

/// A chat that goes on while the test does something else.
struct Talk {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Talk {
    fn start(mut command: Command) -> Talk {
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Talk { child, stdin, lines }
    }

    fn enter(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    fn wait_for(&self, expected: &str) {
        let deadline = Instant::now() + DEADLINE;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(expected) => return,
                Ok(_) => {}
                Err(error) => panic!("no {expected:?}: {error}"),
            }
        }
        panic!("no {expected:?} in time");
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn piped_lines_are_said_to_whom_they_follow_and_then_it_ends() {
    let house = House::new();
    let (output, _) = house.say("bob", "");
    assert!(output.status.success(), "{output:?}");
    let (output, said) = house.say("alice", "/to bob\none\ntwo\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!((count(&said, "✓ bob 1: one"), count(&said, "✓ bob 2: two")), (1, 1), "{said}");

    let lines = "/to bob\nthree\n/to nobody-here\nnot for bob\n/to bob\nfour\n/quit\nnever read\n";
    let (output, said) = house.say("alice", lines);
    assert!(!output.status.success(), "a text went to nobody");
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 texts went to nobody"));
    assert_eq!((count(&said, "✓ bob 3: three"), count(&said, "✓ bob 4: four")), (1, 1), "{said}");

    let (_, heard) = house.say("bob", "");
    let texts = ["one", "two", "three", "four"];
    for (text, seq) in texts.into_iter().zip(1..) {
        assert_eq!(count(&heard, &format!("< alice {seq}: {text}")), 1, "{heard}");
    }
    assert!(!heard.contains("not for bob"), "{heard}");
}

#[test]
fn a_piped_line_that_is_no_text_is_told_of_and_the_next_is_said() {
    let house = House::new();
    house.say("bob", "");
    let (output, said) = house.say("alice", b"/to bob\none\r\nt\xffo\nthree\n");
    assert!(!output.status.success(), "a line was not said");
    assert!(said.contains("no UTF-8"), "{said}");
    assert_eq!((count(&said, "✓ bob 1: one"), count(&said, "✓ bob 2: three")), (1, 1), "{said}");
}

#[test]
fn what_follows_a_misspelt_command_goes_to_nobody() {
    let house = House::new();
    house.say("bob", "");
    let (output, said) = house.say("alice", "/to bob\none\n/ot carol\nfor carol\n");
    assert!(!output.status.success(), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("1 commands were not understood; 1 texts went to nobody"), "{error}");
    assert_eq!((count(&said, "✓ bob 1: one"), said.contains("for carol")), (1, false), "{said}");
}

#[test]
fn who_is_not_let_in_is_told_so_by_the_exit_code() {
    let house = House::new();
    house.say("alice", "");
    fs::remove_file(house.state("alice").join("tokens")).unwrap();
    let output = house.chat("alice").env(PASSWORD, "wrong horse").output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("this name is taken"), "{error}");
    assert!(house.say("alice", "/logout\n").0.status.success(), "that is what was wanted");
}

#[test]
fn what_was_said_to_a_server_that_is_away_arrives_once_after_all() {
    let mut house = House::new();
    house.say("bob", "");
    let mut alice = Talk::start(house.chat("alice"));
    alice.enter("/to bob");
    alice.wait_for("talking to bob");
    house.close();
    alice.enter("one");
    alice.enter("two");
    let outbox = house.outbox("alice");
    let lines = || fs::read_to_string(&outbox).unwrap_or_default().lines().count();
    eventually("both are kept", || lines() == 2);
    alice.kill();
    let before = fs::read(&outbox).unwrap();

    // They wait for the server in the next run, too.
    let alice = Talk::start(house.chat("alice"));
    alice.wait_for("2 messages of before are on their way");
    house.open();
    alice.wait_for("✓ bob 1: one");
    alice.wait_for("✓ bob 2: two");
    eventually("nothing is left to send", || fs::metadata(&outbox).unwrap().len() == 0);
    alice.kill();

    // The power failed before it was on the disk that they are settled.
    fs::write(&outbox, before).unwrap();
    let (output, _) = house.say("alice", "/to bob\nthree\n");
    assert!(output.status.success(), "{output:?}");
    let (_, heard) = house.say("bob", "");
    let texts: Vec<&str> = heard.lines().filter(|line| line.starts_with("< alice")).collect();
    assert_eq!(texts, ["< alice 1: one", "< alice 2: two", "< alice 3: three"], "{heard}");
}

#[test]
fn a_second_program_does_not_share_the_folder() {
    let house = House::new();
    let alice = Talk::start(house.chat("alice"));
    alice.wait_for("- connected");
    let (output, _) = house.say("alice", "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("another dunlin-chat uses it"));
    alice.kill();
    assert!(house.say("alice", "").0.status.success());
}

#[test]
fn a_password_that_is_too_short_is_refused_with_the_rule() {
    let house = House::new();
    let chat = house.chat("carol").env(PASSWORD, "short").output().unwrap();
    let error = String::from_utf8_lossy(&chat.stderr).into_owned();
    assert!(error.contains("a password has 8 to 128 bytes; this one has 5"), "{error}");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let house = House::new();
    for signal in [Signal::TERM, Signal::HUP] {
        // A shell in a terminal of its own, which has no size at first, says who it becomes, what became of it, and how it found
        // the terminal afterwards.
        let chat = house.chat("alice");
        let arguments: Vec<&str> = chat.get_args().map(|it| it.to_str().unwrap()).collect();
        let line = format!(
            "stty rows 24 cols 80; sh -c 'echo PID=$$=; exec {PROGRAM} {}'; echo STATUS=$?=; stty -a",
            arguments.join(" ")
        );
        let mut terminal = Command::new("script")
            .args(["-qefc", &line, "/dev/null"])
            .env(PASSWORD, "correct horse")
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut screen = terminal.stdout.take().unwrap();
        let mut seen = String::new();
        let mut read_until = |what: &str| {
            let mut bytes = [0; 4096];
            while !seen.contains(what) {
                match screen.read(&mut bytes).unwrap() {
                    0 => panic!("it ends without {what:?}: {seen:?}"),
                    read => seen.push_str(&String::from_utf8_lossy(&bytes[..read])),
                }
            }
            seen.clone()
        };
        let pid = read_until("connected").split('=').nth(1).unwrap().parse().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        let seen = read_until(" echoe");
        assert!(seen.contains("\x1b[?1049l") && seen.contains("\x1b[?2004l"), "{seen:?}");
        assert!(seen.contains("\x1b[?25h"), "the cursor is shown: {seen:?}");
        let after = seen.split("STATUS=0=").nth(1).unwrap_or_else(|| panic!("{seen:?}"));
        assert!(after.contains(" icanon") && !after.contains("-icanon"), "{after:?}");
        assert!(after.contains(" echo ") && !after.contains("-echo "), "{after:?}");
        terminal.wait().unwrap();
    }
}
