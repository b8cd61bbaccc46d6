//! What the devices of a user share beside entries: what conversations are to the user, and settings.

mod support;

use dunlin_client::machine::{
    Backlog, ConversationView, Event, Failure, Request, Response, SkipReason, Ticket,
};
use dunlin_protocol::wire::update_conversation::Change;
use dunlin_protocol::wire::{self, Entry, ErrorCode, RequestState, frame::Body};

use support::{EPOCH, ME, PEER, Script, conversation, message, push, state, synced};

fn membership(version: u64, request: RequestState) -> wire::Membership {
    let (conversation_id, request) = (conversation().to_wire(), request.into());
    wire::Membership { conversation_id, request, version, ..wire::Membership::default() }
}

fn setting(key: &str, value: &str, version: u64) -> wire::Setting {
    wire::Setting { key: key.into(), value: value.to_owned().into(), version }
}

/// So many entries of the other member, of which the newest is this.
fn of_peer(seq: u64) -> Entry {
    Entry { counted: seq, sender_counted: seq, ..message(seq, PEER, "x") }
}

fn last_view(script: &mut Script) -> ConversationView {
    let views = script.events().into_iter().filter_map(|event| match event {
        Event::Conversation(view) => Some(view),
        _ => None,
    });
    views.last().expect("the numbers have changed")
}

/// The server is asked what there is, and names the conversation, with nothing that was decided about it.
fn resync(script: &mut Script, head: u64) {
    script.say(Body::Behind(wire::Behind::default()));
    let sync = script.request();
    script.answer(sync.request_id, synced(vec![state(head, Vec::new())]));
}

fn settings_told(script: &mut Script) -> Vec<wire::Setting> {
    let told = script.events().into_iter().filter_map(|event| match event {
        Event::Setting(setting) => Some(setting),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_request_is_what_the_server_says_until_the_user_says_something() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(of_peer(1)));
    script.say(Body::Membership(membership(7, RequestState::Pending)));
    let view = last_view(&mut script);
    assert_eq!((view.request, view.unread), (RequestState::Pending, 1));
    script.say(Body::Membership(membership(8, RequestState::Ignored)));
    // One that was said before comes late.
    script.say(Body::Membership(membership(7, RequestState::Pending)));
    let view = last_view(&mut script);
    assert_eq!((view.request, view.unread), (RequestState::Ignored, 0));
    // Another device of the user has answered.
    let answer = Entry { counted: 2, sender_counted: 1, ..message(2, ME, "hello") };
    script.say(push(answer));
    let view = last_view(&mut script);
    assert_eq!((view.request, view.unread), (RequestState::None, 1));
}

#[test]
fn what_a_stranger_begins_is_a_request_without_a_word_of_the_server() {
    let request = |script: &mut Script| last_view(script).request;
    let mut script = Script::live(Backlog::Everything);
    // They overtake each other: nobody knows yet who began.
    script.say(push(of_peer(2)));
    assert_eq!(request(&mut script), RequestState::None);
    script.say(push(of_peer(1)));
    assert_eq!(request(&mut script), RequestState::Pending);
    // It was accepted elsewhere, and the word of it got lost: there is nothing that is not ordinary.
    resync(&mut script, 2);
    assert_eq!(request(&mut script), RequestState::None);

    let mut script = Script::live(Backlog::Everything);
    script.say(push(of_peer(1)));
    let spoken = Entry { counted: 2, sender_counted: 1, ..message(2, ME, "hello") };
    script.say(push(spoken));
    assert_eq!(request(&mut script), RequestState::None, "another device has answered");

    let mut script = Script::live(Backlog::Everything);
    let own = Entry { notice: wire::Notice::Uncounted.into(), ..message(1, ME, "x") };
    script.say(push(own));
    script.say(push(Entry { counted: 1, sender_counted: 1, ..message(2, PEER, "y") }));
    assert_eq!(request(&mut script), RequestState::None, "this user has begun it");
}

#[test]
fn what_sync_leaves_out_is_not_decided_unless_it_is_older() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(of_peer(1)));
    script.say(Body::Membership(wire::Membership {
        marked_unread: true,
        ..membership(7, RequestState::Ignored)
    }));
    let view = last_view(&mut script);
    assert_eq!((view.request, view.marked_unread), (RequestState::Ignored, true));
    resync(&mut script, 1);
    let view = last_view(&mut script);
    assert_eq!((view.request, view.marked_unread), (RequestState::None, false));

    // It was decided after the server had read what it answers.
    script.say(Body::Behind(wire::Behind::default()));
    let sync = script.request();
    script.say(Body::Membership(membership(8, RequestState::Ignored)));
    script.answer(sync.request_id, synced(vec![state(1, Vec::new())]));
    assert_eq!(last_view(&mut script).request, RequestState::Ignored);
}

