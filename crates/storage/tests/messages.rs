//! Everything that a start may find, and what it says of it, word for word: the file, the place, the txn, what was done and
//! what is to be done. `docs/formats` has the rules.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, and shows what there is now"
)]

mod common;

use std::fmt::Write as _;

use common::*;
use ostler_storage::FileName;
use ostler_storage::disk::{Dir, FileRef};
use ostler_storage::epoch;
use ostler_storage::log::record::{HEADER, encode};
use ostler_storage::log::truncate;
use ostler_storage::recover::{Origin, RecoverOptions};
use sim::VirtualDisk;
use sim::disk::BadRead;
use wire::Zxid;

/// A log of these txns.
fn log(zxids: impl IntoIterator<Item = i64>) -> Vec<u8> {
    let mut bytes = HEADER.to_vec();
    for zxid in zxids {
        encode(&entry(Zxid(zxid), 20, 7), &mut bytes);
    }
    bytes
}

/// The bytes of one record in [`log`].
const RECORD: usize = 91;

fn named(name: &str) -> FileRef {
    FileRef::new(Dir::Data, FileName::parse(name))
}

/// A directory with these files, beside the snapshot 0.
fn begun(files: &[(&str, Vec<u8>)]) -> VirtualDisk {
    let mut disk = without_snapshot(files);
    disk.put(&named("snapshot.0"), &snapshot());
    disk
}

fn without_snapshot(files: &[(&str, Vec<u8>)]) -> VirtualDisk {
    let mut disk = VirtualDisk::new(false);
    for (name, bytes) in files {
        disk.put(&named(name), bytes);
    }
    disk
}

fn snapshot() -> Vec<u8> {
    snapshot_bytes(2, true, true)
}

fn changed(mut bytes: Vec<u8>, at: usize, mask: u8) -> Vec<u8> {
    bytes[at] ^= mask;
    bytes
}

fn cut(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.truncate(length);
    bytes
}

/// What a start says, a line each; of one that is refused, nothing may be changed on the disk.
fn says(mut disk: VirtualDisk, options: &RecoverOptions) -> String {
    let before = disk.clone();
    match recovered(&mut disk, options) {
        Ok((found, _)) => {
            if options.repair && found.origin != Origin::LogsOnly {
                // Whatever was mended is no news, and nobody has to be asked again.
                let again = recovered(&mut disk, &RecoverOptions::default()).unwrap().0.warnings;
                let news = again.iter().find(|line| !line.starts_with("ostler.cut") && !found.warnings.contains(line));
                assert_eq!(news, None);
            }
            found.warnings.join("\n")
        }
        Err(error) => {
            assert_eq!(disk, before, "refused, and changed all the same: {error}");
            format!("NO START: {error}")
        }
    }
}

