//! The pipeline and the log under one lock, and who runs them.
//!
//! Whoever has work for the pipeline leaves it in the inbox and tries the lock. Who gets it drains the inbox, also of what
//! others leave meanwhile; who does not get it goes on with other work. The lock is never held across IO: the disk thread
//! takes a batch under it, lets go, writes and syncs, and takes it again to tell what is durable now.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use node::Node;
use parking_lot::{Condvar, Mutex, MutexGuard};
use peer::{ShardSet, Shared, Submission};
use storage::{FillJob, LogJob, Stopped};
use tokio::sync::Notify;
use tree::cut::CutHeader;

use crate::clock::Clock;
use crate::disk_watch::DiskWatch;
use crate::member::Member;
use crate::snapshots::ImageBound;
use crate::sync_watch::SyncWatch;

/// The machines that the lock guards.
#[derive(Debug)]
pub struct Machines {
    /// Everything that is decided.
    pub node: Node,
    scratch: Vec<Submission>,
}

/// What all threads of a server share.
#[derive(Debug)]
pub struct Core {
    /// Tree, inboxes, counters.
    pub shared: Arc<Shared>,
    /// The clocks.
    pub clock: Clock,
    inbox: Mutex<Vec<Submission>>,
    machines: Mutex<Machines>,
    disk_wake: Condvar,
    fill_wake: Condvar,
    /// Writes wait for the file that is filled.
    fill_is_urgent: AtomicBool,
    fill_next: Mutex<Option<FillJob>>,
    snapshot_wake: Condvar,
    snapshot_next: Mutex<Option<CutHeader>>,
    /// Is there a learner that waits for a snapshot?
    pub snapshot_awaited: AtomicBool,
    /// A change of the history waits for the purge.
    purge_in_the_way: AtomicBool,
    stopping: AtomicBool,
    mismatches_told: AtomicU64,
    rejected_sessions_told: AtomicU64,
    /// What the log's disk is at, and what was said about it.
    pub disk_watch: DiskWatch,
    /// The other syncs that are under way.
    pub syncs: Arc<SyncWatch>,
    /// A bell a shard.
    pub bells: Vec<Notify>,
    /// How much is kept for the next snapshot.
    pub images: ImageBound,
    /// The part that only a member of an ensemble has.
    pub member: Option<Member>,
}

/// From so many txns on a batch goes to the disk right behind the one before it, without a look at who wants to add to it.
const BATCH_WORTH_TXNS: usize = 32;

/// How long a tick waits for the pipeline.
const TICK_PATIENCE: Duration = Duration::from_micros(300);

/// How long writes wait for others to be synced with them.
#[derive(Debug, Clone, Copy)]
pub struct GroupCommit {
    /// `flushDelay`; zero: not at all.
    pub delay: Duration,
    /// `maxWriteQueuePollTime`: no longer than this when no other comes.
    pub idle: Duration,
    /// `maxBatchSize`: nor when there are so many.
    pub txns: usize,
}

impl Core {
    /// Around the machines.
    pub fn new(shared: Arc<Shared>, clock: Clock, node: Node, member: Option<Member>) -> Self {
        let bells = shared.inboxes.iter().map(|_| Notify::new()).collect();
        Self {
            shared,
            clock,
            inbox: Mutex::new(Vec::new()),
            machines: Mutex::new(Machines { node, scratch: Vec::new() }),
            disk_wake: Condvar::new(),
            fill_wake: Condvar::new(),
            fill_is_urgent: AtomicBool::new(false),
            fill_next: Mutex::new(None),
            snapshot_wake: Condvar::new(),
            snapshot_next: Mutex::new(None),
            snapshot_awaited: AtomicBool::new(false),
            purge_in_the_way: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            mismatches_told: AtomicU64::new(0),
            rejected_sessions_told: AtomicU64::new(0),
            disk_watch: DiskWatch::default(),
            syncs: Arc::default(),
            bells,
            images: ImageBound::default(),
            member,
        }
    }

