//! Discovery: a new epoch, and the certainty that nobody in a quorum knows more than this leader.

use std::collections::BTreeSet;

use wire::quorum::{LearnerInfo, PROTOCOL_VERSION, Packet};
use wire::{Epoch, ServerId, Zxid};

use super::handler::Stage;
use super::{CloseReason, ConnId, Leader, LeaderOver, Output, Phase};
use crate::broadcast::Broadcast;
use crate::durable::{Command, CurrentEpochWrite, Done, EpochIsAccepted, HistoryIsDurable};
use crate::options::Defect;
use crate::state_summary::StateSummary;

impl Leader {
    /// FOLLOWERINFO or OBSERVERINFO.
    pub(super) fn on_info(&mut self, now_ms: u64, conn: ConnId, is_observer: bool, accepted: Epoch, info: LearnerInfo) {
        if info.protocol_version.is_none_or(|version| version < PROTOCOL_VERSION) {
            return self.close(now_ms, conn, CloseReason::OldProtocol(info.protocol_version));
        }
        let ours = self.options.committed_version();
        if let Some(theirs) = info.config_version.filter(|&theirs| theirs > ours) {
            return self.close(now_ms, conn, CloseReason::LaterConfig { theirs, ours });
        }
        if !is_observer && self.phase == Phase::Relay {
            return self.close(now_ms, conn, CloseReason::NoObserver);
        }
        if accepted < Epoch(0) || accepted.0 == i32::MAX {
            return self.close(now_ms, conn, CloseReason::BadEpoch(accepted));
        }
        let server = info.server.unwrap_or_else(|| {
            self.anonymous -= 1;
            ServerId(self.anonymous + 1)
        });
        if server == self.options.me {
            return self.close(now_ms, conn, CloseReason::SameServer);
        }
        let before = self.handlers.iter().find(|(_, handler)| handler.server == Some(server)).map(|(&conn, _)| conn);
        if let Some(before) = before {
            self.close(now_ms, before, CloseReason::Replaced);
        }
        if !self.options.is_member(server) && self.strangers() >= self.options.strangers_max {
            return self.close(now_ms, conn, CloseReason::TooMany);
        }
        let is_voter = !is_observer && (self.options.is_voter(server) || self.options.has(Defect::NonVotersCount));
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        handler.server = Some(server);
        handler.is_observer = is_observer;
        handler.is_voter = is_voter;
        handler.stage = Stage::AwaitEpoch;
        // Waiting is bounded by the phase.
        handler.read_deadline_ms = u64::MAX;
        match self.phase {
            Phase::Discovery { .. } => self.on_accepted_epoch(now_ms, server, accepted),
            Phase::AcceptingEpoch { .. } | Phase::Over => {}
            _ => self.send_leader_info(now_ms, conn),
        }
    }

    /// `server` accepted `accepted`: the new epoch is later. With a quorum of voters it is fixed.
    ///
    /// Apache's rises for anybody. Ours does so for members, observers among them: there are 2^31 epochs, and whoever could say
    /// that it has accepted the last but one would use them all up.
    pub(super) fn on_accepted_epoch(&mut self, now_ms: u64, server: ServerId, accepted: Epoch) {
        let is_own = server == self.options.me;
        if !is_own && !self.options.is_member(server) {
            return;
        }
        let Some(next) = accepted.0.checked_add(1) else { return self.over(LeaderOver::EpochsUsedUp) };
        if is_own || !self.options.has(Defect::EpochOfItsOwn) {
            self.epoch = self.epoch.max(Epoch(next));
        }
        let is_voter = self.options.is_voter(server);
        let alone = self.options.has(Defect::EpochWithoutQuorum);
        let oracle = self.oracle_stands_in();
        let Phase::Discovery { heard } = &mut self.phase else { return };
        if is_voter {
            heard.insert(server);
        }
        if heard.contains(&self.options.me) && (alone || self.options.is_quorum(|it| heard.contains(&it), oracle)) {
            let token = self.tokens.next();
            self.outputs.push_back(Output::Disk(Command::WriteAcceptedEpoch { token, epoch: self.epoch }));
            self.enter(now_ms, Phase::AcceptingEpoch { token });
        }
    }

