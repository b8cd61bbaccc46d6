//! `dunlin consumer`, and what `dunlin status` says of consumers.

use std::sync::mpsc;

use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_core::store::feed::{ConsumerName, FeedFrom};
use dunlin_core::store::question::{Question, ask};
use dunlin_core::store::{ConsumerChange, FeedRange};

use crate::program::{PATIENCE, Place};

fn answer<Q: Question>(store: &EmbeddedStore, question: Q) -> Q::Answer
where
    Q::Answer: Send,
{
    let (sender, receiver) = mpsc::channel();
    ask(store, question, move |answer| sender.send(answer).unwrap());
    receiver.recv_timeout(PATIENCE).unwrap().unwrap()
}

#[test]
fn a_consumer_that_never_comes_back_is_listed_and_removed() {
    let place = Place::new();
    place.add("ada", "pass word 1").done();
    {
        let config = EmbeddedConfig { segment_bytes: 4 * 1024 * 1024, ..EmbeddedConfig::default() };
        let store = EmbeddedStore::open(&place.data().join("store"), config).unwrap();
        let range = FeedRange { from: FeedFrom::Beginning, items_max: 0, bytes_max: 0 };
        let position = answer(&store, range).position;
        for name in ["push", "search"] {
            let (name, position) = (ConsumerName::new(name).unwrap(), position.clone());
            answer(&store, ConsumerChange::Passed { name, position });
        }
    }
    let listed = place.run(&["consumer", "list"]).done();
    assert!(listed.starts_with("push ") && listed.contains("\nsearch "), "{listed}");
    assert!(listed.lines().all(|line| !line.contains(" 0 bytes")), "{listed}");

    // The same while a server runs, which says it in its status too.
    let server = place.serve();
    assert!(place.run(&["status", "--over", "0"]).done().contains("push, "));
    place.run(&["consumer", "remove", "nobody"]).refused("there is no consumer nobody");
    place.run(&["consumer", "remove", "No Name"]).refused("the name of a consumer");
    place.run(&["consumer", "remove", "push"]).done();
    let listed = place.run(&["consumer", "list"]).done();
    assert!(listed.starts_with("search ") && listed.lines().count() == 1, "{listed}");
    server.end();
    place.run(&["consumer", "remove", "search"]).done();
    let listed = place.run(&["consumer", "list"]);
    assert!(listed.error.contains("no consumers"), "{listed:?}");
    assert_eq!(listed.done(), "");
}
