//! Reads that are made in steps, while others create and delete what they read, against the sequential model: each is
//! answered at one zxid, in the order of its connection's requests, with the events of later changes behind it.

extern crate tree as ostler_tree;

mod support;

use ostler_peer::StepLimits;
use support::check::check;
use support::talk::{connect, create, page, read};
use support::world::{Options, Rng, World, for_seeds};
use wire::multi::{MultiOp, MultiRequest};
use wire::request::{CreateRequest, DeleteRequest, PathRequest, ReadRequest};
use wire::{AclVec, Field, OpCode, SessionId, Zxid};

const DIRS: [&str; 3] = ["/d", "/d/7", "/e"];

fn child(rng: &mut Rng) -> String {
    let (dir, name) = (*rng.pick(&DIRS), rng.below(40));
    format!("{dir}/{name}{}", if name % 7 == 0 { "-a-longer-name" } else { "" })
}

fn delete(path: &str) -> Vec<u8> {
    DeleteRequest { path: Some(path.into()), version: -1 }.to_vec()
}

fn write(rng: &mut Rng) -> (OpCode, Vec<u8>) {
    let path = if rng.chance(4) { (*rng.pick(&DIRS)).to_owned() } else { child(rng) };
    match rng.below(10) {
        0..4 => (OpCode::Create, create(&path, b"", AclVec::OPEN, *rng.pick(&[0, 0, 1]))),
        4..7 => (OpCode::Delete, delete(&path)),
        _ => {
            // Several children of one txn, in any order, and some that come and go in it.
            let mut ops = Vec::new();
            for _ in 0..=rng.below(8) {
                let path = child(rng);
                let acl = AclVec::OPEN;
                let flags = 2 * rng.below(2) as i32;
                let create = CreateRequest { path: Some(path.into()), data: Some(b""), acl, flags };
                ops.push(MultiOp::Create(OpCode::Create, create));
            }
            (OpCode::Multi, MultiRequest { ops }.to_vec())
        }
    }
}

fn long_read(rng: &mut Rng, near: Zxid) -> (OpCode, Vec<u8>) {
    let (dir, watch) = (*rng.pick(&DIRS), rng.chance(60));
    let alone = |path: &str| PathRequest { path: Some(path.into()) }.to_vec();
    match rng.below(12) {
        0..2 => (OpCode::GetChildren, read(dir, watch)),
        2..4 => (OpCode::GetChildren2, read(dir, watch)),
        4..7 => (OpCode::GetChildrenPaginated, page(rng, dir, near, watch)),
        7 => (OpCode::GetAllChildrenNumber, alone(rng.pick::<&str>(&["/", "/d", "/d/7", ""]))),
        8 => (OpCode::GetEphemerals, alone(rng.pick::<&str>(&["/", "/d"]))),
        9 => {
            let reads = (0..=rng.below(4)).map(|_| {
                let op = *rng.pick(&[OpCode::GetData, OpCode::GetChildren]);
                let path = if rng.chance(50) { (*rng.pick(&DIRS)).to_owned() } else { child(rng) };
                MultiOp::Read(op, ReadRequest { path: Some(path.into()), watch: false })
            });
            let ops = reads.collect();
            (OpCode::MultiRead, MultiRequest { ops }.to_vec())
        }
        10 => (OpCode::Exists, read(dir, watch)),
        _ => (OpCode::Ping, Vec::new()),
    }
}

fn options(seed: u64) -> Options {
    let steps = StepLimits {
        entries_max: seed as usize % 2,
        work: [1, 80, 200, 700][seed as usize % 4],
        at_once: 1 + seed as usize % 3,
        restarts_max: u32::MAX,
    };
    Options {
        shards: 1 + seed as usize % 2,
        chunk_max: 2000,
        steps,
        close_session_paths: !seed.is_multiple_of(5),
        out_pause: [1 << 20, 0, 500][seed as usize % 3],
        // The length of a page is bounded, too.
        frame_max: [0xf_ffff, 300, 600][seed as usize / 2 % 3],
        ..Options::default()
    }
}

fn start(world: &mut World, clients: usize) {
    for _ in 0..clients {
        let shard = world.rng.below(world.options.shards);
        let client = world.open(shard);
        world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    }
    for (xid, dir) in DIRS.iter().enumerate() {
        world.request(0, 10_000 + xid as i32, OpCode::Create, &create(dir, b"", AclVec::OPEN, 0));
    }
    world.settle();
}

fn talk(world: &mut World, requests: i32) {
    let clients = world.clients.len();
    for xid in 1..=requests {
        let client = world.rng.below(clients);
        let near = world.applied();
        let near = Zxid(near.0 - world.rng.below(10) as i64);
        let (op, body) = if world.rng.chance(60) { write(&mut world.rng) } else { long_read(&mut world.rng, near) };
        if body.len() + 8 > world.options.frame_max {
            continue;
        }
        world.request(client, xid, op, &body);
        for _ in 0..world.rng.below(40) {
            world.step();
        }
    }
}

#[test]
fn each_is_answered_at_one_zxid() {
    for_seeds(300, |seed| {
        let mut world = World::new(seed, options(seed));
        start(&mut world, 2 + seed as usize % 3);
        talk(&mut world, 200);
        world.settle();
        check(&world);
        assert_eq!(world.shared.tree.read().cursor_count(), 0, "nothing is left in the tree");
    });
}

/// Clients that go, and sessions that end, in the midst of their reads.
#[test]
fn a_connection_that_goes_leaves_nothing_behind() {
    for_seeds(150, |seed| {
        let mut world = World::new(seed, options(seed));
        start(&mut world, 4);
        talk(&mut world, 60);
        world.hang_up(1);
        talk_of_others(&mut world, 1000);
        world.request(2, 1500, OpCode::CloseSession, &[]);
        talk_of_others(&mut world, 2000);
        world.settle();
        check(&world);
        assert_eq!(world.shared.tree.read().cursor_count(), 0, "nothing is left in the tree");
        let wanted: Vec<_> = world.shards.iter().filter(|shard| shard.has_long_reads()).collect();
        assert!(wanted.is_empty());
    });
}

fn talk_of_others(world: &mut World, from: i32) {
    for xid in from..from + 30 {
        let (op, body) = if world.rng.chance(60) { write(&mut world.rng) } else { long_read(&mut world.rng, Zxid(5)) };
        if body.len() + 8 <= world.options.frame_max {
            world.request([0, 3][xid as usize % 2], xid, op, &body);
        }
        for _ in 0..world.rng.below(40) {
            world.step();
        }
    }
}
