//! Snapshots: round trips, every truncation and changed byte, falling back, the decision what a directory is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;

use common::*;
use ostler_storage::disk::{Dir, Disk, Effect, FileRef};
use ostler_storage::log::dir::ReadLogError;
use ostler_storage::log::record::{HEADER, encode};
use ostler_storage::names::FileName;
use ostler_storage::purge;
use ostler_storage::recover::{Fit, Origin, RecoverError, RecoverOptions, Restore, recover};
use ostler_storage::snapshot::SnapshotDigest;
use ostler_storage::snapshot::decode::{LoadSnapshotError, SnapshotVisitor, decode};
use ostler_storage::snapshot::write::SnapshotWriter;
use proptest::prelude::*;
use sim::VirtualDisk;
use wire::jute::Buffer;
use wire::txn::TxnEntry;
use wire::{AclVec, SessionId, StatPersisted, Zxid};

/// Writes down what it is shown.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen(Vec<String>);

impl SnapshotVisitor for Seen {
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.0.push(format!("{session} {timeout_ms}"));
    }
    fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        self.0.push(format!("{id} {:?}", acl.decode()));
    }
    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String> {
        self.0.push(format!("{path} {data:?} {acl_id} {stat:?}"));
        Ok(())
    }
}

/// Gives one byte at a time.
struct Drip<'a>(&'a [u8]);

