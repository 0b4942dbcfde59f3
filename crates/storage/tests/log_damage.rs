//! Every truncation and every changed byte of a log gives a prefix of its txns, or a damage that is named.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use common::*;
use ostler_storage::FileName;
use ostler_storage::disk::{Dir, Disk, Effect, FileRef};
use ostler_storage::log::dir::ReadLogError;
use ostler_storage::log::record::{HEADER, encode};
use ostler_storage::recover::{Origin, RecoverError, RecoverOptions};
use proptest::prelude::*;
use sim::VirtualDisk;
use wire::Zxid;

fn options() -> RecoverOptions {
    RecoverOptions { trust_empty: true, accept_suspect_tail: true, ..RecoverOptions::default() }
}

/// A log of these txns, and where each record begins.
fn log_of(zxids: &[i64], data: usize, padding: usize) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = HEADER.to_vec();
    let mut offsets = Vec::new();
    for zxid in zxids {
        offsets.push(bytes.len());
        encode(&entry(Zxid(*zxid), data, *zxid as u8 | 1), &mut bytes);
    }
    offsets.push(bytes.len());
    bytes.resize(bytes.len() + padding, 0);
    (bytes, offsets)
}

fn disk_of(files: &[(i64, &[u8])]) -> VirtualDisk {
    let mut disk = VirtualDisk::new(false);
    for (zxid, bytes) in files {
        disk.put(&FileRef::log(Zxid(*zxid)), bytes);
    }
    disk
}

fn recover_logs(files: &[(i64, &[u8])]) -> Result<(Vec<i64>, bool, VirtualDisk), RecoverError> {
    let mut disk = disk_of(files);
    let (found, memory) = recovered(&mut disk, &options())?;
    for (zxid, bytes) in &memory.txns {
        let length = bytes.len() - entry(Zxid(0), 0, 0).len();
        assert_eq!(bytes, &entry(*zxid, length, zxid.0 as u8 | 1), "a wrong record");
    }
    Ok((memory.zxids(), found.is_suspect, disk))
}

#[test]
fn every_truncation_is_a_prefix() {
    for padding in [0, 100, 3000] {
        let (bytes, offsets) = log_of(&[1, 2, 3, 4], 40, padding);
        for length in 0..=bytes.len() {
            let whole = offsets.iter().skip(1).filter(|end| **end <= length).count() as i64;
            let (zxids, is_suspect, mut disk) = recover_logs(&[(1, &bytes[..length])]).unwrap();
            assert_eq!(zxids, (1..=whole).collect::<Vec<_>>(), "cut at {length}");
            assert!(!is_suspect);
            let left = disk.bytes(&FileRef::log(Zxid(1))).map(|bytes| bytes.len());
            assert_eq!(left, (whole > 0).then(|| offsets[whole as usize]), "cut after its last record, or gone");
            let (again, memory) = recovered(&mut disk, &options()).unwrap();
            assert_eq!((memory.zxids(), told(&again)), (zxids, Vec::new()), "mended for good");
        }
    }
}

#[test]
fn every_changed_byte_is_named_or_at_the_end() {
    for padding in [0, 100, 3000] {
        let (bytes, offsets) = log_of(&[1, 2, 3, 4], 40, padding);
        for at in 0..bytes.len() {
            for mask in [1, 0x80, 0xff, bytes[at]] {
                let mut bytes = bytes.clone();
                if mask == 0 {
                    continue;
                }
                bytes[at] ^= mask;
                let broken = offsets.iter().filter(|offset| **offset <= at).count();
                match recover_logs(&[(1, &bytes)]) {
                    Ok((zxids, ..)) if broken == 0 => assert_eq!((zxids.len(), at >= 4), (4, true)),
                    Err(error @ RecoverError::Log { error: ReadLogError::Header { .. }, .. }) => {
                        assert!(at < 4 && error.is_mended_by_a_copy());
                    }
                    Ok((zxids, ..)) => {
                        assert!(broken >= 4, "byte {at}: {zxids:?}");
                        assert_eq!(zxids.len(), broken.min(5) - 1);
                    }
                    Err(RecoverError::Log {
                        error: ReadLogError::Damaged { file, offset, after, next, .. }, ..
                    }) => {
                        assert_eq!(file, FileRef::log(Zxid(1)));
                        assert_eq!((offset as usize, after.0 as usize), (offsets[broken - 1], broken - 1));
                        assert_eq!(next, Some((offsets[broken] as u64, Zxid(broken as i64 + 1))));
                    }
                    Err(error) => panic!("byte {at}: {error}"),
                }
            }
        }
    }
}

