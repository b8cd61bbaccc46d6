//! What a connection is told when it begins: what it is held to, and what both sides can do.
//!
//! Everybody gets a Welcome, and all but its time and the names of the capabilities is the same for
//! everybody: so it is encoded once, and each connection gets a copy of the bytes.

use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};
use dunlin_protocol::EncodedFrame;
use dunlin_protocol::limits::{
    CAPABILITIES_MAX, CONTENT_BYTES_MAX, FIND_USERS_MAX, FRAME_BYTES_MAX,
    FRAME_BYTES_MAX_BEFORE_LOGIN, FRAME_PREFIX_BYTES, HISTORY_ENTRIES_MAX,
    ISSUED_USERNAME_BYTES_MAX, NAME_BYTES_MAX, PASSWORD_BYTES, PROTOCOL_VERSION,
    SETTING_KEY_BYTES_MAX, SETTING_VALUE_BYTES_MAX, SETTINGS_BYTES_MAX, SETTINGS_MAX,
    SIGNAL_BYTES_MAX, SYNC_ENTRIES_MAX, SYNC_POSITIONS_MAX, TYPE_BYTES_MAX, USERNAME_CHARACTERS,
    USERNAME_LENGTH,
};
use dunlin_protocol::wire::{DeviceKindLimit, Hello, Limits, Rates, Rules, Welcome};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::config::{EngineConfig, Registration};
use crate::connection::ConnectionContext;

/// What may be in force on a connection beyond the version of the protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Large responses may come as `Compressed`.
    pub deflate: bool,
}

const DEFLATE: &str = "deflate";

impl Capabilities {
    /// Those of a client that are among these. Names that nobody knows are ignored, and so is what
    /// is beyond the number that a Hello may have.
    pub(crate) fn in_common(self, hello: &Hello) -> Capabilities {
        let mut names = hello.capabilities.iter().take(CAPABILITIES_MAX);
        Capabilities { deflate: self.deflate && names.any(|name| name == DEFLATE) }
    }

    fn names(self) -> Vec<String> {
        let Capabilities { deflate } = self;
        deflate.then(|| DEFLATE.to_owned()).into_iter().collect()
    }
}

/// What the transport holds a connection to; Welcome only tells it. 0 is never told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TransportLimits {
    /// For a connection of which nothing arrives.
    pub idle_timeout_ms: u32,
    /// From Hello to a login.
    pub login_timeout_ms: u32,
    /// From the first byte of a frame to its last.
    pub frame_timeout_ms: u32,
    /// For a peer that takes none of the bytes that wait for it.
    pub write_timeout_ms: u32,
    /// Bytes that wait for a slow connection until its pushes collapse.
    pub outbox_bytes_soft: u64,
    /// Bytes that wait for it until it is closed.
    pub outbox_bytes_max: u64,
    /// Failed logins of a connection until it is closed.
    pub failed_logins_max: u32,
    /// Connections of one address.
    pub connections_per_address_max: u32,
    /// How fast a user may ask.
    pub rates: Rates,
}

/// The rules of an engine with this configuration.
pub fn rules(config: &EngineConfig) -> Rules {
    let bytes = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let limit = |(kind, sessions): &(_, usize)| DeviceKindLimit {
        kind: *kind as i32,
        sessions: bytes(*sessions),
    };
    Rules {
        registration_open: config.registration() != Registration::Closed,
        invitation_needed: config.registration() == Registration::Invitation,
        username_length_min: bytes(*USERNAME_LENGTH.start()),
        username_length_max: bytes(*USERNAME_LENGTH.end()),
        username_characters: USERNAME_CHARACTERS.into(),
        issued_username_bytes_max: bytes(ISSUED_USERNAME_BYTES_MAX),
        password_bytes_min: bytes(*PASSWORD_BYTES.start()),
        password_bytes_max: bytes(*PASSWORD_BYTES.end()),
        name_bytes_max: bytes(NAME_BYTES_MAX),
        sessions_max: bytes(config.devices.sessions_max),
        sessions_per_kind: bytes(config.devices.sessions_per_kind),
        sessions: config.devices.by_kind.iter().map(limit).collect(),
    }
}

fn limits(context: &ConnectionContext) -> Limits {
    let transport = context.transport.clone();
    Limits {
        heartbeat_interval_ms: context.heartbeat_interval_ms,
        idle_timeout_ms: transport.idle_timeout_ms,
        login_timeout_ms: transport.login_timeout_ms,
        frame_timeout_ms: transport.frame_timeout_ms,
        write_timeout_ms: transport.write_timeout_ms,
        frame_bytes_max_before_login: FRAME_BYTES_MAX_BEFORE_LOGIN.min(context.frame_bytes_max),
        small_frame_bytes_max: context.small_frame_bytes_max,
        frame_bytes_max: context.frame_bytes_max,
        response_bytes_max: FRAME_BYTES_MAX,
        requests_outstanding_max: context.requests_outstanding_max,
        content_bytes_max: CONTENT_BYTES_MAX as u32,
        signal_bytes_max: SIGNAL_BYTES_MAX as u32,
        type_bytes_max: TYPE_BYTES_MAX as u32,
        history_entries_max: HISTORY_ENTRIES_MAX,
        sync_positions_max: SYNC_POSITIONS_MAX as u32,
        sync_entries_max: SYNC_ENTRIES_MAX,
        find_users_max: FIND_USERS_MAX as u32,
        outbox_bytes_soft: transport.outbox_bytes_soft,
        outbox_bytes_max: transport.outbox_bytes_max,
        failed_logins_max: transport.failed_logins_max,
        connections_per_address_max: transport.connections_per_address_max,
        settings_max: SETTINGS_MAX,
        settings_bytes_max: SETTINGS_BYTES_MAX,
        setting_key_bytes_max: SETTING_KEY_BYTES_MAX as u32,
        setting_value_bytes_max: SETTING_VALUE_BYTES_MAX as u32,
    }
}

