//! The token of a sync: up to where a client was told everything, or how far that has come.
//!
//! ```text
//! layout | checksum | flags | version | since | of a list that goes on: settings, version, now, place
//! ```
//!
//! There is no secret in it: whoever makes one up gets what is the own anyhow, only not all of it. The
//! checksum is for clients that lose bytes, and it holds the token to its user and its epoch.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use dunlin_protocol::limits::SYNC_TOKEN_BYTES_MAX;
use dunlin_protocol::{LogId, UserId};
use prost::encoding::{decode_varint, encode_varint};

use crate::store::Moment;
use crate::store::moment::MOMENT_BYTES_MAX;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Token {
    /// The version of the account up to which everything was told.
    pub(super) version: u64,
    /// The moment of the same; `None` of a client that is told everything.
    pub(super) since: Option<Moment>,
    /// There was no room for everything.
    pub(super) listing: Option<Listing>,
}

/// How far it has come to tell what there was no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listing {
    /// The settings that were set up to this version are told.
    pub(super) settings_version: u64,
    /// The version of the account at the last answer, ...
    pub(super) version: u64,
    /// ... and the moment.
    pub(super) now: Moment,
    /// The conversations up to here were told as they were then; `None` if all were.
    pub(super) told: Option<Place>,
    /// The client has to forget what it has of each, since an older copy was put back.
    pub(super) forget: bool,
}

/// The place of a conversation among those of a user: the most recently used first, and those of one time always
/// alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) time_ms: u64,
    pub(super) log: LogId,
}

/// The one layout that there is.
const LAYOUT: u8 = 1;

const HAS_SINCE: u8 = 1;
const IS_LISTING: u8 = 2;
const HAS_PLACE: u8 = 4;
const FORGET: u8 = 8;

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Place) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Place) -> std::cmp::Ordering {
        other.time_ms.cmp(&self.time_ms).then_with(|| self.log.cmp(&other.log))
    }
}

impl Token {
    /// As the client keeps it.
    pub(super) fn encode(&self, user: UserId, epoch: u64) -> Bytes {
        let mut body = BytesMut::with_capacity(SYNC_TOKEN_BYTES_MAX);
        body.put_u8(self.flags());
        encode_varint(self.version, &mut body);
        put_moment(self.since, &mut body);
        if let Some(listing) = &self.listing {
            encode_varint(listing.settings_version, &mut body);
            encode_varint(listing.version, &mut body);
            put_moment(Some(listing.now), &mut body);
            if let Some(place) = &listing.told {
                encode_varint(place.time_ms, &mut body);
                body.put_slice(place.log.as_bytes());
            }
        }
        let mut token = BytesMut::with_capacity(5 + body.len());
        token.put_u8(LAYOUT);
        token.put_u32(checksum(user, epoch, &body));
        token.put_slice(&body);
        token.freeze()
    }

    fn flags(&self) -> u8 {
        let mut flags = if self.since.is_some() { HAS_SINCE } else { 0 };
        if let Some(listing) = &self.listing {
            flags |= IS_LISTING;
            flags |= if listing.told.is_some() { HAS_PLACE } else { 0 };
            flags |= if listing.forget { FORGET } else { 0 };
        }
        flags
    }

    /// `None` if it is no token of this user in this epoch, whatever else it is.
    pub(super) fn decode(token: &[u8], user: UserId, epoch: u64) -> Option<Token> {
        let (&[layout, a, b, c, d], mut body) = token.split_first_chunk()?;
        let claimed = u32::from_be_bytes([a, b, c, d]);
        if layout != LAYOUT || claimed != checksum(user, epoch, body) {
            return None;
        }
        let flags = body.try_get_u8().ok()?;
        let version = decode_varint(&mut body).ok()?;
        let since = if flags & HAS_SINCE == 0 { None } else { Some(take_moment(&mut body)?) };
        let listing =
            if flags & IS_LISTING == 0 { None } else { Some(take_listing(flags, &mut body)?) };
        body.is_empty().then_some(Token { version, since, listing })
    }
}

