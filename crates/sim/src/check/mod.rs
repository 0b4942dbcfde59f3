//! What is true of a world, whoever knows it, and what may never be seen in it. Each checker is a file; the first thing that
//! is wrong ends the world.
//!
//! | checker | what may never be seen |
//! |---|---|
//! | `agreement` | two servers that deliver different txns at one place (total order, agreement, prefix consistency) |
//! | `integrity` | a txn that nobody proposed, or two with one zxid |
//! | `primary_order` | a txn out of order, or behind a gap |
//! | `primary_integrity` | an epoch that began without what is delivered of an earlier one |
//! | `leadership` | two leaders of one epoch, or one whose vote weighs nothing |
//! | `completeness` | a leader that lacks what was committed |
//! | `epochs` | epoch files that go back, or stand for a history that is not there; an ACKEPOCH before `acceptedEpoch`; an epoch that is not later than those that its leader was told of; a server that counts for one twice |
//! | `acks` | an ACK of what is not on the disk |
//! | `applied` | a txn that is applied, and not on the own disk |
//! | `committed` | a commit without a quorum of disks, or one that is lost |
//! | `recovery` | a crash after which a disk holds anything but what it was given |
//! | `reads` | a read that goes back, or shows what is not committed |
//! | `writes` | writes out of order |
//! | `syncs` | a sync that misses what was acknowledged |
//! | `queues` | a queue that is longer than its bound says |
//! | `read_only` | a server that serves reads without a leader, and has lost its state, logs, or has a role |
//! | `snapshots` | a snapshot of what is not committed |
//! | `sessions` | the writes of one connection committed in another order than they were sent |
//!
//! `backups` says when a disk may be an old copy of itself.

mod acks;
mod agreement;
mod applied;
mod backups;
mod clients;
mod committed;
mod completeness;
mod epochs;
mod integrity;
mod leadership;
mod primary_integrity;
mod primary_order;
mod queues;
mod read_only;
mod reads;
mod recovery;
mod sessions;
mod snapshots;
mod syncs;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use wire::{Epoch, Zxid};
use zab::reconfig::configuration_in;
use zab::{Options, Proposal, QuorumVerifier};

pub(crate) use self::clients::Wish;
pub(crate) use self::queues::too_long;
pub(crate) use self::recovery::Disks;
use self::sessions::Sessions;
use crate::store::history::Link;

/// Something that may never be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise was broken.
    pub checker: &'static str,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// What is true of a world.
#[derive(Debug, Clone)]
pub struct Truth {
    /// All configurations that a server has: where they are changed one by one, any of them may decide. Where a reconfig
    /// changes them, the one that was committed last.
    verifiers: Vec<QuorumVerifier>,
    /// What reconfigs that were proposed ask for.
    reconfigs: BTreeMap<Zxid, QuorumVerifier>,
    /// How many of them were committed.
    pub(crate) reconfigured: u64,
    /// The one committed history.
    committed: Vec<(Zxid, Link)>,
    /// What leaders proposed: a checksum of each.
    proposed: BTreeMap<Zxid, Link>,
    established: BTreeMap<Epoch, usize>,
    /// What each epoch begins with: the end of its initial history.
    initial: BTreeMap<Epoch, (Zxid, Link)>,
    epochs: Vec<epochs::Files>,
    pub(crate) disks: Disks,
    pub(crate) sessions: Sessions,
    /// Servers that have lost their disk.
    wiped: BTreeSet<usize>,
    /// Copies of servers' files.
    backups: BTreeMap<usize, backups::Backup>,
    /// The last zxid that was acknowledged to any client.
    pub(crate) acknowledged: Zxid,
    /// What is wrong.
    pub(crate) violation: Option<Violation>,
}

impl Truth {
    pub(crate) fn new(verifier: QuorumVerifier, servers: usize) -> Self {
        Self {
            verifiers: vec![verifier],
            reconfigs: BTreeMap::new(),
            reconfigured: 0,
            committed: Vec::new(),
            proposed: BTreeMap::new(),
            established: BTreeMap::new(),
            initial: BTreeMap::new(),
            epochs: vec![epochs::Files::default(); servers],
            disks: Disks::new(servers),
            sessions: Sessions::default(),
            wiped: BTreeSet::new(),
            backups: BTreeMap::new(),
            acknowledged: Zxid::ZERO,
            violation: None,
        }
    }

    /// A server has this configuration.
    pub(crate) fn on_configuration(&mut self, verifier: QuorumVerifier) {
        if !self.verifiers.contains(&verifier) {
            self.verifiers.push(verifier);
        }
    }

    /// A leader proposes a reconfig.
    pub(crate) fn on_reconfig_proposed(&mut self, proposal: &Proposal, options: &Options) {
        self.reconfigs.extend(configuration_in(proposal, options).map(|it| (proposal.zxid, it)));
    }

    /// The first thing that is wrong counts.
    pub(crate) fn wrong(&mut self, checker: &'static str, what: String) {
        self.violation.get_or_insert(Violation { checker, what });
    }

    /// The end of the committed history.
    pub(crate) fn end(&self) -> (Zxid, Link) {
        self.committed.last().copied().unwrap_or((Zxid::ZERO, Link::START))
    }

    /// The chain of the committed history at this zxid.
    pub(crate) fn link(&self, zxid: Zxid) -> Option<Link> {
        if zxid == Zxid::ZERO {
            return Some(Link::START);
        }
        let at = self.committed.binary_search_by_key(&zxid, |(zxid, _)| *zxid).ok()?;
        self.committed.get(at).map(|(_, link)| *link)
    }

    /// The machine gets an empty disk.
    pub(crate) fn on_wiped(&mut self, server: usize) {
        self.wiped.insert(server);
        self.backups.remove(&server);
        self.disks.wipe(server);
        self.epochs[server] = epochs::Files::default();
    }
}
