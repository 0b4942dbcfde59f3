//! A server's storage from one start to its end: the real machines on the virtual disk, one effect at a time.
//!
//! It does what `ostler-server` does with threads: the log, the fill of the next log file, snapshots, the purge, and what
//! a member of an ensemble does with its epochs and with a TRUNC. Who is next is the caller's choice; each step is one
//! effect, and what follows from its being done.

mod snapshots;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::io;

use storage::disk::{Dir, Disk, Effect, FileRef, is_no_room};
use storage::epoch::EpochFile;
use storage::log::record::OVERHEAD;
use storage::log::truncate::{self, TruncateError};
use storage::names;
use storage::recover::{Origin, Recovered};
use storage::snapshot::write::SnapshotWriter;
use storage::{Bulk, FillJob, LogJob, LogOptions, LogWriter, RecoverError, RecoverOptions, Stopped, purge, recover};
use tree::digest::node_digest;
use wire::{Epoch, Zxid};

use super::history::{Data, History, Link, Rebuilt, entry};
use super::sabotage::{Machine, Sabotage, Site, syncs};
use crate::disk::VirtualDisk;
use snapshots::{receiving_effects, snapshot_effects};

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How the log is written.
    pub log: LogOptions,
    /// How many bytes a snapshot has, about.
    pub snapshot_bytes: usize,
    /// In how many pieces a snapshot is written.
    pub snapshot_chunks: usize,
    /// How many snapshots a purge keeps.
    pub retain: usize,
    /// Does it keep epoch files, as a member of an ensemble?
    pub member: bool,
    /// How it recovers.
    pub recover: RecoverOptions,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            log: LogOptions {
                preallocate: 2048,
                batch_bytes: 1500,
                batch_txns: 3,
                bulk: Bulk { bytes: 0, batches: 1 },
                ..LogOptions::default()
            },
            snapshot_bytes: 300,
            snapshot_chunks: 1,
            retain: 3,
            member: false,
            // A crash must never need it; with logs it must never do without a snapshot either.
            recover: RecoverOptions { autocreate: false, ..RecoverOptions::default() },
        }
    }
}

/// Something that a server is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// A txn with so many bytes of data.
    Append(usize, Data),
    /// The next txn is the first of a new epoch.
    NewEpoch,
    /// A new log file, as with a snapshot.
    Roll,
    /// A snapshot of what is durable.
    Snapshot,
    /// Old files go.
    Purge,
    /// The last so many txns are taken back, as a leader's TRUNC has it.
    Truncate(usize),
    /// A snapshot from the leader takes the place of the history. It is so many txns ahead of it, or takes so many back, if that
    /// is below 0.
    SnapSync(i64),
    /// An epoch file gets this epoch.
    WriteEpoch(EpochFile, i32),
    /// Nothing else begins before all that is under way is done.
    Wait,
    /// A clean stop.
    Close,
}

/// Who may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Actor {
    /// Whoever gives the commands.
    Driver,
    /// The thread of the log.
    Log,
    /// The thread that fills the next file.
    Fill,
    /// The thread of snapshots.
    Snapshot,
    /// The thread of the purge.
    Purge,
    /// The start, an epoch change, a truncation or the end.
    Chore,
}

/// Effects on their way, and what follows when all are done.
#[derive(Debug, Clone, Hash)]
struct Work<D> {
    effects: Vec<Effect>,
    at: usize,
    done: D,
}

impl<D> Work<D> {
    fn new(effects: Vec<Effect>, done: D) -> Self {
        Self { effects, at: 0, done }
    }
}

#[derive(Debug, Clone, Copy, Hash)]
enum Chore {
    Start,
    Epoch(EpochFile, i32),
    /// The log is closed, for a truncation.
    CloseToTruncate(Zxid),
    Truncate(Zxid),
    /// What a truncation has left is read again.
    Reread(Zxid),
    /// A snapshot of the leader's comes; the history that ends with `before` is there still.
    Receive {
        zxid: Zxid,
        before: Zxid,
    },
    /// The log is closed, for what came to be installed.
    CloseFor {
        zxid: Zxid,
        before: Zxid,
    },
    Install(Zxid),
    Close,
}

/// What an epoch file held when it was written last, and what it is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EpochState {
    /// Durable.
    pub done: i32,
    /// On its way.
    pub next: Option<i32>,
}

