//! Whole nodes in an ensemble: what clients are told holds, whoever leads, and all trees become the same.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may stop where it stands, and tell what it saw")]

mod world;

use std::cell::Cell;

use peer::LocalSessions;
use storage::names::FileName;
use storage::snapshot::install::RECEIVED;
use storage::{Dir, FileRef};
use wire::txn::{SetDataTxn, Txn, TxnEntry, TxnHeader};
use wire::{ErrorCode, OpCode, SessionId, Xid, Zxid};
use world::World;
use world::client::Client;
use world::spoil::Change;

/// `OSTLER_SEEDS=1000` runs more of them, `OSTLER_SEED=7` one.
fn for_seeds(usual: u64, run: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("OSTLER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OSTLER_SEEDS").unwrap_or(usual),
    };
    for seed in seeds {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        assert!(failed.is_ok(), "OSTLER_SEED={seed}");
    }
}

fn started(seed: u64, clients: usize) -> World {
    let mut world = World::new(seed);
    for s in 0..4 {
        world.start(s);
    }
    world.until("all serve", |world| (0..4).all(|s| world.is_serving(s)));
    world.clients = (0..clients).map(|c| Client::new(&format!("c{c}"))).collect();
    world
}

/// No faults any more: all come together, and everything that was acknowledged is everywhere.
fn finish(world: &mut World) {
    for s in 0..4 {
        if world.servers[s].process.is_none() {
            world.start(s);
        }
    }
    world.clients.iter_mut().for_each(|client| client.rests = true);
    let knows = |client: &Client| client.is_connected || client.session == SessionId(0);
    world.until("all are quiet", |world| world.is_quiet() && world.clients.iter().all(knows));
    let dump = world.dump(0);
    for s in 1..4 {
        assert_eq!(world.dump(s), dump, "server {s}");
    }
    let process = world.servers[0].process.as_ref().unwrap();
    let tree = process.shared.tree.read();
    for client in &world.clients {
        for path in &client.created {
            assert!(tree.get(path).is_some(), "{path} was acknowledged");
        }
        // What was sent by one connection was done in its order: up to one, and nothing behind it.
        for (before, after) in client.sent.iter().zip(client.sent.iter().skip(1)) {
            let is_done = |(_, path): &(usize, String)| tree.get(path).is_some();
            assert!(before.0 != after.0 || is_done(before) || !is_done(after), "{after:?} without {before:?}");
        }
        if client.session != SessionId(0) && client.expired == 0 {
            for path in &client.ephemerals {
                assert!(tree.get(path).is_some(), "{path} was acknowledged, and its session lives");
            }
        }
    }
}

#[test]
fn clients_of_every_kind_of_server_write_and_read() {
    for_seeds(5, |seed| {
        let mut world = started(seed, 4);
        for c in 0..4 {
            world.connect(c, c);
        }
        world.run(20_000);
        finish(&mut world);
        for client in &world.clients {
            assert!(client.created.len() > 5, "{client:?}");
            assert_eq!((&client.errors[..], client.expired), (&[][..], 0));
        }
    });
}

#[test]
fn leaders_are_killed_and_nothing_acknowledged_is_lost() {
    for_seeds(10, |seed| {
        let mut world = started(seed, 5);
        for _ in 0..4 {
            let steps = 2000 + world.rng.below(10_000);
            world.run(steps);
            let victim = match world.leader() {
                Some(leader) if world.rng.chance(70) => leader,
                _ => world.rng.below(4),
            };
            world.kill(victim);
            let steps = world.rng.below(20_000);
            world.run(steps);
            world.start(victim);
        }
        finish(&mut world);
        let created: usize = world.clients.iter().map(|client| client.created.len()).sum();
        assert!(created > 20, "{created}");
    });
}

