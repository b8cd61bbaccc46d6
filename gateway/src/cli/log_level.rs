//! `dunlin log`: what a running server logs, until it reads its configuration again.

use super::{Failure, SettingsArgs, printed};
use crate::admin::{Access, Request};

pub(super) fn run(settings: &SettingsArgs, level: String) -> Result<(), Failure> {
    let mut access = Access::online(&settings.for_command()?)?;
    let done = format!("the log is at {level} until the next SIGHUP or start");
    access.ask(Request::SetLogLevel { level })?;
    printed(|out| writeln!(out, "{done}"))
}
