//! A page of all accounts: three rounds to the store, however many are on it.
//!
//! ```text
//! [logs of names] ─► [all their names at once] ─► [all their identities at once] ─► the page
//! ```

use dunlin_protocol::wire;
use dunlin_protocol::{LogId, LogKind, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::admin::{AdminReply, LIST_USERS_MAX, UserRecord};
use crate::refusal::{INTERNAL, Refusal, store_refusal};
use crate::store::{StoreReply, StoreRequest};
use crate::worker::Worker;
use crate::worker::effect::Effects;
use crate::worker::flow::{Flow, StoreResult};
use crate::worker::login::admin::AdminFlow;
use crate::worker::login::asker::{Answer, Asker};
use crate::worker::login::look_up;

/// What one read of a page is for.
#[derive(Debug, Clone, Copy)]
pub(in crate::worker) enum ListRead {
    /// The logs of at most so many names.
    Logs { limit: usize },
    /// The name of one place of the page.
    Name { place: usize },
    /// Its identity.
    Identity { place: usize },
}

/// The pages that are under way, by the call that asked. One is as long as [`LIST_USERS_MAX`], and
/// there are no more of them than calls at the door.
#[derive(Debug, Default)]
pub(in crate::worker) struct Listings(HashMap<u64, Listing, RandomState>);

#[derive(Debug)]
struct Listing {
    /// By the order of their logs.
    places: Vec<Option<UserRecord>>,
    /// Reads that are not answered yet.
    outstanding: usize,
    next: Option<LogId>,
}

impl Worker {
    pub(in crate::worker) fn begin_listing(
        &mut self,
        call: u64,
        after: Option<LogId>,
        limit: usize,
        effects: &mut Effects,
    ) {
        let (kind, limit) = (LogKind::Name, limit.clamp(1, LIST_USERS_MAX));
        let read = ListRead::Logs { limit };
        self.read_for_list(call, read, StoreRequest::Logs { kind, after, limit }, effects);
    }

    pub(in crate::worker) fn list_read(
        &mut self,
        call: u64,
        read: ListRead,
        result: StoreResult,
        effects: &mut Effects,
    ) {
        let taken = match read {
            ListRead::Logs { limit } => self.names_listed(call, limit, result, effects),
            ListRead::Name { place } => self.listed_name_read(call, place, result, effects),
            ListRead::Identity { place } => self.listed_identity_read(call, place, result),
        };
        match taken {
            Ok(()) => self.finish_listing(call, effects),
            // The answers that are still to come find no page.
            Err(refusal) => {
                if self.listings.0.remove(&call).is_some() {
                    self.refuse_admin(call, refusal, effects);
                }
            }
        }
    }

    fn read_for_list(
        &mut self,
        call: u64,
        read: ListRead,
        request: StoreRequest,
        effects: &mut Effects,
    ) {
        self.ask_store(request, Flow::Admin(AdminFlow::List { call, read }), effects);
    }

    fn names_listed(
        &mut self,
        call: u64,
        limit: usize,
        result: StoreResult,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let empty = Listing { places: Vec::new(), outstanding: 0, next: None };
        self.listings.0.insert(call, empty);
        let logs = match result {
            Ok(StoreReply::Logs(logs)) => logs,
            Ok(_) => return Err(INTERNAL),
            Err(error) => return Err(store_refusal(&error)),
        };
        let next = logs.last().copied().filter(|_| logs.len() >= limit);
        let places = logs.iter().map(|_| None).collect();
        self.listings.0.insert(call, Listing { places, outstanding: logs.len(), next });
        for (place, log) in logs.into_iter().enumerate() {
            let request = look_up::read_name_log(log);
            self.read_for_list(call, ListRead::Name { place }, request, effects);
        }
        Ok(())
    }

    fn listed_name_read(
        &mut self,
        call: u64,
        place: usize,
        result: StoreResult,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let Some(listing) = self.listings.0.get_mut(&call) else { return Ok(()) };
        listing.outstanding -= 1;
        let Some(claimed) = look_up::name_claimed(result)? else { return Ok(()) };
        let user = UserId::new(claimed.user_id).map_err(|_| INTERNAL)?;
        let wire::NameClaimed { username, issuer, .. } = claimed;
        let record = UserRecord { user, username, issuer, disabled: false, sessions: 0 };
        listing.places[place] = Some(record);
        listing.outstanding += 1;
        let request = look_up::read_identity(user);
        self.read_for_list(call, ListRead::Identity { place }, request, effects);
        Ok(())
    }

    fn listed_identity_read(
        &mut self,
        call: u64,
        place: usize,
        result: StoreResult,
    ) -> Result<(), Refusal> {
        let Some(listing) = self.listings.0.get_mut(&call) else { return Ok(()) };
        listing.outstanding -= 1;
        let (identity, _) = look_up::identity(result)?;
        if let Some(record) = &mut listing.places[place] {
            record.disabled = identity.disabled;
            record.sessions = identity.sessions().len();
        }
        Ok(())
    }

    fn finish_listing(&mut self, call: u64, effects: &mut Effects) {
        if self.listings.0.get(&call).is_some_and(|listing| listing.outstanding == 0)
            && let Some(Listing { places, next, .. }) = self.listings.0.remove(&call)
        {
            let users = places.into_iter().flatten().collect();
            let reply = AdminReply::Users { users, next };
            self.answer(Asker::Admin { call }, Answer::Admin(reply), effects);
        }
    }
}
