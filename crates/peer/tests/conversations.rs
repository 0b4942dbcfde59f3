//! Random pipelined conversations of several clients, in every chunking and interleaving that a seed draws, against a
//! sequential model. `OSTLER_SEEDS=1000` runs more of them, `OSTLER_SEED=7` one.

extern crate tree as ostler_tree;

mod support;

use ostler_peer::StepLimits;
use ostler_peer::shard::RequestThrottle;
use support::check::check;
use support::talk::{connect, random_read, random_write};
use support::world::{Options, World, for_seeds};
use wire::{OpCode, SessionId, Zxid};

fn start(world: &mut World, clients: usize) {
    for i in 0..clients {
        let shard = world.rng.below(world.options.shards);
        let client = world.open(shard);
        world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
        if i == 0 {
            world.login(client, "u:p");
        }
    }
}

/// The clients speak by turns, with pauses of random length in between.
fn talk(world: &mut World, requests: usize) {
    for xid in 1..=requests as i32 {
        let client = world.rng.below(world.clients.len());
        let relative = Zxid(world.rng.below(xid as usize + 1) as i64);
        let (op, body) =
            if world.rng.chance(45) { random_write(&mut world.rng) } else { random_read(&mut world.rng, relative) };
        world.request(client, xid, op, &body);
        if world.rng.chance(30) {
            for _ in 0..world.rng.below(60) {
                world.step();
            }
        }
    }
}

/// Steps as they are, or so small that every list takes several.
fn steps(seed: u64) -> StepLimits {
    if seed.is_multiple_of(2) {
        return StepLimits::default();
    }
    let (work, at_once) = ([1, 60, 300][seed as usize % 3], 1 + seed as usize % 4);
    StepLimits { entries_max: seed as usize / 2 % 2, work, at_once, restarts_max: u32::MAX }
}

fn options(seed: u64) -> Options {
    Options {
        shards: 1 + seed as usize % 3,
        extended_types: seed.is_multiple_of(4),
        close_session_paths: !seed.is_multiple_of(5),
        chunk_max: [3, 40, 300, 5000][seed as usize % 4],
        steps: steps(seed),
        ..Options::default()
    }
}

#[test]
fn everybody_is_answered_as_the_model_says() {
    for_seeds(150, |seed| {
        let mut world = World::new(seed, options(seed));
        start(&mut world, 1 + seed as usize % 5);
        talk(&mut world, 120);
        if seed.is_multiple_of(3) {
            let client = world.rng.below(world.clients.len());
            world.request(client, 1000, OpCode::CloseSession, &[]);
            world.request(client, 1001, OpCode::Ping, &[]);
        }
        world.settle();
        check(&world);
    });
}

/// Limits so small that everything waits for something: still everybody is answered, and rightly.
#[test]
fn tiny_limits_delay_and_never_deadlock() {
    for_seeds(100, |seed| {
        let tiny = Options {
            in_flight_max: seed as usize % 3,
            in_flight_bytes_max: [1, 30, 200][seed as usize % 3],
            out_pause: [0, 1, 100][seed as usize / 3 % 3],
            throttle: RequestThrottle {
                requests_max: [None, Some(1), Some(3)][seed as usize / 9 % 3],
                ..Default::default()
            },
            ..options(seed)
        };
        let mut world = World::new(seed, tiny);
        start(&mut world, 3);
        talk(&mut world, 100);
        world.settle();
        check(&world);
    });
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed| {
        let mut world = World::new(seed, options(seed));
        start(&mut world, 3);
        talk(&mut world, 60);
        world.settle();
        world.outputs()
    };
    for_seeds(30, |seed| assert_eq!(run(seed), run(seed)));
}

/// A world that is forked in the midst of everything goes on the same on both sides.
#[test]
fn forks_go_on_the_same() {
    for_seeds(40, |seed| {
        let mut world = World::new(seed, options(seed));
        start(&mut world, 3);
        talk(&mut world, 40);
        let mut fork = world.fork();
        for world in [&mut world, &mut fork] {
            talk_on(world);
        }
        assert_eq!(world.outputs(), fork.outputs());
        check(&world);
        check(&fork);
    });
}

fn talk_on(world: &mut World) {
    for xid in 1000..1040 {
        let client = world.rng.below(world.clients.len());
        let (op, body) = random_write(&mut world.rng);
        world.request(client, xid, op, &body);
        let (op, body) = random_read(&mut world.rng, Zxid(3));
        world.request(client, xid + 1000, op, &body);
        for _ in 0..world.rng.below(30) {
            world.step();
        }
    }
    world.settle();
}

/// As many shards as there may be, so that each bit of interest is in use.
#[test]
fn the_most_shards_lose_nothing() {
    for_seeds(60, |seed| {
        let shards = ostler_peer::shared::SHARDS_MAX;
        let mut world = World::new(seed, Options { shards, ..options(seed) });
        for shard in [0, shards / 2, shards - 1] {
            let client = world.open(shard);
            world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
        }
        talk(&mut world, 150);
        world.settle();
        check(&world);
    });
}

/// Nonsense on one connection, whole frames and torn ones, harms nobody else.
#[test]
fn nonsense_harms_nobody_else() {
    for_seeds(300, |seed| {
        let mut world = World::new(seed, Options { frame_max: 2000, ..options(seed) });
        start(&mut world, 1);
        for _ in 0..3 {
            let shard = world.rng.below(world.options.shards);
            let noisy = world.open(shard);
            if world.rng.chance(80) {
                world.write(noisy, &connect(SessionId(0), Zxid(0), 10_000));
            }
            for xid in 0..10 {
                let (op, mut body) = if world.rng.chance(50) {
                    random_write(&mut world.rng)
                } else {
                    random_read(&mut world.rng, Zxid(0))
                };
                for _ in 0..world.rng.below(4) {
                    let (at, byte) = (world.rng.below(body.len() + 1), world.rng.below(256) as u8);
                    if world.rng.chance(50) {
                        body.insert(at, byte);
                    } else if at < body.len() {
                        body[at] = byte;
                    }
                }
                let mut frame = vec![0, 0, 0, 0, 0, 0, 0, xid];
                frame.extend_from_slice(&op.code().to_be_bytes());
                frame.extend_from_slice(&body);
                let length = (frame.len() as i32 - 4).to_be_bytes();
                frame[..4].copy_from_slice(&length);
                if world.rng.chance(5) {
                    frame.truncate(world.rng.below(frame.len()));
                }
                world.write(noisy, &frame);
            }
        }
        world.request(0, 1, OpCode::Create, &support::talk::create("/quiet", b"", wire::AclVec::OPEN, 0));
        world.request(0, 2, OpCode::Ping, &[]);
        world.settle();
        assert_eq!(world.frames(0).len(), 1 + 3, "login, create, ping are answered");
        assert_eq!(world.shared.pipeline_stats.digest_mismatches.get(), 0);
        assert_eq!(world.shared.in_flight_bytes.load(std::sync::atomic::Ordering::Relaxed), 0);
    });
}
