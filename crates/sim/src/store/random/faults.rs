//! What goes wrong in a random history, and when: faults of the next effect or of a start, the end of a life, what a power failure
//! leaves, damage at rest.

use std::hash::Hash;

use storage::epoch::EpochFile;
use storage::log::reader::{LogReader, Step};
use storage::log::record::HEADER_LENGTH;
use storage::names::FileName;
use storage::{Dir, Disk, Effect, FileRef};

use super::{Play, compare_history, is_in_doubt};
use crate::disk::{BadRead, Fault, Faults, SECTOR, VirtualDisk};
use crate::store::history::Data;
use crate::store::life::{self, Actor, Command, Life};
use crate::store::tally::Kind;

/// How many states of one power failure are looked at.
const DRAWS: u64 = 4;
/// How many effects the log may have before the write that is cut short.
const STEPS_TO_WRITE_MAX: usize = 60;

impl Play {
    /// Makes reading go wrong, or an effect of the recovery.
    pub(super) fn disturb_start(&mut self) -> bool {
        let mut is_disturbed = false;
        for (kind, per_mille) in [(Kind::ReadError, 300), (Kind::ReadRot, 300)] {
            if self.has(kind)
                && self.rng.chance(per_mille)
                && let Some((file, sectors)) = self.any_file()
            {
                let sector = self.rng.below(sectors);
                let bad = if kind == Kind::ReadError {
                    BadRead::Error { sector }
                } else {
                    let offset = sector * SECTOR as u64 + self.rng.below(SECTOR as u64);
                    BadRead::Flip { offset, mask: 1 << self.rng.below(8) }
                };
                self.count(kind);
                self.note(format!("{kind:?} of {file}: {bad:?}"));
                self.disk.faults.bad_read(file, bad);
                is_disturbed = true;
            }
        }
        for kind in [Kind::Error, Kind::SyncLost] {
            if self.has(kind) && self.rng.chance(200) {
                let number = self.disk.effects() + self.rng.below(5);
                let fault = if kind == Kind::Error { Fault::Error } else { Fault::SyncLost };
                self.disk.faults.at.insert(number, fault);
                self.count(kind);
                self.note(format!("{kind:?} in the recovery"));
                is_disturbed = true;
            }
        }
        is_disturbed
    }

    /// A log or a snapshot, and how many sectors it has.
    pub(super) fn any_file(&mut self) -> Option<(FileRef, u64)> {
        let mut files = self.disk.files(Dir::Log);
        if self.disk.is_separate() {
            files.extend(self.disk.files(Dir::Data));
        }
        files.retain(|file| matches!(file.name, FileName::Log(_) | FileName::Snapshot(_)));
        let file = self.rng.pick(&files)?.clone();
        let length = self.disk.length(&file).filter(|length| *length > 0)?;
        Some((file, length.div_ceil(SECTOR as u64)))
    }

    /// Makes the next effect go wrong, now and then.
    pub(super) fn disturb(&mut self, life: &mut Life, effect: &Effect) {
        if !self.rng.chance(self.rate) {
            return;
        }
        let Some(kind) = self.rng.pick(&self.kinds).copied() else { return };
        let is_sync = matches!(effect, Effect::Fdatasync(_) | Effect::Fsync(_));
        let number = life.disk.effects();
        let fault = match (kind, effect) {
            (Kind::Error, _) => Fault::Error,
            (Kind::ErrorPartly, Effect::WriteAt { bytes, .. }) => {
                Fault::ErrorPartly(self.rng.below(bytes.len() as u64 + 1))
            }
            (Kind::SyncLost, _) if is_sync => Fault::SyncLost,
            (Kind::Stall, _) => Fault::Stall(self.rng.between(1, 100_000)),
            // Somebody else has taken the last room, and gives it back at once.
            (Kind::Full, _) if self.rng.chance(300) => {
                life.room.is_unfair = true;
                Fault::NoSpace
            }
            (Kind::Full, _) => {
                life.disk.faults.capacity = Some(life.disk.used() + self.rng.below(3000));
                self.count(kind);
                self.note("the disk is full".to_owned());
                return;
            }
            (Kind::ReadOnly, _) => {
                life.disk.faults.read_only_from = Some(number);
                self.count(kind);
                self.note("the file system is read-only".to_owned());
                return;
            }
            (Kind::Misdirected, Effect::WriteAt { file, .. }) if matches!(file.name, FileName::Log(_)) => {
                std::mem::swap(&mut self.disk, &mut life.disk);
                let target = self.any_file();
                std::mem::swap(&mut self.disk, &mut life.disk);
                let Some((file, sectors)) = target else { return };
                self.damaged = true;
                self.lost_writes = true;
                Fault::Misdirected { file, sector: self.rng.below(sectors) }
            }
            _ => return,
        };
        self.count(kind);
        self.note(format!("{fault:?} for the next"));
        life.disk.faults.at.insert(number, fault);
    }

