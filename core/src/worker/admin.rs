//! What the program around the engine can ask.

use super::Worker;
use super::effect::Effects;
use super::flow::{PasswordResult, StoreResult};

/// A request of the program around the engine.
#[derive(Debug, Clone)]
pub enum AdminRequest {}

/// Its answer.
#[derive(Debug, Clone)]
pub enum AdminReply {}

/// Why it was not done.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// What it waits for.
#[derive(Debug)]
pub(super) enum AdminFlow {}

impl Worker {
    pub(super) fn take_admin(&mut self, _: u64, request: AdminRequest, _: &mut Effects) {
        match request {}
    }

    pub(super) fn admin_store_answered(
        &mut self,
        flow: AdminFlow,
        _: StoreResult,
        _: &mut Effects,
    ) {
        match flow {}
    }

    pub(super) fn admin_password_answered(
        &mut self,
        flow: AdminFlow,
        _: PasswordResult,
        _: &mut Effects,
    ) {
        match flow {}
    }
}
