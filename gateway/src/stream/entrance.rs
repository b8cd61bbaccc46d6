//! The ways in: what is spoken on a listening socket, below the frames.

use std::net::SocketAddr;

use bytes::Bytes;
use dunlin_protocol::EncodedFrame;

use super::web;

/// A kind of listener, and so of the connections that come in by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// Frames on a bare socket.
    Tcp,
    /// Frames over TLS.
    Tls,
    /// Frames in a WebSocket.
    Web,
    /// Frames in a WebSocket over TLS.
    WebTls,
}

/// Where to listen, and for what.
pub(crate) type ListenOn = (Entrance, SocketAddr);

impl Entrance {
    /// All of them, in the order in which people are told of them.
    pub(crate) const ALL: [Entrance; 4] =
        [Entrance::Tcp, Entrance::Tls, Entrance::Web, Entrance::WebTls];

    /// What people and programs call it, and its key in `[listen]`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Entrance::Tcp => "tcp",
            Entrance::Tls => "tls",
            Entrance::Web => "web",
            Entrance::WebTls => "web_tls",
        }
    }

    /// The setting that says where it is.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Entrance::Tcp => "listen.tcp",
            Entrance::Tls => "listen.tls",
            Entrance::Web => "listen.web",
            Entrance::WebTls => "listen.web_tls",
        }
    }

    /// Whether whoever comes in shakes hands by TLS first. That takes a certificate, and a thousand
    /// times the processor of a frame, which is limited; and nothing can be said before its end.
    pub(crate) fn is_secure(self) -> bool {
        match self {
            Entrance::Tcp | Entrance::Web => false,
            Entrance::Tls | Entrance::WebTls => true,
        }
    }

    /// What is written to who may not come in, to say so: there is no stream yet that could.
    pub(crate) fn farewell(self, close: EncodedFrame) -> Option<Bytes> {
        match self {
            Entrance::Tcp => Some(close.into_wire()),
            Entrance::Web => Some(web::farewell().into()),
            Entrance::Tls | Entrance::WebTls => None,
        }
    }
}
