//! What a request costs, in the units of each budget.

use std::ops::{Add, Index, IndexMut};

use crate::request::{
    AccountRequest, CredentialRequest, History, IdentityRequest, Message, Request, SyncFrom,
};

/// Of what there is a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Messages to store.
    Messages,
    /// Bytes of them.
    Bytes,
    /// Requests by what they cost, in points: see [`Cost::of`].
    Requests,
    /// Signals and heartbeats: what is neither stored nor looked up.
    Signals,
    /// Names that are looked up.
    Names,
    /// Bytes of messages in a day.
    StoredBytes,
    /// Connections that come, of an address.
    Connects,
}

impl Kind {
    /// All of them, in the order of their tables.
    pub const ALL: [Kind; 7] = [
        Kind::Messages,
        Kind::Bytes,
        Kind::Requests,
        Kind::Signals,
        Kind::Names,
        Kind::StoredBytes,
        Kind::Connects,
    ];

    /// For those who read what was counted.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Messages => "messages",
            Kind::Bytes => "message_bytes",
            Kind::Requests => "requests",
            Kind::Signals => "signals",
            Kind::Names => "names",
            Kind::StoredBytes => "message_bytes_per_day",
            Kind::Connects => "connects",
        }
    }
}

/// An amount of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost([u32; Kind::ALL.len()]);

impl Index<Kind> for Cost {
    type Output = u32;

    fn index(&self, kind: Kind) -> &u32 {
        &self.0[kind as usize]
    }
}

impl IndexMut<Kind> for Cost {
    fn index_mut(&mut self, kind: Kind) -> &mut u32 {
        &mut self.0[kind as usize]
    }
}

impl Add for Cost {
    type Output = Cost;

    fn add(mut self, other: Cost) -> Cost {
        for (own, more) in self.0.iter_mut().zip(other.0) {
            *own = own.saturating_add(more);
        }
        self
    }
}

/// A message counts as so many bytes at least: about what is stored beside its content.
pub(super) const MESSAGE_BYTES_LEAST: usize = 256;

// Points. One is what a change of a register or the look at one costs, some microseconds of the processor.
/// A page of history, and for each of its entries that many more come to a point.
const HISTORY: usize = 1;
const ENTRIES_A_POINT: usize = 25;
/// A sync compares all that a user has, and for each position that it names that many more come to a point.
const SYNC: usize = 10;
const POSITIONS_A_POINT: usize = 64;
/// A search for a message asks the store.
const FIND: usize = 2;
/// Ids of users that are looked up for a point.
const USERS_A_POINT: usize = 8;
/// Credentials are signed and recorded durably.
const CREDENTIALS: usize = 10;
/// A password is hashed.
const PASSWORD: usize = 50;

impl Cost {
    /// So much of one kind.
    pub fn of_kind(kind: Kind, amount: usize) -> Cost {
        let mut cost = Cost::default();
        cost[kind] = u32::try_from(amount).unwrap_or(u32::MAX);
        cost
    }

    /// A heartbeat, or a signal.
    pub fn signal() -> Cost {
        Cost::of_kind(Kind::Signals, 1)
    }

    /// Points of requests.
    pub fn points(points: usize) -> Cost {
        Cost::of_kind(Kind::Requests, points)
    }

    /// Of a request.
    pub fn of(request: &Request) -> Cost {
        use crate::request::ConversationRequest::{Find, History, Send, Signal};
        match request {
            Request::Conversation(_, Send(message)) => Cost::of_message(message),
            Request::Conversation(_, Signal(_)) => Cost::signal(),
            Request::Conversation(_, History(history)) => Cost::of_history(history),
            Request::Conversation(_, Find(_)) => Cost::points(FIND),
            Request::Account(account) => Cost::of_account(account),
            Request::Identity(identity) => Cost::of_identity(identity),
            Request::Sync(SyncFrom { positions, .. }) => {
                Cost::points(SYNC + positions.len() / POSITIONS_A_POINT)
            }
            Request::Credential(credential) => Cost::of_credential(credential),
        }
    }

