//! Who has to go so that one more device fits: the device policy.

use dunlin_protocol::SessionId;
use dunlin_protocol::wire::DeviceKind;

use crate::config::DevicePolicy;
use crate::limits::SESSIONS_MAX;

/// What the device policy must know of a session. `D` names a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held<D> {
    /// Which.
    pub session: SessionId,
    /// On which device.
    pub device: D,
    /// Of what kind.
    pub kind: DeviceKind,
}

/// The sessions that must end so that one more fits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Room {
    /// Those of the same device: it has come back.
    pub same_device: Vec<SessionId>,
    /// Those that are too many.
    pub surplus: Vec<SessionId>,
}

impl Room {
    /// Chooses them. `held` is in order of age, the oldest first.
    pub fn make<D: PartialEq>(
        held: &[Held<D>],
        device: &D,
        kind: DeviceKind,
        policy: &DevicePolicy,
    ) -> Room {
        let (same_device, others): (Vec<_>, Vec<_>) =
            held.iter().partition(|held| held.device == *device);
        let of_kind = others.iter().filter(|held| held.kind == kind);
        // A limit of none would lock everybody out; it means one.
        let too_many =
            (of_kind.clone().count() + 1).saturating_sub(policy.sessions_of(kind).max(1));
        let mut surplus: Vec<_> = of_kind.take(too_many).map(|held| held.session).collect();
        let left = others.len() - surplus.len();
        let too_many = (left + 1).saturating_sub(policy.sessions_max.clamp(1, SESSIONS_MAX));
        let oldest = others.iter().map(|held| held.session);
        let oldest: Vec<_> =
            oldest.filter(|session| !surplus.contains(session)).take(too_many).collect();
        surplus.extend(oldest);
        let same_device = same_device.into_iter().map(|held| held.session).collect();
        Room { same_device, surplus }
    }

    /// All of them.
    pub fn into_sessions(self) -> Vec<SessionId> {
        let mut sessions = self.same_device;
        sessions.extend(self.surplus);
        sessions
    }
}
