//! What is known beside the files decides whether a broken place is the end of a write or damage: that the machine has gone on,
//! how long the log was when its server stopped, and what a file calls itself.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::*;
use ostler_storage::disk::{Dir, Effect, FileRef};
use ostler_storage::log::record::HEADER_LENGTH;
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
    // Zeros in the middle of it are no beginning.
    let mut disk = whole.clone();
    let mut holed = bytes;
    holed[last + 20..last + length - 1].fill(0);
    disk.put(&log(), &holed);
    let why = refusal(&disk, &went_on);
    assert!(why.contains("no interrupted write explains"), "{why}");
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
