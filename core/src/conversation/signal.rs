//! Signals: told to whoever is there, and forgotten.

use dunlin_protocol::LogId;

use crate::audience::push::SignalPush;
use crate::entry::encode_signal;
use crate::membership::other_member;
use crate::refusal::{NO_SUCH_CONVERSATION, Refusal};
use crate::request::{Client, Signal};

/// What is told to whom.
pub(crate) fn push_of(client: Client, log: LogId, signal: &Signal) -> Result<SignalPush, Refusal> {
    let other = other_member(log, client.user).ok_or(NO_SUCH_CONVERSATION)?;
    let frame = encode_signal(log, signal, client.user);
    Ok(SignalPush { user: other, frame, except: Some(client.conn), is_receipt: false })
}
