//! Going back to an earlier txn, as a leader's TRUNC demands (`FileTxnLog.truncate`, `FileTxnSnapLog.truncateLog`).
//!
//! Other than Apache's, this one leaves no snapshot that holds a later txn (ZOOKEEPER-1549, 4837), cuts behind exactly the
//! txn or not at all, and can be interrupted anywhere: what is left is at each moment a history that ends between the target
//! and where it ended before. So a snapshot that was taken while txns were applied goes before the log that makes it whole,
//! the newest log goes first, and a snapshot of exactly one txn goes last: it may be what logs behind it follow.

use std::fmt;
use std::io;

use wire::Zxid;

use super::dir::{ReadLogError, read_history};
use super::record::HEADER_LENGTH;
use crate::disk::{Dir, Disk, Effect, FileRef};
use crate::names::{self, Numbered};
use crate::recover::{RecoverOptions, read_options};
use crate::snapshot::decode::{Ignore, decode_file};
use crate::snapshot::stream::Compression;

/// Why there is no way back to that txn. Nothing was changed; a SNAP sync is the way out.
#[derive(Debug)]
pub enum TruncateError {
    /// The disk failed.
    Io(io::Error),
    /// The log is damaged before the target.
    Log(ReadLogError),
    /// The target is not in the log, nor is it a snapshot's zxid.
    NotThere {
        /// The target.
        zxid: Zxid,
    },
    /// There is no snapshot to start from that is known to hold nothing later.
    NoSnapshotBefore {
        /// The target.
        zxid: Zxid,
    },
}

impl fmt::Display for TruncateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => write!(f, "the log can't be truncated, the disk fails: {e}"),
            Self::Log(e) => write!(f, "the log can't be truncated: {e}"),
            Self::NotThere { zxid } => write!(
                f,
                "the log can't be truncated to txn {zxid}, which is not in it; nothing was changed, and this server needs a \
                 snapshot from the leader (SNAP)"
            ),
            Self::NoSnapshotBefore { zxid } => write!(
                f,
                "the log can't be truncated to txn {zxid}: no snapshot is known to hold only what came before it; nothing was \
                 changed, and this server needs a snapshot from the leader (SNAP)"
            ),
        }
    }
}

impl std::error::Error for TruncateError {}

impl From<io::Error> for TruncateError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// How to go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncation {
    /// The effects after which the directory's history ends with the target. Execute them with no writer open, then recover
    /// again: the last zxid must be the target.
    pub effects: Vec<Effect>,
    /// What an operator should know, a sentence each.
    pub notes: Vec<String>,
}

