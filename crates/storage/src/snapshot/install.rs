//! A snapshot that a leader sent, and that takes the place of this server's history.
//!
//! Its bytes go to `ostler.received.tmp`, which nobody takes for a snapshot. When it is whole and durable ([`SnapshotReceiver`]), it
//! is read ([`load`]): it had no checksum on its way, and a leader may be mistaken; until here nothing of this server's own was
//! touched. Then [`plan`] makes it the history. It gets its name first. Then whatever is later goes: logs, newest
//! first, then snapshots, newest first; so that at each moment what is left is a history that was this server's own, or the
//! snapshot. The older logs and snapshots go last, as in a purge ([`removal`](crate::purge::removal)), since between them and it
//! there may be a gap that nobody could see without it (ZOOKEEPER-2099).
//!
//! Source: Apache `Learner.syncWithLeader`, which keeps the old files and takes a new snapshot of its own.

use std::io;

use wire::Zxid;

use crate::disk::{Dir, Disk, Effect, FileRef};
use crate::log::dir::{ReadLogError, read_history};
use crate::log::record::HEADER_LENGTH;
use crate::log::truncate::TruncateError;
use crate::names::{self, FileName};
use crate::purge;
use crate::recover::{Fit, RecoverOptions, Restore, decode_into, read_options};
use crate::snapshot::decode::LoadSnapshotError;
use crate::snapshot::stream::Compression;

/// How many bytes are written between two syncs, so that the last one finds little to do.
const SYNC_EVERY: u64 = 16 << 20;

/// The file that a snapshot is received into.
pub const RECEIVED: &str = "ostler.received.tmp";

fn received() -> FileRef {
    FileRef::new(Dir::Data, FileName::Other(RECEIVED.into()))
}

/// The machine that puts the bytes of a leader's snapshot into their file: `start`, any number of `chunk`s, then `finish`.
/// One snapshot is received at a time; the next one's `start` empties the file, and a recovery removes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SnapshotReceiver {
    written: u64,
    synced: u64,
}

impl SnapshotReceiver {
    /// What comes first.
    pub fn start(&self) -> Vec<Effect> {
        vec![Effect::Create(received())]
    }

    /// The next bytes.
    pub fn chunk(&mut self, bytes: Vec<u8>) -> Vec<Effect> {
        let length = bytes.len() as u64;
        let mut effects = vec![Effect::WriteAt { file: received(), offset: self.written, bytes }];
        self.written += length;
        if self.written - self.synced >= SYNC_EVERY {
            self.synced = self.written;
            effects.push(Effect::Fdatasync(received()));
        }
        effects
    }

    /// What comes last: after it the bytes are durable, and can be installed.
    pub fn finish(self) -> Vec<Effect> {
        vec![Effect::Fsync(received()), Effect::FsyncDir(Dir::Data)]
    }

    /// How many bytes came.
    pub fn bytes(&self) -> u64 {
        self.written
    }
}

/// Rebuilds what the snapshot holds that was received, to be of this zxid, as a start does it. Only what was rebuilt may become the
/// history: [`plan`] removes the one that is there. An error but for [`LoadSnapshotError::Io`] says that the snapshot is none.
pub fn load(
    disk: &dyn Disk,
    zxid: Zxid,
    options: &RecoverOptions,
    into: &mut dyn Restore,
) -> Result<(), LoadSnapshotError> {
    into.reset();
    let source = disk.open(&received())?;
    decode_into(source, Compression::None, zxid, options.length_max, into, &mut |_| ())?;
    match into.fit() {
        Fit::Wrong => Err(LoadSnapshotError::Digest),
        Fit::Right | Fit::Unknown => Ok(()),
    }
}

/// The effects that give it up.
pub fn refuse() -> Vec<Effect> {
    vec![Effect::Remove(received())]
}

/// The effects after which the snapshot that was received, of this zxid, is the directory's history. Execute them with no
/// writer of logs or snapshots open, and only behind [`load`]: what that has rebuilt is what the directory holds then.
///
/// Errors: the disk's, and a log that can't be read where it has to be cut.
pub fn plan(disk: &dyn Disk, zxid: Zxid, options: &RecoverOptions) -> Result<Vec<Effect>, TruncateError> {
    let name = FileName::Snapshot(zxid);
    let mut effects = vec![Effect::Rename { file: received(), to: name.clone() }, Effect::FsyncDir(Dir::Data)];
    let logs = names::numbered(&disk.list(Dir::Log)?, names::LOG);
    let snapshots = names::numbered(&disk.list(Dir::Data)?, names::SNAPSHOT);
    let later_logs = logs.iter().filter(|log| log.zxid > zxid).rev();
    for log in later_logs {
        effects.push(Effect::Remove(FileRef::new(Dir::Log, log.name.clone())));
        effects.push(Effect::FsyncDir(Dir::Log));
    }
    if let Some(log) = logs.iter().rev().find(|log| log.zxid <= zxid) {
        let file = FileRef::new(Dir::Log, log.name.clone());
        match first_behind(disk, &file, zxid, options)? {
            None => {}
            Some(offset) if offset <= HEADER_LENGTH => {
                effects.extend([Effect::Remove(file), Effect::FsyncDir(Dir::Log)]);
            }
            Some(length) => effects.extend([Effect::Truncate { file: file.clone(), length }, Effect::Fsync(file)]),
        }
    }
    for snapshot in snapshots.iter().filter(|it| it.zxid > zxid).rev() {
        effects.push(Effect::Remove(FileRef::new(Dir::Data, snapshot.name.clone())));
        effects.push(Effect::FsyncDir(Dir::Data));
    }
    let old_logs = logs.iter().filter(|log| log.zxid <= zxid).map(|log| FileRef::new(Dir::Log, log.name.clone()));
    let old_snapshots = snapshots.iter().filter(|it| it.zxid <= zxid && it.name != name);
    let old_snapshots = old_snapshots.map(|it| FileRef::new(Dir::Data, it.name.clone()));
    effects.extend(purge::removal(disk, old_logs.chain(old_snapshots).collect(), options.length_max)?);
    effects.push(Effect::FsyncDir(Dir::Data));
    Ok(effects)
}

/// Where the first txn behind `zxid` begins in this file; `None` if it has none.
pub(crate) fn first_behind(
    disk: &dyn Disk,
    file: &FileRef,
    zxid: Zxid,
    options: &RecoverOptions,
) -> Result<Option<u64>, TruncateError> {
    enum Stop {
        Found(u64),
        Failed(ReadLogError),
    }
    impl From<ReadLogError> for Stop {
        fn from(error: ReadLogError) -> Self {
            Self::Failed(error)
        }
    }
    let read = read_history(disk, zxid, &read_options(options), &mut |found, record| {
        Err(if found == file {
            Stop::Found(record.offset)
        } else {
            // The file has nothing behind it, a later one has.
            Stop::Found(u64::MAX)
        })
    });
    match read {
        Ok(_) | Err(Stop::Found(u64::MAX)) => Ok(None),
        Err(Stop::Found(offset)) => Ok(Some(offset)),
        // Broken, or its history goes on behind a gap: all of it goes.
        Err(Stop::Failed(ReadLogError::Io { error, .. } | ReadLogError::Unreadable { error, .. })) => {
            Err(TruncateError::Io(io::Error::other(error)))
        }
        Err(Stop::Failed(_)) => Ok(Some(0)),
    }
}
