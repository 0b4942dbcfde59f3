//! What is committed is on the disks of a quorum, and is never lost.

use wire::{ServerId, Zxid};

use super::Truth;
use crate::store::history::Link;

impl Truth {
    /// A disk lost something, or was cut.
    pub(super) fn check_nothing_is_lost(&mut self) {
        let (end, link) = self.end();
        self.check_quorum_has(end, link);
    }

    pub(super) fn check_quorum_has(&mut self, zxid: Zxid, link: Link) {
        let has = |id: ServerId| {
            let server = (id.0 - 1) as usize;
            let is_on_disk = self.disks.floor(server) >= zxid && !self.disks.lacks(server, zxid, link);
            is_on_disk || self.wiped.contains(&server)
        };
        if !self.verifiers.iter().any(|it| it.contains_quorum(has)) {
            let what = format!("{zxid} is committed, and no quorum has it on its disks");
            self.wrong("committed is never lost", what);
        }
    }

    /// A log is cut behind `to`.
    pub(crate) fn on_truncated(&mut self, server: usize, to: Zxid) {
        self.disks.on_truncated(server, to);
        self.check_nothing_is_lost();
    }

    /// A history is replaced by a snapshot.
    pub(crate) fn on_installed(&mut self, server: usize, zxid: Zxid) {
        self.disks.on_installed(server, zxid);
        self.wiped.remove(&server);
        self.check_nothing_is_lost();
    }

    /// A start has found this.
    pub(crate) fn on_recovered(&mut self, server: usize, last: Zxid, link: Link) {
        self.disks.on_recovered(server, last, link, &mut self.violation);
        self.check_nothing_is_lost();
    }
}
