//! Becoming somebody on a connection.

use dunlin_protocol::wire::ErrorCode;

use super::Worker;
use super::effect::{Effects, Refusal};
use super::flow::{PasswordResult, StoreResult};
use crate::request::Command;

/// A step of a login between workers.
#[derive(Debug, Clone)]
pub enum LoginMessage {}

/// What a login waits for.
#[derive(Debug)]
pub(super) enum LoginFlow {}

impl Worker {
    /// A request that is about credentials or sessions.
    pub(super) fn take_login_command(&mut self, command: Command, effects: &mut Effects) {
        let _ = self.index;
        let refusal = Refusal::new(ErrorCode::DisabledHere, "sessions are opened by the embedder");
        effects.refuse(command.conn, command.request_id, refusal);
    }

    pub(super) fn take_login_message(&mut self, message: LoginMessage, _: &mut Effects) {
        match message {}
    }

    pub(super) fn login_store_answered(
        &mut self,
        flow: LoginFlow,
        _: StoreResult,
        _: &mut Effects,
    ) {
        match flow {}
    }

    pub(super) fn login_password_answered(
        &mut self,
        flow: LoginFlow,
        _: PasswordResult,
        _: &mut Effects,
    ) {
        match flow {}
    }
}
