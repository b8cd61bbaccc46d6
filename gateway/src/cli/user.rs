//! `dunlin user ..`: accounts, whether a server runs or not.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};

use super::password::PasswordArgs;
use super::{Failure, SettingsArgs, printed, session};
use crate::admin::{Access, Missing, Reply, Request, UserLine};

/// Users of a page: the most that the engine gives.
const PAGE: usize = dunlin_core::admin::LIST_USERS_MAX;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make an account, also where registration is switched off.
    Add {
        /// 3 to 32 letters, 0-9 . _ - , beginning with a letter.
        name: String,
        /// Shown to others; the name without it.
        #[arg(long, value_name = "TEXT", default_value = "")]
        display_name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// List all accounts, in no meaningful order without --sort.
    List {
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
        /// In this order; takes the memory of all.
        #[arg(long, value_enum, value_name = "BY")]
        sort: Option<Order>,
    },
    /// List the accounts with a text in their name, of all there are.
    Search {
        /// Upper and lower case are the same.
        text: String,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// End all sessions of a user now, and let nobody log in.
    Disable(Name),
    /// Let a disabled user log in again.
    Enable(Name),
    /// Give a user another display name.
    Display {
        #[command(flatten)]
        name: Name,
        /// Shown to others; empty for the name.
        display_name: String,
    },
    /// Show what is known of a user.
    Show {
        #[command(flatten)]
        name: Name,
        /// One JSON object, with the sessions.
        #[arg(long)]
        json: bool,
    },
    /// List the sessions of a user.
    Sessions {
        #[command(flatten)]
        name: Name,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// End all sessions of a user, or one, now; the user may log in again.
    Kick {
        #[command(flatten)]
        name: Name,
        /// Only this one, as `dunlin user sessions` shows it.
        #[arg(long, value_name = "ID")]
        session: Option<u64>,
    },
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

/// In which order accounts are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// By name.
    Name,
    /// By number.
    Id,
    /// Those with most sessions first, then by name.
    Sessions,
}

/// Which accounts are listed, and how.
struct Listing {
    json: bool,
    /// In lower case; empty for all.
    text: String,
    order: Option<Order>,
}

impl Listing {
    fn wants(&self, user: &UserLine) -> bool {
        user.username.to_lowercase().contains(&self.text)
    }

    fn sort(&self, users: &mut [UserLine]) {
        match self.order {
            None => {}
            Some(Order::Name) => users.sort_by(|one, other| one.username.cmp(&other.username)),
            Some(Order::Id) => users.sort_by_key(|user| user.user_id),
            Some(Order::Sessions) => users.sort_by(|one, other| {
                let by_sessions = other.sessions.cmp(&one.sessions);
                by_sessions.then_with(|| one.username.cmp(&other.username))
            }),
        }
    }
}

pub(super) fn run(settings: &SettingsArgs, command: UserCommand) -> Result<(), Failure> {
    // What can't be asked for is asked before anything is opened.
    let (request, done) = match command {
        UserCommand::List { json, sort } => {
            return list(settings, &Listing { json, text: String::new(), order: sort });
        }
        UserCommand::Search { text, json } => {
            let (text, order) = (text.to_lowercase(), Some(Order::Name));
            return list(settings, &Listing { json, text, order });
        }
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
        UserCommand::Display { name: Name { name }, display_name } => {
            let done = format!("{name} has another display name");
            (Request::SetDisplayName { username: name, display_name }, done)
        }
        UserCommand::Show { name: Name { name }, json } => {
            return session::show(settings, name, json);
        }
        UserCommand::Sessions { name: Name { name }, json } => {
            return session::list(settings, name, json);
        }
        UserCommand::Kick { name: Name { name }, session } => {
            let done = match session {
                None => format!("{name} has no sessions"),
                Some(session) => format!("session {session} of {name} is ended"),
            };
            (Request::KickUser { username: name, session }, done)
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

fn list(settings: &SettingsArgs, listing: &Listing) -> Result<(), Failure> {
    let mut access = Access::open(&settings.for_command()?, Missing::Refuse)?;
    let listed = list_all(&mut access, listing);
    access.close();
    listed
}

/// Page by page, so that a million users need the memory of a hundred, if they need not be sorted.
fn list_all(access: &mut Access, listing: &Listing) -> Result<(), Failure> {
    let json = listing.json;
    if !json {
        printed(|out| writeln!(out, "{:>16}  {:8}  {:>8}  NAME", "ID", "STATE", "SESSIONS"))?;
    }
    let (mut after, mut damage, mut unnamed) = (None, 0, 0);
    let mut kept = Vec::new();
    loop {
        let reply = access.ask(Request::ListUsers { after, limit: PAGE })?;
        let Reply::Users { users, damaged, next } = reply else {
            return Err("the server answered something else".into());
        };
        damage += users.iter().filter(|user| user.damaged).count();
        let wanted = users.into_iter().filter(|user| listing.wants(user));
        if listing.order.is_some() {
            kept.extend(wanted);
        } else {
            printed(|out| wanted.into_iter().try_for_each(|user| print_user(out, &user, json)))?;
        }
        // (Nobody knows which names these are: that is what is damaged.)
        unnamed += damaged.len();
        after = next;
        if after.is_none() {
            break;
        }
    }
    listing.sort(&mut kept);
    printed(|out| kept.iter().try_for_each(|user| print_user(out, user, json)))?;
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
