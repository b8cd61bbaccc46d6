//! Threads of a transport that run workers and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use dunlin_core::engine::hosted::{HostedWorker, Wake};
use dunlin_core::engine::{Engine, EngineBuilder};
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

/// See the module.
pub(crate) struct Hosts(Vec<(Arc<Bed>, JoinHandle<()>)>);

impl Hosts {
    /// Starts an engine and so many hosts.
    pub(crate) fn start(builder: EngineBuilder, hosts: usize) -> (Engine, Hosts) {
        let beds: Vec<Arc<Bed>> = (0..hosts).map(|_| Arc::default()).collect();
        let wakes: Vec<Arc<dyn Wake>> = beds.iter().map(|bed| Arc::clone(bed) as _).collect();
        let (engine, hosted) = builder.start_hosted(&wakes).unwrap();
        assert_eq!(hosted.len(), hosts.min(engine.statistics().workers.len()));
        let hosts = beds.into_iter().zip(hosted);
        (engine, Hosts(hosts.map(|(bed, worker)| (Arc::clone(&bed), host(bed, worker))).collect()))
    }

    /// Ends the last host. False if there is none.
    pub(crate) fn end_one(&mut self) -> bool {
        let Some((bed, thread)) = self.0.pop() else { return false };
        bed.ended.store(true, Ordering::Release);
        bed.wake();
        thread.join().unwrap();
        true
    }
}

/// It has no idea of time but the worker's own, so a wake-up that was lost would stop it for good:
/// next_turn is only waited for where the worker asks for it.
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
