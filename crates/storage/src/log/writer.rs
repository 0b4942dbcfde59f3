//! The machine that writes the txn log: group commit and rolling.
//!
//! `append` fills a batch; `next_job` hands the oldest batch out as effects, one job at a time, and the next batches fill
//! meanwhile; `job_done` says up to which zxid everything is durable. A batch is never split between files and only one
//! job is out, so an older file is always durable before anything in a newer one is acknowledged.
//!
//! **Every `log.` file has a durable header.** A file gets its header, and is synced, under another name, and only then
//! the name that Apache would look at; a crash leaves no `log.` file that Apache can't open.
//!
//! **The next file is made beforehand**, by a background thread; how, and why, is told in [`fill`](super::fill). Old blocks
//! are never used again: stale records behind the tail have valid checksums, and Apache would replay them.
//!
//! What a disk that is full means for all this is decided in [`room`](super::room).
//!
//! Source: Apache `FileTxnLog`, `FilePadding`, `SyncRequestProcessor`.

use std::collections::VecDeque;
use std::fmt;
use std::mem;

use wire::Zxid;

use super::fill::{Bulk, FIRST_FILL, Load, Made, PAGE, Spare};
use super::record::{self, HEADER, HEADER_LENGTH};
use super::room::Shortage;
use crate::disk::{Dir, Effect, FileRef};
use crate::names::FileName;

/// How many empty buffers are kept for reuse.
const SPARE_BUFFERS: usize = 4;

/// How a log is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogOptions {
    /// `preAllocSize` in bytes: the size of a zero-filled file. 0: none is made. Apache's default is 64 MiB.
    pub preallocate: u64,
    /// `txnLogSizeLimitInKb` in bytes: a file is left once it holds more. 0: no limit.
    pub size_limit: u64,
    /// The most bytes of one batch; one entry may be longer.
    pub batch_bytes: usize,
    /// `maxBatchSize`: the most txns of one batch. 0: no limit.
    pub batch_txns: usize,
    /// When the next file is allocated instead of zero-filled.
    pub bulk: Bulk,
    /// `forceSync`: false leaves every sync out, and a crash of the machine may lose what was acknowledged.
    pub force_sync: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            preallocate: 64 << 20,
            size_limit: 0,
            batch_bytes: 4 << 20,
            batch_txns: 1000,
            bulk: Bulk::default(),
            force_sync: true,
        }
    }
}

/// Why an append was refused. None of these changes the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// It does not follow the txn before it: a gap, or a zxid that the log already has.
    OutOfOrder {
        /// The last zxid in the log.
        last: Zxid,
        /// The one that was to follow.
        zxid: Zxid,
    },
    /// The entry's header has another zxid, or the entry is shorter than a header or longer than a record can be.
    BadEntry {
        /// The zxid that was given.
        zxid: Zxid,
        /// The entry's length in bytes.
        length: usize,
    },
    /// The log was closed, or an effect failed before.
    Stopped,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder { last, zxid } => {
                write!(
                    f,
                    "txn {zxid} does not follow {last}, the last one in the log; this server must stop and sync again"
                )
            }
            Self::BadEntry { zxid, length } => write!(f, "the {length} bytes given as txn {zxid} are no such txn"),
            Self::Stopped => {
                f.write_str("the txn log was closed or has failed; nothing can be appended to it any more")
            }
        }
    }
}

impl std::error::Error for AppendError {}

/// A batch on its way to the disk. Give it back when it is done, for its buffers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogJob {
    effects: Vec<Effect>,
    /// How many of the effects are done: some, if the job had to wait for room.
    pub(super) done: usize,
    /// Where among the effects the file is cut before the records are written, if these found no room once.
    cut_at: Option<usize>,
    last: Zxid,
    txns: usize,
    bytes: usize,
}

impl LogJob {
    /// What to do, in this order, stopping at the first failure.
    pub fn effects(&self) -> &[Effect] {
        &self.effects[self.done..]
    }

