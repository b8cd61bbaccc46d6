//! Frames on a socket: a length of 4 bytes, then so many bytes. Every call has a deadline for the
//! whole frame, however slowly its bytes come or go.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::error::LinkError;

const LENGTH_BYTES: usize = 4;

/// The room for a frame grows with the bytes that have come, not with what its length promises.
const READ_STEP_BYTES: usize = 64 * 1024;

/// A blocking socket.
#[derive(Debug)]
pub(super) struct Frames {
    socket: TcpStream,
}

impl Frames {
    pub(super) fn new(socket: TcpStream) -> Result<Frames, LinkError> {
        socket.set_nodelay(true).map_err(LinkError::Broken)?;
        Ok(Frames { socket })
    }

    pub(super) fn write(&mut self, body: &[u8], within: Duration) -> Result<(), LinkError> {
        let length = u32::try_from(body.len())
            .map_err(|_| LinkError::TooLong { bytes: body.len(), max: u32::MAX as usize })?;
        let frame = [&length.to_be_bytes(), body].concat();
        let deadline = Deadline::new(within);
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            let timeout = Some(deadline.left()?);
            self.socket.set_write_timeout(timeout).map_err(LinkError::Broken)?;
            let written = deadline.check(self.socket.write(rest))?;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// A frame of at most `max` bytes.
    pub(super) fn read(&mut self, max: usize, within: Duration) -> Result<Vec<u8>, LinkError> {
        let deadline = Deadline::new(within);
        let length = self.fill(LENGTH_BYTES, &deadline)?;
        let length = length.try_into().expect("as many bytes were read as a length has");
        let bytes = u32::from_be_bytes(length) as usize;
        if bytes > max {
            return Err(LinkError::TooLong { bytes, max });
        }
        self.fill(bytes, &deadline)
    }

    /// After the last word: lets the other side close first. If this side did, a system that is
    /// short of memory for sockets might drop what was not delivered yet.
    pub(super) fn part(mut self, within: Duration) {
        let _expected = self.read(0, within);
    }

    fn fill(&mut self, bytes: usize, deadline: &Deadline) -> Result<Vec<u8>, LinkError> {
        let (mut buffer, mut filled) = (Vec::new(), 0);
        while filled < bytes {
            buffer.resize(bytes.min(filled + READ_STEP_BYTES), 0);
            let timeout = Some(deadline.left()?);
            self.socket.set_read_timeout(timeout).map_err(LinkError::Broken)?;
            filled += deadline.check(self.socket.read(&mut buffer[filled..]))?;
            buffer.truncate(filled);
        }
        Ok(buffer)
    }
}

struct Deadline {
    within: Duration,
    at: Instant,
}

impl Deadline {
    fn new(within: Duration) -> Deadline {
        Deadline { within, at: Instant::now() + within }
    }

    /// What is left of it; never zero, which would mean "for ever" to a socket.
    fn left(&self) -> Result<Duration, LinkError> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(LinkError::Silent { seconds: self.within.as_secs() });
        }
        Ok(left)
    }

    /// How many bytes a call has moved: none if it was interrupted, or its time is over.
    fn check(&self, moved: io::Result<usize>) -> Result<usize, LinkError> {
        match moved {
            Ok(0) => Err(LinkError::Closed),
            Ok(bytes) => Ok(bytes),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(0),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Err(LinkError::Closed),
                _ => Err(LinkError::Broken(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn pair() -> (TcpStream, Frames) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (peer, Frames::new(listener.accept().unwrap().0).unwrap())
    }

    #[test]
    fn a_frame_comes_whole_however_it_was_cut() {
        let (mut peer, mut frames) = pair();
        let body: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
        let sender = std::thread::spawn(move || {
            let whole = [&300_000u32.to_be_bytes(), body.as_slice(), &[0; 4]].concat();
            let (head, rest) = whole.split_at(6);
            head.iter().for_each(|&byte| peer.write_all(&[byte]).unwrap());
            peer.write_all(rest).unwrap();
            (peer, body)
        });
        let read = frames.read(300_000, LONG).unwrap();
        let (peer, body) = sender.join().unwrap();
        assert_eq!(read, body);
        assert!(frames.read(0, LONG).unwrap().is_empty());
        drop(peer);
        assert!(matches!(frames.read(10, LONG), Err(LinkError::Closed)));
    }

    #[test]
    fn a_long_frame_is_refused_before_it_comes() {
        let (mut peer, mut frames) = pair();
        peer.write_all(&[0xff; 4]).unwrap();
        let error = frames.read(1024, LONG).unwrap_err();
        assert!(matches!(error, LinkError::TooLong { bytes: 0xffff_ffff, max: 1024 }), "{error}");
    }

    #[test]
    fn who_trickles_or_does_not_read_is_not_waited_for() {
        let (mut peer, mut frames) = pair();
        peer.write_all(&[0, 0, 0, 9, 1]).unwrap();
        let within = Duration::from_millis(30);
        assert!(matches!(frames.read(1024, within), Err(LinkError::Silent { .. })));
        let more_than_all_buffers = vec![0; 64 << 20];
        let written = frames.write(&more_than_all_buffers, within);
        assert!(matches!(written, Err(LinkError::Silent { .. })), "{written:?}");
    }
}
