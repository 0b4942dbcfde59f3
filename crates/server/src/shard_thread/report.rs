//! What a shard tells four-letter words, in pieces of a fraction of a millisecond: a hundred thousand connections, or a
//! million watches, hold up nobody. Who asks goes on where the last piece ended, when its text is on its way.

use std::net::SocketAddr;
use std::sync::Arc;

use peer::answers::LastOp;
use peer::connection::Connection;
use tokio::sync::oneshot;
use tree::watch::{PathCursor, PathsCursor, Watcher};

use super::Driver;
use crate::four_letter::{self as text, ConnectionStats, SessionOfConnection, operation_letters};

/// Connections of one piece.
const CONNECTIONS_MAX: usize = 256;
/// Slots that are looked at for one piece.
const SLOTS_MAX: usize = 4096;
/// Steps through the watch tables for one piece.
const WATCHES_MAX: usize = 2048;
/// The text of a piece is not longer than this and a line.
const TEXT_MAX: usize = 32 * 1024;

/// A piece, and where the next begins; `None`: that was all.
pub type Piece<T, C> = (T, Option<C>);

/// A connection among those that expire together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiring {
    /// When, in ms of the clock that never goes back.
    pub expires_ms: i64,
    /// Its session, or 0.
    pub session: i64,
    /// The other end.
    pub remote: SocketAddr,
}

/// A path, with those who watch it: slots and sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedPath {
    /// The path.
    pub path: Box<str>,
    /// Connections by their slots, and their sessions.
    pub watchers: Vec<(Watcher, i64)>,
}

/// A question to one shard.
#[derive(Debug)]
pub enum Query {
    /// The lines of connections, from a slot on.
    Connections {
        /// Those of `stat`, not of `cons`.
        is_brief: bool,
        /// Where to begin.
        from: u32,
        /// Where the answer goes.
        answer: oneshot::Sender<Piece<String, u32>>,
    },
    /// When connections expire, from a slot on.
    Expiring {
        /// Where to begin.
        from: u32,
        /// Where the answer goes.
        answer: oneshot::Sender<Piece<Vec<Expiring>, u32>>,
    },
    /// Set the counters of connections back, from a slot on.
    ResetConnections {
        /// Where to begin.
        from: u32,
        /// Where the answer goes.
        answer: oneshot::Sender<Piece<(), u32>>,
    },
    /// Set the counters of the shard back.
    ResetShard {
        /// Where the answer goes.
        answer: oneshot::Sender<()>,
    },
    /// Paths that are watched, and by whom. The first of a piece may be the one that the last piece ended with, again.
    WatchedPaths {
        /// Where to begin.
        from: PathCursor,
        /// Where the answer goes.
        answer: oneshot::Sender<Piece<Vec<WatchedPath>, PathCursor>>,
    },
    /// The sessions that watch these paths: for each, from the place `from` on, at most `max`, and where to go on.
    Watching {
        /// The paths.
        paths: Arc<[Box<str>]>,
        /// Where to begin in each.
        from: u32,
        /// The most of each.
        max: usize,
        /// Where the answer goes.
        answer: oneshot::Sender<Vec<Piece<Vec<i64>, u32>>>,
    },
    /// The lines of `wchc`.
    WatchedBySession {
        /// Where to begin.
        from: PathsCursor,
        /// Where the answer goes.
        answer: oneshot::Sender<Piece<String, PathsCursor>>,
    },
}

impl Driver {
    /// Answers a question. That nobody waits for the answer any more is no harm.
    pub(super) fn report(&self, query: Query) {
        match query {
            Query::Connections { is_brief, from, answer } => drop(answer.send(self.connection_lines(is_brief, from))),
            Query::Expiring { from, answer } => drop(answer.send(self.expiring(from))),
            Query::ResetConnections { from, answer } => {
                let next = self.shard.borrow_mut().reset_connections(from, SLOTS_MAX as u32);
                let _ = answer.send(((), next));
            }
            Query::ResetShard { answer } => {
                self.core.shared.shard_stats[self.number].reset();
                let _ = answer.send(());
            }
            Query::WatchedPaths { from, answer } => drop(answer.send(self.watched_paths(from))),
            Query::Watching { paths, from, max, answer } => {
                let shard = self.shard.borrow();
                let of_path = |path: &str| {
                    let (watchers, next) = shard.watches().data_watchers(path, from, max);
                    (watchers.into_iter().filter_map(|watcher| shard.session_at(watcher)).collect(), next)
                };
                let _ = answer.send(paths.iter().map(|path| of_path(path)).collect());
            }
            Query::WatchedBySession { from, answer } => {
                let shard = self.shard.borrow();
                let mut lines = String::new();
                let next = shard.watches().data_paths_of_all(from, WATCHES_MAX, |watcher, path| {
                    text::connection_of_watches(shard.session_at(watcher).unwrap_or(0), path, &mut lines);
                });
                let _ = answer.send((lines, next));
            }
        }
    }

