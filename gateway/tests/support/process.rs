//! The real program, as a child.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;

use super::{eventually, token};

/// A child; it is killed when it is dropped.
pub struct Process {
    child: Child,
    pub tcp: SocketAddr,
    pub tls: SocketAddr,
    /// Of a program that has no HTTP, one where nobody listens.
    pub http: SocketAddr,
    pub folder: TempDir,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

/// Nobody listens on the port for discarding.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

impl Process {
    /// Starts the program with this configuration file; waits until it listens.
    pub fn start(config: &str) -> Process {
        Process::start_logging_to(config, Stdio::piped())
    }

    /// The same with a limit of open files.
    pub fn start_with_descriptors(config: &str, descriptors: u32) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let program = Process::command(&folder, config);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""));
        command.arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
        Process::of_command(command, folder, Stdio::piped())
    }

    /// The same with a standard error that the test chooses. Of one that is piped the lines are kept.
    pub fn start_logging_to(config: &str, stderr: impl Into<Stdio>) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let command = Process::command(&folder, config);
        Process::of_command(command, folder, stderr)
    }

    fn of_command(mut command: Command, folder: TempDir, stderr: impl Into<Stdio>) -> Process {
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().map(BufReader::new);
        let mut readers: Vec<_> =
            stderr.map(|stderr| read_into(&log, stderr)).into_iter().collect();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        readers.push(read_into(&Arc::default(), stdout));
        let found = |name: &str| -> Option<SocketAddr> {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            found.map(|address| address.parse().unwrap())
        };
        let address = |name| found(name).unwrap_or_else(|| panic!("{line:?}: {:?}", log.lock()));
        let (tcp, tls) = (address("tcp="), address("tls="));
        let http = found("http=").unwrap_or(NOWHERE);
        Process { child, tcp, tls, http, folder, log, readers }
    }

    /// Starts it with a standard output that nobody reads: where it listens is in the log as well.
    pub fn start_printing_to(config: &str, stdout: impl Into<Stdio>) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Process::command(&folder, config);
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let readers = vec![read_into(&log, BufReader::new(child.stderr.take().unwrap()))];
        let line = || {
            let lines = log.lock();
            lines.iter().find(|line| line.contains("\"listening\"")).cloned()
        };
        eventually("it listens", || line().is_some());
        let line: serde_json::Value = serde_json::from_str(&line().unwrap()).unwrap();
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        let (tcp, tls) = (address("tcp"), address("tls"));
        Process { child, tcp, tls, http: NOWHERE, folder, log, readers }
    }

    /// Starts it as somebody does who has not thought of HTTP.
    pub fn start_without_http(config: &str) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let command = Process::plain_command(&folder, config);
        Process::of_command(command, folder, Stdio::piped())
    }

    fn command(folder: &TempDir, config: &str) -> Command {
        let mut command = Process::plain_command(folder, config);
        command.args(["--listen-http", "127.0.0.1:0"]);
        command
    }

    fn plain_command(folder: &TempDir, config: &str) -> Command {
        let file = folder.path().join("dunlin.toml");
        std::fs::write(&file, Process::with_issuer(config)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        command
            .args(["--listen-tcp", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0"])
            .arg("--config")
            .arg(&file)
            .arg("--data")
            .arg(folder.path().join("data"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command on its data folder; what it printed, if it went well.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.answer(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, whatever comes of it.
    pub fn answer(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
        command.args(arguments).arg("--data").arg(self.folder.path().join("data"));
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn with_issuer(config: &str) -> String {
        let (name, secret) = (token::ISSUER, token::secret_text());
        format!("{config}\n[issuers.{name}]\nalgorithm = \"HS256\"\nkey = \"{secret}\"\n")
    }

    /// Replaces the configuration file.
    pub fn write_config(&self, config: &str) {
        let file = self.folder.path().join("dunlin.toml");
        std::fs::write(file, Process::with_issuer(config)).unwrap();
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("data/tls/certificate.pem")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Changes what the system lets it have.
    pub fn limit(&self, resource: Resource, most: u64) {
        let most = Rlimit { current: Some(most), maximum: Some(most) };
        prlimit(Some(Pid::from_child(&self.child)), resource, most).unwrap();
    }

    /// Waits for a line of the log that has all of these words.
    pub fn wait_logged(&self, words: &[&str]) {
        let has = |line: &String| words.iter().all(|word| line.contains(word));
        eventually(&format!("{words:?} in the log"), || self.log.lock().iter().any(has));
    }

    /// Lines of the log that have all of these words.
    pub fn logged(&self, words: &[&str]) -> usize {
        let has = |line: &&String| words.iter().all(|word| line.contains(word));
        self.log.lock().iter().filter(has).count()
    }

    /// All lines so far, of a log in JSON.
    pub fn log(&self) -> Vec<serde_json::Value> {
        let parsed =
            |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        self.log.lock().iter().map(parsed).collect()
    }

    /// Waits until the program ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status.unwrap()
    }

    /// Descriptors of all threads; most have a table of their own.
    pub fn descriptors(&self) -> usize {
        let tasks = Path::new("/proc").join(self.child.id().to_string()).join("task");
        let count = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_dir(task.ok()?.path().join("fd")).ok().map(Iterator::count)
        };
        std::fs::read_dir(tasks).unwrap().filter_map(count).sum()
    }

    /// Memory of its own that is resident, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let kib: usize = line.split_whitespace().next().unwrap().parse().unwrap();
        kib * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read_into(
    log: &Arc<Mutex<Vec<String>>>,
    output: impl BufRead + Send + 'static,
) -> JoinHandle<()> {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            log.lock().push(line);
        }
    })
}
