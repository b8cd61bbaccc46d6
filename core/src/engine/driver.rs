//! The thread of a worker: what comes in is handled in ticks, what shall be done is done in batches.
//!
//! ```text
//!   submitters ──► commands (bounded) ─┐
//!                                      ├─► Worker::handle ... Worker::end_tick ──► store, transport,
//!   store, workers, bus ──► mail ──────┘                                          other workers, bus
//! ```
//!
//! The mail is never refused, so no two threads can wait for each other. It is bounded all the
//! same: each letter answers or passes on something that was taken from the bounded queue, and all
//! workers leave commands there while one of them or a shard has too much mail, in letters or in bytes. Only what comes from the bus is dropped
//! when the mail has grown too long: other nodes can't be held back, and a lost envelope is found.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Select};
use parking_lot::Mutex;

use crate::admin::AdminRequest;
use crate::auth::password::{PasswordDone, PasswordError, PasswordThreads};
use crate::bus::{Bus, BusReceiver, Member};
use crate::clock::{Clock, Now};
use crate::cluster::ClusterNode;
use crate::limits::{
    ENVELOPES_BYTES_MAX, PRESSED_TICK_MS, STORE_OUTSTANDING_BYTES_MAX, STORE_OUTSTANDING_MAX,
    TICK_BATCHES_MAX, TICK_MESSAGES_MAX, TICK_MS, WORKER_BACKLOG_MAX, WORKER_MAIL_BYTES_MAX,
};
use crate::statistics::WorkerStatistics;
use crate::store::{Store, StoreError, StoreReply, StoreRequest};
use crate::transport::Transport;
use crate::worker::Worker;
use crate::worker::effect::{Effects, PresenceChange, Published, Ticket};
use crate::worker::input::Input;
use crate::worker::message::WorkerMessage;

use super::calls::Calls;
use super::commands::CommandReceiver;
use super::gate::Gate;
use super::mailbox::Mailbox;
use super::submitter::Submitted;

/// What comes from within.
pub(crate) enum Letter {
    /// The answer to a request, and when the tick began that submitted it.
    Store(Ticket, Result<StoreReply, StoreError>, Instant),
    Password(Ticket, Result<PasswordDone, PasswordError>),
    /// With their memory.
    Workers(Vec<WorkerMessage>, usize),
    Input(Input),
    Envelope(Bytes),
    /// Which call at the door it is, and what it asks.
    Admin(u64, AdminRequest),
    Stop,
}

/// What a worker thread works with.
pub(crate) struct Driver {
    pub(crate) worker: Worker,
    pub(crate) commands: CommandReceiver,
    pub(crate) mail: Receiver<Letter>,
    /// Of all workers, this one included.
    pub(crate) mailboxes: Vec<Mailbox<Letter>>,
    pub(crate) index: usize,
    pub(crate) gate: Arc<Gate>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) passwords: Arc<PasswordThreads>,
    pub(crate) statistics: Arc<Mutex<WorkerStatistics>>,
    pub(crate) effects: Effects,
    pub(crate) calls: Arc<Calls>,
    pub(crate) next_timer: Instant,
    /// When this tick began.
    pub(crate) began: Instant,
    pub(crate) cluster: Option<ClusterLinks>,
    /// Bytes of envelopes in the mail.
    pub(crate) envelopes_waiting: Arc<AtomicUsize>,
    /// What the worker keeps waiting without a ticket, as the gate counts it: sends that wait for another
    /// node, and requests that wait for room.
    pub(crate) uncounted: usize,
    /// What this tick has asked of the store is answered already, at least some of it.
    pub(crate) was_answered: bool,
}

/// Whether a store may answer it at once. What it has to write it never does.
fn may_be_in_memory(request: &StoreRequest) -> bool {
    match request {
        StoreRequest::Heads(_)
        | StoreRequest::Changed { .. }
        | StoreRequest::Keys(_)
        | StoreRequest::Register(_)
        | StoreRequest::Registers(_)
        | StoreRequest::Changes(_) => true,
        StoreRequest::Ranges(_)
        | StoreRequest::Feed(_)
        | StoreRequest::Consumers
        | StoreRequest::Logs { .. }
        | StoreRequest::Write(_)
        | StoreRequest::Delete(_)
        | StoreRequest::Consumer(_) => false,
    }
}

