//! The front door: requests of the program around the engine, without a connection.
//!
//! A server has more to ask than its clients do: an HTTP API, the command line of the operator, a
//! bot. None of them has a connection on which something could be pushed, and none should have to
//! make one up. At the door one asks as a user, whom the program knows by its own means, or as the
//! operator; there is no session, so what is about one's own session can't be asked.

use std::sync::Arc;

use crossbeam_channel::TrySendError;
use dunlin_protocol::UserId;
use dunlin_protocol::wire::frame::Body;
use parking_lot::Mutex;

use crate::admin::{AdminError, AdminReply, AdminRequest};
use crate::limits::MESSAGES_FULL_BYTES;
use crate::placement;
use crate::request::Request;
use crate::statistics::{EngineStatistics, WorkerStatistics};

use super::calls::{Calls, Waiting};
use super::commands::{Batch, CommandSender};
pub use super::door_error::DoorError;
use super::door_error::OVERLOADED;
use super::driver::Letter;
use super::gate::Gate;
use super::mailbox::Mailbox;
use super::submitter::Submitted;

/// A way in without a connection, from any thread. Clones are the same door, and may outlive the
/// engine. See the [module](self).
///
/// Each call is answered once, whatever happens: when the engine stops, what it can't answer any
/// more is [`DoorError::Stopped`]. How many calls may be under way is
/// [bounded](crate::limits::DOOR_CALLS_MAX) for all doors of an engine together; one more is
/// answered `OVERLOADED`, and so is one for a worker that has no room.
///
/// What is called with an answer is called on a thread of the engine, which may be a loop of the
/// transport, or at once on the thread that asks. It must be quick and wait for nothing; usually it
/// hands the answer to whoever waits for it. It may ask again.
///
/// ```
/// use std::sync::Arc;
///
/// use dunlin_core::admin::{AdminReply, AdminRequest};
/// use dunlin_core::engine::Engine;
/// use dunlin_core::request::Message;
/// use dunlin_core::store::memory::MemoryStore;
/// use dunlin_core::transport::{Outbound, Transport};
/// use dunlin_protocol::wire::{Notice, frame::Body};
/// use dunlin_protocol::{ClientMessageId, LogId};
///
/// /// Nobody is connected.
/// struct Nobody;
///
/// impl Transport for Nobody {
///     fn deliver(&self, _shard: u16, _batch: Vec<Outbound>) {}
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder(Arc::new(MemoryStore::default()), Arc::new(Nobody)).start()?;
/// let door = engine.door();
/// let ada = door.administer_and_wait(AdminRequest::AddUser {
///     username: "ada".into(),
///     password: "correct horse".into(),
///     display_name: "Ada".into(),
/// })?;
/// let AdminReply::UserAdded { user } = ada else { unreachable!("it was asked to add one") };
///
/// let note = Message {
///     client_message_id: ClientMessageId([7; 16]),
///     content_type: String::new(),
///     content: "Hello, door!".into(),
///     notice: Notice::Loud,
/// };
/// let (sender, answer) = std::sync::mpsc::channel();
/// door.ask(user, note.to(LogId::direct(user, user)), move |sent| drop(sender.send(sent)));
/// let Body::Sent(sent) = answer.recv()?? else { panic!("not sent") };
/// assert_eq!(sent.seq, 1);
/// engine.stop();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Door {
    gate: Arc<Gate>,
    calls: Arc<Calls>,
    commands: Arc<[CommandSender]>,
    mailboxes: Arc<[Mailbox<Letter>]>,
    statistics: Arc<[Arc<Mutex<WorkerStatistics>>]>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("waiting", &self.calls.waiting()).finish_non_exhaustive()
    }
}

impl Door {
    pub(super) fn new(
        gate: Arc<Gate>,
        calls: Arc<Calls>,
        commands: &[CommandSender],
        mailboxes: &[Mailbox<Letter>],
        statistics: &[Arc<Mutex<WorkerStatistics>>],
    ) -> Door {
        let (commands, mailboxes) = (commands.into(), mailboxes.into());
        Door { gate, calls, commands, mailboxes, statistics: statistics.into() }
    }

    /// Asks as a user, who must have an account; whether it may be asked in this user's name is for
    /// the program to know. `done` gets what a client would get as its response.
    ///
    /// The requests are those about [conversations](Request::Conversation), the
    /// [account](Request::Account) and [catching up](Request::Sync). Others need a connection and
    /// are refused. All sessions of the user hear of what is done, as of another device.
    pub fn ask(
        &self,
        user: UserId,
        request: impl Into<Request>,
        done: impl FnOnce(Result<Body, DoorError>) + Send + 'static,
    ) {
        let request = request.into();
        let Some(call) = self.calls.begin(Waiting::User(Box::new(done))) else { return };
        let worker = placement::worker_of_call(user, &request, self.commands.len());
        let commands = &self.commands[usize::from(worker)];
        if request.is_message() && commands.message_bytes() >= MESSAGES_FULL_BYTES {
            return self.calls.refuse(call, DoorError::of(OVERLOADED));
        }
        if !self.gate.enter() {
            return self.calls.refuse(call, DoorError::Stopped);
        }
        let batch = Batch::of_one(Submitted::Call { call, user, request });
        if let Err(refused) = commands.try_send(batch) {
            self.gate.leave(1);
            self.calls.refuse(
                call,
                match refused {
                    TrySendError::Full(_) => DoorError::of(OVERLOADED),
                    TrySendError::Disconnected(_) => DoorError::Stopped,
                },
            );
        }
    }

    /// Asks as a user, and waits for the answer: not for threads of a transport or of an engine.
    pub fn ask_and_wait(
        &self,
        user: UserId,
        request: impl Into<Request>,
    ) -> Result<Body, DoorError> {
        let (sender, answer) = crossbeam_channel::bounded(1);
        // There is somebody who waits, and room for the one answer.
        self.ask(user, request, move |answer| drop(sender.try_send(answer)));
        answer.recv().unwrap_or(Err(DoorError::Stopped))
    }

    /// Asks as the operator.
    pub fn administer(
        &self,
        request: AdminRequest,
        done: impl FnOnce(Result<AdminReply, AdminError>) + Send + 'static,
    ) {
        let Some(call) = self.calls.begin(Waiting::Operator(Box::new(done))) else { return };
        let worker = placement::worker_of_admin(&request, self.mailboxes.len());
        if !self.gate.enter() {
            return self.calls.refuse(call, DoorError::Stopped);
        }
        // The mail of a worker is never full: it is the number of calls that is bounded.
        if self.mailboxes[usize::from(worker)].send(Letter::Admin(call, request)).is_err() {
            self.gate.leave(1);
            self.calls.refuse(call, DoorError::Stopped);
        }
    }

    /// Asks as the operator, and waits for the answer: not for threads of a transport or of an
    /// engine.
    pub fn administer_and_wait(&self, request: AdminRequest) -> Result<AdminReply, AdminError> {
        let (sender, answer) = crossbeam_channel::bounded(1);
        // As above.
        self.administer(request, move |answer| drop(sender.try_send(answer)));
        answer.recv().unwrap_or(Err(AdminError::Stopped))
    }

    /// What the engine has counted, as of a moment ago; after its end, what it had counted then.
    pub fn statistics(&self) -> EngineStatistics {
        let workers = self.statistics.iter().map(|worker| worker.lock().clone()).collect();
        EngineStatistics { workers, calls_waiting: self.calls.waiting() as u64 }
    }
}
