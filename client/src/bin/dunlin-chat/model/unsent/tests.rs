use dunlin_client::machine::{Event, Response, SkipReason, Status};
use dunlin_protocol::wire::{self, ErrorCode};

use super::super::tests::{BOB, ME, conversation, entry, model, user, view};
use super::*;

fn id(number: u8) -> ClientMessageId {
    ClientMessageId([number; 16])
}

fn kept(number: u8, text: &str) -> Kept {
    Kept {
        message_id: id(number),
        conversation: conversation(),
        sender: user(ME),
        peer: "bob".into(),
        text: text.into(),
    }
}

/// Alice before she is logged in, with messages of an earlier run.
fn restarted() -> Model {
    let mut model = Model::new("alice".into());
    model.restore([kept(1, "one"), kept(2, "two")].into_iter());
    model
}

fn log_in(model: &mut Model, number: u64) {
    let session = dunlin_protocol::SessionId::new(9).unwrap();
    let username = "alice".to_owned();
    model.apply(0, Event::LoggedIn { user: user(number), username, session });
    model.apply(0, Event::Status(Status::Online));
}

/// What is handed to the client, and what is taken out of the outbox.
fn sent_and_settled(model: &mut Model) -> (Vec<(ClientMessageId, String)>, Vec<ClientMessageId>) {
    let (mut sent, mut settled) = (Vec::new(), Vec::new());
    for effect in model.take_effects() {
        match effect {
            Effect::Send(to, message_id, text) => {
                assert_eq!(to, conversation());
                sent.push((message_id, text));
            }
            Effect::Settle(message_id) => settled.push(message_id),
            _ => {}
        }
    }
    (sent, settled)
}

fn complete(model: &mut Model, number: u8, result: Result<Response, Failure>) {
    let ticket = Ticket(u64::from(number));
    model.sending(conversation(), id(number), ticket);
    model.apply(0, Event::Completed { ticket, result });
}

#[test]
fn what_was_said_before_is_shown_at_once_and_sent_after_the_login() {
    let mut model = restarted();
    model.go_to(conversation());
    assert_eq!(model.name_of_chat(conversation()), "bob", "nobody was asked yet");
    assert_eq!((model.chats[&conversation()].unsent.len(), model.on_their_way()), (2, 2));
    model.said(conversation(), id(3), "three".into(), true);
    assert_eq!(sent_and_settled(&mut model).0, [], "whose client it is, is not known");
    log_in(&mut model, ME);
    let (sent, settled) = sent_and_settled(&mut model);
    let texts: Vec<&str> = sent.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!((texts.as_slice(), settled), (&["one", "two", "three"][..], vec![]));
    assert_eq!(sent[0].0, id(1), "by the id that it had");
    log_in(&mut model, ME);
    assert_eq!(sent_and_settled(&mut model).0, [], "the client sends them again by itself");
}

#[test]
fn an_answer_or_an_entry_settles_a_message_once() {
    let mut model = restarted();
    log_in(&mut model, ME);
    sent_and_settled(&mut model);
    // The server had the first one before: its entry comes with the sync, then the answer.
    model.apply(0, entry(1, ME, "one", 1));
    model.apply(0, view(1, 0, 0));
    assert_eq!(sent_and_settled(&mut model).1, [id(1)]);
    complete(&mut model, 1, Ok(Response::Sent { seq: 1, time_ms: 0 }));
    complete(&mut model, 2, Ok(Response::Sent { seq: 2, time_ms: 0 }));
    assert_eq!(model.on_their_way(), 0);
    assert!(!model.is_settled(), "it is not told yet");
    model.apply(0, entry(2, ME, "two", 2));
    assert!(model.is_settled());
    let chat = &model.chats[&conversation()];
    assert!(chat.unsent.is_empty());
    let texts: Vec<&str> = chat.lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["one", "two"]);
}

#[test]
fn a_message_whose_entry_was_skipped_does_not_stay() {
    let mut model = restarted();
    log_in(&mut model, ME);
    let skipped = Event::Skipped {
        conversation: conversation(),
        from_seq: 1,
        to_seq: 90,
        why: SkipReason::Backlog,
    };
    model.apply(0, skipped);
    model.apply(0, view(90, 0, 0));
    model.take_effects();
    complete(&mut model, 1, Ok(Response::Sent { seq: 5, time_ms: 0 }));
    let told = model.take_effects().into_iter().find_map(|effect| match effect {
        Effect::Tell(news) => Some(news.to_string()),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some("✓ bob 5: one"));
    assert_eq!(model.chats[&conversation()].unsent.len(), 1);
}

#[test]
fn only_what_can_never_be_stored_leaves_the_outbox() {
    let refused = |code: ErrorCode| {
        Failure::Refused(wire::Error { code: code as i32, ..wire::Error::default() })
    };
    let finals = [
        refused(ErrorCode::NoSuchConversation),
        refused(ErrorCode::PermissionDenied),
        Failure::TooLarge,
        Failure::OtherUser,
    ];
    for failure in finals {
        let mut model = restarted();
        log_in(&mut model, ME);
        sent_and_settled(&mut model);
        complete(&mut model, 1, Err(failure.clone()));
        assert_eq!(sent_and_settled(&mut model).1, [id(1)], "{failure}");
    }
    let others = [
        refused(ErrorCode::Internal),
        refused(ErrorCode::NotLoggedIn),
        refused(ErrorCode::TokenExpired),
        refused(ErrorCode::AccountDisabled),
        Failure::QueueFull,
        Failure::Closed,
    ];
    for failure in others {
        let mut model = restarted();
        log_in(&mut model, ME);
        sent_and_settled(&mut model);
        complete(&mut model, 1, Err(failure.clone()));
        assert_eq!(sent_and_settled(&mut model).1, [], "{failure}");
        assert_eq!(model.chats[&conversation()].unsent.len(), 2, "{failure}");
    }
}

#[test]
fn another_account_of_the_name_does_not_say_it() {
    let mut model = restarted();
    model.go_to(conversation());
    log_in(&mut model, 9);
    let (sent, settled) = sent_and_settled(&mut model);
    assert_eq!((sent, settled), (vec![], vec![id(1), id(2)]));
    assert_eq!((model.open(), model.on_their_way()), (None, 0));
    assert_eq!(model.chats[&conversation()].unsent.len(), 2, "it can be read");
    assert!(model.notices.back().unwrap().contains("another account"));
}

#[test]
fn what_is_kept_keeps_nobody_from_leaving() {
    let mut model = model();
    model.go_to(conversation());
    model.said(conversation(), id(1), "hello".into(), true);
    model.enter("/quit");
    assert!(model.take_effects().iter().any(|effect| matches!(effect, Effect::Quit)));
}

#[test]
fn what_is_on_its_way_is_bounded() {
    let mut model = model();
    model.go_to(conversation());
    let long = "x".repeat(BYTES_MAX);
    for number in 0..MESSAGES_BYTES_MAX / BYTES_MAX {
        assert_eq!(model.may_say(&long), Ok(conversation()), "{number}");
        model.said(conversation(), id(1), long.clone(), true);
    }
    assert!(model.may_say("x").unwrap_err().contains("too many"));
    assert!(model.may_say(&"x".repeat(BYTES_MAX + 1)).unwrap_err().contains("65536"));
    assert_eq!(model.to_keep(conversation(), id(4), "x"), Some(kept(4, "x")));
    assert_eq!(model.name(BOB), "bob");
}
