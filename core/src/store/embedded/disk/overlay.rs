//! A disk that only reads: what is written to it stays in memory, over what is below.
//!
//! A store that is looked at without a server is brought into order on it exactly as if it were
//! opened, and nothing of that reaches the files: so it works on a copy that is evidence, and on a
//! medium that can't be written.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::disk::{Disk, DiskFile};

/// The disk. See the [module](self).
#[derive(Debug)]
pub(in super::super) struct Overlay {
    below: Arc<dyn Disk>,
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    /// Files that were opened or made, under the names that they have now.
    over: HashMap<String, Arc<OverlayFile>>,
    /// Names below that are taken away.
    removed: HashSet<String>,
}

/// A file of which only the changes are in memory; all of it, if it was made here.
#[derive(Debug)]
struct OverlayFile {
    below: Option<Arc<dyn DiskFile>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes that are still those below.
    kept: u64,
    length: u64,
    /// What was written over them, in order.
    patches: Vec<(u64, Vec<u8>)>,
    /// What is behind them.
    behind: Vec<u8>,
}

impl Overlay {
    pub(in super::super) fn new(below: Arc<dyn Disk>) -> Overlay {
        Overlay { below, names: Mutex::default() }
    }
}

impl Disk for Overlay {
    fn path(&self) -> PathBuf {
        self.below.path()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let state = State { kept: 0, length: 0, patches: Vec::new(), behind: Vec::new() };
        let file = Arc::new(OverlayFile { below: None, state: Mutex::new(state) });
        let mut names = self.names.lock();
        names.removed.remove(name);
        names.over.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut names = self.names.lock();
        if let Some(file) = names.over.get(name) {
            return Ok(Arc::clone(file) as Arc<dyn DiskFile>);
        }
        if names.removed.contains(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = self.below.open(name)?;
        let length = below.bytes()?;
        let state = State { kept: length, length, patches: Vec::new(), behind: Vec::new() };
        let file = Arc::new(OverlayFile { below: Some(below), state: Mutex::new(state) });
        names.over.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.open(from)?;
        let mut names = self.names.lock();
        let Some(file) = names.over.remove(from) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        names.removed.insert(from.to_owned());
        names.removed.remove(to);
        names.over.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.open(name)?;
        let mut names = self.names.lock();
        names.over.remove(name);
        names.removed.insert(name.to_owned());
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let below = self.below.names()?;
        let names = self.names.lock();
        let is_below =
            |name: &String| !names.removed.contains(name) && !names.over.contains_key(name);
        Ok(below.into_iter().filter(is_below).chain(names.over.keys().cloned()).collect())
    }

    fn folders(&self) -> io::Result<Vec<String>> {
        let below = self.below.folders()?;
        let names = self.names.lock();
        Ok(below.into_iter().filter(|name| !names.removed.contains(name)).collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    /// Copies what was written here over what was read from below, from `offset`.
    fn lay_over(&self, buffer: &mut [u8], offset: u64) {
        let behind = std::iter::once((self.kept, &self.behind));
        let patches = self.patches.iter().map(|(at, bytes)| (*at, bytes));
        for (at, bytes) in behind.chain(patches) {
            let from = at.max(offset);
            let to = (at + bytes.len() as u64).min(offset + buffer.len() as u64);
            if from < to {
                let target = &mut buffer[(from - offset) as usize..(to - offset) as usize];
                target.copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
            }
        }
    }
}

impl DiskFile for OverlayFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state.lock();
        let rest = usize::try_from(state.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(rest);
        let buffer = &mut buffer[..wanted];
        buffer.fill(0);
        let kept = usize::try_from(state.kept.saturating_sub(offset)).unwrap_or(usize::MAX);
        if let Some(below) = &self.below {
            below.read_at(&mut buffer[..wanted.min(kept)], offset)?;
        }
        state.lay_over(buffer, offset);
        Ok(wanted)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let end = offset + bytes.len() as u64;
        let over = usize::try_from(state.kept.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (over, behind) = bytes.split_at(over.min(bytes.len()));
        if !over.is_empty() {
            state.patches.push((offset, over.to_vec()));
        }
        if !behind.is_empty() {
            let at = (end - behind.len() as u64 - state.kept) as usize;
            if state.behind.len() < at + behind.len() {
                state.behind.resize(at + behind.len(), 0);
            }
            state.behind[at..at + behind.len()].copy_from_slice(behind);
        }
        state.length = state.length.max(end);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.kept = state.kept.min(bytes);
        state.length = bytes;
        let (kept, behind) = (state.kept, bytes - state.kept);
        state.behind.resize(usize::try_from(behind).unwrap_or(usize::MAX), 0);
        state.patches.retain_mut(|(at, patch)| {
            patch.truncate(usize::try_from(kept.saturating_sub(*at)).unwrap_or(usize::MAX));
            !patch.is_empty()
        });
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.truncate(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.state.lock().length)
    }

    fn has_unreadable(&self) -> bool {
        self.below.as_ref().is_some_and(|below| below.has_unreadable())
    }
}
