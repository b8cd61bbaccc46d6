//! The next segment file, made ahead in the background: to fill it with zeros takes longer than
//! a hundred commits.

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::super::disk::{Disk, DiskFile};
use super::super::segment::UNFINISHED_SUFFIX;

/// A file of zeros with the size of a segment.
#[derive(Debug)]
pub(in super::super) struct Spare {
    pub name: String,
    pub file: Arc<dyn DiskFile>,
}

/// The place where the next one lies ready.
#[derive(Debug, Default)]
pub(in super::super) struct SpareSlot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: Option<io::Result<Spare>>,
    closed: bool,
}

impl SpareSlot {
    /// Takes the next one, waiting until it is made, or why it can't be made. Then the one after
    /// it is begun.
    pub(in super::super) fn take(&self) -> io::Result<Spare> {
        let mut state = self.state.lock();
        loop {
            if let Some(spare) = state.ready.take() {
                self.changed.notify_all();
                return spare;
            }
            if state.closed {
                return Err(io::ErrorKind::NotConnected.into());
            }
            self.changed.wait(&mut state);
        }
    }

    /// Makes one whenever there is none, until it is closed.
    pub(in super::super) fn keep_filled(&self, disk: &dyn Disk, bytes: u64) {
        for number in 0_u64.. {
            let spare = make(disk, number, bytes);
            let mut state = self.state.lock();
            state.ready = Some(spare);
            self.changed.notify_all();
            while state.ready.is_some() && !state.closed {
                self.changed.wait(&mut state);
            }
            if state.closed {
                return;
            }
        }
    }

    /// Ends it.
    pub(in super::super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Forgets a failure, so that the next `take` sees a new attempt and not an old one.
    pub(in super::super) fn retry(&self) {
        let mut state = self.state.lock();
        if matches!(state.ready, Some(Err(_))) {
            state.ready = None;
            self.changed.notify_all();
        }
    }
}

fn make(disk: &dyn Disk, number: u64, bytes: u64) -> io::Result<Spare> {
    let name = format!("spare-{number}{UNFINISHED_SUFFIX}");
    let file = disk.create(&name)?;
    if let Err(error) = file.reserve(bytes) {
        // Half a file on a full disk would only keep it full.
        if let Err(other) = disk.remove(&name) {
            tracing::warn!(%other, name, "can't remove an unfinished segment");
        }
        return Err(error);
    }
    Ok(Spare { name, file })
}