/// The data of a znode changes where no txn has changed it.
fn damage(world: &World, s: usize, path: &str) {
    let process = world.servers[s].process.as_ref().unwrap();
    let mut tree = process.shared.tree.write();
    let header =
        TxnHeader { session: SessionId(1), cxid: Xid(0), zxid: tree.last_processed(), time_ms: 1, op: OpCode::SetData };
    let version = tree.get(path).unwrap().stat().version + 1;
    let txn = Txn::SetData(SetDataTxn { path: Some(path.into()), data: Some(b"rot"), version });
    tree.apply(&TxnEntry { header, txn, digest: None }, &mut Vec::new());
}

#[test]
fn a_leader_with_a_damaged_tree_steps_down_and_ends_when_another_leader_differs_too() {
    for_seeds(4, |seed| {
        let mut world = started(seed, 1);
        world.clients.iter_mut().for_each(|client| client.rests = true);
        let odd = world.leader().unwrap();
        let one = (0..3).find(|&s| s != odd).unwrap();
        world.connect(0, one);
        world.until("connected", |world| world.clients[0].is_connected && world.is_quiet());
        world.create(0, "/before", 0);
        world.until("created", |world| world.clients[0].is_idle() && world.is_quiet());
        world.odd = Some(odd);
        damage(&world, odd, "/before");
        world.create(0, "/mispredicted", 0);
        world.until("it steps down", |world| world.notes.iter().any(|note| note.contains("it steps down")));
        world.isolate(odd);
        world.until("another leads", |world| world.leader().is_some_and(|it| it != odd));
        world.unite();
        world.connect(0, one);
        world.until("connected", |world| world.clients[0].is_connected && world.is_serving(odd));
        assert_eq!(world.ended, None, "one witness");
        world.create(0, "/two", 0);
        world.until("two witnesses", |world| world.ended.is_some());
        let why = world.ended.take().unwrap();
        assert!(why.contains("and so had this server itself when it led last"), "{why}");
        // Its files are right.
        world.odd = None;
        finish(&mut world);
    });
}

#[test]
fn a_leader_that_mispredicts_for_the_third_time_ends() {
    let mut world = World::of_one(1);
    world.odd = Some(0);
    world.clients = vec![Client::new("c")];
    world.clients[0].rests = true;
    world.start(0);
    for round in 1..=3 {
        world.until("it leads", |world| world.leader() == Some(0) && world.is_serving(0));
        world.connect(0, 0);
        world.until("connected", |world| world.clients[0].is_connected && world.is_quiet());
        world.create(0, &format!("/before{round}"), 0);
        world.until("created", |world| world.clients[0].is_idle() && world.is_quiet());
        assert_eq!((world.notes.len(), world.ended.as_deref()), (round - 1, None));
        damage(&world, 0, "/before1");
        world.create(0, &format!("/mispredicted{round}"), 0);
        world.until("it mispredicts", |world| world.notes.len() == round || world.ended.is_some());
    }
    assert!(world.notes.iter().all(|note| note.contains("it steps down")), "{:?}", world.notes);
    let why = world.ended.unwrap_or_default();
    assert!(why.contains("for the 3rd time"), "{why}");
}

/// A leader logs the txn `/lonely` and dies; the others go on without it. Who it was.
fn leader_with_a_txn_of_its_own(world: &mut World) -> usize {
    world.clients.iter_mut().for_each(|client| client.rests = true);
    let old = world.leader().unwrap();
    world.connect(0, old);
    world.until("connected", |world| world.clients[0].is_connected && world.is_quiet());
    world.create(0, "/lonely", 0);
    (0..10).for_each(|_| world.disk_step(old));
    // What it has proposed is still on its way, and ends with it.
    world.kill(old);
    world.until("another leads", |world| world.leader().is_some());
    old
}

#[test]
fn what_a_leader_alone_has_logged_is_cut() {
    for_seeds(4, |seed| {
        let mut world = started(seed, 2);
        let old = leader_with_a_txn_of_its_own(&mut world);
        let is_late = seed % 2 == 0;
        if !is_late {
            world.start(old);
            world.until("it is back", |world| world.is_serving(old));
        }
        world.connect(1, (0..3).find(|&s| s != old).unwrap());
        world.until("connected", |world| world.clients[1].is_connected);
        world.create(1, "/other", 0);
        world.until("created", |world| world.clients[1].is_idle());
        finish(&mut world);
        // When the new epoch has txns, only a snapshot is sure.
        assert_eq!((world.cuts > 0, world.installed > 0), (!is_late, is_late));
        let dump = world.dump(old);
        assert!(!dump.iter().any(|line| line.starts_with("/lonely")), "{dump:?}");
        assert!(dump.iter().any(|line| line.starts_with("/other")), "{dump:?}");
    });
}

