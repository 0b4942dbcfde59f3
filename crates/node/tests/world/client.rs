//! Clients that write, read and move, and check what they are told.

use std::collections::VecDeque;

use peer::session::password;
use wire::connect::{ConnectRequest, ConnectResponse};
use wire::frame::{self, ReplyHeader, RequestHeader};
use wire::request::{CreateRequest, PathRequest, SetDataRequest};
use wire::{AclVec, ErrorCode, Field, OpCode, Reader, SessionId, Xid, Zxid};

use super::{Place, World};

/// A client.
#[derive(Debug)]
pub struct Client {
    pub name: String,
    pub timeout_ms: i32,
    pub place: Option<Place>,
    pub session: SessionId,
    pub is_connected: bool,
    xid: i32,
    pub last_zxid: Zxid,
    received: Vec<u8>,
    waiting: VecDeque<(Xid, OpCode, String)>,
    /// What it was told to be done.
    pub created: Vec<String>,
    pub ephemerals: Vec<String>,
    /// The creates that it sent, with the number of the connection.
    pub sent: Vec<(usize, String)>,
    connections: usize,
    /// What may have been done.
    pub doubtful: usize,
    pub expired: usize,
    pub errors: Vec<(OpCode, ErrorCode)>,
    next: usize,
    /// It does nothing of itself any more.
    pub rests: bool,
    /// It can do with a server that only reads.
    pub may_only_read: bool,
    /// The server said that it only reads.
    pub only_reads: bool,
}

impl Client {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            timeout_ms: 4000,
            place: None,
            session: SessionId(0),
            is_connected: false,
            xid: 0,
            last_zxid: Zxid::ZERO,
            received: Vec::new(),
            waiting: VecDeque::new(),
            created: Vec::new(),
            ephemerals: Vec::new(),
            sent: Vec::new(),
            connections: 0,
            doubtful: 0,
            expired: 0,
            errors: Vec::new(),
            next: 0,
            rests: false,
            may_only_read: false,
            only_reads: false,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn lost_server(&mut self, s: usize) {
        if self.place.is_some_and(|(at, _)| at == s) {
            self.lost();
        }
    }

    fn lost(&mut self) {
        self.place = None;
        self.is_connected = false;
        self.received.clear();
        self.doubtful += self.waiting.len();
        self.waiting.clear();
    }

    fn on_bytes(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        while let Ok(Some((payload, rest))) = frame::split(&self.received, 1 << 20) {
            let (payload, rest) = (payload.to_vec(), rest.to_vec());
            self.received = rest;
            self.on_frame(&payload);
        }
    }

    fn on_frame(&mut self, payload: &[u8]) {
        let mut r = Reader::new(payload);
        if !self.is_connected {
            let response: ConnectResponse<'_> = r.read().unwrap();
            if response.timeout_ms <= 0 {
                self.expired += 1;
                self.session = SessionId(0);
                self.ephemerals.clear();
                return;
            }
            self.session = response.session;
            self.only_reads = response.read_only == Some(true);
            self.is_connected = true;
            return;
        }
        let header: ReplyHeader = r.read().unwrap();
        if header.xid == Xid::PING || header.xid == Xid(-1) {
            // An event is one of what its client has not seen yet.
            assert!(header.xid == Xid::PING || header.zxid.0 < 0 || header.zxid > self.last_zxid);
            return;
        }
        let (xid, op, path) = self.waiting.pop_front().unwrap();
        assert_eq!(xid, header.xid, "{}: replies come in the order of requests", self.name);
        assert!(header.zxid >= self.last_zxid, "{}: {} after {}", self.name, header.zxid, self.last_zxid);
        self.last_zxid = header.zxid;
        match (op, header.err) {
            (OpCode::Create, ErrorCode::OK) if path.contains("/e-") => self.ephemerals.push(path),
            (OpCode::Create, ErrorCode::OK) => self.created.push(path),
            (op, err) if err != ErrorCode::OK => self.errors.push((op, err)),
            _ => {}
        }
    }
}

