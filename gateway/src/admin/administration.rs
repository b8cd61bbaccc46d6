//! What a request does, whichever way it came.

use std::path::Path;
use std::sync::Arc;

use dunlin_core::admin::{
    AdminError, AdminReply, AdminRequest, InvitationRecord, InvitationRequest, NewInvitation,
    SessionRecord, UserDetails,
};
use dunlin_core::engine::door::Door;
use dunlin_core::store::Consumer;
use dunlin_core::store::embedded::{
    BackupReport, Damage, Loss, ToldDamage, VerifyProgress, VerifyReport,
};
use dunlin_core::store::feed::ConsumerName;
use dunlin_protocol::wire::{DeviceKind, ErrorCode};
use dunlin_protocol::{LogId, SessionId};
use parking_lot::Mutex;

use super::message::{
    ANSWER_BYTES_MAX, Answer, ConsumerLine, Fault, InvitationLine, Reply, Request, Secret,
    SessionLine, UserDetailsLine, UserLine,
};
use super::utc::utc;
use crate::backup;
use crate::node::data::DataFolder;
use crate::node::keeper::Keeper;
use crate::status::Witness;

/// How many places of damage an answer lists; there may be one for each entry of a store.
const DAMAGE_MAX: usize = 1000;
// A line about damage is at most about 150 bytes.
const _: () = assert!(DAMAGE_MAX * 512 < ANSWER_BYTES_MAX as usize);

/// Carries out requests, on the thread that brings them.
#[derive(Debug)]
pub(crate) struct Administration {
    accounts: Door,
    /// None if the store is kept elsewhere.
    keeper: Option<Arc<dyn Keeper>>,
    data: DataFolder,
    /// None if no server runs.
    witness: Option<Witness>,
    /// Reading the whole store keeps one of its readers busy; a second time at once would leave
    /// the clients none.
    reading_all: Mutex<()>,
}

impl Administration {
    pub(crate) fn new(
        accounts: Door,
        keeper: Option<Arc<dyn Keeper>>,
        data: DataFolder,
    ) -> Administration {
        Administration { accounts, keeper, data, witness: None, reading_all: Mutex::new(()) }
    }

    /// The same, of a server that runs.
    #[must_use]
    pub(crate) fn witness(self, witness: Witness) -> Administration {
        let witness = Some(witness.keeper(self.keeper.clone()));
        Administration { witness, ..self }
    }

    /// `told` gets what is to be said before the answer.
    pub(crate) fn carry_out(&self, request: Request, told: &mut dyn FnMut(Reply)) -> Answer {
        let request = match request {
            Request::AddUser { username, password, display_name } => {
                AdminRequest::AddUser { username, password: password.0, display_name }
            }
            Request::ListUsers { after, limit } => {
                let after = after.map(|after| LogId::from_bytes(&after)).transpose();
                AdminRequest::ListUsers { after: after.map_err(Fault::new)?, limit }
            }
            Request::DisableUser { username } => AdminRequest::DisableUser { username },
            Request::EnableUser { username } => AdminRequest::EnableUser { username },
            Request::ResetPassword { username, password } => {
                AdminRequest::ResetPassword { username, password: password.0 }
            }
            Request::SetDisplayName { username, display_name } => {
                AdminRequest::SetDisplayName { username, display_name }
            }
            Request::ShowUser { username } => AdminRequest::ShowUser { username },
            Request::KickUser { username, session } => {
                let id = |number| SessionId::new(number).map_err(Fault::new);
                AdminRequest::KickUser { username, session: session.map(id).transpose()? }
            }
            Request::CreateInvitation { uses_max, lifetime_ms, note, made_by } => {
                let new = NewInvitation { uses_max, lifetime_ms, note, made_by };
                AdminRequest::Invitations(InvitationRequest::Make(new))
            }
            Request::ListInvitations { after } => {
                AdminRequest::Invitations(InvitationRequest::List { after })
            }
            Request::RevokeInvitation { number } => {
                AdminRequest::Invitations(InvitationRequest::Revoke { number })
            }
            Request::Backup { folder, since } => return self.backup(&folder, since.as_deref()),
            Request::Verify => return self.verify(told),
            Request::AcknowledgeDamage => return self.acknowledge_damage(),
            Request::Status => return self.status(),
            Request::SetLogLevel { level } => return self.set_log_level(&level),
            Request::ListConsumers => return self.consumers(),
            Request::RemoveConsumer { name } => return self.remove_consumer(&name),
        };
        match self.accounts.administer_and_wait(request) {
            Ok(reply) => accounts_reply(reply),
            Err(error) => Err(explain(&error)),
        }
    }

