//! What is known beside the files decides whether a broken place is the end of a write or damage: that the machine has gone on,
//! how long the log was when its server stopped, and what a file calls itself.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::*;
use ostler_storage::disk::{Dir, Effect, FileRef};
use ostler_storage::log::record::{HEADER, HEADER_LENGTH, encode};
use ostler_storage::names::FileName;
use ostler_storage::recover::RecoverOptions;
use ostler_storage::{LogOptions, LogWriter};
use sim::VirtualDisk;
use wire::Zxid;

const TXNS: i64 = 40;

/// A snapshot of nothing and a log with txns of some 150 bytes, each synced alone; closed in order, or left with zeros behind.
fn written(close: bool) -> VirtualDisk {
    let mut disk = VirtualDisk::new(false);
    disk.put(&FileRef::snapshot(Zxid(0)), &snapshot_ended_at(0, 1, true, true));
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    fill(&mut writer, &mut disk);
    for zxid in 1..=TXNS {
        writer.append(Zxid(zxid), &entry(Zxid(zxid), 50, zxid as u8)).unwrap();
        drain(&mut writer, &mut disk);
    }
    if close {
        let effects = writer.close().unwrap();
        run(&mut disk, &effects);
    }
    disk
}

fn log() -> FileRef {
    FileRef::log(Zxid(1))
}

fn refusal(disk: &VirtualDisk, options: &RecoverOptions) -> String {
    let mut disk = disk.clone();
    let before = disk.state_hash();
    let error = recovered(&mut disk, options).unwrap_err().to_string();
    assert_eq!(disk.state_hash(), before, "nothing is changed");
    error
}

#[test]
fn a_hole_is_the_end_of_a_write_only_if_the_machine_may_have_failed() {
    let mut disk = written(false);
    disk.damage_sector(&log(), 3, &mut |sector| sector.fill(0));
    let went_on = RecoverOptions { went_on: true, ..RecoverOptions::default() };
    let why = refusal(&disk, &went_on);
    assert!(why.contains("log.1") && why.contains("byte"), "{why}");
    let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert!(memory.txns.len() < TXNS as usize);
    let told = told(&found).join("\n");
    assert!(told.contains("if the machine, or its power, failed during a write"), "{told}");
    assert!(told.contains("if not, the disk has lost a piece of the log"), "{told}");
}

#[test]
fn a_process_that_was_killed_leaves_the_beginning_of_a_record_and_no_other_end_of_it() {
    let whole = written(false);
    let went_on = RecoverOptions { went_on: true, ..RecoverOptions::default() };
    let length = entry(Zxid(TXNS), 50, 0).len() + 13;
    let last = HEADER_LENGTH as usize + length * (TXNS as usize - 1);
    let bytes = whole.bytes(&log()).unwrap();
    for kept in 1..length {
        let mut disk = whole.clone();
        let mut cut = bytes.clone();
        cut[last + kept..last + length].fill(0);
        disk.put(&log(), &cut);
        let (found, memory) = recovered(&mut disk, &went_on).unwrap();
        assert_eq!((found.last_zxid, found.is_suspect), (Zxid(TXNS - 1), false), "{kept} bytes of it");
        assert_eq!(memory.txns.len() as i64, TXNS - 1);
    }
    // Zeros in the middle of it are no beginning, nor are they in place of its checksum; and half of that is zero always.
    let kept = last + 30;
    for (zeros, at, byte) in [
        (last + 20..last + length - 1, last, 0),
        (last + 4..last + 8, last, 0),
        (last..last + 12, last + 10, 8),
        (kept..kept, last + 2, 1),
    ] {
        let mut disk = whole.clone();
        let mut changed = bytes.clone();
        if zeros.end < kept + 1 {
            changed[kept..].fill(0);
        }
        changed[zeros.clone()].fill(0);
        changed[at] = byte;
        disk.put(&log(), &changed);
        let why = refusal(&disk, &went_on);
        assert!(why.contains("no interrupted write explains"), "{zeros:?}: {why}");
    }
}

