//! Sessions: how they begin, move and end, by hand and in random lives with time passing.

#![allow(clippy::expect_used, reason = "a test may stop where it stands")]

extern crate tree as ostler_tree;

mod support;

use ostler_peer::session::password;
use ostler_tree::TreeConfig;
use ostler_tree::restore::TreeBuilder;
use support::check::check;
use support::talk::{connect, connect_with, create, framed, random_read, random_write, read};
use support::world::{Options, TICK_MS, World, for_seeds};
use wire::acl::AclVec;
use wire::connect::{ConnectRequest, ConnectResponse};
use wire::frame::ReplyHeader;
use wire::request::AuthPacket;
use wire::watcher::WatcherEvent;
use wire::{ErrorCode, Field, OpCode, SessionId, StatPersisted, Xid, Zxid};

fn world() -> World {
    World::new(1, Options::default())
}

fn joined(world: &mut World, shard: usize) -> (usize, SessionId) {
    let client = world.open(shard);
    world.write(client, &connect(SessionId(0), Zxid(0), 10_000));
    world.settle();
    let (session, timeout_ms) = world.session(client).expect("a session");
    assert_eq!(timeout_ms, 10_000);
    (client, session)
}

fn headers(world: &World, client: usize) -> Vec<ReplyHeader> {
    world.frames(client)[1..].iter().map(|frame| ReplyHeader::from_slice(frame).expect("a header")).collect()
}

fn header(xid: i32, zxid: i64, err: ErrorCode) -> ReplyHeader {
    ReplyHeader { xid: Xid(xid), zxid: Zxid(zxid), err }
}

#[test]
fn ephemerals_without_a_session_are_told_and_deleted() {
    let mut builder = TreeBuilder::new(TreeConfig::default());
    builder.node("", None, -1, &StatPersisted::default()).expect("a root");
    for (path, owner) in [("/gone", 0x17), ("/lives", 0x18), ("/too", 0x17)] {
        let stat = StatPersisted { ephemeral_owner: owner, ..StatPersisted::default() };
        builder.node(path, None, -1, &stat).expect("a znode");
    }
    let tree = builder.finish(Zxid(0)).expect("a tree");
    let mut world = World::of(1, Options { restored: vec![(SessionId(0x18), 10_000)], ..Options::default() }, tree);
    world.pipeline.close_orphans(world.now, &world.shared);
    let told = world.pipeline.take_orphans().expect("there are some").to_string();
    let expected =
        "2 ephemeral znodes of 1 session (0x17) will be deleted, since their sessions are not known: /gone, /too; ";
    assert!(told.starts_with(expected), "{told}");
    assert_eq!(world.pipeline.take_orphans(), None, "once");
    world.settle();
    let is_there = |path: &str| world.shared.tree.read().get(path).is_some();
    assert_eq!(["/gone", "/lives", "/too"].map(is_there), [false, true, false]);
    world.pipeline.close_orphans(world.now, &world.shared);
    assert_eq!(world.pipeline.take_orphans(), None, "of those that are known nothing is said");
}

#[test]
fn a_wrong_password_is_told_that_the_session_is_over() {
    let mut world = world();
    let (first, session) = joined(&mut world, 0);
    for wrong in [&[0; 16][..], &[], &password(SessionId(session.0 + 1))] {
        let client = world.open(1);
        world.write(client, &connect_with(session, wrong, Zxid(0), 10_000));
        world.settle();
        let response = ConnectResponse::expired(Some(false)).to_vec();
        assert_eq!(world.frames(client), [&response[..]]);
        assert!(world.clients[client].closed);
    }
    assert!(!world.clients[first].closed, "its own connection lives on");
    check(&world);
}

#[test]
fn a_session_that_is_not_there_is_over() {
    let mut world = world();
    let client = world.open(0);
    world.write(client, &connect(SessionId(0x1234), Zxid(0), 10_000));
    world.settle();
    assert_eq!(world.frames(client), [&ConnectResponse::expired(Some(false)).to_vec()[..]]);
    assert!(world.clients[client].closed);
}

#[test]
fn who_has_seen_the_future_is_closed_without_a_word() {
    let mut world = world();
    joined(&mut world, 0);
    for (ahead, welcome) in [(0, true), (1, false)] {
        let seen = Zxid(world.applied().0 + ahead);
        let client = world.open(0);
        world.write(client, &connect(SessionId(0), seen, 10_000));
        world.settle();
        assert_eq!(world.clients[client].received.is_empty(), !welcome);
        assert_eq!(world.clients[client].closed, !welcome);
    }
}

