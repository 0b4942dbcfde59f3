//! Counters for four-letter words and metrics.
//!
//! Each has one writer, so they cost a plain add: those of a shard its thread, those of the pipeline whoever holds the
//! pipeline. Everybody may read. To reset is to write: it is asked of the one writer.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Raises it to `n`.
    pub fn raise(&self, n: u64) {
        if n > self.0.load(Relaxed) {
            self.0.store(n, Relaxed);
        }
    }

    /// Sets it.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A distribution's outline: in µs unless said otherwise.
#[derive(Debug)]
pub struct Summary {
    /// How many.
    pub count: Counter,
    /// Their sum.
    pub sum: Counter,
    /// The smallest; `u64::MAX` when there is none.
    pub min: Counter,
    /// The largest.
    pub max: Counter,
}

impl Default for Summary {
    fn default() -> Self {
        let min = Counter::default();
        min.set(u64::MAX);
        Self { count: Counter::default(), sum: Counter::default(), min, max: Counter::default() }
    }
}

impl Summary {
    /// One more value.
    pub fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// So many times the same value.
    pub fn record_many(&self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        self.count.add(times);
        self.sum.add(value.wrapping_mul(times));
        self.max.raise(value);
        if value < self.min.get() {
            self.min.set(value);
        }
    }

    /// Forgets all values.
    pub fn reset(&self) {
        self.count.set(0);
        self.sum.set(0);
        self.max.set(0);
        self.min.set(u64::MAX);
    }
}

/// A [`Summary`] that also knows its percentiles, to an eighth of their value: eight counters an octave, 2 KiB.
#[derive(Debug)]
pub struct Distribution {
    /// The outline.
    pub summary: Summary,
    buckets: Box<[Counter]>,
}

/// Values from here on (19 hours in µs) share the last bucket.
const OCTAVES: usize = 36;
const BUCKETS: usize = 8 * (OCTAVES - 2);

impl Default for Distribution {
    fn default() -> Self {
        Self { summary: Summary::default(), buckets: (0..BUCKETS).map(|_| Counter::default()).collect() }
    }
}

impl Distribution {
    /// One more value.
    pub fn record(&self, value: u64) {
        self.summary.record(value);
        self.buckets[bucket_of(value)].add(1);
    }

    /// Forgets all values.
    pub fn reset(&self) {
        self.summary.reset();
        self.buckets.iter().for_each(|bucket| bucket.set(0));
    }

    /// The values below which `per_mille` of all values of these parts lie, each taken as the smallest of its bucket.
    /// `zeros` more values are 0.
    pub fn percentiles<const N: usize>(parts: &[&Self], zeros: u64, per_mille: [u64; N]) -> [u64; N] {
        let mut counts = vec![0; BUCKETS];
        for part in parts {
            counts.iter_mut().zip(&part.buckets).for_each(|(sum, bucket)| *sum += bucket.get());
        }
        counts[0] += zeros;
        let total: u64 = counts.iter().sum();
        per_mille.map(|per_mille| {
            let wanted = (total * per_mille).div_ceil(1000).max(1);
            let mut seen = 0;
            let found = counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            found.map_or(0, smallest_of)
        })
    }
}

fn bucket_of(value: u64) -> usize {
    if value < 8 {
        return value as usize;
    }
    let octave = 63 - value.leading_zeros() as usize;
    let eighth = (value >> (octave - 3)) as usize & 7;
    (8 * (octave - 2) + eighth).min(BUCKETS - 1)
}

fn smallest_of(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    (8 + (bucket as u64 & 7)) << (bucket / 8 - 1)
}

/// Lengths of replies. Source: Apache `BufferStats`.
#[derive(Debug, Default)]
pub struct ResponseSizes {
    /// The last one in bytes plus one; 0 before the first.
    last: Counter,
    /// When, in µs of the clock that never goes back: the last of several shards is the last of the server.
    last_us: Counter,
    smallest: Counter,
    largest: Counter,
}