#[test]
fn a_snapshot_that_no_tree_can_take_changes_nothing() {
    // A znode before its parent, as a bit that flips in a path makes it; one twice; no root.
    let lies: [(Change, &str); 3] = [
        (
            |znodes| znodes.iter_mut().filter(|it| it.path == "/other").for_each(|it| it.path = "/othes".to_owned()),
            "/other/b",
        ),
        (|znodes| znodes.extend(znodes.iter().find(|it| it.path == "/other").cloned()), "/other"),
        (|znodes| znodes.retain(|it| !it.path.is_empty()), "/zookeeper"),
    ];
    for (seed, (lie, of)) in (0..).zip(lies) {
        let mut world = started(seed, 2);
        let old = leader_with_a_txn_of_its_own(&mut world);
        world.connect(1, (0..3).find(|&s| s != old).unwrap());
        world.until("connected", |world| world.clients[1].is_connected);
        for path in ["/other", "/other/b"] {
            world.create(1, path, 0);
            world.until("created", |world| world.clients[1].is_idle());
        }
        let before = world.servers[old].disk.history();
        world.spoil = Some(lie);
        world.start(old);
        for times in 1..=2 {
            let refusals = |world: &World| world.notes.iter().filter(|it| it.contains("can't be taken")).count();
            world.until("it refuses the snapshot, and asks again", |world| refusals(world) == times);
        }
        let last = world.notes.last().unwrap();
        assert!(last.contains(&format!("znode {of:?}: ")) && !last.contains('\n'), "{last}");
        assert!(!world.is_serving(old));
        assert_eq!(world.servers[old].disk.history(), before, "of its own history nothing is changed");
        let received = FileRef::new(Dir::Data, FileName::Other(RECEIVED.into()));
        assert!(world.servers[old].disk.bytes(&received).is_none(), "what was refused is in the way");
        world.spoil = None;
        finish(&mut world);
        let dump = world.dump(old);
        assert!(dump.iter().any(|line| line.starts_with("/other/b")), "{dump:?}");
        assert!(!dump.iter().any(|line| line.starts_with("/lonely")), "{dump:?}");
    }
}

#[test]
fn a_cut_waits_for_the_purge_that_has_begun() {
    for_seeds(4, |seed| {
        let mut world = started(seed, 1);
        world.clients[0].rests = true;
        let old = world.leader().unwrap();
        world.connect(0, old);
        world.until("connected", |world| world.clients[0].is_connected && world.is_quiet());
        world.create(0, "/lonely", 0);
        (0..10).for_each(|_| world.disk_step(old));
        world.kill(old);
        world.until("another leads", |world| world.leader().is_some());
        world.start(old);
        assert!(world.begin_purge(old) && !world.begin_purge(old));
        world.until("it shall cut its log", |world| world.is_purge_in_the_way(old));
        (0..50).for_each(|_| world.disk_step(old));
        assert_eq!(world.cuts, 0, "what the purge goes by is changed");
        world.end_purge(old);
        assert!(!world.begin_purge(old), "the history is being changed");
        world.until("it is back", |world| world.is_serving(old));
        assert_eq!(world.cuts, 1);
        assert!(world.begin_purge(old));
        world.end_purge(old);
    });
}

