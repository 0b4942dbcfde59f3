//! `mntr`: every metric, one a line.
//!
//! The keys are those of Apache, all of them: a dashboard that asks for one finds it. What this server does not count
//! is 0, as it is in an Apache server to which it never happened; the tables are in `metric_names`. What Apache has no name
//! for comes last, under names that begin with `zk_ostler_`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::java_text::{average, java_double};
use super::metric_names::{ADVANCED_SUMMARIES, BASIC_SUMMARIES, COUNTERS};
use super::server::{Mode, ServerStats};

/// Values of a moment, beside those of [`ServerStats`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gauges {
    /// Since the start, in ms.
    pub uptime_ms: i64,
    /// Watches of both kinds.
    pub watches: i64,
    /// Ephemerals.
    pub ephemerals: i64,
    /// Bytes of paths and data.
    pub approximate_data_bytes: i64,
    /// Sessions that all servers know.
    pub global_sessions: i64,
    /// Sessions that only this server knows.
    pub local_sessions: i64,
    /// Open files of the process.
    pub open_files: i64,
    /// Open files that the process may have.
    pub open_files_max: i64,
    /// 0 to 1; see the keys `connection_throttle_…`.
    pub connection_drop_probability: f64,
    /// Bytes of replies: -1 before the first.
    pub response_bytes_last: i64,
    /// The longest.
    pub response_bytes_max: i64,
    /// The shortest.
    pub response_bytes_min: i64,
    /// TLS handshakes under way.
    pub tls_handshakes: i64,
    /// Failed logins.
    pub auth_failed: i64,
    /// Connections without a client certificate, from other hosts.
    pub plain_remote_connections: i64,
    /// Connections without a client certificate, from this host.
    pub plain_local_connections: i64,
    /// Of a member of an ensemble.
    pub ensemble: Option<EnsembleGauges>,
    /// For each top-level path with a quota: count limit, bytes limit, count used, bytes used.
    pub quotas: BTreeMap<String, tree::QuotaTotals>,
}

/// What a member of an ensemble tells besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnsembleGauges {
    /// Voters.
    pub quorum_size: i64,
    /// Of a leader.
    pub leading: Option<LeaderGauges>,
    /// Observers in sync, of a follower that serves them.
    pub synced_observers: Option<i64>,
    /// Of an observer: the number of the server that it learns from.
    pub observer_master: Option<i64>,
    /// Learners that it brings in sync.
    pub syncs: Vec<SyncGauges>,
}

/// How far a learner's sync is, under names of our own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncGauges {
    /// The learner.
    pub server: i64,
    /// Since it began, in ms.
    pub elapsed_ms: i64,
    /// What it will still take, if it goes on so, in ms; -1: nobody knows.
    pub left_ms: i64,
    /// Bytes of the snapshot's file; 0: there is none.
    pub snapshot_bytes: i64,
    /// So many of them were sent.
    pub snapshot_bytes_sent: i64,
    /// Txns; -1: not counted beforehand.
    pub txns: i64,
    /// So many of them were sent.
    pub txns_sent: i64,
}

/// What a leader tells besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaderGauges {
    /// Connections of learners.
    pub learners: i64,
    /// Followers in sync, with a vote or without.
    pub synced_followers: i64,
    /// Those without.
    pub synced_non_voting_followers: i64,
    /// Observers in sync.
    pub synced_observers: i64,
    /// Syncs that wait.
    pub pending_syncs: i64,
    /// Since it leads, in ms.
    pub uptime_ms: i64,
}

/// How the disks are, under names of our own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskGauges {
    /// Are writes refused because the log's disk is full?
    pub is_log_full: bool,
    /// Bytes of txns that surely fit; -1 while there is no sign of an end.
    pub log_room_bytes: i64,
    /// Requests that were refused for want of room.
    pub refused: i64,
    /// How often writes had to wait until the next log file was made.
    pub waits_for_file: i64,
    /// How long the write or sync of the log that is under way takes already.
    pub log_sync_ms: i64,
    /// Snapshots that came to nothing, in a row.
    pub snapshots_failed: i64,
}

