//! A log whose next file is still being made: who waits for it, in which order, and what becomes of them.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use std::sync::atomic::Ordering::Relaxed;

use ostler_peer::{LogAhead, LogRoom};
use support::talk::{answers, connect, create, creation, delete, joined, read};
use support::world::{Options, World};
use wire::acl::AclVec;
use wire::{ErrorCode, OpCode, SessionId, Zxid};

const NOTHING: LogAhead = LogAhead { bytes: 0, takes_next: false };
const FULL: LogRoom = LogRoom { bytes: 200_000, reserve: 200_000, is_stuck: false };

fn steps(world: &mut World) {
    for _ in 0..1000 {
        world.step();
    }
}

fn tell(world: &mut World, room: Option<LogRoom>, ahead: Option<LogAhead>) {
    world.pipeline.set_room(room);
    world.pipeline.set_ahead(ahead);
    let woken = world.pipeline.take_waiting(world.now, &world.shared);
    world.woken.extend(woken);
}

#[test]
fn writes_wait_in_their_order_and_nobody_else_does() {
    let mut world = World::new(1, Options::default());
    let (writer, _) = joined(&mut world, 0);
    let (reader, _) = joined(&mut world, 1);
    tell(&mut world, None, Some(NOTHING));
    world.request(writer, 1, OpCode::Create, &creation("/a"));
    world.request(writer, 2, OpCode::GetData, &read("/a", false));
    world.request(writer, 3, OpCode::Sync, &read("/a", false)[..6]);
    world.request(writer, 4, OpCode::Delete, &delete("/a", -1));
    world.request(reader, 1, OpCode::GetData, &read("/a", false));
    steps(&mut world);
    assert_eq!(answers(&world, writer), []);
    assert_eq!(answers(&world, reader), [(1, ErrorCode::NO_NODE)]);
    assert!(world.pipeline.waits_for_file() && !world.pipeline.is_idle());
    let (later, _) = joined_without_settling(&mut world);
    world.request(later, 1, OpCode::GetData, &read("/", false));
    steps(&mut world);
    assert_eq!(answers(&world, later), [(1, ErrorCode::OK)]);

    tell(&mut world, None, Some(LogAhead { bytes: 1 << 20, takes_next: false }));
    assert!(!world.pipeline.waits_for_file());
    world.settle();
    assert_eq!(
        answers(&world, writer),
        [(1, ErrorCode::OK), (2, ErrorCode::OK), (3, ErrorCode::OK), (4, ErrorCode::OK)]
    );
    assert_eq!(world.shared.pipeline_stats.waits_for_file.get(), 1);
    assert_eq!(world.shared.in_flight.load(Relaxed), 0);
}

fn joined_without_settling(world: &mut World) -> (usize, SessionId) {
    let client = world.open(0);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    steps(world);
    (client, world.session(client).expect("a session, though writes wait").0)
}

#[test]
fn as_many_go_on_as_fit_and_a_long_one_where_nothing_is_waited_for() {
    let mut world = World::new(2, Options::default());
    let (client, _) = joined(&mut world, 0);
    tell(&mut world, None, Some(NOTHING));
    let before = world.entries.len();
    for xid in 1..=100 {
        world.request(client, xid, OpCode::Create, &create(&format!("/n{xid}"), &[7; 1000], AclVec::OPEN, 0));
    }
    steps(&mut world);
    assert_eq!(world.entries.len(), before);
    tell(&mut world, None, Some(LogAhead { bytes: 40_000, takes_next: false }));
    steps(&mut world);
    let taken: usize = world.entries[before..].iter().map(|entry| entry.bytes.len() + 13).sum();
    assert!(taken <= 40_000 && taken > 36_000, "{taken} bytes");
    let some = world.entries.len();
    // A file is ready that is shorter than the record: one goes, and is tried.
    tell(&mut world, None, Some(LogAhead { bytes: 10, takes_next: true }));
    steps(&mut world);
    assert_eq!(world.entries.len(), some + 1);
    tell(&mut world, None, None);
    world.settle();
    let order: Vec<i32> = answers(&world, client).iter().map(|(xid, _)| *xid).collect();
    assert_eq!(order, (1..=100).collect::<Vec<_>>());
}

#[test]
fn where_there_is_no_room_after_all_they_are_refused_without_a_trace() {
    let mut world = World::new(3, Options::default());
    let (client, _) = joined(&mut world, 0);
    let before = (world.pipeline.proposed(), world.entries.len(), world.shared.tree.read().digest());
    tell(&mut world, None, Some(NOTHING));
    for xid in 1..=100 {
        world.request(client, xid, OpCode::Create, &creation(&format!("/n{xid}")));
    }
    steps(&mut world);
    tell(&mut world, Some(FULL), None);
    steps(&mut world);
    let refused: Vec<_> = (1..=100).map(|xid| (xid, ErrorCode::SYSTEM_ERROR)).collect();
    assert_eq!(answers(&world, client), refused);
    let after = (world.pipeline.proposed(), world.entries.len(), world.shared.tree.read().digest());
    assert_eq!(before, after);
    assert_eq!(world.shared.in_flight.load(Relaxed), 0);
}

#[test]
fn what_waits_is_done_though_its_client_went_and_not_once_it_came_back() {
    for comes_back in [false, true] {
        let mut world = World::new(4, Options::default());
        let (client, session) = joined(&mut world, 0);
        tell(&mut world, None, Some(NOTHING));
        world.request(client, 1, OpCode::Create, &creation("/last-words"));
        steps(&mut world);
        world.hang_up(client);
        steps(&mut world);
        if comes_back {
            let again = world.open(1);
            world.write(again, &connect(session, Zxid(0), 10_000));
            steps(&mut world);
            assert_eq!(world.session(again).map(|(id, _)| id), Some(session));
            world.request(again, 1, OpCode::GetData, &read("/last-words", false));
            steps(&mut world);
            assert_eq!(answers(&world, again), [(1, ErrorCode::NO_NODE)]);
        }
        tell(&mut world, None, None);
        world.settle();
        let is_there = world.shared.tree.read().get("/last-words").is_some();
        assert_eq!(is_there, !comes_back, "what it was shown stays so");
        assert_eq!(world.shared.in_flight.load(Relaxed), 0);
    }
}