/// What a life carries over to the next one.
#[derive(Debug, Clone, Hash, Default)]
pub struct Memory {
    /// All that was appended, and not taken back.
    pub history: History,
    /// Everything up to here was acknowledged.
    pub floor: Zxid,
    /// `acceptedEpoch`.
    pub accepted: EpochState,
    /// `currentEpoch`.
    pub current: EpochState,
    /// Was it stopped cleanly, down to the last effect?
    pub closed: bool,
}

/// The storage of a server that runs.
#[derive(Debug, Clone)]
pub struct Life {
    /// The disk.
    pub disk: VirtualDisk,
    /// What it must not forget.
    pub memory: Memory,
    setup: Setup,
    sabotage: Sabotage,
    writer: LogWriter,
    new_epoch: bool,
    log: Option<Work<LogJob>>,
    fill: Option<Work<FillJob>>,
    snapshot: Option<Work<()>>,
    purge: Option<Work<()>>,
    chore: Option<Work<Chore>>,
    failed: bool,
    /// What became of a disk without room.
    pub room: RoomSeen,
    /// A clock that never goes back, in ms.
    now_ms: i64,
}

/// What a life has seen of a disk without room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomSeen {
    /// Writes that were refused.
    pub refused: u64,
    /// Batches that had to wait.
    pub waited: u64,
    /// Those that went on.
    pub went_on: u64,
    /// A txn that was said to fit, and had to wait.
    pub broken_promise: Option<Zxid>,
    /// Room was taken away from what had it: promises count no more.
    pub is_unfair: bool,
    /// The first txn that was said to fit since the disk is full.
    promised: Option<Zxid>,
    is_waiting: bool,
}

impl Hash for Life {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.disk.hash(state);
        self.memory.hash(state);
        self.writer.hash(state);
        (self.new_epoch, self.failed, &self.log, &self.fill).hash(state);
        (&self.snapshot, &self.purge, &self.chore).hash(state);
    }
}

/// What a start found.
#[derive(Debug, Clone)]
pub struct Start {
    /// What recovery says.
    pub recovered: Recovered,
    /// What it rebuilt.
    pub rebuilt: Rebuilt,
}

/// Recovers what the disk holds, and mends it.
pub fn start(disk: &mut dyn Disk, setup: &Setup) -> Result<Start, RecoverError> {
    let mut rebuilt = Rebuilt::default();
    let recovered = recover(disk, &setup.recover, &mut rebuilt, &mut |_| ())?;
    Ok(Start { recovered, rebuilt })
}

/// The newest log, and its length in bytes: what a server that stops in order leaves word of.
pub fn newest_log(disk: &VirtualDisk) -> Option<(FileRef, u64)> {
    let newest = names::numbered(&disk.list(Dir::Log).ok()?, names::LOG).pop()?;
    Some((FileRef::new(Dir::Log, newest.name), newest.length))
}

impl Life {
    /// Goes on from a start.
    pub fn new(disk: VirtualDisk, start: &Start, memory: Memory, setup: &Setup, sabotage: &Sabotage) -> Self {
        let mut effects = Vec::new();
        if !matches!(start.recovered.origin, Origin::Snapshot { .. }) {
            let snapshot = snapshot_effects(Zxid::ZERO.max(start.rebuilt.last), start.rebuilt.link, setup);
            effects = sabotage.apply(Machine::Snapshot, snapshot);
            effects.extend(start.recovered.when_begun.iter().cloned());
        }
        let last = Zxid(start.recovered.last_zxid.0.max(0));
        Self {
            disk,
            memory,
            setup: setup.clone(),
            sabotage: sabotage.clone(),
            writer: LogWriter::new(setup.log.clone(), last),
            new_epoch: false,
            log: None,
            fill: None,
            snapshot: None,
            purge: None,
            chore: (!effects.is_empty()).then(|| Work::new(effects, Chore::Start)),
            failed: false,
            room: RoomSeen::default(),
            now_ms: 0,
        }
    }

    /// So much time goes by, in ms.
    pub fn passes(&mut self, ms: i64) {
        self.now_ms += ms;
        if !self.is_over() && self.chore.is_none() {
            self.writer.look_for_room(self.now_ms);
        }
    }

    /// Does the log know of a want of room?
    pub fn is_short_of_room(&self) -> bool {
        self.writer.room().is_some()
    }

    /// The last txn of a batch that has found no room and waits for it. Of such a batch a part may be in the file.
    pub fn waits_for_room(&self) -> Option<Zxid> {
        self.log.as_ref().filter(|_| self.room.is_waiting).map(|work| work.done.last())
    }

    /// How many txns are appended and not durable.
    pub fn pending_txns(&self) -> usize {
        self.writer.pending_txns()
    }

