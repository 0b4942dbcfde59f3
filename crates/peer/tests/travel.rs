//! Reads that travel with a write cost bounded memory, whatever the writes ahead of them make of what they read.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use std::sync::atomic::Ordering::Relaxed;

use ostler_peer::InboxEntry;
use support::talk::{answers, create, delete, joined, read, set_data};
use support::world::{Options, World};
use wire::acl::AclVec;
use wire::request::{PathRequest, SetAclRequest};
use wire::{Acl, ErrorCode, Field, OpCode};

/// What is sent while the log is silent, and how many of its writes are under way.
struct Held {
    world: World,
    client: usize,
    xid: i32,
}

impl Held {
    /// The znode `/w` is there, with so much data.
    fn new(data: usize) -> Self {
        let options = Options { shards: 1, chunk_max: 1 << 20, in_flight_bytes_max: 64 << 20, ..Options::default() };
        let mut world = World::new(1, options);
        let (client, _) = joined(&mut world, 0);
        let mut held = Self { world, client, xid: 0 };
        held.send(OpCode::Create, &create("/w", &vec![7; data], AclVec::OPEN, 0));
        held.world.settle();
        held.world.holds_log = true;
        held
    }

    fn send(&mut self, op: OpCode, body: &[u8]) {
        self.xid += 1;
        self.world.request(self.client, self.xid, op, body);
    }

    fn small_write(&mut self) {
        self.send(OpCode::Delete, &delete("/none", -1));
    }

    fn under_way(&mut self) -> usize {
        (0..5000).for_each(|_| self.world.step());
        self.world.shared.in_flight.load(Relaxed)
    }

    /// The log goes on: everything is answered, in order.
    fn end(mut self) {
        self.world.holds_log = false;
        self.world.settle();
        let xids: Vec<i32> = answers(&self.world, self.client).into_iter().map(|(xid, _)| xid).collect();
        assert_eq!(xids, (1..=self.xid).collect::<Vec<_>>(), "in their order");
        assert_eq!(self.world.shared.in_flight.load(Relaxed), 0);
    }
}

/// One write, the reads, and another write: how many writes are under way?
fn with_reads_between(first: (OpCode, &[u8]), reads: (OpCode, &[u8], usize)) -> usize {
    let mut held = Held::new(0);
    held.send(first.0, first.1);
    (0..reads.2).for_each(|_| held.send(reads.0, reads.1));
    held.small_write();
    let under_way = held.under_way();
    held.end();
    under_way
}

#[test]
fn data_that_is_on_its_way_counts() {
    let set = |bytes| set_data("/w", &vec![7; bytes], -1);
    let get = read("/w", false);
    assert_eq!(with_reads_between((OpCode::SetData, &set(1000)), (OpCode::GetData, &get, 60)), 2);
    assert_eq!(with_reads_between((OpCode::SetData, &set(20_000)), (OpCode::GetData, &get, 8)), 2);
    assert_eq!(with_reads_between((OpCode::SetData, &set(20_000)), (OpCode::GetData, &get, 60)), 1);
    assert_eq!(with_reads_between((OpCode::SetData, &set(300_000)), (OpCode::GetData, &get, 1)), 1);
}

#[test]
fn names_that_are_on_their_way_count() {
    let child = |bytes: usize| create(&format!("/w/{}", "n".repeat(bytes)), b"", AclVec::OPEN, 0);
    let list = read("/w", false);
    assert_eq!(with_reads_between((OpCode::Create, &child(1000)), (OpCode::GetChildren, &list, 60)), 2);
    assert_eq!(with_reads_between((OpCode::Create, &child(20_000)), (OpCode::GetChildren2, &list, 60)), 1);
}

#[test]
fn an_acl_counts_whether_it_is_there_or_on_its_way() {
    let acl =
        |user: usize| AclVec::encode(&[Acl::new(31, "world", "anyone"), Acl::new(1, "ip", "10.0.0.1"), long(user)]);
    let set = |acl: &[u8]| {
        let acl = AclVec::parse(acl).expect("a list");
        SetAclRequest { path: Some("/w".into()), acl, version: -1 }.to_vec()
    };
    let get = PathRequest { path: Some("/w".into()) }.to_vec();
    assert_eq!(with_reads_between((OpCode::SetAcl, &set(&acl(100))), (OpCode::GetAcl, &get, 60)), 2);
    assert_eq!(with_reads_between((OpCode::SetAcl, &set(&acl(20_000))), (OpCode::GetAcl, &get, 60)), 1);
    let mut held = Held::new(0);
    held.world.holds_log = false;
    held.send(OpCode::SetAcl, &set(&acl(20_000)));
    held.world.settle();
    held.world.holds_log = true;
    held.small_write();
    (0..60).for_each(|_| held.send(OpCode::GetAcl, &get));
    held.small_write();
    assert_eq!(held.under_way(), 1, "the one that is there");
    held.end();
}

fn long(user: usize) -> Acl {
    Acl::new(1, "digest", format!("{}:hash", "u".repeat(user)))
}

