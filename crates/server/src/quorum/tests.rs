//! Members on real sockets: the machines of `zab` with a disk that is a list, so that what is tested here is the ports.

#![allow(clippy::unwrap_used)]

mod lies;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use wire::quorum::Packet;
use wire::{Epoch, ServerId, Zxid};
use zab::durable::{Command, Logged};
use zab::ensemble::{self, Ensemble};
use zab::quorum_verifier::{Member, MemberAddress, Role};
use zab::{
    CommittedLog, CommittedLogLimits, ConnId, LogPart, Proposal, QuorumVerifier, RoleId, State, ToLearner, election,
    leader, learner, member,
};

use super::{Listening, Machines, News, Options, Order, Orders, QuorumThread, SnapshotBytes};

const LIMIT: Duration = Duration::from_mins(1);

/// A server without clients.
struct Server {
    me: i64,
    at: MemberAddress,
    rig: Arc<Rig>,
    thread: Option<QuorumThread>,
}

struct Rig {
    inner: Mutex<Inner>,
    orders: Arc<Orders>,
    began: Instant,
    /// For threads that take a snapshot.
    this: Mutex<Option<std::sync::Weak<Self>>>,
}

struct Inner {
    ensemble: Ensemble,
    verifier: QuorumVerifier,
    role: RoleId,
    log: Vec<Proposal>,
    committed: Zxid,
    epoch: Option<Epoch>,
    /// Bytes of the last snapshot that came.
    snapshot: usize,
    /// How large the snapshot is that is sent.
    snapshot_data: usize,
}

