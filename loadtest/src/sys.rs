//! The few system calls that have no safe binding.
#![allow(unsafe_code, reason = "the one place for it; each block has its proof")]

use std::io;
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
    fn the_processor_time_of_a_process_rises() {
        let before = process_cpu(std::process::id()).unwrap();
        let mut sum = 0u64;
        while process_cpu(std::process::id()).unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(process_cpu(u32::MAX).is_err());
    }
}
