//! A page of all accounts: three rounds to the store, however many are on it.
//!
//! ```text
//! [logs of names] ─► [all their names at once] ─► [all their identities at once] ─► the page
//! ```

use dunlin_protocol::wire;
use dunlin_protocol::{LogId, LogKind, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::CredentialPage;
use crate::admin::{AdminReply, LIST_USERS_MAX, UserRecord};
use crate::identity::look_up;
use crate::refusal::{INTERNAL, Refusal};
use crate::store::Page;
use crate::worker::flow::{Answer, LogsFlow, PageFlow};
use crate::worker::turn::Turn;

/// What one page of a log is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ListRead {
    /// The name of one place of the page.
    Name { place: usize },
    /// Its identity.
    Identity { place: usize },
}

/// The pages that are under way, by the call that asked. One is as long as [`LIST_USERS_MAX`], and
/// there are no more of them than calls at the door.
#[derive(Debug, Default)]
pub(super) struct Listings(HashMap<u64, Listing, RandomState>);

#[derive(Debug)]
struct Listing {
    /// By the order of their logs.
    places: Vec<Option<UserRecord>>,
    /// Reads that are not answered yet.
    outstanding: usize,
    next: Option<LogId>,
}

impl Listings {
    pub(super) fn begin(
        &mut self,
        call: u64,
        after: Option<LogId>,
        limit: usize,
        turn: &mut Turn<'_>,
    ) {
        let limit = limit.clamp(1, LIST_USERS_MAX);
        let flow = LogsFlow::List { call, limit };
        turn.ask_logs(LogKind::Name, after, limit, flow);
    }

    /// The logs of at most so many names were listed.
    pub(super) fn logs_listed(
        &mut self,
        call: u64,
        limit: usize,
        answer: Answer<Vec<LogId>>,
        turn: &mut Turn<'_>,
    ) {
        let logs = match answer {
            Ok(logs) => logs,
            Err(refusal) => return turn.effects.admin.push((call, Err(refusal.into()))),
        };
        let next = logs.last().copied().filter(|_| logs.len() >= limit);
        let places = logs.iter().map(|_| None).collect();
        self.0.insert(call, Listing { places, outstanding: logs.len(), next });
        for (place, log) in logs.into_iter().enumerate() {
            let flow = PageFlow::Credential(CredentialPage::List(call, ListRead::Name { place }));
            turn.ask_page(look_up::read_name_log(log), flow);
        }
        self.finish(call, turn);
    }

    pub(super) fn page_read(
        &mut self,
        call: u64,
        read: ListRead,
        answer: Answer<Page>,
        turn: &mut Turn<'_>,
    ) {
        // The answers that come after one that could not be had find no page.
        let Some(listing) = self.0.get_mut(&call) else { return };
        listing.outstanding -= 1;
        let taken = match read {
            ListRead::Name { place } => listing.name_read(call, place, answer, turn),
            ListRead::Identity { place } => listing.identity_read(place, answer),
        };
        match taken {
            Ok(()) => self.finish(call, turn),
            Err(refusal) => {
                self.0.remove(&call);
                turn.effects.admin.push((call, Err(refusal.into())));
            }
        }
    }

    fn finish(&mut self, call: u64, turn: &mut Turn<'_>) {
        if self.0.get(&call).is_some_and(|listing| listing.outstanding == 0)
            && let Some(Listing { places, next, .. }) = self.0.remove(&call)
        {
            let users = places.into_iter().flatten().collect();
            turn.effects.admin.push((call, Ok(AdminReply::Users { users, next })));
        }
    }
}

impl Listing {
    fn name_read(
        &mut self,
        call: u64,
        place: usize,
        answer: Answer<Page>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let Some(claimed) = look_up::name_claimed(answer)? else { return Ok(()) };
        let user = UserId::new(claimed.user_id).map_err(|_| INTERNAL)?;
        let wire::NameClaimed { username, issuer, .. } = claimed;
        let record = UserRecord { user, username, issuer, disabled: false, sessions: 0 };
        self.places[place] = Some(record);
        self.outstanding += 1;
        let flow = PageFlow::Credential(CredentialPage::List(call, ListRead::Identity { place }));
        turn.ask_page(look_up::read_identity(user), flow);
        Ok(())
    }

    fn identity_read(&mut self, place: usize, answer: Answer<Page>) -> Result<(), Refusal> {
        let (identity, _) = look_up::identity(answer)?;
        if let Some(record) = &mut self.places[place] {
            record.disabled = identity.disabled;
            record.sessions = identity.sessions().len();
        }
        Ok(())
    }
}
