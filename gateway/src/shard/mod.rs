//! A shard: one I/O thread with everything of its own.
//!
//! Nothing is shared with other shards but counters. What happens in a tick, in this order:
//!
//! 1. sleep until a socket, a delivery or a timer has something ([`mailbox`], [`timer_wheel`])
//! 2. take all mail: put deliveries into outboxes ([`deliver`]), obey the server ([`drain`])
//! 3. accept ([`accept`]) and read ([`read`]), each up to a budget, a small one for those who come
//!    or go; frames become commands
//! 4. close what has waited too long ([`deadline`])
//! 5. hand the commands to the workers, in one piece per worker
//! 6. run the worker that lives here, if one does, and take the mail that it made; whose login has
//!    ended goes on with what was sent behind it
//! 7. write what is queued, in one call per connection ([`write`])
//!
//! Mail comes before reading, so that a shard whose workers produce more than it can write takes
//! in nothing new. When a worker's queue is full, nothing is read at all until it has room; the
//! kernel's buffers fill, and TCP tells the senders. That is for want of processor time alone: messages that
//! wait for the disk hold up those who send more of them ([`read_queues`]), and nobody else.

mod accept;
mod close;
pub(crate) mod connection;
pub(crate) mod control;
pub(crate) mod counters;
mod deadline;
mod deliver;
mod drain;
mod handover;
pub(crate) mod held;
#[cfg(any(test, fuzzing))]
mod inspection;
mod login;
pub(crate) mod mailbox;
pub(crate) mod places;
mod pressure;
mod proxied;
pub(crate) mod pulses;
mod read;
mod read_queues;
mod shard_clock;
mod spend;
mod start;
mod strangers;
mod tally;
mod timer_wheel;
mod unfinished;
mod write;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_core::engine::hosted::HostedWorker;
use dunlin_core::engine::submitter::MessageRoom;
use dunlin_core::transport::ConnId;
use mio::event::Event;
use mio::{Events, Poll, Token};

use crate::limits::{BLOCKED_RETRY_MS, TICK_MS};
use crate::slots::Slots;
use crate::stream::Streams;
use crate::stream::buffers::Buffers;
use crate::stream::outbox::OutboxLimits;
use crate::transport::ShardTransport;
use accept::Listener;
use connection::{Hearing, Slot, Stage};
use control::{Control, Node, Settings};
use drain::Drain;
use handover::Handover;
use mailbox::{Mail, MailReceiver};
use read_queues::ReadQueues;
use shard_clock::ShardClock;
use strangers::Strangers;
use tally::Tally;
use timer_wheel::{Entry, Tick, TimerWheel};

pub(crate) use start::{ShardStart, ensure_free, spawn};

/// The token of the mailbox; listeners have those below it, connections count up from 0.
const MAILBOX: Token = Token(usize::MAX);

/// 78 slots of 104 bytes fill a size class of the allocator.
const SLOTS_PER_CHUNK: usize = 78;

/// See the module.
pub(crate) struct Shard {
    index: u16,
    node: Arc<Node>,
    settings: Arc<Settings>,
    poll: Poll,
    listeners: Vec<Listener>,
    accept_budget: accept::Budget,
    mailbox: MailReceiver,
    /// The way to the other shards.
    transport: Arc<ShardTransport>,
    handover: Handover,
    /// Runs in this loop instead of on a thread of its own.
    worker: Option<HostedWorker>,
    slots: Slots<Slot, SLOTS_PER_CHUNK>,
    streams: Streams,
    strangers: Strangers,
    next_generation: u32,
    wheel: TimerWheel,
    due: Vec<Entry>,
    buffers: Buffers,
    read_queues: ReadQueues,
    /// Requests that were sent behind a login may be taken now.
    login_ended: bool,
    /// Connections with something to write.
    dirty: Vec<u32>,
    tally: Tally,
    /// In force in this tick.
    outbox_limits: OutboxLimits,
    /// When it was last looked who holds more than a share.
    relieved: Tick,
    drain: Option<Drain>,
    ended: bool,
    clock: ShardClock,
}

