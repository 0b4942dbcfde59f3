//! What members may be told to do otherwise, beside Apache's: sessions that one server knows, leaders that take no clients; and
//! a member that has no quorum.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::four_letter::ask;
use ostler_conformance::raw::{ConnectRequest, Connection};
use ostler_conformance::script::{create, watch};
use wire::election::{HostPort, InitialMessage, InitialVersion};
use wire::quorum::{LearnerInfo, Packet};
use wire::{ServerId, Zxid};

const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const NOT_READ_ONLY: i32 = -119;
const EPHEMERAL: i32 = 1;
const EPHEMERAL_ON_LOCAL_SESSION: i32 = -120;

fn started(dir: &tempfile::TempDir, kind: Kind, cfg: &[&str]) -> Ensemble {
    let mut ensemble = Ensemble::new(dir.path(), 3, 0, false).unwrap();
    for line in cfg {
        ensemble = ensemble.cfg(line);
    }
    for id in 1..=3 {
        ensemble.start_as(id, kind).unwrap();
    }
    ensemble
}

fn at(ensemble: &Ensemble, id: u8) -> SocketAddr {
    ensemble.member(id).unwrap().client
}

fn zxid(at: SocketAddr) -> String {
    let text = ask(at, "srvr").unwrap();
    text.lines().find(|line| line.starts_with("Zxid")).expect("it serves").to_owned()
}

/// Is an ephemeral allowed, and was there a txn for the session?
fn local_session(kind: Kind, cfg: &[&str]) -> (i32, bool) {
    let dir = tempfile::tempdir().unwrap();
    let ensemble = started(&dir, kind, cfg);
    for id in 1..=3 {
        ensemble.serving(id).unwrap();
    }
    let before = zxid(at(&ensemble, 1));
    let (mut client, _) = Connection::session(at(&ensemble, 1)).unwrap();
    let is_txn = zxid(at(&ensemble, 1)) != before;
    let reply = client.call(1, CREATE, &create("/e", b"", EPHEMERAL)).unwrap();
    (reply.err, is_txn)
}

#[test]
fn sessions_that_only_one_server_knows() {
    for (cfg, expected) in [
        (&["localSessionsEnabled=true"][..], (EPHEMERAL_ON_LOCAL_SESSION, false)),
        (&["localSessionsEnabled=true", "localSessionsUpgradingEnabled=true"], (0, false)),
        (&["localSessionsUpgradingEnabled=true"], (0, true)),
    ] {
        for kind in [Kind::Apache, Kind::Ostler] {
            assert_eq!(local_session(kind, cfg), expected, "{kind:?} {cfg:?}");
        }
    }
}

#[test]
fn a_leader_that_takes_no_clients() {
    for kind in [Kind::Apache, Kind::Ostler] {
        let dir = tempfile::tempdir().unwrap();
        let ensemble = started(&dir, kind, &["leaderServes=no"]);
        let serving = || (1..=3).filter(|&id| ask(at(&ensemble, id), "isro").is_ok_and(|it| it == "rw")).count();
        ensemble.until("the followers serve", || serving() == 2).unwrap();
        let leader = (1..=3).find(|&id| ask(at(&ensemble, id), "isro").unwrap() == "null").unwrap();
        let mut client = Connection::open(at(&ensemble, leader)).unwrap();
        client.send_frame(&ConnectRequest::default().encode()).unwrap();
        client.expect_closed().unwrap();
        let follower = (1..=3).find(|&id| id != leader).unwrap();
        let (mut client, _) = Connection::session(at(&ensemble, follower)).unwrap();
        assert_eq!(client.call(1, CREATE, &create("/a", b"", 0)).unwrap().err, 0, "{kind:?}");
    }
}

#[test]
fn a_member_without_a_quorum_says_nothing_about_sessions() {
    for kind in [Kind::Apache, Kind::Ostler] {
        let dir = tempfile::tempdir().unwrap();
        let mut ensemble = Ensemble::new(dir.path(), 3, 0, false).unwrap();
        ensemble.start_as(1, kind).unwrap();
        let at = at(&ensemble, 1);
        ensemble.until("it answers", || ask(at, "ruok").is_ok_and(|it| it == "imok")).unwrap();
        assert_eq!(ask(at, "isro").unwrap(), "null", "{kind:?}");
        let mut client = Connection::open(at).unwrap();
        let request =
            ConnectRequest { session_id: 0x1_0000_0000_0001, password: Some(vec![7; 16]), ..ConnectRequest::default() };
        client.send_frame(&request.encode()).unwrap();
        client.expect_closed().unwrap();
    }
}