    /// The end of a process, also by a kill, cuts its writes short: a beginning of each is there.
    pub(super) fn is_killed(&mut self, life: &mut Life) {
        if life.is_over() || !self.rng.chance(500) {
            return;
        }
        for actor in [Actor::Log, Actor::Fill, Actor::Snapshot, Actor::Chore] {
            let Some(Effect::WriteAt { file, bytes, .. }) = life.next_effect(actor) else { continue };
            let length = self.rng.below(bytes.len() as u64 + 1);
            self.note(format!("{actor:?}: cut short at byte {length} of the write to {file}"));
            life.disk.faults.at.insert(life.disk.effects(), Fault::ErrorPartly(length));
            // An error, and the last thing that it does.
            let _ = life.step(actor);
            break;
        }
    }

    /// A txn behind the last one that is acknowledged, and the end of the process in its write, or behind it and before its sync.
    pub(super) fn writes_at_last(&mut self, life: &mut Life) {
        if life.is_over() {
            return;
        }
        let command = if self.rng.chance(700) {
            self.log_in_a_znode()
        } else {
            Command::Append(self.rng.below(3000) as usize, Data::Text)
        };
        // One that finds no room is none.
        let _ = life.begin(&command);
        for _ in 0..STEPS_TO_WRITE_MAX {
            life.take_work(Actor::Log);
            let is_last = life.memory.floor < life.memory.history.last();
            match life.next_effect(Actor::Log).cloned() {
                Some(Effect::WriteAt { file, offset, bytes }) if is_last && offset >= HEADER_LENGTH => {
                    let length = self.rng.below(bytes.len() as u64 + 1);
                    self.note(format!("cut short at byte {length} of {} of the write to {file}", bytes.len()));
                    life.disk.faults.at.insert(life.disk.effects(), Fault::ErrorPartly(length));
                    // An error, and the last thing that it does.
                    let _ = life.step(Actor::Log);
                    self.is_cut_short = true;
                    return;
                }
                Some(_) if life.step(Actor::Log).is_ok() => {}
                _ => return,
            }
        }
    }

    /// The length of the last acknowledged record becomes another one.
    fn rot_of_a_length(&mut self) {
        let floor = self.memory.floor;
        let found = self.disk.files(Dir::Log).into_iter().find_map(|file| {
            let bytes = self.disk.bytes(&file).filter(|_| matches!(file.name, FileName::Log(_)))?;
            let mut reader = LogReader::open(&bytes[..], self.setup.recover.length_max).ok()?.ok()?;
            while let Ok(Step::Record(record)) = reader.step() {
                if record.zxid == floor {
                    return Some((file, record.offset));
                }
            }
            None
        });
        let Some((file, offset)) = found else { return };
        // Most often one of those that give a length which may be one.
        let bit = if self.rng.chance(800) { self.rng.below(14) } else { self.rng.below(32) };
        let at = offset + 11 - bit / 8;
        let (sector, at) = (at / SECTOR as u64, (at % SECTOR as u64) as usize);
        self.disk.damage_sector(&file, sector, &mut |block| block[at] ^= 1 << (bit % 8));
        self.damaged = true;
        self.count(Kind::LengthRot);
        self.note(format!("bit {bit} of the length of txn {floor}, at byte {offset} of {file}, has changed"));
    }

