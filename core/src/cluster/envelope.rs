//! What nodes say to each other, as bytes.
//!
//! ```text
//! envelope   checksum u32 | version u8 | flags u8 | to u64 | from u64 | worker u16
//!            | stream u32 | number u64 | items
//! item       kind u8 | length u32 | that many bytes
//! ```
//!
//! Numbers are big-endian; the checksum is the CRC-32C of everything behind it. Items of a kind that
//! this version doesn't know are skipped, so nodes of two versions can talk while they are exchanged
//! one by one. What comes from the bus is foreign: nothing here panics on it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::item::{self, Item};
use super::reader::Reader;
use crate::bus::NodeId;
use crate::placement::Origin;

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// In front of the items.
pub(super) const HEADER_BYTES: usize = CHECKSUM_BYTES + 1 + 1 + 8 + 8 + 2 + 4 + 8;

const FLAG_BEACON: u8 = 1;
const FLAG_WHOLE: u8 = 2;

/// What is the matter with an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    /// It ends within the header.
    #[error("an envelope of {bytes} bytes")]
    Short { bytes: usize },
    /// Its bytes were changed on the way.
    #[error("the checksum is {computed:#x} and not {stored:#x}")]
    Checksum { stored: u32, computed: u32 },
    /// It is of a version that this node does not speak.
    #[error("an envelope of version {version}")]
    Version { version: u8 },
    /// An item of this kind is not what it should be.
    #[error("an item of kind {kind} is malformed")]
    Item { kind: u8 },
}

/// What stands in front of the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// For which node: a node that was restarted is another one.
    pub(super) to: NodeId,
    pub(super) from: Origin,
    /// Streams of one origin are numbered: a higher number replaces a lower one.
    pub(super) stream: u32,
    /// Of this envelope within the stream, from 1; of the last one before it, if it is a beacon.
    pub(super) number: u64,
    /// It carries nothing, and tells only how many there were before it.
    pub(super) beacon: bool,
    /// Nothing was told to anybody before the stream began.
    pub(super) whole: bool,
}

/// Writes the header into the first [`HEADER_BYTES`] of a finished envelope.
pub(super) fn seal(header: &Header, mut envelope: BytesMut) -> Bytes {
    let flags = (u8::from(header.beacon) * FLAG_BEACON) | (u8::from(header.whole) * FLAG_WHOLE);
    let mut out = &mut envelope[CHECKSUM_BYTES..HEADER_BYTES];
    out.put_u8(VERSION);
    out.put_u8(flags);
    out.put_u64(header.to.0);
    out.put_u64(header.from.node.0);
    out.put_u16(header.from.worker);
    out.put_u32(header.stream);
    out.put_u64(header.number);
    let checksum = crc32c::crc32c(&envelope[CHECKSUM_BYTES..]);
    envelope[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_be_bytes());
    envelope.freeze()
}

/// Opens an envelope: who speaks, and what follows.
pub(super) fn open(mut envelope: Bytes) -> Result<(Header, Items), EnvelopeError> {
    let bytes = envelope.len();
    if bytes < HEADER_BYTES {
        return Err(EnvelopeError::Short { bytes });
    }
    let stored = envelope.get_u32();
    let computed = crc32c::crc32c(&envelope);
    if stored != computed {
        return Err(EnvelopeError::Checksum { stored, computed });
    }
    let version = envelope.get_u8();
    if version != VERSION {
        return Err(EnvelopeError::Version { version });
    }
    let flags = envelope.get_u8();
    let to = NodeId(envelope.get_u64());
    let from = Origin { node: NodeId(envelope.get_u64()), worker: envelope.get_u16() };
    let (stream, number) = (envelope.get_u32(), envelope.get_u64());
    let (beacon, whole) = (flags & FLAG_BEACON != 0, flags & FLAG_WHOLE != 0);
    Ok((Header { to, from, stream, number, beacon, whole }, Items(envelope)))
}

/// The items of an envelope that this version knows.
#[derive(Debug)]
pub(crate) struct Items(Bytes);

impl Iterator for Items {
    type Item = Result<Item, EnvelopeError>;

