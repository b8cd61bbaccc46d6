//! A machine under a fake clock, and the other end of its connection, for tests that say every
//! frame of the server themselves.
#![allow(dead_code, reason = "each test uses a part of it")]

use bytes::BytesMut;
use dunlin_client::machine::{
    Action, Backlog, Config, Credentials, Device, Disconnect, Event, Failure, Machine, Password,
    Request, Response, SavedTokens, Status, Ticket,
};
use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::wire::{self, DeviceKind, Entry, Frame, Message, Notice, entry};
use dunlin_protocol::{ClientMessageId, DeviceId, EncodedFrame, LogId, UserId, frame, limits};

pub(crate) const ME: u64 = 1;
pub(crate) const PEER: u64 = 2;
pub(crate) const EPOCH: u64 = 77;

pub(crate) fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

pub(crate) fn conversation() -> LogId {
    LogId::direct(user(ME), user(PEER))
}

pub(crate) fn config(backlog: Backlog) -> Config {
    let device = Device { id: DeviceId([7; 16]), kind: DeviceKind::Desktop, name: "test".into() };
    Config { backlog, ..Config::new("server:1", device) }
}

pub(crate) fn password() -> Credentials {
    let password = Password { username: "alice".into(), password: "correct horse".into() };
    Credentials { password: Some(password), ..Credentials::default() }
}

pub(crate) fn tokens() -> Credentials {
    let tokens = SavedTokens {
        resume_token: "resume 0".into(),
        refresh_token: "refresh 0".into(),
        ..SavedTokens::default()
    };
    Credentials { tokens, ..Credentials::default() }
}

/// A message with its counts, for a conversation in which all of `sender` are numbered alike.
pub(crate) fn message(seq: u64, sender: u64, text: &str) -> Entry {
    let message = Message { content: text.to_owned().into(), ..Message::default() };
    Entry {
        seq,
        sender,
        counted: seq,
        sender_counted: if sender == ME { 0 } else { seq },
        body: Some(entry::Body::Message(message)),
        ..Entry::default()
    }
}

pub(crate) fn error(code: wire::ErrorCode, retry_after_ms: u32) -> Body {
    Body::Error(wire::Error { code: code as i32, retry_after_ms, ..wire::Error::default() })
}

pub(crate) fn close(reason: wire::CloseReason, reconnect_delay_ms: u32) -> Body {
    Body::Close(wire::Close { reason: reason as i32, reconnect_delay_ms, ..Default::default() })
}

pub(crate) fn push(entry: Entry) -> Body {
    Body::Push(wire::Push { conversation_id: conversation().to_wire(), entry: Some(entry) })
}

pub(crate) fn page(entries: Vec<Entry>, head: u64) -> Body {
    Body::HistoryPage(wire::HistoryPage {
        entries,
        head,
        epoch: EPOCH,
        more: false,
        expired_below: 0,
    })
}

pub(crate) struct Script {
    pub(crate) machine: Machine,
    pub(crate) now_ms: u64,
    input: BytesMut,
    events: Vec<Event>,
}

impl Script {
    pub(crate) fn new(config: Config) -> Script {
        let machine = Machine::new(config, 5);
        Script { machine, now_ms: 1000, input: BytesMut::new(), events: Vec::new() }
    }

    /// A machine that is live, with nothing to read.
    pub(crate) fn live(backlog: Backlog) -> Script {
        let mut script = Script::new(config(backlog));
        script.machine.log_in(password());
        script.connect();
        script.log_in_and_sync(Vec::new());
        script
    }

    /// Lets the machine connect; returns where to.
    pub(crate) fn connect(&mut self) -> String {
        let address = self.connecting().expect("the machine wants a connection");
        self.machine.connected(self.now_ms);
        address
    }

    pub(crate) fn connecting(&mut self) -> Option<String> {
        let mut wanted = None;
        while let Some(action) = self.machine.poll_action() {
            wanted = match action {
                Action::Connect { address } => Some(address),
                Action::Disconnect => None,
            };
        }
        wanted
    }

    pub(crate) fn log_in_and_sync(&mut self, conversations: Vec<wire::ConversationState>) {
        let requests = self.requests();
        self.welcome(requests[0].request_id);
        self.answer(requests[1].request_id, logged_in());
        let sync = self.request();
        assert!(matches!(sync.body, Some(Body::Sync(_))), "{sync:?}");
        self.answer(sync.request_id, synced(conversations));
    }

    pub(crate) fn welcome(&mut self, request_id: u64) {
        let welcome = wire::Welcome {
            protocol_version: 1,
            limits: Some(wire::Limits {
                heartbeat_interval_ms: 60_000,
                frame_bytes_max: limits::FRAME_BYTES_MAX,
                requests_outstanding_max: 8,
                ..wire::Limits::default()
            }),
            ..wire::Welcome::default()
        };
        self.answer(request_id, Body::Welcome(welcome));
    }

