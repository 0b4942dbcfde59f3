//! Old copies of a server's files, as in [`crate::check`]: a server comes back with one only where a quorum of the others has all
//! that it had, epochs too, and where it has not lost its disk before.

use wire::{Epoch, ServerId, Zxid};

use super::Truth;

/// What was true of a server when its files were copied.
#[derive(Debug, Clone, Copy)]
pub(in crate::whole) struct Backup {
    appended: Zxid,
    durable: Zxid,
    is_damaged: bool,
}

impl Truth {
    /// A server's files are copied.
    pub(in crate::whole) fn on_backed_up(&mut self, server: usize) {
        let (appended, durable) = (self.appended[server], self.durable[server]);
        self.backups.insert(server, Backup { appended, durable, is_damaged: self.is_damaged(server) });
    }

    /// May it come back with the copy? `epochs`: the accepted and the current epoch of each server, where its disk can be read.
    pub(in crate::whole) fn may_restore(&self, server: usize, epochs: &[Option<(Epoch, Epoch)>]) -> bool {
        let Some((accepted, current)) = epochs[server].filter(|_| !self.wiped.contains(&server)) else { return false };
        let must_have = [self.end(), self.durable[server]];
        self.verifier.contains_quorum(|id: ServerId| {
            let other = (id.0 - 1) as usize;
            let has_all = must_have.iter().all(|zxid| self.has(self.durable[other], *zxid));
            let is_as_late = epochs[other].is_some_and(|it| it.0 >= accepted && it.1 >= current);
            other != server && is_as_late && has_all
        })
    }

    /// It does. True: the copy has less than it had.
    pub(in crate::whole) fn on_restored(&mut self, server: usize) -> bool {
        let Some(Backup { appended, durable, is_damaged }) = self.backups.get(&server).copied() else { return false };
        let before = std::mem::replace(&mut self.durable[server], durable);
        self.appended[server] = appended;
        self.damaged.remove(&server);
        if is_damaged {
            self.damaged.insert(server);
        }
        self.check_quorum_has(self.end());
        before != durable
    }
}
