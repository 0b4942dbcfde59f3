//! The members of an ensemble of ours are stopped and started anew, one after the other, while clients pipeline writes and reads
//! at each: those of other members notice nothing, whoever led; those of the one that stops lose one connection; what
//! was acknowledged is there, and nothing is done twice.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic, and tell what it counted")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::raw::{ConnectRequest, Connection, Reply};
use wire::request::{CreateRequest, PathRequest, ReadRequest, SetDataRequest};
use wire::response::{GetChildren2Response, GetDataResponse, StatResponse};
use wire::{AclVec, Field, OpCode, Reader};

const MEMBERS: u8 = 3;
const CLIENTS: usize = 6;
/// Sets in one burst; behind each is a read.
const SETS: i32 = 6;
/// How long the clients may take to write some more.
const LIMIT: Duration = Duration::from_mins(1);

/// What main and clients tell each other.
#[derive(Debug, Default)]
struct Common {
    is_over: AtomicBool,
    /// Bursts that each client was answered.
    bursts: [AtomicU64; CLIENTS],
    /// Connections that were lost: whose, and to which member.
    lost: Mutex<Vec<(usize, usize)>>,
}

/// A client: it alone writes to its znode, and each set names the version that it expects.
struct Client {
    number: usize,
    addrs: Vec<SocketAddr>,
    common: Arc<Common>,
    session: (i64, Vec<u8>),
    member: usize,
    connection: Connection,
    xid: i32,
    zxid: i64,
    /// Of the znode: sets that were acknowledged.
    sets: i32,
    /// Sequential children that were acknowledged.
    children: i32,
}

impl Client {
    fn new(number: usize, addrs: Vec<SocketAddr>, common: Arc<Common>) -> Self {
        let member = number % addrs.len();
        let (connection, response) = Connection::session(addrs[member]).unwrap();
        let session = (response.session_id, response.password);
        let mut client =
            Self { number, addrs, common, session, member, connection, xid: 0, zxid: 0, sets: 0, children: 0 };
        let created = client.burst(&[(OpCode::Create, create(&client.path(), 0))]).unwrap();
        assert_eq!(created[0].err, 0);
        client
    }

    fn path(&self) -> String {
        format!("/r{}", self.number)
    }

    /// Sends all of it at once; the answers come in its order.
    fn burst(&mut self, requests: &[(OpCode, Vec<u8>)]) -> Result<Vec<Reply>> {
        let first = self.xid + 1;
        self.xid += requests.len() as i32;
        let numbered = (first..).zip(requests).map(|(xid, (op, body))| (xid, op.code(), &body[..]));
        self.connection.send_together(&numbered.collect::<Vec<_>>())?;
        let mut replies = Vec::new();
        for xid in first..=self.xid {
            let reply = self.connection.read()?;
            assert_eq!(reply.xid, xid, "client {}", self.number);
            assert!(reply.zxid >= self.zxid, "client {}: {:x} behind {:x}", self.number, reply.zxid, self.zxid);
            self.zxid = reply.zxid;
            replies.push(reply);
        }
        Ok(replies)
    }

    fn work(mut self) -> Self {
        while !self.common.is_over.load(Ordering::Relaxed) {
            if let Err(_lost) = self.write() {
                self.common.lost.lock().unwrap().push((self.number, self.member));
                self.connect_again();
            }
            self.common.bursts[self.number].fetch_add(1, Ordering::Relaxed);
        }
        self
    }

    fn write(&mut self) -> Result<()> {
        let path = self.path();
        let mut requests = Vec::new();
        for n in 0..SETS {
            let (version, data) = (self.sets + n, (self.sets + n + 1).to_string());
            let set = SetDataRequest { path: Some(path[..].into()), data: Some(data.as_bytes()), version };
            requests.push((OpCode::SetData, set.to_vec()));
            requests.push((OpCode::GetData, read(&path)));
        }
        requests.push((OpCode::Create, create(&format!("{path}/s-"), 2)));
        let replies = self.burst(&requests)?;
        for (n, pair) in (self.sets + 1..).zip(replies.chunks_exact(2)) {
            assert_eq!((pair[0].err, pair[1].err), (0, 0), "client {}: set {n}", self.number);
            let set: StatResponse = Reader::new(&pair[0].body).read().unwrap();
            let got: GetDataResponse<'_> = Reader::new(&pair[1].body).read().unwrap();
            let data = n.to_string();
            assert_eq!((set.stat.version, got.stat.version, got.data), (n, n, Some(data.as_bytes())));
        }
        assert_eq!(replies.last().map(|it| it.err), Some(0), "client {}: a child", self.number);
        self.sets += SETS;
        self.children += 1;
        Ok(())
    }

