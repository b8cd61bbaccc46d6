//! The way of a command to the data: through the server that runs on it, or without one.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_core::config::EngineConfig;
use dunlin_core::engine::Engine;
use dunlin_core::transport::{Outbound, Transport};

use super::administration::Administration;
use super::message::{Answer, Fault, Reply, Request};
use super::{client, socket};
use crate::config::Checked;
use crate::node::assembly::{self, Stored};
use crate::node::data::DataFolder;

/// How long a store may be locked while nobody answers: a server that starts or goes down.
pub(crate) const LOCKED_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) const LOCKED_RETRY: Duration = Duration::from_millis(50);

/// A way to the data.
pub(crate) enum Access {
    /// A server runs.
    Online {
        socket: PathBuf,
        /// The connection that found it, for the first request.
        found: Option<UnixStream>,
    },
    /// None does, and none can while this lives.
    Offline { engine: Engine, administration: Box<Administration> },
}

/// What to do where there is no store yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Make,
    Refuse,
}

/// Nobody is connected.
struct NoTransport;

impl Transport for NoTransport {
    fn deliver(&self, _shard: u16, _batch: Vec<Outbound>) {}
}

impl Access {
    /// Finds the way.
    pub(crate) fn open(checked: &Checked, missing: Missing) -> Result<Access, Fault> {
        let folder = &checked.config.data.folder;
        let data = match missing {
            Missing::Refuse => DataFolder::existing(folder).map_err(Fault::new)?,
            Missing::Make => DataFolder::unopened(folder),
        };
        let until = Instant::now() + LOCKED_TIMEOUT;
        loop {
            let socket = data.admin_socket();
            let found = connect(&socket)?;
            if found.is_some() {
                return Ok(Access::Online { socket, found });
            }
            // Root may ask a server, but make nothing in its folder.
            let data = DataFolder::open(folder).map_err(Fault::new)?;
            match assembly::open_store(&checked.store.for_command(), &data) {
                Err(error) if error.is_locked() && Instant::now() < until => {
                    std::thread::sleep(LOCKED_RETRY);
                }
                Err(error) if error.is_locked() => {
                    let hint = "which does not answer on admin.sock; is it starting or ending?";
                    return Err(Fault::new(format_args!("{error}, {hint}")));
                }
                Err(error) => return Err(Fault::new(error)),
                Ok(stored) => return Access::offline(checked, stored, data),
            }
        }
    }

    /// Whether a server runs, which answers.
    pub(crate) fn is_served(folder: &Path) -> Result<bool, Fault> {
        Ok(connect(&DataFolder::admin_socket_in(folder))?.is_some())
    }

    /// Finds the way to a server that runs; there is no other for what only it knows.
    pub(crate) fn online(checked: &Checked) -> Result<Access, Fault> {
        let folder = &checked.config.data.folder;
        let socket = DataFolder::admin_socket_in(folder);
        match connect(&socket)? {
            Some(found) => Ok(Access::Online { socket, found: Some(found) }),
            None => Err(Fault::new(format_args!(
                "no server runs on {}; --data names another folder",
                folder.display()
            ))),
        }
    }

    fn offline(checked: &Checked, stored: Stored, data: DataFolder) -> Result<Access, Fault> {
        let config = EngineConfig { workers: 1, ..checked.engine.clone() };
        let builder = Engine::builder(stored.store, Arc::new(NoTransport)).config(config);
        let engine = builder.start().map_err(|error| {
            let path = data.path().display();
            Fault::new(format_args!("can't start the engine on {path}: {error}"))
        })?;
        let administration = Administration::new(engine.door(), stored.keeper, data);
        Ok(Access::Offline { engine, administration: Box::new(administration) })
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: Request) -> Answer {
        self.ask_and_hear(request, &mut |_| {})
    }

    /// The same; `told` gets what is said before the answer.
    pub(crate) fn ask_and_hear(&mut self, request: Request, told: &mut dyn FnMut(Reply)) -> Answer {
        match self {
            Access::Online { socket, found } => {
                let stream = match found.take() {
                    Some(stream) => stream,
                    None => socket::connect(socket)
                        .map_err(Fault::new)?
                        .ok_or_else(|| Fault::new("the server has ended; try again"))?,
                };
                client::ask(stream, &request, told)
            }
            Access::Offline { administration, .. } => {
                let mut request = request;
                request.asked_by(rustix::process::geteuid().as_raw());
                administration.carry_out(request, told)
            }
        }
    }

    /// Ends it in good order.
    pub(crate) fn close(self) {
        if let Access::Offline { engine, administration } = self {
            engine.stop();
            drop(administration);
        }
    }
}

fn connect(socket: &Path) -> Result<Option<UnixStream>, Fault> {
    socket::connect(socket).map_err(|error| {
        let path = socket.display();
        Fault::new(format_args!("{path}: {error}; run it as the user of the server"))
    })
}
