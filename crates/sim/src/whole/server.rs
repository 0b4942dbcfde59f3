//! A machine, the process on it, and how that starts: as the real server does it, from the directory to the node.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use node::{MemberConfig, Node, NodeConfig, Rebuild, Task, TaskOptions};
use peer::shard::RequestThrottle;
use peer::{
    ConnId, ContainerRules, LocalSessions, Now, Pipeline, PipelineConfig, Shard, ShardConfig, Shared, StepLimits,
};
use storage::disk::{Disk, Effect, FileRef};
use storage::policy::SnapPolicy;
use storage::recover::Origin;
use storage::snapshot::SnapshotDigest;
use storage::snapshot::encode::SnapshotEncoder;
use storage::snapshot::install::SnapshotReceiver;
use storage::snapshot::raw::RawEncoder;
use storage::snapshot::write::SnapshotWriter;
use storage::{Dir, FillJob, LogJob, LogOptions, RecoverOptions, epoch, recover};
use tree::cut::{Chunk, CutHeader};
use tree::owner::OwnerRules;
use tree::{HashKeys, TreeConfig};
use wire::quorum::Packet;
use wire::{AclVec, Epoch, Zxid};
use zab::election::Settings;
use zab::{CommittedLog, Options, RoleId};

use super::Event;
use super::reconfig::last_seen;
use crate::disk::VirtualDisk;
use crate::world::later::Armed;
use crate::world::machine::Machine;
use crate::world::net::ConnNumber;
use crate::world::{DiskError, Setup, fault_of};

/// The longest record, in bytes.
pub(super) const LENGTH_MAX: usize = 65_536;
/// How many bytes of old images a snapshot under way may keep.
pub(super) const IMAGE_BYTES_MAX: usize = 1 << 16;
/// The wall clock of a world's beginning, in ms since 1970.
const BEGAN_MS: i64 = 1_700_000_000_000;

/// How the log is written: small files and batches, so that all that can happen does.
fn log_options() -> LogOptions {
    LogOptions { preallocate: 8192, size_limit: 16384, batch_bytes: 4096, batch_txns: 40, ..LogOptions::default() }
}

/// How a directory is recovered: an empty one is a new database only where it is marked as one.
fn recover_options(options: &Options) -> RecoverOptions {
    RecoverOptions {
        autocreate: false,
        batch_max: 16384,
        length_max: LENGTH_MAX,
        initial_counter: options.initial_counter,
        ..RecoverOptions::default()
    }
}

/// A machine, and the process on it.
pub(super) type Server = Machine<Box<Process>, Event>;

impl Server {
    /// What its clocks show.
    pub(super) fn now(&self, now_us: u64) -> Now {
        let mono_us = 1_000_000 + (u128::from(now_us) * u128::from(self.clock_ppm) / 1_000_000) as u64;
        Now { mono_us, wall_ms: BEGAN_MS + (now_us / 1000) as i64 + self.wall_off_ms }
    }

    /// When its clock that never goes back shows `ms`, in µs of the world.
    pub(super) fn world_us(&self, ms: u64) -> u64 {
        let local_us = (u128::from(ms) * 1000).saturating_sub(1_000_000);
        (local_us * 1_000_000).div_ceil(u128::from(self.clock_ppm)) as u64
    }
}

/// Threads for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Thread {
    /// Batches of the log.
    Log,
    /// The next log file.
    Fill,
    /// A snapshot of this server's.
    Snapshot,
    /// The end of a snapshot of the leader's.
    Receive,
    /// What a node wants of the disk beside the log.
    Task,
    /// Old files go.
    Purge,
}

pub(super) const THREADS: usize = 6;

/// A snapshot under way.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) writer: SnapshotWriter,
    pub(super) encoder: SnapshotEncoder,
    pub(super) header: CutHeader,
    pub(super) stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Beginning,
    Walking,
    Finishing,
    Abandoning,
}

/// What follows when all effects are done.
#[derive(Debug)]
pub(super) enum Then {
    Logged(LogJob),
    Filled(FillJob),
    Snapshot(Box<Cut>),
    Purged,
    Received(RoleId),
    Task(Task),
}

