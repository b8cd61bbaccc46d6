//! One spelling of what people type: names and passwords that look the same are the same, whatever keyboard, system
//! or form of Unicode they come from.
//!
//! What is done is what PRECIS asks for (RFC 8264 to 8266), by the tables of today's Unicode:
//!
//! | what | spelt | refused |
//! |---|---|---|
//! | [`username`] | narrow, lower case, NFC (UsernameCaseMapped) | all but letters and marks that UTS 39 allows in identifiers, ASCII digits and `. _ -`; mixed scripts; what is not 3 to 32 characters |
//! | [`display_name`] | one blank for each run of blanks, NFC (Nickname, but not NFKC) | what [can't be shown](super::display) |
//! | [`password`] | ASCII blanks, NFC (OpaqueString) | new ones with control and unassigned characters |
//!
//! Names that look alike have the same [`skeleton`], and only one of them can be registered.

use std::borrow::Cow;

use dunlin_protocol::limits::USERNAME_LENGTH;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_security::{GeneralSecurityProfile, RestrictionLevel, RestrictionLevelDetection};

use super::display;

/// The user name that somebody means, whether or not it is one: narrow, lower case, NFC, without blanks around it.
pub fn meant(typed: &str) -> String {
    let typed = typed.trim();
    if typed.is_ascii() {
        return typed.to_ascii_lowercase();
    }
    let narrow: String = typed.chars().flat_map(narrowed).collect();
    narrow.to_lowercase().nfc().collect()
}

/// Full-width and half-width forms as the characters that they are forms of: keyboards of East Asia type them.
fn narrowed(c: char) -> impl Iterator<Item = char> {
    let is_form = matches!(c, '\u{3000}' | '\u{ff01}'..='\u{ffef}');
    let form = is_form.then(|| c.nfkc());
    form.into_iter().flatten().chain((!is_form).then_some(c))
}

/// A new user name as it is kept, or what is wrong with it.
pub fn username(typed: &str) -> Result<String, String> {
    let name = meant(typed);
    let characters = name.chars().count();
    if !USERNAME_LENGTH.contains(&characters) {
        let (least, most) = (USERNAME_LENGTH.start(), USERNAME_LENGTH.end());
        return Err(format!("{characters} characters, not {least} to {most}"));
    }
    let begins_well = name.starts_with(is_letter);
    if !begins_well || !name.chars().all(|c| is_letter(c) || is_mark(c) || is_other(c)) {
        return Err("a letter, then letters, 0-9 . _ - are allowed".into());
    }
    if !name.is_ascii() && !name.check_restriction_level(RestrictionLevel::HighlyRestrictive) {
        return Err("letters of different scripts are mixed".into());
    }
    if !is_read_in_one_direction(&name) {
        return Err("a name that is read from the right ends with a letter or digit".into());
    }
    Ok(name)
}

/// Digits are those of ASCII: of others, a system may show the ones for the others.
fn is_other(c: char) -> bool {
    matches!(c, '0'..='9' | '.' | '_' | '-')
}

fn is_letter(c: char) -> bool {
    let is_letter = matches!(
        c.general_category(),
        GeneralCategory::LowercaseLetter
            | GeneralCategory::ModifierLetter
            | GeneralCategory::OtherLetter
    );
    is_letter && is_allowed(c)
}

fn is_mark(c: char) -> bool {
    let is_mark = matches!(
        c.general_category(),
        GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark
    );
    is_mark && is_allowed(c)
}

/// In common use, in identifiers, and no other form of something else.
fn is_allowed(c: char) -> bool {
    GeneralSecurityProfile::identifier_allowed(c) && c.nfkc().eq([c])
}

/// What stands last in a name that is read from the right is shown on the other side of it, if it is neither a
/// letter nor a digit (RFC 5893). A name of one script has no letters of both directions.
fn is_read_in_one_direction(name: &str) -> bool {
    name.is_ascii() || !name.chars().any(is_from_the_right) || !name.ends_with(['.', '_', '-'])
}

/// Hebrew, Arabic, Syriac, Thaana, N'Ko and what else is encoded beside them.
fn is_from_the_right(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}')
}

/// What a user name looks like: names with the same skeleton are taken for each other (UTS 39). Nobody sees it.
pub fn skeleton(username: &str) -> String {
    let skeleton: String = unicode_security::skeleton(username).collect();
    // Zero looks like a capital O, and so like an o.
    skeleton.to_lowercase()
}

/// A name for people as it is kept; `None` if it [can't be shown](display::can_be_shown).
pub fn display_name(typed: &str) -> Option<String> {
    let words: Vec<_> = typed.split(display::is_blank).filter(|word| !word.is_empty()).collect();
    let name: String = words.join(" ").nfc().collect();
    display::can_be_shown(&name).then_some(name)
}