    fn next(&mut self) -> Option<Result<Item, EnvelopeError>> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            let kind = self.0.get_u8();
            let mut reader = Reader(self.0.clone());
            let Some(inside) = reader.bytes(usize::MAX) else {
                // What follows can't be found any more.
                self.0.clear();
                return Some(Err(EnvelopeError::Item { kind }));
            };
            self.0 = reader.0;
            if item::is_known(kind) {
                let item = Reader(inside).item(kind);
                return Some(item.ok_or(EnvelopeError::Item { kind }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::wire::{self, CloseReason, ErrorCode, Notice, frame::Body};
    use dunlin_protocol::{ClientMessageId, EncodedFrame, LogId, SessionId, UserId};
    use proptest::prelude::*;

    use super::super::item::{
        Answer, Forward, ForwardedSend, NodePush, NodeSignal, Users, put_bytes,
    };
    use super::*;
    use crate::audience::session::{Closed, Ended};
    use crate::conversation::pending::Stored;
    use crate::refusal::Refusal;
    use crate::request::Message;
    use crate::transport::ConnId;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn items() -> Vec<Item> {
        let log = LogId::direct(user(1), user(2));
        let conn = ConnId { shard: 1, slot: 2, generation: 3 };
        let message = |content: &'static str| Message {
            client_message_id: ClientMessageId([7; 16]),
            content_type: "text/plain".into(),
            content: Bytes::from_static(content.as_bytes()),
            notice: Notice::Silent,
        };
        let sent = |content| ForwardedSend { sender: user(1), conn, message: message(content) };
        let frame = EncodedFrame::push(Body::Done(wire::Done {}));
        let why = "refused by the home of the conversation";
        let refusal = Refusal::retry(ErrorCode::Overloaded, why, 500);
        let stored = Ok(Stored { seq: 5, time_ms: 6 });
        let users: Users = [user(1), user(2), user(3)].into_iter().collect();
        let session = SessionId::new(9).unwrap();
        let ended = |closed| {
            Item::Ended(Ended { user: user(1), closed, reason: CloseReason::Replaced, at_ms: 8 })
        };
        let push =
            |except| NodePush { users: users.clone(), log, head: 7, except, frame: frame.clone() };
        let signal =
            |is_receipt| NodeSignal { users: users.clone(), frame: frame.clone(), is_receipt };
        vec![
            Item::Forward(Forward { log, batch: 1, sends: vec![sent("one"), sent("")] }),
            Item::Answer(Answer { log, batch: 1, index: 1, outcome: stored }),
            Item::Answer(Answer { log, batch: 1, index: 0, outcome: Err(refusal) }),
            Item::Push(push(Some(conn))),
            Item::Push(push(None)),
            Item::Signal(signal(false)),
            Item::Signal(signal(true)),
            ended(Closed::All),
            ended(Closed::AllBut(session)),
            ended(Closed::Sessions(vec![session, session])),
        ]
    }

    fn header() -> Header {
        let from = Origin { node: NodeId(2), worker: 3 };
        Header { to: NodeId(1), from, stream: 4, number: 5, beacon: false, whole: true }
    }

    fn sealed(items: &[Item]) -> Bytes {
        let mut envelope = BytesMut::zeroed(HEADER_BYTES);
        items.iter().for_each(|item| item.put(&mut envelope));
        seal(&header(), envelope)
    }

    fn resealed(mut envelope: Vec<u8>) -> Bytes {
        let checksum = crc32c::crc32c(&envelope[CHECKSUM_BYTES..]);
        envelope[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_be_bytes());
        envelope.into()
    }

    /// Nodes of two versions talk to each other while they are exchanged one by one.
    #[test]
    fn the_bytes_never_change() {
        let golden = concat!(
            "1eed45a301020000000000000001000000000000000200030000000400000000",
            "00000005020000002b0100000000000000010000000000000200000000000000",
            "0100010000000000000000050000000000000006",
        );
        let hex: String = sealed(&items()[1..2]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
    }

    #[test]
    fn what_is_sealed_is_opened() {
        let (opened, found) = open(sealed(&items())).unwrap();
        assert_eq!(opened, header());
        assert_eq!(found.collect::<Result<Vec<_>, _>>().unwrap(), items());
        let beacon = Header { beacon: true, whole: false, ..header() };
        let (opened, mut found) = open(seal(&beacon, BytesMut::zeroed(HEADER_BYTES))).unwrap();
        assert_eq!(opened, beacon);
        assert!(found.next().is_none());
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_noticed() {
        let envelope = sealed(&items());
        for bit in 0..envelope.len() * 8 {
            let mut changed = envelope.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open(changed.into()), Err(EnvelopeError::Checksum { .. })));
        }
        (0..envelope.len()).for_each(|cut| assert!(open(envelope.slice(..cut)).is_err()));
    }

    #[test]
    fn what_a_later_version_says_is_skipped() {
        let mut later = BytesMut::zeroed(HEADER_BYTES);
        later.put_u8(99);
        put_bytes(b"something new", &mut later);
        items()[0].put(&mut later);
        let (_, found) = open(seal(&header(), later)).unwrap();
        assert_eq!(found.collect::<Result<Vec<_>, _>>().unwrap(), items()[..1]);
        let mut version = sealed(&[]).to_vec();
        version[CHECKSUM_BYTES] = 2;
        let error = open(resealed(version)).unwrap_err();
        assert_eq!(error, EnvelopeError::Version { version: 2 });
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(
            flips in proptest::collection::vec((HEADER_BYTES..400usize, any::<u8>()), 0..8),
            cut in 0usize..400,
        ) {
            let mut envelope = sealed(&items()).to_vec();
            for (at, value) in flips {
                if let Some(byte) = envelope.get_mut(at) {
                    *byte = value;
                }
            }
            envelope.truncate(cut.max(HEADER_BYTES));
            let (_, found) = open(resealed(envelope)).unwrap();
            // It ends, whatever is in it.
            prop_assert!(found.count() < 400);
        }
    }
}
