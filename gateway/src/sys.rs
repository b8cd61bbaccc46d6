//! The one module with `unsafe`: a descriptor table of its own for a shard, threads that signals
//! don't reach, a word with the allocator, and what a peer has not acknowledged.
//!
//! RLIMIT_NOFILE counts the descriptors of a *table*, and a table may belong to a single thread.
//! So a process of 60 shards may hold 60 times as many connections as the limit says, without
//! privileges.
//!
//! The price is that a descriptor number means something only in its own table. The rule that
//! keeps this sound: whatever owns a descriptor (a socket, a file, a poll) is made, used and
//! dropped on one side. The numbers that both sides know are those of the shards' wake-up
//! eventfds, which are made before the tables part, owned outside, and closed in a shard's table by
//! the kernel when its last thread ends. See [`crate::shard::mailbox`].
//!
//! A signal handler knows numbers of the process's table, and may run on any thread that does not
//! block its signal: in another table it would write into nothing, or into somebody's connection.
//! So a thread with a table of its own blocks them all.
#![allow(
    unsafe_code,
    reason = "neither unshare, close_range, signal masks, the allocator nor SIOCOUTQ have safe wrappers"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, RawFd};

// Who links this library has it, even where another allocator is in use.
use mimalloc as _;

unsafe extern "C" {
    /// Of mimalloc.
    fn mi_collect(force: bool);
}

/// Standard input, output and error stay: logs are written to them from every thread.
const STANDARD_STREAMS: libc::c_uint = 3;

