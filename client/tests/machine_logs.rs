//! How the machine keeps its logs whole, against a server whose every word is scripted.

mod support;

use dunlin_client::machine::{
    Backlog, Config, ConversationView, Event, Request, Response, SkipReason, Status, Ticket,
};
use dunlin_protocol::wire::frame::Body;
use dunlin_protocol::wire::{self, ErrorCode};
use dunlin_protocol::{ClientMessageId, LogId, UserId};
use support::*;

#[test]
fn a_push_that_does_not_continue_the_log_fetches_what_is_between() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(message(1, PEER, "one")));
    script.say(push(message(4, PEER, "four")));
    assert_eq!(script.delivered(), [1]);
    script.pass();
    let request = script.request();
    let history = history_of(&request);
    assert_eq!((history.from_seq, history.to_seq), (2, 3));
    script.say(push(message(3, PEER, "three")));
    let entries = vec![message(2, PEER, "two"), message(3, PEER, "three")];
    script.answer(request.request_id, page(entries, 4));
    assert_eq!(script.delivered(), [2, 3, 4]);
}

#[test]
fn a_gap_that_a_sent_may_close_gets_time() {
    let mut script = Script::live(Backlog::Everything);
    script.send(1);
    let send = script.request();
    script.say(push(message(2, PEER, "overtakes")));
    script.now_ms += 500;
    script.machine.handle_timeout(script.now_ms);
    assert!(script.requests().is_empty());
    script.answer(send.request_id, sent(1));
    assert_eq!(script.delivered(), [1, 2]);
    script.now_ms += 5000;
    script.machine.handle_timeout(script.now_ms);
    assert!(script.requests().is_empty(), "nothing is missing");
}

#[test]
fn behind_fetches_up_to_the_head_and_behind_without_a_name_syncs() {
    let mut script = Script::live(Backlog::Everything);
    let conversation_id = conversation().to_wire();
    script.say(Body::Behind(wire::Behind { conversation_id, head: 2 }));
    script.pass();
    let request = script.request();
    assert_eq!((history_of(&request).from_seq, history_of(&request).to_seq), (1, 2));
    let entries = vec![message(1, PEER, "one"), message(2, PEER, "two")];
    script.answer(request.request_id, page(entries, 2));
    assert_eq!(script.delivered(), [1, 2]);

    script.say(Body::Behind(wire::Behind::default()));
    let request = script.request();
    assert_eq!(sync_of(&request).positions[0].seq, 2);
    script.say(Body::Behind(wire::Behind::default()));
    let state = state(3, vec![message(3, PEER, "three")]);
    script.answer(request.request_id, synced(vec![state]));
    assert_eq!(script.delivered(), [3]);
    let again = script.request();
    assert_eq!(sync_of(&again).token, "token", "behind again meanwhile");
    assert!(sync_of(&again).positions.is_empty(), "the token says it");
}

/// What the machine tells of itself, behind everything else.
fn saved(script: &mut Script) -> Vec<u8> {
    script.machine.save();
    match script.events().pop() {
        Some(Event::Saved(saved)) => saved,
        other => panic!("not saved: {other:?}"),
    }
}

fn started_with(saved: Vec<u8>) -> Script {
    let mut script = Script::new(Config { saved, ..config(Backlog::Everything) });
    script.machine.log_in(password());
    script
}

