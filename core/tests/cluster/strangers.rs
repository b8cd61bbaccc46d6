//! Requests of strangers that are decided on another node than the one that keeps the conversation.

use bytes::Bytes;
use dunlin_core::request::{AccountRequest, MembershipChange};
use dunlin_protocol::wire::{self, RequestState, frame::Body};
use dunlin_protocol::{LogId, UserId};

use super::engine_support::Client;
use super::nodes::Nodes;

/// Says something new.
fn say(client: &mut Client, to: UserId, number: u64) -> u64 {
    let id = [[0; 8], number.to_be_bytes()].concat();
    let send = wire::Send {
        conversation_id: client.with(to).to_wire(),
        client_message_id: Bytes::from(id),
        ..wire::Send::default()
    };
    match client.ask(send.try_into().unwrap()) {
        Body::Sent(sent) => sent.seq,
        other => panic!("{other:?}"),
    }
}

fn decide(client: &mut Client, conversation: LogId, request: RequestState) {
    let change = MembershipChange::Request(request);
    match client.ask(AccountRequest::UpdateConversation { conversation, change }.into()) {
        Body::Membership(membership) => assert_eq!(membership.request(), request),
        other => panic!("{other:?}"),
    }
}

/// Which entry of a conversation was pushed first, of all that a device was told.
fn first_pushed(told: &[Body], log: LogId) -> Option<u64> {
    told.iter().find_map(|body| match body {
        Body::Push(push) if push.conversation_id == log.to_wire() => {
            push.entry.as_ref().map(|entry| entry.seq)
        }
        _ => None,
    })
}

#[test]
fn what_is_ignored_on_one_node_is_pushed_by_no_other_for_long_and_is_told_again_when_it_is_accepted()
 {
    let mut nodes = Nodes::start(2);
    let ann = nodes.account(1);
    let (bob, carol) = (nodes.friend_with_home(ann, 1), nodes.account(3));
    let (mut anns, mut bobs) = (nodes.live(1, ann), nodes.live(0, bob));
    let (mut carols, tablet) = (nodes.live(1, carol), nodes.live(1, bob));
    let log = LogId::direct(ann, bob);
    say(&mut anns, bob, 1);
    assert_eq!((bobs.pushed(log).seq, tablet.pushed(log).seq), (1, 1));
    decide(&mut bobs, log, RequestState::Ignored);
    // Once the home has asked again, what is said by others comes, and nothing of it.
    let others = LogId::direct(carol, bob);
    let mut number = 1;
    loop {
        number += 1;
        say(&mut anns, bob, number);
        say(&mut carols, bob, number);
        tablet.pushed(others);
        let told = nodes.servers[1].inbox.drain(tablet.conn);
        if first_pushed(&told, log).is_none() {
            break;
        }
    }
    let head = say(&mut anns, bob, number + 1);
    decide(&mut bobs, log, RequestState::None);
    assert_eq!((bobs.told_behind_in(log), tablet.told_behind_in(log)), (head, head));
    // The home asks again as long as something is said, and then it is as if nothing had been.
    loop {
        number += 2;
        let seq = say(&mut anns, bob, number);
        say(&mut carols, bob, number);
        tablet.pushed(others);
        let told = nodes.servers[1].inbox.drain(tablet.conn);
        if first_pushed(&told, log) == Some(seq) {
            break;
        }
    }
    nodes.stop();
}
