//! What the server answers, to whom it does not, and that nobody can hold it up.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dunlin_http::limits::{CONNECTIONS_MAX, HEAD_BYTES_MAX};
use dunlin_http::metrics::Metrics;
use dunlin_http::{HttpServer, Node, Verdict};

/// More than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node that is as a test wants it.
#[derive(Default)]
struct Staged {
    is_ill: AtomicBool,
    is_stuck: AtomicBool,
    asked: AtomicUsize,
}

impl Node for Staged {
    fn health(&self) -> Verdict {
        let mut verdict = Verdict::good();
        if self.is_ill.load(Ordering::SeqCst) {
            verdict.but("shard 3 does not turn");
            verdict.but("and it rains");
        }
        verdict
    }

    fn readiness(&self) -> Verdict {
        Verdict::good()
    }

    fn metrics(&self) -> Metrics {
        self.asked.fetch_add(1, Ordering::SeqCst);
        while self.is_stuck.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut metrics = Metrics::new();
        metrics.counter("asked", None, "How often").value(self.asked.load(Ordering::SeqCst) as u64);
        metrics
    }
}

fn started() -> (Arc<Staged>, HttpServer) {
    let node = Arc::new(Staged::default());
    let address = "127.0.0.1:0".parse().unwrap();
    (Arc::clone(&node), HttpServer::start(address, node).unwrap())
}

fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Says something on a connection and reads to its end.
fn said(address: SocketAddr, text: &str) -> String {
    let mut stream = connected(address);
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn get(address: SocketAddr, path: &str) -> String {
    said(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
}

#[test]
fn each_path_has_its_answer() {
    let (node, server) = started();
    let ask = |path| get(server.address(), path);
    let metrics = ask("/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(
        metrics.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{metrics}"
    );
    assert!(metrics.ends_with("asked_total 1\n# EOF\n"), "{metrics}");
    assert!(ask("/healthz").ends_with("\r\n\r\nok\n"));
    assert!(ask("/readyz?verbose").ends_with("\r\n\r\nok\n"));
    node.is_ill.store(true, Ordering::SeqCst);
    let ill = ask("/healthz");
    assert!(ill.starts_with("HTTP/1.1 503 "), "{ill}");
    assert!(ill.ends_with("\r\n\r\nshard 3 does not turn\nand it rains\n"), "{ill}");
    assert!(ask("/readyz").starts_with("HTTP/1.1 200 "), "one is not the other");
    for path in ["/", "/metrics/", "/debug/pprof", "/../etc/passwd"] {
        assert!(ask(path).starts_with("HTTP/1.1 404 "), "{path}");
    }
    server.stop();
}

#[test]
fn nothing_but_reading_is_allowed() {
    let (node, server) = started();
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = format!(
            "{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = said(server.address(), &request);
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }
    assert_eq!(node.asked.load(Ordering::SeqCst), 0);
    let head =
        said(server.address(), "HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    server.stop();
}

#[test]
fn what_is_no_request_ends_the_connection() {
    let (_, server) = started();
    let long = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(4 * HEAD_BYTES_MAX));
    let crowd: String = (0..200).map(|number| format!("X-{number}: 1\r\n")).collect();
    let crowd = format!("GET /healthz HTTP/1.1\r\n{crowd}\r\n");
    for text in ["\u{0}\u{1}\u{2}\r\n\r\n", &long, &crowd] {
        let mut stream = connected(server.address());
        // It may be closed before all is written.
        let _written = stream.write_all(text.as_bytes());
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _ended = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(get(server.address(), "/healthz").ends_with("ok\n"));
    server.stop();
}

#[test]
fn a_connection_may_ask_again() {
    let (_, server) = started();
    let request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = said(server.address(), &format!("{request}{request}{last}"));
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    server.stop();
}

#[test]
fn a_node_that_is_stuck_with_one_answer_gives_the_others() {
    let (node, server) = started();
    node.is_stuck.store(true, Ordering::SeqCst);
    let address = server.address();
    let stuck: Vec<_> =
        (0..5).map(|_| std::thread::spawn(move || get(address, "/metrics"))).collect();
    let deadline = Instant::now() + PATIENCE;
    while node.asked.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "nobody has asked");
        std::thread::yield_now();
    }
    assert!(get(address, "/healthz").ends_with("ok\n"));
    for thread in stuck {
        assert!(thread.join().unwrap().starts_with("HTTP/1.1 503 "));
    }
    assert_eq!(node.asked.load(Ordering::SeqCst), 1, "the others have waited for the first");
    node.is_stuck.store(false, Ordering::SeqCst);
    server.stop();
}

#[test]
fn who_holds_all_places_and_says_nothing_loses_them() {
    let (_, server) = started();
    let silent: Vec<_> = (0..CONNECTIONS_MAX).map(|_| connected(server.address())).collect();
    // It waits for a place, and gets one.
    assert!(get(server.address(), "/healthz").ends_with("ok\n"));
    for mut stream in silent {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ended = stream.read_to_end(&mut rest);
    }
    server.stop();
}

#[test]
fn an_end_waits_for_nobody() {
    let (node, server) = started();
    node.is_stuck.store(true, Ordering::SeqCst);
    let mut stuck = connected(server.address());
    stuck.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while node.asked.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "nobody has asked");
        std::thread::yield_now();
    }
    let address = server.address();
    server.stop();
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    node.is_stuck.store(false, Ordering::SeqCst);
}
