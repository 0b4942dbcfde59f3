//! Four-letter words: gathers what they tell.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::core::Core;
use crate::disk::directory_bytes;
use crate::four_letter::{self as text, ConnectionStats, Gauges, Metrics, Mode, ServerStats, Summary, Whitelist, Word};
use crate::shard_thread::ToShard;

/// What four-letter words are answered from.
#[derive(Debug)]
pub struct Words {
    core: Arc<Core>,
    shards: Vec<mpsc::Sender<ToShard>>,
    whitelist: Whitelist,
    config: Config,
    version: String,
}

impl Words {
    /// Over a server.
    pub fn new(core: Arc<Core>, shards: Vec<mpsc::Sender<ToShard>>, config: Config) -> Self {
        let whitelist = config.four_letter_whitelist.clone();
        Self { core, shards, whitelist, config, version: text::version_text(env!("OSTLER_BUILT_ON")) }
    }

    /// The answer to a word; `stmk` reads its argument first.
    pub async fn answer(&self, word: Word, reader: &mut OwnedReadHalf) -> String {
        if !self.whitelist.allows(word) {
            return word.refusal();
        }
        match word {
            Word::Ruok => text::RUOK.to_owned(),
            Word::Srvr => text::srvr(&self.stats()),
            Word::Stat => text::stat(&self.stats(), &self.connections().await),
            Word::Mntr => text::mntr(&self.stats(), &self.gauges(), &self.metrics()),
            Word::Isro => text::isro(Some(Mode::Standalone)).to_owned(),
            Word::Dirs => {
                let (data, log) = self.directories();
                text::dirs(directory_bytes(&data), directory_bytes(&log))
            }
            Word::Conf => self.conf(),
            Word::Envi => text::envi([("zookeeper.version", self.version.as_str())]),
            Word::Gtmk => text::trace_mask(text::TRACE_MASK_DEFAULT),
            Word::Stmk => {
                let mut mask = [0; 8];
                match tokio::time::timeout(Duration::from_secs(1), reader.read_exact(&mut mask)).await {
                    Ok(Ok(_)) => text::trace_mask(i64::from_be_bytes(mask)),
                    _ => String::new(),
                }
            }
            Word::Wchs => {
                let mut summary = text::WatchSummary { connections: 0, paths: 0, watches: 0 };
                for stats in &self.core.shared.shard_stats {
                    summary.watches += stats.watches.get() as usize;
                    summary.paths += stats.watched_paths.get() as usize;
                }
                text::wchs(summary)
            }
            Word::Srst => {
                for stats in &self.core.shared.shard_stats {
                    stats.latency.reset();
                    stats.packets_received.set(0);
                    stats.packets_sent.set(0);
                }
                text::SRST.to_owned()
            }
            Word::Cons | Word::Crst | Word::Dump | Word::Hash | Word::Wchc | Word::Wchp => {
                format!("{} is not built yet.\n", word.name())
            }
        }
    }

    fn directories(&self) -> (PathBuf, PathBuf) {
        let storage = &self.config.storage;
        (storage.data_dir.join(crate::disk::VERSION_DIR), storage.data_log_dir.join(crate::disk::VERSION_DIR))
    }

