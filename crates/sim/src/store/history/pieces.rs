//! Pieces of a log, as somebody may keep them in a znode: whole records with right checksums, and not of the log in which they
//! then are.

use storage::log::record::{HEADER, TERMINATOR, encode};
use wire::Zxid;

use crate::rng::Rng;

/// The most bytes of what is no record, at one place.
const OTHER_MAX: u64 = 700;
/// Records in the data of records, in that of the txn: so many deep.
const DEPTH_MAX: u32 = 2;

/// So many bytes for the txn of this zxid. Half of them end with a whole record.
pub(super) fn of_log(zxid: Zxid, length: usize, rng: &mut Rng) -> Vec<u8> {
    of_depth(zxid, length, DEPTH_MAX, rng)
}

fn of_depth(zxid: Zxid, length: usize, depth: u32, rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < length {
        piece(zxid, length - out.len(), depth, &mut out, rng);
    }
    // What is cut off is a record in its middle, as often as not.
    out.truncate(length);
    if rng.chance(500) {
        let (mut last, most) = (Vec::new(), length as u64 / 2);
        one(near(zxid, rng), rng.below(most + 1) as usize, depth, &mut last, rng);
        if let Some(from) = length.checked_sub(last.len()) {
            out.truncate(from);
            out.append(&mut last);
        }
    }
    out
}

/// Something that has at most about `room` bytes.
fn piece(zxid: Zxid, room: usize, depth: u32, out: &mut Vec<u8>, rng: &mut Rng) {
    let other = rng.between(1, OTHER_MAX.min(room as u64)) as usize;
    let inner = rng.below((room as u64).min(2000)) as usize;
    match rng.below(8) {
        0 => out.extend((0..other).map(|_| rng.below(256) as u8)),
        // What a log file has behind its records.
        1 => out.resize(out.len() + other, 0),
        // As it would stand behind a record, or anywhere.
        2 | 3 => {
            out.push(*rng.pick(&[TERMINATOR, TERMINATOR, 0, 1]).unwrap_or(&TERMINATOR));
            one(near(zxid, rng), inner, depth, out, rng);
        }
        4 => one(near(zxid, rng), inner, depth, out, rng),
        // Some behind each other, with the header of a file before them or without.
        kind => {
            if kind == 5 {
                out.extend(HEADER);
            }
            let mut next = near(zxid, rng);
            for _ in 0..rng.between(2, 5) {
                one(next, rng.below(300) as usize, depth, out, rng);
                next = next.next();
            }
        }
    }
}

/// A whole record of this zxid, with so many bytes of data.
fn one(zxid: Zxid, length: usize, depth: u32, out: &mut Vec<u8>, rng: &mut Rng) {
    let data = match depth.checked_sub(1) {
        Some(depth) if rng.chance(300) => of_depth(zxid, length, depth, rng),
        _ => (0..length).map(|_| rng.between(1, 255) as u8).collect(),
    };
    encode(&super::set(zxid, &data), out);
}

/// One of before, the same, one of the next or a far one.
fn near(zxid: Zxid, rng: &mut Rng) -> Zxid {
    let some = rng.between(1, 6) as i64;
    let first_of = |epochs: i64| (((zxid.0 >> 32) + epochs) << 32) | 1;
    Zxid(match rng.below(8) {
        0 => zxid.0,
        1 => (zxid.0 - some).max(1),
        2 => zxid.0 + (some << 12),
        3 => zxid.0 + (some << 26),
        4 => first_of(some / 2),
        _ => zxid.0 + some,
    })
}

#[cfg(test)]
mod tests {
    use storage::log::reader::{LogReader, Step};

    use super::*;

    /// The zxids of what can be read there.
    fn records(bytes: &[u8]) -> Vec<Zxid> {
        let mut file = HEADER.to_vec();
        file.extend_from_slice(bytes);
        let Ok(Ok(mut reader)) = LogReader::open(&file[..], 1 << 20) else { return Vec::new() };
        let mut found = Vec::new();
        while let Ok(Step::Record(record)) = reader.step() {
            found.push(record.zxid);
        }
        found
    }

    #[test]
    fn there_is_everything_that_may_be_mistaken() {
        let (zxid, mut of_next, mut rows, mut files, mut ends) = (Zxid(9), 0, 0, 0, 0);
        for seed in 0..300 {
            let bytes = of_log(zxid, 100 + 10 * seed as usize, &mut Rng::new(seed));
            assert_eq!(bytes.len(), 100 + 10 * seed as usize);
            let whole = |at: usize| records(&bytes[at..]);
            let starts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&[0; 4]));
            let found: Vec<_> = starts.map(|at| (at, whole(at))).filter(|(_, found)| !found.is_empty()).collect();
            of_next += i32::from(found.iter().any(|(_, found)| found[0] == zxid.next()));
            rows += i32::from(found.iter().any(|(_, found)| found.len() > 2));
            files += i32::from(found.iter().any(|(at, _)| bytes[..*at].ends_with(&HEADER)));
            ends += i32::from(bytes.last() == Some(&TERMINATOR));
        }
        let all = [of_next, rows, files, ends];
        assert!(all.iter().all(|count| *count > 60), "{all:?}");
    }
}
