//! `mntr`: what the server counts, under Apache's names and in Apache's terms.
//!
//! A name that Apache counts each request under, though nothing of it can take time here (a read waits in no queue of
//! prep or sync), has each request, too: with 0, so that counts and averages are about the same things. What can't be
//! told at all keeps its first value; `docs/four-letter-words.md` lists it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use peer::stats::{Distribution, Namespaces, Outline, ResponseSizes, ShardStats, Summary as Parts};

use super::Words;
use crate::four_letter::{self as text, DiskGauges, Gauges, Metrics, Summary};

/// The percentiles of Apache's advanced summaries, in thousandths.
const PERCENTILES: [u64; 4] = [500, 950, 990, 999];

impl Words {
    pub(super) async fn mntr(&self) -> String {
        // The list of open files is a directory: looking may block.
        let open_files = tokio::task::spawn_blocking(|| {
            std::fs::read_dir("/proc/self/fd").map_or(-1, |dir| (dir.count() as i64).saturating_sub(1))
        });
        let open_files = open_files.await.unwrap_or(-1);
        text::mntr(&self.stats(), &self.gauges(open_files), &self.metrics(), &self.disk_gauges())
    }

    fn disk_gauges(&self) -> DiskGauges {
        let (room, snapshots_failed) = self.core.disk_watch.room_and_failures();
        DiskGauges {
            is_log_full: self.core.disk_watch.refuses(),
            log_room_bytes: room.map_or(-1, |room| i64::try_from(room.bytes).unwrap_or(i64::MAX)),
            refused: self.core.shared.pipeline_stats.refused.get() as i64,
            waits_for_file: self.core.shared.pipeline_stats.waits_for_file.get() as i64,
            log_sync_ms: self.core.disk_watch.hangs_ms(self.core.clock.now().mono_us),
            snapshots_failed,
        }
    }

    fn gauges(&self, open_files: i64) -> Gauges {
        let shared = &self.core.shared;
        let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let [last, min, max] = ResponseSizes::of(shared.shard_stats.iter().map(|stats| &stats.response_sizes));
        let local_sessions = shared.pipeline_stats.local_sessions.get() as i64;
        let tree = shared.tree.read();
        Gauges {
            uptime_ms: self.core.clock.now().mono_ms(),
            watches: shared.shard_stats.iter().map(|s| s.watches.get() as i64).sum(),
            ephemerals: tree.ephemeral_count() as i64,
            approximate_data_bytes: tree.approximate_data_size(),
            quotas: tree.quota_totals(),
            global_sessions: (shared.pipeline_stats.sessions.get() as i64 - local_sessions).max(0),
            local_sessions,
            ensemble: self.core.member.as_ref().map(|member| member.gauges(self.core.clock.now().mono_ms())),
            open_files,
            open_files_max: limits.current.map_or(-1, |max| i64::try_from(max).unwrap_or(i64::MAX)),
            connection_drop_probability: shared
                .connection_throttle
                .as_ref()
                .map_or(0.0, |throttle| throttle.lock().drop_probability()),
            response_bytes_last: last,
            response_bytes_max: max,
            response_bytes_min: min,
            ..Gauges::default()
        }
    }

