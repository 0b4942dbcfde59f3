//! A server as the world sees it: a machine with a disk and a clock, and on it, now and then, a process.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use storage::disk::{Disk, Effect, FileRef};
use storage::epoch::{self, EpochFile};
use storage::policy::SnapPolicy;
use storage::recover::Origin;
use storage::snapshot::SnapshotDigest;
use storage::snapshot::write::SnapshotWriter;
use storage::{Dir, FileName, FillJob, LogJob, LogOptions, LogWriter, RecoverOptions, Restore, recover};
use wire::jute::{Buffer, Field};
use wire::quorum::Packet;
use wire::txn::TxnEntry;
use wire::{AclVec, Epoch, SessionId, StatPersisted, Zxid};
use zab::ensemble::Ensemble;
use zab::reconfig::configuration_in;
use zab::{Command, CommittedLog, ConnId, Options, Proposal, QuorumVerifier, RoleId, Token, leader};

use super::Event;
use super::later::Armed;
use super::machine::Machine;
use super::net::ConnNumber;
use super::reconfig::CONFIG_PATH;
use super::setup::DiskError;
use crate::disk::VirtualDisk;
use crate::store::history::{Link, Rebuilt, snapshot_with};

/// How the log of a simulated server is written: small files and batches, so that all that can happen does.
pub(super) fn log_options() -> LogOptions {
    LogOptions { preallocate: 8192, size_limit: 16384, batch_bytes: 4096, batch_txns: 40, ..LogOptions::default() }
}

/// How it recovers: an empty directory is a new database only where it is marked as one.
fn recover_options(options: &Options) -> RecoverOptions {
    let initial_counter = options.initial_counter;
    RecoverOptions {
        autocreate: false,
        batch_max: 8192,
        length_max: LENGTH_MAX,
        initial_counter,
        ..RecoverOptions::default()
    }
}

/// The longest record that is accepted, in bytes.
pub(super) const LENGTH_MAX: usize = 65_536;
/// How many snapshots a purge keeps.
pub(super) const RETAIN: usize = 3;
/// How long a snapshot is, at least, in bytes.
const SNAPSHOT_BYTES: usize = 600;

/// A machine, and the process on it.
pub(super) type Server = Machine<Process, Event>;

impl Server {
    /// How it recovers.
    pub(super) fn recover_options(&self) -> RecoverOptions {
        recover_options(&self.options)
    }

    /// What its monotonic clock shows, in ms.
    pub(super) fn local_ms(&self, now_us: u64) -> u64 {
        (u128::from(now_us) * u128::from(self.clock_ppm) / 1_000_000_000) as u64
    }

    /// When that clock shows `ms`, in µs of the world.
    pub(super) fn world_us(&self, ms: u64) -> u64 {
        (u128::from(ms) * 1_000_000_000).div_ceil(u128::from(self.clock_ppm)) as u64
    }
}

/// Threads for the disk; each does one effect at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Thread {
    /// Appends, truncations, the installation of a snapshot.
    Log,
    /// The next log file.
    Fill,
    /// A snapshot of this server's, and the purge behind it.
    Snapshot,
    /// A snapshot of the leader's.
    Receive,
    /// The epoch files.
    Epoch,
    /// Reads of the log and of snapshots for learners.
    Read,
}

pub(super) const THREADS: usize = 6;

/// What follows when all effects are done.
#[derive(Debug, Clone)]
pub(super) enum Then {
    Logged(LogJob),
    Filled(FillJob),
    Snapshot,
    Purged,
    Received(RoleId),
    Epoch(Token, EpochFile, Epoch),
    Truncated(Token, Zxid),
    Installed(Token, Zxid),
    Read(leader::Output),
}

impl Then {
    /// What the effects before it do, in a word or two.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Logged(_) => "log",
            Self::Filled(_) => "next log file",
            Self::Snapshot => "snapshot",
            Self::Purged => "purge",
            Self::Received(_) => "leader's snapshot",
            Self::Epoch(_, EpochFile::Accepted, _) => "acceptedEpoch",
            Self::Epoch(_, EpochFile::Current, _) => "currentEpoch",
            Self::Truncated(..) => "truncation",
            Self::Installed(..) => "installation",
            Self::Read(_) => "read",
        }
    }
}

