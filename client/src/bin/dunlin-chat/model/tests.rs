use dunlin_client::machine::{Lost, SkipReason, Stop};
use dunlin_protocol::wire::update_conversation::Change;
use dunlin_protocol::wire::{Message, RequestState, entry};

use super::chat::{Mark, Progress};
use super::*;

pub(super) const ME: u64 = 1;
pub(super) const BOB: u64 = 2;

pub(super) fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

pub(crate) fn conversation() -> LogId {
    LogId::direct(user(ME), user(BOB))
}

/// Alice, connected, who knows bob.
pub(crate) fn model() -> Model {
    let mut model = Model::new("alice".into());
    let session = dunlin_protocol::SessionId::new(9).unwrap();
    model.apply(0, Event::LoggedIn { user: user(ME), username: "alice".into(), session });
    model.apply(0, Event::Status(Status::Online));
    model.learn_names(&[bob()]);
    model.take_effects();
    model
}

pub(super) fn bob() -> wire::User {
    wire::User {
        user_id: BOB,
        username: "bob".into(),
        conversation_id: conversation().to_wire(),
        ..wire::User::default()
    }
}

pub(crate) fn entry(seq: u64, sender: u64, text: &str, id: u8) -> Event {
    let message = Message {
        client_message_id: vec![id; 16].into(),
        content: text.to_owned().into(),
        ..Message::default()
    };
    let body = Some(entry::Body::Message(message));
    let entry = Entry { seq, sender, time_ms: seq * 60_000, body, ..Entry::default() };
    Event::Entry { conversation: conversation(), entry }
}

pub(crate) fn view(position: u64, unread: u64, peer_read_seq: u64) -> Event {
    Event::Conversation(ConversationView {
        conversation: conversation(),
        head: position,
        position,
        read_seq: 0,
        peer_read_seq,
        unread,
        expired_below: 0,
        request: RequestState::None,
        hidden_up_to: 0,
        marked_unread: false,
    })
}

pub(super) fn asked(model: &mut Model) -> Vec<(Purpose, Request)> {
    let effects = model.take_effects().into_iter().filter_map(|effect| match effect {
        Effect::Ask(purpose, request) => Some((purpose, request)),
        _ => None,
    });
    effects.collect()
}

pub(crate) fn say(model: &mut Model, ticket: u64, text: &str) {
    let id = ClientMessageId([ticket as u8; 16]);
    model.said(conversation(), id, text.into(), false);
    model.sending(conversation(), id, Ticket(ticket));
    model.effects.retain(|effect| !matches!(effect, Effect::Send(..)));
}

#[test]
fn to_finds_the_user_and_opens_the_conversation() {
    let mut model = model();
    model.enter("/to bob");
    let mut effects = asked(&mut model);
    let (purpose, _) = effects.remove(0);
    model.asked(Ticket(1), purpose);
    let result = Ok(Response::Users(Vec::new()));
    model.apply(0, Event::Completed { ticket: Ticket(1), result });
    assert_eq!(model.notices, ["there is no bob"]);
    model.enter("/to bob");
    let (purpose, _) = asked(&mut model).remove(0);
    model.asked(Ticket(2), purpose);
    let result = Ok(Response::Users(vec![bob()]));
    model.apply(0, Event::Completed { ticket: Ticket(2), result });
    assert_eq!(model.open(), Some(conversation()));
    model.enter("hello");
    let said = model.take_effects().into_iter().any(
        |effect| matches!(effect, Effect::Say(to, text) if to == conversation() && text == "hello"),
    );
    assert!(said);
}

#[test]
fn help_lists_every_command() {
    let mut model = model();
    model.enter("/help");
    assert_eq!(model.notices, command::HELP);
    assert!(model.notices[0].starts_with("/to NAME"));
}

