//! Limits that an operator sets: the request throttle, large requests, the connection throttle, enforced schemes, and what
//! all connections together may still have to read.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use std::sync::atomic::Ordering::Relaxed;

use auth::AuthConfig;
use ostler_peer::shard::RequestThrottle;
use ostler_peer::throttle::{ConnectionThrottle, ConnectionThrottleConfig};
use support::check::check;
use support::talk::{connect, create, read, set_data};
use support::world::{Options, World};
use wire::acl::AclVec;
use wire::frame::ReplyHeader;
use wire::request::AuthPacket;
use wire::{ErrorCode, Field, OpCode, SessionId, Xid, Zxid};

/// A world in which one request may be in the pipeline, and two clients on one shard.
fn held(throttle: RequestThrottle) -> (World, usize, usize) {
    let throttle = RequestThrottle { requests_max: Some(1), ..throttle };
    let mut world = World::new(1, Options { shards: 1, throttle, chunk_max: 1 << 20, ..Options::default() });
    let clients = [world.open(0), world.open(0)];
    for client in clients {
        world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    }
    world.settle();
    (world, clients[0], clients[1])
}

/// What a client writes arrives now, whatever else is under way.
fn arrive(world: &mut World, client: usize) {
    let found = &mut world.clients[client];
    let (conn, bytes) = (found.conn, found.unfed.drain(..).collect::<Vec<u8>>());
    world.shards[conn.shard as usize].receive(world.now, &world.shared, conn, &bytes);
    world.collect();
}

/// One client's write fills the pipeline; those of the other, and what stands behind them, wait.
fn fill(world: &mut World, first: usize, second: usize, ops: &[(i32, OpCode, Vec<u8>)]) {
    world.request(first, 1, OpCode::Create, &create("/first", b"", AclVec::OPEN, 0));
    arrive(world, first);
    for (xid, op, body) in ops {
        world.request(second, *xid, *op, body);
    }
    arrive(world, second);
    assert_eq!(world.shared.in_flight.load(Relaxed), 1, "the second waits");
}

fn headers(world: &World, client: usize) -> Vec<(i32, ErrorCode)> {
    let header = |frame: &&[u8]| ReplyHeader::from_slice(frame).expect("a header");
    let frames = world.frames(client);
    let all = frames[1..].iter().map(header).map(|header| (header.xid.0, header.err));
    // Not the events of its own watches.
    all.filter(|(xid, _)| *xid != -1).collect()
}

fn count(world: &World, pick: impl Fn(&ostler_peer::stats::ShardStats) -> u64) -> u64 {
    world.shared.shard_stats.iter().map(pick).sum()
}

fn ops() -> Vec<(i32, OpCode, Vec<u8>)> {
    vec![
        (1, OpCode::Create, create("/second", b"", AclVec::OPEN, 0)),
        (2, OpCode::SetData, set_data("/second", b"x", 0)),
        (3, OpCode::GetData, read("/second", true)),
        (-2, OpCode::Ping, Vec::new()),
        (4, OpCode::SetData, set_data("/second", b"y", 1)),
    ]
}

#[test]
fn requests_above_the_maximum_wait_in_their_order() {
    let (mut world, first, second) = held(RequestThrottle::default());
    fill(&mut world, first, second, &ops());
    assert_eq!(count(&world, |s| s.throttle_waits.get()), 1);
    world.settle();
    assert_eq!(headers(&world, first), [(1, ErrorCode::OK)]);
    assert_eq!(headers(&world, second), [1, 2, 3, -2, 4].map(|xid| (xid, ErrorCode::OK)));
    check(&world);
}

#[test]
fn a_ping_with_nothing_before_it_does_not_wait() {
    let (mut world, first, second) = held(RequestThrottle::default());
    fill(&mut world, first, second, &[(-2, OpCode::Ping, Vec::new())]);
    let conn = world.clients[second].conn;
    assert_eq!(world.shards[0].to_send(conn).len(), 4 + 16, "answered while the other waits");
}

#[test]
fn a_session_does_not_end_because_its_request_waits() {
    let (mut world, first, second) = held(RequestThrottle::default());
    fill(&mut world, first, second, &ops());
    // Three times the timeout, with nothing logged meanwhile; shards are asked what they heard.
    for _ in 0..60 {
        world.pass(500);
        let mut submissions = Vec::new();
        // Its pings wait in the socket: the driver sees that there is something.
        let conn = world.clients[second].conn;
        world.shards[0].has_unread(world.now, conn);
        world.shards[0].drain(world.now, &world.shared);
        world.shards[0].tell_touches();
        world.shards[0].take_submissions(&mut submissions);
        submissions.retain(|submission| matches!(submission, ostler_peer::Submission::Touches { .. }));
        // The first client's session has ended meanwhile: it was silent.
        world.pipeline.process(world.now, &world.shared, &mut submissions);
    }
    let (session, _) = world.session(second).expect("a session");
    assert_eq!(world.pipeline.session_count(), 2, "both are in the table until a closeSession is applied");
    world.shared.in_flight.store(0, Relaxed);
    world.settle();
    assert_eq!(headers(&world, second)[0], (1, ErrorCode::OK), "{session} lives");
    assert!(!world.clients[second].closed);
}

