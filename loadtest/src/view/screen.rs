//! Drawing in place, with the few sequences that every terminal knows.

use std::io::{self, Write};

// Lines that are too long are cut by the terminal, which alone knows its width: a line that is
// wrapped would make the next frame start too low.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// A few lines of a terminal, from where the cursor was at first.
#[derive(Debug)]
pub(super) struct Screen<W> {
    output: W,
    /// Lines of the last frame.
    height: usize,
}

impl<W: Write> Screen<W> {
    pub(super) fn new(output: W) -> Screen<W> {
        Screen { output, height: 0 }
    }

    /// Draws over the last frame. In one write, so that an end of the program in between leaves
    /// nothing half drawn; the cursor is below the frame then, where the report goes on.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut frame = self.above();
        frame.push_str(WRAP_OFF);
        lines.iter().for_each(|line| put_line(&mut frame, line));
        frame.push_str(CLEAR_BELOW);
        frame.push_str(WRAP_ON);
        self.height = lines.len();
        self.write(&frame)
    }

    /// Puts a line in the place of the last frame, where it stays: the next frame is drawn below.
    pub(super) fn say(&mut self, line: &str) -> io::Result<()> {
        let mut text = self.above();
        put_line(&mut text, line);
        text.push_str(CLEAR_BELOW);
        self.height = 0;
        self.write(&text)
    }

    /// The way back to where the last frame begins.
    fn above(&self) -> String {
        if self.height > 0 { format!("\x1b[{}A", self.height) } else { String::new() }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes())?;
        self.output.flush()
    }
}

fn put_line(text: &mut String, line: &str) {
    // Words of the server are in it: they must not command the terminal.
    text.extend(line.chars().map(|character| match character {
        control if control.is_control() => '\u{fffd}',
        other => other,
    }));
    text.push_str(CLEAR_LINE);
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_frame_covers_the_one_before() {
        let mut screen = Screen::new(Vec::new());
        screen.draw(&lines(&["one", "two", "three"])).unwrap();
        let first = String::from_utf8(std::mem::take(&mut screen.output)).unwrap();
        assert!(!first.contains('A'), "{first:?}");
        screen.draw(&lines(&["four"])).unwrap();
        let second = String::from_utf8(std::mem::take(&mut screen.output)).unwrap();
        assert_eq!(second, "\x1b[3A\x1b[?7lfour\x1b[K\r\n\x1b[J\x1b[?7h");
    }

    #[test]
    fn what_is_said_takes_the_place_of_the_frame_and_is_not_drawn_over() {
        let mut screen = Screen::new(Vec::new());
        screen.draw(&lines(&["one", "two"])).unwrap();
        screen.output.clear();
        screen.say("2000/s: met\x1b").unwrap();
        screen.say("  why").unwrap();
        screen.draw(&lines(&["three"])).unwrap();
        let written = String::from_utf8(screen.output).unwrap();
        let expected = "\x1b[2A2000/s: met\u{fffd}\x1b[K\r\n\x1b[J  why\x1b[K\r\n\x1b[J\
                        \x1b[?7lthree\x1b[K\r\n\x1b[J\x1b[?7h";
        assert_eq!(written, expected);
    }

    #[test]
    fn words_of_a_server_do_not_command_the_terminal() {
        let mut screen = Screen::new(Vec::new());
        screen.draw(&lines(&["\x1b]0;mine\x07\r\n\u{9b}2J"])).unwrap();
        let drawn = String::from_utf8(screen.output).unwrap();
        assert!(drawn.contains("\u{fffd}]0;mine\u{fffd}\u{fffd}\u{fffd}\u{fffd}2J"), "{drawn:?}");
    }
}
