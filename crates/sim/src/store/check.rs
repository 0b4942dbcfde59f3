//! Is what a crash left recovered from, rightly, and again if the next crash comes during that recovery?
//!
//! Each state is judged once, however many ways lead to it: what a recovery does depends on nothing but the disk.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::io;
use std::rc::Rc;

use storage::disk::{Dir, Disk, DiskRead, Effect, Entry, FileRef};
use storage::epoch;
use storage::log::record::HEADER;
use storage::log::truncate;
use storage::names::{self, FileName};
use storage::purge;
use storage::snapshot::decode::{Ignore, decode};
use tree::digest::node_digest;
use wire::Zxid;

use super::history::{Data, History, Link};
use super::life::{self, Actor, Command, Life, Memory, Setup};
use super::sabotage::{Machine, Sabotage, Site, syncs};
use crate::disk::{Coverage, VirtualDisk};
use crate::rng::Rng;

/// What a recovery of a state came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The last zxid, and what was rebuilt; or why the server does not start.
    pub outcome: Result<(Zxid, Link), String>,
    /// `acceptedEpoch` and `currentEpoch`, of a member.
    pub epochs: Option<(i32, i32)>,
    /// Txns that follow each other in what it would give learners of its log, where a file begins.
    pub joints: BTreeSet<(Zxid, Zxid)>,
    /// What was recovered to after a crash in the midst of this recovery.
    pub during: BTreeSet<(Zxid, Link)>,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Moments at which a crash was tried.
    pub moments: u64,
    /// States that a crash left, no two the same.
    pub states: u64,
    /// Recoveries, those of states that a crash in a recovery or in the life behind it left included.
    pub recoveries: u64,
    /// Crashes of which only some states were drawn.
    pub sampled: u64,
}

type Map<V> = HashMap<u64, V, BuildHasherDefault<DefaultHasher>>;

/// Judges states of one setup.
#[derive(Debug)]
pub struct Judge {
    setup: Setup,
    sabotage: Sabotage,
    /// Do all files come from the machines, so that each log has a header and each snapshot is whole?
    pub is_pure: bool,
    rng: Rng,
    seen: Map<Rc<Result<Seen, String>>>,
    judged: Map<Rc<Result<Seen, String>>>,
    /// What was looked at so far.
    pub counts: Counts,
    /// The syncs that were met.
    pub sites: BTreeSet<Site>,
}

impl Judge {
    /// One that has seen nothing.
    pub fn new(setup: &Setup, sabotage: &Sabotage) -> Self {
        Self {
            setup: setup.clone(),
            sabotage: sabotage.clone(),
            is_pure: true,
            rng: Rng::new(1),
            seen: Map::default(),
            judged: Map::default(),
            counts: Counts::default(),
            sites: BTreeSet::new(),
        }
    }

    /// Crashes in every way, and judges what is left against what must not be forgotten; also a process that is killed
    /// and starts again on the same files.
    pub fn crash(&mut self, disk: &VirtualDisk, memory: &Memory) -> Result<(), String> {
        self.counts.moments += 1;
        let killed = self.judge(disk);
        Self::compare(&killed, disk, memory).map_err(|e| format!("killed: {e}"))?;
        let mut rng = self.rng.clone();
        let covered = disk.for_each_crash(&mut rng, &mut |state| {
            let seen = self.judge(&state);
            Self::compare(&seen, &state, memory).map_err(|e| format!("{e}\n  left by the crash: {}", describe(&state)))
        })?;
        self.rng = rng;
        self.count(covered);
        Ok(())
    }

    /// Ends the process, while the machine goes on, and starts again with what its server has left word of.
    pub fn kill(&mut self, disk: &VirtualDisk, memory: &Memory) -> Result<(), String> {
        let mut hasher = DefaultHasher::new();
        (disk.state_hash(), memory.closed, "knowing").hash(&mut hasher);
        let hash = hasher.finish();
        let seen = match self.seen.get(&hash) {
            Some(known) => known.clone(),
            None => {
                self.counts.recoveries += 1;
                let mut setup = self.setup.clone();
                setup.recover.went_on = true;
                setup.recover.closed = if memory.closed { life::newest_log(disk) } else { None };
                let mut disk = disk.clone();
                let outcome = life::start(&mut disk, &setup);
                let seen = Rc::new(self.look_at(&disk, outcome));
                self.seen.insert(hash, seen.clone());
                seen
            }
        };
        Self::compare(&seen, disk, memory).map_err(|e| format!("killed, and the machine has gone on: {e}"))
    }

