//! The way in: commands from the threads of a transport to the workers, in batches.

use std::sync::Arc;

use crossbeam_channel::TrySendError;
use dunlin_protocol::wire::{ErrorCode, frame::Body};
use dunlin_protocol::{EncodedFrame, UserId};

use crate::arrival::Arrival;
use crate::attempt::Attempts;
use crate::limits::{
    MESSAGES_CROWDED_BYTES, MESSAGES_FULL_BYTES, SUBMIT_BATCH_MAX, SUBMIT_BYTES_MAX,
};
use crate::placement;
use crate::refusal::Refusal;
use crate::request::{Command, CredentialRequest, Request};
use crate::transport::{ConnId, Delivery, Outbound, Session, Transport};

use super::commands::{Batch, CommandReceiver, CommandSender, queue};
use super::gate::Gate;

const SHUTTING_DOWN: Refusal = Refusal::new(ErrorCode::ShuttingDown, "the server is shutting down");

/// What a transport has for a worker.
#[derive(Debug)]
pub enum Submitted {
    /// A request of a client.
    Command(Command),
    /// The connection of a session is gone.
    Disconnected {
        /// Which connection.
        conn: ConnId,
        /// Whose.
        session: Session,
    },
    /// A request at the [door](super::door). No submitter makes one.
    Call {
        /// Names the call.
        call: u64,
        /// As whom.
        user: UserId,
        /// What is asked.
        request: Request,
    },
}

impl Submitted {
    /// The memory that it takes while it waits.
    pub(crate) fn memory(&self) -> usize {
        let of_request = match self {
            Submitted::Command(Command { request, .. }) | Submitted::Call { request, .. } => {
                request.heap_bytes()
            }
            Submitted::Disconnected { .. } => 0,
        };
        size_of::<Submitted>() + of_request
    }
}

/// Collects commands and hands them to the workers. Each thread of a transport has its own.
///
/// What was collected is handed over by [`flush`](Submitter::flush), once per turn of the
/// transport's loop. While a worker has no room, the rest stays here, and the transport must stop
/// reading from its connections and flush again soon: that is the back-pressure.
pub struct Submitter {
    gate: Arc<Gate>,
    transport: Arc<dyn Transport>,
    attempts: Arc<Attempts>,
    lanes: Vec<Lane>,
    /// Memory of what waits in all lanes.
    waiting_bytes: usize,
}

impl std::fmt::Debug for Submitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submitter").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// How much room the workers have for messages that are to be stored. Whatever else is asked needs none.
///
/// While a disk stalls, messages wait for it and nothing else does: so a transport lets those connections
/// wait whose next request is a message, and reads from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageRoom {
    /// All that anybody wants.
    #[default]
    Free,
    /// Who has sent much that is not answered is to wait for that.
    Crowded,
    /// None: nobody is to submit a message. [`Submitter::flush`] still takes what was submitted.
    Full,
}

impl MessageRoom {
    fn beside(bytes: usize) -> MessageRoom {
        match bytes {
            0..MESSAGES_CROWDED_BYTES => MessageRoom::Free,
            MESSAGES_CROWDED_BYTES..MESSAGES_FULL_BYTES => MessageRoom::Crowded,
            MESSAGES_FULL_BYTES.. => MessageRoom::Full,
        }
    }
}

struct Lane {
    worker: CommandSender,
    waiting: Vec<Submitted>,
    /// The memory of it.
    bytes: usize,
    /// With so many it is handed over unasked.
    bytes_enough: usize,
}

/// What comes out of a submitter without an engine: see [`Submitter::intercepted`].
#[derive(Debug)]
pub struct Intercepted(CommandReceiver);

impl Intercepted {
    /// The next batch that was handed over.
    pub fn take(&self) -> Option<Vec<Submitted>> {
        self.0.try_recv()
    }
}

impl Submitter {
    /// A submitter without an engine, and what it hands over: for tests of a transport, which can
    /// answer as they like, late or not at all. It speaks to one worker, whose queue has room for
    /// so many batches.
    pub fn intercepted(transport: Arc<dyn Transport>, batches: usize) -> (Submitter, Intercepted) {
        let (worker, batches) = queue(batches, None);
        (Submitter::new(Arc::default(), transport, Arc::default(), &[worker]), Intercepted(batches))
    }

