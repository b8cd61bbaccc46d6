//! `[tls]`: certificates.

use std::path::{Path, PathBuf};

use super::error::SectionFaults;
use super::section::{Section, section};
use crate::tls::Certificate;

section! {
    /// Certificates.
    Tls {
        /// PEM file of the certificate and its chain; empty for one of our own.
        certificate_file: PathBuf = PathBuf::new(),
        /// PEM file of its key.
        key_file: PathBuf = PathBuf::new(),
    }
}

impl Section for Tls {
    const NAME: &'static str = "tls";
    type Checked = ();

    fn check(&self, faults: &mut SectionFaults<'_>) {
        if self.certificate_file.as_os_str().is_empty() != self.key_file.as_os_str().is_empty() {
            faults.refuse(&["key_file"], "and tls.certificate_file go together");
        }
    }
}

impl Tls {
    /// The certificate that is named; `None` for one of our own. (Where only one of the two files is named,
    /// the check has refused it.)
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        let mut named = [&self.certificate_file, &self.key_file].into_iter();
        let is_named = named.any(|file| !file.as_os_str().is_empty());
        is_named.then(|| Certificate::of_files(&self.certificate_file, &self.key_file))
    }

    /// The file of the key, if one is named.
    pub(super) fn secret_file(&self) -> Option<&Path> {
        (!self.key_file.as_os_str().is_empty()).then_some(self.key_file.as_path())
    }
}