#[test]
fn a_later_run_goes_on_where_this_one_has_come_to() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(message(1, PEER, "one")));
    script.say(push(message(2, PEER, "two")));
    // It waits for what is missing, and is not for a later run.
    script.say(push(message(4, PEER, "four")));
    assert_eq!(script.delivered(), [1, 2]);
    let saved = saved(&mut script);

    let mut script = started_with(saved.clone());
    let known = script.events();
    let is_known = |event: &Event| matches!(event, Event::Conversation(view) if (view.position, view.unread) == (2, 2));
    assert!(known.iter().any(is_known), "{known:?}");
    script.connect();
    let requests = script.requests();
    script.welcome(requests[0].request_id);
    script.answer(requests[1].request_id, logged_in());
    let request = script.request();
    let sync = sync_of(&request);
    assert_eq!((sync.epoch, &sync.token[..], sync.positions[0].seq), (EPOCH, &b"token"[..], 4));
    script.answer(request.request_id, synced(Vec::new()));
    script.pass();
    let request = script.request();
    assert_eq!((history_of(&request).from_seq, history_of(&request).to_seq), (3, 4));
    let entries = vec![message(3, PEER, "three"), message(4, PEER, "four")];
    script.answer(request.request_id, page(entries, 4));
    assert_eq!(script.delivered(), [3, 4]);

    // Somebody else on this device has nothing of it.
    let mut script = started_with(saved);
    script.connect();
    let requests = script.requests();
    script.welcome(requests[0].request_id);
    let Body::LoggedIn(me) = logged_in() else { panic!("no LoggedIn") };
    let other = wire::LoggedIn { user_id: PEER, ..me };
    script.answer(requests[1].request_id, Body::LoggedIn(other));
    let request = script.request();
    assert_eq!((sync_of(&request).epoch, sync_of(&request).token.len()), (0, 0));
    assert!(script.events().contains(&Event::HistoryLost));
}

#[test]
fn what_is_no_saved_state_begins_anew_and_says_so() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(message(1, PEER, "one")));
    let saved = saved(&mut script);
    let cut = (1..saved.len()).map(|length| saved[..length].to_vec());
    let turned = (0..saved.len()).map(|place| {
        let mut turned = saved.clone();
        turned[place] ^= 0x55;
        turned
    });
    // Whatever can be read of it, nothing panics; and what can't be read is told.
    for bytes in cut.chain(turned) {
        let mut script = started_with(bytes);
        script.connect();
        script.log_in_and_sync(vec![state(3, vec![message(3, PEER, "three")])]);
    }
    for garbage in [&b"\xff\xff\xff"[..], b"not ours", &[8, 2]] {
        let mut script = started_with(garbage.to_vec());
        assert_eq!(script.events().first(), Some(&Event::HistoryLost));
        script.connect();
        script.log_in_and_sync(vec![state(1, vec![message(1, PEER, "one")])]);
        assert_eq!(script.delivered(), [1]);
    }
}

#[test]
fn what_has_expired_is_no_gap() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(message(1, PEER, "one")));
    script.say(push(message(9, PEER, "nine")));
    assert_eq!(script.delivered(), [1]);
    script.pass();
    let request = script.request();
    assert_eq!((history_of(&request).from_seq, history_of(&request).to_seq), (2, 8));
    // What was to be fetched has expired meanwhile, up to 6.
    let entries = vec![message(7, PEER, "seven"), message(8, PEER, "eight")];
    let answer = wire::HistoryPage {
        entries,
        head: 9,
        epoch: EPOCH,
        expired_below: 7,
        ..wire::HistoryPage::default()
    };
    script.answer(request.request_id, Body::HistoryPage(answer));
    let events = script.events();
    let skipped = Event::Skipped {
        conversation: conversation(),
        from_seq: 2,
        to_seq: 6,
        why: SkipReason::Expired,
    };
    assert!(events.contains(&skipped), "{events:?}");
    assert_eq!(events.iter().filter_map(entry_seq).collect::<Vec<_>>(), [7, 8, 9]);
    let view = events.iter().rev().find_map(|event| match event {
        Event::Conversation(view) => Some(*view),
        _ => None,
    });
    assert_eq!(view.map(|view| (view.expired_below, view.position)), Some((7, 9)));
    script.pass();
    assert!(script.requests().is_empty(), "nothing is missing");

    // All of it has expired, and nothing was said since.
    script.say(Body::Behind(wire::Behind { conversation_id: conversation().to_wire(), head: 12 }));
    script.pass();
    let request = script.request();
    let answer = wire::HistoryPage {
        head: 12,
        epoch: EPOCH,
        expired_below: 13,
        ..wire::HistoryPage::default()
    };
    script.answer(request.request_id, Body::HistoryPage(answer));
    script.pass();
    assert!(script.requests().is_empty(), "nothing is missing");

    // Sync says so as well.
    script.say(Body::Behind(wire::Behind::default()));
    let request = script.request();
    let entries = vec![message(20, PEER, "twenty")];
    let state = wire::ConversationState { expired_below: 20, ..state(20, entries) };
    script.answer(request.request_id, synced(vec![state]));
    assert_eq!(script.delivered(), [20]);
    script.pass();
    assert!(
        script.requests().iter().all(|request| !matches!(request.body, Some(Body::History(_))))
    );
}

