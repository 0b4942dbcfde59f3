//! Random histories: a server that works, breaks, is killed, loses its power and starts again, many times over.
//!
//! A seed says everything: the setup, which kinds of faults there are in this history (a few of them, so that each gets its
//! chance alone), every step, every crash. What must hold:
//!
//! * Without damage: as in the enumeration. A start never refuses, and shows a beginning of the history with everything
//!   that was acknowledged or shown before.
//! * A full disk is none of those that end a server. What the log has said to fit fits; a batch that finds no room waits,
//!   unacknowledged, and when there is room again it is written, and writes are taken again, without a new start. If the process
//!   ends before, a start finds any beginning of that batch: those who wait for it are told nothing of what became of it.
//! * With damage: the same, or the start says so: it refuses, or it warns. It never shows a txn that was not logged.
//! * With damage, and a start that knows that the machine has gone on, or how long the log was when its server stopped in order:
//!   it refuses, or nothing is missing.
//!
//! Two things no server can know. A sector of the last records, or of the last ones of an epoch, that the disk has silently
//! never written looks as if it had not been acknowledged ([`Tally::unseen`]). And a hole that a crash leaves may look like a single changed bit in a txn
//! that was acknowledged; then the start is refused ([`Tally::in_doubt`]).

mod faults;

use std::hash::{DefaultHasher, Hash, Hasher};

use storage::disk::{Dir, Disk, FileRef, is_no_room};
use storage::epoch::{self, EpochError, EpochFile};
use storage::log::dir::ReadLogError;
use storage::log::record::{OVERHEAD, checksum};
use storage::names::{self, FileName};
use storage::{Bulk, Effect, LogOptions, RecoverError, RecoverOptions};
use wire::Zxid;

use super::check::compare_history;
use super::history::Data;
use super::life::{self, Actor, Command, EpochState, Life, Memory, Setup};
use super::sabotage::Sabotage;
use super::scenarios::directory;
use super::tally::{DAMAGE, HONEST};
pub use super::tally::{Kind, Tally};
use crate::disk::VirtualDisk;
use crate::rng::Rng;

/// The most steps of one life.
const STEPS_MAX: u64 = 220;
/// The most lives of a history.
const LIVES_MAX: u64 = 7;

/// One history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What happened.
    pub tally: Tally,
    /// The same for the same history.
    pub trace: u64,
    /// The promise that was broken, and the last steps before.
    pub violation: Option<String>,
}

/// Plays the history of a seed. The same seed gives the same one.
pub fn history(seed: u64) -> Outcome {
    let mut play = Play::new(seed);
    let violation = play.run().err().map(|what| format!("{what}\n    {}", play.steps.join("\n    ")));
    play.tally.histories = 1;
    Outcome { tally: play.tally, trace: play.trace.finish(), violation }
}

/// How a history ends early: nothing can be said of the directory any more.
struct Over;

/// What a server leaves word of for the next start, as `ostler-server` does in `ostler.lock`.
#[derive(Debug, Clone, Default)]
struct Word {
    /// Which run of the machine it was on; `None` after a sync that failed: the kernel may have dropped what it did not write.
    boot: Option<u64>,
    /// Its newest log when it stopped in order, and that file's length in bytes.
    closed: Option<(FileRef, u64)>,
}

struct Play {
    rng: Rng,
    setup: Setup,
    kinds: Vec<Kind>,
    /// How often an effect goes wrong, per mille.
    rate: u64,
    disk: VirtualDisk,
    memory: Memory,
    /// Which run of the machine this is.
    boot: u64,
    /// What the last server has left word of.
    word: Word,
    tally: Tally,
    trace: DefaultHasher,
    /// The last steps, for people.
    steps: Vec<String>,
    /// The medium is wrong somewhere.
    damaged: bool,
    /// Writes may have been lost in silence.
    lost_writes: bool,
    /// Do some znodes hold pieces of a log?
    has_logs: bool,
    /// The last process ended in the midst of a write of the log, and the length of the record before it is to change.
    is_cut_short: bool,
    /// An epoch file that holds no number, and the bits of which byte have changed.
    rotten: Option<(FileRef, usize, u8)>,
    /// The last process ended while a batch waited for room: what was acknowledged before, and the batch's last txn.
    waiting: Option<(Zxid, Zxid)>,
}

