//! From a configuration to a running server, and back down in order.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use node::{Node, NodeConfig};
use peer::shard::RequestThrottle;
use peer::throttle::{ConnectionThrottle, ConnectionThrottleConfig};
use peer::{ContainerRules, LocalSessions, Pipeline, PipelineConfig, ShardConfig, Shared, StepLimits};
use storage::policy::SnapPolicy;
use storage::recover::Origin;
use storage::{LogOptions, RecoverError};
use tokio::sync::mpsc;
use tree::owner::OwnerRules;
use tree::{CONFIG_PATH, HashKeys, TreeConfig};
use wire::ServerId;

use crate::client_port::Accept;
use crate::clock::Clock;
use crate::config::Config;
use crate::core::{Core, GroupCommit};
use crate::denied;
use crate::descriptors;
use crate::directories;
use crate::disk::{DirLock, RealDisk};
use crate::file_sizes;
use crate::last_stop::{self, LastStop};
use crate::listener::{self, Limits};
use crate::member::{self, Member};
use crate::member_start;
use crate::oracle;
use crate::quorum::{self, Listening, QuorumThread};
use crate::recovery::rebuild_or_begin_anew;
use crate::shard_thread::{self, ShardOptions, TO_SHARD_MAX, ToShard};
use crate::snapshots::{self, IMAGE_BYTES_MAX, SnapshotOptions};
use crate::sync_watch::{SyncWatch, keep_looking};
use crate::threads::{self, LogThread};
use crate::words::{StartTimes, Words};

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// A directory can't be used.
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What is in the directory can't be read.
    Recover {
        /// That of the snapshots, and that of the logs if it is another one.
        paths: Vec<PathBuf>,
        /// Why.
        error: Box<RecoverError>,
    },
    /// A port for other servers can't be opened.
    Ports(io::Error),
    /// The client port can't be opened.
    Listen(io::Error),
    /// A thread can't be started, or the like.
    System(io::Error),
}

impl StartError {
    /// The exit code that Apache's server would end with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Directory { .. } | Self::Recover { .. } => 3,
            Self::Ports(_) => 14,
            Self::Listen(_) | Self::System(_) => 1,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Recover { paths, error } => {
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                write!(f, "{}: {error}", paths.join(" and "))
            }
            Self::Ports(error) | Self::Listen(error) => write!(f, "{error}"),
            Self::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A step of the start, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: &'static str,
    /// What it came to.
    pub result: String,
    /// How long it took.
    pub took: Duration,
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    core: Arc<Core>,
    shards: Vec<mpsc::Sender<ToShard>>,
    shard_threads: Vec<JoinHandle<()>>,
    log_thread: JoinHandle<()>,
    other_threads: Vec<JoinHandle<()>>,
    quorum: Option<QuorumThread>,
    log_disk: RealDisk,
    /// Where it listens.
    pub address: SocketAddr,
    lock: Arc<[DirLock]>,
}

/// How a server ends when its disk does: told to whoever runs it, who must end the process.
pub type OnFatal = Arc<dyn Fn(String) + Send + Sync>;

/// The step after which clients can connect; a start that ends before it has served nobody.
pub const LAST_QUIET_STEP: &str = "sessions";

