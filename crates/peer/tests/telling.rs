//! What many are told, or one is answered, at once: it is told in steps, so that no more waits to be sent than may; who reads
//! gets all of it in its order.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use std::sync::atomic::Ordering::Relaxed;

use ostler_peer::connection::Connection;
use support::talk::{answers, create, delete, framed, joined, read, set_data};
use support::world::{Options, World};
use wire::acl::AclVec;
use wire::frame::RequestHeader;
use wire::multi::{MultiOp, MultiRequest};
use wire::request::{AddWatchRequest, PathRequest, SetDataRequest};
use wire::{ErrorCode, Field, OpCode, Xid};

/// All that is to be sent by the one shard, or was told and is not.
fn unsent(world: &World) -> usize {
    world.shards[0].connections().map(Connection::unsent).sum()
}

/// Goes on for so many steps; the most that was to be sent between two.
fn most_unsent(world: &mut World, steps: usize) -> usize {
    let mut most = 0;
    for _ in 0..steps {
        world.step();
        most = most.max(unsent(world));
    }
    most
}

fn path() -> String {
    format!("/{}", "n".repeat(4000))
}

/// A writer, and so many who watch everything.
fn watched(watchers: usize, options: Options) -> (World, usize, Vec<usize>) {
    let mut world = World::new(1, options);
    let (writer, _) = joined(&mut world, 0);
    world.request(writer, 1, OpCode::Create, &create(&path(), b"", AclVec::OPEN, 0));
    let watchers: Vec<usize> = (0..watchers)
        .map(|_| {
            let (client, _) = joined(&mut world, 0);
            let body = AddWatchRequest { path: Some("/".into()), mode: 1 }.to_vec();
            world.request(client, 1, OpCode::AddWatch, &body);
            client
        })
        .collect();
    world.settle();
    (world, writer, watchers)
}

const BOUND: usize = 64 * 1024;

fn bounded() -> Options {
    Options { shards: 1, out_total_max: BOUND, tell_step: BOUND / 8, chunk_max: 8 << 10, ..Options::default() }
}

#[test]
fn a_change_that_a_hundred_deaf_are_told_of_keeps_the_bound() {
    let (mut world, writer, watchers) = watched(100, Options { pause_ms_max: 3, ..bounded() });
    for &client in &watchers {
        world.clients[client].is_deaf = true;
    }
    world.request(writer, 2, OpCode::SetData, &set_data(&path(), b"x", -1));
    world.request(writer, 3, OpCode::Exists, &read("/", false));
    let most = most_unsent(&mut world, 20_000);
    assert!((BOUND / 2..BOUND + 5000).contains(&most), "{most}");
    assert!(!world.shards[0].is_behind(), "everything is told");
    assert!(world.shared.shard_stats[0].shed.get() > 50);
    assert_eq!(world.shared.untold.load(Relaxed), 0);
    assert_eq!(answers(&world, writer).last(), Some(&(3, ErrorCode::OK)), "the deaf hold up nobody else");
}

#[test]
fn all_who_read_are_told_and_before_they_can_see_it() {
    let (mut world, writer, watchers) = watched(100, bounded());
    for xid in 2..5 {
        world.request(writer, xid, OpCode::SetData, &set_data(&path(), b"x", -1));
    }
    for &client in &watchers {
        world.request(client, 2, OpCode::Exists, &read(&path(), false));
    }
    let most = most_unsent(&mut world, 2000);
    assert!(most < BOUND + 5000, "{most}");
    for &client in &watchers {
        world.request(client, 3, OpCode::Exists, &read(&path(), false));
    }
    world.settle();
    for client in watchers {
        let got = answers(&world, client);
        let events: Vec<usize> = (0..got.len()).filter(|at| got[*at].0 == -1).collect();
        assert_eq!(events.len(), 3, "{got:?}");
        // The versions that its reads show are those that it was told of.
        let frames = world.frames(client);
        let mut told = 0;
        for frame in &frames[1..] {
            let header = wire::frame::ReplyHeader::from_slice(&frame[..16]).expect("a header");
            if header.xid == Xid(-1) {
                told += 1;
            } else if header.xid != Xid(1) {
                let stat = wire::Stat::from_slice(&frame[16..]).expect("a Stat");
                assert!(stat.version <= told, "version {} was seen, {told} events told", stat.version);
            }
        }
    }
    assert_eq!(world.shared.shard_stats[0].shed.get(), 0);
    assert_eq!(world.shared.untold.load(Relaxed), 0);
}

/// Sessions of a shard whose watchers read slowly would end otherwise, all of them.
#[test]
fn who_lives_is_told_while_telling_waits() {
    let (mut world, writer, watchers) = watched(100, bounded());
    for &client in &watchers {
        world.clients[client].is_deaf = true;
    }
    world.request(writer, 2, OpCode::SetData, &set_data(&path(), b"x", -1));
    while !world.shards[0].is_behind() {
        world.step();
    }
    world.shared.inboxes[0].ask(1 << 40);
    world.shards[0].drain(world.now, &world.shared);
    assert!(world.shards[0].is_behind() && world.shards[0].is_asked());
}

