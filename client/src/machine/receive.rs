//! What the server says.

use dunlin_protocol::compressed::inflate;
use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::wire::{self, Entry, Error, ErrorCode, LoggedIn, Welcome, entry};
use dunlin_protocol::{ErrorClass, LogId, SessionId, UserId, class, frame, limits};

use super::Machine;
use super::connection::Phase;
use super::event::{Event, Lost, Status, Stop};
use super::outbox::OutgoingId;
use super::pending::{Job, Pending};
use super::request::{Failure, Request, Response};
use super::terms::Terms;

/// How often a request is repeated at which the server fails.
const FAILURES_MAX: u32 = 4;
/// When "not now" does not say when.
const RETRY_MS: u64 = 1000;

/// What an Error means for a request.
enum Verdict {
    /// Try again, at this time.
    Later(u64),
    /// Log in again first.
    LogIn,
    /// It is final.
    Failed,
}

impl Machine {
    /// Bytes arrived on the connection.
    pub fn handle_input(&mut self, now_ms: u64, bytes: &[u8]) {
        if !self.is_attached() {
            return;
        }
        self.attachment.liveness.heard(now_ms);
        self.input.extend_from_slice(bytes);
        // After each frame the connection may be over.
        while self.is_attached() {
            let taken = frame::take(&mut self.input, limits::FRAME_BYTES_MAX);
            let decoded = taken.and_then(|body| body.map(frame::decode).transpose());
            match decoded {
                Ok(Some(frame)) => self.received(now_ms, frame),
                Ok(None) => break,
                Err(_) => self.lose(now_ms, Lost::Nonsense, 0),
            }
        }
        self.transmit(now_ms);
    }

    fn is_attached(&self) -> bool {
        match self.phase {
            Phase::LoggingIn { .. } | Phase::Syncing | Phase::Live | Phase::Leaving { .. } => true,
            Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Connecting
            | Phase::Stopped
            | Phase::Closed => false,
        }
    }

    fn received(&mut self, now_ms: u64, frame: wire::Frame) {
        match (frame.request_id, frame.body) {
            // A heartbeat, or something from a later version.
            (0, None) => {}
            (_, Some(Body::Close(close))) => self.closed_by_server(now_ms, &close),
            (_, Some(Body::GoAway(go_away))) => self.asked_to_leave(now_ms, go_away),
            (request_id, Some(Body::Compressed(compressed))) => {
                match inflate(request_id, &compressed) {
                    Ok(frame) => self.received(now_ms, frame),
                    Err(_) => self.lose(now_ms, Lost::Nonsense, 0),
                }
            }
            (0, Some(body)) => self.pushed(body),
            (request_id, body) => {
                if let Some(pending) = self.pending.take(request_id) {
                    self.answered(now_ms, pending, body);
                }
            }
        }
    }

    fn pushed(&mut self, body: Body) {
        match body {
            Body::Push(push) => {
                if let (Ok(log_id), Some(entry)) =
                    (LogId::from_wire(&push.conversation_id), push.entry)
                {
                    self.arrived(log_id, [entry]);
                    self.limit_backlog(log_id);
                    self.logs.heard(log_id);
                }
            }
            Body::Behind(behind) if behind.conversation_id.is_empty() => self.sync.want(),
            Body::Behind(behind) => {
                if let Ok(log_id) = LogId::from_wire(&behind.conversation_id) {
                    self.head_known(log_id, behind.head);
                    self.logs.heard(log_id);
                }
            }
            Body::ReadReceipt(receipt) => self.receipt(&receipt),
            Body::Setting(setting) => self.setting_told(setting, false),
            Body::Membership(membership) => self.membership_told(&membership),
            Body::Signal(signal) => {
                if let (Ok(conversation), Ok(sender)) =
                    (LogId::from_wire(&signal.conversation_id), UserId::new(signal.sender))
                {
                    let (kind, payload) = (signal.kind, signal.payload);
                    let event = Event::Signal { conversation, sender, kind, payload };
                    self.events.push_back(event);
                }
            }
            // Of a later version, or a response to nothing.
            _ => {}
        }
    }

