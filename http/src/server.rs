//! The thread that serves.

use std::io;
use std::net::{SocketAddr, TcpListener as BoundListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connection;
use crate::limits::{ACCEPT_PAUSE, CONNECTIONS_MAX, STOP_TIMEOUT};
use crate::node::Node;
use crate::route::{Asked, WAITING_THREADS_MAX};

/// Serves until it is stopped or dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens there and tells of `node`, on a thread of its own. To be called on a thread whose descriptors
    /// belong to the process.
    ///
    /// # Errors
    /// The address can't be listened on, or the system has no thread.
    pub fn start(address: SocketAddr, node: Arc<dyn Node>) -> io::Result<HttpServer> {
        let listener = BoundListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(WAITING_THREADS_MAX)
            .thread_name("http-ask")
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("http".into());
        let thread = thread.spawn(move || {
            runtime.block_on(serve_all(listener, node, stopped));
            // A node that does not answer is not waited for.
            runtime.shutdown_timeout(STOP_TIMEOUT);
        })?;
        Ok(HttpServer { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nobody in any more, and waits for the responses that are under way, not for long.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of HTTP panicked");
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve_all(
    listener: BoundListener,
    node: Arc<dyn Node>,
    mut stopped: watch::Receiver<bool>,
) {
    // It was made non-blocking, which is all that can be wrong with it.
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "HTTP can't listen"),
    };
    let (asked, places) = (Arc::new(Asked::new(node)), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let mut connections = JoinSet::new();
    while !*stopped.borrow_and_update() {
        // Those that have ended.
        while connections.try_join_next().is_some() {}
        tokio::select! {
            _stopped = stopped.changed() => break,
            accepted = accept(&listener, &places) => match accepted {
                Ok((stream, place)) => {
                    let (asked, stopped) = (Arc::clone(&asked), stopped.clone());
                    connections.spawn(async move {
                        connection::serve(stream, asked, stopped).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "HTTP can't accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // Who reads too slowly is cut off.
    let _in_time = timeout(STOP_TIMEOUT, all).await;
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}
