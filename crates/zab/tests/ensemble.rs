//! Whole ensembles with real elections: election ports and quorum ports whose connections are late, cut and blocked one way,
//! disks that crash; the checks of the other worlds hold at each step, and a world that is left in peace comes to one
//! leader, one history, and serves.
//!
//! `OSTLER_ZAB_SEEDS` says how many, `OSTLER_ZAB_SEED` from which on; `OSTLER_ZAB_TRACE` prints each step.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it tells what it found; a test may panic")]

mod world;

use ostler_zab::State;
use wire::{Epoch, ServerId};
use world::run::run_ensemble;
use world::{Action, Random, World};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn random_ensembles_keep_what_is_promised() {
    let (from, count) = (number("OSTLER_ZAB_SEED", 1), number("OSTLER_ZAB_SEEDS", 1000));
    let (mut epochs, mut txns) = (0, 0);
    for seed in from..from + count {
        match run_ensemble(seed, |_| ()) {
            Ok(world) => {
                epochs += world.truth.established.len();
                txns += world.truth.committed.len();
                one_connection_a_pair(&world);
            }
            Err(what) => panic!("seed {seed}: {what}"),
        }
    }
    println!("{count} ensembles, {epochs} established epochs, {txns} committed txns");
    assert!(count < 100 || epochs as u64 > count && txns as u64 > 2 * count, "not much happens in these worlds");
}

#[test]
fn the_same_seed_is_the_same_ensemble() {
    for seed in 1..30 {
        assert_eq!(run_ensemble(seed, |_| ()), run_ensemble(seed, |_| ()), "seed {seed}");
    }
}

fn one_connection_a_pair(world: &World) {
    for a in world.ids() {
        for b in world.ids().into_iter().filter(|&b| b > a) {
            let count = world.links_between(a, b);
            assert!(count <= 1, "{a} and {b} have {count} connections");
        }
    }
}

/// In peace, until everybody serves one history; who leads.
fn heal(world: &mut World) -> ServerId {
    assert!(world.heal(&mut Random(7)).unwrap(), "it does not heal");
    world.ids().into_iter().find(|&it| world.server(it).state() == Some(State::Leading)).unwrap()
}

/// In peace, until there is nothing to be done but to wait, `waits` times; those who are down stay so.
fn go_on(world: &mut World, waits: usize) {
    go_on_without(world, waits, |_| false);
}

/// The same, while some of what would happen does not.
fn go_on_without(world: &mut World, waits: usize, hangs: impl Fn(&Action) -> bool) {
    let mut random = Random(3);
    let mut waited = 0;
    while waited < waits {
        let mut actions = world.progress();
        actions.retain(|it| !hangs(it));
        let action = if actions.is_empty() { Action::Wait } else { actions.swap_remove(random.below(actions.len())) };
        waited += usize::from(action == Action::Wait);
        world.apply(&action, None).unwrap();
    }
}

#[test]
fn a_lost_leader_is_replaced_and_follows_when_it_comes_back() {
    for (voters, observers) in [(3, 0), (3, 1), (5, 0), (5, 2)] {
        let mut world = World::with_elections(voters, observers, |_| ());
        let first = heal(&mut world);
        world.apply(&Action::Crash(first, 0), None).unwrap();
        go_on(&mut world, 400);
        let others = || world.ids().into_iter().filter(|&it| it != first);
        let second = others().find(|&it| world.server(it).state() == Some(State::Leading)).unwrap();
        assert!(others().all(|it| world.server(it).is_serving), "with {voters} and {observers}");
        assert_eq!(heal(&mut world), second, "who comes back finds a leader that is settled");
        assert_eq!(world.server(first).state(), Some(State::Following));
        assert_eq!(world.truth.established.len(), 2);
    }
}

/// A leader's disk hangs for long: the world then, that leader, and how many roles each of the others has had since, on average.
fn with_a_hanging_leader(voters: i64, observers: i64) -> (World, ServerId, u64) {
    let mut world = World::with_elections(voters, observers, |_| ());
    let first = heal(&mut world);
    let roles = |world: &World| -> u64 {
        let others = world.servers.iter().filter(|&(&id, _)| id != first);
        others.filter_map(|(_, it)| it.role).map(|it| it.0).sum()
    };
    let before = roles(&world);
    world.apply(&Action::Propose(first), None).unwrap();
    go_on_without(&mut world, 400, |it| *it == Action::LogStep(first));
    let roles = (roles(&world) - before) / (world.servers.len() as u64 - 1);
    (world, first, roles)
}

#[test]
fn a_leader_whose_disk_hangs_is_not_elected_again() {
    for (voters, observers) in [(3, 0), (5, 2)] {
        let (mut world, first, roles) = with_a_hanging_leader(voters, observers);
        let others = || world.ids().into_iter().filter(|&it| it != first);
        let second = others().find(|&it| world.server(it).state() == Some(State::Leading)).unwrap();
        assert!(others().all(|it| world.server(it).is_serving), "with {voters} and {observers}");
        assert_eq!(roles, 1, "each has followed nobody else in between");
        assert_eq!(world.server(first).state(), Some(State::Looking));
        assert_eq!(heal(&mut world), second, "who is done with its disk finds a leader that is settled");
        assert_eq!(world.server(first).state(), Some(State::Following));
        assert_eq!(world.truth.established.len(), 2);
    }
}

