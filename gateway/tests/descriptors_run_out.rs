//! A process that has no descriptor left accepts nobody, serves those who are here, and goes on when
//! there is room again. (The limit is that of the whole process, so this test is alone in its file.)

mod support;

use dunlin_protocol::EncodedFrame;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use support::client::Stream;
use support::messages::hello;
use support::{Client, Node, eventually};

const CLIENTS: usize = 60;
/// Of each table: a shard's own holds fewer than ten when nobody is connected.
const LIMIT: u64 = 40;

#[test]
fn accepting_pauses_and_goes_on() {
    let node = Node::with(|config| config.listen.shards = 1);
    // Who is not logged in would make room for those who come.
    let mut inside = node.connect();
    inside.log_in("ada");
    // Sockets are made first, since the limit counts for this end as well.
    let sockets: Vec<Socket> =
        (0..CLIENTS).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()).collect();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), ..limit }).unwrap();
    let mut clients: Vec<Client> = sockets
        .into_iter()
        .map(|socket| {
            // The kernel takes them into its backlog, whoever accepts.
            socket.connect(&node.tcp().into()).unwrap();
            socket.set_read_timeout(Some(support::DEADLINE)).unwrap();
            Client::over(Stream::Plain(socket.into()))
        })
        .collect();
    let mut most = 0;
    eventually("the table is full", || {
        most = most.max(node.server.connections());
        most >= LIMIT as usize / 2
    });
    for _ in 0..100 {
        inside.heartbeat();
    }
    assert!(node.server.connections() < LIMIT as usize, "more than the table has room for");
    assert!(node.server.shards_ended().is_empty());
    // Who leaves makes room, without any change of the limit; then there is room for all.
    clients.truncate(CLIENTS - 10);
    setrlimit(Resource::Nofile, limit).unwrap();
    let frame = EncodedFrame::response(1, hello());
    for client in &mut clients {
        client.write(frame.wire());
        assert!(client.read_frame().is_some(), "a Welcome, or why there is none");
    }
    drop((clients, inside));
    node.settle();
}
