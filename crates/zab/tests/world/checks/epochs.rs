//! Epoch files: accepted is never older than current, neither goes back, a current epoch stands for its whole initial
//! history, and no ACKEPOCH before `acceptedEpoch`.

use std::collections::BTreeMap;

use wire::{Epoch, ServerId};

use super::Truth;
use crate::world::disk::History;
use crate::world::{Disk, Server};

impl Truth {
    /// A leader takes an epoch with this history.
    pub fn on_initial_history(&mut self, epoch: Epoch, history: History) {
        self.initial.insert(epoch, history);
    }

    /// A leader tells `id` of its epoch.
    pub fn on_leader_info(&mut self, id: ServerId, epoch: Epoch) {
        self.told.insert(id, epoch);
    }

    /// `id` accepts the epoch that it was told of last.
    pub fn on_ack_epoch(&mut self, id: ServerId, disk: &Disk) {
        let told = self.told.get(&id).copied().unwrap_or_default();
        if disk.accepted < told {
            self.wrong(format!("ACKEPOCH of {id} for epoch {told}, but its disk says {}", disk.accepted));
        }
    }

    pub(super) fn check_epochs(&mut self, servers: &BTreeMap<ServerId, Server>) {
        for (&id, server) in servers {
            let disk = &server.disk;
            let now = (disk.accepted, disk.current);
            let before = self.seen.insert(id, now).unwrap_or(now);
            if before == now || self.wiped.contains(&id) {
                continue;
            }
            if now.1 > now.0 {
                self.wrong(format!("epoch files of {id}: current {} is newer than accepted {}", now.1, now.0));
            }
            if now.0 < before.0 || now.1 < before.1 {
                self.wrong(format!("epoch files of {id} went back from {before:?} to {now:?}"));
            }
            let initial = self.initial.get(&now.1);
            if now.1 != before.1 && initial.is_some_and(|it| !disk.history().starts_with(it)) {
                self.wrong(format!("{id} has written currentEpoch {} without its history", now.1));
            }
        }
    }
}