#[test]
fn a_log_that_was_whole_when_its_server_stopped_is_as_long_as_it_was() {
    let whole = written(true);
    let bytes = whole.bytes(&log()).unwrap();
    let closed = RecoverOptions { closed: Some((log(), bytes.len() as u64)), ..RecoverOptions::default() };
    assert_eq!(recovered(&mut whole.clone(), &closed).unwrap().0.last_zxid, Zxid(TXNS));
    for length in [0, 5, HEADER_LENGTH as usize, 100, bytes.len() - 200, bytes.len() - 1] {
        let mut disk = whole.clone();
        disk.put(&log(), &bytes[..length]);
        let why = refusal(&disk, &closed);
        assert!(why.contains(&format!("was whole up to byte {} when its server stopped", bytes.len())), "{why}");
        let accept = RecoverOptions { accept_suspect_tail: true, ..closed.clone() };
        assert!(recovered(&mut disk, &accept).unwrap().0.last_zxid < Zxid(TXNS));
    }
    // It is gone, with all others, or but for an older one.
    let mut disk = whole.clone();
    run(&mut disk, &[Effect::Remove(log())]);
    let why = refusal(&disk, &closed);
    assert!(why.contains("log.1 was whole") && why.contains("is gone"), "{why}");
    let newer = RecoverOptions { closed: Some((FileRef::log(Zxid(TXNS + 1)), 300)), ..RecoverOptions::default() };
    let why = refusal(&whole, &newer);
    assert!(why.contains("log.29 was whole") && why.contains("is gone"), "{why}");
    // Somebody else has logged since then: what is known of the older file is no news.
    let mut disk = whole.clone();
    disk.put(&FileRef::log(Zxid(TXNS + 1)), &bytes[..HEADER_LENGTH as usize]);
    assert_eq!(recovered(&mut disk, &closed).unwrap().0.last_zxid, Zxid(TXNS));
}

#[test]
fn the_zeros_of_a_log_go_when_the_empty_one_behind_it_goes() {
    let whole = written(true).bytes(&log()).unwrap();
    for length in [HEADER_LENGTH as usize, 3] {
        let mut disk = written(false);
        assert!(disk.bytes(&log()).unwrap().len() > whole.len(), "room was made for more");
        disk.put(&FileRef::log(Zxid(TXNS + 1)), &whole[..length]);
        assert_eq!(recovered(&mut disk, &RecoverOptions::default()).unwrap().0.last_zxid, Zxid(TXNS));
        // A server that stops now without having logged anything leaves word of this file and its length.
        assert_eq!(disk.bytes(&FileRef::log(Zxid(TXNS + 1))), None);
        assert!(disk.bytes(&log()).unwrap() == whole, "{length}");
    }
}

#[test]
fn a_file_with_the_name_of_a_later_txn_is_not_believed() {
    let whole = written(true);
    // A snapshot that says that it ends earlier.
    let mut disk = whole.clone();
    disk.put(&FileRef::snapshot(Zxid(30)), &snapshot_ended_at(12, 2, true, true));
    let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!((found.last_zxid, memory.txns.len() as i64), (Zxid(TXNS), TXNS));
    let told = told(&found).join("\n");
    assert!(told.contains("snapshot.1e can't be loaded: it ends with txn 0xc, and its name says 0x1e"), "{told}");
    // A log that would be written over.
    let mut disk = whole.clone();
    disk.put(&FileRef::log(Zxid(TXNS + 1)), &whole.bytes(&log()).unwrap());
    let why = refusal(&disk, &RecoverOptions::default());
    assert!(why.contains("by its name log.29 begins with txn 0x29, but the last txn there is is 0x28"), "{why}");
    // One without a single record is the rest of a start.
    disk.put(&FileRef::new(Dir::Log, FileName::Log(Zxid(TXNS + 1))), &whole.bytes(&log()).unwrap()[..16]);
    assert_eq!(recovered(&mut disk, &RecoverOptions::default()).unwrap().0.last_zxid, Zxid(TXNS));
}

