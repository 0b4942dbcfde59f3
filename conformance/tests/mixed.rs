//! Ensembles of Apache's servers and ours that are not plain majorities of plain addresses: groups and weights; and lists of
//! members that differ while an ensemble grows in the wrong order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::net::SocketAddr;
use std::process::Command;

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::ostler::binary;
use ostler_conformance::raw::Connection;
use ostler_conformance::script::{create, path, set, watch};

const CREATE: i32 = 1;
const EXISTS: i32 = 3;
const SET_DATA: i32 = 5;
const SYNC: i32 = 9;
const NODE_EXISTS: i32 = -110;

fn at(ensemble: &Ensemble, id: u8) -> SocketAddr {
    ensemble.member(id).unwrap().client
}

/// Creates a znode through this server; tried again, since the connection may break in the middle of it.
fn write(ensemble: &Ensemble, through: u8, name: &str) {
    let body = create(name, b"x", 0);
    let goes = || {
        let session = Connection::session(at(ensemble, through));
        session.and_then(|(mut it, _)| it.call(1, CREATE, &body)).is_ok_and(|it| [0, NODE_EXISTS].contains(&it.err))
    };
    ensemble.until(&format!("{name} through server {through}"), goes).unwrap();
}

/// Has this server the znode, behind a sync? `None`: it does not say.
fn has(ensemble: &Ensemble, id: u8, name: &str) -> Option<bool> {
    let (mut it, _) = Connection::session(at(ensemble, id)).ok()?;
    it.call(1, SYNC, &path(name)).ok()?;
    Some(it.call(2, EXISTS, &watch(name, false)).ok()?.err == 0)
}

fn all_have(ensemble: &Ensemble, ids: &[u8], name: &str) {
    for &id in ids {
        let what = format!("server {id} has {name}");
        ensemble.until(&what, || has(ensemble, id, name) == Some(true)).unwrap();
    }
}

fn all_agree(ensemble: &Ensemble, round: &str, ids: &[u8]) {
    for through in ids {
        write(ensemble, *through, &format!("/{round}-{through}"));
    }
    for through in ids {
        all_have(ensemble, ids, &format!("/{round}-{through}"));
    }
}

fn start(ensemble: &mut Ensemble, kinds: &[(u8, Kind)]) {
    for &(id, kind) in kinds {
        ensemble.start_as(id, kind).unwrap();
    }
    for &(id, _) in kinds {
        ensemble.serving(id).unwrap();
    }
}

/// Three groups, of which two are needed: servers 1, 2, and 3 with 4, of which only 3 weighs anything.
#[test]
fn groups_and_weights_decide_who_is_a_quorum_and_who_may_lead() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), 4, 0, false).unwrap().cfg("tickTime=500");
    for line in ["group.1=1", "group.2=2", "group.3=3:4", "weight.1=1", "weight.2=1", "weight.3=1", "weight.4=0"] {
        ensemble = ensemble.cfg(line);
    }
    let kinds = [(1, Kind::Ostler), (2, Kind::Apache), (3, Kind::Apache), (4, Kind::Ostler)];
    start(&mut ensemble, &kinds);
    all_agree(&ensemble, "all", &[1, 2, 3, 4]);
    assert_ne!(ensemble.mode(4), "leader", "it weighs nothing, and has the largest number");

    // Two of four are a quorum, if they are of two groups.
    for id in [3, 4] {
        ensemble.kill(id).unwrap();
    }
    all_agree(&ensemble, "two-groups", &[1, 2]);
    // And two of four are none where one of them weighs nothing.
    ensemble.start_as(4, Kind::Ostler).unwrap();
    ensemble.serving(4).unwrap();
    ensemble.kill(1).unwrap();
    ensemble.until("one group serves nobody", || [2, 4].iter().all(|&id| ensemble.mode(id).is_empty())).unwrap();
    start(&mut ensemble, &[(3, Kind::Apache)]);
    ensemble.serving(2).unwrap();
    all_agree(&ensemble, "other-groups", &[2, 3, 4]);
    all_have(&ensemble, &[2, 3, 4], "/two-groups-1");
    assert_ne!(ensemble.mode(4), "leader");
}