    async fn connections(&self) -> Vec<ConnectionStats> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let (answer, described) = oneshot::channel();
            if shard.send(ToShard::Describe(answer)).await.is_ok()
                && let Ok(Ok(connections)) = tokio::time::timeout(Duration::from_secs(1), described).await
            {
                all.extend(connections);
            }
        }
        all
    }

    /// What `srvr` tells.
    pub fn stats(&self) -> ServerStats {
        let shared = &self.core.shared;
        let (mut count, mut sum, mut min, mut max) = (0, 0, u64::MAX, 0);
        let (mut received, mut sent, mut connections) = (0, 0, 0);
        for stats in &shared.shard_stats {
            count += stats.latency.count.get();
            sum += stats.latency.sum.get();
            min = min.min(stats.latency.min.get());
            max = max.max(stats.latency.max.get());
            received += stats.packets_received.get();
            sent += stats.packets_sent.get();
            connections += stats.connections.get();
        }
        let tree = shared.tree.read();
        ServerStats {
            version: self.version.clone(),
            mode: Mode::Standalone,
            latency_ms_min: if count == 0 { 0 } else { (min / 1000) as i64 },
            latency_ms_avg: text::average((sum / 1000) as i64, count as i64),
            latency_ms_max: (max / 1000) as i64,
            received: received as i64,
            sent: sent as i64,
            connections: connections as i64,
            outstanding: shared.in_flight.load(std::sync::atomic::Ordering::Relaxed) as i64,
            zxid: tree.last_processed().0,
            nodes: tree.node_count() as i64,
            proposals: None,
        }
    }

    fn gauges(&self) -> Gauges {
        let shared = &self.core.shared;
        let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let tree = shared.tree.read();
        Gauges {
            uptime_ms: self.core.clock.now().mono_ms(),
            watches: shared.shard_stats.iter().map(|s| s.watches.get() as i64).sum(),
            ephemerals: tree.ephemeral_count() as i64,
            approximate_data_bytes: tree.approximate_data_size(),
            global_sessions: shared.pipeline_stats.sessions.get() as i64,
            open_files: std::fs::read_dir("/proc/self/fd").map_or(-1, |dir| dir.count() as i64),
            open_files_max: limits.current.map_or(-1, |max| i64::try_from(max).unwrap_or(i64::MAX)),
            connection_drop_probability: shared
                .connection_throttle
                .as_ref()
                .map_or(0.0, |throttle| throttle.lock().drop_probability()),
            auth_failed: shared.shard_stats.iter().map(|s| s.auth_failed.get() as i64).sum(),
            ..Gauges::default()
        }
    }

    fn metrics(&self) -> Metrics {
        let shared = &self.core.shared;
        let stats = &shared.pipeline_stats;
        let mut metrics = Metrics::default();
        let received: u64 = shared.shard_stats.iter().map(|s| s.bytes_received.get()).sum();
        let dropped: u64 = shared.shard_stats.iter().map(|s| s.dropped.get()).sum();
        let count = |pick: fn(&peer::stats::ShardStats) -> &peer::stats::Counter| {
            shared.shard_stats.iter().map(|s| pick(s).get()).sum::<u64>()
        };
        for (name, value) in [
            ("connection_request_count", count(|s| &s.connection_requests)),
            ("connection_rejected", count(|s| &s.connection_rejected)),
            ("ensemble_auth_success", count(|s| &s.ensemble_auth_success)),
            ("ensemble_auth_fail", count(|s| &s.ensemble_auth_fail)),
            ("ensemble_auth_skip", count(|s| &s.ensemble_auth_skip)),
            ("throttled_ops", count(|s| &s.throttled_ops)),
            ("request_throttle_wait_count", count(|s| &s.throttle_waits)),
            ("stale_requests", count(|s| &s.stale_requests)),
            ("stale_requests_dropped", count(|s| &s.stale_requests_dropped)),
            ("large_requests_rejected", count(|s| &s.large_requests_rejected)),
            ("bytes_received_count", received),
            ("commit_count", stats.commits.get()),
            ("connection_drop_count", dropped),
            ("stale_sessions_expired", stats.expired.get()),
            ("digest_mismatches_count", stats.digest_mismatches.get()),
        ] {
            metrics.counters.insert(name, value as i64);
        }
        let all = |pick: fn(&peer::stats::ShardStats) -> &peer::stats::Summary| {
            let parts: Vec<_> = shared.shard_stats.iter().map(pick).collect();
            millis(&parts)
        };
        metrics.summaries.insert("readlatency", all(|s| &s.read_latency));
        metrics.summaries.insert("updatelatency", all(|s| &s.update_latency));
        let counted = |pick: fn(&peer::stats::ShardStats) -> &peer::stats::Summary| {
            plain(&shared.shard_stats.iter().map(pick).collect::<Vec<_>>())
        };
        metrics.summaries.insert("connection_token_deficit", counted(|s| &s.token_deficit));
        metrics.summaries.insert("request_throttle_queue_time_ms", counted(|s| &s.throttle_queue_ms));
        metrics.summaries.insert("prep_process_time", millis(&[&stats.prep]));
        metrics.summaries.insert("sync_process_time", millis(&[&stats.log]));
        metrics
    }

    fn conf(&self) -> String {
        let (config, (data, log)) = (&self.config, self.directories());
        let absolute =
            |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string();
        text::conf(&text::ConfStats {
            client_port: i32::from(config.client.port),
            secure_client_port: -1,
            data_dir_bytes: directory_bytes(&data),
            data_dir: absolute(&data),
            data_log_bytes: directory_bytes(&log),
            data_log_dir: absolute(&log),
            tick_ms: config.sessions.tick_ms,
            max_client_cnxns: config.client.connections_per_address_configured,
            session_timeout_ms_min: config.sessions.timeout_ms_min,
            session_timeout_ms_max: config.sessions.timeout_ms_max,
            listen_backlog: config.client.listen_backlog_configured,
            server_id: 0,
        })
    }
}

fn millis(parts: &[&peer::stats::Summary]) -> Summary {
    scaled(parts, 1000)
}

/// Of what is counted in its unit already.
fn plain(parts: &[&peer::stats::Summary]) -> Summary {
    scaled(parts, 1)
}

fn scaled(parts: &[&peer::stats::Summary], unit: u64) -> Summary {
    let count: u64 = parts.iter().map(|s| s.count.get()).sum();
    let min = parts.iter().map(|s| s.min.get()).min().unwrap_or(0);
    Summary {
        count: count as i64,
        sum: parts.iter().map(|s| s.sum.get() / unit).sum::<u64>() as i64,
        min: if count == 0 { 0 } else { (min / unit) as i64 },
        max: parts.iter().map(|s| s.max.get() / unit).max().unwrap_or(0) as i64,
        percentiles: [0; 4],
    }
}
