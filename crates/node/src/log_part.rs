//! A part of the log on the disk, for a learner that lacks it; only if nothing is missing in it.
//!
//! Inside an epoch the zxids show a gap; where one epoch ends and the next begins, they don't: whatever number comes last may be
//! the last. And a directory may have such a gap: a leader's snapshot was installed, which leaves nothing older, and a crash has
//! brought some of it back (ZOOKEEPER-2099, 2846), or the files are Apache's, which leaves it all. So more is asked for:
//!
//! * **No snapshot may be passed over.** A server's own is of a txn that its log has. One whose txn the log has not came from a
//!   leader, and between it and what is older anything may be missing. It is there for as long as anything older is: an
//!   installation removes that behind it, and a purge removes logs first ([`storage::purge::removal`]).
//! * **An older snapshot is no beginning by itself**, unless the very next txn of its epoch follows: the logs behind it may be
//!   purged. The newest one is: a start goes by it, too, and its logs are there.

use bytes::Bytes;
use storage::log::dir::{ReadLogError, ReadOptions, files_from, read_history};
use storage::names::{self, numbered};
use storage::recover::read_options;
use storage::{Dir, Disk, RecoverOptions};
use wire::Zxid;
use zab::{LogPart, Proposal};

enum Stop {
    Enough,
    Failed,
}

impl From<ReadLogError> for Stop {
    fn from(_: ReadLogError) -> Self {
        Self::Failed
    }
}

/// The log behind `from` up to `up_to`, in part if it is more than `bytes_max`. `None`: it can't be had without a gap, or it can't
/// be shown that there is none.
pub fn read_log(
    disk: &dyn Disk,
    from: Zxid,
    up_to: Zxid,
    bytes_max: usize,
    options: &RecoverOptions,
) -> Option<LogPart> {
    let files = files_from(&disk.list(Dir::Log).ok()?, from.next());
    let snapshots: Vec<Zxid> =
        numbered(&disk.list(Dir::Data).ok()?, names::SNAPSHOT).into_iter().map(|file| file.zxid).collect();
    // The newest place that is not behind `from`: in the file that begins before it, if anywhere, or a snapshot's.
    let start = files.first().filter(|file| file.zxid <= from).map_or(from, |file| Zxid(file.zxid.0 - 1));
    let mut before = snapshots.iter().copied().rfind(|&zxid| zxid <= from);
    let mut is_beginning = before == snapshots.last().copied();
    let (mut proposals, mut bytes) = (Vec::<Proposal>::new(), 0);
    let read = ReadOptions { went_on: false, ..read_options(options) };
    let done = read_history::<Stop>(disk, start, &read, &mut |_, record| {
        let zxid = record.zxid;
        if zxid <= from {
            is_beginning |= before.is_none_or(|before| before <= zxid);
            before = before.max(Some(zxid));
            return Ok(());
        }
        let last = proposals.last().map(|it| it.zxid).or(before).ok_or(Stop::Failed)?;
        let is_behind = is_beginning || zxid.epoch() == last.epoch();
        if zxid > up_to || !is_behind || snapshots.iter().any(|&it| last < it && it < zxid) {
            return Err(Stop::Failed);
        }
        is_beginning = true;
        bytes += record.blob.len();
        proposals.push(Proposal { zxid, txn: Bytes::copy_from_slice(record.blob) });
        // What is behind may be about to be written.
        if zxid == up_to || bytes >= bytes_max { Err(Stop::Enough) } else { Ok(()) }
    });
    let part = LogPart { before: before?, proposals };
    (matches!(done, Err(Stop::Enough)) && part.is_continuous()).then_some(part)
}