impl std::io::Read for Drip<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.len().min(out.len()).min(1);
        out[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

#[test]
fn every_layout_is_told_by_its_length() {
    for (digest, last) in [(false, false), (true, false), (false, true), (true, true)] {
        let bytes = snapshot_bytes(5, digest, last);
        let mut seen = Seen::default();
        let end = decode(bytes.as_slice(), 1000, &mut seen).unwrap();
        assert_eq!((end.nodes, end.bytes), (5, bytes.len() as u64));
        let expected = SnapshotDigest { zxid: Zxid(9), version: 2, digest: -5 };
        assert_eq!((end.digest, end.last_processed), (digest.then_some(expected), last.then_some(Zxid(9))));
        assert_eq!(seen.0.len(), 2 + 2 + 5);
        let mut dripped = Seen::default();
        assert_eq!(decode(Drip(&bytes), 1000, &mut dripped).unwrap(), end);
        assert_eq!(seen, dripped);
    }
}

#[test]
fn the_digest_of_3_5_was_a_string() {
    let mut bytes = snapshot_bytes(2, false, false);
    bytes.extend_from_slice(&[&9i64.to_be_bytes()[..], &1i32.to_be_bytes(), &4i32.to_be_bytes(), b"00ff"].concat());
    let sum = i64::from(simd_adler32::adler32(&bytes.as_slice()));
    bytes.extend_from_slice(&[&sum.to_be_bytes()[..], b"\0\0\0\x01/"].concat());
    let end = decode(bytes.as_slice(), 1000, &mut Seen::default()).unwrap();
    assert_eq!(end.digest, Some(SnapshotDigest { zxid: Zxid(9), version: 1, digest: 255 }));
}

#[test]
fn every_truncation_and_every_changed_byte_is_found() {
    for (digest, last) in [(false, false), (true, false), (false, true), (true, true)] {
        let bytes = snapshot_bytes(6, digest, last);
        // Ends of the sections are ends of older layouts: whole snapshots.
        let ends: Vec<usize> =
            [(false, false), (digest, false)].map(|(digest, last)| snapshot_bytes(6, digest, last).len()).to_vec();
        for length in 0..bytes.len() {
            let read = decode(&bytes[..length], 1000, &mut Seen::default());
            assert_eq!(read.is_ok(), ends.contains(&length), "cut at {length}: {read:?}");
        }
        for at in 0..bytes.len() {
            for mask in [1, 0x10, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= mask;
                let read = decode(bytes.as_slice(), 1000, &mut Seen::default());
                assert!(read.is_err(), "byte {at} changed by {mask:#x}");
            }
        }
        let longer = [&bytes[..], b"\0"].concat();
        assert!(decode(longer.as_slice(), 1000, &mut Seen::default()).is_err());
    }
}

#[test]
fn limits_and_broken_utf8() {
    let bytes = snapshot_bytes(7, true, true);
    let error = decode(bytes.as_slice(), 5, &mut Seen::default()).unwrap_err();
    assert!(matches!(error, LoadSnapshotError::Length { .. }), "{error}");
    let error = decode(b"ZKSX\0\0\0\x02".as_slice(), 5, &mut Seen::default()).unwrap_err();
    assert!(matches!(error, LoadSnapshotError::Magic(_)), "{error}");
}

#[test]
fn falls_back_to_an_older_snapshot_and_says_why() {
    let mut disk = VirtualDisk::new(true);
    let whole = snapshot_bytes(4, true, true);
    let mut broken = whole.clone();
    broken[100] ^= 1;
    let mut log = HEADER.to_vec();
    for zxid in 3..=8 {
        encode(&entry(Zxid(zxid), 9, 1), &mut log);
    }
    disk.put(&FileRef::snapshot(Zxid(2)), &whole);
    disk.put(&FileRef::snapshot(Zxid(5)), &broken);
    disk.put(&FileRef::snapshot(Zxid(6)), &whole[..60]);
    disk.put(&FileRef::new(Dir::Data, FileName::parse("snapshot.7.gz")), b"\x1f\x8b");
    disk.put(&FileRef::log(Zxid(3)), &log);
    let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!((found.last_zxid, memory.zxids()), (Zxid(8), vec![3, 4, 5, 6, 7, 8]));
    assert_eq!((memory.nodes.len(), memory.sessions.len()), (4, 2), "nothing is left of those that failed");
    assert_eq!(found.warnings.len(), 3, "{:?}", found.warnings);
    assert!(!found.is_suspect, "the logs make up for them");

    // The logs end before one that was there.
    disk.put(&FileRef::snapshot(Zxid(9)), &broken);
    let error = recovered(&mut disk, &RecoverOptions::default()).unwrap_err();
    assert!(matches!(error, RecoverError::EndsBeforeSnapshot { last: Zxid(8), zxid: Zxid(9), .. }), "{error}");
    let accept = RecoverOptions { accept_suspect_tail: true, ..RecoverOptions::default() };
    let (found, _) = recovered(&mut disk.clone(), &accept).unwrap();
    assert!(found.is_suspect && found.last_zxid == Zxid(8));

    disk.execute(&Effect::Remove(FileRef::snapshot(Zxid(9)))).unwrap();
    disk.execute(&Effect::Remove(FileRef::snapshot(Zxid(2)))).unwrap();
    let error = recovered(&mut disk, &RecoverOptions::default()).unwrap_err();
    let RecoverError::NoSnapshot { tried } = &error else { panic!("{error}") };
    assert_eq!(tried.len(), 3);
}

#[test]
fn a_digest_older_than_the_name_is_dropped() {
    for (zxid, kept) in [(9, true), (10, false)] {
        let mut disk = VirtualDisk::new(false);
        disk.put(&FileRef::snapshot(Zxid(zxid)), &snapshot_bytes(4, true, false));
        let (_, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
        assert_eq!(memory.snapshot.unwrap().1.is_some(), kept);
    }
}

#[test]
fn what_an_empty_directory_is() {
    let no = RecoverOptions { autocreate: false, ..RecoverOptions::default() };
    let mut disk = VirtualDisk::new(true);
    let (found, _) = recovered(&mut disk, &no).unwrap();
    assert_eq!((found.origin, found.last_zxid), (Origin::Nothing, Zxid(-1)));
    for dir in [Dir::LogParent, Dir::DataParent] {
        disk.put(&FileRef::new(dir, FileName::Initialize), b"");
        let (found, _) = recovered(&mut disk, &no).unwrap();
        assert_eq!((found.origin, found.last_zxid), (Origin::New, Zxid(0)));
        // Until the first snapshot is durable a crash must not make it a directory that has lost its state.
        assert_eq!(recovered(&mut disk, &no).unwrap().0.origin, Origin::New);
        run(&mut disk, &found.when_begun);
        assert!(disk.names(dir).is_empty());
    }
    // With a database it means nothing, and goes.
    let mut begun = disk.clone();
    begun.put(&FileRef::snapshot(Zxid(0)), &snapshot_bytes(1, true, true));
    begun.put(&FileRef::new(Dir::LogParent, FileName::Initialize), b"");
    assert!(recovered(&mut begun, &no).unwrap().0.when_begun.is_empty());
    assert!(begun.names(Dir::LogParent).is_empty());
    // A first snapshot that a crash tore is none; the same with txns behind it is one that is missing.
    disk.put(&FileRef::snapshot(Zxid(0)), b"ZKSN");
    assert_eq!(recovered(&mut disk, &no).unwrap().0.origin, Origin::Nothing);
    let mut log = HEADER.to_vec();
    encode(&entry(Zxid(1), 9, 1), &mut log);
    disk.put(&FileRef::log(Zxid(1)), &log);
    assert!(matches!(recovered(&mut disk, &no), Err(RecoverError::NoSnapshot { .. })));
}

#[test]
fn logs_without_a_snapshot() {
    let mut disk = VirtualDisk::new(false);
    let mut log = HEADER.to_vec();
    encode(&entry(Zxid(1), 9, 1), &mut log);
    disk.put(&FileRef::log(Zxid(1)), &log);
    let error = recovered(&mut disk, &RecoverOptions::default()).unwrap_err();
    assert!(matches!(error, RecoverError::SnapshotMissing { .. }), "{error}");
    let trust = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
    let (found, memory) = recovered(&mut disk, &trust).unwrap();
    assert_eq!((found.origin, memory.zxids()), (Origin::LogsOnly, vec![1]));
    // A log that holds no txn is no log.
    disk.put(&FileRef::log(Zxid(1)), &HEADER);
    assert_eq!(recovered(&mut disk, &RecoverOptions::default()).unwrap().0.origin, Origin::New);
}

#[test]
fn files_in_the_wrong_directory() {
    let mut disk = VirtualDisk::new(true);
    disk.put(&FileRef::new(Dir::Data, FileName::Log(Zxid(1))), &HEADER);
    let error = recovered(&mut disk, &RecoverOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with("log.1 is in the snapshot directory"), "{error}");
}

#[test]
fn a_crash_at_any_effect_of_a_snapshot_leaves_all_or_nothing() {
    let bytes = snapshot_bytes(50, true, true);
    let mut writer = SnapshotWriter::new(Zxid(9), true);
    let mut effects = writer.start();
    for chunk in bytes.chunks(700) {
        effects.extend(writer.chunk(chunk.to_vec()));
    }
    effects.extend(writer.finish());
    for crash_at in 0..=effects.len() {
        for luck in 0..8u32 {
            let mut disk = VirtualDisk::new(false);
            run(&mut disk, &effects[..crash_at]);
            let mut state = luck;
            disk.crash_torn(&mut || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                luck > 0 && state >> 31 == 1
            });
            let (found, _) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
            match found.origin {
                Origin::New => assert!(crash_at < effects.len()),
                Origin::Snapshot { zxid: Zxid(9), nodes: 50, .. } => {}
                other => panic!("{other:?}"),
            }
            assert!(disk.names(Dir::Data).iter().all(|name| name == "snapshot.9"));
        }
    }
}

/// What each znode adds to the digest of such trees as there are here.
fn one(_: &str, _: Option<&[u8]>, _: &StatPersisted) -> u32 {
    1
}

/// A snapshot of so many znodes, with the digest that it says.
fn snapshot_with_digest(zxid: i64, nodes: usize, digest: SnapshotDigest) -> Vec<u8> {
    use ostler_storage::snapshot::encode::SnapshotEncoder;
    let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
    encoder.begin([].into_iter(), [].into_iter(), &mut out);
    for i in 0..nodes {
        let path = if i == 0 { String::new() } else { format!("/{i}") };
        encoder.node(&path, None, -1, &StatPersisted::default(), &mut out);
    }
    encoder.finish(Some(digest), Some(Zxid(zxid)), &mut out);
    out
}

#[test]
fn a_purge_counts_no_snapshot_that_holds_something_else_than_its_digest_is_of() {
    let digest = |zxid, digest| SnapshotDigest { zxid: Zxid(zxid), version: 2, digest };
    let mut disk = VirtualDisk::new(false);
    for zxid in [10, 20, 30, 40, 50, 60] {
        disk.put(&FileRef::snapshot(Zxid(zxid)), &snapshot_with_digest(zxid, 3, digest(zxid, 3)));
        disk.put(&FileRef::log(Zxid(zxid + 1)), &HEADER);
    }
    let names = |disk: &VirtualDisk| {
        purge::plan(disk, 3, 1 << 20, one).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let usual = names(&disk);
    assert_eq!(usual, ["log.b", "log.15", "snapshot.a", "snapshot.14", "snapshot.1e"]);
    // These are whole to the last byte.
    for zxid in [40, 60] {
        disk.put(&FileRef::snapshot(Zxid(zxid)), &snapshot_with_digest(zxid, 2, digest(zxid, 3)));
    }
    assert_eq!(names(&disk), ["snapshot.a"], "20, 30 and 50 stay, and 40 and 60 harm nobody");
    // A digest of a later txn, or one that is computed in another way, says nothing.
    for (zxid, of) in [(40, 41), (60, 60)] {
        let digest = SnapshotDigest { version: if of == zxid { 3 } else { 2 }, ..digest(of, 3) };
        disk.put(&FileRef::snapshot(Zxid(zxid)), &snapshot_with_digest(zxid, 2, digest));
    }
    assert_eq!(names(&disk), usual);
    for zxid in [10, 20, 30, 40, 50, 60] {
        disk.put(&FileRef::snapshot(Zxid(zxid)), &snapshot_with_digest(zxid, 2, digest(zxid, 3)));
    }
    let error = purge::plan(&disk, 3, 1 << 20, one).unwrap_err().to_string();
    assert!(
        error.contains("so nothing is removed; snapshot.3c: what it holds is not what its digest is of"),
        "{error}"
    );
}

#[test]
fn purge_keeps_what_is_needed() {
    let mut disk = VirtualDisk::new(false);
    let whole = |zxid: i64| snapshot_ended_at(zxid, 2, false, true);
    for zxid in [10, 20, 30, 40, 50] {
        disk.put(&FileRef::snapshot(Zxid(zxid)), &whole(zxid));
    }
    for zxid in [1, 11, 25, 31, 45] {
        disk.put(&FileRef::log(Zxid(zxid)), &HEADER);
    }
    let names = |disk: &VirtualDisk| {
        purge::plan(disk, 3, 1 << 20, one).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(&disk), ["log.1", "log.b", "snapshot.a", "snapshot.14"]);
    // What was cut from a log, or given up, goes when the logs around it do.
    for name in ["ostler.cut.a", "ostler.cut.18", "ostler.cut.19", "ostler.cut.12.snapshot.gz"] {
        disk.put(&FileRef::new(Dir::Log, FileName::parse(name)), b"x");
    }
    assert_eq!(
        names(&disk),
        ["log.1", "log.b", "snapshot.a", "snapshot.14", "ostler.cut.a", "ostler.cut.12.snapshot.gz", "ostler.cut.18"]
    );
    // Only those count that are whole to the last byte, however right they look from outside.
    let rotten = |disk: &mut VirtualDisk, zxid: i64| {
        let mut bytes = whole(zxid);
        bytes[60] ^= 1;
        disk.put(&FileRef::snapshot(Zxid(zxid)), &bytes);
    };
    rotten(&mut disk, 40);
    assert_eq!(names(&disk), ["log.1", "snapshot.a", "ostler.cut.a"], "20, 30 and 50 stay, and 40 harms nobody");
    for zxid in [10, 20, 30, 50] {
        rotten(&mut disk, zxid);
    }
    let error = purge::plan(&disk, 3, 1 << 20, one).unwrap_err().to_string();
    let newest = "none of the snapshots is whole and what its digest says, so nothing is removed; snapshot.32: the checksum at byte \
        303 does not match what precedes it; snapshot.28: ";
    assert!(error.starts_with(newest), "{error}");
    for zxid in [10, 20, 40] {
        disk.put(&FileRef::snapshot(Zxid(zxid)), &whole(zxid));
    }
    // Snapshots that can't be loaded don't count (ZOOKEEPER-3231).
    disk.put(&FileRef::snapshot(Zxid(50)), &whole(50)[..70]);
    disk.put(&FileRef::snapshot(Zxid(30)), b"");
    assert!(names(&disk).is_empty(), "10, 20 and 40 stay, and all logs with them");
    // Nor do copies under later names, which no start loads.
    for zxid in [51, 52, 53] {
        disk.put(&FileRef::snapshot(Zxid(zxid)), &whole(10));
    }
    assert!(names(&disk).is_empty(), "10, 20 and 40 stay");
    for zxid in [10, 20, 40] {
        disk.put(&FileRef::snapshot(Zxid(zxid)), b"");
    }
    let error = purge::plan(&disk, 3, 1 << 20, one).unwrap_err().to_string();
    assert!(error.contains("snapshot.35: "), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_without_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = snapshot_bytes(6, true, true);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = decode(&bytes[..cut.index(bytes.len())], 4096, &mut Seen::default());
        let _ = decode(bytes.as_slice(), 4096, &mut Seen::default());
    }
}

#[test]
fn a_snapshot_that_was_lost_shows_that_txns_are_missing_between_epochs() {
    let log = |zxids: &[i64]| {
        let mut log = HEADER.to_vec();
        for zxid in zxids {
            encode(&entry(Zxid(*zxid), 9, 1), &mut log);
        }
        log
    };
    let epoch = 0x1_0000_0001;
    let mut disk = VirtualDisk::new(false);
    disk.put(&FileRef::snapshot(Zxid(1)), &snapshot_bytes(1, true, true));
    disk.put(&FileRef::log(Zxid(2)), &log(&[2, 3]));
    disk.put(&FileRef::log(Zxid(epoch)), &log(&[epoch]));
    // It came from a leader, with txns that this server never logged.
    disk.put(&FileRef::snapshot(Zxid(5)), b"ZKSN");
    let error = recovered(&mut disk, &RecoverOptions::default()).unwrap_err();
    assert!(error.to_string().contains("0x3 is followed by 0x100000001"), "{error}");
    assert!(error.to_string().contains("snapshot.5"), "{error}");
    // One of a txn that the log holds is made up for.
    disk.execute(&Effect::Remove(FileRef::snapshot(Zxid(5)))).unwrap();
    disk.put(&FileRef::snapshot(Zxid(3)), b"ZKSN");
    assert_eq!(recovered(&mut disk, &RecoverOptions::default()).unwrap().1.zxids(), [2, 3, epoch]);
}

/// Knows what the digest says of each txn.
#[derive(Default)]
struct Fitting(Memory, BTreeMap<i64, Fit>);

impl Restore for Fitting {
    fn reset(&mut self) {
        self.0.reset();
    }
    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.0.session(session, timeout_ms);
    }
    fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        self.0.acl(id, acl);
    }
    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String> {
        self.0.node(path, data, acl_id, stat)
    }
    fn snapshot_end(&mut self, zxid: Zxid, digest: Option<SnapshotDigest>) -> Result<(), String> {
        self.0.snapshot_end(zxid, digest)
    }
    fn txn(&mut self, entry: &TxnEntry<'_>) -> Result<(), String> {
        self.0.txn(entry)
    }
    fn fit(&self) -> Fit {
        self.0.txns.last().and_then(|(zxid, _)| self.1.get(&zxid.0)).copied().unwrap_or_default()
    }
}

