//! The bound for sessions: who would have one too many is closed, who has one goes on with it, and an end makes room.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use ostler_peer::LocalSessions;
use support::talk::connect;
use support::world::{Options, TICK_MS, World};
use wire::{OpCode, SessionId, Zxid};

const MAX: usize = 10;

fn world(options: Options) -> World {
    World::new(1, Options { sessions_max: MAX, ..options })
}

fn ask(world: &mut World, session: SessionId) -> usize {
    let client = world.open(world.clients.len() % 2);
    world.write(client, &connect(session, Zxid(0), 10_000));
    client
}

fn rejected(world: &World) -> u64 {
    world.shared.pipeline_stats.sessions_rejected.get()
}

#[test]
fn sessions_without_connections_count_until_their_time_is_up() {
    for local_sessions in [LocalSessions::Off, LocalSessions::On] {
        let mut world = world(Options { local_sessions, ..Options::default() });
        let mut ids = Vec::new();
        for _ in 0..MAX {
            let client = ask(&mut world, SessionId(0));
            world.settle();
            ids.push(world.session(client).expect("a session").0);
            world.hang_up(client);
        }
        world.settle();
        let proposed = world.pipeline.proposed();
        let late = ask(&mut world, SessionId(0));
        world.settle();
        assert!(world.clients[late].closed && world.clients[late].received.is_empty(), "closed without a word");
        assert_eq!((world.pipeline.session_count(), rejected(&world)), (MAX, 1));
        assert_eq!(world.pipeline.proposed(), proposed, "no txn for it");

        // Who has one comes back to it.
        let back = ask(&mut world, ids[0]);
        world.settle();
        assert_eq!(world.session(back).expect("it goes on").0, ids[0]);

        // One that ends makes room for one.
        world.request(back, 1, OpCode::CloseSession, &[]);
        world.settle();
        let next = ask(&mut world, SessionId(0));
        world.settle();
        assert!(!world.clients[next].closed && world.session(next).is_some());

        for _ in 0..10 {
            world.pass(TICK_MS);
            world.request(next, -2, OpCode::Ping, &[]);
            world.settle();
        }
        assert_eq!(world.pipeline.session_count(), 1, "the others ran out of time");
        let next = ask(&mut world, SessionId(0));
        world.settle();
        assert!(world.session(next).is_some());
        assert_eq!(rejected(&world), 1);
    }
}

/// All ask before the log has taken the first: none slips through, and those that are there count once.
#[test]
fn those_that_are_on_their_way_count() {
    let mut world = world(Options::default());
    world.holds_log = true;
    let clients: Vec<usize> = (0..2 * MAX).map(|_| ask(&mut world, SessionId(0))).collect();
    // The log holds them up.
    (0..3000).for_each(|_| world.step());
    assert_eq!(rejected(&world), MAX as u64);
    world.holds_log = false;
    world.settle();
    let with_session = clients.iter().filter(|&&client| world.session(client).is_some()).count();
    assert_eq!((with_session, world.pipeline.session_count()), (MAX, MAX));
}

/// More than the bound may have been there already: a server starts with them, and takes no new ones.
#[test]
fn what_a_start_finds_is_kept() {
    let restored = (1..=2 * MAX as i64).map(|id| (SessionId(id), 10_000)).collect();
    let mut world = world(Options { restored, ..Options::default() });
    assert_eq!(world.pipeline.session_count(), 2 * MAX);
    let client = ask(&mut world, SessionId(0));
    world.settle();
    assert!(world.clients[client].closed);
}