    fn of_message(message: &Message) -> Cost {
        let bytes = (message.content.len() + message.content_type.len()).max(MESSAGE_BYTES_LEAST);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut cost = Cost::default();
        (cost[Kind::Messages], cost[Kind::Bytes], cost[Kind::StoredBytes]) = (1, bytes, bytes);
        cost
    }

    fn of_history(history: &History) -> Cost {
        Cost::points(HISTORY + history.limit / ENTRIES_A_POINT)
    }

    fn of_account(request: &AccountRequest) -> Cost {
        match request {
            AccountRequest::MarkRead { .. }
            | AccountRequest::SetSetting { .. }
            | AccountRequest::UpdateConversation { .. } => Cost::points(1),
            AccountRequest::FindUsers { usernames, user_ids } => {
                Cost::points(1 + (usernames.len() + user_ids.len()) / USERS_A_POINT)
                    + Cost::of_kind(Kind::Names, usernames.len())
            }
        }
    }

    fn of_identity(request: &IdentityRequest) -> Cost {
        Cost::points(match request {
            IdentityRequest::Refresh { .. } | IdentityRequest::Logout(_) => CREDENTIALS,
            IdentityRequest::ListSessions => 1,
            IdentityRequest::ChangePassword { .. } => PASSWORD,
        })
    }

    fn of_credential(request: &CredentialRequest) -> Cost {
        Cost::points(if request.needs_password() { PASSWORD } else { CREDENTIALS })
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        *self == Cost::default()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use dunlin_protocol::wire::Notice;
    use dunlin_protocol::{ClientMessageId, LogId, UserId};

    use super::*;

    fn log() -> LogId {
        crate::auth::names::log_of("somewhere")
    }

    fn message(bytes: usize) -> Request {
        let (content_type, content) = ("application/x".into(), Bytes::from(vec![0; bytes]));
        let client_message_id = ClientMessageId::from_wire(&[7; 16]).unwrap();
        Message { client_message_id, content_type, content, notice: Notice::default() }.to(log())
    }

    #[test]
    fn a_message_costs_itself_and_its_bytes() {
        let small = Cost::of(&message(3));
        assert_eq!((small[Kind::Messages], small[Kind::Bytes]), (1, 256));
        let large = Cost::of(&message(10_000));
        assert_eq!((large[Kind::Messages], large[Kind::Bytes]), (1, 10_013));
        assert_eq!(large[Kind::StoredBytes], 10_013);
        assert_eq!(large[Kind::Requests], 0);
    }

    #[test]
    fn names_are_counted_and_ids_are_cheap() {
        let names = vec![String::new(); 100];
        let by_name = AccountRequest::FindUsers { usernames: names, user_ids: Vec::new() };
        let cost = Cost::of(&by_name.into());
        assert_eq!((cost[Kind::Names], cost[Kind::Requests]), (100, 13));
        let user_ids = vec![UserId::new(1).unwrap(); 100];
        let by_id = AccountRequest::FindUsers { usernames: Vec::new(), user_ids };
        let cost = Cost::of(&by_id.into());
        assert_eq!((cost[Kind::Names], cost[Kind::Requests]), (0, 13));
    }

    #[test]
    fn what_is_dear_costs_more() {
        let points = |request| Cost::of(&request)[Kind::Requests];
        let history = |limit| {
            let (from, to, from_time_ms) = (1, 1000, None);
            points(
                History { from, to, limit, backwards: true, from_time_ms, bytes_max: 1 }.of(log()),
            )
        };
        let refresh = IdentityRequest::Refresh { refresh_token: String::new() };
        assert_eq!([history(1), history(100)], [1, 5]);
        assert_eq!(points(refresh.into()), 10);
        assert_eq!(points(IdentityRequest::ListSessions.into()), 1);
    }

    #[test]
    fn costs_add_up() {
        let sum = Cost::signal() + Cost::signal() + Cost::points(3);
        assert_eq!((sum[Kind::Signals], sum[Kind::Requests], sum.is_zero()), (2, 3, false));
        let most = Cost::points(usize::MAX);
        assert_eq!((most + most)[Kind::Requests], u32::MAX);
    }
}
