//! The interest that the tree keeps for watches ends with them, however they end: a client must not be able to fill the tree
//! with paths that nobody watches.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use support::talk::{connect, create, delete, read};
use support::world::{Options, World};
use wire::acl::AclVec;
use wire::{Field, OpCode, SessionId, UStr, Zxid};

fn world() -> (World, usize) {
    let mut world = World::new(1, Options { chunk_max: 1 << 20, ..Options::default() });
    let client = join(&mut world, 0);
    (world, client)
}

fn join(world: &mut World, shard: usize) -> usize {
    let client = world.open(shard);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    client
}

fn absent(world: &World) -> usize {
    world.shared.tree.read().absent_paths()
}

fn watches(world: &World) -> usize {
    world.shards.iter().map(|shard| shard.watches().len()).sum()
}

/// removeWatches of all kinds.
fn remove(path: &str) -> Vec<u8> {
    let mut body = Vec::new();
    let path: UStr<'_> = Some(path.into());
    path.write(&mut body);
    3_i32.write(&mut body);
    body
}

#[test]
fn watches_of_ever_new_paths_leave_nothing() {
    let (mut world, client) = world();
    for xid in 1..2000 {
        world.request(client, xid, OpCode::Exists, &read(&format!("/{xid}"), true));
        if xid > 10 {
            world.request(client, xid, OpCode::RemoveWatches, &remove(&format!("/{}", xid - 10)));
        }
        if xid % 100 == 0 {
            world.settle();
            assert_eq!(watches(&world), 10);
            assert!(absent(&world) <= 300, "{} paths after {xid}", absent(&world));
        }
    }
    world.hang_up(client);
    let other = join(&mut world, 0);
    // Something that the shard drains its inbox for.
    world.request(other, 1, OpCode::Create, &create("/x", b"", AclVec::OPEN, 0));
    world.settle();
    assert_eq!((watches(&world), absent(&world)), (0, 0));
}

/// A watch of a read that travels with a write is registered in the tree when the write is applied. The connection may
/// have gone by then.
#[test]
fn a_watch_that_comes_too_late_leaves_nothing() {
    let (mut world, stays) = world();
    for round in 0..20 {
        let client = join(&mut world, 0);
        world.holds_log = true;
        world.request(client, 1, OpCode::Create, &create(&format!("/{round}"), b"", AclVec::OPEN, 0));
        for xid in 2..20 {
            world.request(client, xid, OpCode::Exists, &read(&format!("/none/{round}/{xid}"), true));
        }
        world.request(client, 20, OpCode::Create, &create(&format!("/{round}/more"), b"", AclVec::OPEN, 0));
        // The log holds it up.
        (0..3000).for_each(|_| world.step());
        if round % 2 == 0 {
            world.hang_up(client);
        } else {
            // Or its session has gone on elsewhere, and the connection is closing.
            let (session, _) = world.session(client).expect("a session");
            let other = world.open(0);
            world.write(other, &connect(session, Zxid(0), 10_000));
        }
        world.holds_log = false;
        world.settle();
        assert_eq!(watches(&world), 0);
    }
    world.request(stays, 1, OpCode::Create, &create("/x", b"", AclVec::OPEN, 0));
    world.settle();
    assert_eq!(absent(&world), 0);
}

/// Bits go from a path to its znode and back.
#[test]
fn znodes_that_come_and_go_leave_nothing() {
    let (mut world, client) = world();
    for xid in 0..200 {
        let path = format!("/{xid}");
        world.request(client, 5 * xid, OpCode::Exists, &read(&path, true));
        world.request(client, 5 * xid + 1, OpCode::Create, &create(&path, b"", AclVec::OPEN, 0));
        world.request(client, 5 * xid + 2, OpCode::GetChildren, &read(&path, xid % 2 == 0));
        world.request(client, 5 * xid + 3, OpCode::GetData, &read(&path, xid % 3 == 0));
        world.request(client, 5 * xid + 4, OpCode::Delete, &delete(&path, -1));
        if xid % 7 == 0 {
            world.settle();
        }
    }
    world.settle();
    world.request(client, 5000, OpCode::Create, &create("/x", b"", AclVec::OPEN, 0));
    world.settle();
    assert_eq!((watches(&world), absent(&world)), (0, 0));
}