/// What the thread itself does wrong. Nobody else can take these signals, and a thread that blocks
/// them dies of them without a word.
const FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// Gives the calling thread a descriptor table of its own that holds the standard streams and
/// `keep` only. Copies of everything else are closed in it, or a file or a socket that the rest
/// of the process closes would stay open here for ever. From here on, signals to the process are
/// taken by other threads.
///
/// Call it first thing on a new thread, before anything is opened. An error means that the table
/// is still shared, which is sound too: it only makes room for fewer connections.
pub(crate) fn unshare_descriptor_table(keep: &[RawFd]) -> io::Result<()> {
    let keep = keep.iter().map(|&number| libc::c_uint::try_from(number));
    let mut keep = keep.collect::<Result<Vec<_>, _>>().map_err(|_| io::ErrorKind::InvalidInput)?;
    keep.sort_unstable();
    block_signals()?;
    // SAFETY: the call takes no pointers and changes only which table this thread uses. Numbers
    // that this thread knows stay valid, since the new table is a copy of the old one.
    if unsafe { libc::unshare(libc::CLONE_FILES) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut first = STANDARD_STREAMS;
    for number in keep {
        if number > first {
            close_range(first, number - 1);
        }
        first = first.max(number + 1);
    }
    close_range(first, libc::c_uint::MAX);
    Ok(())
}

/// Blocks all signals of this thread but its faults.
pub(crate) fn block_signals() -> io::Result<()> {
    let mut signals = MaybeUninit::uninit();
    // SAFETY: sigfillset makes a set of what it is given a valid place for, so it is one when it is
    // changed and read; the last call only reads it, and asks for no copy of the mask before.
    let error = unsafe {
        libc::sigfillset(signals.as_mut_ptr());
        for fault in FAULTS {
            libc::sigdelset(signals.as_mut_ptr(), fault);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), std::ptr::null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Gives the system what was freed, by whichever thread: the allocator does so by itself only when
/// somebody needs a page, and in a server that is idle nobody does.
pub(crate) fn give_back_memory() {
    // SAFETY: the declaration is that of mimalloc.h, which allows the call on any thread at any time. What
    // it gives back is in use by nobody. If another allocator is in use, there is nothing to give back.
    unsafe { mi_collect(true) };
}

/// Bytes that were written to a socket of TCP and that the other end has not acknowledged. It
/// acknowledges what its buffer takes: one that is not read from takes nothing once it is full.
pub(crate) fn unacknowledged_bytes(socket: &impl AsFd) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while its owner is borrowed; SIOCOUTQ, which has the number of
    // TIOCOUTQ, writes one int to where the pointer points, and keeps nothing.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(bytes).unwrap_or(0))
}

/// Closes numbers of this thread's own table. Kernels before 5.9 do not know the call: the copies
/// stay open then, which costs descriptors but harms nothing else, so the result is not needed.
fn close_range(first: libc::c_uint, last: libc::c_uint) {
    // SAFETY: called only after the table was unshared and before this thread opened anything,
    // so what is closed are copies that no object of this thread owns; the owners, on other
    // threads, use the numbers of another table.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn open_here() -> Vec<RawFd> {
        let entries = std::fs::read_dir("/proc/thread-self/fd").expect("a /proc");
        let number = |entry: io::Result<std::fs::DirEntry>| {
            entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok()
        };
        entries.filter_map(number).collect()
    }

    #[test]
    fn a_new_table_holds_the_standard_streams_and_what_is_kept() {
        let open = || File::open("/dev/null").expect("opens");
        let (one, _between, other) = (open(), [open(), open(), open()], open());
        let others: Vec<_> = (0..20).map(|_| File::open("/dev/null").expect("opens")).collect();
        let keep = [other.as_raw_fd(), one.as_raw_fd()];
        let inside =
            std::thread::spawn(move || unshare_descriptor_table(&keep).map(|()| open_here()));
        let Ok(inside) = inside.join().expect("no panic") else {
            return; // A sandbox that refuses it: the fallback is the shared table.
        };
        assert!(keep.iter().all(|kept| inside.contains(kept)), "{inside:?}");
        // One more is the folder that was being listed.
        assert!(inside.len() <= 6, "{inside:?}");
        let outside = open_here();
        assert!(others.iter().all(|other| outside.contains(&other.as_raw_fd())), "{outside:?}");
    }

    #[test]
    fn what_is_not_acknowledged_is_what_the_peer_has_no_room_for() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // Where there is no IPv6 there is none to be asked.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("heard");
            let (mut socket, _) = listener.accept().expect("it came");
            assert_eq!(unacknowledged_bytes(&socket).expect("a socket"), 0);
            socket.set_nonblocking(true).expect("possible");
            let mut written = 0;
            while let Ok(count) = socket.write(&[7; 64 * 1024]) {
                written += count;
            }
            let full = unacknowledged_bytes(&socket).expect("a socket") as usize;
            assert!(0 < full && full <= written, "{full} of {written}");
            // Half of it is read; how much of that the window says at once is up to the kernel.
            let mut half = vec![0; written / 2];
            (&peer).read_exact(&mut half).expect("it was written");
            while unacknowledged_bytes(&socket).expect("a socket") as usize >= full {
                std::thread::yield_now();
            }
        }
        let file = File::open("/proc/self/status").expect("a /proc");
        assert!(unacknowledged_bytes(&file).is_err());
    }

    /// Signals that this thread blocks: bit 0 is signal 1.
    fn blocked_here() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("a /proc");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("a mask");
        u64::from_str_radix(mask.trim(), 16).expect("hexadecimal")
    }

    #[test]
    fn a_thread_with_its_own_table_leaves_signals_to_others() {
        let before = blocked_here();
        let inside = std::thread::spawn(|| unshare_descriptor_table(&[]).map(|()| blocked_here()));
        let Ok(inside) = inside.join().expect("no panic") else { return };
        let blocks = |mask: u64, signal: libc::c_int| mask >> (signal - 1) & 1 == 1;
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD, libc::SIGWINCH] {
            assert!(blocks(inside, signal), "signal {signal} of {inside:x}");
        }
        for fault in FAULTS {
            assert!(!blocks(inside, fault), "fault {fault} of {inside:x}");
        }
        assert_eq!(blocked_here(), before, "of other threads");
    }
}