#[test]
fn a_changed_byte_in_the_last_record_is_suspect() {
    let (mut bytes, offsets) = log_of(&[1, 2], 40, 3000);
    bytes[offsets[1] + 50] ^= 4;
    let (zxids, is_suspect, _) = recover_logs(&[(1, &bytes)]).unwrap();
    assert_eq!((zxids, is_suspect), (vec![1], true), "no crash explains it: it may have been acknowledged");
}

fn refused(disk: &mut VirtualDisk, options: &RecoverOptions) -> RecoverError {
    let before = disk.clone();
    let error = recovered(disk, options).unwrap_err();
    assert_eq!(disk, &before, "nothing was changed");
    error
}

#[test]
fn a_suspect_tail_is_cut_on_demand_only() {
    let (mut bytes, offsets) = log_of(&[1, 2], 40, 3000);
    bytes[offsets[1] + 50] ^= 4;
    let mut disk = disk_of(&[(1, &bytes)]);
    disk.put(&FileRef::new(Dir::Log, FileName::NextLog), b"");
    disk.put(&FileRef::new(Dir::Log, FileName::Initialize), b"");
    let ask = RecoverOptions { accept_suspect_tail: false, ..options() };
    let error = refused(&mut disk, &ask).to_string();
    for word in ["log.1 ", &format!("byte {}", offsets[1]), "txn 0x1 ", "ostler.log.acceptSuspectTail=true", "cut.1"] {
        assert!(error.contains(word), "{word}: {error}");
    }
    // To look at it changes nothing.
    let (found, memory) = recovered(&mut disk, &RecoverOptions { repair: false, ..ask.clone() }).unwrap();
    assert_eq!((memory.zxids(), found.is_suspect), (vec![1], true));
    let kept = |name: &str| FileRef::new(Dir::Log, FileName::parse(name));
    for name in ["ostler.cut.1", "ostler.cut.1.2"] {
        disk.put(&FileRef::log(Zxid(1)), &bytes);
        let (found, memory) = recovered(&mut disk, &options()).unwrap();
        assert_eq!((memory.zxids(), found.is_suspect), (vec![1], true));
        let is_named = |line: &String| line.contains(&format!("kept in {name};"));
        assert!(found.warnings.iter().any(is_named), "{:?}", found.warnings);
        disk.crash();
        assert_eq!(disk.bytes(&kept(name)).unwrap(), &bytes[offsets[1]..offsets[2]]);
        assert_eq!(disk.bytes(&FileRef::log(Zxid(1))).unwrap().len(), offsets[1]);
        let again = told(&recovered(&mut disk, &ask).unwrap().0);
        assert!(again.iter().all(|line| line.starts_with("ostler.cut.1")), "mended for good: {again:?}");
    }
}

#[test]
fn a_long_tail_is_kept_whole() {
    let (mut bytes, offsets) = log_of(&[1, 2], 3 << 20, 3 << 20);
    bytes[offsets[1] + 90..offsets[2] - 300].fill(0);
    bytes[offsets[1] + 11] ^= 1;
    // Its sectors of zeros are its own: all of it is there but for its length.
    encode_over(&mut bytes[offsets[1]..offsets[2]]);
    bytes[offsets[1] + 11] ^= 1;
    let options = RecoverOptions { length_max: 8 << 20, ..options() };
    let mut disk = disk_of(&[(1, &bytes)]);
    assert!(recovered(&mut disk, &options).unwrap().0.is_suspect);
    let kept = FileRef::new(Dir::Log, FileName::parse("ostler.cut.1"));
    assert!(disk.bytes(&kept).unwrap() == bytes[offsets[1]..offsets[2]]);
}

