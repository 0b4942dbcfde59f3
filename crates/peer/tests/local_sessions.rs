//! Sessions that only their own server knows: no txn makes or ends them, they have no ephemerals, and one that wants an
//! ephemeral becomes like the others first, where that is allowed.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use ostler_peer::LocalSessions;
use support::check::check;
use support::talk::{connect, create, random_read, random_write, read, set_data};
use support::world::{Options, World, for_seeds};
use wire::acl::AclVec;
use wire::connect::ConnectResponse;
use wire::frame::ReplyHeader;
use wire::multi::{MultiOp, MultiRequest};
use wire::request::{CreateRequest, CreateTtlRequest};
use wire::txn::TxnEntry;
use wire::{Field, OpCode, SessionId, Zxid};

fn world(local_sessions: LocalSessions) -> World {
    World::new(1, Options { local_sessions, ..Options::default() })
}

fn joined(world: &mut World, shard: usize) -> (usize, SessionId) {
    let client = world.open(shard);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    (client, world.session(client).expect("a session").0)
}

fn headers(world: &World, client: usize) -> Vec<(i32, i64, i32)> {
    let frames = world.frames(client);
    let headers = frames[1..].iter().map(|frame| ReplyHeader::from_slice(frame).expect("a header"));
    headers.map(|h| (h.xid.0, h.zxid.0, h.err.0)).collect()
}

fn logged(world: &World) -> Vec<(OpCode, SessionId)> {
    let header = |bytes: &[u8]| TxnEntry::from_slice(bytes).expect("an entry").header;
    world.entries.iter().map(|entry| header(&entry.bytes)).map(|h| (h.op, h.session)).collect()
}

fn in_snapshots(world: &World) -> Vec<SessionId> {
    world.pipeline.sessions_of_txns().into_iter().map(|(id, _)| id).collect()
}

const EPHEMERAL: i32 = 1;

#[test]
fn no_txn_makes_or_ends_a_local_session() {
    let mut world = world(LocalSessions::On);
    let (client, session) = joined(&mut world, 0);
    assert!(world.entries.is_empty() && in_snapshots(&world).is_empty());
    world.request(client, 1, OpCode::Create, &create("/a", b"", AclVec::OPEN, 0));
    world.request(client, 2, OpCode::GetData, &read("/a", false));
    world.request(client, 3, OpCode::SetData, &set_data("/a", b"x", 0));
    world.request(client, 4, OpCode::Exists, &read("/a", false));
    world.request(client, 5, OpCode::CloseSession, &[]);
    world.request(client, 6, OpCode::Delete, &support::talk::delete("/a", -1));
    world.settle();
    // The answer to closeSession comes behind those of the writes before it, with what is applied then.
    assert_eq!(headers(&world, client), [(1, 1, 0), (2, 1, 0), (3, 2, 0), (4, 2, 0), (5, 2, 0)]);
    assert!(world.clients[client].closed);
    assert_eq!(logged(&world), [(OpCode::Create, session), (OpCode::SetData, session)]);
    assert_eq!(world.pipeline.session_count(), 0);
    check(&world);
    let again = world.open(0);
    world.write(again, &connect(session, Zxid(0), 10_000));
    world.settle();
    assert_eq!(world.frames(again), [&ConnectResponse::expired(Some(false)).to_vec()[..]]);
}

#[test]
fn a_local_session_goes_on_at_another_connection_and_ends_in_time() {
    let mut world = world(LocalSessions::On);
    let (old, session) = joined(&mut world, 0);
    let new = world.open(1);
    world.write(new, &connect(session, Zxid(0), 12_000));
    world.settle();
    assert_eq!(world.session(new), Some((session, 12_000)));
    assert!(world.clients[old].closed && !world.clients[new].closed);
    for _ in 0..16 {
        world.pass(1000);
        world.settle();
    }
    assert!(world.clients[new].closed);
    assert_eq!((world.pipeline.session_count(), logged(&world)), (0, Vec::new()));
    // One that is closed by another connection than its own.
    let (first, session) = joined(&mut world, 0);
    let second = world.open(1);
    world.write(second, &connect(session, Zxid(0), 10_000));
    world.request(first, 1, OpCode::CloseSession, &[]);
    world.settle();
    assert!(world.clients[first].closed);
    assert_eq!(world.pipeline.session_count() == 0, world.clients[second].closed);
}

