//! One client: bursts of requests, one connection after the other.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Entry, Op, Outcome, Shared, Ttls};
use crate::raw::{ConnectRequest, Connection, Reply};
use crate::script::{Body, create, multi, path, set, watch};

/// What a client asks for; servers grant less if their bounds say so.
const SESSION_MS: i32 = 10_000;
/// How long it waits for an answer before it looks for another server.
const ANSWER_LIMIT: Duration = Duration::from_millis(1500);
/// Between two bursts: the clients are there to be right, not to fill the machine.
const PAUSE: Duration = Duration::from_millis(4);
const PING_EVERY: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(50);
/// The most requests that are sent ahead of their answers.
const BURST_MAX: u64 = 6;
/// After the last request, how long a client may look for a server that has its session.
const LAST_LIMIT: Duration = Duration::from_mins(1);

const SYNC: i32 = 9;
const SET_WATCHES: i32 = 101;
const SET_WATCHES_XID: i32 = -8;
const EVENT_XID: i32 = -1;
const PING: i32 = 11;
const PING_XID: i32 = -2;

struct Client<'a> {
    shared: &'a Shared,
    me: usize,
    random: u64,
    history: Vec<Entry>,
    session: i64,
    password: Vec<u8>,
    last_zxid: i64,
    /// The version of the shared znode that was read last.
    version: i32,
    watches: bool,
    number: i64,
    ephemerals: u64,
    xid: i32,
}

/// What a reply is waited for.
struct Sent {
    xid: i32,
    op: Option<Op>,
    began: u64,
}

