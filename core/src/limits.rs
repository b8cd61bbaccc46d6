//! Bounds of the engine's memory and work, each with its reason. What both ends of a connection
//! must agree on is in [`dunlin_protocol::limits`].

use dunlin_protocol::limits::{
    CONTENT_BYTES_MAX, FRAME_BYTES_MAX, HISTORY_ENTRIES_MAX, SYNC_BYTES_DEFAULT,
};

/// The most workers of a node: a worker index travels in a byte or two, and there are no more
/// cores to use.
pub const WORKERS_MAX: usize = 256;

/// Batches of commands that a worker takes before it submits its appends and delivers. Fewer make
/// smaller appends and more wakes; more delay the first response of the tick.
pub const TICK_BATCHES_MAX: usize = 64;

/// Answers and messages of other workers that a worker takes in a tick, for the same reason. They
/// come before commands: they finish work instead of beginning it.
pub const TICK_MESSAGES_MAX: usize = 4096;

/// Commands that a submitter collects for one worker before it sends them unasked: a batch this
/// long costs nothing per command any more.
pub const SUBMIT_BATCH_MAX: usize = 256;

/// Messages that may wait for one worker from others and from the store. At this point all workers
/// leave their commands waiting, so that no queue within the engine grows without bound.
pub const WORKER_BACKLOG_MAX: usize = 64 * 1024;

/// Bytes of what other workers have for one worker: at this point, too, all of them leave their commands
/// waiting. It is some hundred of the largest messages, which a worker that has its turn passes on in a millisecond.
pub const WORKER_MAIL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of commands that may wait for one worker. Beyond it a submitter is told that the worker has no
/// room, as when there are too many batches: one message may be as long as 64 KiB, and one sync takes
/// half a megabyte.
pub const COMMANDS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of commands that a submitter collects for one worker before it sends them unasked.
pub const SUBMIT_BYTES_MAX: usize = 256 * 1024;

/// Calls at the door of an engine that may wait for their answer. They wait for what takes longest, a
/// password that is hashed or a Sync, so this is some seconds of work; a program that has more to ask
/// at a time hears `OVERLOADED`, and clients go on.
pub const DOOR_CALLS_MAX: usize = 4096;

/// Questions of one worker to the store that may be under way before it leaves commands waiting: the
/// store's queue is bounded by it. Writes do not count: they are bounded by who may ask for one (messages by
/// their bytes, changes and read cursors by their own, logins and what is done to an identity by their
/// connections), and a disk that stalls must not stop those who read.
pub const STORE_OUTSTANDING_MAX: usize = 16 * 1024;

/// Bytes of messages that one worker has taken and not answered, whether they are at the store or wait
/// for it, for the same reason: as they came, and as entries. A transport that heeds
/// [`MESSAGES_FULL_BYTES`] never gets so far, so that nobody who only reads waits for a disk.
pub const STORE_OUTSTANDING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// With so many of them at one worker, those that are still in its queue included, who has sent much lets
/// others go first ([`MessageRoom::Crowded`](crate::engine::submitter::MessageRoom)). It is twice what the
/// embedded store makes durable at once, so that a disk that is quick enough has always something to do, and
/// whoever sends one message now waits for some turns of a slow one.
pub const MESSAGES_CROWDED_BYTES: usize = 8 * 1024 * 1024;

/// With so many of them nobody is to hand over another one
/// ([`MessageRoom::Full`](crate::engine::submitter::MessageRoom)). What is missing up to the bound is for what
/// all threads of a transport have read before they see it.
pub const MESSAGES_FULL_BYTES: usize = 48 * 1024 * 1024;

/// How long a worker waits for an answer of the store, in milliseconds. Whoever asked is told then that
/// the store does not work, and what was to be written is unknown. A store should say so itself
/// before: it knows why.
pub const STORE_DEADLINE_MS: u64 = 10_000;

/// Questions of one worker that were given up and may still be answered. With more the store is asked
/// nothing: what it has taken and never answered is in memory somewhere.
pub const STORE_ABANDONED_MAX: usize = 256;

