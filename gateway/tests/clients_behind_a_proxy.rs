//! Connections that a proxy passes on: by its header each client has its own address, and nobody else can claim one.
//!
//! The last test is against a real haproxy. It is skipped, and says so, where there is none.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dunlin_protocol::wire::{CloseReason, frame::Body};
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use support::client::connect;
use support::messages::hello;
use support::process::Process;
use support::{Client, Node, Stream, eventually, tls};

fn line(from: &str) -> Vec<u8> {
    format!("PROXY TCP4 {from} 198.51.100.1 40000 7410\r\n").into_bytes()
}

/// Version 2, of 192.0.2.0/24.
fn bytes(host: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, host, 198, 51, 100, 1, 0x1f, 0x90, 0x1c, 0xf2];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"[..], &addresses].concat()
}

fn node() -> Node {
    Node::with(|config| {
        config.listen.proxies = vec!["127.0.0.0/8".into()];
        config.limits.loopback_exempt = false;
        config.limits.connections_per_address_max = 1;
    })
}

/// A connection that begins with this.
fn announced(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut socket = connect(address);
    socket.write_all(header).unwrap();
    socket
}

fn plain(node: &Node, header: &[u8]) -> Client {
    Client::over(Stream::Plain(announced(node.tcp(), header)))
}

#[test]
fn each_client_has_the_address_that_it_comes_from() {
    let node = node();
    let mut first = plain(&node, &line("192.0.2.1"));
    first.log_in("ada");
    let mut other = plain(&node, &bytes(2));
    other.log_in("bob");
    // One connection for each of them, however many the proxy has.
    for header in [line("192.0.2.1"), bytes(2), bytes(1)] {
        let mut third = plain(&node, &header);
        third.send(hello());
        assert_eq!(third.read_to_close(), Some(CloseReason::Overloaded));
    }
    drop(first);
    eventually("there is room for another one", || {
        let mut next = plain(&node, &bytes(1));
        next.send(hello());
        next.wait_for(|frame| match &frame.body {
            Some(Body::Welcome(_)) => Some(true),
            Some(Body::Close(_)) => Some(false),
            _ => None,
        })
    });
    drop(other);
    node.settle();
}

#[test]
fn a_header_may_come_in_pieces_before_tls_and_with_what_follows() {
    let node = node();
    let mut socket = connect(node.tls());
    for byte in bytes(1) {
        socket.write_all(&[byte]).unwrap();
    }
    let mut secure = tls::over(&tls::both_versions(&node.certificate()), socket).unwrap();
    secure.log_in("ada");
    let mut together = Client::over(Stream::Plain(connect(node.tcp())));
    let (_, frame) = together.encode(hello());
    together.write(&[&line("192.0.2.2"), &frame.wire()[..]].concat());
    assert!(matches!(together.answer(1), Body::Welcome(_)));
    drop((secure, together));
    node.settle();
}

#[test]
fn who_should_send_one_must() {
    let node = node();
    for address in [node.tcp(), node.tls()] {
        let client = Client::over(Stream::Plain(announced(address, &[0, 0, 0, 2, 8, 1])));
        let mut client = client;
        assert_eq!(client.read_to_close(), None, "it is closed without a word");
    }
    node.wait_closed(CloseReason::ProtocolViolation, 2);
    // The proxy itself asks whether somebody is here, more often than there may be clients.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    let mut check = plain(&node, local);
    check.greet();
    drop(check);
    // What ends within a header has ended.
    drop(announced(node.tcp(), b"PROXY TC"));
    node.settle();
}

#[test]
fn a_header_that_does_not_end_has_the_time_of_a_handshake() {
    let node = Node::with(|config| {
        config.listen.proxies = vec!["127.0.0.1".into()];
        config.timeouts.handshake_timeout_ms = 200;
    });
    let waiting = [node.tcp(), node.tls()].map(|address| announced(address, b"PROXY TCP4 192."));
    node.wait_closed(CloseReason::HandshakeTimeout, 2);
    drop(waiting);
    node.settle();
}

#[test]
fn nobody_else_can_say_where_he_comes_from() {
    let node = Node::with(|config| config.listen.proxies = vec!["192.0.2.0/24".into()]);
    let mut client = plain(&node, &line("192.0.2.1"));
    assert_eq!(client.read_to_close(), Some(CloseReason::FrameTooLarge));
    node.settle();
}

/// A real one, which is killed when it is dropped.
struct Haproxy {
    child: Child,
    address: SocketAddr,
}

impl Haproxy {
    fn start(program: &Path, folder: &Path, to: SocketAddr, send: &str) -> Haproxy {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let config = format!(
            "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 60s\n  timeout client 60s\n  timeout \
             server 60s\nlisten dunlin\n  bind {address}\n  server one {to} {send}\n"
        );
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&file);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("haproxy listens", || TcpStream::connect(address).is_ok());
        Haproxy { child, address }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where Debian has it, or where `DUNLIN_HAPROXY` says.
fn haproxy() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("DUNLIN_HAPROXY") {
        return Some(named.into());
    }
    let usual = ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].map(PathBuf::from);
    usual.into_iter().find(|program| program.exists())
}

/// From another address of this machine.
fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(support::DEADLINE)).unwrap();
    socket
}

#[test]
fn a_real_haproxy_tells_the_addresses_of_its_clients() {
    let Some(program) = haproxy() else {
        println!("skipped: there is no haproxy (Debian: apt-get install haproxy)");
        return;
    };
    // haproxy itself looks from 127.0.0.1 whether somebody is there.
    let config = "[listen]\nproxies = [\"127.0.0.1\"]\n[log]\nlevel = \"debug\"\n";
    let mut server = Process::start(config);
    for (send, from) in [("send-proxy", "127.0.0.9"), ("send-proxy-v2", "127.0.0.10")] {
        let folder = tempfile::tempdir().unwrap();
        let proxy = Haproxy::start(&program, folder.path(), server.tcp, send);
        let mut client = Client::over(Stream::Plain(connect_from(from, proxy.address)));
        client.log_in("ada");
        client.sync();
        server.wait_logged(&["\"logged in\"", &format!("\"peer\":\"{from}\"")]);
    }
    server.signal(Signal::TERM);
    server.wait();
}
