//! What is unread is exactly what others have said above the cursor and above what has expired, beside
//! somebody who counts on fingers: whatever is sent from which device, with which notice, marked in which
//! order, expired or restarted.

mod engine_support;

use std::sync::Arc;

use dunlin_core::request::MembershipChange;
use dunlin_core::store::contract::ask::delete;
use dunlin_core::store::memory::MemoryStore;
use dunlin_core::store::{Deleted, Deletion};
use dunlin_protocol::wire::{self, Notice, RequestState};
use dunlin_protocol::{LogId, UserId};
use engine_support::{Client, Server};
use proptest::prelude::*;

/// Something that happens in a conversation of two.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// One of the two says something, on one of two devices.
    Send {
        by: usize,
        device: usize,
        notice: Notice,
    },
    /// One of the two has read up to here, by one of two devices.
    Mark {
        by: usize,
        device: usize,
        seq: u64,
        private: bool,
    },
    /// What is below expires.
    Expire {
        below: u64,
    },
    /// One of the two clears everything up to here.
    Clear {
        by: usize,
        seq: u64,
    },
    /// One of the two accepts, ignores, or takes that back.
    Decide {
        by: usize,
        request: RequestState,
    },
    Restart,
}

fn deed() -> impl Strategy<Value = Deed> {
    let (by, device) = (0..2_usize, 0..2_usize);
    prop_oneof![
        6 => (by.clone(), device.clone(), notice())
            .prop_map(|(by, device, notice)| Deed::Send { by, device, notice }),
        2 => (by.clone(), 1..40_u64).prop_map(|(by, seq)| Deed::Clear { by, seq }),
        1 => (by.clone(), request()).prop_map(|(by, request)| Deed::Decide { by, request }),
        5 => (by, device, 1..40_u64, any::<bool>())
            .prop_map(|(by, device, seq, private)| Deed::Mark { by, device, seq, private }),
        1 => (1..30_u64).prop_map(|below| Deed::Expire { below }),
        1 => Just(Deed::Restart),
    ]
}

fn notice() -> impl Strategy<Value = Notice> {
    prop_oneof![
        4 => Just(Notice::Loud),
        1 => Just(Notice::Silent),
        2 => Just(Notice::Uncounted),
    ]
}

fn request() -> impl Strategy<Value = RequestState> {
    prop_oneof![Just(RequestState::None), Just(RequestState::Pending), Just(RequestState::Ignored),]
}

/// Counts on fingers.
#[derive(Debug, Default)]
struct Naive {
    /// Who has said what, and whether it counts.
    entries: Vec<(usize, bool)>,
    cursors: [u64; 2],
    /// How far each may know that the other has read.
    receipts: [u64; 2],
    expired_below: u64,
    /// Up to where each has cleared it.
    cleared: [u64; 2],
    /// What each has decided, or nobody has.
    decided: [RequestState; 2],
}

impl Naive {
    fn head(&self) -> u64 {
        self.entries.len() as u64
    }

    fn mark(&mut self, by: usize, seq: u64, private: bool) -> u64 {
        // What has expired is read to its end with any of it.
        let seq = seq.min(self.head()).max(self.expired_below.saturating_sub(1));
        self.cursors[by] = self.cursors[by].max(seq);
        if !private {
            self.receipts[by] = self.receipts[by].max(seq);
        }
        self.cursors[by]
    }

    fn say(&mut self, by: usize, counts: bool) {
        if self.entries.is_empty() {
            self.decided[1 - by] = RequestState::Pending;
        }
        self.entries.push((by, counts));
    }

    /// Clears it, and gives back from where it is there then, and how many of the other's are not.
    fn clear(&mut self, by: usize, seq: u64) -> (u64, u64) {
        let seq = seq.min(self.head()).max(self.expired_below.saturating_sub(1));
        self.cleared[by] = self.cleared[by].max(seq);
        let cleared = self.cleared[by];
        (cleared + 1, self.others(by, 1, cleared))
    }

    fn decide(&mut self, by: usize, request: RequestState) {
        if self.request(by) != RequestState::None {
            self.decided[by] = request;
        }
    }

    /// Whether it is a request to a user.
    fn request(&self, user: usize) -> RequestState {
        let has_spoken = self.entries.iter().any(|(by, counts)| *by == user && *counts);
        if has_spoken { RequestState::None } else { self.decided[user] }
    }

    fn expire(&mut self, below: u64) {
        self.expired_below = self.expired_below.max(below.min(self.head() + 1));
    }

    /// How many entries of the other one that count there are in a range.
    fn others(&self, user: usize, from: u64, to: u64) -> u64 {
        let entries = (1..).zip(&self.entries).filter(|(seq, _)| (from..=to).contains(seq));
        entries.filter(|(_, (sender, counts))| *sender != user && *counts).count() as u64
    }

    fn unread(&self, user: usize) -> u64 {
        let from = (self.cursors[user].max(self.cleared[user]) + 1).max(self.expired_below);
        self.others(user, from, self.head())
    }
}

/// Both users, each with two devices.
struct Crowd {
    server: Server,
    devices: Vec<[Client; 2]>,
}

fn users() -> [UserId; 2] {
    [1, 2].map(|id| UserId::new(id).unwrap())
}

