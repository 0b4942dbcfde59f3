//! A usage that is created for a subtree too large for one guard says what was there right before its txn, whatever is
//! pipelined around it.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use support::talk::{connect, create, delete, read};
use support::world::{Options, World};
use wire::frame::ReplyHeader;
use wire::response::GetDataResponse;
use wire::{AclVec, ErrorCode, Field, OpCode, Reader, SessionId, Zxid};

const STATS: &str = "/zookeeper/quota/a/zookeeper_stats";

#[test]
fn a_usage_says_what_was_there_before_it() {
    let mut world = World::new(1, Options::default());
    let client = world.open(0);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    let mut xid = 0;
    let mut ask = |world: &mut World, op: OpCode, body: &[u8]| {
        xid += 1;
        world.request(client, xid, op, body);
    };
    let make = |path: &str, data: &[u8]| create(path, data, AclVec::OPEN, 0);
    ask(&mut world, OpCode::Create, &make("/a", b"1"));
    for i in 0..2500 {
        ask(&mut world, OpCode::Create, &make(&format!("/a/{i}"), b"22"));
        if i % 100 == 0 {
            world.settle();
        }
    }
    world.settle();
    let before = world.frames(client).len();
    // All of these are applied under one guard, but for the counts.
    ask(&mut world, OpCode::Create, &make("/zookeeper/quota/a", b""));
    ask(&mut world, OpCode::Create, &make("/a/more", b"333"));
    ask(&mut world, OpCode::Create, &make(STATS, b""));
    ask(&mut world, OpCode::GetData, &read(STATS, false));
    ask(&mut world, OpCode::Create, &make("/a/after", b"4444"));
    ask(&mut world, OpCode::Delete, &delete(STATS, -1));
    ask(&mut world, OpCode::Create, &make(STATS, b""));
    // There already: the count is for nothing.
    ask(&mut world, OpCode::Create, &make(STATS, b""));
    ask(&mut world, OpCode::GetData, &read(STATS, false));
    world.settle();
    let frames = world.frames(client);
    let mut errors = Vec::new();
    let mut texts = Vec::new();
    for frame in &frames[before..] {
        let mut r = Reader::new(frame);
        let header: ReplyHeader = r.read().unwrap();
        errors.push(header.err);
        if errors.len() == 4 || errors.len() == 9 {
            let body = GetDataResponse::from_slice(r.remaining()).unwrap();
            texts.push(String::from_utf8(body.data.unwrap().to_vec()).unwrap());
        }
    }
    let mut expected = [ErrorCode::OK; 9];
    expected[7] = ErrorCode::NODE_EXISTS;
    assert_eq!(errors, expected);
    assert_eq!(texts, ["count=2502,bytes=5004", "count=2503,bytes=5008"]);
}
