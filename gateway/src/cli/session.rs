//! `dunlin user show` and `dunlin user sessions`: one user, closely looked at.

use std::io::Write;

use super::{Failure, SettingsArgs, printed};
use crate::admin::utc::utc;
use crate::admin::{Access, Missing, Reply, Request, SessionLine, UserDetailsLine};

pub(super) fn show(settings: &SettingsArgs, name: String, json: bool) -> Result<(), Failure> {
    let user = look(settings, name)?;
    printed(|out| if json { print_json(out, &user) } else { print_user(out, &user) })
}

pub(super) fn list(settings: &SettingsArgs, name: String, json: bool) -> Result<(), Failure> {
    let UserDetailsLine { sessions, .. } = look(settings, name)?;
    printed(|out| {
        if json {
            return sessions.iter().try_for_each(|session| print_json(out, session));
        }
        let (since, expires, state) = ("SINCE", "EXPIRES UNUSED", "STATE");
        writeln!(out, "{:>20}  {:11}  {since:20}  {expires:20}  {state:7}  NAME", "ID", "DEVICE")?;
        sessions.iter().try_for_each(|session| print_session(out, session))
    })
}

fn look(settings: &SettingsArgs, username: String) -> Result<UserDetailsLine, Failure> {
    let mut access = Access::open(&settings.for_command()?, Missing::Refuse)?;
    let answer = access.ask(Request::ShowUser { username });
    access.close();
    match answer? {
        Reply::User { user } => Ok(user),
        _ => Err("the server answered something else".into()),
    }
}

fn print_json(out: &mut dyn Write, line: &impl serde::Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    writeln!(out)
}

fn print_user(out: &mut dyn Write, user: &UserDetailsLine) -> std::io::Result<()> {
    let UserDetailsLine { user_id, username, display_name, issuer, created_ms, disabled, sessions } =
        user;
    let login = if issuer.is_empty() { "by password" } else { "by issuer" };
    let state = if *disabled { "disabled" } else { "enabled" };
    let connected = sessions.iter().filter(|session| session.connected).count();
    writeln!(out, "name          {username}")?;
    writeln!(out, "display name  {display_name}")?;
    writeln!(out, "id            {user_id}")?;
    writeln!(out, "login         {}", format!("{login} {issuer}").trim_end())?;
    writeln!(out, "state         {state}")?;
    writeln!(out, "made          {}", utc(*created_ms))?;
    writeln!(out, "sessions      {}, {connected} connected", sessions.len())
}

fn print_session(out: &mut dyn Write, session: &SessionLine) -> std::io::Result<()> {
    let SessionLine { session_id, device_kind, device_name, opened_ms, expires_ms, connected } =
        session;
    let (since, expires) = (utc(*opened_ms), expires_ms.map_or_else(|| "-".to_owned(), utc));
    let state = if *connected { "online" } else { "offline" };
    writeln!(
        out,
        "{session_id:>20}  {device_kind:11}  {since:20}  {expires:20}  {state:7}  {device_name}"
    )
}