/// Starts a server. `show` is told each step as it is done.
pub fn start(config: &Config, on_fatal: OnFatal, show: &mut dyn FnMut(Step)) -> Result<Running, StartError> {
    let clock = Clock::default();
    let storage = &config.storage;
    file_sizes::let_writes_fail().map_err(StartError::System)?;
    // A port that is taken should cost neither a replay nor a directory.
    let bound = listener::bind(&config.client).map_err(StartError::Listen)?;
    let ports = config.ensemble.as_ref().map(|ensemble| member_start::ports(config, ensemble));
    let listening = ports.as_ref().map(Listening::bind).transpose().map_err(StartError::Ports)?;
    directories::make(storage)?;
    let config = directories::once(config)?;
    let (config, storage) = (&*config, &config.storage);
    let locks: Arc<[DirLock]> = directories::lock(storage)?.into();
    for dir in directories::folders(storage) {
        if let Some(warning) = denied::other_owner(&dir) {
            tracing::warn!("{warning}");
        }
    }
    let mut step = Instant::now();
    let mut tell = |name: &'static str, result: String| {
        let took = step.elapsed();
        step = Instant::now();
        show(Step { name, result, took });
    };
    let seed = random();
    let tree_config = TreeConfig {
        keys: HashKeys([seed[0], seed[1], seed[2], seed[3]]),
        owner_rules: OwnerRules { extended_types: config.tree.extended_types, emulate_353: config.tree.ttl_layout_353 },
    };
    let syncs = SyncWatch::of_start(Duration::from_millis(storage.sync_warning_ms)).map_err(StartError::System)?;
    let mut disk = RealDisk::new(&storage.data_dir, &storage.data_log_dir).watched(&syncs);
    // The disk has it: its thread looks for as long as the disk is there.
    drop(syncs);
    directories::look_for_lost(storage, &locks, &disk)?;
    // The log's is the last.
    let word = locks.last().map(last_stop::of).unwrap_or_default();
    let recovery_began = Instant::now();
    let rebuilt = rebuild_or_begin_anew(config, tree_config, &mut disk, &word);
    if let Some(lock) = locks.last() {
        match &rebuilt {
            // Of a new database when there is one.
            Ok((_, recovered)) if recovered.origin == Origin::New => {}
            Ok(_) => last_stop::leave(&last_stop::running(), lock),
            Err(_) if disk.has_failed_sync => last_stop::leave(&word.without_boot(), lock),
            Err(_) => {}
        }
    }
    let (rebuilt, recovered) = rebuilt?;
    let start_times = StartTimes {
        recovery: recovery_began.elapsed(),
        snapshot: rebuilt.snapshot_read.map_or(Duration::ZERO, |at| at - recovery_began),
        txns: (!matches!(recovered.origin, Origin::New | Origin::Nothing)).then_some(recovered.txns_replayed),
    };
    let (tree, sessions, warnings) = rebuilt.finish();
    for warning in recovered.warnings.iter().chain(&warnings) {
        tracing::warn!("{warning}");
    }
    let what = match recovered.origin {
        Origin::Snapshot { zxid, nodes, .. } => {
            format!("snapshot.{:x} with {nodes} znodes, and {} txns behind it", zxid.0, recovered.txns_replayed)
        }
        Origin::LogsOnly => format!("{} txns, no snapshot", recovered.txns_replayed),
        Origin::Nothing if config.ensemble.is_some() => "nothing; no vote until it has a leader's data".to_owned(),
        Origin::New | Origin::Nothing => "a new database".to_owned(),
    };
    tell("recovery", format!("{what}; the last zxid is {}", tree.last_processed()));

    let session_count = sessions.len();
    let shard_count = shard_count();
    let last = tree.last_processed();
    let needs_snapshot = member_start::needs_snapshot(recovered.origin, config.ensemble.is_some());
    let mut shared = Shared::new(tree, shard_count);
    shared.large_threshold = config.limits.large_request_bytes.map_or(usize::MAX, |bytes| bytes as usize);
    // A standalone server has none, as in Apache.
    let local_sessions = config.ensemble.as_ref().map_or(LocalSessions::Off, |ensemble| ensemble.local_sessions);
    shared.is_member = config.ensemble.is_some();
    shared.connection_throttle =
        connection_throttle(config, local_sessions != LocalSessions::Off, seed[2], clock.now()).map(Into::into);
    let shared = Arc::new(shared);
    let auth = Arc::new(config.auth.clone());
    let mut pipeline = Pipeline::new(
        PipelineConfig {
            server: config.ensemble.as_ref().map_or(ServerId(1), |ensemble| ensemble.me),
            tick_ms: i64::from(config.sessions.tick_ms),
            auth: auth.clone(),
            length_max: config.limits.record_bytes_max as usize,
            digests: config.tree.digest,
            close_session_paths: config.tree.close_session_paths,
            sessions_max: config.limits.sessions_max,
            enforce_quota: config.tree.enforce_quota,
            reconfig_enabled: config.tree.reconfig_enabled,
            local_sessions,
            containers: ContainerRules {
                check_ms: i64::from(config.tree.container_check_ms),
                per_minute_max: config.tree.container_deletions_per_minute_max as usize,
                never_used_ms: config.tree.container_never_used_ms.and_then(|ms| i64::try_from(ms).ok()),
            },
            keys: tree_config.keys,
        },
        &shared.tree.read(),
        sessions,
        shard_count,
        clock.now(),
    );
    pipeline.set_leader_serves(config.ensemble.as_ref().is_none_or(|ensemble| ensemble.leader_serves));
    let snapshot_options = SnapshotOptions {
        force_sync: storage.force_sync,
        digest: config.tree.digest,
        compression: storage.snapshot_compression,
        last_processed: storage.last_processed_zxid_in_snapshot,
    };
    if needs_snapshot {
        // As Apache does: without it, logs alone would be taken for a database that lost its snapshots.
        let (header, began) = (pipeline.begin_cut(&shared, IMAGE_BYTES_MAX), Instant::now());
        snapshots::write_snapshot(&shared, &mut disk, header, snapshot_options, &AtomicBool::new(true))
            .map_err(|e| StartError::Directory { path: storage.data_dir.clone(), reason: e.to_string() })?;
        shared.pipeline_stats.snapshot.record(began.elapsed().as_micros() as u64);
        threads::execute(&mut disk, &recovered.when_begun)
            .map_err(|e| StartError::Directory { path: storage.data_dir.clone(), reason: e.to_string() })?;
    }
    if let Some(lock) = locks.last().filter(|_| recovered.origin == Origin::New) {
        // From here on a directory without anything is one that was emptied.
        last_stop::leave(&last_stop::running(), lock);
    }
    let mut policy = SnapPolicy::new(u64::from(storage.snap_count), storage.snap_log_bytes.unwrap_or(0), seed[0]);
    policy.started(&recovered);
    let node = NodeConfig {
        pipeline,
        log: LogOptions {
            preallocate: storage.preallocation_bytes.unwrap_or(0),
            size_limit: storage.log_file_bytes_max.unwrap_or(0),
            batch_txns: storage.batch_txns_max.unwrap_or(0) as usize,
            force_sync: storage.force_sync,
            ..LogOptions::default()
        },
        last,
        policy,
        seed: seed[1],
    };
    let core = match &config.ensemble {
        None => {
            let core = Core::new(shared, clock, Node::standalone(node), None);
            let orphans = core.with_waking(|machines| {
                machines.node.pipeline.close_orphans(clock.now(), &core.shared);
                let woken = machines.node.process(clock.now(), &core.shared, &mut Vec::new());
                core.offer_fill(machines);
                (machines.node.pipeline.take_orphans(), woken)
            });
            if let Some(orphans) = orphans {
                tracing::warn!("{orphans}");
            }
            core
        }
        Some(ensemble) => {
            let is_lost = member_start::has_lost_state(&recovered);
            let text = shared.tree.read().get(CONFIG_PATH).and_then(|it| it.data().map(<[u8]>::to_vec));
            let text = text.unwrap_or_default();
            let member = member_start::member(config, ensemble, &mut disk, tree_config, last, &text, is_lost)?;
            let files = member_start::dynamic_files(ensemble)?;
            let beside = Member::new(
                storage.data_dir.clone(),
                storage.data_log_dir.clone(),
                config.limits.record_bytes_max as usize,
                ensemble,
                member.options.quorums(),
                files,
                on_fatal.clone(),
            );
            let node = Node::member(clock.now(), &shared, node, member);
            Core::new(shared, clock, node, Some(beside))
        }
    };
    let core = Arc::new(core);
    tell(LAST_QUIET_STEP, format!("{session_count} restored, each with its whole timeout ahead"));

    let address = bound.address;
    let clients = bound.listen().map_err(StartError::Listen)?;
    let between = ports.zip(listening);
    let running = launch(config, core, auth, clients, between, address, snapshot_options, start_times, on_fatal, locks)
        .map_err(StartError::System)?;
    tell("listener", format!("{address}, {shard_count} shards"));
    Ok(running)
}

