//! Which old files may go (`PurgeTxnLog`, `DatadirCleanupManager`).

use std::collections::VecDeque;
use std::io::{self, Read};

use wire::jute::Buffer;
use wire::{AclVec, SessionId, StatPersisted, Zxid};

use crate::disk::{Dir, Disk, Effect, Entry, FileRef};
use crate::names::{self, FileName, Numbered};
use crate::recover::{Fit, RecoverOptions, looks_valid};
use crate::snapshot::decode::{LoadSnapshotError, SnapshotVisitor, decode_file};
use crate::snapshot::install::first_behind;
use crate::snapshot::stream::Compression;

/// The least number of snapshots that are kept, as in Apache.
pub const RETAIN_MIN: usize = 3;

/// What a znode, by its path, its data and its Stat, adds to the digest of a tree: the trees know, and storage has none.
pub type NodeDigest = fn(&str, Option<&[u8]>, &StatPersisted) -> u32;

/// The files that may be removed so that the `retain` (at least [`RETAIN_MIN`]) newest valid snapshots stay, with all
/// the txns behind the oldest of them. What a recovery has cut and kept goes with the logs of its time.
///
/// Only snapshots that `is_valid` counts are counted (ZOOKEEPER-3231). With fewer than `retain` valid ones, all of them
/// stay, and what is older than the oldest goes; without any, nothing goes.
pub fn purgeable(
    data: &[Entry],
    log: &[Entry],
    retain: usize,
    is_valid: &mut dyn FnMut(&Numbered) -> bool,
) -> Vec<FileRef> {
    let snapshots = names::numbered(data, names::SNAPSHOT);
    let kept = snapshots.iter().rev().filter(|file| is_valid(file)).take(retain.max(RETAIN_MIN));
    let Some(oldest) = kept.map(|file| file.zxid).last() else { return Vec::new() };
    let logs = names::numbered(log, names::LOG);
    let newest_needed = logs.iter().filter(|file| file.zxid <= oldest).map(|file| file.zxid).next_back();
    let first_kept = newest_needed.unwrap_or(Zxid(i64::MIN));
    let old_snapshots = snapshots.iter().filter(|file| file.zxid < oldest).map(|file| (Dir::Data, &file.name));
    let old_logs = logs.iter().filter(|file| file.zxid < first_kept).map(|file| (Dir::Log, &file.name));
    // What was cut from a log is named by the last txn before the place, which the log has, or the one before it.
    let mut cuts: Vec<_> = names::numbered(log, names::CUT).into_iter().map(|file| (Dir::Log, file)).collect();
    if data != log {
        cuts.extend(names::numbered(data, names::CUT).into_iter().map(|file| (Dir::Data, file)));
    }
    let old_cuts = cuts.iter().filter(|(_, file)| file.zxid < first_kept).map(|(dir, file)| (*dir, &file.name));
    old_logs
        .chain(old_snapshots)
        .chain(old_cuts)
        .map(|(dir, name): (Dir, &FileName)| FileRef::new(dir, name.clone()))
        .collect()
}

/// How these files are removed: from the oldest on, each for good before the next one, so that whatever a crash leaves is whole
/// from its oldest file on. Two things are to be kept from, which nobody could see later where one epoch ends and another begins:
///
/// * a hole between two logs: so the oldest log goes first; and a snapshot that came from a leader, which alone says that there
///   may be a hole before it, stays for as long as any log of before it;
/// * a snapshot whose txns are gone, while later ones are still there: a start that falls back to it, or a TRUNC that goes back
///   behind all others, would go on across the hole. So a snapshot goes before the log that has the txns behind it.
///
/// `length_max` is that of [`RecoverOptions::length_max`].
///
/// # Errors
/// The directories can't be listed.
pub fn removal(disk: &dyn Disk, files: Vec<FileRef>, length_max: usize) -> io::Result<Vec<Effect>> {
    let all_logs = names::numbered(&disk.list(Dir::Log)?, names::LOG);
    let all_snapshots = names::numbered(&disk.list(Dir::Data)?, names::SNAPSHOT);
    let goes = |dir: Dir, file: &Numbered| files.contains(&FileRef::new(dir, file.name.clone()));
    let mut logs: VecDeque<&Numbered> = all_logs.iter().filter(|log| goes(Dir::Log, log)).collect();
    let mut effects = Vec::new();
    let mut gone = |dir: Dir, file: &Numbered| {
        effects.extend([Effect::Remove(FileRef::new(dir, file.name.clone())), Effect::FsyncDir(dir)]);
    };
    for snapshot in all_snapshots.iter().filter(|file| goes(Dir::Data, file)) {
        let next = all_logs.partition_point(|log| log.zxid <= snapshot.zxid);
        let own = next.checked_sub(1).map(|at| &all_logs[at]).filter(|log| goes(Dir::Log, log));
        let needed = own.filter(|log| is_behind(disk, log, all_logs.get(next), snapshot.zxid, length_max));
        let is_older = |log: &&Numbered| log.zxid <= snapshot.zxid && needed.is_none_or(|it| it.zxid != log.zxid);
        while let Some(log) = logs.pop_front_if(|log| is_older(log)) {
            gone(Dir::Log, log);
        }
        gone(Dir::Data, snapshot);
    }
    for log in logs {
        gone(Dir::Log, log);
    }
    let is_numbered = |file: &&FileRef| {
        let is_in = |numbered: &[Numbered]| numbered.iter().any(|it| it.name == file.name);
        is_in(&all_logs) || is_in(&all_snapshots)
    };
    effects.extend(files.iter().filter(|file| !is_numbered(file)).cloned().map(Effect::Remove));
    Ok(effects)
}