impl Then {
    /// What the effects before it do, in a word or two.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Logged(_) => "log",
            Self::Filled(_) => "next log file",
            Self::Snapshot(_) => "snapshot",
            Self::Purged => "purge",
            Self::Received(_) => "leader's snapshot",
            Self::Task(_) => "task",
        }
    }
}

/// Effects under way.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) effects: Vec<Effect>,
    pub(super) at: usize,
    pub(super) then: Then,
}

/// A snapshot that comes from the leader.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    pub(super) receiver: SnapshotReceiver,
    pub(super) encoder: RawEncoder,
    pub(super) zxid: Zxid,
    /// All bytes are here, and are being made durable.
    pub(super) is_whole: bool,
}

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) number: u32,
    pub(super) node: Node,
    pub(super) shared: Shared,
    pub(super) shards: Vec<Shard>,
    /// Is the shard's turn on its way?
    pub(super) is_woken: Vec<bool>,
    pub(super) works: [Option<Work>; THREADS],
    /// It is time to look for old files: at the start, and behind each snapshot.
    pub(super) is_purge_due: bool,
    pub(super) tasks: VecDeque<Task>,
    pub(super) role: Option<RoleId>,
    pub(super) leads: bool,
    /// The connection to the leader.
    pub(super) leader: Option<ConnNumber>,
    /// The follower that it is to learn from instead.
    pub(super) master: Option<usize>,
    /// It follows, and takes observers.
    pub(super) takes_observers: bool,
    /// It has no leader, and serves reads.
    pub(super) is_read_only: bool,
    pub(super) receiving: Option<Receiving>,
    /// Packets behind a snapshot: they are not read before it is durable.
    pub(super) behind: VecDeque<Packet>,
    /// When the next timer is due that the world knows of.
    pub(super) armed_us: Option<u64>,
    pub(super) conns: BTreeMap<ConnNumber, ConnId>,
    pub(super) numbers: BTreeMap<ConnId, ConnNumber>,
    /// What came and was not read yet.
    pub(super) unread: BTreeMap<ConnNumber, VecDeque<Bytes>>,
    /// When its threads should have run again, in ms of its own clock.
    pub(super) awake_ms: i64,
    /// What it was seen to have applied, and to serve.
    pub(super) shown: Option<Zxid>,
}

impl Process {
    /// The disk's work that is under way, and how many of its effects are done.
    pub(super) fn crash_points(&self) -> Vec<(&'static str, u64)> {
        let works = self.works.iter().flatten().filter(|work| work.at > 0);
        works.map(|work| (work.then.name(), work.at as u64)).collect()
    }

    pub(super) fn is_role(&self, role: RoleId) -> bool {
        self.role == Some(role)
    }

    /// Does it serve, and not only reads without a leader?
    pub(super) fn serves_with_a_leader(&self) -> bool {
        self.shared.is_serving() && !self.is_read_only
    }

    /// What is applied.
    pub(super) fn applied(&self) -> Zxid {
        self.shared.tree.read().last_processed()
    }
}

/// Why a start came to nothing.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// The disk failed, or the power did.
    Io,
    /// The files can't be used.
    Refused {
        /// Why.
        why: String,
        /// May the server set them aside by itself?
        is_mended_by_a_copy: bool,
    },
}

/// What a start has found on the disk.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) process: Box<Process>,
    pub(super) last: Zxid,
    pub(super) epochs: (Epoch, Epoch),
    pub(super) is_lost: bool,
}

/// A disk whose power fails, or which errs, after so many effects.
pub(super) struct Metered<'a> {
    pub(super) disk: &'a mut VirtualDisk,
    /// How many effects are done before the power fails.
    pub(super) left: Option<u64>,
    pub(super) error: Option<Armed<DiskError>>,
    /// The error that came, if one did.
    pub(super) failed: Option<Armed<DiskError>>,
    pub(super) done: u64,
}

impl Metered<'_> {
    pub(super) fn run(&mut self, effects: &[Effect]) -> std::io::Result<()> {
        effects.iter().try_for_each(|effect| self.execute(effect))
    }

    /// Has the power failed?
    pub(super) fn is_off(&self) -> bool {
        self.left == Some(0)
    }
}