#[test]
fn what_a_start_says() {
    let ask = RecoverOptions::default();
    let accept = RecoverOptions { accept_suspect_tail: true, ..RecoverOptions::default() };
    let trust = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
    let look = RecoverOptions { repair: false, ..RecoverOptions::default() };
    let went_on = RecoverOptions { went_on: true, ..RecoverOptions::default() };
    let went_on_accept = RecoverOptions { accept_suspect_tail: true, ..went_on.clone() };
    let closed = RecoverOptions { closed: Some((FileRef::log(Zxid(1)), 200)), ..RecoverOptions::default() };
    let (at, third) = (16 + RECORD, 16 + 2 * RECORD);
    let epoch = 0x1_0000_0001;
    assert_eq!(log([1, 2]).len(), 16 + 2 * RECORD);
    let batch = {
        let mut bytes = log([1]);
        for zxid in [2, 3] {
            encode(&entry(Zxid(zxid), 1500, 7), &mut bytes);
        }
        bytes[512..1024].fill(0);
        bytes
    };
    let holding = {
        let (mut bytes, mut data) = (log([1]), vec![7; 700]);
        data.extend_from_slice(&log([3]));
        data.resize(2000, 7);
        encode(&entry_with(Zxid(2), &data, true), &mut bytes);
        bytes[1536..].fill(0);
        bytes
    };
    let again = {
        let mut bytes = log([3]);
        encode(&changed(entry(Zxid(2), 20, 7), 27, 1), &mut bytes);
        bytes
    };
    let dbid = |bytes, dbid| changed(bytes, 15, dbid);
    let tiny = RecoverOptions { length_max: 7, ..ask.clone() };
    let short = RecoverOptions { length_max: 60, ..ask.clone() };
    let cases: Vec<(&str, VirtualDisk, &RecoverOptions)> = vec![
        ("a torn tail", begun(&[("log.1", cut(log([1, 2]), at + 30))]), &ask),
        ("a torn tail, and the machine went on", begun(&[("log.1", cut(log([1, 2]), at + 30))]), &went_on),
        ("a torn tail, and the server had stopped in order", begun(&[("log.1", cut(log([1, 2]), at + 30))]), &closed),
        (
            "a log that was made for a later txn, and the machine went on",
            begun(&[("log.1", cut(log([1, 2]), at + 30)), ("log.3", HEADER.to_vec())]),
            &went_on,
        ),
        (
            "the same, given up",
            begun(&[("log.1", cut(log([1, 2]), at + 30)), ("log.3", HEADER.to_vec())]),
            &went_on_accept,
        ),
        (
            "a torn end before another epoch, and the machine went on",
            begun(&[("log.1", cut(log([1, 2]), at + 30)), ("log.100000001", log([epoch]))]),
            &went_on,
        ),
        ("a batch without a sector, and the machine went on", begun(&[("log.1", batch.clone())]), &went_on),
        ("the name of a later txn", begun(&[("log.1", log([1, 2])), ("log.3", log([1, 2]))]), &ask),
        ("a snapshot with the name of a later txn", begun(&[("log.1", log([1, 2])), ("snapshot.b", snapshot())]), &ask),
        ("a torn tail, looked at", begun(&[("log.1", cut(log([1, 2]), at + 30))]), &look),
        ("a batch without a sector", begun(&[("log.1", batch)]), &ask),
        ("a log in the data of an interrupted write", begun(&[("log.1", holding.clone())]), &ask),
        ("the same, and the machine went on", begun(&[("log.1", holding)]), &went_on),
        ("kept from an earlier start", begun(&[("log.1", log([1])), ("ostler.cut.1", vec![7; 99])]), &ask),
        ("a file that was not begun", begun(&[("log.1", log([1])), ("log.2", b"ZKL".to_vec())]), &ask),
        ("a foreign file", begun(&[("log.1", log([1])), ("log.2", b"hello, world!!!!".to_vec())]), &ask),
        ("a last record that is damaged", begun(&[("log.1", changed(log([1, 2]), at + 50, 4))]), &ask),
        ("the same, given up", begun(&[("log.1", changed(log([1, 2]), at + 50, 4))]), &accept),
        ("damage in the middle", begun(&[("log.1", changed(log([1, 2, 3]), at + 50, 4))]), &ask),
        (
            "zeros in the middle",
            {
                let mut bytes = log([1, 2, 3]);
                bytes[at..third].fill(0);
                begun(&[("log.1", bytes)])
            },
            &ask,
        ),
        ("a record above the limit", begun(&[("log.1", log([1]))]), &short),
        ("a snapshot above the limit", begun(&[]), &tiny),
        (
            "a snapshot with a negative count",
            without_snapshot(&[("log.1", log([1])), ("snapshot.0", changed(snapshot(), 16, 0x80))]),
            &ask,
        ),
        ("a gap", begun(&[("log.1", log([1, 2])), ("log.4", log([4]))]), &ask),
        ("a file that is there twice", begun(&[("log.1", log([1, 2])), ("log.1.copy", log([1, 2]))]), &ask),
        ("a txn that is there twice", begun(&[("log.1", log([1, 2])), ("log.2", log([2, 3]))]), &ask),
        ("two txns with one zxid", begun(&[("log.1", log([1, 2])), ("log.3", again)]), &ask),
        ("an epoch without its beginning", begun(&[("log.1", log([1])), ("log.100000005", log([epoch + 4]))]), &ask),
        (
            "a txn of the future",
            {
                let mut blob = entry(Zxid(1), 20, 7);
                blob[31] = 99;
                let mut bytes = HEADER.to_vec();
                encode(&blob, &mut bytes);
                begun(&[("log.1", bytes)])
            },
            &ask,
        ),
        (
            "a broken newest snapshot",
            begun(&[
                ("log.1", log([1, 2])),
                ("snapshot.1", changed(snapshot(), 60, 1)),
                ("snapshot.2.gz", b"\x1f\x8b".to_vec()),
            ]),
            &ask,
        ),
        (
            "a broken newest snapshot without its log",
            begun(&[("log.1", log([1])), ("snapshot.5", cut(snapshot(), 70))]),
            &ask,
        ),
        ("the same, given up", begun(&[("log.1", log([1])), ("snapshot.5", cut(snapshot(), 70))]), &accept),
        (
            "a broken newest snapshot, and a gap where it was",
            begun(&[("log.1", log([1])), ("snapshot.5", cut(snapshot(), 70)), ("log.6", log([6]))]),
            &ask,
        ),
        (
            "a broken snapshot of the beginning of an epoch",
            begun(&[("log.1", log([1])), ("snapshot.100000000", cut(snapshot(), 70))]),
            &ask,
        ),
        ("the same, given up", begun(&[("log.1", log([1])), ("snapshot.100000000", cut(snapshot(), 70))]), &accept),
        (
            "the same, and another txn follows",
            begun(&[("log.1", log([1])), ("snapshot.100000000", cut(snapshot(), 70)), ("log.100000001", log([epoch]))]),
            &ask,
        ),
        (
            "the same, given up",
            begun(&[("log.1", log([1])), ("snapshot.100000000", cut(snapshot(), 70)), ("log.100000001", log([epoch]))]),
            &accept,
        ),
        (
            "all snapshots broken",
            without_snapshot(&[
                ("log.1", log([1])),
                ("snapshot.0", cut(snapshot(), 9)),
                ("snapshot.1", changed(snapshot(), 0, 1)),
            ]),
            &ask,
        ),
        (
            "many snapshots, all broken",
            without_snapshot(&[
                ("snapshot.1", vec![]),
                ("snapshot.2", vec![]),
                ("snapshot.3", vec![]),
                ("snapshot.4", vec![]),
                ("snapshot.5", vec![]),
                ("snapshot.6", vec![]),
                ("snapshot.7", vec![]),
            ]),
            &trust,
        ),
        ("a first start that was interrupted", without_snapshot(&[("snapshot.0", cut(snapshot(), 9))]), &ask),
        (
            "a first snapshot that the disk does not give",
            {
                let mut disk = begun(&[]);
                disk.faults.bad_read(named("snapshot.0"), BadRead::Error { sector: 0 });
                disk
            },
            &ask,
        ),
        (
            "a sector of a log that the disk does not give",
            {
                let mut disk = begun(&[("log.1", log([1, 2, 3, 4, 5, 6, 7, 8]))]);
                disk.faults.bad_read(FileRef::log(Zxid(1)), BadRead::Error { sector: 1 });
                disk
            },
            &ask,
        ),
        ("logs without a snapshot", without_snapshot(&[("log.1", log([1, 2]))]), &ask),
        ("the same, trusted", without_snapshot(&[("log.1", log([1, 2]))]), &trust),
        ("trusted, but a purge was there", without_snapshot(&[("log.5", log([5, 6]))]), &trust),
        ("trusted for nothing", begun(&[("log.1", log([1]))]), &trust),
        ("a snapshot without logs", without_snapshot(&[("snapshot.5", snapshot())]), &ask),
        (
            "leftovers",
            begun(&[
                ("log.1", log([1])),
                ("ostler.next", vec![0; 99]),
                ("ostler.new", vec![]),
                ("ostler.snapshot.tmp", cut(snapshot(), 80)),
                ("snapshot.9.tmp", snapshot()),
                ("snapshot.a.gz.tmp", vec![]),
                ("currentEpoch.tmp", b"7".to_vec()),
            ]),
            &ask,
        ),
        ("another format", begun(&[("log.1", changed(log([1]), 7, 1))]), &ask),
        ("a foreign dbid in a log", begun(&[("log.1", dbid(log([1]), 9))]), &ask),
        ("foreign dbids in two logs", begun(&[("log.1", dbid(log([1]), 9)), ("log.2", dbid(log([2]), 8))]), &ask),
        (
            "a log in the snapshots' directory",
            {
                let mut disk = VirtualDisk::new(true);
                disk.put(&named("log.1"), &log([1]));
                disk
            },
            &ask,
        ),
    ];
    let mut all = String::new();
    for (situation, disk, options) in cases {
        let _ = write!(all, "# {situation}\n{}\n\n", says(disk.clone(), options));
    }
    compare(&all, include_str!("messages/start.txt"));
}