    /// One of those who elected this server looks for a leader again. Source: `Leader.reportLookingSid`.
    pub(super) fn on_voter_looks(&mut self, now_ms: u64) {
        let Some(max_ms) = self.options.epoch_wait_ms_max else { return };
        let since_ms = self.deadline_ms.saturating_sub(self.options.init_limit_ms());
        if matches!(self.phase, Phase::Discovery { .. }) && now_ms.saturating_sub(since_ms) > max_ms {
            self.over(LeaderOver::VotersLookElsewhere);
        }
    }

    pub(super) fn on_done(&mut self, now_ms: u64, done: Done) {
        match &mut self.phase {
            Phase::AcceptingEpoch { token } => {
                if let Some(accepted) = EpochIsAccepted::done(done, *token, self.epoch) {
                    self.on_epoch_accepted(now_ms, accepted);
                }
            }
            Phase::Synchronization { write, acked } if write.is_some_and(|write| write.done(done).is_some()) => {
                *write = None;
                acked.insert(self.options.me);
                self.try_to_establish(now_ms);
            }
            _ => {}
        }
    }

    /// `acceptedEpoch` is written here: the others may know of the epoch.
    fn on_epoch_accepted(&mut self, now_ms: u64, accepted: EpochIsAccepted) {
        self.accepted = accepted.epoch();
        self.enter(now_ms, Phase::EpochAcks { acked: BTreeSet::from([self.options.me]) });
        for conn in self.in_stage(&Stage::AwaitEpoch) {
            self.send_leader_info(now_ms, conn);
        }
        self.try_to_synchronize(now_ms);
    }

    /// The epoch. A learner that has accepted a later one leaves, and says so itself.
    fn send_leader_info(&mut self, now_ms: u64, conn: ConnId) {
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        handler.stage = Stage::ExpectAckEpoch;
        handler.read_deadline_ms = now_ms + self.options.init_limit_ms();
        let zxid = Zxid::new(self.epoch, 0);
        self.push(now_ms, conn, Packet::LeaderInfo { zxid, protocol_version: PROTOCOL_VERSION });
    }

    pub(super) fn on_ack_epoch(&mut self, now_ms: u64, conn: ConnId, summary: StateSummary) {
        let has_epoch = summary.current != StateSummary::NO_EPOCH;
        let counts = has_epoch && summary.last != StateSummary::NO_HISTORY || self.options.has(Defect::LostStateCounts);
        let compare = !self.options.has(Defect::SummariesNotCompared);
        if let Some(why) = self.is_ahead_of_follower(summary.last) {
            return self.close(now_ms, conn, why);
        }
        self.compare_with_acks(conn, summary.last);
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        let Phase::EpochAcks { acked } = &mut self.phase else {
            // The epoch has its quorum; whatever this one has beyond the history is not committed, and will be cut.
            return self.begin_sync(now_ms, conn, summary.last);
        };
        if has_epoch && summary.knows_more_than(&self.summary) && compare {
            let ours = self.summary;
            return self.close(now_ms, conn, CloseReason::Ahead { theirs: summary, ours });
        }
        handler.stage = Stage::AwaitEpochAcks { last: summary.last };
        handler.read_deadline_ms = u64::MAX;
        // Who votes by a reconfig that it has not heard of observes, and counts here all the same: it has promised the epoch,
        // and shown what it knows. That it has this leader's history is not counted: Apache's observers say so before it is on the disk.
        if counts
            && let Some(server) = handler.server
            && (handler.is_voter || self.options.is_voter(server))
        {
            acked.insert(server);
        }
        self.try_to_synchronize(now_ms);
    }

    /// Has it all that it had acknowledged by its last connection? A disk that has it has it for good.
    fn compare_with_acks(&mut self, conn: ConnId, has: Zxid) {
        let Some(server) = self.handlers.get(&conn).and_then(|it| it.server) else { return };
        let Some(acknowledged) = self.left_with.remove(&server) else { return };
        if has < acknowledged {
            self.outputs.push_back(Output::Forgot { server, acknowledged, has });
        }
    }

