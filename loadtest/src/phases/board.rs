//! What the coordinator and the generator threads tell each other.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crate::net::Clock;
use crate::phases::{PHASES, Phase, Progress, Schedule};
use crate::report::Handover;

#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) clock: Clock,
    /// What the threads saw second by second.
    pub(crate) seconds: Handover,
    phase: AtomicU8,
    start_ns: AtomicU64,
    measure_from_ns: AtomicU64,
    measure_to_ns: AtomicU64,
    active: AtomicU64,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    answered: AtomicU64,
    delivered: AtomicU64,
    errors: AtomicU64,
    /// Threads that have nothing left to do, by phase.
    finished: [AtomicUsize; PHASES.len()],
    /// A fault that makes going on pointless: credentials that the server refuses, say.
    hopeless: AtomicBool,
    /// This machine lacked something.
    short: AtomicBool,
}

impl Board {
    pub(crate) fn new(clock: Clock) -> Board {
        Board {
            clock,
            seconds: Handover::default(),
            phase: AtomicU8::new(Phase::Gather as u8),
            start_ns: AtomicU64::new(u64::MAX),
            measure_from_ns: AtomicU64::new(u64::MAX),
            measure_to_ns: AtomicU64::new(u64::MAX),
            active: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            finished: Default::default(),
            hopeless: AtomicBool::new(false),
            short: AtomicBool::new(false),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire))]
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Said once by each thread and phase.
    pub(crate) fn finish(&self, phase: Phase) {
        self.finished[phase as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// Threads that are done with this phase.
    pub(crate) fn finished(&self, phase: Phase) -> usize {
        self.finished[phase as usize].load(Ordering::Acquire)
    }

    /// Before the phase is entered for which it holds.
    pub(crate) fn set_schedule(&self, schedule: Schedule) {
        self.start_ns.store(schedule.start_ns, Ordering::Relaxed);
        self.measure_from_ns.store(schedule.measure_from_ns, Ordering::Relaxed);
        self.measure_to_ns.store(schedule.measure_to_ns, Ordering::Relaxed);
    }

    /// Ends the window before its time.
    pub(crate) fn cut_short(&self, measure_to_ns: u64) {
        self.measure_to_ns.store(measure_to_ns, Ordering::Relaxed);
    }

    pub(crate) fn schedule(&self) -> Schedule {
        Schedule {
            start_ns: self.start_ns.load(Ordering::Relaxed),
            measure_from_ns: self.measure_from_ns.load(Ordering::Relaxed),
            measure_to_ns: self.measure_to_ns.load(Ordering::Relaxed),
        }
    }

    /// Whether anything was to be said at all: a run that never got beyond Gather has no logs.
    pub(crate) fn has_run(&self) -> bool {
        self.start_ns.load(Ordering::Relaxed) != u64::MAX
    }

    pub(crate) fn give_up(&self) {
        self.hopeless.store(true, Ordering::Release);
    }

    pub(crate) fn is_hopeless(&self) -> bool {
        self.hopeless.load(Ordering::Acquire)
    }

    /// This machine lacks something for the run.
    pub(crate) fn fall_short(&self) {
        self.short.store(true, Ordering::Release);
    }

    pub(crate) fn is_short(&self) -> bool {
        self.short.load(Ordering::Acquire)
    }

    /// Adds what a thread did since it last said so; `active` may also fall.
    pub(crate) fn publish(&self, before: Progress, now: Progress) {
        self.active.fetch_add(now.active.wrapping_sub(before.active), Ordering::Relaxed);
        self.sent.fetch_add(now.sent - before.sent, Ordering::Relaxed);
        self.acknowledged.fetch_add(now.acknowledged - before.acknowledged, Ordering::Relaxed);
        self.answered.fetch_add(now.answered - before.answered, Ordering::Relaxed);
        self.delivered.fetch_add(now.delivered - before.delivered, Ordering::Relaxed);
        self.errors.fetch_add(now.errors - before.errors, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            active: self.active.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            answered: self.answered.load(Ordering::Relaxed),
            delivered: self.delivered.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }
}
