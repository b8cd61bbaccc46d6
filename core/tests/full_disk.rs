//! A disk that is full, or that fails to sync: no message is acknowledged, reading goes on, and
//! writing resumes by itself when the cause is gone.

mod engine_support;
mod simulated_disk;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dunlin_core::store::embedded::{EmbeddedConfig, EmbeddedStore};
use dunlin_protocol::wire::{ErrorCode, frame::Body};
use dunlin_protocol::{LogId, UserId};
use engine_support::{Client, Server, send, text_of};
use simulated_disk::{Faults, SeededRandom, SimulatedDisk};

/// More than fit into the segments that were allocated while there was room.
const MESSAGES_MAX: u8 = 200;

fn server_on(disk: &SimulatedDisk) -> Server<EmbeddedStore> {
    let config = EmbeddedConfig {
        segment_bytes: 16 * 1024,
        retry_interval: Duration::ZERO,
        ..EmbeddedConfig::default()
    };
    let random = SeededRandom::new(1);
    let store = EmbeddedStore::open_on(Arc::new(disk.clone()), config, &random).unwrap();
    Server::over(store, 2)
}

/// Ends a server as a power cut does, and starts the next one on what is left.
fn restart(
    server: Server<EmbeddedStore>,
    disk: &SimulatedDisk,
) -> (Server<EmbeddedStore>, SimulatedDisk) {
    disk.cut_power_after(0);
    server.engine.stop();
    drop(server.store);
    let disk = disk.after_power_cut();
    (server_on(&disk), disk)
}

fn text(id: u8) -> String {
    format!("{id} {}", "x".repeat(1000))
}

/// Sends messages until one is refused; returns its id.
fn send_until_refused(phone: &mut Client, to: UserId, from: u8) -> u8 {
    let log = phone.with(to);
    for id in from..MESSAGES_MAX {
        match phone.ask(send(log, id, &text(id))) {
            Body::Sent(sent) => assert_eq!(sent.seq, u64::from(id)),
            Body::Error(error) => {
                assert_eq!(error.code(), ErrorCode::StoreUnavailable);
                return id;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("all messages were stored on a disk that has no room for them");
}

/// Sends a message again until it is stored.
fn send_until_stored(phone: &mut Client, to: UserId, id: u8) -> u64 {
    let log = phone.with(to);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match phone.ask(send(log, id, &text(id))) {
            Body::Sent(sent) => return sent.seq,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
        thread::yield_now();
    }
}

fn assert_log(client: &mut Client, log: LogId, head: u8) {
    let page = client.history(log);
    assert_eq!(page.head, u64::from(head));
    let read: Vec<_> = page.entries.iter().map(|entry| text_of(entry).to_owned()).collect();
    assert_eq!(read, (1..=head).map(text).take(100).collect::<Vec<_>>()); // A page has 100.
}

fn nothing_is_acknowledged_until_the_cause_is_gone(faults: Faults) {
    let disk = SimulatedDisk::new(7);
    let mut server = server_on(&disk);
    let (ann, bob) = (server.account(1), server.account(2));
    let mut phone = server.live(ann);
    let mut tablet = server.live(bob);
    let log = LogId::direct(ann, bob);
    phone.send(bob, 1, &text(1));

    disk.set_faults(faults);
    let refused = send_until_refused(&mut phone, bob, 2);
    for id in [refused, refused, refused + 1] {
        let code = phone.refused(send(log, id, &text(id)));
        assert_eq!(code, ErrorCode::StoreUnavailable);
    }
    // Others read what is there, and nothing of what is not.
    assert_log(&mut tablet, log, refused - 1);
    assert_log(&mut phone, log, refused - 1);
    let synced = server.client(bob).sync(Default::default());
    assert_eq!(synced.conversations[0].head, u64::from(refused - 1));

    disk.set_faults(Faults::default());
    for id in refused..refused + 20 {
        assert_eq!(send_until_stored(&mut phone, bob, id), u64::from(id));
    }
    assert_log(&mut tablet, log, refused + 19);

    let (mut server, _disk) = restart(server, &disk);
    assert_log(&mut server.live(ann), log, refused + 19);
    server.engine.stop();
}

#[test]
fn a_full_disk_stops_writing_only() {
    nothing_is_acknowledged_until_the_cause_is_gone(Faults { reserve: 100, ..Faults::default() });
}

#[test]
fn a_failed_sync_stops_writing_only() {
    nothing_is_acknowledged_until_the_cause_is_gone(Faults { sync: 100, ..Faults::default() });
}

#[test]
fn a_failed_write_stops_writing_only() {
    nothing_is_acknowledged_until_the_cause_is_gone(Faults { write: 100, ..Faults::default() });
}
