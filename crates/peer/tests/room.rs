//! A log whose disk is full: who is refused, who goes on, and that nobody is harmed by it.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use ostler_peer::{LocalSessions, LogRoom, Wish};
use support::talk::{answers, connect, create, creation, joined, read};
use support::world::{Options, TICK_MS, World};
use wire::acl::AclVec;
use wire::{ErrorCode, OpCode, SessionId, Zxid};

const FULL: LogRoom = LogRoom { bytes: 200_000, reserve: 200_000, is_stuck: false };
const USED_UP: LogRoom = LogRoom { bytes: 0, reserve: 0, is_stuck: false };

#[test]
fn writes_are_refused_without_a_trace_and_reads_go_on() {
    let mut world = World::new(1, Options::default());
    let (client, _) = joined(&mut world, 0);
    world.request(client, 1, OpCode::Create, &creation("/before"));
    world.settle();
    let before = (world.pipeline.proposed(), world.entries.len(), world.shared.tree.read().digest());
    world.pipeline.set_room(Some(FULL));
    assert!(world.pipeline.refuses_writes());
    world.request(client, 2, OpCode::Create, &creation("/new"));
    world.request(client, 3, OpCode::GetData, &read("/before", true));
    world.request(client, 4, OpCode::Exists, &read("/new", true));
    world.request(client, 5, OpCode::Create, &creation("/before"));
    world.request(client, -2, OpCode::Ping, &[]);
    world.settle();
    assert_eq!(
        answers(&world, client),
        [
            (1, ErrorCode::OK),
            (2, ErrorCode::SYSTEM_ERROR),
            (3, ErrorCode::OK),
            (4, ErrorCode::NO_NODE),
            (5, ErrorCode::SYSTEM_ERROR),
            (-2, ErrorCode::OK),
        ]
    );
    let after = (world.pipeline.proposed(), world.entries.len(), world.shared.tree.read().digest());
    assert_eq!(before, after, "a refused write leaves no trace");
    assert_eq!(world.shared.pipeline_stats.refused.get(), 2);
    assert_eq!(world.shared.in_flight.load(std::sync::atomic::Ordering::Relaxed), 0);

    // Room again: the same client goes on, and the watches that it set meanwhile hold.
    world.pipeline.set_room(None);
    world.request(client, 6, OpCode::Create, &creation("/new"));
    world.settle();
    assert_eq!(answers(&world, client)[6..], [(-1, ErrorCode::OK), (6, ErrorCode::OK)]);
}