#[test]
fn without_upgrading_an_ephemeral_is_refused_in_its_turn() {
    let mut world = world(LocalSessions::On);
    let (client, session) = joined(&mut world, 0);
    let nine = create("/e", b"", AclVec::OPEN, 9);
    world.request(client, 1, OpCode::Create, &nine);
    for (xid, flags) in [(2, 1), (3, 3)] {
        world.request(client, xid, OpCode::Create, &create("/e", b"", AclVec::OPEN, flags));
        world.request(client, xid + 10, OpCode::Create2, &create("no-slash", b"", AclVec::OPEN, flags));
    }
    let sub = |path: &'static str, flags: i32| {
        let request = CreateRequest { path: Some(path.into()), data: None, acl: AclVec::OPEN, flags };
        MultiOp::Create(OpCode::Create, request)
    };
    let ops = vec![sub("/p", 0), sub("/e", EPHEMERAL), sub("/q", 0)];
    world.request(client, 4, OpCode::Multi, &MultiRequest { ops }.to_vec());
    world.request(client, 5, OpCode::Exists, &read("/p", false));
    world.settle();
    let errors: Vec<(i32, i32)> = headers(&world, client).iter().map(|&(xid, _, err)| (xid, err)).collect();
    // Flags that are none come before it, a bad path after it.
    assert_eq!(errors, [(1, -8), (2, -120), (12, -120), (3, -120), (13, -120), (4, 0), (5, -101)]);
    check(&world);
    assert_eq!(in_snapshots(&world), []);
    assert!(logged(&world).iter().all(|&(op, by)| op != OpCode::CreateSession && by == session));
}

#[test]
fn an_ephemeral_makes_a_session_that_everybody_knows_first() {
    let ephemeral = CreateRequest { path: Some("/m".into()), data: None, acl: AclVec::OPEN, flags: 3 };
    let of_ttl = CreateTtlRequest { path: Some("/m".into()), data: None, acl: AclVec::OPEN, flags: 1, ttl: -1 };
    let in_multi = |op: MultiOp<'_>| MultiRequest { ops: vec![op] }.to_vec();
    for (op, body) in [
        (OpCode::Create, create("/e", b"", AclVec::OPEN, 1)),
        (OpCode::Create2, create("/e", b"", AclVec::OPEN, 3)),
        (OpCode::Multi, in_multi(MultiOp::Create(OpCode::Create2, ephemeral))),
        (OpCode::Multi, in_multi(MultiOp::CreateTtl(of_ttl))),
    ] {
        let mut world = world(LocalSessions::Upgrading);
        let (client, session) = joined(&mut world, 0);
        world.request(client, 1, OpCode::Create, &create("/plain", b"", AclVec::OPEN, 0));
        world.settle();
        assert_eq!(world.pipeline.local_session_count(), 1);
        world.request(client, 2, op, &body);
        world.request(client, 3, op, &body);
        world.settle();
        let ops: Vec<OpCode> = logged(&world).iter().map(|&(op, _)| op).collect();
        assert_eq!(ops[..3], [OpCode::Create, OpCode::CreateSession, op], "upgraded once, and before it");
        assert_eq!((world.pipeline.local_session_count(), in_snapshots(&world)), (0, vec![session]));
        assert!(world.shared.tree.read().ephemeral_count() > 0);
        // From now on it ends like any other, with all that it has.
        world.request(client, 4, OpCode::CloseSession, &[]);
        world.settle();
        assert_eq!(logged(&world).last(), Some(&(OpCode::CloseSession, session)));
        assert_eq!(world.shared.tree.read().ephemeral_count(), 0);
        check(&world);
    }
}

