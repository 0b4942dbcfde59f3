//! Everything about a world that is decided before it begins: who is in it, how fast its networks and disks are, and what
//! goes wrong when. A value, so that a failing one can be made smaller.

use std::fmt;

use storage::disk::Disk;
use storage::epoch::EpochFile;
use wire::Epoch;
use zab::Options;

use crate::disk::VirtualDisk;
use crate::rng::Rng;

/// A span of time from which each case draws one, in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// At least.
    pub min_us: u64,
    /// At most.
    pub max_us: u64,
}

impl Span {
    /// From `min_us` to `max_us`.
    pub const fn new(min_us: u64, max_us: u64) -> Self {
        Self { min_us, max_us }
    }

    pub(crate) fn draw(self, rng: &mut Rng) -> u64 {
        rng.between(self.min_us, self.max_us)
    }
}

/// Something that goes wrong. Servers are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The power of a machine fails: what was not synced may be lost, and nobody is told.
    PowerOff {
        /// Whose.
        server: usize,
        /// After how long it is back.
        down_us: u64,
    },
    /// The same, between two of its disk's effects: after so many more.
    PowerOffAtEffect {
        /// Whose.
        server: usize,
        /// How many effects are done before.
        effects: u64,
        /// After how long it is back.
        down_us: u64,
    },
    /// A process is killed; its machine goes on, and its connections are reset.
    Kill {
        /// Whose.
        server: usize,
        /// After how long it is started again.
        down_us: u64,
    },
    /// The power fails while a start recovers, after so many effects of the recovery.
    PowerOffInRecovery {
        /// Whose.
        server: usize,
        /// How many effects the next recovery gets done.
        effects: u64,
        /// After how long it is back.
        down_us: u64,
    },
    /// The process does not run.
    Pause {
        /// Whose.
        server: usize,
        /// For how long.
        for_us: u64,
    },
    /// Nothing gets from the first to the second of each pair; what is sent waits.
    Block {
        /// From whom to whom.
        pairs: Vec<(usize, usize)>,
        /// For how long.
        for_us: u64,
    },
    /// A connection is reset, and loses some of what was on its way.
    Reset {
        /// Which of those that are there, modulo their number.
        connection: u64,
    },
    /// A connection is dead, and neither side is told.
    HalfOpen {
        /// Which of those that are there, modulo their number.
        connection: u64,
    },
    /// Syncs of this disk take so long.
    SlowDisk {
        /// Whose.
        server: usize,
        /// How long a sync takes.
        sync_us: u64,
        /// For how long it goes on.
        for_us: u64,
    },
    /// One of the next effects fails.
    DiskError {
        /// Whose.
        server: usize,
        /// How many effects are done before.
        effects: u64,
        /// How.
        kind: DiskError,
    },
    /// The file system of its disk is read-only, for so long, and until its process is started again.
    ReadOnlyDisk {
        /// Whose.
        server: usize,
        /// For how long at least.
        for_us: u64,
    },
    /// A message of an election connection is sent once more, as whoever connects again does with its last one.
    Again {
        /// Which of the connections that are there, modulo their number.
        connection: u64,
    },
    /// Whoever cuts its log next, or installs a snapshot, loses power while it does, or soon behind it.
    PowerOffInChange {
        /// How many effects are done before, from the beginning of the change on.
        effects: u64,
        /// After how long it is back.
        down_us: u64,
    },
    /// Whoever cuts its log next, or installs a snapshot: one of the effects fails.
    DiskErrorInChange {
        /// How many effects are done before, from the beginning of the change on; in worlds of cores modulo the number of its
        /// effects.
        effects: u64,
        /// How.
        kind: DiskError,
    },
    /// Whoever is to lead next loses power when it has accepted its epoch, and has told nobody; so many times, and comes back
    /// at once but for the last time. Worlds of cores have it, others pass over it.
    PowerOffInEpoch {
        /// How often.
        times: u32,
        /// After how long the last one is back.
        down_us: u64,
    },
    /// Nothing gets to who leads at that moment, or from there; what is sent waits. In worlds of cores one of its clients
    /// writes then.
    CutOffLeader {
        /// For how long.
        for_us: u64,
    },
    /// Nothing wrong: clients keep still.
    Quiet {
        /// For how long.
        for_us: u64,
    },
    /// Nothing wrong: whoever leads is asked for another configuration. It refuses if it can't have it. Only where the
    /// world has `reconfigEnabled`.
    Reconfigure {
        /// What is to be different.
        change: Change,
    },
    /// The machine gets an empty disk.
    Wipe {
        /// Whose.
        server: usize,
        /// After how long it is back.
        down_us: u64,
    },
    /// Nothing wrong: somebody copies all files of a running server, as they would be behind a power failure at that moment.
    BackUp {
        /// Whose.
        server: usize,
    },
    /// The power of a machine fails, and it comes back with the last copy of its files. Not if that might lose what counts: see
    /// `may_restore` of both kinds of worlds.
    Restore {
        /// Whose.
        server: usize,
        /// After how long it is back.
        down_us: u64,
    },
    /// A log or a snapshot is not what was written any more. Worlds of whole servers have it, others pass over it.
    Damage {
        /// Whose.
        server: usize,
        /// How.
        kind: Damage,
        /// Which file, and where in it, modulo what there is.
        place: u64,
    },
    /// Nothing wrong: the server is started again with another static configuration, in which the first `voters` servers vote.
    Configure {
        /// Whose.
        server: usize,
        /// How many servers vote in it.
        voters: usize,
        /// After how long it is back.
        down_us: u64,
    },
    /// Nothing wrong: a client of this server writes.
    Write {
        /// Whose.
        server: usize,
    },
    /// Nothing wrong: a client of this server reads.
    Read {
        /// Whose.
        server: usize,
    },
    /// Nothing wrong: a client of this server asks for a sync.
    Sync {
        /// Whose.
        server: usize,
    },
    /// The wall clock jumps.
    ClockJump {
        /// Whose.
        server: usize,
        /// By how much, in ms.
        by_ms: i64,
    },
}

