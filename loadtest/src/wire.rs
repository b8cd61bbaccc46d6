//! The few frames that make up nearly all of the traffic, written and read by hand.
//!
//! The generator shares its machine with the server that it measures. Prost takes 150 to 230 ns
//! and some allocations for a frame of 250 B; going over the borrowed bytes takes a quarter of
//! that (`cargo bench -p dunlin-bench`). Everything that is not in this file goes through prost.

/// The content type of test messages; not text, so that no client shows them.
pub const CONTENT_TYPE: &[u8] = b"x-load";

/// The kind of test signals.
pub const SIGNAL_KIND: &[u8] = b"load";

/// A conversation id on the wire.
pub type Conversation = [u8; 16];

const FRAME_REQUEST_ID: u8 = 0x08;
const FRAME_SEND: u8 = 2 << 3 | 2;
const FRAME_SIGNAL: u8 = 5 << 3 | 2;

/// Appends a frame with a Send. `content` must append exactly `content_bytes` bytes.
pub fn put_send(
    output: &mut Vec<u8>,
    request_id: u64,
    conversation: &Conversation,
    message_id: &[u8; 16],
    content_bytes: usize,
    content: impl FnOnce(&mut Vec<u8>),
) {
    let body = 2 * (2 + 16) + field_bytes(CONTENT_TYPE.len()) + field_bytes(content_bytes);
    put_head(output, request_id, FRAME_SEND, body);
    put_bytes(output, 1, conversation);
    put_bytes(output, 2, message_id);
    put_bytes(output, 3, CONTENT_TYPE);
    output.push(4 << 3 | 2);
    put_varint(output, content_bytes as u64);
    content(output);
}

/// Appends a frame with a Signal; a `request_id` of 0 asks for no response. `payload` must append
/// exactly `payload_bytes` bytes.
pub fn put_signal(
    output: &mut Vec<u8>,
    request_id: u64,
    conversation: &Conversation,
    payload_bytes: usize,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let body = 2 + 16 + field_bytes(SIGNAL_KIND.len()) + field_bytes(payload_bytes);
    put_head(output, request_id, FRAME_SIGNAL, body);
    put_bytes(output, 1, conversation);
    put_bytes(output, 2, SIGNAL_KIND);
    output.push(3 << 3 | 2);
    put_varint(output, payload_bytes as u64);
    payload(output);
}

fn put_head(output: &mut Vec<u8>, request_id: u64, tag: u8, body: usize) {
    let id_bytes = if request_id == 0 { 0 } else { 1 + varint_bytes(request_id) };
    let length = id_bytes + field_bytes(body);
    output.extend_from_slice(&(length as u32).to_be_bytes());
    if request_id != 0 {
        output.push(FRAME_REQUEST_ID);
        put_varint(output, request_id);
    }
    output.push(tag);
    put_varint(output, body as u64);
}

fn put_bytes(output: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    output.push(field << 3 | 2);
    put_varint(output, bytes.len() as u64);
    output.extend_from_slice(bytes);
}

fn put_varint(output: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        output.push(value as u8 | 0x80);
        value >>= 7;
    }
    output.push(value as u8);
}

/// Bytes of a length-delimited field with a one-byte tag.
fn field_bytes(length: usize) -> usize {
    1 + varint_bytes(length as u64) + length
}

fn varint_bytes(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// A frame of the server, as far as it is one of the busy kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// Response to a Send.
    Sent { request_id: u64, seq: u64 },
    /// Response to a Signal.
    Done { request_id: u64 },
    /// An entry with a message.
    Push { conversation: &'a [u8], entry: MessageEntry<'a> },
    /// Somebody's signal.
    Signal { conversation: &'a [u8], sender: u64, payload: &'a [u8] },
    /// Anything else; also what is no frame at all. Prost tells.
    Other,
}

/// The parts of an entry with a message that an audit needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageEntry<'a> {
    pub seq: u64,
    pub sender: u64,
    pub message_id: &'a [u8],
    pub content: &'a [u8],
}

/// Reads a frame body.
pub fn read(body: &[u8]) -> Inbound<'_> {
    read_frame(body).unwrap_or(Inbound::Other)
}

fn read_frame(body: &[u8]) -> Option<Inbound<'_>> {
    let mut request_id = 0;
    let mut inbound = Inbound::Other;
    let mut fields = Fields(body);
    while !fields.0.is_empty() {
        match fields.next()? {
            (1, Value::Number(id)) => request_id = id,
            (3, Value::Bytes(sent)) => {
                inbound = Inbound::Sent { request_id: 0, seq: first_number(sent)? };
            }
            (4, Value::Bytes(push)) => inbound = read_push(push)?,
            (5, Value::Bytes(signal)) => inbound = read_signal(signal)?,
            (8, Value::Bytes(_)) => inbound = Inbound::Done { request_id: 0 },
            _ => return None,
        }
    }
    Some(match inbound {
        Inbound::Sent { seq, .. } => Inbound::Sent { request_id, seq },
        Inbound::Done { .. } => Inbound::Done { request_id },
        other => other,
    })
}

fn first_number(message: &[u8]) -> Option<u64> {
    let mut fields = Fields(message);
    while !fields.0.is_empty() {
        if let (1, Value::Number(number)) = fields.next()? {
            return Some(number);
        }
    }
    Some(0)
}

fn read_push(push: &[u8]) -> Option<Inbound<'_>> {
    let (mut conversation, mut entry): (&[u8], _) = (&[], None);
    let mut fields = Fields(push);
    while !fields.0.is_empty() {
        match fields.next()? {
            (1, Value::Bytes(bytes)) => conversation = bytes,
            (2, Value::Bytes(bytes)) => entry = Some(read_entry(bytes)?),
            _ => {}
        }
    }
    Some(Inbound::Push { conversation, entry: entry? })
}

