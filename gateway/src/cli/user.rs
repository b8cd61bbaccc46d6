//! `dunlin user ..`: accounts, whether a server runs or not.

use std::io::Write;

use clap::{Args, Subcommand};

use super::password::PasswordArgs;
use super::{Failure, SettingsArgs, printed};
use crate::admin::{Access, Missing, Reply, Request, UserLine};

/// Users of a page: the most that the engine gives.
const PAGE: usize = dunlin_core::admin::LIST_USERS_MAX;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make an account, also where registration is switched off.
    Add {
        /// 3 to 32 characters of a-z 0-9 . _ - , beginning with a letter.
        name: String,
        /// Shown to others; the name without it.
        #[arg(long, value_name = "TEXT", default_value = "")]
        display_name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// List all accounts, in no meaningful order.
    List {
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// End all sessions of a user now, and let nobody log in.
    Disable(Name),
    /// Let a disabled user log in again.
    Enable(Name),
    /// Give a user a new password, and end all sessions.
    ResetPassword {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        password: PasswordArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct Name {
    /// The name, exactly as `dunlin user list` shows it.
    name: String,
}

pub(super) fn run(settings: &SettingsArgs, command: UserCommand) -> Result<(), Failure> {
    // What can't be asked for is asked before anything is opened.
    let (request, done) = match command {
        UserCommand::List { json } => return list(settings, json),
        UserCommand::Add { name, display_name, password } => {
            let (password, done) = (password.read()?, format!("{name} is added"));
            (Request::AddUser { username: name, password, display_name }, done)
        }
        UserCommand::Disable(Name { name }) => {
            let done = format!("{name} is disabled");
            (Request::DisableUser { username: name }, done)
        }
        UserCommand::Enable(Name { name }) => {
            let done = format!("{name} is enabled");
            (Request::EnableUser { username: name }, done)
        }
        UserCommand::ResetPassword { name: Name { name }, password } => {
            let (password, done) =
                (password.read()?, format!("{name} has a new password and no sessions"));
            (Request::ResetPassword { username: name, password }, done)
        }
    };
    let adds = matches!(request, Request::AddUser { .. });
    let missing = if adds { Missing::Make } else { Missing::Refuse };
    let mut access = Access::open(&settings.for_command()?, missing)?;
    let answer = access.ask(request);
    access.close();
    match answer? {
        Reply::UserAdded { user_id } => printed(|out| writeln!(out, "{done}, id {user_id}")),
        _ => printed(|out| writeln!(out, "{done}")),
    }
}

fn list(settings: &SettingsArgs, json: bool) -> Result<(), Failure> {
    let mut access = Access::open(&settings.for_command()?, Missing::Refuse)?;
    let listed = list_all(&mut access, json);
    access.close();
    listed
}

/// Page by page, so that a million users need the memory of a hundred.
fn list_all(access: &mut Access, json: bool) -> Result<(), Failure> {
    if !json {
        printed(|out| writeln!(out, "{:>16}  {:8}  {:>8}  NAME", "ID", "STATE", "SESSIONS"))?;
    }
    let (mut after, mut damage, mut unnamed) = (None, 0, 0);
    loop {
        let reply = access.ask(Request::ListUsers { after, limit: PAGE })?;
        let Reply::Users { users, damaged, next } = reply else {
            return Err("the server answered something else".into());
        };
        printed(|out| users.iter().try_for_each(|user| print_user(out, user, json)))?;
        // (Nobody knows which names these are: that is what is damaged.)
        unnamed += damaged.len();
        damage += users.iter().filter(|user| user.damaged).count();
        after = next;
        if after.is_none() {
            break;
        }
    }
    if unnamed > 0 {
        crate::log::last_words(&format!(
            "dunlin: the names of {unnamed} users can't be read, so they are not in the list, and can't \
             log in: nothing but a backup helps"
        ));
    }
    match damage + unnamed {
        0 => Ok(()),
        damage => Err(format!("{damage} users are damaged; `dunlin verify` says more").into()),
    }
}

fn print_user(out: &mut dyn Write, user: &UserLine, json: bool) -> std::io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, user)?;
        return writeln!(out);
    }
    let UserLine { user_id, username, issuer, disabled, sessions, damaged } = user;
    let state = match (damaged, disabled) {
        (true, _) => "damaged",
        (false, true) => "disabled",
        (false, false) => "enabled",
    };
    write!(out, "{user_id:>16}  {state:8}  {sessions:>8}  {username}")?;
    if !issuer.is_empty() {
        write!(out, "  (by {issuer})")?;
    }
    writeln!(out)
}