impl ResponseSizes {
    /// One more reply.
    pub fn record(&self, now_us: u64, bytes: usize) {
        let bytes = bytes as u64 + 1;
        self.last.set(bytes);
        self.last_us.set(now_us);
        self.largest.raise(bytes);
        if self.smallest.get() == 0 || bytes < self.smallest.get() {
            self.smallest.set(bytes);
        }
    }

    /// Last, smallest, largest in bytes of all parts; -1 before the first.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a Self>) -> [i64; 3] {
        let (mut at, mut found) = (0, [-1; 3]);
        for part in parts.into_iter().filter(|part| part.last.get() > 0) {
            let [last, smallest, largest] = [&part.last, &part.smallest, &part.largest].map(|c| c.get() as i64 - 1);
            if found[0] < 0 || part.last_us.get() >= at {
                at = part.last_us.get();
                found[0] = last;
            }
            found[1] = if found[1] < 0 { smallest } else { smallest.min(found[1]) };
            found[2] = largest.max(found[2]);
        }
        found
    }

    /// Forgets them.
    pub fn reset(&self) {
        for counter in [&self.last, &self.last_us, &self.smallest, &self.largest] {
            counter.set(0);
        }
    }
}

/// Bytes read or written below each znode of the first level. Source: Apache `DataTree.updateReadStat`,
/// `updateWriteStat`. The lock is free but for the moment in which a word looks.
#[derive(Debug, Default)]
pub struct Namespaces(Mutex<BTreeMap<Box<str>, Outline>>);

/// The longest name of a namespace that is told apart, in bytes: a name may be as long as a frame.
pub const NAMESPACE_BYTES_MAX: usize = 256;

/// The most namespaces that are told apart; what happens in others is not counted.
pub const NAMESPACES_MAX: usize = 1024;

/// Count, sum, smallest and largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
}

