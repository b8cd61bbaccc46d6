//! Entries as bytes: a message is encoded once, for the store and for every recipient.
//!
//! In a `Push` frame the entry is the last field, so the stored body is the tail of the frame and
//! shares its memory. The fields are written by hand, since the generated types would want three
//! allocations per message for ids and strings that are at hand already; a test compares the two.

use bytes::{BufMut, Bytes, BytesMut};
use dunlin_protocol::limits::FRAME_PREFIX_BYTES;
use dunlin_protocol::wire;
#[cfg(test)]
use dunlin_protocol::wire::{entry, frame::Body};
use dunlin_protocol::{EncodedFrame, LogId, UserId};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::request::{Message, Signal};
use crate::store::{EntryMeta, Head, Page, RunningCounts, StoredEntry};

/// The push of an entry, and the entry alone.
#[derive(Debug, Clone)]
pub(crate) struct EncodedEntry {
    /// The push.
    pub(crate) frame: EncodedFrame,
    /// The tail of it that is stored.
    pub(crate) body: Bytes,
}

// Field numbers of entry.proto.
const FRAME_PUSH: u32 = 4;
const PUSH_CONVERSATION_ID: u32 = 1;
const PUSH_ENTRY: u32 = 2;
const ENTRY_SEQ: u32 = 1;
const ENTRY_TIME_MS: u32 = 2;
const ENTRY_SENDER: u32 = 3;
const ENTRY_COUNTED: u32 = 4;
const ENTRY_SENDER_COUNTED: u32 = 5;
const ENTRY_NOTICE: u32 = 6;
const ENTRY_MESSAGE: u32 = 8;
const MESSAGE_CLIENT_MESSAGE_ID: u32 = 1;
const MESSAGE_CONTENT_TYPE: u32 = 2;
const MESSAGE_CONTENT: u32 = 3;
const FRAME_SIGNAL: u32 = 5;
const SIGNAL_CONVERSATION_ID: u32 = 1;
const SIGNAL_KIND: u32 = 2;
const SIGNAL_PAYLOAD: u32 = 3;
const SIGNAL_SENDER: u32 = 4;

/// Encodes a message.
pub(crate) fn encode_message(
    log: LogId,
    seq: u64,
    meta: &EntryMeta,
    message: &Message,
) -> EncodedEntry {
    let notice = message.notice as u64;
    let message_len = bytes_len(&message.client_message_id.0)
        + bytes_len(message.content_type.as_bytes())
        + bytes_len(&message.content);
    let entry_len = number_len(seq)
        + number_len(meta.time_ms)
        + 9
        + number_len(meta.counted)
        + number_len(meta.sender_counted)
        + number_len(notice)
        + nested_len(message_len);
    let push_len = bytes_len(log.as_bytes()) + nested_len(entry_len);
    let frame_len = nested_len(push_len);

    let mut out = BytesMut::with_capacity(FRAME_PREFIX_BYTES + frame_len);
    out.put_u32(u32::try_from(frame_len).expect("the content of a message is limited"));
    put_nested(FRAME_PUSH, push_len, &mut out);
    put_bytes(PUSH_CONVERSATION_ID, log.as_bytes(), &mut out);
    put_nested(PUSH_ENTRY, entry_len, &mut out);
    put_number(ENTRY_SEQ, seq, &mut out);
    put_number(ENTRY_TIME_MS, meta.time_ms, &mut out);
    encode_key(ENTRY_SENDER, WireType::SixtyFourBit, &mut out);
    out.put_u64_le(meta.sender);
    put_number(ENTRY_COUNTED, meta.counted, &mut out);
    put_number(ENTRY_SENDER_COUNTED, meta.sender_counted, &mut out);
    put_number(ENTRY_NOTICE, notice, &mut out);
    put_nested(ENTRY_MESSAGE, message_len, &mut out);
    put_bytes(MESSAGE_CLIENT_MESSAGE_ID, &message.client_message_id.0, &mut out);
    put_bytes(MESSAGE_CONTENT_TYPE, message.content_type.as_bytes(), &mut out);
    put_bytes(MESSAGE_CONTENT, &message.content, &mut out);
    tail(out.freeze(), entry_len)
}

