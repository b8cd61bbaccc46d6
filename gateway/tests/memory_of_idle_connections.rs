//! What an idle connection costs in memory that is in use, to the byte: an allocator that counts
//! stands below server and test. Resident memory, which is what an operator pays for, has the gaps
//! of the allocator in it and depends on the moment; this does not, so it can be a test.
//!
//! `cargo test -p dunlin-gateway --test memory_of_idle_connections -- --nocapture` prints where
//! it goes, by the size of what was allocated. Without a sync: what the worker reads for it is
//! forgotten a minute later.

mod support;

use std::net::TcpStream;
use std::sync::Arc;

use dunlin_core::store::Store;
use dunlin_core::store::memory::MemoryStore;
use support::counting::{Counting, InUse};
use support::{Node, Stream, eventually, tls, web};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Tables grow by doubling when they are 7/8 full: shared by two shards and two workers, this is
/// just beyond, where they are as empty as they can be.
const CONNECTIONS: usize = 2_100;

/// Bytes in use for one connection, at most, with the share of the tables. Debug builds have 8
/// more in each socket.
const PLAIN_BYTES_MAX: usize = 320;

/// What rustls keeps (3,430 bytes for TLS 1.3), and the same.
const TLS_BYTES_MAX: usize = 3_850;

/// What a WebSocket adds to either: 24 bytes, a share of a chunk that is not full, and over TLS the name of the
/// protocol, which these clients offer there alone.
const WEB_BYTES_MAX: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Plain,
    Tls,
    Web,
    WebTls,
}

/// Logs a crowd in. The other ends are bare sockets afterwards, which hold no memory.
fn crowd(node: &Node, transport: Transport) -> Vec<TcpStream> {
    let config = tls::both_versions(&node.certificate());
    let web_config = web::config(&node.certificate());
    let mut sockets = Vec::with_capacity(CONNECTIONS);
    for number in 0..CONNECTIONS {
        let mut client = match transport {
            Transport::Plain => node.connect(),
            Transport::Tls => tls::connect_to(node.tls(), &config),
            Transport::Web => node.connect_web(),
            Transport::WebTls => web::connect_securely(node.web_tls(), &web_config),
        };
        client.log_in(&format!("user{number}"));
        client.heartbeat();
        sockets.push(socket_of(client.stream));
    }
    eventually("nothing is left to write", || node.server.outbox_bytes() == 0);
    eventually("all budgets are full", || node.server.forget_full_budgets() == 0);
    sockets
}

fn socket_of(stream: Stream) -> TcpStream {
    match stream {
        Stream::Plain(socket) => socket,
        Stream::Tls(tls) => tls.sock,
        Stream::Web(web) => socket_of(web.into_stream()),
    }
}

/// Bytes in use for each connection of a crowd on a server that had none.
fn bytes_per_connection(store: &Arc<MemoryStore>, transport: Transport) -> usize {
    let node = Node::over(Arc::clone(store) as Arc<dyn Store>, |_| {});
    let before = InUse::now();
    let sockets = crowd(&node, transport);
    let after = InUse::now();
    let grown = after.bytes.saturating_sub(before.bytes);
    let bytes = grown.saturating_sub(sockets.capacity() * size_of::<TcpStream>()) / CONNECTIONS;
    println!("{transport:?}: {bytes} B in use per connection, of these");
    after.print_since(&before, CONNECTIONS);
    drop(sockets);
    node.settle();
    bytes
}

#[test]
fn an_idle_connection_takes_what_it_may() {
    let store = Arc::new(MemoryStore::default());
    // Who logs in for the first time fills the store, and the second time shares what is in it;
    // so plain connections count the third time.
    bytes_per_connection(&store, Transport::Plain);
    let tls = bytes_per_connection(&store, Transport::Tls);
    let plain = bytes_per_connection(&store, Transport::Plain);
    let web = bytes_per_connection(&store, Transport::Web);
    let web_tls = bytes_per_connection(&store, Transport::WebTls);
    // Less than the slots of the shards would mean that nothing was counted.
    assert!((100..=PLAIN_BYTES_MAX).contains(&plain), "{plain} bytes");
    assert!((plain + 3_000..=TLS_BYTES_MAX).contains(&tls), "{tls} bytes");
    // A WebSocket adds its place in a table, which has room for some more.
    assert!(web <= plain + WEB_BYTES_MAX, "{web} bytes, where plain ones take {plain}");
    assert!(web_tls <= tls + WEB_BYTES_MAX, "{web_tls} bytes, where others over TLS take {tls}");
}
