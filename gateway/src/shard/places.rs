//! The places of all shards, and the way from one that has none left to one that has.
//!
//! The kernel spreads connections over the listeners of the shards by hash, whoever has descriptors left.
//! Who comes to a full shard would wait in its backlog while others have room. So a shard accepts beyond
//! its places, with the descriptors that it keeps for itself, and passes the socket on, by a socket that all of
//! them share (SCM_RIGHTS): a number would mean nothing in another descriptor table.
//!
//! A place is taken before a socket is on its way to it, so no place is promised twice. Sockets on the
//! way are all alike: each shard that was promised one takes one, whichever.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::stream::entrance::Entrance;

/// See the module.
#[derive(Debug)]
pub(crate) struct Places {
    /// Those that are taken, by shard.
    taken: Box<[AtomicUsize]>,
    of_each: usize,
    /// If there are several shards.
    passage: Option<Passage>,
}

/// Both ends belong to the process; shards know them by their numbers, as they know the eventfds (see
/// [`crate::sys`]).
#[derive(Debug)]
struct Passage {
    entry: OwnedFd,
    exit: OwnedFd,
}

impl Places {
    /// So many shards, with so many places each.
    pub(crate) fn new(shards: usize, of_each: usize) -> io::Result<Places> {
        let passage = if shards > 1 { Some(Passage::open()?) } else { None };
        let taken = (0..shards).map(|_| AtomicUsize::new(0)).collect();
        Ok(Places { taken, of_each, passage })
    }

    /// What a shard keeps of the descriptors of the process.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> + use<'_> {
        let ends = self.passage.iter().flat_map(|passage| [&passage.entry, &passage.exit]);
        ends.map(AsRawFd::as_raw_fd)
    }

    /// Takes a place of a shard, if it has one left.
    pub(crate) fn take(&self, shard: u16) -> bool {
        let taken = &self.taken[usize::from(shard)];
        let has_room = taken.fetch_add(1, Ordering::Relaxed) < self.of_each;
        if !has_room {
            taken.fetch_sub(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Takes a place of the shard that has most left. Says whose; `None` if nobody has any.
    pub(crate) fn take_anywhere(&self) -> Option<u16> {
        // Somebody else may be faster: then there is one place less than before, so this ends.
        loop {
            let taken = self.taken.iter().map(|taken| taken.load(Ordering::Relaxed));
            let (fewest, shard) = taken.zip(0..).min()?;
            if fewest >= self.of_each {
                return None;
            }
            if self.take(shard) {
                return Some(shard);
            }
        }
    }

    /// Takes one more place of a shard than it has: the descriptors that it keeps for itself allow a few.
    pub(crate) fn take_beyond(&self, shard: u16) {
        self.taken[usize::from(shard)].fetch_add(1, Ordering::Relaxed);
    }

    /// Those that are taken.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn taken(&self) -> usize {
        self.taken.iter().map(|taken| taken.load(Ordering::Relaxed)).sum()
    }

    /// A place is free again.
    pub(crate) fn give_back(&self, shard: u16) {
        let before = self.taken[usize::from(shard)].fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a place was taken");
    }

    /// Puts a socket on its way, of which the caller closes its own copy. The shard that has a place for it
    /// is to be told.
    pub(crate) fn pass(&self, socket: BorrowedFd<'_>, entrance: Entrance) -> io::Result<()> {
        let Some(passage) = &self.passage else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let sockets = [socket];
        let has_room = rights.push(SendAncillaryMessage::ScmRights(&sockets));
        debug_assert!(has_room, "it is made for one");
        let word = [entrance as u8];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&passage.entry, &[IoSlice::new(&word)], &mut rights, flags)?;
        Ok(())
    }

    /// Takes a socket that is on its way. There is one for each shard that was told of one.
    pub(crate) fn take_passed(&self) -> io::Result<(OwnedFd, Entrance)> {
        let Some(passage) = &self.passage else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        recvmsg(&passage.exit, &mut [IoSliceMut::new(&mut word)], &mut rights, flags)?;
        let passed = rights.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        });
        let entrance = Entrance::ALL.into_iter().find(|entrance| [*entrance as u8] == word);
        // Without a socket: this table had no descriptor for it.
        passed.zip(entrance).ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))
    }
}

impl Passage {
    fn open() -> io::Result<Passage> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Messages, of which each has its socket with it.
        let kind = SocketType::SEQPACKET;
        let (entry, exit) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        Ok(Passage { entry, exit })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_place_is_taken_once() {
        let places = Places::new(3, 2).unwrap();
        assert!(places.take(1) && places.take(1) && !places.take(1));
        let elsewhere: Vec<_> = std::iter::from_fn(|| places.take_anywhere()).collect();
        assert_eq!(elsewhere, [0, 2, 0, 2], "those who have most left come first");
        places.give_back(1);
        assert_eq!((places.take_anywhere(), places.take_anywhere()), (Some(1), None));
    }

    #[test]
    fn a_socket_arrives_with_its_entrance() {
        let places = Places::new(2, 1).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for entrance in Entrance::ALL {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (socket, peer) = listener.accept().unwrap();
            places.pass(socket.as_fd(), entrance).unwrap();
            drop(socket);
            let (passed, way_in) = places.take_passed().unwrap();
            let passed = TcpStream::from(passed);
            assert_eq!((way_in, passed.peer_addr().unwrap()), (entrance, peer));
            client.write_all(b"x").unwrap();
            assert_eq!(passed.peek(&mut [0; 8]).unwrap(), 1, "it is the same connection");
        }
        let nothing = places.take_passed().unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_a_lone_shard_has_no_place_for_goes_nowhere() {
        let places = Places::new(1, 1).unwrap();
        assert_eq!(places.descriptors().count(), 0);
        assert!(places.take(0) && places.take_anywhere().is_none());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(places.pass(listener.as_fd(), Entrance::Tcp).is_err());
    }
}