#[test]
fn who_was_away_for_long_gets_the_log_or_a_snapshot() {
    let installed = Cell::new(0);
    for_seeds(6, |seed| {
        let mut world = World::new(seed);
        world.committed_log_txns = 5;
        world.snap_count = if seed % 2 == 0 { 30 } else { 100_000 };
        for s in 0..4 {
            world.start(s);
        }
        world.until("all serve", |world| (0..4).all(|s| world.is_serving(s)));
        world.clients = (0..4).map(|c| Client::new(&format!("c{c}"))).collect();
        world.kill(3);
        let follower = (0..3).find(|&s| Some(s) != world.leader()).unwrap();
        world.run(2000);
        world.kill(follower);
        world.run(40_000);
        finish(&mut world);
        // The observer lacks more than a snapshot is worth.
        installed.set(installed.get() + world.installed);
    });
    assert!(installed.get() > 0, "nobody got a snapshot");
}

#[test]
fn a_session_that_its_client_closes_takes_its_ephemerals_along() {
    for_seeds(5, |seed| {
        let mut world = started(seed, 3);
        world.clients.iter_mut().for_each(|client| client.rests = true);
        for c in 0..3 {
            // An observer, a follower or leader, another one.
            world.connect(c, 3 - c);
            world.until("connected", |world| world.clients[c].is_connected);
            let session = world.clients[c].session;
            assert_eq!(session.0 >> 56, world.servers[3 - c].id.0, "the server's id is in its sessions'");
            world.create(c, &format!("/e-{c}"), 1);
            world.until("created", |world| world.clients[c].is_idle());
        }
        assert!(world.clients.iter().all(|client| client.ephemerals.len() == 1));
        for c in 0..3 {
            world.close_session(c);
        }
        world.until("closed", |world| world.clients.iter().all(|client| client.place.is_none()));
        world.until("the same", World::is_quiet);
        let dump = world.dump(0);
        assert!((1..4).all(|s| world.dump(s) == dump));
        assert!(!dump.iter().any(|line| line.contains("/e-")), "{dump:?}");
    });
}

#[test]
fn a_session_goes_on_at_another_server_and_expires_at_none() {
    for_seeds(5, |seed| {
        let mut world = started(seed, 2);
        world.clients.iter_mut().for_each(|client| client.rests = true);
        world.connect(0, 3);
        world.until("connected", |world| world.clients[0].is_connected);
        let session = world.clients[0].session;
        world.create(0, "/e-moves", 1);
        world.until("created", |world| world.clients[0].is_idle());
        for s in 0..4 {
            world.connect(0, s);
            world.until("connected again", |world| world.clients[0].is_connected);
            assert_eq!(world.clients[0].session, session);
            world.create(0, &format!("/at-{s}"), 0);
            world.until("created", |world| world.clients[0].is_idle());
            assert_eq!(world.clients[0].errors, []);
        }
        // Pings keep it alive, through a learner, for ten times its timeout.
        let until_us = world.now.mono_us + 40_000_000;
        world.until("time goes by", |world| world.now.mono_us > until_us);
        assert_eq!((world.clients[0].expired, world.clients[0].session), (0, session));
        world.until("the same", World::is_quiet);
        assert!(world.dump(1).iter().any(|line| line.contains("/e-moves")));
        // Silence ends it, everywhere.
        world.clients[0].place = None;
        world.clients[0].is_connected = false;
        world.clients.clear();
        world.until("it is over", |world| (0..4).all(|s| !world.dump(s).iter().any(|it| it.contains("/e-moves"))));
    });
}

#[test]
fn a_connection_outlives_the_leader() {
    for_seeds(5, |seed| {
        let mut world = started(seed, 1);
        world.clients[0].rests = true;
        let leader = world.leader().unwrap();
        let s = (0..3).find(|&s| s != leader).unwrap();
        world.connect(0, s);
        world.until("connected", |world| world.clients[0].is_connected);
        let place = world.clients[0].place;
        world.kill(leader);
        world.until("another leads", |world| world.leader().is_some() && world.is_serving(s));
        world.create(0, "/behind", 0);
        world.until("created", |world| world.clients[0].is_idle());
        assert_eq!(world.clients[0].place, place, "it was never closed");
        assert_eq!((world.clients[0].created.len(), &world.clients[0].errors[..]), (1, &[][..]));
    });
}

