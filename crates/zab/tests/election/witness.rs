//! What an observer above all servers knows: who voted for whom, and who said that it leads. A decision must rest on it.

use std::collections::BTreeSet;

use ostler_zab::QuorumVerifier;
use ostler_zab::election::{Decision, Proposal};
use wire::ServerId;
use wire::election::{Notification, ServerState};

/// Everything that was said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Witness {
    /// Servers that voted, while looking or after: (server, round, leader).
    votes: BTreeSet<(ServerId, i64, ServerId)>,
    /// Servers that said that they lead.
    leads: BTreeSet<ServerId>,
    /// All servers that a server follows: (server, leader).
    follows: BTreeSet<(ServerId, ServerId)>,
}

impl Witness {
    pub(super) fn heard(&mut self, from: ServerId, n: &Notification) {
        self.votes.insert((from, n.election_epoch, n.leader));
        match n.state {
            Some(ServerState::Leading) => {
                self.leads.insert(from);
                self.follows.insert((from, n.leader));
            }
            Some(ServerState::Following) => {
                self.follows.insert((from, n.leader));
            }
            _ => {}
        }
    }

    pub(super) fn votes_itself(&mut self, server: ServerId, round: i64, proposal: Proposal) {
        self.votes.insert((server, round, proposal.leader));
    }

    /// `me` decided. Why may it?
    pub(super) fn check(&self, me: ServerId, decision: &Decision, verifier: &QuorumVerifier, offers: &[Proposal]) {
        let leader = decision.leader;
        assert!(verifier.is_voter(leader), "{me} decided for {leader}, which has no vote");
        let theirs = offers.iter().filter(|it| it.leader == leader && it.zxid.0 != -1);
        assert!(theirs.count() > 0, "{me} decided for {leader}, which has no history");
        assert_eq!(decision.state == ServerState::Leading, leader == me, "{me}: {decision:?}");
        let voted = verifier.contains_quorum(|it| self.votes.contains(&(it, decision.election_epoch, leader)));
        let followed = verifier.contains_quorum(|it| self.follows.contains(&(it, leader)));
        let confirmed = leader == me || self.leads.contains(&leader);
        assert!(voted || (followed && confirmed), "{me} decided without a quorum: {decision:?}, {self:?}");
    }
}