/// Piece by piece, so that a difference is easily seen.
fn compare(all: &str, expected: &str) {
    if std::env::var_os("OSTLER_SHOW_MESSAGES").is_some() {
        println!("{all}");
    }
    let (all, expected) = (all.trim(), expected.trim());
    for (piece, expected) in all.split("\n\n").zip(expected.split("\n\n")) {
        assert_eq!(piece, expected);
    }
    assert_eq!(all, expected);
}

#[test]
fn what_epoch_files_and_truncations_say() {
    let mut all = String::new();
    let last = Zxid(0x3_0000_0007);
    for (situation, accepted, current) in
        [("no number", "5", "x"), ("an older epoch", "2", "2"), ("accepted before current", "3", "4")]
    {
        let files = [("acceptedEpoch", accepted), ("currentEpoch", current)].map(|(name, text)| (name, text.into()));
        let error = epoch::read(&without_snapshot(&files), last).unwrap_err();
        let _ = write!(all, "# {situation}\nNO START: {error}\n\n");
    }
    let written_anew = [
        ("both are missing", &[][..]),
        ("accepted is missing", &[("currentEpoch", "3")]),
        ("the history is ahead of current", &[("acceptedEpoch", "4"), ("currentEpoch", "2")]),
    ];
    for (situation, files) in written_anew {
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect();
        let told = epoch::read(&without_snapshot(&files), last).unwrap().warnings;
        let _ = write!(all, "# {situation}\n{}\n\n", told.join("\n"));
    }
    // A first start has neither, and no txn.
    assert_eq!(epoch::read(&without_snapshot(&[]), Zxid(0)).unwrap().warnings, Vec::<String>::new());
    // The one of 5 was ended at 7, when two more had been applied.
    let of = |last: i64| snapshot_ended_at(last, 2, true, true);
    let files = [
        ("log.1", log(1..=12)),
        ("snapshot.0", of(0)),
        ("snapshot.5", of(7)),
        ("snapshot.9", of(9)),
        ("snapshot.b", vec![]),
    ];
    let disk = without_snapshot(&files);
    let plan = truncate::plan(&disk, Zxid(6), &RecoverOptions::default());
    let _ = write!(all, "# a truncation\n{}\n\n", plan.map_or_else(|e| e.to_string(), |plan| plan.notes.join("\n")));
    let plan = truncate::plan(&disk, Zxid(20), &RecoverOptions::default());
    let _ = write!(all, "# to a txn that is not there\n{}\n\n", plan.unwrap_err());
    let plan = truncate::plan(&without_snapshot(&files[..1]), Zxid(6), &RecoverOptions::default());
    let _ = write!(all, "# without a snapshot\n{}\n\n", plan.unwrap_err());
    compare(&all, include_str!("messages/members.txt"));
}