/// A client goes from one server to another, and the first one does not hear of it; what it had sent there waits for a leader,
/// and must not be written behind what it writes at the other, nor behind what it sees there.
#[test]
fn what_waits_where_a_client_was_is_never_written() {
    let lived = Cell::new(0);
    for_seeds(40, |seed| {
        let mut world = started(seed, 1);
        world.clients[0].rests = true;
        let leader = world.leader().unwrap();
        let [from, to] = [1, 2].map(|n| (leader + n) % 3);
        // The observer hears of proposals later than a follower.
        let from = if seed % 2 == 0 { from } else { 3 };
        world.connect(0, from);
        world.until("connected", |world| world.clients[0].is_connected);
        world.create(0, "/before", 0);
        world.until("created", |world| world.clients[0].is_idle());
        world.isolate(from);
        world.until("it has lost its leader", |world| !world.is_serving(from));
        world.create(0, "/early", 0);
        let writes = seed % 4 < 2;
        if !writes {
            // What shows that it has gone is that it has heard nothing for two thirds of its timeout, which is 4 s.
            let gives_up_us = world.now.mono_us + 2_700_000;
            world.until("it gives up", |world| world.now.mono_us > gives_up_us);
        }
        // Its connection there stays.
        world.connect(0, to);
        let is_there = |world: &World| world.clients[0].place.is_some_and(|(s, _)| s == to);
        let is_told = |world: &World| world.clients[0].is_connected || world.clients[0].expired > 0;
        world.until("it is told", |world| is_told(world) || !is_there(world));
        if world.clients[0].expired > 0 || !is_there(&world) {
            // Its session ran out of time, or the other server was behind.
            return;
        }
        if writes {
            world.create(0, "/late", 0);
        } else {
            world.exists(0, "/early");
        }
        world.until("done there", |world| world.clients[0].is_idle());
        world.unite();
        world.until("it is back", |world| world.is_serving(from));
        world.create(0, "/later", 0);
        world.until("all are quiet", World::is_quiet);
        let tree = world.servers[to].process.as_ref().unwrap().shared.tree.read();
        let created = |path| tree.get(path).map(|node| node.stat_persisted().czxid);
        let order = ["/early", "/late", "/later"].map(created);
        assert!(order[0].is_none() && order[1].is_some() == writes && order.iter().flatten().is_sorted(), "{order:?}");
        lived.set(lived.get() + 1);
    });
    assert!(lived.get() > 0, "all sessions ran out of time");
}

#[test]
fn a_refused_write_is_refused_the_same_way_everywhere() {
    let mut world = started(1, 2);
    world.clients.iter_mut().for_each(|client| client.rests = true);
    for c in 0..2 {
        world.connect(c, [3, world.leader().unwrap()][c]);
        world.until("connected", |world| world.clients[c].is_connected);
        world.create(c, "/missing/child", 0);
        world.until("refused", |world| world.clients[c].is_idle());
        assert_eq!(world.clients[c].errors, [(OpCode::Create, ErrorCode::NO_NODE)]);
    }
}

#[test]
fn a_sync_shows_what_was_acknowledged_before() {
    for_seeds(10, |seed| {
        let mut world = started(seed, 2);
        world.clients.iter_mut().for_each(|client| client.rests = true);
        let s = world.rng.below(4);
        world.connect(0, s);
        // An observer hears of a commit last.
        world.connect(1, 3);
        world.until("connected", |world| world.clients.iter().all(|client| client.is_connected));
        for n in 0..20 {
            let path = format!("/seen-{n}");
            world.create(0, &path, 0);
            world.until("acknowledged", |world| world.clients[0].is_idle());
            // All at once: what stands behind a sync waits for it.
            world.sync(1);
            world.exists(1, &path);
            world.create(1, &format!("/behind-{n}"), 0);
            world.until("answered", |world| world.clients[1].is_idle());
        }
        assert_eq!((&world.clients[0].errors[..], &world.clients[1].errors[..]), (&[][..], &[][..]));
        assert_eq!(world.clients[1].created.len(), 20);
    });
}

