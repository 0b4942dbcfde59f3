//! The newest part of a server's history, in memory: what is committed, and behind it what is only logged or on its way.
//!
//! A leader serves DIFF from it and keeps its outstanding proposals in it; a follower keeps what it has logged until the
//! COMMIT comes. It survives a change of roles, and changes only as the log on the disk does. There is never a gap:
//! [`CommittedLog::append`] refuses one (ZOOKEEPER-4925).
//!
//! Source: Apache `ZKDatabase.committedLog`, `Leader.outstandingProposals`, `FollowerZooKeeperServer.pendingTxns`.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use wire::Zxid;

use crate::queues::{Queue, Visit};

/// A txn as it is proposed, logged and sent: its zxid, and the bytes that all servers have of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// Its place in history.
    pub zxid: Zxid,
    /// Header, body and perhaps a digest. Nobody here looks into them.
    pub txn: Bytes,
}

impl Proposal {
    /// What it counts for in a bound of bytes: its own, and what is kept beside them.
    pub fn weight(&self) -> usize {
        self.txn.len() + Self::OVERHEAD
    }

    const OVERHEAD: usize = 48;
}

/// May `next` stand right behind `last` in a history? Inside an epoch without a gap; a later epoch may begin at any counter.
pub fn follows(last: Zxid, next: Zxid) -> bool {
    if next.epoch() == last.epoch() { last.counter() != u32::MAX && next == last.next() } else { next > last }
}

/// How much of the committed history is kept. What is not committed is always kept; the pipeline bounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommittedLogLimits {
    /// `zookeeper.commitLogCount`: txns; Apache keeps at least 500.
    pub txns: usize,
    /// Bytes; beyond it the oldest ones go, and who lacks them is served from the disk.
    pub bytes: usize,
}

impl Default for CommittedLogLimits {
    fn default() -> Self {
        Self { txns: 500, bytes: 32 << 20 }
    }
}

/// A proposal that does not follow the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gap {
    /// The last zxid of the history.
    pub last: Zxid,
    /// The one that was to follow.
    pub next: Zxid,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "txn {} does not follow {}, the last one of the history", self.next, self.last)
    }
}

impl std::error::Error for Gap {}

/// The newest part of a history.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommittedLog {
    limits: CommittedLogLimits,
    /// The history ends here before the first entry; the entry that follows it in history is the first one.
    start: Zxid,
    entries: VecDeque<Proposal>,
    bytes: usize,
    committed: Zxid,
}

impl CommittedLog {
    /// Nothing in memory of a history that ends at `last` and is committed so far as anybody here knows.
    pub fn new(limits: CommittedLogLimits, last: Zxid) -> Self {
        Self { limits, start: last, entries: VecDeque::new(), bytes: 0, committed: last }
    }

    /// The same history, of which so much is kept from now on.
    pub fn with_limits(mut self, limits: CommittedLogLimits) -> Self {
        self.limits = limits;
        self.evict();
        self
    }

    /// Where the history ends before the first entry. Everything behind it is here.
    pub fn start(&self) -> Zxid {
        self.start
    }

    /// The end of the history: the last entry, or [`start`](Self::start).
    pub fn last(&self) -> Zxid {
        self.entries.back().map_or(self.start, |entry| entry.zxid)
    }

    /// The last committed zxid.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is none there?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all entries, as [`Proposal::weight`] counts them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A proposal behind all others.
    pub fn append(&mut self, proposal: Proposal) -> Result<(), Gap> {
        let last = self.last();
        if !follows(last, proposal.zxid) {
            return Err(Gap { last, next: proposal.zxid });
        }
        self.bytes += proposal.weight();
        self.entries.push_back(proposal);
        Ok(())
    }

    /// Everything up to `zxid` is committed. `zxid` is that of an entry, or was committed before.
    pub fn commit(&mut self, zxid: Zxid) {
        assert!(zxid <= self.last(), "txn {zxid} can't be committed: the history ends at {}", self.last());
        if zxid <= self.committed {
            return;
        }
        self.committed = zxid;
        self.evict();
    }

    fn evict(&mut self) {
        while self.entries.len() > self.limits.txns || self.bytes > self.limits.bytes {
            let Some(first) = self.entries.pop_front_if(|first| first.zxid <= self.committed) else { break };
            self.bytes -= first.weight();
            self.start = first.zxid;
        }
    }

    /// Shows how much of what is committed is kept.
    pub(crate) fn each_queue(&self, visit: &mut Visit<'_>) {
        let length = self.entries.partition_point(|it| it.zxid <= self.committed);
        visit(Queue { what: "committed txns in memory", length, max: self.limits.txns });
    }

    /// The entries behind `zxid`, oldest first. `None` if `zxid` is older than what is kept.
    pub fn after(&self, zxid: Zxid) -> Option<impl Iterator<Item = &Proposal>> {
        (zxid >= self.start).then(|| self.entries.range(self.entries.partition_point(|entry| entry.zxid <= zxid)..))
    }

