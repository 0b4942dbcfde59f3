//! Data that somebody has made to look like records of the log.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{self, Read};

use ostler_storage::log::reader::LogReader;
use ostler_storage::log::record::{HEADER, TERMINATOR};
use wire::Zxid;

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