#[allow(clippy::too_many_arguments, reason = "the parts of a server, once")]
fn launch(
    config: &Config,
    core: Arc<Core>,
    auth: Arc<auth::AuthConfig>,
    listening: std::net::TcpListener,
    between: Option<(quorum::Options, Listening)>,
    address: SocketAddr,
    snapshot_options: SnapshotOptions,
    start_times: StartTimes,
    on_fatal: OnFatal,
    lock: Arc<[DirLock]>,
) -> io::Result<Running> {
    let storage = &config.storage;
    let syncs = core.syncs.clone();
    syncs.warn_after(Duration::from_millis(storage.sync_warning_ms));
    let disk = || RealDisk::new(&storage.data_dir, &storage.data_log_dir).watched(&syncs);
    let how = LogThread {
        warn_after: Duration::from_millis(storage.sync_warning_ms),
        group: GroupCommit {
            delay: Duration::from_millis(storage.flush_delay_ms),
            idle: Duration::from_millis(storage.idle_flush_ms.max(1)),
            txns: storage.batch_txns_max.map_or(usize::MAX, |max| max as usize),
        },
    };
    let log_thread = spawn("ostler-log", {
        // Its syncs are told of with their batches.
        let mut disk = RealDisk::new(&storage.data_dir, &storage.data_log_dir);
        let (core, on_fatal) = (core.clone(), on_fatal.clone());
        let lock = Arc::downgrade(&lock);
        move || {
            if let Err(e) = threads::run_log(&core, &mut disk, how) {
                if disk.has_failed_sync {
                    leave_nothing(&lock);
                }
                on_fatal(format!(
                    "the txn log can't be written, and nothing that is not in it may be acknowledged: {e}"
                ));
            }
        }
    })?;
    let mut other_threads = vec![
        spawn("ostler-fill", {
            let (core, disk) = (core.clone(), disk());
            move || threads::run_fill(&core, disk)
        })?,
        spawn("ostler-snapshot", {
            let (core, disk, on_fatal) = (core.clone(), disk(), on_fatal.clone());
            move || {
                if let Err(e) = snapshots::run_snapshots(&core, disk, snapshot_options) {
                    on_fatal(e.to_string());
                }
            }
        })?,
    ];
    if let Some(purge) = &storage.purge {
        let (core, disk) = (core.clone(), disk());
        let (retain, interval) = (purge.snapshots_kept as usize, Duration::from_hours(u64::from(purge.interval_hours)));
        let length_max = config.limits.record_bytes_max as usize;
        let run = move || threads::run_purge(&core, disk, retain, length_max, interval);
        other_threads.push(spawn("ostler-purge", run)?);
    }

    let (shards, mut inboxes): (Vec<_>, Vec<_>) =
        (0..core.shared.inboxes.len()).map(|_| mpsc::channel(TO_SHARD_MAX)).unzip();
    let words = Arc::new(Words::new(core.clone(), shards.clone(), config.clone(), start_times));
    let room = descriptors::room_for_connections();
    let limits = Limits {
        total: Some(room.min(config.client.connections_max.unwrap_or(u32::MAX))),
        per_address: config.client.connections_per_address_max,
    };
    let mut shard_threads = Vec::new();
    let mut listening = Some(listening);
    for (number, inbox) in inboxes.drain(..).enumerate() {
        let options = ShardOptions {
            shard: ShardConfig {
                shard: number as u16,
                frame_max: config.limits.frame_bytes_max as usize,
                length_max: config.limits.record_bytes_max as usize,
                timeout_min_ms: config.sessions.timeout_ms_min as i32,
                timeout_max_ms: config.sessions.timeout_ms_max as i32,
                auth: auth.clone(),
                in_flight_max: config.limits.outstanding_max as usize,
                in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
                out_pause: OUT_PAUSE_BYTES,
                out_max: OUT_MAX_BYTES,
                out_total_max: config.limits.unsent_bytes_max / shards.len(),
                tell_step: TELL_STEP_BYTES.min(config.limits.unsent_bytes_max / shards.len() / 8),
                unprocessed_max: config.limits.unprocessed_bytes_max,
                watch_bytes_max: config.limits.watch_bytes_max,
                large_bytes_max: config.limits.large_requests_bytes_max as usize,
                throttle: RequestThrottle {
                    requests_max: config.throttle.requests_max.map(|max| max as usize),
                    op_wait_ms: config.throttle.op_wait_ms.map(i64::from),
                    stale_by_latency: config.throttle.stale_by_latency,
                    drop_stale: config.throttle.drop_stale,
                },
                steps: StepLimits::default(),
                keys: HashKeys(random()),
            },
            handshake_timeout: Duration::from_millis(u64::from(config.client.sessionless_timeout_ms)),
            drop_gone: config.throttle.drop_stale && config.throttle.stale_by_connection,
        };
        let (core, words) = (core.clone(), words.clone());
        let accept = listening.take().map(|listener| Accept {
            listener,
            shards: shards.clone(),
            limits,
            config: config.client.clone(),
            port: core.member.as_ref().map(|member| member.client_port.clone()),
        });
        let on_fatal = on_fatal.clone();
        shard_threads.push(spawn(&format!("ostler-shard-{number}"), move || {
            if let Err(e) = shard_thread::run(core, words, options, inbox, accept) {
                on_fatal(format!("shard {number} can't run: {e}"));
            }
        })?);
    }
    let log_disk = disk();
    let quorum = match (between, &core.member) {
        (Some((options, listening)), Some(member)) => {
            for number in 0..TASK_THREADS {
                let (core, lock) = (core.clone(), Arc::downgrade(&lock));
                let run = move || member::run_tasks(&core, &|| leave_nothing(&lock));
                other_threads.push(spawn(&format!("ostler-disk-{number}"), run)?);
            }
            if let Some(file) = member.oracle.clone() {
                let core = core.clone();
                other_threads.push(spawn("ostler-oracle", move || oracle::watch(&core, &file))?);
            }
            Some(QuorumThread::start(options, listening, core.clone(), member.orders.clone())?)
        }
        _ => None,
    };
    // What a member wanted when it was made: now there is somebody to do it.
    core.with(|_| ());
    Ok(Running { core, shards, shard_threads, log_thread, other_threads, quorum, log_disk, address, lock })
}

