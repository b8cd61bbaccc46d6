//! Which worker owns what, and which node is the home of a conversation.
//!
//! All nodes must come to the same answer, so these hashes have no secret and no per-process
//! seed. That does no harm: they choose among workers, they are no hash table. (The tables of a
//! worker are keyed by ids that clients can choose, and use a random seed.)

use dunlin_protocol::{LogId, UserId};

use crate::admin::{AdminRequest, RetentionRequest};
use crate::auth::{invitation, names};
use crate::bus::{Member, NodeId};
use crate::request::{Command, Request};

/// One worker of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) node: NodeId,
    pub(crate) worker: u16,
}

/// The worker, of so many, that owns a log: an account or identity log belongs to the worker of
/// its user.
pub fn worker_of_log(log: LogId, workers: usize) -> u16 {
    match log.owner() {
        Some(user) => worker_of_user(user, workers),
        None => bucket(hash_of_log(log), workers),
    }
}

/// The worker, of so many, that owns a user.
pub fn worker_of_user(user: UserId, workers: usize) -> u16 {
    bucket(mix(user.get()), workers)
}

/// The worker, of so many, that takes a command of a client.
pub fn worker_of_command(command: &Command, workers: usize) -> u16 {
    match (&command.request, command.session) {
        (Request::Conversation(log, _), _) => worker_of_log(*log, workers),
        (Request::Identity(_) | Request::Account(_) | Request::Sync(_), Some(session)) => {
            worker_of_user(session.user, workers)
        }
        // Nobody knows yet whose it is, or nobody may ask it: spread them.
        (Request::Credential(_), _)
        | (Request::Identity(_) | Request::Account(_) | Request::Sync(_), None) => {
            bucket(mix(u64::from(command.conn.slot)), workers)
        }
    }
}

/// The worker, of so many, that takes a request of a program at the door, as this user.
pub fn worker_of_call(user: UserId, request: &Request, workers: usize) -> u16 {
    match request {
        Request::Conversation(log, _) => worker_of_log(*log, workers),
        Request::Credential(_) | Request::Identity(_) | Request::Account(_) | Request::Sync(_) => {
            worker_of_user(user, workers)
        }
    }
}

/// The worker, of so many, that takes a request of the operator. Who a name belongs to is not known
/// yet, so the worker of the name takes it; a list goes on where the log is after which it goes on.
pub fn worker_of_admin(request: &AdminRequest, workers: usize) -> u16 {
    match request {
        AdminRequest::AddUser { username, .. }
        | AdminRequest::DisableUser { username }
        | AdminRequest::EnableUser { username }
        | AdminRequest::ResetPassword { username, .. }
        | AdminRequest::SetDisplayName { username, .. }
        | AdminRequest::ShowUser { username }
        | AdminRequest::KickUser { username, .. } => {
            worker_of_log(names::log_of(username), workers)
        }
        AdminRequest::ListUsers { after: Some(log), .. } => worker_of_log(*log, workers),
        AdminRequest::ListUsers { after: None, .. } => 0,
        AdminRequest::Invitations(_) => worker_of_log(invitation::log(), workers),
        AdminRequest::Retention(
            RetentionRequest::Set { conversation, .. } | RetentionRequest::Apply { conversation },
        ) => worker_of_log(*conversation, workers),
    }
}

/// The home of a log: the member with the highest score for it. When a node joins or leaves, only
/// the logs that it wins or had are moved. `None` if there are no members.
pub fn home_of_log(log: LogId, members: &[Member]) -> Option<&Member> {
    let hash = hash_of_log(log);
    members.iter().max_by_key(|member| (score(hash, member.node), member.node))
}

fn score(hash: u64, node: NodeId) -> u64 {
    mix(hash ^ mix(node.0))
}

fn hash_of_log(log: LogId) -> u64 {
    let (high, low) = log.as_bytes().split_at(8);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    mix(mix(number(high)) ^ number(low))
}

/// The finaliser of splitmix64: every bit of the input changes half of the output.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn bucket(hash: u64, buckets: usize) -> u16 {
    let bucket = (u128::from(hash) * buckets as u128) >> 64;
    u16::try_from(bucket).expect("there are at most 256 workers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    #[test]
    fn the_same_on_every_node_and_for_ever() {
        let log = LogId::direct(user(7), user(8));
        assert_eq!(hash_of_log(log), 0x8e92_8060_184c_3493);
        assert_eq!(worker_of_log(LogId::account(user(7)), 5), worker_of_user(user(7), 5));
    }

    #[test]
    fn workers_get_about_the_same() {
        let mut owned = [0; 3];
        (1..=3000).for_each(|id| {
            let log = LogId::direct(user(id), user(id + 1));
            owned[usize::from(worker_of_log(log, 3))] += 1;
        });
        assert!(owned.iter().all(|&logs| (900..1100).contains(&logs)), "{owned:?}");
    }

    #[test]
    fn a_node_that_leaves_moves_only_its_own() {
        let members: Vec<_> = (1..=4).map(|id| Member { node: NodeId(id), workers: 1 }).collect();
        let mut moved = 0;
        for id in 1..=1000 {
            let log = LogId::direct(user(id), user(9999));
            let before = home_of_log(log, &members).unwrap().node;
            let after = home_of_log(log, &members[..3]).unwrap().node;
            assert!(before == after || before == NodeId(4));
            moved += usize::from(before != after);
        }
        assert!((150..350).contains(&moved), "{moved}");
    }
}
