//! A record of the log that has lost its length, and what its data and the records behind it say then: nothing that was
//! acknowledged may go without a word.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::*;
use ostler_storage::disk::FileRef;
use ostler_storage::log::record::{HEADER, checksum, encode};
use ostler_storage::recover::RecoverOptions;
use sim::VirtualDisk;
use wire::Zxid;

/// A file with these txns, and where it and each of them ends.
fn log(entries: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (HEADER.to_vec(), vec![16]);
    for entry in entries {
        encode(entry, &mut bytes);
        ends.push(bytes.len());
    }
    bytes.resize(bytes.len().next_multiple_of(4096) + 4096, 0);
    (bytes, ends)
}

/// Which txns a start finds, if it does not ask anybody.
fn start(log: &[u8], went_on: bool) -> Result<Vec<i64>, String> {
    let mut disk = VirtualDisk::new(false);
    disk.put(&FileRef::log(Zxid(1)), log);
    let options = RecoverOptions { trust_empty: true, went_on, ..RecoverOptions::default() };
    recovered(&mut disk, &options).map(|(_, memory)| memory.zxids()).map_err(|error| error.to_string())
}

/// Another bit of the length of the record at `at`.
fn flip_length(bytes: &mut [u8], at: usize, bit: usize) {
    bytes[at + 11 - bit / 8] ^= 1 << (bit % 8);
}

#[test]
fn a_length_and_the_end_of_its_record() {
    let entries: Vec<_> = (1..=20).map(|zxid| entry_with(Zxid(zxid), &[b'x'; 100], true)).collect();
    let (bytes, ends) = log(&entries);
    for (went_on, bit) in [false, true].into_iter().flat_map(|went_on| (0..32).map(move |bit| (went_on, bit))) {
        let mut changed = bytes.clone();
        flip_length(&mut changed, ends[1], bit);
        changed[ends[2] - 1] ^= 1;
        start(&changed, went_on).unwrap_err();
    }
}

/// What is in the data ends together with the record that has it: its blob is the rest of the other's.
#[test]
fn a_length_of_a_record_with_another_one_at_its_end() {
    let mut blob = entry_with(Zxid(3), &[b'i'; 40], false);
    let version = 2i32.to_be_bytes();
    let sum = checksum(&[&blob[..], &version].concat());
    let mut inner = vec![0; 4];
    inner.extend_from_slice(&sum.to_be_bytes());
    inner.extend_from_slice(&((blob.len() + 4) as i32).to_be_bytes());
    inner.append(&mut blob);
    let data = [&[b'x'; 300][..], &inner].concat();
    let (bytes, ends) = log(&[
        entry_with(Zxid(1), b"acknowledged", false),
        entry_with(Zxid(2), &data, false),
        entry_with(Zxid(3), b"acknowledged", false),
        entry_with(Zxid(4), b"acknowledged", false),
    ]);
    assert_eq!(start(&bytes, false), Ok(vec![1, 2, 3, 4]));
    for (went_on, bit) in [false, true].into_iter().flat_map(|went_on| (0..24).map(move |bit| (went_on, bit))) {
        // Its checksum, its time, its data.
        for at in [7, 36, 100] {
            let mut changed = bytes.clone();
            flip_length(&mut changed, ends[1], bit);
            changed[ends[1] + at] ^= 1;
            start(&changed, went_on).unwrap_err();
        }
    }
}

#[test]
fn a_length_before_a_write_that_was_interrupted() {
    let entries: Vec<_> = (1..=3).map(|zxid| entry_with(Zxid(zxid), &[b'x'; 1000], true)).collect();
    let (bytes, ends) = log(&entries);
    for went_on in [false, true] {
        let sector = ends[2].next_multiple_of(512);
        for torn_at in [sector, sector + 512, ends[3] - 300] {
            let mut torn = bytes.clone();
            torn[torn_at..].fill(0);
            assert_eq!(start(&torn, went_on), Ok(vec![1, 2]));
            for bit in 0..32 {
                let mut changed = torn.clone();
                flip_length(&mut changed, ends[1], bit);
                let found = start(&changed, went_on);
                assert!(found.is_err(), "bit {bit}, torn at {torn_at}, {went_on}: {found:?}");
            }
        }
    }
}

#[test]
fn a_bit_each_of_the_last_two() {
    let entries: Vec<_> = (1..=3).map(|zxid| entry_with(Zxid(zxid), &[b'x'; 300], true)).collect();
    let (bytes, ends) = log(&entries);
    for (went_on, bit) in [false, true].into_iter().flat_map(|went_on| (0..32).map(move |bit| (went_on, bit))) {
        let mut changed = bytes.clone();
        flip_length(&mut changed, ends[1], bit);
        changed[ends[2] + 100] ^= 1;
        start(&changed, went_on).unwrap_err();
    }
}

/// A write that is interrupted may have pieces of a log in its data, of any txns and behind any byte.
#[test]
fn pieces_of_logs_in_the_data_of_an_interrupted_write() {
    let mut record = Vec::new();
    encode(&entry_with(Zxid(3), b"inside", false), &mut record);
    let mut records = Vec::new();
    (1..40).for_each(|zxid| encode(&entry_with(Zxid(zxid), b"a log's record", false), &mut records));
    for data in [
        [&[b'x'; 700][..], &record, &[b'y'; 3000]].concat(),
        [&[b'x'; 700][..], b"B", &record, &[b'y'; 3000]].concat(),
        [&HEADER[..], &records, &[b'y'; 3000]].concat(),
        [&records[100..], &[b'y'; 3000]].concat(),
    ] {
        for last in [1, 10] {
            let mut entries: Vec<_> = (1..=last).map(|zxid| entry_with(Zxid(zxid), b"acknowledged", false)).collect();
            entries.push(entry_with(Zxid(last + 1), &data, false));
            let (bytes, ends) = log(&entries);
            let (from, to) = (ends[last as usize], ends[last as usize + 1]);
            for (went_on, sectors) in
                [false, true].into_iter().flat_map(|went_on| (from / 512 + 1..=to / 512).map(move |n| (went_on, n)))
            {
                let mut torn = bytes.clone();
                torn[sectors * 512..].fill(0);
                assert_eq!(start(&torn, went_on), Ok((1..=last).collect()), "{sectors} sectors, {went_on}");
            }
        }
    }
}
