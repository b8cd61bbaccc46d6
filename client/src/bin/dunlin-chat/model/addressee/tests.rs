use dunlin_client::machine::{Event, Failure, Request, Response, Ticket};
use dunlin_protocol::wire::User;

use super::super::tests::{BOB, ME, asked, bob, conversation, model, user};
use super::*;

const CAROL: u64 = 3;

fn carols() -> LogId {
    LogId::direct(user(ME), user(CAROL))
}

fn carol() -> User {
    User {
        user_id: CAROL,
        username: "carol".into(),
        conversation_id: carols().to_wire(),
        ..User::default()
    }
}

fn type_in(model: &mut Model, text: &str) {
    text.chars().for_each(|character| model.press(0, character));
}

fn enter(model: &mut Model, text: &str) {
    type_in(model, text);
    model.press_enter();
}

/// The look-up that `/to` has begun.
fn look_up(model: &mut Model) -> Purpose {
    let mut questions = asked(model);
    let (purpose, request) = questions.remove(0);
    assert!(questions.is_empty() && matches!(request, Request::FindUsers { .. }));
    purpose
}

fn answer(model: &mut Model, purpose: Purpose, result: Result<Response, Failure>) {
    model.asked(Ticket(7), purpose);
    model.apply(0, Event::Completed { ticket: Ticket(7), result });
}

fn found(user: User) -> Result<Response, Failure> {
    Ok(Response::Users(vec![user]))
}

/// What was said since the last call, and to whom.
fn said(model: &mut Model) -> Vec<(LogId, String)> {
    let said = model.take_effects().into_iter().filter_map(|effect| match effect {
        Effect::Say(to, text) => Some((to, text)),
        _ => None,
    });
    said.collect()
}

#[test]
fn a_name_that_is_not_found_leaves_nobody_open() {
    for result in
        [Ok(Response::Users(Vec::new())), Err(Failure::NotLoggedIn), found(User::default())]
    {
        let mut model = model();
        model.go_to(conversation());
        enter(&mut model, "/to nobody-here");
        assert_eq!(model.open(), None, "it is closed at once");
        let purpose = look_up(&mut model);
        answer(&mut model, purpose, result);
        assert_eq!(model.open(), None);
        enter(&mut model, "not for bob");
        assert_eq!(said(&mut model), []);
        assert_eq!(model.input().text(), "not for bob", "it is not lost");
        assert_eq!(model.unsaid, 1);
    }
}

#[test]
fn a_text_for_nobody_makes_way_for_the_command_that_opens_somebody() {
    let mut model = model();
    enter(&mut model, "hello");
    assert_eq!(said(&mut model), []);
    assert_eq!(model.input().text(), "hello", "it is not lost");
    enter(&mut model, "/to bob");
    let purpose = look_up(&mut model);
    answer(&mut model, purpose, found(bob()));
    assert_eq!((model.open(), model.input().text()), (Some(conversation()), ""));
    model.bring_back();
    model.press_enter();
    assert_eq!(said(&mut model), [(conversation(), "hello".into())]);

    // What was changed since is no text that was entered.
    model.go_to_nobody();
    enter(&mut model, "and");
    type_in(&mut model, "/or");
    assert_eq!(model.input().text(), "/or");
    model.delete_line();
    enter(&mut model, "and");
    type_in(&mut model, " ");
    type_in(&mut model, "/or");
    assert_eq!(model.input().text(), "and /or");
}

#[test]
fn while_a_name_is_looked_up_nothing_is_said() {
    let mut model = model();
    model.go_to(conversation());
    enter(&mut model, "/to carol");
    let purpose = look_up(&mut model);
    enter(&mut model, "for carol");
    assert_eq!(said(&mut model), []);
    type_in(&mut model, "!");
    answer(&mut model, purpose, found(carol()));
    assert_eq!(model.open(), Some(carols()));
    model.press_enter();
    assert_eq!(said(&mut model), [(carols(), "for carol!".into())]);
}

#[test]
fn a_late_answer_opens_nothing() {
    let mut model = model();
    model.go_to(conversation());
    enter(&mut model, "/to carol");
    let first = look_up(&mut model);
    type_in(&mut model, "for carol");
    model.walk(true);
    assert_eq!(model.open(), Some(conversation()));
    type_in(&mut model, "for bob");
    answer(&mut model, first, found(carol()));
    assert_eq!(model.open(), Some(conversation()), "it was closed by the user");
    model.press_enter();
    assert_eq!(said(&mut model), [(conversation(), "for bob".into())]);

    enter(&mut model, "/to carol");
    let second = look_up(&mut model);
    enter(&mut model, "/to bob");
    let third = look_up(&mut model);
    answer(&mut model, second, Ok(Response::Users(Vec::new())));
    assert!(model.is_seeking(), "the other one is still looked up");
    answer(&mut model, third, found(bob()));
    assert_eq!(model.open(), Some(conversation()));
}