#[test]
fn who_waited_too_long_is_told_so_in_the_order_of_requests() {
    let (mut world, first, second) = held(RequestThrottle { op_wait_ms: Some(100), ..RequestThrottle::default() });
    let mut asked = ops();
    asked.push((5, OpCode::CloseSession, Vec::new()));
    fill(&mut world, first, second, &asked);
    world.pass(101);
    let before = world.applied();
    world.settle();
    let throttled = ErrorCode::THROTTLED_OP;
    assert_eq!(
        headers(&world, second),
        [(1, throttled), (2, throttled), (3, throttled), (-2, ErrorCode::OK), (4, throttled), (5, ErrorCode::OK)],
        "neither pings nor the end of a session are refused"
    );
    assert_eq!(count(&world, |s| s.throttled_ops.get()), 4);
    // Only the first client's create and the closeSession were done.
    assert_eq!(world.applied().0, before.0 + 2);
    assert!(world.shared.tree.read().get("/second").is_none());
    assert_eq!(world.shards[0].watches().len(), 0, "no watch was set");
}

#[test]
fn who_waited_just_long_enough_is_served() {
    let (mut world, first, second) = held(RequestThrottle { op_wait_ms: Some(100), ..RequestThrottle::default() });
    fill(&mut world, first, second, &ops());
    world.pass(100);
    world.settle();
    assert_eq!(headers(&world, second), [1, 2, 3, -2, 4].map(|xid| (xid, ErrorCode::OK)));
    // The next one does not inherit the wait.
    world.pass(1000);
    world.request(second, 6, OpCode::SetData, &set_data("/second", b"z", 2));
    world.settle();
    assert_eq!(headers(&world, second).last(), Some(&(6, ErrorCode::OK)));
    check(&world);
}

#[test]
fn a_stale_request_is_dropped_with_its_connection() {
    for (drop_stale, waited_ms) in [(true, 10_000), (true, 10_001), (false, 10_001)] {
        let throttle = RequestThrottle { stale_by_latency: true, drop_stale, ..RequestThrottle::default() };
        let (mut world, first, second) = held(throttle);
        fill(&mut world, first, second, &ops());
        // Without ticks: what is asked here is not when sessions end.
        world.now.mono_us += waited_ms * 1000;
        world.settle();
        let is_dropped = drop_stale && waited_ms > 10_000;
        assert_eq!(world.clients[second].closed, is_dropped, "{waited_ms}");
        assert_eq!(headers(&world, second).is_empty(), is_dropped);
        assert_eq!(count(&world, |s| s.stale_requests_dropped.get()), u64::from(is_dropped));
        assert_eq!(count(&world, |s| s.stale_requests.get()) > 0, !drop_stale);
        assert_eq!(world.shared.tree.read().get("/second").is_none(), is_dropped);
    }
}

#[test]
fn what_waits_for_a_connection_that_has_gone_can_be_dropped() {
    let (mut world, first, second) = held(RequestThrottle::default());
    fill(&mut world, first, second, &ops());
    let conn = world.clients[second].conn;
    assert_eq!(world.shards[0].held().collect::<Vec<_>>(), [conn]);
    world.shards[0].drop_stale(&world.shared, conn);
    assert_eq!(world.shards[0].held().count(), 0);
    world.settle();
    assert!(headers(&world, second).is_empty());
    assert_eq!(count(&world, |s| s.stale_requests_dropped.get()), 5);
    assert!(world.shared.tree.read().get("/second").is_none());
}

