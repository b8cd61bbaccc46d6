//! What is asked is paid for: by the user, and by the address. See [`dunlin_core::rates`].
//!
//! Whoever has not logged in pays by the address alone; and where that is exempt, by nothing but the number of
//! requests that a connection may make before somebody is known to make them.

use dunlin_core::rates::{Cost, Kind, Overdrawn, Payer, Rates};
use dunlin_core::refusal::Refusal;
use dunlin_core::request::Command;
use dunlin_protocol::EncodedFrame;
use dunlin_protocol::wire::{CloseReason, Error, ErrorCode, frame::Body};

use super::Shard;
use super::connection::Stage;
use super::control::Settings;
use crate::admission::{self, Address};
use crate::limits::OVERDRAWN_MAX;

/// A client that was closed for it comes back after this time at least, and at most.
const STAY_AWAY_MS: std::ops::RangeInclusive<u32> = 1000..=60_000;

impl Shard {
    /// Takes what a request costs out of the budgets, or answers it in their place: `true` if there is nothing more
    /// to be done about it.
    #[inline]
    pub(super) fn is_overdrawn(&mut self, key: usize, command: &Command) -> bool {
        match self.slots[key].protocol.spend(Cost::of(&command.request)) {
            None => false,
            Some(due) => self.is_refused_to_overdrawn(key, due, command),
        }
    }

    fn is_refused_to_overdrawn(&mut self, key: usize, due: Cost, command: &Command) -> bool {
        let Err(overdrawn) = self.pay(key, due) else {
            return self.slots[key].stage != Stage::Open;
        };
        let refused = self.slots[key].protocol.refuse(overdrawn.kind);
        if command.request_id != 0 {
            let response = EncodedFrame::response(command.request_id, told(overdrawn, refused));
            if self.slots[key].protocol.is_logging_in() {
                self.login_postponed(key, response);
            } else {
                self.respond(key, response);
            }
        }
        self.close_if_it_goes_on(key, overdrawn, refused);
        true
    }

    /// What is answered here, whatever it costs: heartbeats, of no bytes, and what was wrong.
    pub(super) fn pay_aside(&mut self, key: usize, body_bytes: usize) {
        let cost = if body_bytes == 0 { Cost::signal() } else { Cost::points(1) };
        // It may have been closed by its answer.
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some(due) = slot.protocol.spend(cost) else { return };
        if let Err(overdrawn) = self.pay(key, due) {
            let refused = self.slots[key].protocol.refuse(overdrawn.kind);
            self.close_if_it_goes_on(key, overdrawn, refused);
        }
    }

    /// What was added up is paid when the connection ends: else whoever comes again and again would pay nothing.
    pub(super) fn settle(&mut self, key: usize) {
        let unpaid = self.slots[key].protocol.unpaid();
        if unpaid.is_zero() {
            return;
        }
        for (payer, rates) in self.payers(key) {
            if let Some(payer) = payer {
                self.node.budgets.owe(payer, rates, unpaid, self.clock.monotonic_ms());
            }
        }
    }

    /// Somebody comes.
    pub(super) fn pay_connect(&self, address: Address) -> Result<(), admission::Refusal> {
        let Some(payer) = address.payer(&self.settings.limits) else { return Ok(()) };
        let (rates, cost) = (&self.settings.rates.address, Cost::of_kind(Kind::Connects, 1));
        let paid = self.node.budgets.take(payer, rates, cost, self.clock.monotonic_ms());
        paid.map_err(|_| admission::Refusal::AddressHasty)
    }

    fn pay(&mut self, key: usize, cost: Cost) -> Result<(), Overdrawn> {
        if self.charge(key, cost)? {
            self.slots[key].protocol.paid(cost);
        } else {
            self.count_of_nobody(key);
        }
        Ok(())
    }

    /// Whether there was somebody who pays, if there was enough.
    fn charge(&self, key: usize, cost: Cost) -> Result<bool, Overdrawn> {
        let payers = self.payers(key);
        for (payer, rates) in payers {
            if let Some(payer) = payer {
                self.node.budgets.take(payer, rates, cost, self.clock.monotonic_ms())?;
            }
        }
        Ok(payers.iter().any(|(payer, _)| payer.is_some()))
    }

    fn payers(&self, key: usize) -> [(Option<Payer>, &Rates); 2] {
        let Settings { limits, rates, .. } = &*self.settings;
        let slot = &self.slots[key];
        let user = slot.protocol.session().map(|session| Payer::User(session.user));
        [(user, &rates.user), (slot.address.payer(limits), &rates.address)]
    }

    /// Nobody pays for what is asked here before somebody has logged in, so it must not be much.
    fn count_of_nobody(&mut self, key: usize) {
        let asked = self.slots[key].protocol.refuse(Kind::Requests);
        if asked > OVERDRAWN_MAX {
            self.close(key, CloseReason::RateLimited, *STAY_AWAY_MS.start());
        }
    }

    fn close_if_it_goes_on(&mut self, key: usize, overdrawn: Overdrawn, refused: u16) {
        let Some(slot) = self.slots.get(key) else { return };
        let (conn, peer) = (self.conn_id(key), slot.address);
        let user = slot.protocol.session().map(|session| session.user.get());
        let (of, retry_after_ms) = (overdrawn.kind.name(), overdrawn.retry_after_ms(0));
        if refused == 1 {
            tracing::info!(%conn, %peer, user, of, retry_after_ms, "somebody asks too much");
        }
        if refused > OVERDRAWN_MAX {
            tracing::info!(%conn, %peer, user, of, "somebody who asks too much is closed");
            let delay_ms = retry_after_ms.clamp(*STAY_AWAY_MS.start(), *STAY_AWAY_MS.end());
            self.close(key, CloseReason::RateLimited, delay_ms);
        }
    }
}

fn told(overdrawn: Overdrawn, refused: u16) -> Body {
    let message = match overdrawn.kind {
        Kind::Messages => "too many messages",
        Kind::Bytes => "too many bytes of messages",
        Kind::Requests => "too many requests",
        Kind::Signals => "too many signals",
        Kind::Names => "too many names were looked up",
        Kind::StoredBytes => "too many bytes of messages in a day",
        Kind::Connects => "too many connections",
    };
    let retry_after_ms = overdrawn.retry_after_ms(refused.saturating_sub(1));
    let refusal = Refusal::retry(ErrorCode::RateLimited, message, retry_after_ms);
    Body::Error(Error::from(refusal))
}
