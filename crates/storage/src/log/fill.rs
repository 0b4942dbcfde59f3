//! The next log file, which is made before it is needed.
//!
//! A background thread makes it ([`LogWriter::next_fill`]), under a name that nobody looks at, so that no append waits for
//! it. The first one is small and asked for at the start, off everyone's path, so that the very first append finds it; a
//! bigger one is asked for as soon as that is taken. There are two ways, and the load decides:
//!
//! * **Zeros are written.** A sync into blocks that are written changes no metadata and takes about half as long as one
//!   that allocates them. So it is for small batches, whose time is the sync's.
//! * **Blocks are allocated** (`fallocate`) and nothing is written. The first write into each changes metadata, which costs a
//!   sync of a large batch a small part of its time; zeros would cost as many bytes as the log itself. So it is
//!   while large batches come.
//!
//! When the load becomes small, a zero-filled file takes the place of one that is allocated, ready or in use. What is in
//! front of a record is the same both ways: zeros.

use super::record::{HEADER, HEADER_LENGTH};
use super::writer::{LogWriter, Phase};
use crate::disk::{Dir, Effect, FileRef};
use crate::names::FileName;

/// The size of the first file that is made beforehand, in bytes.
pub const FIRST_FILL: u64 = 4 << 20;
/// How much one effect of a fill writes, in bytes: so little that a sync of the log that meets it waits for some hundred
/// microseconds at most.
pub const FILL_CHUNK: u64 = 256 << 10;
/// What filling and writing keep to, in bytes, so that a filled file can be written past the page cache and a page that
/// is not in the cache is never read back for a part of it.
pub const PAGE: u64 = 4096;

/// Work for a background thread: making the next file, or giving back the blocks of a file that was left.
///
/// Its effects may be spread over as much time as one likes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FillJob {
    effects: Vec<Effect>,
    /// The size of the file that it makes; 0 if it makes none.
    pub(super) size: u64,
    made: Made,
}

impl FillJob {
    /// What to do, in this order, stopping at the first failure.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// The size of the file that it makes, in bytes; 0 if it only gives room back.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// From when on a load counts as one of large batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bulk {
    /// A batch of so many bytes is a large one; 0: none is, and every file is zero-filled.
    pub bytes: u64,
    /// So many more of the last batches must have been large than small ones.
    pub batches: u32,
}

impl Default for Bulk {
    fn default() -> Self {
        Self { bytes: 16 << 10, batches: 16 }
    }
}

/// How the room of a file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Made {
    /// Zeros were written.
    Written,
    /// Its blocks are allocated, nothing is written.
    Allocated,
}

/// The next file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Spare {
    /// There is none.
    Missing,
    /// A job is making one.
    Filling,
    /// It is there, with its header, and has this size.
    Ready(u64, Made),
    /// A job is renaming it.
    Taken,
    /// Making one failed, and what there is of it has to go; then another may be tried later, or not.
    Failed {
        /// Was it for want of room?
        retry: bool,
    },
    /// There was no room for one; see [`LogWriter::look_for_room`].
    NoRoom,
    /// Making one failed; no other is tried.
    GivenUp,
}

/// Were the batches large or small lately? A large one counts up, a small one down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Load(u32);

impl Load {
    pub(super) fn batch(&mut self, bytes: u64, bulk: Bulk) {
        let is_large = bulk.bytes > 0 && bytes >= bulk.bytes;
        self.0 = if is_large { (self.0 + 1).min(2 * bulk.batches) } else { self.0.saturating_sub(1) };
    }

    fn is_bulk(self, bulk: Bulk) -> bool {
        bulk.bytes > 0 && self.0 >= bulk.batches
    }

    pub(super) fn is_small(self) -> bool {
        self.0 == 0
    }
}

