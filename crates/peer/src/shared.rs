//! What shards and the pipeline share: the tree under its lock, the inboxes, the counters.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use parking_lot::{Mutex, RwLock};
use tree::Tree;

use crate::inbox::InboxEntry;
use crate::quota::QuotaReports;
use crate::state::hash_text;
use crate::stats::{PipelineStats, ShardStats};
use crate::throttle::ConnectionThrottle;

/// A set of shards, at most 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardSet(pub u64);

impl ShardSet {
    /// Adds one.
    pub fn insert(&mut self, shard: usize) {
        self.0 |= 1 << shard;
    }

    /// Adds those of the other.
    pub fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Its members, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |shard| self.0 & (1 << shard) != 0)
    }
}

/// The most shards that a server may have: each needs a bit of its own in the interest that the tree keeps, since a shard
/// that takes back its interest would else take that of another.
pub const SHARDS_MAX: usize = 8;

/// The entries on their way to one shard.
#[derive(Debug, Default)]
pub struct Inbox {
    entries: Mutex<Vec<InboxEntry>>,
    filled: AtomicBool,
    /// The last round in which it was asked which sessions were heard of, until the shard has seen it; 0: none. It is no entry:
    /// it may not wait behind what is told to those who read slowly, or all sessions of the shard end.
    asked: AtomicU64,
    /// Bytes of the answers to reads in it, and of those that its shard has taken and not told.
    answer_bytes: AtomicUsize,
    /// Bytes of everything in all inboxes, and of what the shards have taken and not told.
    untold: Arc<AtomicUsize>,
}

impl Inbox {
    /// Is nothing in it? Exact under a guard of the tree, for what apply puts in.
    pub fn is_empty(&self) -> bool {
        !self.filled.load(Acquire)
    }

    /// Appends `entries`, leaving it empty.
    pub fn append(&self, entries: &mut Vec<InboxEntry>) {
        if !entries.is_empty() {
            let mut inbox = self.entries.lock();
            let bytes = entries.iter().map(InboxEntry::answer_length).sum();
            self.answer_bytes.fetch_add(bytes, Relaxed);
            self.untold.fetch_add(entries.iter().map(InboxEntry::weight).sum(), Relaxed);
            if inbox.is_empty() {
                std::mem::swap(&mut *inbox, entries);
            } else {
                inbox.append(entries);
            }
            self.filled.store(true, Release);
        }
    }

    /// Asks which sessions were heard of; the shard has to be woken.
    pub fn ask(&self, round: u64) {
        self.asked.store(round, Release);
    }

    /// The round in which it was asked, once.
    pub(crate) fn take_asked(&self) -> Option<u64> {
        Some(self.asked.swap(0, Acquire)).filter(|&round| round != 0)
    }

    /// Takes what is in it into `into`, which is empty, in exchange for the room that this has.
    pub fn take(&self, into: &mut VecDeque<InboxEntry>) {
        let mut room = Vec::from(std::mem::take(into));
        let mut inbox = self.entries.lock();
        std::mem::swap(&mut *inbox, &mut room);
        self.filled.store(false, Release);
        *into = room.into();
    }

    /// So much of what was taken is told: all bytes, and those of answers to reads.
    pub(crate) fn told(&self, bytes: usize, answer_bytes: usize) {
        if bytes > 0 {
            self.untold.fetch_sub(bytes, Relaxed);
        }
        if answer_bytes > 0 {
            self.answer_bytes.fetch_sub(answer_bytes, Relaxed);
        }
    }
}

/// What everybody in a server sees.
#[derive(Debug)]
pub struct Shared {
    /// The tree. Held by readers for some reads, by the pipeline for a batch of commits; never across IO.
    pub tree: RwLock<Tree>,
    /// An inbox a shard.
    pub inboxes: Vec<Inbox>,
    /// Requests that the pipeline has not answered yet.
    pub in_flight: AtomicUsize,
    /// Their bytes.
    pub in_flight_bytes: AtomicUsize,
    /// Bytes that the pipeline has left for the shards and that are not told.
    pub untold: Arc<AtomicUsize>,
    /// Bytes received that are not processed, beyond what each connection may hold uncounted.
    pub unprocessed: AtomicUsize,
    /// A request with a longer body counts as large (`largeRequestThreshold`); `usize::MAX`: none does.
    pub large_threshold: usize,
    /// Bytes of the large ones among them.
    pub large_bytes: AtomicUsize,
    /// The keys `connection_throttle_…`; `None`: everybody may ask for a session.
    pub connection_throttle: Option<Mutex<ConnectionThrottle>>,
    /// Is this server a member of an ensemble? Then a sync goes through the pipeline.
    pub is_member: bool,
    /// Are clients served? Changes only under the tree's write guard: who holds a guard and finds it true may read.
    serving: AtomicBool,
    /// Quotas that were exceeded, with `enforceQuota`.
    pub quota_reports: Mutex<QuotaReports>,
    /// Counters a shard.
    pub shard_stats: Vec<ShardStats>,
    /// Counters of the pipeline.
    pub pipeline_stats: PipelineStats,
}

