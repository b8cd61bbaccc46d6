//! Signals, as items of a channel.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM or SIGINT.
    GoDown,
    /// SIGHUP.
    Reload,
}

/// Listens from now on. A handler may do next to nothing, so it sets a flag and writes a byte to
/// a pipe; a thread of ours reads the pipe.
///
/// A file that reaches the limit of its size (`ulimit -f`) is an error like a full disk, for whoever
/// writes it. Without a handler of its signal the process would end; nobody needs to hear of it.
pub(super) fn listen() -> io::Result<Receiver<Signal>> {
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let (reader, writer) = UnixStream::pair()?;
    let mut flags = Vec::new();
    for (number, signal) in
        [(SIGTERM, Signal::GoDown), (SIGINT, Signal::GoDown), (SIGHUP, Signal::Reload)]
    {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(number, Arc::clone(&flag))?;
        signal_hook::low_level::pipe::register(number, writer.try_clone()?)?;
        flags.push((flag, signal));
    }
    let (sender, receiver) = unbounded();
    let thread = std::thread::Builder::new().name("signals".into());
    thread.spawn(move || forward(reader, &flags, &sender))?;
    Ok(receiver)
}

fn forward(mut pipe: UnixStream, flags: &[(Arc<AtomicBool>, Signal)], sender: &Sender<Signal>) {
    let mut bytes = [0; 64];
    // The other end lives as long as the handlers, which is for ever.
    while pipe.read(&mut bytes).is_ok_and(|count| count > 0) {
        for (flag, signal) in flags {
            if flag.swap(false, Ordering::Relaxed) && sender.send(*signal).is_err() {
                return;
            }
        }
    }
}