/// After how long a question that was given up is forgotten, in milliseconds: its answer was lost, and
/// one that is lost now and then must not add up to a store that is asked nothing.
pub const STORE_ABANDONED_MS: u64 = 60_000;

/// Conversations that the retention looks at together: a few questions to the store for all of them.
pub const RETENTION_CONVERSATIONS_MAX: usize = 64;

/// How long after its start a node begins to look for messages that are too old, in milliseconds: it
/// has better things to do at first.
pub const RETENTION_FIRST_MS: u64 = 60_000;

/// How long it rests when it has looked at all conversations, in milliseconds: messages expire after
/// days.
pub const RETENTION_REST_MS: u64 = 3_600_000;

/// How long it rests between two questions for conversations at least, in milliseconds.
pub const RETENTION_STEP_MS: u64 = 100;

/// How long a worker sleeps at most, in milliseconds: how late a timer may be.
pub const TICK_MS: u64 = 250;

/// How long a worker that left commands waiting sleeps at most, in milliseconds: nobody wakes it
/// when a queue of another worker has become shorter.
pub const PRESSED_TICK_MS: u64 = 1;

/// How long a stopping engine waits for what is under way, in milliseconds: a store that answers
/// at all answers sooner.
pub const DRAIN_MS_MAX: u64 = 10_000;

/// Sends that may wait in one conversation. More are answered `OVERLOADED`: a store that does not
/// keep up must not fill the memory through one busy conversation.
pub const CONVERSATION_QUEUE_MAX: usize = 4096;

/// Appends of one conversation in one batch: one busy conversation must not make everybody else
/// wait for a huge batch.
pub const CONVERSATION_BATCH_MAX: usize = 512;

/// How long a client that was refused for pressure should wait, in milliseconds.
pub const OVERLOADED_RETRY_MS: u32 = 500;

/// Signals of a worker that may wait for the store, which is asked whether somebody wants to hear them: a
/// megabyte of them at most, and more than half a second of a worker could pass on.
pub const SIGNALS_ASKED_MAX: usize = 1024;

/// Conversations of which a worker keeps in mind for a moment that somebody hears the signals of them, as the
/// store said: half a megabyte. With more than that the store is asked more often.
pub const LISTENERS_MAX: usize = 8192;

/// How long a client should wait when the store does not work, in milliseconds.
pub const UNAVAILABLE_RETRY_MS: u32 = 1000;

/// How far the time of an entry may be ahead of the clock and still be passed on to the next one, in
/// milliseconds: the clocks of nodes that ask a time server differ by less. Further ahead, it was given
/// by a clock that was wrong.
pub const ENTRY_AHEAD_MS_MAX: u64 = 60_000;

/// How long the state of a conversation that nobody uses stays in memory, in milliseconds: people answer within a minute or much later.
pub const STATE_IDLE_MS: u64 = 60_000;

/// Conversations whose idleness is looked at in one tick, so that forgetting a
/// million of them never delays a message.
pub const STATE_SWEEP_MAX: usize = 4096;

/// Tables of conversations keep room for so many, however few there are: less than
/// a megabyte that need not grow again and again.
pub const TABLE_ROOM_MIN: usize = 1024;

/// Pushes that are held back for one session while it syncs; beyond it they collapse into one
/// `Behind`, and the client syncs again.
pub const HELD_PUSHES_MAX: usize = 256;

/// Bytes of such pushes, for the same reason.
pub const HELD_BYTES_MAX: usize = 256 * 1024;

/// Bytes of such pushes of all sessions of a worker. One session holds at most an eighth of what is left of
/// it, so that those who hold much leave something for who comes after them.
pub const HELD_BYTES_WORKER_MAX: usize = 16 * 1024 * 1024;

/// Default of the memory for large answers of all workers, from when they are read to when they are
/// written: some hundred pages. Whoever asks for more waits.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Large answers that one worker has read for it at a time; others wait. When everybody reconnects at
/// once, this bounds what is in memory for them.
pub const READS_MAX: usize = 32;

/// The same of one user: pages of others then do not wait behind all of theirs.
pub const READS_PER_USER_MAX: usize = 4;