#[test]
fn a_message_is_on_its_way_then_stored_then_read() {
    let mut model = model();
    model.go_to(conversation());
    say(&mut model, 5, "hello");
    assert_eq!(model.chats[&conversation()].unsent.len(), 1);
    model.apply(0, entry(1, ME, "hello", 5));
    model.apply(0, view(1, 0, 0));
    let chat = &model.chats[&conversation()];
    assert!(chat.unsent.is_empty());
    assert_eq!(chat.mark(1), Mark::Stored);
    model.apply(0, view(1, 0, 1));
    assert_eq!(model.chats[&conversation()].mark(1), Mark::Read);
    let told: Vec<String> = model
        .take_effects()
        .iter()
        .filter_map(|effect| match effect {
            Effect::Tell(news) => Some(news.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["* talking to bob", "✓ bob 1: hello", "✓✓ bob 1"]);
}

#[test]
fn a_message_that_fails_says_so_and_stays() {
    let mut model = model();
    model.go_to(conversation());
    say(&mut model, 5, "hello");
    model.apply(0, Event::Completed { ticket: Ticket(5), result: Err(Failure::TooLarge) });
    let progress = &model.chats[&conversation()].unsent[0].progress;
    assert!(matches!(progress, Progress::Failed { .. }), "{progress:?}");
    assert_eq!(model.notices.len(), 1);
}

#[test]
fn who_leaves_is_told_what_would_be_lost() {
    let quits = |model: &mut Model| {
        model.enter("/quit");
        model.take_effects().iter().any(|effect| matches!(effect, Effect::Quit))
    };
    let mut model = model();
    assert!(quits(&mut model));
    model.go_to(conversation());
    say(&mut model, 5, "hello");
    assert!(!quits(&mut model));
    model.enter("/help");
    assert!(!quits(&mut model), "it is said again");
    assert!(quits(&mut model));
}

#[test]
fn what_is_shown_is_read_and_nothing_else() {
    let mut model = model();
    model.apply(5000, entry(1, BOB, "hello", 1));
    model.apply(5000, view(1, 1, 0));
    assert!(asked(&mut model).is_empty(), "it is not open");
    model.go_to(conversation());
    model.tick(6000);
    let marks = asked(&mut model);
    let [(_, Request::MarkRead { seq, private, .. })] = &marks[..] else { panic!("{marks:?}") };
    assert_eq!((*seq, *private), (1, false));
    model.reads_privately = true;
    model.apply(6001, entry(2, BOB, "more", 2));
    model.apply(6001, view(2, 2, 0));
    assert!(asked(&mut model).is_empty(), "not more than once a second");
    model.tick(7000);
    let marks = asked(&mut model);
    assert!(matches!(&marks[..], [(_, Request::MarkRead { private: true, .. })]), "{marks:?}");
    model.tick(9000);
    assert!(asked(&mut model).is_empty(), "it is asked for already");
}

#[test]
fn a_damaged_message_is_said_and_hides_none_of_the_others() {
    let mut model = model();
    model.apply(0, entry(1, BOB, "one", 1));
    model.go_to(conversation());
    let (from_seq, to_seq, why) = (2, 2, SkipReason::Damaged);
    model.take_effects();
    model.apply(0, Event::Skipped { conversation: conversation(), from_seq, to_seq, why });
    model.apply(0, entry(3, BOB, "three", 3));
    let told = "! bob 2 to 2 are damaged and can't be read";
    assert_eq!(model.notices, [told]);
    let effects = model.take_effects();
    let news = effects.iter().filter_map(|effect| match effect {
        Effect::Tell(news) => Some(news.to_string()),
        _ => None,
    });
    assert_eq!(news.collect::<Vec<_>>(), [told, "< bob 3: three"]);
    let chat = &model.chats[&conversation()];
    let seqs: Vec<u64> = chat.lines.iter().map(|line| line.seq).collect();
    assert_eq!((seqs, chat.first_seq), (vec![1, 3], 1));
}

#[test]
fn what_is_said_after_the_end_of_the_session_waits_and_says_so() {
    let mut model = model();
    model.go_to(conversation());
    model.apply(0, Event::Status(Status::Stopped(Stop::LoggedOut)));
    model.enter("hello");
    assert_eq!(model.notices, ["this waits until you are logged in again: /login"]);
}

#[test]
fn older_messages_are_asked_for_once_at_the_top() {
    let mut model = model();
    let skipped = Event::Skipped {
        conversation: conversation(),
        from_seq: 1,
        to_seq: 9,
        why: SkipReason::Backlog,
    };
    model.apply(0, skipped);
    model.apply(0, entry(10, BOB, "ten", 1));
    model.go_to(conversation());
    model.take_effects();
    model.scroll(5, true);
    model.scroll(5, true);
    let mut history = asked(&mut model);
    assert_eq!(history.len(), 1);
    let (purpose, Request::History(request)) = history.remove(0) else { panic!() };
    assert_eq!((request.from_seq, request.backwards), (9, true));
    model.asked(Ticket(1), purpose);
    let older = |event| match event {
        Event::Entry { entry, .. } => entry,
        other => panic!("{other:?}"),
    };
    let entries = vec![older(entry(9, BOB, "nine", 1)), older(entry(8, ME, "eight", 1))];
    let page = wire::HistoryPage { entries, ..wire::HistoryPage::default() };
    model.apply(0, Event::Completed { ticket: Ticket(1), result: Ok(Response::Page(page)) });
    let chat = &model.chats[&conversation()];
    let texts: Vec<&str> = chat.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["eight", "nine", "ten"]);
    assert_eq!(chat.first_seq, 8);
}

#[test]
fn a_damaged_message_does_not_hide_the_older_ones() {
    let mut model = model();
    let skipped = Event::Skipped {
        conversation: conversation(),
        from_seq: 1,
        to_seq: 9,
        why: SkipReason::Backlog,
    };
    model.apply(0, skipped);
    model.go_to(conversation());
    let refused = |code: wire::ErrorCode| {
        Failure::Refused(wire::Error { code: code as i32, ..wire::Error::default() })
    };
    let mut ask = |failure| {
        model.take_effects();
        model.scroll(5, true);
        let (purpose, request) = asked(&mut model).remove(0);
        model.asked(Ticket(1), purpose);
        model.apply(0, Event::Completed { ticket: Ticket(1), result: Err(failure) });
        let Request::History(request) = request else { panic!("{request:?}") };
        (request.from_seq, model.notices.len())
    };
    assert_eq!(ask(refused(wire::ErrorCode::Overloaded)), (9, 1));
    assert_eq!(ask(refused(wire::ErrorCode::Overloaded)), (9, 1), "it is said once");
    assert_eq!(ask(refused(wire::ErrorCode::DataCorrupt)), (9, 2));
    assert_eq!(ask(refused(wire::ErrorCode::DataCorrupt)), (8, 3));
    assert_eq!(model.chats[&conversation()].first_seq, 8);
}

#[test]
fn passwords_are_prompted_for_and_checked_twice() {
    let mut model = model();
    model.enter("/password");
    for line in ["old secret", "/new secret", "/other secret"] {
        assert!(model.prompt.is_some());
        model.enter(line);
    }
    assert!(asked(&mut model).is_empty());
    assert_eq!(model.notices.len(), 1, "they differ");
    model.enter("/password");
    for line in ["old secret", "/new secret", "/new secret"] {
        model.enter(line);
    }
    let changes = asked(&mut model);
    let [(_, Request::ChangePassword { old, new })] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((old.as_str(), new.as_str()), ("old secret", "/new secret"));
    model.enter("/login");
    model.enter("");
    assert!(model.prompt.is_none(), "an empty line leaves");
}

#[test]
fn the_status_says_when_and_why() {
    let mut model = model();
    let lost = Lost::Network("connection refused".into());
    model.apply(0, Event::Status(Status::Waiting { until_ms: 2500, lost }));
    assert_eq!(model.status_line(1000), "reconnecting in 2 s: connection refused");
    model.apply(0, Event::Status(Status::Stopped(Stop::WrongCredentials)));
    assert!(model.status_line(0).contains("password is wrong"));
    model.enter("/login");
    model.enter("correct horse");
    let effects = model.take_effects();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::LogIn(_))));
}

