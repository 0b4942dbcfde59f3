//! Reads that are made in steps, while others create and delete what they read, against the sequential model: each is
//! answered at one zxid, in the order of its connection's requests, with the events of later changes behind it.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use ostler_peer::StepLimits;
use ostler_tree::cut::Chunk;
use ostler_tree::owner::OwnerRules;
use ostler_tree::restore::TreeBuilder;
use ostler_tree::{HashKeys, Tree, TreeConfig};
use support::check::check;
use support::talk::{connect, create, page, read, set_data};
use support::world::{Options, Rng, World, for_seeds};
use wire::frame::ReplyHeader;
use wire::multi::{MultiHeader, MultiOp, MultiRequest};
use wire::request::{CreateRequest, DeleteRequest, GetChildrenPaginatedRequest, PathRequest, ReadRequest};
use wire::txn::TxnEntry;
use wire::{AclVec, ErrorCode, Field, OpCode, Reader, SessionId, Stat, Xid, Zxid};

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
        // `crst` may come at any time.
        if world.rng.chance(20) {
            for shard in &mut world.shards {
                shard.reset_connections(0, u32::MAX);
            }
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

/// A session that is moved to another connection, or expires, in the midst of a read.
#[test]
fn a_session_that_moves_on_leaves_its_read_behind() {
    for_seeds(60, |seed| {
        let mut world = World::new(seed, Options { out_pause: 1 << 20, ..options(seed) });
        start(&mut world, 2);
        talk(&mut world, 40);
        world.settle();
        world.holds_long = true;
        let (session, _) = world.session(0).unwrap();
        let (op, body) = match seed % 3 {
            0 => (OpCode::GetChildren2, read("/d", true)),
            1 => (OpCode::GetChildrenPaginated, page_of("/d", i32::MAX, (Zxid(0), 0), true)),
            _ => (OpCode::GetAllChildrenNumber, PathRequest { path: Some("/".into()) }.to_vec()),
        };
        world.request(0, 2000, op, &body);
        // What it would tell of behind its answer.
        world.request(1, 2001, OpCode::Create, &create("/d/while-it-reads", b"", AclVec::OPEN, 0));
        world.settle();
        if seed % 2 == 0 {
            let client = world.open(0);
            world.write(client, &connect(session, Zxid(0), 10_000));
        } else {
            world.clients[0].is_unread = true;
            for second in 0..20 {
                world.pass(1000);
                world.request(1, 3000 + second, OpCode::Ping, &[]);
                world.settle();
            }
        }
        world.settle();
        world.holds_long = false;
        world.settle();
        assert!(world.clients[0].closed, "its first connection is over");
        check(&world);
        assert_eq!(world.shared.tree.read().cursor_count(), 0, "nothing is left in the tree");
    });
}

fn page_of(path: &str, max_returned: i32, (czxid_min, czxid_offset): (Zxid, i32), watch: bool) -> Vec<u8> {
    GetChildrenPaginatedRequest { path: Some(path.into()), max_returned, czxid_min, czxid_offset, watch }.to_vec()
}

fn header(frame: &[u8]) -> ReplyHeader {
    ReplyHeader::from_slice(&frame[..16]).unwrap()
}

fn names(r: &mut Reader<'_>) -> Vec<String> {
    let names: Option<Vec<String>> = r.read().unwrap();
    names.unwrap()
}

/// One that reads in steps as small as can be, and one that writes.
fn two(options: Options) -> World {
    let mut world = World::new(1, Options { shards: 1, chunk_max: 1 << 20, ..options });
    start(&mut world, 2);
    world
}

const SMALL: StepLimits = StepLimits { entries_max: 0, work: 1, at_once: 8, restarts_max: 8 };

/// A multiRead that is disturbed again and again comes to its end all the same.
#[test]
fn a_multi_read_begins_again_eight_times_and_no_more() {
    let mut world = two(Options { steps: SMALL, ..Options::default() });
    let read = |op, path: &'static str| MultiOp::Read(op, ReadRequest { path: Some(path.into()), watch: false });
    let ops = vec![read(OpCode::GetData, "/d"), read(OpCode::GetChildren, "/d"), read(OpCode::GetData, "/e")];
    let length = ops.len();
    world.holds_long = true;
    world.request(1, 1, OpCode::MultiRead, &MultiRequest { ops }.to_vec());
    world.settle();
    let (mut steps, mut began) = (0, world.applied());
    while world.shards[0].has_long_reads() {
        steps += 1;
        assert!(steps < 100, "it begins again for ever");
        began = began.max(world.applied());
        world.request(0, steps, OpCode::SetData, &set_data("/d", steps.to_string().as_bytes(), -1));
        world.settle();
        world.shards[0].step_long_reads(world.now, &world.shared);
    }
    world.settle();
    // The first time and eight more, each a step and one that finds the znode changed; then the rest of it.
    assert!((16..32).contains(&steps), "{steps} steps");
    let frames = world.frames(1);
    let frame = *frames.last().unwrap();
    assert_eq!(header(frame), ReplyHeader { xid: Xid(1), zxid: world.applied(), err: ErrorCode::OK });
    let mut r = Reader::new(&frame[16..]);
    let kinds: Vec<i32> = (0..length).map(|_| one_of_multi(&mut r)).collect();
    assert_eq!(kinds, [4, 8, 4]);
    assert!(r.read::<MultiHeader>().unwrap().done && r.remaining().is_empty());
    assert_eq!(world.shared.tree.read().cursor_count(), 0);
}

fn one_of_multi(r: &mut Reader<'_>) -> i32 {
    let header: MultiHeader = r.read().unwrap();
    if header.kind == OpCode::GetData.code() {
        let _: (Option<&[u8]>, Stat) = (r.read().unwrap(), r.read().unwrap());
    } else {
        names(r);
    }
    header.kind
}

/// A snapshot's cut does not disturb a walk, nor a walk the cut.
#[test]
fn a_walk_and_a_cut_go_their_ways() {
    for_seeds(60, |seed| {
        let mut world = World::new(seed, options(seed));
        start(&mut world, 3);
        talk(&mut world, 60);
        let cut = world.shared.tree.write().begin_cut(Vec::new(), usize::MAX);
        let mut found = Vec::new();
        let mut chunk = Chunk::More;
        for round in 0..40 {
            talk_on(&mut world, 4000 + round * 10, 3);
            if chunk == Chunk::More {
                chunk = world.shared.tree.read().read_cut(60, |node| found.push((node.path.to_owned(), node.stat)));
            }
        }
        while chunk == Chunk::More {
            chunk = world.shared.tree.read().read_cut(60, |node| found.push((node.path.to_owned(), node.stat)));
        }
        assert_eq!(chunk, Chunk::Done);
        world.settle();
        let history = check(&world);
        let state = &history.states[cut.zxid.0 as usize];
        found.retain(|(path, _)| !path.is_empty() && !path.starts_with("/zookeeper"));
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let nodes = state.nodes.iter().filter(|(path, _)| !path.is_empty() && !path.starts_with("/zookeeper"));
        let expected: Vec<_> = nodes.map(|(path, node)| (path.clone(), node.stat)).collect();
        assert_eq!(found, expected);
        assert_eq!(world.shared.tree.read().cursor_count(), 0);
    });
}

/// Says and reads something, with xids from here on.
fn talk_on(world: &mut World, from: i32, requests: i32) {
    for xid in from..from + requests {
        let (op, body) = if world.rng.chance(60) { write(&mut world.rng) } else { long_read(&mut world.rng, Zxid(5)) };
        let client = world.rng.below(world.clients.len());
        if body.len() + 8 <= world.options.frame_max {
            world.request(client, xid, op, &body);
        }
        for _ in 0..world.rng.below(40) {
            world.step();
        }
    }
}

/// A server that stops between two pages and begins again from a snapshot, or from its log: the pages go on where they
/// were.
#[test]
fn pages_go_on_behind_a_restart() {
    for_seeds(40, |seed| {
        let mut options = options(seed);
        options.frame_max = 0xf_ffff;
        let mut world = World::new(seed, options.clone());
        start(&mut world, 2);
        talk(&mut world, 150);
        world.settle();
        let last = check(&world).states.pop().unwrap();
        for dir in DIRS {
            let Some(node) = last.nodes.get(dir) else { continue };
            assert!(node.stat.czxid.0 > 0);
            let czxid = |name: &str| last.nodes[&format!("{dir}/{name}")].stat.czxid;
            let mut expected: Vec<_> = last.children(dir).into_iter().map(|name| (czxid(name), name)).collect();
            expected.sort_unstable();
            let expected: Vec<_> = expected.into_iter().map(|(_, name)| name.to_owned()).collect();
            let (mut got, mut next, mut pages) = (Vec::new(), (Zxid(0), 0), 0);
            while next.0.0 >= 0 {
                let tree = if pages % 2 == 0 { from_snapshot(&world) } else { from_log(&world) };
                let mut restarted = World::of(seed, options.clone(), tree);
                let client = restarted.open(0);
                restarted.write(client, &connect(SessionId(0), Zxid(0), 10_000));
                restarted.settle();
                let max = 1 + restarted.rng.below(4) as i32;
                restarted.request(client, 1, OpCode::GetChildrenPaginated, &page_of(dir, max, next, false));
                restarted.settle();
                let frames = restarted.frames(client);
                assert_eq!(header(frames[1]).err, ErrorCode::OK);
                let mut r = Reader::new(&frames[1][16..]);
                got.extend(names(&mut r));
                let _: Stat = r.read().unwrap();
                next = (r.read().unwrap(), r.read().unwrap());
                pages += 1;
                assert!(pages <= expected.len() + 1, "{dir}: no end of pages");
            }
            assert_eq!(got, expected, "{dir} in {pages} pages");
        }
    });
}

fn tree_config(world: &World) -> TreeConfig {
    let owner_rules = OwnerRules { extended_types: world.options.extended_types, emulate_353: false };
    TreeConfig { keys: HashKeys([9, 9, 9, 9]), owner_rules }
}

fn from_log(world: &World) -> Tree {
    let mut tree = Tree::new(tree_config(world));
    for entry in &world.entries {
        tree.apply(&TxnEntry::from_slice(&entry.bytes).unwrap(), &mut Vec::new());
    }
    tree
}

fn from_snapshot(world: &World) -> Tree {
    let header = world.shared.tree.write().begin_cut(Vec::new(), usize::MAX);
    let mut builder = TreeBuilder::new(tree_config(world));
    for (id, list) in &header.acls {
        builder.acl(*id, AclVec::parse(list).unwrap());
    }
    let tree = world.shared.tree.read();
    while tree.read_cut(1000, |node| builder.node(node.path, node.data, node.acl_id, &node.stat).unwrap())
        == Chunk::More
    {}
    builder.finish(header.zxid).unwrap()
}

/// Children with names of 1000 bytes: how many there must be for an answer of 16 MiB, and for what a walk may keep.
const LONG_NAME: usize = 1000;
const FOR_ANSWER: usize = 17_000;
const FOR_WALK: usize = 33_000;

fn long_path(number: usize) -> String {
    format!("/e/{number:0>LONG_NAME$}")
}

fn all_in_multis(world: &mut World, first_xid: i32, count: usize, op: impl Fn(usize) -> MultiOp<'static>) {
    for (xid, from) in (first_xid..).zip((0..count).step_by(500)) {
        let ops = (from..count.min(from + 500)).map(&op).collect();
        world.request(0, xid, OpCode::Multi, &MultiRequest { ops }.to_vec());
        world.settle();
    }
}

fn fill(count: usize) -> World {
    let steps = StepLimits { entries_max: 1000, work: 64 * 1024, ..StepLimits::default() };
    let mut world = two(Options { steps, in_flight_bytes_max: 64 << 20, ..Options::default() });
    all_in_multis(&mut world, 100, count, |number| {
        let (path, acl) = (Some(long_path(number).into()), AclVec::OPEN);
        MultiOp::Create(OpCode::Create, CreateRequest { path, data: None, acl, flags: 0 })
    });
    world
}

/// Events wait behind an answer that is longer than all that a connection may have waiting for it, and the connection
/// lives.
#[test]
fn events_come_behind_an_answer_of_16_mib() {
    let mut world = fill(FOR_ANSWER);
    world.holds_long = true;
    world.clients[1].is_deaf = true;
    world.request(1, 1, OpCode::GetData, &read("/d", true));
    world.request(1, 2, OpCode::GetChildren, &read("/e", true));
    world.request(1, 3, OpCode::Exists, &read("/d", false));
    world.settle();
    let at = world.applied();
    world.request(0, 1, OpCode::SetData, &set_data("/d", b"new", -1));
    world.request(0, 2, OpCode::Delete, &delete(&long_path(5)));
    world.settle();
    world.holds_long = false;
    world.settle();
    assert!(world.shards[0].get(world.clients[1].conn).is_some_and(|conn| conn.unsent() > 16 << 20));
    world.request(0, 3, OpCode::Delete, &delete("/d/7"));
    world.settle();
    world.clients[1].is_deaf = false;
    world.request(1, 4, OpCode::Ping, &[]);
    world.settle();
    assert!(!world.clients[1].closed);
    let frames: Vec<&[u8]> = world.frames(1).split_off(1);
    let xids: Vec<(i32, i64)> = frames.iter().map(|f| header(f)).map(|h| (h.xid.0, h.zxid.0 - at.0)).collect();
    assert_eq!(xids[..5], [(1, 0), (2, 0), (-1, 1), (-1, 2), (3, xids[4].1)]);
    let mut r = Reader::new(&frames[1][16..]);
    let got = names(&mut r);
    assert!(frames[1].len() > 16 << 20 && r.remaining().is_empty());
    let expected = (0..FOR_ANSWER).map(|number| long_path(number)[3..].to_owned());
    assert!(got.into_iter().eq(expected), "all names, the deleted one, too");
    assert_eq!(world.shared.tree.read().cursor_count(), 0);
}

/// So much is deleted in front of a walk that it can't be kept: the list is made again, of what there is then, behind the
/// event of its first watch, and the watch is set again.
#[test]
fn a_walk_that_loses_too_much_begins_again() {
    for op in [OpCode::GetChildren, OpCode::GetChildrenPaginated, OpCode::MultiRead] {
        let mut world = fill(FOR_WALK + 1000);
        world.holds_long = true;
        let body = match op {
            OpCode::GetChildren => read("/e", true),
            OpCode::MultiRead => {
                let list = ReadRequest { path: Some("/e".into()), watch: false };
                MultiRequest { ops: vec![MultiOp::Read(OpCode::GetChildren, list)] }.to_vec()
            }
            // That it is the last page turns out when it has begun again: its first watch was none.
            _ => page_of("/e", i32::MAX, (Zxid(0), 0), true),
        };
        world.request(1, 1, op, &body);
        world.settle();
        assert_eq!(world.shared.tree.read().cursor_count(), if op == OpCode::MultiRead { 2 } else { 1 });
        let at = world.applied();
        all_in_multis(&mut world, 1000, FOR_WALK, |number| {
            MultiOp::Delete(DeleteRequest { path: Some(long_path(1000 + number).into()), version: -1 })
        });
        let deleted = world.applied();
        world.holds_long = false;
        world.settle();
        let last = DeleteRequest { path: Some(long_path(0).into()), version: -1 }.to_vec();
        world.request(0, 5000, OpCode::Delete, &last);
        world.settle();
        let frames: Vec<&[u8]> = world.frames(1).split_off(1);
        let heads: Vec<(i32, Zxid)> = frames.iter().map(|f| header(f)).map(|h| (h.xid.0, h.zxid)).collect();
        let (before, behind) = ((-1, Zxid(at.0 + 1)), (-1, world.applied()));
        let expected = match op {
            OpCode::GetChildren => vec![before, (1, deleted), behind],
            OpCode::MultiRead => vec![(1, deleted)],
            _ => vec![(1, deleted), behind],
        };
        assert_eq!(heads, expected, "{op:?}");
        let answer = frames[usize::from(op == OpCode::GetChildren)];
        let start = if op == OpCode::MultiRead { 16 + 9 } else { 16 };
        let got = names(&mut Reader::new(&answer[start..]));
        let expected = (0..1000).map(|number| long_path(number)[3..].to_owned());
        assert!(got.into_iter().eq(expected), "{op:?}");
        assert_eq!(world.shared.tree.read().cursor_count(), 0);
    }
}
