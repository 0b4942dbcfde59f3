//! Observers that learn from followers (`observerMasterPort`): ours from Apache's, Apache's from ours, ours from ours.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::four_letter::ask;
use ostler_conformance::ostler::binary;
use ostler_conformance::ports::free_addrs;
use ostler_conformance::raw::{ConnectRequest, Connection};
use ostler_conformance::script::create;
use wire::quorum::{Forwarded, LearnerInfo, Limits, Packet, PacketType, Revalidation, split};
use wire::{OpCode, ServerId, SessionId, Xid, Zxid};

const CREATE: i32 = 1;
const EPHEMERAL: i32 = 1;
const OBSERVER: u8 = 4;
const VOTERS: [u8; 3] = [1, 2, 3];

/// One command of the shell at one server. `None`: it failed.
fn shell(at: SocketAddr, command: &[&str]) -> Option<String> {
    let done = Command::new(binary().unwrap()).args(["shell", "-s", &at.to_string()]).args(command).output().unwrap();
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}

struct World(Ensemble);

impl World {
    fn started(dir: &tempfile::TempDir, voters: Kind, observer: Kind, cfg: &[&str]) -> Self {
        let port = free_addrs().unwrap()[0].port();
        let mut ensemble = Ensemble::new(dir.path(), 3, 1, false)
            .unwrap()
            .apart()
            .cfg("tickTime=500")
            .cfg(&format!("observerMasterPort={port}"));
        for line in cfg {
            ensemble = ensemble.cfg(line);
        }
        for id in VOTERS {
            ensemble.start_as(id, voters).unwrap();
        }
        ensemble.start_as(OBSERVER, observer).unwrap();
        let world = Self(ensemble);
        for id in 1..=4 {
            world.serving(id);
        }
        world
    }

    fn at(&self, id: u8) -> SocketAddr {
        self.0.member(id).unwrap().client
    }

    fn serving(&self, id: u8) {
        let serves = || ["leader", "follower", "observer"].contains(&self.0.mode(id).as_str());
        self.0.until(&format!("server {id} serves"), serves).unwrap();
    }

    fn leader(&self) -> u8 {
        VOTERS.into_iter().find(|&id| self.0.mode(id) == "leader").expect("there is a leader")
    }

    /// A number of `mntr`.
    fn gauge(&self, id: u8, name: &str) -> Option<u8> {
        let text = ask(self.at(id), "mntr").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("zk_")?.strip_prefix(name)?.strip_prefix('\t'))?;
        line.trim().trim_end_matches(".0").parse().ok()
    }

    /// From whom the observer learns.
    fn master(&self) -> Option<u8> {
        self.gauge(OBSERVER, "observer_master_id")
    }

    /// Created through `through`, and there at each of `at`.
    fn passes(&self, path: &str, through: u8, at: &[u8]) {
        let goes = || {
            shell(self.at(through), &["create", path, "x"]).is_some()
                || shell(self.at(through), &["get", path]).is_some()
        };
        self.0.until(&format!("{path} through server {through}"), goes).unwrap();
        for &id in at {
            let has = || shell(self.at(id), &["get", path]).is_some();
            self.0.until(&format!("server {id} has {path}"), has).unwrap();
        }
    }
}