#[test]
fn large_requests_are_counted_together() {
    let options =
        || Options { shards: 1, large_threshold: 500, large_bytes_max: 2000, chunk_max: 1 << 20, ..Options::default() };
    let sized = |length: usize| {
        let empty = create("/large-", b"", AclVec::OPEN, 2).len() + 8;
        create("/large-", &vec![7; length - empty], AclVec::OPEN, 2)
    };
    // The lengths of frames that are sent while none is answered, and whether the last one is too much.
    for (lengths, too_much) in [
        (&[500; 20][..], false),
        (&[2000], false),
        (&[2001], true),
        (&[2000, 500], false),
        (&[2000, 501], true),
        (&[1008, 1000], false),
        (&[1008, 1001], true),
        (&[500, 500, 500, 500, 1008, 1000], false),
    ] {
        let mut world = World::new(1, options());
        let client = world.open(0);
        world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
        world.settle();
        for (xid, length) in lengths.iter().enumerate() {
            world.request(client, xid as i32 + 1, OpCode::Create, &sized(*length));
        }
        arrive(&mut world, client);
        let rejected = count(&world, |s| s.large_requests_rejected.get());
        assert_eq!(rejected, u64::from(too_much), "{lengths:?}");
        world.settle();
        assert_eq!(world.clients[client].closed, too_much, "{lengths:?}");
        assert_eq!(world.shared.large_bytes.load(Relaxed), 0, "{lengths:?}");
        check(&world);
    }
    // A length alone is enough.
    let mut world = World::new(1, options());
    let client = world.open(0);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    world.write(client, &2001_i32.to_be_bytes());
    world.settle();
    assert!(world.clients[client].closed);
}

#[test]
fn a_connect_request_without_a_token_is_closed_without_a_word() {
    let mut world = World::new(1, Options { shards: 1, ..Options::default() });
    let config = ConnectionThrottleConfig {
        tokens: 2,
        fill_ms: 1000,
        fill_count: 1,
        freeze_ms: None,
        drop_increase: 0.0,
        drop_decrease: 0.0,
        decrease_ratio: 0.0,
        weights: None,
        local_sessions: false,
    };
    world.shared.connection_throttle = Some(ConnectionThrottle::new(config, 1, world.now).into());
    let join = |world: &mut World| {
        let client = world.open(0);
        world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
        world.settle();
        assert_eq!(world.clients[client].closed, world.clients[client].received.is_empty());
        !world.clients[client].closed
    };
    assert_eq!([join(&mut world), join(&mut world), join(&mut world)], [true, true, false]);
    assert_eq!(count(&world, |s| s.connection_rejected.get()), 1);
    assert_eq!(count(&world, |s| s.connection_requests.get()), 2);
    world.now.mono_us += 1_001_000;
    assert_eq!([join(&mut world), join(&mut world)], [true, false]);
}

#[test]
fn without_a_demanded_identity_nothing_but_a_login_is_done() {
    let auth = AuthConfig { enforced_schemes: vec!["digest".to_owned()], ..AuthConfig::default() };
    for op in [OpCode::Ping, OpCode::CloseSession, OpCode::Create, OpCode::GetData, OpCode::SetWatches2, OpCode::Check]
    {
        let mut world = World::new(1, Options { auth: auth.clone(), ..Options::default() });
        let client = world.open(0);
        world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
        world.request(client, 7, op, &[]);
        world.request(client, 8, OpCode::Ping, &[]);
        world.settle();
        assert!(world.session(client).is_some(), "the handshake is for everybody");
        let refused = ReplyHeader { xid: Xid(7), zxid: Zxid(0), err: ErrorCode::SESSION_CLOSED_REQUIRE_SASL_AUTH };
        assert_eq!(world.frames(client)[1..], [&refused.to_vec()[..]], "{op:?}");
        assert!(world.clients[client].closed);
        assert_eq!(world.pipeline.session_count(), 1, "the session lives on");
    }
    let mut world = World::new(1, Options { auth, ..Options::default() });
    let client = world.open(0);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.login(client, "u:p");
    world.request(client, 1, OpCode::Create, &create("/a", b"", AclVec::OPEN, 0));
    world.request(client, -2, OpCode::Ping, &[]);
    world.settle();
    assert_eq!(headers(&world, client), [(-4, ErrorCode::OK), (1, ErrorCode::OK), (-2, ErrorCode::OK)]);
}

#[test]
fn a_client_of_another_ensemble_is_closed_without_a_word() {
    let auth = AuthConfig { ensemble: Some(vec!["ours".to_owned()]), ..AuthConfig::default() };
    for (name, stays) in [(&b"ours"[..], true), (b"", true), (b"theirs", false)] {
        let mut world = World::new(1, Options { auth: auth.clone(), ..Options::default() });
        let client = world.open(0);
        world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
        world.settle();
        let packet = AuthPacket { kind: 0, scheme: Some("ensemble".into()), auth: Some(name) };
        world.request(client, -4, OpCode::Auth, &packet.to_vec());
        world.settle();
        assert_eq!(world.clients[client].closed, !stays);
        assert_eq!(headers(&world, client), if stays { vec![(-4, ErrorCode::OK)] } else { vec![] });
        let counted = [
            count(&world, |s| s.ensemble_auth_success.get()),
            count(&world, |s| s.ensemble_auth_skip.get()),
            count(&world, |s| s.ensemble_auth_fail.get()),
        ];
        assert_eq!(counted, [u64::from(name == b"ours"), u64::from(name.is_empty()), u64::from(name == b"theirs")]);
    }
}

