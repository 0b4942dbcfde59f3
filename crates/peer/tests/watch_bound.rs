//! The bound for watches: what would go over it is refused, what is there can be asked for again, and who comes back with
//! its watches finds room for them.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use support::talk::{connect, create, read, set_data};
use support::world::{Options, World};
use wire::acl::AclVec;
use wire::frame::ReplyHeader;
use wire::request::GetChildrenPaginatedRequest;
use wire::{ErrorCode, Field, OpCode, SessionId, UStr, Zxid};

const MAX: usize = 20_000;

fn world() -> (World, usize) {
    let mut world =
        World::new(1, Options { shards: 2, watch_bytes_max: MAX, chunk_max: 1 << 20, ..Options::default() });
    let client = join(&mut world, 0);
    (world, client)
}

fn join(world: &mut World, shard: usize) -> usize {
    let client = world.open(shard);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    client
}

fn ask(world: &mut World, client: usize, xid: i32, op: OpCode, body: &[u8]) -> ErrorCode {
    world.request(client, xid, op, body);
    world.settle();
    let frames = world.frames(client);
    ReplyHeader::from_slice(frames.last().expect("a reply")).expect("a header").err
}

fn add_watch(path: &str, mode: i32) -> Vec<u8> {
    let mut body = Vec::new();
    let path: UStr<'_> = Some(path.into());
    path.write(&mut body);
    mode.write(&mut body);
    body
}

/// Data watches of so many paths, as they are set again.
fn set_watches(paths: usize) -> Vec<u8> {
    let mut body = Vec::new();
    0_i64.write(&mut body);
    let none: Vec<UStr<'_>> = Vec::new();
    let names: Vec<String> = (0..paths).map(|at| format!("/again-{at:04}")).collect();
    let all: Vec<UStr<'_>> = names.iter().map(|name| Some(name.as_str().into())).collect();
    Some(none.clone()).write(&mut body);
    Some(all).write(&mut body);
    Some(none).write(&mut body);
    body
}

/// Fills it with exists of paths that are not there; how many were taken.
fn fill(world: &mut World, client: usize) -> i32 {
    let mut taken = 0;
    while ask(world, client, 10 + taken, OpCode::Exists, &read(&format!("/{taken:07}"), true)) == ErrorCode::NO_NODE {
        taken += 1;
        assert!(taken < 1000, "there is a bound");
    }
    taken
}

#[test]
fn a_watch_too_many_is_refused_and_one_that_is_there_is_not() {
    let (mut world, client) = world();
    assert_eq!(ask(&mut world, client, 1, OpCode::Create, &create("/a", b"x", AclVec::OPEN, 0)), ErrorCode::OK);
    let taken = fill(&mut world, client);
    assert!((150..200).contains(&taken), "{taken} of 116 bytes");
    let full = ErrorCode::QUOTA_EXCEEDED;
    let watches = world.shards[0].watches().len();
    for (xid, op, body) in [
        (1001, OpCode::Exists, read("/new", true)),
        (1002, OpCode::GetData, read("/a", true)),
        (1003, OpCode::GetChildren, read("/a", true)),
        (1004, OpCode::GetChildren2, read("/a", true)),
        (1005, OpCode::AddWatch, add_watch("/a", 0)),
        (1006, OpCode::AddWatch, add_watch("/a", 1)),
        (1007, OpCode::GetChildren, read("/0000000", true)),
    ] {
        assert_eq!(ask(&mut world, client, xid, op, &body), full, "{op:?}");
    }
    assert_eq!(world.shards[0].watches().len(), watches);
    assert_eq!(ask(&mut world, client, 1010, OpCode::GetData, &read("/a", false)), ErrorCode::OK, "without a watch");
    assert_eq!(ask(&mut world, client, 1011, OpCode::Exists, &read("/0000000", true)), ErrorCode::NO_NODE, "as before");
    // One that fires leaves room for another.
    assert_eq!(ask(&mut world, client, 1012, OpCode::Create, &create("/0000001", b"", AclVec::OPEN, 0)), ErrorCode::OK);
    assert_eq!(ask(&mut world, client, 1013, OpCode::GetData, &read("/a", true)), ErrorCode::OK);
    // Behind a write a watch can't slip in.
    world.request(client, 1014, OpCode::SetData, &set_data("/a", b"y", 7));
    world.request(client, 1015, OpCode::Exists, &read("/slips", true));
    world.request(client, 1016, OpCode::SetData, &set_data("/a", b"y", 7));
    world.settle();
    let frames = world.frames(client);
    let header = ReplyHeader::from_slice(frames[frames.len() - 2]).expect("a header");
    assert_eq!((header.xid.0, header.err), (1015, full));
}