    /// Visits connections from a slot on, until `visit` has had enough.
    fn each_connection(&self, from: u32, mut visit: impl FnMut(&Connection) -> bool) -> Option<u32> {
        let shard = self.shard.borrow();
        let (mut seen, end) = (0, from.saturating_add(SLOTS_MAX as u32));
        for slot in from..end {
            match shard.at(slot) {
                None if slot as usize >= shard.slots() => return None,
                None => {}
                Some(conn) => {
                    seen += 1;
                    if !visit(conn) || seen >= CONNECTIONS_MAX {
                        return Some(slot + 1);
                    }
                }
            }
        }
        Some(end)
    }

    fn connection_lines(&self, is_brief: bool, from: u32) -> Piece<String, u32> {
        let mut lines = String::new();
        let next = self.each_connection(from, |conn| {
            self.describe(conn).write_line(is_brief, &mut lines);
            lines.len() < TEXT_MAX
        });
        (lines, next)
    }

    fn expiring(&self, from: u32) -> Piece<Vec<Expiring>, u32> {
        let mut all = Vec::new();
        // Source: Apache `NIOServerCnxnFactory`: the sets are as far apart as a connection may be without a session.
        let apart_ms = self.handshake_timeout_ms.max(1);
        let next = self.each_connection(from, |conn| {
            let ends_ms = conn.heard_ms() + i64::from(conn.timeout_ms);
            let expires_ms = (ends_ms / apart_ms + 1) * apart_ms;
            all.push(Expiring { expires_ms, session: conn.session.0, remote: conn.peer });
            true
        });
        (all, next)
    }

    fn watched_paths(&self, from: PathCursor) -> Piece<Vec<WatchedPath>, PathCursor> {
        let shard = self.shard.borrow();
        let mut all: Vec<WatchedPath> = Vec::new();
        let next = shard.watches().data_paths(from, WATCHES_MAX, |path, watcher| {
            let Some(watcher) = watcher else {
                all.push(WatchedPath { path: path.into(), watchers: Vec::new() });
                return;
            };
            let watcher = (watcher, shard.session_at(watcher).unwrap_or(0));
            match all.last_mut() {
                Some(last) => last.watchers.push(watcher),
                None => all.push(WatchedPath { path: path.into(), watchers: vec![watcher] }),
            }
        });
        (all, next)
    }

    fn describe(&self, conn: &Connection) -> ConnectionStats {
        let answers = &conn.answers;
        let [last, min, average, max] = answers.latencies_ms();
        let session = SessionOfConnection {
            id: conn.session.0,
            last_operation: match answers.last_op {
                LastOp::Never => "null",
                LastOp::Unnamed => "NA",
                LastOp::Of(op) => operation_letters(op),
            },
            established_ms: answers.opened_wall_ms,
            timeout_ms: conn.timeout_ms.unsigned_abs(),
            last_cxid: i64::from(answers.last_cxid.0),
            last_zxid: answers.last_zxid.0,
            last_response_ms: answers.last_ms,
            latency_ms_last: last,
            latency_ms_min: min,
            latency_ms_avg: average,
            latency_ms_max: max,
        };
        let io = self.io.borrow();
        let is_word = io.get(conn.id.slot as usize).and_then(Option::as_ref).is_some_and(|io| io.is_word.get());
        let reads = u8::from(self.shard.borrow().wants_read(conn.id));
        let writes = 4 * u8::from(!conn.to_send().is_empty());
        ConnectionStats {
            remote: conn.peer,
            interest_ops: if is_word { 0 } else { reads | writes },
            queued: conn.outstanding() as i64,
            received: conn.received as i64,
            sent: conn.sent as i64,
            session: Some(session),
        }
    }
}
