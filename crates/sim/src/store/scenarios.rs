//! What a server does with its directory, in pieces so small that every crash of each can be produced.

use storage::disk::{Dir, Disk, Effect, FileRef};
use storage::epoch::EpochFile;
use storage::log::record::{HEADER, encode};
use storage::names::FileName;
use storage::{Bulk, LogOptions, RecoverOptions};
use wire::Zxid;

use super::explore::Scenario;
use super::history::{Data, History, entry, snapshot};
use super::life::{Command, EpochState, Memory, Setup};
use crate::disk::{Fault, VirtualDisk};

use Command::{Append, Close, NewEpoch, Purge, Roll, SnapSync, Snapshot, Truncate, Wait, WriteEpoch};

const SMALL: Command = Append(10, Data::Text);
/// A record of three sectors, one of which holds nothing but its data.
const LONG: Command = Append(1300, Data::Text);
const ZEROS: Command = Append(1300, Data::Zeros);

/// All of them.
pub fn all() -> Vec<Scenario> {
    let mut all = vec![first_start(), append_batch(false), append_batch(true), long_records(), growing(), allocated()];
    all.push(logs_in_znodes());
    all.extend([roll(), snapshots(), purge(), purge_behind_a_gap(), truncation(), truncation_of_files()]);
    all.extend([snap_sync(), snap_sync_back()]);
    all.extend([epoch_change(), new_epoch(), close(), start_after_a_crash(), start_after_a_failed_sync()]);
    all.push(apache_left_no_header());
    all
}

fn settled(name: &'static str, setup: Setup, txns: i64, script: Vec<Command>) -> Scenario {
    let separate = true;
    let (disk, history) = directory(separate, &[txns], &[0]);
    let floor = history.last();
    let epoch = EpochState { done: 0, next: None };
    let memory = Memory { history, floor, accepted: epoch, current: epoch, closed: false };
    Scenario { name, setup, disk, memory, is_pure: true, script }
}

/// A directory as a clean stop leaves it: a log file of so many txns for each of `logs`, snapshots at these zxids.
pub fn directory(separate: bool, logs: &[i64], snapshots: &[i64]) -> (VirtualDisk, History) {
    let mut disk = VirtualDisk::new(separate);
    let mut history = History::default();
    let put_snapshots = |disk: &mut VirtualDisk, history: &History| {
        let zxid = history.last();
        if let Some(link) = history.link(zxid).filter(|_| snapshots.contains(&zxid.0)) {
            disk.put(&FileRef::snapshot(zxid), &snapshot(zxid, link, 100));
        }
    };
    put_snapshots(&mut disk, &history);
    for txns in logs.iter().filter(|txns| **txns > 0) {
        let first = history.last().next();
        let mut bytes = HEADER.to_vec();
        for _ in 0..*txns {
            let zxid = history.last().next();
            let blob = entry(zxid, 20, Data::Text);
            encode(&blob, &mut bytes);
            history.push(zxid, &blob);
            put_snapshots(&mut disk, &history);
        }
        disk.put(&FileRef::log(first), &bytes);
    }
    (disk, history)
}

/// An empty directory that somebody has declared to be a new database.
fn first_start() -> Scenario {
    let mut scenario = settled("first start", Setup::default(), 0, vec![SMALL]);
    let mut disk = VirtualDisk::new(true);
    disk.put(&FileRef::new(Dir::DataParent, FileName::Initialize), b"");
    scenario.disk = disk;
    scenario
}

fn append_batch(preallocate: bool) -> Scenario {
    let mut setup = Setup::default();
    let name = if preallocate { "append, filled ahead" } else { "append, growing" };
    if !preallocate {
        setup.log.preallocate = 0;
    }
    settled(name, setup, 2, vec![SMALL, SMALL, Append(600, Data::Text), SMALL])
}

