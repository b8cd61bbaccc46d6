//! Becoming somebody on a connection.

use dunlin_protocol::wire::ErrorCode;

use super::Worker;
use super::effect::{Effects, Refusal};
use crate::request::Command;

impl Worker {
    pub(super) fn take_login_command(&mut self, command: Command, effects: &mut Effects) {
        let refusal = Refusal::new(ErrorCode::DisabledHere, "sessions are opened by the embedder");
        effects.refuse(command.conn, command.request_id, refusal);
    }
}
