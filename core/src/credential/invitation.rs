//! Registering by invitation, and what the operator does with invitations. How a use is taken so that none is
//! counted twice or lost: see [`auth::invitation`](crate::auth::invitation).

use dunlin_protocol::UserId;
use dunlin_protocol::wire::ErrorCode;

use super::creation::{self, Creation, Registration};
use super::{CredentialRegister, CredentialWrite, Credentials};
use crate::admin::{
    AdminReply, InvitationRecord, InvitationRequest, LIST_INVITATIONS_MAX, NewInvitation,
};
use crate::auth::display;
use crate::auth::invitation::{self, INVITATION, Looker, NOTE_BYTES_MAX, USES_MAX};
use crate::identity::asker::{Asker, Reply};
use crate::identity::look_up;
use crate::limits::OVERLOADED_RETRY_MS;
use crate::refusal::Refusal;
use crate::request::InvalidRequest;
use crate::store::{Register, RegisterKey, RegisterRange, Registers, Rule, Set, Write, Written};
use crate::stored::{self, Invitation, InvitedUser};
use crate::worker::flow::{Answer, Answers, RegisterFlow, RegistersFlow, WriteFlow, single};
use crate::worker::turn::Turn;

/// How often somebody else may be faster. They have to take turns for each invitation, in a few milliseconds.
const ATTEMPTS_MAX: u8 = 32;

/// Names of a run that is over that are looked up at once. The others are looked up by who comes next.
const RESOLVED_MAX: usize = 64;

/// Bytes of a page of invitations: a few hundred of each, but for those of whom hundreds are under way.
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// The longest that an invitation is good.
const LIFETIME_MS_MAX: u64 = 366 * 24 * 3600 * 1000;

pub(super) const INVITATION_INVALID: Refusal = Refusal::new(
    ErrorCode::InvitationInvalid,
    "there is no such invitation, or it has expired, or was used up",
);

const TOO_BUSY: Refusal = Refusal::retry(
    ErrorCode::Overloaded,
    "too many register by this invitation",
    OVERLOADED_RETRY_MS,
);

/// Somebody who is about to take a use, or has.
#[derive(Debug)]
pub(crate) struct Taking {
    number: u64,
    creation: Box<Creation>,
    attempts: u8,
}

/// Uses of a run that is over, of which is looked up what came of them.
#[derive(Debug)]
pub(crate) struct Resolving {
    taking: Taking,
    invitation: Invitation,
    version: u64,
    over: Vec<InvitedUser>,
}

/// A use of which it is known what came of it. Nobody waits for it: it counts as long as it is not written.
#[derive(Debug)]
pub(crate) struct Settling {
    number: u64,
    user: UserId,
    has_registered: bool,
    attempts: u8,
}

fn looker(turn: &Turn<'_>) -> Looker {
    Looker {
        now_ms: turn.now.unix_ms,
        run: turn.shared.run,
        has_others: turn.shared.cluster.is_some(),
    }
}

/// Looks whether the invitation is good, before a password is hashed for it.
pub(super) fn look(registration: Box<Registration>, turn: &mut Turn<'_>) {
    let Some(number) = registration.invitation() else {
        return registration.asker.refuse(INVITATION_INVALID, turn);
    };
    let flow = CredentialRegister::Invitation(registration);
    turn.ask_register(vec![invitation::register(number)], RegisterFlow::Credential(flow));
}

pub(super) fn looked(
    registration: Box<Registration>,
    answer: Answers<Register>,
    turn: &mut Turn<'_>,
) {
    match single(answer).and_then(|register| read(&register)) {
        Ok(Some(invitation)) if invitation.may_be_free(&looker(turn)) => {
            creation::hash(registration, turn);
        }
        Ok(Some(_) | None) => registration.asker.refuse(INVITATION_INVALID, turn),
        Err(refusal) => registration.asker.refuse(refusal, turn),
    }
}

fn read(register: &Register) -> Answer<Option<Invitation>> {
    register.value.as_ref().map(stored::decode).transpose()
}

/// Takes a use for an account whose name is about to be claimed.
pub(super) fn take(number: u64, creation: Box<Creation>, turn: &mut Turn<'_>) {
    read_to_take(Taking { number, creation, attempts: 0 }, turn);
}

fn read_to_take(taking: Taking, turn: &mut Turn<'_>) {
    let register = invitation::register(taking.number);
    let flow = CredentialRegister::TakeInvitation(Box::new(taking));
    turn.ask_register(vec![register], RegisterFlow::Credential(flow));
}

