//! Workers that run on threads of the transport do what those on their own threads do, and go on
//! when their host ends.

mod engine_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use dunlin_core::config::EngineConfig;
use dunlin_core::engine::Engine;
use dunlin_core::hosted::{HostedWorker, Wake};
use dunlin_core::store::memory::MemoryStore;
use dunlin_protocol::LogId;
use dunlin_protocol::wire::ErrorCode;
use engine_support::{Inbox, Server, send};
use parking_lot::{Condvar, Mutex};

/// Where a host sleeps.
#[derive(Default)]
struct Bed {
    woken: Mutex<bool>,
    bell: Condvar,
    ended: AtomicBool,
}

impl Wake for Bed {
    fn wake(&self) {
        *self.woken.lock() = true;
        self.bell.notify_all();
    }
}

impl Bed {
    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake();
    }
}

/// A thread of a transport that runs one worker and nothing else. It has no idea of time but the
/// worker's own, so a wake-up that was lost would stop it for good: next_turn is only waited for
/// where the worker asks for it.
fn host(bed: Arc<Bed>, mut worker: HostedWorker) -> JoinHandle<()> {
    thread::spawn(move || {
        while !bed.ended.load(Ordering::Acquire) {
            worker.turn();
            let mut woken = bed.woken.lock();
            if !*woken && !worker.has_work() {
                bed.bell.wait_until(&mut woken, worker.next_turn().max(Instant::now()));
            }
            *woken = false;
        }
    })
}

struct Hosted {
    server: Server,
    beds: Vec<Arc<Bed>>,
    threads: Vec<JoinHandle<()>>,
}

fn start(workers: usize, hosts: usize) -> Hosted {
    let beds: Vec<Arc<Bed>> = (0..hosts).map(|_| Arc::default()).collect();
    let wakes: Vec<Arc<dyn Wake>> = beds.iter().map(|bed| Arc::clone(bed) as _).collect();
    let (store, inbox) = (Arc::new(MemoryStore::new(1)), Arc::new(Inbox::default()));
    let (engine, hosted) = Engine::builder(Arc::clone(&store) as _, Arc::clone(&inbox) as _)
        .config(EngineConfig { workers, ..EngineConfig::default() })
        .start_hosted(&wakes)
        .unwrap();
    assert_eq!(hosted.len(), hosts.min(workers));
    let threads = beds.iter().cloned().zip(hosted).map(|(bed, worker)| host(bed, worker));
    let threads = threads.collect();
    Hosted { server: Server::of(engine, store, inbox), beds, threads }
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
        hosted.beds.iter().for_each(|bed| bed.end());
        hosted.threads.into_iter().for_each(|thread| thread.join().unwrap());
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
            hosted.beds.pop().unwrap().end();
            hosted.threads.pop().unwrap().join().unwrap();
        }
    }
    requests.into_iter().for_each(|request| drop(phone.response(request)));
    assert_eq!(phone.history(log).head, 201);
    server.engine.stop();
    assert_eq!(phone.refused(send(log, 201, "too late")), ErrorCode::ShuttingDown);
}
