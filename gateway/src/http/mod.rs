//! What this node tells over HTTP: `dunlin-http` asks, [`Witness`] answers out of what is counted anyway.
//!
//! - [`metrics`]: from a snapshot to measures with names, which docs/metrics.md lists

pub(crate) mod metrics;

use std::io;
use std::sync::Arc;

use dunlin_http::metrics::Metrics;
use dunlin_http::{HttpServer, Node, Verdict};

use crate::config::ListenHttp;
use crate::status::Witness;

/// A node as those see it who ask over HTTP.
struct Observed {
    witness: Witness,
}

impl Node for Observed {
    fn health(&self) -> Verdict {
        verdict(self.witness.health())
    }

    fn readiness(&self) -> Verdict {
        verdict(self.witness.readiness())
    }

    fn metrics(&self) -> Metrics {
        metrics::of(&self.witness.status())
    }
}

fn verdict(problems: Vec<String>) -> Verdict {
    let mut verdict = Verdict::good();
    problems.into_iter().for_each(|problem| verdict.but(problem));
    verdict
}

/// Tells of a node there. To be called on the main thread, since the socket belongs to the process.
///
/// Where nobody has chosen the address and somebody listens there, nothing is told: a second server of one
/// machine is no reason to fail.
pub(crate) fn start(listen: ListenHttp, witness: Witness) -> io::Result<Option<HttpServer>> {
    let ListenHttp { address, is_default } = listen;
    match HttpServer::start(address, Arc::new(Observed { witness })) {
        Ok(server) => Ok(Some(server)),
        Err(error) if is_default && error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(
                %address,
                "another program listens there, so nobody can ask this one over HTTP; set listen.http"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
