//! The way from the engine's workers to the shards.

use std::sync::Arc;

use dunlin_core::engine::hosted::Wake;
use dunlin_core::transport::{Outbound, Transport};

use crate::shard::control::Control;
use crate::shard::mailbox::{Behind, Mail, MailSender};

/// One mailbox per shard.
#[derive(Debug)]
pub(crate) struct ShardTransport {
    mailboxes: Box<[MailSender]>,
    behind: Arc<Behind>,
}

impl ShardTransport {
    /// Of mailboxes that share `behind`.
    pub(crate) fn new(mailboxes: Vec<MailSender>, behind: Arc<Behind>) -> ShardTransport {
        ShardTransport { mailboxes: mailboxes.into(), behind }
    }

    /// Tells one shard something.
    pub(crate) fn tell(&self, shard: u16, control: Control) {
        match self.mailboxes.get(usize::from(shard)) {
            Some(mailbox) => mailbox.post(Mail::Control(control)),
            None => tracing::error!(shard, "a word for a shard that does not exist"),
        }
    }

    /// Tells every shard something.
    pub(crate) fn broadcast(&self, control: &Control) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.post(Mail::Control(control.clone())));
    }
}

impl Transport for ShardTransport {
    fn deliver(&self, shard: u16, batch: Vec<Outbound>) {
        match self.mailboxes.get(usize::from(shard)) {
            Some(mailbox) => mailbox.deliver(batch),
            None => tracing::error!(shard, "a delivery for a shard that does not exist"),
        }
    }

    fn is_behind(&self) -> bool {
        self.behind.is_any()
    }
}

/// Wakes a shard that runs a worker.
pub(crate) struct ShardWaker {
    transport: Arc<ShardTransport>,
    shard: usize,
}

impl ShardWaker {
    pub(crate) fn new(transport: Arc<ShardTransport>, shard: usize) -> ShardWaker {
        assert!(shard < transport.mailboxes.len(), "there is such a shard");
        ShardWaker { transport, shard }
    }
}

impl Wake for ShardWaker {
    fn wake(&self) {
        self.transport.mailboxes[self.shard].wake();
    }
}
