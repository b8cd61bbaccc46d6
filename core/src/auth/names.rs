//! User names, and the logs that make them unique.
//!
//! A registered name has [one spelling](super::spelling), so `Ada` typed at a login means `ada`. A name that an
//! issuer vouches for is taken byte by byte as it is: elsewhere `Ada` and `ada` may be two people,
//! and a server that merged them would let one read the other's messages.
//!
//! Both live in one namespace. Each name has a log whose first entry claims it; whoever is second
//! is refused by the store. The log is named by a hash, so the claim is compared with the name
//! before it is believed: two names with one hash can't become one user.

use dunlin_protocol::LogId;
use dunlin_protocol::limits::ISSUED_USERNAME_BYTES_MAX;
use ring::digest;

use super::{display, spelling};

/// Keeps these hashes apart from every other use of SHA-256.
const DOMAIN: &[u8] = b"dunlin user name 1\0";
const LOOK_DOMAIN: &[u8] = b"dunlin look of a name 1\0";

/// The log that claims a name.
pub fn log_of(username: &str) -> LogId {
    LogId::name(hashed(DOMAIN, username))
}

fn hashed(domain: &[u8], text: &str) -> [u8; 14] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(domain);
    context.update(text.as_bytes());
    let hash = context.finish();
    *hash.as_ref().first_chunk().expect("SHA-256 has more than 14 bytes")
}

/// The log that keeps names apart that look alike: see [`spelling::skeleton`].
pub fn log_of_look(username: &str) -> LogId {
    // No name, so that a list of all names does not come by it.
    LogId::service(&hashed(LOOK_DOMAIN, &spelling::skeleton(username)))
}

/// A registered name as a person types it: spaces around it and capitals don't matter.
pub fn normalised(typed: &str) -> String {
    spelling::meant(typed)
}

/// Whether an issuer may vouch for this name: of bounded length, nothing of it is hidden, and it is composed (NFC).
pub fn can_be_issued(username: &str) -> bool {
    (1..=ISSUED_USERNAME_BYTES_MAX).contains(&username.len())
        && display::can_be_shown(username)
        && spelling::is_composed(username)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_name_never_changes() {
        // Golden: another value would make every user of an existing store unknown.
        assert_eq!(log_of("ada").to_string(), "0400351e85a2ed657c6ab8357c5a598f");
        assert_ne!(log_of("ada"), log_of("Ada"));
    }

    #[test]
    fn typed_names_are_forgiven_capitals_and_spaces() {
        assert_eq!(normalised("  Ada.L\n"), "ada.l");
        assert_eq!(normalised(""), "");
    }

    #[test]
    fn issued_names_are_bounded_and_printable() {
        assert!(can_be_issued("Ädä Löwe <ada@example.org>"));
        assert!(can_be_issued(&"x".repeat(128)));
        assert!(!can_be_issued(&"x".repeat(129)));
        assert!(!can_be_issued(""));
        assert!(!can_be_issued("a\u{7f}"));
        assert!(!can_be_issued("a\u{85}b"));
        assert!(!can_be_issued("a\nb"));
        assert!(!can_be_issued("ada\u{200b}"));
        assert!(!can_be_issued("\u{202e}ada"));
        assert!(can_be_issued("Zo\u{eb}") && !can_be_issued("Zoe\u{308}"));
    }
}
