//! What names for people may be made of: one rule for display names, the names of devices, and the names
//! that issuers vouch for.
//!
//! Such a name is shown to others, beside other names, in lists, in terminals and logs. So there is nothing in
//! it that moves what is shown beside it (control characters, changes of direction), and nothing that
//! nobody sees, by which two names could look alike. Letters of all scripts are welcome, emoji as well.

use std::borrow::Cow;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Whether a name can be shown as it is, and something of it can be seen.
pub fn can_be_shown(name: &str) -> bool {
    matches!(shown(name), Cow::Borrowed(shown) if shown.len() == name.len())
        && name.chars().any(is_seen)
}

/// What of a name can be shown; perhaps nothing.
pub fn shown(name: &str) -> Cow<'_, str> {
    let mut before = None;
    let is_shown = |(at, c): (usize, char)| {
        let behind = name[at + c.len_utf8()..].chars().next();
        may_stand(before.replace(c), c, behind)
    };
    if name.char_indices().all(is_shown) {
        return Cow::Borrowed(name);
    }
    // What stands beside something that goes has other neighbours then.
    let visible = name.chars().filter(|c| is_seen(*c) || c.is_whitespace() && !is_break(*c));
    Cow::Owned(visible.collect())
}

/// A text that a terminal shows as it is, and nothing more: whatever moves or hides something stands there by its
/// number (`\u202e`), as JSON has it too. Lines end where they end.
pub fn escaped(text: &str) -> Cow<'_, str> {
    let is_odd = |c: char| c != '\n' && (kind_of(c) == Kind::Hidden || is_break(c));
    if !text.contains(is_odd) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_odd(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character may stand between these two.
fn may_stand(before: Option<char>, c: char, behind: Option<char>) -> bool {
    match kind_of(c) {
        Kind::Seen => true,
        Kind::Space => !is_break(c),
        Kind::Joiner => before.is_some_and(is_chosen) && behind.is_some_and(is_seen),
        Kind::Selector => before.is_some_and(is_seen),
        Kind::Tag => before.is_some_and(|before| before == FLAG || kind_of(before) == Kind::Tag),
        Kind::Hidden => false,
    }
}

fn is_seen(c: char) -> bool {
    kind_of(c) == Kind::Seen
}

/// Something that is seen, or chooses how that looks, behind which a joiner may stand.
fn is_chosen(c: char) -> bool {
    matches!(kind_of(c), Kind::Seen | Kind::Selector)
}

/// Tags behind it say which part of a country it is of.
const FLAG: char = '\u{1f3f4}';

/// Spaces that begin another line.
fn is_break(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A space within a line, of any width.
pub(crate) fn is_blank(c: char) -> bool {
    kind_of(c) == Kind::Space && !is_break(c)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Seen,
    Space,
    /// Shapes the letters beside it, which some scripts need, and joins emoji.
    Joiner,
    /// Chooses how the character before it looks.
    Selector,
    /// Says which flag it is.
    Tag,
    /// Nobody sees it, or it moves what is beside it.
    Hidden,
}

/// Format characters, and letters that are blank.
fn kind_of(c: char) -> Kind {
    match c {
        '\u{200c}' | '\u{200d}' => Kind::Joiner,
        '\u{180b}'..='\u{180d}'
        | '\u{180f}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0100}'..='\u{e01ef}' => Kind::Selector,
        '\u{e0020}'..='\u{e007f}' => Kind::Tag,
        c if c.is_whitespace() => Kind::Space,
        c if c.is_control() => Kind::Hidden,
        // They change the direction of what follows.
        '\u{061c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => Kind::Hidden,
        // They take no room, or only room.
        '\u{00ad}'
        | '\u{034f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180e}'
        | '\u{200b}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffc}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => Kind::Hidden,
        // Nobody knows what they look like, and half a word of UTF-16 is none.
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => Kind::Hidden,
        c if c.is_ascii() => Kind::Seen,
        // What nobody has assigned yet will look like anything.
        c if c.general_category() == GeneralCategory::Unassigned => Kind::Hidden,
        _ => Kind::Seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_are_names() {
        for name in [
            "Ada",
            "Ädä Löwe <ada@example.org>",
            "李小龍",
            "عمر الخيام",
            "שרה",
            // Joiners that these scripts need, and one that makes a family of three.
            "می\u{200c}خواهم",
            "ශ්\u{200d}රී",
            "👨\u{200d}👩\u{200d}👧",
            "I ❤\u{fe0f} Dunlin",
            "❤\u{fe0f}\u{200d}🔥",
            "🏳\u{fe0f}\u{200d}🌈",
            // England.
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "a\u{a0}b",
            "e\u{301}",
        ] {
            assert!(can_be_shown(name), "{name:?}");
            assert_eq!(shown(name), name);
        }
    }

    #[test]
    fn what_moves_or_hides_something_is_no_name() {
        for (name, rest) in [
            ("a\u{1b}[2Jb", "a[2Jb"),
            ("a\0b", "ab"),
            ("a\nb", "ab"),
            ("a\u{85}b", "ab"),
            ("a\u{2028}b", "ab"),
            ("a\u{202e}b", "ab"),
            ("a\u{2066}b\u{2069}", "ab"),
            ("a\u{200f}b", "ab"),
            ("a\u{200b}b", "ab"),
            ("\u{feff}a", "a"),
            ("a\u{ad}b", "ab"),
            ("\u{3164}", ""),
            ("\u{2800}", ""),
            ("a\u{e0041}", "a"),
            ("\u{f8ff}", ""),
            // Joiners that join nothing.
            ("a\u{200d}", "a"),
            ("\u{200c}a", "a"),
            ("a\u{200d}\u{200d}b", "ab"),
            ("a \u{200d}b", "a b"),
            ("\u{fe0f}a", "a"),
        ] {
            assert!(!can_be_shown(name), "{name:?}");
            assert_eq!(shown(name), rest, "{name:?}");
        }
    }

    #[test]
    fn what_is_printed_moves_nothing() {
        for plain in ["Ada\n", "می\u{200c}خواهم", "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}", ""]
        {
            assert!(matches!(escaped(plain), Cow::Borrowed(same) if same == plain), "{plain:?}");
        }
        for (odd, shown) in [
            ("a\u{1b}[2Jb\n", "a\\u001b[2Jb\n"),
            ("a\rb\tc\0", "a\\u000db\\u0009c\\u0000"),
            ("\u{202e}a\u{2028}", "\\u202ea\\u2028"),
            ("\u{e0001}", "\\udb40\\udc01"),
        ] {
            assert_eq!(escaped(odd), shown);
        }
        // In JSON it is the same text.
        let json = serde_json::to_string("a\u{202e}\u{e0001}b").unwrap();
        assert_eq!(serde_json::from_str::<String>(&escaped(&json)).unwrap(), "a\u{202e}\u{e0001}b");
    }

    #[test]
    fn something_of_a_name_must_be_seen() {
        assert!(!can_be_shown("") && !can_be_shown(" \u{3000}"));
    }

    #[test]
    fn what_is_left_of_any_text_can_be_shown() {
        let mut text = String::new();
        for code in 0..=0x10ffff {
            let Some(c) = char::from_u32(code) else { continue };
            text.extend([c, 'a']);
            if code % 4096 == 4095 {
                let rest = shown(&text);
                assert_eq!(shown(&rest), rest);
                assert!(can_be_shown(&rest));
                text.clear();
            }
        }
    }
}