#[test]
fn another_epoch_forgets_history_and_reads_it_anew() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(message(1, PEER, "old")));
    script.events();
    script.cut();
    script.pass();
    script.connect();
    let requests = script.requests();
    script.welcome(requests[0].request_id);
    script.answer(requests[1].request_id, logged_in());
    let sync = script.request();
    let answer = wire::Synced {
        epoch: EPOCH + 1,
        conversations: vec![state(1, vec![message(1, PEER, "new")])],
        ..wire::Synced::default()
    };
    script.answer(sync.request_id, Body::Synced(answer));
    let events = script.events();
    let lost = events.iter().position(|event| *event == Event::HistoryLost).unwrap();
    let entry = events.iter().position(|event| entry_seq(event) == Some(1)).unwrap();
    assert!(lost < entry);
}

#[test]
fn a_page_of_another_epoch_syncs_as_a_new_device() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(message(1, PEER, "old")));
    script.say(push(message(3, PEER, "old")));
    script.pass();
    let request = script.request();
    let answer = wire::HistoryPage { epoch: EPOCH + 1, ..wire::HistoryPage::default() };
    script.answer(request.request_id, Body::HistoryPage(answer));
    assert!(script.events().contains(&Event::HistoryLost));
    let sync = script.request();
    assert!(sync_of(&sync).positions.is_empty());
    assert_eq!(sync_of(&sync).epoch, EPOCH + 1);
}

#[test]
fn who_wants_the_newest_gets_them_and_learns_what_was_left_out() {
    let mut script = Script::new(config(Backlog::Newest(2)));
    script.machine.log_in(password());
    script.connect();
    let entries = vec![message(9, PEER, "nine"), message(10, PEER, "ten")];
    let state = wire::ConversationState { unread: 4, read_seq: 6, ..state(10, entries) };
    script.log_in_and_sync(vec![state]);
    let events = script.events();
    let skipped = Event::Skipped {
        conversation: conversation(),
        from_seq: 1,
        to_seq: 8,
        why: SkipReason::Backlog,
    };
    assert!(events.contains(&skipped), "{events:?}");
    assert_eq!(events.iter().filter_map(entry_seq).collect::<Vec<_>>(), [9, 10]);
    let view = events.iter().find_map(|event| match event {
        Event::Conversation(view) => Some(*view),
        _ => None,
    });
    assert_eq!(view.map(|view| (view.unread, view.read_seq)), Some((4, 6)));
    assert!(script.requests().is_empty(), "nothing is fetched");
}

#[test]
fn who_wants_everything_fetches_it() {
    let mut script = Script::new(config(Backlog::Everything));
    script.machine.log_in(password());
    script.connect();
    script.log_in_and_sync(vec![state(3, vec![message(3, PEER, "three")])]);
    script.pass();
    let request = script.request();
    let entries = vec![message(1, PEER, "one"), message(2, PEER, "two")];
    script.answer(request.request_id, page(entries, 3));
    assert_eq!(script.delivered(), [1, 2, 3]);
}