#[test]
fn zeros_in_place_of_a_header_are_damage_if_the_machine_went_on() {
    let mut disk = written(true);
    let next = FileRef::log(Zxid(TXNS + 1));
    disk.put(&next, &[0; 5000]);
    let went_on = RecoverOptions { went_on: true, ..RecoverOptions::default() };
    let why = refusal(&disk, &went_on);
    assert!(why.contains("log.29"), "{why}");
    // A file that has just been made, and has nothing in it, is what the end of a process leaves of Apache's.
    disk.put(&next, b"");
    assert_eq!(recovered(&mut disk.clone(), &went_on).unwrap().0.last_zxid, Zxid(TXNS));
    disk.put(&next, &[0; 5000]);
    assert_eq!(recovered(&mut disk, &RecoverOptions::default()).unwrap().0.last_zxid, Zxid(TXNS));
}

#[test]
fn a_hole_in_the_last_records_is_judged_when_all_behind_them_is_torn() {
    // The next file has a header and the rest of a first record: it goes, and this one is the last.
    let whole = written(true).bytes(&log()).unwrap();
    let mut disk = written(false);
    disk.damage_sector(&log(), 3, &mut |sector| sector.fill(0));
    disk.put(&FileRef::log(Zxid(TXNS + 1)), &whole[..HEADER_LENGTH as usize + 30]);
    let why = refusal(&disk, &RecoverOptions { went_on: true, ..RecoverOptions::default() });
    assert!(why.contains("log.1") && why.contains("at byte"), "{why}");
    let (found, _) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert!(found.last_zxid < Zxid(TXNS));
    let told = told(&found).join("\n");
    assert!(told.contains("log.1 ends at byte") && told.contains("the disk has lost a piece of the log"), "{told}");
}

/// All of the log but its last txns, in each way in which a disk may lose them that looks like the end of a write.
fn without_the_last(bytes: &[u8]) -> Vec<(i64, Vec<u8>)> {
    let length = entry(Zxid(TXNS), 50, 0).len() + 13;
    let end = HEADER_LENGTH as usize + length * TXNS as usize;
    let zeroed = |from: usize| {
        let mut bytes = bytes.to_vec();
        bytes[from..].fill(0);
        bytes
    };
    vec![
        (TXNS - 1, bytes[..end - length].to_vec()),
        (TXNS - 1, bytes[..end - 1].to_vec()),
        (TXNS - 1, zeroed(end - length)),
        (TXNS - 1, zeroed(end - 5)),
        (TXNS - 2, zeroed(end - 2 * length + 30)),
    ]
}

/// What may be there of a log before its first record is: nothing, a header, zeros behind it, the beginning of a record.
fn begun_logs(bytes: &[u8]) -> Vec<Vec<u8>> {
    let header = &bytes[..HEADER_LENGTH as usize];
    let torn = &bytes[..HEADER_LENGTH as usize + 60];
    vec![
        Vec::new(),
        header[..5].to_vec(),
        header.to_vec(),
        [header, &[0; 900]].concat(),
        torn.to_vec(),
        [torn, &[0; 900]].concat(),
    ]
}

#[test]
fn a_log_without_records_shows_by_its_name_how_the_one_before_it_ended() {
    let whole = written(true);
    let bytes = whole.bytes(&log()).unwrap();
    let went_on = RecoverOptions { went_on: true, ..RecoverOptions::default() };
    let accept = RecoverOptions { accept_suspect_tail: true, ..went_on.clone() };
    for begun in begun_logs(&bytes) {
        // Made for the next txn, or one of the next epoch, or to log one again.
        for named in [TXNS + 1, 0x1_0000_0001, TXNS, 9] {
            let mut disk = whole.clone();
            disk.put(&FileRef::log(Zxid(named)), &begun);
            let (found, _) = recovered(&mut disk, &went_on).unwrap();
            assert_eq!((found.last_zxid, found.is_suspect), (Zxid(TXNS), false), "{named:x}: {begun:?}");
        }
        // For one that can't be next.
        for named in [TXNS + 2, TXNS + 30, 0x1_0000_0002] {
            let mut disk = whole.clone();
            disk.put(&FileRef::log(Zxid(named)), &begun);
            let why = refusal(&disk, &went_on);
            let end = bytes.len();
            let says = format!(
                "behind 0x28, with which log.1 ends at byte {end}: by its name log.{named:x} was made for txn 0x{named:x}"
            );
            assert!(why.contains(&says), "{why}");
            assert_eq!(recovered(&mut disk, &RecoverOptions::default()).unwrap().0.last_zxid, Zxid(TXNS));
        }
        for (last, left) in without_the_last(&bytes) {
            let mut disk = whole.clone();
            disk.put(&log(), &left);
            disk.put(&FileRef::log(Zxid(TXNS + 1)), &begun);
            let error = recovered(&mut disk.clone(), &went_on).unwrap_err();
            assert!(error.is_mended_by_a_copy(), "{error}");
            let why = refusal(&disk, &went_on);
            let says = format!("behind 0x{last:x}, with which log.1 ends at byte ");
            assert!(why.contains(&says) && why.contains("log.29 was made for txn 0x29"), "{why}");
            // If the machine has failed, Apache's server may not have synced the older one yet.
            assert_eq!(recovered(&mut disk.clone(), &RecoverOptions::default()).unwrap().0.last_zxid, Zxid(last));
            let (found, _) = recovered(&mut disk, &accept).unwrap();
            assert_eq!((found.last_zxid, found.is_suspect), (Zxid(last), true));
            let told = told(&found).join("\n");
            assert!(told.contains("was given up because of ostler.log.acceptSuspectTail=true"), "{told}");
            // And nobody asks again.
            assert_eq!(recovered(&mut disk, &went_on).unwrap().0.last_zxid, Zxid(last));
        }
    }
}

