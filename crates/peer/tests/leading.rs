//! A pipeline that leads an ensemble, driven by hand: what it takes from learners, and what it does not.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use bytes::Bytes;
use ostler_peer::{LogAhead, LogRoom, Pipeline, Wish};
use support::talk::{connect_with, create};
use support::world::{Options, World};
use wire::acl::AclVec;
use wire::quorum::Forwarded;
use wire::txn::{SetDataTxn, Txn, TxnEntry, TxnHeader};
use wire::{ErrorCode, Field, OpCode, SessionId, Xid, Zxid};
use zab::ConnId;

const LEARNER: ConnId = ConnId(7);
/// Of a learner, server 2.
const SESSION: SessionId = SessionId(0x0200_0000_0000_0001);

/// A leader of epoch 1, and a session of a learner's client.
fn leading() -> World {
    let mut world = World::new(1, Options::default());
    world.shared.is_member = true;
    world.pipeline.look(world.now, &world.shared);
    world.pipeline.lead(world.now, &world.shared, Zxid::new(wire::Epoch(1), 0));
    forward(&mut world, OpCode::CreateSession, &10_000_i32.to_be_bytes());
    apply(&mut world, &mut Vec::new());
    world
}

fn forward(world: &mut World, op: OpCode, body: &[u8]) {
    forward_as(world, SESSION, 1, op, body);
}

fn forward_as(world: &mut World, session: SessionId, cxid: i32, op: OpCode, body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    let request = Forwarded { session, cxid: Xid(cxid), op: op.code(), body, identities: Some(Vec::new()) };
    world.pipeline.forwarded(world.now, &world.shared, LEARNER, request);
}

fn proposals(pipeline: &mut Pipeline) -> Vec<(Zxid, Bytes)> {
    let mut proposals = Vec::new();
    pipeline.take_proposals(|zxid, txn| {
        proposals.push((zxid, txn));
        true
    });
    proposals
}

/// Everything that was proposed is committed. `errors` gets what error txns say.
fn apply(world: &mut World, errors: &mut Vec<ErrorCode>) {
    let Some((last, _)) = proposals(&mut world.pipeline)
        .into_iter()
        .inspect(|(_, bytes)| {
            let entry = TxnEntry::from_slice(bytes).expect("a txn");
            if let Txn::Error(txn) = entry.txn {
                errors.push(txn.err);
            }
        })
        .last()
    else {
        return;
    };
    world.pipeline.apply(world.now, &world.shared, last);
}

#[test]
fn learners_requests_that_are_not_applied_are_bounded() {
    let mut world = leading();
    // Too long to be kept for nothing: each is an error txn of a few bytes, and counts until it is applied.
    let long = create("/", &vec![b'x'; 1 << 20], AclVec::OPEN, 0);
    let mut errors = Vec::new();
    for _ in 0..257 {
        forward(&mut world, OpCode::Create, &long);
    }
    forward(&mut world, OpCode::Create, &create("/one-too-many", b"", AclVec::OPEN, 0));
    apply(&mut world, &mut errors);
    let refused = errors.iter().filter(|it| **it == ErrorCode::THROTTLED_OP).count();
    // The 256th goes beyond 256 MiB, since it is more than its data.
    assert_eq!((errors.len(), refused), (258, 2), "{:?}", &errors[250..]);
    assert!(world.shared.tree.read().get("/one-too-many").is_none());

    forward(&mut world, OpCode::Create, &create("/again", b"", AclVec::OPEN, 0));
    errors.clear();
    apply(&mut world, &mut errors);
    assert!(errors.is_empty() && world.shared.tree.read().get("/again").is_some());
}

/// Session, number and type of everything that was proposed since, which is applied.
fn take(world: &mut World) -> Vec<(SessionId, i32, OpCode, Option<ErrorCode>)> {
    let proposals = proposals(&mut world.pipeline);
    if let Some(&(last, _)) = proposals.last() {
        world.pipeline.apply(world.now, &world.shared, last);
    }
    let of = |bytes: &Bytes| {
        let TxnEntry { header, txn, .. } = TxnEntry::from_slice(bytes).expect("a txn");
        (header.session, header.cxid.0, header.op, if let Txn::Error(txn) = txn { Some(txn.err) } else { None })
    };
    proposals.iter().map(|(_, bytes)| of(bytes)).collect()
}

const FULL: LogRoom = LogRoom { bytes: 50_000, reserve: 50_000, is_stuck: false };
const REFUSED: Option<ErrorCode> = Some(ErrorCode::SYSTEM_ERROR);

fn creation(number: i32) -> Vec<u8> {
    create(&format!("/n{number}"), b"data", AclVec::OPEN, 0)
}

