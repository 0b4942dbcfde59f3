//! A few cells of the matrix of faults; all of them: `cargo xtask soak --ensemble`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and tell what it counted")]

use ostler_conformance::ensemble::Kind;
use ostler_conformance::links::Join;
use ostler_conformance::matrix::{Cell, Fault, HEADER, Role};

fn play(leader: Kind, role: Role, join: Option<Join>, fault: Fault) {
    let cell = Cell { leader, role, join, fault };
    let dir = tempfile::tempdir().unwrap().keep();
    // What a failure leaves is needed to understand it.
    let counts = cell.play(&dir, 7).unwrap();
    println!("{:<32} {HEADER}\n{:<32} {counts}", "", cell.to_string());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn ours_is_killed_and_told_to_forget() {
    play(Kind::Apache, Role::Follower, Some(Join::Trunc), Fault::Kill);
}

#[test]
fn ours_observes_and_is_stopped() {
    play(Kind::Apache, Role::Observer, Some(Join::Diff), Fault::Stop);
}

#[test]
fn apaches_is_cut_off_and_gets_a_snapshot() {
    play(Kind::Ostler, Role::Follower, Some(Join::Snap), Fault::Partition);
}

#[test]
fn apaches_loses_its_disk() {
    play(Kind::Ostler, Role::Observer, Some(Join::Snap), Fault::Wipe);
}

#[test]
fn our_leader_is_cut_off() {
    play(Kind::Ostler, Role::Leader, None, Fault::Partition);
}