#[test]
fn a_damaged_entry_is_cornered_announced_and_passed() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(message(4, PEER, "four")));
    let damaged = 2;
    let mut skipped = Vec::new();
    let mut delivered = Vec::new();
    for _ in 0..60 {
        if delivered.last() == Some(&4) {
            break;
        }
        script.pass();
        for request in script.requests() {
            let history = history_of(&request);
            let range = history.from_seq..=history.to_seq;
            let answer = if range.contains(&damaged) {
                error(ErrorCode::DataCorrupt, 0)
            } else {
                page(range.map(|seq| message(seq, PEER, "x")).collect(), 4)
            };
            script.answer(request.request_id, answer);
        }
        for event in script.events() {
            delivered.extend(entry_seq(&event));
            if let Event::Skipped { from_seq, to_seq, why, .. } = event {
                skipped.push((from_seq, to_seq, why));
            }
        }
    }
    assert_eq!(delivered, [1, 3, 4]);
    assert_eq!(skipped, [(2, 2, SkipReason::Damaged)]);
}

#[test]
fn what_waits_for_a_gap_is_bounded_and_fetched_again() {
    let small = Config { aside_bytes_max: 3000, ..config(Backlog::Everything) };
    for (config, is_small) in [(config(Backlog::Everything), false), (small, true)] {
        let mut script = Script::new(config);
        script.machine.log_in(password());
        script.connect();
        script.log_in_and_sync(Vec::new());
        for seq in 2..=9 {
            script.say(push(message(seq, PEER, &"x".repeat(400))));
        }
        script.pass();
        let request = script.request();
        let history = history_of(&request);
        assert_eq!(history.from_seq, 1);
        assert_eq!(history.to_seq > 1, is_small, "{history:?}");
        let entries = (1..=9).map(|seq| message(seq, PEER, &"x".repeat(400))).collect();
        script.answer(request.request_id, page(entries, 9));
        assert_eq!(script.delivered(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}

fn receipt(reader: u64, seq: u64, others_counted: u64) -> wire::ReadReceipt {
    let conversation_id = conversation().to_wire();
    wire::ReadReceipt { conversation_id, user_id: reader, seq, others_counted }
}

fn last_view(script: &mut Script) -> ConversationView {
    let views = script.events().into_iter().filter_map(|event| match event {
        Event::Conversation(view) => Some(view),
        _ => None,
    });
    views.last().expect("the numbers have changed")
}

#[test]
fn other_devices_move_the_cursor() {
    let mut script = Script::live(Backlog::Everything);
    for seq in 1..=3 {
        script.say(push(message(seq, PEER, "x")));
    }
    script.events();
    script.say(Body::ReadReceipt(receipt(ME, 2, 2)));
    let view = last_view(&mut script);
    assert_eq!((view.read_seq, view.unread, view.peer_read_seq), (2, 1, 0));
    // An older one comes late.
    script.say(Body::ReadReceipt(receipt(ME, 1, 1)));
    let view = last_view(&mut script);
    assert_eq!((view.read_seq, view.unread), (2, 1));
}

#[test]
fn who_marks_as_read_is_told_where_the_cursor_is() {
    let mut script = Script::live(Backlog::Everything);
    for seq in 1..=3 {
        script.say(push(message(seq, PEER, "x")));
    }
    script.events();
    let mark = Request::MarkRead { conversation: conversation(), seq: 1, private: false };
    script.machine.request(script.now_ms, Ticket(7), mark);
    let request = script.request();
    assert!(matches!(request.body, Some(Body::MarkRead(_))));
    // Another device has read further.
    script.answer(request.request_id, Body::ReadReceipt(receipt(ME, 2, 2)));
    let events = script.events();
    assert!(events.contains(&Event::Completed { ticket: Ticket(7), result: Ok(Response::Done) }));
    let view = events.iter().find_map(|event| match event {
        Event::Conversation(view) => Some((view.read_seq, view.unread)),
        _ => None,
    });
    assert_eq!(view, Some((2, 1)));
    script.say(Body::Behind(wire::Behind::default()));
    let sync = script.request();
    let position = &sync_of(&sync).positions[0];
    assert_eq!((position.seq, position.read_seq, position.peer_read_seq), (3, 2, 0));
}

#[test]
fn a_position_says_when_its_entry_was_taken() {
    let mut script = Script::live(Backlog::Everything);
    for seq in 1..=2 {
        script.say(push(wire::Entry { time_ms: 1000 + seq, ..message(seq, PEER, "hi") }));
    }
    script.events();
    script.say(Body::Behind(wire::Behind::default()));
    let sync = script.request();
    let position = &sync_of(&sync).positions[0];
    assert_eq!((position.seq, position.time_ms), (2, 1002));
    script.answer(sync.request_id, synced(Vec::new()));
    // Of a head that we only heard of we have no entry.
    script.say(Body::Behind(wire::Behind { conversation_id: conversation().to_wire(), head: 5 }));
    script.say(Body::Behind(wire::Behind::default()));
    let sync = std::iter::repeat_with(|| script.request())
        .find(|request| matches!(request.body, Some(Body::Sync(_))))
        .unwrap();
    let position = &sync_of(&sync).positions[0];
    assert_eq!((position.seq, position.time_ms), (5, 0));
}

#[test]
fn who_is_ahead_of_the_server_forgets_the_conversation_and_reads_it_anew() {
    let mut script = Script::live(Backlog::Everything);
    for seq in 1..=5 {
        script.say(push(message(seq, PEER, "old")));
    }
    script.say(Body::ReadReceipt(receipt(ME, 5, 5)));
    script.events();
    script.say(Body::Behind(wire::Behind::default()));
    let sync = script.request();
    let entries = vec![message(1, PEER, "old"), message(2, PEER, "new")];
    let restored =
        wire::ConversationState { read_seq: 1, unread: 1, forget: true, ..state(2, entries) };
    script.answer(sync.request_id, synced(vec![restored]));
    let events = script.events();
    let lost = Event::ConversationLost { conversation: conversation() };
    let lost = events.iter().position(|event| *event == lost).unwrap();
    let delivered: Vec<_> = events[lost..].iter().filter_map(entry_seq).collect();
    assert_eq!(delivered, [1, 2]);
    assert!(!events.contains(&Event::HistoryLost), "other conversations are as they were");
    let view = events.iter().find_map(|event| match event {
        Event::Conversation(view) => Some((view.position, view.read_seq, view.unread)),
        _ => None,
    });
    assert_eq!(view, Some((2, 1, 1)));
    // What came in between may have been taken for known.
    let again = script.request();
    assert_eq!(sync_of(&again).token, "token");
    assert!(sync_of(&again).positions.is_empty());
}

/// An answer that goes on.
fn part(token: &'static str, more: bool, conversations: Vec<wire::ConversationState>) -> Body {
    let token = token.into();
    let afresh = token == "one";
    let synced =
        wire::Synced { epoch: EPOCH, token, more, afresh, conversations, ..Default::default() };
    Body::Synced(synced)
}

#[test]
fn what_comes_in_parts_is_asked_for_until_all_is_there() {
    let mut script = Script::new(config(Backlog::Everything));
    script.machine.log_in(password());
    script.connect();
    let requests = script.requests();
    script.welcome(requests[0].request_id);
    script.answer(requests[1].request_id, logged_in());
    let first = script.request();
    assert_eq!((sync_of(&first).token.len(), sync_of(&first).epoch), (0, 0));
    let peer = wire::User { user_id: PEER, username: "bob".into(), ..Default::default() };
    let told = wire::ConversationState {
        peer: Some(peer.clone()),
        ..state(1, vec![message(1, PEER, "x")])
    };
    script.answer(first.request_id, part("one", true, vec![told]));
    let events = script.events();
    assert!(events.contains(&Event::Peer { conversation: conversation(), user: peer }));
    assert!(!events.contains(&Event::Status(Status::Online)));
    // What is pushed meanwhile is named until all is told.
    let second = script.request();
    assert_eq!(sync_of(&second).token, "one");
    script.say(push(message(2, PEER, "y")));
    script.answer(second.request_id, part("two", true, Vec::new()));
    let third = script.request();
    assert_eq!(
        (sync_of(&third).token.clone(), sync_of(&third).positions[0].seq),
        ("two".into(), 2)
    );
    script.answer(third.request_id, part("three", false, Vec::new()));
    let events = script.events();
    assert!(events.contains(&Event::Status(Status::Online)));
    let lost = Event::ConversationLost { conversation: conversation() };
    assert!(!events.contains(&lost), "it was named in the first part");
    script.say(Body::Behind(wire::Behind::default()));
    let fourth = script.request();
    assert_eq!(sync_of(&fourth).token, "three");
    assert!(sync_of(&fourth).positions.is_empty());
    // The token goes with its connection, and not with the epoch.
    script.cut();
    script.pass();
    script.connect();
    let requests = script.requests();
    script.welcome(requests[0].request_id);
    script.answer(requests[1].request_id, logged_in());
    assert_eq!(sync_of(&script.request()).token, "three");
}

#[test]
fn what_is_not_named_when_everything_is_told_anew_is_gone() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(message(1, PEER, "one")));
    script.say(Body::Behind(wire::Behind::default()));
    let sync = script.request();
    // The answer of a Send overtakes it: that conversation is newer than the answer.
    let other = LogId::direct(UserId::new(ME).unwrap(), UserId::new(PEER + 1).unwrap());
    let request = Request::Send {
        conversation: other,
        message_id: ClientMessageId([9; 16]),
        content_type: String::new(),
        notice: wire::Notice::Loud,
        content: "x".into(),
    };
    script.machine.request(script.now_ms, Ticket(9), request);
    let send = script.request();
    script.answer(send.request_id, sent(1));
    script.events();
    script.answer(sync.request_id, part("one", false, Vec::new()));
    let lost: Vec<_> = script
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::ConversationLost { conversation } => Some(conversation),
            _ => None,
        })
        .collect();
    assert_eq!(lost, [conversation()]);
}