/// Effects under way.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) effects: Vec<Effect>,
    pub(super) at: usize,
    /// One of them fails, after so many others of this work.
    pub(super) error: Option<Armed<DiskError>>,
    pub(super) then: Then,
}

/// What waits for a client's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    Write(i32),
    Sync(i32, u64),
    Read(i32),
}

/// A process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) number: u32,
    pub(super) ensemble: Ensemble,
    pub(super) log: LogWriter,
    pub(super) policy: SnapPolicy,
    pub(super) works: [Option<Work>; THREADS],
    pub(super) epochs: VecDeque<(Token, EpochFile, Epoch)>,
    pub(super) chores: VecDeque<Command>,
    pub(super) reads: VecDeque<leader::Output>,
    /// What is applied.
    pub(super) applied: Zxid,
    pub(super) link: Link,
    /// The configuration that stands in what is applied, if a txn has set one.
    pub(super) configuration: Option<QuorumVerifier>,
    /// Logged, or on its way to the log, and not applied.
    pub(super) unapplied: VecDeque<Proposal>,
    pub(super) role: Option<RoleId>,
    pub(super) leads: bool,
    pub(super) is_serving: bool,
    /// The connection to the leader.
    pub(super) leader: Option<ConnNumber>,
    /// The follower that it is to learn from instead.
    pub(super) master: Option<usize>,
    /// It follows, and takes observers.
    pub(super) takes_observers: bool,
    /// It has no leader, and serves reads.
    pub(super) is_read_only: bool,
    /// The snapshot that is coming.
    pub(super) receiving: Option<Vec<u8>>,
    /// Packets behind it: they are not read before it is durable.
    pub(super) behind: VecDeque<Packet>,
    /// Snapshots that are open for learners.
    pub(super) opened: BTreeMap<ConnId, Bytes>,
    /// When the next timer is due that the world knows of.
    pub(super) armed_us: Option<u64>,
    pub(super) clients: BTreeMap<ConnNumber, VecDeque<Waiting>>,
    /// Syncs that were forwarded: whose.
    pub(super) forwarded_syncs: VecDeque<(ConnNumber, u64)>,
    pub(super) next_tag: u64,
}

impl Process {
    /// One that has just recovered a history that ends so.
    pub(super) fn new(number: u32, ensemble: Ensemble, policy: SnapPolicy, last: Zxid, link: Link) -> Self {
        Self {
            number,
            ensemble,
            log: LogWriter::new(log_options(), last),
            policy,
            works: [const { None }; THREADS],
            epochs: VecDeque::new(),
            chores: VecDeque::new(),
            reads: VecDeque::new(),
            applied: last,
            link,
            configuration: None,
            unapplied: VecDeque::new(),
            role: None,
            leads: false,
            is_serving: false,
            leader: None,
            master: None,
            takes_observers: false,
            is_read_only: false,
            receiving: None,
            behind: VecDeque::new(),
            opened: BTreeMap::new(),
            armed_us: None,
            clients: BTreeMap::new(),
            forwarded_syncs: VecDeque::new(),
            next_tag: 0,
        }
    }

    /// The disk's work that is under way, and how many of its effects are done.
    pub(super) fn crash_points(&self) -> Vec<(&'static str, u64)> {
        let works = self.works.iter().flatten().filter(|work| work.at > 0);
        works.map(|work| (work.then.name(), work.at as u64)).collect()
    }

    pub(super) fn is_role(&self, role: RoleId) -> bool {
        self.role == Some(role)
    }
}

/// What a start has found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) recovered: zab::Recovered,
    pub(super) last: Zxid,
    pub(super) link: Link,
    /// The newest configuration in it.
    pub(super) configuration: Option<QuorumVerifier>,
}

/// Why a start came to nothing.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// The disk failed, or the power did.
    Io,
    /// The files can't be used.
    Refused(String),
}

