//! The effects of snapshots, a server's own and a leader's.

use std::io;

use storage::LogWriter;
use storage::disk::{Disk, Effect};
use storage::snapshot::decode::LoadSnapshotError;
use storage::snapshot::install::{self, SnapshotReceiver};
use storage::snapshot::write::SnapshotWriter;
use wire::Zxid;

use super::super::history::{Link, Rebuilt, snapshot};
use super::super::sabotage::Machine;
use super::{Chore, Life, Setup};

impl Life {
    /// As a member does it: what came is read before anything goes, and what is none costs nothing.
    pub(super) fn install(&mut self, zxid: Zxid, before: Zxid) -> io::Result<()> {
        match install::load(&self.disk, zxid, &self.setup.recover, &mut Rebuilt::default()) {
            Ok(()) => {}
            Err(LoadSnapshotError::Io(error)) => return self.fails(error),
            Err(error) => {
                install::refuse().iter().try_for_each(|effect| self.disk.execute(effect)).or_else(|e| self.fails(e))?;
                self.memory.history.cut(before);
                self.writer = LogWriter::new(self.setup.log.clone(), self.writer.appended());
                return Err(io::Error::other(error));
            }
        }
        match install::plan(&self.disk, zxid, &self.setup.recover) {
            Ok(effects) => self.chore(Machine::Install, effects, Chore::Install(zxid)),
            Err(error) => return self.fails(io::Error::other(error)),
        }
        Ok(())
    }
}

/// A whole snapshot.
pub(super) fn snapshot_effects(zxid: Zxid, link: Link, setup: &Setup) -> Vec<Effect> {
    let mut writer = SnapshotWriter::new(zxid, setup.log.force_sync);
    let mut effects = writer.start();
    effects.extend(snapshot_pieces(zxid, link, setup).into_iter().flat_map(|piece| writer.chunk(piece)));
    effects.extend(writer.finish());
    effects
}

/// One that comes from the leader.
pub(super) fn receiving_effects(zxid: Zxid, link: Link, setup: &Setup) -> Vec<Effect> {
    let mut receiver = SnapshotReceiver::default();
    let mut effects = receiver.start();
    effects.extend(snapshot_pieces(zxid, link, setup).into_iter().flat_map(|piece| receiver.chunk(piece)));
    effects.extend(receiver.finish());
    effects
}

fn snapshot_pieces(zxid: Zxid, link: Link, setup: &Setup) -> Vec<Vec<u8>> {
    let bytes = snapshot(zxid, link, setup.snapshot_bytes);
    bytes.chunks(bytes.len().div_ceil(setup.snapshot_chunks.max(1))).map(<[u8]>::to_vec).collect()
}