    /// Goes on at another member, and looks for what it was not told.
    fn connect_again(&mut self) {
        let until = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < until, "client {} finds no server", self.number);
            self.member = (self.member + 1) % self.addrs.len();
            let request = ConnectRequest {
                last_zxid_seen: self.zxid,
                session_id: self.session.0,
                password: Some(self.session.1.clone()),
                ..ConnectRequest::default()
            };
            let Ok((connection, response)) = Connection::connect(self.addrs[self.member], &request) else {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            assert_eq!(response.session_id, self.session.0, "client {}: its session is over", self.number);
            self.connection = connection;
            break;
        }
        let (sets, children) = self.look().unwrap_or_else(|e| panic!("client {}: {e}", self.number));
        let most = (self.sets + SETS, self.children + 1);
        assert!((self.sets..=most.0).contains(&sets) && (self.children..=most.1).contains(&children));
        (self.sets, self.children) = (sets, children);
    }

    /// How often its znode was set, and how many children it has.
    fn look(&mut self) -> Result<(i32, i32)> {
        let path = self.path();
        let sync = PathRequest { path: Some("/".into()) }.to_vec();
        let replies = self.burst(&[(OpCode::Sync, sync), (OpCode::GetChildren2, read(&path))])?;
        let response: GetChildren2Response<'_> = Reader::new(&replies[1].body).read()?;
        Ok((response.stat.version, response.children.unwrap_or_default().len() as i32))
    }
}

fn create(path: &str, flags: i32) -> Vec<u8> {
    CreateRequest { path: Some(path.into()), data: Some(b""), acl: AclVec::OPEN, flags }.to_vec()
}

fn read(path: &str) -> Vec<u8> {
    ReadRequest { path: Some(path.into()), watch: false }.to_vec()
}

/// Waits until every client has written some more.
fn go_on(common: &Common) {
    let read = || common.bursts.each_ref().map(|it| it.load(Ordering::Relaxed));
    let (before, until) = (read(), Instant::now() + LIMIT);
    while read().iter().zip(before).any(|(now, before)| *now < before + 5) {
        assert!(Instant::now() < until, "not every client went on: {before:?}, {:?}", read());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_rolling_restart_costs_clients_of_others_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), MEMBERS, 0, false).unwrap().cfg("tickTime=1000").cfg("initLimit=20");
    for id in 1..=MEMBERS {
        ensemble.start_as(id, Kind::Ostler).unwrap();
    }
    for id in 1..=MEMBERS {
        ensemble.serving(id).unwrap();
    }
    let common = Arc::new(Common::default());
    let addrs: Vec<SocketAddr> = ensemble.members().iter().map(|it| it.client).collect();
    let start = |number| {
        let client = Client::new(number, addrs.clone(), common.clone());
        std::thread::spawn(move || client.work())
    };
    let clients: Vec<JoinHandle<Client>> = (0..CLIENTS).map(start).collect();
    go_on(&common);
    let mut leaders = 0;
    // Twice, so that leaders are stopped early and late.
    for id in (1..=MEMBERS).chain(1..=MEMBERS) {
        let led = ensemble.mode(id) == "leader";
        leaders += u32::from(led);
        ensemble.stop(id).unwrap();
        let others = (1..=MEMBERS).filter(|&it| it != id);
        ensemble.until("others lead", || others.clone().any(|it| ensemble.mode(it) == "leader")).unwrap();
        go_on(&common);
        ensemble.start_as(id, Kind::Ostler).unwrap();
        ensemble.serving(id).unwrap();
        go_on(&common);
        let mut lost = std::mem::take(&mut *common.lost.lock().unwrap());
        println!("member {id} stopped, leader: {led}; lost connections: {lost:?}");
        assert!(lost.iter().all(|&(_, member)| member + 1 == usize::from(id)), "{id}, leader: {led}: {lost:?}");
        lost.sort_unstable();
        assert!(lost.is_sorted_by(|a, b| a.0 < b.0), "{id}: {lost:?}");
    }
    assert!(leaders >= 2, "{leaders}");
    common.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        let mut client = client.join().unwrap();
        for member in 0..client.addrs.len() {
            client.connection = Connection::session(client.addrs[member]).unwrap().0;
            client.zxid = 0;
            let done = (client.sets, client.children);
            assert_eq!(client.look().unwrap(), done, "client {} at member {}", client.number, member + 1);
        }
    }
}