#[test]
fn who_wants_the_newest_fetches_them_where_there_was_no_room() {
    let mut script = Script::new(config(Backlog::Newest(2)));
    script.machine.log_in(password());
    script.connect();
    script.log_in_and_sync(vec![state(10, Vec::new())]);
    let events = script.events();
    let skipped = Event::Skipped {
        conversation: conversation(),
        from_seq: 1,
        to_seq: 8,
        why: SkipReason::Backlog,
    };
    assert!(events.contains(&skipped), "{events:?}");
    script.pass();
    let request = script.request();
    let history = history_of(&request);
    assert_eq!((history.from_seq, history.to_seq), (9, 10));
}

#[test]
fn a_receipt_shows_how_far_the_other_has_read() {
    let mut script = Script::live(Backlog::Everything);
    for (reader, expected) in [(ME, 0), (PEER, 7), (PEER, 7)] {
        let seq = if expected == 0 { 9 } else { 7 };
        script.say(Body::ReadReceipt(receipt(reader, seq, 0)));
        let peer_read = script.events().into_iter().find_map(|event| match event {
            Event::Conversation(view) => Some(view.peer_read_seq),
            _ => None,
        });
        assert_eq!(peer_read.unwrap_or(0), expected, "reader {reader}");
    }
}

#[test]
fn every_cut_of_the_input_gives_the_same_events() {
    let mut bytes = Vec::new();
    for seq in 1..=4 {
        let frame = dunlin_protocol::EncodedFrame::push(push(message(seq, PEER, "hello")));
        bytes.extend_from_slice(frame.wire());
    }
    for cut in 0..=bytes.len() {
        let mut script = Script::live(Backlog::Everything);
        script.machine.handle_input(script.now_ms, &bytes[..cut]);
        script.machine.handle_input(script.now_ms, &bytes[cut..]);
        assert_eq!(script.delivered(), [1, 2, 3, 4], "cut at {cut}");
    }
}