    /// A quorum accepted the epoch and knows no more: this history it is.
    pub(super) fn try_to_synchronize(&mut self, now_ms: u64) {
        let Phase::EpochAcks { acked } = &self.phase else { return };
        if !self.options.is_quorum(|it| acked.contains(&it), self.oracle_stands_in()) {
            return;
        }
        let last = self.log.last();
        let Some(history) = HistoryIsDurable::new(self.logged, last) else { return };
        let early = if self.options.has(Defect::EpochAcksEstablish) { acked.clone() } else { BTreeSet::new() };
        let (write, command) = CurrentEpochWrite::begin(history, self.tokens.next(), self.epoch);
        self.outputs.push_back(Output::Disk(command));
        self.name_configuration();
        // The first zxid is behind everything that there was, and everybody has what was before.
        let first = Zxid::new(self.epoch, self.options.initial_counter);
        self.broadcast = Broadcast::new(self.options.me, self.options.verifier.clone(), first);
        self.enter(now_ms, Phase::Synchronization { write: Some(write), acked: early });
        let waiting = self.handlers.iter().filter_map(|(&conn, handler)| match handler.stage {
            Stage::AwaitEpochAcks { last } => Some((conn, last)),
            _ => None,
        });
        for (conn, last) in waiting.collect::<Vec<_>>() {
            self.begin_sync(now_ms, conn, last);
        }
    }

    pub(super) fn on_ack_new_leader(&mut self, now_ms: u64, conn: ConnId, zxid: Zxid) {
        if zxid != Zxid::new(self.epoch, 0) {
            return self.close(now_ms, conn, CloseReason::AckOfNothing(zxid));
        }
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        handler.stage = Stage::AwaitStartup;
        handler.sync = None;
        self.outputs.push_back(Output::SyncEnds { conn, is_done: true });
        handler.read_deadline_ms = u64::MAX;
        match &mut self.phase {
            Phase::Synchronization { acked, .. } => {
                if let Some(server) = handler.server.filter(|_| handler.is_voter) {
                    acked.insert(server);
                }
                if self.options.has(Defect::UpToDateBeforeQuorum) {
                    self.send_up_to_date(now_ms, conn);
                }
                self.try_to_establish(now_ms);
            }
            Phase::Broadcast | Phase::Relay => self.send_up_to_date(now_ms, conn),
            _ => {}
        }
    }

    /// A quorum has the history: it is committed, and the epoch is established.
    pub(super) fn try_to_establish(&mut self, now_ms: u64) {
        let Phase::Synchronization { acked, .. } = &self.phase else { return };
        let is_quorum = self.options.is_quorum(|it| acked.contains(&it), self.oracle_stands_in());
        if !acked.contains(&self.options.me) || !is_quorum {
            return;
        }
        self.enter(now_ms, Phase::Broadcast);
        self.broadcast.set_oracle(self.oracle_stands_in());
        self.next_ping_ms = now_ms + self.options.tick_ms / 2;
        self.outputs.push_back(Output::Serve { epoch: self.epoch });
        self.activate_seen();
        for conn in self.in_stage(&Stage::AwaitStartup) {
            self.send_up_to_date(now_ms, conn);
        }
    }

    fn send_up_to_date(&mut self, now_ms: u64, conn: ConnId) {
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        handler.stage = Stage::Broadcasting;
        handler.read_deadline_ms = now_ms + self.options.sync_limit_ms();
        handler.synced_until_ms = now_ms + self.options.sync_limit_ms();
        // Proposals wait in the learner until it gets this: their time begins now.
        handler.oldest_unacked = handler.oldest_unacked.map(|(zxid, _)| (zxid, now_ms));
        self.push(now_ms, conn, Packet::UpToDate { zxid: Zxid(-1) });
    }

    fn enter(&mut self, now_ms: u64, phase: Phase) {
        self.phase = phase;
        self.deadline_ms = now_ms + self.options.init_limit_ms();
    }

    fn in_stage(&self, stage: &Stage) -> Vec<ConnId> {
        self.handlers.iter().filter(|(_, handler)| handler.stage == *stage).map(|(&conn, _)| conn).collect()
    }
}
