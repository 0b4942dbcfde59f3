//! Clients that do all as they should, with short timeouts, while others do not.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ostler_conformance::raw::{ConnectRequest, Connection, Reply};
use ostler_conformance::script::{create, set, watch};

/// The shortest that a server with ticks of two seconds grants.
const TIMEOUT_MS: i32 = 4000;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(20);
/// Between its pings.
const PING_EVERY: Duration = Duration::from_millis(300);
/// No answer takes as long, whatever the others do.
const ANSWER_MAX: Duration = Duration::from_mins(1);

/// Good clients at work, each in a thread of its own.
#[derive(Debug)]
pub struct GoodClients {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<i32>>,
}

impl GoodClients {
    /// So many of them.
    pub fn start(addr: SocketAddr, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..count).map(|at| {
            let client = Client::new(addr, format!("/good-{at}"));
            let stop = stop.clone();
            thread::spawn(move || client.run(&stop))
        });
        Self { clients: clients.collect(), stop }
    }

    /// Ends them. Each had all its requests answered, and as they should be, in one session.
    pub fn were_served(self, meanwhile: &str) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            let sets = client.join().unwrap_or_else(|_| panic!("a good client was not served: {meanwhile}"));
            assert!(sets > 0, "{meanwhile}: a good client had no turn");
        }
    }
}

struct Client {
    reading: Connection,
    writing: Arc<Mutex<Connection>>,
    session: i64,
    path: String,
    xid: i32,
}

impl Client {
    fn new(addr: SocketAddr, path: String) -> Self {
        let request = ConnectRequest { timeout_ms: TIMEOUT_MS, ..ConnectRequest::default() };
        let (mut reading, granted) = Connection::connect(addr, &request).unwrap();
        assert_eq!(granted.timeout_ms, TIMEOUT_MS);
        reading.set_limit(ANSWER_MAX).unwrap();
        let writing = Arc::new(Mutex::new(reading.try_clone().unwrap()));
        let mut client = Self { reading, writing, session: granted.session_id, path, xid: 0 };
        assert_eq!(client.ask(1, &create(&client.path, b"", 1)).err, 0);
        client
    }

    /// The number of its sets.
    fn run(mut self, stop: &Arc<AtomicBool>) -> i32 {
        let (pings, stop_pings) = (self.writing.clone(), stop.clone());
        let pinger = thread::spawn(move || {
            while !stop_pings.load(Ordering::Relaxed) {
                // That the connection is closed is for the other thread to say.
                let _ = pings.lock().unwrap().send(-2, 11, &[]);
                thread::sleep(PING_EVERY);
            }
        });
        let mut sets = 0_i32;
        while !stop.load(Ordering::Relaxed) {
            // The expected version: nothing was done twice, or by others.
            let reply = self.ask(5, &set(&self.path, Some(&sets.to_be_bytes()), sets));
            assert_eq!(reply.err, 0, "{}, set {sets}", self.path);
            let reply = self.ask(4, &watch(&self.path, false));
            assert_eq!(reply.err, 0, "{}, get {sets}", self.path);
            assert_eq!(reply.body[4..8], sets.to_be_bytes(), "{}", self.path);
            assert_eq!(reply.body[8 + 44..][..8], self.session.to_be_bytes(), "the owner of {}", self.path);
            sets += 1;
            thread::sleep(PAUSE);
        }
        pinger.join().unwrap();
        sets
    }

    fn ask(&mut self, op: i32, body: &[u8]) -> Reply {
        self.xid += 1;
        self.writing.lock().unwrap().send(self.xid, op, body).unwrap();
        loop {
            let reply = self.reading.read().unwrap();
            if reply.xid != -2 {
                assert_eq!(reply.xid, self.xid, "{}: the replies in their order", self.path);
                return reply;
            }
        }
    }
}