impl Fault {
    /// Does it concern none but the first so many servers?
    pub(crate) fn is_of_first(&self, servers: usize) -> bool {
        match self {
            Self::Block { pairs, .. } => pairs.iter().all(|&(from, to)| from < servers && to < servers),
            Self::Reset { .. }
            | Self::HalfOpen { .. }
            | Self::Again { .. }
            | Self::PowerOffInChange { .. }
            | Self::PowerOffInEpoch { .. }
            | Self::DiskErrorInChange { .. }
            | Self::CutOffLeader { .. }
            | Self::Quiet { .. } => true,
            Self::Reconfigure { change } => change.is_of_first(servers),
            Self::PowerOff { server, .. }
            | Self::PowerOffAtEffect { server, .. }
            | Self::Kill { server, .. }
            | Self::PowerOffInRecovery { server, .. }
            | Self::Pause { server, .. }
            | Self::SlowDisk { server, .. }
            | Self::DiskError { server, .. }
            | Self::ReadOnlyDisk { server, .. }
            | Self::Wipe { server, .. }
            | Self::BackUp { server }
            | Self::Restore { server, .. }
            | Self::Damage { server, .. }
            | Self::Configure { server, .. }
            | Self::Write { server }
            | Self::Read { server }
            | Self::Sync { server }
            | Self::ClockJump { server, .. } => *server < servers,
        }
    }
}

/// How a configuration follows another one. Servers are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A server votes, whatever it was.
    Vote(usize),
    /// A server observes, whatever it was.
    Observe(usize),
    /// A server is in the configuration no more.
    Leave(usize),
    /// These vote, these observe, and nobody else is in the configuration.
    Whole {
        /// Who votes.
        voters: Vec<usize>,
        /// Who observes.
        observers: Vec<usize>,
    },
}

impl Change {
    fn is_of_first(&self, servers: usize) -> bool {
        match self {
            Self::Vote(server) | Self::Observe(server) | Self::Leave(server) => *server < servers,
            Self::Whole { voters, observers } => voters.iter().chain(observers).all(|&it| it < servers),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |of: &[usize]| of.iter().map(|it| (it + 1).to_string()).collect::<Vec<_>>().join(", ");
        match self {
            Self::Vote(server) => write!(f, "server {} is to vote", server + 1),
            Self::Observe(server) => write!(f, "server {} is to observe", server + 1),
            Self::Leave(server) => write!(f, "server {} is to leave", server + 1),
            Self::Whole { voters, observers } => {
                write!(
                    f,
                    "{} are to vote, and {} to observe",
                    list(voters),
                    if observers.is_empty() { "nobody".to_owned() } else { list(observers) }
                )
            }
        }
    }
}

/// How an effect fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// EIO, and nothing was done.
    Error,
    /// EIO, and a write was done in part.
    Partly,
    /// A sync fails, and what it should have written will never be.
    SyncLost,
    /// There is no room.
    NoSpace,
}