impl LogWriter {
    /// Work for the background thread, if there is any and none is out. Ask at the start and after each job.
    pub fn next_fill(&mut self) -> Option<FillJob> {
        if self.phase != Phase::Open || matches!(self.spare, Spare::Filling) {
            return None;
        }
        let mut effects = Vec::new();
        // No job writes to these any more: a file is left when the batch behind its last one is handed out.
        for (file, length) in self.to_trim.drain(..) {
            effects.push(Effect::Truncate { file, length });
        }
        if let Spare::Failed { retry } = self.spare {
            self.spare = if retry { Spare::NoRoom } else { Spare::GivenUp };
            // Emptied first: its blocks are wanted back now, also if somebody still has it open.
            let file = FileRef::new(Dir::Log, FileName::NextLog);
            effects.extend([Effect::Create(file.clone()), Effect::Remove(file)]);
        }
        if matches!(self.spare, Spare::Ready(_, Made::Allocated)) && self.load.is_small() && !self.shortage.is_short() {
            // A zero-filled one makes it superfluous. The load is small, and so may it be.
            self.spare = Spare::Missing;
            self.next_fill_size = FIRST_FILL.min(self.options.preallocate);
        }
        let (mut size, mut made) = (0, Made::Written);
        let may_fill = self.options.preallocate > HEADER_LENGTH && !self.shortage.is_stuck();
        if self.spare == Spare::Missing && may_fill {
            size = self.next_fill_size;
            self.next_fill_size = (4 * size).min(self.options.preallocate);
            self.spare = Spare::Filling;
            if self.load.is_bulk(self.options.bulk) {
                made = Made::Allocated;
            }
            fill_effects(size, made, self.options.force_sync, &mut effects);
        }
        (!effects.is_empty()).then_some(FillJob { effects, size, made })
    }

    /// The current file is left before a batch of so many bytes: what it came to hold says how much room the file after the
    /// next one is worth. Where snapshots come often, most of a large file would be written for nothing.
    pub(super) fn size_next_fill(&mut self, bytes: u64) {
        let Some(left) = &self.current else { return };
        if left.end + bytes <= left.filled {
            let twice = left.end.saturating_mul(2).next_power_of_two();
            self.next_fill_size = twice.max(FIRST_FILL).min(self.options.preallocate);
        }
    }

    /// A fill job's effects are done.
    pub fn fill_done(&mut self, job: FillJob) {
        if job.size > 0 && self.spare == Spare::Filling {
            if self.shortage.is_stuck() {
                self.make_way();
                return;
            }
            self.spare = Spare::Ready(job.size, job.made);
            self.filled(job.size);
        }
    }

    /// A fill job failed, for another reason than want of room (that is [`fill_found_no_room`](Self::fill_found_no_room)).
    /// The log goes on without files made beforehand: only speed is lost. The next job removes what there is of the file.
    pub fn fill_failed(&mut self, job: FillJob) {
        // A job that was to make none has not touched the one that is ready, or is being renamed.
        if job.size > 0 && self.spare == Spare::Filling {
            self.spare = Spare::Failed { retry: false };
            // Nobody looks for room with such files any more, so none may be refused for want of them.
            self.shortage.is_given_up();
        }
    }
}

/// The effects that make the next file: its header, room up to `size`, all of it durable.
fn fill_effects(size: u64, made: Made, force_sync: bool, effects: &mut Vec<Effect>) {
    let file = FileRef::new(Dir::Log, FileName::NextLog);
    effects.push(Effect::Create(file.clone()));
    let mut first_page = HEADER.to_vec();
    first_page.resize(PAGE.min(size) as usize, 0);
    let mut from = first_page.len() as u64;
    effects.push(Effect::WriteAt { file: file.clone(), offset: 0, bytes: first_page });
    if made == Made::Allocated && from < size {
        effects.push(Effect::Allocate { file: file.clone(), from, to: size });
        from = size;
    }
    while from < size {
        let to = (from / FILL_CHUNK + 1).saturating_mul(FILL_CHUNK).min(size);
        effects.push(Effect::ZeroFill { file: file.clone(), from, to });
        from = to;
    }
    if force_sync {
        effects.push(Effect::Fdatasync(file));
    }
}
