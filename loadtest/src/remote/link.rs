//! Messages between two who trust each other: JSON, sealed with the keys of their connection.

use std::time::Duration;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::LinkError;
use super::frames::Frames;
use super::secret::{Role, Secret};

/// How long the other side may take for a message. A machine under full load may leave a thread
/// without processor for seconds.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest message is what a generator brings home: histograms of at most some 100 KB each.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A connection after its handshake.
pub(super) struct Link {
    frames: Frames,
    sealing: Direction,
    opening: Direction,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl Link {
    /// `nonces` are those of both greetings.
    pub(super) fn new(frames: Frames, secret: &Secret, own: Role, nonces: &[u8]) -> Link {
        Link {
            frames,
            sealing: Direction::new(secret.key(own, nonces)),
            opening: Direction::new(secret.key(own.other(), nonces)),
        }
    }

    pub(super) fn send(&mut self, message: &impl Serialize) -> Result<(), LinkError> {
        let mut body = serde_json::to_vec(message)?;
        let sealed_bytes = body.len() + CHACHA20_POLY1305.tag_len();
        if sealed_bytes > MESSAGE_BYTES_MAX {
            return Err(LinkError::TooLong { bytes: sealed_bytes, max: MESSAGE_BYTES_MAX });
        }
        let (key, nonce) = self.sealing.next();
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut body)
            .map_err(|_| LinkError::Own("a message could not be sealed".to_owned()))?;
        self.frames.write(&body, ANSWER_TIMEOUT)
    }

    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> Result<T, LinkError> {
        let mut body = self.frames.read(MESSAGE_BYTES_MAX, ANSWER_TIMEOUT)?;
        let (key, nonce) = self.opening.next();
        let opened = key.open_in_place(nonce, Aad::empty(), &mut body);
        Ok(serde_json::from_slice(opened.map_err(|_| LinkError::Forged)?)?)
    }

    /// The last message of a conversation.
    pub(super) fn send_last(mut self, message: &impl Serialize) -> Result<(), LinkError> {
        self.send(message)?;
        self.frames.part(ANSWER_TIMEOUT);
        Ok(())
    }

    /// Sends a question and waits for its answer.
    pub(super) fn ask<T: DeserializeOwned>(
        &mut self,
        question: &impl Serialize,
    ) -> Result<T, LinkError> {
        self.send(question)?;
        self.receive()
    }
}

/// The key of one direction. Messages are counted, and the count is the nonce: one that is
/// repeated, left out or put elsewhere does not open.
struct Direction {
    key: LessSafeKey,
    messages: u64,
}

impl Direction {
    fn new(key: LessSafeKey) -> Direction {
        Direction { key, messages: 0 }
    }

    fn next(&mut self) -> (&LessSafeKey, Nonce) {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&self.messages.to_be_bytes());
        self.messages += 1;
        (&self.key, Nonce::assume_unique_for_key(nonce))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn pair(own: Role) -> (Link, Link) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let link = |socket, role| {
            let frames = Frames::new(socket).unwrap();
            Link::new(frames, &Secret::of(b"secret"), role, b"nonces")
        };
        (link(peer, own), link(listener.accept().unwrap().0, Role::Generator))
    }

    #[test]
    fn messages_go_both_ways_in_their_order() {
        let (mut one, mut other) = pair(Role::Coordinator);
        for number in 0..3u32 {
            one.send(&number).unwrap();
            assert_eq!(other.receive::<u32>().unwrap(), number);
            other.send(&[number]).unwrap();
            assert_eq!(one.receive::<[u32; 1]>().unwrap(), [number]);
        }
        one.send(&"a word").unwrap();
        assert!(matches!(other.receive::<u32>(), Err(LinkError::Garbled(_))));
    }

    #[test]
    fn what_is_said_twice_by_a_stranger_or_by_oneself_does_not_open() {
        let (mut one, mut other) = pair(Role::Coordinator);
        one.send(&1u32).unwrap();
        assert_eq!(other.receive::<u32>().unwrap(), 1);
        one.sealing.messages = 0;
        one.send(&1u32).unwrap();
        assert!(matches!(other.receive::<u32>(), Err(LinkError::Forged)));
        let (mut one, mut other) = pair(Role::Coordinator);
        one.frames.write(&[0; 64], ANSWER_TIMEOUT).unwrap();
        assert!(matches!(other.receive::<u32>(), Err(LinkError::Forged)));
        let (mut mirror, mut other) = pair(Role::Generator);
        mirror.send(&1u32).unwrap();
        assert!(matches!(other.receive::<u32>(), Err(LinkError::Forged)));
    }
}