/// The part of Welcome that is the same for all connections of a context, once somebody has asked
/// for it. A copy of the context may be changed, so it begins without.
#[derive(Debug, Default)]
pub struct EncodedWelcome(OnceLock<Bytes>);

impl Clone for EncodedWelcome {
    fn clone(&self) -> EncodedWelcome {
        EncodedWelcome::default()
    }
}

/// Numbers of `Frame.request_id` and `Frame.welcome`.
const REQUEST_ID: u32 = 1;
const WELCOME: u32 = 64;

/// The answer to a Hello.
pub(crate) fn welcome(
    context: &ConnectionContext,
    in_force: Capabilities,
    now_ms: u64,
    request_id: u64,
    hello: &Hello,
) -> EncodedFrame {
    let own = Welcome {
        protocol_version: hello.protocol_version.min(PROTOCOL_VERSION),
        server: context.server.clone(),
        server_time_ms: now_ms,
        capabilities: in_force.names(),
        limits: None,
        rules: None,
        rates: None,
    };
    // Its fields have the higher numbers, so one encoding behind the other is that of both.
    let shared = context.welcome.0.get_or_init(|| encode_shared(context));
    let welcome_bytes = (own.encoded_len() + shared.len()) as u64;
    let body_bytes = key_len(REQUEST_ID)
        + encoded_len_varint(request_id)
        + key_len(WELCOME)
        + encoded_len_varint(welcome_bytes)
        + welcome_bytes as usize;
    let mut wire = BytesMut::with_capacity(FRAME_PREFIX_BYTES + body_bytes);
    wire.put_u32(body_bytes as u32);
    encode_key(REQUEST_ID, WireType::Varint, &mut wire);
    encode_varint(request_id, &mut wire);
    encode_key(WELCOME, WireType::LengthDelimited, &mut wire);
    encode_varint(welcome_bytes, &mut wire);
    own.encode_raw(&mut wire);
    wire.extend_from_slice(shared);
    EncodedFrame::from_wire(wire.freeze()).expect("the prefix is the length of what follows")
}

fn encode_shared(context: &ConnectionContext) -> Bytes {
    let (limits, rules) = (Some(limits(context)), Some(context.rules.clone()));
    let rates = Some(context.transport.rates);
    Welcome { limits, rules, rates, ..Welcome::default() }.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::wire::frame::Body;

    use super::*;

    fn hello(capabilities: &[&str]) -> Hello {
        let capabilities = capabilities.iter().map(|name| (*name).to_owned()).collect();
        Hello { protocol_version: 1, client: "test".into(), capabilities }
    }

    #[test]
    fn what_is_put_together_is_what_one_encoding_gives() {
        let context = ConnectionContext::new("dunlin test");
        for (request_id, now_ms) in [(1, 0), (127, 1), (128, 1_790_000_000_123), (u64::MAX, 7)] {
            for in_force in [Capabilities::default(), Capabilities { deflate: true }] {
                let whole = Welcome {
                    protocol_version: 1,
                    server: "dunlin test".into(),
                    server_time_ms: now_ms,
                    capabilities: in_force.names(),
                    limits: Some(limits(&context)),
                    rules: Some(context.rules.clone()),
                    rates: Some(context.transport.rates),
                };
                let expected = EncodedFrame::response(request_id, Body::Welcome(whole));
                let encoded = welcome(&context, in_force, now_ms, request_id, &hello(&[]));
                assert_eq!(encoded, expected);
            }
        }
    }

    #[test]
    fn everybody_gets_it_so_it_is_small() {
        let context = ConnectionContext::new("dunlin/0.1.0");
        let told = welcome(&context, Capabilities { deflate: true }, u64::MAX, 1, &hello(&[]));
        assert!(told.wire().len() <= 240, "{} bytes", told.wire().len());
    }

    #[test]
    fn in_force_is_what_both_can() {
        let (all, none) = (Capabilities { deflate: true }, Capabilities::default());
        assert_eq!(all.in_common(&hello(&["x", "deflate"])), all);
        assert_eq!(none.in_common(&hello(&["deflate"])), none);
        assert_eq!(all.in_common(&hello(&["Deflate", "deflate ", "zstd"])), none);
        let late: Vec<&str> = [["x"; 32].as_slice(), &["deflate"]].concat();
        assert_eq!(all.in_common(&hello(&late)), none, "the thirty-third is ignored");
    }

    #[test]
    fn a_copy_that_is_changed_tells_what_has_changed() {
        let context = ConnectionContext::new("dunlin test");
        let told = |context| welcome(context, Capabilities::default(), 0, 1, &hello(&[]));
        let before = told(&context);
        let mut changed = context.clone();
        changed.heartbeat_interval_ms += 1;
        assert_ne!(told(&changed), before);
        assert_eq!(told(&context), before);
    }
}
