//! Calls of a thread with one epoll, none of which waits but [`wait`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;

/// Events taken from the kernel at once.
pub(crate) const EVENTS_MAX: usize = 1024;

/// Waits for events; appends as many as there is room for.
pub(crate) fn wait(epoll: impl AsFd, events: &mut Vec<epoll::Event>) -> io::Result<()> {
    match epoll::wait(epoll, spare_capacity(events), None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How much there is to read, at most a buffer; `None` if nothing is. The end is an error.
pub(crate) fn read(mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match stream.read(buffer) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(filled) => Ok(Some(filled)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// How much of it the socket took.
pub(crate) fn write(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}
