//! A server in the process of the test, over a store in memory.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use dunlin_core::store::Store;
use dunlin_core::store::memory::MemoryStore;
use dunlin_gateway::config::{Checked, Config, Issuer, Rates};
use dunlin_gateway::node::{Parts, Server};
use dunlin_protocol::wire::CloseReason;
use tempfile::TempDir;

use super::client::Client;
use super::{eventually, tls, token, web};

/// Kinds of connections.
pub const WAYS: usize = 4;

/// See the module. [`Node::settle`] is the end of a good test.
pub struct Node {
    pub server: Server,
    folder: TempDir,
}

/// Every limit at its default, but cheap passwords, an issuer for logins that cost nothing,
/// registration in spite of it, and rates that no user meets who is a test.
pub fn config(folder: &TempDir) -> Config {
    let mut config = Config::default();
    config.data.folder = folder.path().join("data");
    config.listen.tcp = "127.0.0.1:0".into();
    config.listen.tls = "127.0.0.1:0".into();
    config.listen.web = "127.0.0.1:0".into();
    config.listen.web_tls = "127.0.0.1:0".into();
    config.listen.shards = 2;
    config.engine.workers = 2;
    config.engine.registration = "open".into();
    config.passwords.memory_kib = 8;
    config.passwords.iterations = 1;
    config.rates = rates_of_tests();
    let (algorithm, key) = ("HS256".into(), token::secret_text());
    config.issuers.insert(token::ISSUER.into(), Issuer { algorithm, key, ..Issuer::default() });
    config
}

/// As fast as anything goes. They are limits all the same, so that what is asked is counted.
pub fn rates_of_tests() -> Rates {
    let most = 1_000_000_000;
    Rates {
        messages_per_s: most,
        messages_burst: most,
        message_bytes_per_s: most.into(),
        message_bytes_burst: most.into(),
        message_bytes_per_day: 1 << 50,
        requests_per_s: most,
        requests_burst: most,
        signals_per_s: most,
        signals_burst: most,
        names_per_hour: most,
        ..Rates::default()
    }
}

impl Node {
    /// A node with the defaults.
    pub fn start() -> Node {
        Node::with(|_| {})
    }

    /// A node with a changed configuration.
    pub fn with(change: impl FnOnce(&mut Config)) -> Node {
        Node::over(Arc::new(MemoryStore::default()), change)
    }

    /// A node over a store of the test.
    pub fn over(store: Arc<dyn Store>, change: impl FnOnce(&mut Config)) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder);
        change(&mut config);
        let checked = Checked::new(config, 20_000, 2).unwrap();
        Node { server: Server::start(checked, store).unwrap(), folder }
    }

    /// A node of parts that may be shared with another one.
    pub fn of_parts(parts: Parts, change: impl FnOnce(&mut Config)) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder);
        change(&mut config);
        let checked = Checked::new(config, 20_000, 2).unwrap();
        Node { server: Server::of_parts(checked, parts).unwrap(), folder }
    }

    /// Reloads the configuration that [`Node::with`] starts with, changed in another way.
    pub fn reload(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = config(&self.folder);
        change(&mut config);
        self.server.reload(Checked::new(config, 20_000, 2).unwrap()).unwrap();
    }

    pub fn tcp(&self) -> SocketAddr {
        self.server.tcp_address().unwrap()
    }

    pub fn tls(&self) -> SocketAddr {
        self.server.tls_address().unwrap()
    }

    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("data/tls/certificate.pem")
    }

    pub fn connect(&self) -> Client {
        Client::plain(self.tcp())
    }

    pub fn connect_tls(&self) -> Client {
        tls::connect_to(self.tls(), &tls::both_versions(&self.certificate()))
    }

    pub fn web(&self) -> SocketAddr {
        self.server.web_address().unwrap()
    }

    pub fn web_tls(&self) -> SocketAddr {
        self.server.web_tls_address().unwrap()
    }

    pub fn connect_web(&self) -> Client {
        web::connect_to(self.web())
    }

    pub fn connect_web_tls(&self) -> Client {
        web::connect_securely(self.web_tls(), &web::config(&self.certificate()))
    }

    /// All kinds of connection, for what must be the same on each.
    pub fn connect_each_way(&self) -> [Client; WAYS] {
        [self.connect(), self.connect_tls(), self.connect_web(), self.connect_web_tls()]
    }

    /// A client that is logged in, has synced and gets pushes.
    pub fn user(&self, name: &str) -> Client {
        let mut client = self.connect();
        client.log_in(name);
        client.sync();
        client
    }

    pub fn user_over_tls(&self, name: &str) -> Client {
        let mut client = self.connect_tls();
        client.log_in(name);
        client.sync();
        client
    }

    /// Waits until so many connections were closed for a reason.
    pub fn wait_closed(&self, reason: CloseReason, count: u64) {
        let closed = || self.server.closed(reason);
        eventually(&format!("{count} closed by {reason:?}"), || closed() >= count);
        assert_eq!(closed(), count, "{reason:?}");
    }

    /// Waits until nobody is connected and nothing waits to be written.
    pub fn wait_quiet(&self) {
        eventually("all connections are gone", || self.server.connections() == 0);
        eventually("all outboxes are gone", || self.server.outbox_bytes() == 0);
    }

    /// Waits for quiet, then stops the server in good order.
    pub fn settle(self) {
        self.wait_quiet();
        let mut server = self.server;
        server.stop();
        server.finish().unwrap();
    }
}