#[test]
fn a_local_session_is_upgraded_when_it_wants_an_ephemeral() {
    for_seeds(4, |seed| {
        let mut world = World::new(seed);
        world.local_sessions = LocalSessions::Upgrading;
        for s in 0..4 {
            world.start(s);
        }
        world.until("all serve", |world| (0..4).all(|s| world.is_serving(s)));
        world.clients = (0..4).map(|c| Client::new(&format!("c{c}"))).collect();
        world.clients.iter_mut().for_each(|client| client.rests = true);
        for c in 0..4 {
            world.connect(c, c);
        }
        world.until("connected", |world| world.clients.iter().all(|client| client.is_connected));
        let sessions = |world: &World| world.dump(0).pop().unwrap_or_default();
        assert_eq!(sessions(&world), "[]", "nobody else knows of them");
        for c in 0..4 {
            world.create(c, &format!("/plain-{c}"), 0);
        }
        world.until("created", |world| world.clients.iter().all(Client::is_idle));
        assert_eq!(sessions(&world), "[]");
        for c in 0..3 {
            world.create(c, &format!("/e-{c}"), 1);
        }
        world.until("created, everywhere", World::is_quiet);
        assert!(world.clients.iter().all(|client| client.errors.is_empty()), "{:?}", world.clients);
        assert_eq!(sessions(&world).matches("SessionId").count(), 3, "{}", sessions(&world));
        (0..4).for_each(|c| world.close_session(c));
        world.until("closed", |world| world.clients.iter().all(|client| client.place.is_none()));
        world.until("the same", World::is_quiet);
        assert_eq!(sessions(&world), "[]");
        assert!(!world.dump(3).iter().any(|line| line.contains("/e-")));
    });
}

#[test]
fn who_goes_on_at_another_connection_sees_what_it_asked_for_before() {
    for local_sessions in [LocalSessions::Off, LocalSessions::On] {
        for_seeds(10, |seed| {
            let mut world = World::new(seed);
            world.local_sessions = local_sessions;
            (0..4).for_each(|s| world.start(s));
            world.until("all serve", |world| (0..4).all(|s| world.is_serving(s)));
            world.clients = vec![Client::new("c")];
            world.clients[0].rests = true;
            // Also the leader, and an observer.
            let s = world.rng.below(4);
            world.connect(0, s);
            world.until("connected", |world| world.clients[0].is_connected);
            for n in 0..10 {
                let path = format!("/asked-{n}");
                world.create(0, &path, 0);
                world.run(n);
                world.connect(0, s);
                world.until("it goes on", |world| world.clients[0].is_connected);
                world.exists(0, &path);
                world.until("answered", |world| world.clients[0].is_idle());
                assert_eq!(world.clients[0].errors, [], "{local_sessions:?}, server {s}, {path}");
            }
        });
    }
}

#[test]
fn a_leader_that_takes_no_clients_leads() {
    for_seeds(4, |seed| {
        let mut world = World::new(seed);
        world.leader_serves = false;
        (0..4).for_each(|s| world.start(s));
        world.until("all serve", |world| (0..4).all(|s| world.is_serving(s)));
        world.clients = ["refused", "served"].map(Client::new).into();
        world.clients.iter_mut().for_each(|client| client.rests = true);
        let leader = world.leader().unwrap();
        world.connect(0, leader);
        world.until("closed", |world| world.clients[0].place.is_none());
        world.connect(1, (0..3).find(|&s| s != leader).unwrap());
        world.until("connected", |world| world.clients[1].is_connected);
        world.create(1, "/before", 0);
        world.until("created", |world| world.clients[1].is_idle());
        // If its server leads now, it has to go elsewhere.
        world.kill(leader);
        let is_served = |world: &World| {
            let place = world.clients[1].place;
            world.leader().is_some_and(|leads| place.is_some_and(|(s, _)| s != leads && world.is_serving(s)))
                && world.clients[1].is_connected
        };
        world.until("another leads, and it has a server", is_served);
        world.create(1, "/behind", 0);
        world.until("created", |world| world.clients[1].is_idle());
        finish(&mut world);
        assert_eq!((world.clients[0].session, world.clients[1].created.len()), (SessionId(0), 2));
    });
}