/// A sync has failed, so nobody knows what is on the disk of what was written: the next start must not believe that what
/// the kernel was given is there.
fn leave_nothing(locks: &Weak<[DirLock]>) {
    if let Some(locks) = locks.upgrade()
        && let Some(lock) = locks.last()
    {
        last_stop::leave(&LastStop::default(), lock);
    }
}

/// Bytes of requests in the pipeline beyond which nothing is read: a disk that is slower than the clients.
const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
/// Bytes to be sent to a connection beyond which it is not read.
const OUT_PAUSE_BYTES: usize = 1 << 20;
/// Bytes to be sent to a connection beyond which it is closed: it gets events but does not read them.
const OUT_MAX_BYTES: usize = 16 << 20;
/// Bytes of events and answers after which a shard writes before it tells more; less where less may be unsent.
const TELL_STEP_BYTES: usize = 16 << 20;

fn connection_throttle(config: &Config, local_sessions: bool, seed: u64, now: peer::Now) -> Option<ConnectionThrottle> {
    let throttle = &config.throttle;
    let config = ConnectionThrottleConfig {
        tokens: throttle.session_tokens?,
        fill_ms: throttle.session_fill_ms,
        fill_count: throttle.session_fill_count,
        freeze_ms: throttle.session_freeze_ms,
        drop_increase: throttle.session_drop_increase,
        drop_decrease: throttle.session_drop_decrease,
        decrease_ratio: throttle.session_decrease_ratio,
        weights: throttle.session_weights,
        local_sessions,
    };
    Some(ConnectionThrottle::new(config, seed, now))
}