    /// Leaves submissions, and runs the pipeline unless somebody else does.
    pub fn submit(&self, submissions: &mut Vec<Submission>) {
        {
            let mut inbox = self.inbox.lock();
            if inbox.is_empty() {
                std::mem::swap(&mut *inbox, submissions);
            } else {
                inbox.append(submissions);
            }
        }
        self.run();
    }

    fn run(&self) {
        // Who does not get the lock may go: `release`, the one way of letting go of it, looks at the inbox again.
        if let Some(mut machines) = self.machines.try_lock() {
            let woken = self.drain(&mut machines);
            self.release(machines, woken);
        }
    }

    /// Lets go of the machines: rings whoever has work now, and runs what others left meanwhile.
    fn release(&self, machines: MutexGuard<'_, Machines>, woken: ShardSet) {
        self.let_go(machines, woken);
        while !self.inbox.lock().is_empty() {
            let Some(mut machines) = self.machines.try_lock() else { return };
            let woken = self.drain(&mut machines);
            self.let_go(machines, woken);
        }
    }

    fn let_go(&self, mut machines: MutexGuard<'_, Machines>, woken: ShardSet) {
        if let Some(member) = &self.member {
            member.take_outputs(self.clock.now(), &mut machines.node);
            // A learner may wait for a snapshot, and a log that begins anew for a file.
            self.maybe_begin_snapshot(&mut machines);
            self.offer_fill(&mut machines);
        }
        self.fill_is_urgent.store(machines.node.pipeline.waits_for_file(), Relaxed);
        let disk_is_idle = machines.node.log.pending_txns() > 0 && !machines.node.log.is_busy();
        drop(machines);
        if disk_is_idle {
            self.disk_wake.notify_one();
        }
        self.wake(woken);
    }

    /// Does something to the machines.
    pub fn with<R>(&self, act: impl FnOnce(&mut Machines) -> R) -> R {
        self.with_waking(|node| (act(node), ShardSet::default()))
    }

    /// Does something to the machines, and rings the bells of the shards that have work now.
    pub fn with_waking<R>(&self, act: impl FnOnce(&mut Machines) -> (R, ShardSet)) -> R {
        let mut machines = self.machines.lock();
        let (result, woken) = act(&mut machines);
        self.release(machines, woken);
        result
    }

    fn drain(&self, machines: &mut Machines) -> ShardSet {
        let Machines { node, scratch } = machines;
        std::mem::swap(&mut *self.inbox.lock(), scratch);
        if scratch.is_empty() {
            return node.process(self.clock.now(), &self.shared, scratch);
        }
        let (began, submissions) = (self.clock.now(), scratch.len() as u64);
        let woken = node.process(began, &self.shared, scratch);
        let took_us = self.clock.now().mono_us.saturating_sub(began.mono_us);
        self.shared.pipeline_stats.prep.record_many(took_us / submissions, submissions);
        woken
    }

    /// Rings the bells of these shards.
    pub fn wake(&self, shards: ShardSet) {
        for shard in shards.iter() {
            self.bells[shard].notify_one();
        }
    }

    /// Has the pipeline look at its clock: sessions that ran out of time, containers and TTL znodes that did.
    pub fn tick(&self) {
        self.look_for_stalls();
        // Under load the lock is rarely free at the first try; what is due can wait for the next tick, but not for ever.
        let Some(mut machines) = self.machines.try_lock_for(TICK_PATIENCE) else { return };
        let mut woken = machines.node.tick(self.clock.now(), &self.shared);
        woken.extend(self.drain(&mut machines));
        let mismatches = self.shared.pipeline_stats.digest_mismatches.get();
        let told = self.mismatches_told.swap(mismatches, Relaxed);
        if machines.node.log.look_for_room(self.clock.now().mono_ms()) {
            self.offer_fill(&mut machines);
        }
        let (room, refuses) = (machines.node.log.room(), machines.node.pipeline.refuses_writes());
        let orphans = machines.node.pipeline.take_orphans();
        self.release(machines, woken);
        if let Some(orphans) = orphans {
            tracing::warn!("{orphans}");
        }
        self.disk_watch.look_for_room(room, refuses, self.shared.pipeline_stats.refused.get());
        // At a tick, so that a client that tries and tries does not fill the log.
        let exceeded = self.shared.quota_reports.lock().take_lines();
        for line in exceeded {
            tracing::warn!("{line}");
        }
        self.tell_rejected_sessions();
        tell_mismatches(mismatches, told);
    }