#[test]
fn of_two_logs_without_records_each_has_its_say() {
    let mut whole = written(true);
    let header = whole.bytes(&log()).unwrap()[..HEADER_LENGTH as usize].to_vec();
    let went_on = RecoverOptions { went_on: true, ..RecoverOptions::default() };
    whole.put(&FileRef::log(Zxid(TXNS + 1)), &header);
    // Apache's server is ended twice before it writes a record, and another is the leader then.
    let mut disk = whole.clone();
    disk.put(&FileRef::log(Zxid(0x1_0000_0001)), &header);
    assert_eq!(recovered(&mut disk, &went_on).unwrap().0.last_zxid, Zxid(TXNS));
    for named in [TXNS + 2, 0x1_0000_0002] {
        let mut disk = whole.clone();
        disk.put(&FileRef::log(Zxid(named)), &header);
        let why = refusal(&disk, &went_on);
        assert!(why.contains(&format!("log.{named:x} was made for txn 0x{named:x}")), "{why}");
    }
    // The first that shows it is named.
    let mut disk = whole.clone();
    run(&mut disk, &[Effect::Truncate { file: log(), length: 900 }]);
    disk.put(&FileRef::log(Zxid(TXNS + 2)), &header);
    let why = refusal(&disk, &went_on);
    assert!(why.contains("log.1 ends at byte") && why.contains("log.29 was made for txn 0x29"), "{why}");
    // A later one has records, and its txns follow, but the one between was made for others.
    let mut disk = written(true);
    disk.put(&FileRef::log(Zxid(TXNS + 3)), &header);
    let mut first = header.clone();
    encode(&entry(Zxid(0x1_0000_0001), 50, 7), &mut first);
    disk.put(&FileRef::log(Zxid(0x1_0000_0001)), &first);
    let why = refusal(&disk, &went_on);
    assert!(why.contains("behind 0x28, with which log.1 ends at byte") && why.contains("log.2b was made"), "{why}");
}

#[test]
fn a_snapshot_that_cannot_be_loaded_is_named_before_the_log_behind_it() {
    let mut disk = written(true);
    let header = disk.bytes(&log()).unwrap()[..HEADER_LENGTH as usize].to_vec();
    disk.put(&FileRef::snapshot(Zxid(50)), &snapshot_ended_at(50, 1, true, true)[..70]);
    disk.put(&FileRef::log(Zxid(51)), &header);
    let why = refusal(&disk, &RecoverOptions { went_on: true, ..RecoverOptions::default() });
    assert!(why.contains("the log ends with txn 0x28, before snapshot.32, which can't be loaded"), "{why}");
}