impl Disk for Metered<'_> {
    fn is_separate(&self) -> bool {
        self.disk.is_separate()
    }
    fn list(&self, dir: Dir) -> std::io::Result<Vec<storage::disk::Entry>> {
        self.disk.list(dir)
    }
    fn open(&self, file: &FileRef) -> std::io::Result<Box<dyn storage::disk::DiskRead + '_>> {
        self.disk.open(file)
    }
    fn execute(&mut self, effect: &Effect) -> std::io::Result<()> {
        match &mut self.left {
            Some(0) => return Err(std::io::Error::other("the power has failed")),
            Some(left) => *left -= 1,
            None => {}
        }
        if let Some(error) = self.error.take_if(|it| it.left == 0) {
            self.disk.faults.at.insert(self.disk.effects(), fault_of(error.what, effect));
            self.failed = Some(error);
        }
        if let Some(error) = &mut self.error {
            error.left -= 1;
        }
        self.done += 1;
        self.disk.execute(effect)
    }
}

/// Starts a process on what the disk holds.
pub(super) fn start(
    disk: &mut Metered<'_>,
    setup: &Setup,
    options: &Options,
    now: Now,
    number: u32,
    seed: u64,
) -> Result<Found, NotStarted> {
    let keys = HashKeys([seed, 1, 2, 3]);
    let tree_config = TreeConfig { keys, owner_rules: OwnerRules { extended_types: true, emulate_353: false } };
    let mut rebuild = Rebuild::new(tree_config, true);
    let recovered = recover(disk, &recover_options(options), &mut rebuild, &mut |_| ()).map_err(|error| {
        if disk.is_off() || matches!(error, storage::RecoverError::Io { .. }) {
            NotStarted::Io
        } else {
            NotStarted::Refused { why: error.to_string(), is_mended_by_a_copy: error.is_mended_by_a_copy() }
        }
    })?;
    let (tree, sessions, warnings) = rebuild.finish();
    if let Some(warning) = warnings.first() {
        return Err(refused(warning));
    }
    let last = tree.last_processed();
    let shards = 2;
    let mut shared = Shared::new(tree, shards);
    shared.is_member = true;
    // Clients are operators there.
    let auth = Arc::new(auth::AuthConfig { skip_acl: setup.reconfig_enabled, ..auth::AuthConfig::default() });
    let config = PipelineConfig {
        server: options.me,
        tick_ms: options.tick_ms as i64,
        auth: auth.clone(),
        length_max: LENGTH_MAX,
        digests: true,
        close_session_paths: true,
        sessions_max: usize::MAX,
        enforce_quota: false,
        reconfig_enabled: setup.reconfig_enabled,
        local_sessions: LocalSessions::Off,
        containers: ContainerRules { check_ms: 60_000, per_minute_max: 1000, never_used_ms: None },
        keys,
    };
    let pipeline = Pipeline::new(config, &shared.tree.read(), sessions, shards, now);
    if matches!(recovered.origin, Origin::New | Origin::LogsOnly) {
        let header = pipeline.begin_cut(&shared, IMAGE_BYTES_MAX);
        let effects = first_snapshot(&shared, &header);
        disk.run(&effects).map_err(|_| NotStarted::Io)?;
        disk.run(&recovered.when_begun).map_err(|_| NotStarted::Io)?;
    }
    let epochs = epoch::read(disk, last).map_err(|error| match error {
        epoch::EpochError::Io { .. } => NotStarted::Io,
        error => refused(&error),
    })?;
    disk.run(&epochs.effects).map_err(|_| NotStarted::Io)?;
    let is_lost = recovered.origin == Origin::Nothing || recovered.is_suspect;
    let policy = SnapPolicy::new(setup.snap_count, 0, seed);
    let config = NodeConfig { pipeline, log: log_options(), last, policy, seed };
    let mut options = options.clone();
    let configuration = shared.tree.read().get(tree::CONFIG_PATH).and_then(|it| it.data().map(<[u8]>::to_vec));
    options.last_seen = configuration.and_then(|it| last_seen(&it, &options.verifier));
    let member = MemberConfig {
        election: Settings { initial_clock: setup.initial_round, ..Settings::new(options.me) },
        recovered: zab::Recovered {
            accepted: epochs.accepted,
            current: epochs.current,
            log: CommittedLog::new(options.committed_log, recovered.last_zxid),
            is_lost,
        },
        tasks: TaskOptions { part_bytes: 8192, ..TaskOptions::new(recover_options(&options), tree_config, true) },
        options,
    };
    let node = Node::member(now, &shared, config, member);
    let shards = (0..shards as u16).map(|shard| Shard::new(shard_config(shard, setup, auth.clone(), keys))).collect();
    let process = Process {
        number,
        node,
        shared,
        shards,
        is_woken: vec![false; 2],
        works: [const { None }; THREADS],
        is_purge_due: true,
        tasks: VecDeque::new(),
        role: None,
        leads: false,
        leader: None,
        master: None,
        takes_observers: false,
        is_read_only: false,
        receiving: None,
        behind: VecDeque::new(),
        armed_us: None,
        conns: BTreeMap::new(),
        numbers: BTreeMap::new(),
        unread: BTreeMap::new(),
        awake_ms: now.mono_ms(),
        shown: None,
    };
    let epochs = (epochs.accepted, epochs.current);
    Ok(Found { process: Box::new(process), last, epochs, is_lost })
}

