//! Logging in by a token of this server: what it says needs only be held against the identity.

use super::TOKEN_INVALID;
use crate::attempt::Attempt;
use crate::auth::token::{Claims, TokenKind};
use crate::identity::asker::Asker;
use crate::identity::enter::{Enter, Proof};
use crate::identity::operation::{Action, Operation};
use crate::refusal::Refusal;
use crate::request::{Device, Purpose};
use crate::transport::ConnId;
use crate::worker::turn::Turn;

/// A login by a token of this server.
#[derive(Debug)]
pub(super) struct TokenLogin {
    pub(super) conn: ConnId,
    pub(super) request_id: u64,
    pub(super) attempt: Attempt,
    pub(super) device: Device,
    pub(super) purpose: Purpose,
    pub(super) kind: TokenKind,
}

impl TokenLogin {
    /// The token was looked at: its user is let in, if it is one of ours for this device.
    pub(super) fn enter(
        self,
        verified: Result<Claims, Refusal>,
        turn: &mut Turn<'_>,
    ) -> Option<Operation> {
        let TokenLogin { conn, request_id, attempt, device, purpose, kind } = self;
        let asker = Asker::Login { conn, request_id };
        let ours = verified.and_then(|claims| {
            attempt.names(&claims.username);
            if claims.device == device.id { Ok(claims) } else { Err(TOKEN_INVALID) }
        });
        let claims = ours.map_err(|refusal| asker.refuse(refusal, turn)).ok()?;
        let (user, username) = (claims.user, claims.username.clone());
        let proof = match kind {
            TokenKind::Refresh => Proof::Refresh(claims),
            TokenKind::Access | TokenKind::Resume => Proof::Token(claims, purpose),
        };
        let enter = Enter { conn, request_id, attempt, username, device, proof };
        Some(Operation { user, asker, action: Action::Enter(enter) })
    }
}