    /// Says so if a write of the log or any sync hangs.
    pub fn look_for_stalls(&self) {
        self.disk_watch.look_for_stall(self.clock.now().mono_us);
        self.syncs.look();
    }

    /// Goes on with the look for containers and TTL znodes whose time is up: a piece, some tens of µs. Is there more to be
    /// looked at?
    pub fn sweep(&self) -> bool {
        // Who has the lock has something that is waited for.
        let Some(mut machines) = self.machines.try_lock() else { return true };
        let now = self.clock.now();
        if !machines.node.is_sweep_due(now) {
            self.release(machines, ShardSet::default());
            return false;
        }
        let woken = machines.node.sweep(now, &self.shared);
        self.release(machines, woken);
        true
    }

    /// One line a tick, however many are turned away.
    fn tell_rejected_sessions(&self) {
        let rejected = self.shared.pipeline_stats.sessions_rejected.get();
        let new = rejected.saturating_sub(self.rejected_sessions_told.swap(rejected, Relaxed));
        if new > 0 {
            tracing::warn!(
                "{new} clients were turned away: there are as many sessions as ostler.sessions.max allows; raise it, or maxSessionTimeout is so long that sessions without clients pile up"
            );
        }
    }

    /// The disk thread waits for a batch; `None` when the server stops and nothing is left.
    pub fn next_job(&self, wait: GroupCommit) -> Option<LogJob> {
        let mut machines = self.machines.lock();
        loop {
            if machines.node.log.pending_txns() > 0 {
                self.wait_for_company(&mut machines, wait);
            }
            let job = machines.node.next_log_job();
            if job.is_some() || self.is_stopping() {
                self.release(machines, ShardSet::default());
                return job;
            }
            self.disk_wake.wait(&mut machines);
        }
    }