/// A leader of Apache's has a snapshot of the beginning of its epoch, and so has who got its state from it. It is broken here.
#[test]
fn a_broken_snapshot_of_the_beginning_of_an_epoch_may_hold_what_the_log_does_not() {
    let epoch = 0x1_0000_0000;
    let log = |zxids: &[i64]| {
        let mut bytes = HEADER.to_vec();
        for zxid in zxids {
            encode(&entry(Zxid(*zxid), 10, 7), &mut bytes);
        }
        bytes
    };
    let broken = FileRef::snapshot(Zxid(epoch));
    let disk = |next: &[i64]| {
        let mut disk = VirtualDisk::new(false);
        disk.put(&FileRef::snapshot(Zxid(0)), &snapshot_ended_at(0, 2, false, true));
        disk.put(&FileRef::log(Zxid(1)), &log(&[1, 2, 3]));
        if !next.is_empty() {
            disk.put(&FileRef::log(Zxid(next[0])), &log(next));
        }
        disk.put(&broken, b"ZKSN\0\0\0\x02");
        disk
    };
    let start = |disk: &mut VirtualDisk, fits: &[(i64, Fit)], accept_suspect_tail| {
        let mut fitting = Fitting(Memory::default(), fits.iter().copied().collect());
        let options = RecoverOptions { accept_suspect_tail, ..RecoverOptions::default() };
        let before = disk.state_hash();
        let done = recover(disk, &options, &mut fitting, &mut |_| ());
        assert!(done.is_ok() || disk.state_hash() == before, "nothing is changed");
        done.map(|found| (found, fitting.0.zxids()))
    };
    let next = [epoch + 1, epoch + 2];
    // A digest that fits says nothing of sessions, quotas and the configuration.
    let fits = [(epoch + 1, Fit::Right), (epoch + 2, Fit::Right)];
    for (next, fits) in [(&next[..], &fits[..]), (&next, &[]), (&[], &[])] {
        let error = start(&mut disk(next), fits, false).unwrap_err();
        assert!(
            matches!(error, RecoverError::NotShown { last: Zxid(3), .. }) && error.is_mended_by_a_copy(),
            "{error}"
        );
        // Given up, it is not asked for again.
        let mut given_up = disk(next);
        let (found, _) = start(&mut given_up, fits, true).unwrap();
        assert!(found.is_suspect);
        assert_eq!(given_up.bytes(&broken), None);
        assert!(!start(&mut given_up, fits, false).unwrap().0.is_suspect);
    }
    // One of a txn is missed.
    let mut of_a_txn = disk(&next);
    of_a_txn.put(&FileRef::snapshot(Zxid(7)), b"ZKSN\0\0\0\x02");
    let error = start(&mut of_a_txn, &[(epoch + 1, Fit::Right)], false).unwrap_err();
    assert!(matches!(error, RecoverError::Log { error: ReadLogError::Gap { .. }, .. }), "{error}");
    run(&mut of_a_txn, &[Effect::Remove(FileRef::log(Zxid(epoch + 1)))]);
    let error = start(&mut of_a_txn, &[], false).unwrap_err();
    assert!(matches!(error, RecoverError::EndsBeforeSnapshot { zxid: Zxid(7), .. }), "{error}");
}

#[test]
fn a_broken_snapshot_beside_a_whole_one_of_the_same_txn_misses_nothing() {
    let mut disk = VirtualDisk::new(false);
    disk.put(&FileRef::snapshot(Zxid(2)), &snapshot_ended_at(2, 2, false, true));
    disk.put(&FileRef::new(Dir::Data, FileName::parse("snapshot.2.gz")), b"\x1f\x8b");
    let mut bytes = HEADER.to_vec();
    (1..=4).for_each(|zxid| encode(&entry(Zxid(zxid), 10, 7), &mut bytes));
    disk.put(&FileRef::log(Zxid(1)), &bytes);
    let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!((found.last_zxid, memory.zxids()), (Zxid(4), vec![3, 4]));
}
