//! Members in network namespaces: their ensemble is reconfigured while the leader is cut off, or killed; with clients at work (all
//! of it: `cargo xtask soak --ensemble`). And members with two addresses, of which one is out of reach.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and tell what it counted")]

use std::io::Write;
use std::net::SocketAddr;

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::matrix::{Fault, HEADER};
use ostler_conformance::moving::Moving;
use ostler_conformance::netns::Lan;
use ostler_conformance::raw::Connection;
use ostler_conformance::script::{create, path, watch};

/// Where there can be no namespaces, nothing is played, and the summary of the tests says so.
fn is_possible() -> bool {
    let lan = Lan::start(&[1]);
    if let Err(why) = &lan {
        // Past the harness, which swallows what a test prints that passes.
        let mut out = std::io::stdout();
        writeln!(out, "\ncovered: no members in network namespaces: {why:#}").unwrap();
    }
    lan.is_ok()
}

fn play(leader: Kind, fault: Fault) {
    if !is_possible() {
        return;
    }
    let moving = Moving { leader, fault };
    let dir = tempfile::tempdir().unwrap().keep();
    // What a failure leaves is needed to understand it.
    let counts = moving.play(&dir, 7).unwrap();
    println!("{:<32} {HEADER}\n{:<32} {counts}", "", moving.to_string());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn our_leader_is_cut_off_while_the_members_change() {
    play(Kind::Ostler, Fault::Partition);
}

#[test]
fn apaches_leader_is_killed_while_the_members_change() {
    play(Kind::Apache, Fault::Kill);
}

/// Written through each of them, and there at each.
fn all_agree(ensemble: &Ensemble, round: &str) {
    let at = |id: u8| -> SocketAddr { ensemble.member(id).unwrap().client };
    for through in 1..=3 {
        let name = format!("/{round}-{through}");
        let written = || {
            let session = Connection::session(at(through));
            session
                .and_then(|(mut it, _)| it.call(1, 1, &create(&name, b"", 0)))
                .is_ok_and(|it| [0, -110].contains(&it.err))
        };
        ensemble.until(&format!("{name} is written"), written).unwrap();
        for id in 1..=3 {
            let has = || -> Option<bool> {
                let (mut it, _) = Connection::session(at(id)).ok()?;
                it.call(1, 9, &path(&name)).ok()?;
                Some(it.call(2, 3, &watch(&name, false)).ok()?.err == 0)
            };
            ensemble.until(&format!("server {id} has {name}"), || has() == Some(true)).unwrap();
        }
    }
}

#[test]
fn members_with_two_addresses_find_each_other_at_the_second_one() {
    if !is_possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble =
        Ensemble::in_namespaces(dir.path(), 3, 0).unwrap().doubled().cfg("tickTime=500").cfg("initLimit=20");
    for round in ["both", "second"] {
        for (id, kind) in [(1, Kind::Ostler), (2, Kind::Apache), (3, Kind::Ostler)] {
            ensemble.start_as(id, kind).unwrap();
        }
        for id in 1..=3 {
            ensemble.serving(id).unwrap();
        }
        all_agree(&ensemble, round);
        for id in 1..=3 {
            ensemble.kill(id).unwrap();
            // Nobody finds it there any more.
            ensemble.lan().unwrap().cut(id).unwrap();
        }
    }
}
