//! Many sessions that end at once, sessions with very many ephemerals, and servers that sleep.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use ostler_tree::TreeConfig;
use ostler_tree::digest::node_digest;
use ostler_tree::restore::TreeBuilder;
use support::check::check;
use support::talk::{connect, create, set_data};
use support::world::{Entry, Options, World};
use wire::acl::AclVec;
use wire::multi::{MultiOp, MultiRequest};
use wire::request::{CreateRequest, DeleteRequest, SetAclRequest};
use wire::txn::{Txn, TxnEntry};
use wire::{Field, OpCode, SessionId, StatPersisted, Zxid};

fn joined(world: &mut World, shard: usize, timeout_ms: i32) -> (usize, SessionId) {
    let client = world.open(shard);
    world.write(client, &connect(SessionId(0), Zxid(0), timeout_ms));
    world.settle();
    let (session, _) = world.session(client).expect("a session");
    (client, session)
}

fn op(entry: &Entry) -> OpCode {
    TxnEntry::from_slice(&entry.bytes).expect("an entry").header.op
}

/// The most closeSession txns that the server has under way for sessions that ran out of time.
const UNDER_WAY_MAX: usize = 128;

#[test]
fn a_storm_of_expiries_lets_everybody_else_through() {
    let crowd = 100_000;
    let restored = (1..=crowd).map(|id| (SessionId(id), 4000)).collect();
    let mut world = World::new(1, Options { restored, ..Options::default() });
    let (client, session) = joined(&mut world, 0, 4000);
    assert_eq!(world.pipeline.session_count(), crowd as usize + 1);
    let mut xid = 0;
    // Long before the storm is over, more time passes than the one who is there may be silent for.
    while world.pipeline.session_count() > 1 {
        world.pass(100);
        xid += 1;
        world.request(client, xid, OpCode::Create, &create(&format!("/{xid:05}"), b"", AclVec::OPEN, 0));
        let replies = world.frames(client).len();
        while world.frames(client).len() == replies {
            world.step();
            let unacknowledged = world.entries.iter().rev().take_while(|entry| entry.zxid > world.logged);
            let ends = unacknowledged.filter(|entry| op(entry) == OpCode::CloseSession).count();
            // A write that comes now stands behind these, and no others.
            assert!(ends <= UNDER_WAY_MAX, "{ends} at once");
        }
    }
    assert!(xid > 100, "the storm lasted: {xid} writes were done in it");
    assert!(!world.clients[client].closed && world.session(client).is_some_and(|(id, _)| id == session));
}

#[test]
fn a_session_and_its_ten_thousand_ephemerals_go_in_one_txn() {
    let mut world = World::new(1, Options { chunk_max: 1 << 20, ..Options::default() });
    let (watcher, _) = joined(&mut world, 1, 40_000);
    let (client, session) = joined(&mut world, 0, 10_000);
    world.request(client, 1, OpCode::Create, &create("/members", &vec![7; 900_000], AclVec::OPEN, 0));
    let applied = 10_000;
    for xid in 2..applied + 2 {
        world.request(client, xid, OpCode::Create, &create(&format!("/members/{xid:06}"), b"", AclVec::OPEN, 1));
    }
    // One that is replaced, one that is deleted, one that is made twice; and the last ones are not applied yet.
    world.settle();
    world.request(client, 20_000, OpCode::Delete, &support::talk::delete("/members/000002", -1));
    world.request(client, 20_001, OpCode::Create, &create("/members/000002", b"stays", AclVec::OPEN, 0));
    world.request(client, 20_002, OpCode::Delete, &support::talk::delete("/members/000003", -1));
    world.request(client, 20_003, OpCode::Create, &create("/members/x", b"", AclVec::OPEN, 1));
    world.request(client, 20_004, OpCode::Delete, &support::talk::delete("/members/x", -1));
    world.request(client, 20_005, OpCode::Create, &create("/members/x", b"", AclVec::OPEN, 1));
    world.request(client, 20_006, OpCode::SetData, &set_data("/members/000004", b"set", 0));
    world.request(client, 20_007, OpCode::CloseSession, &[]);
    world.request(watcher, 1, OpCode::GetChildren, &support::talk::read("/members", true));
    world.settle();
    let last = TxnEntry::from_slice(&world.entries.last().expect("an entry").bytes).expect("an entry");
    assert_eq!((last.header.op, last.header.session), (OpCode::CloseSession, session));
    let Txn::CloseSession(Some(txn)) = &last.txn else { panic!("{last:?}") };
    let mut paths: Vec<&str> = txn.paths_to_delete.iter().flatten().filter_map(|p| p.as_deref()).collect();
    paths.sort_unstable();
    let mut expected: Vec<String> = (4..applied + 2).map(|xid| format!("/members/{xid:06}")).collect();
    expected.push("/members/x".to_owned());
    assert_eq!(paths, expected, "each of them once");
    let tree = world.shared.tree.read();
    assert_eq!((tree.ephemeral_count(), tree.get("/members").expect("it stays").child_count()), (0, 1));
    assert_eq!(world.shared.pipeline_stats.digest_mismatches.get(), 0);
}