    /// Is nothing under way?
    pub fn is_idle(&self) -> bool {
        self.chore.is_none() && self.is_quiet() && self.writer.pending_txns() == 0
    }

    fn is_quiet(&self) -> bool {
        self.log.is_none() && self.fill.is_none() && self.snapshot.is_none() && self.purge.is_none()
    }

    /// Is it over: stopped, or ended by an error?
    pub fn is_over(&self) -> bool {
        self.memory.closed || self.failed
    }

    /// Who may act; the driver only if `next` is its next command and may begin.
    pub fn enabled(&self, next: Option<&Command>) -> Vec<Actor> {
        if self.is_over() {
            return Vec::new();
        }
        let mut actors = Vec::new();
        if next.is_some_and(|next| self.may_begin(next)) {
            actors.push(Actor::Driver);
        }
        if self.chore.is_some() {
            actors.push(Actor::Chore);
            if matches!(self.chore, Some(Work { done: Chore::Start, .. })) {
                return actors;
            }
        }
        if self.log.is_some() || self.writer.pending_txns() > 0 {
            actors.push(Actor::Log);
        }
        let mut writer = self.writer.clone();
        if self.fill.is_some() || (self.chore.is_none() && writer.next_fill().is_some()) {
            actors.push(Actor::Fill);
        }
        let others = [(self.snapshot.is_some(), Actor::Snapshot), (self.purge.is_some(), Actor::Purge)];
        actors.extend(others.into_iter().filter(|(is_there, _)| *is_there).map(|(_, actor)| actor));
        actors
    }

    fn may_begin(&self, command: &Command) -> bool {
        if self.chore.is_some() {
            return false;
        }
        match command {
            Command::Append(..) | Command::NewEpoch | Command::Roll => true,
            Command::Snapshot => self.snapshot.is_none(),
            Command::Purge => self.purge.is_none(),
            Command::WriteEpoch(..) | Command::SnapSync(_) | Command::Wait | Command::Truncate(_) | Command::Close => {
                self.is_idle()
            }
        }
    }

    /// Begins a command.
    pub fn begin(&mut self, command: &Command) -> io::Result<()> {
        match *command {
            Command::Append(length, data) => self.append(length, data),
            Command::NewEpoch => self.new_epoch = true,
            Command::Roll => self.writer.roll(),
            Command::Wait => {}
            Command::Snapshot => {
                let zxid = self.writer.durable();
                if let Some(link) = self.memory.history.link(zxid) {
                    self.writer.roll();
                    let effects = snapshot_effects(zxid, link, &self.setup);
                    self.snapshot = Some(Work::new(self.sabotage.apply(Machine::Snapshot, effects), ()));
                }
            }
            Command::Purge => {
                let files = purge::plan(&self.disk, self.setup.retain, self.setup.recover.length_max, node_digest)?;
                if !files.is_empty() {
                    let effects = purge::removal(&self.disk, files, self.setup.recover.length_max)?;
                    self.purge = Some(Work::new(self.sabotage.apply(Machine::Purge, effects), ()));
                }
            }
            Command::Truncate(txns) => {
                let zxid = self.memory.history.back(txns);
                self.close_for(Chore::CloseToTruncate(zxid))?;
            }
            Command::SnapSync(txns) => {
                let before = self.memory.history.last();
                let mut zxid = self.memory.history.back(txns.min(0).unsigned_abs() as usize);
                self.memory.floor = self.memory.floor.min(zxid);
                for _ in 0..txns {
                    zxid = zxid.next();
                    self.memory.history.push(zxid, &entry(zxid, 10, Data::Text));
                }
                let link = self.memory.history.link(zxid).unwrap_or(Link::START);
                let effects = receiving_effects(zxid, link, &self.setup);
                self.chore(Machine::Install, effects, Chore::Receive { zxid, before });
            }
            Command::WriteEpoch(file, epoch) => {
                self.epoch(file).next = Some(epoch);
                self.chore(Machine::Epoch, file.write(Epoch(epoch)), Chore::Epoch(file, epoch));
            }
            Command::Close => match self.writer.close() {
                Some(effects) if !effects.is_empty() => self.chore(Machine::Close, effects, Chore::Close),
                _ => self.memory.closed = true,
            },
        }
        Ok(())
    }

    fn chore(&mut self, machine: Machine, effects: Vec<Effect>, chore: Chore) {
        self.chore = Some(Work::new(self.sabotage.apply(machine, effects), chore));
    }

