//! What was received and is not processed: a bound for all connections together, which those feel that fill it.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use std::sync::atomic::Ordering::Relaxed;

use ostler_peer::Submission;
use support::check::check;
use support::talk::{connect, create, read, set_data};
use support::world::{Options, World};
use wire::acl::AclVec;
use wire::frame::{self, ReplyHeader, RequestHeader};
use wire::{ErrorCode, Field, OpCode, SessionId, Xid, Zxid};

const MAX: usize = 64 * 1024;

fn world() -> World {
    World::new(1, Options { shards: 1, unprocessed_max: MAX, chunk_max: 1 << 20, ..Options::default() })
}

fn join(world: &mut World) -> usize {
    let client = world.open(0);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    client
}

/// A whole frame.
fn large(xid: i32, bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let start = frame::begin(&mut out);
    RequestHeader { xid: Xid(xid), op: OpCode::Create as i32 }.write(&mut out);
    out.extend(create(&format!("/of-{xid}"), &vec![7; bytes], AclVec::OPEN, 0));
    frame::finish(&mut out, start);
    out
}

/// Bytes come, if they are read at all.
fn send(world: &mut World, client: usize, bytes: &[u8]) -> bool {
    let conn = world.clients[client].conn;
    let may = world.shards[0].wants_read(conn) && world.shards[0].may_read(&world.shared, conn);
    if may {
        world.shards[0].receive(world.now, &world.shared, conn, bytes);
        world.collect();
    }
    may
}

fn held(world: &World) -> usize {
    world.shared.unprocessed.load(Relaxed)
}

fn make_room(world: &mut World) -> Vec<ostler_peer::ConnId> {
    world.shards[0].make_room(world.now, &world.shared, |_| true);
    let mut resumed = Vec::new();
    world.shards[0].take_resumed(&mut resumed);
    world.collect();
    resumed
}

fn is_closing(world: &World, client: usize) -> bool {
    world.shards[0].is_closing(world.clients[client].conn)
}

fn closed(world: &World) -> u64 {
    world.shared.shard_stats[0].idle_holders_closed.get()
}

#[test]
fn small_things_are_not_counted_and_never_wait() {
    let mut world = world();
    let (small, hoarders) = (join(&mut world), [join(&mut world), join(&mut world)]);
    assert!(send(&mut world, small, &large(1, 100)[..50]));
    assert_eq!(held(&world), 0);
    for hoarder in hoarders {
        assert!(send(&mut world, hoarder, &large(1, 40_000)[..40_000]));
    }
    assert_eq!(held(&world), 80_000);
    assert!(!send(&mut world, hoarders[0], &[7]), "it is full");
    assert!(send(&mut world, small, &large(1, 100)[50..]), "this one holds little");
    world.shards[0].take_resumed(&mut Vec::new());
    world.settle();
    let reply = world.frames(small)[1].to_vec();
    assert_eq!(ReplyHeader::from_slice(&reply).map(|header| header.err), Ok(ErrorCode::OK));
}

/// They have no bodies, and cost memory all the same.
#[test]
fn pings_that_wait_behind_a_write_are_counted() {
    let mut world = world();
    let (pinger, other) = (join(&mut world), join(&mut world));
    world.holds_log = true;
    world.request(pinger, 1, OpCode::Create, &create("/a", b"", AclVec::OPEN, 0));
    for _ in 0..20 {
        world.request(pinger, -2, OpCode::Ping, &[]);
    }
    (0..500).for_each(|_| world.step());
    assert_eq!(held(&world), 0, "a few");
    let mut many = Vec::new();
    for _ in 0..1500 {
        let start = frame::begin(&mut many);
        RequestHeader { xid: Xid::PING, op: OpCode::Ping as i32 }.write(&mut many);
        frame::finish(&mut many, start);
    }
    assert!(send(&mut world, pinger, &many));
    assert!(held(&world) >= MAX, "{}", held(&world));
    assert!(!send(&mut world, pinger, &many), "it is full");
    assert!(send(&mut world, other, &large(1, 100)), "this one holds little");
    world.holds_log = false;
    world.settle();
    assert_eq!(held(&world), 0);
    assert_eq!((world.frames(pinger).len(), world.frames(other).len()), (1 + 1 + 1520, 2));
}

