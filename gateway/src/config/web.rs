//! `[web]`: what holds for browsers.

use super::error::SectionFaults;
use super::section::{Section, section};
use crate::stream::web::Origins;

section! {
    /// What holds for browsers.
    Web {
        /// Origins of the pages that may come in; empty for all.
        origins: Vec<String> = Vec::new(),
    }
}

impl Section for Web {
    const NAME: &'static str = "web";
    type Checked = ();

    fn check(&self, faults: &mut SectionFaults<'_>) {
        for origin in self.origins.iter().filter(|origin| !Origins::is_origin(origin)) {
            let reason =
                "is no origin, which is a scheme, a host, and a port if it is not the usual one";
            faults.refuse(&["origins"], format!("{origin:?} {reason}: https://chat.example"));
        }
    }
}

impl Web {
    /// Whose pages may come in.
    pub(crate) fn origins(&self) -> Origins {
        Origins::new(&self.origins)
    }
}
