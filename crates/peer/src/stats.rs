//! Counters for four-letter words and metrics. Each has one writer, so they cost a plain add.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

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
        self.count.add(1);
        self.sum.add(value);
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
    pub read_latency: Summary,
    /// Of writes alone.
    pub update_latency: Summary,
    /// Connections there are.
    pub connections: Counter,
    /// Watches there are.
    pub watches: Counter,
    /// Paths watched.
    pub watched_paths: Counter,
    /// Connections dropped for what they sent or did not read.
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
}

/// Of the pipeline.
#[derive(Debug, Default)]
pub struct PipelineStats {
    /// Sessions there are.
    pub sessions: Counter,
    /// Txns applied.
    pub commits: Counter,
    /// Sessions that ran out of time.
    pub expired: Counter,
    /// From receipt to proposal.
    pub prep: Summary,
    /// From proposal to its application, which follows the log's word that it is durable.
    pub log: Summary,
    /// Txns whose applied digest was not the predicted one.
    pub digest_mismatches: Counter,
}