impl Shared {
    /// Around a recovered tree, for so many shards.
    pub fn new(mut tree: Tree, shards: usize) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "1 to {SHARDS_MAX} shards");
        tree.settle_children();
        let untold: Arc<AtomicUsize> = Arc::default();
        Self {
            tree: RwLock::new(tree),
            inboxes: (0..shards).map(|_| Inbox { untold: untold.clone(), ..Inbox::default() }).collect(),
            untold,
            in_flight: AtomicUsize::new(0),
            in_flight_bytes: AtomicUsize::new(0),
            unprocessed: AtomicUsize::new(0),
            large_threshold: usize::MAX,
            large_bytes: AtomicUsize::new(0),
            connection_throttle: None,
            is_member: false,
            serving: AtomicBool::new(true),
            quota_reports: Mutex::default(),
            shard_stats: (0..shards).map(|_| ShardStats::default()).collect(),
            pipeline_stats: PipelineStats::default(),
        }
    }

    /// Bytes of answers to reads that travelled, in the inboxes, or taken from there and not told.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.inboxes.iter().map(|inbox| inbox.answer_bytes.load(Relaxed)).sum()
    }

    /// Are clients served? Exact under a guard of the tree; without one it may change the next moment.
    pub fn is_serving(&self) -> bool {
        self.serving.load(Acquire)
    }

    /// `_guard` keeps everybody from reading meanwhile.
    pub(crate) fn set_serving(&self, _guard: &mut Tree, serving: bool) {
        self.serving.store(serving, Release);
    }

    /// A request with a body of so many bytes goes to the pipeline.
    pub(crate) fn begin_request(&self, bytes: usize) {
        self.in_flight.fetch_add(1, Relaxed);
        self.in_flight_bytes.fetch_add(bytes, Relaxed);
        if bytes > self.large_threshold {
            self.large_bytes.fetch_add(bytes, Relaxed);
        }
    }

    /// It has its answer, or will get none.
    pub(crate) fn end_request(&self, bytes: usize) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.in_flight_bytes.fetch_sub(bytes, Relaxed);
        if bytes > self.large_threshold {
            self.large_bytes.fetch_sub(bytes, Relaxed);
        }
    }

    pub(crate) fn hash_inboxes(&self, hasher: &mut impl std::hash::Hasher) {
        for inbox in &self.inboxes {
            hash_text(&(&*inbox.entries.lock(), inbox.asked.load(Relaxed)), hasher);
        }
    }

    /// The same state once more, sharing nothing: for a world that is forked.
    pub fn fork(&self) -> Self {
        let mut copy = Self::new(self.tree.read().clone(), self.inboxes.len());
        for (from, to) in self.inboxes.iter().zip(&copy.inboxes) {
            to.append(&mut from.entries.lock().clone());
            to.answer_bytes.store(from.answer_bytes.load(Relaxed), Relaxed);
            to.asked.store(from.asked.load(Relaxed), Relaxed);
        }
        copy.untold.store(self.untold.load(Relaxed), Relaxed);
        copy.in_flight.store(self.in_flight.load(Relaxed), Relaxed);
        copy.in_flight_bytes.store(self.in_flight_bytes.load(Relaxed), Relaxed);
        copy.is_member = self.is_member;
        copy.serving.store(self.serving.load(Relaxed), Relaxed);
        copy.unprocessed.store(self.unprocessed.load(Relaxed), Relaxed);
        copy.large_threshold = self.large_threshold;
        copy.large_bytes.store(self.large_bytes.load(Relaxed), Relaxed);
        copy.connection_throttle =
            self.connection_throttle.as_ref().map(|throttle| Mutex::new(throttle.lock().clone()));
        copy
    }
}