fn take_listing(flags: u8, body: &mut &[u8]) -> Option<Listing> {
    let (settings_version, version) = (decode_varint(body).ok()?, decode_varint(body).ok()?);
    let now = take_moment(body)?;
    let told = if flags & HAS_PLACE == 0 { None } else { Some(take_place(body)?) };
    Some(Listing { settings_version, version, now, told, forget: flags & FORGET != 0 })
}

fn take_place(body: &mut &[u8]) -> Option<Place> {
    let time_ms = decode_varint(body).ok()?;
    let (log, rest) = body.split_at_checked(16)?;
    *body = rest;
    Some(Place { time_ms, log: LogId::from_bytes(log).ok()? })
}

fn put_moment(moment: Option<Moment>, body: &mut BytesMut) {
    if let Some(moment) = moment {
        body.put_u8(moment.as_bytes().len() as u8);
        body.put_slice(moment.as_bytes());
    }
}

fn take_moment(body: &mut &[u8]) -> Option<Moment> {
    let length = usize::from(body.try_get_u8().ok()?);
    let (moment, rest) = body.split_at_checked(length)?;
    *body = rest;
    Moment::from_bytes(moment)
}

fn checksum(user: UserId, epoch: u64, body: &[u8]) -> u32 {
    let owner = crc32c::crc32c(&user.get().to_be_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(owner, &epoch.to_be_bytes()), body)
}

/// Layout, checksum, flags, four numbers, two moments and a log.
const LONGEST: usize = 1 + 4 + 1 + 4 * 10 + 2 * (1 + MOMENT_BYTES_MAX) + 16;
const _: () = assert!(LONGEST <= SYNC_TOKEN_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn tokens() -> Vec<Token> {
        let moment = |byte| Moment::from_bytes(&[byte; MOMENT_BYTES_MAX]).unwrap();
        let place = Place { time_ms: u64::MAX, log: LogId::direct(user(1), user(2)) };
        let listing = Listing {
            settings_version: u64::MAX,
            version: u64::MAX,
            now: moment(8),
            told: Some(place),
            forget: true,
        };
        let told = Token { version: u64::MAX, since: Some(moment(7)), listing: None };
        vec![
            told,
            Token { listing: Some(listing), ..told },
            Token { since: None, listing: Some(Listing { told: None, ..listing }), ..told },
            Token { listing: Some(Listing { forget: false, ..listing }), ..told },
        ]
    }

    #[test]
    fn a_token_is_good_for_its_user_and_epoch() {
        for token in tokens() {
            let bytes = token.encode(user(1), 7);
            assert!(bytes.len() <= SYNC_TOKEN_BYTES_MAX, "{}", bytes.len());
            assert_eq!(Token::decode(&bytes, user(1), 7), Some(token));
            assert_eq!(Token::decode(&bytes, user(2), 7), None);
            assert_eq!(Token::decode(&bytes, user(1), 8), None);
        }
    }

    #[test]
    fn what_was_damaged_is_no_token() {
        for token in tokens() {
            let bytes = token.encode(user(1), 7);
            for at in 0..bytes.len() {
                assert_eq!(Token::decode(&bytes[..at], user(1), 7), None);
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 0x10;
                assert_eq!(Token::decode(&damaged, user(1), 7), None);
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(Token::decode(&longer, user(1), 7), None);
        }
    }

    #[test]
    fn a_body_that_ends_too_early_is_no_token_though_its_checksum_is_right() {
        let body = &tokens()[1].encode(user(1), 7)[5..];
        for length in 0..body.len() {
            let body = &body[..length];
            let forged = [&[LAYOUT], &checksum(user(1), 7, body).to_be_bytes()[..], body].concat();
            assert_eq!(Token::decode(&forged, user(1), 7), None);
        }
    }

    #[test]
    fn the_most_recently_used_come_first() {
        let at = |time_ms, id| Place { time_ms, log: LogId::direct(user(1), user(id)) };
        let mut places = vec![at(5, 3), at(9, 2), at(5, 2), at(7, 9)];
        places.sort_unstable();
        assert_eq!(places, [at(9, 2), at(7, 9), at(5, 2), at(5, 3)]);
    }
}
