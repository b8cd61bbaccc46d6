//! What a line means.

use dunlin_protocol::wire::RequestState;
use dunlin_protocol::wire::update_conversation::Change;

/// A line that the user entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// A message for the open conversation.
    Say(&'a str),
    To(&'a str),
    /// Something of what the open conversation is to the user.
    Change(Change),
    LogIn,
    Register,
    Sessions,
    Logout,
    Password,
    Help,
    Quit,
    Unknown(&'a str),
    Nothing,
}

pub(crate) const HELP: &[&str] = &[
    "/to NAME      talk to somebody",
    "/accept       take somebody's first words; /ignore hears no more of them",
    "/hide         hide the conversation until something newer comes",
    "/clear        forget what was said so far, for you alone",
    "/unread       close the conversation, and come back to it later",
    "/sessions     where you are logged in",
    "/password     change your password",
    "/logout       end this session",
    "/login        log in again",
    "/register     make the account",
    "/quit         leave (Ctrl-C too)",
    "//text        say /text",
    "Up, Down, Tab other conversations; each keeps what you type for it",
    "Alt-Enter     a line break",
    "Ctrl-U        delete the line; Ctrl-Y brings it back, anywhere",
    "PgUp, PgDn    older and newer messages",
    "… on its way  ✓ stored  ✓✓ read  ✗ failed",
];

impl Command<'_> {
    pub(crate) fn parse(line: &str) -> Command<'_> {
        let Some(command) = line.strip_prefix('/') else {
            return if line.trim().is_empty() { Command::Nothing } else { Command::Say(line) };
        };
        if command.starts_with('/') {
            return Command::Say(command);
        }
        let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
        match (name, rest.trim()) {
            ("to", to) if !to.is_empty() => Command::To(to),
            ("accept", "") => Command::Change(Change::Request(RequestState::None.into())),
            ("ignore", "") => Command::Change(Change::Request(RequestState::Ignored.into())),
            // All that there is.
            ("hide", "") => Command::Change(Change::HideUpTo(u64::MAX)),
            ("clear", "") => Command::Change(Change::ClearUpTo(u64::MAX)),
            ("unread", "") => Command::Change(Change::MarkedUnread(true)),
            ("login", "") => Command::LogIn,
            ("register", "") => Command::Register,
            ("sessions", "") => Command::Sessions,
            ("logout", "") => Command::Logout,
            ("password", "") => Command::Password,
            ("help", _) => Command::Help,
            ("quit" | "exit", "") => Command::Quit,
            _ => Command::Unknown(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        assert_eq!(Command::parse("hello /to"), Command::Say("hello /to"));
        assert_eq!(Command::parse("//etc"), Command::Say("/etc"));
        assert_eq!(Command::parse("  "), Command::Nothing);
        assert_eq!(Command::parse("/to  bob "), Command::To("bob"));
        assert_eq!(Command::parse("/to"), Command::Unknown("/to"));
        assert_eq!(Command::parse("/unread"), Command::Change(Change::MarkedUnread(true)));
        assert_eq!(Command::parse("/clear all"), Command::Unknown("/clear all"));
        assert_eq!(Command::parse("/quit"), Command::Quit);
        assert_eq!(Command::parse("/password secret"), Command::Unknown("/password secret"));
    }
}