#[test]
fn a_path_counts_also_where_nothing_is() {
    let path = |bytes: usize| read(&format!("/{}", "p".repeat(bytes)), false);
    let write = delete("/none", -1);
    assert_eq!(with_reads_between((OpCode::Delete, &write), (OpCode::GetData, &path(1000), 60)), 2);
    assert_eq!(with_reads_between((OpCode::Delete, &write), (OpCode::GetData, &path(20_000), 40)), 1);
}

#[test]
fn all_answers_of_a_connection_that_are_under_way_count_together() {
    let mut held = Held::new(200_000);
    for _ in 0..100 {
        held.small_write();
        held.send(OpCode::GetData, &read("/w", false));
    }
    held.small_write();
    let under_way = held.under_way();
    assert!((20..=22).contains(&under_way), "4 MiB of answers, not {under_way}");
    held.end();
    let mut held = Held::new(1000);
    for _ in 0..300 {
        held.small_write();
        held.send(OpCode::GetData, &read("/w", false));
    }
    assert_eq!(held.under_way(), 300, "a usual load is not held up");
    held.end();
}

#[test]
fn what_is_answered_counts_no_more() {
    let mut held = Held::new(200_000);
    let name = format!("/w/{}", "n".repeat(20_000));
    for _ in 0..3 {
        held.world.holds_log = true;
        for _ in 0..18 {
            held.small_write();
            held.send(OpCode::GetData, &read("/w", false));
        }
        held.small_write();
        assert_eq!(held.under_way(), 19);
        held.world.holds_log = false;
        // Sent, and written over or deleted.
        held.send(OpCode::Create, &create(&name, &vec![7; 20_000], AclVec::OPEN, 0));
        held.send(OpCode::Delete, &delete(&name, -1));
        held.world.settle();
    }
    held.send(OpCode::Create, &create("/small", b"", AclVec::OPEN, 0));
    held.world.settle();
    held.world.holds_log = true;
    held.small_write();
    (0..30).for_each(|_| held.send(OpCode::GetChildren, &read("/w", false)));
    (0..30).for_each(|_| held.send(OpCode::GetData, &read("/small", false)));
    held.small_write();
    assert_eq!(held.under_way(), 2);
    held.end();
}

#[test]
fn who_writes_much_asks_for_it_often_and_reads_nothing_is_not_read_on() {
    let mut held = Held::new(0);
    held.world.holds_log = false;
    held.world.clients[held.client].is_deaf = true;
    for _ in 0..10 {
        held.send(OpCode::SetData, &set_data("/w", &vec![7; 900_000], -1));
        (0..63).for_each(|_| held.send(OpCode::GetData, &read("/w", false)));
    }
    held.world.settle();
    let conn = held.world.clients[held.client].conn;
    let unsent = held.world.shards[0].get(conn).map(ostler_peer::connection::Connection::unsent);
    assert!(unsent.is_some_and(|unsent| (1 << 20..2 << 20).contains(&unsent)), "{unsent:?}");
    held.world.clients[held.client].is_deaf = false;
    held.end();
}

/// Somebody's write of 900 KB, before which `reader` asked, behind writes of its own, for what was small then.
fn with_growth(rounds: usize, reads: usize) -> (World, usize, usize) {
    let mut held = Held::new(0);
    let (other, reader) = (held.client, {
        held.world.holds_log = false;
        let (reader, _) = joined(&mut held.world, 0);
        held.world.holds_log = true;
        reader
    });
    held.send(OpCode::SetData, &set_data("/w", &vec![7; 900_000], -1));
    assert_eq!(held.under_way(), 1);
    held.client = reader;
    for _ in 0..rounds {
        held.small_write();
        (0..reads).for_each(|_| held.send(OpCode::GetData, &read("/w", false)));
    }
    held.small_write();
    assert_eq!(held.under_way(), rounds + 2, "it was small");
    (held.world, other, reader)
}

#[test]
fn what_others_made_grow_is_bounded_on_its_way_to_the_shard() {
    let (mut world, _, _) = with_growth(5, 63);
    let last = world.entries.last().expect("writes").zxid;
    let _ = world.pipeline.logged(world.now, &world.shared, last);
    let mut entries = std::collections::VecDeque::new();
    world.shared.inboxes[0].take(&mut entries);
    let bytes: usize =
        entries.iter().map(|entry| if let InboxEntry::ReadReply { frame, .. } = entry { frame.len() } else { 0 }).sum();
    assert!((60 << 20..72 << 20).contains(&bytes), "{bytes}");
    assert!(entries.iter().any(|entry| matches!(entry, InboxEntry::Close { .. })));
}

#[test]
fn who_is_answered_much_more_than_was_expected_is_closed_and_nobody_else() {
    let (mut world, other, reader) = with_growth(1, 63);
    world.holds_log = false;
    world.settle();
    assert!(world.clients[reader].closed);
    world.request(other, 900, OpCode::Exists, &read("/w", false));
    world.settle();
    assert_eq!(answers(&world, other).last(), Some(&(900, ErrorCode::OK)));
    // What is long and not too much is answered.
    let (mut world, _, reader) = with_growth(1, 12);
    world.holds_log = false;
    world.settle();
    assert!(!world.clients[reader].closed);
    assert!(world.frames(reader).iter().filter(|frame| frame.len() > 900_000).count() == 12);
}