    fn epoch(&mut self, file: EpochFile) -> &mut EpochState {
        match file {
            EpochFile::Accepted => &mut self.memory.accepted,
            EpochFile::Current => &mut self.memory.current,
        }
    }

    fn append(&mut self, length: usize, data: Data) {
        let last = self.writer.appended();
        let next = if std::mem::take(&mut self.new_epoch) {
            Zxid(i64::from(last.epoch().0 + 1) << 32 | 1)
        } else {
            last.next()
        };
        let bytes = entry(next, length, data);
        if let Some(room) = self.writer.room() {
            // As the pipeline does it: what does not fit is refused before it has a zxid.
            if ((bytes.len() + OVERHEAD) as u64) > room.bytes {
                self.room.refused += 1;
                return;
            }
            self.room.promised.get_or_insert(next);
        } else {
            self.room.promised = None;
        }
        if self.writer.append(next, &bytes).is_ok() {
            self.memory.history.push(next, &bytes);
        }
    }

    /// One effect of this actor's, beginning its work if there is none under way; what it was. An error is one of the disk's; the life may be over by it.
    pub fn step(&mut self, actor: Actor) -> io::Result<()> {
        self.take_work(actor);
        match actor {
            Actor::Driver => Ok(()),
            Actor::Log => self.step_log(),
            Actor::Fill => self.step_fill(),
            Actor::Snapshot => {
                let done = step(&mut self.disk, &mut self.snapshot);
                if done.is_err() {
                    // The log keeps everything. What there is of it goes.
                    self.snapshot = None;
                    let _ =
                        SnapshotWriter::new(Zxid::ZERO, true).abandon().iter().try_for_each(|e| self.disk.execute(e));
                }
                done.map(|_| ())
            }
            Actor::Purge => {
                let done = step(&mut self.disk, &mut self.purge);
                if done.is_err() {
                    self.purge = None;
                }
                done.map(|_| ())
            }
            Actor::Chore => match step(&mut self.disk, &mut self.chore) {
                Ok(Some(chore)) => self.chore_done(chore),
                Ok(None) => Ok(()),
                Err(error) => {
                    self.failed = true;
                    Err(error)
                }
            },
        }
    }

    /// Takes the next job of the log or the next fill, if this actor has none; [`next_effect`](Self::next_effect) shows
    /// then what [`step`](Self::step) will do.
    pub fn take_work(&mut self, actor: Actor) {
        match actor {
            Actor::Log if self.log.is_none() => {
                self.log = self
                    .writer
                    .next_job()
                    .map(|job| Work::new(self.sabotage.apply(Machine::Log, job.effects().to_vec()), job));
            }
            Actor::Fill if self.fill.is_none() => {
                self.fill = self
                    .writer
                    .next_fill()
                    .map(|job| Work::new(self.sabotage.apply(Machine::Fill, job.effects().to_vec()), job));
            }
            _ => {}
        }
    }