/// Refused until there is no room for that; the number of the first that has no answer.
fn use_up_refusals(world: &mut World) -> i32 {
    world.pipeline.set_room(Some(FULL));
    for number in 1..1000 {
        forward_as(world, SESSION, number, OpCode::Create, &creation(number));
        match take(world)[..] {
            [it] => assert_eq!(it, (SESSION, number, OpCode::Error, REFUSED)),
            _ => return number,
        }
    }
    panic!("more than 25,000 bytes were used");
}

#[test]
fn what_learners_hand_on_is_refused_where_the_log_is_full_and_waits_where_even_that_has_no_room() {
    const OTHER: SessionId = SessionId(0x0200_0000_0000_0002);
    let mut world = leading();
    let first = use_up_refusals(&mut world);
    // Half of the reserve, but for the kilobyte that a record may have, in records of 49 bytes.
    assert_eq!(first, 1 + 490);
    assert_eq!(world.shared.pipeline_stats.refused.get(), (first - 1) as u64);
    assert!(world.shared.tree.read().get("/n1").is_none());
    // The other half is for sessions, but what waits stays ahead of what comes later in its session's name.
    forward_as(&mut world, OTHER, 0, OpCode::CreateSession, &10_000_i32.to_be_bytes());
    forward_as(&mut world, SESSION, first + 1, OpCode::CloseSession, &[]);
    forward_as(&mut world, OTHER, 1, OpCode::CloseSession, &[]);
    // A learner takes each answer to a sync for that to its oldest one.
    let sync = |cxid| Forwarded {
        session: OTHER,
        cxid: Xid(cxid),
        op: OpCode::Sync.code(),
        body: Bytes::new(),
        identities: Some(Vec::new()),
    };
    let may_sync =
        |world: &mut World, learner, cxid| world.pipeline.may_sync(world.now, &world.shared, learner, &sync(cxid));
    assert!(!may_sync(&mut world, LEARNER, 2) && may_sync(&mut world, ConnId(8), 2));
    assert_eq!(take(&mut world), [(OTHER, 0, OpCode::CreateSession, None), (OTHER, 1, OpCode::CloseSession, None)]);
    // When there is room, all is done, in order.
    world.pipeline.set_room(None);
    world.pipeline.take_held_back(world.now, &world.shared);
    assert_eq!(
        take(&mut world),
        [(SESSION, first, OpCode::Create, None), (SESSION, first + 1, OpCode::CloseSession, None)]
    );
    let mut wishes = Vec::new();
    world.pipeline.take_wishes(&mut wishes);
    assert_eq!(wishes, [Wish::LearnersSync(LEARNER, sync(2))]);
    assert!(may_sync(&mut world, LEARNER, 3));
    assert!(world.shared.tree.read().get(&format!("/n{first}")).is_some());
    assert!(world.pipeline.is_idle());
}

#[test]
fn what_learners_hand_on_waits_for_the_next_file_of_the_log_in_its_order() {
    let mut world = leading();
    let known = |bytes| Some(LogAhead { bytes, takes_next: false });
    world.pipeline.set_ahead(known(0));
    forward_as(&mut world, SESSION, 1, OpCode::Create, &creation(1));
    forward_as(&mut world, SESSION, 2, OpCode::CloseSession, &[]);
    assert_eq!(take(&mut world), []);
    world.pipeline.set_ahead(known(1 << 20));
    world.pipeline.take_held_back(world.now, &world.shared);
    assert_eq!(take(&mut world), [(SESSION, 1, OpCode::Create, None), (SESSION, 2, OpCode::CloseSession, None)]);
}

#[test]
fn where_a_batch_waits_for_room_nothing_of_a_learner_is_proposed() {
    let mut world = leading();
    world.pipeline.set_room(Some(LogRoom { bytes: 0, reserve: 0, is_stuck: true }));
    forward_as(&mut world, SESSION, 1, OpCode::Create, &creation(1));
    forward_as(&mut world, SESSION, 2, OpCode::CloseSession, &[]);
    assert_eq!(take(&mut world), []);
    // The batch went on, but there is no more room than for sessions.
    world.pipeline.set_room(Some(FULL));
    world.pipeline.take_held_back(world.now, &world.shared);
    assert_eq!(take(&mut world), [(SESSION, 1, OpCode::Error, REFUSED), (SESSION, 2, OpCode::CloseSession, None)]);
    // What waits at a leader that is one no more is nobody's: its clients' connections are closed.
    world.pipeline.set_room(Some(LogRoom { bytes: 0, reserve: 0, is_stuck: true }));
    forward_as(&mut world, SESSION, 3, OpCode::CreateSession, &10_000_i32.to_be_bytes());
    world.pipeline.look(world.now, &world.shared);
    world.pipeline.set_room(None);
    world.pipeline.lead(world.now, &world.shared, Zxid::new(wire::Epoch(2), 0));
    world.pipeline.take_held_back(world.now, &world.shared);
    assert_eq!(take(&mut world), []);
}