/// Clients that ask and do not read: beyond the limit for all, those that have been deaf for the longest time go first.
#[test]
fn those_that_read_least_are_closed_when_it_is_too_much_for_all() {
    let (out_total_max, tell_step) = (64 * 1024, 8 * 1024);
    let options = Options { shards: 1, out_total_max, tell_step, chunk_max: 1 << 20, ..Options::default() };
    let mut world = World::new(1, options);
    let join = |world: &mut World| {
        let client = world.open(0);
        world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
        world.settle();
        client
    };
    let (writer, deaf, listening) = (join(&mut world), join(&mut world), join(&mut world));
    world.request(writer, 1, OpCode::Create, &create("/big", &[7; 10_000], AclVec::OPEN, 0));
    world.settle();
    let ask = |world: &mut World, client: usize, xid: i32| {
        world.request(client, xid, OpCode::GetData, &read("/big", false));
        arrive(world, client);
        let conn = world.clients[client].conn;
        world.shards[0].wrote(&world.shared, conn);
    };
    for xid in 1..=2 {
        ask(&mut world, deaf, xid);
    }
    let of_one = world.shards[0].out_total();
    assert!((20_000..20_400).contains(&of_one));
    world.shards[0].begin_round();
    // As much for the other, but that one read something since.
    for xid in 1..=2 {
        ask(&mut world, listening, xid);
    }
    let conn = world.clients[listening].conn;
    assert_eq!(world.shards[0].out_total(), 2 * of_one);
    // From half of it on, who has something to read is not read.
    let received = world.shards[0].get(conn).map(|c| c.received);
    ask(&mut world, listening, 3);
    assert_eq!(world.shards[0].get(conn).map(|c| c.received), received, "it waits");
    let others = [(); 3].map(|()| join_quietly(&mut world));
    for other in others {
        ask(&mut world, other, 1);
    }
    assert_eq!(count(&world, |s| s.shed.get()), 1);
    assert!(world.shards[0].wants_close(world.clients[deaf].conn), "the one that did not read");
    assert!(!world.shards[0].is_closing(conn));
    assert!(world.shards[0].out_total() <= 64 * 1024);
    world.settle();
    assert!(world.clients[deaf].closed && !world.clients[listening].closed);
    assert_eq!(headers(&world, listening).len(), 3);
    assert_eq!(world.shards[0].out_total(), 0);
}

/// A session, got without letting the others read.
fn join_quietly(world: &mut World) -> usize {
    let client = world.open(0);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    arrive(world, client);
    let mut submissions = Vec::new();
    world.shards[0].take_submissions(&mut submissions);
    world.pipeline.process(world.now, &world.shared, &mut submissions);
    let mut last = world.logged;
    world.pipeline.take_unlogged(|zxid, _| last = zxid);
    world.logged = last;
    world.pipeline.logged(world.now, &world.shared, last);
    world.shards[0].drain(world.now, &world.shared);
    client
}

/// What waits for the log is bounded for those who fill it; it is not for others to wait for them.
#[test]
fn a_pipeline_full_of_bytes_holds_up_only_those_who_write() {
    let mut world = World::new(1, Options { in_flight_bytes_max: 1000, ..Options::default() });
    let [writer, other, reader] = [0, 0, 1].map(|shard| {
        let client = world.open(shard);
        world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
        client
    });
    world.settle();
    world.holds_log = true;
    world.request(writer, 1, OpCode::Create, &create("/big", &[7; 2000], AclVec::OPEN, 0));
    run(&mut world);
    world.request(other, 1, OpCode::Create, &create("/small", b"", AclVec::OPEN, 0));
    world.request(other, 2, OpCode::Exists, &read("/", false));
    world.request(reader, 1, OpCode::Exists, &read("/", false));
    world.request(reader, -2, OpCode::Ping, &[]);
    run(&mut world);
    assert_eq!(world.shared.in_flight.load(Relaxed), 1, "another write waits");
    assert_eq!(world.frames(other).len(), 1, "and what is behind it");
    assert_eq!(world.frames(reader).len(), 3, "a read and a ping do not");
    world.holds_log = false;
    world.settle();
    assert_eq!(world.frames(other).len(), 3);
    check(&world);
}

/// Whatever can happen while the log does not go on, happens.
fn run(world: &mut World) {
    (0..2000).for_each(|_| world.step());
}