#[test]
fn those_that_do_not_go_on_are_closed_the_longest_first_and_only_when_it_is_full() {
    let mut world = world();
    let clients: Vec<usize> = (0..4).map(|_| join(&mut world)).collect();
    for &client in &clients[..3] {
        assert!(send(&mut world, client, &large(1, 20_000)[..20_000]));
        world.pass(300);
    }
    world.pass(5000);
    make_room(&mut world);
    assert_eq!((held(&world), closed(&world)), (60_000, 0), "there is room: nobody is in a hurry");
    // The one that came first goes on a little: a byte is not enough to count, a lot is.
    assert!(send(&mut world, clients[1], &[7]));
    assert!(send(&mut world, clients[0], &large(1, 20_000)[..1]));
    let more = vec![7; 16 * 1024];
    assert!(send(&mut world, clients[3], &large(1, 40_000)[..20_000]));
    assert!(held(&world) >= MAX && closed(&world) == 0);
    make_room(&mut world);
    assert_eq!(closed(&world), 3, "until half of it is free");
    let gone: Vec<bool> = clients.iter().map(|&client| is_closing(&world, client)).collect();
    assert_eq!(gone, [true, true, true, false]);
    assert_eq!(held(&world), 20_000);
    assert!(send(&mut world, clients[3], &more), "there is room for the rest");
    world.settle();
    assert!(clients[..3].iter().all(|&client| world.clients[client].closed) && !world.clients[clients[3]].closed);
}

/// Eight times the bound, all at once, from clients that do all as they should.
#[test]
fn large_requests_of_good_clients_wait_and_all_are_done() {
    for seed in 0..4 {
        let options = Options {
            shards: 2,
            unprocessed_max: 4 * MAX,
            chunk_max: 9000,
            in_flight_bytes_max: 1 << 20,
            pause_ms_max: 1,
            ..Options::default()
        };
        let mut world = World::new(seed, options);
        let clients: Vec<usize> = (0..20).map(|_| world.open(0)).collect();
        for &client in &clients {
            world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
        }
        world.settle();
        for &client in &clients {
            world.request(
                client,
                1,
                OpCode::Create,
                &create(&format!("/{client}"), &vec![7; 100_000], AclVec::OPEN, 0),
            );
            world.request(client, 2, OpCode::GetData, &read(&format!("/{client}"), false));
            world.request(client, 3, OpCode::SetData, &set_data(&format!("/{client}"), &vec![8; 100_000], 0));
        }
        world.settle();
        for &client in &clients {
            assert!(!world.clients[client].closed, "client {client} of seed {seed}");
            assert_eq!(world.frames(client).len(), 4, "client {client} of seed {seed}");
        }
        check(&world);
    }
}

#[test]
fn who_waits_has_its_turn_the_youngest_first_and_who_does_nothing_with_it_is_closed() {
    let mut world = world();
    let clients: Vec<usize> = (0..12).map(|_| join(&mut world)).collect();
    let conns: Vec<_> = clients.iter().map(|&client| world.clients[client].conn).collect();
    for &client in &clients {
        assert!(send(&mut world, client, &large(1, 40_000)[..4500]));
    }
    assert!(send(&mut world, clients[11], &large(1, 40_000)[4500..35_000]));
    for &client in &clients {
        assert!(!send(&mut world, client, &[7]));
        assert!(!send(&mut world, client, &[7]), "in the queue once");
    }
    assert_eq!(make_room(&mut world), [conns[11], conns[10], conns[9], conns[8]]);
    world.pass(1900);
    assert!(send(&mut world, clients[8], &large(1, 40_000)[4500..22_000]));
    assert!(make_room(&mut world).is_empty());
    world.pass(200);
    assert_eq!(make_room(&mut world), [conns[7], conns[6], conns[5]], "the next ones have theirs");
    assert_eq!(closed(&world), 3, "one goes on");
    assert!(clients[9..].iter().all(|&client| is_closing(&world, client)) && !is_closing(&world, clients[8]));
}