    /// The process is gone, and sometimes the power too; then the disk may be damaged.
    pub(super) fn end_of_life(&mut self) -> Result<(), String> {
        if self.rng.chance(500) {
            self.disk.faults.capacity = None;
        }
        if self.disk.faults.capacity.is_some() && !self.has(Kind::Full) {
            self.disk.faults.capacity = None;
        }
        if self.rng.chance(600) {
            self.power_fails()?;
        } else {
            self.count(Kind::Kill);
            self.note("killed".to_owned());
            if self.has(Kind::Evict) && self.disk.has_lost_pages() && self.rng.chance(500) {
                self.count(Kind::Evict);
                self.note("clean pages are dropped".to_owned());
                self.disk.evict(&mut self.rng);
            }
        }
        if std::mem::take(&mut self.is_cut_short) {
            self.rot_of_a_length();
        }
        if self.has(Kind::EpochRot) && self.rng.chance(300) {
            self.rot_of_epochs();
        }
        for kind in [Kind::Rot, Kind::LostSector] {
            if self.has(kind)
                && self.rng.chance(300)
                && let Some((file, sectors)) = self.any_file()
            {
                let (sector, at, bit) = (self.rng.below(sectors), self.rng.below(512) as usize, self.rng.below(8));
                self.disk.damage_sector(&file, sector, &mut |block| {
                    if kind == Kind::Rot {
                        block[at] ^= 1 << bit;
                    } else {
                        block.fill(0);
                    }
                });
                self.damaged = true;
                self.lost_writes |= kind == Kind::LostSector;
                self.count(kind);
                self.note(format!("{kind:?} in sector {sector} of {file}"));
            }
        }
        Ok(())
    }

    /// An epoch file holds no number any more.
    fn rot_of_epochs(&mut self) {
        let file = *self.rng.pick(&[EpochFile::Accepted, EpochFile::Current]).unwrap_or(&EpochFile::Current);
        let file = FileRef::new(Dir::Data, FileName::parse(file.name()));
        let Some(mut bytes) = self.disk.bytes(&file).filter(|bytes| !bytes.is_empty()) else { return };
        let (at, mask) = (self.rng.below(bytes.len() as u64) as usize, 1 << self.rng.below(8));
        bytes[at] ^= mask;
        if self.rotten.is_some() || bytes.iter().all(u8::is_ascii_digit) {
            return;
        }
        self.disk.damage_sector(&file, 0, &mut |block| block[at] ^= mask);
        self.count(Kind::EpochRot);
        self.note(format!("{file} holds {bytes:?}"));
        self.rotten = Some((file, at, mask));
    }

    pub(super) fn power_fails(&mut self) -> Result<(), String> {
        self.count(Kind::Power);
        self.boot += 1;
        let before = self.disk.clone();
        // Several of the states that may be left are looked at; the history goes on with the last.
        for draw in 0..DRAWS {
            let mut left = before.clone();
            left.crash_random(&mut self.rng);
            if draw + 1 == DRAWS {
                self.tally.crash_states += 1;
                self.disk = left;
                break;
            }
            // What such a state must be is known only by what a start on it says, and one start is behind this.
            if self.damaged {
                continue;
            }
            self.tally.crash_states += 1;
            let mut disk = left.clone();
            disk.faults = Faults::default();
            match life::start(&mut disk, &self.knowing()) {
                Ok(start) => {
                    let (last, link) = (start.recovered.last_zxid, start.rebuilt.link);
                    if start.recovered.is_suspect {
                        return Err(format!("a crash is taken for damage: {:?}", start.recovered.warnings));
                    }
                    compare_history(last, link, &self.memory.history, self.memory.floor)?;
                }
                Err(error) if is_in_doubt(&left, &error) => self.tally.in_doubt += 1,
                Err(error) => return Err(format!("no start after a crash: {error}")),
            }
        }
        self.note("the power fails".to_owned());
        if self.has(Kind::TornSector) && self.rng.chance(500) {
            self.tear(before);
        }
        self.disk.state_hash().hash(&mut self.trace);
        Ok(())
    }

    /// Tears a sector that was being written.
    fn tear(&mut self, before: VirtualDisk) {
        let mut other = before;
        other.crash_random(&mut self.rng);
        let mut torn: Vec<(FileRef, u64)> = Vec::new();
        for file in self.disk.files(Dir::Log) {
            let sectors = self.disk.length(&file).unwrap_or(0).div_ceil(SECTOR as u64);
            let differs = |number: &u64| self.disk.sector(&file, *number) != other.sector(&file, *number);
            if other.length(&file).is_some() {
                torn.extend((0..sectors).filter(differs).map(|number| (file.clone(), number)));
            }
        }
        if let Some((file, sector)) = self.rng.pick(&torn).cloned() {
            let keep = self.rng.below(SECTOR as u64) as usize;
            self.disk.tear(&other, &file, sector, keep);
            self.count(Kind::TornSector);
            self.note(format!("sector {sector} of {file} is torn at {keep}"));
            self.damaged = true;
        }
    }
}
