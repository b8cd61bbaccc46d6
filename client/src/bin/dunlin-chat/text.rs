//! Text of other people, on its way to a terminal: nothing in it may be a command to the terminal,
//! and it is as wide as it is shown, not as it has bytes.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Stands for what must not be shown.
const REPLACEMENT: char = '\u{fffd}';

/// One line without anything that a terminal would obey, or that would turn the line around.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(clean_character).collect()
}

fn clean_character(character: char) -> char {
    match character {
        '\t' | '\n' => ' ',
        // Marks that change the direction of what follows, and could so forge a name or a time.
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => REPLACEMENT,
        // Both sets of control characters, and the separators of lines and paragraphs.
        '\u{2028}' | '\u{2029}' => ' ',
        control if control.is_control() => REPLACEMENT,
        other => other,
    }
}

/// The columns that a cleaned text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Breaks a text into lines of at most `columns`, at spaces where there are some. Line breaks of
/// the author are kept.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        wrap_paragraph(&clean(paragraph.trim_end_matches('\r')), columns, &mut lines);
    }
    lines
}

fn wrap_paragraph(paragraph: &str, columns: usize, lines: &mut Vec<String>) {
    let mut line = String::new();
    let mut used = 0;
    for character in paragraph.chars() {
        let wide = character.width().unwrap_or(0);
        if used + wide > columns {
            // What follows the last space goes to the next line, unless it fills the whole line.
            let rest = match line.rfind(' ') {
                Some(space) => line.split_off(space + 1),
                None => String::new(),
            };
            lines.push(std::mem::replace(&mut line, rest).trim_end().to_owned());
            used = line.width();
        }
        line.push(character);
        used += wide;
    }
    lines.push(line);
}

/// The end of a text that fits into so many columns.
pub(crate) fn tail(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (index, character) in text.char_indices().rev() {
        used += character.width().unwrap_or(0);
        if used > columns {
            return &text[index + character.len_utf8()..];
        }
    }
    text
}

/// A text cut to so many columns, with a sign that it was.
pub(crate) fn shorten(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > columns {
            break;
        }
        short.push(character);
    }
    short.push('…');
    short
}

/// Hours and minutes, as they are in this place, of a Unix time in milliseconds.
pub(crate) fn clock(time_ms: u64) -> String {
    clock_in(time_ms, TimeZone::system())
}

fn clock_in(time_ms: u64, zone: TimeZone) -> String {
    let time = i64::try_from(time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    // What no calendar has is what a broken server says.
    let Some(time) = time else { return "--:--".to_owned() };
    let here = time.to_zoned(zone);
    format!("{:02}:{:02}", here.hour(), here.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        let evil = "\x1b[2J\x07a\u{9b}31m\u{202e}b\r\u{0}\u{7f}c\td";
        let cleaned = clean(evil);
        assert!(!cleaned.chars().any(char::is_control), "{cleaned:?}");
        assert!(!cleaned.contains('\u{202e}'));
        assert!(cleaned.ends_with("c d"));
        assert_eq!(clean("grüße, 世界 👋"), "grüße, 世界 👋");
    }

    #[test]
    fn lines_are_as_wide_as_they_are_shown() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("世界世界世界", 5), ["世界", "世界", "世界"]);
        assert_eq!(wrap("a\r\nb\n\nc", 10), ["a", "b", "", "c"]);
        assert_eq!(wrap("", 10), [""]);
        for columns in 0..12 {
            for line in wrap("wide 世界 and narrow, e\u{301}a", columns) {
                assert!(width(&line) <= columns.max(2), "{line:?} in {columns}");
            }
        }
    }

    #[test]
    fn texts_are_cut_by_columns() {
        assert_eq!(tail("hello", 3), "llo");
        assert_eq!(tail("世界", 3), "界");
        assert_eq!(shorten("hello", 5), "hello");
        assert_eq!(shorten("hello", 4), "hel…");
        assert_eq!(shorten("世界世界", 6), "世界…");
    }

    #[test]
    fn the_clock_is_that_of_the_place() {
        let last_minute = (23 * 60 + 59) * 60_000 + 86_400_000;
        assert_eq!(clock_in(0, TimeZone::UTC), "00:00");
        assert_eq!(clock_in(last_minute, TimeZone::UTC), "23:59");
        let further_east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(clock_in(last_minute, further_east), "01:59");
        assert_eq!(clock_in(u64::MAX, TimeZone::UTC), "--:--");
    }
}