/// The way back to `zxid`.
pub fn plan(disk: &dyn Disk, zxid: Zxid, options: &RecoverOptions) -> Result<Truncation, TruncateError> {
    let mut notes = Vec::new();
    let (mut fuzzy, mut exact) = (Vec::new(), Vec::new());
    let mut base = None;
    for file in names::numbered(&disk.list(Dir::Data)?, names::SNAPSHOT) {
        match newest_in(disk, &file, options)? {
            // Unreadable ones are no help and no danger while older, and go when newer.
            None if file.zxid <= zxid => {}
            Some(newest) if newest <= zxid => base = Some(file.zxid),
            newest => {
                let what = match newest {
                    Some(Zxid(i64::MAX)) => "may hold later txns and does not say so".to_owned(),
                    Some(newest) => format!("holds txns up to {newest}"),
                    None => "can't be read".to_owned(),
                };
                notes.push(format!("{} goes, it {what}: the leader takes back what came behind txn {zxid}", file.name));
                let is_exact = newest == Some(file.zxid);
                let gone = Effect::Remove(FileRef::new(Dir::Data, file.name));
                if is_exact { exact.push(gone) } else { fuzzy.push(gone) }
            }
        }
    }
    let base = base.ok_or(TruncateError::NoSnapshotBefore { zxid })?;
    let mut effects = Vec::new();
    if !fuzzy.is_empty() {
        effects.append(&mut fuzzy);
        effects.push(Effect::FsyncDir(Dir::Data));
    }
    let cut = find(disk, base, zxid, options)?;
    if cut.is_none() && base != zxid {
        return Err(TruncateError::NotThere { zxid });
    }
    let logs = names::numbered(&disk.list(Dir::Log)?, names::LOG);
    let kept = cut.as_ref().and_then(|(file, _)| logs.iter().position(|log| log.name == file.name));
    let first_gone = kept.map_or_else(|| logs.partition_point(|log| log.zxid <= zxid), |at| at + 1);
    for log in logs[first_gone..].iter().rev() {
        effects.push(Effect::Remove(FileRef::new(Dir::Log, log.name.clone())));
        // Each for good before the next: an older one that is gone while a newer one is still there would be a gap.
        effects.push(Effect::FsyncDir(Dir::Log));
    }
    match cut {
        // Its name would still be that of a txn that it held, and that may not be the next one.
        Some((file, HEADER_LENGTH)) => effects.extend([Effect::Remove(file), Effect::FsyncDir(Dir::Log)]),
        Some((file, length)) => effects.extend([Effect::Truncate { file: file.clone(), length }, Effect::Fsync(file)]),
        None => {}
    }
    if !exact.is_empty() {
        effects.append(&mut exact);
        effects.push(Effect::FsyncDir(Dir::Data));
    }
    Ok(Truncation { effects, notes })
}

/// The last txn that a snapshot may hold; `None` if it can't be read. One of Apache's holds what was applied while it
/// was taken, and says so at its end; an old one that does not say may hold anything.
fn newest_in(disk: &dyn Disk, file: &Numbered, options: &RecoverOptions) -> io::Result<Option<Zxid>> {
    let source = disk.open(&FileRef::new(Dir::Data, file.name.clone()))?;
    let compression = Compression::of(&file.name);
    let decoded = decode_file(source, compression, options.length_max, &mut Ignore, &mut |_| ());
    let Ok(end) = decoded else { return Ok(None) };
    let told = end.digest.map(|digest| digest.zxid).max(end.last_processed);
    // The first snapshot is of an empty tree.
    let unknown = if file.zxid == Zxid::ZERO { Zxid::ZERO } else { Zxid(i64::MAX) };
    Ok(Some(told.unwrap_or(unknown).max(file.zxid)))
}

enum Stop {
    Passed,
    Failed(ReadLogError),
}

impl From<ReadLogError> for Stop {
    fn from(error: ReadLogError) -> Self {
        Self::Failed(error)
    }
}

/// Where to cut: behind the record of `zxid`, or, where the snapshot of `zxid` makes up for it, before the first later one.
fn find(
    disk: &dyn Disk,
    base: Zxid,
    zxid: Zxid,
    options: &RecoverOptions,
) -> Result<Option<(FileRef, u64)>, TruncateError> {
    let is_snapshot = base == zxid;
    // The txn of the snapshot may be the target, so it is looked for too.
    let start = if is_snapshot { Zxid((base.0 - 1).max(0)) } else { base };
    let mut found = None;
    let mut later = None;
    let read = read_history(disk, start, &read_options(options), &mut |file, record| {
        if record.zxid > zxid {
            later = Some((file.clone(), record.offset));
            return Err(Stop::Passed);
        }
        if record.zxid == zxid {
            found = Some((file.clone(), record.end()));
        }
        Ok(())
    });
    match read {
        Ok(_) | Err(Stop::Passed) => {}
        // Found, and damaged behind it: the damage goes.
        Err(Stop::Failed(_)) if found.is_some() => {}
        // The log goes on behind the snapshot.
        Err(Stop::Failed(ReadLogError::Gap { file, offset, next, .. })) if is_snapshot && next > zxid => {
            later = Some((file, offset));
        }
        Err(Stop::Failed(error)) => return Err(TruncateError::Log(error)),
    }
    Ok(if is_snapshot { found.or(later) } else { found })
}
