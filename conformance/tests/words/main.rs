//! Four-letter words: the same conversation with Apache and with Ostler, and the texts compared line by line.
//!
//! Masked is only what must differ: ports, session ids, times and latencies, paths, and what `docs/four-letter-words.md`
//! lists. Connections, sessions and watches are told in no order: their lines are sorted.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod connections;
mod dumps;
mod metrics;
mod talking;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ostler_conformance::raw::{ConnectRequest, ConnectResponse, Connection, Reply};
use ostler_conformance::{Options, Server, apache, ostler};

/// One server, and what it was asked.
struct Side {
    name: &'static str,
    server: Box<dyn Server>,
    clients: BTreeMap<&'static str, Client>,
    /// Bytes that differ between servers, and what stands for them.
    masks: Vec<(String, String)>,
    /// Words since the last reset, and the packets of their answers.
    words: [i64; 2],
    _dir: tempfile::TempDir,
}

struct Client {
    connection: Connection,
    granted: ConnectResponse,
    xid: i32,
    /// Frames that came, the connect response among them.
    frames: i64,
}

/// Both servers, fresh, with the lines `cfg`.
fn sides(cfg: &[&str]) -> [Side; 2] {
    let start = |is_apache: bool| {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path()).cfg("tickTime=2000").cfg("admin.enableServer=false");
        let options = cfg.iter().fold(options, |options, line| options.cfg(*line));
        let server: Box<dyn Server> = if is_apache {
            Box::new(apache::Server::start(&options).unwrap())
        } else {
            Box::new(ostler::Server::start(&options).unwrap())
        };
        let name = if is_apache { "Apache" } else { "Ostler" };
        Side { name, server, clients: BTreeMap::new(), masks: Vec::new(), words: [0; 2], _dir: dir }
    };
    [start(true), start(false)]
}

/// Plays the same on both, and compares what was noted.
fn compare(cfg: &[&str], play: impl Fn(&mut Side) -> Vec<String>) {
    let mut sides = sides(cfg);
    let noted = sides.each_mut().map(&play);
    let [apache, ostler] = &noted;
    let differs: Vec<_> =
        (0..apache.len().max(ostler.len())).filter(|&at| apache.get(at) != ostler.get(at)).take(20).collect();
    let told = |at: &usize| format!("{at}\n  Apache {:?}\n  Ostler {:?}\n", apache.get(*at), ostler.get(*at));
    assert!(differs.is_empty(), "{}", differs.iter().map(told).collect::<String>());
    assert!(!apache.is_empty());
}

impl Side {
    fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// A word's answer, as it came.
    fn word(&mut self, word: &str) -> String {
        let mut stream = TcpStream::connect(self.addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(word.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let port = format!(":{}", stream.local_addr().unwrap().port());
        if word == "srst" {
            self.words = [0, 1];
        } else {
            self.words[0] += 1;
            self.words[1] += (answer.len() as i64 + 8191) / 8192;
        }
        self.mask(&answer.replace(&port, ":asking"))
    }

    /// The answer's lines, sorted.
    fn sorted(&mut self, word: &str) -> Vec<String> {
        let mut lines: Vec<String> = self.word(word).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn mask(&self, text: &str) -> String {
        self.masks.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// A client with a new session.
    fn connect(&mut self, name: &'static str) {
        self.connect_with(name, &ConnectRequest::default());
    }

    fn connect_with(&mut self, name: &'static str, request: &ConnectRequest) {
        let (connection, granted) = Connection::connect(self.addr(), request).unwrap();
        self.masks.push((format!(":{}", connection.local_addr().unwrap().port()), format!(":{name}")));
        self.masks.push((format!("{:x}", granted.session_id), format!("session-{name}")));
        self.clients.insert(name, Client { connection, granted, xid: 0, frames: 1 });
    }

    /// A request and everything up to its reply.
    fn call(&mut self, name: &str, op: i32, body: &[u8]) -> Reply {
        let client = self.clients.get_mut(name).unwrap();
        client.xid += 1;
        self.call_xid(name, None, op, body)
    }

    fn call_xid(&mut self, name: &str, xid: Option<i32>, op: i32, body: &[u8]) -> Reply {
        let client = self.clients.get_mut(name).unwrap();
        let xid = xid.unwrap_or(client.xid);
        client.connection.send(xid, op, body).unwrap();
        loop {
            let reply = client.connection.read().unwrap();
            client.frames += 1;
            if reply.xid == xid {
                return reply;
            }
        }
    }

    /// Requests of one kind, sent together.
    fn call_all(&mut self, name: &str, op: i32, bodies: &[Vec<u8>]) {
        let client = self.clients.get_mut(name).unwrap();
        for body in bodies {
            client.xid += 1;
            client.connection.send(client.xid, op, body).unwrap();
        }
        for _ in bodies {
            assert!(client.connection.read().unwrap().xid > 0);
            client.frames += 1;
        }
    }

    fn ping(&mut self, name: &str) {
        self.call_xid(name, Some(-2), 11, &[]);
    }

    /// Reads the events that come to a client, so many of them.
    fn events(&mut self, name: &str, count: usize) {
        let client = self.clients.get_mut(name).unwrap();
        for _ in 0..count {
            assert_eq!(client.connection.read().unwrap().xid, -1);
            client.frames += 1;
        }
    }

    fn close(&mut self, name: &str) {
        self.call(name, -11, &[]);
        self.clients.get_mut(name).unwrap().connection.expect_closed().unwrap();
        self.clients.remove(name);
    }

    /// Waits until the server has counted what its clients have read: Apache counts behind the write.
    fn settle(&mut self) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let cons = self.word("cons");
            let is_counted = |(name, client): (&&str, &Client)| {
                let line = cons.lines().find(|line| line.contains(&format!(":{name}["))).unwrap_or_default();
                line.contains("(queued=0,") && line.contains(&format!(",sent={},", client.frames))
            };
            let lines = cons.lines().filter(|line| !line.is_empty()).count();
            if lines == self.clients.len() + 1 && self.clients.iter().all(is_counted) {
                return;
            }
            assert!(Instant::now() < until, "{}: {cons}", self.name);
        }
    }
}

/// The number behind `key=`, and any that stand behind it, masked.
fn mask_numbers(line: &str, keys: &[&str]) -> String {
    let mut masked = line.to_owned();
    for key in keys {
        let Some(at) = masked.find(key).map(|at| at + key.len()) else { continue };
        let digits = masked[at..].chars().take_while(char::is_ascii_digit).count();
        assert!(digits > 0, "no number behind {key}: {line}");
        masked.replace_range(at..at + digits, "#");
    }
    masked
}
