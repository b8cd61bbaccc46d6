//! The line that the user types.

use crate::text;

/// A message of this many bytes is the largest that a server takes.
const BYTES_MAX: usize = 64 * 1024;

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

    pub(crate) fn insert(&mut self, character: char) {
        if !character.is_control() && self.text.len() + character.len_utf8() <= BYTES_MAX {
            self.text.insert(self.cursor, character);
            self.cursor += character.len_utf8();
        }
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
        let before = text::tail(before, columns.saturating_sub(1));
        (format!("{before}{after}"), text::width(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Input {
        let mut input = Input::default();
        text.chars().for_each(|character| input.insert(character));
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