/// A page of history is not begun with less room than this: the largest entry fits.
pub const HISTORY_ROOM_LEAST: usize = 2 * CONTENT_BYTES_MAX;

/// Memory of an entry in a page beside its bytes, as it is read and as it is encoded.
pub const ENTRY_OVERHEAD_BYTES: usize = 320;

/// Room that a sync takes, however short its answer may be: the settings of an account, and the page of its
/// conversations that it looks at together.
pub const SYNC_ROOM_LEAST: usize = 2 * RESPONSE_BYTES_MAX;

/// Room of the sync with the longest answer.
pub const SYNC_ROOM_BYTES: usize = sync_room_bytes(RESPONSE_BYTES_MAX);

/// Room of a sync whose answer may have so many bytes: the pages of entries that it reads for it, which may
/// be four times as much, come when the page of conversations is looked at, and so does the answer.
pub const fn sync_room_bytes(answer_bytes: usize) -> usize {
    SYNC_ROOM_LEAST + 4 * answer_bytes
}

/// Conversations whose entries a sync reads at a time, if its answer may have so many bytes: one entry of each is
/// read in any case, of whatever size, and takes room.
pub const fn sync_reads_max(answer_bytes: usize) -> usize {
    // What is told by then, settings among it, is less than the answer twice.
    let pages = sync_room_bytes(answer_bytes) - 2 * answer_bytes;
    let most = pages / (CONTENT_BYTES_MAX + ENTRY_OVERHEAD_BYTES);
    if most < SYNC_READS_MAX { most } else { SYNC_READS_MAX }
}

/// Bytes of positions, as they are kept, of all syncs that one worker has taken and not answered. A sync
/// beyond it that names many is answered `OVERLOADED`.
pub const SYNC_POSITIONS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A sync that names fewer is always taken.
pub const SYNC_POSITIONS_FEW: usize = 64;

/// Read cursors of one worker whose entries are read at a time: each may be as large as a message.
pub const MARK_READS_MAX: usize = 256;

/// Read cursors of one worker that may be under way to the store; more are answered `OVERLOADED`. Those of
/// a tick are one question, so questions do not bound them.
pub const MARKS_MAX: usize = 16 * 1024;

/// How long a node that is not alone believes what it has read of whether a member ignores a conversation: so
/// long it may go on to push, or not to push, after the member has decided on another node.
pub const HEARING_KNOWN_MS: u64 = 5_000;

/// Memory of the changes of settings and memberships of one worker that may be under way or wait for each
/// other; more are answered `OVERLOADED`. One user has a quarter of it at most, less by the part that others have: as
/// many of the largest settings as one connection may have under way, several times over.
pub const CHANGES_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a response that is a list: the frame limit of clients, less the frame around it.
pub const RESPONSE_BYTES_MAX: usize = FRAME_BYTES_MAX as usize - 16 * 1024;

/// Conversations of a user of which a sync asks together whether they have changed. A user may have more: then
/// it asks for the next ones, and keeps only what it tells; so it costs the same memory, whoever
/// has joined how many.
pub const SYNC_PAGE_CONVERSATIONS: usize = 4096;

/// Conversations that one `Synced` tells of at most: more than anybody looks at before the next one is here.
pub const SYNC_TOLD_MAX: usize = 8192;

/// Conversations of which a sync reads at a time how far they are read and who is in them: a few registers
/// of each, a millisecond or two, so that others have their turn in between.
pub const SYNC_DETAILS_MAX: usize = 1024;

/// Settings of a user that a sync reads at a time.
pub const SYNC_SETTINGS_MAX: usize = 1024;

/// Bytes of changes of an account that a sync reads at a time.
pub const SYNC_CHANGES_BYTES_MAX: usize = 256 * 1024;

/// Bytes of lists of conversations that one worker remembers, of those who have synced last: 350,000
/// conversations.
pub const SYNC_LISTS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A list that is shorter is not remembered: to read it costs little, and of everybody's first look at an empty
/// account nothing need be kept.
pub const SYNC_LIST_LEAST: usize = 8;

/// A list that is longer is not remembered either: nearly all others would be forgotten for a few like it.
pub const SYNC_LIST_MOST: usize = 65_536;

