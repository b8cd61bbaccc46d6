//! The few system calls that have no safe binding.
#![allow(unsafe_code, reason = "the one place for it; each block has its proof")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives the calling thread a descriptor table of its own, so that the limit of descriptors holds
/// per thread. Must be called before the thread opens its sockets.
pub(crate) fn own_descriptor_table() -> io::Result<()> {
    // SAFETY: the new table starts as a copy of the shared one, so every descriptor that this
    // thread got before stays valid in it under the same number. Those that it opens from now on
    // are owned by values that live on this thread's stack (`Reactor`) and are dropped by it; none
    // is sent to another thread, and none that other threads open later is used here.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }.map_err(io::Error::from)
}

/// Lets a later `bind` to port 0 choose the address only. `connect` then chooses the port, and looks
/// for a free one towards this peer, where `bind` wants one that is free towards everybody: that
/// takes 2 to 30 ms as soon as half of the ports are taken.
pub(crate) fn bind_without_port(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open while it is borrowed, and the option reads an int of which
    // both address and length are given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The size of a page of memory.
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: the call reads a constant of the system and has no preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    bytes.unsigned_abs()
}

/// User and system time that a process of this machine has used, with all its threads, those that
/// ended too. Exact to the nanosecond, where /proc counts ticks of 10 ms.
pub(crate) fn process_cpu(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a valid place for the clock's id, and the call writes nothing else.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for a timespec, and the call writes nothing else.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_leaves_the_choice_to_connect() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        bind_without_port(&socket).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 1, 2, 3], 0)).into()).unwrap();
        let local = || socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(local().to_string(), "127.1.2.3:0");
        socket.connect(&server.local_addr().unwrap().into()).unwrap();
        assert_eq!(local().ip().to_string(), "127.1.2.3");
        assert_eq!(server.accept().unwrap().1, local());
    }

    #[test]
    fn the_processor_time_of_a_process_rises() {
        let before = process_cpu(std::process::id()).unwrap();
        let mut sum = 0u64;
        while process_cpu(std::process::id()).unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(process_cpu(u32::MAX).is_err());
    }
}
