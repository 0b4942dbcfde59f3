//! Watches by the thousand: set again in steps, told of in pieces, freed in pieces; and nobody can tell from the order of
//! what he gets.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use std::collections::BTreeMap;

use support::talk::{connect, create, read, set_data};
use support::world::{Options, World, for_seeds};
use wire::acl::AclVec;
use wire::frame::ReplyHeader;
use wire::request::{AddWatchRequest, SetWatches2};
use wire::watcher::WatcherEvent;
use wire::{ErrorCode, Field, OpCode, Reader, SessionId, Xid, Zxid};

fn joined(world: &mut World, shard: usize) -> usize {
    let client = world.open(shard);
    world.write(client, &connect(SessionId(0), Zxid(0), 30_000));
    world.settle();
    client
}

/// Header and, of an event, the path of each frame behind the answer to the ConnectRequest.
fn heard(world: &World, client: usize) -> Vec<(ReplyHeader, Option<String>)> {
    let parse = |frame: &&[u8]| {
        let mut r = Reader::new(frame);
        let header: ReplyHeader = r.read().expect("a header");
        let is_event = header.xid == Xid::NOTIFICATION;
        let path = is_event.then(|| r.read::<WatcherEvent<'_>>().expect("an event").path.expect("a path").into_owned());
        (header, path)
    };
    world.frames(client).iter().skip(1).map(parse).collect()
}

const ZNODES: usize = 1500;
const ABSENT: usize = 700;

fn there(number: usize) -> String {
    format!("/n{number:05}")
}

fn absent(number: usize) -> String {
    format!("/a{number:05}")
}

#[test]
fn set_watches_goes_on_in_steps_and_misses_nothing() {
    for_seeds(12, |seed| {
        let shards = 1 + seed as usize % 2;
        let mut world = World::new(seed, Options { shards, chunk_max: 1 << 20, ..Options::default() });
        let writer = joined(&mut world, 0);
        for number in 0..ZNODES {
            world.request(writer, 1, OpCode::Create, &create(&there(number), b"", AclVec::OPEN, 0));
        }
        world.settle();
        let watcher = joined(&mut world, shards - 1);
        let relative_zxid = world.applied();
        let paths: [Vec<String>; 2] = [(0..ZNODES).map(there).collect(), (0..ABSENT).map(absent).collect()];
        let list = |of: usize| Some(paths[of].iter().map(|path| Some(path.as_str().into())).collect());
        let request = SetWatches2 {
            relative_zxid,
            data_watches: list(0),
            exist_watches: list(1),
            child_watches: list(0),
            persistent_watches: Some(Vec::new()),
            persistent_recursive_watches: Some(vec![Some("/zookeeper".into())]),
        };
        world.request(watcher, -8, OpCode::SetWatches2, &request.to_vec());
        world.request(watcher, 2, OpCode::GetData, &read("/n00000", false));
        world.request(watcher, 3, OpCode::SetData, &set_data("/n00001", b"own", -1));
        let mut changed = vec![there(1)];
        for round in 0..60 {
            let number = world.rng.below(ABSENT / 2) * 2 + round % 2;
            let (op, path, body) = if world.rng.chance(50) {
                (OpCode::SetData, there(number), set_data(&there(number), b"x", -1))
            } else {
                (OpCode::Create, absent(number), create(&absent(number), b"", AclVec::OPEN, 0))
            };
            if !changed.contains(&path) {
                world.request(writer, 2, op, &body);
                changed.push(path);
            }
            for _ in 0..world.rng.below(6) {
                world.step();
            }
        }
        world.settle();
        let all = heard(&world, watcher);
        let at = |xid: i32| all.iter().position(|(header, _)| header.xid == Xid(xid)).expect("a reply");
        assert!(at(-8) < at(2) && at(2) < at(3), "in the order of requests");
        assert_eq!(all[at(-8)].0.err, ErrorCode::OK);
        let mut told: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut seen, mut zxids) = (Zxid(0), all.iter().map(|(header, _)| header.zxid));
        assert!(zxids.all(|zxid| zxid == Zxid(-1) || std::mem::replace(&mut seen, zxid) <= zxid), "by ascending zxid");
        for path in all.iter().filter_map(|(_, path)| path.as_deref()) {
            *told.entry(path).or_default() += 1;
        }
        changed.sort_unstable();
        assert_eq!(told.keys().copied().collect::<Vec<_>>(), changed, "all changes, and nothing else");
        assert!(told.values().all(|times| *times == 1), "each once: {told:?}");
        let own = all.iter().position(|(_, path)| path.as_deref() == Some("/n00001")).expect("an event");
        assert!(own < at(3), "the event of an own write is before its reply");
        let watches = |world: &World| -> usize { world.shards.iter().map(|shard| shard.watches().len()).sum() };
        assert_eq!(watches(&world), 2 * ZNODES + ABSENT + 1 - changed.len(), "the others are set");

        world.hang_up(watcher);
        assert!(watches(&world) > 0, "not at once");
        let next = joined(&mut world, shards - 1);
        world.request(writer, 3, OpCode::SetData, &set_data("/n00003", b"x", -1));
        world.settle();
        assert_eq!(
            (watches(&world), heard(&world, next).len()),
            (0, 0),
            "but in the end; who comes next hears nothing"
        );
    });
}

