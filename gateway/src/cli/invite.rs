//! `dunlin invite ..`: who may register, where that needs an invitation.

use std::io::Write;

use clap::{Args, Subcommand};

use super::{Failure, SettingsArgs, printed};
use crate::admin::utc::utc;
use crate::admin::{Access, InvitationLine, Missing, Reply, Request};

const DAY_MS: u64 = 24 * 3600 * 1000;

#[derive(Debug, Subcommand)]
pub(super) enum InviteCommand {
    /// Make an invitation, and print its code: it is kept nowhere.
    Create {
        /// How many may register by it.
        #[arg(long, default_value_t = 1, value_name = "NUMBER")]
        uses: u32,
        /// For how many days.
        #[arg(long, default_value_t = 7, value_name = "NUMBER")]
        days: u64,
        /// Whom it is for, or what for: only `dunlin invite list` shows it.
        #[arg(long, default_value = "", value_name = "TEXT")]
        note: String,
    },
    /// List all invitations.
    List {
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Let nobody register by it any more. Who has, stays.
    Revoke(Id),
}

#[derive(Debug, Args)]
pub(super) struct Id {
    /// Its id, as `dunlin invite list` shows it.
    #[arg(value_parser = parse_id)]
    id: u64,
}

fn parse_id(text: &str) -> Result<u64, &'static str> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    number.ok_or("an id has 16 hexadecimal digits; `dunlin invite list` shows all")
}

pub(super) fn run(settings: &SettingsArgs, command: InviteCommand) -> Result<(), Failure> {
    let request = match command {
        InviteCommand::List { json } => return list(settings, json),
        InviteCommand::Create { uses, days, note } => Request::CreateInvitation {
            uses_max: uses,
            lifetime_ms: days.saturating_mul(DAY_MS),
            note,
            // Whoever carries it out knows who has asked.
            made_by: String::new(),
        },
        InviteCommand::Revoke(Id { id }) => Request::RevokeInvitation { number: id },
    };
    let makes = matches!(request, Request::CreateInvitation { .. });
    let missing = if makes { Missing::Make } else { Missing::Refuse };
    let mut access = Access::open(&settings.for_command()?, missing)?;
    let answer = access.ask(request);
    access.close();
    match answer? {
        Reply::InvitationMade { number, code } => {
            printed(|out| writeln!(out, "{}  (id {number:016x})", code.0))
        }
        _ => printed(|out| writeln!(out, "the invitation is revoked")),
    }
}

fn list(settings: &SettingsArgs, json: bool) -> Result<(), Failure> {
    let mut access = Access::open(&settings.for_command()?, Missing::Refuse)?;
    let listed = list_all(&mut access, json);
    access.close();
    listed
}

fn list_all(access: &mut Access, json: bool) -> Result<(), Failure> {
    if !json {
        let (id, uses, expires) = ("ID", "USES", "EXPIRES");
        printed(|out| writeln!(out, "{id:16}  {uses:>9}  {expires:20}  {:10}  NOTE", "MADE BY"))?;
    }
    let mut after = None;
    loop {
        let reply = access.ask(Request::ListInvitations { after })?;
        let Reply::Invitations { invitations, next } = reply else {
            return Err("the server answered something else".into());
        };
        printed(|out| invitations.iter().try_for_each(|line| print_line(out, line, json)))?;
        after = next;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn print_line(out: &mut dyn Write, line: &InvitationLine, json: bool) -> std::io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, line)?;
        return writeln!(out);
    }
    let InvitationLine { number, note, made_by, expires_ms, uses_max, uses, under_way, .. } = line;
    let uses = format!("{}/{uses_max}", uses + under_way);
    let expires = utc(*expires_ms);
    writeln!(out, "{number:016x}  {uses:>9}  {expires:20}  {made_by:10}  {note}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        for number in [0, 7, u64::MAX] {
            assert_eq!(parse_id(&format!("{number:016x}")), Ok(number));
        }
        for wrong in ["", "7", "00000000000000071", "000000000000000g", "+000000000000007"] {
            assert!(parse_id(wrong).is_err(), "{wrong}");
        }
    }
}