fn refused(why: &dyn std::fmt::Display) -> NotStarted {
    NotStarted::Refused { why: why.to_string(), is_mended_by_a_copy: false }
}

fn shard_config(shard: u16, setup: &Setup, auth: Arc<auth::AuthConfig>, keys: HashKeys) -> ShardConfig {
    ShardConfig {
        shard,
        frame_max: 1 << 16,
        length_max: LENGTH_MAX,
        timeout_min_ms: (setup.tick_ms * 2) as i32,
        timeout_max_ms: (setup.tick_ms * 20) as i32,
        auth,
        in_flight_max: 1000,
        in_flight_bytes_max: 1 << 20,
        out_pause: 1 << 12,
        out_max: 1 << 20,
        out_total_max: usize::MAX,
        tell_step: 2000,
        unprocessed_max: usize::MAX,
        watch_bytes_max: usize::MAX,
        large_bytes_max: usize::MAX,
        throttle: RequestThrottle::default(),
        // Small steps, so that what is long here is read in several.
        steps: StepLimits { entries_max: 8, work: 4096, ..StepLimits::default() },
        keys,
    }
}

/// The effects that write a cut of a tree that nobody changes meanwhile.
fn first_snapshot(shared: &Shared, header: &CutHeader) -> Vec<Effect> {
    let mut cut = Cut::new(header.clone());
    let mut effects = cut.writer.start();
    let mut out = Vec::new();
    cut.begin(&mut out);
    while cut.walk(shared, &mut out) == Chunk::More {}
    cut.finish(&mut out);
    effects.extend(cut.writer.chunk(out));
    effects.extend(cut.writer.finish());
    effects
}

impl Cut {
    pub(super) fn new(header: CutHeader) -> Self {
        let writer = SnapshotWriter::new(header.zxid, true);
        Self { writer, encoder: SnapshotEncoder::new(), header, stage: Stage::Beginning }
    }

    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        let header = &self.header;
        let acls: Vec<_> = header.acls.iter().map(|(id, encoded)| (*id, AclVec::of_encoded(encoded))).collect();
        self.encoder.begin(header.sessions.iter().copied(), acls.iter().copied(), out);
    }

    /// The next znodes.
    pub(super) fn walk(&mut self, shared: &Shared, out: &mut Vec<u8>) -> Chunk {
        let encoder = &mut self.encoder;
        let tree = shared.tree.read();
        tree.read_cut(256, |node| encoder.node(node.path, node.data, node.acl_id, &node.stat, out))
    }

    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let header = &self.header;
        let digest = SnapshotDigest { zxid: header.zxid, version: wire::txn::DIGEST_VERSION, digest: header.digest.0 };
        self.encoder.finish(Some(digest), Some(header.zxid), out);
    }
}