    fn answered(&mut self, now_ms: u64, pending: Pending, body: Option<Body>) {
        match (pending, body) {
            (Pending::Hello, Some(Body::Welcome(welcome))) => self.welcomed(&welcome),
            (Pending::Register, Some(Body::Registered(_))) => {
                self.attachment.login.registered();
                self.attempt_login(now_ms);
            }
            (Pending::Register, Some(Body::Error(error))) => {
                let refusal = self.attachment.login.registration_refused(error);
                self.login_refused(now_ms, refusal);
            }
            (Pending::LogIn, Some(Body::LoggedIn(logged_in))) => {
                self.logged_in(now_ms, logged_in);
            }
            (Pending::LogIn, Some(Body::Error(error))) => {
                let refusal = self.attachment.login.refused(error);
                self.login_refused(now_ms, refusal);
            }
            (Pending::Refresh, Some(Body::Tokens(tokens))) => {
                self.attachment.login.renewed(now_ms, &tokens);
                self.announce_tokens();
            }
            (Pending::Refresh, Some(Body::Error(_))) => {
                self.attachment.login.renewal_refused(now_ms);
            }
            (Pending::Sync, Some(Body::Synced(synced))) => self.synced(synced),
            (Pending::Sync, Some(Body::Error(error))) => self.sync_refused(now_ms, &error),
            (Pending::Repair(log_id), Some(Body::HistoryPage(page))) => {
                self.repaired(now_ms, log_id, page);
            }
            (Pending::Repair(log_id), Some(Body::Error(error))) => {
                self.repair_refused(now_ms, log_id, &error);
            }
            (Pending::Send(id), Some(Body::Sent(sent))) => self.sent(id, &sent),
            (Pending::Send(id), Some(Body::Error(error))) => {
                self.send_refused(now_ms, id, error);
            }
            (Pending::Job(job), Some(Body::Error(error))) => self.job_refused(now_ms, job, error),
            (Pending::Job(job), body) => self.job_done(job, body),
            // Answers of another kind: this is no server of ours.
            (
                Pending::Hello
                | Pending::Register
                | Pending::LogIn
                | Pending::Refresh
                | Pending::Sync
                | Pending::Repair(_)
                | Pending::Send(_),
                _,
            ) => self.lose(now_ms, Lost::Nonsense, 0),
        }
    }

    fn welcomed(&mut self, welcome: &Welcome) {
        if welcome.protocol_version != limits::PROTOCOL_VERSION {
            return self.stop(Stop::UnsupportedVersion);
        }
        let terms = Terms::of(welcome);
        self.attachment.liveness.set_interval(terms.limits.heartbeat_interval_ms);
        self.pending.set_max(terms.limits.requests_outstanding_max);
        self.attachment.terms = terms.clone();
        self.events.push_back(Event::Welcomed(Box::new(terms)));
    }

    fn logged_in(&mut self, now_ms: u64, logged_in: LoggedIn) {
        let (Ok(user), Ok(session)) =
            (UserId::new(logged_in.user_id), SessionId::new(logged_in.session_id))
        else {
            return self.lose(now_ms, Lost::Nonsense, 0);
        };
        if self.user.is_some_and(|before| before != user) {
            self.logs.clear();
            self.sync.forget();
            self.settings.clear();
            self.events.push_back(Event::HistoryLost);
            self.fail_jobs(&Failure::OtherUser);
            self.fail_messages(&Failure::OtherUser);
            self.kept.take(None);
        }
        self.user = Some(user);
        self.attachment.login.succeeded(now_ms, &logged_in);
        self.phase = Phase::Syncing;
        self.sync.want();
        self.events.push_back(Event::LoggedIn { user, username: logged_in.username, session });
        self.announce_tokens();
        self.events.push_back(Event::Status(Status::Syncing));
    }

    /// A message is durable. The push of it goes to the others only, so this is the entry.
    fn sent(&mut self, id: OutgoingId, sent: &wire::Sent) {
        let Some(outgoing) = self.outbox.remove(id) else { return };
        let Some(user) = self.user else { return };
        let (seq, time_ms) = (sent.seq, sent.time_ms);
        if let Some(ticket) = outgoing.ticket {
            self.complete(ticket, Ok(Response::Sent { seq, time_ms }));
        }
        let said = outgoing.said;
        self.kept.keep(id.conversation, &said);
        let message = wire::Message {
            client_message_id: said.message_id.to_wire(),
            content_type: said.content_type,
            content: said.content,
        };
        let entry = Entry {
            seq,
            time_ms,
            sender: user.get(),
            notice: said.notice.into(),
            body: Some(entry::Body::Message(message)),
            ..Entry::default()
        };
        self.arrived(id.conversation, [entry]);
        self.limit_backlog(id.conversation);
        self.logs.heard(id.conversation);
    }

