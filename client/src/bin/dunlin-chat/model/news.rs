//! Something that happened, for those who read lines instead of a screen.

use std::fmt;

use dunlin_client::machine::SkipReason;

use crate::text;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// The state of the connection.
    Status(String),
    /// Somebody said something, or this user did on another device.
    Message {
        with: String,
        is_mine: bool,
        seq: u64,
        text: String,
    },
    /// A message from here is stored.
    Stored {
        with: String,
        seq: u64,
        text: String,
    },
    /// The other one has read up to here.
    Read {
        with: String,
        seq: u64,
    },
    Typing {
        with: String,
    },
    /// Messages that are not shown.
    Skipped {
        with: String,
        from_seq: u64,
        to_seq: u64,
        why: SkipReason,
    },
    /// For the user to know.
    Notice(String),
}

impl News {
    /// Names the other one, when the name has been found out.
    pub(crate) fn set_name(&mut self, name: &str) {
        match self {
            News::Message { with, .. }
            | News::Stored { with, .. }
            | News::Read { with, .. }
            | News::Skipped { with, .. }
            | News::Typing { with } => name.clone_into(with),
            News::Status(_) | News::Notice(_) => {}
        }
    }
}

/// One line, whatever is in it.
impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self {
            News::Status(status) => format!("- {status}"),
            News::Message { with, is_mine: false, seq, text } => format!("< {with} {seq}: {text}"),
            News::Message { with, is_mine: true, seq, text } => format!("> {with} {seq}: {text}"),
            News::Stored { with, seq, text } => format!("✓ {with} {seq}: {text}"),
            News::Read { with, seq } => format!("✓✓ {with} {seq}"),
            News::Typing { with } => format!("~ {with} is typing"),
            News::Skipped { with, from_seq, to_seq, why } => {
                let why = match why {
                    SkipReason::Backlog => "are too many and left out",
                    SkipReason::Expired => "have expired",
                    SkipReason::Damaged => "are damaged and can't be read",
                };
                format!("! {with} {from_seq} to {to_seq} {why}")
            }
            News::Notice(notice) => format!("* {notice}"),
        };
        f.write_str(&text::clean(&line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_one_line_without_control_characters() {
        let (with, text) = ("b\x1bob".to_owned(), "two\nlines\x1b[0m".to_owned());
        let news = News::Message { with, is_mine: false, seq: 7, text };
        let line = news.to_string();
        assert!(line.starts_with("< b"));
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}
