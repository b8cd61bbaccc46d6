//! What a coordinator orders of a generator: which scenario, and what all of its messages or users have
//! in common.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::crowd;
use crate::interrupt::Interrupt;
use crate::remote::{Event, LinkError, Listener, Share};
use crate::scenarios::{fanout, idle, pairs};

/// By the names under which scenarios tell them.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Task {
    Chat(pairs::Task),
    Fanout(fanout::Task),
    Idle(idle::remote::Task),
}

/// Does a share of a run.
fn play(task: Task, share: Share<'_>) -> Result<(), LinkError> {
    match task {
        Task::Chat(task) => crowd::play(task.scenario(share.target.clone()), task.run, share),
        Task::Fanout(task) => crowd::play(task.scenario(share.target.clone()), task.run, share),
        Task::Idle(task) => idle::remote::play(&task, share),
    }
}

impl Listener {
    /// Serves one coordinator after the other until it is interrupted; a run that goes on then is
    /// brought to its end.
    pub fn serve(
        self,
        interrupt: &Interrupt,
        on_event: impl Fn(SocketAddr, Event) + Send + Sync + 'static,
    ) {
        self.serve_by(play, interrupt, on_event);
    }
}
