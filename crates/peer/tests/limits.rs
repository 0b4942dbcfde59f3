//! Nothing is logged that a log record can't hold, and so nobody could read again.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use std::sync::atomic::Ordering::Relaxed;

use support::talk::{connect, create, random_write};
use support::world::{Options, World, for_seeds};
use wire::frame::ReplyHeader;
use wire::multi::{MultiOp, MultiRequest};
use wire::request::{CreateRequest, DeleteRequest};
use wire::txn::{CreateTxn, Txn, TxnEntry, TxnHeader};
use wire::{Acl, AclVec, ErrorCode, Field, OpCode, Reader, SessionId, Xid, Zxid};

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

/// What is deleted, and is not gone yet, leaves room for what is created behind it; a multi that fails takes none and gives
/// none.
#[test]
fn ephemerals_that_are_being_deleted_do_not_count() {
    let (mut world, client) = world();
    let long = |name: &str| format!("/{name}-{}", "x".repeat(LENGTH_MAX / 2 - 150));
    let make = |path: &str| create(path, b"", AclVec::OPEN, 1);
    let gone = |path: &str| support::talk::delete(path, -1);
    // All of it is undone, since there is no /none.
    let failing = |op: MultiOp<'_>| {
        let none = MultiOp::Delete(DeleteRequest { path: Some("/none".into()), version: -1 });
        MultiRequest { ops: vec![op, none] }.to_vec()
    };
    // Two of them fit, three don't.
    world.request(client, 0, OpCode::Create, &make(&long("a")));
    world.request(client, 1, OpCode::Create, &make(&long("b")));
    world.request(client, 2, OpCode::Create, &make(&long("c")));
    for round in 0..10 {
        world.request(client, 3, OpCode::Delete, &gone(&long("a")));
        if round % 2 == 0 {
            let path = Some(long("a").into());
            let again = CreateRequest { path, data: None, acl: AclVec::OPEN, flags: 1 };
            world.request(client, 4, OpCode::Multi, &failing(MultiOp::Create(OpCode::Create, again)));
            let other = DeleteRequest { path: Some(long("b").into()), version: -1 };
            world.request(client, 4, OpCode::Multi, &failing(MultiOp::Delete(other)));
        }
        world.request(client, 5, OpCode::Create, &make(&long("a")));
        world.request(client, 6, OpCode::Create, &make(&long("c")));
    }
    world.settle();
    let seen = errors(&world, client);
    let of = |xid: i32| seen.iter().filter(|(it, _)| *it == Xid(xid)).map(|(_, err)| *err).collect::<Vec<_>>();
    for (xid, expected) in [(0, ErrorCode::OK), (1, ErrorCode::OK), (2, ErrorCode::QUOTA_EXCEEDED)] {
        assert_eq!(of(xid), [expected]);
    }
    for (xid, expected) in [(3, ErrorCode::OK), (5, ErrorCode::OK), (6, ErrorCode::QUOTA_EXCEEDED)] {
        assert_eq!(of(xid), [expected; 10], "request {xid}");
    }
    world.request(client, 7, OpCode::CloseSession, &[]);
    world.settle();
    assert!(world.entries.iter().all(|entry| entry.bytes.len() <= LENGTH_MAX));
    assert_eq!(world.shared.tree.read().ephemeral_count(), 0);
}

