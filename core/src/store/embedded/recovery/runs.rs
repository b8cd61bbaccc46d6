//! The index files of a folder: which count, which are made again, and which are no longer needed.

use std::io;
use std::sync::Arc;

use super::super::config::OpenError;
use super::super::disk::read_all;
use super::super::index::run::Run;
use super::super::index::{run_name, run_segments};
use super::Recovery;

impl Recovery<'_> {
    /// Opens the index files; what is damaged is made again from its segments.
    pub(super) fn open_runs(
        &mut self,
        names: &[String],
        filter_bytes_max: usize,
    ) -> Result<(), OpenError> {
        self.filter_bytes_left = filter_bytes_max;
        let mut kept = self.choose_runs(names)?;
        // The newest are asked most often: their filters come first.
        kept.reverse();
        for segments in kept {
            if let Err(error) = self.open_run(segments)? {
                tracing::debug!(%error, "an index file can't be opened");
                self.make_again(run_name(segments.0, segments.1));
            }
        }
        Ok(())
    }

    /// The index files that count. One that others cover is left from a merge that was interrupted after its
    /// end; but a name alone covers nothing.
    fn choose_runs(&mut self, names: &[String]) -> Result<Vec<(u32, u32)>, OpenError> {
        let mut found: Vec<(u32, u32)> =
            names.iter().filter_map(|name| run_segments(name)).collect();
        // The longest of those that begin together comes first.
        found.sort_unstable_by_key(|&(first, last)| (first, std::cmp::Reverse(last)));
        let mut kept: Vec<(u32, u32)> = Vec::new();
        for (first, last) in found {
            while let Some(&wider) = kept.last()
                && first <= wider.1
            {
                let filters_left = std::mem::take(&mut self.filter_bytes_left);
                let opened = self.run_at(wider)?;
                self.filter_bytes_left = filters_left;
                if opened.is_ok() {
                    break;
                }
                kept.pop();
                self.make_again(run_name(wider.0, wider.1));
            }
            if kept.last().is_some_and(|wider| first <= wider.1) {
                self.let_run_go(run_name(first, last));
            } else {
                kept.push((first, last));
            }
        }
        Ok(kept)
    }

    /// Opens an index file; or says why it is damaged.
    pub(super) fn open_run(
        &mut self,
        segments: (u32, u32),
    ) -> Result<Result<(), io::Error>, OpenError> {
        Ok(self.run_at(segments)?.map(|run| {
            self.filter_bytes_left -= run.filter_bytes();
            self.runs.insert(segments.0, Arc::new(run));
        }))
    }

    fn run_at(&self, segments: (u32, u32)) -> Result<Result<Run, io::Error>, OpenError> {
        match Run::open(self.disk, &self.identity, segments, self.filter_bytes_left) {
            Err(error) if error.kind() != io::ErrorKind::InvalidData => {
                let name = run_name(segments.0, segments.1);
                Err(OpenError::io("can't open", self.disk.path().join(name))(error))
            }
            opened => Ok(opened),
        }
    }

    /// Lets go an index file that another one covers. If it is of other segments than its name says, nothing covers it.
    fn let_run_go(&mut self, name: String) {
        if self.is_run_misplaced(&name) { self.set_aside(name) } else { self.unneeded.push(name) }
    }

    /// Whether an index file is of other segments than its name says, as far as that can be read.
    fn is_run_misplaced(&self, name: &str) -> bool {
        let misplaced = |segments| {
            let file = self.disk.open(name)?;
            Run::is_misplaced(&*file, &self.identity, segments)
        };
        run_segments(name).is_some_and(|segments| misplaced(segments).unwrap_or(false))
    }

    /// An index file is damaged: what it covers is read instead.
    pub(super) fn make_again(&mut self, name: String) {
        if self.is_run_misplaced(&name) {
            // It may be all that knows what was in the segments that it is of.
            return self.set_aside(name);
        }
        // Whether it can be read at all.
        if let Err(error) = self.watch.open(&name).and_then(|file| read_all(&*file)) {
            tracing::debug!(%error, file = name, "an index file can't be read");
        }
        tracing::error!(file = name, "an index file is damaged and made again");
        self.report.indexes_rebuilt += 1;
        self.damaged_runs.push(name);
    }

    /// Lets go the index files that were made again. Where something is lost of what one is about, nothing
    /// else may know it: it stays under another name.
    pub(super) fn let_runs_go(&mut self) {
        for name in self.damaged_runs.clone() {
            let Some((first, last)) = run_segments(&name) else { continue };
            if self.runs.get(&first).is_some_and(|run| run.segments() == (first, last)) {
                continue;
            }
            let rows = self.extent.sealed().filter(|(number, _)| (first..=last).contains(number));
            let has_loss = rows.into_iter().any(|(_, row)| row.has_loss());
            if has_loss && self.watch.is_unread(&name) {
                self.set_aside(name);
            } else {
                self.unneeded.push(name);
            }
        }
    }

    /// The run that covers a segment.
    pub(in super::super) fn run_of(&self, segment: u32) -> Option<&Arc<Run>> {
        let (_, run) = self.runs.range(..=segment).next_back()?;
        (segment <= run.segments().1).then_some(run)
    }
}