    fn count(&mut self, covered: Coverage) {
        self.counts.sampled += u64::from(covered == Coverage::Sampled);
    }

    fn compare(seen: &Result<Seen, String>, state: &VirtualDisk, memory: &Memory) -> Result<(), String> {
        let seen = seen.as_ref().map_err(Clone::clone)?;
        let (last, link) = seen.outcome.clone().map_err(|e| format!("no start: {e}"))?;
        compare_history(last, link, &memory.history, memory.floor)?;
        for (before, next) in &seen.joints {
            // Those that were taken back are gone from the history before they are gone from the disk.
            if memory.history.link(*next).is_some() && memory.history.between(*before, *next).len() > 1 {
                return Err(format!("learners are given {next} behind {before}, and txns in between are missing"));
            }
        }
        for (last, link) in &seen.during {
            compare_history(*last, *link, &memory.history, memory.floor)
                .map_err(|e| format!("after a crash in its recovery: {e}"))?;
        }
        if let Some((accepted, current)) = seen.epochs {
            for (name, found, of) in
                [("acceptedEpoch", accepted, memory.accepted), ("currentEpoch", current, memory.current)]
            {
                let epoch_of_last = last.epoch().0;
                let is_raised = name == "currentEpoch" && found == epoch_of_last && found > of.done;
                if found != of.done && Some(found) != of.next && !is_raised {
                    return Err(format!("{name} is {found}, it was {} and was to be {:?}", of.done, of.next));
                }
            }
        }
        if memory.closed {
            tidy_after_close(state)?;
        }
        Ok(())
    }

    /// Recovers from a state, from each crash in that recovery, and from each crash in the life behind it.
    pub fn judge(&mut self, state: &VirtualDisk) -> Rc<Result<Seen, String>> {
        let hash = state.state_hash();
        if let Some(known) = self.judged.get(&hash) {
            return known.clone();
        }
        self.counts.states += 1;
        let judged = Rc::new(self.judge_anew(state));
        self.judged.insert(hash, judged.clone());
        judged
    }

    fn judge_anew(&mut self, state: &VirtualDisk) -> Result<Seen, String> {
        if self.is_pure {
            purity(state)?;
        }
        let mut seen = (*self.recover(state)).clone()?;
        let Ok((last_shown, link_shown)) = seen.outcome else { return Ok(seen) };
        // What a recovery shows is told and built upon: from its end on it must last.
        let mut recorder = Recorder { disk: state.clone(), effects: Vec::new() };
        let start = life::start(&mut recorder, &self.setup).map_err(|e| e.to_string())?;
        syncs(Machine::Recovery, &recorder.effects, &mut self.sites);
        let mut disk = state.clone();
        let effects = self.sabotage.apply(Machine::Recovery, recorder.effects);
        let mut during = BTreeSet::new();
        for (i, effect) in effects.iter().enumerate() {
            disk.execute(effect).map_err(|e| e.to_string())?;
            let what = || format!("after effect {i} of the recovery ({})", effect.describe());
            self.each_crash(&disk, &mut |state, last, link| {
                during.insert((last, link));
                let is_done = i + 1 == effects.len();
                let is_same = !is_done || (last, link) == (last_shown, link_shown);
                if is_same {
                    Ok(())
                } else {
                    Err(format!("recovered to {last_shown} first, now to {last}: {}", describe(state)))
                }
            })
            .map_err(|e| format!("{}: {e}", what()))?;
        }
        let same = [Command::Append(10, Data::Text), Command::Append(700, Data::Text)];
        let other = [Command::NewEpoch, Command::Append(10, Data::Text)];
        // A member begins an epoch only with its epoch files.
        for script in [&same[..], &other].into_iter().take(if self.setup.member { 1 } else { 2 }) {
            let history = History::ending(last_shown, link_shown);
            let memory = Memory { history, floor: Zxid(last_shown.0.max(0)), ..Memory::default() };
            let mut life = Life::new(disk.clone(), &start, memory, &self.setup, &self.sabotage);
            self.live(&mut life, script).map_err(|e| format!("in the life behind the recovery: {e}"))?;
        }
        seen.during = during;
        Ok(seen)
    }

