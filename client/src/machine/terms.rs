//! What a server has said of itself: its limits, its rules, and what is in force.

use dunlin_protocol::limits;
use dunlin_protocol::wire::{self, Limits, Rules, Welcome};

/// The terms of the last connection. Before the first one, those of docs/protocol.md.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// Name and version of the server; empty before the first connection.
    pub server: String,
    /// What both sides can do beyond the version.
    pub capabilities: Vec<String>,
    /// What the server holds this client to. What it has not told is as docs/protocol.md says.
    pub limits: Limits,
    /// What the server asks of names, passwords and devices; absent if it has not told.
    pub rules: Option<Rules>,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            server: String::new(),
            capabilities: Vec::new(),
            limits: filled(Limits::default()),
            rules: None,
        }
    }
}

impl Terms {
    /// Those of this Welcome.
    pub(super) fn of(welcome: &Welcome) -> Terms {
        Terms {
            server: welcome.server.clone(),
            capabilities: welcome.capabilities.clone(),
            limits: filled(welcome.limits.unwrap_or_default()),
            rules: welcome.rules.clone(),
        }
    }

    /// The largest body of this request after the login.
    pub(super) fn frame_bytes_max(&self, body: &wire::frame::Body) -> usize {
        let Limits { frame_bytes_max, small_frame_bytes_max, content_bytes_max, .. } = self.limits;
        let bytes = match (small_frame_bytes_max, body) {
            (0, _) | (_, wire::frame::Body::Sync(_)) => frame_bytes_max,
            (small, wire::frame::Body::Send(_)) => {
                small.saturating_add(content_bytes_max).min(frame_bytes_max)
            }
            (small, _) => small.min(frame_bytes_max),
        };
        bytes as usize
    }
}

/// What was told, and what docs/protocol.md says where nothing was.
fn filled(told: Limits) -> Limits {
    let or = |told: u32, otherwise: usize| match told {
        0 => u32::try_from(otherwise).unwrap_or(u32::MAX),
        told => told,
    };
    let heartbeat_interval_ms =
        or(told.heartbeat_interval_ms, limits::HEARTBEAT_INTERVAL_MS as usize);
    let before_login = limits::FRAME_BYTES_MAX_BEFORE_LOGIN as usize;
    Limits {
        heartbeat_interval_ms,
        idle_timeout_ms: or(told.idle_timeout_ms, 2 * heartbeat_interval_ms as usize),
        frame_bytes_max_before_login: or(told.frame_bytes_max_before_login, before_login),
        frame_bytes_max: or(told.frame_bytes_max, limits::FRAME_BYTES_MAX as usize),
        response_bytes_max: or(told.response_bytes_max, limits::FRAME_BYTES_MAX as usize),
        requests_outstanding_max: or(
            told.requests_outstanding_max,
            limits::REQUESTS_OUTSTANDING_MAX as usize,
        ),
        content_bytes_max: or(told.content_bytes_max, limits::CONTENT_BYTES_MAX),
        signal_bytes_max: or(told.signal_bytes_max, limits::SIGNAL_BYTES_MAX),
        type_bytes_max: or(told.type_bytes_max, limits::TYPE_BYTES_MAX),
        history_entries_max: or(told.history_entries_max, limits::HISTORY_ENTRIES_MAX as usize),
        sync_positions_max: or(told.sync_positions_max, limits::SYNC_POSITIONS_MAX),
        sync_entries_max: or(told.sync_entries_max, limits::SYNC_ENTRIES_MAX as usize),
        find_users_max: or(told.find_users_max, limits::FIND_USERS_MAX),
        settings_max: or(told.settings_max, limits::SETTINGS_MAX as usize),
        settings_bytes_max: or(told.settings_bytes_max, limits::SETTINGS_BYTES_MAX as usize),
        setting_key_bytes_max: or(told.setting_key_bytes_max, limits::SETTING_KEY_BYTES_MAX),
        setting_value_bytes_max: or(told.setting_value_bytes_max, limits::SETTING_VALUE_BYTES_MAX),
        // 0 says that there is none, or that it is nobody's business.
        ..told
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::wire::frame::Body;

    use super::*;

    #[test]
    fn what_is_not_told_is_as_the_document_says() {
        let terms = Terms::of(&Welcome { protocol_version: 1, ..Welcome::default() });
        assert_eq!(terms, Terms::default());
        let limits = Limits { heartbeat_interval_ms: 5000, ..Limits::default() };
        let terms = Terms::of(&Welcome { limits: Some(limits), ..Welcome::default() });
        assert_eq!(terms.limits.heartbeat_interval_ms, 5000);
        assert_eq!(terms.limits.idle_timeout_ms, 10_000);
        assert_eq!(terms.limits.content_bytes_max, 65_536);
    }

    #[test]
    fn only_a_sync_and_a_content_may_be_large_where_frames_are_small() {
        let limits = Limits {
            small_frame_bytes_max: 1000,
            content_bytes_max: 500,
            frame_bytes_max: 9000,
            ..Limits::default()
        };
        let terms = Terms::of(&Welcome { limits: Some(limits), ..Welcome::default() });
        let max = |body: Body| terms.frame_bytes_max(&body);
        assert_eq!(max(Body::Sync(wire::Sync::default())), 9000);
        assert_eq!(max(Body::Send(wire::Send::default())), 1500);
        assert_eq!(max(Body::FindUsers(wire::FindUsers::default())), 1000);
        assert_eq!(Terms::default().frame_bytes_max(&Body::Done(wire::Done {})), 1 << 20);
    }
}