/// A password as it is hashed: blanks are those of ASCII, and letters are composed, on whatever keyboard they were typed.
pub fn password(typed: &str) -> Cow<'_, str> {
    if typed.is_ascii() {
        return Cow::Borrowed(typed);
    }
    let is_blank = |c: char| c.general_category() == GeneralCategory::SpaceSeparator;
    Cow::Owned(typed.chars().map(|c| if is_blank(c) { ' ' } else { c }).nfc().collect())
}

/// Whether a new password will be the same wherever it is typed: control characters can't be typed everywhere, and
/// how an unassigned one is composed is not decided yet.
pub fn can_be_password(password: &str) -> bool {
    let is_odd = |c: char| {
        matches!(c.general_category(), GeneralCategory::Control | GeneralCategory::Unassigned)
    };
    !password.chars().any(is_odd)
}

/// Whether a name is spelt in the only way that is accepted of who spells it by himself.
pub fn is_composed(name: &str) -> bool {
    unicode_normalization::is_nfc(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_what_they_were_and_letters_of_other_scripts() {
        for name in [
            "ada",
            "a-b",
            "ada.l_7-",
            "müller",
            "жанна",
            "小龍女",
            "عمر12",
            "שרה",
            "さくら花子",
            "đặng",
        ] {
            assert_eq!(username(name).as_deref(), Ok(name), "{name}");
        }
        for (typed, name) in [
            (" ADA\n", "ada"),
            ("ＡＤＡ", "ada"),
            ("Mu\u{308}ller", "müller"),
            ("MÜLLER", "müller"),
            ("ΆΛΦΑ", "άλφα"),
        ] {
            assert_eq!(username(typed).as_deref(), Ok(name), "{typed}");
        }
        for typed in [
            "",
            "ab",
            "7ada",
            ".ada",
            "a da",
            "ada!",
            "ada\u{200b}",
            "a\u{202e}da",
            "ada\u{200d}b",
            "\u{301}ada",
            "ﬁsch",
            "ada²",
            "٣عمر",
            "عمر٣",
            "😀ada",
            "ada😀",
            "ada\u{378}",
            "\u{e000}ada",
            // Cyrillic and Latin, Greek and Latin.
            "аda",
            "adа",
            "αda",
            "עברית-",
            &"x".repeat(33),
        ] {
            assert!(username(typed).is_err(), "{typed:?}");
        }
    }

    #[test]
    fn what_is_kept_is_meant_by_itself() {
        for typed in ["ADA", "Mu\u{308}ller", "İstanbul", "ΣΊΣΥΦΟΣ", "straße", "ＡＤＡ"]
        {
            let Ok(name) = username(typed) else { continue };
            assert_eq!(username(&name).as_ref(), Ok(&name), "{typed}");
            assert_eq!(meant(&name), name, "{typed}");
        }
    }

    #[test]
    fn names_that_look_alike_have_one_skeleton() {
        for (one, other) in [
            ("ada", "аdа"),
            ("paypal", "paypa1"),
            ("bob", "b0b"),
            ("burner", "bumer"),
            ("scope", "ѕсоре"),
        ] {
            assert_eq!(skeleton(one), skeleton(other), "{one} {other}");
        }
        for (one, other) in
            [("ada", "adb"), ("ada", "ada1"), ("user1", "user2"), ("mueller", "müller")]
        {
            assert_ne!(skeleton(one), skeleton(other), "{one} {other}");
        }
    }

    #[test]
    fn display_names_have_one_spelling() {
        for (typed, name) in [
            ("  Ada \u{a0} L.  ", "Ada L."),
            ("Zoe\u{308}", "Zoë"),
            ("李\u{3000}小龍", "李 小龍"),
            ("👨\u{200d}👩\u{200d}👧", "👨\u{200d}👩\u{200d}👧"),
        ] {
            assert_eq!(display_name(typed).as_deref(), Some(name), "{typed:?}");
        }
        for typed in
            ["", " \u{3000}", "a\nb", "a\u{202e}b", "\u{200b}", "a\u{378}", "\u{301}\u{200b}"]
        {
            assert_eq!(display_name(typed), None, "{typed:?}");
        }
    }

    #[test]
    fn a_password_is_the_same_on_every_keyboard() {
        assert_eq!(password("cafe\u{301} au\u{a0}lait"), password("café au lait"));
        assert_eq!(password("correct horse"), "correct horse");
        // Capitals, and forms that are not the same, are different.
        assert_ne!(password("Café"), password("café"));
        assert_ne!(password("ﬁsh"), password("fish"));
        assert!(can_be_password("pass ❤\u{fe0f} 👨\u{200d}👩\u{200d}👧 word"));
        for odd in ["pass\0word", "pass\nword", "pass\u{378}word"] {
            assert!(!can_be_password(odd), "{odd:?}");
        }
    }
}
