//! An established leader has everything that was committed in the epochs before.
//!
//! An epoch may be established when a later one is already: the last ACK was on its way, or the leader's own disk took long. Such
//! a leader commits nothing, and what was committed later is not its own.

use wire::{Epoch, Zxid};

use super::Truth;
use crate::store::history::Link;

impl Truth {
    pub(super) fn check_completeness(&mut self, server: usize, epoch: Epoch) {
        let count = self.committed.partition_point(|(zxid, _)| zxid.epoch() <= epoch);
        let (end, link) = self.committed[..count].last().copied().unwrap_or((Zxid::ZERO, Link::START));
        if self.disks.lacks(server, end, link) {
            let what = format!("server {} leads epoch {epoch} without all that is committed, up to {end}", server + 1);
            self.wrong("leader completeness", what);
        }
    }
}