pub(super) fn take_read(taking: Taking, answer: Answers<Register>, turn: &mut Turn<'_>) {
    let found = single(answer).and_then(|register| Ok((read(&register)?, register.version)));
    let (invitation, version) = match found {
        Ok((Some(invitation), version)) => (invitation, version),
        Ok((None, _)) => return taking.creation.asker().refuse(INVITATION_INVALID, turn),
        Err(refusal) => return taking.creation.asker().refuse(refusal, turn),
    };
    let looker = looker(turn);
    if invitation.free() > 0 {
        return write_taken(taking, invitation, version, turn);
    }
    let over = invitation.under_way.iter().filter(|user| looker.is_over(user));
    let over: Vec<_> = over.take(RESOLVED_MAX).cloned().collect();
    if over.is_empty() {
        return taking.creation.asker().refuse(INVITATION_INVALID, turn);
    }
    let names = over.iter().map(|user| look_up::name_register(&user.username)).collect();
    let resolving = Resolving { taking, invitation, version, over };
    let flow = CredentialRegister::InvitedNames(Box::new(resolving));
    turn.ask_register(names, RegisterFlow::Credential(flow));
}

/// It was looked up who has the names that somebody of a run that is over was about to claim.
pub(super) fn invited_read(resolving: Resolving, answers: Answers<Register>, turn: &mut Turn<'_>) {
    let Resolving { taking, mut invitation, version, over } = resolving;
    let answers = match answers {
        Ok(answers) => answers,
        Err(refusal) => return taking.creation.asker().refuse(refusal, turn),
    };
    for (user, answer) in over.iter().zip(answers) {
        // Of one that can't be read nobody knows, so it counts on.
        if let Ok(claim) = answer.and_then(|register| look_up::name_claim(&register)) {
            let has_registered = claim.is_some_and(|claim| claim.user_id == user.user_id);
            invitation.settle(user.user_id, has_registered);
        }
    }
    write_taken(taking, invitation, version, turn);
}

fn write_taken(taking: Taking, mut invitation: Invitation, version: u64, turn: &mut Turn<'_>) {
    let Taking { number, creation, .. } = &taking;
    if !invitation.take(creation.user(), &creation.username, &looker(turn)) {
        return taking.creation.asker().refuse(INVITATION_INVALID, turn);
    }
    let write = write_at(*number, &invitation, version);
    let flow = CredentialWrite::TakeInvitation(Box::new(taking));
    turn.write(vec![write], WriteFlow::Credential(flow));
}

fn write_at(number: u64, invitation: &Invitation, version: u64) -> Write {
    let value = Some(stored::encode(invitation));
    let set = Set { key: invitation::key(number), value, rule: Rule::IfVersion(version) };
    Write::registers(invitation::log(), [set])
}

pub(super) fn taken(mut taking: Taking, answer: Answer<Vec<Written>>, turn: &mut Turn<'_>) {
    match look_up::stored_alone(answer) {
        Ok(Some(_)) => creation::claim_name(taking.creation, turn),
        Ok(None) if taking.attempts < ATTEMPTS_MAX => {
            taking.attempts += 1;
            read_to_take(taking, turn);
        }
        Ok(None) => taking.creation.asker().refuse(TOO_BUSY, turn),
        // If it was taken after all, the next run gives it back.
        Err(refusal) => taking.creation.asker().refuse(refusal, turn),
    }
}

/// The name was claimed, or somebody else has it.
pub(super) fn settle(number: u64, user: UserId, has_registered: bool, turn: &mut Turn<'_>) {
    read_to_settle(Settling { number, user, has_registered, attempts: 0 }, turn);
}

fn read_to_settle(settling: Settling, turn: &mut Turn<'_>) {
    let register = invitation::register(settling.number);
    let flow = CredentialRegister::SettleInvitation(settling);
    turn.ask_register(vec![register], RegisterFlow::Credential(flow));
}

pub(super) fn settle_read(settling: Settling, answer: Answers<Register>, turn: &mut Turn<'_>) {
    // What can't be read stays as it is, and what was revoked is gone.
    let Ok(register) = single(answer) else { return };
    let Ok(Some(mut invitation)) = read(&register) else { return };
    if invitation.settle(settling.user.get(), settling.has_registered) {
        let write = write_at(settling.number, &invitation, register.version);
        let flow = CredentialWrite::SettleInvitation(settling);
        turn.write(vec![write], WriteFlow::Credential(flow));
    }
}

pub(super) fn settled(mut settling: Settling, answer: Answer<Vec<Written>>, turn: &mut Turn<'_>) {
    if matches!(look_up::stored_alone(answer), Ok(None)) && settling.attempts < ATTEMPTS_MAX {
        settling.attempts += 1;
        read_to_settle(settling, turn);
    }
}

impl Credentials {
    /// The operator asks something about invitations.
    pub(crate) fn take_invitation_request(
        &mut self,
        call: u64,
        request: InvitationRequest,
        turn: &mut Turn<'_>,
    ) {
        match request {
            InvitationRequest::Make(new) => make(call, new, turn),
            InvitationRequest::List { after } => list(call, after, turn),
            InvitationRequest::Revoke { number } => {
                let flow = CredentialRegister::RevokeInvitation { call, number };
                let register = invitation::register(number);
                turn.ask_register(vec![register], RegisterFlow::Credential(flow));
            }
        }
    }
}