    /// A life that does one thing after the other, with a crash after each effect.
    fn live(&mut self, life: &mut Life, script: &[Command]) -> Result<(), String> {
        let mut script = script.iter().peekable();
        loop {
            let enabled = life.enabled(script.peek().copied());
            let chosen = [Actor::Chore, Actor::Log, Actor::Driver].into_iter().find(|actor| enabled.contains(actor));
            match chosen {
                None => return Ok(()),
                Some(Actor::Driver) => {
                    if let Some(command) = script.next() {
                        life.begin(command).map_err(|e| e.to_string())?;
                    }
                }
                Some(actor) => {
                    life.step(actor).map_err(|e| e.to_string())?;
                    let memory = &life.memory;
                    self.each_crash(&life.disk, &mut |state, last, link| {
                        compare_history(last, link, &memory.history, memory.floor)
                            .map_err(|e| format!("{e}\n  left by the crash: {}", describe(state)))
                    })?;
                }
            }
        }
    }

    /// Shows what every crash of this disk, and a kill, recovers to, without a look at what comes behind.
    fn each_crash(
        &mut self,
        disk: &VirtualDisk,
        visit: &mut dyn FnMut(&VirtualDisk, Zxid, Link) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut look = |judge: &mut Self, state: &VirtualDisk| {
            let (last, link) =
                (*judge.recover(state)).clone()?.outcome.map_err(|e| format!("no start: {e}: {}", describe(state)))?;
            visit(state, last, link)
        };
        look(self, disk)?;
        let mut rng = self.rng.clone();
        let covered = disk.for_each_crash(&mut rng, &mut |state| look(self, &state))?;
        self.count(covered);
        Ok(())
    }

    /// One recovery of one state.
    fn recover(&mut self, state: &VirtualDisk) -> Rc<Result<Seen, String>> {
        let hash = state.state_hash();
        if let Some(known) = self.seen.get(&hash) {
            return known.clone();
        }
        self.counts.recoveries += 1;
        let mut disk = state.clone();
        let outcome = life::start(&mut disk, &self.setup);
        let seen = Rc::new(self.look_at(&disk, outcome));
        self.seen.insert(hash, seen.clone());
        seen
    }

    fn look_at(&self, disk: &VirtualDisk, outcome: Result<life::Start, storage::RecoverError>) -> Result<Seen, String> {
        let start = match outcome {
            Ok(start) => start,
            Err(error) => {
                let (joints, during) = (BTreeSet::new(), BTreeSet::new());
                return Ok(Seen { outcome: Err(error.to_string()), epochs: None, joints, during });
            }
        };
        if start.recovered.is_suspect {
            return Err(format!("a crash was taken for damage: {:?}", start.recovered.warnings));
        }
        let last = start.recovered.last_zxid;
        if last != start.rebuilt.last && last.0 >= 0 {
            return Err(format!("recovery names {last} the last txn, and has shown {}", start.rebuilt.last));
        }
        let mut epochs = None;
        if self.setup.member {
            let read = epoch::read(disk, last).map_err(|e| format!("no start: {e}"))?;
            if read.accepted < read.current {
                return Err(format!("acceptedEpoch {} is older than currentEpoch {}", read.accepted, read.current));
            }
            epochs = Some((read.accepted.0, read.current.0));
        }
        let joints = joints(disk, last, &self.setup);
        Ok(Seen { outcome: Ok((last, start.rebuilt.link)), epochs, joints, during: BTreeSet::new() })
    }
}

/// Is the state a beginning of the history, with everything up to `floor`?
pub fn compare_history(last: Zxid, link: Link, history: &History, floor: Zxid) -> Result<(), String> {
    if last < floor {
        return Err(format!("txn {floor} was acknowledged, and the recovered state ends with {last}"));
    }
    match history.link(last) {
        None => Err(format!("the recovered state ends with {last}, which was not logged or was taken back")),
        Some(right) if right != link => Err(format!("the recovered state at {last} is another one than was logged")),
        Some(_) => Ok(()),
    }
}

