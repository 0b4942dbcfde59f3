//! A round: what a server does that looks for a leader. Source: Apache `FastLeaderElection.lookForLeader`.

use std::collections::{BTreeMap, BTreeSet};

use wire::election::ServerState;
use wire::{ServerId, Zxid};

use super::vote::{Proposal, Vote};
use super::{Decision, Election, Output};
use crate::options::Defect;
use crate::queues::{Queue, Visit};
use crate::quorum_verifier::{QuorumVerifier, Role};

/// What a server knows that looks for a leader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Round {
    /// For whom it is.
    pub(super) proposal: Proposal,
    /// The latest vote of each voter in this round: at most one of each.
    received: BTreeMap<ServerId, Vote>,
    /// The latest vote of each voter that follows or leads, whatever its round. Kept when a later round is joined.
    settled: BTreeMap<ServerId, Vote>,
    /// When the vote is sent again, in ms.
    pub(super) send_at: u64,
    /// How long after that it is sent once more.
    interval_ms: u64,
    /// Voters that lost their state: they propose nothing.
    lost: BTreeSet<ServerId>,
    /// The votes of those who seemed not to know this server's, and were told it since it last told everybody: they are not
    /// told again for the same vote. Two servers that disagree on who votes would answer each other for ever.
    answered: BTreeMap<ServerId, Vote>,
    /// A quorum agrees, and this is when the wait for a better proposal is over, in ms.
    pub(super) finalize_at: Option<u64>,
}

/// The zxid of a server that lost its state (ZOOKEEPER-261).
const NO_HISTORY: Zxid = Zxid(-1);

impl Round {
    /// Who voted so.
    fn supporters(&self, vote: Vote) -> BTreeSet<ServerId> {
        let all = self.received.iter().chain(&self.settled);
        all.filter(|(_, it)| vote.agrees_with(it)).map(|(&id, _)| id).collect()
    }
}

impl Election {
    /// Shows how many votes are remembered: of each voter one of each kind.
    pub(crate) fn each_queue(&self, visit: &mut Visit<'_>) {
        let voters = |it: &QuorumVerifier| it.members().filter(|it| it.role == Role::Participant).count();
        let max = voters(self.quorums.committed()) + self.quorums.newer().map_or(0, |it| voters(it));
        let of_round = self.round.as_ref();
        let received = of_round.map_or(0, |it| it.received.len());
        let settled = of_round.map_or(0, |it| it.settled.len());
        let answered = of_round.map_or(0, |it| it.answered.len());
        let lost = of_round.map_or(0, |it| it.lost.len());
        for (what, length) in [
            ("votes in a round", received),
            ("votes of settled servers", settled),
            ("votes that were answered", answered),
            ("voters without a state", lost),
            ("votes before the first round", self.heard.len()),
        ] {
            visit(Queue { what, length, max });
        }
    }

    /// Begins a round with what this server has to offer.
    pub(super) fn look(&mut self, now_ms: u64, own: Proposal) {
        if self.current.election_epoch == super::NO_ROUND {
            self.current = Vote::looking(own, super::NO_ROUND);
        }
        self.own = self.own_of(own);
        self.state = ServerState::Looking;
        self.clock = self.clock.saturating_add(1);
        let interval_ms = self.settings.notification_interval_ms_min.max(1);
        self.round = Some(Round {
            proposal: self.own,
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            lost: BTreeSet::new(),
            answered: BTreeMap::new(),
            send_at: now_ms.saturating_add(interval_ms),
            interval_ms,
            finalize_at: None,
        });
        self.vote(now_ms);
        for (from, vote) in std::mem::take(&mut self.heard) {
            if self.round.is_some() {
                self.on_vote(now_ms, from, vote);
            }
        }
    }

    /// An observer offers nothing; a server that is in no configuration (it is to join) can't be voted for.
    fn own_of(&self, own: Proposal) -> Proposal {
        let me = self.settings.me;
        let leader = if self.quorums.committed().is_voter(me) { me } else { Proposal::NOBODY.leader };
        if self.is_observer() { Proposal::NOBODY } else { Proposal { leader, ..own } }
    }

    pub(super) fn on_timeout(&mut self, now_ms: u64) {
        let Some(round) = &mut self.round else { return };
        if round.finalize_at.is_some_and(|at| at <= now_ms) {
            self.decide();
            return;
        }
        if round.send_at <= now_ms {
            let max = self.settings.notification_interval_ms_max;
            round.interval_ms = round.interval_ms.saturating_mul(2).min(max).max(1);
            round.send_at = now_ms.saturating_add(round.interval_ms);
            if !self.settings.has(Defect::VoteToldOnce) {
                self.tell_all();
            }
        }
    }

