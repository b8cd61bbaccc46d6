//! Whether a server lives, and whether it should be given connections.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dunlin_core::engine::door::Door;

use super::Witness;
use crate::shard::control::{Control, Node};
use crate::transport::ShardTransport;

/// How long a loop may be busy with one turn before it counts as standing still. Turns of milliseconds are
/// many; one of two seconds is nothing that should ever be.
const LOOP_PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether all have turned, while somebody waits for the answer.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How long a write that failed speaks against a server. Whoever sends it nothing because of that can't
/// find out that it works again, so then it gets another chance.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(10);

/// The loops of a node: of its shards and of its workers.
pub(super) struct Loops {
    pub(super) node: Arc<Node>,
    pub(super) transport: Arc<ShardTransport>,
    pub(super) door: Door,
}

impl Loops {
    /// Those that stand still, each in words. Waits for their turns, which takes as long as the timer of a
    /// worker; so it is for threads that may wait.
    fn standing_still(&self) -> Vec<String> {
        let pulses = &self.node.pulses;
        let number = match pulses.ask() {
            Some(number) => {
                self.transport.broadcast(&Control::Pulse(number));
                number
            }
            None => pulses.asked(),
        };
        let before = self.worker_turns();
        let deadline = Instant::now() + LOOP_PATIENCE;
        loop {
            let shards = pulses.missing(number);
            let turns = self.worker_turns().into_iter().zip(&before).enumerate();
            let workers = turns.filter(|(_, (now, before))| now == *before);
            let still: Vec<String> = shards
                .map(|shard| format!("shard {shard} does not turn"))
                .chain(workers.map(|(worker, _)| format!("worker {worker} does not turn")))
                .collect();
            if still.is_empty() || Instant::now() >= deadline {
                return still;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn worker_turns(&self) -> Vec<u64> {
        let workers = self.door.statistics().workers;
        workers.into_iter().map(|worker| worker.timer_turns).collect()
    }
}

impl Witness {
    /// Why it should be started again; nothing, if it lives. May wait for a moment.
    pub(crate) fn health(&self) -> Vec<String> {
        // Loops end when a server goes down, which is no illness.
        if self.is_going_down() { Vec::new() } else { self.loops.standing_still() }
    }

    /// Why it should be given no connections; nothing, if it should.
    pub(crate) fn readiness(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.is_going_down() {
            problems.push("it goes down".into());
        }
        let failing = self.keeper.as_ref().and_then(|keeper| keeper.failing_since());
        if let Some(ago) = failing.filter(|ago| *ago < FAILURE_COUNTS_FOR) {
            let ago = ago.as_secs_f64();
            problems.push(format!("the store can't be written to, as of {ago:.1} s ago"));
        }
        let (open, open_max) =
            (self.loops.node.admission.connections(), self.loops.node.connections_max());
        if open >= open_max {
            problems.push(format!("all places for {open_max} connections are taken"));
        }
        problems
    }

    fn is_going_down(&self) -> bool {
        self.loops.node.is_going_down.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use dunlin_core::engine::Engine;
    use dunlin_core::store::memory::MemoryStore;

    use super::*;
    use crate::shard::mailbox::{Behind, mailbox};

    #[test]
    fn a_loop_that_stands_still_is_named() {
        let behind = Arc::<Behind>::default();
        let (senders, mut receivers): (Vec<_>, Vec<_>) =
            (0..2).map(|_| mailbox(&behind).unwrap()).unzip();
        let transport = Arc::new(ShardTransport::new(senders, behind));
        let store = Arc::new(MemoryStore::default());
        let engine = Engine::builder(store, transport.clone()).start().unwrap();
        let node = Arc::new(Node::new(2, 10).unwrap());
        let loops = Loops { node: Arc::clone(&node), transport, door: engine.door() };
        // Nobody takes the mail of either, though the workers turn.
        let both = ["shard 0 does not turn", "shard 1 does not turn"];
        assert_eq!(loops.standing_still(), both);
        node.pulses.answer(1, 1);
        assert_eq!(loops.standing_still(), both[..1], "it is asked nothing new");
        assert_eq!(receivers[0].waiting(), 1, "one word waits for who does not come");
        node.pulses.answer(0, 1);
        let asked = std::thread::spawn(move || loops.standing_still());
        while node.pulses.asked() < 2 {
            std::thread::yield_now();
        }
        (0..2).for_each(|shard| node.pulses.answer(shard, 2));
        assert_eq!(asked.join().unwrap(), [""; 0]);
        engine.stop();
        drop(receivers.drain(..));
    }
}
