//! The system, or the terminal that closes, asks the program to end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Set once the program shall end; whoever waits looks at it a few times a second.
#[derive(Debug, Clone)]
pub(crate) struct EndWanted(Arc<AtomicBool>);

impl EndWanted {
    /// From now on these signals end the program in good order, and not before that.
    pub(crate) fn watch() -> io::Result<EndWanted> {
        let wanted = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGHUP, SIGINT] {
            flag::register(signal, Arc::clone(&wanted))?;
        }
        Ok(EndWanted(wanted))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
