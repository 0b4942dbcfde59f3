//! An Apache follower at our leader: it follows because our vote is better, joins, and a client's new session goes through
//! our proposal, its ack and our COMMIT.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ostler_conformance::ports::free_addrs;
use ostler_conformance::raw::Connection;
use ostler_conformance::{Options, Ready, apache};
use wire::election::{HostPort, InitialMessage, InitialVersion, Notification, NotificationFormat, ServerState};
use wire::quorum::{Limits, Packet, split};
use wire::txn::TxnHeader;
use wire::{Epoch, Field, OpCode, ServerId, Zxid};
use zab::leader::{Input, Output};
use zab::{
    Command, CommittedLog, CommittedLogLimits, ConnId, Leader, Logged, Proposal, QuorumVerifier, Start, ToLearner,
};

/// How long anything may take.
const LIMIT: Duration = Duration::from_mins(1);
const CONN: ConnId = ConnId(1);

/// A leader with one learner, and a disk that does everything at once.
struct Driver {
    leader: Leader,
    stream: TcpStream,
    buffer: Vec<u8>,
    begun: Instant,
    serves: bool,
    committed: Zxid,
    sent: Vec<&'static str>,
}

impl Driver {
    fn give(&mut self, input: Input) {
        let now_ms = self.begun.elapsed().as_millis() as u64;
        self.leader.handle(now_ms, input);
        while let Some(output) = self.leader.next_output() {
            match output {
                Output::Disk(Command::Append(proposal)) => {
                    self.leader.handle(now_ms, Input::Logged(Logged::up_to(proposal.zxid)));
                }
                Output::Disk(command) => {
                    let token = command.token().unwrap();
                    self.leader.handle(now_ms, Input::Done(token.done()));
                }
                Output::Serve { .. } => self.serves = true,
                Output::Commit(zxid) => self.committed = zxid,
                Output::Request(_, request) if request.op == OpCode::CreateSession.code() => {
                    let zxid = self.leader.next_zxid().unwrap();
                    let (session, cxid) = (request.session, request.cxid);
                    let header = TxnHeader { session, cxid, zxid, time_ms: 1, op: OpCode::CreateSession };
                    let mut txn = header.to_vec();
                    // The request is the timeout, and so is the txn.
                    txn.extend_from_slice(&request.body);
                    self.leader.handle(now_ms, Input::Propose(Proposal { zxid, txn: txn.into() }));
                }
                Output::Close(_, why) => panic!("{why}"),
                Output::Over(why) => panic!("{why}"),
                _ => {}
            }
        }
        while let Some(ToLearner::Packet(packet)) = self.leader.next_packet(now_ms, CONN) {
            self.sent.push(packet.name());
            self.stream.write_all(&packet.to_vec()).unwrap();
        }
    }

    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = Instant::now() + LIMIT;
        while !holds(self) {
            assert!(Instant::now() < until, "not in time: {what}; sent: {:?}", self.sent);
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => panic!("{what}: the follower left; sent: {:?}", self.sent),
                Ok(n) => self.buffer.extend_from_slice(&bytes[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => panic!("{what}: {e}"),
            }
            while let Some(length) = split(&self.buffer, Limits::default()).unwrap() {
                let bytes: Vec<u8> = self.buffer.drain(..length).collect();
                self.give(Input::Packet(CONN, Packet::read(&bytes.into()).unwrap()));
            }
            if self.leader.next_timeout().is_some_and(|it| it <= self.begun.elapsed().as_millis() as u64) {
                self.give(Input::Timer);
            }
        }
    }
}

/// Votes for server 3 until somebody comes to its quorum port.
fn be_elected(election: SocketAddr, own: SocketAddr, quorum: &TcpListener) -> TcpStream {
    quorum.set_nonblocking(true).unwrap();
    let until = Instant::now() + LIMIT;
    let mut connection = None;
    loop {
        assert!(Instant::now() < until, "the Apache server does not follow");
        if let Ok((stream, _)) = quorum.accept() {
            return stream;
        }
        let hello = InitialMessage {
            version: InitialVersion::V1,
            server: ServerId(3),
            addresses: vec![HostPort { host: "127.0.0.1".to_owned(), port: own.port() }],
        };
        let vote = Notification {
            state: Some(ServerState::Looking),
            leader: ServerId(3),
            zxid: Zxid::ZERO,
            election_epoch: 1,
            peer_epoch: 0,
            format: NotificationFormat::Version(1),
        };
        let mut bytes = Vec::new();
        if connection.is_none() {
            connection = TcpStream::connect(election).ok();
            hello.write(&mut bytes);
        }
        vote.write_frame(&mut bytes);
        if connection.as_mut().is_some_and(|it: &mut TcpStream| it.write_all(&bytes).is_err()) {
            connection = None;
        }
        // Apache decides when nothing has come for 200 ms.
        std::thread::sleep(Duration::from_millis(700));
    }
}

#[test]
fn an_apache_follower_joins_our_leader_and_commits_what_we_propose() {
    let dir = tempfile::tempdir().unwrap();
    let addrs: Vec<[SocketAddr; 3]> = (0..3).map(|_| free_addrs().unwrap()).collect();
    let quorum = TcpListener::bind(addrs[2][1]).unwrap();
    let mut options = Options::new(dir.path().join("1"));
    options.port = Some(addrs[0][0].port());
    options.my_id = Some(1);
    options.ready = Ready::Started;
    for (id, it) in (1..).zip(&addrs) {
        options.cfg.push(format!("server.{id}=127.0.0.1:{}:{}:participant", it[1].port(), it[2].port()));
    }
    let _server = apache::Server::start(&options).unwrap();
    let stream = be_elected(addrs[0][2], addrs[2][2], &quorum);
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();

    let start = Start {
        accepted: Epoch(0),
        current: Epoch(0),
        is_lost: false,
        log: CommittedLog::new(CommittedLogLimits::default(), Zxid::ZERO),
        role: 1,
    };
    let options = zab::Options::new(ServerId(3), QuorumVerifier::of_participants([1, 2, 3].map(ServerId)));
    let mut driver = Driver {
        leader: Leader::new(options, start, 0),
        stream,
        buffer: vec![],
        begun: Instant::now(),
        serves: false,
        committed: Zxid::ZERO,
        sent: vec![],
    };
    driver.give(Input::Connected(CONN));
    driver.until("the epoch is established", |it| it.serves);
    let without_pings: Vec<_> = driver.sent.iter().filter(|it| **it != "PING").copied().collect();
    assert_eq!(without_pings[..4], ["LEADERINFO", "DIFF", "NEWLEADER", "UPTODATE"]);

    let client = addrs[0][0];
    let session = std::thread::spawn(move || {
        let until = Instant::now() + LIMIT;
        while Connection::session(client).is_err() {
            assert!(Instant::now() < until, "no session");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    driver.until("a session is committed", |it| it.committed.counter() > 0);
    driver.until("the client has its session", |_| session.is_finished());
    session.join().unwrap();
}