/// How a medium changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A bit at rest.
    Rot,
    /// A sector holds what was written for another place: what stands there, too.
    Astray,
    /// A sector can't be read.
    Unreadable,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |us: &u64| format!("{}.{:03} s", us / 1_000_000, us / 1000 % 1000);
        match self {
            Self::PowerOff { server, down_us } => write!(f, "server {} loses power for {}", server + 1, s(down_us)),
            Self::PowerOffAtEffect { server, effects, down_us } => {
                write!(f, "server {} loses power after {effects} effects, for {}", server + 1, s(down_us))
            }
            Self::Kill { server, down_us } => write!(f, "server {} is killed, back in {}", server + 1, s(down_us)),
            Self::PowerOffInRecovery { server, effects, down_us } => {
                write!(
                    f,
                    "server {} loses power after {effects} effects of its recovery, for {}",
                    server + 1,
                    s(down_us)
                )
            }
            Self::Pause { server, for_us } => write!(f, "server {} is paused for {}", server + 1, s(for_us)),
            Self::Block { pairs, for_us } => {
                let pairs: Vec<String> = pairs.iter().map(|(from, to)| format!("{}→{}", from + 1, to + 1)).collect();
                write!(f, "nothing gets through {} for {}", pairs.join(" "), s(for_us))
            }
            Self::Reset { connection } => write!(f, "a connection is reset ({connection})"),
            Self::Again { connection } => write!(f, "an election message is sent once more ({connection})"),
            Self::ReadOnlyDisk { server, for_us } => {
                write!(f, "server {}: the file system is read-only for {}", server + 1, s(for_us))
            }
            Self::HalfOpen { connection } => write!(f, "a connection is dead, and nobody is told ({connection})"),
            Self::SlowDisk { server, sync_us, for_us } => {
                write!(f, "server {}: a sync takes {} for {}", server + 1, s(sync_us), s(for_us))
            }
            Self::DiskError { server, effects, kind } => {
                write!(f, "server {}: disk error {kind:?} after {effects} effects", server + 1)
            }
            Self::PowerOffInChange { effects, down_us } => {
                let down = s(down_us);
                write!(f, "who changes its history next loses power after {effects} effects, for {down}")
            }
            Self::PowerOffInEpoch { times, down_us } => {
                let down = s(down_us);
                write!(
                    f,
                    "who is to lead next loses power with an epoch that nobody knows of, {times} times, for {down}"
                )
            }
            Self::DiskErrorInChange { effects, kind } => {
                write!(f, "who changes its history next has the disk error {kind:?} after {effects} effects")
            }
            Self::CutOffLeader { for_us } => write!(f, "the leader is cut off for {}", s(for_us)),
            Self::Reconfigure { change } => write!(f, "reconfig: {change}"),
            Self::Quiet { for_us } => write!(f, "clients keep still for {}", s(for_us)),
            Self::Configure { server, voters, down_us } => {
                write!(f, "server {} gets a configuration of {voters}, back in {}", server + 1, s(down_us))
            }
            Self::Wipe { server, down_us } => {
                write!(f, "server {} comes back with an empty disk in {}", server + 1, s(down_us))
            }
            Self::BackUp { server } => write!(f, "server {}: its files are copied", server + 1),
            Self::Restore { server, down_us } => {
                write!(f, "server {} comes back with an old copy of its files in {}", server + 1, s(down_us))
            }
            Self::Damage { server, kind, place } => write!(f, "server {}: {kind:?} on its disk ({place})", server + 1),
            Self::Write { server } => write!(f, "a client of server {} writes", server + 1),
            Self::Read { server } => write!(f, "a client of server {} reads", server + 1),
            Self::Sync { server } => write!(f, "a client of server {} asks for a sync", server + 1),
            Self::ClockJump { server, by_ms } => write!(f, "server {}: the wall clock jumps by {by_ms} ms", server + 1),
        }
    }
}

/// A fault, and when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timed {
    /// In µs from the beginning.
    pub at_us: u64,
    /// What.
    pub fault: Fault,
}