    fn send_refused(&mut self, now_ms: u64, id: OutgoingId, error: Error) {
        let Some(outgoing) = self.outbox.get_mut(id) else { return };
        match judge(now_ms, &error, &mut outgoing.failures) {
            Verdict::Later(at_ms) => self.outbox.refuse(id, at_ms),
            Verdict::LogIn => self.lose(now_ms, Lost::NotNow(error.code()), error.retry_after_ms),
            Verdict::Failed => {
                if let Some(ticket) = self.outbox.remove(id).and_then(|outgoing| outgoing.ticket) {
                    self.complete(ticket, Err(Failure::Refused(error)));
                }
            }
        }
    }

    fn job_refused(&mut self, now_ms: u64, mut job: Job, error: Error) {
        if let Some(setting) = error.setting.clone().filter(|setting| setting.version > 0) {
            self.setting_told(setting, false);
        }
        let verdict = match job.request.may_repeat() {
            true => judge(now_ms, &error, &mut job.failures),
            // A password that is wrong is no reason to log in again.
            false => Verdict::Failed,
        };
        match verdict {
            Verdict::Later(at_ms) => self.retry_job(at_ms, job),
            Verdict::LogIn => {
                self.jobs.put_back(vec![job]);
                self.lose(now_ms, Lost::NotNow(error.code()), error.retry_after_ms);
            }
            Verdict::Failed => self.complete(job.ticket, Err(Failure::Refused(error))),
        }
    }

    fn job_done(&mut self, job: Job, body: Option<Body>) {
        if let (Request::MarkRead { .. }, Some(Body::ReadReceipt(cursor))) = (&job.request, &body) {
            self.receipt(cursor);
        }
        let Some(response) = body.and_then(Response::of_body) else {
            return self.complete(job.ticket, Err(Failure::Nonsense));
        };
        match &response {
            Response::Page(page) => {
                self.epoch_seen(page.epoch);
            }
            Response::Setting(setting) => self.setting_told(setting.clone(), false),
            Response::Membership(membership) => self.membership_told(membership),
            Response::Found(_)
            | Response::Done
            | Response::Sent { .. }
            | Response::Users(_)
            | Response::Sessions(_) => {}
        }
        self.complete(job.ticket, Ok(response));
        match job.request {
            Request::ChangePassword { new, .. } => self.attachment.login.password_changed(&new),
            Request::Logout(scope) if scope.ends_this() => self.stop(Stop::LoggedOut),
            Request::Logout(_)
            | Request::MarkRead { .. }
            | Request::Send { .. }
            | Request::History(_)
            | Request::FindMessage { .. }
            | Request::FindUsers { .. }
            | Request::SetSetting(_)
            | Request::UpdateConversation { .. }
            | Request::ListSessions => {}
        }
    }
}

/// What an Error means for a request that may be repeated; `failures` counts those that are the
/// server's fault, which are not repeated for ever.
fn judge(now_ms: u64, error: &Error, failures: &mut u32) -> Verdict {
    let told_ms = u64::from(error.retry_after_ms);
    let again = match class(error.code) {
        ErrorClass::NotNow => {
            return Verdict::Later(now_ms + if told_ms == 0 { RETRY_MS } else { told_ms });
        }
        ErrorClass::Server if error.code() == ErrorCode::DataCorrupt => return Verdict::Failed,
        ErrorClass::Server => Verdict::Later(now_ms + (RETRY_MS << (*failures + 1))),
        ErrorClass::Credentials => Verdict::LogIn,
        ErrorClass::Request if error.code() == ErrorCode::NotLoggedIn => Verdict::LogIn,
        ErrorClass::Request | ErrorClass::NotAllowed => return Verdict::Failed,
    };
    *failures += 1;
    if *failures < FAILURES_MAX { again } else { Verdict::Failed }
}
