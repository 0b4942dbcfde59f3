//! One established leader an epoch, and it has everything that was committed in the epochs before, and a vote that weighs
//! something.
//!
//! An epoch may be established when a later one is already: the last ACK was on its way, or the leader's own disk took long. Such
//! a leader commits nothing, and what was committed later is not its own.

use wire::{Epoch, ServerId, Zxid};

use super::Truth;
use crate::store::history::Link;

impl Truth {
    /// A server has established an epoch.
    pub(crate) fn on_established(&mut self, server: usize, epoch: Epoch) {
        if let Some(other) = self.established.insert(epoch, server).filter(|&it| it != server) {
            let what = format!("servers {} and {} both established epoch {epoch}", other + 1, server + 1);
            self.wrong("leadership", what);
        }
        let id = ServerId(server as i64 + 1);
        if self.verifiers.iter().all(|it| it.weight(id) == 0) {
            self.wrong("leadership", format!("server {} leads epoch {epoch}, and its vote weighs nothing", server + 1));
        }
        let count = self.committed.partition_point(|(zxid, _)| zxid.epoch() <= epoch);
        let (end, link) = self.committed[..count].last().copied().unwrap_or((Zxid::ZERO, Link::START));
        if self.disks.lacks(server, end, link) {
            let what = format!("server {} leads epoch {epoch} without all that is committed, up to {end}", server + 1);
            self.wrong("leader completeness", what);
        }
    }
}