/// What a tick takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    All,
    /// What comes from within.
    Answers,
}

/// Ticks of a turn, at most: a login and the sync behind it ask some four questions one after the other.
const TICKS_PER_TURN_MAX: usize = 6;

/// How the engine is linked with other nodes.
#[derive(Clone)]
pub(crate) struct ClusterLinks {
    pub(crate) place: ClusterNode,
    pub(crate) bus: Arc<dyn Bus>,
}

impl std::fmt::Debug for ClusterLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterLinks").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Puts what comes from the bus into the mail of the workers.
pub(crate) struct Mailroom {
    pub(crate) gate: Arc<Gate>,
    pub(crate) mailboxes: Vec<Mailbox<Letter>>,
    /// Bytes of envelopes that wait for each worker.
    pub(crate) waiting: Vec<Arc<AtomicUsize>>,
}

impl Mailroom {
    fn put(&self, mailbox: &Mailbox<Letter>, letter: Letter) {
        if self.gate.enter() && mailbox.send(letter).is_err() {
            self.gate.leave(1);
        }
    }
}

impl BusReceiver for Mailroom {
    /// Other nodes are not held back by what waits here, so what is too much is dropped: the worker
    /// finds the gap in the numbers.
    fn receive(&self, worker: u16, envelope: Bytes) {
        let worker = usize::from(worker);
        let (Some(mailbox), Some(waiting)) = (self.mailboxes.get(worker), self.waiting.get(worker))
        else {
            return;
        };
        // Two that come at once may both still find room: it is a bound of memory, and no exact one.
        let has_room = waiting.load(Ordering::Relaxed) < ENVELOPES_BYTES_MAX;
        if has_room && mailbox.len() < WORKER_BACKLOG_MAX {
            waiting.fetch_add(envelope.len(), Ordering::Relaxed);
            self.put(mailbox, Letter::Envelope(envelope));
        }
    }

    fn members(&self, members: Vec<Member>) {
        for mailbox in &self.mailboxes {
            self.put(mailbox, Letter::Input(Input::Members(members.clone())));
        }
    }
}

/// Whether the thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Stop,
}

impl Driver {
    /// Runs on a thread of its own until a letter says stop.
    pub(crate) fn start_thread(mut self) -> io::Result<JoinHandle<()>> {
        let thread = std::thread::Builder::new().name(format!("worker-{}", self.index));
        thread.spawn(move || while self.run() == Next::Continue {})
    }

    fn run(&mut self) -> Next {
        let (next, handled) = self.tick(Takes::All);
        if next == Next::Continue && handled == 0 {
            self.sleep(self.is_pressed());
        }
        next
    }

    /// One tick on a thread that has other things to do, too; and some more without new commands as long as
    /// the store answers at once, out of its memory: what follows from that need not wait for sockets.
    pub(crate) fn turn(&mut self) {
        self.tick(Takes::All);
        for _ in 1..TICKS_PER_TURN_MAX {
            if !self.was_answered {
                break;
            }
            self.tick(Takes::Answers);
        }
    }

    /// Whether a tick would find something.
    pub(crate) fn has_work(&self) -> bool {
        !self.mail.is_empty() || (!self.commands.is_empty() && !self.is_pressed())
    }

    /// When a tick is due even if nothing comes.
    pub(crate) fn next_turn(&self) -> Instant {
        if self.commands.is_empty() {
            return self.next_timer;
        }
        self.next_timer.min(Instant::now() + Duration::from_millis(PRESSED_TICK_MS))
    }

    fn tick(&mut self, takes: Takes) -> (Next, usize) {
        self.began = Instant::now();
        let now = Now {
            unix_ms: self.clock.unix_ms(),
            monotonic_ms: self.clock.monotonic_ms(self.began),
        };
        let mut handled = 0;
        let mut next = Next::Continue;
        for _ in 0..TICK_MESSAGES_MAX {
            let Ok(letter) = self.mail.try_recv() else { break };
            handled += 1;
            if let Letter::Stop = letter {
                next = Next::Stop;
            } else {
                self.open(now, letter);
            }
        }
        if takes == Takes::All && !self.is_pressed() {
            for _ in 0..TICK_BATCHES_MAX {
                let Some(batch) = self.commands.try_recv() else { break };
                handled += 1;
                batch.into_iter().for_each(|submitted| self.take(now, submitted));
                // A few batches may be all that there is memory for.
                let message_bytes = self.worker.outstanding_bytes();
                self.commands.holds_messages(message_bytes);
                if message_bytes >= STORE_OUTSTANDING_BYTES_MAX {
                    break;
                }
            }
        }
        self.run_timers(now);
        self.commands.holds_messages(self.worker.outstanding_bytes());
        self.carry_out();
        self.gate.leave(handled);
        if handled > 0 {
            self.effects.counters.tick_us.record(microseconds(self.began.elapsed()));
        }
        (next, handled)
    }

