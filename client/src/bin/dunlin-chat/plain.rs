//! The chat as lines: commands and messages come from standard input, news go to standard output.
//! So scripts can drive it.

use std::error::Error;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, never, select, tick};

use crate::model::news::News;
use crate::session::{Next, Session};

/// For read cursors that are due.
const TICK: Duration = Duration::from_millis(200);
/// After the end of the input, for messages that are not stored yet.
const PATIENCE_MS: u64 = 60_000;

pub(crate) fn run(mut session: Session) -> Result<(), Box<dyn Error>> {
    let mut lines = read_lines();
    let events = session.client.events().clone();
    let ticks = tick(TICK);
    let mut leave_ms = None;
    loop {
        select! {
            recv(events) -> event => session.apply(event?),
            recv(lines) -> line => match line {
                Ok(line) => enter(&mut session, &line),
                Err(_) => {
                    lines = never();
                    leave_ms = Some(session.client.now_ms() + PATIENCE_MS);
                }
            },
            recv(ticks) -> _ => session.model.tick(session.client.now_ms()),
        }
        if session.perform(tell)? == Next::Quit {
            break;
        }
        let is_late = leave_ms.is_some_and(|at| session.client.now_ms() >= at);
        if leave_ms.is_some() && (session.model.is_idle() || is_late) {
            break;
        }
    }
    session.client.close();
    Ok(())
}

fn enter(session: &mut Session, line: &str) {
    session.model.enter(line);
    if session.model.prompt.is_some() && io::stdin().is_terminal() {
        // It would be shown while it is typed.
        session.model.cancel();
        session.model.notice("passwords are not asked for here: use the full screen".into());
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
fn read_lines() -> Receiver<String> {
    let (sender, receiver) = bounded(16);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