impl Rig {
    fn step(&self, act: impl FnOnce(&mut Inner, u64)) {
        let mut orders = Vec::new();
        let mut inner = self.inner.lock();
        act(&mut inner, self.now());
        self.drain(&mut inner, &mut orders);
        self.orders.set_deadline(inner.ensemble.next_timeout());
        drop(inner);
        self.orders.leave(&mut orders);
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn drain(&self, inner: &mut Inner, orders: &mut Vec<Order>) {
        while let Some(output) = inner.ensemble.next_output() {
            match output {
                ensemble::Output::Connections(output) => orders.push(Order::Election(output)),
                ensemble::Output::Member(output) => self.member(inner, output, orders),
                _ => {}
            }
        }
    }

    fn member(&self, inner: &mut Inner, output: member::Output, orders: &mut Vec<Order>) {
        let now = self.now();
        match output {
            member::Output::Follow { role, leader, .. } => {
                inner.role = role;
                let addresses = inner.verifier.member(leader).unwrap().addresses.iter().map(MemberAddress::quorum);
                orders.push(Order::Follow { role, leader, addresses: addresses.collect() });
            }
            member::Output::Lead { role } => {
                inner.role = role;
                orders.push(Order::Lead(role));
            }
            member::Output::Over(role, _) => {
                inner.epoch = None;
                orders.push(Order::Over(role));
            }
            member::Output::Disk(command) => {
                let done = match &command {
                    Command::Append(proposal) => {
                        inner.log.push(proposal.clone());
                        member::Input::Logged(Logged::up_to(proposal.zxid))
                    }
                    Command::Truncate { to, .. } => {
                        inner.log.retain(|it| it.zxid <= *to);
                        member::Input::Done(command.token().unwrap().done())
                    }
                    Command::InstallSnapshot { .. } => {
                        inner.log.clear();
                        member::Input::Done(command.token().unwrap().done())
                    }
                    _ => member::Input::Done(command.token().unwrap().done()),
                };
                inner.ensemble.handle(now, ensemble::Input::Member(done));
            }
            member::Output::Leader(output) => match output {
                leader::Output::Ready(conn) => orders.push(Order::Ready(conn)),
                leader::Output::Close(conn, why) => orders.push(Order::CloseLearner(conn, why)),
                leader::Output::ReadLog { conn, token, from, .. } => {
                    let before = inner.log.iter().map(|it| it.zxid).rfind(|it| *it <= from).unwrap_or(Zxid::ZERO);
                    let proposals = inner.log.iter().filter(|it| it.zxid > before).cloned().collect();
                    let part = Some(LogPart { before, proposals });
                    self.lead(inner, leader::Input::LogRead { conn, token, part });
                }
                leader::Output::OpenSnapshot { conn, token, .. } => {
                    let zxid = Some(inner.committed);
                    orders.push(Order::SendSnapshot(conn, snapshot(inner.snapshot_data)));
                    self.lead(inner, leader::Input::SnapshotOpened { conn, token, zxid });
                }
                leader::Output::Replay(zxid) | leader::Output::Commit(zxid) => inner.committed = zxid,
                leader::Output::Serve { epoch } => inner.epoch = Some(epoch),
                _ => {}
            },
            member::Output::Learner(output) => match output {
                learner::Output::Send(packet) => orders.push(Order::ToLeader(inner.role, packet.into_packet())),
                learner::Output::ReceiveSnapshot(_) => {
                    let (sender, pieces) = mpsc::channel(2);
                    orders.push(Order::ReceiveSnapshot(inner.role, sender));
                    self.take_snapshot(inner.role, pieces);
                }
                learner::Output::Replay(zxid) | learner::Output::Commit(zxid) => inner.committed = zxid,
                learner::Output::Serve { epoch, .. } => inner.epoch = Some(epoch),
                _ => {}
            },
            member::Output::Look { .. } | member::Output::Configured(_) => {}
        }
    }

    fn lead(&self, inner: &mut Inner, input: leader::Input) {
        let input = member::Input::Leader(inner.role, input);
        inner.ensemble.handle(self.now(), ensemble::Input::Member(input));
    }

    fn take_snapshot(&self, role: RoleId, mut pieces: mpsc::Receiver<SnapshotBytes>) {
        let this = self.this.lock().clone().unwrap();
        std::thread::spawn(move || {
            let (mut bytes, mut is_whole) = (0, false);
            while let Some(piece) = pieces.blocking_recv() {
                match piece {
                    SnapshotBytes::Piece(piece) => bytes += piece.len(),
                    SnapshotBytes::End => {
                        is_whole = true;
                        break;
                    }
                }
            }
            if let Some(rig) = this.upgrade() {
                rig.step(|inner, now| {
                    inner.snapshot = bytes;
                    let input = member::Input::Learner(role, learner::Input::SnapshotReceived(is_whole));
                    inner.ensemble.handle(now, ensemble::Input::Member(input));
                });
            }
            drop(pieces);
        });
    }
}

/// A snapshot with one znode of so much data, in pieces of another size than anything else here has.
fn snapshot(data: usize) -> mpsc::Receiver<std::io::Result<Bytes>> {
    let (sender, pieces) = mpsc::channel(2);
    std::thread::spawn(move || {
        let mut raw = vec![0; 8];
        raw.extend_from_slice(&2_i32.to_be_bytes());
        raw.extend_from_slice(b"/a");
        raw.extend_from_slice(&(data as i32).to_be_bytes());
        raw.resize(raw.len() + data + 68, 7);
        raw.extend_from_slice(b"\0\0\0\x01/");
        for piece in raw.chunks(10_007) {
            if sender.blocking_send(Ok(Bytes::copy_from_slice(piece))).is_err() {
                return;
            }
        }
    });
    pieces
}

/// What [`snapshot`] sends for so much data.
fn snapshot_length(data: usize) -> usize {
    8 + 6 + 4 + data + 68 + 5
}

impl Machines for Rig {
    fn handle(&self, news: Vec<News>) {
        self.step(|inner, now| {
            for news in news {
                let input = match news {
                    News::Election(input) => ensemble::Input::Connections(input),
                    News::Learner(role, input) => ensemble::Input::Member(member::Input::Learner(role, input)),
                    News::Leader(role, input) => ensemble::Input::Member(member::Input::Leader(role, input)),
                };
                inner.ensemble.handle(now, input);
                let mut orders = Vec::new();
                self.drain(inner, &mut orders);
                self.orders.leave(&mut orders);
            }
        });
    }