/// What happened since the start or the last `srst`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Counters by Apache's name (without `zk_`).
    pub counters: BTreeMap<&'static str, i64>,
    /// Errors for quota, by top-level path.
    pub quota_errors: BTreeMap<String, i64>,
    /// Summaries by Apache's name.
    pub summaries: BTreeMap<&'static str, Summary>,
    /// Summaries by the key that Apache puts before the name: `app_read_per_namespace`.
    pub summary_sets: BTreeMap<String, Summary>,
}

/// A distribution. The default is that of nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of values.
    pub count: i64,
    /// Their sum.
    pub sum: i64,
    /// The smallest; 0 without values.
    pub min: i64,
    /// The largest; 0 without values.
    pub max: i64,
    /// Percentiles 50, 95, 99 and 99.9; printed for Apache's advanced summaries only.
    pub percentiles: [i64; 4],
}

/// The answer to `mntr`.
pub fn mntr(stats: &ServerStats, gauges: &Gauges, metrics: &Metrics, disk: &DiskGauges) -> String {
    let mut lines = Lines(String::with_capacity(32 * 1024));
    lines.text("version", &stats.version);
    lines.text("server_state", stats.mode.name());
    if gauges.ensemble.is_some() {
        lines.text("peer_state", peer_state(stats.mode));
    }
    if let Some(master) = gauges.ensemble.as_ref().and_then(|it| it.observer_master) {
        lines.integer("observer_master_id", master);
    }
    lines.gauges(stats, gauges);
    if let Some(ensemble) = &gauges.ensemble {
        lines.ensemble(ensemble);
    }
    for (namespace, values) in &gauges.quotas {
        const SETS: [&str; 4] = ["count_limit", "bytes_limit", "count_usage", "bytes_usage"];
        for (set, value) in SETS.iter().zip(values) {
            if let Some(value) = value {
                lines.integer(&format!("{namespace}_quota_{set}_per_namespace"), *value);
            }
        }
    }
    for name in COUNTERS {
        lines.integer(name, metrics.counters.get(name).copied().unwrap_or(0));
    }
    for (namespace, errors) in &metrics.quota_errors {
        lines.integer(&format!("{namespace}_quota_exceeded_error_per_namespace"), *errors);
    }
    for name in BASIC_SUMMARIES {
        lines.summary(name, &metrics.summaries.get(name).copied().unwrap_or_default(), false);
    }
    for name in ADVANCED_SUMMARIES {
        lines.summary(name, &metrics.summaries.get(name).copied().unwrap_or_default(), true);
    }
    for (name, summary) in &metrics.summary_sets {
        lines.summary(name, summary, false);
    }
    if let Some(ensemble) = &gauges.ensemble {
        lines.syncs(&ensemble.syncs);
    }
    lines.integer("ostler_log_disk_full", i64::from(disk.is_log_full));
    lines.integer("ostler_log_room_bytes", disk.log_room_bytes);
    lines.integer("ostler_log_refused_count", disk.refused);
    lines.integer("ostler_log_waits_for_file_count", disk.waits_for_file);
    lines.integer("ostler_log_sync_under_way_ms", disk.log_sync_ms);
    lines.integer("ostler_snapshot_failures_in_a_row", disk.snapshots_failed);
    lines.0
}

/// Syncs that are told one by one.
const SYNCS_MAX: usize = 32;

/// The role and ZAB's phase: whoever answers is in sync.
fn peer_state(mode: Mode) -> &'static str {
    match mode {
        Mode::Leader => "leading - broadcast",
        Mode::Follower => "following - broadcast",
        Mode::Observer => "observing - broadcast",
        Mode::Standalone | Mode::ReadOnly => "looking",
    }
}

struct Lines(String);