    /// Too much is under way already to begin anything new.
    fn is_pressed(&self) -> bool {
        let has_much_mail = |mailbox: &Mailbox<Letter>| {
            mailbox.len() >= WORKER_BACKLOG_MAX || mailbox.bytes() >= WORKER_MAIL_BYTES_MAX
        };
        self.worker.questions() >= STORE_OUTSTANDING_MAX
            || self.worker.outstanding_bytes() >= STORE_OUTSTANDING_BYTES_MAX
            || self.transport.is_behind()
            || self.mailboxes.iter().any(has_much_mail)
    }

    fn open(&mut self, now: Now, letter: Letter) {
        let input = match letter {
            Letter::Store(ticket, result, asked) => {
                let round = self.began.saturating_duration_since(asked);
                self.effects.counters.store_round_us.record(microseconds(round));
                Input::Store { ticket, result }
            }
            Letter::Password(ticket, result) => Input::Password { ticket, result },
            Letter::Input(input) => input,
            Letter::Envelope(envelope) => {
                self.envelopes_waiting.fetch_sub(envelope.len(), Ordering::Relaxed);
                Input::Envelope(envelope)
            }
            Letter::Admin(call, request) => Input::Admin { call, request },
            Letter::Workers(messages, bytes) => {
                self.mailboxes[self.index].taken(bytes);
                for message in messages {
                    self.worker.handle(now, Input::Worker(message), &mut self.effects);
                }
                return;
            }
            Letter::Stop => return,
        };
        self.worker.handle(now, input, &mut self.effects);
    }

    fn take(&mut self, now: Now, submitted: Submitted) {
        let input = match submitted {
            Submitted::Command(command) => Input::Command(command),
            Submitted::Disconnected { conn, session } => Input::Disconnected { conn, session },
            Submitted::Call { call, user, request } => Input::Call { call, user, request },
        };
        self.worker.handle(now, input, &mut self.effects);
    }

    fn run_timers(&mut self, now: Now) {
        if self.began >= self.next_timer {
            self.next_timer = self.began + Duration::from_millis(TICK_MS);
            self.worker.handle(now, Input::Tick, &mut self.effects);
            self.publish_statistics();
        }
    }

    /// Does what the worker wants done. Everything is added to the gate before it is under way.
    fn carry_out(&mut self) {
        self.worker.end_tick(&mut self.effects);
        self.count_waiting();
        self.announce_users();
        self.ask_store();
        let mailbox = &self.mailboxes[self.index];
        for (ticket, job) in self.effects.passwords.drain(..) {
            self.gate.add(1);
            let sender = mailbox.clone();
            let answer = move |result| post(&sender, Letter::Password(ticket, result));
            if let Err(error) = self.passwords.submit(job, Box::new(answer)) {
                post(mailbox, Letter::Password(ticket, Err(error)));
            }
        }
        let (gate, mailboxes) = (&self.gate, &self.mailboxes);
        self.effects.take_workers(|worker, messages| {
            gate.add(1);
            let bytes = messages.iter().map(WorkerMessage::memory).sum();
            let letter = Letter::Workers(messages, bytes);
            // As with `post`.
            drop(mailboxes[usize::from(worker)].send_heavy(letter, bytes));
        });
        if let Some(ClusterLinks { bus, .. }) = &self.cluster {
            for Published { to, worker, envelope } in self.effects.bus.drain(..) {
                bus.publish(to, worker, envelope);
            }
        }
        let transport = &self.transport;
        self.effects.take_outbound(|shard, batch| transport.deliver(shard, batch));
        self.answer_calls();
    }