/// Bytes of entries of one conversation in a `Synced`: older ones are fetched when the user
/// scrolls there.
pub const SYNC_CONVERSATION_BYTES_MAX: usize = 128 * 1024;

/// Conversations whose entries come with a `Synced`, at most: more than anybody looks at. Of the others the
/// client asks for those that it wants.
pub const SYNC_FILLED_MAX: usize = 1000;

/// Conversations whose entries one sync reads at a time: first so many, ...
pub const SYNC_READS_FIRST: usize = 32;

/// ... and when these have shown how large they are, as many as may fit, up to this, and to [`sync_reads_max`].
pub const SYNC_READS_MAX: usize = 128;

/// How long a node waits for the home of a conversation on another node, in milliseconds, before
/// it appends by itself. The fence makes both right; this only bounds how long a sender waits.
pub const FORWARD_TIMEOUT_MS: u64 = 1000;

/// Sends that may wait for other nodes, of one worker; more are appended here at once.
pub const FORWARDED_MAX: usize = 64 * 1024;

/// Bytes of the sends that are forwarded together, about: with the fields around them they must fit
/// into an envelope.
pub const FORWARD_BYTES_MAX: usize = ENVELOPE_BYTES_MAX / 2;

/// How long after a node is gone its last appends may still be under way to the store, in
/// milliseconds: then everybody is told once more that they may be behind.
pub const NODE_GONE_MS: u64 = 2_000;

/// How long a stream of another node is remembered that is not heard, in milliseconds: many beacons.
pub const STREAM_IDLE_MS: u64 = 60_000;

/// The most sessions of one user, whatever the device policy says: each operation reads all that are
/// recorded, some 150 bytes each.
pub const SESSIONS_MAX: usize = 1000;

/// Identities that one worker reads at a time, after word of ended sessions may have been lost:
/// logins go on meanwhile.
pub const RECHECKS_MAX: usize = 64;

/// How often a node tells the others how many envelopes it has sent, in milliseconds, so that the
/// loss of the last one is found out as well.
pub const BEACON_MS: u64 = 1000;

/// Bytes of one envelope between nodes, about: the default limit of a NATS message is 1 MiB, and
/// one message with its envelope must fit.
pub const ENVELOPE_BYTES_MAX: usize = 512 * 1024;

/// Bytes of envelopes of other nodes that may wait for one worker; more are dropped, which it finds
/// out by their numbers.
pub const ENVELOPES_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () =
    assert!(STORE_DEADLINE_MS.is_multiple_of(TICK_MS) && STORE_DEADLINE_MS < STORE_ABANDONED_MS);
const _: () = assert!(CONTENT_BYTES_MAX * 2 < FORWARD_BYTES_MAX);
// Several beacons may get lost in a row before a stream is taken for a new one.
const _: () = assert!(BEACON_MS * 8 < STREAM_IDLE_MS && FORWARD_TIMEOUT_MS < NODE_GONE_MS);
// So the entries of at least one conversation fit beside a fair number of others.
const _: () = assert!(SYNC_CONVERSATION_BYTES_MAX + CONTENT_BYTES_MAX * 2 < RESPONSE_BYTES_MAX / 2);
const _: () = assert!(COMMANDS_BYTES_MAX > 2 * FRAME_BYTES_MAX as usize);
const _: () = assert!(MESSAGES_CROWDED_BYTES < MESSAGES_FULL_BYTES);
const _: () = assert!(MESSAGES_FULL_BYTES < STORE_OUTSTANDING_BYTES_MAX);
const _: () =
    assert!(HISTORY_ROOM_LEAST < RESPONSE_BYTES_MAX && SYNC_ROOM_BYTES < ANSWER_BYTES_MAX / 16);
const _: () = assert!(sync_reads_max(SYNC_BYTES_DEFAULT as usize) >= SYNC_READS_FIRST);
const _: () = assert!(CONVERSATION_BATCH_MAX <= CONVERSATION_QUEUE_MAX);
const _: () = assert!(HISTORY_ENTRIES_MAX as usize * 16 < RESPONSE_BYTES_MAX);
