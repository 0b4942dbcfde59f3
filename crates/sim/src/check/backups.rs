//! Old copies of a server's files. No start can see that they are old, so a voter that comes back with one has promised things that
//! it knows nothing of; with too many of such a quorum forgets, and nothing can be promised. Here it comes back with one only where
//! a quorum of the others has all that it had: all txns, and epochs that are not older. Then whoever decides anything hears of
//! that from one of these. And not with a copy from before it lost its disk, nor while it has not got its history back since: what
//! it had is not known any more.

use wire::{ServerId, Zxid};

use super::{Truth, epochs, recovery};

/// What was true of a server when its files were copied.
#[derive(Debug, Clone)]
pub(crate) struct Backup {
    ledger: recovery::Ledger,
    files: epochs::Files,
}

impl Truth {
    /// A server's files are copied.
    pub(crate) fn on_backed_up(&mut self, server: usize) {
        let backup = Backup { ledger: self.disks.ledger(server).clone(), files: self.epochs[server] };
        self.backups.insert(server, backup);
    }

    /// May it come back with the copy?
    pub(crate) fn may_restore(&self, server: usize) -> bool {
        let (floor, files) = (self.disks.floor(server), self.epochs[server]);
        if self.wiped.contains(&server) || !self.backups.contains_key(&server) {
            return false;
        }
        let Some(at_floor) = self.disks.link(server, floor) else { return false };
        let must_have = [self.end(), (floor, at_floor)];
        let has_all = |id: ServerId| {
            let other = (id.0 - 1) as usize;
            let has = |(zxid, link): (Zxid, _)| self.disks.floor(other) >= zxid && !self.disks.lacks(other, zxid, link);
            other != server && !self.epochs[other].is_before(&files) && must_have.into_iter().all(has)
        };
        self.verifiers.iter().all(|it| it.contains_quorum(has_all))
    }

    /// It does. True: the copy has less than it had.
    pub(crate) fn on_restored(&mut self, server: usize) -> bool {
        let Some(Backup { ledger, files }) = self.backups.get(&server).cloned() else { return false };
        let (floor, had) = (self.disks.floor(server), self.epochs[server]);
        self.disks.restore(server, ledger);
        self.epochs[server] = files;
        self.check_nothing_is_lost();
        self.disks.floor(server) < floor || files.is_before(&had)
    }
}
