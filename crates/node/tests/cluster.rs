//! Whole nodes in an ensemble: what clients are told holds, whoever leads, and all trees become the same.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod world;

use wire::{ErrorCode, OpCode, SessionId};
use world::World;
use world::client::Client;

fn for_seeds(count: u64, run: impl Fn(u64)) {
    let one = std::env::var("OSTLER_SEED").ok().and_then(|seed| seed.parse().ok());
    let range = one.map_or(0..count, |seed: u64| seed..seed + 1);
    for seed in range {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        assert!(failed.is_ok(), "OSTLER_SEED={seed}");
    }
}

fn started(seed: u64, clients: usize) -> World {
    let mut world = World::new(seed);
    for s in 0..4 {
        world.start(s);
    }
    world.until("all serve", |world| (0..4).all(|s| world.is_serving(s)));
    world.clients = (0..clients).map(|c| Client::new(&format!("c{c}"))).collect();
    world
}

/// No faults any more: all come together, and everything that was acknowledged is everywhere.
fn finish(world: &mut World) {
    for s in 0..4 {
        if world.servers[s].process.is_none() {
            world.start(s);
        }
    }
    world.clients.iter_mut().for_each(|client| client.rests = true);
    let knows = |client: &Client| client.is_connected || client.session == SessionId(0);
    world.until("all are quiet", |world| world.is_quiet() && world.clients.iter().all(knows));
    let dump = world.dump(0);
    for s in 1..4 {
        assert_eq!(world.dump(s), dump, "server {s}");
    }
    let process = world.servers[0].process.as_ref().unwrap();
    let tree = process.shared.tree.read();
    for client in &world.clients {
        for path in &client.created {
            assert!(tree.get(path).is_some(), "{path} was acknowledged");
        }
        if client.session != SessionId(0) && client.expired == 0 {
            for path in &client.ephemerals {
                assert!(tree.get(path).is_some(), "{path} was acknowledged, and its session lives");
            }
        }
    }
}

#[test]
fn clients_of_every_kind_of_server_write_and_read() {
    for_seeds(5, |seed| {
        let mut world = started(seed, 4);
        for c in 0..4 {
            world.connect(c, c);
        }
        world.run(20_000);
        finish(&mut world);
        for client in &world.clients {
            assert!(client.created.len() > 5, "{client:?}");
            assert_eq!((&client.errors[..], client.expired), (&[][..], 0));
        }
    });
}

#[test]
fn leaders_are_killed_and_nothing_acknowledged_is_lost() {
    for_seeds(10, |seed| {
        let mut world = started(seed, 5);
        for _ in 0..4 {
            let steps = 2000 + world.rng.below(10_000);
            world.run(steps);
            let victim = match world.leader() {
                Some(leader) if world.rng.chance(70) => leader,
                _ => world.rng.below(4),
            };
            world.kill(victim);
            let steps = world.rng.below(20_000);
            world.run(steps);
            world.start(victim);
        }
        finish(&mut world);
        let created: usize = world.clients.iter().map(|client| client.created.len()).sum();
        assert!(created > 20, "{created}");
    });
}

#[test]
fn who_was_away_for_long_gets_the_log_or_a_snapshot() {
    for_seeds(6, |seed| {
        let mut world = World::new(seed);
        world.committed_log_txns = 5;
        world.snap_count = if seed % 2 == 0 { 30 } else { 100_000 };
        for s in 0..4 {
            world.start(s);
        }
        world.until("all serve", |world| (0..4).all(|s| world.is_serving(s)));
        world.clients = (0..4).map(|c| Client::new(&format!("c{c}"))).collect();
        world.kill(3);
        let follower = (0..3).find(|&s| Some(s) != world.leader()).unwrap();
        world.run(2000);
        world.kill(follower);
        world.run(40_000);
        finish(&mut world);
    });
}

