//! Embeds the engine of Dunlin in another server: an axum application with a WebSocket.
//!
//! ```sh
//! cargo run -p dunlin-core --example websocket -- 127.0.0.1:7420 websocket-data
//! ```
//!
//! Clients connect to `ws://127.0.0.1:7420/chat` and speak the protocol of docs/protocol.md, one
//! frame body per binary message (WebSocket has lengths of its own). They register, log in, sync and
//! chat as they do over TCP, and it is the same engine. Ctrl-C stops it in good order: whoever is
//! connected gets the answers that are outstanding, then a Close.
//!
//! Everything that an embedding server has to do is in `server.rs` and `outbox.rs`.
#![forbid(unsafe_code)]

mod outbox;
mod server;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7420".to_owned());
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "websocket-data".to_owned()));
    let store = EmbeddedStore::open(&folder, EmbeddedConfig::default())?;
    let listener = TcpListener::bind(address).await?;
    println!("ws://{}/chat", listener.local_addr()?);
    let server = server::ChatServer::start(Arc::new(store))?;
    server.serve(listener, async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}
