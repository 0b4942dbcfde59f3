//! What is true of a world of whole servers, and what may never be seen in it. Each checker is a file; the first thing that is
//! wrong ends the world.
//!
//! | checker | what may never be seen |
//! |---|---|
//! | `log_order` | a log whose zxids don't ascend |
//! | `agreement` | two logs that have one txn and differ before it; servers that deliver different txns |
//! | `integrity` | two txns with one zxid |
//! | `committed` | a commit without a quorum of disks, or one that is lost |
//! | `recovery` | a disk that forgets what was durable |
//! | `applied` | a server that applies what it has not logged |
//! | `model` | a committed txn that the plainest tree can't take: two creates of one znode, an ephemeral whose session is over or that outlives it, a version that is no step, a sequential name twice |
//! | `sessions` | writes of a session committed in another order than they were sent, or with one of their connection left out |
//! | `lifetimes` | a leader that ends a session of which it has just heard, or that never ends one that is silent; a write of a session behind its end, or a server that has applied the end and gives it again |
//! | `writes` | a write that is no step behind what was acknowledged, an answer that is not its txn's |
//! | `reads` | a read that goes back, or shows anything but the committed state at its zxid |
//! | `old_reads` | a server without a leader that shows anything but one state of its own log, or goes back |
//! | `syncs` | a sync that misses what was acknowledged |
//! | `watches` | an event that nobody asked for, or twice; a reply that shows a change whose event has not come; a watch lost while its client was away |
//! | `queues` | a queue of a node or a shard that is longer than its bound says |
//! | `read_only` | a server without a leader that serves who did not ask for that, takes a write, logs, or goes on so with a role |
//! | `trees` | two servers with different trees or sessions at one zxid |
//!
//! And, in `whole::crowd`, `answers`: one that was not asked for next, or that refuses a number while there are some left.
//!
//! `history` has what the logs were given, for all of them; `backups` says when a disk may be an old copy of itself.

mod agreement;
mod applied;
mod backups;
mod committed;
mod history;
mod integrity;
mod lifetimes;
mod log_order;
mod model;
mod old_reads;
mod queues;
mod read_only;
mod reads;
mod recovery;
mod sessions;
mod syncs;
mod trees;
mod watches;
mod writes;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wire::{SessionId, Zxid};
use zab::QuorumVerifier;

use self::lifetimes::Lifetimes;
pub(super) use self::lifetimes::{Heard, Leader};
pub(super) use self::model::{Model, Znode};
use self::old_reads::OldReads;
pub(super) use self::reads::Read;
use self::sessions::Sessions;
pub(super) use self::watches::{Kind as WatchKind, Watches};
pub(super) use self::writes::Outcome;
use crate::check::Violation;

/// What is true of a world.
#[derive(Debug)]
pub(super) struct Truth {
    /// The configuration that was committed last.
    verifier: QuorumVerifier,
    /// How many reconfigs were committed.
    pub(super) reconfigured: u64,
    /// Every txn that was ever given to a log.
    txns: BTreeMap<Zxid, Bytes>,
    /// The txn before each, which is the same in every log.
    before: BTreeMap<Zxid, Zxid>,
    /// The last txn that each server's log was given.
    appended: Vec<Zxid>,
    /// The last one that is durable there.
    durable: Vec<Zxid>,
    /// Servers that have lost their disk.
    wiped: BTreeSet<usize>,
    /// Copies of servers' files.
    backups: BTreeMap<usize, backups::Backup>,
    /// Servers whose disk holds something else than was written.
    damaged: BTreeSet<usize>,
    /// The one committed history.
    committed: Vec<Zxid>,
    /// The digest of the tree at each zxid at which a server was seen.
    digests: BTreeMap<Zxid, i64>,
    pub(super) model: Model,
    pub(super) sessions: Sessions,
    pub(super) lifetimes: Lifetimes,
    old_reads: OldReads,
    /// Sessions whose end somebody has proposed.
    closing: BTreeSet<SessionId>,
    /// The last zxid that was acknowledged to any client.
    pub(super) acknowledged: Zxid,
    /// What is wrong.
    pub(super) violation: Option<Violation>,
}

impl Truth {
    pub(super) fn new(verifier: QuorumVerifier, servers: usize) -> Self {
        Self {
            verifier,
            reconfigured: 0,
            txns: BTreeMap::new(),
            before: BTreeMap::new(),
            appended: vec![Zxid::ZERO; servers],
            durable: vec![Zxid::ZERO; servers],
            wiped: BTreeSet::new(),
            backups: BTreeMap::new(),
            damaged: BTreeSet::new(),
            committed: Vec::new(),
            digests: BTreeMap::new(),
            model: Model::default(),
            sessions: Sessions::default(),
            lifetimes: Lifetimes::default(),
            old_reads: OldReads::default(),
            closing: BTreeSet::new(),
            acknowledged: Zxid::ZERO,
            violation: None,
        }
    }

    /// Before the world begins all servers have a history that ends so, and has come to this.
    pub(super) fn begin_with(&mut self, last: Zxid, model: Model) {
        self.committed.push(last);
        self.appended.fill(last);
        self.durable.fill(last);
        self.old_reads.begun = model.clone();
        self.model = model;
    }

    /// The first thing that is wrong counts.
    pub(super) fn wrong(&mut self, checker: &'static str, what: String) {
        self.violation.get_or_insert(Violation { checker, what });
    }

    /// The medium of a server's disk has changed.
    pub(super) fn on_damaged(&mut self, server: usize) {
        self.damaged.insert(server);
    }

    /// May a server refuse what its disk holds?
    pub(super) fn is_damaged(&self, server: usize) -> bool {
        self.damaged.contains(&server)
    }

    /// The end of the committed history.
    pub(super) fn end(&self) -> Zxid {
        self.committed.last().copied().unwrap_or(Zxid::ZERO)
    }

    /// A server has decided that these end, or its client has.
    pub(super) fn on_closing(&mut self, sessions: impl Iterator<Item = SessionId>) {
        self.closing.extend(sessions);
    }

    /// May a client be told that this session is over? As in Apache, from when its end is proposed; should that be lost, what hung
    /// on the session stays until it runs out of time once more.
    pub(super) fn is_closing(&self, session: SessionId) -> bool {
        self.closing.contains(&session)
    }

    /// A committed txn.
    pub(super) fn txn(&self, zxid: Zxid) -> Option<&Bytes> {
        self.committed.binary_search(&zxid).ok()?;
        self.txns.get(&zxid)
    }
}
