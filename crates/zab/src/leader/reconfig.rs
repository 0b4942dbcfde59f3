//! A leader and its configuration: what is seen, what is activated, and who leads then. See [`crate::reconfig`].

use bytes::Bytes;
use wire::{ServerId, Zxid};

use super::{Leader, Output, Phase};
use crate::options::Defect;
use crate::quorum_verifier::QuorumVerifier;
use crate::reconfig::keeps_leader;

/// Who learns from a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Learners {
    /// All that are connected.
    pub all: usize,
    /// Followers in sync.
    pub followers: usize,
    /// Those of them that don't vote.
    pub without_vote: usize,
    /// Observers in sync.
    pub observers: usize,
    /// Syncs that wait.
    pub pending_syncs: usize,
}

impl Leader {
    /// May a reconfig to `next` be proposed? There must be no other one under way, and a quorum of `next` must be in sync
    /// already, as followers: whoever joins has connected before (Apache answers NewConfigNoQuorum otherwise).
    pub fn may_reconfig(&self, now_ms: u64, next: &QuorumVerifier) -> bool {
        let synced = self.synced(now_ms);
        self.established().is_some()
            && self.options.reconfig_enabled
            && !self.is_reconfiguring()
            && next.contains_quorum(|id| synced.contains(&id))
    }

    /// This server, and the followers that are in sync with it, with a vote or without.
    pub fn synced(&self, now_ms: u64) -> Vec<ServerId> {
        let in_sync = |it: &&super::Handler| !it.is_observer && it.is_forwarding && now_ms < it.synced_until_ms;
        let followers = self.handlers.values().filter(in_sync).filter_map(|it| it.server);
        std::iter::once(self.options.me).chain(followers).collect()
    }

    /// How many learn from this leader, and how many syncs wait.
    pub fn learners(&self) -> Learners {
        let mut it = Learners { pending_syncs: self.syncs.len(), ..Learners::default() };
        for handler in self.handlers.values().filter(|it| it.server.is_some()) {
            it.all += 1;
            match handler.is_forwarding {
                true if handler.is_observer => it.observers += 1,
                true => {
                    it.followers += 1;
                    it.without_vote += usize::from(!handler.is_voter);
                }
                false => {}
            }
        }
        it
    }

    /// Is a reconfig proposed, and not committed?
    pub fn is_reconfiguring(&self) -> bool {
        self.options.last_seen.is_some() || self.successor.is_some()
    }

    /// A reconfig is proposed.
    pub(super) fn on_reconfig(&mut self, next: QuorumVerifier) {
        assert!(
            !self.is_reconfiguring(),
            "the reconfig {:x} was proposed while another one is under way",
            next.version()
        );
        if !self.options.has(Defect::OldConfigurationGoesOn) && !self.options.has(Defect::OldConfigurationAlone) {
            self.broadcast.reconfigure(next.clone());
        }
        self.options.see(next);
        self.on_configured();
    }

    /// Who is to lead when `next` is activated: this server if it can; otherwise, of the voters, who has the most.
    /// Source: `Leader.getDesignatedLeader`.
    pub(super) fn designated(&self, next: &QuorumVerifier) -> ServerId {
        let me = self.options.me;
        if keeps_leader(&self.options.verifier, next, me) {
            return me;
        }
        // At the start of an epoch there are no proposals, and whoever has NEWLEADER has everything.
        let mut has_all = self.handlers.values().filter(|it| !it.is_observer && it.is_forwarding);
        let has_all = has_all.by_ref().filter_map(|it| it.server).filter(|&it| next.is_voter(it)).max();
        self.broadcast.most_acked(|id| id != me && next.is_voter(id)).or(has_all).unwrap_or(me)
    }

    /// `next` is committed, and `leader` is to lead.
    pub(super) fn activate(&mut self, next: QuorumVerifier, leader: ServerId) {
        if leader != self.options.me && !self.options.has(Defect::LeaderIgnoresItsRemoval) {
            self.successor = Some(leader);
        }
        self.options.activate(next.clone());
        if self.successor.is_none() && !self.options.has(Defect::LeaderIgnoresItsRemoval) {
            self.broadcast.activate(next);
        }
        self.on_configured();
    }

    /// The first leader gives a configuration that never had one a version.
    pub(super) fn name_configuration(&mut self) {
        let verifier = &self.options.verifier;
        if verifier.version() == 0 && self.options.newer().is_none() {
            let named = verifier.clone().with_version(Zxid::new(self.epoch, 0).0);
            if self.options.see(named) {
                self.on_configured();
            }
        }
    }

    /// The epoch is established, and with it what was seen.
    pub(super) fn activate_seen(&mut self) {
        if let Some(seen) = self.options.newer().cloned() {
            let leader = self.designated(&seen);
            self.activate(seen, leader);
        }
    }

    fn on_configured(&mut self) {
        for handler in self.handlers.values_mut() {
            let votes = handler.server.is_some_and(|it| self.options.is_voter(it));
            handler.is_voter = !handler.is_observer && (votes || self.options.has(Defect::NonVotersCount));
            // A follower that had no vote may have one now, for what it has acknowledged.
            if let Some(server) = handler.server.filter(|_| handler.is_voter && handler.acked.counter() != 0) {
                self.broadcast.on_ack(server, handler.acked.min(self.broadcast.proposed()));
            }
        }
        self.outputs.push_back(Output::Configured(self.options.quorums()));
    }

    pub(super) fn config_for_learners(&self) -> Bytes {
        if !self.options.reconfig_enabled {
            return self.options.config.clone();
        }
        let seen = self.options.newer().filter(|_| !matches!(self.phase, Phase::Broadcast | Phase::Relay));
        Bytes::from(seen.unwrap_or(&self.options.verifier).to_string())
    }
}