#[test]
fn who_finds_no_leader_serves_those_who_can_do_with_reads() {
    for_seeds(4, |seed| {
        let mut world = World::new(seed);
        world.read_only = true;
        (0..4).for_each(|s| world.start(s));
        world.until("all serve", |world| (0..4).all(|s| world.is_serving(s)));
        assert!((0..4).all(|s| !world.is_read_only(s)));
        world.clients = ["writer", "reader", "goes"].map(Client::new).into();
        world.clients.iter_mut().for_each(|client| client.rests = true);
        world.connect(0, 0);
        world.until("connected", |world| world.clients[0].is_connected);
        world.create(0, "/seen", 0);
        world.until("created, everywhere", |world| world.clients[0].is_idle() && world.is_quiet());
        let session = world.clients[0].session;
        world.kill(1);
        world.kill(2);
        world.until("it only reads", |world| world.is_read_only(0));

        // Whoever wants to write has no place here, and keeps its session.
        assert!(!world.clients[0].is_connected);
        for c in [1, 2] {
            world.clients[c].may_only_read = true;
            world.connect(c, 0);
            world.until("granted", |world| world.clients[c].is_connected);
            assert!(world.clients[c].only_reads);
        }
        world.exists(1, "/seen");
        world.create(1, "/refused", 0);
        world.sync(1);
        world.exists(1, "/refused");
        world.until("answered", |world| world.clients[1].is_idle());
        let refused = ErrorCode::NOT_READ_ONLY;
        let expected = [(OpCode::Create, refused), (OpCode::Sync, refused), (OpCode::Exists, ErrorCode::NO_NODE)];
        assert_eq!(world.clients[1].errors, expected);
        assert_eq!(world.clients[0].place.filter(|_| world.clients[0].is_connected), None);

        // A reader's session goes on at another connection.
        let reader = world.clients[1].session;
        world.connect(1, 0);
        world.until("granted again", |world| world.clients[1].is_connected);
        assert!(world.clients[1].session == reader && world.clients[1].only_reads);

        // And runs out of time like others.
        let readers = |world: &World| world.servers[0].process.as_ref().unwrap().node.pipeline.local_session_count();
        assert_eq!(readers(&world), 2);
        world.leave(2);
        world.until("it ran out", |world| readers(world) == 1);
        assert!(world.clients[1].is_connected, "it went on pinging");

        world.start(1);
        world.start(2);
        world.until("there is a leader", |world| world.leader().is_some() && world.is_serving(0));
        assert!(!world.is_read_only(0) && readers(&world) == 0);
        world.until("a whole server does not know the reader", |world| world.clients[1].expired == 1);
        world.until("the writer goes on", |world| world.clients[0].is_connected || world.clients[0].expired > 0);
        assert!(world.clients[0].session == session || world.clients[0].expired > 0);
        finish(&mut world);
        assert!(!world.dump(0).iter().any(|line| line.starts_with("/refused")));
    });
}

#[test]
fn a_leader_that_leaves_has_done_what_it_took() {
    for_seeds(4, |seed| {
        let mut world = started(seed, 2);
        rest(&mut world);
        let leader = world.leader().unwrap();
        let followers: Vec<usize> = (0..3).filter(|&s| s != leader).collect();
        for (c, &follower) in followers.iter().enumerate() {
            world.connect(c, follower);
            world.until("connected", |world| world.clients[c].is_connected);
        }
        world.until("nothing is under way", World::is_quiet);
        let is_idle = |world: &World| world.servers[leader].process.as_ref().unwrap().node.pipeline.is_idle();
        world.create(0, "/taken", 0);
        world.until("the leader has it", |world| !is_idle(world));
        let leaves = |world: &mut World| world.servers[leader].process.as_mut().unwrap().node.leave();
        assert!(!leaves(&mut world), "somebody waits for it");
        world.create(1, "/too-late", 0);
        while !leaves(&mut world) {
            world.step();
        }
        let has = |world: &World, path| world.dump(leader).iter().any(|line| line.starts_with(path));
        assert!(has(&world, "/taken"));
        world.run(5000);
        assert!(!has(&world, "/too-late"));
        let places = [0, 1].map(|c| world.clients[c].place);
        world.kill(leader);
        world.until("others lead", |world| world.leader().is_some());
        world.until("all are answered", |world| world.clients.iter().all(Client::is_idle));
        assert_eq!([0, 1].map(|c| (world.clients[c].place, world.clients[c].doubtful)), places.map(|it| (it, 0)));
        assert_eq!([0, 1].map(|c| world.clients[c].created.clone()), [["/taken"], ["/too-late"]]);
        finish(&mut world);
    });
}

