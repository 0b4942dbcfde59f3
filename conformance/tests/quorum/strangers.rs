//! Learners that are in no configuration, played by the test, and what an Apache leader sends them when its ensemble is
//! reconfigured. Proxies can't stand between servers there: a configuration is the same everywhere.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use ostler_conformance::ensemble::Ensemble;
use ostler_conformance::raw::Connection;
use ostler_conformance::script::Body;
use ostler_conformance::workspace;
use wire::quorum::{LearnerInfo, Packet, PacketType};
use wire::{Epoch, ServerId, Zxid};

use super::golden::{Recorded, packets, write};

/// How long the leader may be silent.
const LIMIT: Duration = Duration::from_secs(20);

struct Stranger {
    stream: TcpStream,
    said: Vec<u8>,
    heard: Vec<u8>,
    /// How many packets of `heard` have been looked at.
    seen: usize,
}

impl Stranger {
    /// Joins the leader, and is up to date when this returns.
    fn join(leader: SocketAddr, first: &Packet) -> Self {
        let stream = TcpStream::connect(leader).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut it = Self { stream, said: Vec::new(), heard: Vec::new(), seen: 0 };
        it.say(first);
        it.until(PacketType::LeaderInfo);
        it.say(&Packet::AckEpoch { zxid: Zxid::ZERO, current_epoch: Epoch(0) });
        let zxid = it.until(PacketType::NewLeader).zxid();
        it.say(&Packet::Ack { zxid });
        it.until(PacketType::UpToDate);
        it.say(&Packet::Ack { zxid });
        it
    }

    fn say(&mut self, packet: &Packet) {
        let bytes = packet.to_vec();
        self.stream.write_all(&bytes).unwrap();
        self.said.extend_from_slice(&bytes);
    }

    /// Reads on to the next packet of this type.
    fn until(&mut self, kind: PacketType) -> Packet {
        loop {
            let mut all = Vec::new();
            packets(&self.heard, |_: &Bytes, packet| all.push(packet.clone()));
            let found = all.iter().skip(self.seen).position(|it| it.packet_type() == Some(kind));
            if let Some(at) = found {
                self.seen += at + 1;
                return all.swap_remove(self.seen - 1);
            }
            let mut buffer = [0; 8192];
            let n = self.stream.read(&mut buffer).unwrap();
            assert!(n > 0, "the leader hung up before {}", kind.name());
            self.heard.extend_from_slice(&buffer[..n]);
        }
    }

    fn recorded(self, server: u8) -> Recorded {
        let end = packets(&self.heard, |_, _| {});
        let acceptor = self.heard[..end].to_vec();
        Recorded { port: "quorum".to_owned(), server: server.to_string(), opener: self.said, acceptor }
    }
}

/// Adds an observer to an ensemble of two, and records what a follower and an observer without a vote hear of it.
#[test]
#[ignore = "writes the golden file"]
fn record_reconfig() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), 2, 0, false)
        .unwrap()
        .cfg("tickTime=1000")
        .cfg("preAllocSize=16")
        .cfg("reconfigEnabled=true")
        .cfg("skipACL=yes");
    ensemble.start(1).unwrap();
    ensemble.start(2).unwrap();
    ensemble.serving(2).unwrap();
    let leader = ensemble.member(2).unwrap();
    let hello = |id| LearnerInfo::new(ServerId(id), 0);
    let mut follower = Stranger::join(leader.quorum, &Packet::FollowerInfo { zxid: Zxid::ZERO, info: hello(8) });
    let mut observer = Stranger::join(leader.quorum, &Packet::ObserverInfo { zxid: Zxid::ZERO, info: hello(9) });
    let mut client = Connection::session(leader.client).unwrap().0;
    let joining = "server.3=127.0.0.1:3001:3002:observer;127.0.0.1:3003";
    let body = Body::new().text(joining).int(-1).int(-1).long(-1).0;
    assert_eq!(client.call(1, 16, &body).unwrap().err, 0);
    follower.until(PacketType::CommitAndActivate);
    observer.until(PacketType::InformAndActivate);
    let all = [follower.recorded(2), observer.recorded(2)];
    fs::write(workspace().join("conformance/golden/quorum-reconfig.txt"), write(&all)).unwrap();
}