impl Lines {
    fn text(&mut self, key: &str, value: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "zk_{key}\t{value}");
    }

    fn integer(&mut self, key: &str, value: i64) {
        let _ = writeln!(self.0, "zk_{key}\t{value}");
    }

    fn double(&mut self, key: &str, value: f64) {
        self.text(key, &java_double(value));
    }

    fn summary(&mut self, name: &str, summary: &Summary, advanced: bool) {
        self.double(&format!("avg_{name}"), average(summary.sum, summary.count));
        self.integer(&format!("min_{name}"), summary.min);
        self.integer(&format!("max_{name}"), summary.max);
        self.integer(&format!("cnt_{name}"), summary.count);
        self.integer(&format!("sum_{name}"), summary.sum);
        if advanced {
            for (percentile, value) in ["p50", "p95", "p99", "p999"].iter().zip(summary.percentiles) {
                self.integer(&format!("{percentile}_{name}"), value);
            }
        }
    }

    fn ensemble(&mut self, gauges: &EnsembleGauges) {
        self.integer("quorum_size", gauges.quorum_size);
        if let Some(observers) = gauges.synced_observers {
            self.integer("synced_observers", observers);
        }
        if let Some(leading) = &gauges.leading {
            self.integer("learners", leading.learners);
            self.integer("synced_followers", leading.synced_followers);
            self.integer("synced_non_voting_followers", leading.synced_non_voting_followers);
            self.integer("synced_observers", leading.synced_observers);
            self.integer("pending_syncs", leading.pending_syncs);
            self.integer("leader_uptime", leading.uptime_ms);
        }
    }

    fn syncs(&mut self, syncs: &[SyncGauges]) {
        self.integer("ostler_syncs_under_way", syncs.len() as i64);
        // Who says no number of its own gets one below 0.
        for sync in syncs.iter().filter(|it| it.server >= 0).take(SYNCS_MAX) {
            for (name, value) in [
                ("ms", sync.elapsed_ms),
                ("left_ms", sync.left_ms),
                ("snapshot_bytes", sync.snapshot_bytes),
                ("snapshot_bytes_sent", sync.snapshot_bytes_sent),
                ("txns", sync.txns),
                ("txns_sent", sync.txns_sent),
            ] {
                self.integer(&format!("ostler_sync_{}_{name}", sync.server), value);
            }
        }
    }

    fn gauges(&mut self, stats: &ServerStats, gauges: &Gauges) {
        self.double("avg_latency", stats.latency_ms_avg);
        self.integer("max_latency", stats.latency_ms_max);
        self.integer("min_latency", stats.latency_ms_min);
        self.integer("packets_received", stats.received);
        self.integer("packets_sent", stats.sent);
        self.integer("num_alive_connections", stats.connections);
        self.integer("outstanding_requests", stats.outstanding);
        self.integer("uptime", gauges.uptime_ms);
        self.integer("znode_count", stats.nodes);
        self.integer("watch_count", gauges.watches);
        self.integer("ephemerals_count", gauges.ephemerals);
        self.integer("approximate_data_size", gauges.approximate_data_bytes);
        self.integer("global_sessions", gauges.global_sessions);
        self.integer("local_sessions", gauges.local_sessions);
        self.integer("open_file_descriptor_count", gauges.open_files);
        self.integer("max_file_descriptor_count", gauges.open_files_max);
        self.double("connection_drop_probability", gauges.connection_drop_probability);
        self.integer("last_client_response_size", gauges.response_bytes_last);
        self.integer("max_client_response_size", gauges.response_bytes_max);
        self.integer("min_client_response_size", gauges.response_bytes_min);
        self.integer("outstanding_tls_handshake", gauges.tls_handshakes);
        self.integer("auth_failed_count", gauges.auth_failed);
        self.integer("non_mtls_remote_conn_count", gauges.plain_remote_connections);
        self.integer("non_mtls_local_conn_count", gauges.plain_local_connections);
        if let Some(sizes) = stats.proposals {
            self.integer("last_proposal_size", sizes.last);
            self.integer("max_proposal_size", sizes.max);
            self.integer("min_proposal_size", sizes.min);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::server::tests::stats;
    use super::*;

    #[test]
    fn shape_of_every_line() {
        let text = mntr(&stats(), &Gauges::default(), &Metrics::default(), &DiskGauges::default());
        let mut keys = BTreeSet::new();
        for (number, line) in text.lines().enumerate() {
            let (key, value) = line.split_once('\t').unwrap_or_default();
            assert!(key.starts_with("zk_") && !value.is_empty(), "{line:?}");
            assert!(keys.insert(key), "{key} is there twice");
            assert!(number < 2 || value.parse::<f64>().is_ok(), "{line:?}");
        }
        assert!(text.starts_with("zk_version\t3.9.5-ostler-0.1.0, built on"));
        assert_eq!(text.lines().nth(1), Some("zk_server_state\tstandalone"));
        // All that a standalone Apache 3.9.5 prints, and nothing else but what says whose it is.
        let apache: BTreeSet<&str> = include_str!("testdata/mntr-keys-3.9.5.txt").lines().collect();
        let (ours, shared): (BTreeSet<&str>, _) = keys.iter().partition(|key| key.starts_with("zk_ostler_"));
        assert_eq!((shared, ours.len()), (apache, 6));
        // What exporters, dashboards and alerts look for.
        for key in [
            "zk_avg_latency",
            "zk_max_latency",
            "zk_min_latency",
            "zk_num_alive_connections",
            "zk_outstanding_requests",
            "zk_znode_count",
            "zk_watch_count",
            "zk_ephemerals_count",
            "zk_approximate_data_size",
            "zk_open_file_descriptor_count",
            "zk_max_file_descriptor_count",
            "zk_avg_fsynctime",
            "zk_p99_readlatency",
            "zk_connection_rejected",
            "zk_sum_snapshottime",
        ] {
            assert!(keys.contains(key), "{key}");
        }
    }

    #[test]
    fn values_land_under_their_names() {
        let gauges = Gauges {
            uptime_ms: 17,
            quotas: [("app".to_owned(), [Some(1), Some(2), Some(3), None])].into(),
            ..Gauges::default()
        };
        let fsync = Summary { count: 3, sum: 4, min: 1, max: 2, percentiles: [0; 4] };
        let read = Summary { count: 1, sum: 7, min: 7, max: 7, percentiles: [7, 8, 9, 10] };
        let metrics = Metrics {
            counters: [("commit_count", 5)].into(),
            quota_errors: [("app".to_owned(), 6)].into(),
            summaries: [("fsynctime", fsync), ("readlatency", read)].into(),
            summary_sets: [("app_read_per_namespace".to_owned(), fsync)].into(),
        };
        let disk = DiskGauges { is_log_full: true, log_room_bytes: 77, ..DiskGauges::default() };
        let text = mntr(&stats(), &gauges, &metrics, &disk);
        for line in [
            "zk_ostler_log_disk_full\t1",
            "zk_ostler_log_room_bytes\t77",
            "zk_avg_latency\t0.4286",
            "zk_uptime\t17",
            "zk_znode_count\t5",
            "zk_connection_drop_probability\t0.0",
            "zk_app_quota_bytes_limit_per_namespace\t2",
            "zk_app_quota_exceeded_error_per_namespace\t6",
            "zk_commit_count\t5",
            "zk_avg_fsynctime\t1.3333",
            "zk_cnt_fsynctime\t3",
            "zk_sum_app_read_per_namespace\t4",
            "zk_p999_readlatency\t10",
            "zk_avg_updatelatency\t0.0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}");
        }
        assert!(!text.contains("p50_fsynctime"));
        assert!(!text.contains("ostler_sync"), "a server on its own syncs nobody");
    }

    #[test]
    fn syncs_are_told_one_by_one_in_a_bound() {
        let sync = |server| SyncGauges { server, left_ms: 300, txns: 8, ..SyncGauges::default() };
        let ensemble = EnsembleGauges {
            quorum_size: 3,
            leading: None,
            synced_observers: None,
            observer_master: None,
            syncs: (-1..100).map(sync).collect(),
        };
        let gauges = Gauges { ensemble: Some(ensemble), ..Gauges::default() };
        let text = mntr(&stats(), &gauges, &Metrics::default(), &DiskGauges::default());
        for line in ["zk_ostler_syncs_under_way\t101", "zk_ostler_sync_3_left_ms\t300", "zk_ostler_sync_31_txns\t8"] {
            assert!(text.lines().any(|l| l == line), "{line}");
        }
        assert!(!text.contains("sync_32_") && !text.contains("sync_-1"), "{text}");
    }
}