/// Shards: one a core, within reason.
fn shard_count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).clamp(1, peer::shared::SHARDS_MAX)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Numbers that clients can't guess.
fn random() -> [u64; 4] {
    use std::hash::{BuildHasher, RandomState};
    std::array::from_fn(|i| RandomState::new().hash_one(i))
}

impl Running {
    /// Ends it in order: what clients were promised is written and told, then connections close. The
    /// directory is left as Apache would leave it, and with an `ostler.lock`.
    pub fn stop(mut self) -> io::Result<()> {
        let drained = Instant::now();
        // The shards go, and with them the ticks; a disk may hang all the same.
        let looked_at = Arc::new(self.core.clone());
        if let Err(e) = keep_looking(&looked_at, |core| core.look_for_stalls()) {
            tracing::debug!("nobody looks whether the disk hangs while this server stops: {e}");
        }
        for shard in &self.shards {
            // A shard that is gone has nothing to close.
            let _ = shard.blocking_send(ToShard::Drain);
        }
        while self.core.shared.in_flight.load(Relaxed) > 0 && drained.elapsed() < DRAIN_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        // A leader finishes what it took from learners, too. Then they elect another at once, before its own clients go.
        while !self.core.with(|machines| machines.node.leave()) && drained.elapsed() < DRAIN_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(quorum) = self.quorum.take() {
            quorum.stop();
        }
        // What was applied last is in the inboxes when the machines are free again.
        self.core.with(|_| ());
        for shard in self.shards.drain(..) {
            let _ = shard.blocking_send(ToShard::Close);
        }
        for thread in self.shard_threads.drain(..) {
            let _ = thread.join();
        }
        if let Some(member) = &self.core.member {
            member.stop();
        }
        self.core.stop();
        let _ = self.log_thread.join();
        for thread in self.other_threads.drain(..) {
            let _ = thread.join();
        }
        match self.core.with(|machines| (machines.node.log.has_failed(), machines.node.log.close())) {
            (false, Some(effects)) => {
                threads::execute(&mut self.log_disk, &effects).inspect_err(|_| {
                    if self.log_disk.has_failed_sync {
                        leave_nothing(&Arc::downgrade(&self.lock));
                    }
                })?;
                if let Some(lock) = self.lock.last() {
                    last_stop::leave(&LastStop::in_order(&self.log_disk, last_stop::boot())?, lock);
                }
                Ok(())
            }
            _ => Err(io::Error::other("the txn log could not be written to its end")),
        }
    }
}

/// Threads for what a member's machines want of the disk beside the log: one may be at a long one.
const TASK_THREADS: usize = 2;

/// How long a stop waits for writes that are under way.
const DRAIN_MAX: Duration = Duration::from_secs(5);