/// Clients that do nothing of themselves, and don't give a server up soon.
fn rest(world: &mut World) {
    for client in &mut world.clients {
        (client.rests, client.timeout_ms) = (true, 40_000);
    }
}

/// When the znodes with such names were created.
fn created(world: &World, name: &str) -> Vec<Zxid> {
    let tree = world.servers[0].process.as_ref().unwrap().shared.tree.read();
    let root = tree.get("/").unwrap();
    let paths = root.children().map(|child| format!("/{}", str::from_utf8(child.name()).unwrap()));
    let found = paths.filter(|path| path.starts_with(name));
    found.map(|path| tree.get(&path).unwrap().stat_persisted().czxid).collect()
}

#[test]
fn what_is_under_way_at_others_outlives_the_leader_and_is_done_once() {
    const WRITES: usize = 6;
    let (stayed, known, anew) = (Cell::new(0), Cell::new(0), Cell::new(0));
    for_seeds(30, |seed| {
        let mut world = started(seed, 3);
        rest(&mut world);
        let leader = world.leader().unwrap();
        let others: Vec<usize> = (0..4).filter(|&s| s != leader).collect();
        for (c, &s) in others.iter().enumerate() {
            world.connect(c, s);
            world.until("connected", |world| world.clients[c].is_connected);
        }
        world.until("nothing is under way", World::is_quiet);
        for n in 0..WRITES {
            for c in 0..3 {
                world.create(c, &format!("/n{c}-"), 2);
                // It travels with the next write, and watches.
                world.exists(c, "/");
            }
            if n == WRITES - 1 {
                world.sync(1);
            }
            let steps = world.rng.below(60);
            world.run(steps);
        }
        let steps = world.rng.below(300);
        world.run(steps);
        let epoch = world.applied(leader).epoch();
        let answered: usize = world.clients.iter().map(|client| client.created.len()).sum();
        let places: Vec<_> = world.clients.iter().map(|client| client.place).collect();
        world.kill(leader);
        world.until("another leads", |world| world.leader().is_some() && others.iter().all(|&s| world.is_serving(s)));
        world.until("all are answered", |world| world.clients.iter().all(Client::is_idle));
        // They are not called so.
        let acknowledged: Vec<usize> =
            world.clients.iter_mut().map(|client| std::mem::take(&mut client.created).len()).collect();
        let now: Vec<_> = world.clients.iter().map(|client| (client.place, client.doubtful)).collect();
        finish(&mut world);
        let mut all = Vec::new();
        for c in 0..3 {
            let (client, there) = (&world.clients[c], created(&world, &format!("/n{c}-")));
            assert_eq!((&client.errors[..], client.expired), (&[][..], 0));
            assert!((acknowledged[c]..=WRITES).contains(&there.len()), "{there:?}, {}: {client:?}", acknowledged[c]);
            if now[c] == (places[c], 0) {
                assert_eq!((acknowledged[c], there.len()), (WRITES, WRITES));
                stayed.set(stayed.get() + 1);
            }
            all.extend(there);
        }
        let of_old = all.iter().filter(|zxid| zxid.epoch() == epoch).count();
        known.set(known.get() + of_old - answered);
        anew.set(anew.get() + all.len() - of_old);
    });
    let (stayed, known, anew) = (stayed.get(), known.get(), anew.get());
    println!("{stayed} connections stayed; {known} writes were known, {anew} done anew");
    assert!(stayed >= 75 && known > 20 && anew > 20, "{stayed} stayed, {known} were known, {anew} were done anew");
}