#[test]
fn patience_with_those_that_wait_ends_too() {
    let mut world = world();
    let clients: Vec<usize> = (0..8).map(|_| join(&mut world)).collect();
    for &client in &clients {
        assert!(send(&mut world, client, &large(1, 40_000)[..9000]));
        assert!(client == clients[7] || held(&world) < MAX);
    }
    for &client in &clients {
        assert!(!send(&mut world, client, &[7]));
    }
    world.pass(4900);
    make_room(&mut world);
    assert_eq!(closed(&world), 0);
    world.pass(200);
    make_room(&mut world);
    assert_eq!((closed(&world), held(&world)), (4, 36_000), "all that wait: to the others it is their turn");
}

#[test]
fn a_session_does_not_end_because_there_is_no_room() {
    let mut world = world();
    let clients: Vec<usize> = (0..8).map(|_| join(&mut world)).collect();
    for &client in &clients {
        assert!(send(&mut world, client, &large(1, 40_000)[..9000]));
    }
    for &client in &clients {
        assert!(!send(&mut world, client, &[7]));
    }
    let mut ask = |round| {
        world.shared.inboxes[0].ask(round);
        world.shards[0].drain(world.now, &world.shared);
        world.shards[0].tell_touches();
        let mut submissions = Vec::new();
        world.shards[0].take_submissions(&mut submissions);
        let Some(Submission::Touches { heard, .. }) = submissions.pop() else { return Vec::new() };
        heard.into_iter().map(|(session, _)| session).collect()
    };
    // What was heard before.
    assert_eq!(ask(1).len(), 8);
    let waiting: Vec<SessionId> = ask(2);
    let sessions = clients[..4].iter().map(|&client| world.session(client).expect("a session").0);
    assert_eq!(waiting, sessions.collect::<Vec<_>>(), "to the others it is their turn");
}

#[test]
fn beyond_twice_the_bound_there_is_no_patience() {
    let options =
        Options { shards: 1, unprocessed_max: MAX, chunk_max: 1 << 20, frame_max: 10_000, ..Options::default() };
    let mut world = World::new(1, options);
    let clients: Vec<usize> = (0..20).map(|_| join(&mut world)).collect();
    for &client in &clients {
        // All in the same moment, each of them while it holds nothing yet.
        assert!(send(&mut world, client, &large(1, 9900)[..9000]));
    }
    assert_eq!(held(&world), 180_000);
    make_room(&mut world);
    assert!(held(&world) <= MAX / 2, "{} bytes", held(&world));
    world.settle();
    let gone = clients.iter().filter(|&&client| world.clients[client].closed).count();
    assert_eq!((closed(&world), gone), (17, 17));
}

#[test]
fn a_buffer_is_not_larger_than_its_frame() {
    let mut world = world();
    let client = join(&mut world);
    let frame = large(1, 33_000);
    for part in frame[..frame.len() - 1].chunks(1000) {
        assert!(send(&mut world, client, part));
    }
    let conn = world.clients[client].conn;
    let kept = world.shards[0].get(conn).map(ostler_peer::connection::Connection::unread_capacity);
    assert_eq!(kept, Some(frame.len()));
    assert!(send(&mut world, client, &frame[frame.len() - 1..]));
    assert_eq!(held(&world), 0);
    world.settle();
    check_no_more(&world);
}

fn check_no_more(world: &World) {
    assert_eq!(held(world), 0);
}
