//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::limits::{CONNECTION_LIFETIME, HEAD_BYTES_MAX, HEAD_TIMEOUT, HEADERS_MAX};
use crate::route::Asked;

/// Serves a connection until its peer has had enough, its time is over, or the server stops.
pub(crate) async fn serve(
    stream: TcpStream,
    asked: Arc<Asked>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let asked = Arc::clone(&asked);
        // The body is not read: nothing here takes one.
        async move { Ok::<_, Infallible>(asked.respond(request.method(), request.uri().path()).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut lifetime = pin!(sleep(CONNECTION_LIFETIME));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = lifetime.as_mut() => return,
        // Stopped, or nobody is there any more who could.
        _changed = stopped.changed() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Whoever asks something wrong, or nothing, and leaves.
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
