//! The machine that puts an encoded snapshot into its file.
//!
//! The bytes go to `ostler.snapshot.tmp`, which Apache does not take for a snapshot, and the file gets its name only when
//! it is whole and durable (ZOOKEEPER-2872). A leftover is removed by the next recovery.

use wire::Zxid;

use super::stream::Compression;
use crate::disk::{Dir, Effect, FileRef};
use crate::names::FileName;

/// How many bytes are written between two syncs, so that the last one finds little to do.
const SYNC_EVERY: u64 = 16 << 20;

/// The machine: `start`, any number of `chunk`s, then `finish` or `abandon`. One snapshot is written at a time.
///
/// When an effect fails, execute those of `abandon` and say so; the log still holds everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SnapshotWriter {
    zxid: Zxid,
    compression: Compression,
    written: u64,
    synced: u64,
    force_sync: bool,
}

impl SnapshotWriter {
    /// Of the cut at `zxid`, which becomes the file's name. `force_sync` is that of the log; without it the syncs are
    /// left out, the rename stays.
    pub fn new(zxid: Zxid, force_sync: bool) -> Self {
        Self::compressed(zxid, Compression::None, force_sync)
    }

    /// [`new`](Self::new) for bytes that a [`Compressor`](super::stream::Compressor) gives: the name says so.
    pub fn compressed(zxid: Zxid, compression: Compression, force_sync: bool) -> Self {
        Self { zxid, compression, written: 0, synced: 0, force_sync }
    }

    fn temp() -> FileRef {
        FileRef::new(Dir::Data, FileName::SnapshotTemp)
    }

    /// What comes first.
    pub fn start(&self) -> Vec<Effect> {
        vec![Effect::Create(Self::temp())]
    }

    /// The next bytes of the encoder; chunks of 256 KiB to 4 MiB are about right. Each job's effects are executed before
    /// those of the next.
    pub fn chunk(&mut self, bytes: Vec<u8>) -> Vec<Effect> {
        let length = bytes.len() as u64;
        let mut effects = vec![Effect::WriteAt { file: Self::temp(), offset: self.written, bytes }];
        self.written += length;
        if self.force_sync && self.written - self.synced >= SYNC_EVERY {
            self.synced = self.written;
            effects.push(Effect::Fdatasync(Self::temp()));
        }
        effects
    }

    /// What comes last: after it the snapshot exists.
    pub fn finish(self) -> Vec<Effect> {
        let mut effects = Vec::with_capacity(3);
        if self.force_sync {
            effects.push(Effect::Fsync(Self::temp()));
        }
        effects.push(Effect::Rename { file: Self::temp(), to: self.compression.name(self.zxid) });
        if self.force_sync {
            effects.push(Effect::FsyncDir(Dir::Data));
        }
        effects
    }

    /// Gives the snapshot up.
    pub fn abandon(self) -> Vec<Effect> {
        vec![Effect::Remove(Self::temp())]
    }

    /// The zxid of the cut.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// How many bytes it has so far.
    pub fn bytes(&self) -> u64 {
        self.written
    }
}