#[test]
fn typing_is_said_seldom_and_believed_for_a_while() {
    let mut model = model();
    model.go_to(conversation());
    model.take_effects();
    let mut said = 0;
    for now_ms in (10_000..13_000).step_by(100) {
        model.press(now_ms, 'x');
        said += model.take_effects().len();
    }
    assert_eq!(said, 1);
    model.enter("said");
    model.take_effects();
    model.press(13_000, 'x');
    assert_eq!(model.take_effects().len(), 1, "a new message is a new typing");
    model.delete_line();
    model.press(20_000, '/');
    assert!(model.take_effects().is_empty(), "commands are nobody's business");
    let (sender, kind) = (user(BOB), "typing".to_owned());
    let payload = Default::default();
    model.apply(0, Event::Signal { conversation: conversation(), sender, kind, payload });
    assert!(model.chats[&conversation()].typing_until_ms > 0);
}

#[test]
fn lost_history_is_forgotten_and_names_are_asked_for() {
    let mut model = model();
    let carol = LogId::direct(user(ME), user(3));
    let Event::Entry { entry, .. } = entry(1, 3, "hi", 1) else { panic!() };
    let again = entry.clone();
    model.apply(0, Event::Entry { conversation: carol, entry });
    let names = asked(&mut model);
    let [(Purpose::Names, Request::FindUsers { users, .. })] = &names[..] else {
        panic!("{names:?}")
    };
    assert_eq!(users[..], [user(3)]);
    assert_eq!(model.name(3), "user 3");
    model.asked(Ticket(1), Purpose::Names);
    let named = wire::User { user_id: 3, username: "carol".into(), ..wire::User::default() };
    let result = Ok(Response::Users(vec![named]));
    model.apply(0, Event::Completed { ticket: Ticket(1), result });
    let effects = model.take_effects();
    let [Effect::Tell(news)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(news.to_string(), "< carol 1: hi");
    let entry_again = Event::Entry { conversation: carol, entry: again };
    model.apply(0, Event::ConversationLost { conversation: carol });
    assert!(model.chats[&carol].lines.is_empty());
    model.apply(0, entry_again);
    assert_eq!(model.chats[&carol].lines.len(), 1);
    model.take_effects();
    model.apply(0, Event::HistoryLost);
    assert!(model.chats[&carol].lines.is_empty());
    let told = "the server was put back to an earlier state of its history, which is read anew";
    assert_eq!(model.notices, [told]);
    let effects = model.take_effects();
    let is_told = |effect: &Effect| matches!(effect, Effect::Tell(News::Notice(it)) if it == told);
    assert!(effects.iter().any(is_told), "{effects:?}");
}

#[test]
fn sessions_that_read_alike_are_all_listed() {
    let sessions = |count: usize| {
        let mut model = model();
        model.asked(Ticket(1), Purpose::Sessions);
        let device = wire::Device { name: "laptop".into(), ..wire::Device::default() };
        let session = wire::SessionInfo { device: Some(device), ..wire::SessionInfo::default() };
        let result = Ok(Response::Sessions(vec![session; count]));
        model.apply(0, Event::Completed { ticket: Ticket(1), result });
        let told = model.take_effects().len();
        (told, model.notices)
    };
    let (told, notices) = sessions(3);
    assert_eq!((told, notices.len()), (3, 3));
    assert!(notices.iter().all(|notice| notice.starts_with("laptop ")), "{notices:?}");
    let (told, notices) = sessions(NOTICES_MAX + 1);
    assert_eq!((told, notices.len()), (NOTICES_MAX + 2, NOTICES_MAX));
    assert_eq!(notices.back().unwrap(), "these are the last of 21 sessions");
}

fn changes(model: &mut Model) -> Vec<Change> {
    let changes = asked(model).into_iter().filter_map(|(_, request)| match request {
        Request::UpdateConversation { change, .. } => Some(change),
        _ => None,
    });
    changes.collect()
}

/// What the server says of the conversation now.
fn is_now(model: &mut Model, change: impl FnOnce(&mut ConversationView)) {
    let Event::Conversation(mut now) = view(3, 1, 0) else { unreachable!() };
    change(&mut now);
    model.apply(0, Event::Conversation(now));
}

#[test]
fn a_request_is_remarked_and_read_in_private() {
    let mut model = model();
    model.apply(0, entry(3, BOB, "hello", 1));
    is_now(&mut model, |view| view.request = RequestState::Pending);
    assert_eq!(model.chats[&conversation()].remark(), " new 1");
    model.go_to(conversation());
    model.tick(1_000_000);
    let is_private = |request: &Request| matches!(request, Request::MarkRead { private: true, .. });
    assert!(asked(&mut model).iter().any(|(_, request)| is_private(request)));
    model.enter("/ignore");
    assert_eq!(changes(&mut model), [Change::Request(RequestState::Ignored.into())]);
    is_now(&mut model, |view| (view.request, view.unread) = (RequestState::Ignored, 0));
    assert_eq!(model.chats[&conversation()].remark(), " ignored");
}

#[test]
fn who_is_accepted_learns_what_was_read_before_and_learns_it_once() {
    let marks = |model: &mut Model, now_ms| {
        model.tick(now_ms);
        let marks = asked(model).into_iter().filter_map(|(_, request)| match request {
            Request::MarkRead { seq, private, .. } => Some((seq, private)),
            _ => None,
        });
        marks.collect::<Vec<_>>()
    };
    let mut model = model();
    model.apply(0, entry(3, BOB, "hello", 1));
    is_now(&mut model, |view| view.request = RequestState::Pending);
    model.go_to(conversation());
    assert_eq!(marks(&mut model, 10_000), [(3, true)]);
    // It was read to the end, and is none any more.
    let has_read = |view: &mut ConversationView| (view.read_seq, view.unread) = (3, 0);
    is_now(&mut model, |view| {
        has_read(view);
        view.request = RequestState::Pending;
    });
    assert_eq!(marks(&mut model, 20_000), []);
    is_now(&mut model, has_read);
    assert_eq!(marks(&mut model, 30_000), [(3, false)]);
    is_now(&mut model, has_read);
    assert_eq!(marks(&mut model, 40_000), []);
    // Who reads privately owes nothing.
    model.reads_privately = true;
    is_now(&mut model, |view| view.request = RequestState::Ignored);
    is_now(&mut model, has_read);
    assert_eq!(marks(&mut model, 70_000), []);
}

#[test]
fn who_is_ignored_is_not_seen_to_type() {
    let mut model = model();
    let types = |model: &mut Model| {
        let (sender, kind, payload) = (user(BOB), TYPING.to_owned(), Default::default());
        model.take_effects();
        model.apply(10, Event::Signal { conversation: conversation(), sender, kind, payload });
        let is_told = model.take_effects().iter().any(
            |effect| matches!(effect, Effect::Tell(news) if news.to_string() == "~ bob is typing"),
        );
        (is_told, model.chats[&conversation()].typing_until_ms > 10)
    };
    is_now(&mut model, |view| view.request = RequestState::Ignored);
    assert_eq!(types(&mut model), (false, false));
    is_now(&mut model, |view| view.request = RequestState::Pending);
    assert_eq!(types(&mut model), (true, true));
}

#[test]
fn what_is_hidden_cleared_or_marked_looks_like_that() {
    let mut model = model();
    for seq in 1..=3 {
        model.apply(0, entry(seq, BOB, "hello", seq as u8));
    }
    model.enter("/hide");
    assert_eq!(changes(&mut model), [], "there is none open");
    is_now(&mut model, |_| {});
    model.go_to(conversation());
    model.enter("/hide");
    assert_eq!(changes(&mut model), [Change::HideUpTo(u64::MAX)]);
    assert_eq!(model.open(), None);
    is_now(&mut model, |view| view.hidden_up_to = 3);
    assert_eq!(model.order(), []);
    is_now(&mut model, |view| (view.head, view.hidden_up_to) = (4, 3));
    assert_eq!(model.order(), [conversation()]);
    is_now(&mut model, |view| view.expired_below = 3);
    let seqs: Vec<_> = model.chats[&conversation()].lines.iter().map(|line| line.seq).collect();
    assert_eq!(seqs, [3]);
    is_now(&mut model, |view| (view.marked_unread, view.unread) = (true, 0));
    assert_eq!(model.chats[&conversation()].remark(), " •");
    model.go_to(conversation());
    assert_eq!(
        changes(&mut model),
        [Change::MarkedUnread(false)],
        "who opens it, comes back to it"
    );
}
