//! Which old files may go (`PurgeTxnLog`, `DatadirCleanupManager`).

use wire::Zxid;

use crate::disk::{Dir, Disk, Entry, FileRef};
use crate::names::{self, FileName, Numbered};
use crate::recover::looks_valid;

/// The least number of snapshots that are kept, as in Apache.
pub const RETAIN_MIN: usize = 3;

/// The files that may be removed so that the `retain` (at least [`RETAIN_MIN`]) newest valid snapshots stay, with all
/// the txns behind the oldest of them.
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
    old_snapshots.chain(old_logs).map(|(dir, name): (Dir, &FileName)| FileRef::new(dir, name.clone())).collect()
}

/// [`purgeable`] of a disk, with the test that a load makes first. Remove the files in any order.
pub fn plan(disk: &dyn Disk, retain: usize) -> std::io::Result<Vec<FileRef>> {
    let (data, log) = (disk.list(Dir::Data)?, disk.list(Dir::Log)?);
    Ok(purgeable(&data, &log, retain, &mut |file| looks_valid(disk, file).unwrap_or(false)))
}
