//! Ensembles whose configuration changes: voters come and go while links are cut and servers crash; the checks of the other
//! worlds hold at each step, and a world that is left in peace comes to one history that all serve.
//!
//! `OSTLER_ZAB_SEEDS` says how many, `OSTLER_ZAB_SEED` from which on; `OSTLER_ZAB_TRACE` prints each step.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it tells what it found; a test may panic")]

mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use ostler_zab::reconfig::configuration_in;
use ostler_zab::{Defect, QuorumVerifier, State};
use wire::ServerId;
use world::run::run_reconfig;
use world::{Action, Random, World};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

/// The configurations that are committed, one after another.
fn configurations(world: &World) -> Vec<QuorumVerifier> {
    let options = &world.servers.values().next().unwrap().options;
    world.truth.committed.iter().filter_map(|it| configuration_in(it, options)).collect()
}

#[test]
fn random_reconfigs_keep_what_is_promised() {
    let (from, count) = (number("OSTLER_ZAB_SEED", 1), number("OSTLER_ZAB_SEEDS", 600));
    let (mut epochs, mut txns, mut reconfigs) = (0, 0, 0);
    for seed in from..from + count {
        match run_reconfig(seed, |_| ()) {
            Ok(world) => {
                epochs += world.truth.established.len();
                txns += world.truth.committed.len();
                reconfigs += configurations(&world).len();
            }
            Err(what) => panic!("seed {seed}: {what}"),
        }
    }
    println!("{count} ensembles, {epochs} established epochs, {txns} committed txns, {reconfigs} reconfigs");
    assert!(count < 100 || reconfigs as u64 > count, "not much happens in these worlds");
}

fn heal(world: &mut World) -> ServerId {
    assert!(world.heal(&mut Random(7)).unwrap(), "it does not heal");
    world.ids().into_iter().find(|&it| world.server(it).state() == Some(State::Leading)).unwrap()
}

fn ids(of: &[i64]) -> Vec<ServerId> {
    of.iter().copied().map(ServerId).collect()
}

#[test]
fn an_ensemble_moves_to_other_servers_and_its_leader_goes_with_it() {
    let mut world = World::with_reconfig(3, 3, |_| ());
    let first = heal(&mut world);
    assert!(world.may_reconfig(first, &ids(&[4, 5, 6])), "they follow already");
    world.apply(&Action::Reconfig(first, ids(&[4, 5, 6])), None).unwrap();
    assert!(!world.may_reconfig(first, &ids(&[1, 2, 3])), "one at a time");
    let second = heal(&mut world);
    assert!(ids(&[4, 5, 6]).contains(&second), "{second} leads");
    assert_eq!(configurations(&world).last().unwrap().voters().collect::<Vec<_>>(), ids(&[4, 5, 6]));
    // Nobody needs the old ones.
    for id in ids(&[1, 2, 3]) {
        world.apply(&Action::Crash(id, 0), None).unwrap();
        assert_eq!(world.server(second).state(), Some(State::Leading));
    }
    heal(&mut world);
}

#[test]
fn without_a_quorum_of_the_next_there_is_no_reconfig() {
    let mut world = World::with_reconfig(3, 1, |_| ());
    let leader = heal(&mut world);
    assert!(!world.may_reconfig(leader, &ids(&[7, 8, 9])), "nobody knows them");
    assert!(!world.may_reconfig(leader, &[]));
    let mut off = World::with_reconfig(3, 1, |options| options.reconfig_enabled = false);
    let leader = heal(&mut off);
    assert!(!off.may_reconfig(leader, &ids(&[1, 2, 3])), "it is switched off");
}

const DEFECTS: &[Defect] = &[
    Defect::OldConfigurationAlone,
    Defect::OldConfigurationGoesOn,
    Defect::SeenConfigurationForgotten,
    Defect::LeaderIgnoresItsRemoval,
];

/// The most worlds that one defect may take.
const SEEDS_MAX: u64 = 20_000;

fn find(defect: Defect) -> Option<(u64, String)> {
    let run = |seed| run_reconfig(seed, |options| _ = options.defects.insert(defect));
    (1..SEEDS_MAX).find_map(|seed| match catch_unwind(AssertUnwindSafe(|| run(seed))) {
        Ok(Ok(_)) => None,
        Ok(Err(what)) => Some((seed, what)),
        Err(_) => Some((seed, "an assertion".to_owned())),
    })
}

#[test]
fn every_defect_of_reconfigs_is_found() {
    let found: Vec<_> = DEFECTS.iter().map(|&defect| (defect, find(defect))).collect();
    for (defect, it) in &found {
        println!("{defect:?}: {it:?}");
    }
    assert!(found.iter().all(|(_, it)| it.is_some()));
}
