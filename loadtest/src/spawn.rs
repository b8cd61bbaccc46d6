//! A server of one's own for a run: a fresh data folder, free ports, a key for logins. It can be
//! killed and started again, as often as a crash test wants.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::error::LoadtestError;
use crate::net::Trust;
use crate::process;
use crate::target::{Service, Target};
use crate::token::Issuer;

/// The `iss` claim of the harness's tokens.
pub const ISSUER: &str = "loadtest";

/// Settings by which a server listens for WebSockets as well.
pub const LISTEN_FOR_WEB: [&str; 2] = ["listen.web=127.0.0.1:0", "listen.web_tls=127.0.0.1:0"];

// In the folder of a server.
const CONFIG_NAME: &str = "dunlin.toml";
const DATA_NAME: &str = "data";

/// How long a server may take to go down after each signal.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The servers that this process has started and that may still run, with their folders: like child
/// processes themselves, they belong to the whole of it.
static RUNNING: Mutex<Vec<(u32, PathBuf)>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<(u32, PathBuf)>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills all servers and removes their folders, for a program that ends at once; nobody can start
/// another one after that.
pub(crate) fn kill_all() {
    let running = running();
    for (pid, folder) in running.iter() {
        if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
            // Both fail only if it has ended already, and the folder is in the way of nobody.
            let _gone = kill_process(pid, Signal::KILL);
            let _gone = waitpid(Some(pid), WaitOptions::empty());
            let _left = std::fs::remove_dir_all(folder);
        }
    }
    std::mem::forget(running);
}

/// A `dunlin serve` that this process has started, and stops when it is dropped.
///
/// It keeps its data folder and its addresses from one start to the next.
#[derive(Debug)]
pub struct SpawnedServer {
    program: PathBuf,
    processors: Vec<usize>,
    settings: Vec<String>,
    child: Child,
    addresses: Addresses,
    secret: Vec<u8>,
    /// Bound to the same ports, so that nobody else gets them while the server is down.
    _reserved: Vec<Socket>,
    /// Removed with the server.
    folder: TempDir,
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
        write_for_owner(&folder.path().join(CONFIG_NAME), &configuration(&secret))
            .map_err(LoadtestError::machine("writing a configuration"))?;
        let mut child = spawn(program, processors, settings, folder.path(), log)?;
        let started =
            read_addresses(&mut child).map_err(LoadtestError::Server).and_then(|addresses| {
                let reserved: Result<_, _> =
                    addresses.all().map(|(_, address)| reserve(address)).collect();
                Ok((addresses, reserved?))
            });
        let (addresses, reserved) = started.inspect_err(|_| stop(&mut child))?;
        Ok(SpawnedServer {
            program: program.to_owned(),
            processors: processors.to_vec(),
            settings: settings.to_vec(),
            child,
            addresses,
            secret,
            _reserved: reserved,
            folder,
        })
    }

    /// Ends it with SIGKILL, whatever it is doing, and waits until it is gone.
    pub fn kill(&mut self) -> Result<(), LoadtestError> {
        end(&mut self.child).map_err(LoadtestError::machine("killing the server"))
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        stop(&mut self.child);
    }

    /// Starts it again after its end, with the same data at the same addresses, and does not wait
    /// for it. Its log goes to `log`.
    pub fn launch(&mut self, log: Stdio) -> Result<(), LoadtestError> {
        let mut settings = self.settings.clone();
        let listens_on = |(name, address)| format!("listen.{name}={address}");
        settings.extend(self.addresses.all().map(listens_on));
        let folder = self.folder.path();
        self.child = spawn(&self.program, &self.processors, &settings, folder, log)?;
        Ok(())
    }

    /// Waits until a launched server listens; an error if it ends instead.
    pub fn wait_until_it_listens(&mut self) -> Result<(), LoadtestError> {
        let addresses = read_addresses(&mut self.child).map_err(LoadtestError::Server)?;
        if addresses != self.addresses {
            return Err(LoadtestError::Server(format!("it listens at {addresses:?}")));
        }
        Ok(())
    }

    /// Where it keeps its data.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.path().join(DATA_NAME)
    }

    /// The server as a target, over plain TCP or TLS.
    pub fn target(&self, over_tls: bool) -> Target {
        Target {
            address: if over_tls { self.addresses.tls } else { self.addresses.tcp },
            tls: over_tls.then_some(Trust::Insecure),
            web: false,
            service: Service::Dunlin(Issuer::new(ISSUER, &self.secret)),
            pid: Some(self.child.id()),
        }
    }

    /// The same by WebSocket, if a setting has it listen for them ([`LISTEN_FOR_WEB`]).
    pub fn web_target(&self, over_tls: bool) -> Option<Target> {
        let address = if over_tls { self.addresses.web_tls } else { self.addresses.web };
        Some(Target { address: address?, web: true, ..self.target(over_tls) })
    }
}