    /// The entry right behind `zxid`, if one is kept.
    pub fn next_after(&self, zxid: Zxid) -> Option<&Proposal> {
        self.after(zxid)?.next()
    }

    /// The newest place of the history that is not behind `zxid`: an entry's, or [`start`](Self::start). `None` if `zxid`
    /// is older than what is kept.
    pub fn floor(&self, zxid: Zxid) -> Option<Zxid> {
        if zxid < self.start {
            return None;
        }
        let at = self.entries.partition_point(|entry| entry.zxid <= zxid);
        Some(at.checked_sub(1).map_or(self.start, |at| self.entries[at].zxid))
    }

    /// The log was truncated: the history ends at `zxid`.
    pub fn truncate(&mut self, zxid: Zxid) {
        while let Some(last) = self.entries.pop_back_if(|last| last.zxid > zxid) {
            self.bytes -= last.weight();
        }
        self.start = self.start.min(zxid);
        self.committed = self.committed.min(zxid);
    }

    /// The history was replaced by a snapshot at `zxid`.
    pub fn reset(&mut self, zxid: Zxid) {
        *self = Self::new(self.limits, zxid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn z(epoch: i32, counter: u32) -> Zxid {
        Zxid::new(wire::Epoch(epoch), counter)
    }

    fn p(zxid: Zxid) -> Proposal {
        Proposal { zxid, txn: Bytes::from_static(b"txn") }
    }

    fn log(zxids: &[Zxid]) -> CommittedLog {
        let mut log = CommittedLog::new(CommittedLogLimits { txns: 3, bytes: 1 << 20 }, z(1, 1));
        for &zxid in zxids {
            log.append(p(zxid)).unwrap();
        }
        log
    }

    #[test]
    fn what_may_follow() {
        assert!(follows(z(1, 1), z(1, 2)) && follows(z(1, 7), z(3, 1)) && follows(z(1, 7), z(3, 5)));
        assert!(!follows(z(1, 1), z(1, 3)) && !follows(z(1, 2), z(1, 2)) && !follows(z(2, 1), z(1, 2)));
        assert!(!follows(z(1, u32::MAX), z(2, 0).next().min(z(1, u32::MAX))), "the counter does not run over");
        assert!(follows(Zxid(-1), z(0, 1)) && follows(Zxid::ZERO, z(1, 1)));
    }

    #[test]
    fn a_gap_is_refused() {
        let mut log = log(&[z(1, 2)]);
        assert_eq!(log.append(p(z(1, 4))), Err(Gap { last: z(1, 2), next: z(1, 4) }));
        assert_eq!(log.append(p(z(1, 2))), Err(Gap { last: z(1, 2), next: z(1, 2) }));
        assert_eq!((log.len(), log.last()), (1, z(1, 2)));
    }

    #[test]
    fn only_what_is_committed_goes() {
        let mut log = log(&[z(1, 2), z(1, 3), z(2, 1), z(2, 2), z(2, 3)]);
        assert_eq!((log.len(), log.start()), (5, z(1, 1)));
        log.commit(z(1, 2));
        assert_eq!((log.len(), log.start()), (4, z(1, 2)), "more than three, but not committed");
        log.commit(z(2, 3));
        assert_eq!((log.len(), log.start(), log.committed()), (3, z(1, 3), z(2, 3)));
        assert_eq!(log.bytes(), 3 * p(z(1, 1)).weight());
        assert!(log.after(z(1, 2)).is_none());
        assert_eq!(log.after(z(1, 3)).unwrap().count(), 3);
        assert_eq!(log.after(z(2, 0)).unwrap().count(), 3);
        assert_eq!(log.next_after(z(2, 1)).unwrap().zxid, z(2, 2));
        assert_eq!((log.floor(z(2, 0)), log.floor(z(2, 9)), log.floor(z(1, 2))), (Some(z(1, 3)), Some(z(2, 3)), None));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut log = CommittedLog::new(CommittedLogLimits { txns: 500, bytes: 120 }, z(1, 0));
        for n in 1..9 {
            log.append(p(z(1, n))).unwrap();
            log.commit(z(1, n));
            assert!(log.bytes() <= 120);
        }
        assert_eq!((log.start(), log.last()), (z(1, 6), z(1, 8)));
    }

    #[test]
    fn truncated_and_replaced() {
        let mut log = log(&[z(1, 2), z(1, 3), z(2, 1)]);
        log.commit(z(1, 3));
        log.truncate(z(1, 2));
        assert_eq!((log.last(), log.committed(), log.len()), (z(1, 2), z(1, 2), 1));
        log.append(p(z(3, 1))).unwrap();
        log.truncate(z(1, 0));
        assert_eq!((log.start(), log.last(), log.committed(), log.bytes()), (z(1, 0), z(1, 0), z(1, 0), 0));
        log.reset(z(4, 4));
        assert_eq!((log.start(), log.last(), log.committed()), (z(4, 4), z(4, 4), z(4, 4)));
    }
}
