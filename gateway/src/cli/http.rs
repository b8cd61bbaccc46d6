//! HTTP beside a server, in a program that has it and in one that was built without it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Failure;
use crate::config::ListenHttp;
use crate::node::Server;
use crate::node::keeper::Keeper;

/// Who tells of the server over HTTP, if anybody does.
pub(super) struct Http {
    #[cfg(feature = "http")]
    server: Option<dunlin_http::HttpServer>,
}

#[cfg(feature = "http")]
impl Http {
    pub(super) fn start(
        listen: Option<ListenHttp>,
        server: &Server,
        keeper: Option<Arc<dyn Keeper>>,
    ) -> Result<Http, Failure> {
        let Some(listen) = listen else { return Ok(Http { server: None }) };
        let witness = server.witness().keeper(keeper);
        let started = crate::http::start(listen, witness);
        let server = started.map_err(|error| format!("listen.http {}: {error}", listen.address))?;
        Ok(Http { server })
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(dunlin_http::HttpServer::address)
    }

    pub(super) fn stop(self) {
        self.server.into_iter().for_each(dunlin_http::HttpServer::stop);
    }
}

#[cfg(not(feature = "http"))]
impl Http {
    pub(super) fn start(
        _: Option<ListenHttp>,
        _: &Server,
        _: Option<Arc<dyn Keeper>>,
    ) -> Result<Http, Failure> {
        Ok(Http {})
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        None
    }

    pub(super) fn stop(self) {}
}