/// Batches in which a sector can be missing from the middle of a record, with whole records behind.
fn long_records() -> Scenario {
    let log = LogOptions { preallocate: 0, batch_bytes: 4000, batch_txns: 0, ..LogOptions::default() };
    let setup = Setup { log, ..Setup::default() };
    settled("long records in a batch", setup, 1, vec![SMALL, LONG, SMALL, ZEROS, SMALL])
}

/// The same, where data are pieces of a log.
fn logs_in_znodes() -> Scenario {
    let log = LogOptions { preallocate: 0, batch_bytes: 4000, batch_txns: 0, ..LogOptions::default() };
    let setup = Setup { log, ..Setup::default() };
    // The record of the next txn, behind what ends one, and in a sector that may be there while the next ones are lost.
    let script = vec![SMALL, Append(1300, Data::Log(870)), SMALL, Append(900, Data::Log(1)), SMALL];
    settled("logs in znodes", setup, 1, script)
}

/// A filled file that is used up goes on growing for a while.
fn growing() -> Scenario {
    let mut setup = Setup::default();
    setup.log.preallocate = 1024;
    settled("a filled file is used up", setup, 0, vec![Append(700, Data::Text), Append(700, Data::Text), SMALL])
}

/// Large batches: the next file is allocated. Then small ones: a filled one takes its place.
fn allocated() -> Scenario {
    let mut setup = Setup::default();
    setup.log.bulk = Bulk { bytes: 500, batches: 1 };
    let mut script = vec![Append(1400, Data::Text), Wait, Append(600, Data::Text), Wait];
    script.extend([SMALL, Wait, SMALL, Wait, SMALL]);
    settled("large batches, then small ones", setup, 1, script)
}

fn roll() -> Scenario {
    let mut setup = Setup::default();
    setup.log.preallocate = 1024;
    settled("log roll", setup, 1, vec![SMALL, Roll, SMALL, Roll, SMALL])
}

fn snapshots() -> Scenario {
    let mut setup = Setup { snapshot_bytes: 700, snapshot_chunks: 2, ..Setup::default() };
    setup.log.preallocate = 0;
    settled("snapshots", setup, 1, vec![SMALL, Snapshot, SMALL, Snapshot, SMALL])
}

/// What was there before three snapshots goes; each of them, and the logs behind, must be there for good.
fn purge() -> Scenario {
    let mut setup = Setup { snapshot_bytes: 100, ..Setup::default() };
    setup.log.preallocate = 0;
    let script = vec![SMALL, Wait, Snapshot, SMALL, Wait, Snapshot, SMALL, Wait, Snapshot, Wait, Purge, SMALL];
    settled("purge", setup, 1, script)
}

/// A crash has left an older log beside a snapshot of the leader's, three txns ahead; then an epoch has begun. What goes must not
/// come back without that snapshot, which alone shows that txns are missing there.
fn purge_behind_a_gap() -> Scenario {
    let setup = Setup { snapshot_bytes: 100, ..Setup::default() };
    let mut scenario = settled("purge of what an installation has left", setup, 0, vec![Purge, NewEpoch, SMALL]);
    let (mut disk, mut history) = directory(true, &[2], &[0]);
    for zxid in 3..=5 {
        history.push(Zxid(zxid), &entry(Zxid(zxid), 20, Data::Text));
    }
    let mut log = HEADER.to_vec();
    for zxid in [Zxid(5), Zxid(1 << 32 | 1), Zxid(1 << 32 | 2), Zxid(1 << 32 | 3)] {
        if zxid.epoch().0 > 0 {
            let blob = entry(zxid, 20, Data::Text);
            encode(&blob, &mut log);
            history.push(zxid, &blob);
        }
        if let Some(link) = history.link(zxid) {
            disk.put(&FileRef::snapshot(zxid), &snapshot(zxid, link, 100));
        }
    }
    disk.put(&FileRef::log(Zxid(1 << 32 | 1)), &log);
    scenario.memory.floor = history.last();
    scenario.memory.history = history;
    scenario.disk = disk;
    scenario
}

