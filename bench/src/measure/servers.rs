//! The programs that are measured: Dunlin, the relay and the holder, each a process of its own, so
//! that the kernel counts its processor time apart from the generator's.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::process::start_pinned;
use dunlin_loadtest::spawn::{LISTEN_FOR_WEB, SpawnedServer};
use dunlin_loadtest::target::{Service, Target};
use serde::Deserialize;

use crate::measure::options::Options;

/// The hidden command by which the program of the measurements is Dunlin itself: the same library
/// with the same allocator in the same build, and nothing else to build first.
pub const SERVE: &str = "serve";

/// The hidden command by which it is the relay.
pub const RELAY: &str = "relay";

/// The hidden command by which it is the holder.
pub const HOLDER: &str = "holder";

/// A server that runs until it is dropped.
#[derive(Debug)]
pub enum Server {
    /// Dunlin with an empty data folder.
    Dunlin(SpawnedServer),
    /// The relay or the holder.
    Limit(LimitProcess),
}

impl Server {
    /// Starts Dunlin: the program that the options name, or this one.
    pub fn dunlin(options: &Options) -> Result<Server, LoadtestError> {
        Server::dunlin_with(options, &[])
    }

    /// The same with settings that the measurement needs.
    pub fn dunlin_with(options: &Options, needed: &[String]) -> Result<Server, LoadtestError> {
        let program = match &options.program {
            Some(program) => program.clone(),
            None => this_program()?,
        };
        let settings = [needed, &options.server_set].concat();
        let started =
            SpawnedServer::start(&program, &options.server_cpu, &settings, Stdio::inherit())?;
        Ok(Server::Dunlin(started))
    }

    /// Starts the relay.
    pub fn relay(options: &Options) -> Result<Server, LoadtestError> {
        LimitProcess::start(RELAY, Service::Relay, &options.server_cpu).map(Server::Limit)
    }

    /// Starts the holder.
    pub fn holder(options: &Options) -> Result<Server, LoadtestError> {
        LimitProcess::start(HOLDER, Service::Holder, &options.server_cpu).map(Server::Limit)
    }

    /// Starts Dunlin, listening for WebSockets as well.
    pub fn dunlin_with_web(options: &Options) -> Result<Server, LoadtestError> {
        Server::dunlin_with(options, &LISTEN_FOR_WEB.map(str::to_owned))
    }

    /// Where it is for WebSockets, if it listens for them.
    pub fn web_target(&self) -> Option<Target> {
        match self {
            Server::Dunlin(server) => server.web_target(false),
            Server::Limit(_) => None,
        }
    }

    /// Where it is.
    pub fn target(&self, over_tls: bool) -> Target {
        match self {
            Server::Dunlin(server) => server.target(over_tls),
            Server::Limit(limit) => limit.target.clone(),
        }
    }
}

fn this_program() -> Result<std::path::PathBuf, LoadtestError> {
    std::env::current_exe().map_err(LoadtestError::machine("finding this program"))
}

/// A program of this one that knows no protocol, started by this process.
#[derive(Debug)]
pub struct LimitProcess {
    child: Child,
    target: Target,
}

impl LimitProcess {
    fn start(
        name: &str,
        service: Service,
        processors: &[usize],
    ) -> Result<LimitProcess, LoadtestError> {
        let mut command = Command::new(this_program()?);
        command.arg(name).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = start_pinned(processors, || command.spawn())
            .map_err(LoadtestError::machine("starting a program to compare with"))?;
        match read_started(&mut child) {
            Ok(Started { address, pid }) => {
                let target = Target { address, tls: None, web: false, service, pid: Some(pid) };
                Ok(LimitProcess { child, target })
            }
            Err(error) => {
                end(&mut child);
                Err(LoadtestError::Server(format!("{name}: {error}")))
            }
        }
    }
}

impl Drop for LimitProcess {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// What both say in their first line, among other things.
#[derive(Debug, Deserialize)]
struct Started {
    address: SocketAddr,
    pid: u32,
}

fn read_started(child: &mut Child) -> io::Result<Started> {
    let output = child.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// They keep nothing that a kill could damage.
fn end(child: &mut Child) {
    // Both fail only if it has ended already, and then there is nothing to do.
    let _ended = child.kill().and_then(|()| child.wait());
}
