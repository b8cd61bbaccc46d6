//! A connection that a proxy has passed on begins with whose it is. See [`proxy`](crate::proxy).
//!
//! The header is looked at in the socket until it is whole, and taken out of it then: so a connection needs no buffer for
//! it, and no stream ever sees it. It has the time of the handshake that follows.

use std::io::Read;

use dunlin_protocol::wire::CloseReason;

use super::Shard;
use super::read::Next;
use crate::admission::Address;
use crate::limits::OVERLOADED_DELAY_MS;
use crate::proxy::header::{self, HEADER_BYTES_MAX, Header};

impl Shard {
    pub(super) fn read_proxy_header(&mut self, key: usize) -> Next {
        let slot = &mut self.slots[key];
        let room = &mut self.buffers.waste()[..HEADER_BYTES_MAX];
        let seen = match slot.socket.peek(room) {
            Ok(0) => {
                self.end(key, CloseReason::PeerClosed);
                return Next::Wait;
            }
            Ok(count) => &room[..count],
            Err(error) => return self.read_failed(key, error.kind()),
        };
        match header::parse(seen) {
            Ok(Some(header)) => self.take_header(key, header),
            Ok(None) if slot.flags.hung_up() => {
                self.end(key, CloseReason::PeerClosed);
                Next::Wait
            }
            Ok(None) => {
                // More of it causes an event.
                slot.flags.readable = false;
                Next::Wait
            }
            Err(error) => {
                tracing::warn!(conn = %self.conn_id(key), %error, "a connection of a proxy begins with");
                self.end(key, CloseReason::ProtocolViolation);
                Next::Wait
            }
        }
    }

    fn take_header(&mut self, key: usize, header: Header) -> Next {
        let slot = &mut self.slots[key];
        let taken = slot.socket.read(&mut self.buffers.waste()[..header.bytes]);
        if !taken.is_ok_and(|count| count == header.bytes) {
            self.end(key, CloseReason::PeerReset);
            return Next::Wait;
        }
        self.tally.read(header.bytes);
        let slot = &mut self.slots[key];
        // What a proxy asks for itself is asked from its own address.
        let from = match header.from {
            Some(from) if !from.is_unspecified() => Ok(from),
            Some(_) | None => slot.socket.peer_addr().map(|peer| peer.ip()),
        };
        let Ok(from) = from else {
            self.end(key, CloseReason::PeerReset);
            return Next::Wait;
        };
        let address = Address::from(from);
        let entered = self.pay_connect(address).and_then(|()| {
            let (limits, now_ms) = (&self.settings.limits, self.clock.monotonic_ms());
            self.node.admission.enter_address(address, limits, now_ms)
        });
        if let Err(refusal) = entered {
            self.node.counters.refuse(refusal);
            let reason = refusal.name();
            tracing::info!(peer = %address, reason, "a connection is turned away");
            self.close(key, CloseReason::Overloaded, OVERLOADED_DELAY_MS);
            return Next::Wait;
        }
        self.slots[key].address = address;
        Next::GoOn
    }
}
