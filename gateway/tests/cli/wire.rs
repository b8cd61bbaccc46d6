//! A tiny client: just enough to see what an operator's command does to users.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::wire::{self, CloseReason, ErrorCode, Frame, login::Credential};
use dunlin_protocol::{LogId, UserId, frame, limits};

use crate::program::PATIENCE;

pub(crate) struct Client {
    stream: TcpStream,
    input: BytesMut,
    requests: u64,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client { stream, input: BytesMut::new(), requests: 0 };
        let protocol_version = limits::PROTOCOL_VERSION;
        let welcome = client.ask(Body::Hello(wire::Hello {
            protocol_version,
            client: "test".into(),
            ..wire::Hello::default()
        }));
        assert!(matches!(welcome, Body::Welcome(_)), "{welcome:?}");
        client
    }

    pub(crate) fn ask(&mut self, body: Body) -> Body {
        self.requests += 1;
        let mut bytes = BytesMut::new();
        frame::encode_into(&Frame { request_id: self.requests, body: Some(body) }, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
        loop {
            let Frame { request_id, body } = self.receive();
            match body {
                Some(body) if request_id == self.requests => return body,
                Some(Body::Close(close)) => panic!("{close:?}"),
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> Frame {
        loop {
            if let Some(body) = frame::take(&mut self.input, limits::FRAME_BYTES_MAX).unwrap() {
                return frame::decode(body).unwrap();
            }
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes).unwrap();
            assert!(read > 0, "the server closed the connection without a word");
            self.input.extend_from_slice(&bytes[..read]);
        }
    }

    /// Waits until the server closes the connection; returns why.
    pub(crate) fn closed(mut self) -> CloseReason {
        loop {
            if let Some(Body::Close(close)) = self.receive().body {
                return close.reason();
            }
        }
    }

    pub(crate) fn log_in_with(
        &mut self,
        credential: Credential,
    ) -> Result<wire::LoggedIn, ErrorCode> {
        let device = wire::Device {
            device_id: vec![7; 16].into(),
            kind: wire::DeviceKind::Desktop.into(),
            name: "test".into(),
        };
        let login = wire::Login {
            credential: Some(credential),
            device: Some(device),
            ..wire::Login::default()
        };
        match self.ask(Body::Login(login)) {
            Body::LoggedIn(logged_in) => Ok(logged_in),
            Body::Error(error) => Err(error.code()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn log_in(&mut self, name: &str, password: &str) -> Result<UserId, ErrorCode> {
        let (username, password) = (name.to_owned(), password.to_owned());
        let credential = Credential::Password(wire::PasswordCredential { username, password });
        self.log_in_with(credential).map(|logged_in| UserId::new(logged_in.user_id).unwrap())
    }

    /// Sends a message; returns its sequence when it is durable.
    pub(crate) fn send(&mut self, log: LogId, text: &str) -> u64 {
        // Unique among all connections of these tests.
        static MESSAGES: AtomicU64 = AtomicU64::new(0);
        let mut client_message_id = [0; 16];
        let number = MESSAGES.fetch_add(1, Ordering::Relaxed);
        client_message_id[..8].copy_from_slice(&number.to_le_bytes());
        let send = wire::Send {
            conversation_id: log.to_wire(),
            client_message_id: client_message_id.to_vec().into(),
            content: text.as_bytes().to_vec().into(),
            ..wire::Send::default()
        };
        match self.ask(Body::Send(send)) {
            Body::Sent(sent) => sent.seq,
            other => panic!("{other:?}"),
        }
    }

    /// All of a conversation, which must be dense, and the epoch.
    pub(crate) fn history(&mut self, log: LogId) -> (Vec<String>, u64) {
        let mut texts = Vec::new();
        loop {
            let history = wire::History {
                conversation_id: log.to_wire(),
                from_seq: texts.len() as u64 + 1,
                ..Default::default()
            };
            let page = match self.ask(Body::History(history)) {
                Body::HistoryPage(page) => page,
                other => panic!("{other:?}"),
            };
            for entry in page.entries {
                assert_eq!(entry.seq, texts.len() as u64 + 1);
                let Some(wire::entry::Body::Message(message)) = entry.body else {
                    panic!("no message");
                };
                texts.push(String::from_utf8(message.content.to_vec()).unwrap());
            }
            if !page.more {
                assert_eq!(page.head, texts.len() as u64);
                return (texts, page.epoch);
            }
        }
    }
}
