//! Requests that are small and become large, or make much work: what `auth` stands for, usages of quotas in a multi, lists
//! that are checked again and again, names as long as a frame.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use std::sync::atomic::Ordering::Relaxed;

use ostler_peer::stats::NAMESPACE_BYTES_MAX;
use support::talk::{connect, create, read};
use support::world::{Options, World};
use wire::acl::ALL;
use wire::frame::ReplyHeader;
use wire::multi::{MultiOp, MultiRequest};
use wire::request::CreateRequest;
use wire::{Acl, AclVec, ErrorCode, Field, OpCode, SessionId, Zxid};

/// A world with one client.
fn one() -> (World, usize) {
    let mut world = World::new(1, Options { shards: 1, chunk_max: 1 << 20, ..Options::default() });
    let client = world.open(0);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    (world, client)
}

/// What the client has written arrives at once.
fn arrive(world: &mut World, client: usize) {
    let found = &mut world.clients[client];
    let (conn, bytes) = (found.conn, found.unfed.drain(..).collect::<Vec<u8>>());
    world.shards[conn.shard as usize].receive(world.now, &world.shared, conn, &bytes);
    world.collect();
}

fn last_error(world: &World, client: usize) -> ErrorCode {
    ReplyHeader::from_slice(world.frames(client).last().expect("a reply")).expect("a header").err
}

/// So many different entries that stand for all identities.
fn auth_list(entries: usize) -> Vec<u8> {
    let list: Vec<Acl> = (0..entries).map(|n| Acl::new(ALL, "auth", n.to_string())).collect();
    AclVec::encode(&list)
}

fn multi(ops: Vec<CreateRequest<'_>>) -> Vec<u8> {
    MultiRequest { ops: ops.into_iter().map(|it| MultiOp::Create(OpCode::Create, it)).collect() }.to_vec()
}

fn log_in(world: &mut World, client: usize, times: usize) {
    for n in 0..times {
        world.login(client, &format!("user-with-a-long-name-{n}:secret"));
    }
    world.settle();
}

#[test]
fn what_grows_is_let_in_one_by_one() {
    let (mut world, client) = one();
    log_in(&mut world, client, 20);
    let list = auth_list(20);
    for xid in 1..=30 {
        let body = create(&format!("/{xid}"), b"", AclVec::of_encoded(&list), 0);
        world.request(client, xid, OpCode::Create, &body);
    }
    arrive(&mut world, client);
    assert_eq!(world.shared.in_flight.load(Relaxed), 1);
    world.settle();
    assert_eq!(world.frames(client).len(), 1 + 20 + 30, "each has its answer");
    assert_eq!(last_error(&world, client), ErrorCode::OK);
    // Those that don't grow go together.
    for xid in 31..=60 {
        world.request(client, xid, OpCode::Create, &create(&format!("/{xid}"), b"", AclVec::OPEN, 0));
    }
    arrive(&mut world, client);
    assert_eq!(world.shared.in_flight.load(Relaxed), 30);
    world.settle();
}

#[test]
fn a_request_has_one_bound_for_all_its_lists() {
    let (mut world, client) = one();
    log_in(&mut world, client, 100);
    // 100 entries of 100 identities, some 60 bytes each: 0.7 MB, and four times that is too much.
    let list = auth_list(100);
    let paths: Vec<String> = (0..4).map(|n| format!("/{n}")).collect();
    let ops = |count: usize| {
        let one = |path| CreateRequest { path: Some(path), data: None, acl: AclVec::of_encoded(&list), flags: 0 };
        multi(paths[..count].iter().map(|path| one(path.as_str().into())).collect())
    };
    world.request(client, 1, OpCode::Multi, &ops(4));
    world.settle();
    world.request(client, 2, OpCode::Exists, &read("/0", false));
    world.settle();
    assert_eq!(last_error(&world, client), ErrorCode::NO_NODE, "all or none");
    world.request(client, 3, OpCode::Multi, &ops(1));
    world.request(client, 4, OpCode::Exists, &read("/0", false));
    world.settle();
    assert_eq!(last_error(&world, client), ErrorCode::OK);
}

#[test]
fn a_multi_creates_so_many_usages() {
    let (mut world, client) = one();
    let directories: Vec<String> = (0..9).map(|n| format!("/zookeeper/quota/q{n}")).collect();
    let paths: Vec<String> = directories.iter().map(|path| format!("{path}/zookeeper_stats")).collect();
    for path in &directories {
        world.request(client, 1, OpCode::Create, &create(path, b"", AclVec::OPEN, 0));
    }
    let ops = |count: usize| {
        let one = |path| CreateRequest { path: Some(path), data: None, acl: AclVec::OPEN, flags: 0 };
        multi(paths[..count].iter().map(|path| one(path.as_str().into())).collect())
    };
    for (count, is_there) in [(9, ErrorCode::NO_NODE), (8, ErrorCode::OK)] {
        world.request(client, 2, OpCode::Multi, &ops(count));
        world.request(client, 3, OpCode::Exists, &read(&paths[0], false));
        world.settle();
        assert_eq!(last_error(&world, client), is_there, "{count}");
    }
}

#[test]
fn long_names_are_no_namespaces() {
    let (mut world, client) = one();
    for length in [NAMESPACE_BYTES_MAX, NAMESPACE_BYTES_MAX + 1] {
        let path = format!("/{}", "n".repeat(length));
        world.request(client, 1, OpCode::Create, &create(&path, b"", AclVec::OPEN, 0));
        world.request(client, 2, OpCode::GetData, &read(&path, false));
    }
    world.settle();
    let names = |all: &ostler_peer::stats::Namespaces| all.get().keys().map(|name| name.len()).collect::<Vec<_>>();
    assert_eq!(names(&world.shared.pipeline_stats.writes), [NAMESPACE_BYTES_MAX]);
    assert_eq!(names(&world.shared.shard_stats[0].reads), [NAMESPACE_BYTES_MAX]);
}
