//! Passwords come from a terminal or from standard input. Never from an argument: others on the
//! machine see those.

use std::io::{BufRead, IsTerminal};

use clap::Args;

use super::Failure;
use crate::admin::Secret;

/// Bytes of a line that may be a password: more than any password has, so that one that is too long is
/// refused by the engine, with a reason, and not cut.
const LINE_BYTES_MAX: u64 = 4096;

#[derive(Debug, Args)]
pub(super) struct PasswordArgs {
    /// Read the password from the first line of standard input.
    #[arg(long)]
    password_stdin: bool,
}

impl PasswordArgs {
    pub(super) fn read(&self) -> Result<Secret, Failure> {
        let stdin = std::io::stdin();
        if self.password_stdin {
            return Ok(Secret(first_line(stdin.lock())?));
        }
        if !stdin.is_terminal() {
            return Err("a password is needed: use a terminal, or --password-stdin".into());
        }
        let password = rpassword::prompt_password("Password: ")?;
        if rpassword::prompt_password("Once more: ")? != password {
            return Err("the two are not the same; nothing was changed".into());
        }
        Ok(Secret(password))
    }
}

fn first_line(input: impl BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    input.take(LINE_BYTES_MAX).read_line(&mut line)?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err("the first line of standard input is empty; a password is needed".into());
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line() {
        let line = |text: &str| first_line(text.as_bytes()).ok();
        assert_eq!(line(" pass word \r\nrest").as_deref(), Some(" pass word "));
        assert_eq!(line("no end").as_deref(), Some("no end"));
        assert_eq!((line(""), line("\n")), (None, None));
    }
}
