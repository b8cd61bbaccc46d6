//! The names of things. Each is parsed once, where it enters, into a type that can't be wrong.

use std::fmt;

use bytes::Bytes;

/// An id on the wire that has the wrong length or range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// An id of 16 bytes had another length.
    #[error("an id of 16 bytes has {0} bytes")]
    Length(usize),
    /// A user or session id was 0 or above 2^53 - 1.
    #[error("id {0} is not in 1..=2^53-1")]
    Range(u64),
    /// A log id with an unknown kind, or with users that are no pair.
    #[error("no log has this id")]
    Log,
}

/// Ids up to here are exact in every language, JavaScript's numbers included.
const NUMBER_MAX: u64 = (1 << 53) - 1;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The largest id: 2^53 - 1.
            pub const MAX: $name = $name(NUMBER_MAX);

            /// Takes an id from the wire.
            pub const fn new(value: u64) -> Result<$name, InvalidId> {
                if value == 0 || value > NUMBER_MAX {
                    return Err(InvalidId::Range(value));
                }
                Ok($name(value))
            }

            /// Makes an id of any 64 random bits.
            pub const fn from_random(bits: u64) -> $name {
                $name(match bits & NUMBER_MAX { 0 => 1, value => value })
            }

            /// The number, for the wire.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number_id! {
    /// A user: a random number in 1..=2^53-1, given by the server for ever.
    UserId
}
number_id! {
    /// A session: one login of a user on a device; random like a user id.
    SessionId
}

macro_rules! sixteen_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Takes an id from the wire.
            pub fn from_wire(bytes: &[u8]) -> Result<$name, InvalidId> {
                bytes.try_into().map($name).map_err(|_| InvalidId::Length(bytes.len()))
            }

            /// The id for the wire.
            pub fn to_wire(self) -> Bytes {
                Bytes::copy_from_slice(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), Hex(&self.0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Hex(&self.0).fmt(f)
            }
        }
    };
}