    /// `flushDelay`: the first of a batch waits for others, unless none comes (`maxWriteQueuePollTime`).
    fn wait_for_company(&self, machines: &mut MutexGuard<'_, Machines>, wait: GroupCommit) {
        let began = Instant::now();
        while let Some(left) = wait.delay.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
            let before = machines.node.log.pending_txns();
            MutexGuard::unlocked(machines, || std::thread::sleep(left.min(wait.idle)));
            let now = machines.node.log.pending_txns();
            if now == before || now >= wait.txns || self.is_stopping() {
                break;
            }
        }
    }

    /// A batch is durable: commits, applies, answers, and takes the next one if it is large already.
    ///
    /// `began_us` and `ended_us` are when the batch was taken and when it was durable.
    pub fn job_done(&self, job: LogJob, began_us: u64, ended_us: u64, wait: GroupCommit) -> Option<LogJob> {
        let mut machines = self.machines.lock();
        let stats = &self.shared.pipeline_stats;
        stats.batch_began_us.set(began_us);
        stats.batch_txns.record(job.txns() as u64);
        stats.sync.record(ended_us.saturating_sub(began_us));
        let mut woken = machines.node.log_done(self.clock.now(), &self.shared, job);
        woken.extend(self.drain(&mut machines));
        self.maybe_begin_snapshot(&mut machines);
        let is_worth_it = wait.delay.is_zero() && machines.node.log.pending_txns() >= BATCH_WORTH_TXNS;
        let next = if is_worth_it { machines.node.next_log_job() } else { None };
        self.offer_fill(&mut machines);
        self.release(machines, woken);
        next
    }

    /// An effect of a batch failed, after so many were done: may it wait for room?
    pub fn job_stopped(&self, job: &mut LogJob, done: usize, kind: std::io::ErrorKind) -> Stopped {
        self.with(|machines| {
            let stopped = machines.node.log_stopped(job, done, kind);
            // What room can be given back is.
            self.offer_fill(machines);
            stopped
        })
    }

    /// A batch could not be written: the log is finished.
    pub fn job_failed(&self, job: LogJob) {
        self.with(|machines| machines.node.log_failed(job));
    }

    /// Hands the fill thread its work, if there is any. That thread has a low priority: it must not hold the pipeline's
    /// lock to look.
    pub fn offer_fill(&self, machines: &mut Machines) {
        let mut next = self.fill_next.lock();
        // What the thread has not come to yet is done first; it asks again then.
        if next.is_none()
            && let Some(job) = machines.node.next_fill()
        {
            *next = Some(job);
            self.fill_wake.notify_one();
        }
    }

    /// Do writes wait for the next log file?
    pub fn is_fill_urgent(&self) -> bool {
        self.fill_is_urgent.load(Relaxed)
    }

    /// The fill thread has done what it was given, or could not.
    pub fn fill_ended(&self, job: FillJob, done: std::io::Result<()>) {
        let mut machines = self.machines.lock();
        let done = done.map_err(|e| e.kind());
        let woken = machines.node.fill_done(self.clock.now(), &self.shared, job, done);
        self.offer_fill(&mut machines);
        self.release(machines, woken);
    }

    /// May old files be looked for and removed now? If so, say when it is over.
    pub fn begin_purge(&self) -> bool {
        self.with(|machines| machines.node.begin_purge())
    }

    /// Does something more important wait for it?
    pub fn is_purge_in_the_way(&self) -> bool {
        self.purge_in_the_way.load(Relaxed) || self.is_stopping()
    }

    /// It is over, or was given up.
    pub fn purge_ended(&self) {
        let mut machines = self.machines.lock();
        let woken = machines.node.purge_done(self.clock.now(), &self.shared);
        self.release(machines, woken);
    }

    fn maybe_begin_snapshot(&self, machines: &mut Machines) {
        self.snapshot_awaited.store(machines.node.is_snapshot_awaited(), Relaxed);
        self.purge_in_the_way.store(machines.node.is_purge_in_the_way(), Relaxed);
        if let Some(header) = machines.node.next_snapshot(&self.shared, self.images.bytes()) {
            *self.snapshot_next.lock() = Some(header);
            self.snapshot_wake.notify_one();
        }
    }

    /// The snapshot thread waits for a cut; `None` when the server stops.
    pub fn next_snapshot(&self) -> Option<CutHeader> {
        let mut next = self.snapshot_next.lock();
        loop {
            if self.is_stopping() {
                return None;
            }
            if let Some(header) = next.take() {
                return Some(header);
            }
            self.snapshot_wake.wait(&mut next);
        }
    }

    /// The snapshot is written, and so many bytes long, or given up; that took so long.
    pub fn snapshot_done(&self, written: Option<u64>, took: Duration) {
        if written.is_some() {
            self.shared.pipeline_stats.snapshot.record(took.as_micros() as u64);
        }
        self.with_waking(|machines| {
            let woken = machines.node.snapshot_done(self.clock.now(), &self.shared, written);
            self.disk_watch.snapshots_failed(machines.node.snapshot_failures());
            ((), woken)
        });
    }

    /// The fill thread waits for work; `None` when the server stops.
    pub fn next_fill(&self) -> Option<FillJob> {
        let mut next = self.fill_next.lock();
        loop {
            if self.is_stopping() {
                return None;
            }
            if let Some(job) = next.take() {
                return Some(job);
            }
            self.fill_wake.wait(&mut next);
        }
    }

    /// Stops the threads that wait here; the disk thread finishes what is pending first.
    pub fn stop(&self) {
        self.stopping.store(true, Release);
        drop(self.machines.lock());
        self.disk_wake.notify_all();
        drop(self.fill_next.lock());
        self.fill_wake.notify_all();
        drop(self.snapshot_next.lock());
        self.snapshot_wake.notify_all();
    }

    /// Is the server stopping?
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }
}

fn tell_mismatches(mismatches: u64, told: u64) {
    if mismatches > told {
        tracing::error!(
            "{mismatches} txns led to another digest than their leader predicted. The znodes in memory are counted again with \
             the next snapshot, and this server stops if they are damaged; else its history or its leader's is wrong: compare \
             the members' digests (the word `hash`), let the odd one begin anew with an empty directory, and report this \
             with its log and snapshots"
        );
    }
}