/// Encodes a signal: no entry, but as busy as messages, and as simple.
pub(crate) fn encode_signal(conversation: LogId, signal: &Signal, sender: UserId) -> EncodedFrame {
    let signal_len = bytes_len(conversation.as_bytes())
        + bytes_len(signal.kind.as_bytes())
        + bytes_len(&signal.payload)
        + 9;
    let frame_len = nested_len(signal_len);
    let mut out = BytesMut::with_capacity(FRAME_PREFIX_BYTES + frame_len);
    out.put_u32(u32::try_from(frame_len).expect("the payload of a signal is limited"));
    put_nested(FRAME_SIGNAL, signal_len, &mut out);
    put_bytes(SIGNAL_CONVERSATION_ID, conversation.as_bytes(), &mut out);
    put_bytes(SIGNAL_KIND, signal.kind.as_bytes(), &mut out);
    put_bytes(SIGNAL_PAYLOAD, &signal.payload, &mut out);
    encode_key(SIGNAL_SENDER, WireType::SixtyFourBit, &mut out);
    out.put_u64_le(sender.get());
    EncodedFrame::from_wire(out.freeze()).expect("the prefix was computed from the parts")
}

/// Encodes any entry: what is written by hand is compared with it.
#[cfg(test)]
pub(crate) fn encode_entry(
    log: LogId,
    seq: u64,
    meta: &EntryMeta,
    notice: wire::Notice,
    body: entry::Body,
) -> EncodedEntry {
    let entry = wire::Entry {
        seq,
        time_ms: meta.time_ms,
        sender: meta.sender,
        counted: meta.counted,
        sender_counted: meta.sender_counted,
        notice: notice.into(),
        body: Some(body),
    };
    let entry_len = entry.encoded_len();
    let push = wire::Push { conversation_id: log.to_wire(), entry: Some(entry) };
    tail(EncodedFrame::push(Body::Push(push)).into_wire(), entry_len)
}

/// Reads an entry that the store kept; of one that was erased, what is left of it. `None` if it is
/// none: the store vouches for the bytes, so somebody else has written them.
pub(crate) fn decode_entry(stored: &StoredEntry) -> Option<wire::Entry> {
    if stored.erased {
        let EntryMeta { time_ms, sender, counted, sender_counted } = stored.meta;
        let seq = stored.seq;
        let entry =
            wire::Entry { seq, time_ms, sender, counted, sender_counted, ..Default::default() };
        return Some(entry);
    }
    wire::Entry::decode(stored.body.clone()).ok().filter(|entry| entry.seq == stored.seq)
}

/// The entries of a page; `None` if one is no entry.
pub(crate) fn decode_entries(page: &Page) -> Option<Vec<wire::Entry>> {
    page.entries.iter().map(decode_entry).collect()
}

fn tail(frame: Bytes, entry_len: usize) -> EncodedEntry {
    let body = frame.slice(frame.len() - entry_len..);
    let frame = EncodedFrame::from_wire(frame).expect("the prefix was computed from the parts");
    EncodedEntry { frame, body }
}

/// What tells a retry from another message under the same id: the notice, the lengths of content type and
/// content, and a CRC-32C of content type, a zero byte and content. Stored beside the entry; it
/// must never change.
pub(crate) fn digest(message: &Message) -> u64 {
    let checksum = crc32c::crc32c(message.content_type.as_bytes());
    let checksum = crc32c::crc32c_append(checksum, &[0]);
    let checksum = crc32c::crc32c_append(checksum, &message.content);
    // At most 64 and 65,536: they fit beside each other, in 7 and 17 bits, and the notice between them.
    let lengths = (message.content_type.len() as u64) << 24 | message.content.len() as u64;
    let notice = (message.notice as u64) << 20;
    (lengths | notice) << 32 | u64::from(checksum)
}

/// How many entries up to this one others have made that count, in a direct conversation: what one has
/// said oneself is never unread.
pub(crate) fn others_counted(counts: impl Into<RunningCounts>, user: UserId) -> u64 {
    let RunningCounts { sender, counted, sender_counted } = counts.into();
    let of_others = counted.saturating_sub(sender_counted);
    if sender == user.get() { of_others } else { sender_counted }
}

/// How many entries up to this one a user has made that count, in a direct conversation.
pub(crate) fn own_counted(counts: impl Into<RunningCounts>, user: UserId) -> u64 {
    let RunningCounts { sender, counted, sender_counted } = counts.into();
    if sender == user.get() { sender_counted } else { counted.saturating_sub(sender_counted) }
}