    fn step_log(&mut self) -> io::Result<()> {
        match step(&mut self.disk, &mut self.log) {
            Ok(Some(job)) => {
                self.room.went_on += u64::from(std::mem::take(&mut self.room.is_waiting));
                let acknowledged = self.writer.job_done(job);
                self.memory.floor = self.memory.floor.max(acknowledged);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => {
                if let Some(mut work) = self.log.take() {
                    let job = &mut work.done;
                    if self.writer.job_stopped(job, work.at, error.kind()) == Stopped::Waits {
                        if !self.room.is_unfair && self.room.promised.is_some_and(|zxid| zxid <= job.last()) {
                            self.room.broken_promise = Some(job.last());
                        }
                        self.room.waited += u64::from(!std::mem::replace(&mut self.room.is_waiting, true));
                        let effects = self.sabotage.apply(Machine::Log, job.effects().to_vec());
                        self.log = Some(Work { effects, at: 0, done: work.done });
                        return Err(error);
                    }
                    self.writer.job_failed(work.done);
                }
                self.failed = true;
                Err(error)
            }
        }
    }

    fn step_fill(&mut self) -> io::Result<()> {
        match step(&mut self.disk, &mut self.fill) {
            Ok(Some(job)) => self.writer.fill_done(job),
            Ok(None) => {}
            Err(error) => {
                if let Some(work) = self.fill.take() {
                    if is_no_room(error.kind()) {
                        self.writer.fill_found_no_room(work.done);
                    } else {
                        self.writer.fill_failed(work.done);
                    }
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn chore_done(&mut self, chore: Chore) -> io::Result<()> {
        match chore {
            Chore::Start => {}
            Chore::Close => self.memory.closed = true,
            Chore::Epoch(file, epoch) => *self.epoch(file) = EpochState { done: epoch, next: None },
            Chore::Receive { zxid, before } => return self.close_for(Chore::CloseFor { zxid, before }),
            Chore::CloseFor { zxid, before } => return self.install(zxid, before),
            Chore::Install(zxid) => {
                self.writer = LogWriter::new(self.setup.log.clone(), zxid);
                self.memory.history.cut(zxid);
                self.memory.floor = zxid;
            }
            Chore::CloseToTruncate(zxid) => match truncate::plan(&self.disk, zxid, &self.setup.recover) {
                Ok(plan) => {
                    self.memory.floor = self.memory.floor.min(zxid);
                    self.chore(Machine::Truncate, plan.effects, Chore::Truncate(zxid));
                }
                Err(TruncateError::Io(error)) => return self.fails(error),
                Err(error) => {
                    self.writer = LogWriter::new(self.setup.log.clone(), self.writer.appended());
                    return Err(io::Error::other(error));
                }
            },
            Chore::Truncate(zxid) => {
                self.memory.history.cut(zxid);
                self.memory.floor = zxid;
                self.chore = Some(Work::new(Vec::new(), Chore::Reread(zxid)));
            }
            Chore::Reread(zxid) => {
                let start = start(&mut self.disk, &self.setup).map_err(io::Error::other)?;
                let last = start.recovered.last_zxid;
                if last != zxid {
                    return Err(io::Error::other(format!("truncated to {zxid}, recovered to {last}")));
                }
                self.writer = LogWriter::new(self.setup.log.clone(), zxid);
            }
        }
        Ok(())
    }

    /// Closes the log, for what changes the files behind it.
    fn close_for(&mut self, chore: Chore) -> io::Result<()> {
        let Some(close) = self.writer.close() else {
            return self.fails(io::Error::other("the log has failed"));
        };
        self.chore(Machine::Close, close, chore);
        Ok(())
    }

    fn fails(&mut self, error: io::Error) -> io::Result<()> {
        self.failed = true;
        Err(error)
    }

    /// The log that is written.
    pub fn current_log(&self) -> Option<FileRef> {
        self.writer.current_file().map(|(file, _)| file.clone())
    }

    /// The syncs of what is under way.
    pub fn sites(&self, into: &mut BTreeSet<Site>) {
        let mut add = |machine, effects: &[Effect]| syncs(machine, effects, into);
        if let Some(work) = &self.log {
            add(Machine::Log, &work.effects);
        }
        if let Some(work) = &self.fill {
            add(Machine::Fill, &work.effects);
        }
        if let Some(work) = &self.snapshot {
            add(Machine::Snapshot, &work.effects);
        }
        if let Some(work) = &self.purge {
            add(Machine::Purge, &work.effects);
        }
        if let Some(work) = &self.chore {
            let machine = match work.done {
                Chore::Start => Machine::Snapshot,
                Chore::Receive { .. } | Chore::Install(_) => Machine::Install,
                Chore::Epoch(..) => Machine::Epoch,
                Chore::Truncate(_) | Chore::Reread(_) => Machine::Truncate,
                Chore::CloseFor { .. } | Chore::CloseToTruncate(_) | Chore::Close => Machine::Close,
            };
            add(machine, &work.effects);
        }
    }

    /// The effect that this actor does next, if that is known.
    pub fn next_effect(&self, actor: Actor) -> Option<&Effect> {
        fn of<D>(work: Option<&Work<D>>) -> Option<&Effect> {
            work.and_then(|work| work.effects.get(work.at))
        }
        match actor {
            Actor::Driver => None,
            Actor::Log => of(self.log.as_ref()),
            Actor::Fill => of(self.fill.as_ref()),
            Actor::Snapshot => of(self.snapshot.as_ref()),
            Actor::Purge => of(self.purge.as_ref()),
            Actor::Chore => of(self.chore.as_ref()),
        }
    }
}

/// The next effect of some work; what follows, if it was the last.
fn step<D>(disk: &mut VirtualDisk, work: &mut Option<Work<D>>) -> io::Result<Option<D>> {
    if let Some(work) = work
        && let Some(effect) = work.effects.get(work.at)
    {
        disk.execute(effect)?;
        work.at += 1;
    }
    Ok(work.take_if(|work| work.at >= work.effects.len()).map(|work| work.done))
}