impl Crowd {
    fn over(store: &Arc<MemoryStore>) -> Crowd {
        let mut server = Server::with(2, Arc::clone(store), |builder| builder);
        let devices = users().map(|user| [server.live(user), server.live(user)]);
        Crowd { server, devices: devices.into() }
    }

    /// What a new device of a user is told of the conversation.
    fn state(&mut self, user: usize) -> Option<wire::ConversationState> {
        let mut device = self.server.client(users()[user]);
        device.sync(wire::Sync::default()).conversations.pop()
    }
}

/// Does all that, and looks after each deed. Returns what is unread in the end.
fn run(deeds: &[Deed]) -> [u64; 2] {
    let store = Arc::new(MemoryStore::new(1));
    users().iter().for_each(|user| engine_support::create_account(&*store, *user));
    let log = LogId::direct(users()[0], users()[1]);
    let (mut crowd, mut naive) = (Crowd::over(&store), Naive::default());
    for (number, deed) in (1_u8..).zip(deeds) {
        match *deed {
            Deed::Send { by, device, notice } => {
                let to = users()[1 - by];
                crowd.devices[by][device].send_with(notice, to, number, "word");
                naive.say(by, notice.counts());
            }
            Deed::Mark { by, device, seq, private } if naive.head() > 0 => {
                let at = naive.mark(by, seq, private);
                let told = crowd.devices[by][device].mark_read_with(log, seq, private);
                assert_eq!(told, (at, naive.others(by, 1, at)), "{deed:?}");
            }
            Deed::Expire { below } if naive.head() > 0 => {
                let below = below.min(naive.head() + 1);
                let done = delete(&*store, Deletion::Truncate { log, below });
                assert!(matches!(done, Deleted::Done { .. }), "{done:?}");
                naive.expire(below);
            }
            Deed::Clear { by, seq } if naive.head() > 0 => {
                let change = MembershipChange::ClearUpTo(seq);
                let told = crowd.devices[by][0].update(log, change);
                let right = naive.clear(by, seq);
                assert_eq!((told.visible_from, told.others_cleared), right, "{deed:?}");
            }
            Deed::Decide { by, request } if naive.head() > 0 => {
                naive.decide(by, request);
                let told = crowd.devices[by][1].update(log, MembershipChange::Request(request));
                assert_eq!(told.request(), naive.request(by), "{deed:?}: {naive:?}");
            }
            Deed::Restart => {
                crowd.server.engine.stop();
                crowd = Crowd::over(&store);
            }
            // Nothing was said yet.
            Deed::Mark { .. } | Deed::Expire { .. } | Deed::Clear { .. } | Deed::Decide { .. } => {}
        }
        for user in 0..2 {
            let state = crowd.state(user).unwrap_or_default();
            let told = (state.unread, state.read_seq, state.peer_read_seq);
            let right = (naive.unread(user), naive.cursors[user], naive.receipts[1 - user]);
            assert_eq!(told, right, "of {user} after {deed:?}: {naive:?}");
            let membership = state.membership.unwrap_or_default();
            assert_eq!(membership.request(), naive.request(user), "{deed:?}: {naive:?}");
            let is_shown = |entry: &wire::Entry| entry.seq > naive.cleared[user];
            assert!(state.entries.iter().all(is_shown), "{deed:?}: {:?}", state.entries);
        }
    }
    crowd.server.engine.stop();
    [0, 1].map(|user| naive.unread(user))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn unread_is_what_somebody_counts_on_fingers(
        deeds in prop::collection::vec(deed(), 1..40)
    ) {
        run(&deeds);
    }
}

/// The vectors of the document.
#[test]
fn the_examples_of_the_document() {
    use Deed::{Expire, Mark, Send};
    let say = |by, notice| Send { by, device: 0, notice };
    let send = |by| say(by, Notice::Loud);
    let mark = |seq| Mark { by: 0, device: 0, seq, private: false };
    // Ann says 1 and 4, Bob 2, 3 and 5.
    let said = [send(0), send(1), send(1), send(0), send(1)];
    let after = |deeds: &[Deed]| run(&[&said[..], deeds].concat());
    assert_eq!(after(&[]), [3, 2]);
    assert_eq!(after(&[mark(2)]), [2, 2]);
    assert_eq!(after(&[mark(4), send(0), send(1)]), [2, 3]);
    assert_eq!(after(&[mark(2), Expire { below: 4 }]), [1, 1]);
    assert_eq!(after(&[Expire { below: 6 }, mark(1), send(1)]), [1, 0]);
    let quiet = [say(1, Notice::Silent), say(1, Notice::Uncounted), say(0, Notice::Uncounted)];
    assert_eq!(after(&quiet), [4, 2]);
    assert_eq!(after(&[&quiet[..], &[mark(7)]].concat()), [0, 2]);
    // Bob says 1 to 5 to Ann, who has said nothing.
    let requested = [send(1); 5];
    let after = |deeds: &[Deed]| run(&[&requested[..], deeds].concat())[0];
    let (clear, read) = (Deed::Clear { by: 0, seq: 3 }, mark(4));
    let ignore = Deed::Decide { by: 0, request: RequestState::Ignored };
    assert_eq!([after(&[]), after(&[clear]), after(&[clear, read])], [5, 2, 1]);
    assert_eq!(after(&[clear, read, ignore, send(1), send(0), send(1)]), 3);
}
