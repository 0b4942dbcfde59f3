//! Data that somebody has made to look like records of the log.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::io::{self, Read};

use common::*;
use ostler_storage::disk::FileRef;
use ostler_storage::log::reader::LogReader;
use ostler_storage::log::record::{HEADER, TERMINATOR, encode};
use ostler_storage::recover::{RecoverError, RecoverOptions};
use sim::VirtualDisk;
use wire::Zxid;

/// The power fails during the write of a znode's data, in which a whole record of the log stands: nothing behind the first
/// sectors was written.
#[test]
fn a_record_in_the_data_of_an_interrupted_write_is_no_txn() {
    let mut inner = Vec::new();
    encode(&entry_with(Zxid(3), b"inside", false), &mut inner);
    let mut data = vec![b'x'; 700];
    data.extend_from_slice(&inner);
    data.resize(6000, b'x');
    let mut bytes = HEADER.to_vec();
    encode(&entry_with(Zxid(1), b"acknowledged", false), &mut bytes);
    encode(&entry_with(Zxid(2), &data, false), &mut bytes);
    bytes.resize(16 << 10, 0);
    for (sectors, went_on) in [(4, false), (8, false), (4, true)] {
        let mut torn = bytes.clone();
        torn[sectors * 512..].fill(0);
        let mut disk = VirtualDisk::new(false);
        disk.put(&FileRef::log(Zxid(1)), &torn);
        let options = RecoverOptions { trust_empty: true, went_on, ..RecoverOptions::default() };
        let done = recovered(&mut disk, &options).map(|(_, memory)| memory.zxids()).map_err(|e| e.to_string());
        assert_eq!(done, Ok(vec![1]), "{sectors} sectors, {went_on}");
    }
}

/// Txn 2 of a batch, with a record in its data, and what stands before and behind that; txn 1 before it, and these behind it.
fn holding(inner: i64, before: &[u8], behind: &[u8], later: &[i64]) -> (Vec<u8>, Vec<usize>) {
    let mut record = Vec::new();
    encode(&entry_with(Zxid(inner), b"inside", false), &mut record);
    let (mut bytes, mut ends) = (HEADER.to_vec(), Vec::new());
    encode(&entry_with(Zxid(1), b"acknowledged", false), &mut bytes);
    ends.push(bytes.len());
    encode(&entry_with(Zxid(2), &[before, &record, behind].concat(), false), &mut bytes);
    ends.push(bytes.len());
    for zxid in later {
        encode(&entry_with(Zxid(*zxid), b"later", false), &mut bytes);
        ends.push(bytes.len());
    }
    bytes.resize(bytes.len().next_multiple_of(4096) + 4096, 0);
    (bytes, ends)
}

fn start(log: &[u8], options: &RecoverOptions) -> Result<(Vec<i64>, bool, Vec<String>), RecoverError> {
    let mut disk = VirtualDisk::new(false);
    disk.put(&FileRef::log(Zxid(1)), log);
    let options = RecoverOptions { trust_empty: true, ..options.clone() };
    recovered(&mut disk, &options).map(|(found, memory)| (memory.zxids(), found.is_suspect, found.warnings))
}

#[test]
fn what_an_interrupted_batch_has_left_of_such_a_record_is_cut_and_kept() {
    // A sector behind the record in the data is missing, and the rest of the batch is there. What was in the data may be of a
    // later txn than all that are really there.
    for inner in [2, 3, 4, 5000] {
        let (bytes, ends) = holding(inner, &[b'x'; 700], &[b'y'; 3000], &[3, 4]);
        for sector in 3..ends[1] / 512 {
            let mut torn = bytes.clone();
            torn[sector * 512..(sector + 1) * 512].fill(0);
            let (zxids, is_suspect, told) = start(&torn, &RecoverOptions::default()).unwrap();
            assert_eq!((zxids, is_suspect), (vec![1], false), "{inner}, {sector}");
            let told = told.join("\n");
            assert!(told.contains("in whose data something looks like a whole one"), "{told}");
            assert!(told.contains(&format!("pieces of its batch behind it (txn 0x3 at byte {})", ends[1])), "{told}");
            assert!(told.contains("its bytes are kept in ostler.cut.1"), "{told}");
            // No end of a process leaves that.
            let went_on = RecoverOptions { went_on: true, ..RecoverOptions::default() };
            start(&torn, &went_on).unwrap_err();
        }
    }
}

