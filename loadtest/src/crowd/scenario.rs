//! What a scenario says of itself, so that a crowd can play it: who sits where, who writes, by which
//! name they log in, and what befalls them. All the rest is the crowd's.
//!
//! A crowd is compiled for each scenario, so none of this costs a message more than a call of one's
//! own function.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use crate::crowd::{Action, Aside, Load, MessageKind, Senders, Turmoil};
use crate::error::LoadtestError;
use crate::generators::shares;
use crate::phases::Coordinator;
use crate::remote::Generators;
use crate::target::Target;
use crate::weighted::Weighted;

/// Users of a run and what they do.
pub(crate) trait Scenario: Sync {
    /// Who sits where.
    type Seating: Seating;
    /// What befalls them, as one thread lives it.
    type Turmoil: Turmoil<Aside = Self::Aside> + Send;
    /// What the coordinator and the threads tell each other beside what is on the board.
    type Aside: Aside;
    /// What is known of what followed the measured window.
    type Sequel;
    /// What another process is told, to do a share of it.
    type Task: Serialize;

    /// What connections are called by people.
    const CALLED: &'static str;
    /// What its tasks are called among processes.
    const TASK: &'static str;

    /// What every scenario has.
    fn terms(&self) -> Terms;

    /// Refuses what can't be run.
    fn check(&self) -> Result<(), LoadtestError>;

    /// Who sits where; of the whole run, and likewise of any whole groups of it.
    fn seating(&self) -> Self::Seating;

    /// Those of a thread who write, among all. The thread has these connections.
    fn senders(&self, connections: &Range<u32>) -> Senders;

    /// The connection of a sender, both counted within a thread.
    fn connection_of_sender(&self, sender: usize) -> usize;

    /// Who logs in on a connection, which is counted within the run.
    fn member(&self, run: u64, connection: u32) -> Identity;

    /// The words by which a relay knows the conversation of a connection, which is counted within the
    /// run.
    fn relay_words(&self, connection: u32) -> Vec<u32>;

    /// Whether this reader of a conversation reads its log in the end.
    fn reads_log(&self, _reader: usize) -> bool {
        true
    }

    /// Whether a message of a closed load is under way until everybody has it, and not only until it
    /// is answered. Only of a load of one kind of messages.
    fn waits_for_delivery(&self) -> bool {
        self.terms().is_quiet()
    }

    /// What befalls these connections.
    fn turmoil(&self, connections: &Range<u32>) -> Self::Turmoil;

    /// Connections that stay together: the first ones. They have a thread, or a process, of their own.
    fn spared(&self) -> u32 {
        0
    }

    /// Whether TLS sessions are taken up again, if that is not left to the library.
    fn resumes_tls(&self) -> Option<bool> {
        None
    }

    /// The most by which the measured window may be longer for what follows.
    fn sequel_at_most(&self) -> Duration {
        Duration::ZERO
    }

    /// What follows within the window when it has had its time; it may give reasons why the run failed.
    fn follow<T>(
        &self,
        _aside: &Self::Aside,
        _coordinator: &mut Coordinator<'_, '_, T>,
        _reasons: &mut Vec<String>,
    ) -> Option<Self::Sequel> {
        None
    }

    /// Whether what another process has counted beside is what this scenario counts: it may say
    /// anything.
    fn fits(&self, tally: Option<&<Self::Turmoil as Turmoil>::Tally>) -> bool;

    /// What another process is told, to do a share of it.
    fn task(&self, run: u64) -> Self::Task;

    /// The threads of this process, as it knows best.
    fn settle_in(&mut self, threads: usize, processors: &[usize]);

    /// The connections of each thread, among these.
    fn shares(&self, connections: &Range<u32>) -> Vec<Range<u32>> {
        let Range { start, end } = *connections;
        let (group, first) = (self.seating().group_connections(), self.spared().clamp(start, end));
        let others = shares(end - first, group, self.terms().threads).into_iter();
        let others = others.map(|share| first + share.start..first + share.end);
        (first > start).then_some(start..first).into_iter().chain(others).collect()
    }
}

/// What every scenario has.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) target: Target,
    /// Of the run.
    pub(crate) connections: u32,
    pub(crate) threads: usize,
    pub(crate) processors: Vec<usize>,
    /// Other processes that make the load, in the place of threads of this one.
    pub(crate) generators: Option<Generators>,
    pub(crate) message: Weighted<Action>,
    pub(crate) content_bytes: Weighted<usize>,
    /// Entries of a page of history that is asked for beside the messages.
    pub(crate) history_entries: u32,
    pub(crate) load: Load,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    pub(crate) connects_per_second: u32,
    pub(crate) gather_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) read_timeout: Duration,
    pub(crate) progress_interval: Duration,
    /// Connections may end, and that is no fault.
    pub(crate) reconnect: bool,
    /// The run is given up if a connection ends before everybody is there.
    pub(crate) gathers_at_once: bool,
    /// Ends the window before its time when it becomes true.
    pub(crate) stop: Option<Arc<AtomicBool>>,
}

impl Terms {
    /// Some messages are stored: each must be acknowledged, told and found in the log.
    pub(crate) fn has_durable(&self) -> bool {
        self.message.values().any(|&action| action == MessageKind::Durable.into())
    }

    /// More than one kind of messages and requests, which are told apart in the report.
    pub(crate) fn is_mix(&self) -> bool {
        self.message.only().is_none()
    }

    /// Nothing is answered.
    pub(crate) fn is_quiet(&self) -> bool {
        self.message.only() == Some(&MessageKind::QuietSignal.into())
    }
}

/// Who sits where. Connections form groups that talk among themselves, each as large and made in the
/// same way as the others; no group is divided among threads. Connections and conversations are
/// counted within the run, or within a thread if the other ones are.
pub(crate) trait Seating: fmt::Debug + Copy + Send + Sync {
    /// Connections of a group.
    fn group_connections(&self) -> u32;

    /// Conversations of a group.
    fn group_conversations(&self) -> u32;

    /// Connections that follow a conversation.
    fn readers(&self) -> usize;

    /// How many of them write in it: the first ones.
    fn writers(&self) -> usize;

    /// Where a connection sits.
    fn seat(&self, connection: usize) -> Seat;

    /// Who reads there.
    fn connection(&self, place: Place) -> usize;

    /// The group of a connection.
    fn group(&self, connection: usize) -> usize {
        connection / self.group_connections() as usize
    }
}

/// Where a connection sits: the conversations that it follows, and its number among the readers of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) first_conversation: usize,
    pub(crate) conversations: usize,
    pub(crate) reader: usize,
}

impl Seat {
    pub(crate) fn conversations(self) -> Range<usize> {
        self.first_conversation..self.first_conversation + self.conversations
    }

    /// Its place in one of its conversations, by their order.
    pub(crate) fn place(self, lane: u32) -> Place {
        Place { conversation: self.first_conversation + lane as usize, reader: self.reader }
    }

    /// Its places in all of them.
    pub(crate) fn places(self) -> impl Iterator<Item = Place> {
        let reader = self.reader;
        self.conversations().map(move |conversation| Place { conversation, reader })
    }
}

/// A reader's place in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) conversation: usize,
    pub(crate) reader: usize,
}

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: String,
    /// The number of the device, of that user or of all.
    pub(crate) device: u32,
}