#[test]
fn a_member_without_a_quorum_serves_readers() {
    for kind in [Kind::Apache, Kind::Ostler] {
        let dir = tempfile::tempdir().unwrap();
        let mut ensemble = Ensemble::new(dir.path(), 3, 0, false)
            .unwrap()
            .jvm("-Dreadonlymode.enabled=true")
            .cfg("readonlymode.enabled=true")
            .cfg("localSessionsEnabled=true")
            .cfg("tickTime=500");
        for id in 1..=2 {
            ensemble.start_as(id, kind).unwrap();
        }
        for id in 1..=2 {
            ensemble.serving(id).unwrap();
        }
        let at = at(&ensemble, 1);
        let (mut writer, _) = Connection::session(at).unwrap();
        assert_eq!(writer.call(1, CREATE, &create("/a", b"seen", 0)).unwrap().err, 0);
        ensemble.kill(2).unwrap();
        ensemble.until("it only reads", || ask(at, "isro").is_ok_and(|it| it == "ro")).unwrap();
        writer.expect_closed().unwrap();

        let mut other = Connection::open(at).unwrap();
        other.send_frame(&ConnectRequest::default().encode()).unwrap();
        other.expect_closed().unwrap();
        let asks = ConnectRequest { read_only: Some(true), ..ConnectRequest::default() };
        let (mut reader, granted) = Connection::connect(at, &asks).unwrap();
        assert_eq!(granted.read_only, Some(true), "{kind:?}");
        let found = reader.call(1, GET_DATA, &watch("/a", false)).unwrap();
        assert!(found.err == 0 && found.body.windows(4).any(|it| it == b"seen"), "{kind:?}");
        assert_eq!(reader.call(2, CREATE, &create("/b", b"", 0)).unwrap().err, NOT_READ_ONLY, "{kind:?}");
        assert!(ask(at, "srvr").unwrap().contains("Mode: read-only"), "{kind:?}");

        ensemble.start_as(2, kind).unwrap();
        ensemble.until("it is a whole server again", || ask(at, "isro").is_ok_and(|it| it == "rw")).unwrap();
        reader.expect_closed().unwrap();
        let (mut writer, granted) = Connection::connect(at, &asks).unwrap();
        assert_eq!(granted.read_only, Some(false), "{kind:?}");
        assert_eq!(writer.call(1, CREATE, &create("/b", b"", 0)).unwrap().err, 0, "{kind:?}");
    }
}

#[test]
fn a_joiner_outside_of_the_lists_follows_and_is_told_of() {
    for (first, joiner) in [(Kind::Ostler, Kind::Apache), (Kind::Apache, Kind::Ostler)] {
        let dir = tempfile::tempdir().unwrap();
        let mut ensemble = Ensemble::new(dir.path(), 4, 0, false).unwrap().known(3);
        for id in 1..=3 {
            ensemble.start_as(id, first).unwrap();
        }
        for id in 1..=3 {
            ensemble.serving(id).unwrap();
        }
        ensemble.start_as(4, joiner).unwrap();
        ensemble.serving(4).unwrap();
        assert!(ask(at(&ensemble, 4), "srvr").unwrap().contains("Mode: follower"));
        // Whoever of ours hears of the other list says so, and what stands in it.
        let ours = if first == Kind::Ostler { 1 } else { 4 };
        let tells = || ensemble.log_contains(ours, "has another list of members than this server");
        ensemble.until("the other list is told of", tells).unwrap();
        assert!(ensemble.log_contains(ours, "There: server.1="));
    }
}

/// A connection that says it comes from a member.
fn pretend(at: SocketAddr, hello: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(hello).unwrap();
    stream
}

#[test]
fn two_servers_with_one_number_are_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let ensemble = started(&dir, Kind::Ostler, &[]);
    for id in 1..=3 {
        ensemble.serving(id).unwrap();
    }
    let leader = (1..=3).find(|&id| ensemble.mode(id) == "leader").unwrap();
    let follower = (1..=3).find(|&id| id != leader).unwrap();

    // To itself, on the election port.
    let initial = InitialMessage {
        version: InitialVersion::V1,
        server: ServerId(i64::from(leader)),
        addresses: vec![HostPort { host: "127.0.0.1".to_owned(), port: 1 }],
    };
    let mut hello = Vec::new();
    initial.write(&mut hello);
    let _one = pretend(ensemble.member(leader).unwrap().election, &hello);
    let tells = || ensemble.log_contains(leader, &format!("another server says that it is server {leader}"));
    ensemble.until("the election port tells of it", tells).unwrap();

    // As a follower that is connected already.
    let packet = Packet::FollowerInfo { zxid: Zxid::ZERO, info: LearnerInfo::new(ServerId(i64::from(follower)), 0) };
    let _two = pretend(ensemble.member(leader).unwrap().quorum, &packet.to_vec());
    let tells = || ensemble.log_contains(leader, &format!("server {follower} connects from 127.0.0.1"));
    ensemble.until("the quorum port tells of it", tells).unwrap();
    assert!(ensemble.log_contains(leader, "two servers have the same myid"));
    // Whose connection is closed for it is said with the number of the server, and not of the connection.
    let tells = || ensemble.log_contains(leader, &format!("learner {follower} at 127.0.0.1:"));
    ensemble.until("it is told whose connection is closed", tells).unwrap();

    // The follower may have lost its place; then it comes back.
    let is_written = || {
        let session = Connection::session(at(&ensemble, follower));
        session.and_then(|(mut it, _)| it.call(1, CREATE, &create("/a", b"", 0))).is_ok_and(|reply| reply.err != -4)
    };
    ensemble.until("it goes on", is_written).unwrap();
}
