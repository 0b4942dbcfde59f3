//! Observers that stand still delay no commit, and catch up when they go on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::net::SocketAddr;

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::raw::Connection;
use ostler_conformance::script::{create, path, watch};
use rustix::process::Signal;

const VOTERS: [u8; 3] = [1, 2, 3];
/// Ours and Apache's.
const OBSERVERS: [u8; 2] = [4, 5];
/// Together 36 MB: far more than the sockets between two servers hold.
const TXNS: u8 = 40;
const BYTES: usize = 900_000;

fn at(ensemble: &Ensemble, id: u8) -> SocketAddr {
    ensemble.member(id).unwrap().client
}

/// Does the process stand still?
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.trim_start().starts_with('T')
}

fn caught_up(ensemble: &Ensemble, id: u8, name: &str) {
    let reads = || -> Option<i32> {
        let (mut it, _) = Connection::session(at(ensemble, id)).ok()?;
        it.call(1, 9, &path(name)).ok()?;
        Some(it.call(2, 3, &watch(name, false)).ok()?.err)
    };
    ensemble.until(&format!("server {id} has {name}"), || reads() == Some(0)).unwrap();
}

#[test]
fn observers_that_stand_still_delay_no_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), 3, 2, false).unwrap().cfg("tickTime=500");
    for id in VOTERS.into_iter().chain([4]) {
        ensemble.start_as(id, Kind::Ostler).unwrap();
    }
    ensemble.start_as(5, Kind::Apache).unwrap();
    for id in VOTERS.into_iter().chain(OBSERVERS) {
        ensemble.serving(id).unwrap();
    }
    // They are of the ensemble.
    let (mut session, _) = Connection::session(at(&ensemble, 1)).unwrap();
    assert_eq!(session.call(1, 1, &create("/before", b"", 0)).unwrap().err, 0);
    for id in OBSERVERS {
        assert_eq!(ensemble.mode(id), "observer", "server {id}");
        caught_up(&ensemble, id, "/before");
    }

    let pids = OBSERVERS.map(|id| ensemble.pid(id).unwrap());
    for id in OBSERVERS {
        ensemble.signal(id, Signal::STOP).unwrap();
    }
    ensemble.until("both stand still", || pids.into_iter().all(is_stopped)).unwrap();
    for n in 0..TXNS {
        let reply = session.call(i32::from(n) + 2, 1, &create(&format!("/while-{n}"), &vec![n; BYTES], 0)).unwrap();
        assert_eq!(reply.err, 0, "write {n}");
    }
    assert!(pids.into_iter().all(is_stopped), "all of it was acknowledged while they stood still");

    for id in OBSERVERS {
        ensemble.signal(id, Signal::CONT).unwrap();
    }
    for id in OBSERVERS {
        caught_up(&ensemble, id, &format!("/while-{}", TXNS - 1));
        assert_eq!(ensemble.pid(id).unwrap(), pids[usize::from(id) - 4], "it is the same process");
        assert_eq!(ensemble.mode(id), "observer", "server {id}");
    }
}