/// Rebuilds the chain of txns, and keeps the newest ones.
#[derive(Debug, Default)]
struct Restoring {
    rebuilt: Rebuilt,
    start: Zxid,
    /// What the snapshot says of the configuration.
    configuration: Option<Vec<u8>>,
    txns: Vec<Proposal>,
}

impl Restore for Restoring {
    fn reset(&mut self) {
        *self = Self::default();
    }
    fn session(&mut self, _: SessionId, _: i32) {}
    fn acl(&mut self, _: i64, _: AclVec<'_>) {}
    fn node(&mut self, path: &str, data: Buffer<'_>, acl: i64, stat: &StatPersisted) -> Result<(), String> {
        if path == CONFIG_PATH {
            self.configuration = data.map(<[u8]>::to_vec);
            return Ok(());
        }
        self.rebuilt.node(path, data, acl, stat)
    }
    fn snapshot_end(&mut self, zxid: Zxid, digest: Option<SnapshotDigest>) -> Result<(), String> {
        self.start = zxid;
        self.rebuilt.snapshot_end(zxid, digest)
    }
    fn txn(&mut self, entry: &TxnEntry<'_>) -> Result<(), String> {
        let txn = entry.to_vec();
        self.rebuilt.link = self.rebuilt.link.then(&txn);
        self.rebuilt.last = entry.header.zxid;
        self.txns.push(Proposal { zxid: entry.header.zxid, txn: txn.into() });
        Ok(())
    }
}

/// A disk that does so many effects, and then none.
struct Limited<'a> {
    disk: &'a mut VirtualDisk,
    left: Option<u64>,
}

impl Disk for Limited<'_> {
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
        if let Some(left) = &mut self.left {
            if *left == 0 {
                return Err(std::io::Error::other("the power has failed"));
            }
            *left -= 1;
        }
        self.disk.execute(effect)
    }
}

/// A whole snapshot.
pub(super) fn snapshot_bytes(zxid: Zxid, link: Link, configuration: Option<&QuorumVerifier>) -> Vec<u8> {
    let text = configuration.map(ToString::to_string);
    let config = text.as_ref().map(|it| (CONFIG_PATH, it.as_bytes()));
    snapshot_with(zxid, link, SNAPSHOT_BYTES, config)
}

/// The effects that make a snapshot of the own state.
pub(super) fn snapshot_effects(zxid: Zxid, link: Link, configuration: Option<&QuorumVerifier>) -> Vec<Effect> {
    let mut writer = SnapshotWriter::new(zxid, true);
    let mut effects = writer.start();
    effects.extend(writer.chunk(snapshot_bytes(zxid, link, configuration)));
    effects.extend(writer.finish());
    effects
}

/// Where a leader's snapshot is written first.
pub(super) fn received_file() -> FileRef {
    FileRef::new(Dir::Data, FileName::Other("ostler.received.tmp".into()))
}

