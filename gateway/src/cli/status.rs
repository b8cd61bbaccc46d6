//! `dunlin status`: what a running server counts, for people and for programs.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Failure, SettingsArgs, printed};
use crate::admin::{Access, Reply, Request};
use crate::status::{Change, Status, write_memory_page, write_page};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Over how many seconds rates and quantiles are taken; 0 for all since the start.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    over: f64,
    /// Where memory is, and how much may be; `--json` has it among the rest.
    #[arg(long, conflicts_with_all = ["json", "over"])]
    memory: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// An hour is more than anybody waits for.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is expected".to_owned())?;
    if (0.0..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("0 to 3600 seconds".into()) }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    status: &'a Status,
    /// What happened within `over_ms`.
    change: &'a Change,
}

pub(super) fn run(settings: &SettingsArgs, arguments: &StatusArgs) -> Result<(), Failure> {
    let mut access = Access::online(&settings.for_command()?)?;
    if arguments.memory {
        let status = ask(&mut access)?;
        return printed(|out| write_memory_page(out, &status));
    }
    let mut before = None;
    if arguments.over > 0.0 {
        before = Some(ask(&mut access)?);
        std::thread::sleep(Duration::from_secs_f64(arguments.over));
    }
    let status = ask(&mut access)?;
    let change = Change::between(before.as_ref(), &status);
    if !arguments.json {
        return printed(|out| write_page(out, &status, &change));
    }
    printed(|out| {
        serde_json::to_writer(&mut *out, &Told { status: &status, change: &change })?;
        writeln!(out)
    })
}

fn ask(access: &mut Access) -> Result<Status, Failure> {
    match access.ask(Request::Status)? {
        Reply::Status { status } => Ok(*status),
        _ => Err("the server answered something else".into()),
    }
}
