//! Every (log, target) pair: what is left is exactly the history up to the target, whatever crash comes between.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use common::*;
use ostler_storage::disk::{Dir, Disk, FileRef};
use ostler_storage::log::record::{HEADER, encode};
use ostler_storage::log::truncate::{TruncateError, plan};
use ostler_storage::recover::RecoverOptions;
use ostler_storage::snapshot::SnapshotDigest;
use ostler_storage::snapshot::encode::SnapshotEncoder;
use sim::VirtualDisk;
use wire::{StatPersisted, Zxid};

/// A snapshot that was ended at `last`.
fn snapshot(last: i64) -> Vec<u8> {
    let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
    encoder.begin([].into_iter(), [].into_iter(), &mut out);
    encoder.node("", None, -1, &StatPersisted::default(), &mut out);
    let digest = SnapshotDigest { zxid: Zxid(last), version: 2, digest: 0 };
    encoder.finish(Some(digest), Some(Zxid(last)), &mut out);
    out
}

/// Txns 1 to 12 in three files with zeros behind; snapshots 0, 4 (which reaches to 6) and 9.
fn disk() -> VirtualDisk {
    let mut disk = VirtualDisk::new(true);
    for (zxid, last) in [(0, 0), (4, 6), (9, 9)] {
        disk.put(&FileRef::snapshot(Zxid(zxid)), &snapshot(last));
    }
    for first in [1, 5, 9] {
        let mut log = HEADER.to_vec();
        for zxid in first..first + 4 {
            encode(&entry(Zxid(zxid), 20, 1), &mut log);
        }
        log.resize(log.len() + 300, 0);
        disk.put(&FileRef::log(Zxid(first)), &log);
    }
    disk
}

#[test]
fn to_each_txn_with_a_crash_at_each_effect() {
    for target in 0..=12i64 {
        let effects = plan(&disk(), Zxid(target), &RecoverOptions::default()).unwrap().effects;
        for crash_at in 0..=effects.len() {
            for survives in [false, true] {
                let mut disk = disk();
                run(&mut disk, &effects[..crash_at]);
                disk.crash_torn(&mut || survives);
                let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
                let (last, base) = (found.last_zxid.0, memory.snapshot.unwrap().0.0);
                assert_eq!(memory.zxids(), (base + 1..=last).collect::<Vec<_>>());
                assert!((target..=12).contains(&last), "to {target}, crash at {crash_at}: {last}");
                if crash_at == effects.len() {
                    assert_eq!((last, found.warnings), (target, Vec::new()));
                    assert!(base <= target && (base != 4 || target >= 6), "it holds txn 6");
                }
            }
        }
    }
}

#[test]
fn to_a_snapshot_whose_txn_is_not_in_the_log() {
    let mut disk = disk();
    disk.execute(&ostler_storage::Effect::Remove(FileRef::log(Zxid(5)))).unwrap();
    disk.put(&FileRef::snapshot(Zxid(8)), &snapshot(8));
    let effects = plan(&disk, Zxid(8), &RecoverOptions::default()).unwrap().effects;
    run(&mut disk, &effects);
    let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!((found.last_zxid, memory.zxids()), (Zxid(8), vec![]));
}

#[test]
fn not_to_what_is_not_there() {
    let error = plan(&disk(), Zxid(13), &RecoverOptions::default()).unwrap_err();
    assert!(matches!(error, TruncateError::NotThere { .. }), "{error}");
    let mut disk = disk();
    disk.execute(&ostler_storage::Effect::Remove(FileRef::snapshot(Zxid(0)))).unwrap();
    let error = plan(&disk, Zxid(5), &RecoverOptions::default()).unwrap_err();
    assert!(matches!(error, TruncateError::NoSnapshotBefore { .. }), "{error}");
    assert_eq!(disk.names(Dir::Log).len(), 3);
}

#[test]
fn back_over_a_snapshot_from_a_leader_with_a_crash_at_each_effect() {
    // Txns 7 to 9 came with the snapshot and are in no log.
    let from_leader = || {
        let mut disk = VirtualDisk::new(true);
        disk.put(&FileRef::snapshot(Zxid(0)), &snapshot(0));
        disk.put(&FileRef::snapshot(Zxid(9)), &snapshot(9));
        for (first, last) in [(1, 3), (4, 6), (10, 11), (12, 13)] {
            let mut log = HEADER.to_vec();
            for zxid in first..=last {
                encode(&entry(Zxid(zxid), 20, 1), &mut log);
            }
            disk.put(&FileRef::log(Zxid(first)), &log);
        }
        disk
    };
    for target in [2, 5, 6, 9, 10, 12] {
        let effects = plan(&from_leader(), Zxid(target), &RecoverOptions::default()).unwrap().effects;
        for crash_at in 0..=effects.len() {
            // Of the removals that were not synced any may have happened.
            for luck in 0..16 {
                let mut disk = from_leader();
                run(&mut disk, &effects[..crash_at]);
                let mut bits = luck;
                disk.crash_torn(&mut || {
                    bits >>= 1;
                    bits & 1 == 1
                });
                let (found, _) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
                assert!((target..=13).contains(&found.last_zxid.0), "to {target}: {}", found.last_zxid);
                assert!(crash_at < effects.len() || found.last_zxid.0 == target);
            }
        }
    }
}

#[test]
fn a_log_of_which_nothing_is_left_goes() {
    // What came before each of the two snapshots is in no log: a leader has sent them.
    let mut from_leader = VirtualDisk::new(true);
    for zxid in [0, 7, 9] {
        from_leader.put(&FileRef::snapshot(Zxid(zxid)), &snapshot(zxid));
    }
    for (first, last) in [(1, 3), (10, 11), (12, 13)] {
        let mut log = HEADER.to_vec();
        for zxid in first..=last {
            encode(&entry(Zxid(zxid), 20, 1), &mut log);
        }
        from_leader.put(&FileRef::log(Zxid(first)), &log);
    }
    let effects = plan(&from_leader, Zxid(7), &RecoverOptions::default()).unwrap().effects;
    let went_on = RecoverOptions { went_on: true, ..RecoverOptions::default() };
    for killed_at in 0..=effects.len() {
        let mut disk = from_leader.clone();
        run(&mut disk, &effects[..killed_at]);
        let (found, _) = recovered(&mut disk, &went_on).unwrap();
        assert!((7..=13).contains(&found.last_zxid.0), "{}", found.last_zxid);
    }
    run(&mut from_leader, &effects);
    assert_eq!(from_leader.names(Dir::Log), ["log.1"], "its name is that of a txn that it does not hold");
}