    /// A voter's vote.
    pub(super) fn on_vote(&mut self, now_ms: u64, from: ServerId, vote: Vote) {
        // Somebody to whom another configuration applies.
        if !self.quorums.is_voter(vote.proposal.leader) {
            self.join_round_of(now_ms, vote);
            return;
        }
        match vote.state {
            ServerState::Looking => self.on_looking(now_ms, from, vote),
            ServerState::Observing => {}
            ServerState::Following => {
                self.on_settled(from, vote);
            }
            ServerState::Leading => {
                // With two voters, one alone never sees a quorum. When the oracle does not grant it to this server, the
                // other one has it.
                if !self.on_settled(from, vote) && self.oracle_of_two() == Some(false) {
                    self.decide_for(vote, vote.election_epoch);
                }
            }
        }
    }

    /// A voter names somebody who has no vote here, or nobody: it has not heard of the reconfig that makes it one. Its vote
    /// does not count, but its round is joined if it is a later one: this server's own vote would be of a round that is over
    /// there, and if the reconfig can't be decided without that voter, there would never be a leader. In Apache there is none.
    fn join_round_of(&mut self, now_ms: u64, vote: Vote) {
        if self.settings.has(Defect::RoundOfNobodyIgnored) {
            return;
        }
        let has_history = self.own.zxid != NO_HISTORY && vote.proposal.zxid != NO_HISTORY;
        let own = self.own;
        let Some(round) = &mut self.round else { return };
        if vote.state == ServerState::Looking && vote.election_epoch > self.clock && has_history {
            self.clock = vote.election_epoch;
            round.received.clear();
            round.finalize_at = None;
            round.proposal = own;
            self.vote(now_ms);
        }
    }

    fn on_looking(&mut self, now_ms: u64, from: ServerId, vote: Vote) {
        // Who lost its state neither votes nor is voted for: a quorum of such servers would be a quorum of nothing.
        if self.own.zxid == NO_HISTORY {
            return;
        }
        let own = self.own;
        let verifier = self.quorums.committed();
        let Some(round) = &mut self.round else { return };
        if vote.proposal.zxid == NO_HISTORY {
            if round.lost.insert(from) {
                self.conclude(now_ms);
            }
            return;
        }
        round.lost.remove(&from);
        if vote.election_epoch < self.clock {
            return;
        }
        if vote.election_epoch > self.clock {
            self.clock = vote.election_epoch;
            round.received.clear();
            round.finalize_at = None;
            round.proposal = if vote.proposal.is_better_than(&own, verifier) { vote.proposal } else { own };
            round.received.insert(from, Vote { version: 0, ..vote });
            self.vote(now_ms);
        } else if vote.proposal.is_better_than(&round.proposal, verifier) {
            round.proposal = vote.proposal;
            round.finalize_at = None;
            round.received.insert(from, Vote { version: 0, ..vote });
            self.vote(now_ms);
        } else {
            round.received.insert(from, Vote { version: 0, ..vote });
            self.conclude(now_ms);
        }
    }

    /// A vote of a server that follows or leads. Was that all that this server needed to know?
    fn on_settled(&mut self, from: ServerId, vote: Vote) -> bool {
        if self.settings.has(Defect::SettledNotBelieved) {
            return false;
        }
        let Some(round) = &mut self.round else { return false };
        if vote.election_epoch == self.clock {
            // Without its version: in the same round only the leader is compared.
            round.received.insert(from, Vote { version: 0, ..vote });
            if self.is_led(Votes::Received, vote) {
                self.decide_for(vote, self.clock);
                return true;
            }
        }
        let Some(round) = &mut self.round else { return false };
        round.settled.insert(from, vote);
        if self.is_led(Votes::Settled, vote) {
            self.decide_for(vote, vote.election_epoch);
            return true;
        }
        false
    }

    /// Does a quorum follow this vote's leader, and does that leader say so itself? Without the second, servers would
    /// again and again elect one that has crashed. This server itself leads only by a vote of its own round.
    fn is_led(&self, votes: Votes, vote: Vote) -> bool {
        let Some(round) = &self.round else { return false };
        let votes = match votes {
            Votes::Received => &round.received,
            Votes::Settled => &round.settled,
        };
        let leader = vote.proposal.leader;
        let confirmed = if leader == self.settings.me {
            vote.election_epoch == self.clock
        } else {
            votes.get(&leader).is_some_and(|it| it.state == ServerState::Leading)
        };
        confirmed && (self.has_quorum(votes, vote) || self.is_led_without_reconfig(votes, vote))
    }