#[test]
fn a_follower_whose_disk_hangs_counts_for_no_leader() {
    let mut world = World::with_elections(3, 0, |_| ());
    let leader = heal(&mut world);
    let follower = world.ids().into_iter().find(|&it| it != leader).unwrap();
    world.apply(&Action::Propose(leader), None).unwrap();
    let hangs = |it: &Action| *it == Action::LogStep(follower);
    // Only then: by itself it would come back as soon as its disk does.
    go_on_without(&mut world, 100, hangs);
    assert_eq!(world.server(follower).state(), Some(State::Looking));
    assert!(world.ids().into_iter().all(|it| world.server(it).is_serving == (it != follower)));
    world.apply(&Action::Crash(leader, 0), None).unwrap();
    go_on_without(&mut world, 100, hangs);
    assert!(world.ids().into_iter().all(|it| !world.server(it).is_serving), "one of three is no quorum");
    heal(&mut world);
}

#[test]
fn without_a_quorum_nobody_leads() {
    let mut world = World::with_elections(3, 1, |_| ());
    heal(&mut world);
    for id in [2, 3] {
        world.apply(&Action::Crash(ServerId(id), 0), None).unwrap();
    }
    go_on(&mut world, 100);
    for id in [1, 4] {
        let server = world.server(ServerId(id));
        assert_eq!((server.state(), server.is_serving), (Some(State::Looking), false), "server {id}");
    }
    heal(&mut world);
}

#[test]
fn a_server_without_a_leader_serves_reads_after_a_while_and_stops_before_its_next_role() {
    let mut world = World::with_elections(3, 0, |options| options.read_only = options.me != ServerId(2));
    heal(&mut world);
    assert!(world.servers.values().all(|it| !it.is_read_only));
    world.apply(&Action::Crash(ServerId(3), 0), None).unwrap();
    world.apply(&Action::Crash(ServerId(2), 0), None).unwrap();
    let alone = |world: &World| world.server(ServerId(1)).state() == Some(State::Looking);
    while !alone(&world) {
        go_on(&mut world, 1);
    }
    let since_ms = world.now_ms;
    assert!(!world.server(ServerId(1)).is_read_only, "not at once");
    while !world.server(ServerId(1)).is_read_only {
        go_on(&mut world, 1);
    }
    assert!((1..=2000).contains(&(world.now_ms - since_ms)));
    heal(&mut world);
    assert!(world.servers.values().all(|it| !it.is_read_only));
    // Who must not, does not.
    for id in [1, 3] {
        world.apply(&Action::Crash(ServerId(id), 0), None).unwrap();
    }
    go_on(&mut world, 60);
    let server = world.server(ServerId(2));
    assert_eq!((server.state(), server.is_read_only), (Some(State::Looking), false));
}

#[test]
fn a_server_that_lost_its_state_serves_no_reads_before_it_has_synced() {
    let mut world = World::with_elections(3, 0, |options| options.read_only = true);
    heal(&mut world);
    for id in [2, 3] {
        world.apply(&Action::Crash(ServerId(id), 0), None).unwrap();
    }
    world.apply(&Action::Wipe(ServerId(1)), None).unwrap();
    world.apply(&Action::Restart(ServerId(1)), None).unwrap();
    go_on(&mut world, 60);
    let server = world.server(ServerId(1));
    assert_eq!((server.state(), server.is_read_only), (Some(State::Looking), false));
    heal(&mut world);
    assert!(world.servers.values().all(|it| it.is_serving && !it.is_read_only));
}

/// It accepted a later epoch from somebody who came to nothing, or comes from another ensemble.
#[test]
fn who_is_sent_away_again_and_again_asks_once_a_tick() {
    const TICKS: u64 = 20;
    let mut world = World::with_elections(3, 0, |_| ());
    let leader = heal(&mut world);
    let odd = world.ids().into_iter().find(|&it| it != leader).unwrap();
    world.apply(&Action::Crash(odd, 0), None).unwrap();
    world.servers.get_mut(&odd).unwrap().disk.accepted = Epoch(9);
    world.apply(&Action::Restart(odd), None).unwrap();
    let (mut random, since_ms) = (Random(3), world.now_ms);
    let until_ms = since_ms + TICKS * world.server(odd).options.tick_ms;
    let mut roles = 0;
    for _ in 0..20_000 {
        let mut actions = world.progress();
        let action = if actions.is_empty() { Action::Wait } else { actions.swap_remove(random.below(actions.len())) };
        world.apply(&action, None).unwrap();
        roles = world.server(odd).role.map_or(roles, |role| role.0);
        if world.now_ms >= until_ms {
            break;
        }
    }
    assert!(world.now_ms >= until_ms, "it does not come to rest");
    assert!((TICKS / 2..=TICKS + 5).contains(&roles), "{roles}");
    assert_eq!(world.server(leader).state(), Some(State::Leading));
    assert_eq!(world.truth.established.len(), 1);
}