/// A world before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// What all that is drawn while it runs comes from.
    pub seed: u64,
    /// How many servers vote.
    pub voters: usize,
    /// How many of them stand in each server's configuration at the beginning; empty: all, in each.
    pub known: Vec<usize>,
    /// The group of each of them, and how much its vote weighs; empty: the majority decides.
    pub groups: Vec<(i64, i64)>,
    /// How many observe.
    pub observers: usize,
    /// `observerMasterPort`: observers learn from followers.
    pub observer_masters: bool,
    /// `readonlymode.enabled`.
    pub read_only: bool,
    /// How many are in no configuration, and may be taken in.
    pub spares: usize,
    /// `reconfigEnabled`.
    pub reconfig_enabled: bool,
    /// How many clients there are.
    pub clients: usize,
    /// `tickTime`.
    pub tick_ms: u64,
    /// `initLimit`.
    pub init_limit_ticks: u64,
    /// `syncLimit`.
    pub sync_limit_ticks: u64,
    /// How long faults go on.
    pub faults_us: u64,
    /// How long a message is under way.
    pub latency: Span,
    /// How many messages in a thousand are under way much longer.
    pub late_per_mille: u64,
    /// How long those are.
    pub late: Span,
    /// How long a sync of a disk takes.
    pub sync: Span,
    /// How long a client waits before it asks again.
    pub think: Span,
    /// How many requests a client has under way at most.
    pub pipelined: usize,
    /// `snapCount`.
    pub snap_count: u64,
    /// How many committed txns are kept in memory.
    pub committed_log_txns: usize,
    /// The counter behind which an epoch begins.
    pub initial_counter: u32,
    /// The epoch that all servers have accepted and had before the world begins.
    pub initial_epoch: i32,
    /// The round behind which each process begins to elect: 0, but where rounds are to come to their end.
    pub initial_round: i64,
    /// The znodes that clients share as directories are there before the world begins, and so many changes are left before their
    /// versions, and the numbers of their children, come to their end. Worlds of whole servers have it, others pass over it.
    pub changes_left: Option<i32>,
    /// How fast each server's clock goes, in millionths of the world's.
    pub clock_ppm: Vec<u64>,
    /// Do packets between servers travel as bytes?
    pub is_encoded: bool,
    /// `zookeeper.forceSnapshotSync`.
    pub force_snapshot_sync: bool,
    /// Are the queues small, so that they become full?
    pub has_small_queues: bool,
    /// When each server is started first.
    pub start_us: Vec<u64>,
    /// What goes wrong.
    pub schedule: Vec<Timed>,
    /// The server whose disk hangs when all that is over, for longer than any limit: the others must go on.
    pub hangs_at_last: Option<usize>,
}

impl Setup {
    /// Nothing goes wrong with these.
    pub fn calm(seed: u64, voters: usize, observers: usize, clients: usize) -> Self {
        Self {
            seed,
            voters,
            known: Vec::new(),
            groups: Vec::new(),
            observers,
            observer_masters: false,
            read_only: false,
            spares: 0,
            reconfig_enabled: false,
            clients,
            tick_ms: 2000,
            init_limit_ticks: 10,
            sync_limit_ticks: 5,
            faults_us: 60_000_000,
            latency: Span::new(100, 400),
            late_per_mille: 0,
            late: Span::new(0, 0),
            sync: Span::new(300, 2000),
            think: Span::new(1000, 200_000),
            pipelined: 1,
            snap_count: 1000,
            committed_log_txns: 500,
            initial_counter: 0,
            initial_epoch: 0,
            initial_round: 0,
            changes_left: None,
            clock_ppm: vec![1_000_000; voters + observers],
            is_encoded: false,
            force_snapshot_sync: false,
            has_small_queues: false,
            start_us: vec![0; voters + observers],
            schedule: Vec::new(),
            hangs_at_last: None,
        }
    }

    /// Sets the bounds of a server's queues. Small ones are large enough for all that clients may have under way at once, and
    /// for a sync: what makes them full is somebody who does not read.
    pub(crate) fn bound_queues(&self, options: &mut Options) {
        if self.has_small_queues {
            let requests = self.clients * self.pipelined;
            options.strangers_max = self.servers() + 2;
            options.learner_queue_bytes_max = (24 << 10) + 600 * requests + 1024 * self.committed_log_txns;
            options.sync_queue_bytes_max = (32 << 10) + 4096 * requests;
            options.syncs_max = requests + 8;
        }
    }

    /// Epoch files as an older ensemble has left them.
    pub(crate) fn put_epochs(&self, disk: &mut VirtualDisk) {
        for file in [EpochFile::Accepted, EpochFile::Current].into_iter().filter(|_| self.initial_epoch > 0) {
            for effect in file.write(Epoch(self.initial_epoch)) {
                // A new disk takes everything.
                let _ = disk.execute(&effect);
            }
        }
    }

    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.voters + self.observers + self.spares
    }
}