/// Where files meet in what a leader with such a directory gives learners, whatever they have.
fn joints(disk: &VirtualDisk, last: Zxid, setup: &Setup) -> BTreeSet<(Zxid, Zxid)> {
    let logs = names::numbered(&disk.list(Dir::Log).unwrap_or_default(), names::LOG);
    let mut joints = BTreeSet::new();
    // Where there is but one, nothing can be missing between two.
    for from in logs.iter().map(|log| log.zxid).filter(|_| logs.len() > 1) {
        let Some(part) = node::read_log(disk, from, last, usize::MAX, &setup.recover) else { continue };
        let sent: Vec<Zxid> = std::iter::once(part.before).chain(part.proposals.iter().map(|it| it.zxid)).collect();
        let pairs = sent.iter().copied().zip(sent.iter().skip(1).copied());
        joints.extend(pairs.filter(|(_, next)| logs.iter().any(|log| log.zxid == *next)));
    }
    joints
}

/// Each log has its header and each snapshot is whole, whatever crash came: what other servers rely on.
fn purity(state: &VirtualDisk) -> Result<(), String> {
    for dir in [Dir::Log, Dir::Data] {
        for file in state.files(dir) {
            let bytes = state.bytes(&file).unwrap_or_default();
            match file.name {
                FileName::Log(_) if !bytes.starts_with(&HEADER) => {
                    return Err(format!("{file} has no whole header\n  left by the crash: {}", describe(state)));
                }
                FileName::Snapshot(_) => {
                    decode(bytes.as_slice(), 1 << 20, &mut Ignore).map_err(|e| format!("{file} is not whole: {e}"))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What a recovery cuts off at the operator's word, or because it is in the way, is kept: at each moment it stands in the log
/// still, or whole in a file of its own.
pub fn what_is_cut_is_kept(sabotage: &Sabotage) -> Result<Counts, String> {
    let (disk, setup, tail) = super::scenarios::suspect_tail();
    let mut recorder = Recorder { disk: disk.clone(), effects: Vec::new() };
    life::start(&mut recorder, &setup).map_err(|e| e.to_string())?;
    let mut disk = disk;
    let mut counts = Counts::default();
    for effect in sabotage.apply(Machine::Recovery, recorder.effects) {
        disk.execute(&effect).map_err(|e| e.to_string())?;
        counts.moments += 1;
        let covered = disk.for_each_crash(&mut Rng::new(1), &mut |state| {
            counts.states += 1;
            let is_there =
                state.files(Dir::Log).iter().filter(|file| !matches!(file.name, FileName::NextLog)).any(|file| {
                    state.bytes(file).is_some_and(|bytes| bytes.windows(tail.len()).any(|window| window == tail))
                });
            if is_there { Ok(()) } else { Err(format!("what was cut is lost: {}", describe(&state))) }
        })?;
        counts.sampled += u64::from(covered == Coverage::Sampled);
    }
    Ok(counts)
}

/// What a start has shown lasts from its end on, whoever had not synced it. Before that end a crash may leave a gap between logs,
/// and a start is refused for it.
pub fn what_was_read_lasts(sabotage: &Sabotage) -> Result<Counts, String> {
    let (disk, setup, history) = super::scenarios::never_synced();
    let mut recorder = Recorder { disk: disk.clone(), effects: Vec::new() };
    let shown = |disk: &mut dyn Disk| {
        let start = life::start(disk, &setup).map_err(|e| format!("no start: {e}"))?;
        Ok::<_, String>((start.recovered.last_zxid, start.rebuilt.link))
    };
    let (last, link) = shown(&mut recorder)?;
    compare_history(last, link, &history, history.last())?;
    let mut disk = disk;
    for effect in sabotage.apply(Machine::Recovery, recorder.effects) {
        disk.execute(&effect).map_err(|e| e.to_string())?;
    }
    let mut counts = Counts { moments: 1, ..Counts::default() };
    let covered = disk.for_each_crash(&mut Rng::new(1), &mut |state| {
        counts.states += 1;
        counts.recoveries += 1;
        match shown(&mut state.clone()) {
            Ok(found) if found == (last, link) => Ok(()),
            found => Err(format!("a start has shown {last}, and the next one {found:?}: {}", describe(&state))),
        }
    })?;
    counts.sampled = u64::from(covered == Coverage::Sampled);
    Ok(counts)
}

/// A purge is cut short at any moment, and then a leader takes back what came behind some txn, as far as that is possible: that
/// leads to the tree that this txn has made.
pub fn ways_back_behind_a_purge(sabotage: &Sabotage) -> Result<Counts, String> {
    let (mut disk, setup, history) = super::scenarios::two_epochs();
    let length_max = setup.recover.length_max;
    let plan = |disk: &VirtualDisk| {
        let files = purge::plan(disk, setup.retain, length_max, node_digest)?;
        purge::removal(disk, files, length_max)
    };
    let effects = sabotage.apply(Machine::Purge, plan(&disk).map_err(|e| e.to_string())?);
    let mut counts = Counts::default();
    for at in 0..=effects.len() {
        counts.moments += 1;
        let covered = disk.for_each_crash(&mut Rng::new(1), &mut |state| {
            counts.states += 1;
            for &(zxid, link) in history.between(Zxid(-1), history.last()) {
                let Ok(plan) = truncate::plan(&state, zxid, &setup.recover) else { continue };
                let mut state = state.clone();
                plan.effects.iter().try_for_each(|effect| state.execute(effect)).map_err(|e| e.to_string())?;
                let start = life::start(&mut state, &setup).map_err(|e| format!("no start: {e}"))?;
                counts.recoveries += 1;
                if (start.recovered.last_zxid, start.rebuilt.link) != (zxid, link) {
                    return Err(format!("a TRUNC to {zxid} leads to another tree: {}", describe(&state)));
                }
            }
            Ok(())
        })?;
        counts.sampled += u64::from(covered == Coverage::Sampled);
        if let Some(effect) = effects.get(at) {
            disk.execute(effect).map_err(|e| e.to_string())?;
        }
    }
    // From any state the newest txn at least can be gone back to, and most of the others before the purge.
    if counts.recoveries <= counts.states {
        return Err(format!("{} ways back in {} states: hardly any was possible", counts.recoveries, counts.states));
    }
    Ok(counts)
}

/// After a clean stop there are no zeros behind the last record, and no file of ours.
fn tidy_after_close(state: &VirtualDisk) -> Result<(), String> {
    let next = FileRef::new(Dir::Log, FileName::NextLog);
    if state.bytes(&next).is_some() {
        return Err("a clean stop has left ostler.next".to_owned());
    }
    let listing = state.list(Dir::Log).unwrap_or_default();
    let last = names::numbered(&listing, names::LOG).pop().map(|log| FileRef::new(Dir::Log, log.name));
    match last.and_then(|log| state.bytes(&log)).and_then(|bytes| bytes.last().copied()) {
        Some(0) => Err("a clean stop has left zeros behind the last record".to_owned()),
        _ => Ok(()),
    }
}

/// The files of a state, for people.
pub fn describe(state: &VirtualDisk) -> String {
    let mut out = Vec::new();
    for dir in if state.is_separate() { &[Dir::Data, Dir::Log][..] } else { &[Dir::Data] } {
        for file in state.files(*dir) {
            let bytes = state.bytes(&file).unwrap_or_default();
            let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            out.push(format!("{file} {used} of {} bytes", bytes.len()));
        }
    }
    out.join(", ")
}

/// A disk that keeps a list of what it was asked to do.
#[derive(Debug)]
struct Recorder {
    disk: VirtualDisk,
    effects: Vec<Effect>,
}

impl Disk for Recorder {
    fn is_separate(&self) -> bool {
        self.disk.is_separate()
    }
    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn open(&self, file: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
        self.disk.open(file)
    }
    fn execute(&mut self, effect: &Effect) -> io::Result<()> {
        self.effects.push(effect.clone());
        self.disk.execute(effect)
    }
}
