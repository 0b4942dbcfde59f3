//! What goes wrong in random histories, and how often it did.

use std::collections::BTreeMap;

/// What may go wrong in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The power fails.
    Power,
    /// The process is killed.
    Kill,
    /// EIO for one effect.
    Error,
    /// EIO in the midst of a write.
    ErrorPartly,
    /// The disk is full.
    Full,
    /// The file system is read-only.
    ReadOnly,
    /// A sync fails, and what it should have written counts as written.
    SyncLost,
    /// The kernel drops its clean pages.
    Evict,
    /// An effect takes long.
    Stall,
    /// EIO when a file is read.
    ReadError,
    /// A bit comes out wrong when a file is read.
    ReadRot,
    /// A bit changes at rest.
    Rot,
    /// A bit of the length that the last acknowledged record names changes at rest, where the write behind it was cut short.
    LengthRot,
    /// A bit of an epoch file changes at rest, so that it holds no number. A digit may become another one, too, and that nobody
    /// could know.
    EpochRot,
    /// A sector is lost: it holds zeros.
    LostSector,
    /// A sector that was being written when the power failed is half old, half new.
    TornSector,
    /// A write ends up elsewhere.
    Misdirected,
}

/// Those without which nothing on the medium is wrong.
pub(super) const HONEST: [Kind; 9] = [
    Kind::Power,
    Kind::Kill,
    Kind::Error,
    Kind::ErrorPartly,
    Kind::Full,
    Kind::ReadOnly,
    Kind::SyncLost,
    Kind::Evict,
    Kind::Stall,
];
/// Damage.
pub(super) const DAMAGE: [Kind; 8] = [
    Kind::ReadError,
    Kind::ReadRot,
    Kind::Rot,
    Kind::LengthRot,
    Kind::EpochRot,
    Kind::LostSector,
    Kind::TornSector,
    Kind::Misdirected,
];
/// What happened in some histories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Histories.
    pub histories: u64,
    /// Txns that were acknowledged.
    pub acknowledged: u64,
    /// Starts that were tried.
    pub starts: u64,
    /// States that a crash left, and that were recovered from.
    pub crash_states: u64,
    /// How often what went wrong.
    pub faults: BTreeMap<Kind, u64>,
    /// Starts that knew that the machine had gone on, or how long the log was when its server stopped in order.
    pub knowing: u64,
    /// Starts that were refused, for a reason.
    pub refused: u64,
    /// Epoch files that hold no number, and were refused.
    pub epochs_refused: u64,
    /// Losses after damage that the start has told.
    pub told: u64,
    /// Losses of the last records, or of the last ones of an epoch, that no start can see: the disk has lost a write.
    pub unseen: u64,
    /// Writes that were refused because the disk was full.
    pub no_room: u64,
    /// Batches that found no room and waited for it.
    pub waited: u64,
    /// Those that went on when there was room again, without a new start.
    pub went_on: u64,
    /// Starts behind a process that ended while a batch waited for room, that found all of the batch.
    pub waiting_whole: u64,
    /// Those that found a beginning of it.
    pub waiting_part: u64,
    /// Those that found nothing of it.
    pub waiting_none: u64,
    /// Starts on a disk that was full.
    pub full_starts: u64,
    /// Starts refused because a crash had left what a single changed bit would explain too.
    pub in_doubt: u64,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.acknowledged += other.acknowledged;
        self.starts += other.starts;
        self.crash_states += other.crash_states;
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        self.knowing += other.knowing;
        self.refused += other.refused;
        self.epochs_refused += other.epochs_refused;
        self.told += other.told;
        self.unseen += other.unseen;
        self.in_doubt += other.in_doubt;
        self.no_room += other.no_room;
        self.waited += other.waited;
        self.went_on += other.went_on;
        self.waiting_whole += other.waiting_whole;
        self.waiting_part += other.waiting_part;
        self.waiting_none += other.waiting_none;
        self.full_starts += other.full_starts;
    }
}