/// Reads and pings of a shard wait while it waits for those who read, however steadily they do.
#[test]
fn nobody_is_waited_for_longer_than_two_seconds() {
    let (mut world, writer, watchers) = watched(400, bounded());
    for &client in &watchers {
        world.clients[client].is_deaf = true;
    }
    world.request(writer, 2, OpCode::SetData, &set_data(&path(), b"x", -1));
    while !world.shards[0].is_behind() {
        world.step();
    }
    let from_ms = world.now.mono_ms();
    while world.shards[0].is_behind() {
        // One after the other reads what it was told, within the time of a look.
        let has_some = |client: &&usize| {
            let conn = world.shards[0].get(world.clients[**client].conn);
            conn.is_some_and(|conn| conn.unsent() > 0)
        };
        if let Some(&client) = watchers.iter().find(has_some) {
            world.take(client, usize::MAX);
        }
        (0..200).for_each(|_| world.step());
        world.pass(40);
    }
    let took_ms = world.now.mono_ms() - from_ms;
    assert!((2000..3000).contains(&took_ms), "{took_ms} ms");
    assert!(world.shared.shard_stats[0].shed.get() > 0);
    assert_eq!(world.shared.untold.load(Relaxed), 0);
}

/// A ping shows nothing of the tree. Its zxid is one that no client keeps: events that it is still to be told of are not behind it.
#[test]
fn who_pings_is_answered_while_others_are_told() {
    let (mut world, writer, watchers) = watched(100, Options { pause_ms_max: 3, ..bounded() });
    let (other, _) = joined(&mut world, 0);
    for &client in &watchers {
        world.clients[client].is_deaf = true;
    }
    world.settle();
    world.request(writer, 2, OpCode::SetData, &set_data(&path(), b"x", -1));
    while !world.shards[0].is_behind() {
        world.step();
    }
    let asked = Xid::PING.0;
    world.request(other, asked, OpCode::Ping, b"");
    world.request(other, 3, OpCode::Exists, &read("/", false));
    while answers(&world, other).is_empty() {
        assert!(world.shards[0].is_behind(), "the last is told");
        world.step();
    }
    let frames = world.frames(other);
    let header = wire::frame::ReplyHeader::from_slice(&frames[1][..16]).expect("a header");
    assert_eq!((header.xid, header.zxid, header.err), (Xid::PING, wire::Zxid::ZERO, ErrorCode::OK));
    (0..20_000).for_each(|_| world.step());
    assert_eq!(answers(&world, other), [(asked, ErrorCode::OK), (3, ErrorCode::OK)]);
}

/// Who may not read is sent nothing, and looking that up takes its time.
#[test]
fn lists_that_are_looked_through_in_vain_are_work_and_have_steps() {
    let (mut world, writer, watchers) = watched(100, Options { shards: 1, ..Options::default() });
    let nobody = |n: i32| wire::Acl::new(wire::acl::READ, "digest", format!("u{n}:h"));
    let acl: Vec<_> = (0..7).map(nobody).chain([wire::Acl::new(wire::acl::WRITE, "world", "anyone")]).collect();
    let acl = AclVec::encode(&acl[1..]);
    world.request(writer, 2, OpCode::Create, &create("/secret", b"", AclVec::of_encoded(&acl), 0));
    world.settle();
    let before: Vec<usize> = watchers.iter().map(|&client| answers(&world, client).len()).collect();
    let set = |_| MultiOp::SetData(SetDataRequest { path: Some("/secret".into()), data: None, version: -1 });
    world.request(writer, 3, OpCode::Multi, &MultiRequest { ops: (0..2000).map(set).collect() }.to_vec());
    let is_behind = (0..10_000).any(|_| {
        world.step();
        world.shards[0].is_behind()
    });
    assert!(is_behind, "all is told in one step");
    let steps = (0..1000).find(|_| {
        world.shards[0].drain(world.now, &world.shared);
        !world.shards[0].is_behind()
    });
    assert!((8..16).contains(&steps.expect("an end")), "{steps:?}");
    world.settle();
    let after: Vec<usize> = watchers.iter().map(|&client| answers(&world, client).len()).collect();
    assert_eq!(after, before);
    assert_eq!(world.shared.untold.load(Relaxed), 0);
}

