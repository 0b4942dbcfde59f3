//! Votes: what they say, which is better, which are the same.

use wire::ServerId;
use wire::Zxid;
use wire::election::{Notification, ServerState};

use crate::quorum_verifier::QuorumVerifier;

/// What is proposed: a leader, and what history it has.
///
/// Who has no vote proposes [`NOBODY`](Self::NOBODY).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// The server.
    pub leader: ServerId,
    /// The last zxid in its log; -1: it lost its state, and may not lead.
    pub zxid: Zxid,
    /// Its current epoch.
    pub peer_epoch: i64,
}

impl Proposal {
    /// Less than anybody's. Source: `FastLeaderElection.getInitId` and its like, of observers.
    pub const NOBODY: Self = Self { leader: ServerId(i64::MIN), zxid: Zxid(i64::MIN), peer_epoch: i64::MIN };

    /// Is it better than `other`? The newest epoch wins, then the longest history, then the largest id; but who weighs
    /// nothing never leads. Source: `totalOrderPredicate`.
    ///
    /// A server that can't be voted for has a vote for anybody with its history, whatever the epochs
    /// ([`knows_more_than`](crate::StateSummary::knows_more_than)): if it is to vote by a reconfig, there may be no quorum without
    /// it. In Apache it keeps its vote to itself.
    pub fn is_better_than(&self, other: &Self, verifier: &QuorumVerifier) -> bool {
        let is_nobody = other.leader == Self::NOBODY.leader && self.leader != Self::NOBODY.leader;
        let has_as_much = is_nobody && self.zxid >= other.zxid;
        verifier.weight(self.leader) != 0 && (has_as_much || self.order() > other.order())
    }

    fn order(&self) -> (i64, Zxid, ServerId) {
        (self.peer_epoch, self.zxid, self.leader)
    }
}

/// A server's vote as others keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vote {
    /// For whom.
    pub proposal: Proposal,
    /// In which round.
    pub election_epoch: i64,
    /// What its giver was doing.
    pub state: ServerState,
    /// The version of the notification that it came with; 0 where it is not to matter.
    pub version: i32,
}

impl Vote {
    /// The vote of a server that looks for a leader.
    pub fn looking(proposal: Proposal, election_epoch: i64) -> Self {
        Self { proposal, election_epoch, state: ServerState::Looking, version: 0 }
    }

    pub(crate) fn of(n: &Notification, state: ServerState) -> Self {
        let proposal = Proposal { leader: n.leader, zxid: n.zxid, peer_epoch: n.peer_epoch };
        Self { proposal, election_epoch: n.election_epoch, state, version: n.version() }
    }

    /// Does it count for the same result as `other`?
    ///
    /// While somebody looks, all must be equal. Of servers that are settled neither the round nor the zxid is compared:
    /// they may have come to the same leader in different rounds (ZOOKEEPER-1805). Nor is the epoch, if only one of both
    /// knows that it must be the established one (ZOOKEEPER-1732). Source: `Vote.equals`.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let looking = self.state == ServerState::Looking || other.state == ServerState::Looking;
        if looking {
            return self.proposal == other.proposal && self.election_epoch == other.election_epoch;
        }
        let epochs_count = (self.version > 0) == (other.version > 0);
        self.proposal.leader == other.proposal.leader
            && (!epochs_count || self.proposal.peer_epoch == other.proposal.peer_epoch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::quorum_verifier::{Groups, Rule};

    fn proposal(peer_epoch: i64, zxid: i64, leader: i64) -> Proposal {
        Proposal { leader: ServerId(leader), zxid: Zxid(zxid), peer_epoch }
    }

    #[test]
    fn epoch_then_zxid_then_id() {
        let three = QuorumVerifier::of_participants([1, 2, 3].map(ServerId));
        let ascending = [
            Proposal::NOBODY,
            proposal(0, 5, 3),
            proposal(1, -1, 3),
            proposal(1, 0, 1),
            proposal(1, 0, 2),
            proposal(1, 1, 1),
            proposal(2, 0, 1),
        ];
        for (a, lower) in ascending.iter().enumerate() {
            for (b, other) in ascending.iter().enumerate() {
                assert_eq!(other.is_better_than(lower, &three), b > a, "{lower:?} and {other:?}");
            }
        }
    }

    #[test]
    fn who_weighs_nothing_never_leads() {
        let groups = Groups::new([(1, vec![ServerId(1), ServerId(2)])], [(ServerId(2), 0)]).unwrap();
        let it = QuorumVerifier::of_participants([1, 2].map(ServerId)).with_rule(Rule::Hierarchical(groups));
        assert!(!proposal(9, 9, 2).is_better_than(&proposal(0, 0, 1), &it));
        assert!(proposal(9, 9, 1).is_better_than(&proposal(0, 0, 2), &it));
    }

    #[test]
    fn what_counts_for_the_same_result() {
        let looking = Vote::looking(proposal(1, 7, 3), 2);
        let following = |version, epoch, zxid, round| Vote {
            proposal: proposal(epoch, zxid, 3),
            election_epoch: round,
            state: ServerState::Following,
            version,
        };
        assert!(looking.agrees_with(&looking));
        assert!(looking.agrees_with(&following(2, 1, 7, 2)));
        for other in [following(2, 1, 7, 3), following(2, 1, 8, 2), following(2, 2, 7, 2)] {
            assert!(!looking.agrees_with(&other) && !other.agrees_with(&looking));
        }
        assert!(following(2, 1, 7, 2).agrees_with(&following(2, 1, 9, 5)), "neither zxid nor round");
        assert!(!following(2, 1, 7, 2).agrees_with(&following(1, 2, 7, 2)), "the epoch");
        assert!(following(2, 1, 7, 2).agrees_with(&following(0, 2, 7, 2)), "not with an old one");
        assert!(!following(0, 1, 7, 2).agrees_with(&following(0, 2, 7, 2)), "but among old ones");
    }
}