impl Shard {
    /// Runs until the server says that it's over and everyone is gone.
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(crate::limits::EVENTS_PER_TICK);
        while !self.ended {
            self.sleep(&mut events)?;
            self.tick(&events);
        }
        self.handover.flush();
        Ok(())
    }

    /// Everything but the sleep.
    fn tick(&mut self, events: &Events) {
        self.begin_tick();
        self.take_mail();
        for event in events {
            self.notice(event);
        }
        self.accept_ready();
        self.read_ready();
        self.expire();
        self.go_on_draining();
        self.handover.flush();
        self.run_worker();
        self.go_on_behind_logins();
        self.flush_dirty();
        let (tick_us, now_us) = self.clock.tick_us();
        self.tally.report(&self.node.counters, tick_us, now_us);
    }

    fn sleep(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        let is_idle = || !self.worker.as_ref().is_some_and(HostedWorker::has_work);
        let may_sleep = timeout != Some(Duration::ZERO) && self.mailbox.may_sleep(is_idle);
        let timeout = if may_sleep { timeout } else { Some(Duration::ZERO) };
        if may_sleep {
            self.buffers.tidy();
        }
        let polled = self.poll.poll(events, timeout);
        self.mailbox.awake();
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// How long there is nothing to do unless something arrives; `None` for ever.
    fn timeout(&self) -> Option<Duration> {
        let input = !self.read_queues.is_empty() || self.handover.waiting() > 0;
        let work = !self.dirty.is_empty() || (!self.handover.is_blocked() && input);
        if work {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let now_ms = self.clock.milliseconds_at(now);
        let timers = self.wheel.next().map(|tick| u64::from(tick) * TICK_MS);
        // Nobody tells when a worker has room again.
        let waits_for_room = self.handover.is_blocked() || self.read_queues.holds_any();
        let blocked = waits_for_room.then_some(now_ms + BLOCKED_RETRY_MS);
        let accepting = self.listeners.iter().filter_map(Listener::next_accept_ms).min();
        let draining = self.drain.as_ref().map(|_| now_ms + drain::STEP_MS);
        let next_ms = [timers, blocked, accepting, draining].into_iter().flatten().min();
        let own = next_ms.map(|next_ms| Duration::from_millis(next_ms.saturating_sub(now_ms)));
        let of_worker =
            self.worker.as_ref().map(|worker| worker.next_turn().saturating_duration_since(now));
        own.into_iter().chain(of_worker).min()
    }

    /// Who sends its next request with its login has both answered in one piece, if the worker is here and
    /// finds the answers in memory.
    fn go_on_behind_logins(&mut self) {
        if std::mem::take(&mut self.login_ended) {
            self.read_ready();
            self.handover.flush();
            self.run_worker();
        }
    }

    fn run_worker(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.turn();
            self.take_mail();
        }
    }

    fn begin_tick(&mut self) {
        self.clock.begin_tick();
        if self.handover.is_blocked() {
            self.handover.flush();
        }
        self.handover.look();
        if self.handover.message_room() != MessageRoom::Full {
            self.read_queues.release();
        }
        self.outbox_limits = self.outbox_limits();
        self.relieve();
    }

    /// Takes all mail. What arrives meanwhile is for the next tick.
    fn take_mail(&mut self) {
        for _ in 0..self.mailbox.waiting() {
            match self.mailbox.take() {
                Some(Mail::Deliveries(batch, _)) => {
                    batch.into_iter().for_each(|outbound| self.deliver(outbound));
                }
                Some(Mail::Control(control)) => self.obey(control),
                None => return,
            }
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Reload(settings) => {
                self.settings = settings;
                // Deadlines may be nearer now than the wheel knows.
                let keys: Vec<usize> = self.slots.iter().map(|(key, _)| key).collect();
                keys.into_iter().for_each(|key| self.arm(key));
            }
            Control::Pulse(number) => self.node.pulses.answer(self.index, number),
            Control::TakeIn => self.take_in(),
            Control::Drain(plan) => self.begin_draining(plan),
            Control::Stop => self.stop(),
        }
    }

    fn notice(&mut self, event: &Event) {
        let Token(token) = event.token();
        if event.token() == MAILBOX {
            return;
        }
        if let Some(listener) = self.listeners.iter_mut().find(|at| at.token == event.token()) {
            listener.ready = true;
            return;
        }
        let Some(slot) = self.slots.get_mut(token) else { return };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            slot.flags.readable = true;
            if event.is_read_closed() || event.is_error() {
                slot.flags.hearing = slot.flags.hearing.max(Hearing::HungUp);
            }
            self.queue_read(token);
        }
        if event.is_writable() {
            self.writable(token);
        }
    }

    fn conn_id(&self, key: usize) -> ConnId {
        let slot = u32::try_from(key).expect("there are fewer than 2^32 slots");
        ConnId { shard: self.index, slot, generation: self.slots[key].generation }
    }

    /// The slot of a connection that is still in use by it.
    fn open_slot(&self, conn: ConnId) -> Option<usize> {
        let key = conn.slot as usize;
        let slot = self.slots.get(key)?;
        (slot.generation == conn.generation && slot.stage == Stage::Open).then_some(key)
    }

    fn queue_read(&mut self, key: usize) {
        self.read_queues.push(key, &mut self.slots[key]);
    }

    fn mark_dirty(&mut self, key: usize) {
        let flags = &mut self.slots[key].flags;
        if !std::mem::replace(&mut flags.dirty, true) {
            self.dirty.push(key as u32);
        }
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("index", &self.index)
            .field("connections", &self.slots.len())
            .finish_non_exhaustive()
    }
}
