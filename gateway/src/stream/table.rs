//! The streams of a shard, each kind in a table of its own: a slot would else have room for the
//! largest of them.

use std::io;
use std::sync::Arc;

use super::Stream;
use super::entrance::Entrance;
use super::plain::PlainStream;
use super::tls::TlsStream;
use super::web::{SecureWebStream, WebStream};
use crate::slots::Slots;
use crate::tls::TlsConfigs;

/// 36 TLS connections of 1,136 bytes fill a size class of the allocator; one alone would take 1,280.
const TLS_PER_CHUNK: usize = 36;

/// With a WebSocket in it they take 1,160 bytes.
const SECURE_WEB_PER_CHUNK: usize = 35;

/// 170 WebSockets of 24 bytes fill a page.
const WEB_PER_CHUNK: usize = 170;

/// See the module.
#[derive(Debug)]
pub(crate) struct Streams {
    tls: Slots<TlsStream, TLS_PER_CHUNK>,
    web: Slots<WebStream, WEB_PER_CHUNK>,
    secure_web: Slots<SecureWebStream, SECURE_WEB_PER_CHUNK>,
}

/// The kind of a connection's stream, and where its state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKey {
    Plain,
    Tls(Place),
    Web(Place),
    SecureWeb(Place),
}

impl StreamKey {
    /// Where its connection came in.
    pub(crate) fn entrance(self) -> Entrance {
        match self {
            StreamKey::Plain => Entrance::Tcp,
            StreamKey::Tls(_) => Entrance::Tls,
            StreamKey::Web(_) => Entrance::Web,
            StreamKey::SecureWeb(_) => Entrance::WebTls,
        }
    }
}

// It is in every slot, which has no byte to spare.
const _: () = assert!(size_of::<Option<StreamKey>>() == 4);

/// A place in a table: 24 bits, which are 16 million places. That many TLS connections take
/// 50 GB, and a node has many shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place([u8; 3]);

impl Place {
    fn new(index: usize) -> io::Result<Place> {
        match u32::try_from(index).map(u32::to_le_bytes) {
            Ok([low, middle, high, 0]) => Ok(Place([low, middle, high])),
            Ok(_) | Err(_) => Err(io::Error::other("a shard has no more room for streams")),
        }
    }

    fn index(self) -> usize {
        let [low, middle, high] = self.0;
        u32::from_le_bytes([low, middle, high, 0]) as usize
    }
}

impl Streams {
    pub(crate) fn new() -> Streams {
        Streams { tls: Slots::new(), web: Slots::new(), secure_web: Slots::new() }
    }

    /// Begins the stream of a connection that came in.
    pub(crate) fn open(
        &mut self,
        entrance: Entrance,
        tls: Option<&TlsConfigs>,
    ) -> io::Result<StreamKey> {
        match entrance {
            Entrance::Tcp => Ok(StreamKey::Plain),
            Entrance::Tls => {
                let config = tls.ok_or_else(without_certificate)?;
                let place = Place::new(self.tls.next_key())?;
                self.tls.insert(TlsStream::new(Arc::clone(&config.frames))?);
                Ok(StreamKey::Tls(place))
            }
            Entrance::Web => {
                let place = Place::new(self.web.next_key())?;
                self.web.insert(WebStream::new());
                Ok(StreamKey::Web(place))
            }
            Entrance::WebTls => {
                let config = tls.ok_or_else(without_certificate)?;
                let place = Place::new(self.secure_web.next_key())?;
                self.secure_web.insert(SecureWebStream::new(Arc::clone(&config.web))?);
                Ok(StreamKey::SecureWeb(place))
            }
        }
    }

    pub(crate) fn of(&mut self, key: StreamKey) -> Stream<'_> {
        match key {
            StreamKey::Plain => Stream::Plain(PlainStream),
            StreamKey::Tls(place) => Stream::Tls(&mut self.tls[place.index()]),
            StreamKey::Web(place) => Stream::Web(&mut self.web[place.index()]),
            StreamKey::SecureWeb(place) => Stream::SecureWeb(&mut self.secure_web[place.index()]),
        }
    }

    /// Gives back what a stream held.
    pub(crate) fn remove(&mut self, key: StreamKey) {
        match key {
            StreamKey::Plain => {}
            StreamKey::Tls(place) => drop(self.tls.remove(place.index())),
            StreamKey::Web(place) => drop(self.web.remove(place.index())),
            StreamKey::SecureWeb(place) => drop(self.secure_web.remove(place.index())),
        }
    }

    /// How many of them hold anything.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn len(&self) -> usize {
        self.tls.len() + self.web.len() + self.secure_web.len()
    }
}

fn without_certificate() -> io::Error {
    io::Error::other("there is no certificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_leads_where_it_was_made_for() {
        for index in [0, 1, 255, 256, 65_535, 65_536, 0xFF_FFFF] {
            assert_eq!(Place::new(index).unwrap().index(), index);
        }
        assert!(Place::new(0x100_0000).is_err());
        assert!(Place::new(usize::MAX).is_err());
    }

    #[test]
    fn a_secure_entrance_without_a_certificate_lets_nobody_in() {
        let mut streams = Streams::new();
        assert!(streams.open(Entrance::Tls, None).is_err());
        assert!(streams.open(Entrance::WebTls, None).is_err());
        assert_eq!(streams.open(Entrance::Tcp, None).unwrap(), StreamKey::Plain);
        assert_eq!(streams.len(), 0);
    }
}
