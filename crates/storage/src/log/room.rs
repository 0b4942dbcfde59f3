//! A disk that is full: what the log can still take, and what waits until there is room again.
//!
//! The zero-filled next file is always one ahead, so a disk without room shows when that file can't be made, while the
//! current file still has room that nobody can take away. From then on [`LogWriter::room`] says how much it is, and the
//! pipeline takes in only what surely fits: a write that is refused has no zxid and leaves nothing behind. A smaller next
//! file, if there is room for one, is what is left for sessions. One of the usual size is tried again now and then, and
//! when it is there, everything goes on.
//!
//! Until the next file is made nobody knows, so no more is taken in than surely fits ([`LogWriter::ahead`]): writes wait
//! before they have a zxid, and never outrun the thread that makes it.
//!
//! Where that is not enough (a leader's proposals can't wait, a file system does not keep the room that was allocated, no file
//! is preallocated), **a write that finds no room waits**: what it would have written was not acknowledged, and the same
//! bytes go to the same place when there is room, after what there is of them was cut off. A next file that is there, or
//! being made, makes way for it, and none is made until it went on. Only creating, writing and renaming wait like that. **A sync never does**: after one that failed
//! the kernel may have dropped the pages, and a second one would lie.
//!
//! Apache's server ends when its log's disk is full.

use std::io;

use super::fill::{FIRST_FILL, FillJob, Spare};
use super::record::HEADER_LENGTH;
use super::writer::{LogJob, LogWriter, Phase};
use crate::disk::{Effect, is_no_room};

/// The most bytes that are kept for sessions to begin and end while writes are refused.
pub const RESERVE_MAX: u64 = 256 << 10;
/// The smallest next file that is made, in bytes.
pub const LEAST_FILL: u64 = 256 << 10;
/// How long to wait before the next file is tried again, at first and at most, in ms.
pub const LOOK_AGAIN_MS: (i64, i64) = (100, 3000);

/// What can surely be appended while the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Room {
    /// Bytes of records.
    pub bytes: u64,
    /// How many of them should be kept for sessions to begin and end.
    pub reserve: u64,
    /// Is a batch waiting for room? Then nothing is durable until it went on.
    pub is_stuck: bool,
}

/// What happens to a job of which an effect failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The disk is full. Nothing of the batch is durable; execute [`LogJob::effects`] again after a while: they begin
    /// with the one that failed, or with what takes back the part of it that was done.
    Waits,
    /// The log is finished; hand the job to [`LogWriter::job_failed`] and end the server.
    Ends,
}

/// What is known about the room on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Shortage {
    /// There was no room for a next file of the usual size.
    is_short: bool,
    /// That was so for the file that is written, until no next one was made any more.
    was_short: bool,
    /// The job that is out found no room.
    is_stuck: bool,
    /// When to look again, and how long to wait after that.
    again: Option<(i64, i64)>,
}

impl Shortage {
    /// Does the job that is out wait for room?
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Is a file written whose room was promised, and no longer known for all there is?
    pub(super) fn was_short(&self) -> bool {
        self.was_short
    }

    pub(super) fn file_is_left(&mut self) {
        self.was_short = false;
    }

    /// No next file is made any more: whether there is room, only the batches can tell.
    pub(super) fn is_given_up(&mut self) {
        *self = Self { is_stuck: self.is_stuck, was_short: self.is_short || self.was_short, ..Self::default() };
    }

    pub(super) fn job_went_on(&mut self) {
        self.is_stuck = false;
    }
}

impl LogWriter {
    /// What can surely be appended; `None` while there is no sign that the disk is full.
    pub fn room(&self) -> Option<Room> {
        if self.shortage.is_stuck {
            return Some(Room { bytes: 0, reserve: 0, is_stuck: true });
        }
        if !self.shortage.is_short {
            return None;
        }
        Some(self.sure())
    }

    fn sure(&self) -> Room {
        let (filled, end) = self.current.as_ref().map_or((0, 0), |current| (current.filled, current.end));
        let next = if let Spare::Ready(size, _) = self.spare { size } else { 0 };
        // The larger one, not both: what does not fit behind the last record goes to the next file as a whole. What is in
        // flight is counted in `end`.
        let most = filled.saturating_sub(end).max(next.saturating_sub(HEADER_LENGTH));
        let queued = (self.pending_bytes - self.in_flight_bytes) as u64;
        let reserve = RESERVE_MAX.min(filled.max(next) / 4);
        Room { bytes: most.saturating_sub(queued), reserve, is_stuck: false }
    }

