//! Two participants and an oracle (`oraclePath`), Apache's, ours, and one of each.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::process::Command;

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::ostler::binary;
use ostler_conformance::raw::Connection;
use ostler_conformance::script::create;

const CREATE: i32 = 1;

/// A write through this server, as soon as it takes one.
fn writes(ensemble: &Ensemble, id: u8, path: &str) {
    ensemble.serving(id).unwrap();
    let at = ensemble.member(id).unwrap().client;
    let goes = || {
        Connection::session(at).and_then(|(mut client, _)| client.call(1, CREATE, &create(path, b"", 0))).is_ok_and(
            |it| {
                // -110: the write before it was done, and its answer was lost.
                it.err == 0 || it.err == -110
            },
        )
    };
    ensemble.until(&format!("{path} through {id}"), goes).unwrap();
}

#[test]
fn one_of_two_goes_on_where_the_oracle_lets_it() {
    let kinds = [(Kind::Apache, Kind::Apache), (Kind::Ostler, Kind::Ostler), (Kind::Apache, Kind::Ostler)];
    for (first, second) in kinds {
        let dir = tempfile::tempdir().unwrap();
        let oracle = dir.path().join("oracle");
        std::fs::write(&oracle, "0").unwrap();
        let line = format!("oraclePath={}", oracle.display());
        let mut ensemble = Ensemble::new(dir.path(), 2, 0, false).unwrap().cfg("tickTime=500").cfg(&line);
        ensemble.start_as(1, first).unwrap();
        ensemble.start_as(2, second).unwrap();
        writes(&ensemble, 1, "/together");
        // The one that is left may not.
        ensemble.kill(1).unwrap();
        ensemble.until("it has no quorum", || ensemble.mode(2).is_empty()).unwrap();
        // And may.
        std::fs::write(&oracle, "1").unwrap();
        writes(&ensemble, 2, "/alone");
        assert_eq!(ensemble.mode(2), "leader", "{first:?} {second:?}");
        // It serves, and there is no quorum all the same.
        let both = [1, 2].map(|id| ensemble.member(id).unwrap().client.to_string()).join(",");
        let status = Command::new(binary().unwrap()).args(["status", &both]).output().unwrap();
        let text = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.status.code() == Some(1) && text.contains("not healthy: 1 of 2 participants serve"), "{text}");
        // The other one comes back, and has what it missed.
        ensemble.start_as(1, first).unwrap();
        writes(&ensemble, 1, "/together-again");
        assert_eq!(ensemble.mode(1), "follower", "{first:?} {second:?}");
        ensemble.kill(1).unwrap();
        writes(&ensemble, 2, "/alone-again");
        std::fs::write(&oracle, "0").unwrap();
        ensemble.until("it has no quorum any more", || ensemble.mode(2).is_empty()).unwrap();
    }
}