/// Works until it is told to stop, then keeps its session until it may close it.
pub(super) fn run(shared: &Shared, me: usize, seed: u64) -> Vec<Entry> {
    let mut client = Client {
        shared,
        me,
        random: (seed ^ (me as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1,
        history: Vec::new(),
        session: 0,
        password: vec![0; 16],
        last_zxid: 0,
        version: 0,
        watches: false,
        number: 0,
        ephemerals: 0,
        xid: 0,
    };
    let mut server = me;
    let mut told = None;
    let mut is_counted = false;
    loop {
        let addr = shared.servers[server % shared.servers.len()];
        // Why a connection ended is of no interest: that is what the faults are for.
        let _ = client.connection(addr, &mut is_counted);
        if shared.is_closing.load(Ordering::SeqCst) {
            return client.history;
        }
        if shared.is_stopping.load(Ordering::SeqCst) {
            let since = *told.get_or_insert_with(Instant::now);
            if since.elapsed() > LAST_LIMIT && !is_counted {
                let mut failures = shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
                failures.push(format!("client {me} found no server for its session within {LAST_LIMIT:?}"));
                return client.history;
            }
        }
        server += 1;
        std::thread::sleep(RETRY);
    }
}

impl Client<'_> {
    /// One connection, until it ends.
    fn connection(&mut self, addr: SocketAddr, is_counted: &mut bool) -> Result<()> {
        let mut connection = Connection::open(addr)?;
        connection.set_limit(ANSWER_LIMIT)?;
        let request = ConnectRequest {
            last_zxid_seen: self.last_zxid,
            timeout_ms: SESSION_MS,
            session_id: self.session,
            password: Some(self.password.clone()),
            ..ConnectRequest::default()
        };
        let response = connection.handshake(&request)?;
        if response.timeout_ms <= 0 {
            self.history.push(Entry::Expired);
            (self.session, self.password, self.watches) = (0, vec![0; 16], false);
            return Ok(());
        }
        let is_new = self.session != response.session_id;
        if is_new {
            self.last_zxid = 0;
        }
        (self.session, self.password) = (response.session_id, response.password);
        self.history.push(Entry::Connected { session: self.session, is_new });
        if self.watches && !is_new {
            let body = Body::new().long(self.last_zxid).texts(&["/r"]).texts(&[]).texts(&[]).0;
            connection.send(SET_WATCHES_XID, SET_WATCHES, &body)?;
            while self.next(&mut connection)?.xid != SET_WATCHES_XID {}
        }
        while !self.shared.is_stopping.load(Ordering::SeqCst) {
            if self.shared.is_holding.load(Ordering::SeqCst) {
                self.ping(&mut connection)?;
            } else {
                self.burst(&mut connection)?;
                std::thread::sleep(PAUSE);
            }
        }
        self.wait(&mut connection, is_counted)
    }

    /// Keeps the session until it may be closed.
    fn wait(&mut self, connection: &mut Connection, is_counted: &mut bool) -> Result<()> {
        while !self.shared.is_closing.load(Ordering::SeqCst) {
            self.ping(connection)?;
            if !*is_counted {
                *is_counted = true;
                let mut sessions = self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner);
                sessions.push((self.me, self.session));
            }
        }
        self.xid += 1;
        connection.send(self.xid, -11, &[])?;
        while self.next(connection)?.xid != self.xid {}
        Ok(())
    }

    /// Says that it is there, and waits until another time.
    fn ping(&mut self, connection: &mut Connection) -> Result<()> {
        connection.send(PING_XID, PING, &[])?;
        while self.next(connection)?.xid != PING_XID {}
        std::thread::sleep(PING_EVERY);
        Ok(())
    }

    /// The next reply; events on the way are written down.
    fn next(&mut self, connection: &mut Connection) -> Result<Reply> {
        loop {
            let reply = connection.read()?;
            if reply.xid != EVENT_XID {
                if reply.zxid > 0 && reply.xid != PING_XID {
                    self.last_zxid = self.last_zxid.max(reply.zxid);
                }
                return Ok(reply);
            }
            self.watches = false;
            self.history.push(Entry::Event);
        }
    }

    /// A few requests at once, and their answers.
    fn burst(&mut self, connection: &mut Connection) -> Result<()> {
        let mut sent = VecDeque::new();
        let result = self.send_burst(connection, &mut sent).and_then(|()| {
            while let Some(first) = sent.front() {
                let reply = self.next(connection)?;
                ensure!(reply.xid == first.xid, "an answer to {} instead of {}", reply.xid, first.xid);
                if let Some(Sent { op: Some(op), began, .. }) = sent.pop_front() {
                    self.answered(op, began, &reply)?;
                }
            }
            Ok(())
        });
        let ended = self.shared.now();
        for it in sent {
            let Some(op) = it.op else { continue };
            self.history.push(Entry::Request { op, began: it.began, ended, outcome: Outcome::Unknown });
        }
        result
    }

    fn send_burst(&mut self, connection: &mut Connection, sent: &mut VecDeque<Sent>) -> Result<()> {
        for _ in 0..=self.draw(BURST_MAX) {
            let (op, body, code) = self.request();
            if let Op::Synced { of, .. } = &op {
                let xid = self.new_xid();
                sent.push_back(Sent { xid, op: None, began: 0 });
                connection.send(xid, SYNC, &path(&format!("/w/{of}")))?;
            }
            let (xid, began) = (self.new_xid(), self.shared.now());
            sent.push_back(Sent { xid, op: Some(op), began });
            connection.send(xid, code, &body)?;
        }
        Ok(())
    }

    fn request(&mut self) -> (Op, Vec<u8>, i32) {
        let of = self.draw(self.shared.acknowledged.len() as u64) as usize;
        let me = self.me;
        let kinds = if self.shared.ttls == Ttls::No { 20 } else { 22 };
        match self.draw(kinds) {
            0..=4 => {
                let number = self.new_number();
                (Op::Set(number), set(&format!("/w/{me}"), Some(number.to_string().as_bytes()), -1), 5)
            }
            5..=7 => {
                let number = self.new_number();
                let data = number.to_string();
                let change = (5, set(&format!("/m/{me}"), Some(data.as_bytes()), -1));
                let creation = (1, create(&format!("/m/{me}/{number}"), b"", 0));
                (Op::Multi(number), multi(&[change, creation]), 14)
            }
            8 => {
                self.ephemerals += 1;
                let name = format!("{me}-{}", self.ephemerals);
                let body = create(&format!("/e/{name}"), b"", 1);
                (Op::Ephemeral(name), body, 1)
            }
            9 => {
                let number = self.new_number();
                (Op::Sequential(number), create("/q/s-", format!("{me}:{number}").as_bytes(), 2), 1)
            }
            10..=11 => (Op::Compare(self.version), set("/r", Some(format!("{me}").as_bytes()), self.version), 5),
            12..=13 => {
                let floor = self.shared.acknowledged[of].load(Ordering::SeqCst);
                (Op::Synced { of, floor }, watch(&format!("/w/{of}"), false), 4)
            }
            14..=15 => (Op::ReadShared, watch("/r", true), 4),
            16..=17 => (Op::Read(me), watch(&format!("/w/{me}"), false), 4),
            20..=21 => {
                let number = self.new_number();
                let is_short = self.shared.ttls == Ttls::All && number % 2 == 0;
                let (name, ttl_ms) = ttl(me, number, is_short);
                (Op::Ttl { number, is_short }, Body::new().raw(&create(&name, b"", 5)).long(ttl_ms).0, 21)
            }
            _ => (Op::Read(of), watch(&format!("/w/{of}"), false), 4),
        }
    }

    fn answered(&mut self, op: Op, began: u64, reply: &Reply) -> Result<()> {
        let outcome = outcome(&op, reply).with_context(|| format!("{op:?} got {reply:?}"))?;
        if let Outcome::Done { value, .. } = &outcome {
            match &op {
                Op::Set(number) => self.shared.acknowledged[self.me].store(*number, Ordering::SeqCst),
                Op::ReadShared => (self.version, self.watches) = (*value as i32, true),
                Op::Compare(_) => self.version = *value as i32,
                _ => {}
            }
            if op.is_write() {
                self.shared.writes.fetch_add(1, Ordering::SeqCst);
            }
        }
        let ended = self.shared.now();
        self.history.push(Entry::Request { op, began, ended, outcome });
        Ok(())
    }

    fn new_number(&mut self) -> i64 {
        self.number += 1;
        self.number
    }

    fn new_xid(&mut self) -> i32 {
        self.xid += 1;
        self.xid
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }
}

