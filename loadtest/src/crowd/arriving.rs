//! How connections come, go, and come back: connect, Hello, Login, and then Sync.

use std::time::Duration;

use dunlin_protocol::wire::{LoggedIn, Welcome, frame::Body};
use dunlin_protocol::{LogId, UserId};

use crate::crowd::comings::back_off;
use crate::crowd::ids::{HELLO, LOGIN};
use crate::crowd::member::Stage;
use crate::crowd::state::Crowd;
use crate::crowd::{ARRIVING_MAX, Identity, Place, Scenario, Seating, Turmoil};
use crate::login::{hello, login, resume};
use crate::net::Links;
use crate::phases::Phase;
use crate::target::Service;

impl<S: Scenario> Crowd<'_, S> {
    pub(crate) fn connect_some(&mut self, now_ns: u64, links: &mut Links) {
        while let Some(slot) = self.comings.next(now_ns, self.arriving_max()) {
            self.members[slot].stage = Stage::Connecting;
            self.turmoil.attempted(slot, links.now_ns());
            links.connect(slot);
        }
    }

    /// When the next one may be connected again.
    pub(crate) fn next_return_ns(&self) -> u64 {
        self.comings.next_return_ns(self.arriving_max())
    }

    /// Connections that may be on their way at a time.
    fn arriving_max(&self) -> usize {
        match self.phase {
            Phase::Gather => ARRIVING_MAX,
            Phase::Run | Phase::Drain | Phase::Read | Phase::End => self.turmoil.arriving_max(),
        }
    }

    /// After the connection of a user ended, in whatever way.
    pub(crate) fn went_away(&mut self, slot: usize, links: &mut Links) {
        if self.members[slot].stage == Stage::Away {
            return;
        }
        self.leave(slot, links);
        let heeds_delay = self.turmoil.heeds_delay();
        let member = &mut self.members[slot];
        member.failures += 1;
        let told_ms = std::mem::take(&mut member.reconnect_delay_ms);
        let told = Duration::from_millis(if heeds_delay { u64::from(told_ms) } else { 0 });
        let wait = back_off(slot, member.failures, told);
        self.comings.come_back(slot, links.now_ns() + wait.as_nanos() as u64);
    }

    /// Takes the end of a connection to the books.
    pub(crate) fn leave(&mut self, slot: usize, links: &mut Links) {
        let member = &mut self.members[slot];
        match member.stage {
            Stage::Away => {}
            Stage::Active => self.account.progress.active -= 1,
            Stage::Connecting | Stage::LoggingIn | Stage::Syncing => self.comings.arriving -= 1,
        }
        self.outcome.totals.resent += member.disconnected() as u64;
        for Place { conversation, reader } in self.seat(slot).places() {
            self.conversations[conversation].disconnected(reader);
        }
        self.abandon_signals(slot, links);
    }

    // ---------------------------------------------------------------- being there

    pub(crate) fn greet(&mut self, slot: usize, links: &mut Links) {
        match &self.setup.terms.target.service {
            Service::Dunlin(_) | Service::Holder => {
                self.put(slot, HELLO, Body::Hello(hello()), links);
            }
            Service::Relay => {
                let words = self.setup.scenario.relay_words(self.user_index(slot));
                if let Some(outbox) = links.outbox(slot) {
                    outbox.extend_from_slice(&(4 * words.len() as u32).to_be_bytes());
                    words.iter().for_each(|word| outbox.extend_from_slice(&word.to_be_bytes()));
                }
                self.become_active(slot, links);
            }
        }
    }

    pub(crate) fn on_welcome(&mut self, slot: usize, welcome: &Welcome, links: &mut Links) {
        let limits = welcome.limits.unwrap_or_default();
        self.heartbeats.set_interval(limits.heartbeat_interval_ms);
        // Half: beyond the limit the server would stop reading, and heartbeats with it.
        self.outstanding_max = (limits.requests_outstanding_max as usize / 2).max(1);
        let Service::Dunlin(issuer) = &self.setup.terms.target.service else {
            return;
        };
        let index = self.user_index(slot);
        let Identity { user, device } = self.setup.scenario.member(self.setup.run, index);
        let login = match self.turmoil.resume_token(slot) {
            Some(token) => resume(token, device),
            None => login(issuer, &user, device),
        };
        self.members[slot].stage = Stage::LoggingIn;
        self.put(slot, LOGIN, Body::Login(login), links);
    }

    pub(crate) fn on_logged_in(&mut self, slot: usize, logged_in: &LoggedIn, links: &mut Links) {
        self.turmoil.keep_resume_token(slot, &logged_in.resume_token);
        self.members[slot].user_id = logged_in.user_id;
        self.members[slot].stage = Stage::Syncing;
        self.name_conversations(slot);
        self.sync(slot, links);
    }

    /// Somebody is logged in: conversations get their names as soon as both users are known. All are
    /// before anybody writes.
    fn name_conversations(&mut self, slot: usize) {
        let own_id = self.members[slot].user_id;
        for conversation in self.seat(slot).conversations() {
            if self.conversations[conversation].id != [0; 16] {
                continue;
            }
            let users = (0..self.seating.readers()).map(|reader| {
                self.members[self.seating.connection(Place { conversation, reader })].user_id
            });
            let other_id = users.into_iter().find(|&id| id != 0 && id != own_id);
            if let Some(other_id) = other_id
                && let (Ok(own), Ok(other)) = (UserId::new(own_id), UserId::new(other_id))
            {
                self.conversations[conversation].id = *LogId::direct(own, other).as_bytes();
            }
        }
    }

    pub(crate) fn become_active(&mut self, slot: usize, links: &mut Links) {
        let member = &mut self.members[slot];
        member.stage = Stage::Active;
        member.failures = 0;
        self.comings.arriving -= 1;
        self.account.progress.active += 1;
        self.turmoil.arrived(slot, &self.schedule, links);
        self.transmit(slot, links);
        match self.phase {
            Phase::Run => self.fill(slot, links),
            Phase::Read => self.read_on(slot, links),
            Phase::Gather | Phase::Drain | Phase::End => {}
        }
    }
}