#[test]
fn an_answer_that_refuses_keeps_its_place() {
    for seed in 0..50 {
        let mut world = World::new(seed, Options { chunk_max: 4000, ..Options::default() });
        let (client, _) = joined(&mut world, 0);
        for xid in 1..40 {
            // There is room for some of them.
            let room = LogRoom { bytes: 25_000, reserve: 20_000, is_stuck: false };
            world.pipeline.set_room(Some(room));
            if xid % 3 == 0 {
                world.request(client, xid, OpCode::GetData, &read("/", xid % 2 == 0));
            } else {
                world.request(client, xid, OpCode::Create, &creation(&format!("/n{xid}")));
            }
            for _ in 0..10 {
                world.step();
            }
        }
        world.settle();
        let order: Vec<i32> = answers(&world, client).iter().map(|(xid, _)| *xid).filter(|xid| *xid > 0).collect();
        assert_eq!(order, (1..40).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn what_is_taken_in_fits() {
    let mut world = World::new(7, Options { chunk_max: 60_000, ..Options::default() });
    let (client, _) = joined(&mut world, 0);
    let room = LogRoom { bytes: 80_000, reserve: 20_000, is_stuck: false };
    world.pipeline.set_room(Some(room));
    let before: usize = world.entries.len();
    for xid in 1..100 {
        world.request(client, xid, OpCode::Create, &create(&format!("/n{xid}"), &[7; 1000], AclVec::OPEN, 0));
    }
    world.settle();
    let taken: usize = world.entries[before..].iter().map(|entry| entry.bytes.len() + 13).sum();
    assert!(taken <= 60_000 && taken > 55_000, "{taken} bytes");
    let refused = answers(&world, client).iter().filter(|(_, err)| *err == ErrorCode::SYSTEM_ERROR).count();
    assert_eq!(refused + world.entries.len() - before, 99);
}

#[test]
fn sessions_begin_and_end_in_the_reserve() {
    let mut world = World::new(1, Options::default());
    let (first, _) = joined(&mut world, 0);
    world.pipeline.set_room(Some(FULL));
    let (second, session) = joined(&mut world, 1);
    world.request(first, 1, OpCode::CloseSession, &[]);
    world.settle();
    assert_eq!(answers(&world, first), [(1, ErrorCode::OK)]);

    // Until it is used up.
    world.pipeline.set_room(Some(USED_UP));
    let third = world.open(0);
    world.write(third, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    assert!(world.clients[third].closed && world.clients[third].received.is_empty());
    // A session that is there goes on at another connection.
    let again = world.open(0);
    world.write(again, &connect(session, Zxid(0), 10_000));
    world.settle();
    assert_eq!(world.session(again).map(|(id, _)| id), Some(session));
    assert!(world.clients[second].closed);
    world.request(again, 1, OpCode::CloseSession, &[]);
    world.settle();
    assert_eq!(answers(&world, again), [(1, ErrorCode::SYSTEM_ERROR)]);
    assert!(world.clients[again].closed);
    assert_eq!(world.pipeline.session_count(), 1, "it ends when there is room");
}

#[test]
fn no_session_expires_while_its_end_can_not_be_logged() {
    let mut world = World::new(1, Options::default());
    let (silent, _) = joined(&mut world, 0);
    let (away, session) = joined(&mut world, 1);
    world.request(silent, 1, OpCode::Create, &create("/lock", b"", AclVec::OPEN, 1));
    world.settle();
    world.hang_up(silent);
    world.hang_up(away);
    world.pipeline.set_room(Some(USED_UP));
    for _ in 0..30 {
        world.pass(TICK_MS);
        world.settle();
    }
    assert_eq!(world.pipeline.session_count(), 2);
    // Who comes back finds its session, however late.
    let back = world.open(0);
    world.write(back, &connect(session, Zxid(0), 10_000));
    world.settle();
    assert_eq!(world.session(back).map(|(id, _)| id), Some(session));
    world.pipeline.set_room(Some(FULL));
    for _ in 0..4 {
        world.pass(TICK_MS);
        world.request(back, -2, OpCode::Ping, &[]);
        world.settle();
    }
    assert_eq!(world.pipeline.session_count(), 1, "the one that stayed away is over");
    world.request(back, 1, OpCode::Exists, &read("/lock", false));
    world.settle();
    assert!(answers(&world, back).contains(&(1, ErrorCode::NO_NODE)));
}

#[test]
fn a_local_session_expires_without_room_since_its_end_is_not_logged() {
    let mut world = World::new(1, Options { local_sessions: LocalSessions::Upgrading, ..Options::default() });
    let (away, _) = joined(&mut world, 0);
    let (upgraded, _) = joined(&mut world, 1);
    let (here, _) = joined(&mut world, 0);
    world.request(upgraded, 1, OpCode::Create, &create("/lock", b"", AclVec::OPEN, 1));
    world.settle();
    world.hang_up(away);
    world.hang_up(upgraded);
    world.pipeline.set_room(Some(USED_UP));
    for _ in 0..30 {
        world.pass(TICK_MS);
        world.request(here, -2, OpCode::Ping, &[]);
        world.settle();
    }
    assert_eq!((world.pipeline.session_count(), world.pipeline.local_session_count()), (2, 1));
    assert!(!world.clients[here].closed);
}

#[test]
fn a_local_session_does_not_wait_for_the_ends_of_others_to_be_logged() {
    let mut world = World::new(1, Options { local_sessions: LocalSessions::Upgrading, ..Options::default() });
    let clients: Vec<usize> = (0..140).map(|n| joined(&mut world, n % 2).0).collect();
    // The last one stays a local one.
    for (n, &client) in clients[..139].iter().enumerate() {
        world.request(client, 1, OpCode::Create, &create(&format!("/lock{n}"), b"", AclVec::OPEN, 1));
    }
    world.settle();
    for &client in &clients {
        world.hang_up(client);
    }
    assert_eq!((world.pipeline.session_count(), world.pipeline.local_session_count()), (140, 1));
    world.holds_log = true;
    for _ in 0..30 {
        world.pass(TICK_MS);
        (0..2000).for_each(|_| world.step());
    }
    assert_eq!((world.pipeline.session_count(), world.pipeline.local_session_count()), (139, 0));
    world.holds_log = false;
    world.settle();
    assert_eq!(world.pipeline.session_count(), 0);
}

/// Else the leader ends the sessions of clients that live, where there is room for that.
#[test]
fn a_learner_tells_its_leader_who_lives_however_full_its_own_disk_is() {
    let mut world = World::new(1, Options::default());
    let (client, session) = joined(&mut world, 0);
    let woken = world.pipeline.look(world.now, &world.shared);
    world.woken.extend(woken);
    let woken = world.pipeline.learn(world.now, &world.shared, wire::Epoch(1));
    world.woken.extend(woken);
    world.pipeline.set_room(Some(USED_UP));
    let mut wishes = Vec::new();
    for _ in 0..3 {
        world.pass(TICK_MS);
        world.request(client, -2, OpCode::Ping, &[]);
        world.settle();
        world.pipeline.take_wishes(&mut wishes);
    }
    assert!(wishes.iter().any(|wish| matches!(wish, Wish::Touched(touch) if touch.session == session)), "{wishes:?}");
}

#[test]
fn where_a_batch_is_stuck_only_its_own_clients_wait() {
    let mut world = World::new(3, Options::default());
    let (writer, _) = joined(&mut world, 0);
    let (other, session) = joined(&mut world, 1);
    world.request(writer, 1, OpCode::Create, &creation("/stuck"));
    // Proposed, and not logged.
    for _ in 0..200 {
        world.step();
        if world.entries.last().is_some_and(|entry| entry.zxid > world.logged) {
            break;
        }
    }
    assert!(world.entries.last().is_some_and(|entry| entry.zxid > world.logged), "it is logged already");
    world.holds_log = true;
    world.pipeline.set_room(Some(LogRoom { is_stuck: true, ..USED_UP }));
    world.request(writer, 2, OpCode::Create, &creation("/refused"));
    world.request(other, 1, OpCode::Create, &creation("/refused"));
    world.request(other, 2, OpCode::GetData, &read("/", false));
    for _ in 0..2000 {
        world.step();
    }
    assert_eq!(answers(&world, writer), []);
    assert_eq!(answers(&world, other), [(1, ErrorCode::SYSTEM_ERROR), (2, ErrorCode::OK)]);
    let again = world.open(0);
    world.write(again, &connect(session, Zxid(0), 10_000));
    for _ in 0..2000 {
        world.step();
    }
    assert_eq!(world.session(again).map(|(id, _)| id), Some(session), "it has nothing under way");
    world.holds_log = false;
    world.pipeline.set_room(None);
    world.settle();
    assert_eq!(answers(&world, writer), [(1, ErrorCode::OK), (2, ErrorCode::SYSTEM_ERROR)]);
}
