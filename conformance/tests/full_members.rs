//! Members of an ensemble whose disks are really full: nobody ends, nobody leaves, clients are told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::Path;
use std::time::{Duration, Instant};

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::raw::Connection;
use ostler_conformance::script::{create, watch};
use ostler_conformance::small_disk::Small;

/// The limits that a leader has for its disk and its followers, in ms.
const TICK_MS: u64 = 500;
const SYNC_LIMIT_TICKS: u64 = 4;

const SYSTEM_ERROR: i32 = -1;

/// Three that serve, each on a file system of its own; none where this process may not mount.
fn start(dir: &Path) -> Option<(Ensemble, Vec<Small>)> {
    let mut ensemble = Ensemble::new(dir, 3, 0, false).unwrap();
    for line in
        [&format!("tickTime={TICK_MS}"), "initLimit=6", &format!("syncLimit={SYNC_LIMIT_TICKS}"), "preAllocSize=256"]
    {
        ensemble = ensemble.cfg(line);
    }
    let mut disks = Vec::new();
    for id in 1..=3 {
        disks.push(Small::mount(ensemble.data_dir(id), 8)?);
        ensemble.start_as(id, Kind::Ostler).unwrap();
    }
    for id in 1..=3 {
        ensemble.serving(id).unwrap();
    }
    Some((ensemble, disks))
}

fn leader(ensemble: &Ensemble) -> u8 {
    (1..=3).find(|&id| ensemble.mode(id) == "leader").expect("a leader")
}

fn session(ensemble: &Ensemble, id: u8) -> Connection {
    Connection::session(ensemble.member(id).unwrap().client).unwrap().0
}

fn write(client: &mut Connection, number: i32) -> i32 {
    client.call(number, 1, &create(&format!("/n{number}"), &[7; 1000], 0)).unwrap().err
}

#[test]
fn writes_through_followers_are_refused_where_the_leaders_log_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let Some((ensemble, disks)) = start(dir.path()) else { return };
    let leads = leader(&ensemble);
    let follows = leads % 3 + 1;
    let (mut client, mut own) = (session(&ensemble, follows), session(&ensemble, leads));
    let full = &disks[usize::from(leads) - 1];
    full.fill().unwrap();
    let first_refused = (1..3000).find(|&number| match write(&mut client, number) {
        0 => false,
        err => {
            assert_eq!(err, SYSTEM_ERROR);
            true
        }
    });
    let refused = first_refused.expect("3 MB were written where there were 0.5");
    // For longer than a leader waits for its own disk: it goes on, and so do reads and sessions at both.
    let until = Instant::now() + Duration::from_millis(TICK_MS * (SYNC_LIMIT_TICKS + 2));
    let mut number = refused;
    while Instant::now() < until {
        number += 1;
        for it in [&mut client, &mut own] {
            assert_eq!(write(it, number), SYSTEM_ERROR);
            assert_eq!(it.call(number, 3, &watch("/n1", false)).unwrap().err, 0);
        }
        let mut fresh = session(&ensemble, follows);
        assert_eq!(fresh.call(1, -11, &[]).unwrap().err, 0, "its end");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(leader(&ensemble), leads);
    // Room again.
    full.unload().unwrap();
    ensemble.until("a write is taken", || write(&mut session(&ensemble, follows), 1_000_000) != SYSTEM_ERROR).unwrap();
    for taken in 1..refused {
        assert_eq!(client.call(taken, 3, &watch(&format!("/n{taken}"), false)).unwrap().err, 0, "/n{taken} is gone");
    }
    let never = client.call(1, 3, &watch(&format!("/n{refused}"), false)).unwrap();
    assert_eq!(never.err, -101, "it was refused");
}

#[test]
fn a_member_without_room_for_an_epoch_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let Some((mut ensemble, disks)) = start(dir.path()) else { return };
    let leads = leader(&ensemble);
    let full = leads % 3 + 1;
    assert_eq!(write(&mut session(&ensemble, leads), 1), 0);
    let disk = &disks[usize::from(full) - 1];
    for _ in 0..10 {
        disk.fill().unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    ensemble.kill(leads).unwrap();
    let is_told = || {
        disk.fill().unwrap();
        ensemble.log_contains(full, "takes part in no new epoch")
    };
    ensemble.until("it says so", is_told).unwrap();
    // Long enough for the role to end, and for another one if it took part in any.
    std::thread::sleep(Duration::from_millis(TICK_MS * 8));
    assert!((1..=3).all(|id| ensemble.mode(id).is_empty()), "one of three is no quorum");
    disk.unload().unwrap();
    for id in (1..=3).filter(|&id| id != leads) {
        ensemble.serving(id).unwrap();
        let mut client = session(&ensemble, id);
        assert_eq!(client.call(1, 3, &watch("/n1", false)).unwrap().err, 0);
    }
    assert_eq!(write(&mut session(&ensemble, full), 2), 0);
}