/// A slot that somebody else has by the time its turn comes is told of nothing.
#[test]
fn who_comes_in_the_midst_of_it_is_not_told() {
    let (mut world, writer, watchers) = watched(100, bounded());
    world.request(writer, 2, OpCode::SetData, &set_data(&path(), b"x", -1));
    while !world.shards[0].is_behind() {
        world.step();
    }
    for &client in &watchers {
        world.hang_up(client);
    }
    let new: Vec<usize> = (0..100).map(|_| joined(&mut world, 0).0).collect();
    for &client in &new {
        world.request(client, 2, OpCode::Exists, &read(&path(), false));
    }
    world.settle();
    for client in new {
        assert_eq!(answers(&world, client), [(2, ErrorCode::OK)]);
    }
}

/// Bytes that arrive in one go.
fn together(requests: impl Iterator<Item = (i32, OpCode, Vec<u8>)>) -> Vec<u8> {
    let frame = |(xid, op, body): (i32, OpCode, Vec<u8>)| {
        framed(&[RequestHeader { xid: Xid(xid), op: op.code() }.to_vec(), body].concat())
    };
    requests.flat_map(frame).collect()
}

#[test]
fn what_is_looked_at_in_vain_is_work_and_has_turns() {
    let mut world = World::new(1, Options { shards: 1, ..Options::default() });
    let (client, _) = joined(&mut world, 0);
    for number in 0..500 {
        world.request(client, 1, OpCode::Create, &create(&format!("/ephemeral-{number}"), b"", AclVec::OPEN, 1));
    }
    world.settle();
    let body = PathRequest { path: Some("/none".into()) }.to_vec();
    let bytes = together((0..200).map(|_| (2, OpCode::GetEphemerals, body.clone())));
    let conn = world.clients[client].conn;
    let received = |world: &World| world.shards[0].get(conn).map_or(0, |conn| conn.received);
    let before = received(&world);
    world.shards[0].receive(world.now, &world.shared, conn, &bytes);
    let done = received(&world) - before;
    assert!((20..120).contains(&done), "{done} in one go");
    assert!(world.shards[0].has_paused(), "the others wait for their turn");
    world.settle();
    assert_eq!(answers(&world, client).iter().filter(|answer| answer.0 == 2).count(), 200);
}

/// As a driver: whoever has something to read is written to, and takes nothing.
fn without_readers(options: Options, clients: usize) -> (World, Vec<usize>) {
    let mut world = World::new(1, options);
    let clients: Vec<usize> = (0..clients).map(|_| joined(&mut world, 0).0).collect();
    world.request(clients[0], 1, OpCode::Create, &create("/w", &vec![7; 20_000], AclVec::OPEN, 0));
    world.settle();
    for &client in &clients {
        world.clients[client].is_deaf = true;
    }
    world.holds_log = true;
    (world, clients)
}

#[test]
fn the_answers_to_the_writes_of_one_who_reads_nothing_are_bounded() {
    let options = Options { shards: 1, out_pause: 16 << 10, out_max: BOUND, chunk_max: 64 << 10, ..Options::default() };
    let (mut world, clients) = without_readers(options, 1);
    let client = clients[0];
    let set = |_| MultiOp::SetData(SetDataRequest { path: Some("/w".into()), data: None, version: -1 });
    let multi = MultiRequest { ops: (0..100).map(set).collect() }.to_vec();
    for xid in 2..42 {
        world.request(client, xid, OpCode::Multi, &multi);
    }
    (0..2000).for_each(|_| world.step());
    let under_way = world.shared.in_flight.load(Relaxed);
    assert!((2..10).contains(&under_way), "{under_way}");
    world.holds_log = false;
    (0..5000).for_each(|_| world.step());
    assert!((16 << 10..BOUND).contains(&unsent(&world)), "{}", unsent(&world));
    world.clients[client].is_deaf = false;
    world.settle();
    let xids: Vec<i32> = answers(&world, client).into_iter().map(|(xid, _)| xid).collect();
    assert_eq!(xids, (1..42).collect::<Vec<_>>(), "who reads is answered");
}

#[test]
fn reads_that_travel_count_for_all_connections_together() {
    let options = Options { out_total_max: 256 << 10, chunk_max: 64 << 10, ..bounded() };
    let (mut world, clients) = without_readers(options, 10);
    for &client in &clients {
        for round in 0..6 {
            world.request(client, 10 + round, OpCode::Delete, &delete("/none", -1));
            world.request(client, 20 + round, OpCode::GetData, &read("/w", false));
        }
    }
    (0..5000).for_each(|_| world.step());
    world.holds_log = false;
    let most = most_unsent(&mut world, 5000);
    // One connection's own reads that waited may come on top, before its driver has tried to write them.
    assert!((40 << 10..400 << 10).contains(&most), "{most}");
    assert!(unsent(&world) <= 256 << 10);
    for &client in &clients {
        world.clients[client].is_deaf = false;
    }
    world.settle();
    let stay: Vec<usize> = clients.into_iter().filter(|&client| !world.clients[client].closed).collect();
    assert!(!stay.is_empty());
    for client in stay {
        assert_eq!(answers(&world, client).iter().filter(|answer| answer.0 >= 10).count(), 12);
    }
}