    pub(crate) fn new(
        gate: Arc<Gate>,
        transport: Arc<dyn Transport>,
        attempts: Arc<Attempts>,
        workers: &[CommandSender],
    ) -> Submitter {
        let lanes = workers.iter().map(Lane::new).collect();
        Submitter { gate, transport, attempts, lanes, waiting_bytes: 0 }
    }

    /// Takes a command. Its response comes by [`Transport::deliver`], if it wants one.
    pub fn command(&mut self, mut command: Command) {
        if let Request::Credential(CredentialRequest::Login(login)) = &mut command.request {
            login.attempt.number = self.attempts.next();
        }
        let worker = placement::worker_of_command(&command, self.lanes.len());
        self.submit(worker, Submitted::Command(command));
    }

    /// A connection is gone. To be called for each connection that had a session, once; without a
    /// session it does nothing. A session that is delivered by `LoggedIn` to a connection that is
    /// gone already counts as well: the engine has opened it. (A login that has not come so far is
    /// abandoned by the end of its [`Connection`](crate::connection::Connection).)
    pub fn disconnected(&mut self, conn: ConnId, session: Option<Session>) {
        if let Some(session) = session {
            let worker = placement::worker_of_user(session.user, self.lanes.len());
            self.submit(worker, Submitted::Disconnected { conn, session });
        }
    }

    /// Hands over what was collected. False if a worker had no room: see [`Submitter`].
    pub fn flush(&mut self) -> bool {
        let Submitter { gate, transport, lanes, waiting_bytes, .. } = self;
        let mut all = true;
        *waiting_bytes = 0;
        for lane in lanes {
            all &= lane.flush(gate, &**transport);
            *waiting_bytes += lane.bytes;
        }
        all
    }

    /// How much room there is for messages, as of a moment ago: at the worker that has least. All of them
    /// wait for one store, so there is hardly another one with much more.
    pub fn message_room(&self) -> MessageRoom {
        let fullest = self.lanes.iter().map(|lane| lane.worker.message_bytes()).max();
        MessageRoom::beside(fullest.unwrap_or(0))
    }

    /// Memory of what waits here.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// How much waits here.
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.len()).sum()
    }

    fn submit(&mut self, worker: u16, submitted: Submitted) {
        let lane = &mut self.lanes[usize::from(worker)];
        let before = lane.bytes;
        lane.bytes += submitted.memory();
        lane.waiting.push(submitted);
        // A multiple, so that a full worker is not tried again for each command.
        if lane.waiting.len().is_multiple_of(SUBMIT_BATCH_MAX) || lane.bytes >= lane.bytes_enough {
            lane.flush(&self.gate, &*self.transport);
        }
        self.waiting_bytes = self.waiting_bytes + lane.bytes - before;
    }
}

impl Lane {
    fn new(worker: &CommandSender) -> Lane {
        let bytes_enough = SUBMIT_BYTES_MAX;
        Lane { worker: worker.clone(), waiting: Vec::new(), bytes: 0, bytes_enough }
    }

    fn flush(&mut self, gate: &Gate, transport: &dyn Transport) -> bool {
        if self.waiting.is_empty() {
            return true;
        }
        if !gate.enter() {
            self.waiting.drain(..).for_each(|submitted| refuse(submitted, transport));
            self.bytes = 0;
            return true;
        }
        let next = Vec::with_capacity(self.waiting.len().min(SUBMIT_BATCH_MAX));
        let submitted = std::mem::replace(&mut self.waiting, next);
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes_enough = SUBMIT_BYTES_MAX;
        match self.worker.try_send(Batch { submitted, bytes }) {
            Ok(()) => true,
            Err(TrySendError::Full(Batch { submitted, bytes })) => {
                (self.waiting, self.bytes) = (submitted, bytes);
                self.bytes_enough = bytes + SUBMIT_BYTES_MAX;
                gate.leave(1);
                false
            }
            Err(TrySendError::Disconnected(batch)) => {
                batch.submitted.into_iter().for_each(|submitted| refuse(submitted, transport));
                gate.leave(1);
                true
            }
        }
    }
}

/// The engine has stopped: no request stays without an answer.
fn refuse(submitted: Submitted, transport: &dyn Transport) {
    let Submitted::Command(command) = submitted else { return };
    if command.request_id != 0 {
        let error = Body::Error(SHUTTING_DOWN.into());
        let response = EncodedFrame::response(command.request_id, error);
        let conn = command.conn;
        let (arrived, delivery) = (Arrival::UNKNOWN, Delivery::Response(response));
        transport.deliver(conn.shard, vec![Outbound { conn, arrived, delivery }]);
    }
}