    /// The effect that is next has found no room; it is tried again later. Where the file ends then, if that changes.
    ///
    /// If it writes the records, a part of them may be in the file, which ends anywhere, in the middle of a sector. Were
    /// they simply written again, a crash could keep that part of a sector beside whole ones that were written later, and
    /// no start could tell it from damage. So it is cut off first, durably. (Zeros over it would not do: they may be
    /// written in part as well.)
    pub(super) fn begin_again(&mut self, force_sync: bool) -> Option<u64> {
        let bytes_of_records = self.bytes;
        let Some(Effect::WriteAt { file, offset, bytes }) = self.effects.get_mut(self.done) else { return None };
        // A header is not written over: its file has no name yet, and is synced before it gets one.
        if !force_sync || !matches!(file.name, FileName::Log(_)) {
            return None;
        }
        let length = *offset;
        // With the room that was made for it goes what would have been zeros over zeros.
        bytes.truncate(bytes_of_records);
        if self.cut_at.is_none() {
            let cut = Effect::Truncate { file: file.clone(), length };
            let sync = Effect::Fdatasync(file.clone());
            self.effects.splice(self.done..self.done, [cut, sync]);
        }
        self.done = *self.cut_at.get_or_insert(self.done);
        Some(length)
    }

    /// The last zxid of the batch.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// How many txns it holds; at least one.
    pub fn txns(&self) -> usize {
        self.txns
    }

    /// How many bytes of records it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Records that go to the disk together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Batch {
    records: Vec<u8>,
    first: Zxid,
    last: Zxid,
    txns: usize,
}

/// The file that the last job wrote to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Current {
    pub(super) file: FileRef,
    /// Behind its last record.
    pub(super) end: u64,
    /// How far there is room for it, which reads as zeros.
    pub(super) filled: u64,
    /// How that room was made.
    pub(super) made: Made,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Open,
    Closed,
    Failed,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogWriter {
    pub(super) options: LogOptions,
    pub(super) phase: Phase,
    /// The last zxid that was appended, or that was in the log before.
    appended: Zxid,
    /// Up to here everything is durable.
    durable: Zxid,
    /// Oldest first; the last one is being filled.
    batches: VecDeque<Batch>,
    pub(super) pending_bytes: usize,
    pending_txns: usize,
    in_flight: bool,
    /// How many of the pending bytes are in the job that is out.
    pub(super) in_flight_bytes: usize,
    pub(super) current: Option<Current>,
    roll_wanted: bool,
    pub(super) spare: Spare,
    /// The size of the spare file to ask for next.
    pub(super) next_fill_size: u64,
    /// What is known about the room on the disk.
    pub(super) shortage: Shortage,
    /// What the batches were like lately.
    pub(super) load: Load,
    /// A file that was left with zeros behind its last record: file, length to keep.
    pub(super) to_trim: Vec<(FileRef, u64)>,
    buffers: Vec<Vec<u8>>,
    effects: Vec<Effect>,
}

