//! What every section of the configuration has: keys with defaults, and a check.
//!
//! A section is a file: its keys, what they are by default, what they may be, and what they become
//! for the part that they are for. A new setting is written there, and in the example.

use super::error::{Faults, SectionFaults};

/// A part of the configuration.
pub(super) trait Section {
    /// Its name, as it is written.
    const NAME: &'static str;

    /// What the part that it is for wants to know.
    type Checked;

    /// Checks all of it. What is returned counts only if nothing is wrong.
    fn check(&self, faults: &mut SectionFaults<'_>) -> Self::Checked;
}

impl Faults {
    /// Checks a section.
    pub(super) fn check<S: Section>(&mut self, section: &S) -> S::Checked {
        section.check(&mut self.section(S::NAME))
    }
}

/// A struct of settings that is read strictly, with the default of each.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default,)* }
            }
        }
    };
}

pub(super) use section;