/// Only entries with a message; others are for prost.
fn read_entry(bytes: &[u8]) -> Option<MessageEntry<'_>> {
    let (mut entry, mut is_message) = (MessageEntry::default(), false);
    let mut fields = Fields(bytes);
    while !fields.0.is_empty() {
        match fields.next()? {
            (1, Value::Number(seq)) => entry.seq = seq,
            (3, Value::Fixed(sender)) => entry.sender = sender,
            (2 | 4 | 5, Value::Number(_)) => {}
            (8, Value::Bytes(message)) => {
                is_message = true;
                let mut fields = Fields(message);
                while !fields.0.is_empty() {
                    match fields.next()? {
                        (1, Value::Bytes(id)) => entry.message_id = id,
                        (3, Value::Bytes(content)) => entry.content = content,
                        _ => {}
                    }
                }
            }
            _ => return None,
        }
    }
    is_message.then_some(entry)
}

fn read_signal(signal: &[u8]) -> Option<Inbound<'_>> {
    let (mut conversation, mut payload): (&[u8], &[u8]) = (&[], &[]);
    let mut sender = 0;
    let mut fields = Fields(signal);
    while !fields.0.is_empty() {
        match fields.next()? {
            (1, Value::Bytes(bytes)) => conversation = bytes,
            (3, Value::Bytes(bytes)) => payload = bytes,
            (4, Value::Fixed(user)) => sender = user,
            _ => {}
        }
    }
    Some(Inbound::Signal { conversation, sender, payload })
}

/// The fields of a message that are still to be read.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => {
                let (bytes, rest) = self.0.split_first_chunk::<8>()?;
                self.0 = rest;
                Value::Fixed(u64::from_le_bytes(*bytes))
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dunlin_protocol::frame;
    use dunlin_protocol::wire::{self, Entry, Frame, entry, frame::Body};
    use prost::Message;

    use super::*;

    fn decoded(output: &[u8]) -> Frame {
        let (body, rest) = frame::split(output, 1 << 20).unwrap().unwrap();
        assert!(rest.is_empty());
        Frame::decode(body).unwrap()
    }

    #[test]
    fn what_is_written_by_hand_is_what_prost_reads() {
        for (request_id, bytes) in [(1, 28), (127, 127), (128, 128), (u64::MAX, 65_536)] {
            let content = vec![7; bytes];
            let mut output = Vec::new();
            put_send(&mut output, request_id, &[1; 16], &[2; 16], bytes, |output| {
                output.extend_from_slice(&content);
            });
            let Some(Body::Send(send)) = decoded(&output).body else { panic!("no Send") };
            assert_eq!(decoded(&output).request_id, request_id);
            assert_eq!(
                (&send.conversation_id[..], &send.client_message_id[..]),
                (&[1; 16][..], &[2; 16][..])
            );
            assert_eq!(
                (send.content_type.as_bytes(), &send.content[..]),
                (CONTENT_TYPE, &content[..])
            );

            let mut output = Vec::new();
            put_signal(&mut output, 0, &[1; 16], bytes, |output| {
                output.extend_from_slice(&content);
            });
            let Some(Body::Signal(signal)) = decoded(&output).body else { panic!("no Signal") };
            assert_eq!((signal.kind.as_bytes(), &signal.payload[..]), (SIGNAL_KIND, &content[..]));
        }
    }

    fn body(request_id: u64, body: Body) -> Vec<u8> {
        Frame { request_id, body: Some(body) }.encode_to_vec()
    }

    fn push(body: entry::Body) -> Body {
        let entry = Entry {
            seq: 300,
            time_ms: 1 << 40,
            sender: 77,
            counted: 9,
            sender_counted: 8,
            body: Some(body),
            ..Entry::default()
        };
        Body::Push(wire::Push { conversation_id: Bytes::from_static(&[3; 16]), entry: Some(entry) })
    }

    #[test]
    fn what_prost_writes_is_read_by_hand() {
        let sent = body(900, Body::Sent(wire::Sent { seq: 70_000, time_ms: 5 }));
        assert_eq!(read(&sent), Inbound::Sent { request_id: 900, seq: 70_000 });
        assert_eq!(read(&body(4, Body::Done(wire::Done {}))), Inbound::Done { request_id: 4 });
        let message = wire::Message {
            client_message_id: Bytes::from_static(&[4; 16]),
            content_type: "x-load".to_owned(),
            content: Bytes::from_static(b"content"),
        };
        let pushed = body(0, push(entry::Body::Message(message)));
        let entry =
            MessageEntry { seq: 300, sender: 77, message_id: &[4; 16], content: b"content" };
        assert_eq!(read(&pushed), Inbound::Push { conversation: &[3; 16], entry });
        let signal = body(
            0,
            Body::Signal(wire::Signal {
                conversation_id: Bytes::from_static(&[3; 16]),
                kind: "load".to_owned(),
                payload: Bytes::from_static(b"payload"),
                sender: 77,
            }),
        );
        let expected = Inbound::Signal { conversation: &[3; 16], sender: 77, payload: b"payload" };
        assert_eq!(read(&signal), expected);
    }

    #[test]
    fn rare_frames_are_left_to_prost_and_cut_ones_harm_nobody() {
        let void = body(0, push(entry::Body::Void(wire::Void {})));
        assert_eq!(read(&void), Inbound::Other);
        assert_eq!(read(&body(1, Body::GoAway(wire::GoAway::default()))), Inbound::Other);
        let signal = body(9, Body::Signal(wire::Signal { sender: 1, ..Default::default() }));
        for length in 0..signal.len() {
            read(&signal[..length]);
        }
        assert_eq!(read(&[0xff; 40]), Inbound::Other);
    }
}
