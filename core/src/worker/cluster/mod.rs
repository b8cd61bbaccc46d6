//! The worker as one of a cluster: other nodes, and what is told to them.
//!
//! ```text
//!   members ──► peers: one stream to each worker of each other node
//!                 │
//!   push, signal, answer, end of sessions ──► next envelope ──(end of tick)──► bus
//!   bus ──► numbers checked ──► items taken      a gap ──► everybody behind, identities looked at
//! ```
//!
//! - `item`, `reader`, `envelope`: what is said, as bytes; `streams`: how losses are found out
//! - `forward`: sends whose conversation has its home on another node
//! - `recheck`: sessions that were ended on another node
//!
//! Nothing here is needed for the promise to hold: that is the fence of the store. It makes the
//! promise cheap to keep (one appender per conversation, so no conflicts), and tells those who are
//! connected elsewhere.
//!
//! Time is counted in ticks of [`TICK_MS`], which the driver takes from a clock that never jumps:
//! nobody waits an hour because somebody has corrected the time.

mod envelope;
mod forward;
mod item;
mod reader;
mod recheck;
mod streams;

use std::sync::Arc;

use bytes::Bytes;
use dunlin_protocol::{EncodedFrame, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Worker;
use crate::audience::push::{Knower, LogPush, Push, SignalPush};
use crate::audience::session::Ended;
use crate::bus::{Member, NodeId};
use crate::limits::{BEACON_MS, FORWARD_TIMEOUT_MS, NODE_GONE_MS, STREAM_IDLE_MS, TICK_MS};
use crate::placement::{self, Origin};
use crate::presence::Presence;
use crate::worker::effect::{Effects, PresenceChange};
use envelope::{Header, Items};
use forward::Forwards;
use item::{Item, NodePush, NodeSignal, Users};
use recheck::Rechecks;
use streams::{Incoming, Outgoing};

/// Who a node is, in a cluster.
#[derive(Clone)]
pub struct ClusterNode {
    /// Its name on the bus.
    pub node: NodeId,
    /// Where users are connected.
    pub presence: Arc<dyn Presence>,
}

impl std::fmt::Debug for ClusterNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterNode").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What a worker knows of the other nodes.
#[derive(Debug)]
pub(super) struct Cluster {
    me: Origin,
    place: ClusterNode,
    /// All that are believed to live, this node included.
    members: Vec<Member>,
    /// The others.
    peers: HashMap<NodeId, Peer, RandomState>,
    /// Streams that have something to send.
    waiting: Vec<Origin>,
    /// Nodes that are present, but are no members as far as this one sees.
    unheard: Vec<NodeId>,
    streams_begun: u32,
    /// Something was told to a user: a stream that begins after it is not whole.
    has_told: bool,
    incoming: HashMap<Origin, Incoming, RandomState>,
    forwards: Forwards,
    rechecks: Rechecks,
    ticks: u64,
    /// Pushes may have been lost: everybody is told at the next tick, once for all losses since
    /// the last one.
    is_behind: bool,
    /// At this tick once more: what a node that is gone had under way to the store is there by then.
    behind_again: Option<u64>,
}

/// Another node.
#[derive(Debug)]
struct Peer {
    /// To each of its workers.
    streams: Vec<Outgoing>,
    /// It did not answer in time, and was not heard since: nothing is forwarded to it.
    is_silent: bool,
}

/// Times in ticks, rounded up; one more, since the next tick may be due at once.
const fn ticks(ms: u64) -> u64 {
    ms.div_ceil(TICK_MS) + 1
}

const FORWARD_TICKS: u64 = ticks(FORWARD_TIMEOUT_MS);
const NODE_GONE_TICKS: u64 = ticks(NODE_GONE_MS);
const STREAM_IDLE_TICKS: u64 = ticks(STREAM_IDLE_MS);
const BEACON_TICKS: u64 = BEACON_MS.div_ceil(TICK_MS);

impl Cluster {
    pub(super) fn new(place: ClusterNode, worker: u16, workers: usize) -> Cluster {
        let workers = u16::try_from(workers).expect("there are at most 256 workers");
        let me = Origin { node: place.node, worker };
        Cluster {
            me,
            members: vec![Member { node: place.node, workers }],
            place,
            peers: HashMap::default(),
            waiting: Vec::new(),
            unheard: Vec::new(),
            streams_begun: 0,
            has_told: false,
            incoming: HashMap::default(),
            forwards: Forwards::default(),
            rechecks: Rechecks::default(),
            ticks: 0,
            is_behind: false,
            behind_again: None,
        }
    }

    /// Sends that wait for another node, and their bytes.
    pub(super) fn forwarded(&self) -> (usize, usize) {
        self.forwards.held()
    }

    fn add_peer(&mut self, member: Member, effects: &mut Effects) {
        let whole = !self.has_told;
        let streams = (0..member.workers).map(|_| {
            self.streams_begun += 1;
            Outgoing::new(self.streams_begun, whole)
        });
        let peer = Peer { streams: streams.collect(), is_silent: false };
        // The stream is announced at once: if it begins in the middle, that is a gap already.
        peer.beacons(self.me, member.node, effects);
        self.peers.insert(member.node, peer);
    }

    /// Tells a worker of another node, if that is a member.
    fn tell(&mut self, to: Origin, item: &Item, effects: &mut Effects) {
        let Some(peer) = self.peers.get_mut(&to.node) else { return };
        let Some(stream) = peer.streams.get_mut(usize::from(to.worker)) else { return };
        if !stream.is_waiting() {
            self.waiting.push(to);
        }
        if let Some(full) = stream.add(item, self.me, to.node) {
            effects.publish(to, full);
        }
    }

    fn flush(&mut self, effects: &mut Effects) {
        for to in self.waiting.drain(..) {
            let stream = self.peers.get_mut(&to.node).map(|peer| &mut peer.streams);
            let stream = stream.and_then(|streams| streams.get_mut(usize::from(to.worker)));
            if let Some(envelope) = stream.and_then(|stream| stream.take(self.me, to.node)) {
                effects.publish(to, envelope);
            }
        }
    }

    /// The workers of other nodes where one of the users has a session, with their users.
    fn elsewhere(&self, users: &[UserId]) -> SmallVec<[(Origin, Users); 2]> {
        let mut found = SmallVec::<[(Origin, Users); 2]>::new();
        for &user in users {
            for node in self.place.presence.nodes_of(user) {
                let Some(peer) = self.peers.get(&node) else { continue };
                let worker = placement::worker_of_user(user, peer.streams.len());
                let to = Origin { node, worker };
                match found.iter_mut().find(|(of, _)| *of == to) {
                    Some((_, users)) => users.push(user),
                    None => found.push((to, Users::from_slice(&[user]))),
                }
            }
        }
        found
    }

    /// Pushes to the sessions of users on other nodes: once for each worker that has some of them.
    pub(super) fn push(
        &mut self,
        users: &[UserId],
        push: &LogPush,
        except: Option<Knower>,
        effects: &mut Effects,
    ) {
        self.has_told = true;
        if self.peers.is_empty() {
            return;
        }
        let LogPush { log, head, frame } = push;
        for (to, users) in self.elsewhere(users) {
            let except = except.and_then(|knower| knower.conn_on(to.node));
            let (log, head, frame) = (*log, *head, frame.clone());
            let push = NodePush { users, log, head, except, frame };
            self.tell(to, &Item::Push(push), effects);
        }
    }

    /// The same for something momentary.
    pub(super) fn signal(&mut self, user: UserId, frame: &EncodedFrame, effects: &mut Effects) {
        if self.peers.is_empty() {
            return;
        }
        for (to, users) in self.elsewhere(&[user]) {
            let signal = NodeSignal { users, frame: frame.clone() };
            self.tell(to, &Item::Signal(signal), effects);
        }
    }

    /// Tells the other nodes where the user is connected that sessions have ended.
    pub(super) fn ended(&mut self, ended: &Ended, effects: &mut Effects) {
        self.has_told = true;
        if self.peers.is_empty() {
            return;
        }
        for (to, _) in self.elsewhere(&[ended.user]) {
            self.tell(to, &Item::Ended(ended.clone()), effects);
        }
    }

    /// Takes the number of an envelope. False if it is an old one.
    fn take_number(&mut self, header: &Header, effects: &mut Effects) -> bool {
        if let Some(peer) = self.peers.get_mut(&header.from.node) {
            peer.is_silent = false;
        }
        let arrival = match self.incoming.get_mut(&header.from) {
            Some(incoming) => incoming.take(header, self.ticks),
            None => {
                let (begun, arrival) = Incoming::begin(header, self.ticks);
                self.incoming.insert(header.from, begun);
                arrival
            }
        };
        effects.counters.envelopes_received += u64::from(arrival.is_new);
        effects.counters.gaps += u64::from(arrival.is_gap);
        self.is_behind |= arrival.is_gap;
        arrival.is_new
    }

    /// Looks for nodes that can't be heard. When one of them goes, nobody has told this node what it
    /// has stored, and no member is missing from then on.
    fn look_for_unheard(&mut self) {
        let present = self.place.presence.nodes();
        let Cluster { peers, unheard, me, .. } = self;
        let is_gone = |node: &NodeId| !present.contains(node) && !peers.contains_key(node);
        if unheard.iter().any(is_gone) && self.behind_again.is_none() {
            self.behind_again = Some(self.ticks + NODE_GONE_TICKS);
        }
        let is_unheard = |node: &NodeId| *node != me.node && !peers.contains_key(node);
        *unheard = present.into_iter().filter(is_unheard).collect();
    }

    /// Whether everybody is to be told now that pushes may have been lost.
    fn take_behind(&mut self) -> bool {
        let again = self.behind_again.take_if(|due| *due <= self.ticks).is_some();
        std::mem::take(&mut self.is_behind) || again
    }
}

impl Peer {
    fn beacons(&self, from: Origin, node: NodeId, effects: &mut Effects) {
        for (worker, stream) in (0..).zip(&self.streams) {
            effects.publish(Origin { node, worker }, stream.beacon(from, node));
        }
    }
}

impl Worker {
    /// The nodes that are believed to live have changed.
    pub(super) fn take_members(&mut self, members: &[Member], effects: &mut Effects) {
        let Some(cluster) = &mut self.cluster else { return };
        let me = cluster.me.node;
        let others: Vec<_> = members.iter().filter(|member| member.node != me).copied().collect();
        let is_other = |node: NodeId| others.iter().any(|member| member.node == node);
        let before = cluster.peers.len();
        cluster.peers.retain(|node, _| is_other(*node));
        if cluster.peers.len() < before {
            // It may have stored what it told nobody, or what it told got lost on the way.
            cluster.is_behind = true;
            cluster.behind_again = Some(cluster.ticks + NODE_GONE_TICKS);
            cluster.incoming.retain(|from, _| is_other(from.node));
        }
        for member in &others {
            if !cluster.peers.contains_key(&member.node) {
                cluster.add_peer(*member, effects);
            }
        }
        cluster.members.retain(|member| member.node == me);
        cluster.members.extend(others);
        self.give_up_on_lost_homes(effects);
    }

    /// An envelope came from the bus.
    pub(super) fn take_envelope(&mut self, envelope: Bytes, effects: &mut Effects) {
        let Some(cluster) = &mut self.cluster else { return };
        let (header, items) = match envelope::open(envelope) {
            Ok((header, items)) if header.to == cluster.me.node => (header, items),
            // Of another process than this, or damaged: it counts as lost, and is missed by number.
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(%error, "an envelope is dropped");
                return;
            }
        };
        if cluster.take_number(&header, effects) {
            self.take_items(header.from, items, effects);
        }
    }

    fn take_items(&mut self, from: Origin, items: Items, effects: &mut Effects) {
        for item in items {
            match item {
                Ok(Item::Forward(forward)) => self.take_forward(from, forward, effects),
                Ok(Item::Answer(answer)) => self.take_answer(&answer, effects),
                Ok(Item::Push(push)) => self.take_node_push(&push, effects),
                Ok(Item::Signal(signal)) => {
                    for user in signal.users {
                        let (frame, except) = (signal.frame.clone(), None);
                        self.sessions.signal(SignalPush { user, frame, except }, effects);
                    }
                }
                Ok(Item::Ended(ended)) => self.take_ended(ended, effects),
                Err(error) => {
                    tracing::warn!(%error, node = from.node.0, "an item is dropped");
                    if let Some(cluster) = &mut self.cluster {
                        cluster.is_behind = true;
                    }
                }
            }
        }
    }

    fn take_node_push(&mut self, push: &NodePush, effects: &mut Effects) {
        let NodePush { log, head, except, .. } = *push;
        for &user in &push.users {
            let frame = push.frame.clone();
            self.sessions.push(&Push { user, log, head, frame, except }, effects);
        }
    }

    /// Time has passed.
    pub(super) fn tick_cluster(&mut self, effects: &mut Effects) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.ticks += 1;
        if cluster.ticks.is_multiple_of(BEACON_TICKS) {
            let me = cluster.me;
            cluster.peers.iter().for_each(|(node, peer)| peer.beacons(me, *node, effects));
            let oldest = cluster.ticks.saturating_sub(STREAM_IDLE_TICKS);
            // Should one of them speak again, that is a gap, and no harm.
            cluster.incoming.retain(|_, incoming| incoming.heard >= oldest);
            cluster.look_for_unheard();
        }
        let is_behind = cluster.take_behind();
        if is_behind {
            self.sessions.all_behind(effects);
            self.recheck_everybody();
        }
        self.give_up_on_late_answers(effects);
        self.tick_rechecks(effects);
    }

    /// Ends a tick: what was collected for other nodes is sent.
    pub(super) fn flush_envelopes(&mut self, effects: &mut Effects) {
        if let Some(cluster) = &mut self.cluster {
            cluster.flush(effects);
        }
    }

    /// Tells other nodes that the user is connected here, before anything is read for the user: so
    /// what they store, or end, after it was read is told here.
    pub(super) fn announce(&mut self, user: UserId, effects: &mut Effects) {
        if self.cluster.is_some() && self.sessions.of(user).is_empty() {
            effects.presence.push(PresenceChange::Arrived(user));
        }
    }

    /// Tells other nodes that the user is not connected here, unless one of the sessions is open or
    /// about to be.
    pub(super) fn announce_absence(&mut self, user: UserId, effects: &mut Effects) {
        let is_here = !self.sessions.of(user).is_empty() || self.operations.contains_key(&user);
        if self.cluster.is_some() && !is_here {
            effects.presence.push(PresenceChange::Left(user));
        }
    }
}
