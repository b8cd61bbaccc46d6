//! The real program as a process of a test.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than any machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// 32 bytes of 7 in base64: the key of the model's issuer.
pub(crate) const ISSUER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin-loadtest"));
    command.args(words).stdin(Stdio::null()).env_remove("DUNLIN_LOADTEST_ISSUER_KEY");
    command
}

/// Runs it to its end.
pub(crate) fn output(words: &[&str]) -> Output {
    command(words).output().unwrap()
}

/// A process that ends with the test.
pub(crate) struct Program {
    child: Child,
    errors: Receiver<String>,
    printed: Option<JoinHandle<String>>,
}

impl Program {
    pub(crate) fn start(words: &[&str]) -> Program {
        let mut command = command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, errors) = channel();
        // Reads up to the end, so that the process is never without a reader.
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("program: {line}");
                let _nobody_waits_any_more = sender.send(line);
            }
        });
        let printed = thread::spawn(move || {
            let (mut text, mut stdout) = (String::new(), stdout);
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        Program { child, errors, printed: Some(printed) }
    }

    /// Waits for a line of standard error.
    pub(crate) fn wait_for_line(&self, start: &str) {
        while !self.errors.recv_timeout(DEADLINE).unwrap().starts_with(start) {}
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn wait_if_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it printed, once it has ended.
    pub(crate) fn printed(&mut self) -> String {
        self.printed.take().unwrap().join().unwrap()
    }

    /// The signal that ended it.
    pub(crate) fn ended_by(&mut self) -> Option<i32> {
        self.wait().signal()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}
