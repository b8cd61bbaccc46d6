//! The line that the user types.

use dunlin_protocol::limits;

use crate::text;

/// A message of this many bytes is the largest that a server takes.
pub(crate) const BYTES_MAX: usize = limits::CONTENT_BYTES_MAX;
/// Stands for a line break where there is one line to show it in.
const LINE_BREAK: &str = "⏎";

/// The text and the place of the cursor in it.
#[derive(Debug, Default)]
pub(crate) struct Input {
    text: String,
    /// In bytes, at the border of a character.
    cursor: usize,
}

impl Input {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing but blanks is in it.
    pub(crate) fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// Types a character; control characters are none. Says no if there is no room for it.
    pub(crate) fn insert(&mut self, character: char) -> bool {
        if character.is_control() {
            return true;
        }
        let has_room = self.text.len() + character.len_utf8() <= BYTES_MAX;
        if has_room {
            self.text.insert(self.cursor, character);
            self.cursor += character.len_utf8();
        }
        has_room
    }

    /// Types a whole text with its line breaks, or nothing of it if there is no room.
    pub(crate) fn insert_text(&mut self, text: &str) -> bool {
        let typed: String =
            text.chars().filter(|typed| !typed.is_control() || *typed == '\n').collect();
        let has_room = self.text.len() + typed.len() <= BYTES_MAX;
        if has_room {
            self.text.insert_str(self.cursor, &typed);
            self.cursor += typed.len();
        }
        has_room
    }

    pub(crate) fn delete_before(&mut self) {
        if let Some(before) = self.text[..self.cursor].chars().next_back() {
            self.cursor -= before.len_utf8();
            self.text.remove(self.cursor);
        }
    }

    pub(crate) fn delete_after(&mut self) {
        if self.cursor < self.text.len() {
            self.text.remove(self.cursor);
        }
    }

    pub(crate) fn left(&mut self) {
        let before = self.text[..self.cursor].chars().next_back();
        self.cursor -= before.map_or(0, char::len_utf8);
    }

    pub(crate) fn right(&mut self) {
        let after = self.text[self.cursor..].chars().next();
        self.cursor += after.map_or(0, char::len_utf8);
    }

    pub(crate) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(crate) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// Takes the line, and begins a new one.
    pub(crate) fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// What fits into so many columns around the cursor, and the column of the cursor in it.
    pub(crate) fn visible(&self, columns: usize, is_secret: bool) -> (String, usize) {
        let (before, after) = self.text.split_at(self.cursor);
        if is_secret {
            let stars = "•".repeat(before.chars().count().min(columns.saturating_sub(1)));
            let column = text::width(&stars);
            return (stars, column);
        }
        // More than so many characters are not in view, whatever their width.
        let after: String = after.chars().take(columns).collect();
        let (before, after) = (before.replace('\n', LINE_BREAK), after.replace('\n', LINE_BREAK));
        let before = text::tail(&before, columns.saturating_sub(1));
        (format!("{before}{after}"), text::width(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Input {
        let mut input = Input::default();
        assert!(text.chars().all(|character| input.insert(character)));
        input
    }

    #[test]
    fn it_edits_in_the_middle_of_wide_characters() {
        let mut input = typed("a世b");
        input.left();
        input.delete_before();
        assert_eq!(input.text(), "ab");
        input.insert('ü');
        input.home();
        input.delete_after();
        assert_eq!(input.text(), "üb");
        input.end();
        input.right();
        input.insert('!');
        assert_eq!(input.take(), "üb!");
        assert_eq!(input.text(), "");
        input.left();
        input.delete_before();
        input.delete_after();
    }

    #[test]
    fn control_characters_are_not_typed() {
        assert_eq!(typed("a\x1b\nb").text(), "ab");
        let mut input = Input::default();
        assert!(input.insert_text("a\x1b\tb\nc"));
        assert_eq!(input.text(), "ab\nc");
        assert_eq!(input.visible(10, false), ("ab⏎c".into(), 4));
    }

    #[test]
    fn what_has_no_room_is_not_cut() {
        let mut input = typed("ab");
        input.left();
        assert!(!input.insert_text(&"x".repeat(BYTES_MAX - 1)));
        assert_eq!(input.text(), "ab");
        assert!(input.insert_text(&"x".repeat(BYTES_MAX - 2)));
        assert!(!input.insert('y') && !input.insert_text("y"));
        assert!(input.text().starts_with("axx") && input.text().ends_with("xxb"));
    }

    #[test]
    fn the_cursor_stays_in_view_and_secrets_out_of_it() {
        let input = typed("hello world");
        assert_eq!(input.visible(6, false), ("world".into(), 5));
        let (shown, column) = input.visible(30, true);
        assert!(!shown.contains('h'));
        assert_eq!(column, 11);
    }
}
