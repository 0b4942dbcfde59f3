//! A pipeline that leads an ensemble, driven by hand: what it takes from learners, and what it does not.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use bytes::Bytes;
use ostler_peer::Pipeline;
use support::talk::{connect_with, create};
use support::world::{Options, World};
use wire::acl::AclVec;
use wire::quorum::Forwarded;
use wire::txn::{Txn, TxnEntry};
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
    let body = Bytes::copy_from_slice(body);
    let request = Forwarded { session: SESSION, cxid: Xid(1), op: op.code(), body, identities: Some(Vec::new()) };
    world.pipeline.forwarded(world.now, &world.shared, LEARNER, request);
}

fn proposals(pipeline: &mut Pipeline) -> Vec<(Zxid, Bytes)> {
    let mut proposals = Vec::new();
    pipeline.take_proposals(|zxid, txn| proposals.push((zxid, txn)));
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
