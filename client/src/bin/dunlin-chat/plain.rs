//! The chat as lines: commands and messages come from standard input, news go to standard output.
//! So scripts can drive it.
//!
//! Input that is no terminal is taken at the pace of the answers: what follows `/to NAME` waits
//! until the name is found, and after the last line, or `/quit`, the program ends when everything
//! is sent. Nobody looks at what it says meanwhile: what follows a command that there is not goes to
//! nobody, since it may have been for somebody else, and whatever was not done makes the program
//! fail.

use std::error::Error;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, never, select, tick};
use dunlin_client::machine::{Status, Stop};

use crate::model::entering::Entered;
use crate::model::news::News;
use crate::model::refusal::why_stopped;
use crate::model::{Model, Prompt};
use crate::session::{Next, Session};
use crate::signals::EndWanted;

/// For read cursors that are due, and signals.
const TICK: Duration = Duration::from_millis(200);
/// After the end of the input, for a server that is not there.
const PATIENCE_MS: u64 = 60_000;

/// `password`: the one that the program was given, which is the answer to `/login`.
pub(crate) fn run(mut session: Session, password: Option<&str>) -> Result<(), Box<dyn Error>> {
    let outcome = talk(&mut session, password);
    // Who sits at a terminal has read it.
    let mut left = if io::stdin().is_terminal() { Vec::new() } else { undone(&session.model) };
    let waiting = session.close();
    outcome?;
    if waiting > 0 {
        left.push(format!("{waiting} messages are not sent; they go out at the next start"));
    }
    if left.is_empty() { Ok(()) } else { Err(left.join("; ").into()) }
}

/// What a script has to be told of at the end.
fn undone(model: &Model) -> Vec<String> {
    let mut undone = Vec::new();
    if let Some(Status::Stopped(stop)) = &model.status
        && *stop != Stop::LoggedOut
    {
        undone.push(why_stopped(stop));
    }
    if model.unknown > 0 {
        undone.push(format!("{} commands were not understood", model.unknown));
    }
    if model.unsaid > 0 {
        undone.push(format!("{} texts went to nobody", model.unsaid));
    }
    undone
}

fn talk(session: &mut Session, password: Option<&str>) -> Result<(), Box<dyn Error>> {
    let end_wanted = EndWanted::watch()?;
    let is_terminal = io::stdin().is_terminal();
    let mut lines = read_lines();
    let events = session.client.events().clone();
    let ticks = tick(TICK);
    let no_lines = never();
    let mut leave_ms = None;
    session.perform(tell)?;
    while !end_wanted.is_set() {
        let has_to_wait = !is_terminal && session.model.is_seeking();
        select! {
            recv(events) -> event => session.apply(event?),
            recv(if has_to_wait { &no_lines } else { &lines }) -> line => match line {
                Ok(line) => match String::from_utf8(line) {
                    Ok(line) => enter(session, &line, password),
                    Err(_) => session.model.unreadable(),
                },
                Err(_) => {
                    lines = never();
                    leave_ms = Some(session.client.now_ms() + PATIENCE_MS);
                }
            },
            recv(ticks) -> _ => session.model.tick(session.client.now_ms()),
        }
        if session.perform(tell)? == Next::Quit {
            if is_terminal {
                return Ok(());
            }
            lines = never();
            leave_ms = leave_ms.or(Some(session.client.now_ms() + PATIENCE_MS));
        }
        let is_late = leave_ms.is_some_and(|at| session.client.now_ms() >= at);
        if leave_ms.is_some() && (session.model.is_settled() || is_late) {
            return Ok(());
        }
    }
    Ok(())
}

fn enter(session: &mut Session, line: &str, password: Option<&str>) {
    let is_terminal = io::stdin().is_terminal();
    let entered = session.model.enter(line);
    if entered == Entered::Unknown && !is_terminal {
        session.model.go_to_nobody();
    }
    if !is_terminal {
        return;
    }
    match (&session.model.prompt, password) {
        (None, _) => {}
        (Some(Prompt::LogIn | Prompt::Register), Some(password)) => {
            session.model.enter(password);
        }
        (Some(_), _) => {
            // It would be shown while it is typed.
            session.model.cancel();
            session.model.notice("passwords are not asked for here: use the full screen".into());
        }
    }
}

/// Somebody who stops reading ends the program by the signal or by this error, not by a panic.
fn tell(news: &News) {
    let mut output = io::stdout().lock();
    if writeln!(output, "{news}").and_then(|()| output.flush()).is_err() {
        std::process::exit(1);
    }
}

/// A thread of its own, since standard input can't be waited for together with a channel.
fn read_lines() -> Receiver<Vec<u8>> {
    let (sender, receiver) = bounded(16);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let Ok(mut line) = line else { return };
            line.pop_if(|last| *last == b'\r');
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
