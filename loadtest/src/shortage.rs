//! What is this machine's fault, and not the server's.

use std::io;

/// Errors of the harness's own calls that say: this machine, as it is set up, can't do it.
/// Descriptors and ports that ran out, memory that the kernel did not give, no way to the server.
const SHORTAGES: [i32; 12] = [
    libc::EMFILE,
    libc::ENFILE,
    libc::EADDRNOTAVAIL,
    libc::EADDRINUSE,
    libc::ENOBUFS,
    libc::ENOMEM,
    // No room in epoll, or on a disk.
    libc::ENOSPC,
    libc::EDQUOT,
    // No more threads.
    libc::EAGAIN,
    libc::ENETDOWN,
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
];

/// The number of an error that this machine is to blame for.
pub(crate) fn shortage(error: &io::Error) -> Option<i32> {
    error.raw_os_error().filter(|errno| SHORTAGES.contains(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_ran_out_is_told_from_a_server_that_refuses() {
        let of = |errno| shortage(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(libc::EMFILE), Some(libc::EMFILE));
        assert_eq!(of(libc::EADDRNOTAVAIL), Some(libc::EADDRNOTAVAIL));
        for errno in [libc::ECONNREFUSED, libc::ECONNRESET, libc::ETIMEDOUT, libc::EPIPE] {
            assert_eq!(of(errno), None);
        }
        assert_eq!(shortage(&io::ErrorKind::AddrInUse.into()), None);
    }
}
