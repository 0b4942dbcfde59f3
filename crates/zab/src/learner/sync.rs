//! Synchronization: from DIFF, TRUNC or SNAP to UPTODATE.

use bytes::Bytes;
use wire::Zxid;
use wire::quorum::Packet;

use super::{Learner, LearnerOver, Output, Queued, Stage, weight};
use crate::committed_log::{Gap, Proposal, follows};
use crate::durable::{Ack, Command, CurrentEpochWrite, EpochIsCurrent, FromLearner, HistoryIsDurable, Logged, Token};
use crate::options::Defect;

impl Learner {
    /// The first packet of the sync.
    pub(super) fn on_sync_packet(&mut self, packet: Packet) {
        match packet {
            Packet::Diff { .. } => self.begin_syncing(),
            Packet::Trunc { .. } if self.options.has(Defect::TruncIgnored) => self.begin_syncing(),
            Packet::Trunc { zxid } => {
                let token = self.tokens.next();
                self.outputs.push_back(Output::Disk(Command::Truncate { token, to: zxid }));
                self.stage = Stage::Changing { token, zxid, is_snapshot: false };
            }
            // -1: an Apache leader that has lost its state, and has nothing.
            Packet::Snap { zxid } if zxid.epoch() > self.epoch || zxid < Zxid(-1) => {
                self.over(LearnerOver::WrongEpoch { epoch: self.epoch, got: zxid });
            }
            Packet::Snap { zxid } => {
                self.outputs.push_back(Output::ReceiveSnapshot(zxid));
                self.stage = Stage::ReceivingSnapshot { zxid };
            }
            // Between LEADERINFO and the sync nothing else has a meaning; Apache exits.
            other => self.over(LearnerOver::Unexpected(other.name())),
        }
    }

    pub(super) fn on_snapshot_received(&mut self, now_ms: u64, is_whole: bool) {
        let Stage::ReceivingSnapshot { zxid } = self.stage else { return };
        if !is_whole {
            return self.over(LearnerOver::BadSnapshot);
        }
        self.heard(now_ms);
        let token = self.tokens.next();
        self.outputs.push_back(Output::Disk(Command::InstallSnapshot { token, zxid }));
        self.stage = Stage::Changing { token, zxid, is_snapshot: true };
    }

    pub(super) fn on_not_truncated(&mut self, token: Token) {
        if let Stage::Changing { token: asked, zxid, is_snapshot: false } = self.stage
            && asked == token
        {
            self.over(LearnerOver::CantTruncate(zxid));
        }
    }

    pub(super) fn on_not_installed(&mut self, token: Token) {
        if matches!(self.stage, Stage::Changing { token: asked, is_snapshot: true, .. } if asked == token) {
            self.over(LearnerOver::BadSnapshot);
        }
    }

    /// The history ends at `zxid` now.
    pub(super) fn on_changed(&mut self, now_ms: u64, zxid: Zxid, is_snapshot: bool) {
        if is_snapshot {
            self.log.reset(zxid);
            self.snapshot = Some(zxid);
            self.is_lost = false;
        } else {
            self.log.truncate(zxid);
        }
        self.forget_cut(zxid, is_snapshot);
        self.logged = Logged::up_to(zxid);
        self.begin_syncing();
        while !self.is_over()
            && let Some(packet) = self.stash.pop_front()
        {
            self.held_bytes -= weight(&packet);
            self.on_packet(now_ms, packet);
        }
    }

    fn begin_syncing(&mut self) {
        self.stage = Stage::Syncing;
        self.received = self.log.last();
        // What this server has is what the leader has.
        self.log.commit(self.log.last());
        self.replay();
    }

    /// What this server lacks.
    pub(super) fn on_syncing_packet(&mut self, now_ms: u64, packet: Packet) {
        match packet {
            Packet::Proposal { zxid, txn } => self.queue(Proposal { zxid, txn }),
            Packet::Commit { zxid } => {
                self.commit_queued(zxid);
                self.log_committed();
            }
            Packet::Inform { zxid, txn } => {
                self.queue(Proposal { zxid, txn });
                self.commit_queued(zxid);
                self.log_committed();
            }
            Packet::CommitAndActivate { zxid, leader } => {
                self.commit_queued(zxid);
                self.log_committed();
                self.activation = Some((zxid, leader));
            }
            Packet::InformAndActivate { zxid, leader, txn } => {
                self.queue(Proposal { zxid, txn });
                self.commit_queued(zxid);
                self.log_committed();
                self.activation = Some((zxid, leader));
            }
            Packet::NewLeader { zxid, config } => self.on_new_leader(now_ms, zxid, config),
            // As Apache does: a PING is not answered yet.
            Packet::Ping { .. } | Packet::Unknown { .. } => {}
            other => self.over(LearnerOver::Unexpected(other.name())),
        }
    }

    /// What comes between NEWLEADER and UPTODATE waits for UPTODATE.
    pub(super) fn on_queued_packet(&mut self, now_ms: u64, packet: Packet) {
        match packet {
            Packet::Proposal { zxid, txn } => self.queue(Proposal { zxid, txn }),
            Packet::Commit { zxid } => self.commit_queued(zxid),
            Packet::Inform { zxid, txn } => {
                self.queue(Proposal { zxid, txn });
                self.commit_queued(zxid);
            }
            Packet::CommitAndActivate { zxid, leader } => {
                self.commit_queued(zxid);
                self.activation = Some((zxid, leader));
            }
            Packet::InformAndActivate { zxid, leader, txn } => {
                self.queue(Proposal { zxid, txn });
                self.commit_queued(zxid);
                self.activation = Some((zxid, leader));
            }
            Packet::UpToDate { .. } => match self.stage {
                Stage::ExpectUpToDate { epoch } => self.on_up_to_date(now_ms, epoch),
                _ => self.over(LearnerOver::Unexpected("UPTODATE")),
            },
            Packet::Ping { .. } | Packet::Unknown { .. } => {}
            other => self.over(LearnerOver::Unexpected(other.name())),
        }
    }