impl Default for Outline {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Outline {
    /// Adds those of the other.
    pub fn extend(&mut self, other: Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

impl Namespaces {
    /// One more request for `path`, with so many bytes beside it. The root has no namespace.
    pub fn record(&self, path: &str, bytes: usize) {
        let Some(namespace) = path.strip_prefix('/').and_then(|rest| rest.split('/').next()) else { return };
        if namespace.is_empty() || namespace.len() > NAMESPACE_BYTES_MAX {
            return;
        }
        let bytes = (path.len() + bytes) as u64;
        let one = Outline { count: 1, sum: bytes, min: bytes, max: bytes };
        let mut all = self.0.lock();
        if let Some(found) = all.get_mut(namespace) {
            found.extend(one);
        } else if all.len() < NAMESPACES_MAX {
            all.insert(namespace.into(), one);
        }
    }

    /// All of them.
    pub fn get(&self) -> BTreeMap<Box<str>, Outline> {
        self.0.lock().clone()
    }

    /// Back to 0; the names stay, as in Apache.
    pub fn reset(&self) {
        self.0.lock().values_mut().for_each(|outline| *outline = Outline::default());
    }
}

/// Of one shard.
#[derive(Debug, Default)]
pub struct ShardStats {
    /// Frames received.
    pub packets_received: Counter,
    /// Frames sent.
    pub packets_sent: Counter,
    /// Bytes received.
    pub bytes_received: Counter,
    /// From a request's receipt to its reply.
    pub latency: Summary,
    /// Of reads alone.
    pub read_latency: Distribution,
    /// Of writes alone.
    pub update_latency: Distribution,
    /// Connections there are.
    pub connections: Counter,
    /// Watches there are: in Apache's two tables together, where a persistent watch is in both.
    pub watches: Counter,
    /// About how many bytes they take.
    pub watch_table_bytes: Counter,
    /// Connections that the other end closed.
    pub dropped: Counter,
    /// Refused auth packets.
    pub auth_failed: Counter,
    /// Logins of the scheme ensemble with a name of ours.
    pub ensemble_auth_success: Counter,
    /// … with another's name.
    pub ensemble_auth_fail: Counter,
    /// … without a name, or where we have none.
    pub ensemble_auth_skip: Counter,
    /// ConnectRequests that the connection throttle let pass.
    pub connection_requests: Counter,
    /// ConnectRequests that it did not.
    pub connection_rejected: Counter,
    /// Tokens that were missing from its bucket after a ConnectRequest that it let pass.
    pub token_deficit: Summary,
    /// Requests that had to wait because of `request_throttle_max_requests`.
    pub throttle_waits: Counter,
    /// How long they waited, in ms.
    pub throttle_queue_ms: Summary,
    /// Requests that were answered with THROTTLEDOP.
    pub throttled_ops: Counter,
    /// Requests that went on although they were stale.
    pub stale_requests: Counter,
    /// Stale requests that were dropped, each with its connection.
    pub stale_requests_dropped: Counter,
    /// Connections closed because of `largeRequestMaxBytes`.
    pub large_requests_rejected: Counter,
    /// Connections closed because all together had too much to be sent.
    pub shed: Counter,
    /// Connections closed because all together held too many bytes of requests, and these did not go on.
    pub idle_holders_closed: Counter,
    /// Bytes of replies to requests, without their lengths.
    pub response_bytes: Counter,
    /// Bytes of watch events, without their lengths.
    pub watch_bytes: Counter,
    /// Lengths of replies and events.
    pub response_sizes: ResponseSizes,
    /// ConnectRequests that wanted a session to go on.
    pub revalidated: Counter,
    /// Connections that had no session in time.
    pub sessionless_expired: Counter,
    /// Watchers that heard of one event, by its kind: created, deleted, data changed, children changed.
    pub watchers_told: [Summary; 4],
    /// Reads by namespace.
    pub reads: Namespaces,
}

impl ShardStats {
    /// `srst`, in the shard's own thread: everything but the numbers of what there is, and of failed logins.
    pub fn reset(&self) {
        for counter in [
            &self.packets_received,
            &self.packets_sent,
            &self.bytes_received,
            &self.dropped,
            &self.response_bytes,
            &self.watch_bytes,
            &self.revalidated,
            &self.sessionless_expired,
            &self.ensemble_auth_success,
            &self.ensemble_auth_fail,
            &self.ensemble_auth_skip,
            &self.connection_requests,
            &self.connection_rejected,
            &self.throttle_waits,
            &self.throttled_ops,
            &self.stale_requests,
            &self.stale_requests_dropped,
            &self.large_requests_rejected,
        ] {
            counter.set(0);
        }
        self.token_deficit.reset();
        self.throttle_queue_ms.reset();
        self.latency.reset();
        self.read_latency.reset();
        self.update_latency.reset();
        self.response_sizes.reset();
        self.watchers_told.iter().for_each(Summary::reset);
        self.reads.reset();
    }
}

/// Of the pipeline.
#[derive(Debug, Default)]
pub struct PipelineStats {
    /// Sessions there are.
    pub sessions: Counter,
    /// Sessions that ran out of time.
    pub expired: Counter,
    /// Those of them that only this server knows.
    pub local_sessions: Counter,
    /// Bytes of a leader's proposals, since it leads.
    pub proposal_sizes: ResponseSizes,
    /// Txns proposed.
    pub proposed: Counter,
    /// Those that had closed a session.
    pub closed_sessions: Counter,
    /// Requests that wait in the pipeline's inbox, each time somebody empties it.
    pub prep_queue: Summary,
    /// From a request's receipt to the moment at which prep takes it up.
    pub prep_wait: Distribution,
    /// In prep; written by the driver.
    pub prep: Summary,
    /// Proposals that are not applied, each time before there are more.
    pub log_queue: Summary,
    /// From proposal to the batch of the log that takes it.
    pub log_wait: Distribution,
    /// From proposal to its application, which follows the log's word that it is durable.
    pub log: Distribution,
    /// When the batch that is being made durable was begun, in µs of the clock that never goes back; by the driver.
    pub batch_began_us: Counter,
    /// Txns of a batch of the log; by the driver.
    pub batch_txns: Summary,
    /// Writing and syncing a batch; by the driver.
    pub sync: Distribution,
    /// From the time in a txn's header to its application.
    pub propagation: Distribution,
    /// Writes and ConnectRequests that the log had no room for.
    pub refused: Counter,
    /// How often writes had to wait until the log's next file was made.
    pub waits_for_file: Counter,
    /// ConnectRequests that would have made one session too many.
    pub sessions_rejected: Counter,
    /// Znodes that a proposal changed, and that an applied txn no longer keeps.
    pub changes_queued: Counter,
    /// Of those, the ones whose txns were applied.
    pub changes_removed: Counter,
    /// Txns whose applied digest was not the predicted one.
    pub digest_mismatches: Counter,
    /// Writing a snapshot; by the driver.
    pub snapshot: Summary,
    /// Writes by namespace.
    pub writes: Namespaces,
    /// How often all this was reset.
    pub resets: Counter,
}

impl PipelineStats {
    /// `srst`, by whoever holds the pipeline: everything but the numbers of sessions.
    pub fn reset(&self) {
        for counter in [
            &self.expired,
            &self.proposed,
            &self.closed_sessions,
            &self.refused,
            &self.waits_for_file,
            &self.sessions_rejected,
            &self.changes_queued,
            &self.changes_removed,
            &self.digest_mismatches,
        ] {
            counter.set(0);
        }
        for summary in [&self.prep_queue, &self.prep, &self.log_queue, &self.batch_txns, &self.snapshot] {
            summary.reset();
        }
        for all in [&self.prep_wait, &self.log_wait, &self.log, &self.sync, &self.propagation] {
            all.reset();
        }
        self.writes.reset();
        self.proposal_sizes.reset();
        self.resets.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_an_eighth_of_their_value_wide() {
        for value in (0..5000).chain([1 << 20, (1 << 20) + 12_345, 77_777_777, (1 << 35) + 1]) {
            let smallest = smallest_of(bucket_of(value));
            assert!(smallest <= value && value - smallest <= value / 8, "{value}: {smallest}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_parts_and_zeros() {
        let (a, b) = (Distribution::default(), Distribution::default());
        assert_eq!(Distribution::percentiles(&[&a], 0, [500, 999]), [0, 0]);
        (1..=500).for_each(|value| a.record(value * 1000));
        (501..=1000).for_each(|value| b.record(value * 1000));
        let found = Distribution::percentiles(&[&a, &b], 0, [500, 950, 990, 999]);
        for (found, exact) in found.into_iter().zip([500_000, 950_000, 990_000, 999_000]) {
            assert!(found <= exact && exact - found <= exact / 8, "{found}, {exact}");
        }
        assert_eq!(Distribution::percentiles(&[&a, &b], 10_000, [500, 999])[0], 0);
        a.reset();
        b.reset();
        assert_eq!(Distribution::percentiles(&[&a, &b], 0, [999]), [0]);
    }

    #[test]
    fn sizes_of_several_shards() {
        let (a, b) = (ResponseSizes::default(), ResponseSizes::default());
        assert_eq!(ResponseSizes::of([&a, &b]), [-1, -1, -1]);
        a.record(5, 16);
        b.record(9, 100);
        b.record(10, 0);
        assert_eq!(ResponseSizes::of([&a, &b]), [0, 0, 100]);
        assert_eq!(ResponseSizes::of([&b, &a]), [0, 0, 100]);
    }

    #[test]
    fn namespaces_are_bounded_and_the_root_has_none() {
        let all = Namespaces::default();
        all.record("/", 5);
        all.record("/app", 5);
        all.record("/app/x", 0);
        assert_eq!(
            all.get().into_iter().collect::<Vec<_>>(),
            [("app".into(), Outline { count: 2, sum: 15, min: 6, max: 9 })]
        );
        (0..2 * NAMESPACES_MAX).for_each(|n| all.record(&format!("/{n}"), 0));
        assert_eq!(all.get().len(), NAMESPACES_MAX);
    }
}
