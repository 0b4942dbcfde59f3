//! Our learner at an Apache leader: it joins by SNAP, by DIFF and by TRUNC, and its acks commit what the leader proposes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ostler_conformance::ports::free_addrs;
use ostler_conformance::raw::{self, Connection};
use ostler_conformance::{Options, Ready, Server as _, apache};
use wire::quorum::{Limits, Packet, split};
use wire::{Epoch, ServerId, Zxid};
use zab::learner::{Input, Output};
use zab::{Command, CommittedLog, CommittedLogLimits, Learner, LearnerOver, Logged, Proposal, QuorumVerifier, Start};

/// How long anything may take.
const LIMIT: Duration = Duration::from_mins(1);

/// What stands behind a snapshot: its length, and the text.
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";

/// A learner with a disk that does everything at once.
struct Driver {
    learner: Learner,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// A raw snapshot is coming.
    snapshot: bool,
    begun: Instant,
    /// The first packet of the sync.
    sync: Option<&'static str>,
    serves: bool,
    committed: Zxid,
    disk: Disk,
    over: Option<LearnerOver>,
}

/// What outlives a connection.
#[derive(Clone)]
struct Disk {
    accepted: Epoch,
    current: Epoch,
    log: CommittedLog,
    role: u64,
}

impl Driver {
    /// Connects to the only quorum port that is open: the leader's.
    fn join(quorum_ports: &[SocketAddr], mut disk: Disk) -> Self {
        let until = Instant::now() + LIMIT;
        let stream = loop {
            if let Some(stream) = quorum_ports.iter().find_map(|it| TcpStream::connect(it).ok()) {
                break stream;
            }
            assert!(Instant::now() < until, "nobody leads");
            std::thread::sleep(Duration::from_millis(20));
        };
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        disk.role += 1;
        let options = zab::Options::new(ServerId(3), QuorumVerifier::of_participants([1, 2, 3].map(ServerId)));
        let start = Start {
            accepted: disk.accepted,
            current: disk.current,
            is_lost: false,
            log: disk.log.clone(),
            role: disk.role,
        };
        let learner = Learner::new(options, start, false, 0);
        let mut this = Self {
            learner,
            stream,
            buffer: vec![],
            snapshot: false,
            begun: Instant::now(),
            sync: None,
            serves: false,
            committed: Zxid::ZERO,
            disk,
            over: None,
        };
        this.give(Input::Connected);
        this
    }

    fn give(&mut self, input: Input) {
        let now_ms = self.begun.elapsed().as_millis() as u64;
        self.learner.handle(now_ms, input);
        while let Some(output) = self.learner.next_output() {
            match output {
                Output::Send(packet) => self.stream.write_all(&packet.packet().to_vec()).unwrap(),
                Output::Disk(command) => {
                    match &command {
                        Command::Append(proposal) => {
                            self.learner.handle(now_ms, Input::Logged(Logged::up_to(proposal.zxid)));
                        }
                        Command::WriteAcceptedEpoch { epoch, .. } => self.disk.accepted = *epoch,
                        Command::WriteCurrentEpoch { epoch, .. } => self.disk.current = *epoch,
                        Command::Truncate { .. } | Command::InstallSnapshot { .. } => {}
                    }
                    if let Some(token) = command.token() {
                        self.learner.handle(now_ms, Input::Done(token.done()));
                    }
                }
                Output::ReceiveSnapshot(_) => self.snapshot = true,
                Output::Serve { .. } => self.serves = true,
                Output::Commit(zxid) => self.committed = zxid,
                Output::Over(why) => self.over = Some(why),
                Output::Replay(_)
                | Output::Revalidated { .. }
                | Output::Synced
                | Output::ServeObservers
                | Output::Observers(_)
                | Output::Configured { .. } => {}
            }
        }
    }