#[test]
fn timeouts_are_kept_within_bounds_and_old_clients_get_no_flag() {
    let mut world = world();
    for (asked, granted) in [(1, 4000), (-5, 4000), (4001, 4001), (1_000_000, 40_000)] {
        let client = world.open(0);
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: Zxid(0),
            timeout_ms: asked,
            session: SessionId(0),
            password: None,
            read_only: None,
        };
        world.write(client, &framed(&request.to_vec()));
        world.settle();
        let frames = world.frames(client);
        assert_eq!(frames[0].len(), 36);
        assert_eq!(ConnectResponse::from_slice(frames[0]).expect("a response").timeout_ms, granted);
    }
}

#[test]
fn a_renewed_session_moves_and_the_old_connection_closes() {
    let mut world = world();
    let (old, session) = joined(&mut world, 0);
    world.request(old, 1, OpCode::Create, &create("/mine", b"", AclVec::OPEN, 1));
    world.settle();
    let new = world.open(1);
    world.write(new, &connect(session, world.applied(), 20_000));
    world.request(new, 2, OpCode::SetData, &support::talk::set_data("/mine", b"moved", 0));
    world.settle();
    assert_eq!(world.session(new), Some((session, 20_000)));
    assert!(world.clients[old].closed);
    assert!(world.clients[old].received.ends_with(&framed(&{
        let mut reply = header(1, 2, ErrorCode::OK).to_vec();
        "/mine".to_owned().write(&mut reply);
        reply
    })));
    assert_eq!(headers(&world, new), [header(2, 3, ErrorCode::OK)]);
    check(&world);
}

/// A write that comes when its session has moved on is not done any more, whatever the old connection knows of it.
#[test]
fn a_late_write_of_the_old_connection_is_not_applied() {
    let mut not_told_yet = 0;
    for seed in 0..100 {
        let mut world = World::new(seed, Options::default());
        let (old, session) = joined(&mut world, 0);
        let new = world.open(1);
        world.write(new, &connect(session, Zxid(0), 10_000));
        while world.session(new).is_none() {
            world.step();
        }
        not_told_yet += u32::from(!world.clients[old].closed);
        world.request(old, 1, OpCode::Create, &create("/late", b"", AclVec::OPEN, 0));
        world.settle();
        let history = check(&world);
        assert!(!history.states.last().expect("a state").nodes.contains_key("/late"), "seed {seed}");
        assert!(headers(&world, old).is_empty() && world.clients[old].closed && !world.clients[new].closed);
    }
    assert!(not_told_yet > 20, "the case is there: {not_told_yet}");
}

/// Its client does not know whether a write was done when the connection went, and looks: what is answered then is true.
#[test]
fn a_renewed_session_sees_what_it_asked_for_before() {
    let (mut done, mut moved_again) = (0, 0);
    for seed in 0..300 {
        let mut world = World::new(seed, Options::default());
        let (old, session) = joined(&mut world, 0);
        world.request(old, 1, OpCode::Create, &create("/asked", b"", AclVec::OPEN, 0));
        for _ in 0..seed % 40 {
            world.step();
        }
        // Sometimes two connections want it, one after the other.
        let connections: Vec<usize> = (0..=seed as usize % 2).map(|_| world.open(1)).collect();
        for (at, &new) in connections.iter().enumerate() {
            world.write(new, &connect(session, Zxid(0), 10_000));
            world.request(new, 2 + at as i32, OpCode::Exists, &read("/asked", false));
        }
        world.settle();
        let history = check(&world);
        let is_there = history.states.last().expect("a state").nodes.contains_key("/asked");
        for &new in &connections {
            if world.frames(new).len() < 2 {
                continue;
            }
            let reply = &headers(&world, new)[0];
            assert_eq!(
                reply.err == ErrorCode::OK,
                is_there,
                "seed {seed}: it was told one thing, and then it was otherwise"
            );
            done += u32::from(is_there);
        }
        moved_again += u32::from(connections.iter().any(|&new| world.clients[new].closed));
        let open = connections.iter().filter(|&&new| !world.clients[new].closed);
        assert_eq!(open.count(), 1, "seed {seed}: a session is at one connection");
    }
    assert!(done > 20 && moved_again > 20, "the cases are there: {done}, {moved_again}");
}

#[test]
fn close_session_deletes_ephemerals_tells_watchers_and_answers_nothing_behind_it() {
    let mut world = world();
    let (watcher, _) = joined(&mut world, 0);
    let (leaver, session) = joined(&mut world, 1);
    world.request(leaver, 1, OpCode::Create, &create("/e", b"", AclVec::OPEN, 1));
    world.settle();
    world.request(watcher, 1, OpCode::Exists, &read("/e", true));
    world.settle();
    world.request(leaver, 2, OpCode::CloseSession, &[]);
    world.request(leaver, 3, OpCode::GetData, &read("/e", false));
    world.request(leaver, 4, OpCode::Delete, &support::talk::delete("/e", -1));
    world.settle();
    assert_eq!(headers(&world, leaver).last(), Some(&header(2, 4, ErrorCode::OK)));
    assert!(world.clients[leaver].closed);
    let told = world.frames(watcher)[2];
    assert_eq!(ReplyHeader::from_slice(told), Ok(header(-1, 4, ErrorCode::OK)));
    assert_eq!(WatcherEvent::from_slice(&told[16..]).map(|e| e.kind), Ok(2));
    let history = check(&world);
    assert!(history.closed.contains_key(&session.0));
    // And the session can't be had again.
    let again = world.open(0);
    world.write(again, &connect(session, Zxid(0), 10_000));
    world.settle();
    assert_eq!(world.frames(again), [&ConnectResponse::expired(Some(false)).to_vec()[..]]);
}