/// A digest that is planted tells whether the data behind it was read again: a frame may hold 20,000 such creations.
#[test]
fn who_comes_and_goes_below_much_data_makes_nobody_read_it() {
    let mut builder = TreeBuilder::new(TreeConfig::default());
    let stat = StatPersisted::default();
    builder.node("", None, -1, &stat).expect("a root");
    builder.node_known("/a", Some(&[1; 5000]), -1, &stat, 0x4d).expect("a znode");
    let tree = builder.finish(Zxid(0)).expect("a tree");
    let planted = node_digest("/a", Some(&[1; 5000]), &stat) ^ 0x4d;
    let mut world = World::of(1, Options::default(), tree);
    let (client, _) = joined(&mut world, 0, 4000);
    let child = |path: &'static str| CreateRequest { path: Some(path.into()), data: None, acl: AclVec::OPEN, flags: 0 };
    let ops = vec![
        MultiOp::Create(OpCode::Create, child("/a/1")),
        MultiOp::Create(OpCode::Create, child("/a/2")),
        MultiOp::Delete(DeleteRequest { path: Some("/a/1".into()), version: -1 }),
    ];
    world.request(client, 1, OpCode::Multi, &MultiRequest { ops }.to_vec());
    world.request(client, 2, OpCode::Create, &create("/a/mine", b"", AclVec::OPEN, 1));
    let open_acl = SetAclRequest { path: Some("/a".into()), acl: AclVec::OPEN, version: -1 };
    world.request(client, 3, OpCode::SetAcl, &open_acl.to_vec());
    world.request(client, 4, OpCode::CloseSession, &[]);
    world.settle();
    let tree = world.shared.tree.read();
    let node = tree.get("/a").expect("it is there");
    assert_eq!((node.child_count(), node.stat_persisted().cversion, node.stat_persisted().aversion), (1, 3, 1));
    let whole = node_digest("/a", node.data(), &node.stat_persisted());
    assert_eq!(node.digest(), whole ^ planted, "made of what was there, and of the Stat");
    let last = TxnEntry::from_slice(&world.entries.last().expect("an entry").bytes).expect("an entry");
    assert_eq!(last.digest.expect("a digest").digest, tree.digest().0);
    assert_eq!(world.shared.pipeline_stats.digest_mismatches.get(), 0, "prep does the same");
}

/// What clients sent while the server was stopped is in the sockets; who has sent nothing has not been silent either.
#[test]
fn a_server_that_slept_ends_no_session_for_it() {
    for seed in 0..50 {
        let mut world = World::new(seed, Options::default());
        let (pinging, stays) = joined(&mut world, 0, 4000);
        let (quiet, goes) = joined(&mut world, 1, 4000);
        let heard = *world.clients[quiet].heard_ms.last().expect("it spoke");
        world.pass(1000);
        world.request(pinging, -2, OpCode::Ping, &[]);
        world.sleep(60_000);
        world.settle();
        assert_eq!(world.pipeline.session_count(), 2, "seed {seed}");
        for _ in 0..20 {
            world.pass(500);
            world.request(pinging, -2, OpCode::Ping, &[]);
            world.settle();
        }
        let history = check(&world);
        assert!(!history.closed.contains_key(&stays.0), "seed {seed}");
        let (_, by, at_ms) = history.closed[&goes.0];
        let due = heard + 60_000 + 4000;
        assert!(by == 0 && (due..=due + 3000).contains(&at_ms), "the quiet one has its time: {at_ms}, due {due}");
    }
}