/// How many rounds of everybody's steps it may take until everything is as before a full disk.
const ROOM_STEPS_MAX: usize = 2000;
/// How many of the last steps are shown.
const STEPS_SHOWN: usize = 80;

impl Play {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let separate = rng.chance(500);
        let log = LogOptions {
            preallocate: *rng.pick(&[0, 0, 1024, 2048, 4096, 9000]).unwrap_or(&0),
            size_limit: *rng.pick(&[0, 0, 1500]).unwrap_or(&0),
            batch_bytes: rng.between(200, 6000) as usize,
            batch_txns: rng.below(6) as usize,
            bulk: Bulk { bytes: *rng.pick(&[0, 200, 1000]).unwrap_or(&0), batches: rng.between(1, 2) as u32 },
            force_sync: true,
        };
        let has_logs = rng.chance(300);
        let setup = Setup {
            log,
            snapshot_bytes: rng.between(10, 2500) as usize,
            snapshot_chunks: rng.between(1, 3) as usize,
            retain: 3,
            member: rng.chance(250),
            recover: RecoverOptions {
                autocreate: false,
                batch_max: if has_logs { 24 << 10 } else { 8 << 10 },
                ..RecoverOptions::default()
            },
        };
        let mut kinds = vec![Kind::Power, Kind::Kill];
        let with_damage = rng.chance(400);
        let others = HONEST[2..].iter().chain(DAMAGE.iter().filter(|_| with_damage));
        let share = rng.between(100, 600);
        kinds.extend(others.copied().filter(|_| rng.chance(share)));
        let (mut disk, history) = directory(separate, &[rng.below(4) as i64], &[0]);
        let epoch = EpochState { done: 0, next: None };
        if setup.member {
            for file in [EpochFile::Accepted, EpochFile::Current] {
                disk.put(&FileRef::new(Dir::Data, FileName::parse(file.name())), b"0");
            }
        }
        let floor = history.last();
        let memory = Memory { history, floor, accepted: epoch, current: epoch, closed: false };
        Self {
            rate: *rng.pick(&[2, 10, 40]).unwrap_or(&2),
            rng,
            setup,
            kinds,
            disk,
            memory,
            boot: 0,
            word: Word::default(),
            tally: Tally::default(),
            trace: DefaultHasher::new(),
            steps: Vec::new(),
            damaged: false,
            lost_writes: false,
            has_logs,
            is_cut_short: false,
            rotten: None,
            waiting: None,
        }
    }

    fn note(&mut self, step: String) {
        step.hash(&mut self.trace);
        if self.steps.len() == STEPS_SHOWN {
            self.steps.remove(0);
        }
        self.steps.push(step);
    }

    fn count(&mut self, kind: Kind) {
        *self.tally.faults.entry(kind).or_default() += 1;
    }

    fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.between(1, LIVES_MAX) {
            let Some(life) = self.start()? else { return Ok(()) };
            self.live(life)?;
            self.end_of_life()?;
        }
        // What is left is read once more, with nothing wrong but what is wrong on the medium.
        self.disk.faults = crate::disk::Faults::default();
        self.start().map(|_| ())
    }

    /// Starts, until it works; `None`: nothing more can be learned from this directory.
    fn start(&mut self) -> Result<Option<Life>, String> {
        for attempt in 0..4 {
            self.disk.faults.at.clear();
            self.disk.faults.read_only_from = None;
            let is_disturbed = attempt < 3 && self.disturb_start();
            if attempt == 3 {
                self.disk.faults.capacity = None;
            }
            let is_full = self.disk.faults.capacity.is_some();
            let before = self.disk.clone();
            self.tally.starts += 1;
            self.tally.full_starts += u64::from(is_full);
            let setup = self.knowing();
            self.tally.knowing += u64::from(setup.recover.went_on || setup.recover.closed.is_some());
            let outcome = life::start(&mut self.disk, &setup);
            self.disk.faults.heal_reads();
            if outcome.as_ref().is_err_and(is_failed_sync) {
                self.word.boot = None;
            }
            // A full disk is a reason not to start, but none to forget anything.
            if is_full
                && !is_disturbed
                && let Err(RecoverError::Io { error, .. }) = &outcome
                && is_no_room(error.kind())
            {
                self.note(format!("no start, the disk is full: {error}"));
                self.tally.refused += 1;
                self.disk.faults.capacity = None;
                continue;
            }
            match self.judge(outcome, &setup.recover, is_disturbed, &before) {
                Ok(Some(life)) => return Ok(Some(life)),
                Ok(None) => {}
                Err(Ok(Over)) => return Ok(None),
                Err(Err(violation)) => return Err(violation),
            }
            // Whatever a start that failed has left: the next one has to do with it.
            if self.rng.chance(300) {
                self.power_fails()?;
            }
        }
        Err("no start although nothing is wrong any more".to_owned())
    }

    /// The setup of a start that has read what the last server has left word of.
    fn knowing(&self) -> Setup {
        let mut setup = self.setup.clone();
        setup.recover.went_on = self.word.boot == Some(self.boot);
        setup.recover.closed.clone_from(&self.word.closed);
        setup
    }

    /// What a start came to. `Ok(None)`: another try.
    fn judge(
        &mut self,
        outcome: Result<life::Start, RecoverError>,
        knew: &RecoverOptions,
        is_disturbed: bool,
        before: &VirtualDisk,
    ) -> Result<Option<Life>, Result<Over, String>> {
        let is_wrong = self.damaged || is_disturbed;
        let start = match outcome {
            Ok(start) if !start.recovered.is_suspect => start,
            Ok(start) if is_wrong => {
                self.tally.refused += 1;
                self.note(format!("suspect: {:?}", start.recovered.warnings));
                // It was mended on the way: what was there before is what an operator has.
                self.disk = before.clone();
                self.disk.faults.heal_reads();
                return if self.damaged { Err(Ok(Over)) } else { Ok(None) };
            }
            Ok(start) => return Err(Err(format!("taken for damage: {:?}", start.recovered.warnings))),
            Err(error) => {
                self.note(format!("no start: {error}"));
                if is_wrong {
                    self.tally.refused += 1;
                    return if self.damaged { Err(Ok(Over)) } else { Ok(None) };
                }
                if is_in_doubt(before, &error) {
                    self.tally.in_doubt += 1;
                    return Err(Ok(Over));
                }
                return Err(Err(format!("no start: {error}")));
            }
        };
        let (last, link) = (start.recovered.last_zxid, start.rebuilt.link);
        self.note(format!("started at {last}, {} txns", start.recovered.txns_replayed));
        // A directory in which nothing was ever logged holds nothing that can be missing.
        let is_nothing = is_wrong && last.0 < 0 && self.memory.floor <= Zxid::ZERO;
        if !is_nothing && let Err(what) = compare_history(last, link, &self.memory.history, self.memory.floor) {
            // Without any state it has nothing that is wrong.
            let is_prefix = last.0 < 0 || compare_history(last, link, &self.memory.history, Zxid(i64::MIN)).is_ok();
            // A write that the disk has lost at the end of an epoch leaves a hole that no number shows.
            if !is_wrong || (!is_prefix && !self.lost_writes) {
                return Err(Err(format!("{what}; it warned: {:?}", start.recovered.warnings)));
            }
            self.judge_loss(&what, last, is_prefix, knew, &start.recovered.warnings).map_err(Err)?;
            if !is_prefix {
                return Err(Ok(Over));
            }
        }
        let last = Zxid(last.0.max(0));
        if let Some((acknowledged, of_batch)) = self.waiting.take() {
            self.tally.waiting_whole += u64::from(last >= of_batch);
            self.tally.waiting_part += u64::from(last < of_batch && last > acknowledged);
            self.tally.waiting_none += u64::from(last <= acknowledged);
        }
        self.memory.history.cut(last);
        self.memory.floor = last;
        self.memory.closed = false;
        self.word = Word { boot: Some(self.boot), closed: None };
        if self.setup.member && !self.epochs(last).map_err(Err)? {
            return Ok(None);
        }
        Ok(Some(Life::new(self.disk.clone(), &start, self.memory.clone(), &self.setup, &Sabotage::None)))
    }

    /// Txns are missing after damage. Is it said, or is it a loss that no start can see?
    fn judge_loss(
        &mut self,
        what: &str,
        last: Zxid,
        is_prefix: bool,
        knew: &RecoverOptions,
        warnings: &[String],
    ) -> Result<(), String> {
        let is_told = warnings.iter().any(|warning| tells_of_loss(warning));
        // While the machine goes on, only zeros in place of the last records look like the end of a process, and not even they
        // do if it is known where the log ended.
        let looks_killed = self.lost_writes && !is_told && !warnings.iter().any(|warning| warning.contains(REST));
        let is_short = is_prefix && knew.closed.is_some();
        if (knew.went_on && !looks_killed) || is_short {
            let (went_on, closed) = (knew.went_on, &knew.closed);
            return Err(format!(
                "{what}; the start goes on at {last} although it knows better ({went_on}, {closed:?}): {warnings:?}"
            ));
        }
        if is_told {
            self.tally.told += 1;
        } else if self.lost_writes {
            self.tally.unseen += 1;
        } else {
            return Err(format!("{what}, and nothing is said of it: {warnings:?}"));
        }
        Ok(())
    }

    /// The epoch files, as a member reads them at its start. False: there is no room for what has to be written, so it ends,
    /// and starts again when somebody has made room.
    fn epochs(&mut self, last: Zxid) -> Result<bool, String> {
        self.disk.faults.at.clear();
        // After a power failure it may be the one of before.
        let is_number = |bytes: &Vec<u8>| bytes.iter().all(u8::is_ascii_digit);
        if let Some((file, at, mask)) = self.rotten.take()
            && !self.disk.bytes(&file).is_some_and(|bytes| is_number(&bytes))
        {
            match epoch::read(&self.disk, last) {
                Err(EpochError::NotANumber { file: named, .. }) if named == file => {}
                other => return Err(format!("{file} holds no number, and a start makes of it {other:?}")),
            }
            self.tally.epochs_refused += 1;
            // Somebody has a copy.
            self.disk.damage_sector(&file, 0, &mut |block| block[at] ^= mask);
        }
        let read = match epoch::read(&self.disk, last) {
            Ok(read) => read,
            // Damage that took txns away may have taken the history behind an epoch; it is said all the same.
            Err(error) if self.damaged => {
                self.note(error.to_string());
                return Ok(true);
            }
            Err(error) => return Err(error.to_string()),
        };
        for effect in &read.effects {
            let Err(error) = self.disk.execute(effect) else { continue };
            let what = format!("{}: {error}", effect.describe());
            if self.disk.faults.capacity.take().is_none() || !is_no_room(error.kind()) {
                return Err(what);
            }
            self.note(format!("no start, the disk is full: {what}"));
            self.tally.refused += 1;
            return Ok(false);
        }
        let found = [(read.accepted.0, self.memory.accepted), (read.current.0, self.memory.current)];
        for (found, of) in found {
            if found < of.done || (found != of.done && Some(found) != of.next && found != last.epoch().0) {
                return Err(format!("an epoch file says {found}; it was {} and was to be {:?}", of.done, of.next));
            }
        }
        self.memory.accepted = EpochState { done: read.accepted.0, next: None };
        self.memory.current = EpochState { done: read.current.0, next: None };
        Ok(true)
    }

    /// One life, up to its end.
    fn live(&mut self, mut life: Life) -> Result<(), String> {
        let mut script: Vec<Command> = Vec::new();
        let steps = self.rng.between(5, STEPS_MAX);
        let count = |life: &Life| life.memory.history.up_to(life.memory.floor) as u64;
        let mut acknowledged = count(&life);
        for _ in 0..steps {
            life.passes(self.rng.below(400) as i64);
            if life.disk.faults.capacity.is_some() && self.rng.chance(20) {
                self.note("there is room again".to_owned());
                life.disk.faults.capacity = None;
            }
            if script.is_empty() {
                script = self.commands(&life);
            }
            let enabled = life.enabled(script.last());
            let Some(actor) = self.rng.pick(&enabled).copied() else { break };
            if actor == Actor::Driver {
                if let Some(command) = script.pop() {
                    self.note(format!("{command:?}"));
                    // A purge or a truncation that can't be planned is no more than that.
                    if let Err(error) = life.begin(&command) {
                        self.note(error.to_string());
                    }
                }
                continue;
            }
            life.take_work(actor);
            let effect = life.next_effect(actor).cloned();
            if let Some(effect) = &effect {
                self.disturb(&mut life, effect);
            }
            let done = life.step(actor);
            let is_sync = matches!(effect, Some(Effect::Fdatasync(_) | Effect::Fsync(_) | Effect::FsyncDir(_)));
            if is_sync && done.is_err() && actor == Actor::Log {
                self.word.boot = None;
            }
            let what = effect.map(|effect| effect.describe()).unwrap_or_default();
            let ending = done.as_ref().err().map(|e| format!(": {e}")).unwrap_or_default();
            self.note(format!("{actor:?}: {what}{ending}"));
            let now = count(&life);
            self.tally.acknowledged += now.saturating_sub(acknowledged);
            acknowledged = now;
            if let Some(zxid) = life.room.broken_promise {
                return Err(format!("the log said that txn {zxid} fits, and it found no room"));
            }
        }
        let mut recovered = Ok(());
        if life.disk.faults.capacity.take().is_some() && !life.is_over() && self.rng.chance(500) {
            recovered = self.has_room_again(&mut life);
        }
        self.tally.no_room += life.room.refused;
        self.tally.waited += life.room.waited;
        self.tally.went_on += life.room.went_on;
        // The next start may find it full, too.
        if self.has(Kind::Full) && self.rng.chance(200) {
            life.disk.faults.capacity = Some(life.disk.used() + self.rng.below(2000));
        }
        if self.has(Kind::LengthRot) && self.rng.chance(500) {
            self.writes_at_last(&mut life);
        } else {
            self.is_killed(&mut life);
        }
        self.waiting = life.waits_for_room().map(|of_batch| (life.memory.floor, of_batch));
        self.disk = life.disk;
        self.memory = life.memory;
        if self.memory.closed && self.rng.chance(900) {
            self.word.closed = life::newest_log(&self.disk);
        }
        recovered
    }

    /// There is room again: what waits is written, and the log takes writes as before.
    fn has_room_again(&mut self, life: &mut Life) -> Result<(), String> {
        if life.disk.faults.read_only_from.is_some() {
            return Ok(());
        }
        self.note("there is room again, and nothing else goes wrong".to_owned());
        life.disk.faults.at.clear();
        for _ in 0..ROOM_STEPS_MAX {
            life.passes(500);
            let enabled = life.enabled(None);
            if life.memory.closed {
                // It was being closed already, and is.
                return Ok(());
            }
            if life.is_over() {
                return Err("the log has ended although there was room again".to_owned());
            }
            if enabled.is_empty() && !life.is_short_of_room() {
                return Ok(());
            }
            for actor in enabled {
                // An error is one of those that were there before: what it leaves is looked at.
                let what = life.step(actor).err().map(|error| error.to_string()).unwrap_or_default();
                self.note(format!("{actor:?} {what}"));
            }
        }
        Err(format!("there is room again, and the log does not see it; {} txns wait", life.pending_txns()))
    }

    /// A txn whose data is pieces of a log.
    pub(super) fn log_in_a_znode(&mut self) -> Command {
        let length = match self.rng.below(8) {
            0 => self.rng.between(4000, 10_000),
            1 | 2 => self.rng.between(2000, 4000),
            _ => self.rng.between(200, 2000),
        };
        Command::Append(length as usize, Data::Log(self.rng.any()))
    }

    /// What to do next, last first.
    fn commands(&mut self, life: &Life) -> Vec<Command> {
        let of = if self.rng.chance(200) { Data::Zeros } else { Data::Text };
        let length = match self.rng.below(8) {
            0 => self.rng.between(900, 2600),
            1 | 2 => self.rng.between(300, 700),
            _ => self.rng.below(60),
        };
        let append = if self.has_logs && self.rng.chance(400) {
            self.log_in_a_znode()
        } else {
            Command::Append(length as usize, of)
        };
        match self.rng.below(100) {
            0..70 => vec![append],
            70..76 => vec![Command::Roll],
            76..86 => vec![Command::Snapshot],
            86..89 => vec![Command::Purge],
            89..92 => vec![Command::Truncate(self.rng.below(5) as usize)],
            92..94 => vec![Command::SnapSync(self.rng.between(1, 4) as i64)],
            94..98 if self.setup.member => {
                let next = life.memory.accepted.done.max(life.memory.history.last().epoch().0) + 1;
                let mut script = vec![append, Command::NewEpoch, Command::WriteEpoch(EpochFile::Current, next)];
                script.push(Command::WriteEpoch(EpochFile::Accepted, next));
                // The history that the new leader tells, of an epoch that was missed, too.
                if self.rng.chance(300) {
                    script = vec![append, Command::NewEpoch, Command::WriteEpoch(EpochFile::Current, next + 1)];
                    script.extend([append, Command::NewEpoch, Command::WriteEpoch(EpochFile::Accepted, next + 1)]);
                }
                script
            }
            94..98 => vec![append, Command::NewEpoch],
            _ => vec![Command::Close],
        }
    }
}