impl World {
    /// Connects to a server that is up.
    pub fn connect(&mut self, c: usize, s: usize) {
        let now = self.now;
        let Some(process) = &mut self.servers[s].process else { return };
        let conn = process.shard.open(now, "10.0.0.1:1".parse().unwrap());
        let client = &mut self.clients[c];
        client.lost();
        client.connections += 1;
        client.place = Some((s, conn));
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: client.last_zxid,
            timeout_ms: client.timeout_ms,
            session: client.session,
            password: Some(&password(client.session)),
            read_only: Some(client.may_only_read),
        };
        let payload = request.to_vec();
        self.send(c, &payload);
    }

    /// Goes without a word, and does not come back.
    pub fn leave(&mut self, c: usize) {
        let client = &mut self.clients[c];
        client.session = SessionId(0);
        let place = client.place;
        client.lost();
        let Some((s, conn)) = place else { return };
        if let Some(process) = &mut self.servers[s].process {
            process.shard.closed(&process.shared, conn);
        }
    }

    fn send(&mut self, c: usize, payload: &[u8]) {
        let Some((s, conn)) = self.clients[c].place else { return };
        let now = self.now;
        let mut bytes = Vec::new();
        let start = frame::begin(&mut bytes);
        bytes.extend_from_slice(payload);
        frame::finish(&mut bytes, start);
        if let Some(process) = &mut self.servers[s].process {
            process.shard.receive(now, &process.shared, conn, &bytes);
        }
        self.submit(s);
    }

    pub fn request(&mut self, c: usize, op: OpCode, body: &[u8], path: &str) {
        let client = &mut self.clients[c];
        client.xid += 1;
        let xid = Xid(client.xid);
        client.waiting.push_back((xid, op, path.to_owned()));
        let mut payload = RequestHeader { xid, op: op.code() }.to_vec();
        payload.extend_from_slice(body);
        self.send(c, &payload);
    }

    pub fn create(&mut self, c: usize, path: &str, flags: i32) {
        if flags == 0 {
            let client = &mut self.clients[c];
            client.sent.push((client.connections, path.to_owned()));
        }
        let data = Some(path.as_bytes());
        let body = CreateRequest { path: Some(path.into()), data, acl: AclVec::OPEN, flags }.to_vec();
        self.request(c, OpCode::Create, &body, path);
    }

    pub fn sync(&mut self, c: usize) {
        self.request(c, OpCode::Sync, &PathRequest { path: Some("/".into()) }.to_vec(), "/");
    }

    pub fn exists(&mut self, c: usize, path: &str) {
        let mut body = PathRequest { path: Some(path.into()) }.to_vec();
        true.write(&mut body);
        self.request(c, OpCode::Exists, &body, path);
    }

    pub fn close_session(&mut self, c: usize) {
        self.request(c, OpCode::CloseSession, &[], "");
    }

    pub(super) fn client_step(&mut self, c: usize) {
        let client = &self.clients[c];
        if client.place.is_none() {
            if client.rests && client.session == SessionId(0) {
                return;
            }
            let s = self.rng.below(self.servers.len());
            return self.connect(c, s);
        }
        if !client.is_connected || client.rests {
            if client.is_connected && self.rng.chance(20) {
                let ping = RequestHeader { xid: Xid::PING, op: OpCode::Ping.code() }.to_vec();
                self.send(c, &ping);
            }
            return;
        }
        if client.waiting.len() >= 3 {
            return;
        }
        let name = client.name.clone();
        match self.rng.below(10) {
            0..=3 => {
                self.clients[c].next += 1;
                let path = format!("/{name}-{}", self.clients[c].next);
                self.create(c, &path, 0);
            }
            4 => {
                self.clients[c].next += 1;
                let path = format!("/e-{name}-{}", self.clients[c].next);
                self.create(c, &path, 1);
            }
            5 => {
                let body = SetDataRequest { path: Some("/".into()), data: Some(name.as_bytes()), version: -1 }.to_vec();
                self.request(c, OpCode::SetData, &body, "/");
            }
            6 => self.sync(c),
            7 if self.rng.chance(10) => {
                // It moves, and what it waits for becomes doubtful.
                let Some((s, conn)) = self.clients[c].place else { return };
                if let Some(process) = &mut self.servers[s].process {
                    process.shard.closed(&process.shared, conn);
                }
                self.clients[c].lost();
            }
            _ => self.exists(c, "/"),
        }
    }

    /// What is to be sent to clients is.
    pub(super) fn pump_clients(&mut self, s: usize) {
        let Some(process) = &mut self.servers[s].process else { return };
        let (mut dirty, mut resumed) = (Vec::new(), Vec::new());
        process.shard.take_dirty(&mut dirty);
        process.shard.take_told(usize::MAX, &mut dirty);
        process.shard.take_resumed(&mut resumed);
        for conn in dirty {
            let bytes = process.shard.to_send(conn).to_vec();
            process.shard.sent(self.now, conn, bytes.len());
            let client = self.clients.iter_mut().find(|client| client.place == Some((s, conn)));
            let closes = process.shard.wants_close(conn);
            if closes {
                process.shard.closed(&process.shared, conn);
            }
            if let Some(client) = client {
                client.on_bytes(&bytes);
                if closes {
                    client.lost();
                }
            }
        }
        if process.shard.has_submissions() {
            self.submit(s);
        }
    }
}