/// Gives a record the checksum and the length of what is in it.
fn encode_over(record: &mut [u8]) {
    let mut out = Vec::new();
    encode(&record[12..record.len() - 1], &mut out);
    record.copy_from_slice(&out);
}

#[test]
fn a_changed_length_is_no_interrupted_write() {
    let ask = RecoverOptions { accept_suspect_tail: false, ..options() };
    for (zxids, padding) in [(&[1, 2][..], 0), (&[1, 2], 3000), (&[1, 2, 3], 3000)] {
        let (whole, offsets) = log_of(zxids, 1500, padding);
        for bit in 0..32 {
            let mut bytes = whole.clone();
            bytes[offsets[1] + 8 + bit / 8] ^= 0x80 >> (bit % 8);
            let error = refused(&mut disk_of(&[(1, &bytes)]), &ask);
            let is_last = zxids.len() == 2;
            assert_eq!(matches!(error, RecoverError::SuspectTail { .. }), is_last, "bit {bit}: {error}");
        }
    }
}

#[test]
fn a_changed_length_before_whole_records_is_damage() {
    let mut whole = HEADER.to_vec();
    encode(&entry(Zxid(1), 5, 1), &mut whole);
    let at = whole.len() + 8;
    // Of zeros, so that a shorter record would end where nothing was written.
    encode(&entry(Zxid(2), 9000, 0), &mut whole);
    encode(&entry(Zxid(3), 5, 1), &mut whole);
    for bit in 0..32 {
        let mut bytes = whole.clone();
        bytes[at + bit / 8] ^= 0x80 >> (bit % 8);
        let error = refused(&mut disk_of(&[(1, &bytes)]), &options());
        assert!(matches!(error, RecoverError::Log { error: ReadLogError::Damaged { .. }, .. }), "bit {bit}: {error}");
    }
}

#[test]
fn a_changed_bit_where_a_sector_ends_is_suspect() {
    let ask = RecoverOptions { accept_suspect_tail: false, ..options() };
    for rest in 1..=4 {
        let length = (300..900).find(|length| log_of(&[1, 2], *length, 0).1[1] % 512 == 512 - rest).unwrap();
        let (mut bytes, offsets) = log_of(&[1, 2], length, 4096);
        bytes[offsets[1] + 50] ^= 4;
        let error = refused(&mut disk_of(&[(1, &bytes)]), &ask);
        assert!(matches!(error, RecoverError::SuspectTail { .. }), "{rest}: {error}");
    }
}

