use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::model::tests::{conversation, entry, model, say, view as numbers};

/// The rows of a screen, without what is drawn only in colour.
fn screen(model: &Model, columns: u16, rows: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| _ = draw(frame, model, 1000)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let row = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..rows).map(row).collect()
}

fn shows(screen: &[String], text: &str) -> bool {
    screen.iter().any(|row| row.contains(text))
}

#[test]
fn a_conversation_shows_times_names_marks_and_unread_counts() {
    let mut model = model();
    model.apply(0, entry(1, 1, "hello bob", 1));
    model.apply(0, entry(2, 2, "hello alice", 2));
    model.apply(0, entry(3, 1, "how are you?", 3));
    model.apply(0, numbers(3, 1, 1));
    let list = screen(&model, 80, 20);
    assert!(shows(&list, "bob                  1"), "{list:#?}");
    model.go_to(conversation());
    say(&mut model, 9, "on its way");
    let rows = screen(&model, 80, 20);
    for expected in [
        "00:01 alice hello bob ✓✓",
        "00:02 bob hello alice  ",
        "00:03 alice how are you? ✓ ",
        "alice on its way …",
        "alice · connected",
    ] {
        assert!(shows(&rows, expected), "{expected:?} in {rows:#?}");
    }
}

#[test]
fn nothing_of_others_commands_the_terminal() {
    let mut model = model();
    model.apply(0, entry(1, 2, "\x1b]0;owned\x07\u{9b}2J\r\nnext", 1));
    model.go_to(conversation());
    let rows = screen(&model, 80, 20);
    assert!(!rows.iter().any(|row| row.chars().any(char::is_control)), "{rows:#?}");
    assert!(shows(&rows, "owned") && shows(&rows, "next"));
}

#[test]
fn wide_and_long_messages_wrap_in_narrow_screens() {
    let mut model = model();
    model.apply(0, entry(1, 2, &"世界".repeat(30), 1));
    model.go_to(conversation());
    for columns in [1, 2, 5, 20, 59, 60, 61, 200] {
        for rows in [1, 2, 4, 5, 12] {
            screen(&model, columns, rows);
        }
    }
    let rows = screen(&model, 40, 12);
    assert!(!shows(&rows, "conversations"), "there is no room for the list");
    // A wide character is followed by a cell that it covers.
    let shown: usize = rows.iter().map(|row| row.matches('世').count()).sum();
    assert_eq!(shown, 30);
}

#[test]
fn the_newest_is_in_view_until_one_scrolls() {
    let mut model = model();
    for seq in 1..=40 {
        model.apply(0, entry(seq, 2, &format!("message {seq}."), 1));
    }
    model.go_to(conversation());
    let rows = screen(&model, 80, 20);
    assert!(shows(&rows, "message 40.") && !shows(&rows, "message 20."));
    model.scroll(20, false);
    let rows = screen(&model, 80, 20);
    assert!(shows(&rows, "message 20.") && !shows(&rows, "message 40."));
    model.scroll(1000, false);
    assert!(shows(&screen(&model, 80, 20), "message 1."), "beyond the top is the top");
}

#[test]
fn secrets_are_not_shown() {
    let mut model = model();
    model.enter("/password");
    "secret".chars().for_each(|character| _ = model.input_mut().insert(character));
    let rows = screen(&model, 80, 20);
    assert!(shows(&rows, "password so far") && shows(&rows, "••••••"));
    assert!(!shows(&rows, "secret"));
}