/// How many entries are unread for a user: those of others that count, above the cursor and above what
/// has expired. One formula, here and in the clients: docs/protocol.md has it with vectors.
pub(crate) fn unread(head: &Head, cursor_counted: u64, user: UserId) -> u64 {
    let floor = others_counted(head.expired, user);
    others_counted(head.meta, user).saturating_sub(cursor_counted.max(floor))
}

fn number_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + encoded_len_varint(value) }
}

fn bytes_len(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { nested_len(bytes.len()) }
}

/// Length of a field with a one-byte tag and this much inside.
fn nested_len(inside: usize) -> usize {
    1 + encoded_len_varint(inside as u64) + inside
}

fn put_number(tag: u32, value: u64, out: &mut BytesMut) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}

fn put_bytes(tag: u32, bytes: &[u8], out: &mut BytesMut) {
    if !bytes.is_empty() {
        put_nested(tag, bytes.len(), out);
        out.put_slice(bytes);
    }
}

fn put_nested(tag: u32, inside: usize, out: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(inside as u64, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_protocol::wire::Notice;
    use dunlin_protocol::{ClientMessageId, frame};

    fn conversation() -> LogId {
        let user = |id| UserId::new(id).unwrap();
        LogId::direct(user(1), user(2))
    }

    fn message(content_type: &str, content: Bytes) -> Message {
        let client_message_id = ClientMessageId([7; 16]);
        let content_type = content_type.into();
        Message { client_message_id, content_type, content, notice: Notice::Loud }
    }

    #[test]
    fn by_hand_is_what_the_generated_code_writes() {
        let cases = [
            (1, "", 0, Notice::Loud),
            (300, "text/plain", 5, Notice::Silent),
            (9, "a", 65_536, Notice::Uncounted),
        ];
        for (seq, content_type, length, notice) in cases {
            let content = Bytes::from(vec![b'x'; length]);
            let said = Message { notice, ..message(content_type, content) };
            let meta =
                EntryMeta { time_ms: 1 << 40, sender: 1, counted: seq, sender_counted: seq - 1 };
            let message = wire::Message {
                client_message_id: said.client_message_id.to_wire(),
                content_type: content_type.into(),
                content: said.content.clone(),
            };
            let log = conversation();
            let generated = encode_entry(log, seq, &meta, notice, entry::Body::Message(message));
            let by_hand = encode_message(log, seq, &meta, &said);
            assert_eq!(by_hand.frame, generated.frame);
            assert_eq!(by_hand.body, generated.body);
            assert!(frame::decode(by_hand.frame.body()).is_ok());
            let stored = StoredEntry { seq, meta, erased: false, body: by_hand.body };
            let entry = decode_entry(&stored).unwrap();
            assert_eq!((entry.seq, entry.notice()), (seq, notice));
        }
    }

    #[test]
    fn a_signal_by_hand_is_what_the_generated_code_writes() {
        let user = |id| UserId::new(id).unwrap();
        for (kind, length) in [("", 0), ("typing", 1), ("a", 300)] {
            let payload = Bytes::from(vec![b'x'; length]);
            let conversation = conversation();
            let generated = EncodedFrame::push(Body::Signal(wire::Signal {
                conversation_id: conversation.to_wire(),
                kind: kind.into(),
                payload: payload.clone(),
                sender: 2,
            }));
            let signal = Signal { kind: kind.into(), payload };
            assert_eq!(encode_signal(conversation, &signal, user(2)), generated);
        }
    }

    #[test]
    fn the_digest_never_changes() {
        assert_eq!(digest(&message("", Bytes::new())), 0x0000_0000_527d_5351);
        let silent = Message { notice: Notice::Silent, ..message("", Bytes::new()) };
        assert_eq!(digest(&silent), 0x0010_0000_527d_5351);
        let uncounted = Message { notice: Notice::Uncounted, ..silent };
        assert_eq!(digest(&uncounted), 0x0020_0000_527d_5351);
        let other = digest(&message("a", Bytes::from_static(b"b")));
        assert_ne!(digest(&message("ab", Bytes::new())), other);
        assert_ne!(digest(&message("", Bytes::from_static(b"ab"))), other);
    }
}