    fn status(&self) -> Answer {
        let nobody = || Fault::new("no server runs, so there is nothing to say of it");
        let witness = self.witness.as_ref().ok_or_else(nobody)?;
        Ok(Reply::Status { status: Box::new(witness.status()) })
    }

    fn set_log_level(&self, level: &str) -> Answer {
        if self.witness.is_none() {
            return Err(Fault::new("no server runs, so nobody logs"));
        }
        crate::log::set_level(level).map_err(Fault::new)?;
        // Whoever reads the log later knows why it changes here.
        tracing::info!(level, "the level of the log is set by a command");
        Ok(Reply::Done)
    }

    fn consumers(&self) -> Answer {
        let consumers = self.keeper()?.consumers().map_err(Fault::new)?;
        let line = |consumer: Consumer| ConsumerLine {
            name: consumer.name.as_str().to_owned(),
            behind_bytes: consumer.behind_bytes,
        };
        Ok(Reply::Consumers { consumers: consumers.into_iter().map(line).collect() })
    }

    fn remove_consumer(&self, name: &str) -> Answer {
        let consumer = ConsumerName::new(name).map_err(Fault::new)?;
        if self.keeper()?.remove_consumer(&consumer).map_err(Fault::new)? {
            return Ok(Reply::Done);
        }
        let hint = "`dunlin consumer list` shows all";
        Err(Fault::new(format_args!("there is no consumer {name}; {hint}")))
    }

    fn keeper(&self) -> Result<&dyn Keeper, Fault> {
        let elsewhere =
            "the store of this server is kept elsewhere, and has tools of its own for it";
        self.keeper.as_deref().ok_or_else(|| Fault::new(elsewhere))
    }

    fn backup(&self, folder: &Path, since: Option<&Path>) -> Answer {
        let _alone = self.reading_all.try_lock().ok_or_else(busy)?;
        let report = backup::backup(&self.data, self.keeper()?, folder, since);
        let BackupReport { segments, bytes, linked_bytes, damaged, damage, dead, .. } =
            report.map_err(Fault::new)?;
        let (damage, dead) = (damage_lines(&damage), dead_lines(&dead));
        Ok(Reply::BackedUp { segments, bytes, linked_bytes, damaged, damage, dead })
    }

    fn verify(&self, told: &mut dyn FnMut(Reply)) -> Answer {
        let _alone = self.reading_all.try_lock().ok_or_else(busy)?;
        let verified = self.keeper()?.verify(&mut |step| told(verifying(step)));
        Ok(verified_reply(&verified.map_err(Fault::new)?))
    }

    fn acknowledge_damage(&self) -> Answer {
        self.keeper()?.acknowledge_damage().map_err(Fault::new)?;
        Ok(Reply::Done)
    }
}

pub(super) fn verifying(step: VerifyProgress) -> Reply {
    let VerifyProgress { files, files_total, bytes, bytes_total } = step;
    Reply::Verifying { files, files_total, bytes, bytes_total }
}

/// A line for each place, but not for more than fit into an answer.
pub(crate) fn damage_lines(damage: &[Damage]) -> Vec<String> {
    let mut lines: Vec<String> = damage.iter().take(DAMAGE_MAX).map(Damage::to_string).collect();
    if damage.len() > DAMAGE_MAX {
        lines.push(format!("and {} places more", damage.len() - DAMAGE_MAX));
    }
    lines
}

/// The same for what is damaged and no loss.
pub(crate) fn dead_lines(dead: &[Damage]) -> Vec<String> {
    let no_loss = |line| format!("no loss: {line}, and nothing refers to it any more");
    damage_lines(dead).into_iter().map(no_loss).collect()
}

/// A line for each file of which something is lost.
pub(crate) fn loss_lines(losses: &[Loss], left_out: usize) -> Vec<String> {
    let mut lines: Vec<String> = losses.iter().map(ToString::to_string).collect();
    if left_out > 0 {
        lines.push(format!("something is lost with {left_out} more files"));
    }
    lines
}

