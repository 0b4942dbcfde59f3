//! When to take a snapshot (`SyncRequestProcessor.shouldSnapshot`).
//!
//! After a random half to whole of `snapCount` txns, or of `snapSizeLimitInKb` bytes of log, so that the members of an
//! ensemble don't all do it at once. Only txns count, not reads (ZOOKEEPER-4362).
//!
//! Unlike Apache, which writes a tree of a gigabyte again after every 100,000 small txns, a snapshot also waits until the
//! log behind the last one has grown to [`WORTH`] times that one's size: then what is written for snapshots is a small part
//! of what is written to the log, and a start replays at most so many times the bytes that it loads. It waits
//! [`PATIENCE`] times `snapCount` txns at most, which bounds the replay of a large tree with small txns; and
//! `snapSizeLimitInKb`, 4 GiB if nothing is set, which bounds that of large ones.

use crate::recover::{Origin, Recovered};

/// Decides when to roll the log and begin a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SnapPolicy {
    count: u64,
    size: u64,
    txns: u64,
    bytes: u64,
    txns_at: u64,
    bytes_at: u64,
    snapshot_bytes: u64,
}

/// How many times as long as the last snapshot the log behind it gets before the next.
pub const WORTH: u64 = 4;
/// How many times `snapCount` txns a snapshot of a large tree may wait.
pub const PATIENCE: u64 = 10;

/// `snapCount` if nothing is set.
pub const SNAP_COUNT_DEFAULT: u64 = 100_000;
/// `snapSizeLimitInKb` if nothing is set, in bytes.
pub const SNAP_SIZE_DEFAULT: u64 = 4 << 30;

impl SnapPolicy {
    /// `snap_count` txns (at least 2 are taken) or `snap_size` bytes (0: only txns count). `random` is any number; it is
    /// spread over both jitters.
    pub fn new(snap_count: u64, snap_size: u64, random: u64) -> Self {
        let mut policy = Self {
            count: snap_count.max(2),
            size: snap_size,
            txns: 0,
            bytes: 0,
            txns_at: 0,
            bytes_at: 0,
            snapshot_bytes: 0,
        };
        policy.reset(random);
        policy
    }

    /// Counts what was logged: `txns` txns of `bytes` bytes. True: it is time for a snapshot, and for a new log file;
    /// then [`reset`](Self::reset) has to follow, whether a snapshot was begun or one was still running.
    pub fn logged(&mut self, txns: u64, bytes: u64) -> bool {
        self.txns += txns;
        self.bytes += bytes;
        let is_worth_it = self.bytes >= self.snapshot_bytes.saturating_mul(WORTH)
            || self.txns > self.txns_at.saturating_mul(PATIENCE);
        self.txns > self.txns_at && is_worth_it || (self.size > 0 && self.bytes > self.bytes_at)
    }

    /// The newest snapshot has so many bytes.
    pub fn snapshot_written(&mut self, bytes: u64) {
        self.snapshot_bytes = bytes;
    }

    /// A start has found this: what it replayed is log behind the snapshot, as what is logged from now on.
    pub fn started(&mut self, recovered: &Recovered) {
        if let Origin::Snapshot { bytes, .. } = recovered.origin {
            self.snapshot_written(bytes);
        }
        self.logged(recovered.txns_replayed, recovered.bytes_replayed);
    }

    /// Begins to count anew, with a new jitter.
    pub fn reset(&mut self, random: u64) {
        let half = |whole: u64, random: u64| whole / 2 + random % (whole / 2).max(1);
        self.txns = 0;
        self.bytes = 0;
        self.txns_at = half(self.count, random);
        self.bytes_at = half(self.size, random.rotate_left(32));
    }
}

/// When to try a snapshot again that came to nothing: not after another `snapCount` txns, but less and less often, because
/// each try fills a disk that is full once more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SnapRetry {
    failures: u32,
    /// Batches of the log to come before the next try; 0: none is due.
    left: u32,
}

/// After how many batches of the log the first new try comes.
pub const RETRY_BATCHES: u32 = 4096;
/// How often that is doubled at most.
const RETRY_DOUBLINGS: u32 = 6;

impl SnapRetry {
    /// A snapshot ended: it is whole, or it was given up or failed.
    pub fn ended(&mut self, whole: bool) {
        self.failures = if whole { 0 } else { self.failures + 1 };
        self.left = if whole { 0 } else { RETRY_BATCHES << (self.failures - 1).min(RETRY_DOUBLINGS) };
    }

    /// A batch was logged. True: try again now.
    pub fn batch(&mut self) -> bool {
        let was_waiting = self.left > 0;
        self.left = self.left.saturating_sub(1);
        was_waiting && self.left == 0
    }

    /// How many tries in a row came to nothing.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_snapshot_waits_for_much_log() {
        let mut policy = SnapPolicy::new(100, 0, 0);
        policy.snapshot_written(1250);
        assert_eq!((1..2000).find(|_| policy.logged(1, 20)), Some(250));
        policy.reset(0);
        assert_eq!((1..2000).find(|_| policy.logged(1, 1)), Some(501), "but not for ever");
    }

    #[test]
    fn what_a_start_has_replayed_counts_in_txns_and_in_bytes() {
        let recovered = |bytes, txns_replayed, bytes_replayed| Recovered {
            last_zxid: wire::Zxid(9),
            origin: Origin::Snapshot { zxid: wire::Zxid(1), bytes, nodes: 3 },
            snapshot_file: None,
            txns_replayed,
            bytes_replayed,
            is_suspect: false,
            warnings: Vec::new(),
            when_begun: Vec::new(),
        };
        for (found, due_at) in [(recovered(0, 0, 0), 51), (recovered(0, 40, 0), 11), (recovered(1250, 40, 4000), 50)] {
            let mut policy = SnapPolicy::new(100, 0, 0);
            policy.started(&found);
            assert_eq!((1..2000).find(|_| policy.logged(1, 20)), Some(due_at), "{found:?}");
        }
    }

    #[test]
    fn what_failed_is_tried_less_and_less_often() {
        let mut retry = SnapRetry::default();
        assert!(!(0..10_000).any(|_| retry.batch()), "nothing failed");
        let mut waits = Vec::new();
        for _ in 0..8 {
            retry.ended(false);
            waits.push((1..1 << 20).find(|_| retry.batch()).unwrap() / RETRY_BATCHES);
            assert!(!retry.batch(), "once");
        }
        assert_eq!((waits, retry.failures()), (vec![1, 2, 4, 8, 16, 32, 64, 64], 8));
        retry.ended(true);
        assert!(!(0..10_000).any(|_| retry.batch()));
        retry.ended(false);
        assert_eq!((1..1 << 20).find(|_| retry.batch()), Some(RETRY_BATCHES), "from the beginning");
    }

    #[test]
    fn between_half_and_whole() {
        for random in [0, 1, 49, 50, 12345, u64::MAX] {
            let mut policy = SnapPolicy::new(100, 0, random);
            let at = (1..2000).find(|_| policy.logged(1, 10)).unwrap();
            assert!((51..=100).contains(&at), "{at}");
            let mut policy = SnapPolicy::new(1000, 1000, random);
            let bytes = 10 * (1..2000).find(|_| policy.logged(1, 10)).unwrap();
            assert!((501..=1010).contains(&bytes), "{bytes}");
        }
    }

    #[test]
    fn begins_anew() {
        let mut policy = SnapPolicy::new(2, 0, 0);
        assert!(!policy.logged(1, 1));
        assert!(policy.logged(1, 1));
        policy.reset(7);
        assert!(!policy.logged(1, 1));
    }
}