    fn metrics(&self) -> Metrics {
        let shared = &self.core.shared;
        let (shards, pipeline) = (&shared.shard_stats, &shared.pipeline_stats);
        let sum = |pick: fn(&ShardStats) -> u64| shards.iter().map(pick).sum::<u64>();
        let reads = sum(|s| s.read_latency.summary.count.get());
        let mut metrics = Metrics::default();
        let requests = reads + pipeline.proposed.get();
        for (name, value) in [
            ("bytes_received_count", sum(|s| s.bytes_received.get())),
            ("connection_drop_count", sum(|s| s.dropped.get())),
            ("connection_request_count", sum(|s| s.connection_requests.get())),
            ("connection_revalidate_count", sum(|s| s.revalidated.get())),
            ("connection_rejected", sum(|s| s.connection_rejected.get()) + pipeline.sessions_rejected.get()),
            ("ensemble_auth_success", sum(|s| s.ensemble_auth_success.get())),
            ("ensemble_auth_fail", sum(|s| s.ensemble_auth_fail.get())),
            ("ensemble_auth_skip", sum(|s| s.ensemble_auth_skip.get())),
            ("throttled_ops", sum(|s| s.throttled_ops.get())),
            ("request_throttle_wait_count", sum(|s| s.throttle_waits.get())),
            ("stale_requests", sum(|s| s.stale_requests.get())),
            ("stale_requests_dropped", sum(|s| s.stale_requests_dropped.get())),
            ("large_requests_rejected", sum(|s| s.large_requests_rejected.get())),
            ("sessionless_connections_expired", sum(|s| s.sessionless_expired.get())),
            ("stale_sessions_expired", pipeline.expired.get()),
            ("digest_mismatches_count", pipeline.digest_mismatches.get()),
            ("response_bytes", sum(|s| s.response_bytes.get())),
            ("watch_bytes", sum(|s| s.watch_bytes.get())),
            ("outstanding_changes_queued", pipeline.changes_queued.get()),
            ("outstanding_changes_removed", pipeline.changes_removed.get()),
            ("prep_processor_request_queued", requests),
            ("sync_processor_request_queued", requests),
        ] {
            metrics.counters.insert(name, value as i64);
        }
        let refusals = shared.quota_reports.lock().refusals().clone();
        metrics.quota_errors = refusals.into_iter().map(|(namespace, count)| (namespace, count as i64)).collect();
        self.add_summaries(&mut metrics, reads);
        let mut read = BTreeMap::new();
        for stats in shards {
            add_namespaces(&mut read, &stats.reads);
        }
        let mut written = BTreeMap::new();
        add_namespaces(&mut written, &pipeline.writes);
        for (all, what) in [(read, "read"), (written, "write")] {
            for (namespace, outline) in all {
                metrics.summary_sets.insert(format!("{namespace}_{what}_per_namespace"), of_outline(outline));
            }
        }
        metrics
    }

    fn add_summaries(&self, metrics: &mut Metrics, reads: u64) {
        let shared = &self.core.shared;
        let (shards, pipeline) = (&shared.shard_stats, &shared.pipeline_stats);
        let of_shards = |pick: fn(&ShardStats) -> &Distribution| shards.iter().map(pick).collect::<Vec<_>>();
        let told = |kind: usize| counted(shards.iter().map(|stats| &stats.watchers_told[kind]), 0);
        let connects: u64 = shards.iter().map(|stats| stats.connection_requests.get()).sum();
        let held = counted(shards.iter().map(|stats| &stats.throttle_queue_ms), 0).count as u64;
        let limited = counted(shards.iter().map(|stats| &stats.token_deficit), 0).count as u64;
        let requests = reads + pipeline.proposed.get();
        let closed = pipeline.closed_sessions.get();
        // Apache's threads look at the length of their queue before they wait for what comes next.
        let looks = reads + u64::from(pipeline.resets.get() == 0);
        let all = [
            ("readlatency", distributed(&of_shards(|s| &s.read_latency), 0)),
            ("updatelatency", distributed(&of_shards(|s| &s.update_latency), 0)),
            ("propagation_latency", distributed(&[&pipeline.propagation], 0)),
            (
                "request_throttle_queue_time_ms",
                counted(shards.iter().map(|stats| &stats.throttle_queue_ms), requests.saturating_sub(held)),
            ),
            (
                "connection_token_deficit",
                counted(shards.iter().map(|stats| &stats.token_deficit), connects.saturating_sub(limited)),
            ),
            ("close_session_prep_time", zeros(closed)),
            ("prep_processor_queue_time_ms", distributed(&[&pipeline.prep_wait], reads)),
            ("prep_processor_queue_size", queue(&pipeline.prep_queue, looks + pipeline.proposed.get())),
            ("prep_process_time", timed([&pipeline.prep], reads)),
            ("proposal_process_time", zeros(reads + pipeline.proposed.get())),
            ("sync_processor_queue_size", queue(&pipeline.log_queue, looks + pipeline.proposed.get())),
            ("sync_processor_queue_time_ms", distributed(&[&pipeline.log_wait], reads)),
            ("sync_process_time", zeros(pipeline.proposed.get())),
            ("sync_processor_batch_size", counted([&pipeline.batch_txns], 0)),
            ("sync_processor_queue_flush_time_ms", distributed(&[&pipeline.sync], 0)),
            ("sync_processor_queue_and_flush_time_ms", distributed(&[&pipeline.log], 0)),
            ("node_created_watch_count", told(0)),
            ("node_deleted_watch_count", told(1)),
            ("node_changed_watch_count", told(2)),
            ("node_children_watch_count", told(3)),
            ("snapshottime", timed([&pipeline.snapshot], 0)),
        ];
        metrics.summaries.extend(all);
        if self.config.storage.force_sync {
            metrics.summaries.insert("fsynctime", timed([&pipeline.sync.summary], 0));
        }
        if !self.start_is_forgotten.load(Relaxed) {
            let once = |value: i64| Summary { count: 1, sum: value, min: value, max: value, percentiles: [value; 4] };
            let start = &self.start;
            let ms = |duration: std::time::Duration| duration.as_millis() as i64;
            metrics.summaries.insert("dbinittime", once(ms(start.recovery)));
            metrics.summaries.insert("startup_snap_load_time", once(ms(start.snapshot)));
            if let Some(txns) = start.txns {
                let took = start.recovery.saturating_sub(start.snapshot);
                metrics.summaries.insert("startup_txns_loaded", once(txns as i64));
                metrics.summaries.insert("startup_txns_load_time", once(ms(took)));
            }
        }
    }
}

