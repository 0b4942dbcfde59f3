//! Numbers at their end: versions, and those of sequential znodes.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use ostler_tree::TreeConfig;
use ostler_tree::restore::TreeBuilder;
use support::talk::{connect, create, set_data};
use support::world::{Options, World};
use wire::frame::ReplyHeader;
use wire::request::SetAclRequest;
use wire::response::PathResponse;
use wire::{AclVec, ErrorCode, Field, OpCode, Reader, SessionId, StatPersisted, Zxid};

/// A server with a znode `/s` that has this Stat, and a client.
fn with(stat: StatPersisted) -> (World, usize) {
    let mut builder = TreeBuilder::new(TreeConfig::default());
    builder.node("", None, -1, &StatPersisted::default()).expect("a root");
    builder.node("/s", Some(b"data"), -1, &stat).expect("a znode");
    let tree = builder.finish(Zxid(0)).expect("a tree");
    let mut world = World::of(1, Options { shards: 1, ..Options::default() }, tree);
    let client = world.open(0);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    (world, client)
}

/// The answers so far: the error of each, and the path that it names.
fn answers(world: &World, client: usize) -> Vec<(ErrorCode, Option<String>)> {
    let answer = |frame: &&[u8]| {
        let mut r = Reader::new(frame);
        let header: ReplyHeader = r.read().expect("a header");
        let path = r.read::<PathResponse<'_>>().ok().and_then(|it| it.path.map(|path| path.to_string()));
        (header.err, path)
    };
    world.frames(client)[1..].iter().map(answer).collect()
}

fn stat_of(world: &World) -> StatPersisted {
    assert_eq!(world.shared.pipeline_stats.digest_mismatches.get(), 0);
    world.shared.tree.read().get("/s").expect("it is there").stat_persisted()
}

/// ZOOKEEPER-4706: Apache's names are not unique any more from here on.
#[test]
fn when_the_numbers_are_used_up_no_sequential_znode_is_made() {
    let (mut world, client) = with(StatPersisted { cversion: i32::MAX - 1, ..StatPersisted::default() });
    for xid in 1..=3 {
        world.request(client, xid, OpCode::Create, &create("/s/q-", b"", AclVec::OPEN, 2));
    }
    world.request(client, 4, OpCode::Create, &create("/s/named", b"", AclVec::OPEN, 0));
    world.settle();
    assert_eq!(
        answers(&world, client),
        [
            (ErrorCode::OK, Some("/s/q-2147483646".to_owned())),
            (ErrorCode::QUOTA_EXCEEDED, None),
            (ErrorCode::QUOTA_EXCEEDED, None),
            (ErrorCode::OK, Some("/s/named".to_owned())),
        ]
    );
    assert_eq!(stat_of(&world).cversion, i32::MAX);
    let told = world.shared.quota_reports.lock().take_lines();
    assert!(told.len() == 1 && told[0].starts_with("/s: ") && told[0].contains("2 times"), "{told:?}");
    // Applied one by one, not while another is on its way.
    world.request(client, 5, OpCode::Create, &create("/s/q-", b"", AclVec::OPEN, 2));
    world.settle();
    world.request(client, 6, OpCode::Delete, &support::talk::delete("/s/named", -1));
    world.settle();
    let errors: Vec<ErrorCode> = answers(&world, client)[4..].iter().map(|(err, _)| *err).collect();
    assert_eq!(errors, [ErrorCode::QUOTA_EXCEEDED, ErrorCode::OK]);
    assert_eq!(stat_of(&world).cversion, i32::MAX);
}

/// ZOOKEEPER-4743: a znode of version -1 would be changed by those who expect that it has not changed.
#[test]
fn no_version_is_the_one_that_stands_for_any() {
    for (before, after) in [(i32::MAX, i32::MIN), (-3, -2), (-2, 0), (0, 1)] {
        let (mut world, client) = with(StatPersisted { version: before, aversion: before, ..StatPersisted::default() });
        world.request(client, 1, OpCode::SetData, &set_data("/s", b"next", before));
        let acl = SetAclRequest { path: Some("/s".into()), acl: AclVec::OPEN, version: before };
        world.request(client, 2, OpCode::SetAcl, &acl.to_vec());
        world.settle();
        assert_eq!((stat_of(&world).version, stat_of(&world).aversion), (after, after), "behind {before}");
    }
}
