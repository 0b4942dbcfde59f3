//! Which old files may go (`PurgeTxnLog`, `DatadirCleanupManager`).

use std::io;

use wire::Zxid;

use crate::disk::{Dir, Disk, Entry, FileRef};
use crate::names::{self, FileName, Numbered};
use crate::recover::looks_valid;
use crate::snapshot::decode::{Ignore, decode_file};
use crate::snapshot::stream::Compression;

/// The least number of snapshots that are kept, as in Apache.
pub const RETAIN_MIN: usize = 3;

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
    old_snapshots
        .chain(old_logs)
        .chain(old_cuts)
        .map(|(dir, name): (Dir, &FileName)| FileRef::new(dir, name.clone()))
        .collect()
}

/// [`purgeable`] of a disk, with the test that a load makes first. Remove the files in any order.
///
/// That test looks at a file's end only, or, if it is compressed, at its beginning. So before anything may go, one of the
/// snapshots that stay is read whole, the newest first; if none is whole, that is the error, and the older ones and their
/// logs are what is left. `length_max` is that of [`RecoverOptions`](crate::RecoverOptions::length_max).
pub fn plan(disk: &dyn Disk, retain: usize, length_max: usize) -> io::Result<Vec<FileRef>> {
    let (data, log) = (disk.list(Dir::Data)?, disk.list(Dir::Log)?);
    let mut counted = Vec::new();
    let files = purgeable(&data, &log, retain, &mut |file| {
        let is_valid = looks_valid(disk, file).unwrap_or(false);
        if is_valid {
            counted.push(file.clone());
        }
        is_valid
    });
    let mut tried = Vec::new();
    // The newest first.
    for file in &counted {
        if files.is_empty() {
            return Ok(files);
        }
        let source = disk.open(&FileRef::new(Dir::Data, file.name.clone()))?;
        match decode_file(source, Compression::of(&file.name), length_max, &mut Ignore, &mut |_| ()) {
            Ok(_) => return Ok(files),
            Err(error) => tried.push(format!("{}: {error}", file.name)),
        }
    }
    if files.is_empty() {
        return Ok(files);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("none of the snapshots that would stay can be loaded, so nothing is removed; {}", tried.join("; ")),
    ))
}