/// Rebuilds what the disk holds: history, epochs, and whether the server has lost its state. At most `effects` effects are
/// done.
pub(super) fn start(disk: &mut VirtualDisk, effects: Option<u64>, options: &Options) -> Result<Found, NotStarted> {
    let limits = options.committed_log;
    let mut disk = Limited { disk, left: effects };
    let mut restoring = Restoring::default();
    let how = recover_options(options);
    #[cfg(feature = "seeded-defects")]
    let how = RecoverOptions { autocreate: options.has(zab::Defect::EmptyIsNew), ..how };
    let recovered = recover(&mut disk, &how, &mut restoring, &mut |_| ()).map_err(|error| {
        if disk.left == Some(0) || matches!(error, storage::RecoverError::Io { .. }) {
            NotStarted::Io
        } else {
            NotStarted::Refused(error.to_string())
        }
    })?;
    let is_lost = recovered.origin == Origin::Nothing || recovered.is_suspect;
    let Restoring { rebuilt, start, configuration, txns } = restoring;
    let run = |disk: &mut Limited<'_>, effects: &[Effect]| {
        effects.iter().try_for_each(|effect| disk.execute(effect)).map_err(|_| NotStarted::Io)
    };
    if matches!(recovered.origin, Origin::New) {
        run(&mut disk, &snapshot_effects(Zxid::ZERO, Link::START, None))?;
        run(&mut disk, &recovered.when_begun)?;
    }
    let last = recovered.last_zxid;
    #[cfg(feature = "seeded-defects")]
    let (last, txns) = if options.has(zab::Defect::SnapshotEndsHistory) { (start, Vec::new()) } else { (last, txns) };
    let of_log = txns.iter().rev().find_map(|it| configuration_in(it, options));
    let of_snapshot = || QuorumVerifier::parse(&String::from_utf8_lossy(&configuration?), options.text_rules).ok();
    let configuration = of_log.or_else(of_snapshot);
    let epochs = epoch::read(&disk, last).map_err(|error| match error {
        epoch::EpochError::Io { .. } => NotStarted::Io,
        error => NotStarted::Refused(error.to_string()),
    })?;
    run(&mut disk, &epochs.effects)?;
    let skipped = txns.len().saturating_sub(limits.txns.max(1));
    let start = skipped.checked_sub(1).and_then(|at| txns.get(at)).map_or(start, |it| it.zxid);
    let mut log = CommittedLog::new(limits, if last < Zxid::ZERO { last } else { start });
    for proposal in txns.into_iter().skip(skipped) {
        log.append(proposal).map_err(|gap| NotStarted::Refused(gap.to_string()))?;
    }
    let recovered = zab::Recovered { accepted: epochs.accepted, current: epochs.current, log, is_lost };
    Ok(Found { recovered, last: last.max(Zxid::ZERO), link: rebuilt.link, configuration })
}

/// The chain that a snapshot's bytes carry; `None` if they are no snapshot.
pub(super) fn link_of_snapshot(bytes: &[u8]) -> Option<Link> {
    let mut restoring = Restoring::default();
    struct Visit<'a>(&'a mut Restoring);
    impl storage::snapshot::decode::SnapshotVisitor for Visit<'_> {
        fn session(&mut self, _: SessionId, _: i32) {}
        fn acl(&mut self, _: i64, _: AclVec<'_>) {}
        fn node(&mut self, path: &str, data: Buffer<'_>, acl: i64, stat: &StatPersisted) -> Result<(), String> {
            Restore::node(self.0, path, data, acl, stat)
        }
    }
    let compression = storage::snapshot::stream::Compression::None;
    let visit = &mut Visit(&mut restoring);
    storage::snapshot::decode::decode_file(bytes, compression, 1 << 20, visit, &mut |_| ()).ok()?;
    Some(restoring.rebuilt.link)
}

/// The effects after which the history is the snapshot that was received, alone; see `zab::Command::InstallSnapshot`.
pub(super) fn install(disk: &VirtualDisk, zxid: Zxid) -> std::io::Result<Vec<Effect>> {
    use storage::names::{LOG, SNAPSHOT, numbered};
    let mut effects =
        vec![Effect::Rename { file: received_file(), to: FileName::Snapshot(zxid) }, Effect::FsyncDir(Dir::Data)];
    for log in numbered(&disk.list(Dir::Log)?, LOG).into_iter().rev() {
        effects.push(Effect::Remove(FileRef::new(Dir::Log, log.name)));
        // Each for good before the next: an older one that is gone before a newer one would be a gap.
        effects.push(Effect::FsyncDir(Dir::Log));
    }
    let (later, older): (Vec<_>, Vec<_>) = numbered(&disk.list(Dir::Data)?, SNAPSHOT)
        .into_iter()
        .filter(|it| it.name != FileName::Snapshot(zxid))
        .partition(|it| it.zxid > zxid);
    for snapshot in later.into_iter().rev() {
        effects.push(Effect::Remove(FileRef::new(Dir::Data, snapshot.name)));
        effects.push(Effect::FsyncDir(Dir::Data));
    }
    if !older.is_empty() {
        effects.extend(older.into_iter().map(|it| Effect::Remove(FileRef::new(Dir::Data, it.name))));
        effects.push(Effect::FsyncDir(Dir::Data));
    }
    Ok(effects)
}
