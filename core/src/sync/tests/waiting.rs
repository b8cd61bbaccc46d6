//! Syncs of a worker, of which one of a connection runs at a time.

use super::*;

/// The accounts that were asked for.
fn listed(stage: &mut Stage) -> Vec<LogId> {
    let asked = stage.asked();
    asked
        .iter()
        .map(|request| match request {
            StoreRequest::Registers(ranges) => ranges[0].log,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// Room for the answer of a user.
fn claim(id: u64) -> Claim {
    let mut room = Room::new(1 << 20);
    let Client { user, conn, .. } = client(id);
    room.want(user, conn, Wanted { least: 1, most: 1 }, ());
    room.next().unwrap().1
}

/// Takes a sync that is the first of its connection.
fn take_first(syncs: &mut Syncs, id: u64, stage: &mut Stage) -> SyncId {
    match syncs.take(client(id), from_nothing(), &mut stage.turn()) {
        Taken::Waits(sync) => sync,
        other @ (Taken::Behind | Taken::Refused) => panic!("{other:?}"),
    }
}

#[test]
fn one_of_a_connection_runs_at_a_time_and_its_end_begins_the_next() {
    let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
    let first = take_first(&mut syncs, 1, &mut stage);
    for _ in 0..3 {
        let taken = syncs.take(client(1), from_nothing(), &mut stage.turn());
        assert_eq!(taken, Taken::Behind);
    }
    let other = take_first(&mut syncs, 2, &mut stage);
    assert_eq!(listed(&mut stage), [], "there is no room yet");
    syncs.begin(first, claim(1), &mut stage.turn());
    syncs.begin(other, claim(2), &mut stage.turn());
    let both = [1, 2].map(|id| LogId::account(client(id).user));
    assert_eq!(listed(&mut stage), both);
    let refused = syncs.registers_read(first, Err(STORE_UNAVAILABLE), &mut stage.turn());
    let Progress::Ended { next: Some(_), synced: false, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(syncs.behind(), 2);
    syncs.forget_behind(client(1).conn);
    assert_eq!((syncs.behind(), syncs.taken.len()), (0, 2));
}

#[test]
fn what_waits_may_name_so_many_conversations() {
    let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
    let position = |id| Position { seq: 1, ..at(chat(id)) };
    let positions: Vec<_> = (2..10_002).map(position).collect();
    let large = || SyncFrom { positions: positions.clone(), ..from_nothing() };
    let taken: Vec<_> = (1..1000)
        .map(|id| syncs.take(client(id), large(), &mut stage.turn()))
        .take_while(|taken| *taken != Taken::Refused)
        .collect();
    assert!((20..100).contains(&taken.len()), "{}", taken.len());
    assert!(syncs.positions_bytes <= SYNC_POSITIONS_BYTES_MAX);
    // Who names few is heard all the same, once.
    let few = syncs.take(client(5000), from_nothing(), &mut stage.turn());
    assert!(matches!(few, Taken::Waits(_)));
    for taken in taken {
        let Taken::Waits(sync) = taken else { panic!("{taken:?}") };
        syncs.forget(sync);
    }
    let left: usize = syncs.taken.values().map(|sync| sync.positions_bytes()).sum();
    assert_eq!(syncs.positions_bytes, left);
}

#[test]
fn one_that_was_refused_hears_the_rest_of_its_answers_in_vain() {
    let (mut syncs, mut stage) = (Syncs::default(), Stage::new());
    let id = take_first(&mut syncs, 1, &mut stage);
    syncs.begin(id, claim(1), &mut stage.turn());
    let refused = syncs.registers_read(id, Err(STORE_UNAVAILABLE), &mut stage.turn());
    assert!(matches!(refused, Progress::Ended { synced: false, .. }));
    let late = syncs.details_read(id, Ok(Vec::new()), &mut stage.turn());
    assert!(matches!(late, Progress::Waits));
    // One that goes on with a token asks since two moments, and one of the answers may be refused.
    let moment = |byte| Moment::from_bytes(&[byte]);
    let listing = token::Listing {
        settings_version: 0,
        version: 0,
        now: moment(2).unwrap(),
        told: None,
        forget: false,
    };
    let token = Token { version: 0, since: moment(1), listing: Some(listing) };
    let token = token.encode(client(2).user, 1);
    let from = SyncFrom { epoch: 1, token: token[..].into(), ..from_nothing() };
    let taken = syncs.take(client(2), from, &mut stage.turn());
    let Taken::Waits(id) = taken else { panic!("{taken:?}") };
    syncs.begin(id, claim(2), &mut stage.turn());
    for _ in 0..2 {
        let page = Ok(Registers::default());
        let waits = syncs.registers_read(id, page, &mut stage.turn());
        assert!(matches!(waits, Progress::Waits));
    }
    let asked = stage.asked();
    let asked = &asked[asked.len() - 2..];
    assert!(asked.iter().all(|request| matches!(request, StoreRequest::Changed { .. })));
    let failed = Err(STORE_UNAVAILABLE);
    let refused = syncs.changed_known(id, Since::LastAnswer, failed, &mut stage.turn());
    assert!(matches!(refused, Progress::Ended { synced: false, .. }));
    let late = syncs.changed_known(id, Since::Everything, failed_again(), &mut stage.turn());
    assert!(matches!(late, Progress::Waits));
}

fn failed_again() -> Answer<ChangedLogs> {
    Err(STORE_UNAVAILABLE)
}