    /// What can surely be appended while the next file is on its way, in bytes without the reserve, and whether there is
    /// nothing to wait for any more: a file is ready and nothing is queued, so a longer record than fits must be tried. `None` where
    /// no such file comes, or where [`room`](Self::room) says all.
    pub fn ahead(&self) -> Option<(u64, bool)> {
        let comes = match self.spare {
            Spare::Missing | Spare::Filling | Spare::Ready(..) | Spare::Taken => true,
            Spare::Failed { retry } => retry,
            Spare::NoRoom | Spare::GivenUp => false,
        };
        let is_open = self.phase == Phase::Open && self.options.preallocate > HEADER_LENGTH;
        if !is_open || !comes || self.shortage.is_short || self.shortage.is_stuck {
            return None;
        }
        let Room { bytes, reserve, .. } = self.sure();
        let takes_next = matches!(self.spare, Spare::Ready(..)) && self.pending_txns() == 0;
        Some((bytes.saturating_sub(reserve), takes_next))
    }

    /// A fill job found no room ([`is_no_room`]): a smaller file is tried at once, and when there is no room for the
    /// smallest, the room is given back and looked for again later.
    pub fn fill_found_no_room(&mut self, job: FillJob) {
        if job.size == 0 || self.spare != Spare::Filling {
            return;
        }
        self.shortage.is_short |= job.size <= self.usual_fill();
        if self.shortage.is_stuck {
            self.make_way();
            return;
        }
        let least = LEAST_FILL.min(self.options.preallocate);
        if job.size > least {
            // The next job begins with emptying it.
            self.spare = Spare::Missing;
            self.next_fill_size = (job.size / 4).max(least);
        } else {
            self.spare = Spare::Failed { retry: true };
            self.next_fill_size = least;
        }
    }

    /// The smallest next file that shows that all is well.
    fn usual_fill(&self) -> u64 {
        FIRST_FILL.min(self.options.preallocate)
    }

    /// The room of the next file is for the batch that found none; another one is looked for when that went on.
    pub(super) fn make_way(&mut self) {
        self.shortage.is_short = true;
        self.spare = Spare::Failed { retry: true };
        self.next_fill_size = LEAST_FILL.min(self.options.preallocate);
    }

    /// A next file of so many bytes is there.
    pub(super) fn filled(&mut self, size: u64) {
        if size >= self.usual_fill() {
            self.shortage = Shortage { is_stuck: self.shortage.is_stuck, ..Shortage::default() };
        }
    }

    /// Call it now and then, with the clock that never goes back. True: it is time to look for room again, so ask for
    /// [`next_fill`](Self::next_fill).
    pub fn look_for_room(&mut self, now_ms: i64) -> bool {
        // Not one that a batch was promised which does not fit into the current file.
        let (filled, end) = self.current.as_ref().map_or((0, 0), |current| (current.filled, current.end));
        let queued = (self.pending_bytes - self.in_flight_bytes) as u64;
        let is_smaller =
            self.shortage.is_short && matches!(self.spare, Spare::Ready(..)) && queued <= filled.saturating_sub(end);
        if self.shortage.is_stuck || !(is_smaller || self.spare == Spare::NoRoom) || self.phase != Phase::Open {
            return false;
        }
        let (first, most) = LOOK_AGAIN_MS;
        let (at, wait) = *self.shortage.again.get_or_insert((now_ms + first, first));
        if now_ms < at {
            return false;
        }
        let wait = (2 * wait).min(most);
        self.shortage.again = Some((now_ms + wait, wait));
        // A smaller one makes way for it, and comes back if there is no room.
        self.spare = Spare::Missing;
        self.next_fill_size = self.usual_fill();
        true
    }

    /// An effect of a job failed with an error of this kind, after `done` of [`LogJob::effects`] were done. Ask for
    /// [`next_fill`](Self::next_fill) then: it gives back what room it can.
    pub fn job_stopped(&mut self, job: &mut LogJob, done: usize, kind: io::ErrorKind) -> Stopped {
        let may_wait = job.effects().get(done).is_some_and(Effect::may_wait_for_room);
        if self.phase == Phase::Open && is_no_room(kind) && may_wait {
            job.done += done;
            if let (Some(length), Some(current)) = (job.begin_again(self.options.force_sync), &mut self.current) {
                current.filled = current.filled.min(length);
            }
            self.shortage.is_stuck = true;
            // Where there is none, one that found no room may have left what it wrote.
            let fills = self.options.preallocate > HEADER_LENGTH;
            if fills && matches!(self.spare, Spare::Ready(..) | Spare::Missing) {
                self.make_way();
            }
            Stopped::Waits
        } else {
            Stopped::Ends
        }
    }
}