/// Has `log`, the last one that is not named by a later txn than `zxid`, a txn behind it? `next` is the log behind it.
fn is_behind(disk: &dyn Disk, log: &Numbered, next: Option<&Numbered>, zxid: Zxid, length_max: usize) -> bool {
    match next {
        Some(next) if next.zxid.0 == zxid.0 + 1 => false,
        // The ones between are nowhere else.
        Some(next) if next.zxid.epoch() == zxid.epoch() => true,
        _ => {
            let options = RecoverOptions { length_max, ..RecoverOptions::default() };
            let found = first_behind(disk, &FileRef::new(Dir::Log, log.name.clone()), zxid, &options);
            // One that can't be read may have some, and nothing is read on across it.
            found.map_or(true, |found| found.is_some())
        }
    }
}

/// [`purgeable`] of a disk: what may go so that `retain` snapshots stay that were read whole just now. [`removal`] says how they
/// go.
///
/// Nothing is read where nothing could go. If no snapshot is whole and what its digest says, that is the error. `length_max` is that of
/// [`RecoverOptions`](crate::RecoverOptions::length_max).
pub fn plan(disk: &dyn Disk, retain: usize, length_max: usize, node_digest: NodeDigest) -> io::Result<Vec<FileRef>> {
    Ok(plan_unless(disk, retain, length_max, node_digest, &|| false)?.unwrap_or_default())
}

/// The same, which is given up (`None`) as soon as `is_in_the_way` says so: reading snapshots takes long.
pub fn plan_unless(
    disk: &dyn Disk,
    retain: usize,
    length_max: usize,
    node_digest: NodeDigest,
    is_in_the_way: &dyn Fn() -> bool,
) -> io::Result<Option<Vec<FileRef>>> {
    let (data, log) = (disk.list(Dir::Data)?, disk.list(Dir::Log)?);
    // What a look at the end of each says is as much as could go.
    let could_go = purgeable(&data, &log, retain, &mut |file| looks_valid(disk, file).unwrap_or(false));
    if could_go.is_empty() {
        return Ok(Some(could_go));
    }
    let (mut whole, mut tried) = (0u32, Vec::new());
    let mut is_whole = |file: &Numbered| match read_whole(disk, file, length_max, node_digest, is_in_the_way) {
        Ok(()) => {
            whole += 1;
            true
        }
        Err(error) => {
            tried.push(format!("{}: {error}", file.name));
            false
        }
    };
    let files = purgeable(&data, &log, retain, &mut is_whole);
    if is_in_the_way() {
        return Ok(None);
    }
    if whole > 0 {
        return Ok(Some(files));
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("none of the snapshots is whole and what its digest says, so nothing is removed; {}", tried.join("; ")),
    ))
}

/// Could a start load it? The same as there, but for the order of its znodes; and one whose digest is not that of what it holds
/// does not count, although the next txn may make up for it there. It only lets an older one be kept.
fn read_whole(
    disk: &dyn Disk,
    file: &Numbered,
    length_max: usize,
    node_digest: NodeDigest,
    is_in_the_way: &dyn Fn() -> bool,
) -> Result<(), LoadSnapshotError> {
    if !looks_valid(disk, file)? {
        return Err(LoadSnapshotError::CutOff { offset: file.length });
    }
    let source = disk.open(&FileRef::new(Dir::Data, file.name.clone()))?;
    let source = Unless { source, is_in_the_way };
    let mut sum = Sum { digest: 0, node_digest };
    let end = decode_file(source, Compression::of(&file.name), length_max, &mut sum, &mut |_| ())?;
    if let Some(last) = end.last_processed.filter(|last| *last < file.zxid) {
        return Err(LoadSnapshotError::Renamed { last, named: file.zxid });
    }
    let digest = end.digest.filter(|digest| digest.zxid == file.zxid && digest.zxid != Zxid::ZERO);
    match digest.map(|digest| Fit::of(digest.version, digest.digest, sum.digest)) {
        Some(Fit::Wrong) => Err(LoadSnapshotError::Digest),
        _ => Ok(()),
    }
}

/// The digest of the znodes that have gone by: it is a sum, and needs no tree.
struct Sum {
    digest: i64,
    node_digest: NodeDigest,
}

impl SnapshotVisitor for Sum {
    fn session(&mut self, _: SessionId, _: i32) {}
    fn acl(&mut self, _: i64, _: AclVec<'_>) {}
    fn node(&mut self, path: &str, data: Buffer<'_>, _: i64, stat: &StatPersisted) -> Result<(), String> {
        self.digest = self.digest.wrapping_add(i64::from((self.node_digest)(path, data, stat)));
        Ok(())
    }
}

/// A source that ends with an error once it is in the way.
struct Unless<'a, R> {
    source: R,
    is_in_the_way: &'a dyn Fn() -> bool,
}

impl<R: Read> Read for Unless<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_in_the_way)() {
            return Err(io::Error::other("the purge is given up"));
        }
        self.source.read(buffer)
    }
}
