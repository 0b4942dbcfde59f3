//! Members whose hello was good, and what follows it is not: lengths that lie, packets that break off, snapshots that are none.
//! Their connection ends, and whoever they lied to goes on with the others. Lies that are packets: `crates/zab/tests/lies`.

use std::sync::atomic::{AtomicBool, Ordering};

use wire::election::{HostPort, InitialMessage, InitialVersion, Notification, ServerState, split_frame};
use wire::quorum::{LearnerInfo, Limits, PROTOCOL_VERSION, split};

use super::*;

/// Reads packets from a connection.
struct Packets {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Packets {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self { stream, bytes: Vec::new() }
    }

    fn next(&mut self) -> Packet {
        loop {
            if let Some(length) = split(&self.bytes, Limits::default()).unwrap() {
                let packet: Vec<u8> = self.bytes.drain(..length).collect();
                return Packet::read(&packet.into()).unwrap();
            }
            let mut piece = [0; 4096];
            let n = self.stream.read(&mut piece).unwrap();
            assert!(n > 0, "the connection is closed");
            self.bytes.extend_from_slice(&piece[..n]);
        }
    }

    fn send(&mut self, packet: &Packet) {
        self.stream.write_all(&packet.to_vec()).unwrap();
    }

    /// The other side closes, whatever it has sent before.
    fn closes(mut self) -> bool {
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return e.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// A packet of this kind that says how long it is, and is not.
fn lying(kind: i32, length: i32) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &Zxid((1 << 32) + 9).0.to_be_bytes(), &length.to_be_bytes(), b"abc"].concat()
}

/// What is no packet, whoever sends it: a length that is negative or too large, identities without end.
fn lies() -> Vec<Vec<u8>> {
    let identities = |count: i32| [lying(2, 0)[..16].to_vec(), count.to_be_bytes().to_vec()].concat();
    vec![lying(2, i32::MAX), lying(3, -2), lying(2, i32::MIN), identities(i32::MAX), identities(-2), vec![0xff; 64]]
}

#[test]
fn a_learner_that_lies_costs_its_own_connection() {
    let verifier = members(0);
    let mut servers: Vec<Server> = (1..=2).map(|id| start(&verifier, id, history(3), |_| {})).collect();
    let at = leader_of(&servers);
    until("both serve", || servers.iter().all(Server::serves));
    let (port, epoch) = (servers[at].at.quorum_port, servers[at].rig.inner.lock().epoch.unwrap());
    // A learner that is in sync, and then lies; and one that lies as soon as it is known.
    for (lie, is_synced) in lies().into_iter().flat_map(|lie| [(lie.clone(), false), (lie, true)]) {
        let mut liar = Packets::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
        let info = LearnerInfo::new(ServerId(3), 0);
        liar.send(&Packet::FollowerInfo { zxid: Zxid::new(Epoch(1), 0), info });
        assert!(matches!(liar.next(), Packet::LeaderInfo { .. }));
        if is_synced {
            liar.send(&Packet::AckEpoch { zxid: Zxid((1 << 32) + 3), current_epoch: Epoch(1) });
            while !matches!(liar.next(), Packet::NewLeader { .. }) {}
            liar.send(&Packet::Ack { zxid: Zxid::new(epoch, 0) });
            while !matches!(liar.next(), Packet::UpToDate { .. }) {}
        }
        liar.stream.write_all(&lie).unwrap();
        assert!(liar.closes(), "{lie:?}");
        let last = servers[at].propose(b"x");
        until("the others commit", || servers.iter().all(|it| it.committed() == last));
        assert_eq!(last.epoch(), epoch, "nobody had to look for a leader");
    }
    // The server whose name was taken is as welcome as ever.
    servers.push(start(&verifier, 3, history(3), |_| {}));
    until("it serves", || servers[2].serves());
}

/// Votes for itself, as server 3, whenever it is asked, until it is told to stop.
fn canvass(verifier: &QuorumVerifier, port: u16, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let own = &verifier.member(ServerId(3)).unwrap().addresses[0];
    let addresses = vec![HostPort { host: own.host.clone(), port: own.election_port }];
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut hello = Vec::new();
    InitialMessage { version: InitialVersion::V1, server: ServerId(3), addresses }.write(&mut hello);
    stream.write_all(&hello).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            let mut piece = [0; 4096];
            match stream.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => bytes.extend_from_slice(&piece[..n]),
                Err(_) => {}
            }
            while let Some((frame, rest)) = split_frame(&bytes).unwrap() {
                let (frame, rest) = (Bytes::copy_from_slice(frame), rest.to_vec());
                bytes = rest;
                let mut vote = Notification::read(&frame).unwrap();
                if vote.state == Some(ServerState::Looking) {
                    (vote.leader, vote.zxid, vote.peer_epoch) = (ServerId(3), Zxid((1 << 32) + 99), 1);
                    let mut message = Vec::new();
                    vote.write(&mut message);
                    let frame = [&(message.len() as i32).to_be_bytes()[..], &message].concat();
                    if stream.write_all(&frame).is_err() {
                        return;
                    }
                }
            }
        }
    })
}