    /// Reads what comes, until something holds.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = Instant::now() + LIMIT;
        while !holds(self) {
            assert!(self.over.is_none(), "{what}: {}", self.over.unwrap());
            assert!(Instant::now() < until, "not in time: {what}");
            let mut bytes = [0; 16384];
            match self.stream.read(&mut bytes) {
                Ok(0) => self.give(Input::Disconnected),
                Ok(n) => self.buffer.extend_from_slice(&bytes[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => panic!("{what}: {e}"),
            }
            self.take_packets();
        }
    }

    fn take_packets(&mut self) {
        loop {
            if self.snapshot {
                let end = self.buffer.windows(SIGNATURE.len()).position(|it| it == SIGNATURE);
                let Some(end) = end else { return };
                self.buffer.drain(..end + SIGNATURE.len());
                self.snapshot = false;
                self.give(Input::SnapshotReceived(true));
            }
            let Some(length) = split(&self.buffer, Limits::default()).unwrap() else { return };
            let packet = Packet::read(&Bytes::from(self.buffer.drain(..length).collect::<Vec<_>>())).unwrap();
            if matches!(packet, Packet::Diff { .. } | Packet::Trunc { .. } | Packet::Snap { .. }) {
                self.sync = Some(packet.name());
            }
            self.give(Input::Packet(packet));
        }
    }

    /// Until it serves; and then nothing is left behind.
    fn in_sync(&mut self) -> &'static str {
        self.until("it serves", |it| it.serves);
        self.sync.unwrap()
    }

    fn leave(self) -> Disk {
        Disk { log: self.learner.log().clone(), ..self.disk }
    }
}

/// A txn: a new session.
fn write(addr: SocketAddr) {
    Connection::session(addr).unwrap();
}

#[test]
fn our_learner_joins_an_apache_leader_by_snap_diff_and_trunc_and_its_acks_count() {
    let dir = tempfile::tempdir().unwrap();
    let addrs: Vec<[SocketAddr; 3]> = (0..3).map(|_| free_addrs().unwrap()).collect();
    let lines: Vec<String> = (1..)
        .zip(&addrs)
        .map(|(id, it)| format!("server.{id}=127.0.0.1:{}:{}:participant", it[1].port(), it[2].port()))
        .collect();
    let start = |id: u8| {
        let mut options = Options::new(dir.path().join(id.to_string()));
        options.port = Some(addrs[usize::from(id) - 1][0].port());
        options.my_id = Some(id);
        options.ready = Ready::Started;
        options.cfg.clone_from(&lines);
        apache::Server::start(&options).unwrap()
    };
    let mut servers = [start(1), start(2)];
    let clients = [addrs[0][0], addrs[1][0]];
    let until = Instant::now() + LIMIT;
    while !clients.iter().all(|&it| raw::is_serving(it)) {
        assert!(Instant::now() < until, "the Apache servers do not serve");
        std::thread::sleep(Duration::from_millis(20));
    }
    let quorum_ports = [addrs[0][1], addrs[1][1]];
    write(clients[0]);
    write(clients[0]);

    // Nothing there yet.
    let log = CommittedLog::new(CommittedLogLimits::default(), Zxid::ZERO);
    let disk = Disk { accepted: Epoch(0), current: Epoch(0), log, role: 0 };
    let mut driver = Driver::join(&quorum_ports, disk);
    assert_eq!(driver.in_sync(), "SNAP");
    write(clients[0]);
    driver.until("a txn is committed", |it| it.committed.counter() > 0);
    let disk = driver.leave();
    assert_eq!(disk.current, disk.accepted);

    // It missed some.
    write(clients[1]);
    write(clients[0]);
    let before = disk.log.last();
    let mut driver = Driver::join(&quorum_ports, disk);
    assert_eq!(driver.in_sync(), "DIFF");
    assert!(driver.learner.log().last() > before);
    let mut disk = driver.leave();

    // It has one that nobody else has.
    let shared = disk.log.last();
    disk.log.append(Proposal { zxid: shared.next(), txn: Bytes::from_static(b"nobody's") }).unwrap();
    let mut driver = Driver::join(&quorum_ports, disk);
    assert_eq!(driver.in_sync(), "TRUNC");
    assert_eq!(driver.learner.log().last(), shared);

    // Without the other Apache server, the leader needs our acks. (Server 2 leads: its id is greater.)
    servers[0].kill().unwrap();
    let writer = std::thread::spawn(move || write(clients[1]));
    driver.until("our ack commits", |it| it.committed > shared);
    writer.join().unwrap();
}