#[test]
fn what_is_cleared_is_not_unread_and_no_gap() {
    let mut script = Script::live(Backlog::Everything);
    (1..=4).for_each(|seq| script.say(push(of_peer(seq))));
    script.events();
    let cleared = wire::Membership {
        visible_from: 4,
        others_cleared: 3,
        ..membership(7, RequestState::None)
    };
    script.say(Body::Membership(cleared.clone()));
    let view = last_view(&mut script);
    assert_eq!((view.unread, view.expired_below, view.position), (1, 4, 4));
    // What is cleared before it came is never delivered.
    script.say(push(of_peer(9)));
    let all = wire::Membership { visible_from: 9, others_cleared: 8, version: 8, ..cleared };
    script.say(Body::Membership(all));
    let events = script.events();
    let skipped = Event::Skipped {
        conversation: conversation(),
        from_seq: 5,
        to_seq: 8,
        why: SkipReason::Expired,
    };
    assert!(events.contains(&skipped), "{events:?}");
    let view = events.iter().rev().find_map(|event| match event {
        Event::Conversation(view) => Some((view.position, view.unread)),
        _ => None,
    });
    assert_eq!(view, Some((9, 1)));
}

#[test]
fn what_the_user_changes_is_known_by_the_answer() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(of_peer(1)));
    script.events();
    let change = Change::HideUpTo(1);
    let update = Request::UpdateConversation { conversation: conversation(), change };
    script.machine.request(script.now_ms, Ticket(7), update);
    let request = script.request();
    assert!(
        matches!(&request.body, Some(Body::UpdateConversation(it)) if it.change == Some(change))
    );
    let hidden = wire::Membership {
        hidden_up_to: 1,
        marked_unread: true,
        ..membership(9, RequestState::Pending)
    };
    script.answer(request.request_id, Body::Membership(hidden.clone()));
    let events = script.events();
    let done = Ok(Response::Membership(hidden));
    assert!(events.contains(&Event::Completed { ticket: Ticket(7), result: done }));
    let view = events.iter().find_map(|event| match event {
        Event::Conversation(view) => Some((view.hidden_up_to, view.marked_unread, view.request)),
        _ => None,
    });
    assert_eq!(view, Some((1, true, RequestState::Pending)));
}

#[test]
fn settings_come_by_sync_by_hint_and_by_answer_and_each_change_is_told_once() {
    let mut script = Script::live(Backlog::Everything);
    script.say(Body::Setting(setting("theme", "dark", 3)));
    script.say(Body::Setting(setting("theme", "dark", 3)));
    assert_eq!(settings_told(&mut script), [setting("theme", "dark", 3)]);
    let set = wire::SetSetting { key: "theme".into(), value: "light".into(), if_version: Some(2) };
    script.machine.request(script.now_ms, Ticket(1), Request::SetSetting(set.clone()));
    let request = script.request();
    assert_eq!(request.body, Some(Body::SetSetting(set)));
    // Somebody else was faster: what holds is known by the refusal.
    let error = wire::Error {
        code: ErrorCode::VersionConflict.into(),
        setting: Some(setting("theme", "blue", 4)),
        ..wire::Error::default()
    };
    script.answer(request.request_id, Body::Error(error.clone()));
    let events = script.events();
    assert!(events.contains(&Event::Setting(setting("theme", "blue", 4))));
    let refused = Err(Failure::Refused(error));
    assert!(events.contains(&Event::Completed { ticket: Ticket(1), result: refused }));

    // All is told anew, and this one is no more.
    script.say(Body::Behind(wire::Behind::default()));
    let sync = script.request();
    let synced = wire::Synced {
        epoch: EPOCH,
        afresh: true,
        settings: vec![setting("draft", "hi", 5)],
        ..wire::Synced::default()
    };
    script.answer(sync.request_id, Body::Synced(synced));
    let told = settings_told(&mut script);
    assert_eq!(told, [setting("draft", "hi", 5), setting("theme", "", 4)]);
    let held: Vec<_> = script.machine.settings().cloned().collect();
    assert_eq!(held, [setting("draft", "hi", 5)]);
}

#[test]
fn a_sync_that_was_asked_for_earlier_undoes_nothing_that_was_told_since() {
    let mut script = Script::live(Backlog::Everything);
    script.say(push(of_peer(1)));
    script.say(Body::Membership(membership(7, RequestState::Pending)));
    script.say(Body::Behind(wire::Behind::default()));
    let sync = script.request();
    script.say(Body::Membership(membership(9, RequestState::Ignored)));
    let older = membership(7, RequestState::Pending);
    let state = wire::ConversationState { membership: Some(older.clone()), ..state(1, Vec::new()) };
    script.answer(sync.request_id, synced(vec![state.clone()]));
    assert_eq!(last_view(&mut script).request, RequestState::Ignored);
    // But what is known since before it was asked for holds only as long as the server says so.
    script.say(Body::Behind(wire::Behind::default()));
    let sync = script.request();
    script.answer(sync.request_id, synced(vec![state]));
    assert_eq!(last_view(&mut script).request, RequestState::Pending);
}
