//! Epoch files: accepted is never older than current, neither goes back, a current epoch stands for its whole initial
//! history, and no ACKEPOCH leaves before `acceptedEpoch`. A leader's epoch is later than all that it was told of, and no
//! server is counted for an epoch twice: two leaders would have it.

use storage::epoch::EpochFile;
use wire::{Epoch, Zxid};
use zab::StateSummary;

use super::Truth;
use crate::store::history::Link;

/// What a server's files are known to hold, durably.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Files {
    accepted: Epoch,
    current: Epoch,
    /// The epoch that its leader told it last.
    told: Epoch,
    /// The last epoch that it was counted for.
    acked: Epoch,
    /// As the leader that it is, before its epoch is chosen: the latest epoch that it was told to be accepted.
    heard: Epoch,
}

impl Files {
    /// Is one of them older than the other server's?
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.accepted < other.accepted || self.current < other.current
    }
}

impl Truth {
    /// A leader takes an epoch with what it has.
    pub(crate) fn on_initial_history(&mut self, server: usize, epoch: Epoch) {
        self.initial.insert(epoch, self.disks.end(server));
    }

    /// A leader's LEADERINFO arrives.
    pub(crate) fn on_leader_info(&mut self, server: usize, epoch: Epoch) {
        self.epochs[server].told = epoch;
    }

    /// The server is to lead.
    pub(crate) fn on_elected(&mut self, server: usize) {
        self.epochs[server].heard = self.epochs[server].accepted;
    }

    /// A learner tells a leader which epoch it has accepted.
    pub(crate) fn on_learner_info(&mut self, leader: usize, accepted: Epoch) {
        let heard = &mut self.epochs[leader].heard;
        *heard = accepted.max(*heard);
    }

    /// A leader has its epoch.
    pub(crate) fn on_epoch_chosen(&mut self, leader: usize, epoch: Epoch) {
        let heard = self.epochs[leader].heard;
        if epoch <= heard {
            let what = format!("server {} is to lead epoch {epoch}, and was told that {heard} is accepted", leader + 1);
            self.wrong("epochs", what);
        }
    }

    /// The server sends an ACKEPOCH, with its current epoch, or with none so as not to be counted.
    pub(crate) fn on_ack_epoch(&mut self, server: usize, current: Epoch) {
        let Files { accepted, told, acked, .. } = self.epochs[server];
        if current != StateSummary::NO_EPOCH {
            self.epochs[server].acked = told;
            if told <= acked {
                self.wrong("epochs", format!("server {} is counted for epoch {told} twice", server + 1));
            }
        }
        if accepted < told {
            let what = format!("ACKEPOCH of server {} for epoch {told}, but its disk says {accepted}", server + 1);
            self.wrong("epoch files", what);
        }
    }

    /// An epoch file is durable.
    pub(crate) fn on_epoch_written(&mut self, server: usize, file: EpochFile, epoch: Epoch) {
        let files = &mut self.epochs[server];
        let old = match file {
            EpochFile::Accepted => std::mem::replace(&mut files.accepted, epoch),
            EpochFile::Current => std::mem::replace(&mut files.current, epoch),
        };
        let Files { accepted, current, .. } = *files;
        if epoch < old {
            self.wrong(
                "epoch files",
                format!("{} of server {} goes back from {old} to {epoch}", file.name(), server + 1),
            );
        }
        if accepted < current {
            let what = format!("server {}: acceptedEpoch {accepted} is older than currentEpoch {current}", server + 1);
            self.wrong("epoch files", what);
        }
        if file == EpochFile::Current
            && let Some(&(end, link)) = self.initial.get(&epoch)
            && (self.disks.lacks(server, end, link) || self.disks.floor(server) < end)
        {
            let what =
                format!("server {} has written currentEpoch {epoch} without its history up to {end}", server + 1);
            self.wrong("epoch files", what);
        }
    }

    /// What a start has found in them.
    pub(crate) fn on_epochs_read(&mut self, server: usize, accepted: Epoch, current: Epoch) {
        let files = &mut self.epochs[server];
        if accepted < files.accepted || current < files.current {
            let what = format!(
                "server {} starts with accepted epoch {accepted} and current epoch {current}, and had {} and {}",
                server + 1,
                files.accepted,
                files.current
            );
            self.wrong("recovery", what);
            return;
        }
        *files = Files { accepted, current, told: Epoch(0), acked: files.acked, heard: Epoch(0) };
    }

    /// Does the server's disk stand for this epoch with all it begins with?
    pub(super) fn has_epoch(&self, server: usize, epoch: Epoch) -> bool {
        let (end, link) = self.initial.get(&epoch).copied().unwrap_or((Zxid::ZERO, Link::START));
        self.epochs[server].current >= epoch && !self.disks.lacks(server, end, link) && self.disks.floor(server) >= end
    }
}