/// A shard that is late says that it hears its clients, whose frames wait in the sockets.
#[test]
fn a_session_does_not_end_while_its_words_are_in_the_socket() {
    let mut world = World::new(1, Options::default());
    let (speaking, stays) = joined(&mut world, 0, 4000);
    let (silent, goes) = joined(&mut world, 1, 4000);
    for _ in 0..4 {
        // Sent, and not read: the shard does other things, and is asked in between.
        world.request(speaking, -2, OpCode::Ping, &[]);
        world.clients[speaking].is_unread = true;
        world.pass(7000);
        world.settle();
    }
    world.clients[speaking].is_unread = false;
    world.settle();
    let history = check(&world);
    assert!(history.closed.contains_key(&goes.0), "{:?}", history.closed);
    assert!(!history.closed.contains_key(&stays.0), "{:?}", history.closed);
    assert!(world.clients[silent].closed && !world.clients[speaking].closed);
}

/// Its socket is not read while it has too much to read itself; but it takes some of it, and it pings.
#[test]
fn a_client_that_reads_slowly_and_pings_keeps_its_session() {
    let mut world = World::new(1, Options { out_pause: 1000, ..Options::default() });
    let (slow, session) = joined(&mut world, 0, 4000);
    world.request(slow, 1, OpCode::Create, &create("/data", &[1; 5000], AclVec::OPEN, 0));
    world.request(slow, 2, OpCode::Create, &create("/mine", b"", AclVec::OPEN, 1));
    world.settle();
    // The test takes for it.
    world.clients[slow].is_deaf = true;
    for xid in 3..6 {
        world.request(slow, xid, OpCode::GetData, &support::talk::read("/data", false));
    }
    world.settle();
    let conn = world.clients[slow].conn;
    for second in 0..30 {
        world.pass(1000);
        world.request(slow, -2, OpCode::Ping, &[]);
        if second % 3 == 2 {
            world.take(slow, 100);
        }
        world.settle();
        assert!(!world.shards[0].wants_read(conn), "nothing is read from it");
        assert!(world.shared.tree.read().get("/mine").is_some(), "after {second} s");
    }
    let taken_ms = world.now.mono_ms();
    while world.pipeline.session_count() > 0 {
        world.pass(500);
        world.settle();
        assert!(world.now.mono_ms() <= taken_ms + 4000 + support::world::TICK_MS, "it takes nothing any more");
    }
    let last = TxnEntry::from_slice(&world.entries.last().expect("an entry").bytes).expect("an entry");
    assert_eq!((last.header.op, last.header.session), (OpCode::CloseSession, session));
}

/// A client that sends without end and does not read what it is answered is not read any more. Its session ends, however
/// much is in its socket.
#[test]
fn a_client_that_does_not_read_is_silent() {
    let mut world = World::new(1, Options { out_pause: 1000, ..Options::default() });
    let (deaf, goes) = joined(&mut world, 0, 4000);
    world.request(deaf, 1, OpCode::Create, &create("/data", &[1; 5000], AclVec::OPEN, 0));
    world.settle();
    world.clients[deaf].is_deaf = true;
    for xid in 2..50 {
        world.request(deaf, xid, OpCode::GetData, &support::talk::read("/data", false));
    }
    for _ in 0..20 {
        world.pass(1000);
        world.settle();
    }
    assert_eq!(world.pipeline.session_count(), 0);
    let last = TxnEntry::from_slice(&world.entries.last().expect("an entry").bytes).expect("an entry");
    assert_eq!((last.header.op, last.header.session), (OpCode::CloseSession, goes));
}