/// A raw snapshot: one session too many, a path that is too long, a count that can't be.
fn snapshots_that_are_none() -> Vec<Vec<u8>> {
    let sessions = |count: i32| count.to_be_bytes().to_vec();
    let acls = [&0_i32.to_be_bytes()[..], &(-7_i32).to_be_bytes()].concat();
    let path = [&[0; 8][..], &i32::MAX.to_be_bytes()].concat();
    let data = [&[0; 8][..], &2_i32.to_be_bytes(), b"/a", &(-9_i32).to_be_bytes()].concat();
    let good = [&[0; 8][..], b"\0\0\0\x01/"].concat();
    let unsigned = [&good[..], b"\0\0\0\x0aBenWasHer_"].concat();
    vec![sessions(-1), acls, path, data, unsigned]
}

#[test]
fn a_leader_that_lies_is_left_and_nothing_of_it_is_kept() {
    let verifier = members(0);
    // It gives up soon, where the leader says too little.
    let soon = |options: &mut zab::Options| (options.tick_ms, options.init_limit_ticks) = (100, 10);
    let mut servers = vec![start(&verifier, 1, history(10), soon)];
    let at = &verifier.member(ServerId(3)).unwrap().addresses[0];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, at.quorum_port)).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let canvasser = canvass(&verifier, servers[0].at.election_port, stop.clone());
    let before = servers[0].logged();
    let no_packets = lies().into_iter().map(|lie| (false, lie));
    let no_snapshots = snapshots_that_are_none().into_iter().map(|lie| (true, lie));
    let mut epoch = 1;
    for (is_snapshot, lie) in no_packets.chain(no_snapshots) {
        let mut learner = Packets::new(listener.accept().unwrap().0);
        assert!(matches!(learner.next(), Packet::FollowerInfo { .. }));
        epoch += 1;
        let zxid = Zxid::new(Epoch(epoch), 0);
        learner.send(&Packet::LeaderInfo { zxid, protocol_version: PROTOCOL_VERSION });
        assert!(matches!(learner.next(), Packet::AckEpoch { .. }));
        if is_snapshot {
            learner.send(&Packet::Snap { zxid: Zxid((1 << 32) + 50) });
        }
        learner.stream.write_all(&lie).unwrap();
        assert!(learner.closes(), "{lie:?}");
    }
    // A snapshot that breaks off, and a packet that does.
    for is_snapshot in [true, false] {
        let mut learner = Packets::new(listener.accept().unwrap().0);
        learner.next();
        epoch += 1;
        let zxid = Zxid::new(Epoch(epoch), 0);
        learner.send(&Packet::LeaderInfo { zxid, protocol_version: PROTOCOL_VERSION });
        learner.next();
        if is_snapshot {
            learner.send(&Packet::Snap { zxid: Zxid((1 << 32) + 50) });
            learner.stream.write_all(&[0; 8]).unwrap();
        } else {
            learner.stream.write_all(&lying(2, 4000)).unwrap();
        }
    }
    // One that says nothing more is left when its time is up, by a clock.
    let mut learner = Packets::new(listener.accept().unwrap().0);
    learner.next();
    assert!(learner.closes());
    assert_eq!(servers[0].logged(), before);
    stop.store(true, Ordering::SeqCst);
    canvasser.join().unwrap();
    drop(listener);
    // The real ones come, and it is one of them. Not both at once: those two could be a quorum without it, in an epoch before
    // the one that it was made to accept, and then it has to wait for the next.
    for id in 2..=3 {
        servers.push(start(&verifier, id, history(10), |_| {}));
        until("all serve", || servers.iter().all(Server::serves));
    }
    let at = leader_of(&servers);
    let last = servers[at].propose(b"x");
    until("all commit", || servers.iter().all(|it| it.committed() == last));
    let logs: Vec<_> = servers.iter().map(Server::logged).collect();
    assert!(logs[0][..10] == before && logs.iter().all(|it| *it == logs[0]), "{logs:?}");
}