/// Writes, syncs and sessions through the follower; and another follower when that one is gone.
fn observes_a_follower(voters: Kind, observer: Kind) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::started(&dir, voters, observer, &[]);
    let (leader, master) = (world.leader(), world.master().expect("it observes"));
    assert_ne!(master, leader, "the followers are there for observers");
    assert_eq!(world.gauge(leader, "synced_observers"), Some(0));
    assert_eq!(world.gauge(master, "synced_observers"), Some(1));
    let other = VOTERS.into_iter().find(|&id| id != leader && id != master).unwrap();
    assert_eq!(world.gauge(other, "synced_observers"), Some(0));
    assert_eq!(world.gauge(OBSERVER, "synced_observers"), None);
    let status = Command::new(binary().unwrap()).args(["status", &world.at(OBSERVER).to_string()]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains(&format!("observer of {master}")), "{status}");
    world.passes("/by-observer", OBSERVER, &VOTERS);
    world.passes("/by-leader", leader, &[OBSERVER]);
    assert!(shell(world.at(OBSERVER), &["sync", "/"]).is_some());

    // A session that began elsewhere goes on here, and lives for as long as it is heard of here.
    let asks = ConnectRequest { timeout_ms: 2000, ..ConnectRequest::default() };
    let (mut client, granted) = Connection::connect(world.at(other), &asks).unwrap();
    assert_eq!(client.call(1, CREATE, &create("/ephemeral", b"", EPHEMERAL)).unwrap().err, 0);
    drop(client);
    let again = ConnectRequest { session_id: granted.session_id, password: Some(granted.password), ..asks };
    let (mut client, renewed) = Connection::connect(world.at(OBSERVER), &again).unwrap();
    assert_eq!(renewed.session_id, granted.session_id, "the leader knows it");
    let began = Instant::now();
    for number in 0.. {
        assert_eq!(client.call(2 + number, CREATE, &create(&format!("/n{number}"), b"", 0)).unwrap().err, 0);
        if began.elapsed() > Duration::from_secs(5) {
            break;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(shell(world.at(leader), &["get", "/ephemeral"]).is_some());
    let stranger = ConnectRequest { session_id: 0x77, password: Some(vec![1; 16]), ..ConnectRequest::default() };
    let (_, refused) = Connection::connect(world.at(OBSERVER), &stranger).unwrap();
    assert_eq!((refused.session_id, refused.timeout_ms), (0, 0), "nobody knows it");
    drop(client);
    world
        .0
        .until("its ephemeral goes with it", || shell(world.at(OBSERVER), &["get", "/ephemeral"]).is_none())
        .unwrap();

    world.0.kill(master).unwrap();
    world.passes("/while-away", leader, &[OBSERVER]);
    assert_eq!(world.master(), Some(other), "the other follower takes it");
    assert_eq!(world.gauge(leader, "synced_observers"), Some(0));
    world.passes("/by-observer-again", OBSERVER, &[leader, other]);

    // What it lacks comes from a follower, too.
    world.0.start_as(master, voters).unwrap();
    world.serving(master);
    world.0.stop(OBSERVER).unwrap();
    world.passes("/while-it-is-away", leader, &[other, master]);
    world.0.start_as(OBSERVER, observer).unwrap();
    world.passes("/back", leader, &[OBSERVER]);
    assert_ne!(world.master(), Some(leader));
    assert!(shell(world.at(OBSERVER), &["get", "/while-it-is-away"]).is_some());
}

#[test]
fn ours_observes_a_follower_of_apaches() {
    observes_a_follower(Kind::Apache, Kind::Ostler);
}

#[test]
fn apaches_observes_a_follower_of_ours() {
    observes_a_follower(Kind::Ostler, Kind::Apache);
}

#[test]
fn ours_observes_a_follower_of_ours() {
    observes_a_follower(Kind::Ostler, Kind::Ostler);
}

#[test]
fn an_observer_gets_a_snapshot_from_a_follower() {
    for (voters, observer) in [(Kind::Apache, Kind::Ostler), (Kind::Ostler, Kind::Apache), (Kind::Ostler, Kind::Ostler)]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::started(&dir, voters, observer, &["forceSnapshotSync=true"]);
        let leader = world.leader();
        world.0.kill(OBSERVER).unwrap();
        world.0.wipe(OBSERVER).unwrap();
        world.passes("/while-away", leader, &VOTERS);
        world.0.start_as(OBSERVER, observer).unwrap();
        world.passes("/back", OBSERVER, &VOTERS);
        assert!(shell(world.at(OBSERVER), &["get", "/while-away"]).is_some(), "{voters:?} {observer:?}");
        assert_ne!(world.master(), Some(leader), "{voters:?} {observer:?}");
    }
}

#[test]
fn a_reconfig_comes_by_way_of_a_follower() {
    for (voters, observer) in [(Kind::Apache, Kind::Ostler), (Kind::Ostler, Kind::Apache), (Kind::Ostler, Kind::Ostler)]
    {
        let dir = tempfile::tempdir().unwrap();
        let world = World::started(&dir, voters, observer, &["reconfigEnabled=true", "skipACL=yes"]);
        let leader = world.leader();
        assert!(world.master().is_some_and(|it| it != leader));
        let joins = world.0.joining(OBSERVER, "participant").unwrap();
        // A participant has to follow before it counts, and an observer can't: its role changes with the reconfig.
        let goes = || shell(world.at(leader), &["reconfig", "-add", &joins]).is_some();
        world.0.until("it gets a vote", goes).unwrap();
        world.0.until("it follows", || world.0.mode(OBSERVER) == "follower").unwrap();
        world.passes("/by-the-new-one", OBSERVER, &VOTERS);
    }
}

