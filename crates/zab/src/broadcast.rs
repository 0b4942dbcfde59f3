//! The broadcast phase on the leader: zxids out, acks in, a commit point that only rises. Source: Apache `Leader`.
//!
//! A server's acks come in zxid order, so one number a server says all that it has acknowledged.

use std::collections::BTreeMap;

use wire::{ServerId, Zxid};

use crate::quorum_verifier::QuorumVerifier;

/// What a leader knows of its proposals.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Broadcast {
    me: ServerId,
    verifier: QuorumVerifier,
    /// A reconfig that is proposed: it needs both, and stops what is behind it.
    next: Option<QuorumVerifier>,
    proposed: Zxid,
    committed: Zxid,
    acked: BTreeMap<ServerId, Zxid>,
    /// An oracle stands in for the missing one of two.
    oracle: bool,
}

impl Broadcast {
    /// A leader whose history ends at `last`, all of it committed and on its own disk.
    pub fn new(me: ServerId, verifier: QuorumVerifier, last: Zxid) -> Self {
        Self {
            me,
            verifier,
            next: None,
            proposed: last,
            committed: last,
            acked: BTreeMap::from([(me, last)]),
            oracle: false,
        }
    }

    /// The zxid of the newest proposal.
    pub fn proposed(&self) -> Zxid {
        self.proposed
    }

    /// The newest zxid that a quorum has.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// A new proposal: its zxid.
    pub fn propose(&mut self) -> Zxid {
        self.proposed = self.proposed.next();
        self.proposed
    }

    /// All proposals up to `zxid` are on this server's disk. Returns how far this server may apply.
    pub fn on_logged(&mut self, zxid: Zxid) -> Zxid {
        self.on_ack(self.me, zxid)
    }

    /// `from` has all proposals up to `zxid` on its disk. Returns how far this server may apply: what is committed, and
    /// on its own disk too (ZOOKEEPER-4882).
    pub fn on_ack(&mut self, from: ServerId, zxid: Zxid) -> Zxid {
        assert!(zxid <= self.proposed, "{from} acknowledged {zxid}, beyond the last proposal {}", self.proposed);
        let acked = self.acked.entry(from).or_insert(Zxid::ZERO);
        *acked = (*acked).max(zxid);
        self.count();
        self.applicable()
    }

    /// The newest proposal is a reconfig: it is committed by a quorum of `next` and one of what it follows, and what is behind
    /// it waits until it is [activated](Self::activate).
    pub fn reconfigure(&mut self, next: QuorumVerifier) {
        self.next = Some(next);
    }

    /// `verifier` decides from here on. What waited for it may be committed now.
    pub fn activate(&mut self, verifier: QuorumVerifier) {
        self.verifier = verifier;
        self.next = None;
        self.count();
    }

    /// Does an oracle stand in for the missing one of two? See [`QuorumVerifier::contains_quorum_with`]. What waited for that may
    /// be committed now.
    pub fn set_oracle(&mut self, oracle: bool) {
        self.oracle = oracle;
        self.count();
    }

    /// The reconfig that is committed, and not activated.
    pub fn committed_reconfig(&self) -> Option<&QuorumVerifier> {
        self.next.as_ref().filter(|it| it.version() <= self.committed.0)
    }

    fn count(&mut self) {
        let limit = self.next.as_ref().map_or(Zxid(i64::MAX), |it| Zxid(it.version()));
        let within = |z: Zxid| z.min(limit);
        let mut candidates: Vec<Zxid> =
            self.acked.values().map(|&z| within(z)).filter(|&z| z > self.committed).collect();
        candidates.sort_unstable();
        let has = |server: ServerId, z: Zxid| self.acked.get(&server).is_some_and(|&acked| acked >= z);
        let decides = |verifier: &QuorumVerifier, z: Zxid| verifier.contains_quorum_with(|s| has(s, z), self.oracle);
        let next = |z: Zxid| self.next.as_ref().filter(|_| z == limit).is_none_or(|next| decides(next, z));
        if let Some(&z) = candidates.iter().rev().find(|&&z| decides(&self.verifier, z) && next(z)) {
            self.committed = z;
        }
    }

    /// Who of these has the most on its disk; of several the one with the largest id.
    pub fn most_acked(&self, of: impl Fn(ServerId) -> bool) -> Option<ServerId> {
        self.acked.iter().filter(|(id, _)| of(**id)).map(|(&id, &acked)| (acked, id)).max().map(|(_, id)| id)
    }

    /// What `server` acknowledged counts no more: it may be told to cut it. What is committed stays so.
    pub fn forget(&mut self, server: ServerId) {
        self.acked.remove(&server);
    }

    /// A leader that asks nobody, for tests that must find it.
    #[cfg(feature = "seeded-defects")]
    pub(crate) fn force(&mut self, committed: Zxid) {
        self.committed = self.committed.max(committed);
    }

    #[cfg(not(feature = "seeded-defects"))]
    #[allow(clippy::unused_self, reason = "it has the same shape where there are defects")]
    pub(crate) fn force(&mut self, _: Zxid) {}

    /// How far this server may apply.
    pub fn applicable(&self) -> Zxid {
        self.acked.get(&self.me).map_or(Zxid::ZERO, |&logged| logged.min(self.committed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_the_own_log_decides() {
        let mut b = Broadcast::new(ServerId(1), QuorumVerifier::standalone(ServerId(1)), Zxid(5));
        assert_eq!(b.propose(), Zxid(6));
        assert_eq!(b.propose(), Zxid(7));
        assert_eq!(b.applicable(), Zxid(5));
        assert_eq!(b.on_logged(Zxid(6)), Zxid(6));
        assert_eq!(b.on_logged(Zxid(7)), Zxid(7));
    }

    #[test]
    fn who_is_forgotten_has_to_acknowledge_again() {
        let voters = QuorumVerifier::of_participants([1, 2, 3].map(ServerId));
        let mut b = Broadcast::new(ServerId(1), voters, Zxid(0));
        b.propose();
        b.on_ack(ServerId(2), Zxid(1));
        b.forget(ServerId(2));
        assert_eq!((b.on_logged(Zxid(1)), b.committed()), (Zxid(0), Zxid(0)));
        assert_eq!(b.on_ack(ServerId(2), Zxid(1)), Zxid(1));
        b.forget(ServerId(2));
        assert_eq!(b.committed(), Zxid(1), "committed is committed");
    }

    #[test]
    fn a_quorum_commits_but_only_what_is_logged_here_is_applied() {
        let voters = QuorumVerifier::of_participants([1, 2, 3].map(ServerId));
        let mut b = Broadcast::new(ServerId(1), voters, Zxid(0));
        (0..3).for_each(|_| {
            b.propose();
        });
        assert_eq!(b.on_ack(ServerId(2), Zxid(3)), Zxid(0));
        assert_eq!(b.on_ack(ServerId(3), Zxid(2)), Zxid(0));
        assert_eq!(b.committed(), Zxid(2), "two of three have it");
        assert_eq!(b.on_logged(Zxid(1)), Zxid(1));
        assert_eq!(b.on_logged(Zxid(3)), Zxid(3));
    }
}