impl LogWriter {
    /// A log whose last txn is `last` ([`Zxid::ZERO`] if there is none). No file is made before the first append, and
    /// that one always begins a new file, as Apache does at each start.
    pub fn new(options: LogOptions, last: Zxid) -> Self {
        let next_fill_size = FIRST_FILL.min(options.preallocate);
        Self {
            options,
            phase: Phase::Open,
            appended: last,
            durable: last,
            batches: VecDeque::new(),
            pending_bytes: 0,
            pending_txns: 0,
            in_flight: false,
            in_flight_bytes: 0,
            current: None,
            roll_wanted: false,
            spare: Spare::Missing,
            next_fill_size,
            shortage: Shortage::default(),
            load: Load::default(),
            to_trim: Vec::new(),
            buffers: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// Adds a txn. `entry` is what a PROPOSAL carries: header, body, digest.
    ///
    /// Inside an epoch zxids have no gap; a new epoch may begin at any counter.
    pub fn append(&mut self, zxid: Zxid, entry: &[u8]) -> Result<(), AppendError> {
        if self.phase != Phase::Open {
            return Err(AppendError::Stopped);
        }
        let last = self.appended;
        if !follows(last, zxid) {
            return Err(AppendError::OutOfOrder { last, zxid });
        }
        if entry.len() < record::BLOB_MIN || entry.len() > i32::MAX as usize || record::zxid_of(entry) != Some(zxid) {
            return Err(AppendError::BadEntry { zxid, length: entry.len() });
        }
        let length = entry.len() + record::OVERHEAD;
        let (bytes_max, txns_max) = (self.options.batch_bytes, self.options.batch_txns);
        let fits =
            |batch: &Batch| batch.records.len() + length <= bytes_max && (txns_max == 0 || batch.txns < txns_max);
        if !self.batches.back().is_some_and(fits) {
            let records = self.buffers.pop().unwrap_or_default();
            self.batches.push_back(Batch { records, first: zxid, last: zxid, txns: 0 });
        }
        if let Some(batch) = self.batches.back_mut() {
            record::encode(entry, &mut batch.records);
            batch.last = zxid;
            batch.txns += 1;
        }
        self.appended = zxid;
        self.pending_bytes += length;
        self.pending_txns += 1;
        Ok(())
    }

    /// The next batch, if there is one and no other job is out.
    pub fn next_job(&mut self) -> Option<LogJob> {
        if self.in_flight || self.phase != Phase::Open {
            return None;
        }
        let batch = self.batches.pop_front()?;
        let bytes = batch.records.len();
        self.load.batch(bytes as u64, self.options.bulk);
        let mut effects = mem::take(&mut self.effects);
        if self.wants_new_file(bytes as u64) {
            self.size_next_fill(bytes as u64);
            self.begin_file(batch.first, &mut effects);
        }
        if let Some(current) = &mut self.current {
            let file = current.file.clone();
            let offset = current.end;
            current.end += bytes as u64;
            let mut records = batch.records;
            // Zeros over zeros, up to the end of the page: the page need not be read for what is behind the records.
            let page_end = current.end.next_multiple_of(PAGE);
            if page_end <= current.filled {
                records.resize((page_end - offset) as usize, 0);
            }
            effects.push(Effect::WriteAt { file: file.clone(), offset, bytes: records });
            if self.options.force_sync {
                effects.push(Effect::Fdatasync(file));
            }
        }
        self.in_flight = true;
        self.in_flight_bytes = bytes;
        Some(LogJob { effects, done: 0, cut_at: None, last: batch.last, txns: batch.txns, bytes })
    }

    fn wants_new_file(&self, bytes: u64) -> bool {
        let Some(current) = &self.current else { return true };
        let limit = self.options.size_limit;
        if self.roll_wanted || (limit > 0 && current.end > limit) {
            // Until the next file is made, staying costs less than going without; where there is no room for it, the
            // current one has all the room there is, and what was said to fit was said of it.
            let comes =
                matches!(self.spare, Spare::Missing | Spare::Filling) && self.options.preallocate > HEADER_LENGTH;
            let stays = comes || self.shortage.is_short() || self.shortage.was_short();
            return !stays || current.end + bytes > current.filled;
        }
        match self.spare {
            // The load has become small, and its syncs are quicker in blocks that are written.
            Spare::Ready(_, Made::Written) if current.made == Made::Allocated && self.load.is_small() => true,
            Spare::Ready(..) => current.end + bytes > current.filled,
            _ => false,
        }
    }

    /// Nothing more goes to the current file, and the zeros behind its last record are not needed.
    fn leave_file(&mut self) {
        self.shortage.file_is_left();
        if let Some(left) = self.current.take()
            && left.filled > left.end
        {
            self.to_trim.push((left.file, left.end));
        }
    }

    /// The effects that begin `log.<first>`.
    fn begin_file(&mut self, first: Zxid, effects: &mut Vec<Effect>) {
        self.leave_file();
        let (name, filled, made) = match self.spare {
            Spare::Ready(size, made) => {
                self.spare = Spare::Taken;
                (FileName::NextLog, size, made)
            }
            _ => {
                let file = FileRef::new(Dir::Log, FileName::NewLog);
                effects.push(Effect::Create(file.clone()));
                effects.push(Effect::WriteAt { file: file.clone(), offset: 0, bytes: HEADER.to_vec() });
                if self.options.force_sync {
                    effects.push(Effect::Fdatasync(file));
                }
                (FileName::NewLog, 0, Made::Written)
            }
        };
        let to = FileName::Log(first);
        effects.push(Effect::Rename { file: FileRef::new(Dir::Log, name), to });
        if self.options.force_sync {
            effects.push(Effect::FsyncDir(Dir::Log));
        }
        self.current = Some(Current { file: FileRef::log(first), end: HEADER_LENGTH, filled, made });
        self.roll_wanted = false;
    }

    /// A job's effects are done. Everything up to the zxid that this gives is durable.
    pub fn job_done(&mut self, job: LogJob) -> Zxid {
        self.in_flight = false;
        self.in_flight_bytes = 0;
        self.shortage.job_went_on();
        if self.spare == Spare::Taken {
            self.spare = Spare::Missing;
        }
        self.pending_bytes -= job.bytes;
        self.pending_txns -= job.txns;
        self.durable = job.last;
        let mut effects = job.effects;
        for effect in effects.drain(..) {
            if let Effect::WriteAt { mut bytes, .. } = effect
                && bytes.capacity() > HEADER.len()
                && bytes.capacity() <= 2 * self.options.batch_bytes
                && self.buffers.len() < SPARE_BUFFERS
            {
                bytes.clear();
                self.buffers.push(bytes);
            }
        }
        self.effects = effects;
        self.durable
    }

    /// An effect of a job failed. The log is finished: nothing in it or behind it will ever be called durable, and the
    /// server has to end (a sync that failed must not be tried again: the kernel may have dropped the pages).
    pub fn job_failed(&mut self, job: LogJob) {
        drop(job);
        self.in_flight = false;
        self.phase = Phase::Failed;
    }

    /// Begin a new file soon: at the next batch, or, while the next zero-filled file is still being made and the current
    /// one has room, when that is ready. Asked for when a snapshot begins.
    pub fn roll(&mut self) {
        self.roll_wanted = self.current.is_some();
    }

    /// The end of a clean shutdown: call it when no job is out, no fill is out and nothing is pending. The effects give
    /// back the zeros behind the last record and the file that was to be the next. `None` if something is pending.
    pub fn close(&mut self) -> Option<Vec<Effect>> {
        if self.phase != Phase::Open || self.pending_txns > 0 {
            return None;
        }
        self.phase = Phase::Closed;
        let mut effects = Vec::new();
        for (file, length) in self.to_trim.drain(..) {
            effects.push(Effect::Truncate { file, length });
        }
        if let Some(current) = self.current.take()
            && current.filled > current.end
        {
            effects.push(Effect::Truncate { file: current.file.clone(), length: current.end });
            effects.push(Effect::Fsync(current.file));
        }
        if self.spare != Spare::Missing {
            effects.push(Effect::Remove(FileRef::new(Dir::Log, FileName::NextLog)));
            effects.push(Effect::FsyncDir(Dir::Log));
        }
        Some(effects)
    }

    /// Bytes of records that are not durable yet; what backpressure looks at.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Txns that are not durable yet.
    pub fn pending_txns(&self) -> usize {
        self.pending_txns
    }

    /// Up to here everything is durable.
    pub fn durable(&self) -> Zxid {
        self.durable
    }

    /// The last zxid that was appended.
    pub fn appended(&self) -> Zxid {
        self.appended
    }

    /// Is a job out?
    pub fn is_busy(&self) -> bool {
        self.in_flight
    }

    /// Did an effect fail?
    pub fn has_failed(&self) -> bool {
        self.phase == Phase::Failed
    }

    /// The file that is being written, and how long it is up to its last record.
    pub fn current_file(&self) -> Option<(&FileRef, u64)> {
        self.current.as_ref().map(|current| (&current.file, current.end))
    }
}

/// May `next` stand right behind `last` in a log?
pub(crate) fn follows(last: Zxid, next: Zxid) -> bool {
    if next.epoch() == last.epoch() { last.counter() != u32::MAX && next == last.next() } else { next > last }
}
