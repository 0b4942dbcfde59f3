//! What is said about the log's disk: that it hangs, while it does, and that it is full.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::time::Duration;

use parking_lot::Mutex;
use storage::log::stall::StallWatch;
use storage::{Effect, Room};

/// What the log's thread is at, for whoever looks from outside, and what was said about it.
#[derive(Debug, Default)]
pub struct DiskWatch {
    /// When the batch under way was begun, in µs of the clock that never goes back; 0: there is none.
    since_us: AtomicU64,
    /// What is being done of it.
    what: AtomicU8,
    txns: AtomicU64,
    warn_after_ms: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    stall: StallWatch,
    level: Level,
    refused: u64,
    room: Option<Room>,
    snapshots_failed: u32,
}

/// How full the disk is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Not that we knew.
    #[default]
    Fine,
    /// There is no room for a next file.
    Short,
    /// Writes are refused.
    Refusing,
    /// A batch waits for room.
    Stuck,
}

impl DiskWatch {
    /// `fsync.warningthresholdms`.
    pub fn warn_after(&self, after: Duration) {
        self.warn_after_ms.store(after.as_millis() as u64, Relaxed);
    }

    /// The log's thread takes up a batch.
    pub fn begins(&self, now_us: u64, txns: usize) {
        self.txns.store(txns as u64, Relaxed);
        self.since_us.store(now_us.max(1), Relaxed);
    }

    /// It is at this effect now.
    pub fn is_at(&self, effect: &Effect) {
        let what = WORDS.iter().position(|(is, _)| is(effect)).unwrap_or_default();
        self.what.store(what as u8, Relaxed);
    }

    /// The batch is done, or waits for room.
    pub fn ends(&self) {
        self.since_us.store(0, Relaxed);
    }

    /// How long the batch under way takes already, in ms.
    pub fn hangs_ms(&self, now_us: u64) -> i64 {
        match self.since_us.load(Relaxed) {
            0 => 0,
            since => (now_us.saturating_sub(since) / 1000) as i64,
        }
    }

    /// What the log could take at the last tick, and how many snapshots in a row came to nothing.
    pub fn room_and_failures(&self) -> (Option<Room>, i64) {
        let told = self.told.lock();
        (told.room, told.snapshots_failed.into())
    }

    /// Were writes refused at the last tick?
    pub fn refuses(&self) -> bool {
        matches!(self.told.lock().level, Level::Refusing | Level::Stuck)
    }

    /// So many snapshots in a row came to nothing.
    pub fn snapshots_failed(&self, in_a_row: u32) {
        self.told.lock().snapshots_failed = in_a_row;
    }

    /// Says so if the disk hangs, again and again while it does.
    pub fn look_for_stall(&self, now_us: u64) {
        let since = Some(self.since_us.load(Relaxed)).filter(|since| *since > 0);
        let after_ms = self.warn_after_ms.load(Relaxed) as i64;
        let look = self.told.lock().stall.look((now_us / 1000) as i64, since.map(|us| (us / 1000) as i64), after_ms);
        if let Some(took_ms) = look {
            let doing = WORDS[usize::from(self.what.load(Relaxed)) % WORDS.len()].1;
            tracing::warn!(
                "fsync-ing the write ahead log in SyncThread:0 has taken {took_ms}ms and is not done: the disk hangs while \
                 {doing}; {} txns and all writes behind them wait, reads go on",
                self.txns.load(Relaxed)
            );
        }
    }

    /// Says so if the disk has become full, or has room again. `refused` counts what was refused for it.
    pub fn look_for_room(&self, room: Option<Room>, refuses: bool, refused: u64) {
        let level = match room {
            None => Level::Fine,
            Some(room) if room.is_stuck => Level::Stuck,
            Some(_) if refuses => Level::Refusing,
            Some(_) => Level::Short,
        };
        let mut told = self.told.lock();
        told.room = room;
        if std::mem::replace(&mut told.level, level) == level {
            return;
        }
        let bytes = room.map_or(0, |room| room.bytes);
        match level {
            Level::Fine => {
                // Fewer than before: they were set back by `srst`.
                let count = refused.checked_sub(std::mem::replace(&mut told.refused, refused)).unwrap_or(refused);
                tracing::warn!(
                    "the txn log's disk has room again: writes are taken; {count} requests were refused meanwhile"
                );
            }
            Level::Short => tracing::warn!(
                "the txn log's disk is full: there is no room for its next file, and {bytes} bytes are left in the current \
                 one; make room where dataLogDir is"
            ),
            Level::Refusing if bytes > 0 => tracing::error!(
                "the txn log's disk is full: writes are refused with SystemError (-1) until there is room where dataLogDir \
                 is; reads, watches and sessions go on, the last {bytes} bytes are for sessions"
            ),
            Level::Refusing => tracing::error!(
                "the txn log's disk is full: writes are refused with SystemError (-1) until there is room where dataLogDir \
                 is; reads, watches and the sessions that there are go on"
            ),
            Level::Stuck => tracing::error!(
                "the txn log's disk is full: {} txns wait for room where dataLogDir is and are not acknowledged, other \
                 writes are refused with SystemError (-1); reads, watches and sessions go on",
                self.txns.load(Relaxed)
            ),
        }
    }
}

/// Is it this kind of effect, and what one says of it.
type Word = (fn(&Effect) -> bool, &'static str);

const WORDS: [Word; 4] = [
    (|effect| matches!(effect, Effect::WriteAt { .. }), "writing"),
    (|effect| matches!(effect, Effect::Fdatasync(_) | Effect::Fsync(_)), "syncing"),
    (|effect| matches!(effect, Effect::Rename { .. } | Effect::FsyncDir(_)), "giving a new file its name"),
    (|_| true, "making a new file"),
];