fn make(call: u64, new: NewInvitation, turn: &mut Turn<'_>) {
    if let Err(invalid) = check(&new) {
        return super::operator::refuse_invalid(call, invalid, turn);
    }
    let (code, number) = invitation::draw(&*turn.shared.random);
    let NewInvitation { uses_max, lifetime_ms, note, made_by } = new;
    let made_ms = turn.now.unix_ms;
    let expires_ms = made_ms.saturating_add(lifetime_ms);
    let invitation =
        Invitation { note, made_by, made_ms, expires_ms, uses_max, ..Invitation::default() };
    let value = Some(stored::encode(&invitation));
    let set = Set { key: invitation::key(number), value, rule: Rule::IfAbsent };
    let write = Write::registers(invitation::log(), [set]);
    let flow = CredentialWrite::MakeInvitation { call, number, code };
    turn.write(vec![write], WriteFlow::Credential(flow));
}

fn check(new: &NewInvitation) -> Result<(), InvalidRequest> {
    let invalid = |field, reason: String| {
        Err(InvalidRequest { field, reason, code: ErrorCode::InvalidArgument })
    };
    if !(1..=USES_MAX).contains(&new.uses_max) {
        return invalid("uses", format!("{}, not 1 to {USES_MAX}", new.uses_max));
    }
    if !(1..=LIFETIME_MS_MAX).contains(&new.lifetime_ms) {
        return invalid("lifetime", "is longer than 366 days, or nothing".into());
    }
    if new.note.len() > NOTE_BYTES_MAX {
        let bytes = new.note.len();
        return invalid("note", format!("{bytes} bytes of at most {NOTE_BYTES_MAX}"));
    }
    if !new.note.is_empty() && !display::can_be_shown(&new.note) {
        return invalid("note", "has characters that nobody sees, or that move others".into());
    }
    Ok(())
}

pub(super) fn made(
    call: u64,
    number: u64,
    code: String,
    answer: Answer<Vec<Written>>,
    turn: &mut Turn<'_>,
) {
    let asker = Asker::Admin { call };
    match look_up::stored_alone(answer) {
        Ok(Some(_)) => {
            asker.reply(Reply::Admin(AdminReply::InvitationMade { number, code }), turn);
        }
        // Two codes of one number: a wonder. The next one is another.
        Ok(None) => asker.refuse(TOO_BUSY, turn),
        Err(refusal) => asker.refuse(refusal, turn),
    }
}

pub(super) fn revoke(call: u64, number: u64, answer: Answers<Register>, turn: &mut Turn<'_>) {
    match single(answer) {
        Ok(Register { value: Some(_), .. }) => {
            let write =
                Write::registers(invitation::log(), [Set::removal(invitation::key(number))]);
            let flow = CredentialWrite::RevokeInvitation { call };
            turn.write(vec![write], WriteFlow::Credential(flow));
        }
        Ok(Register { value: None, .. }) => {
            Asker::Admin { call }.refuse(INVITATION_INVALID, turn);
        }
        Err(refusal) => Asker::Admin { call }.refuse(refusal, turn),
    }
}

pub(super) fn revoked(call: u64, answer: Answer<Vec<Written>>, turn: &mut Turn<'_>) {
    match look_up::all_stored(answer) {
        Ok(_) => Asker::Admin { call }.reply(Reply::Done, turn),
        Err(refusal) => Asker::Admin { call }.refuse(refusal, turn),
    }
}

fn list(call: u64, after: Option<u64>, turn: &mut Turn<'_>) {
    let range = RegisterRange {
        log: invitation::log(),
        prefix: RegisterKey::letter(INVITATION).as_bytes().into(),
        after: after.map(invitation::key),
        registers_max: LIST_INVITATIONS_MAX,
        bytes_max: PAGE_BYTES_MAX,
    };
    turn.ask_registers(vec![range], RegistersFlow::Invitations(call));
}

/// A page of invitations was read.
pub(crate) fn listed(call: u64, answers: Answers<Registers>, turn: &mut Turn<'_>) {
    let asker = Asker::Admin { call };
    let page = single(answers).and_then(|Registers { registers, more, .. }| {
        let next = registers.last().and_then(|register| invitation::number_of(&register.key));
        let records = registers.iter().filter_map(|register| record(register).transpose());
        let invitations = records.collect::<Answer<Vec<_>>>()?;
        Ok(AdminReply::Invitations { invitations, next: next.filter(|_| more) })
    });
    match page {
        Ok(reply) => asker.reply(Reply::Admin(reply), turn),
        Err(refusal) => asker.refuse(refusal, turn),
    }
}

fn record(register: &Register) -> Answer<Option<InvitationRecord>> {
    let Some(number) = invitation::number_of(&register.key) else { return Ok(None) };
    let Some(invitation) = read(register)? else { return Ok(None) };
    let under_way = u32::try_from(invitation.under_way.len()).unwrap_or(u32::MAX);
    let Invitation { note, made_by, made_ms, expires_ms, uses_max, uses, .. } = invitation;
    Ok(Some(InvitationRecord {
        number,
        note,
        made_by,
        made_ms,
        expires_ms,
        uses_max,
        uses,
        under_way,
    }))
}
