//! Clients of an ensemble that write down what they asked for and were told, and what must hold of it.
//!
//! Client `c` writes numbers that only grow: as data of `/w/c`; in multis as data of `/m/c` and the name of a child; into
//! the data of sequential znodes below `/q`. It has ephemerals below `/e`. All compare and set one znode, `/r`, which they
//! watch. They read their own and each other's, and sync. When a connection ends, the next server in the list is asked for
//! the same session, with the last zxid seen and the watches; when the session has expired, for a new one.
//!
//! * [`Clients`] runs them; [`check()`] looks at their histories alone, [`check_left`] at them and what the servers have left.
//! * Times are drawn from one counter, so that "it was answered before the other was asked" means something.

mod check;
mod client;
mod left;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow, ensure};

pub use check::{Tally, check};
pub use left::{Left, Znode, check_left};

use crate::raw::Connection;
use crate::script::create;

/// What a client did or was told, in the order in which it knew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A server has granted a session on a new connection, and has the watches of the last one if it is the same session.
    Connected {
        /// Its id.
        session: i64,
        /// Is it another one than before?
        is_new: bool,
    },
    /// The session of before had expired.
    Expired,
    /// The watch of the shared znode has fired.
    Event,
    /// A request.
    Request {
        /// What was asked for.
        op: Op,
        /// When it was sent, in the common order.
        began: u64,
        /// When the outcome was known.
        ended: u64,
        /// The outcome.
        outcome: Outcome,
    },
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// This number becomes the data of the client's own znode.
    Set(i64),
    /// The same and the creation of a child, in one txn.
    Multi(i64),
    /// The creation of an ephemeral with this name.
    Ephemeral(String),
    /// The creation of a sequential znode with this number in its data.
    Sequential(i64),
    /// The creation of a znode with this number in its name that ends after a while, or, if not `is_short`, outlives the test.
    Ttl {
        /// The number.
        number: i64,
        /// Is it over soon?
        is_short: bool,
    },
    /// Sets the shared znode if it has this version.
    Compare(i32),
    /// Reads the znode of this client.
    Read(usize),
    /// Reads the shared znode and watches it.
    ReadShared,
    /// The read of this client's znode behind a sync, which was sent when that client had this number acknowledged.
    Synced {
        /// Which client.
        of: usize,
        /// The number.
        floor: i64,
    },
}

impl Op {
    /// Does it make a txn?
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Read(_) | Self::ReadShared | Self::Synced { .. })
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done {
        /// Of the reply.
        zxid: i64,
        /// Of what was read.
        mzxid: i64,
        /// The number that was read; the version that was made or read.
        value: i64,
        /// The name of a sequential znode.
        name: String,
    },
    /// An error code.
    Refused(i32),
    /// The connection ended before an answer.
    Unknown,
}

/// Which znodes with a TTL clients make; the servers must have `extendedTypesEnabled=true`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttls {
    /// None.
    No,
    /// Such as outlive the test: nobody but the clients writes.
    Long,
    /// Some that are over soon, too: the leader removes them.
    All,
}

/// What clients have in common.
#[derive(Debug)]
struct Shared {
    ttls: Ttls,
    servers: Vec<SocketAddr>,
    is_stopping: AtomicBool,
    is_holding: AtomicBool,
    /// May they close their sessions?
    is_closing: AtomicBool,
    clock: AtomicU64,
    /// How many writes were acknowledged.
    writes: AtomicU64,
    /// The last number of each client's own znode that was acknowledged.
    acknowledged: Vec<AtomicI64>,
    /// Sessions that wait for the end, by client.
    sessions: Mutex<Vec<(usize, i64)>>,
    failures: Mutex<Vec<String>>,
}

impl Shared {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

/// Running clients.
#[derive(Debug)]
pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Entry>>>,
}

impl Clients {
    /// Makes their znodes, and starts so many; each begins at another of the servers.
    pub fn start(servers: Vec<SocketAddr>, clients: usize, seed: u64) -> Result<Self> {
        Self::with_ttls(servers, clients, seed, Ttls::No)
    }

    /// The same; they make znodes with TTLs, too.
    pub fn with_ttls(servers: Vec<SocketAddr>, clients: usize, seed: u64, ttls: Ttls) -> Result<Self> {
        let first = servers.first().ok_or_else(|| anyhow!("clients need servers"))?;
        let (mut connection, _) = Connection::session(*first)?;
        let mut paths: Vec<(String, &str)> = ["/w", "/m", "/q", "/e"].map(|it| (it.to_owned(), "")).into();
        paths.push(("/r".to_owned(), "0"));
        paths.push(("/t".to_owned(), ""));
        for client in 0..clients {
            paths.extend([(format!("/w/{client}"), "0"), (format!("/m/{client}"), "0")]);
        }
        for (xid, (path, data)) in (1..).zip(&paths) {
            let reply = connection.call(xid, 1, &create(path, data.as_bytes(), 0))?;
            ensure!(reply.err == 0, "{path} can't be created: error {}", reply.err);
        }
        connection.call(-11, -11, &[])?;
        let shared = Arc::new(Shared {
            ttls,
            servers,
            is_stopping: AtomicBool::new(false),
            is_holding: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            clock: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            acknowledged: (0..clients).map(|_| AtomicI64::new(0)).collect(),
            sessions: Mutex::default(),
            failures: Mutex::default(),
        });
        let spawn = |client| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || client::run(&shared, client, seed))
        };
        Ok(Self { threads: (0..clients).map(spawn).collect(), shared })
    }

    /// How many writes were acknowledged so far.
    pub fn writes(&self) -> u64 {
        self.shared.writes.load(Ordering::SeqCst)
    }

    /// No requests for a while, but for pings and new connections of the same sessions.
    pub fn hold(&self, hold: bool) {
        self.shared.is_holding.store(hold, Ordering::SeqCst);
    }

    /// No more requests; the clients wait with the sessions that they have. All of those, once each client has one.
    pub fn pause(&self) -> Result<Option<Vec<i64>>> {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        let failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(failures.is_empty(), "{}", failures.join("; "));
        let sessions = self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let all = sessions.len() == self.threads.len();
        Ok(all.then(|| sessions.iter().map(|it| it.1).collect()))
    }

    /// The sessions are closed; what the clients know.
    pub fn finish(self) -> Result<Vec<Vec<Entry>>> {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        self.shared.is_closing.store(true, Ordering::SeqCst);
        let joined = self.threads.into_iter().map(|it| it.join().map_err(|_| anyhow!("a client panicked")));
        joined.collect()
    }
}