/// Values that are counts, and so many more that are 0.
fn counted<'a>(parts: impl IntoIterator<Item = &'a Parts>, zeros: u64) -> Summary {
    scaled(parts, zeros, 1)
}

/// Values in µs, told in ms, and so many more that are 0.
fn timed<'a>(parts: impl IntoIterator<Item = &'a Parts>, zeros: u64) -> Summary {
    scaled(parts, zeros, 1000)
}

fn scaled<'a>(parts: impl IntoIterator<Item = &'a Parts>, zeros: u64, unit: u64) -> Summary {
    let mut all = Outline::default();
    for part in parts {
        let (min, max) = (part.min.get(), part.max.get());
        all.extend(Outline { count: part.count.get(), sum: part.sum.get(), min, max });
    }
    if zeros > 0 {
        all.extend(Outline { count: zeros, sum: 0, min: 0, max: 0 });
    }
    let Outline { count, sum, min, max } = all;
    of_outline(Outline { count, sum: sum / unit, min: if count == 0 { min } else { min / unit }, max: max / unit })
}

fn of_outline(outline: Outline) -> Summary {
    let min = if outline.count == 0 { 0 } else { outline.min as i64 };
    let Outline { count, sum, max, .. } = outline;
    Summary { count: count as i64, sum: sum as i64, min, max: max as i64, percentiles: [0; 4] }
}

fn zeros(count: u64) -> Summary {
    counted([], count)
}

/// The lengths of a queue when it was looked at: so many times, though only some looks could find something.
fn queue(seen: &Parts, looks: u64) -> Summary {
    counted([seen], looks.saturating_sub(seen.count.get()))
}

/// Values in µs, told in ms, with percentiles, and so many more that are 0.
fn distributed(parts: &[&Distribution], zeros: u64) -> Summary {
    let outline = timed(parts.iter().map(|part| &part.summary), zeros);
    let percentiles = Distribution::percentiles(parts, zeros, PERCENTILES).map(|us| (us / 1000) as i64);
    Summary { percentiles, ..outline }
}

fn add_namespaces(all: &mut BTreeMap<Box<str>, Outline>, more: &Namespaces) {
    for (namespace, outline) in more.get() {
        all.entry(namespace).or_default().extend(outline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_take_part() {
        let all = peer::stats::PipelineStats::default();
        assert_eq!(distributed(&[&all.log], 0), Summary::default());
        all.log.record(5_000);
        all.log.record(9_000);
        let some = distributed(&[&all.log], 0);
        assert_eq!((some.count, some.sum, some.min, some.max), (2, 14, 5, 9));
        assert!(some.percentiles[0] >= 4 && some.percentiles[3] >= 8);
        let more = distributed(&[&all.log], 98);
        assert_eq!((more.count, more.sum, more.min, more.max), (100, 14, 0, 9));
        assert_eq!(more.percentiles[..2], [0, 0]);
        assert_eq!((queue(&all.prep_queue, 3).count, zeros(4).count), (3, 4));
    }
}