sixteen_bytes! {
    /// A message as its sender names it, the same in every retry. Random, or a UUID.
    ClientMessageId
}
sixteen_bytes! {
    /// An installation of a client; chosen by it once, at random.
    DeviceId
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LogKind {
    /// A conversation of two users (or of one with itself).
    Direct = 1,
    /// A conversation of many.
    Group = 2,
    /// What belongs to one user alone. Never leaves the server as a log.
    Account = 3,
    /// The claim of a user name. Never leaves the server.
    Name = 4,
    /// Credentials and sessions of a user. Never leaves the server.
    Identity = 5,
    /// What the store keeps for itself. Never leaves the server.
    Service = 6,
}

/// The name of a log: 16 bytes, the first of which is the kind.
///
/// ```text
/// direct    1  0  lower user (7 bytes, big-endian)  higher user (7 bytes)
/// group     2  0  14 random bytes
/// account   3  0  7 zero bytes                      user (7 bytes)
/// name      4  0  14 bytes of a hash of the name
/// identity  5  0  7 zero bytes                      user (7 bytes)
/// service   6  0  14 bytes of its name, then zeros
/// ```
///
/// So the id of a direct conversation follows from its members, needs no look-up, and says who
/// they are. On the wire a `conversation_id` is a log of the first two kinds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId([u8; 16]);

impl LogId {
    /// The direct conversation of two users, in either order; of a user with itself if they are one.
    pub fn direct(one: UserId, other: UserId) -> LogId {
        LogId::of_users(LogKind::Direct, one.0.min(other.0), one.0.max(other.0))
    }

    /// The account log of a user.
    pub fn account(user: UserId) -> LogId {
        LogId::of_users(LogKind::Account, 0, user.0)
    }

    /// The log of a user's credentials and sessions.
    pub fn identity(user: UserId) -> LogId {
        LogId::of_users(LogKind::Identity, 0, user.0)
    }

    /// The log of a user name, from a hash of the name.
    pub fn name(hash: [u8; 14]) -> LogId {
        LogId::of_hash(LogKind::Name, hash)
    }

    /// A group, from random bytes.
    pub fn group(random: [u8; 14]) -> LogId {
        LogId::of_hash(LogKind::Group, random)
    }

    /// A log of the store itself, by its name; what is behind its 14th byte does not count.
    pub fn service(name: &[u8]) -> LogId {
        let mut padded = [0; 14];
        padded.iter_mut().zip(name).for_each(|(place, byte)| *place = *byte);
        LogId::of_hash(LogKind::Service, padded)
    }

    fn of_users(kind: LogKind, lower: u64, higher: u64) -> LogId {
        let mut id = [0; 16];
        id[0] = kind as u8;
        id[2..9].copy_from_slice(&lower.to_be_bytes()[1..]);
        id[9..16].copy_from_slice(&higher.to_be_bytes()[1..]);
        LogId(id)
    }

    fn of_hash(kind: LogKind, hash: [u8; 14]) -> LogId {
        let mut id = [0; 16];
        id[0] = kind as u8;
        id[2..].copy_from_slice(&hash);
        LogId(id)
    }

    /// Takes any log id from stored or internal bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<LogId, InvalidId> {
        let bytes: [u8; 16] = bytes.try_into().map_err(|_| InvalidId::Length(bytes.len()))?;
        let id = LogId(bytes);
        let (lower, higher) = id.numbers();
        let valid = bytes[1] == 0
            && match bytes[0] {
                1 => lower >= 1 && lower <= higher && higher <= NUMBER_MAX,
                3 | 5 => lower == 0 && (1..=NUMBER_MAX).contains(&higher),
                2 | 4 | 6 => true,
                _ => false,
            };
        if valid { Ok(id) } else { Err(InvalidId::Log) }
    }

    /// Takes a `conversation_id` from the wire: a log that a client may name.
    pub fn from_wire(bytes: &[u8]) -> Result<LogId, InvalidId> {
        let id = LogId::from_bytes(bytes)?;
        match id.kind() {
            LogKind::Direct | LogKind::Group => Ok(id),
            LogKind::Account | LogKind::Name | LogKind::Identity | LogKind::Service => {
                Err(InvalidId::Log)
            }
        }
    }

    /// The id for the wire.
    pub fn to_wire(self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// What the log is about.
    pub fn kind(self) -> LogKind {
        match self.0[0] {
            1 => LogKind::Direct,
            2 => LogKind::Group,
            3 => LogKind::Account,
            4 => LogKind::Name,
            5 => LogKind::Identity,
            _ => LogKind::Service,
        }
    }

    /// The two members of a direct conversation, the lower one first.
    pub fn direct_members(self) -> Option<(UserId, UserId)> {
        let (lower, higher) = self.numbers();
        (self.kind() == LogKind::Direct).then_some((UserId(lower), UserId(higher)))
    }

    /// The user whose account or identity log this is.
    pub fn owner(self) -> Option<UserId> {
        matches!(self.kind(), LogKind::Account | LogKind::Identity)
            .then(|| UserId(self.numbers().1))
    }

    fn numbers(self) -> (u64, u64) {
        let number = |range: std::ops::Range<usize>| {
            self.0[range].iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
        };
        (number(2..9), number(9..16))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({self})")
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_conversation_is_the_same_from_both_sides() {
        let (a, b) = (UserId::new(7).unwrap(), UserId::MAX);
        let id = LogId::direct(a, b);
        assert_eq!(id, LogId::direct(b, a));
        assert_eq!(id.direct_members(), Some((a, b)));
        assert_eq!(LogId::from_wire(id.as_bytes()), Ok(id));
        assert_eq!(id.owner(), None);
    }

    #[test]
    fn logs_that_stay_on_the_server_have_no_name_on_the_wire() {
        let user = UserId::new(9).unwrap();
        assert_eq!(LogId::from_wire(LogId::identity(user).as_bytes()), Err(InvalidId::Log));
        assert_eq!(LogId::from_wire(LogId::name([1; 14]).as_bytes()), Err(InvalidId::Log));
        let service = LogId::service(b"consumers");
        assert_eq!(LogId::from_wire(service.as_bytes()), Err(InvalidId::Log));
        assert_eq!(LogId::from_bytes(service.as_bytes()).map(LogId::kind), Ok(LogKind::Service));
        assert_eq!(LogId::from_wire(LogId::account(user).as_bytes()), Err(InvalidId::Log));
    }

    #[test]
    fn ids_that_no_one_gave_are_refused() {
        assert_eq!(UserId::new(0), Err(InvalidId::Range(0)));
        assert_eq!(UserId::new(1 << 53), Err(InvalidId::Range(1 << 53)));
        assert_eq!(UserId::from_random(0).get(), 1);
        assert_eq!(LogId::from_wire(&[1; 15]), Err(InvalidId::Length(15)));
        assert_eq!(LogId::from_wire(&[0; 16]), Err(InvalidId::Log));
        let mut swapped = *LogId::direct(UserId(1), UserId(2)).as_bytes();
        swapped.swap(8, 15);
        assert_eq!(LogId::from_wire(&swapped), Err(InvalidId::Log));
    }
}