/// An observer that the test plays.
struct Played {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Played {
    /// In sync with this follower.
    fn joined(world: &World, master: u8) -> Self {
        let cfg = std::fs::read_to_string(world.0.dir(master).join("zoo.cfg")).unwrap();
        let port = cfg.lines().find_map(|line| line.strip_prefix("observerMasterPort=")?.parse::<u16>().ok()).unwrap();
        let text = ask(world.at(master), "srvr").unwrap();
        let last = text.lines().find_map(|line| line.strip_prefix("Zxid: 0x")).unwrap();
        let last = Zxid(i64::from_str_radix(last, 16).unwrap());
        let stream = TcpStream::connect((Ipv4Addr::new(127, 0, 0, master), port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut it = Self { stream, bytes: Vec::new() };
        let (info, epoch) = (LearnerInfo::new(ServerId(9), 0), last.epoch());
        it.say(&Packet::ObserverInfo { zxid: Zxid::new(epoch, 0), info });
        it.until(PacketType::LeaderInfo);
        it.say(&Packet::AckEpoch { zxid: last, current_epoch: epoch });
        let zxid = it.until(PacketType::NewLeader).zxid();
        it.say(&Packet::Ack { zxid });
        it.until(PacketType::UpToDate);
        it.say(&Packet::Ack { zxid });
        it
    }

    fn say(&mut self, packet: &Packet) {
        self.stream.write_all(&packet.to_vec()).unwrap();
    }

    /// `None`: the follower has closed the connection.
    fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(length) = split(&self.bytes, Limits::default()).unwrap() {
                let packet: Vec<u8> = self.bytes.drain(..length).collect();
                return Some(Packet::read(&packet.into()).unwrap());
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(n) if n > 0 => self.bytes.extend_from_slice(&piece[..n]),
                _ => return None,
            }
        }
    }

    fn until(&mut self, kind: PacketType) -> Packet {
        loop {
            let packet = self.next().unwrap_or_else(|| panic!("closed before {}", kind.name()));
            if packet.packet_type() == Some(kind) {
                return packet;
            }
        }
    }

    fn writes(&mut self, session: i64, path: &str) {
        let (session, cxid, op) = (SessionId(session), Xid(77), OpCode::Create.code());
        let body = create(path, b"", 0).into();
        self.say(&Packet::Request(Forwarded { session, cxid, op, body, identities: Some(Vec::new()) }));
    }
}

/// A client was at an observer, and has gone on at its follower. What the observer still has of it comes to the leader by the same
/// connection as what the client asks for now.
#[test]
fn what_an_observer_hands_on_late_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::started(&dir, Kind::Ostler, Kind::Ostler, &[]);
    let leader = world.leader();
    let master = VOTERS.into_iter().find(|&id| id != leader).unwrap();
    let (mut client, granted) = Connection::session(world.at(master)).unwrap();
    let mut late = Played::joined(&world, master);
    late.writes(granted.session_id, "/late");
    while late.next().is_some() {}
    assert_eq!(client.call(1, CREATE, &create("/here", b"", 0)).unwrap().err, 0);
    world.passes("/behind", leader, &[master]);
    assert_eq!(shell(world.at(master), &["get", "/late"]), None);

    // It goes to the observer, which asks for it: there it may write, and not here.
    let mut observer = Played::joined(&world, master);
    let (session, timeout_ms) = (SessionId(granted.session_id), granted.timeout_ms);
    observer.say(&Packet::Revalidate(Revalidation::Question { session, timeout_ms }));
    observer.until(PacketType::Revalidate);
    observer.writes(granted.session_id, "/there");
    world.0.until("it is done", || shell(world.at(leader), &["get", "/there"]).is_some()).unwrap();
    assert!(client.call(2, CREATE, &create("/gone", b"", 0)).is_err());
    assert_eq!(shell(world.at(leader), &["get", "/gone"]), None);
}
