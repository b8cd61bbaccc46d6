//! Nobody reads or writes a conversation that they are not a member of, nor learns that it exists.

mod support;

use dunlin_protocol::LogId;
use dunlin_protocol::wire::{ErrorCode, LogPosition, Sync, frame::Body};
use support::messages::{history, mark_read, message, typing};
use support::{Client, Node};

/// Everything that names a conversation, of a stranger.
fn all_refused(mallory: &mut Client, log: LogId) {
    for body in [
        message(log, "1", "let me in"),
        history(log, 0),
        history(log, 1),
        mark_read(log, 1),
        typing(log),
    ] {
        let shown = format!("{body:?}");
        assert_eq!(mallory.refused_with(body), ErrorCode::NoSuchConversation, "{shown}");
    }
}

#[test]
fn neither_that_of_two_others_nor_anybody_elses_log() {
    let node = Node::start();
    let (mut ada, mut bob) = (node.user("ada"), node.user("bob"));
    let log = ada.with(&bob);
    assert!(matches!(ada.request(message(log, "1", "a secret")), Body::Sent(_)));
    for mut mallory in [node.user("mallory"), node.user_over_tls("trudy")] {
        let exists = log;
        let does_not = LogId::direct(ada.user.unwrap(), ada.user.unwrap());
        all_refused(&mut mallory, exists);
        all_refused(&mut mallory, does_not);
        let group = history(LogId::group([7; 14]), 0);
        assert_eq!(mallory.refused_with(group), ErrorCode::NoSuchConversation);
        // What the server keeps for itself has no name that a client could say, one's own neither.
        for user in [ada.user.unwrap(), mallory.user.unwrap()] {
            for log in [LogId::account(user), LogId::identity(user)] {
                for body in [history(log, 0), message(log, "1", "x"), mark_read(log, 1)] {
                    assert_eq!(mallory.refused_with(body), ErrorCode::InvalidArgument);
                }
            }
        }
    }
    // The two saw nothing of it.
    bob.wait_for(|frame| {
        let Some(Body::Push(push)) = &frame.body else { return None };
        let seq = push.entry.as_ref()?.seq;
        (push.conversation_id == log.to_wire()).then(|| assert_eq!(seq, 1))
    });
    assert!(matches!(ada.request(history(log, 0)), Body::HistoryPage(page) if page.head == 1));
    drop((ada, bob));
    node.settle();
}

#[test]
fn a_sync_that_names_it_gets_nothing_of_it() {
    let node = Node::start();
    let (mut ada, bob) = (node.user("ada"), node.user("bob"));
    let log = ada.with(&bob);
    ada.request(message(log, "1", "a secret"));
    let mut mallory = node.user("mallory");
    let position = LogPosition { conversation_id: log.to_wire(), ..LogPosition::default() };
    let sync = Sync { positions: vec![position], ..Sync::default() };
    match mallory.request(Body::Sync(sync)) {
        Body::Synced(synced) => assert!(synced.conversations.is_empty(), "{synced:?}"),
        Body::Error(error) => assert_eq!(error.code(), ErrorCode::NoSuchConversation),
        other => panic!("{other:?}"),
    }
    mallory.heartbeat();
    drop((ada, bob, mallory));
    node.settle();
}