/// A path may have a name for each two of its bytes, each of them looked up.
#[test]
fn long_paths_are_set_again_a_few_at_a_time() {
    let mut world = World::new(3, Options { shards: 1, chunk_max: 1 << 20, ..Options::default() });
    let watcher = joined(&mut world, 0);
    let paths: Vec<String> = (0..200).map(|number| format!("/{number}{}", "/d".repeat(1000))).collect();
    let request = SetWatches2 {
        relative_zxid: world.applied(),
        data_watches: Some(Vec::new()),
        exist_watches: Some(paths.iter().map(|path| Some(path.as_str().into())).collect()),
        child_watches: Some(Vec::new()),
        persistent_watches: Some(Vec::new()),
        persistent_recursive_watches: Some(Vec::new()),
    };
    world.request(watcher, -8, OpCode::SetWatches2, &request.to_vec());
    let (mut before, mut most) = (0, 0);
    for _ in 0..5000 {
        world.step();
        let count = world.shards[0].watches().len();
        most = most.max(count - before);
        before = count;
    }
    assert_eq!(before, paths.len());
    assert!(most < paths.len() / 5, "{most} of them in one go");
    assert_eq!(heard(&world, watcher).iter().map(|(header, _)| header.err).collect::<Vec<_>>(), [ErrorCode::OK]);
}

#[test]
fn a_crowd_is_told_in_order_and_before_it_can_see() {
    for_seeds(8, |seed| {
        let shards = 1 + seed as usize % 3;
        let mut world = World::new(seed, Options { shards, chunk_max: 5000, ..Options::default() });
        let writer = joined(&mut world, 0);
        world.request(writer, 1, OpCode::Create, &create("/hot", b"0", AclVec::OPEN, 0));
        world.settle();
        let crowd: Vec<usize> = (0..90).map(|i| joined(&mut world, i % shards)).collect();
        let add = AddWatchRequest { path: Some("/hot".into()), mode: 0 }.to_vec();
        for &client in crowd.iter().chain([&writer]) {
            world.request(client, 5, OpCode::AddWatch, &add);
        }
        world.settle();
        let sets = 12;
        for xid in 0..sets {
            world.request(writer, 100 + xid, OpCode::SetData, &set_data("/hot", format!("{xid}").as_bytes(), -1));
            for _ in 0..world.rng.below(40) {
                let client = *world.rng.pick(&crowd);
                world.request(client, 7, OpCode::GetData, &read("/hot", false));
                world.step();
            }
        }
        world.settle();
        for &client in crowd.iter().chain([&writer]) {
            let all = heard(&world, client);
            let mut seen = Zxid(0);
            for (header, _) in &all {
                assert!(header.zxid >= seen, "by ascending zxid");
                if header.zxid > seen {
                    // The first that a connection gets of a new zxid is its event, never the state or the reply.
                    let is_old = header.xid == Xid(5) || header.xid == Xid(1);
                    assert!(is_old || header.xid == Xid::NOTIFICATION, "{header:?} is before the event");
                }
                seen = header.zxid;
            }
            let events = all.iter().filter(|(_, path)| path.is_some()).count();
            assert_eq!(events, sets as usize);
        }
    });
}
