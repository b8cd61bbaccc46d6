//! The way of a command to the data: through the server that runs on it, or without one.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_core::config::EngineConfig;
use dunlin_core::engine::Engine;
use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore, OpenError};
use dunlin_core::transport::{Outbound, Transport};

use super::administration::Administration;
use super::message::{Answer, Fault, Request};
use super::{client, socket};
use crate::config::{Checked, Store};
use crate::node::data::DataFolder;

/// How long a store may be locked while nobody answers: a server that starts or goes down.
const LOCKED_TIMEOUT: Duration = Duration::from_secs(10);

const LOCKED_RETRY: Duration = Duration::from_millis(50);

/// A command opens a segment for a few small entries; this is enough, and soon made.
const SEGMENT_BYTES: u32 = 4 * 1024 * 1024;

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
        if missing == Missing::Refuse && !folder.join("store").exists() {
            return Err(Fault::new(format_args!(
                "{} holds no data of a server; --data names another folder",
                folder.display()
            )));
        }
        let data = DataFolder::open(folder).map_err(Fault::new)?;
        let until = Instant::now() + LOCKED_TIMEOUT;
        loop {
            let socket = data.admin_socket();
            let found = socket::connect(&socket).map_err(|error| {
                let path = socket.display();
                Fault::new(format_args!("{path}: {error}; run it as the user of the server"))
            })?;
            if found.is_some() {
                return Ok(Access::Online { socket, found });
            }
            match Access::offline(checked, &data) {
                Err(OpenError::Locked { .. }) if Instant::now() < until => {
                    std::thread::sleep(LOCKED_RETRY);
                }
                Err(error @ OpenError::Locked { .. }) => {
                    let hint = "which does not answer on admin.sock; is it starting or ending?";
                    return Err(Fault::new(format_args!("{error}, {hint}")));
                }
                Err(error) => return Err(Fault::new(error)),
                Ok(access) => return Ok(access),
            }
        }
    }

    fn offline(checked: &Checked, data: &DataFolder) -> Result<Access, OpenError> {
        let path = data.store();
        if let Ok(folder) = std::fs::metadata(&path) {
            ensure_own(&path, folder.uid(), rustix::process::geteuid().as_raw())?;
        }
        let Store::Embedded(config) = &checked.store;
        let segment_bytes = config.segment_bytes.min(SEGMENT_BYTES);
        let config = EmbeddedConfig { segment_bytes, ..config.clone() };
        let store = Arc::new(EmbeddedStore::open(&path, config)?);
        let config = EngineConfig { workers: 1, ..checked.engine.clone() };
        let engine = Engine::builder(store.clone(), Arc::new(NoTransport)).config(config).start();
        let engine = engine.map_err(|error| OpenError::Io {
            doing: "can't start the engine on",
            path,
            error: std::io::Error::other(error),
        })?;
        let administration = Administration::new(engine.administrator(), store, data.clone());
        Ok(Access::Offline { engine, administration: Box::new(administration) })
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: Request) -> Answer {
        match self {
            Access::Online { socket, found } => {
                let stream = match found.take() {
                    Some(stream) => stream,
                    None => socket::connect(socket)
                        .map_err(Fault::new)?
                        .ok_or_else(|| Fault::new("the server has ended; try again"))?,
                };
                client::ask(stream, &request)
            }
            Access::Offline { administration, .. } => administration.carry_out(request),
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

/// Files that a command makes must be files that the server can open: root's would not be.
fn ensure_own(path: &std::path::Path, owner: u32, own: u32) -> Result<(), OpenError> {
    if owner == own {
        return Ok(());
    }
    let reason = format!("it belongs to user {owner}; run it as that user");
    let error = std::io::Error::new(std::io::ErrorKind::PermissionDenied, reason);
    Err(OpenError::Io { doing: "can't work on", path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_of_a_store_works_on_it() {
        let path = std::path::Path::new("data/store");
        assert!(ensure_own(path, 7, 7).is_ok());
        let error = ensure_own(path, 7, 0).unwrap_err().to_string();
        assert_eq!(error, "can't work on data/store: it belongs to user 7; run it as that user");
    }
}
