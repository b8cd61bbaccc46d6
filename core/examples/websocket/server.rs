//! The engine behind a WebSocket.
//!
//! ```text
//!  task of a connection                                     worker threads of the engine
//!  socket ─► Connection::receive ─► Submitter ─────────────► ...
//!  socket ◄─ Outbox ◄──────────────────────── Hub::deliver ◄─ ...
//! ```

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use dunlin_core::connection::{Connection, ConnectionContext, Received};
use dunlin_core::engine::submitter::Submitter;
use dunlin_core::engine::{Engine, EngineError};
use dunlin_core::store::Store;
use dunlin_core::transport::{ConnId, Delivery, Transport};
use dunlin_protocol::EncodedFrame;
use dunlin_protocol::wire::{self, CloseReason, frame::Body};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::outbox::{Hub, Outbox};

/// A peer that takes nothing for so long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// An engine with its connections.
pub(crate) struct ChatServer {
    engine: Engine,
    hub: Arc<Hub>,
    context: ConnectionContext,
    going_down: watch::Sender<bool>,
}

impl ChatServer {
    pub(crate) fn start(store: Arc<dyn Store>) -> Result<Arc<ChatServer>, EngineError> {
        let hub = Arc::new(Hub::default());
        let engine = Engine::builder(store, Arc::clone(&hub) as Arc<dyn Transport>).start()?;
        let context = ConnectionContext::new("websocket example");
        Ok(Arc::new(ChatServer { engine, hub, context, going_down: watch::Sender::new(false) }))
    }

    /// Serves until `stop` is ready, then until everybody has been sent away.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let router = Router::new().route("/chat", any(upgrade)).with_state(Arc::clone(&self));
        let going_down = self.going_down.clone();
        let stopped = async move {
            stop.await;
            going_down.send_replace(true);
        };
        axum::serve(listener, router).with_graceful_shutdown(stopped).await?;
        // Each connection holds a receiver until its end.
        self.going_down.closed().await;
        tokio::task::spawn_blocking(move || self.engine.stop()).await?;
        Ok(())
    }
}

async fn upgrade(State(server): State<Arc<ChatServer>>, upgrade: WebSocketUpgrade) -> Response {
    let going_down = server.going_down.subscribe();
    let upgrade = upgrade.max_message_size(server.context.frame_bytes_max as usize);
    upgrade.on_upgrade(move |socket| async move {
        let (conn, outbox) = server.hub.open();
        let submitter = server.engine.submitter();
        let (protocol, heard) = (Connection::new(), Instant::now());
        let mut peer =
            Peer { server: &server, socket, conn, outbox, protocol, submitter, waiting: 0, heard };
        let reason = peer.converse(going_down.clone()).await;
        peer.leave(reason).await;
        drop(going_down);
    })
}

/// One connection, driven by one task.
struct Peer<'a> {
    server: &'a ChatServer,
    socket: WebSocket,
    conn: ConnId,
    outbox: Arc<Outbox>,
    protocol: Connection,
    submitter: Submitter,
    /// Requests whose responses are outstanding.
    waiting: u32,
    heard: Instant,
}

impl Peer<'_> {
    /// Talks until there is a reason to end it.
    async fn converse(&mut self, mut going_down: watch::Receiver<bool>) -> CloseReason {
        let outbox = Arc::clone(&self.outbox);
        let silence_ms = 2 * u64::from(self.server.context.heartbeat_interval_ms);
        loop {
            let is_going_down = *going_down.borrow_and_update();
            if is_going_down && self.waiting == 0 {
                return CloseReason::ServerDraining;
            }
            let may_ask = self.waiting < self.server.context.requests_outstanding_max;
            let done = tokio::select! {
                () = outbox.filled.notified() => self.send_waiting().await,
                message = self.socket.recv(), if may_ask && !is_going_down => {
                    self.heard = Instant::now();
                    match message {
                        Some(Ok(Message::Binary(body))) => self.receive(body).await,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                        Some(Ok(Message::Text(_))) => Err(CloseReason::ProtocolViolation),
                        Some(Ok(Message::Close(_))) | None => Err(CloseReason::PeerClosed),
                        Some(Err(_)) => Err(CloseReason::PeerReset),
                    }
                }
                () = sleep_until(self.heard + Duration::from_millis(silence_ms)), if may_ask => {
                    Err(CloseReason::IdleTimeout)
                }
                changed = going_down.changed(), if !is_going_down => {
                    changed.map_err(|_| CloseReason::ServerError)
                }
            };
            if let Err(reason) = done {
                return reason;
            }
        }
    }

    /// Takes the body of a frame.
    async fn receive(&mut self, body: Bytes) -> Result<(), CloseReason> {
        let context = &self.server.context;
        if body.len() > self.protocol.frame_bytes_max(context) as usize {
            return Err(CloseReason::FrameTooLarge);
        }
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        match self.protocol.receive(context, self.conn, now_ms as u64, body) {
            Received::Nothing => Ok(()),
            Received::Respond(frame) => self.write(frame).await,
            Received::Submit(command) => {
                self.waiting += u32::from(command.request_id != 0);
                self.submitter.command(command);
                self.flush().await;
                Ok(())
            }
            Received::Close(reason) => Err(reason),
        }
    }

    /// Hands over to the engine. While a worker has no room, nothing more is read: back-pressure.
    async fn flush(&mut self) {
        while !self.submitter.flush() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn send_waiting(&mut self) -> Result<(), CloseReason> {
        while let Some(delivery) = self.outbox.next() {
            self.note(&delivery);
            if let Delivery::Close { reason, .. } = delivery {
                return Err(reason);
            }
            if let Some(frame) = delivery.frame() {
                self.write(frame.clone()).await?;
            }
        }
        Ok(())
    }

    /// What a delivery means for the state of the connection.
    fn note(&mut self, delivery: &Delivery) {
        self.waiting -= u32::from(delivery.is_response());
        match delivery {
            Delivery::LoggedIn { session, .. } => self.protocol.logged_in(*session),
            Delivery::LoginRefused(_) | Delivery::LoginPostponed(_) | Delivery::Registered(_) => {
                self.protocol.login_refused();
            }
            _ => {}
        }
    }

    async fn write(&mut self, frame: EncodedFrame) -> Result<(), CloseReason> {
        match timeout(WRITE_TIMEOUT, self.socket.send(Message::Binary(frame.body()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(CloseReason::PeerReset),
            Err(_) => Err(CloseReason::WriteTimeout),
        }
    }

    /// Says why, and tells the engine that nobody is there any more.
    async fn leave(mut self, reason: CloseReason) {
        self.protocol.abandon_login();
        let close = wire::Close { reason: reason.into(), ..wire::Close::default() };
        if self.write(EncodedFrame::push(Body::Close(close))).await.is_ok() {
            // If the peer is gone meanwhile, it does not hear it.
            drop(timeout(WRITE_TIMEOUT, self.socket.send(Message::Close(None))).await);
        }
        // Every request is answered. If a Login succeeded in the last moment, its session has to be
        // ended.
        while self.waiting > 0 {
            match self.outbox.next() {
                Some(delivery) => self.note(&delivery),
                None => self.outbox.filled.notified().await,
            }
        }
        self.server.hub.close(self.conn);
        self.submitter.disconnected(self.conn, self.protocol.session());
        self.flush().await;
    }
}
