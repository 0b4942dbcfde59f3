//! A follower that serves observers, so that the leader need not: an *observer master*.
//!
//! It has of a leader what has to do with learners: who they are, what they lack, and everything that is committed since, as
//! INFORM. The history is that of the follower; what is committed, its own leader says. It proposes nothing and counts
//! nobody, and there is no quorum that it could lose: it ends with the follower's role.
//!
//! What observers ask for ([`Output::Request`], syncs among it, and [`Output::Revalidate`]) goes on to the leader, and what
//! that answers comes back here ([`Leader::relay_synced`], [`Input::Revalidated`](super::Input::Revalidated)).
//!
//! An observer may come from another follower, or from the leader, and have heard of txns of this epoch that are not known
//! here to be committed. Apache tells it to cut them; ours closes the connection, since what its clients have read must not
//! vanish: it tries again, or somewhere else, and a moment later they are known here.
//!
//! Source: Apache `ObserverMaster`, `LearnerHandler`.

use std::collections::{BTreeMap, VecDeque};

use wire::quorum::Packet;
use wire::{Epoch, ServerId, Zxid};

use super::{CloseReason, ConnId, Leader, Phase, broadcast};
use crate::broadcast::Broadcast;
use crate::committed_log::{CommittedLog, CommittedLogLimits, Proposal};
use crate::durable::{Logged, Tokens};
use crate::options::Options;
use crate::state_summary::StateSummary;

impl Leader {
    /// Of a follower that serves clients in `epoch`, with its history. `role` is the follower's.
    pub(crate) fn relay(options: Options, log: CommittedLog, epoch: Epoch, role: u64, now_ms: u64) -> Self {
        let limits = CommittedLogLimits { bytes: options.observer_log_bytes_max, ..options.committed_log };
        let last = log.last();
        Self {
            tokens: Tokens::new(role),
            accepted: epoch,
            summary: StateSummary { current: epoch, last },
            logged: Logged::up_to(last),
            phase: Phase::Relay,
            epoch,
            deadline_ms: u64::MAX,
            handlers: BTreeMap::new(),
            anonymous: -1,
            broadcast: Broadcast::new(options.me, options.verifier.clone(), last),
            applied: last,
            oldest_unlogged: None,
            syncs: broadcast::Syncs::default(),
            left_with: BTreeMap::new(),
            next_ping_ms: now_ms + (options.tick_ms / 2).max(1),
            successor: None,
            is_full_tick: false,
            oracle: false,
            outputs: VecDeque::new(),
            options,
            log: log.with_limits(limits),
        }
    }

    /// The follower got this proposal, behind all others.
    pub(crate) fn relay_proposal(&mut self, proposal: Proposal) {
        // The follower has looked whether it follows.
        if let Err(gap) = self.log.append(proposal) {
            unreachable!("{gap}");
        }
    }

    /// It is committed; if it is a reconfig, this server is to lead then.
    pub(crate) fn relay_commit(&mut self, now_ms: u64, zxid: Zxid, leader: Option<ServerId>) {
        self.tell_commits(now_ms, self.log.committed(), zxid, leader);
    }

    /// The leader's answer to an observer's sync. What was committed before is in its queue already.
    pub(crate) fn relay_synced(&mut self, now_ms: u64, conn: ConnId) {
        self.push(now_ms, conn, Packet::Sync { zxid: Zxid::ZERO });
    }

    /// More of its questions wait for the leader's answers than may.
    pub(crate) fn refuse_relay(&mut self, now_ms: u64, conn: ConnId) {
        self.close(now_ms, conn, CloseReason::TooManySyncs);
    }

    /// The follower has other configurations now.
    pub(crate) fn relay_options(&mut self, options: Options) {
        self.options = options;
    }

    /// Every half tick: PINGs.
    pub(super) fn on_relay_timer(&mut self, now_ms: u64) {
        if now_ms >= self.next_ping_ms {
            self.next_ping_ms = now_ms + (self.options.tick_ms / 2).max(1);
            self.begin_round(now_ms);
        }
    }

    /// An observer of the same epoch that knows more.
    pub(super) fn is_ahead_of_follower(&self, theirs: Zxid) -> Option<CloseReason> {
        let ours = self.log.committed();
        let is_ahead = self.phase == Phase::Relay && theirs.epoch() == self.epoch && theirs > ours;
        // An epoch's 0 is no txn.
        (is_ahead && theirs.counter() != 0).then_some(CloseReason::AheadOfFollower { theirs, ours })
    }
}