impl Drop for SpawnedServer {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

fn spawn(
    program: &Path,
    processors: &[usize],
    settings: &[String],
    folder: &Path,
    log: Stdio,
) -> Result<Child, LoadtestError> {
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(folder.join(CONFIG_NAME));
    command.arg("--data").arg(folder.join(DATA_NAME));
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    // Ctrl-C on a terminal is for the harness, which has to bring home what is under way first.
    command.process_group(0);
    let mut running = running();
    let child = process::start_pinned(processors, || command.spawn())
        .map_err(LoadtestError::machine("starting the server"))?;
    running.push((child.id(), folder.to_owned()));
    Ok(child)
}

/// Kills it, and waits until it is gone. Does not return while the whole program is ending: that its
/// server is gone is then no news, and what the program exits with is the signal's.
fn end(child: &mut Child) -> io::Result<()> {
    let mut running = running();
    child.kill().and_then(|()| child.wait())?;
    running.retain(|(pid, _)| *pid != child.id());
    Ok(())
}

/// A socket that is bound beside the server's and never listens. Both allow it by SO_REUSEPORT,
/// which the kernel grants to one user only; connections go to those that listen.
fn reserve(address: SocketAddr) -> Result<Socket, LoadtestError> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    bind().map_err(LoadtestError::machine("keeping the server's port"))
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
         # Each of its users does the work of many. Budgets are kept all the same, so that they cost what they cost.\n\
         [rates]\nmessages_per_s = 1000000\nmessages_burst = 1000000\n\
         message_bytes_per_s = 1000000000\nmessage_bytes_burst = 1000000000\n\
         message_bytes_per_day = 100000000000000\n\
         requests_per_s = 1000000\nrequests_burst = 1000000\n\
         signals_per_s = 1000000\nsignals_burst = 1000000\nnames_per_hour = 1000000000\n\n\
         [issuers.{ISSUER}]\nalgorithm = \"HS256\"\nkey = \"{}\"\n\n\
         [log]\nlevel = \"warn\"\n",
        BASE64_STANDARD.encode(secret)
    )
}

/// A file that nobody else may read: there is a secret in it.
fn write_for_owner(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Addresses {
    tcp: SocketAddr,
    tls: SocketAddr,
    web: Option<SocketAddr>,
    web_tls: Option<SocketAddr>,
}

impl Addresses {
    /// By the names of their settings.
    fn all(self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let web = self.web.map(|web| ("web", web));
        let web_tls = self.web_tls.map(|web_tls| ("web_tls", web_tls));
        [("tcp", self.tcp), ("tls", self.tls)].into_iter().chain(web).chain(web_tls)
    }
}

/// The first line says where the server listens: `listening tcp=ADDRESS tls=ADDRESS`.
fn read_addresses(child: &mut Child) -> Result<Addresses, String> {
    let output = child.stdout.take().ok_or("its output is not connected")?;
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output.read_line(&mut line).map_err(|error| error.to_string())?;
    // Its later lines are for people; reading them keeps the pipe from filling up.
    thread::spawn(move || io::copy(&mut output, &mut io::sink()));
    addresses(&line).ok_or_else(|| format!("its first line is {line:?}"))
}

fn addresses(line: &str) -> Option<Addresses> {
    let mut words = line.split_whitespace();
    if words.next()? != "listening" {
        return None;
    }
    let find =
        |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok());
    let (web, web_tls) = (find("web="), find("web_tls="));
    Some(Addresses { tcp: find("tcp=")?, tls: find("tls=")?, web, web_tls })
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
    let _ended = end(child);
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_line_of_the_server_says_where_it_listens() {
        let line = "listening tcp=127.0.0.1:7410 tls=127.0.0.1:7411\n";
        let Addresses { tcp, tls, web, .. } = addresses(line).unwrap();
        assert_eq!((tcp.port(), tls.port(), web), (7410, 7411, None));
        let all = "listening tcp=127.0.0.1:1 tls=127.0.0.1:2 web=127.0.0.1:3 web_tls=127.0.0.1:4";
        let ports: Vec<_> = addresses(all).unwrap().all().map(|(_, it)| it.port()).collect();
        assert_eq!(ports, [1, 2, 3, 4]);
        assert_eq!(addresses("error: no"), None);
        assert_eq!(addresses("listening tcp=127.0.0.1:7410"), None);
    }

    #[test]
    fn nobody_else_reads_the_secret_of_a_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CONFIG_NAME);
        write_for_owner(&path, &configuration(&[7; 32])).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_program_that_is_no_server_is_reported() {
        let error = SpawnedServer::start(Path::new("true"), &[], &[], Stdio::null()).unwrap_err();
        assert!(matches!(error, LoadtestError::Server(_)), "{error}");
    }
}
