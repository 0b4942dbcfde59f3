//! Nothing is logged that a log record can't hold, and so nobody could read again.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use support::talk::{connect, create};
use support::world::{Options, World};
use wire::frame::ReplyHeader;
use wire::{Acl, AclVec, ErrorCode, Field, OpCode, SessionId, Xid, Zxid};

/// What strings, buffers and txns may be long: twice the longest frame.
const LENGTH_MAX: usize = 800;

fn world() -> (World, usize) {
    let mut world = World::new(1, Options { frame_max: LENGTH_MAX / 2, ..Options::default() });
    let client = world.open(0);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    (world, client)
}

fn errors(world: &World, client: usize) -> Vec<(Xid, ErrorCode)> {
    let frames = world.frames(client);
    let headers = frames[1..].iter().map(|frame| ReplyHeader::from_slice(frame).expect("a header"));
    headers.map(|header| (header.xid, header.err)).collect()
}

#[test]
fn a_session_gets_no_more_ephemerals_than_its_end_can_name() {
    let (mut world, client) = world();
    // Pipelined, so that most are outstanding when the next one is prepared.
    for i in 0..100 {
        world.request(client, i, OpCode::Create, &create(&format!("/ephemeral-{i:03}"), b"", AclVec::OPEN, 1));
    }
    world.settle();
    let created = errors(&world, client).iter().filter(|(_, err)| *err == ErrorCode::OK).count();
    let refused = errors(&world, client).iter().filter(|(_, err)| *err == ErrorCode::QUOTA_EXCEEDED).count();
    assert_eq!((created, created + refused), ((LENGTH_MAX - 48) / 18, 100));
    world.request(client, 200, OpCode::Delete, &support::talk::delete("/ephemeral-000", -1));
    world.settle();
    world.request(client, 201, OpCode::Create, &create("/ephemeral-200", b"", AclVec::OPEN, 1));
    world.request(client, 202, OpCode::CloseSession, &[]);
    world.settle();
    let last = errors(&world, client).split_off(100);
    assert_eq!(last, [200, 201, 202].map(|xid| (Xid(xid), ErrorCode::OK)), "there is room again, and the end fits");
    assert!(world.entries.iter().all(|entry| entry.bytes.len() <= LENGTH_MAX));
    assert_eq!(world.shared.tree.read().ephemeral_count(), 0);
}

#[test]
fn a_list_that_grows_with_the_identities_is_refused() {
    let (mut world, client) = world();
    for i in 0..20 {
        world.login(client, &format!("user-{i}:secret"));
    }
    let auth: Vec<Acl> = (1..10).map(|perms| Acl::new(perms, "auth", "")).collect();
    let auth = AclVec::encode(&auth);
    let acl = AclVec::parse(&auth).expect("a list");
    world.request(client, 100, OpCode::Create, &create("/grown", b"", acl, 0));
    world.request(client, 101, OpCode::Exists, &support::talk::read("/grown", false));
    world.request(client, 102, OpCode::Create, &create("/grown", b"", AclVec::OPEN, 0));
    world.settle();
    let last = errors(&world, client).split_off(20);
    let expected = [(100, ErrorCode::QUOTA_EXCEEDED), (101, ErrorCode::NO_NODE), (102, ErrorCode::OK)];
    assert_eq!(last, expected.map(|(xid, err)| (Xid(xid), err)), "and nothing of it is left in what is outstanding");
    assert!(world.entries.iter().all(|entry| entry.bytes.len() <= LENGTH_MAX));
    assert_eq!(world.shared.pipeline_stats.digest_mismatches.get(), 0);
}