/// Bytes behind the last field mean nothing, so they hide no watch, and make none.
#[test]
fn bytes_behind_a_request_hide_no_watch() {
    let (mut world, client) = world();
    assert_eq!(ask(&mut world, client, 1, OpCode::Create, &create("/a", b"x", AclVec::OPEN, 0)), ErrorCode::OK);
    assert_eq!(ask(&mut world, client, 2, OpCode::AddWatch, &add_watch("/a", 1)), ErrorCode::OK);
    fill(&mut world, client);
    let full = ErrorCode::QUOTA_EXCEEDED;
    let watches = world.shards[0].watches().len();
    let page = |watch: bool| {
        let (path, max_returned, czxid_min, czxid_offset) = (Some("/a".into()), 1, Zxid(0), 0);
        GetChildrenPaginatedRequest { path, max_returned, czxid_min, czxid_offset, watch }.to_vec()
    };
    for (op, body, expected) in [
        (OpCode::Exists, read("/new", true), full),
        (OpCode::GetData, read("/a", true), full),
        (OpCode::GetChildren, read("/a", true), full),
        (OpCode::GetChildren2, read("/a", true), full),
        (OpCode::GetChildrenPaginated, page(true), full),
        (OpCode::AddWatch, add_watch("/a", 0), full),
        (OpCode::Exists, read("/new", false), ErrorCode::NO_NODE),
        (OpCode::GetData, read("/a", false), ErrorCode::OK),
        (OpCode::GetChildrenPaginated, page(false), ErrorCode::OK),
        (OpCode::AddWatch, add_watch("/a", 1), ErrorCode::OK),
        (OpCode::AddWatch, add_watch("/a", 2), ErrorCode::MARSHALLING_ERROR),
    ] {
        for behind in [&[][..], &[0], &[1], &[0, 0, 0, 0], &[0, 0, 0, 1]] {
            let body = [&body, behind].concat();
            assert_eq!(ask(&mut world, client, 1000, op, &body), expected, "{op:?}, then {behind:?}");
            // The same behind a write that is on its way, with which it would travel.
            world.request(client, 1001, OpCode::SetData, &set_data("/a", b"y", 7));
            world.request(client, 1002, op, &body);
            world.request(client, 1003, OpCode::SetData, &set_data("/a", b"y", 7));
            world.settle();
            let frames = world.frames(client);
            let header = ReplyHeader::from_slice(frames[frames.len() - 2]).expect("a header");
            assert_eq!((header.xid.0, header.err), (1002, expected), "{op:?}, then {behind:?}, behind a write");
        }
    }
    assert_eq!(world.shards[0].watches().len(), watches);
}

#[test]
fn the_other_shard_has_its_share_and_who_goes_leaves_room() {
    let (mut world, client) = world();
    let taken = fill(&mut world, client);
    let other = join(&mut world, 1);
    let of_other = fill(&mut world, other);
    assert!(of_other > taken / 3 && of_other < taken, "{of_other} beside {taken}: its share");
    world.hang_up(client);
    world.settle();
    assert_eq!(world.shards[0].watches().len(), 0);
    assert!(fill(&mut world, other) > of_other / 2, "there is room again");
}

#[test]
fn who_comes_back_with_its_watches_finds_room_and_nobody_finds_more() {
    let (mut world, client) = world();
    let taken = fill(&mut world, client) as usize;
    let back = join(&mut world, 0);
    assert_eq!(ask(&mut world, back, -8, OpCode::SetWatches, &set_watches(taken - 20)), ErrorCode::OK);
    assert_eq!(world.shards[0].watches().paths_of(world.clients[back].conn.slot), taken - 20);
    let hostile = join(&mut world, 0);
    world.request(hostile, -8, OpCode::SetWatches, &set_watches(3 * taken));
    world.settle();
    assert!(world.clients[hostile].closed && world.frames(hostile).len() == 1, "closed without an answer");
    assert!(!world.clients[back].closed);
}