#[test]
fn each_conversation_has_a_line_of_its_own() {
    let mut model = model();
    model.go_to(carols());
    model.go_to(conversation());
    type_in(&mut model, "for bob");
    model.go_to(carols());
    assert_eq!(model.input().text(), "");
    model.press_enter();
    assert_eq!(said(&mut model), [], "bob's draft is not carol's");
    type_in(&mut model, "for carol");
    model.walk(true);
    model.walk(false);
    let texts = [conversation(), carols()].map(|id| model.chats[&id].draft.text().to_owned());
    assert_eq!(texts, ["for bob", "for carol"]);
    for to in [conversation(), carols()] {
        model.go_to(to);
        model.press_enter();
    }
    let expected = [(conversation(), "for bob".into()), (carols(), "for carol".into())];
    assert_eq!(said(&mut model), expected);
}

#[test]
fn one_key_goes_round_all_conversations() {
    let mut model = model();
    model.walk_around();
    assert_eq!(model.open(), None, "there is none");
    model.go_to(carols());
    model.walk_around();
    assert_eq!(model.open(), Some(carols()), "there is no other");
    model.go_to(conversation());
    let order = model.order();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.extend(model.open());
        model.walk_around();
    }
    assert!(seen[0] != seen[1] && seen[..2] == seen[2..], "{seen:?} of {order:?}");
}

#[test]
fn what_was_typed_for_nobody_is_found_again_and_carried_by_hand() {
    let mut model = model();
    model.go_to(conversation());
    enter(&mut model, "/to carl");
    let purpose = look_up(&mut model);
    type_in(&mut model, "hello carol");
    answer(&mut model, purpose, Ok(Response::Users(Vec::new())));
    model.walk(true);
    assert_eq!(model.input().text(), "", "it is not bob's");
    model.walk(false);
    assert_eq!((model.open(), model.input().text()), (None, "hello carol"));
    model.delete_line();
    enter(&mut model, "/to carol");
    let purpose = look_up(&mut model);
    answer(&mut model, purpose, found(carol()));
    model.bring_back();
    model.press_enter();
    assert_eq!(said(&mut model), [(carols(), "hello carol".into())]);
}

#[test]
fn a_secret_never_becomes_a_message() {
    let mut model = model();
    model.go_to(conversation());
    type_in(&mut model, "a draft");
    model.delete_line();
    enter(&mut model, "/login");
    type_in(&mut model, "correct ");
    // A login of before succeeds in the middle of it.
    let session = dunlin_protocol::SessionId::new(9).unwrap();
    model.apply(0, Event::LoggedIn { user: user(ME), username: "alice".into(), session });
    type_in(&mut model, "horse");
    model.delete_line();
    model.bring_back();
    assert_eq!(model.input().text(), "", "neither is brought to the other");
    type_in(&mut model, "correct horse");
    model.cancel();
    assert_eq!(model.input().text(), "");
    model.press_enter();
    model.bring_back();
    assert_eq!(model.input().text(), "a draft");
    assert_eq!(said(&mut model), []);
}

#[test]
fn escape_deletes_nothing_that_was_typed() {
    let mut model = model();
    model.go_to(conversation());
    type_in(&mut model, "a draft");
    model.notice("something".into());
    model.cancel();
    assert!(model.notices.is_empty());
    assert_eq!(model.input().text(), "a draft");
}

#[test]
fn another_account_of_the_name_talks_to_nobody() {
    let mut model = model();
    model.go_to(conversation());
    type_in(&mut model, "for bob");
    let session = dunlin_protocol::SessionId::new(9).unwrap();
    model.apply(0, Event::LoggedIn { user: user(9), username: "alice".into(), session });
    assert_eq!(model.open(), None);
    model.walk(true);
    assert_eq!(model.input().text(), "for bob", "it can be read");
    model.press_enter();
    assert_eq!(said(&mut model), [], "and not be said");
}

#[test]
fn what_is_pasted_comes_whole_or_not_at_all() {
    let mut model = model();
    model.go_to(conversation());
    type_in(&mut model, "before ");
    model.paste(0, &"x".repeat(200_000));
    assert_eq!(model.input().text(), "before ");
    assert!(model.notices[0].contains("no room for 200000 bytes"), "{:?}", model.notices);
    model.paste(0, "two\r\nlines\tand");
    model.press_enter();
    let expected = [(conversation(), "before two\nlines and".into())];
    assert_eq!(said(&mut model), expected);
    model.paste(0, "/etc/hosts:\nis no command");
    model.press_enter();
    assert_eq!(said(&mut model), []);
    assert_eq!(model.input().text(), "/etc/hosts:\nis no command", "nor is it lost");
    model.delete_line();
    enter(&mut model, "/login");
    model.paste(0, "correct horse\n");
    model.press_enter();
    let secret = model.take_effects().into_iter().find_map(|effect| match effect {
        Effect::LogIn(credentials) => credentials.password,
        _ => None,
    });
    assert_eq!(secret.unwrap().password, "correct horse");
    assert_eq!(model.name(BOB), "bob");
}