#[test]
fn a_record_above_the_limit_is_never_torn() {
    for (padding, last) in [(0, 2), (0, 3), (5000, 2), (5000, 3)] {
        let zxids: Vec<_> = (1..=last).collect();
        let (bytes, offsets) = log_of(&zxids, 40, padding);
        // The second record is a long one.
        let mut long = bytes[..offsets[1]].to_vec();
        encode(&entry(Zxid(2), 3000, 3), &mut long);
        let length = long.len() - offsets[1] - 13;
        long.extend_from_slice(&bytes[offsets[2]..]);
        let mut options = options();
        options.length_max = length - 1;
        let error = refused(&mut disk_of(&[(1, &long)]), &options);
        let RecoverError::Log { error: ReadLogError::OverLimit { offset, zxid, .. }, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((*offset, *zxid), (offsets[1] as u64, Zxid(2)));
        for word in ["log.1 ", &format!("at least {length} "), &format!("the {} ", length - 1), "nothing was changed"] {
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
        options.length_max = length;
        let (_, memory) = recovered(&mut disk_of(&[(1, &long)]), &options).unwrap();
        assert_eq!(memory.zxids(), zxids);
        // Behind a record that is broken it counts too, and broken itself it is as others are.
        options.length_max = length - 1;
        options.accept_suspect_tail = false;
        for (at, is_damage) in [(offsets[0] + 50, true), (offsets[1] + 50, last == 3)] {
            let mut bytes = long.clone();
            bytes[at] ^= 1;
            match refused(&mut disk_of(&[(1, &bytes)]), &options) {
                RecoverError::Log { error: ReadLogError::Damaged { .. }, .. } => assert!(is_damage),
                RecoverError::SuspectTail { .. } => assert!(!is_damage),
                error => panic!("{error}"),
            }
        }
    }
}

#[test]
fn only_an_unfinished_header_is_removed() {
    let (a, _) = log_of(&[1, 2], 10, 0);
    for last in [&b"hi\n"[..], b"ZKLG\0\0\0\x03", b"\0\0\0Z", b"Z\0\0\0\0", &[b'0'; 15]] {
        let error = refused(&mut disk_of(&[(1, &a), (3, last)]), &options());
        assert!(matches!(error, RecoverError::Log { error: ReadLogError::Header { .. }, .. }), "{error}");
        assert!(error.to_string().starts_with("log.3 is no txn log"), "{error}");
        // Neither is it the beginning of a new database.
        refused(&mut disk_of(&[(3, last)]), &options());
        refused(&mut disk_of(&[(3, last)]), &RecoverOptions::default());
    }
}

#[test]
fn txns_behind_zeros_at_the_end_of_an_epoch_are_missed() {
    let (mut a, offsets) = log_of(&[1, 2, 3], 10, 200);
    a[offsets[1]..offsets[2]].fill(0);
    let (b, _) = log_of(&[0x1_0000_0001], 10, 0);
    let error = refused(&mut disk_of(&[(1, &a), (0x1_0000_0001, &b)]), &options());
    assert!(matches!(error, RecoverError::Log { error: ReadLogError::Damaged { .. }, .. }), "{error}");
    // Apache leaves such a tail and goes on with the same txns.
    let (b, _) = log_of(&[2, 3, 4], 10, 0);
    let (e, _) = log_of(&[0x1_0000_0001], 10, 0);
    let history = recover_logs(&[(1, &a), (2, &b), (0x1_0000_0001, &e)]).unwrap().0;
    assert_eq!(history, [1, 2, 3, 4, 0x1_0000_0001]);
}

#[test]
fn what_is_broken_behind_zeros_at_the_end_of_an_epoch_is_told() {
    // The last txn's first sector is lost, and nothing behind it is whole.
    let (mut a, offsets) = log_of(&[1, 2, 3], 500, 3000);
    a[offsets[2]..offsets[2] + 200].fill(0);
    let (epoch, (next, _)) = (0x1_0000_0001, log_of(&[0x1_0000_0001], 10, 0));
    let files: [(i64, &[u8]); 2] = [(1, &a), (epoch, &next)];
    // It may be what an interrupted write has left, or was acknowledged; the former only if a sector was never written.
    let sector_end = offsets[2].next_multiple_of(512);
    let mut lost = a.clone();
    lost[offsets[2]..sector_end].fill(0);
    let (found, _) = recovered(&mut disk_of(&[(1, &lost), (epoch, &next)]), &options()).unwrap();
    assert_eq!(found.last_zxid, Zxid(epoch));
    let told = found.warnings.iter().find(|told| told.starts_with(&format!("log.1 ends at byte {}", offsets[2])));
    assert!(told.is_some_and(|told| told.contains("behind txn 0x2") && told.contains("may have been acknowledged")));
    // Where the machine has gone on, no write ends like that.
    let went_on = RecoverOptions { went_on: true, ..options() };
    let error = refused(&mut disk_of(&[(1, &lost), (epoch, &next)]), &went_on);
    assert!(matches!(error, RecoverError::Log { error: ReadLogError::Damaged { .. }, .. }), "{error}");
    for accept_suspect_tail in [false, true] {
        let error = refused(&mut disk_of(&files), &RecoverOptions { accept_suspect_tail, ..options() });
        let RecoverError::Log { error: ReadLogError::Damaged { file, offset, after, .. }, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((file, *offset, *after), (&FileRef::log(Zxid(1)), offsets[2] as u64, Zxid(2)));
    }
    // A file that holds nothing else is no exception.
    let mut bare = HEADER.to_vec();
    bare.resize(300, 0);
    bare[200] = 7;
    let (first, _) = log_of(&[1, 2], 10, 0);
    let error = refused(&mut disk_of(&[(1, &first), (3, &bare), (epoch, &next)]), &options());
    assert!(error.to_string().starts_with("log.3 is damaged at byte 16, behind txn 0x2"), "{error}");
    // The next txn of the same epoch shows that nothing is missing.
    let (same, _) = log_of(&[3, 4], 10, 0);
    assert_eq!(recover_logs(&[(1, &a), (3, &same), (epoch, &next)]).unwrap().0, [1, 2, 3, 4, epoch]);
}

#[test]
fn a_torn_end_before_the_middle_of_another_epoch_is_damage() {
    let (a, offsets) = log_of(&[1, 2, 3], 10, 0);
    let torn = &a[..offsets[2] + 20];
    let (b, _) = log_of(&[0x1_0000_0001, 0x1_0000_0002], 10, 0);
    let history = recover_logs(&[(1, torn), (0x1_0000_0001, &b)]).unwrap().0;
    assert_eq!(history, [1, 2, 0x1_0000_0001, 0x1_0000_0002]);
    // The first txn of that epoch is missing, and it stood before this one.
    let (b, _) = log_of(&[0x1_0000_0002], 10, 0);
    let error = refused(&mut disk_of(&[(1, torn), (0x1_0000_0002, &b)]), &options());
    assert!(matches!(error, RecoverError::Log { error: ReadLogError::Damaged { .. }, .. }), "{error}");
}

#[test]
fn a_batch_of_which_a_sector_is_missing_is_torn() {
    let (whole, offsets) = log_of(&[1, 2, 3, 4], 700, 4096);
    // Of the batch of 2, 3 and 4 a sector is missing that held the end of a record, the rest is there.
    for sector in [3, 4] {
        let mut bytes = whole.clone();
        bytes[sector * 512..(sector + 1) * 512].fill(0);
        let (zxids, is_suspect, disk) = recover_logs(&[(1, &bytes)]).unwrap();
        let kept = offsets.iter().skip(1).filter(|end| **end <= sector * 512).count();
        assert_eq!((zxids.len(), is_suspect), (kept, false));
        assert_eq!(disk.bytes(&FileRef::log(Zxid(1))).unwrap().len(), offsets[kept]);
    }
    // One from the middle of a record. What is cut is kept: there are whole records in it.
    let mut bytes = whole.clone();
    bytes[1024..1536].fill(0);
    let (zxids, is_suspect, disk) = recover_logs(&[(1, &bytes)]).unwrap();
    assert_eq!((zxids, is_suspect), (vec![1], false));
    let kept = disk.bytes(&FileRef::new(Dir::Log, FileName::parse("ostler.cut.1"))).unwrap();
    assert!(kept == bytes[offsets[1]..offsets[4]]);
    // The same so far from the next record that they can't be of one batch: damage.
    let mut options = options();
    options.batch_max = 512;
    let mut bytes = whole;
    bytes[1536..2048].fill(0);
    let error = recovered(&mut disk_of(&[(1, &bytes)]), &options).unwrap_err();
    assert!(matches!(error, RecoverError::Log { error: ReadLogError::Damaged { .. }, .. }), "{error}");
}

#[test]
fn a_missing_sector_may_reach_into_the_next_checksum() {
    // The second record begins five bytes before a sector ends, the third one to four bytes before the next does.
    let at = |length: usize| log_of(&[1], length, 0).1[1];
    let first = (300..900).find(|length| at(*length) == 507).unwrap();
    for before in 1..=4 {
        let mut bytes = HEADER.to_vec();
        encode(&entry(Zxid(1), first, 1), &mut bytes);
        let second = (300..900).find(|length| 507 + at(*length) - 16 == 1024 - before).unwrap();
        encode(&entry(Zxid(2), second, 3), &mut bytes);
        encode(&entry(Zxid(3), 700, 5), &mut bytes);
        bytes[512..1024].fill(0);
        assert_eq!(recover_logs(&[(1, &bytes)]).unwrap().0, [1], "{before}");
    }
}

#[test]
fn zeros_that_are_data_explain_no_changed_bit() {
    let mut whole = HEADER.to_vec();
    let mut offsets = Vec::new();
    for (zxid, length, fill) in [(1, 10, 1), (2, 3000, 0), (3, 10, 1)] {
        offsets.push(whole.len());
        encode(&entry(Zxid(zxid), length, fill), &mut whole);
    }
    for last in [2, 3] {
        let end = *offsets.get(last).unwrap_or(&whole.len());
        for at in offsets[1] + 4..offsets[2] {
            for bit in 0..8 {
                let mut bytes = whole[..end].to_vec();
                bytes.resize(end + 2000, 0);
                bytes[at] ^= 1 << bit;
                let ask = RecoverOptions { accept_suspect_tail: false, ..options() };
                // A longer length of the last record is that of one that was never finished.
                let is_length = (offsets[1] + 8..offsets[1] + 12).contains(&at);
                let error = match recovered(&mut disk_of(&[(1, &bytes)]), &ask) {
                    Ok(_) if is_length && last == 2 => continue,
                    Ok((_, memory)) => panic!("byte {at}, bit {bit}: {:?}", memory.zxids()),
                    Err(error) => error,
                };
                match error {
                    RecoverError::Log { error: ReadLogError::Damaged { .. }, .. } => assert_eq!(last, 3),
                    RecoverError::SuspectTail { .. } => assert_eq!(last, 2),
                    error => panic!("byte {at}, bit {bit}: {error}"),
                }
            }
        }
    }
}

#[test]
fn the_upper_half_of_a_checksum_is_no_missing_sector() {
    // The second record begins a few bytes before a sector ends: those bytes are zeros in any record.
    let length = (300..900).find(|length| log_of(&[1, 2, 3], *length, 0).1[1] % 512 == 509).unwrap();
    let (whole, offsets) = log_of(&[1, 2, 3], length, 4096);
    for at in offsets[1] + 4..offsets[2] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let error = recover_logs(&[(1, &bytes)]).unwrap_err();
        assert!(matches!(error, RecoverError::Log { error: ReadLogError::Damaged { .. }, .. }), "{at}: {error}");
    }
}

#[test]
fn zeros_in_the_middle_are_not_the_end() {
    let (mut bytes, offsets) = log_of(&[1, 2, 3, 4], 40, 512);
    bytes[offsets[1]..offsets[2]].fill(0);
    let error = recover_logs(&[(1, &bytes)]).unwrap_err();
    let RecoverError::Log { error: ReadLogError::Damaged { flaw, after, next, .. }, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((flaw, after, next), (None, Zxid(1), Some((offsets[2] as u64, Zxid(3)))));
}

#[test]
fn several_files_are_one_history() {
    let (a, a_at) = log_of(&[1, 2, 3], 10, 200);
    let (b, _) = log_of(&[4, 5], 10, 0);
    let (e, _) = log_of(&[0x1_0000_0001, 0x1_0000_0002], 10, 99);
    let epoch = 0x1_0000_0001;
    assert_eq!(recover_logs(&[(1, &a), (4, &b), (epoch, &e)]).unwrap().0.len(), 7);
    // A file is missing; an overlap; a torn tail that Apache left.
    let error = recover_logs(&[(1, &a[..a_at[2]]), (4, &b)]).unwrap_err();
    assert!(matches!(&error, RecoverError::Log { error: ReadLogError::Gap { .. }, .. }), "{error}");
    assert!(error.to_string().contains("0x2 is followed by 0x4, at byte 16 of log.4"), "{error}");
    let (overlap, _) = log_of(&[3, 4, 5], 10, 0);
    assert_eq!(recover_logs(&[(1, &a), (3, &overlap)]).unwrap().0, [1, 2, 3, 4, 5]);
    let mut torn = a[..a_at[3]].to_vec();
    torn.extend_from_slice(&b[16..60]);
    assert_eq!(recover_logs(&[(1, &torn), (4, &b)]).unwrap().0, [1, 2, 3, 4, 5]);
    torn.resize(2000, 0);
    assert_eq!(recover_logs(&[(1, &torn), (4, &b)]).unwrap().0, [1, 2, 3, 4, 5]);
    // The beginning of an epoch is missing; whoever says that epochs begin there can read it.
    let (late, _) = log_of(&[0x1_0000_0002], 10, 99);
    let files: [(i64, &[u8]); 2] = [(1, &a), (0x1_0000_0002, &late)];
    let error = recover_logs(&files).unwrap_err();
    assert!(matches!(&error, RecoverError::Log { error: ReadLogError::Gap { .. }, .. }), "{error}");
    assert!(error.to_string().contains("0x3 is followed by 0x100000002, at byte 16 of log.100000002"), "{error}");
    assert!(error.is_mended_by_a_copy());
    let begun = RecoverOptions { initial_counter: 1, ..options() };
    assert_eq!(recovered(&mut disk_of(&files), &begun).unwrap().1.zxids(), [1, 2, 3, 0x1_0000_0002]);
    // A changed byte in the last record of a file that is not the last: nothing in the numbers shows it here.
    let mut changed = a;
    changed[a_at[2] + 40] ^= 1;
    let error = recover_logs(&[(1, &changed), (epoch, &e)]).unwrap_err();
    assert!(matches!(error, RecoverError::Log { error: ReadLogError::Damaged { .. }, .. }), "{error}");
    // With nothing in the later file it is the end of the history.
    assert_eq!(recover_logs(&[(1, &changed), (epoch, &HEADER)]).unwrap().0, [1, 2]);
}

#[test]
fn files_that_were_never_written_to() {
    let (a, _) = log_of(&[1, 2], 10, 0);
    for last in [&[][..], &HEADER[..7], &[0; 16], &[0; 9000], &HEADER] {
        let (zxids, is_suspect, disk) = recover_logs(&[(1, &a), (3, last)]).unwrap();
        assert_eq!((zxids, is_suspect), (vec![1, 2], false));
        assert_eq!(disk.names(Dir::Log).len(), 1);
        if last != HEADER {
            let (b, _) = log_of(&[3], 10, 0);
            let error = recover_logs(&[(1, &a), (2, last), (3, &b)]).unwrap_err();
            assert!(matches!(error, RecoverError::Log { error: ReadLogError::Header { .. }, .. }), "{error}");
            assert!(error.is_mended_by_a_copy());
        }
    }
}

#[test]
fn a_log_that_does_not_begin_as_one_is_mended_by_a_copy() {
    let (a, _) = log_of(&[1, 2], 10, 0);
    let (b, _) = log_of(&[3], 10, 0);
    for rubbish in [&b"rubbish"[..], &[b'x'; 9000], &b[1..]] {
        for files in [[(1, &a[..]), (3, rubbish)], [(1, rubbish), (3, &b[..])]] {
            let error = recover_logs(&files).unwrap_err();
            assert!(error.is_mended_by_a_copy(), "{error}");
        }
    }
    // Where there is no snapshot, or two databases are mixed, the directory may be the wrong one.
    let error = refused(&mut disk_of(&[(1, &a)]), &RecoverOptions { trust_empty: false, ..options() });
    assert!(matches!(error, RecoverError::SnapshotMissing { .. }) && !error.is_mended_by_a_copy(), "{error}");
    let (mut one, mut other) = (a.clone(), b.clone());
    (one[15], other[15]) = (1, 2);
    let error = recover_logs(&[(1, &one), (3, &other)]).unwrap_err();
    assert!(matches!(error, RecoverError::TwoDatabases { .. }) && !error.is_mended_by_a_copy(), "{error}");
}

#[test]
fn only_files_that_matter_are_read() {
    let mut disk = disk_of(&[
        (1, b"rubbish"),
        (2, &log_of(&[2, 3, 4], 10, 0).0),
        (5, &log_of(&[5, 6, 7], 10, 0).0),
        (8, &log_of(&[8], 10, 0).0),
    ]);
    disk.put(&FileRef::snapshot(Zxid(6)), &snapshot_bytes(3, true, true));
    let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!((memory.zxids(), found.last_zxid), (vec![7, 8], Zxid(8)));
    assert!(matches!(found.origin, Origin::Snapshot { zxid: Zxid(6), nodes: 3, .. }));
    // A txn between the snapshot and the log is missing.
    let effect = Effect::Remove(FileRef::log(Zxid(5)));
    disk.execute(&effect).unwrap();
    let error = recovered(&mut disk, &RecoverOptions::default()).unwrap_err();
    assert!(matches!(error, RecoverError::Log { error: ReadLogError::Gap { .. }, .. }), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(files in prop::collection::vec(fuzzed(), 1..4)) {
        let files: Vec<_> = files.iter().enumerate().map(|(i, bytes)| (i as i64 + 1, bytes.as_slice())).collect();
        let mut disk = disk_of(&files);
        let mut options = options();
        options.length_max = 4096;
        let _ = recovered(&mut disk, &options);
    }
}

/// A log with several changes, or anything behind a header.
fn fuzzed() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let base = prop_oneof![
        Just(log_of(&[1, 2, 3, 4], 30, 600).0),
        Just(log_of(&[1, 2], 600, 2000).0),
        prop::collection::vec(prop_oneof![3 => Just(0u8), 1 => any::<u8>()], 0..300).prop_map(|rest| [
            &HEADER[..],
            &rest
        ]
        .concat()),
    ];
    (base, changes).prop_map(|(mut bytes, changes)| {
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes
    })
}

#[test]
fn what_is_cut_from_a_first_batch_does_not_come_back() {
    let (mut a, offsets) = log_of(&[3, 4, 5], 700, 4096);
    a[16..512].fill(0);
    let mut disk = disk_of(&[(1, &log_of(&[1, 2], 10, 0).0), (3, &a)]);
    assert!(offsets[1] > 512);
    recovered(&mut disk, &options()).unwrap();
    disk.crash();
    // Behind it a new epoch begins: whatever is left of that file must not stand between.
    disk.put(&FileRef::log(Zxid(0x1_0000_0001)), &log_of(&[0x1_0000_0001], 10, 0).0);
    assert_eq!(recovered(&mut disk, &options()).unwrap().1.zxids(), [1, 2, 0x1_0000_0001]);
}

#[test]
fn a_log_without_records_hides_none() {
    // A first batch of epoch 1 never came; the server went on in epoch 0, and then in 1, in the file that it had.
    let epoch = 0x1_0000_0001;
    for empty in [&HEADER[..], &[&HEADER[..], &[0; 900]].concat()] {
        let (a, _) = log_of(&[1, 2, epoch, epoch + 1], 10, 100);
        let mut disk = disk_of(&[(1, &a), (epoch, empty)]);
        disk.put(&FileRef::snapshot(Zxid(epoch)), &snapshot_ended_at(epoch, 3, true, true));
        let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
        assert_eq!((memory.zxids(), found.last_zxid), (vec![epoch + 1], Zxid(epoch + 1)));
        // And it goes: a purge would take the file before it for one that is not needed.
        assert_eq!(disk.names(Dir::Log), ["log.1", &format!("snapshot.{epoch:x}")]);
        assert_eq!(found.warnings, Vec::<String>::new());
    }
}

#[test]
fn a_record_far_above_the_limit_is_found_behind_a_broken_one() {
    let (bytes, offsets) = log_of(&[1, 2], 40, 0);
    let mut long = bytes;
    encode(&entry(Zxid(3), 20 << 20, 3), &mut long);
    long[offsets[1] + 50] ^= 1;
    let options = RecoverOptions { trust_empty: true, length_max: 1000, ..RecoverOptions::default() };
    let error = refused(&mut disk_of(&[(1, &long)]), &options);
    let RecoverError::Log { error: ReadLogError::Damaged { offset, next, .. }, .. } = &error else { panic!("{error}") };
    assert_eq!((*offset, *next), (offsets[1] as u64, Some((offsets[2] as u64, Zxid(3)))));
    // One that is not whole is none.
    long[offsets[2] + 5000] ^= 1;
    let error = refused(&mut disk_of(&[(1, &long)]), &options);
    assert!(matches!(error, RecoverError::SuspectTail { .. }), "{error}");
}