#[test]
fn a_session_that_is_silent_ends_at_a_tick_and_one_that_pings_does_not() {
    let mut world = world();
    let (silent, gone) = joined(&mut world, 0);
    let (pinging, stays) = joined(&mut world, 1);
    world.request(silent, 1, OpCode::Create, &create("/e", b"", AclVec::OPEN, 1));
    world.settle();
    world.request(pinging, 1, OpCode::Exists, &read("/e", true));
    world.settle();
    let heard = *world.clients[silent].heard_ms.last().expect("it spoke");
    for _ in 0..30 {
        world.pass(500);
        world.request(pinging, -2, OpCode::Ping, &[]);
        world.settle();
    }
    let history = check(&world);
    let (_, by, at_ms) = history.closed[&gone.0];
    assert_eq!(by, 0, "the server's own request");
    assert!((heard + 10_000..=heard + 10_000 + TICK_MS + 500).contains(&at_ms), "{at_ms} after {heard}");
    assert!(!history.closed.contains_key(&stays.0));
    assert!(world.clients[silent].closed && !world.clients[pinging].closed);
    assert!(headers(&world, pinging).contains(&header(-1, world.applied().0, ErrorCode::OK)), "its watch fired");
    assert!(!history.states.last().expect("a state").nodes.contains_key("/e"));
}

/// What was heard on a connection counts also when it is gone before anybody asked.
#[test]
fn a_lost_connection_does_not_shorten_its_session() {
    let mut world = world();
    let (client, session) = joined(&mut world, 0);
    world.pass(9_000);
    world.settle();
    world.request(client, -2, OpCode::Ping, &[]);
    world.settle();
    let heard = *world.clients[client].heard_ms.last().expect("it spoke");
    world.hang_up(client);
    while world.now.mono_ms() < heard + 10_000 - 500 {
        world.pass(500);
        world.settle();
    }
    let again = world.open(1);
    world.write(again, &connect(session, Zxid(0), 10_000));
    world.settle();
    assert_eq!(world.session(again), Some((session, 10_000)), "within its timeout it can be had again");
}

#[test]
fn auth_replies_carry_no_zxid_and_a_refusal_closes() {
    let mut world = world();
    let (client, _) = joined(&mut world, 0);
    world.login(client, "u:p");
    let mine = AclVec::encode(&[wire::Acl::new(31, "auth", "")]);
    let mine = AclVec::parse(&mine).expect("a list");
    world.request(client, 1, OpCode::Create, &create("/private", b"", mine, 0));
    world.settle();
    assert_eq!(headers(&world, client), [header(-4, 0, ErrorCode::OK), header(1, 2, ErrorCode::OK)]);
    let packet = AuthPacket { kind: 0, scheme: Some("no-such".into()), auth: Some(b"x") };
    world.request(client, -4, OpCode::Auth, &packet.to_vec());
    world.request(client, 2, OpCode::Ping, &[]);
    world.settle();
    assert_eq!(headers(&world, client).last(), Some(&header(-4, 0, ErrorCode::AUTH_FAILED)));
    assert!(world.clients[client].closed);
}

#[test]
fn unknown_operations_are_refused_and_the_session_survives() {
    for op in [0, 10, 13, 99, -1, -10, i32::MAX] {
        let mut world = world();
        let (client, session) = joined(&mut world, 0);
        world.request_code(client, 5, op, &[]);
        world.settle();
        assert_eq!(headers(&world, client), [header(5, -1, ErrorCode::UNIMPLEMENTED)], "op {op}");
        assert!(world.clients[client].closed);
        let again = world.open(0);
        world.write(again, &connect(session, Zxid(0), 10_000));
        world.settle();
        assert!(world.session(again).is_some());
    }
}

#[test]
fn what_is_no_frame_or_has_no_header_closes_without_a_word() {
    for bad in [&[255; 4][..], &[0x7f, 0, 0, 0], &[0; 4], &[0, 0, 0, 4, 1, 2, 3, 4]] {
        let mut world = world();
        let (client, _) = joined(&mut world, 0);
        let before = world.clients[client].received.len();
        world.write(client, bad);
        world.settle();
        assert!(world.clients[client].closed, "{bad:?}");
        assert_eq!(world.clients[client].received.len(), before);
    }
}