    fn queue(&mut self, proposal: Proposal) {
        if self.is_over() {
            return;
        }
        let zxid = proposal.zxid;
        // A history may be older than its leader's epoch, and never newer.
        if zxid.epoch() > self.epoch {
            return self.over(LearnerOver::WrongEpoch { epoch: self.epoch, got: zxid });
        }
        let snapshot = self.snapshot.unwrap_or(Zxid(i64::MIN));
        let is_known = zxid <= snapshot;
        // What the snapshot holds already may begin anywhere; from its end on there may be no gap.
        let is_first_known = is_known && self.received == snapshot && self.queued.is_empty();
        if !is_first_known && !follows(self.received, zxid) {
            return self.over(LearnerOver::Gap(Gap { last: self.received, next: zxid }));
        }
        self.received = zxid;
        self.hold(proposal.weight());
        self.queued.push_back(Queued { proposal, is_known });
    }

    fn commit_queued(&mut self, zxid: Zxid) {
        if self.is_over() {
            return;
        }
        let expected = self.queued.get(self.committed_queued).map(|next| next.proposal.zxid);
        if expected != Some(zxid) {
            return self.over(LearnerOver::WrongCommit { expected, got: zxid });
        }
        self.committed_queued += 1;
    }

    /// What is queued and committed goes to the log.
    fn log_committed(&mut self) {
        while self.committed_queued > 0
            && !self.is_over()
            && let Some(Queued { proposal, is_known }) = self.queued.pop_front()
        {
            self.committed_queued -= 1;
            self.held_bytes -= proposal.weight();
            if !is_known {
                let zxid = proposal.zxid;
                self.append(proposal);
                if !self.is_over() {
                    self.log.commit(zxid);
                }
            }
        }
    }

    fn on_new_leader(&mut self, now_ms: u64, zxid: Zxid, config: Option<Bytes>) {
        if zxid != Zxid::new(self.epoch, 0) {
            return self.over(LearnerOver::Unexpected("NEWLEADER of another epoch"));
        }
        self.config = config;
        if let Some(config) = self.config_of_new_leader() {
            self.see(config);
        }
        self.stage = Stage::Persisting { write: None };
        self.heard(now_ms);
        #[cfg(feature = "seeded-defects")]
        {
            if self.options.has(Defect::CurrentEpochBeforeHistory) {
                let token = self.tokens.next();
                let (write, command) = CurrentEpochWrite::begin(HistoryIsDurable::forged(), token, self.epoch);
                self.outputs.push_back(Output::Disk(command));
                self.stage = Stage::Persisting { write: Some(write) };
                return;
            }
            if self.options.has(Defect::NewLeaderAckBeforeHistory) {
                self.send(FromLearner::ack(Ack::forged(zxid)));
            }
            if self.options.has(Defect::QueuedProposalsDropped) {
                self.queued.clear();
                self.committed_queued = 0;
            }
        }
        self.persist_epoch();
    }

    /// Writes `currentEpoch`, once the history is durable.
    pub(super) fn persist_epoch(&mut self) {
        if let Some(history) = HistoryIsDurable::new(self.logged, self.log.last()) {
            let (write, command) = CurrentEpochWrite::begin(history, self.tokens.next(), self.epoch);
            self.outputs.push_back(Output::Disk(command));
            self.stage = Stage::Persisting { write: Some(write) };
        }
    }

    /// `currentEpoch` is written.
    pub(super) fn on_current_epoch(&mut self, epoch: EpochIsCurrent) {
        self.current = self.epoch;
        self.stage = Stage::ExpectUpToDate { epoch };
        if !self.options.has(Defect::NewLeaderAckBeforeHistory) {
            self.send(FromLearner::ack(Ack::of_new_leader(epoch)));
        }
    }

    fn on_up_to_date(&mut self, now_ms: u64, epoch: EpochIsCurrent) {
        // Apache sends a second one; its leader ignores it.
        self.send(FromLearner::ack(Ack::of_new_leader(epoch)));
        self.stage = Stage::Broadcasting;
        let config = self.config_of_new_leader();
        self.outputs.push_back(Output::Serve { epoch: self.epoch, config: self.config.take() });
        let mut committed = self.log.committed();
        let committed_queued = std::mem::take(&mut self.committed_queued);
        for (at, Queued { proposal, is_known }) in std::mem::take(&mut self.queued).into_iter().enumerate() {
            self.held_bytes -= proposal.weight();
            let is_committed = at < committed_queued;
            // An observer has nothing to say to what is only proposed.
            if is_known || self.is_observer && !is_committed {
                continue;
            }
            if is_committed {
                committed = proposal.zxid;
            }
            self.append(proposal);
        }
        if !self.is_over() {
            self.log.commit(committed);
            self.apply();
        }
        if let Some(config) = config {
            self.activate(config, None);
        }
        if let Some((zxid, leader)) = self.activation.take() {
            self.activate_seen(zxid, leader);
        }
        self.begin_observers(now_ms);
    }

    /// Lets the log be applied as far as it is durable and the leader's; during the sync only.
    pub(super) fn replay(&mut self) {
        let applicable = self.log.committed().min(self.logged.zxid());
        if applicable > self.applied {
            self.applied = applicable;
            self.outputs.push_back(Output::Replay(applicable));
        }
    }
}