/// Two servers at once get the longer list, with one of the old ones: both lists have a quorum of their own. It is what
/// `docs/ensembles.md` warns of, with Apache's servers as with ours; the right order is in `grow.rs`.
#[test]
fn growth_in_the_wrong_order_makes_two_leaders() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::linked(dir.path(), 5, 0).unwrap().known(3).cfg("tickTime=500");
    start(&mut ensemble, &[(1, Kind::Apache), (2, Kind::Ostler), (3, Kind::Ostler)]);
    write(&ensemble, 1, "/before");
    all_have(&ensemble, &[1, 2, 3], "/before");

    ensemble.kill(2).unwrap();
    ensemble.knows(5);
    ensemble.links().unwrap().part(&[1, 3]);
    start(&mut ensemble, &[(2, Kind::Ostler), (4, Kind::Apache), (5, Kind::Ostler)]);
    ensemble.serving(1).unwrap();
    ensemble.serving(3).unwrap();
    let leads = |ids: &[u8]| ids.iter().filter(|&&id| ensemble.mode(id) == "leader").count() == 1;
    ensemble.until("both sides have a leader", || leads(&[1, 3]) && leads(&[2, 4, 5])).unwrap();
    // Both take writes, and neither knows of the other's.
    write(&ensemble, 1, "/of-three");
    write(&ensemble, 4, "/of-five");
    all_have(&ensemble, &[1, 3], "/of-three");
    all_have(&ensemble, &[2, 4, 5], "/of-five");
    for id in [2, 4, 5] {
        assert_eq!(has(&ensemble, id, "/of-three"), Some(false), "server {id}");
    }
    all_have(&ensemble, &[1, 2, 3, 4, 5], "/before");

    // Whoever asks is told so.
    let hosts: Vec<String> = ensemble.members().iter().map(|it| it.client.to_string()).collect();
    let done = Command::new(binary().unwrap()).args(["status", &hosts.join(",")]).output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(1), "{told}");
    assert!(told.contains("ALARM: 2 servers say that they lead"), "{told}");
    assert!(told.contains("ALARM: the lists of members differ"), "{told}");
}

/// Apache's servers match what their clients forwarded in its order: a leader that answers a sync behind a commit of what came later
/// leaves a follower that answers no write, no sync and no new session any more.
#[test]
fn an_apache_follower_of_ours_is_answered_syncs_and_writes_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), 3, 0, false).unwrap();
    start(&mut ensemble, &[(2, Kind::Ostler), (3, Kind::Ostler), (1, Kind::Apache)]);
    assert_eq!(ensemble.mode(1), "follower");
    write(&ensemble, 1, "/order");
    let follower = at(&ensemble, 1);
    let work = |first: i32| {
        let (mut client, _) = Connection::session(follower).unwrap();
        let (body, sync) = (set("/order", Some(b"x"), -1), path("/order"));
        for round in 0..150 {
            let xids = (1..=20).map(|n| 20 * round + n);
            // Some of them begin with a sync, others with a write.
            let of = |xid: i32| if (xid + first) % 3 == 0 { (xid, SYNC, &*sync) } else { (xid, SET_DATA, &*body) };
            client.send_together(&xids.clone().map(of).collect::<Vec<_>>()).unwrap();
            for xid in xids {
                let reply = client.read().unwrap();
                assert_eq!((reply.xid, reply.err), (xid, 0), "client {first}, round {round}");
            }
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|first| scope.spawn(move || work(first))).collect();
        for client in clients {
            client.join().unwrap();
        }
    });
    all_agree(&ensemble, "after", &[1, 2, 3]);
}