#[test]
fn a_session_that_its_client_closes_takes_its_ephemerals_along() {
    for_seeds(5, |seed| {
        let mut world = started(seed, 3);
        world.clients.iter_mut().for_each(|client| client.rests = true);
        for c in 0..3 {
            // An observer, a follower or leader, another one.
            world.connect(c, 3 - c);
            world.until("connected", |world| world.clients[c].is_connected);
            let session = world.clients[c].session;
            assert_eq!(session.0 >> 56, world.servers[3 - c].id.0, "the server's id is in its sessions'");
            world.create(c, &format!("/e-{c}"), 1);
            world.until("created", |world| world.clients[c].is_idle());
        }
        assert!(world.clients.iter().all(|client| client.ephemerals.len() == 1));
        for c in 0..3 {
            world.close_session(c);
        }
        world.until("closed", |world| world.clients.iter().all(|client| client.place.is_none()));
        world.until("the same", World::is_quiet);
        let dump = world.dump(0);
        assert!((1..4).all(|s| world.dump(s) == dump));
        assert!(!dump.iter().any(|line| line.contains("/e-")), "{dump:?}");
    });
}

#[test]
fn a_session_goes_on_at_another_server_and_expires_at_none() {
    for_seeds(5, |seed| {
        let mut world = started(seed, 2);
        world.clients.iter_mut().for_each(|client| client.rests = true);
        world.connect(0, 3);
        world.until("connected", |world| world.clients[0].is_connected);
        let session = world.clients[0].session;
        world.create(0, "/e-moves", 1);
        world.until("created", |world| world.clients[0].is_idle());
        for s in 0..4 {
            world.connect(0, s);
            world.until("connected again", |world| world.clients[0].is_connected);
            assert_eq!(world.clients[0].session, session);
            world.create(0, &format!("/at-{s}"), 0);
            world.until("created", |world| world.clients[0].is_idle());
            assert_eq!(world.clients[0].errors, []);
        }
        // Pings keep it alive, through a learner, for ten times its timeout.
        let until_us = world.now.mono_us + 40_000_000;
        world.until("time goes by", |world| world.now.mono_us > until_us);
        assert_eq!((world.clients[0].expired, world.clients[0].session), (0, session));
        world.until("the same", World::is_quiet);
        assert!(world.dump(1).iter().any(|line| line.contains("/e-moves")));
        // Silence ends it, everywhere.
        world.clients[0].place = None;
        world.clients[0].is_connected = false;
        world.clients.clear();
        world.until("it is over", |world| (0..4).all(|s| !world.dump(s).iter().any(|it| it.contains("/e-moves"))));
    });
}

#[test]
fn a_connection_outlives_the_leader() {
    for_seeds(5, |seed| {
        let mut world = started(seed, 1);
        world.clients[0].rests = true;
        let leader = world.leader().unwrap();
        let s = (0..3).find(|&s| s != leader).unwrap();
        world.connect(0, s);
        world.until("connected", |world| world.clients[0].is_connected);
        let place = world.clients[0].place;
        world.kill(leader);
        world.until("another leads", |world| world.leader().is_some() && world.is_serving(s));
        world.create(0, "/behind", 0);
        world.until("created", |world| world.clients[0].is_idle());
        assert_eq!(world.clients[0].place, place, "it was never closed");
        assert_eq!((world.clients[0].created.len(), &world.clients[0].errors[..]), (1, &[][..]));
    });
}

#[test]
fn a_refused_write_is_refused_the_same_way_everywhere() {
    let mut world = started(1, 2);
    world.clients.iter_mut().for_each(|client| client.rests = true);
    for c in 0..2 {
        world.connect(c, [3, world.leader().unwrap()][c]);
        world.until("connected", |world| world.clients[c].is_connected);
        world.create(c, "/missing/child", 0);
        world.until("refused", |world| world.clients[c].is_idle());
        assert_eq!(world.clients[c].errors, [(OpCode::Create, ErrorCode::NO_NODE)]);
    }
}