    /// What the machine has sent since the last call, without heartbeats.
    pub(crate) fn requests(&mut self) -> Vec<Frame> {
        self.frames().into_iter().filter(|frame| frame.body.is_some()).collect()
    }

    /// The same, with heartbeats.
    pub(crate) fn frames(&mut self) -> Vec<Frame> {
        while let Some(bytes) = self.machine.poll_output() {
            self.input.extend_from_slice(&bytes);
        }
        let mut frames = Vec::new();
        while let Some(body) = frame::take(&mut self.input, limits::FRAME_BYTES_MAX).unwrap() {
            frames.push(frame::decode(body).unwrap());
        }
        frames
    }

    /// The one thing that the machine has sent.
    pub(crate) fn request(&mut self) -> Frame {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    pub(crate) fn answer(&mut self, request_id: u64, body: Body) {
        let bytes = EncodedFrame::response(request_id, body).into_wire();
        self.machine.handle_input(self.now_ms, &bytes);
    }

    pub(crate) fn say(&mut self, body: Body) {
        self.answer(0, body);
    }

    /// Breaks the connection; what was not read is lost.
    pub(crate) fn cut(&mut self) {
        self.input.clear();
        self.machine.disconnected(self.now_ms, Disconnect::Network("cut".into()));
    }

    /// Lets time pass until the machine wants to be called, and calls it.
    pub(crate) fn pass(&mut self) -> u64 {
        let deadline_ms = self.machine.next_deadline().expect("the machine waits for a time");
        let passed_ms = deadline_ms.saturating_sub(self.now_ms);
        self.now_ms = self.now_ms.max(deadline_ms);
        self.machine.handle_timeout(self.now_ms);
        passed_ms
    }

    pub(crate) fn send(&mut self, ticket: u64) {
        let request = Request::Send {
            conversation: conversation(),
            message_id: ClientMessageId([ticket as u8; 16]),
            content_type: String::new(),
            content: format!("message {ticket}").into(),
            notice: Notice::Loud,
        };
        self.machine.request(self.now_ms, Ticket(ticket), request);
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.machine.poll_event()).collect()
    }

    /// Sequences that were delivered, of the conversation with the peer.
    pub(crate) fn delivered(&mut self) -> Vec<u64> {
        let entries = self.events().into_iter().filter_map(|event| match event {
            Event::Entry { entry, .. } => Some(entry.seq),
            _ => None,
        });
        entries.collect()
    }

    pub(crate) fn completed(&mut self) -> Vec<(u64, Result<Response, Failure>)> {
        let completed = self.events().into_iter().filter_map(|event| match event {
            Event::Completed { ticket, result } => Some((ticket.0, result)),
            _ => None,
        });
        completed.collect()
    }

    pub(crate) fn last_status(&mut self) -> Status {
        let statuses = self.events().into_iter().filter_map(|event| match event {
            Event::Status(status) => Some(status),
            _ => None,
        });
        statuses.last().expect("the status has changed")
    }
}

pub(crate) fn logged_in() -> Body {
    Body::LoggedIn(wire::LoggedIn {
        user_id: ME,
        session_id: 9,
        username: "alice".into(),
        tokens: Some(wire::Tokens {
            access_token: "access 1".into(),
            refresh_token: "refresh 1".into(),
            ..wire::Tokens::default()
        }),
        resume_token: "resume 1".into(),
        ..wire::LoggedIn::default()
    })
}

pub(crate) fn synced(conversations: Vec<wire::ConversationState>) -> Body {
    let token = "token".into();
    Body::Synced(wire::Synced { epoch: EPOCH, token, conversations, ..wire::Synced::default() })
}

pub(crate) fn state(head: u64, entries: Vec<Entry>) -> wire::ConversationState {
    wire::ConversationState {
        conversation_id: conversation().to_wire(),
        head,
        entries,
        ..wire::ConversationState::default()
    }
}

pub(crate) fn send_of(frame: &Frame) -> &wire::Send {
    match &frame.body {
        Some(Body::Send(send)) => send,
        other => panic!("no Send: {other:?}"),
    }
}

pub(crate) fn history_of(frame: &Frame) -> &wire::History {
    match &frame.body {
        Some(Body::History(history)) => history,
        other => panic!("no History: {other:?}"),
    }
}

pub(crate) fn sync_of(frame: &Frame) -> &wire::Sync {
    match &frame.body {
        Some(Body::Sync(sync)) => sync,
        other => panic!("no Sync: {other:?}"),
    }
}

pub(crate) fn sent(seq: u64) -> Body {
    Body::Sent(wire::Sent { seq, time_ms: 5 })
}

pub(crate) fn entry_seq(event: &Event) -> Option<u64> {
    match event {
        Event::Entry { entry, .. } => Some(entry.seq),
        _ => None,
    }
}
