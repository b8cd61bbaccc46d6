//! `[data]`: where things are kept.

use std::path::PathBuf;

use super::error::SectionFaults;
use super::section::{Section, section};

section! {
    /// Where things are kept.
    Data {
        /// Folder of everything that the server keeps; made with mode 0700.
        folder: PathBuf = PathBuf::from("data"),
    }
}

impl Section for Data {
    const NAME: &'static str = "data";
    type Checked = ();

    fn check(&self, faults: &mut SectionFaults<'_>) {
        if self.folder.as_os_str().is_empty() {
            faults.refuse(&["folder"], "is empty; the data needs a folder");
        }
    }
}