pub(crate) fn verified_reply(report: &VerifyReport) -> Reply {
    let (damage, dead) = (damage_lines(&report.damage), dead_lines(&report.dead));
    let told = report.told.iter().map(told_line).collect();
    let losses = loss_lines(&report.losses, report.losses_left_out);
    let VerifyReport { segments, entries, logs, bytes, .. } = *report;
    let places = report.damage.len();
    Reply::Verified { segments, entries, logs, bytes, places, damage, dead, losses, told }
}

/// Damage that was told before, with its time.
fn told_line(told: &ToldDamage) -> String {
    let epoch = if told.new_epoch { "; the epoch is new since then" } else { "" };
    format!("told at {}: {}{epoch}", utc(told.time_ms), told.what)
}

fn busy() -> Fault {
    Fault::new("a backup or a verification is under way; wait for its end")
}

fn accounts_reply(reply: AdminReply) -> Answer {
    Ok(match reply {
        AdminReply::UserAdded { user } => Reply::UserAdded { user_id: user.get() },
        AdminReply::Users { users, damaged, next } => {
            let line = |user: dunlin_core::admin::UserRecord| UserLine {
                user_id: user.user.get(),
                username: user.username,
                issuer: user.issuer,
                disabled: user.disabled,
                sessions: user.sessions,
                damaged: user.damaged,
            };
            let next = next.map(|next| *next.as_bytes());
            let damaged = damaged.iter().map(LogId::to_string).collect();
            Reply::Users { users: users.into_iter().map(line).collect(), damaged, next }
        }
        AdminReply::User(details) => Reply::User { user: details_line(*details) },
        AdminReply::InvitationMade { number, code } => {
            Reply::InvitationMade { number, code: Secret(code) }
        }
        AdminReply::Invitations { invitations, next } => {
            let line = |invitation: InvitationRecord| InvitationLine {
                number: invitation.number,
                note: invitation.note,
                made_by: invitation.made_by,
                made_ms: invitation.made_ms,
                expires_ms: invitation.expires_ms,
                uses_max: invitation.uses_max,
                uses: invitation.uses,
                under_way: invitation.under_way,
            };
            Reply::Invitations { invitations: invitations.into_iter().map(line).collect(), next }
        }
        AdminReply::Done => Reply::Done,
        other => return Err(Fault::new(format_args!("an answer of another kind: {other:?}"))),
    })
}

fn details_line(details: UserDetails) -> UserDetailsLine {
    let line = |session: SessionRecord| SessionLine {
        session_id: session.session.get(),
        device_kind: kind_name(session.device_kind),
        device_name: session.device_name,
        opened_ms: session.opened_ms,
        expires_ms: session.expires_ms,
        connected: session.connected,
    };
    UserDetailsLine {
        user_id: details.user.get(),
        username: details.username,
        display_name: details.display_name,
        issuer: details.issuer,
        created_ms: details.created_ms,
        disabled: details.disabled,
        sessions: details.sessions.into_iter().map(line).collect(),
    }
}

/// As the configuration calls it.
fn kind_name(kind: DeviceKind) -> String {
    kind.as_str_name().trim_start_matches("DEVICE_KIND_").to_lowercase()
}

fn explain(error: &AdminError) -> Fault {
    let hint = match error {
        AdminError::Refused { code: ErrorCode::NoSuchUser, .. } => {
            "; `dunlin user list` shows all, and names are matched exactly"
        }
        AdminError::Refused { code: ErrorCode::SessionRevoked, .. } => {
            "; `dunlin user sessions` shows all"
        }
        AdminError::Refused { code: ErrorCode::StoreUnavailable, .. } => {
            "; the log of the server says why (is the disk full?)"
        }
        AdminError::Refused { code: ErrorCode::Overloaded, .. } => "; try again",
        AdminError::Refused { code: ErrorCode::DataCorrupt, .. } => {
            "; a damaged password or session is made anew by `dunlin user reset-password`, but if it is \
             the name itself, nothing but a backup helps; `dunlin verify` says what is damaged"
        }
        _ => "",
    };
    Fault::new(format_args!("{error}{hint}"))
}
