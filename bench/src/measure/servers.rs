//! The programs that are measured: Dunlin and the relay, each a process of its own, so that the
//! kernel counts its processor time apart from the generator's.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dunlin_loadtest::LoadtestError;
use dunlin_loadtest::process::start_pinned;
use dunlin_loadtest::spawn::SpawnedServer;
use dunlin_loadtest::target::{Service, Target};

use crate::measure::options::Options;
use crate::relay::program::Status;

/// The hidden command by which the program of the measurements is Dunlin itself: the same library
/// with the same allocator in the same build, and nothing else to build first.
pub const SERVE: &str = "serve";

/// The hidden command by which it is the relay.
pub const RELAY: &str = "relay";

/// A server that runs until it is dropped.
#[derive(Debug)]
pub enum Server {
    /// Dunlin with an empty data folder.
    Dunlin(SpawnedServer),
    /// The relay.
    Relay(RelayProcess),
}

impl Server {
    /// Starts Dunlin: the program that the options name, or this one.
    pub fn dunlin(options: &Options) -> Result<Server, LoadtestError> {
        let program = match &options.program {
            Some(program) => program.clone(),
            None => this_program()?,
        };
        let (processors, settings) = (&options.server_cpu, &options.server_set);
        let started = SpawnedServer::start(&program, processors, settings, Stdio::inherit())?;
        Ok(Server::Dunlin(started))
    }

    /// Starts the relay.
    pub fn relay(options: &Options) -> Result<Server, LoadtestError> {
        RelayProcess::start(&this_program()?, &options.server_cpu).map(Server::Relay)
    }

    /// Where it is.
    pub fn target(&self, over_tls: bool) -> Target {
        match self {
            Server::Dunlin(server) => server.target(over_tls),
            Server::Relay(relay) => relay.target.clone(),
        }
    }
}

fn this_program() -> Result<std::path::PathBuf, LoadtestError> {
    std::env::current_exe().map_err(LoadtestError::machine("finding this program"))
}

/// A relay that this process has started.
#[derive(Debug)]
pub struct RelayProcess {
    child: Child,
    target: Target,
}

impl RelayProcess {
    fn start(program: &Path, processors: &[usize]) -> Result<RelayProcess, LoadtestError> {
        let mut command = Command::new(program);
        command.arg(RELAY).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = start_pinned(processors, || command.spawn())
            .map_err(LoadtestError::machine("starting the relay"))?;
        match read_status(&mut child) {
            Ok(status) => {
                let (address, pid) = (status.address, Some(status.pid));
                let target = Target { address, tls: None, service: Service::Relay, pid };
                Ok(RelayProcess { child, target })
            }
            Err(error) => {
                end(&mut child);
                Err(LoadtestError::Server(error.to_string()))
            }
        }
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Its first line says where it listens.
fn read_status(child: &mut Child) -> io::Result<Status> {
    let output = child.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// It keeps nothing that a kill could damage.
fn end(child: &mut Child) {
    // Both fail only if it has ended already, and then there is nothing to do.
    let _ended = child.kill().and_then(|()| child.wait());
}