/// Did a start end with a sync that failed?
fn is_failed_sync(error: &RecoverError) -> bool {
    matches!(error, RecoverError::Io { what, .. } if what.starts_with("fdatasync ") || what.starts_with("fsync "))
}

/// Does a warning say that something may be missing? Most say that nothing is, or speak of files that were made up for.
fn tells_of_loss(warning: &str) -> bool {
    let words = ["may have been acknowledged", "is missing; was the", "they are missing", "compare this server's data"];
    !warning.starts_with(names::CUT) && words.iter().any(|word| warning.contains(word))
}

/// What is said of a torn end with whole records behind it.
const REST: &str = "pieces of its batch behind it";

/// Is the record that the start stumbled over one bit away from being whole? Tried out, bit by bit.
fn is_in_doubt(disk: &VirtualDisk, error: &RecoverError) -> bool {
    let (file, offset) = match error {
        RecoverError::Log { error: ReadLogError::Damaged { file, offset, .. }, .. } => (file, *offset),
        RecoverError::SuspectTail { tail } => match tail.end {
            storage::log::dir::TailEnd::Torn { offset, .. } => (&tail.file, offset),
            _ => return false,
        },
        _ => return false,
    };
    let bytes = disk.bytes(file).unwrap_or_default();
    let Some(record) = bytes.get(offset as usize..) else { return false };
    let length =
        record.get(8..12).and_then(|length| length.first_chunk()).map_or(0, |length| u32::from_be_bytes(*length));
    let Some(record) = record.get(..length as usize + OVERHEAD) else { return false };
    let mut record = record.to_vec();
    (0..record.len() * 8).any(|bit| {
        record[bit / 8] ^= 1 << (bit % 8);
        let sum = u64::from(checksum(&record[12..record.len() - 1])).to_be_bytes();
        let is_whole = record[..8] == sum && record[record.len() - 1] == 0x42;
        record[bit / 8] ^= 1 << (bit % 8);
        is_whole
    })
}
