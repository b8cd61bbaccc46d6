//! Runs the program: a server, or a command that ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes so long on any machine; whatever does will never happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a data folder, where programs are started. Nothing of the developer's own
/// configuration reaches them.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The program with arguments, in this place.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        command.current_dir(self.folder.path()).args(arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DUNLIN_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, "")
    }

    /// The same with something on standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that needs no input may have ended already.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        Ended::new(child.wait_with_output().unwrap())
    }

    /// Adds a user.
    pub(crate) fn add(&self, name: &str, password: &str) -> Ended {
        self.run_with(&["user", "add", name, "--password-stdin", WEAK[0], WEAK[1]], password)
    }

    /// Starts a server on the data folder.
    pub(crate) fn serve(&self) -> Server {
        self.serve_on("data")
    }

    /// Waits until the server has logged this.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(self.path("server.log")).unwrap();
            if log.contains(text) {
                return;
            }
            assert!(Instant::now() < deadline, "no {text:?} in {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts a server on another folder of this place.
    pub(crate) fn serve_on(&self, data: &str) -> Server {
        self.serve_as(data, &[])
    }

    /// A server with these arguments.
    pub(crate) fn serve_with(&self, arguments: &[&str]) -> Server {
        self.serve_as("data", arguments)
    }

    fn serve_as(&self, data: &str, arguments: &[&str]) -> Server {
        let mut command = self.command(&["serve", "--data", data]);
        command.args(["--listen-tcp", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0"]);
        command.args(["--listen-http", "127.0.0.1:0"]);
        command.args(["--set", "listen.shards=1", "--set", "store.segment_bytes=4194304"]);
        command.args(["--log", "debug"]).args(WEAK).args(arguments);
        Server::start(command, &self.path("server.log"))
    }
}

/// Passwords that are hashed fast.
const WEAK: [&str; 2] = ["--set", "passwords.memory_kib=8"];

/// What a command has said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Ended {
    fn new(output: Output) -> Ended {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let success = output.status.success();
        Ended { success, out: text(output.stdout), error: text(output.stderr) }
    }

    /// It must have done what it was told. Returns what it printed.
    pub(crate) fn done(self) -> String {
        assert!(self.success, "{self:?}");
        self.out
    }

    /// It must have failed, with one line that contains this.
    pub(crate) fn refused(&self, because: &str) {
        assert!(!self.success && self.error.contains(because), "{because}: {self:?}");
        assert!(self.error.starts_with("dunlin: "), "{self:?}");
        assert_eq!(self.error.lines().count(), 1, "{self:?}");
    }
}

/// A server that runs; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) tcp: SocketAddr,
}

impl Server {
    fn start(mut command: Command, log: &Path) -> Server {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let tcp = line.split_once("tcp=").and_then(|(_, rest)| rest.split_whitespace().next());
        let tcp = tcp.unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
        Server { child, tcp }
    }

    /// Kills it as a power cut of the process would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to read its configuration again.
    pub(crate) fn reload(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// Ends it in good order.
    pub(crate) fn end(mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status:?}");
                return;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
