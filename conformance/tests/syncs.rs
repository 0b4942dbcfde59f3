//! Learners that are brought to a leader's history: the log tells when that begins and ends, and `mntr` and `ostler status` how far
//! it is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::four_letter;
use ostler_conformance::ostler::binary;
use ostler_conformance::raw::Connection;
use ostler_conformance::script::create;
use serde_json::Value;
use wire::quorum::{LearnerInfo, Limits, Packet, split};
use wire::{Epoch, ServerId, Zxid};

/// Together far more than sockets hold.
const TXNS: u8 = 24;
const BYTES: usize = 900_000;
const STRANGER: i64 = 9;

fn write(at: SocketAddr, names: &str, count: u8, bytes: usize) {
    let (mut session, _) = Connection::session(at).unwrap();
    for n in 0..count {
        let reply = session.call(i32::from(n) + 1, 1, &create(&format!("/{names}-{n}"), &vec![n; bytes], 0)).unwrap();
        assert_eq!(reply.err, 0, "{names}-{n}");
    }
}

/// A learner that asks for everything, and reads nothing of it.
fn stalled(leader: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(leader).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let info = LearnerInfo::new(ServerId(STRANGER), 0);
    stream.write_all(&Packet::FollowerInfo { zxid: Zxid::ZERO, info }.to_vec()).unwrap();
    let mut heard = Vec::new();
    while split(&heard, Limits::default()).unwrap().is_none() {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        heard.push(byte[0]);
    }
    stream.write_all(&Packet::AckEpoch { zxid: Zxid::ZERO, current_epoch: Epoch(0) }.to_vec()).unwrap();
    stream
}

fn status(at: SocketAddr, more: &[&str]) -> String {
    let done = Command::new(binary().unwrap()).args(["status", &at.to_string()]).args(more).output().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
fn it_is_told_how_far_a_sync_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), 3, 0, false).unwrap().cfg("tickTime=500").cfg("initLimit=120");
    for id in 1..=3 {
        ensemble.start_as(id, Kind::Ostler).unwrap();
    }
    for id in 1..=3 {
        ensemble.serving(id).unwrap();
    }
    let leader = (1..=3).find(|&id| ensemble.mode(id) == "leader").unwrap();
    let (client, quorum) = (ensemble.member(leader).unwrap().client, ensemble.member(leader).unwrap().quorum);
    write(client, "first", TXNS, BYTES);

    let stream = stalled(quorum);
    let sync = || -> Option<Value> {
        let status: Value = serde_json::from_str(&status(client, &["--json"])).ok()?;
        let sync = status["members"][0]["syncs"].get(0).cloned()?;
        let number = |key: &str| sync[key].as_i64().unwrap();
        (number("txns_sent") + number("snapshot_bytes_sent") > 0).then_some(sync)
    };
    ensemble.until("it is sent some of it", || sync().is_some()).unwrap();
    let seen = sync().unwrap();
    assert_eq!(seen["server"], STRANGER, "{seen}");
    let is_less = |part: &str, all: &str| seen[part].as_i64() < seen[all].as_i64();
    assert!(is_less("txns_sent", "txns") || is_less("snapshot_bytes_sent", "snapshot_bytes"), "{seen}");
    let text = status(client, &[]);
    assert!(text.contains(&format!("server.{leader} brings server.{STRANGER} in sync: it was sent ")), "{text}");
    let mntr = four_letter::ask(client, "mntr").unwrap();
    assert!(mntr.contains("zk_ostler_syncs_under_way\t1\n"), "{mntr}");
    // Whoever leaves is not waited for.
    drop(stream);
    let tells = || ensemble.log_contains(leader, &format!("the sync of server {STRANGER} broke off after "));
    ensemble.until("it is told that it broke off", tells).unwrap();
    let is_over = || four_letter::ask(client, "mntr").is_ok_and(|it| it.contains("zk_ostler_syncs_under_way\t0\n"));
    ensemble.until("it is over", is_over).unwrap();

    // A member that was away, and one that has lost all.
    let follower = (1..=3).find(|&id| id != leader).unwrap();
    for (round, wiped) in [("away", false), ("wiped", true)] {
        ensemble.kill(follower).unwrap();
        // So little is in the leader's memory.
        write(client, round, 2, 10);
        if wiped {
            ensemble.wipe(follower).unwrap();
        }
        ensemble.start_as(follower, Kind::Ostler).unwrap();
        ensemble.serving(follower).unwrap();
        assert_eq!(ensemble.mode(leader), "leader", "{round}");
    }
    for line in [format!("server {follower} has all up to "), format!("server {follower} is in sync, after ")] {
        ensemble.until(&line, || ensemble.log_contains(leader, &line)).unwrap();
    }
}
