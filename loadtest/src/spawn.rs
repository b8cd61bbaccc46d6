//! A server of one's own for a run: a fresh data folder, free ports, a key for logins.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::error::LoadtestError;
use crate::net::Trust;
use crate::process;
use crate::target::{Service, Target};
use crate::token::Issuer;

/// The `iss` claim of the harness's tokens.
pub const ISSUER: &str = "loadtest";

/// How long a server may take to go down after each signal.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A `dunlin serve` that this process has started, and stops when it is dropped.
#[derive(Debug)]
pub struct SpawnedServer {
    child: Child,
    tcp: SocketAddr,
    tls: SocketAddr,
    secret: Vec<u8>,
    /// Removed with the server; `None` if the data belongs to the caller.
    _folder: TempDir,
}

impl SpawnedServer {
    /// Starts the program `dunlin` on these processors (all if empty), with settings
    /// `section.key=value` beyond those that a harness needs. Its log goes to `log`.
    pub fn start(
        program: &Path,
        processors: &[usize],
        settings: &[String],
        log: Stdio,
    ) -> Result<SpawnedServer, LoadtestError> {
        let folder = tempfile::tempdir().map_err(LoadtestError::machine("making a data folder"))?;
        let secret = secret().map_err(LoadtestError::machine("making a key"))?;
        let config = folder.path().join("dunlin.toml");
        std::fs::write(&config, configuration(&secret))
            .map_err(LoadtestError::machine("writing a configuration"))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(&config);
        command.arg("--data").arg(folder.path().join("data"));
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = process::start_pinned(processors, || command.spawn())
            .map_err(LoadtestError::machine("starting the server"))?;
        match read_addresses(&mut child) {
            Ok((tcp, tls)) => Ok(SpawnedServer { child, tcp, tls, secret, _folder: folder }),
            Err(reason) => {
                stop(&mut child);
                Err(LoadtestError::Server(reason))
            }
        }
    }

    /// The server as a target, over plain TCP or TLS.
    pub fn target(&self, over_tls: bool) -> Target {
        Target {
            address: if over_tls { self.tls } else { self.tcp },
            tls: over_tls.then_some(Trust::Anyone),
            service: Service::Dunlin(Issuer::new(ISSUER, &self.secret)),
            pid: Some(self.child.id()),
        }
    }
}

impl Drop for SpawnedServer {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn secret() -> io::Result<Vec<u8>> {
    let mut secret = vec![0; 32];
    SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(secret)
}

fn configuration(secret: &[u8]) -> String {
    format!(
        "[listen]\ntcp = \"127.0.0.1:0\"\ntls = \"127.0.0.1:0\"\n\n\
         # A generator on the same machine connects faster than anyone should.\n\
         [limits]\naccepts_per_second = 1000000\n\n\
         [issuers.{ISSUER}]\nalgorithm = \"HS256\"\nkey = \"{}\"\n\n\
         [log]\nlevel = \"warn\"\n",
        BASE64_STANDARD.encode(secret)
    )
}

/// The first line says where the server listens: `listening tcp=ADDRESS tls=ADDRESS`.
fn read_addresses(child: &mut Child) -> Result<(SocketAddr, SocketAddr), String> {
    let output = child.stdout.take().ok_or("its output is not connected")?;
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output.read_line(&mut line).map_err(|error| error.to_string())?;
    // Its later lines are for people; reading them keeps the pipe from filling up.
    thread::spawn(move || io::copy(&mut output, &mut io::sink()));
    addresses(&line).ok_or_else(|| format!("its first line is {line:?}"))
}

fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.split_whitespace();
    if words.next()? != "listening" {
        return None;
    }
    let find =
        |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok());
    Some((find("tcp=")?, find("tls=")?))
}

/// Asks, asks again (which makes it quick), then ends it.
fn stop(child: &mut Child) {
    for _ in 0..2 {
        let asked = Pid::from_raw(child.id().cast_signed())
            .is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        if !asked || ends_in_time(child) {
            break;
        }
    }
    // Both fail only if it has ended already, and then there is nothing to do.
    let _ended = child.kill().and_then(|()| child.wait());
}

fn ends_in_time(child: &mut Child) -> bool {
    let deadline = Instant::now() + STOP_TIMEOUT;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => thread::sleep(Duration::from_millis(10)),
            Ok(Some(_)) | Err(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_the_server_says_where_it_listens() {
        let line = "listening tcp=127.0.0.1:7410 tls=127.0.0.1:7411\n";
        let (tcp, tls) = addresses(line).unwrap();
        assert_eq!((tcp.port(), tls.port()), (7410, 7411));
        assert_eq!(addresses("error: no"), None);
        assert_eq!(addresses("listening tcp=127.0.0.1:7410"), None);
    }

    #[test]
    fn a_program_that_is_no_server_is_reported() {
        let error = SpawnedServer::start(Path::new("true"), &[], &[], Stdio::null()).unwrap_err();
        assert!(matches!(error, LoadtestError::Server(_)), "{error}");
    }
}
