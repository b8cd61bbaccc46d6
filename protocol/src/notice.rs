//! What an entry does to those who have not seen it.

use crate::wire::Notice;

impl Notice {
    /// Whether it is unread for others until they have read it.
    pub const fn counts(self) -> bool {
        match self {
            Notice::Loud | Notice::Silent => true,
            Notice::Uncounted => false,
        }
    }

    /// Whether it may wake somebody: by a notification, a sound.
    pub const fn wakes(self) -> bool {
        match self {
            Notice::Loud => true,
            Notice::Silent | Notice::Uncounted => false,
        }
    }
}
