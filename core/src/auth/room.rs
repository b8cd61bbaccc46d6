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

#[cfg(test)]
mod tests {
    use super::*;

    fn held(number: u64, kind: DeviceKind) -> Held<u64> {
        Held { session: SessionId::new(number).unwrap(), device: number, kind }
    }

    #[test]
    fn who_goes_for_the_kind_counts_for_all_kinds_too() {
        let (phone, web) = (DeviceKind::Phone, DeviceKind::Web);
        let by_kind = vec![(phone, 1)];
        let policy = DevicePolicy { sessions_per_kind: 9, by_kind, sessions_max: 3 };
        let sessions = [held(1, web), held(2, phone), held(3, web)];
        let surplus = |held: &[Held<u64>], device: u64, kind: DeviceKind| {
            let room = Room::make(held, &device, kind, &policy);
            (room.same_device.len(), room.surplus.iter().map(|session| session.get()).collect())
        };
        // The phone makes room for a phone, and so nobody else has to.
        assert_eq!(surplus(&sessions, 4, phone), (0, vec![2]));
        assert_eq!(surplus(&sessions, 4, web), (0, vec![1]));
        assert_eq!(surplus(&sessions, 3, web), (1, vec![]));
        assert_eq!(surplus(&sessions[..2], 4, web), (0, vec![]));
    }
}