#[test]
fn learners_requests_that_wait_for_room_are_bounded() {
    let mut world = leading();
    let first = use_up_refusals(&mut world);
    let keeps_bounds = |world: &World| world.pipeline.each_queue(&mut |it| assert!(it.length <= it.max, "{it:?}"));
    for number in first + 1..first + 5000 {
        forward_as(&mut world, SESSION, number, OpCode::Create, &creation(number));
        keeps_bounds(&world);
    }
    let taken = take(&mut world);
    assert!(taken.len() > 900 && taken.iter().all(|it| it.3 == REFUSED));
    assert!(taken.iter().map(|it| it.1).eq(first..first + taken.len() as i32), "the oldest, in order");
    // A few long ones are many.
    for number in first + 5000..first + 5020 {
        forward_as(&mut world, SESSION, number, OpCode::Create, &create("/", &vec![0; 1 << 20], AclVec::OPEN, 0));
        keeps_bounds(&world);
    }
}

#[test]
fn a_leader_that_leaves_finishes_what_it_has_and_takes_no_more() {
    let mut world = leading();
    forward(&mut world, OpCode::Create, &create("/taken", b"", AclVec::OPEN, 0));
    world.pipeline.leave();
    assert!(!world.pipeline.is_idle());
    forward(&mut world, OpCode::Create, &create("/too-late", b"", AclVec::OPEN, 0));
    let proposed = proposals(&mut world.pipeline);
    assert_eq!(proposed.len(), 1);
    world.pipeline.apply(world.now, &world.shared, proposed[0].0);
    assert!(world.pipeline.is_idle());
    let tree = world.shared.tree.read();
    assert!(tree.get("/taken").is_some() && tree.get("/too-late").is_none());
}

/// A learner may have left its way to the leader with a request still on it. Where that way is another server's connection, the
/// session can come back to it, and the request with it: so nothing may be handed on anew in the same epoch (`unanswered`).
#[test]
fn what_comes_late_is_refused_while_its_session_is_with_another_and_taken_when_it_is_back() {
    const OTHER: ConnId = ConnId(8);
    let mut world = leading();
    let goes_on_at = |world: &mut World, learner| {
        let (valid, _) = world.pipeline.revalidate(world.now, &world.shared, learner, SESSION, 10_000);
        assert!(valid);
    };
    goes_on_at(&mut world, OTHER);
    forward_as(&mut world, SESSION, 1, OpCode::Create, &creation(1));
    assert_eq!(take(&mut world), [(SESSION, 1, OpCode::Error, Some(ErrorCode::SESSION_MOVED))]);
    goes_on_at(&mut world, LEARNER);
    forward_as(&mut world, SESSION, 1, OpCode::Create, &creation(1));
    assert_eq!(take(&mut world), [(SESSION, 1, OpCode::Create, None)]);
}

/// A reconfig has removed it, or its role is over, and it has not been told yet.
#[test]
fn what_a_leader_has_prepared_and_its_log_was_never_given_is_not_applied_later() {
    let mut world = leading();
    for path in ["/logged", "/dropped", "/dropped/child"] {
        forward(&mut world, OpCode::Create, &create(path, b"", AclVec::OPEN, 0));
    }
    let mut offered = Vec::new();
    let mut taken = |zxid, _| {
        offered.push(zxid);
        offered.len() == 1
    };
    world.pipeline.take_proposals(&mut taken);
    world.pipeline.look(world.now, &world.shared);
    // The next leader's history has the first one, and goes on with another txn.
    let header = TxnHeader {
        session: SESSION,
        cxid: Xid(9),
        zxid: Zxid::new(wire::Epoch(2), 1),
        time_ms: 1,
        op: OpCode::SetData,
    };
    let txn = Txn::SetData(SetDataTxn { path: Some("/logged".into()), data: Some(b"2"), version: 1 });
    let next = Bytes::from(TxnEntry { header, txn, digest: None }.to_vec());
    world.pipeline.appended(world.now, &world.shared, header.zxid, &next).expect("a txn");
    world.pipeline.apply(world.now, &world.shared, header.zxid);
    let tree = world.shared.tree.read();
    assert_eq!(tree.get("/logged").and_then(ostler_tree::NodeRef::data), Some(&b"2"[..]));
    assert!(tree.get("/dropped").is_none());
    assert_eq!(offered, [offered[0], offered[0].next()], "what is behind one that was refused would leave a gap");
}

#[test]
fn who_has_no_leader_says_nothing_about_a_password() {
    for serves in [true, false] {
        let mut world = leading();
        if !serves {
            world.pipeline.look(world.now, &world.shared);
        }
        let client = world.open(0);
        world.write(client, &connect_with(SESSION, &[7; 16], Zxid::ZERO, 10_000));
        world.settle();
        // A server that serves refuses the session, which its client takes for the end of it.
        assert_eq!((world.frames(client).len(), world.clients[client].closed), (usize::from(serves), true));
    }
}