#[test]
fn what_an_interrupted_truncation_has_left_of_a_log_shows_nothing() {
    // An earlier version went back to a snapshot, and what the log held came behind a later one.
    let bytes = written(true).bytes(&log()).unwrap();
    let went_on = RecoverOptions { went_on: true, ..RecoverOptions::default() };
    let mut disk = VirtualDisk::new(false);
    disk.put(&FileRef::snapshot(Zxid(7)), &snapshot_ended_at(7, 1, true, true));
    disk.put(&FileRef::log(Zxid(20)), &bytes[..HEADER_LENGTH as usize]);
    assert_eq!(recovered(&mut disk.clone(), &went_on).unwrap().0.last_zxid, Zxid(7));
    // More of it, or a torn log before it, is none of that.
    let mut longer = disk.clone();
    longer.put(&FileRef::log(Zxid(20)), &bytes[..=HEADER_LENGTH as usize]);
    assert!(refusal(&longer, &went_on).contains("log.14 was made for txn 0x14"));
    disk.put(&FileRef::log(Zxid(8)), &bytes[..HEADER_LENGTH as usize + 60]);
    assert!(refusal(&disk, &went_on).contains("log.14 was made for txn 0x14"));
}

#[test]
fn an_older_log_is_torn_before_another_epoch_only_where_apaches_server_was() {
    let bytes = written(true).bytes(&log()).unwrap();
    let (epoch, header) = (0x1_0000_0001, &bytes[..HEADER_LENGTH as usize]);
    let went_on = RecoverOptions { went_on: true, ..RecoverOptions::default() };
    // Stopped in order before the torn log was made, or behind it.
    let closed = |name| RecoverOptions { closed: Some((FileRef::log(Zxid(name)), 100)), ..went_on.clone() };
    let log_of = |zxid| {
        let mut log = header.to_vec();
        encode(&entry(Zxid(zxid), 50, 7), &mut log);
        log
    };
    for cut in [bytes.len() - 1, bytes.len() - 100] {
        let mut torn = written(true);
        torn.put(&log(), &bytes[..cut]);
        // In its own epoch the next zxid shows that nothing is missing.
        let mut same = torn.clone();
        same.put(&FileRef::log(Zxid(TXNS)), &log_of(TXNS));
        assert_eq!(recovered(&mut same, &went_on).unwrap().0.last_zxid, Zxid(TXNS));
        for (next, last) in [(log_of(epoch), epoch), (header.to_vec(), TXNS - 1)] {
            let mut disk = torn.clone();
            disk.put(&FileRef::log(Zxid(epoch)), &next);
            for strict in [went_on.clone(), closed(1)] {
                let why = refusal(&disk, &strict);
                assert!(why.contains("log.1 is damaged at byte") && why.contains("behind txn 0x27"), "{why}");
            }
            for lax in [closed(0), RecoverOptions::default()] {
                let (found, _) = recovered(&mut disk.clone(), &lax).unwrap();
                assert_eq!(found.last_zxid, Zxid(last));
            }
        }
    }
}

#[test]
fn a_log_between_does_not_make_a_hole_forgotten() {
    let length = entry(Zxid(1), 50, 0).len() + 13;
    let record = |zxid| {
        let mut record = Vec::new();
        encode(&entry(Zxid(zxid), 50, 7), &mut record);
        record
    };
    let log_of = |records: &[Vec<u8>]| [&[HEADER.to_vec()], records].concat().concat();
    let mut disk = VirtualDisk::new(false);
    disk.put(&FileRef::snapshot(Zxid(0)), &snapshot_ended_at(0, 1, true, true));
    disk.put(&log(), &log_of(&[record(1), record(2), vec![0; length], record(4)]));
    // Apache's server logs a txn again, and ends its log with zeros.
    disk.put(&FileRef::log(Zxid(2)), &log_of(&[record(2), vec![0; 500]]));
    let mut same = disk.clone();
    same.put(&FileRef::log(Zxid(3)), &log_of(&[record(3), record(4)]));
    assert_eq!(recovered(&mut same, &RecoverOptions::default()).unwrap().0.last_zxid, Zxid(4));
    disk.put(&FileRef::log(Zxid(0x1_0000_0001)), &log_of(&[record(0x1_0000_0001)]));
    let why = refusal(&disk, &RecoverOptions::default());
    assert!(why.contains("log.1 is damaged") && why.contains("while txn 0x4 is whole"), "{why}");
}