#[test]
fn what_can_not_be_read_and_what_is_no_ephemeral_upgrades_nothing() {
    let mut world = world(LocalSessions::Upgrading);
    let (client, _) = joined(&mut world, 0);
    let whole = create("/e", b"", AclVec::OPEN, EPHEMERAL);
    world.request(client, 1, OpCode::Create, &whole[..whole.len() - 1]);
    world.request(client, 2, OpCode::CreateContainer, &create("/c", b"", AclVec::OPEN, 4));
    world.request(client, 3, OpCode::Multi, &MultiRequest::default().to_vec());
    world.request(client, 4, OpCode::SetData, &set_data("/c", b"", -1));
    world.settle();
    assert_eq!(world.pipeline.local_session_count(), 1);
    assert!(logged(&world).iter().all(|&(op, _)| op != OpCode::CreateSession));
    check(&world);
}

/// An upgrade that is not applied yet when the session ends, or when a snapshot begins.
#[test]
fn an_upgrade_on_its_way_is_in_no_snapshot_and_is_ended_by_a_txn() {
    for seed in 0..50 {
        let mut world = World::new(seed, Options { local_sessions: LocalSessions::Upgrading, ..Options::default() });
        let (client, session) = joined(&mut world, 0);
        world.request(client, 1, OpCode::Create, &create("/e", b"", AclVec::OPEN, EPHEMERAL));
        world.request(client, 2, OpCode::CloseSession, &[]);
        while world.entries.len() < 3 {
            world.step();
            let made = world.applied() >= Zxid(1);
            assert_eq!(in_snapshots(&world).contains(&session), made && world.applied() < Zxid(3));
        }
        world.settle();
        let ops: Vec<OpCode> = logged(&world).iter().map(|&(op, _)| op).collect();
        assert_eq!(ops, [OpCode::CreateSession, OpCode::Create, OpCode::CloseSession]);
        assert_eq!((world.pipeline.session_count(), world.shared.tree.read().ephemeral_count()), (0, 0));
        check(&world);
    }
}

/// Lives with time passing: clients speak, fall silent, lose connections, come back on another shard, leave.
#[test]
fn random_lives() {
    for_seeds(80, |seed| {
        let local_sessions = if seed % 3 == 0 { LocalSessions::On } else { LocalSessions::Upgrading };
        let mut world = World::new(seed, Options { local_sessions, shards: 2, pause_ms_max: 25, ..Options::default() });
        let mut sessions: Vec<SessionId> = Vec::new();
        let mut all: Vec<usize> = Vec::new();
        for xid in 1..150 {
            if all.is_empty() || world.rng.chance(8) {
                let shard = world.rng.below(2);
                let client = world.open(shard);
                let session =
                    if sessions.is_empty() || world.rng.chance(30) { SessionId(0) } else { *world.rng.pick(&sessions) };
                world.write(client, &connect(session, Zxid(0), 4000));
                all.push(client);
            }
            let client = *world.rng.pick(&all);
            let (op, body) = match world.rng.below(10) {
                0..4 => random_write(&mut world.rng),
                _ if world.rng.chance(3) => (OpCode::CloseSession, Vec::new()),
                _ => random_read(&mut world.rng, Zxid(0)),
            };
            world.request(client, xid, op, &body);
            for _ in 0..world.rng.below(40) {
                world.step();
            }
            if world.rng.chance(4) {
                world.hang_up(client);
            }
            sessions.extend(world.session(client).map(|(session, _)| session));
        }
        world.settle();
        for _ in 0..20 {
            world.pass(1000);
            world.settle();
        }
        let history = check(&world);
        assert_eq!(world.pipeline.session_count(), 0, "seed {seed}: everybody has gone silent");
        assert!(history.states.last().expect("a state").owners().is_empty(), "no ephemeral is left");
        assert_eq!(history.sessions.len(), history.closed.len(), "what a txn made, a txn ended");
        assert!(local_sessions == LocalSessions::Upgrading || history.sessions.is_empty());
    });
}

/// A wrong password, a foreign id: as with any session.
#[test]
fn a_local_session_has_a_password_too() {
    let mut world = world(LocalSessions::On);
    let (client, session) = joined(&mut world, 0);
    for (id, password) in [(session, [1; 16]), (SessionId(session.0 + 1), ostler_peer::session::password(session))] {
        let other = world.open(1);
        world.write(other, &support::talk::connect_with(id, &password, Zxid(0), 10_000));
        world.settle();
        assert_eq!(world.frames(other), [&ConnectResponse::expired(Some(false)).to_vec()[..]]);
    }
    assert!(!world.clients[client].closed);
}
