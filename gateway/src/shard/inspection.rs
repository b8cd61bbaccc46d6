//! A shard that somebody else turns, and looks into: what [`crate::fuzzing`] may do to it and know
//! of it. It is the shard of the server, but without a thread, and with a clock that can be moved.

use std::io;
use std::time::Duration;

use dunlin_core::transport::ConnId;
use mio::Events;
use socket2::SockRef;

use super::Shard;
use super::accept::Listener;
use super::connection::Slot;
#[cfg(test)]
use super::connection::Stage;
use crate::stream::entrance::ListenOn;

impl Shard {
    pub(crate) fn listens_on(&self) -> io::Result<Vec<ListenOn>> {
        self.listeners.iter().map(Listener::listens_on).collect()
    }

    /// For the connections that come from now on: they inherit it of the listeners.
    pub(crate) fn set_send_buffers(&self, bytes: usize) -> io::Result<()> {
        let mut listeners = self.listeners.iter();
        listeners.try_for_each(|it| SockRef::from(&it.socket).set_send_buffer_size(bytes))
    }

    /// Time passes, without anything being done.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        self.clock.pass(milliseconds);
    }

    /// How long it would sleep if nothing happened; `None` for ever.
    pub(crate) fn would_sleep(&self) -> Option<Duration> {
        self.timeout()
    }

    /// Waits for events as a sleeping shard does, but not longer than that.
    pub(crate) fn wait(&mut self, events: &mut Events, wait: Duration) -> io::Result<()> {
        self.poll.poll(events, Some(wait))
    }

    pub(crate) fn has_mail(&self) -> bool {
        self.mailbox.waiting() > 0
    }

    /// Everything that it does when it has woken up.
    pub(crate) fn turn(&mut self, events: &Events) {
        self.tick(events);
    }

    /// The last thing that it does.
    pub(crate) fn hand_over(&mut self) {
        self.handover.flush();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_in_use(&self, conn: ConnId) -> bool {
        self.open_slot(conn).is_some()
    }

    #[cfg(test)]
    pub(crate) fn someone_is_logged_in(&self) -> bool {
        self.slots.iter().any(|(_, slot)| slot.protocol.session().is_some())
    }

    #[cfg(test)]
    pub(crate) fn someone_is_open(&self) -> bool {
        self.slots.iter().any(|(_, slot)| slot.stage == Stage::Open)
    }

    pub(crate) fn someone_is_blocked(&self) -> bool {
        self.slots.iter().any(|(_, slot)| slot.flags.write_blocked)
    }

    /// What was written to everyone and not acknowledged.
    #[cfg(test)]
    pub(crate) fn unacknowledged_bytes(&self) -> u64 {
        let sockets = self.slots.iter().map(|(_, slot)| &slot.socket);
        sockets.map(|it| u64::from(crate::sys::unacknowledged_bytes(it).expect("open"))).sum()
    }

    /// Panics unless what is counted is what there is.
    pub(crate) fn assert_counted(&self) {
        let held = |bytes: fn(&Slot) -> usize| -> usize {
            self.slots.iter().map(|(_, slot)| bytes(slot)).sum()
        };
        let counted = self.tally.unfinished(&self.node.counters).bytes;
        assert_eq!(counted, held(Slot::unfinished_bytes), "what has not arrived whole");
    }

    /// Panics unless everything is as it was before the first connection.
    pub(crate) fn assert_idle(&self) {
        let Shard { slots, streams, handover, read_queues, tally, .. } = self;
        assert!(slots.is_empty(), "{} slots are in use", slots.len());
        assert_eq!(streams.len(), 0, "streams of connections that are gone");
        assert!(tally.is_reported(), "{tally:?}");
        assert_eq!(handover.waiting(), 0, "commands that were not handed over");
        assert!(self.ended || read_queues.is_empty(), "{read_queues:?} wait to be read");
    }
}