#[test]
fn what_is_behind_an_acknowledged_record_never_passes_for_its_data() {
    let whole: Vec<i64> = vec![1, 2, 3, 4];
    for (inner, before, behind) in [
        (3, vec![b'x'; 700], vec![b'y'; 300]),
        (5000, vec![b'x'; 700], vec![b'y'; 300]),
        // Zeros of its own, before and behind.
        (3, vec![0; 1500], vec![b'y'; 300]),
        (5000, vec![b'x'; 100], vec![0; 1500]),
    ] {
        let (bytes, ends) = holding(inner, &before, &behind, &[3, 4]);
        assert_eq!(start(&bytes, &RecoverOptions::default()).unwrap().0, whole);
        for went_on in [false, true] {
            let options = RecoverOptions { went_on, ..RecoverOptions::default() };
            // Any bit of what is not its data, and some of that.
            let (begin, end) = (8 * ends[0], 8 * ends[1]);
            for at in (begin..begin + 500).chain((begin + 500..end - 300).step_by(13)).chain(end - 300..end) {
                let mut changed = bytes.clone();
                changed[at / 8] ^= 1 << (at % 8);
                let found = start(&changed, &options).map(|(zxids, ..)| zxids);
                assert!(found.is_err(), "byte {}, bit {}: {found:?}", at / 8, at % 8);
            }
        }
    }
}

/// Any length that is much too long, with another checksum: two bytes side by side, or a few more.
#[test]
fn an_acknowledged_record_with_another_length_and_checksum_holds_nothing() {
    let (bytes, ends) = holding(5000, &[b'x'; 700], &[b'y'; 300], &[3, 4]);
    for length in (1100..9000).step_by(3).chain([1 << 16, 1 << 20]) {
        let mut changed = bytes.clone();
        changed[ends[0] + 7] ^= 0x55;
        changed[ends[0] + 8..ends[0] + 12].copy_from_slice(&i32::to_be_bytes(length));
        for went_on in [false, true] {
            let options = RecoverOptions { went_on, ..RecoverOptions::default() };
            let found = start(&changed, &options).map(|(zxids, ..)| zxids);
            assert!(found.is_err(), "length {length}: {found:?}");
        }
    }
}

/// Counts how often it was asked.
struct Asked<R>(R, u64);

impl<R: Read> Read for Asked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        self.0.read(out)
    }
}

/// What seems to begin there has a length just so that the buffer is full of it, again and again.
#[test]
fn data_that_looks_like_long_records_is_not_read_in_small_pieces() {
    let (count, window) = (1000, 4 << 20);
    let mut bytes = HEADER.to_vec();
    bytes.extend_from_slice(&[0xff; 12]);
    for zxid in 2..2 + count {
        bytes.extend_from_slice(&[0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78]);
        bytes.extend_from_slice(&(window - 13_i32).to_be_bytes());
        bytes.extend_from_slice(&[7; 12]);
        bytes.extend_from_slice(&i64::from(zxid).to_be_bytes());
        bytes.extend_from_slice(&[7; 12]);
    }
    bytes.resize(16 << 20, TERMINATOR);
    let mut source = Asked(bytes.as_slice(), 0);
    let mut reader = LogReader::open(&mut source, 1 << 20).unwrap().unwrap();
    reader.step().unwrap();
    reader.look_behind(Zxid(1)).unwrap();
    drop(reader);
    assert!(source.1 < 200, "it was asked for {} pieces", source.1);
}