    fn next_packets(&self, _: RoleId, learner: ConnId, _: usize, out: &mut Vec<ToLearner>) {
        self.step(|inner, now| {
            while let Some(packet) = inner.ensemble.next_packet(now, learner) {
                out.push(packet);
            }
        });
    }

    fn on_time(&self) {
        self.step(|inner, now| inner.ensemble.handle(now, ensemble::Input::Timer));
    }

    fn now_ms(&self) -> u64 {
        self.now()
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Three participants, and observers behind them.
fn members(observers: i64) -> QuorumVerifier {
    let members = (1..=3 + observers).map(|id| {
        let host = if id == 2 { "localhost" } else { "127.0.0.1" };
        let address = MemberAddress { host: host.to_owned(), quorum_port: free_port(), election_port: free_port() };
        let role = if id > 3 { Role::Observer } else { Role::Participant };
        Member { addresses: vec![address], role, ..Member::participant(ServerId(id)) }
    });
    QuorumVerifier::majority(members, 0)
}

fn start(verifier: &QuorumVerifier, id: i64, log: Vec<Proposal>, adjust: impl FnOnce(&mut zab::Options)) -> Server {
    let me = ServerId(id);
    let mut options = zab::Options::new(me, verifier.clone());
    options.tick_ms = 500;
    adjust(&mut options);
    let mut history = CommittedLog::new(CommittedLogLimits::default(), Zxid::ZERO);
    let mut epoch = Epoch(0);
    for proposal in &log {
        epoch = proposal.zxid.epoch();
        history.append(proposal.clone()).unwrap();
    }
    let recovered = zab::Recovered { accepted: epoch, current: epoch, log: history, is_lost: false };
    let own = verifier.member(me).unwrap().addresses.clone();
    let ports = Options {
        me,
        own: own.clone(),
        observer_master_port: None,
        multi_address: false,
        listen_on_all: false,
        election_connect: Duration::from_secs(5),
        election_hello: Duration::from_secs(5),
        learner_hello: Duration::from_secs(5),
        election_bind_tries: Some(3),
        tcp_keep_alive: true,
        leader_connect: Duration::from_secs(5),
        leader_connect_pause: Duration::from_millis(50),
        length_max: 64 << 20,
    };
    let orders = Arc::new(Orders::default());
    let ensemble = Ensemble::new(0, options, election::Settings::new(me), recovered);
    let inner = Inner {
        ensemble,
        verifier: verifier.clone(),
        role: RoleId(0),
        log,
        committed: Zxid::ZERO,
        epoch: None,
        snapshot: 0,
        snapshot_data: 0,
    };
    let rig = Arc::new(Rig {
        inner: Mutex::new(inner),
        orders: orders.clone(),
        began: Instant::now(),
        this: Mutex::new(None),
    });
    *rig.this.lock() = Some(Arc::downgrade(&rig));
    let listening = Listening::bind(&ports).unwrap();
    let thread = QuorumThread::start(ports, listening, rig.clone(), orders).unwrap();
    rig.step(|_, _| {});
    Server { me: id, at: own[0].clone(), rig, thread: Some(thread) }
}

impl Server {
    fn state(&self) -> State {
        self.rig.inner.lock().ensemble.member().state()
    }

    fn serves(&self) -> bool {
        self.rig.inner.lock().epoch.is_some()
    }

    fn committed(&self) -> Zxid {
        self.rig.inner.lock().committed
    }

    fn propose(&self, txn: &[u8]) -> Zxid {
        let mut proposed = Zxid::ZERO;
        self.rig.step(|inner, now| {
            proposed = inner.ensemble.next_zxid(now).unwrap();
            let proposal = Proposal { zxid: proposed, txn: Bytes::copy_from_slice(txn) };
            let input = member::Input::Leader(inner.role, leader::Input::Propose(proposal));
            inner.ensemble.handle(now, ensemble::Input::Member(input));
        });
        proposed
    }

    fn logged(&self) -> Vec<Zxid> {
        self.rig.inner.lock().log.iter().map(|it| it.zxid).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.thread.take().unwrap().stop();
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < until, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn leader_of(servers: &[Server]) -> usize {
    until("a leader serves", || servers.iter().any(|it| it.state() == State::Leading && it.serves()));
    servers.iter().position(|it| it.state() == State::Leading && it.serves()).unwrap()
}

fn history(n: i64) -> Vec<Proposal> {
    (1..=n).map(|i| Proposal { zxid: Zxid((1 << 32) + i), txn: Bytes::from(vec![i as u8; 100]) }).collect()
}

#[test]
fn three_and_an_observer_come_together_and_a_leader_that_stops_is_replaced() {
    let verifier = members(1);
    let mut servers: Vec<Server> = (1..=4).map(|id| start(&verifier, id, Vec::new(), |_| {})).collect();
    let at = leader_of(&servers);
    until("all serve", || servers.iter().all(Server::serves));
    assert_eq!(servers[3].state(), State::Observing);
    let last = (0..100).fold(Zxid::ZERO, |_, i| servers[at].propose(&[i; 1000]));
    until("all have committed", || servers.iter().all(|it| it.committed() == last));
    let gone = servers.remove(at);
    let me = gone.me;
    drop(gone);
    let at = leader_of(&servers);
    let last = servers[at].propose(b"x");
    assert!(last.epoch() > Epoch(1));
    until("the others go on", || servers.iter().all(|it| it.committed() == last));
    // It comes back with less, and gets what it lacks.
    servers.push(start(&verifier, me, history(50), |_| {}));
    until("it has the history", || servers[3].committed() == last && servers[3].serves());
    let (ours, theirs) = (servers[at].logged(), servers[3].logged());
    assert_eq!(ours, theirs);
}

#[test]
fn a_snapshot_goes_from_leader_to_learner() {
    const DATA: usize = 5_000_000;
    let verifier = members(0);
    let force = |options: &mut zab::Options| options.force_snapshot_sync = true;
    let servers: Vec<Server> = (2..=3).map(|id| start(&verifier, id, history(10), force)).collect();
    let at = leader_of(&servers);
    until("both serve", || servers.iter().all(Server::serves));
    servers[at].rig.inner.lock().snapshot_data = DATA;
    let late = start(&verifier, 1, Vec::new(), |_| {});
    until("it serves", || late.serves());
    assert_eq!(late.rig.inner.lock().snapshot, snapshot_length(DATA));
    // What follows a snapshot are packets again.
    let last = servers[at].propose(b"behind the snapshot");
    until("it goes on", || late.committed() == last);
}

/// Connects, sends, and keeps the connection.
fn stranger(port: u16, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    // Whoever closes at once may do so before all is sent.
    let _ = stream.write_all(bytes);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn is_closed(mut stream: &TcpStream) -> bool {
    matches!(stream.read(&mut [0; 16]), Ok(0)) || {
        let mut byte = [0];
        stream.read(&mut byte).is_err()
    }
}

#[test]
fn strangers_cost_their_own_connections() {
    let verifier = members(0);
    let mut servers: Vec<Server> = (1..=3).map(|id| start(&verifier, id, Vec::new(), |_| {})).collect();
    let mut at = leader_of(&servers);
    until("all serve", || servers.iter().all(Server::serves));
    let before = servers[at].committed().epoch();
    let (election, quorum) = (servers[at].at.election_port, servers[at].at.quorum_port);
    let hello = |sid: i64| [&(-65536_i64).to_be_bytes()[..], &sid.to_be_bytes(), b"\0\0\0\x05h:123"].concat();
    for garbage in [
        vec![0xff; 100],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        hello(7)[..20].iter().chain(b"\x7f\xff\xff\xff").copied().collect(),
        // Garbage behind a good start.
        [&hello(9)[..], &i32::MAX.to_be_bytes()].concat(),
        [&hello(10)[..], &0_i32.to_be_bytes()].concat(),
        // A version that nobody knows, of a hello that would be good.
        [&(-65534_i64).to_be_bytes()[..], &hello(11)[8..]].concat(),
        // One that says it is this server.
        hello(servers[at].me),
    ] {
        assert!(is_closed(&stranger(election, &garbage)), "{garbage:?}");
    }
    for garbage in [
        vec![0xff; 100],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        Packet::Ack { zxid: Zxid(1) }.to_vec(),
        // A hello that is too long, and one with a protocol of old.
        [&11_i32.to_be_bytes()[..], &[0; 8], &i32::MAX.to_be_bytes()].concat(),
        [&11_i32.to_be_bytes()[..], &[0; 8], &[0; 4], &(-1_i32).to_be_bytes()].concat(),
    ] {
        assert!(is_closed(&stranger(quorum, &garbage)), "{garbage:?}");
    }
    // Silent ones push each other out, and nobody else.
    let silent: Vec<TcpStream> =
        (0..200).flat_map(|_| [stranger(election, b"\xff"), stranger(quorum, b"\0")]).collect();
    // A follower that comes back has to get by them, on both ports.
    let follower = servers.remove(usize::from(at == 0));
    at = servers.iter().position(|it| it.state() == State::Leading).unwrap();
    let me = follower.me;
    drop(follower);
    servers.push(start(&verifier, me, Vec::new(), |_| {}));
    until("it serves again", || servers[2].serves());
    until("the first silent ones are closed", || is_closed(&silent[0]) && is_closed(&silent[1]));
    let last = servers[at].propose(b"x");
    until("they still commit", || servers.iter().all(|it| it.committed() == last));
    assert_eq!(last.epoch(), before.max(Epoch(1)), "nobody had to look for a leader");
}

/// A reconfig has given it other ports since it started.
#[test]
fn a_server_listens_where_its_own_line_says_now() {
    let verifier = members(0);
    // Alone it elects nobody, and the orders are the only ones.
    let server = start(&verifier, 1, Vec::new(), |_| {});
    let before = server.at.clone();
    let listens = |port: u16| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    server.rig.orders.leave(&mut vec![Order::Lead(RoleId(9))]);
    until("it leads", || listens(before.quorum_port));
    let moved = MemberAddress { quorum_port: free_port(), election_port: free_port(), ..before.clone() };
    server.rig.orders.leave(&mut vec![Order::Own(vec![moved.clone()])]);
    until("it listens there", || listens(moved.quorum_port) && listens(moved.election_port));
    for port in [before.quorum_port, before.election_port] {
        until("it listens there no more", || !listens(port));
    }
    // The next role begins there, too.
    server.rig.orders.leave(&mut vec![Order::Over(RoleId(9)), Order::Lead(RoleId(10))]);
    until("it leads again", || listens(moved.quorum_port));
    assert!(!listens(before.quorum_port));
}

#[test]
fn ports_that_are_taken_are_named() {
    let verifier = members(0);
    let taken = &verifier.member(ServerId(1)).unwrap().addresses[0];
    let options = Options {
        me: ServerId(1),
        own: vec![taken.clone()],
        observer_master_port: None,
        multi_address: false,
        listen_on_all: false,
        election_connect: LIMIT,
        election_hello: LIMIT,
        learner_hello: LIMIT,
        election_bind_tries: Some(1),
        tcp_keep_alive: false,
        leader_connect: LIMIT,
        leader_connect_pause: LIMIT,
        length_max: 100,
    };
    for (port, name) in [(taken.election_port, "election"), (taken.quorum_port, "quorum")] {
        let _holds = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let told = Listening::bind(&options).unwrap_err().to_string();
        assert_eq!(told, format!("{name} port 127.0.0.1:{port}: the port is taken"));
    }
    let nowhere = MemberAddress { host: "no.such.host.invalid".to_owned(), ..taken.clone() };
    let told = Listening::bind(&Options { own: vec![nowhere], ..options.clone() }).unwrap_err().to_string();
    assert!(told.starts_with("election port no.such.host.invalid:"), "{told}");
    let foreign = MemberAddress { host: "192.0.2.1".to_owned(), ..taken.clone() };
    let told = Listening::bind(&Options { own: vec![foreign], ..options }).unwrap_err().to_string();
    assert!(told.contains("no address of this machine"), "{told}");
}