/// Back inside one file, with a snapshot that holds too much.
fn truncation() -> Scenario {
    let mut scenario = settled("truncation", Setup::default(), 0, vec![Truncate(3), NewEpoch, SMALL]);
    let (disk, history) = directory(true, &[4, 2], &[0, 5]);
    scenario.memory.floor = history.last();
    scenario.memory.history = history;
    scenario.disk = disk;
    scenario
}

/// Several files and snapshots go.
fn truncation_of_files() -> Scenario {
    let mut scenario = settled("truncation of whole files", Setup::default(), 0, vec![Truncate(5), NewEpoch, SMALL]);
    let (disk, history) = directory(true, &[2, 2, 2, 1], &[0, 3, 5, 6]);
    scenario.memory.floor = history.last();
    scenario.memory.history = history;
    scenario.disk = disk;
    scenario
}

fn snap_sync() -> Scenario {
    let mut setup = Setup::default();
    setup.log.preallocate = 0;
    settled("SNAP from a leader", setup, 2, vec![SMALL, Wait, SnapSync(3), SMALL])
}

/// It takes back what this server alone has.
fn snap_sync_back() -> Scenario {
    let script = vec![SnapSync(-3), NewEpoch, SMALL];
    let mut scenario = settled("SNAP that takes txns back", Setup::default(), 0, script);
    let (disk, history) = directory(true, &[2, 2, 1, 1], &[0, 5]);
    scenario.memory.floor = history.last();
    scenario.memory.history = history;
    scenario.disk = disk;
    scenario
}

/// A learner goes from epoch 1 to 3, and is told a history that has txns of epoch 2.
fn epoch_change() -> Scenario {
    let mut setup = Setup { member: true, ..Setup::default() };
    setup.log.preallocate = 0;
    let mut script = vec![WriteEpoch(EpochFile::Accepted, 1), WriteEpoch(EpochFile::Current, 1), NewEpoch, SMALL, Wait];
    script.extend([WriteEpoch(EpochFile::Accepted, 3), NewEpoch, SMALL, SMALL, Wait]);
    script.extend([WriteEpoch(EpochFile::Current, 3), NewEpoch, SMALL]);
    let mut scenario = settled("epoch change", setup, 1, script);
    for file in [EpochFile::Accepted, EpochFile::Current] {
        scenario.disk.put(&FileRef::new(Dir::Data, FileName::parse(file.name())), b"0");
    }
    scenario
}

/// The log of a standalone server whose epoch changes while files are left and begun.
fn new_epoch() -> Scenario {
    let mut setup = Setup::default();
    setup.log.preallocate = 1024;
    settled("a new epoch in the log", setup, 1, vec![SMALL, NewEpoch, Roll, SMALL, NewEpoch, SMALL])
}

fn close() -> Scenario {
    let mut setup = Setup::default();
    setup.log.preallocate = 1024;
    settled("clean stop", setup, 0, vec![SMALL, Roll, SMALL, Wait, Close])
}

/// What a crash left of a batch, found by a server that does without a snapshot for long.
fn start_after_a_crash() -> Scenario {
    let mut scenario = settled("start after a crash", Setup::default(), 0, vec![SMALL]);
    let (mut disk, history) = directory(true, &[2], &[0]);
    let file = FileRef::log(Zxid(1));
    let mut bytes = disk.bytes(&file).unwrap_or_default();
    // A batch of two long records: the end of the first is missing.
    for zxid in [3, 4] {
        encode(&entry(Zxid(zxid), 600, Data::Text), &mut bytes);
    }
    bytes[512..1024].fill(0);
    bytes.resize(4096, 0);
    disk.put(&file, &bytes);
    disk.put(&FileRef::new(Dir::Log, FileName::NextLog), &bytes[..700]);
    disk.put(&FileRef::new(Dir::Data, FileName::SnapshotTemp), b"ZKSN");
    scenario.memory.floor = history.last();
    scenario.memory.history = history;
    scenario.disk = disk;
    scenario
}

