//! All logs of this user: what arrived finds its place, what is missing is fetched, and what does
//! not fit into memory is forgotten and fetched later.

use std::collections::BTreeSet;

use dunlin_protocol::LogId;
use dunlin_protocol::wire::{self, Entry, Error, HistoryPage, RequestState, entry};
use hashbrown::{HashMap, HashSet};

use super::config::Backlog;
use super::event::{ConversationView, Event, SkipReason};
use super::log::{Asked, Damage, Log, Repair};
use super::{Bytes, Machine};

/// Pushes overtake each other by a little: a gap may close by itself.
const GAP_PATIENCE_MS: u64 = 100;
/// The answer of a Send that is under way may close it.
const GAP_PATIENCE_SENDING_MS: u64 = 1000;
/// Who wants only the newest entries does not want more than this at one time.
const BACKLOG_ENTRIES_MAX: u64 = 1000;

/// The logs that are known.
#[derive(Debug)]
pub(super) struct Logs {
    logs: HashMap<LogId, Log>,
    /// Those that miss something.
    gaps: BTreeSet<LogId>,
    /// Those whose numbers the application does not know yet.
    changed: BTreeSet<LogId>,
    /// Those of which something was heard since everything was told, with the use at that time.
    heard: HashMap<LogId, u64>,
    /// The use at which the last Sync was asked for.
    asked_at: u64,
    aside_bytes: usize,
    aside_bytes_max: usize,
    uses: u64,
}

