//! Ctrl-C and SIGTERM: the first one ends the measuring, the second one the program.
//!
//! A run that is told to stop lets its window end, brings home what is under way, and is audited and
//! reported like any other. Whoever does not want to wait for that says it again: then nothing is
//! written, but no server that was started for the run is left behind.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::spawn;

/// What whoever looks on is told after the first signal.
pub const WORDS: &str =
    "interrupted: what is under way is brought home and audited; once more ends at once";

/// The same for a process that makes load for a coordinator.
pub const SAID_TO_GENERATORS: &str =
    "interrupted: a run that goes on is brought to its end first; once more ends at once";

/// Whether this process was told to come to an end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Shared by itself with scenarios, which end when it becomes true.
    stop: Arc<AtomicBool>,
    is_told: Mutex<bool>,
    changed: Condvar,
}

impl Interrupt {
    /// Listens for signals from now on: the first one is kept, a second one ends the program.
    pub fn listen() -> io::Result<Interrupt> {
        let interrupt = Interrupt::default();
        let told = interrupt.clone();
        forward(move |signal| if told.is_told() { end(signal) } else { told.tell() })?;
        Ok(interrupt)
    }

    /// Whether there was one.
    pub fn is_told(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    /// Becomes true with the first one.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.stop)
    }

    /// Waits for the first one.
    pub fn wait(&self) {
        let is_told = self.0.is_told.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.changed.wait_while(is_told, |is_told| !*is_told);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn tell(&self) {
        self.0.stop.store(true, Ordering::Release);
        *self.0.is_told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}

/// Lets the first signal end the program, and with it the servers that it has started. They have
/// process groups of their own, so the terminal does not tell them.
pub fn end_with_servers() -> io::Result<()> {
    forward(end)
}

/// A handler may do next to nothing, so it sets a flag and writes a byte to a pipe; a thread reads it.
///
/// Handlers may run on generator threads, whose descriptor tables are copies of this process's: the
/// pipe has its number there, too, if it was made before those threads were.
fn forward(mut take: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    let (mut reader, writer) = UnixStream::pair()?;
    let mut flags = Vec::new();
    for signal in [SIGINT, SIGTERM] {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        flags.push((flag, signal));
    }
    let mut byte = [0; 1];
    let read = move || {
        // The other end lives as long as the handlers, which is for ever.
        while reader.read(&mut byte).is_ok_and(|count| count > 0) {
            for (flag, signal) in &flags {
                if flag.swap(false, Ordering::AcqRel) {
                    take(*signal);
                }
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(read).map(drop)
}

/// Ends the program as this signal would, had nobody listened: whoever started it sees by which.
fn end(signal: i32) {
    spawn::kill_all();
    let _only_if_no_signal = signal_hook::low_level::emulate_default_handler(signal);
    std::process::exit(128 + signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_it_is_woken() {
        let interrupt = Interrupt::default();
        let flag = interrupt.flag();
        assert!(!interrupt.is_told() && !flag.load(Ordering::Acquire));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| interrupt.wait());
            interrupt.tell();
            waiting.join().unwrap();
        });
        assert!(interrupt.is_told() && flag.load(Ordering::Acquire));
        interrupt.wait();
    }
}