    /// What a tick asks for counts from its beginning: one reading of the clock less.
    fn ask_store(&mut self) {
        let asked = self.began;
        self.was_answered = false;
        for (ticket, request) in self.effects.store.drain(..) {
            self.gate.add(1);
            let mailbox = self.mailboxes[self.index].clone();
            let answer = move |result| post(&mailbox, Letter::Store(ticket, result, asked));
            let letters = may_be_in_memory(&request).then(|| self.mail.len());
            self.store.submit(request, Box::new(answer));
            // Or somebody else has written meanwhile, which is as good a reason to look.
            self.was_answered |= letters.is_some_and(|before| self.mail.len() > before);
        }
    }

    /// What waits for another node, or for room, is under way as well.
    fn count_waiting(&mut self) {
        let waiting = self.worker.forwarded() + self.worker.waiting();
        self.gate.add(waiting.saturating_sub(self.uncounted));
        self.gate.leave(self.uncounted.saturating_sub(waiting));
        self.uncounted = waiting;
    }

    /// Comes before anything is asked of the store: see [`Presence::arrived`].
    ///
    /// [`Presence::arrived`]: crate::presence::Presence::arrived
    fn announce_users(&mut self) {
        let Some(ClusterLinks { place, .. }) = &self.cluster else { return };
        for change in self.effects.presence.drain(..) {
            match change {
                PresenceChange::Arrived(user) => place.presence.arrived(user, place.node),
                PresenceChange::Left(user) => place.presence.left(user, place.node),
            }
        }
    }

    /// Whoever called at the door, at whichever worker.
    fn answer_calls(&mut self) {
        for (call, answer) in self.effects.admin.drain(..) {
            self.calls.answer_operator(call, answer);
        }
        for (call, delivery) in self.effects.calls.drain(..) {
            self.calls.deliver(call, &delivery);
        }
    }

    fn publish_statistics(&mut self) {
        let counted = &mut self.effects.counters;
        counted.timer_turns += 1;
        self.worker.count(counted);
        counted.commands_queued = self.commands.len() as u64;
        counted.command_bytes = self.commands.bytes() as u64;
        counted.messages_queued = self.mail.len() as u64;
        self.statistics.lock().clone_from(counted);
    }

    /// Waits for work. Both queues wake the thread only if it sleeps here.
    fn sleep(&self, pressed: bool) {
        let until_timer = self.next_timer.saturating_duration_since(Instant::now());
        let mut queues = Select::new();
        queues.recv(&self.mail);
        let timeout = if pressed {
            until_timer.min(Duration::from_millis(PRESSED_TICK_MS))
        } else {
            queues.recv(self.commands.queue());
            until_timer
        };
        // Which queue is ready, if any, is seen by the next tick.
        let _ready = queues.ready_timeout(timeout);
    }
}

/// Longer than half a million years is for ever.
fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// There may be room for answers that a worker has waiting.
pub(super) fn wake_for_room(gate: &Gate, mailbox: &Mailbox<Letter>) {
    gate.add(1);
    post(mailbox, Letter::Input(Input::Room));
}

/// A mailbox is closed only when its thread has ended: nobody waits for the answer any more.
fn post(mailbox: &Mailbox<Letter>, letter: Letter) {
    drop(mailbox.send(letter));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::NodeId;

    #[test]
    fn what_waits_from_the_bus_is_bounded() {
        let (mailbox, mail) = crossbeam_channel::unbounded();
        let (gate, waiting) = (Arc::new(Gate::default()), vec![Arc::default()]);
        let mailboxes = vec![Mailbox::new(mailbox, None)];
        let mailroom = Mailroom { gate: Arc::clone(&gate), mailboxes, waiting };
        let envelope = Bytes::from(vec![0; 1024 * 1024]);
        let fitting = ENVELOPES_BYTES_MAX / envelope.len();
        (0..fitting + 10).for_each(|_| mailroom.receive(0, envelope.clone()));
        // There is no such worker.
        mailroom.receive(1, envelope);
        assert_eq!(mail.len(), fitting);
        // Members are never dropped.
        mailroom.members(vec![Member { node: NodeId(1), workers: 1 }]);
        assert_eq!(mail.len(), fitting + 1);
        gate.close();
        mailroom.receive(0, Bytes::new());
        assert_eq!(mail.len(), fitting + 1);
        gate.leave(fitting + 1);
        assert!(gate.is_empty());
    }
}