impl Logs {
    pub(super) fn new(aside_bytes_max: usize) -> Logs {
        Logs {
            logs: HashMap::new(),
            gaps: BTreeSet::new(),
            changed: BTreeSet::new(),
            heard: HashMap::new(),
            asked_at: 0,
            aside_bytes: 0,
            aside_bytes_max,
            uses: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Logs::new(self.aside_bytes_max);
    }

    pub(super) fn get(&self, log_id: LogId) -> Option<&Log> {
        self.logs.get(&log_id)
    }

    /// Forgets all of a log.
    pub(super) fn forget(&mut self, log_id: LogId) {
        if let Some(log) = self.logs.remove(&log_id) {
            self.aside_bytes -= log.aside_bytes;
        }
        self.gaps.remove(&log_id);
        self.changed.remove(&log_id);
        self.heard.remove(&log_id);
    }

    /// All of them, those that were used last in the end, and whether something was heard of them.
    pub(super) fn in_order_of_use(&self) -> impl Iterator<Item = (LogId, &Log, bool)> {
        let mut logs: Vec<_> = self.logs.iter().collect();
        logs.sort_unstable_by_key(|(_, log)| log.used);
        logs.into_iter().map(|(id, log)| (*id, log, self.heard.contains_key(id)))
    }

    /// Puts a log back as it was in an earlier run.
    pub(super) fn restore(&mut self, log_id: LogId, log: Log, is_heard: bool) {
        let held = self.touch(log_id);
        let used = held.used;
        *held = log;
        held.used = used;
        if is_heard {
            self.heard(log_id);
        }
        // What it lacks is fetched.
        self.with(log_id, |_| ());
    }

    /// Something of a log is known that no Synced has told.
    pub(super) fn heard(&mut self, log_id: LogId) {
        self.heard.insert(log_id, self.uses);
    }

    /// The log, made if it is new; it counts as used now.
    pub(super) fn touch(&mut self, log_id: LogId) -> &mut Log {
        self.uses += 1;
        self.changed.insert(log_id);
        let log = self.logs.entry(log_id).or_insert_with(Log::new);
        log.used = self.uses;
        log
    }

    /// Changes what waits in a log, and keeps count of the memory and the gaps.
    fn with<R>(&mut self, log_id: LogId, change: impl FnOnce(&mut Log) -> R) -> R {
        let log = self.touch(log_id);
        let before = log.aside_bytes;
        let result = change(log);
        let (after, has_gap) = (log.aside_bytes, log.gap().is_some());
        if !has_gap {
            // The next gap gets patience of its own; an answer that still comes does no harm.
            log.repair = Repair::Idle;
        }
        self.aside_bytes = self.aside_bytes + after - before;
        if has_gap {
            self.gaps.insert(log_id);
        } else {
            self.gaps.remove(&log_id);
        }
        result
    }

    /// To be called when everything whose turn it was is delivered: an entry that need not wait
    /// costs nothing, and must get through even if other logs have used up the memory.
    fn limit_aside(&mut self, log_id: LogId) {
        if self.aside_bytes > self.aside_bytes_max {
            self.with(log_id, Log::forget_aside);
        }
    }

    /// What was heard since everything was told, by the heads; if it is more than a Sync may name, of those
    /// that were used last. What is missing below a head that we know is fetched by History, so Sync
    /// need not send it.
    pub(super) fn positions(&mut self, positions_max: usize) -> Vec<wire::LogPosition> {
        self.asked_at = self.uses;
        for log in self.logs.values_mut() {
            let (peer_read_seq, read_seq) = (log.reading.peer_read_seq, log.reading.read_seq);
            let membership_version = log.membership.version;
            log.asked = Asked { head: log.head, peer_read_seq, read_seq, membership_version };
        }
        let mut heard: Vec<_> = self.heard.iter().collect();
        if heard.len() > positions_max {
            heard.sort_unstable_by_key(|(_, used)| std::cmp::Reverse(**used));
            heard.truncate(positions_max);
        }
        let position = |(id, _): (&LogId, &u64)| {
            let log = self.logs.get(id)?;
            Some(wire::LogPosition {
                conversation_id: id.to_wire(),
                seq: log.asked.head,
                peer_read_seq: log.asked.peer_read_seq,
                read_seq: log.asked.read_seq,
                time_ms: log.head_time_ms(),
            })
        };
        heard.into_iter().filter_map(position).collect()
    }

    /// Everything was told that was stored before the last Sync was asked for, and so what was heard before it. (Not
    /// before everything is: a conversation of which we have more than there is may be told of last.)
    pub(super) fn told(&mut self) {
        let asked_at = self.asked_at;
        self.heard.retain(|_, used| *used > asked_at);
    }

    /// Those that are not among these, and of which nothing was heard since the last Sync was asked for.
    pub(super) fn unnamed(&self, named: &HashSet<LogId>) -> Vec<LogId> {
        let unnamed =
            self.logs.iter().filter(|(id, log)| log.used <= self.asked_at && !named.contains(*id));
        unnamed.map(|(id, _)| *id).collect()
    }

    /// The next gap to fetch. `is_sending` says whether a Send may close it.
    pub(super) fn next_repair(
        &mut self,
        now_ms: u64,
        is_sending: impl Fn(LogId) -> bool,
    ) -> Option<(LogId, wire::History)> {
        for log_id in &self.gaps {
            let Some(log) = self.logs.get_mut(log_id) else { continue };
            match log.repair {
                Repair::Idle => {
                    let patience_ms = match is_sending(*log_id) {
                        true => GAP_PATIENCE_SENDING_MS,
                        false => GAP_PATIENCE_MS,
                    };
                    log.repair = Repair::Waiting { until_ms: now_ms + patience_ms };
                }
                Repair::Waiting { until_ms } if now_ms >= until_ms => {
                    let (from_seq, to_seq) = log.gap()?;
                    let history = wire::History {
                        conversation_id: log_id.to_wire(),
                        from_seq,
                        to_seq: to_seq.min(from_seq + u64::from(log.page_entries()) - 1),
                        limit: log.page_entries(),
                        backwards: false,
                        ..Default::default()
                    };
                    return Some((*log_id, history));
                }
                Repair::Waiting { .. } | Repair::Fetching => {}
            }
        }
        None
    }

    pub(super) fn repair_started(&mut self, log_id: LogId) {
        if let Some(log) = self.logs.get_mut(&log_id) {
            log.repair = Repair::Fetching;
        }
    }

    /// When the next gap is due.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let repairs = self.gaps.iter().filter_map(|log_id| self.logs.get(log_id));
        repairs
            .filter_map(|log| match log.repair {
                Repair::Waiting { until_ms } => Some(until_ms),
                Repair::Idle | Repair::Fetching => None,
            })
            .min()
    }

    pub(super) fn disconnected(&mut self) {
        for log_id in &self.gaps {
            if let Some(log) = self.logs.get_mut(log_id) {
                log.disconnected();
            }
        }
    }
}

