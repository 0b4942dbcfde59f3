//! One of ours elects together with two of Apache's.

use ostler_conformance::ensemble::Ensemble;
use wire::election::ServerState;
use wire::{ServerId, Zxid};
use zab::election::Proposal;

use super::driver::Elector;

fn ensemble(dir: &std::path::Path) -> Ensemble {
    Ensemble::new(dir, 3, 0, false).unwrap().cfg("tickTime=1000").cfg("preAllocSize=16")
}

/// Ours: the empty history that a new server of Apache's has.
fn ours(ensemble: &Ensemble, id: u8, quiet_to: Option<ServerId>) -> Elector {
    let config = ensemble.lines(id).join("\n") + "\nversion=0";
    let offer = Proposal { leader: ServerId(i64::from(id)), zxid: Zxid(0), peer_epoch: 0 };
    Elector::start(i64::from(id), &config, ensemble.member(id).unwrap().election, offer, quiet_to)
}

fn decided_for(elector: &Elector, leader: i64, state: ServerState) -> bool {
    elector.decision().is_some_and(|it| it.leader == ServerId(leader) && it.state == state)
}

#[test]
fn our_vote_makes_a_leader_and_our_answer_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = ensemble(dir.path());
    // Its vote of the first round, which would count for 3 as well, never gets there.
    let one = ours(&ensemble, 1, Some(ServerId(3)));
    ensemble.start(2).unwrap();
    ensemble.until("we follow 2", || decided_for(&one, 2, ServerState::Following)).unwrap();
    ensemble.until("2 leads, by our vote", || ensemble.log_contains(2, "LEADING - LEADER ELECTION TOOK")).unwrap();
    // 3 has the largest id. That it joins 2 nevertheless needs a second voice beside 2's own: ours.
    ensemble.start(3).unwrap();
    ensemble.until("3 follows", || ensemble.log_contains(3, "FOLLOWING - LEADER ELECTION TOOK")).unwrap();
    ensemble.serving(3).unwrap();
    let answered = one.seen.lock().unwrap().answered.clone();
    assert!(answered.contains(&(ServerId(3), ServerState::Following)), "{answered:?}");
    assert_eq!(one.seen.lock().unwrap().decisions.len(), 1);
}

#[test]
fn we_find_the_leader_of_an_ensemble_that_is_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = ensemble(dir.path());
    ensemble.start(1).unwrap();
    ensemble.start(2).unwrap();
    ensemble.serving(2).unwrap();
    // The largest id and the oldest history of all: it has no right to lead.
    let three = ours(&ensemble, 3, None);
    ensemble.until("we follow 2", || decided_for(&three, 2, ServerState::Following)).unwrap();
    ensemble.serving(1).unwrap();
    // A server that comes back is told by us, too.
    ensemble.kill(1).unwrap();
    ensemble.start(1).unwrap();
    let told = || three.seen.lock().unwrap().answered.contains(&(ServerId(1), ServerState::Following));
    ensemble.until("we answered 1", told).unwrap();
}

#[test]
fn together_we_elect_the_one_with_the_largest_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = ensemble(dir.path());
    ensemble.start(2).unwrap();
    ensemble.until("2 looks", || ensemble.log_contains(2, "New election. My id = 2")).unwrap();
    let three = ours(&ensemble, 3, None);
    ensemble.until("we lead", || decided_for(&three, 3, ServerState::Leading)).unwrap();
    ensemble.until("2 follows us", || ensemble.log_contains(2, "FOLLOWING - LEADER ELECTION TOOK")).unwrap();
}
