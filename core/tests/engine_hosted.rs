//! Workers that run on threads of the transport do what those on their own threads do, and go on
//! when their host ends.

mod engine_support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dunlin_core::admin::{AdminReply, AdminRequest};
use dunlin_core::config::EngineConfig;
use dunlin_core::engine::Engine;
use dunlin_core::store::memory::MemoryStore;
use dunlin_protocol::LogId;
use dunlin_protocol::wire::{ErrorCode, frame::Body};
use engine_support::hosts::Hosts;
use engine_support::{Inbox, Server, history, send};

struct Hosted {
    server: Server,
    hosts: Hosts,
}

fn start(workers: usize, hosts: usize) -> Hosted {
    let (store, inbox) = (Arc::new(MemoryStore::new(1)), Arc::new(Inbox::default()));
    let builder = Engine::builder(Arc::clone(&store) as _, Arc::clone(&inbox) as _)
        .config(EngineConfig { workers, ..EngineConfig::default() });
    let (engine, hosts) = Hosts::start(builder, hosts);
    Hosted { server: Server::of(engine, store, inbox), hosts }
}

#[test]
fn hosted_workers_serve_beside_others() {
    for (workers, hosts) in [(1, 1), (2, 2), (3, 1), (1, 2)] {
        let mut hosted = start(workers, hosts);
        let server = &mut hosted.server;
        let users: Vec<_> = (1..=6).map(|id| server.account(id)).collect();
        let mut clients: Vec<_> = users.iter().map(|&user| server.live(user)).collect();
        for (from, client) in clients.iter_mut().enumerate() {
            for (id, &to) in (0..).zip(&users) {
                client.send(to, id + 10 * from as u8, "hello");
            }
        }
        for (client, &user) in clients.iter_mut().zip(&users) {
            for &other in &users {
                let own = if other == user { 1 } else { 2 };
                assert_eq!(client.history(LogId::direct(user, other)).head, own);
            }
        }
        while hosted.hosts.end_one() {}
        hosted.server.engine.stop();
    }
}

/// What they have under way goes on: else whoever has to take it could wait for them.
#[test]
fn workers_take_no_commands_while_a_shard_is_behind() {
    for hosts in [0, 1] {
        let mut hosted = start(1, hosts);
        let server = &mut hosted.server;
        let (ann, bob) = (server.account(1), server.account(2));
        let mut phone = server.live(ann);
        phone.send(bob, 0, "in peace");
        server.inbox.behind.store(true, Ordering::Release);
        let asked = phone.submit(history(LogId::direct(ann, bob)));
        for _ in 0..20 {
            let list = AdminRequest::ListUsers { after: None, limit: 9 };
            let listed = server.engine.administer(list);
            assert!(matches!(listed, Ok(AdminReply::Users { .. })), "{listed:?}");
        }
        assert!(server.inbox.drain(phone.conn).is_empty(), "nobody has taken the command");
        server.inbox.behind.store(false, Ordering::Release);
        assert!(matches!(phone.response(asked), Body::HistoryPage(_)));
        while hosted.hosts.end_one() {}
        hosted.server.engine.stop();
    }
}

#[test]
fn a_worker_whose_host_ends_goes_on_and_stops_with_the_engine() {
    let mut hosted = start(2, 2);
    let server = &mut hosted.server;
    let (ann, bob) = (server.account(1), server.account(2));
    let log = LogId::direct(ann, bob);
    let mut phone = server.live(ann);
    phone.send(bob, 0, "with hosts");
    // Some are taken by the hosts, some by the threads that follow them.
    let mut requests = Vec::new();
    for id in 1..=200 {
        requests.push(phone.submit(send(log, id, "x")));
        if id % 100 == 0 {
            assert!(hosted.hosts.end_one());
        }
    }
    requests.into_iter().for_each(|request| drop(phone.response(request)));
    assert_eq!(phone.history(log).head, 201);
    server.engine.stop();
    assert_eq!(phone.refused(send(log, 201, "too late")), ErrorCode::ShuttingDown);
}