/// Lives with time passing: clients speak, fall silent, lose connections, come back on another shard, leave.
#[test]
fn random_lives() {
    for_seeds(120, |seed| {
        let options = Options {
            shards: 1 + seed as usize % 3,
            pause_ms_max: 25,
            close_session_paths: !seed.is_multiple_of(5),
            ..Options::default()
        };
        let mut world = World::new(seed, options);
        let mut sessions: Vec<SessionId> = Vec::new();
        let mut all: Vec<usize> = Vec::new();
        for xid in 1..150 {
            if all.is_empty() || world.rng.chance(8) {
                let shard = world.rng.below(world.options.shards);
                let client = world.open(shard);
                let session =
                    if sessions.is_empty() || world.rng.chance(30) { SessionId(0) } else { *world.rng.pick(&sessions) };
                world.write(client, &connect(session, Zxid(0), 4000));
                all.push(client);
            }
            let client = *world.rng.pick(&all);
            let (op, body) = match world.rng.below(10) {
                0..4 => random_write(&mut world.rng),
                _ if world.rng.chance(2) => (OpCode::CloseSession, Vec::new()),
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
        for client in 0..world.clients.len() {
            let Some((session, timeout_ms)) = world.session(client) else { continue };
            let (_, by, at_ms) = history.closed[&session.0];
            let mine = (0..world.clients.len()).filter(|&i| world.session(i).is_some_and(|(s, _)| s == session));
            let heard: Vec<i64> = mine.flat_map(|i| world.clients[i].heard_ms.clone()).collect();
            // The decision falls at a tick; until all shards have told what they heard, a little time passes.
            let was_silent = |now: i64| {
                heard.iter().filter(|&&h| h <= now).max().is_none_or(|last| last + i64::from(timeout_ms) <= now)
            };
            assert!(by != 0 || (at_ms - 3000..=at_ms).any(was_silent), "{session} ended early: at {at_ms}, {heard:?}");
        }
    });
}

/// An ephemeral that was deleted and made anew as a persistent znode, all of it on its way when its session ends: the
/// new znode is nobody's to delete.
#[test]
fn close_session_spares_what_replaced_an_ephemeral() {
    for seed in 0..30 {
        let mut world = World::new(seed, Options::default());
        let (leaver, _) = joined(&mut world, 0);
        world.request(leaver, 1, OpCode::Create, &create("/e", b"old", AclVec::OPEN, 1));
        world.settle();
        world.request(leaver, 2, OpCode::Delete, &support::talk::delete("/e", -1));
        world.request(leaver, 3, OpCode::Create, &create("/e", b"new", AclVec::OPEN, 0));
        world.request(leaver, 4, OpCode::CloseSession, &[]);
        world.settle();
        let history = check(&world);
        let node = history.states.last().and_then(|model| model.nodes.get("/e")).expect("it stays");
        assert_eq!(node.data.as_deref(), Some(&b"new"[..]));
    }
}

#[test]
fn who_ends_a_session_ends_it_where_it_is_and_not_where_it_has_gone_to() {
    let (mut ended, mut moved) = (0, 0);
    for seed in 0..200 {
        let mut world = World::new(seed, Options::default());
        let (first, session) = joined(&mut world, 0);
        let second = world.open(1);
        world.request(first, 1, OpCode::CloseSession, &[]);
        world.write(second, &connect_with(session, &password(session), Zxid(0), 10_000));
        world.settle();
        let is_granted = world.session(second).is_some_and(|(id, _)| id == session);
        // The last words of a connection count for nothing when its client has moved before they came.
        assert_eq!(world.pipeline.session_count(), usize::from(is_granted), "seed {seed}");
        assert_eq!(world.clients[second].closed, !is_granted, "seed {seed}");
        assert!(world.clients[first].closed, "seed {seed}");
        *if is_granted { &mut moved } else { &mut ended } += 1;
    }
    assert!(ended > 0 && moved > 0, "{ended} {moved}");
}

/// Where SASL is not set up, a token is answered with none; one that is null is the end, as in Apache.
#[test]
fn a_sasl_token_that_is_null_costs_the_connection() {
    for (token, is_answered) in [(&[0, 0, 0, 0][..], true), (&[0, 0, 0, 1, 7], true), (&[0xff; 4], false)] {
        let mut world = world();
        let (client, _) = joined(&mut world, 0);
        world.request(client, 1, OpCode::Sasl, token);
        world.settle();
        let expected = if is_answered { vec![header(1, 0, ErrorCode::OK)] } else { Vec::new() };
        assert_eq!((headers(&world, client), world.clients[client].closed), (expected, !is_answered), "{token:?}");
    }
}