/// The path of a znode with a TTL, and how long it lives without a change, in ms.
pub(super) fn ttl(client: usize, number: i64, is_short: bool) -> (String, i64) {
    let (kind, ttl_ms) = if is_short { ("short", 200) } else { ("long", 3_600_000) };
    (format!("/t/{kind}-{client}-{number}"), ttl_ms)
}

fn outcome(op: &Op, reply: &Reply) -> Result<Outcome> {
    let body = &reply.body;
    if reply.err != 0 {
        return Ok(Outcome::Refused(reply.err));
    }
    let int = |at: usize| Some(i32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(i64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?));
    let text = |at: usize| {
        let length = int(at)?.max(0) as usize;
        String::from_utf8(body.get(at + 4..at + 4 + length)?.to_vec()).ok()
    };
    let (mut mzxid, mut value, mut name) = (0, 0, String::new());
    match op {
        Op::Set(_) | Op::Ttl { .. } => {}
        Op::Multi(_) => {
            // An answer for each part, or an error for each.
            let first = int(0).context("a multi without answers")?;
            if first == -1 {
                let errors = (0..2).filter_map(|part| int(part * 13 + 9)).find(|it| *it != 0);
                return Ok(Outcome::Refused(errors.unwrap_or_default()));
            }
        }
        Op::Ephemeral(_) | Op::Sequential(_) => name = text(0).context("a path")?,
        // A Stat: czxid, mzxid, ctime, mtime, version.
        Op::Compare(_) => (mzxid, value) = (long(8).context("mzxid")?, int(32).context("version")?.into()),
        Op::Read(_) | Op::Synced { .. } | Op::ReadShared => {
            let data = text(0).context("data")?;
            let stat = 4 + data.len();
            mzxid = long(stat + 8).context("mzxid")?;
            value = match op {
                Op::ReadShared => int(stat + 32).context("version")?.into(),
                _ => data.parse().with_context(|| format!("{data:?} is no number"))?,
            };
        }
    }
    if reply.zxid <= 0 {
        bail!("a reply without a zxid");
    }
    Ok(Outcome::Done { zxid: reply.zxid, mzxid, value, name })
}