    /// A reconfig that this server has seen may be cut by a leader that has never seen it. Such a leader needs the committed
    /// configuration alone, and so does who is to follow it: waiting for a quorum of both, this server, and all that have
    /// seen the reconfig, would stay without a leader for ever. Nothing is decided by following: whether the reconfig may be cut
    /// shows when that leader compares histories. Apache waits.
    fn is_led_without_reconfig(&self, votes: &BTreeMap<ServerId, Vote>, vote: Vote) -> bool {
        let settled = |id| votes.get(&id).is_some_and(|it| it.state != ServerState::Looking && vote.agrees_with(it));
        vote.proposal.leader != self.settings.me && self.quorums.committed().contains_quorum(settled)
    }

    fn has_quorum(&self, votes: &BTreeMap<ServerId, Vote>, vote: Vote) -> bool {
        let oracle = self.oracle_of_two().unwrap_or(false);
        let agrees = |id| votes.get(&id).is_some_and(|it| vote.agrees_with(it));
        self.quorums.contain_quorum_with(agrees, oracle)
    }

    /// Must its giver be told this server's vote, which it seems not to know? It is in an earlier round; or it votes for less,
    /// and it was told so long ago that it should know, or while it still followed or led, as it said itself: who does takes
    /// no votes. When a leader dies, one of the others sees it first, and would wait a whole interval for the second one
    /// otherwise, as Apache does. True once for each vote of it.
    pub(super) fn is_behind(&mut self, from: ServerId, vote: Vote) -> bool {
        let Some(round) = &mut self.round else { return false };
        let waits = round.interval_ms > self.settings.notification_interval_ms_min || round.settled.contains_key(&from);
        let votes_for_less = round.proposal.is_better_than(&vote.proposal, self.quorums.committed());
        let is_behind =
            vote.election_epoch < self.clock || (vote.election_epoch == self.clock && waits && votes_for_less);
        is_behind && round.answered.insert(from, vote) != Some(vote)
    }

    /// Votes for the proposal, and tells everybody.
    fn vote(&mut self, now_ms: u64) {
        let me = self.settings.me;
        let vote = self.own_vote();
        if let Some(round) = &mut self.round
            && self.own.zxid != NO_HISTORY
            && self.quorums.is_voter(me)
            && self.quorums.is_voter(vote.proposal.leader)
        {
            round.received.insert(me, vote);
        }
        self.tell_all();
        self.conclude(now_ms);
    }

    fn own_vote(&self) -> Vote {
        Vote::looking(self.round.as_ref().map_or(self.own, |it| it.proposal), self.clock)
    }

    fn tell_all(&mut self) {
        if let Some(round) = &mut self.round {
            round.answered.clear();
        }
        for voter in self.quorums.voters() {
            if voter != self.settings.me {
                self.send_proposal(voter);
            }
        }
    }

    /// Another connection: what went over the last one may be lost.
    pub(super) fn forget_answer_to(&mut self, peer: ServerId) {
        if let Some(round) = &mut self.round {
            round.answered.remove(&peer);
        }
    }

    pub(super) fn send_proposal(&mut self, to: ServerId) {
        let vote = self.own_vote();
        self.send(to, ServerState::Looking, vote.proposal, vote.election_epoch);
    }

    /// Does a quorum agree with this server's proposal? Then it waits for a better one; but not if nobody is left who
    /// could have one.
    pub(super) fn conclude(&mut self, now_ms: u64) {
        let vote = self.own_vote();
        let Some(round) = &self.round else { return };
        if !self.has_quorum(&round.received, vote) {
            if let Some(round) = &mut self.round {
                round.finalize_at = None;
            }
            return;
        }
        let same = |id: &ServerId| round.received.get(id).is_some_and(|it| vote.agrees_with(it));
        let voters = self.quorums.voters();
        // Where an oracle stands in for somebody, that one may lead already, and needs a moment to say so.
        let is_whole = self.quorums.contain_quorum(|id| same(&id));
        let mut could_know_better = voters.intersection(&self.up).filter(|it| !round.lost.contains(it));
        if self.settings.early_end && is_whole && could_know_better.all(same) {
            self.decide();
        } else if let Some(round) = &mut self.round {
            round.finalize_at.get_or_insert(now_ms.saturating_add(self.settings.finalize_wait_ms));
        }
    }

    fn decide(&mut self) {
        let vote = self.own_vote();
        self.decide_for(vote, self.clock);
    }

    pub(super) fn decide_for(&mut self, vote: Vote, election_epoch: i64) {
        let leader = vote.proposal.leader;
        self.supporters = self.round.take().map_or_else(Default::default, |it| it.supporters(vote));
        self.clock = election_epoch;
        self.state = if leader == self.settings.me { ServerState::Leading } else { self.learning_state() };
        self.current = Vote { state: self.state, version: 0, election_epoch, proposal: vote.proposal };
        let decision = Decision { state: self.state, leader, proposal: vote.proposal, election_epoch };
        self.outputs.push_back(Output::Decided(decision));
    }
}

#[derive(Debug, Clone, Copy)]
enum Votes {
    Received,
    Settled,
}