/// What travels with a write is answered while nobody else looks at the tree, and many may: so names count as long as they are.
#[test]
fn a_list_of_long_names_does_not_travel_with_a_write() {
    let under_way = |name_bytes: usize| {
        let mut world = World::new(1, Options { chunk_max: 1 << 20, ..Options::default() });
        let client = world.open(0);
        world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
        world.request(client, 1, OpCode::Create, &create("/w", b"", AclVec::OPEN, 0));
        for child in 0..20 {
            let path = format!("/w/{child}{}", "n".repeat(name_bytes));
            world.request(client, 1, OpCode::Create, &create(&path, b"", AclVec::OPEN, 0));
        }
        world.settle();
        world.holds_log = true;
        world.request(client, 2, OpCode::Create, &create("/x", b"", AclVec::OPEN, 0));
        world.request(client, 3, OpCode::GetChildren, &support::talk::read("/w", false));
        world.request(client, 4, OpCode::Create, &create("/y", b"", AclVec::OPEN, 0));
        (0..3000).for_each(|_| world.step());
        let under_way = world.shared.in_flight.load(Relaxed);
        world.holds_log = false;
        world.settle();
        assert!(errors(&world, client).iter().all(|(_, err)| *err == ErrorCode::OK));
        under_way
    };
    assert_eq!(under_way(10), 2, "the list is between the two, on its way");
    assert_eq!(under_way(20_000), 1, "the second waits until the list is answered");
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

/// A session of a directory whose server had a higher limit: its end names none of its ephemerals, and takes them all.
#[test]
fn a_session_with_more_ephemerals_than_a_record_can_name_ends_all_the_same() {
    let session = SessionId(7);
    let options = Options { frame_max: LENGTH_MAX / 2, restored: vec![(session, 4000)], ..Options::default() };
    let mut world = World::new(1, options);
    for i in 0..200 {
        let path = Some(format!("/ephemeral-{i:03}").into());
        let txn = CreateTxn { path, data: None, acl: AclVec::OPEN, ephemeral: true, parent_cversion: i + 1 };
        let header = TxnHeader { session, cxid: Xid(0), zxid: Zxid(0), time_ms: 0, op: OpCode::Create };
        let entry = TxnEntry { header, txn: Txn::Create(txn), digest: None };
        world.shared.tree.write().apply(&entry, &mut Vec::new());
    }
    assert_eq!(world.shared.tree.read().ephemeral_count(), 200);
    for _ in 0..8 {
        world.pass(1000);
        world.settle();
    }
    assert_eq!(world.shared.tree.read().ephemeral_count(), 0);
    let [entry] = &world.entries[..] else { panic!("one txn: {:?}", world.entries) };
    assert!(entry.bytes.len() <= LENGTH_MAX);
    let parsed = TxnEntry::from_slice(&entry.bytes).expect("an entry");
    assert_eq!((parsed.txn, parsed.digest), (Txn::CloseSession(None), None), "Apache takes a digest here for a list");
}

/// Whatever clients ask for, what is logged can be read again by one whose limit is the same.
#[test]
fn all_that_is_logged_can_be_read_again() {
    for_seeds(60, |seed| {
        let options = Options { frame_max: LENGTH_MAX / 2, extended_types: true, ..Options::default() };
        let mut world = World::new(seed, options);
        for shard in 0..2 {
            let client = world.open(shard);
            world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
            for user in 0..10 {
                world.login(client, &format!("user-{user}:secret"));
            }
        }
        let auth = AclVec::encode(&(1..8).map(|perms| Acl::new(perms, "auth", "")).collect::<Vec<_>>());
        for xid in 1..120 {
            let client = world.rng.below(2);
            let length = 1 + world.rng.below(350);
            let path = format!("/{xid:03}{}", "p".repeat(length));
            let acl = if world.rng.chance(10) { AclVec::parse(&auth).expect("a list") } else { AclVec::OPEN };
            let flags = *world.rng.pick(&[0, 1, 1, 1, 2, 3]);
            let (op, body) = match world.rng.below(4) {
                0 => random_write(&mut world.rng),
                _ => (OpCode::Create, create(&path, b"data", acl, flags)),
            };
            if body.len() + 8 <= LENGTH_MAX / 2 {
                world.request(client, xid, op, &body);
            }
        }
        world.request(0, 500, OpCode::CloseSession, &[]);
        world.settle();
        for entry in &world.entries {
            assert!(entry.bytes.len() <= LENGTH_MAX, "{} bytes", entry.bytes.len());
            let parsed = Reader::with_limit(&entry.bytes, LENGTH_MAX).read::<TxnEntry<'_>>();
            assert!(parsed.is_ok(), "{parsed:?}");
        }
        assert_eq!(world.shared.pipeline_stats.digest_mismatches.get(), 0);
    });
}
