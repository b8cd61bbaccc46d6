//! Other nodes: what is told to them, and what they tell.
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
pub(crate) mod forward;
pub(crate) mod item;
mod reader;
mod recheck;
mod streams;

use std::sync::Arc;

use bytes::Bytes;
use dunlin_protocol::{LogId, UserId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::audience::push::{Knower, LogPush, SignalPush};
use crate::audience::session::Ended;
use crate::bus::{Member, NodeId};
use crate::limits::{BEACON_MS, FORWARD_TIMEOUT_MS, NODE_GONE_MS, STREAM_IDLE_MS, TICK_MS};
use crate::placement::{self, Origin};
use crate::presence::Presence;
use crate::worker::effect::Effects;
use crate::worker::turn::Turn;
use envelope::{EnvelopeError, Header, Items};
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
pub(crate) struct Cluster {
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
    pub(crate) fn new(place: ClusterNode, worker: u16, workers: usize) -> Cluster {
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
    pub(crate) fn forwarded(&self) -> (usize, usize) {
        self.forwards.held()
    }

    fn add_peer(&mut self, member: Member, turn: &mut Turn<'_>) {
        let whole = !self.has_told;
        let streams = (0..member.workers).map(|_| {
            self.streams_begun += 1;
            Outgoing::new(self.streams_begun, whole)
        });
        let peer = Peer { streams: streams.collect(), is_silent: false };
        // The stream is announced at once: if it begins in the middle, that is a gap already.
        peer.beacons(self.me, member.node, turn.effects);
        self.peers.insert(member.node, peer);
    }

    /// Tells a worker of another node, if that is a member.
    fn tell(&mut self, to: Origin, item: &Item, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(&to.node) else { return };
        let Some(stream) = peer.streams.get_mut(usize::from(to.worker)) else { return };
        if !stream.is_waiting() {
            self.waiting.push(to);
        }
        if let Some(full) = stream.add(item, self.me, to.node) {
            turn.effects.publish(to, full);
        }
    }

    /// Ends a tick: what was collected for other nodes is sent.
    pub(crate) fn flush(&mut self, turn: &mut Turn<'_>) {
        for to in self.waiting.drain(..) {
            let stream = self.peers.get_mut(&to.node).map(|peer| &mut peer.streams);
            let stream = stream.and_then(|streams| streams.get_mut(usize::from(to.worker)));
            if let Some(envelope) = stream.and_then(|stream| stream.take(self.me, to.node)) {
                turn.effects.publish(to, envelope);
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
    pub(crate) fn push(
        &mut self,
        users: &[UserId],
        push: &LogPush,
        except: Option<Knower>,
        turn: &mut Turn<'_>,
    ) {
        self.has_told = true;
        if self.peers.is_empty() {
            return;
        }
        let LogPush { log, head, frame, arrived: _ } = push;
        for (to, users) in self.elsewhere(users) {
            let except = except.and_then(|knower| knower.conn_on(to.node));
            let (log, head, frame) = (*log, *head, frame.clone());
            let push = NodePush { users, log, head, except, frame };
            self.tell(to, &Item::Push(push), turn);
        }
    }

    /// The same for something momentary.
    pub(crate) fn signal(&mut self, signal: &SignalPush, turn: &mut Turn<'_>) {
        if self.peers.is_empty() {
            return;
        }
        for (to, users) in self.elsewhere(&[signal.user]) {
            let (frame, is_receipt) = (signal.frame.clone(), signal.is_receipt);
            let signal = NodeSignal { users, frame, is_receipt };
            self.tell(to, &Item::Signal(signal), turn);
        }
    }

    /// Tells the other nodes where the user is connected that sessions have ended.
    pub(crate) fn ended(&mut self, ended: &Ended, turn: &mut Turn<'_>) {
        self.has_told = true;
        if self.peers.is_empty() {
            return;
        }
        for (to, _) in self.elsewhere(&[ended.user]) {
            self.tell(to, &Item::Ended(ended.clone()), turn);
        }
    }

    /// Takes the number of an envelope. False if it is an old one.
    fn take_number(&mut self, header: &Header, turn: &mut Turn<'_>) -> bool {
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
        turn.effects.counters.envelopes_received += u64::from(arrival.is_new);
        turn.effects.counters.gaps += u64::from(arrival.is_gap);
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

    /// The nodes that are believed to live have changed. Gives back the conversations whose sends
    /// were on the way to one that is gone: there is nothing to wait for.
    pub(crate) fn members_changed(
        &mut self,
        members: &[Member],
        turn: &mut Turn<'_>,
    ) -> Vec<LogId> {
        let me = self.me.node;
        let others: Vec<_> = members.iter().filter(|member| member.node != me).copied().collect();
        let is_other = |node: NodeId| others.iter().any(|member| member.node == node);
        let before = self.peers.len();
        self.peers.retain(|node, _| is_other(*node));
        if self.peers.len() < before {
            // It may have stored what it told nobody, or what it told got lost on the way.
            self.is_behind = true;
            self.behind_again = Some(self.ticks + NODE_GONE_TICKS);
            self.incoming.retain(|from, _| is_other(from.node));
        }
        for member in &others {
            if !self.peers.contains_key(&member.node) {
                self.add_peer(*member, turn);
            }
        }
        self.members.retain(|member| member.node == me);
        self.members.extend(others);
        let Cluster { peers, forwards, .. } = self;
        forwards.lost(|home| peers.contains_key(&home))
    }

    /// Opens an envelope that came from the bus: who speaks, and what is new in it.
    pub(crate) fn open(&mut self, envelope: Bytes, turn: &mut Turn<'_>) -> Option<(Origin, Items)> {
        let (header, items) = match envelope::open(envelope) {
            Ok((header, items)) if header.to == self.me.node => (header, items),
            // Of another process than this, or damaged: it counts as lost, and is missed by number.
            Ok(_) => return None,
            Err(error) => {
                tracing::debug!(%error, "an envelope is dropped");
                return None;
            }
        };
        self.take_number(&header, turn).then_some((header.from, items))
    }

    /// An item of an envelope can't be read: it is lost.
    pub(crate) fn item_lost(&mut self, from: Origin, error: &EnvelopeError) {
        tracing::warn!(%error, node = from.node.0, "an item is dropped");
        self.is_behind = true;
    }

    /// Time has passed. True if pushes may have been lost: everybody is to be told now.
    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) -> bool {
        self.ticks += 1;
        if self.ticks.is_multiple_of(BEACON_TICKS) {
            let me = self.me;
            self.peers.iter().for_each(|(node, peer)| peer.beacons(me, *node, turn.effects));
            let oldest = self.ticks.saturating_sub(STREAM_IDLE_TICKS);
            // Should one of them speak again, that is a gap, and no harm.
            self.incoming.retain(|_, incoming| incoming.heard >= oldest);
            self.look_for_unheard();
        }
        self.take_behind()
    }
}

impl Peer {
    fn beacons(&self, from: Origin, node: NodeId, effects: &mut Effects) {
        for (worker, stream) in (0..).zip(&self.streams) {
            effects.publish(Origin { node, worker }, stream.beacon(from, node));
        }
    }
}