/// The last batch of a process whose sync failed: the cache shows it, and no sync will ever write it.
fn start_after_a_failed_sync() -> Scenario {
    let mut scenario = settled("start after a failed sync", Setup::default(), 2, vec![SMALL]);
    let (file, disk) = (FileRef::log(Zxid(1)), &mut scenario.disk);
    let zxid = Zxid(3);
    let (mut bytes, blob) = (Vec::new(), entry(zxid, 700, Data::Text));
    encode(&blob, &mut bytes);
    let offset = disk.length(&file).unwrap_or(0);
    disk.faults.at.insert(1, Fault::SyncLost);
    for effect in [Effect::WriteAt { file: file.clone(), offset, bytes }, Effect::Fdatasync(file)] {
        // The second is to fail.
        let _ = disk.execute(&effect);
    }
    disk.faults.at.clear();
    scenario.memory.history.push(zxid, &blob);
    scenario
}

/// A crash of Apache's between a file's creation and its header.
fn apache_left_no_header() -> Scenario {
    let mut scenario = settled("a log without a header", Setup::default(), 2, vec![NewEpoch, SMALL]);
    scenario.disk.put(&FileRef::log(Zxid(3)), b"ZK");
    scenario.is_pure = false;
    scenario
}

/// What a kill leaves of a server without forceSync, or of Apache's between a new log and the sync of the one before: all can be
/// read, and of a snapshot, an older log and the newest one nothing but their names is on the medium.
pub fn never_synced() -> (VirtualDisk, Setup, History) {
    let (ideal, history) = directory(true, &[1, 2, 2], &[1]);
    let mut disk = VirtualDisk::new(true);
    for dir in [Dir::Data, Dir::Log] {
        for file in ideal.files(dir) {
            let bytes = ideal.bytes(&file).unwrap_or_default();
            for effect in [Effect::Create(file.clone()), Effect::WriteAt { file: file.clone(), offset: 0, bytes }] {
                // There is room, and nothing goes wrong.
                let _ = disk.execute(&effect);
            }
        }
        let _ = disk.execute(&Effect::FsyncDir(dir));
    }
    (disk, Setup::default(), history)
}

/// Two epochs, of which the older one ends behind its newest snapshot and the younger one has as many snapshots as a purge leaves:
/// the first of them is not at its first txn.
pub fn two_epochs() -> (VirtualDisk, Setup, History) {
    let (mut disk, mut history) = directory(true, &[2, 2], &[0, 3]);
    let setup = Setup::default();
    let later = |counter: usize| Zxid(1 << 32 | counter as i64);
    let mut bytes = HEADER.to_vec();
    for counter in 1..=setup.retain + 1 {
        let txn = entry(later(counter), 20, Data::Text);
        encode(&txn, &mut bytes);
        history.push(later(counter), &txn);
    }
    disk.put(&FileRef::log(later(1)), &bytes);
    for zxid in (2..=setup.retain + 1).map(later) {
        if let Some(link) = history.link(zxid) {
            disk.put(&FileRef::snapshot(zxid), &snapshot(zxid, link, 100));
        }
    }
    (disk, setup, history)
}

/// A suspect tail that the operator gives up: the disk, the setup, and the bytes that are to be kept.
pub fn suspect_tail() -> (VirtualDisk, Setup, Vec<u8>) {
    let (mut disk, _) = directory(true, &[2], &[0]);
    let file = FileRef::log(Zxid(1));
    let mut bytes = disk.bytes(&file).unwrap_or_default();
    let from = bytes.len();
    encode(&entry(Zxid(3), 700, Data::Text), &mut bytes);
    bytes[from + 60] ^= 4;
    let tail = bytes[from..].to_vec();
    disk.put(&file, &bytes);
    let recover = RecoverOptions { accept_suspect_tail: true, ..RecoverOptions::default() };
    (disk, Setup { recover, ..Setup::default() }, tail)
}
