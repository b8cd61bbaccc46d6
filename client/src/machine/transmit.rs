//! What is sent, and in which order: first what catches up, then what the application asks for,
//! then messages. Never more at one time than the server lets wait.

use bytes::{Bytes, BytesMut};
use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::wire::login::Credential;
use dunlin_protocol::wire::{self, Frame};
use dunlin_protocol::{EncodedFrame, LogId, frame, limits};

use super::Machine;
use super::connection::Phase;
use super::event::{Event, Stop};
use super::login::Attempt;
use super::pending::{Job, Pending};
use super::request::{Failure, Response, Ticket};

/// Gaps that are fetched at one time: each answer may be a mebibyte.
const REPAIRS_MAX: usize = 4;

/// Whether it leads back to a session that there is, and ends nothing by it.
fn continues(credential: &Credential) -> bool {
    match credential {
        Credential::AccessToken(_) | Credential::ResumeToken(_) => true,
        Credential::Password(_) | Credential::IssuerToken(_) | Credential::RefreshToken(_) => false,
    }
}

impl Machine {
    /// Sends what may be sent now.
    pub(super) fn transmit(&mut self, now_ms: u64) {
        match self.phase {
            Phase::Syncing => self.transmit_sync(now_ms),
            Phase::Live => {
                self.transmit_sync(now_ms);
                self.transmit_renewal(now_ms);
                self.transmit_repairs(now_ms);
                self.transmit_jobs(now_ms);
                self.transmit_messages(now_ms);
            }
            Phase::Leaving { .. } => self.leave_if_idle(now_ms),
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Connecting
            | Phase::LoggingIn { .. }
            | Phase::Stopped
            | Phase::Closed => {}
        }
        self.announce_conversations();
    }

    pub(super) fn say_hello(&mut self, now_ms: u64) {
        let body = Body::Hello(wire::Hello {
            protocol_version: limits::PROTOCOL_VERSION,
            client: self.config.client.clone(),
            capabilities: self.config.deflate.then(|| "deflate".to_owned()).into_iter().collect(),
        });
        self.ask(now_ms, Pending::Hello, body);
    }

    /// Sends the next credential; to be called until one is good.
    pub(super) fn attempt_login(&mut self, now_ms: u64) {
        match self.attachment.login.next(now_ms) {
            Attempt::Register(register) => {
                self.ask(now_ms, Pending::Register, Body::Register(register));
            }
            Attempt::LogIn(credential, _) if self.config.fetch_only && !continues(&credential) => {
                self.stop(Stop::NoCredentials);
            }
            Attempt::LogIn(credential, wants_tokens) => {
                let device = &self.config.device;
                let device = wire::Device {
                    device_id: device.id.to_wire(),
                    kind: device.kind as i32,
                    name: device.name.clone(),
                };
                let fetch_only = self.config.fetch_only;
                let login = wire::Login {
                    credential: Some(credential),
                    device: Some(device),
                    want_tokens: wants_tokens && !fetch_only,
                    fetch_only,
                };
                self.ask(now_ms, Pending::LogIn, Body::Login(login));
            }
            Attempt::Exhausted => self.stop(Stop::NoCredentials),
        }
    }

    fn transmit_sync(&mut self, now_ms: u64) {
        if !self.sync.is_due(now_ms) || !self.pending.has_room() {
            return;
        }
        let request = self.sync_request();
        self.ask(now_ms, Pending::Sync, Body::Sync(request));
        self.sync.started();
    }

    fn transmit_renewal(&mut self, now_ms: u64) {
        if self.pending.has_room()
            && let Some(refresh) = self.attachment.login.renew(now_ms)
        {
            self.ask(now_ms, Pending::Refresh, Body::Refresh(refresh));
        }
    }

    fn transmit_repairs(&mut self, now_ms: u64) {
        while self.may_repair() {
            let outbox = &self.outbox;
            let Some((log_id, history)) =
                self.logs.next_repair(now_ms, |log_id| outbox.is_in_flight(log_id))
            else {
                return;
            };
            self.ask(now_ms, Pending::Repair(log_id), Body::History(history));
            self.logs.repair_started(log_id);
        }
    }

    /// A sync may bring what is missing, or say that it is not wanted.
    pub(super) fn may_repair(&self) -> bool {
        self.sync.is_idle() && self.pending.has_room() && self.pending.repairs() < REPAIRS_MAX
    }

    fn transmit_jobs(&mut self, now_ms: u64) {
        while self.pending.has_room() {
            let Some(job) = self.jobs.next(now_ms) else { return };
            let body = job.request.body();
            if self.exceeds_frame(&body) {
                self.complete(job.ticket, Err(Failure::TooLarge));
                continue;
            }
            self.ask(now_ms, Pending::Job(job), body);
        }
    }

    fn transmit_messages(&mut self, now_ms: u64) {
        while self.pending.has_room() {
            let Some((id, outgoing)) = self.outbox.next(now_ms) else { return };
            let body = Body::Send(wire::Send {
                conversation_id: id.conversation.to_wire(),
                client_message_id: outgoing.said.message_id.to_wire(),
                content_type: outgoing.said.content_type.clone(),
                content: outgoing.said.content.clone(),
                notice: outgoing.said.notice.into(),
            });
            if self.exceeds_frame(&body) {
                if let Some(ticket) = self.outbox.remove(id).and_then(|outgoing| outgoing.ticket) {
                    self.complete(ticket, Err(Failure::TooLarge));
                }
                continue;
            }
            self.ask(now_ms, Pending::Send(id), body);
        }
    }

    /// Whether the server would refuse it, or close the connection because of it. The request id of 10 bytes at
    /// most is left to the slack.
    fn exceeds_frame(&self, body: &Body) -> bool {
        const SLACK_BYTES: usize = 32;
        let terms = &self.attachment.terms;
        let is_content_too_large = match body {
            Body::Send(send) => send.content.len() > terms.limits.content_bytes_max as usize,
            _ => false,
        };
        let limit = terms.frame_bytes_max(body).saturating_sub(SLACK_BYTES);
        is_content_too_large || body.encoded_len() > limit
    }

    pub(super) fn send_heartbeat(&mut self, now_ms: u64) {
        self.write(now_ms, EncodedFrame::heartbeat().into_wire());
    }

    pub(super) fn send_signal(
        &mut self,
        now_ms: u64,
        conversation: LogId,
        kind: &str,
        payload: Bytes,
    ) {
        let signal = wire::Signal {
            conversation_id: conversation.to_wire(),
            kind: kind.to_owned(),
            payload,
            sender: 0,
        };
        self.write(now_ms, EncodedFrame::push(Body::Signal(signal)).into_wire());
    }

    fn ask(&mut self, now_ms: u64, pending: Pending, body: Body) {
        let request_id = self.pending.add(now_ms, pending);
        let mut bytes = BytesMut::new();
        frame::encode_into(&Frame { request_id, body: Some(body) }, &mut bytes);
        self.write(now_ms, bytes.freeze());
    }

    fn write(&mut self, now_ms: u64, bytes: Bytes) {
        self.output_bytes += bytes.len();
        self.output.push_back(bytes);
        self.attachment.liveness.sent(now_ms);
    }

    /// Answers the application.
    pub(super) fn complete(&mut self, ticket: Ticket, result: Result<Response, Failure>) {
        self.events.push_back(Event::Completed { ticket, result });
    }

    /// Puts a job that the server could not do now where it is tried again.
    pub(super) fn retry_job(&mut self, at_ms: u64, job: Job) {
        self.jobs.retry_at(at_ms, job);
    }
}