impl Machine {
    /// Entries of a log arrived, by whatever way. Delivers those whose turn it is.
    pub(super) fn arrived(&mut self, log_id: LogId, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            self.logs.with(log_id, |log| log.offer(detach(entry)));
            self.deliver(log_id);
            self.logs.limit_aside(log_id);
        }
    }

    fn deliver(&mut self, log_id: LogId) {
        let Some(me) = self.user else { return };
        while let Some(mut entry) = self.logs.with(log_id, Log::next) {
            self.logs.touch(log_id).reading.take(log_id, &mut entry, me);
            self.events.push_back(Event::Entry { conversation: log_id, entry });
        }
    }

    /// The server says how far a member has read a conversation.
    pub(super) fn receipt(&mut self, receipt: &wire::ReadReceipt) {
        let Ok(log_id) = LogId::from_wire(&receipt.conversation_id) else { return };
        let log = self.logs.touch(log_id);
        if self.user.is_some_and(|user| user.get() == receipt.user_id) {
            let others_read = receipt.others_counted.max(log.membership.others_cleared);
            log.reading.read_moved(log.position, receipt.seq, others_read);
        } else {
            log.reading.peer_read(receipt.seq);
        }
        self.logs.heard(log_id);
    }

    /// The server says that a log has grown up to `head`.
    pub(super) fn head_known(&mut self, log_id: LogId, head: u64) {
        self.logs.with(log_id, |log| log.head = log.head.max(head));
        self.limit_backlog(log_id);
    }

    /// The server says that entries below have expired: they are no gap.
    pub(super) fn floor_known(&mut self, log_id: LogId, expired_below: u64) {
        let log = self.logs.touch(log_id);
        log.expired_below = log.expired_below.max(expired_below);
        let last_expired = log.expired_below.saturating_sub(1);
        if last_expired > log.position {
            self.skip(log_id, last_expired, SkipReason::Expired);
        }
    }

    /// Leaves out what is too old for an application that wants only the newest.
    pub(super) fn limit_backlog(&mut self, log_id: LogId) {
        let Backlog::Newest(keep) = self.config.backlog else { return };
        let log = self.logs.touch(log_id);
        let missing = log.head - log.position;
        let is_new = log.position == 0;
        if missing > BACKLOG_ENTRIES_MAX || (is_new && missing > u64::from(keep)) {
            let to_seq = log.head - u64::from(keep);
            self.skip(log_id, to_seq, SkipReason::Backlog);
        }
    }

    /// Goes on behind `to_seq`, and says so.
    pub(super) fn skip(&mut self, log_id: LogId, to_seq: u64, why: SkipReason) {
        let skipped = self.logs.with(log_id, |log| log.skip_to(to_seq));
        if let Some(from_seq) = skipped {
            self.events.push_back(Event::Skipped { conversation: log_id, from_seq, to_seq, why });
        }
        self.deliver(log_id);
    }

    /// A part of a gap arrived.
    pub(super) fn repaired(&mut self, now_ms: u64, log_id: LogId, page: HistoryPage) {
        if self.epoch_seen(page.epoch) {
            return;
        }
        let Some(log) = self.logs.get(log_id) else { return };
        let before = log.position;
        self.floor_known(log_id, page.expired_below);
        self.arrived(log_id, page.entries);
        // It may have told of more than the last Synced had.
        self.logs.heard(log_id);
        let has_moved = self.logs.with(log_id, |log| {
            log.page_arrived(page.head);
            // There was patience enough before the first page.
            log.repair = Repair::Waiting { until_ms: now_ms };
            let has_moved = log.position > before;
            if !has_moved {
                log.page_was_empty(page.head);
            }
            has_moved
        });
        if !has_moved {
            self.repair_later(now_ms, log_id, 0);
        }
    }

    /// A part of a gap can't be had.
    pub(super) fn repair_refused(&mut self, now_ms: u64, log_id: LogId, error: &Error) {
        if self.logs.get(log_id).is_none() {
            return;
        }
        if error.code() == wire::ErrorCode::DataCorrupt {
            match self.logs.with(log_id, Log::page_damaged) {
                Damage::Narrowed => self.repair_later(now_ms, log_id, 1),
                Damage::Skipped(seq) => self.skip(log_id, seq, SkipReason::Damaged),
            }
            return;
        }
        self.repair_later(now_ms, log_id, error.retry_after_ms);
    }

    fn repair_later(&mut self, now_ms: u64, log_id: LogId, told_ms: u32) {
        self.logs.with(log_id, |log| {
            let delay_ms = match told_ms {
                0 => log.repair_failed(),
                told_ms => u64::from(told_ms),
            };
            log.repair = Repair::Waiting { until_ms: now_ms + delay_ms };
        });
    }

    /// Tells the application the numbers that have changed, once per call from outside.
    pub(super) fn announce_conversations(&mut self) {
        for log_id in std::mem::take(&mut self.logs.changed) {
            let Some(log) = self.logs.get(log_id) else { continue };
            let request = log.membership.request(&log.reading);
            let is_ignored = request == RequestState::Ignored;
            self.events.push_back(Event::Conversation(ConversationView {
                conversation: log_id,
                head: log.head,
                position: log.position,
                read_seq: log.reading.read_seq,
                peer_read_seq: log.reading.peer_read_seq,
                unread: if is_ignored { 0 } else { log.reading.unread },
                expired_below: log.expired_below,
                request,
                hidden_up_to: log.membership.hidden_up_to,
                marked_unread: log.membership.marked_unread,
            }));
        }
    }
}

/// Gives an entry memory of its own: it is a slice of the whole frame that brought it, and would
/// keep all of that alive for as long as the application keeps the entry.
fn detach(mut entry: Entry) -> Entry {
    if let Some(entry::Body::Message(message)) = &mut entry.body {
        message.content = Bytes::copy_from_slice(&message.content);
        message.client_message_id = Bytes::copy_from_slice(&message.client_message_id);
    }
    entry
}
