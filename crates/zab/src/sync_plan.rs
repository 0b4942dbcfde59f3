//! How a leader brings a learner to its own history: DIFF, TRUNC or SNAP.
//!
//! In: the last zxid that the learner has, and the leader's history, of which the newest part is in memory
//! ([`CommittedLog`]) and more of it perhaps on the disk ([`LogPart`]). Out: a [`SyncPlan`]. The decisions are Apache's, so
//! that a learner of either kind sees what it expects:
//!
//! | the learner's last zxid P; the leader's history from `start` to `committed` | plan |
//! |---|---|
//! | `forceSnapshotSync`, or the learner has no history | SNAP |
//! | P is `committed` | DIFF without anything |
//! | P is behind `committed`, and no new epoch's 0 | TRUNC to `committed` |
//! | P is behind `committed`, and a new epoch's 0 | SNAP |
//! | P in between, and in the history, or a new epoch's 0 | DIFF |
//! | P in between, unknown, the history goes on in P's epoch before and behind it | TRUNC to the one before |
//! | P in between, unknown, anything else | SNAP |
//! | P older than `start` | the same with what the disk has from P on; SNAP if that can't be had |
//!
//! "A new epoch's 0" is a zxid with a counter of 0: a server of Apache's that led an epoch, and got no txn in it, names its
//! history so; it is the history before that epoch.
//!
//! **No gap is ever served**: what is sent begins right behind what the learner keeps, and each proposal [`follows`] the
//! one before. A part of the log on the disk counts only if whoever read it knows that nothing is missing in front of it
//! (ZOOKEEPER-2099, 2418, 2846).
//!
//! A TRUNC to `committed` may lead into an older epoch, as Apache's may. It is exact: a learner that has a txn of epoch e
//! has taken the history with which e began, and so has every later leader; whatever such a leader has committed when a
//! newer txn of e is not in its history is that very history. A TRUNC from in between may not: there, an unknown txn and
//! a history that goes on in another epoch say nothing of what the learner has before it. And a TRUNC to a counter of 0 is
//! never sent, since no log has such a txn.
//!
//! Source: Apache `LearnerHandler.syncFollower`, `queueCommittedProposals`, `TxnLogProposalIterator`.

use wire::Zxid;

use crate::committed_log::{CommittedLog, Proposal, follows};

/// What a learner is told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyncPlan {
    /// Keep what you have; here is the rest.
    Diff {
        /// The zxid in the packet: where the rest ends as far as is known now.
        to: Zxid,
        /// Proposals from right behind this one are sent.
        after: Zxid,
    },
    /// Cut your log behind this txn, which is the last that we share; here is the rest.
    Trunc {
        /// Where the learner is to cut, and behind which proposals are sent.
        to: Zxid,
    },
    /// Forget what you have; here is a snapshot, and the rest. The snapshot may not be older than `at_least`: until
    /// everything is sent, what the learner had may be all that a quorum has.
    Snap {
        /// The oldest zxid that the snapshot may have.
        at_least: Zxid,
    },
    /// What is in memory begins too late: read the log on the disk from the learner's zxid on, and ask again.
    ReadLog,
}

/// A part of the log on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogPart {
    /// The newest place of the history that is not behind the zxid from which was read: a txn's, or that of a snapshot
    /// with which the history begins. Nothing is missing between it and the first proposal: a reader that can't show that
    /// (a log older than a snapshot that came from a leader, say) gives no part at all.
    pub before: Zxid,
    /// What follows, oldest first.
    pub proposals: Vec<Proposal>,
}

impl LogPart {
    /// Does each one follow the one before?
    pub fn is_continuous(&self) -> bool {
        let mut last = self.before;
        self.proposals.iter().all(|proposal| {
            let good = follows(last, proposal.zxid);
            last = proposal.zxid;
            good
        })
    }
}

/// Decides with what is in memory. `peer` is the learner's last zxid.
pub fn plan(peer: Zxid, log: &CommittedLog, force_snapshot: bool) -> SyncPlan {
    let committed = log.committed();
    if peer < Zxid::ZERO {
        // Nobody knows what it acknowledged before it lost its state: it must not count again before it has all of it.
        return SyncPlan::Snap { at_least: committed };
    }
    let snap = SyncPlan::Snap { at_least: peer.min(committed) };
    if force_snapshot {
        return snap;
    }
    if peer == committed {
        return SyncPlan::Diff { to: peer, after: peer };
    }
    if peer > committed {
        let can_cut = !is_new_epoch(peer) && !is_new_epoch(committed);
        return if can_cut { SyncPlan::Trunc { to: committed } } else { snap };
    }
    match log.floor(peer) {
        None => SyncPlan::ReadLog,
        Some(before) => walk(peer, before, log.next_after(peer).map(|next| next.zxid), committed),
    }
}

/// Decides with what the disk had from `peer` on; `None` if it had nothing that goes without a gap.
pub fn plan_from_disk(peer: Zxid, part: Option<&LogPart>, log: &CommittedLog) -> SyncPlan {
    let committed = log.committed();
    match part {
        Some(part) if part.before <= peer && part.is_continuous() => {
            let next = part.proposals.iter().map(|proposal| proposal.zxid).find(|&zxid| zxid > part.before);
            if next.is_some_and(|next| next <= peer) {
                return SyncPlan::Snap { at_least: peer.min(committed) };
            }
            walk(peer, part.before, next, committed)
        }
        _ => SyncPlan::Snap { at_least: peer.min(committed) },
    }
}

/// `before` and `next` are neighbours in the history, `before <= peer`, `peer < next`.
fn walk(peer: Zxid, before: Zxid, next: Option<Zxid>, committed: Zxid) -> SyncPlan {
    // A history that ends at a new epoch's 0 is the one before that epoch.
    if peer == before || is_new_epoch(peer) {
        return SyncPlan::Diff { to: committed, after: before };
    }
    let in_this_epoch = |zxid: Zxid| zxid.epoch() == peer.epoch();
    if next.is_some_and(in_this_epoch) && in_this_epoch(before) && !is_new_epoch(before) {
        return SyncPlan::Trunc { to: before };
    }
    SyncPlan::Snap { at_least: peer.min(committed) }
}

/// Is it the zxid of an epoch without a txn?
fn is_new_epoch(zxid: Zxid) -> bool {
    zxid.counter() == 0
}
