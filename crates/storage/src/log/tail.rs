//! Is a broken record a torn tail, or damage?
//!
//! A crash during a write leaves a prefix of the file's sectors' worth of luck: any sector of the last batch may be there or
//! not, and one that is not shows zeros, because the file had been filled with zeros, or grew. Bytes that were
//! acknowledged are all there. So what a crash may leave at the end of the last file is
//!
//! * something broken and no whole record behind it, or
//! * something broken *because a sector of it is missing*, with whole records behind it that belong to the same batch.
//!
//! A sector that held the record's checksum or its last byte was never zeros. A sector of zeros elsewhere may be a znode's
//! data: then it explains nothing if a single other bit would make the record whole.
//!
//! A whole record behind the place may stand in the data of the broken one: somebody keeps pieces of a log in a znode, or made
//! it to look like one. It is data, and says nothing, if it lies where the broken one's own txn has its data, and the lengths of the
//! two agree (`record::data_of`): if only the record's was believed, and an acknowledged one has lost it, what follows that
//! would pass for its data.
//!
//! If the machine itself has not failed since ([`ReadOptions::went_on`](super::dir::ReadOptions::went_on)), it is less: what was
//! handed to the kernel is there, so the end of a write may be missing, and nothing in its middle.
//!
//! Everything else was there once and has changed: damage. In doubt it is damage: a server that does not start costs less
//! than one that forgets.

use std::io::{self, Read, Seek, SeekFrom};

use wire::Zxid;

use super::dir::is_next;
use super::reader::{LogReader, split_prefix};
use super::record::{self, OVERHEAD, PREFIX_LENGTH, TERMINATOR};
use super::sums::Sums;

/// What a device writes as a whole, at least.
const SECTOR: u64 = 512;

/// What stands behind the place where the records of a file end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// That place.
    offset: u64,
    /// The txn of the record there, if as much of it is there.
    zxid: Option<Zxid>,
    /// Where the record there would end, by the length it has; `None` if that is no length.
    claimed_end: Option<u64>,
    /// Behind the first sector, or the rest of one, from that place on that is nothing but zeros; not looked for any
    /// further than the longest record reaches.
    zeros_end: Option<u64>,
    /// Is the sector missing that held its checksum?
    sum_is_missing: bool,
    /// The bytes in the place of its checksum, as many as there are.
    sum: [u8; 8],
    /// Is the sector missing that held its last byte, where its length says that it ends?
    end_is_missing: bool,
    /// The first whole record of a later txn: its offset and zxid.
    pub record: Option<(u64, Zxid)>,
    /// Behind the last such record.
    records_end: u64,
    /// Where the data lies that the txn there gives to a znode, if what is left of it says that, and fits its length.
    data: Option<(u64, u64)>,
    /// The first whole record that lies in these data.
    within: Option<(u64, Zxid)>,
    /// The first whole record that does not.
    beyond: Option<(u64, Zxid)>,
    /// Behind the last such record.
    beyond_end: u64,
    /// Behind the last byte that is not zero.
    dirty_end: u64,
    /// The file's length in bytes.
    pub length: u64,
    /// What may be a record, too long to be taken in only because its length says so: see [`with_long`](Self::with_long).
    long: [Option<Long>; LONG_MAX],
}

/// Bytes that look like the beginning of a long record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Long {
    pub(super) offset: u64,
    pub(super) zxid: Zxid,
    /// Where it would end.
    pub(super) end: u64,
}

/// A record of so many bytes is looked at in memory, whatever the limit.
const LONG: usize = 16 << 20;
/// How many longer ones are looked at behind one end.
const LONG_MAX: usize = 4;

impl Behind {
    /// Is all of the record there, and only its length is wrong: with any other one that has it end in front of some of what is
    /// behind it, be that no whole record? No interrupted write leaves that. `source` is the file.
    pub(super) fn is_whole_somewhere(&self, source: &mut (impl Read + Seek + ?Sized)) -> io::Result<bool> {
        is_whole_somewhere(source, self.offset, self.dirty_end)
    }

    /// The same without the records that lie in the data of the one there, and the first of those: what somebody has written into a
    /// znode says nothing of the log. Only the txn that comes next can be there, so another one is not believed. `after` is the last
    /// txn before it, `initial_counter` the counter with which epochs begin.
    pub fn without_data(self, after: Zxid, initial_counter: u32) -> (Self, Option<(u64, Zxid)>) {
        if self.within.is_none() || !self.zxid.is_some_and(|zxid| is_next(after, zxid, initial_counter)) {
            return (self, None);
        }
        (Self { record: self.beyond, records_end: self.beyond_end, ..self }, self.within)
    }

    /// A whole record from `at` to `end`.
    fn found(&mut self, at: u64, zxid: Zxid, end: u64) {
        let is_first = |record: Option<(u64, Zxid)>| record.is_none_or(|(first, _)| at < first);
        if is_first(self.record) {
            self.record = Some((at, zxid));
        }
        self.records_end = self.records_end.max(end);
        if self.data.is_some_and(|(from, to)| from <= at && end <= to) {
            if is_first(self.within) {
                self.within = Some((at, zxid));
            }
        } else {
            if is_first(self.beyond) {
                self.beyond = Some((at, zxid));
            }
            self.beyond_end = self.beyond_end.max(end);
        }
    }

    /// What may be long records, in the order in which they begin.
    pub(super) fn long(&self) -> impl Iterator<Item = Long> + use<> {
        self.long.into_iter().flatten().filter({
            let length = self.length;
            move |long| long.end <= length
        })
    }

    /// This one is a record, and whole.
    pub(super) fn with_long(mut self, long: &Long) -> Self {
        self.found(long.offset, long.zxid, long.end);
        self
    }

    /// Is there anything but zeros?
    pub fn is_dirty(&self) -> bool {
        self.dirty_end > self.offset
    }

    /// May a crash have left this, if the last batch had at most `batch_max` bytes? Only at the end of a history, and only
    /// if a write that was interrupted explains it, where whole records are behind.
    pub fn is_torn(&self, batch_max: u64, is_explained: bool) -> bool {
        self.record.is_none() || (is_explained && self.records_end - self.offset <= batch_max)
    }

    /// Is it the beginning of a record and nothing else: what a process leaves that ends during a write, while the machine goes
    /// on?
    pub fn is_beginning(&self) -> bool {
        let end = self.claimed_end.unwrap_or(self.offset + PREFIX_LENGTH as u64 + 1);
        // Of any checksum the upper half is zero and the lower one is not.
        let (upper, lower) = self.sum.split_at(4);
        let has_sum = upper == [0; 4] && (lower != [0; 4] || self.dirty_end <= self.offset + 8);
        self.record.is_none() && has_sum && (self.length < end || self.dirty_end < end)
    }

    /// Does it show that a write was interrupted: a sector that was never written, or an end that is missing? Otherwise
    /// it may have been whole once. `source` is the file.
    pub fn is_explained(&self, source: &mut (impl Read + Seek + ?Sized)) -> io::Result<bool> {
        if self.is_whole_somewhere(source)? {
            return Ok(false);
        }
        Ok(match (self.evidence(), self.end_there()) {
            (Evidence::None, _) => false,
            (Evidence::Zeros, Some(end)) => !is_a_bit_away(source, self.offset, end)?,
            (Evidence::Zeros, None) | (Evidence::Sure, _) => true,
        })
    }

    fn evidence(&self) -> Evidence {
        let zeros_before = |limit| self.zeros_end.is_some_and(|end| end <= limit);
        let found = |is_found| if is_found { Evidence::Zeros } else { Evidence::None };
        match (self.record, self.claimed_end) {
            (Some((next, _)), claimed_end) => {
                let ends_here = claimed_end.is_some_and(|end| end <= next);
                if self.sum_is_missing || (ends_here && self.end_is_missing) {
                    return Evidence::Sure;
                }
                // A sector that begins behind the record is none of its own.
                // The next one may begin in it with the zeros that every checksum begins with.
                let next = next + 4;
                let reach = claimed_end.map_or(next, |end| next.min(end.next_multiple_of(SECTOR)));
                found(zeros_before(reach))
            }
            (None, Some(end)) if self.length < end || self.dirty_end < end => Evidence::Sure,
            (None, Some(end)) => found(zeros_before(end.next_multiple_of(SECTOR))),
            (None, None) => {
                let prefix_end = self.offset + PREFIX_LENGTH as u64;
                if self.dirty_end <= prefix_end || zeros_before(prefix_end.next_multiple_of(SECTOR)) {
                    Evidence::Sure
                } else {
                    Evidence::None
                }
            }
        }
    }

    /// Where the record there ends by its own length, if the file reaches so far. What seems to begin before may be its data.
    fn end_there(&self) -> Option<u64> {
        self.claimed_end.filter(|end| *end <= self.length)
    }
}

/// What shows that a write was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// Nothing.
    None,
    /// A sector of zeros where a record is, which may be its content.
    Zeros,
    /// Bytes that are missing and were never zero, or never there.
    Sure,
}

impl<R: Read> LogReader<R> {
    /// Reads the rest of the file, behind an end that [`step`](Self::step) has given. `after` is the last zxid before.
    pub fn look_behind(&mut self, after: Zxid) -> io::Result<Behind> {
        self.look_behind_with(after, &mut Sums::default())
    }

    fn look_behind_with(&mut self, after: Zxid, sums: &mut Sums) -> io::Result<Behind> {
        let mut behind = self.look_here()?;
        loop {
            let offset = self.window.offset;
            let bytes = self.window.peek(OVERHEAD + record::BLOB_MIN)?;
            if bytes.len() < OVERHEAD + record::BLOB_MIN {
                if let Some(last) = bytes.iter().rposition(|b| *b != 0) {
                    behind.dirty_end = offset + last as u64 + 1;
                }
                behind.length = offset + bytes.len() as u64;
                return Ok(behind);
            }
            // A record begins with four to seven zeros, so a longer run holds none but at its end.
            let zeros = leading_zeros(bytes);
            if zeros > 7 {
                self.window.consume(zeros - 7);
                continue;
            }
            // Later than what stands before the place: one in the data of another may be of any txn, and must not hide those behind it.
            if let Some((zxid, length)) = self.later_record(after, sums, &mut behind.long)? {
                behind.found(offset, zxid, offset + length as u64);
                behind.dirty_end = offset + length as u64;
                self.window.consume(length);
            } else {
                if zeros == 0 {
                    behind.dirty_end = offset + 1;
                }
                self.window.consume(1);
            }
        }
    }

    /// What can be said from the place itself.
    fn look_here(&mut self) -> io::Result<Behind> {
        let (offset, blob_max) = (self.window.offset, self.blob_max());
        let prefix = self.window.peek(PREFIX_LENGTH + record::BLOB_MIN)?;
        let zxid = prefix.get(PREFIX_LENGTH..).and_then(record::zxid_of);
        let mut sum = [0; 8];
        sum.iter_mut().zip(prefix).for_each(|(to, byte)| *to = *byte);
        let length = prefix.first_chunk::<PREFIX_LENGTH>().map(|prefix| split_prefix(prefix).1);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| (record::BLOB_MIN..=blob_max).contains(length));
        let claimed_end = length.map(|length| offset + (length + OVERHEAD) as u64);
        let bytes = self.window.peek(length.unwrap_or(blob_max) + OVERHEAD + SECTOR as usize)?;
        let is_zero = |bytes: &[u8]| bytes.iter().all(|b| *b == 0);
        let first = (SECTOR - offset % SECTOR) as usize;
        let (head, rest) = bytes.split_at(first.min(bytes.len()));
        // The upper half of a checksum is zero in any record: a sector that ends with it need not be missing.
        let zeros_end = if first > 4 && is_zero(head) {
            Some(offset + head.len() as u64)
        } else {
            let at = rest.chunks(SECTOR as usize).position(is_zero);
            at.map(|at| (offset + first as u64 + (at as u64 + 1) * SECTOR).min(offset + bytes.len() as u64))
        };
        // Is the byte's sector nothing but zeros, as far as it is this record's or of what follows?
        let is_missing = |at: u64| {
            let from = (at - at % SECTOR).max(offset) - offset;
            let to = (at - at % SECTOR + SECTOR - offset).min(bytes.len() as u64);
            at - offset < to && is_zero(&bytes[from as usize..to as usize])
        };
        // The lower half of the checksum, the one that is not zero.
        let sum_is_missing = is_missing(offset + 4) && is_missing(offset + 7);
        let end_is_missing = claimed_end.is_some_and(|end| is_missing(end - 1));
        let data = length.and_then(|length| {
            let (from, to) = record::data_of(bytes.get(PREFIX_LENGTH..)?, length)?;
            let blob = offset + PREFIX_LENGTH as u64;
            Some((blob + from as u64, blob + to as u64))
        });
        Ok(Behind {
            offset,
            zxid,
            claimed_end,
            zeros_end,
            sum_is_missing,
            sum,
            end_is_missing,
            record: None,
            records_end: offset,
            data,
            within: None,
            beyond: None,
            beyond_end: offset,
            dirty_end: offset,
            length: offset,
            long: [None; LONG_MAX],
        })
    }

    /// The record that begins just here, if it is whole and its txn may come after `after`: its zxid and length. It may
    /// be longer than the limit: it was written under another one. But a length may also be what is damaged, so one that is
    /// much longer is only remembered in `long`.
    fn later_record(
        &mut self,
        after: Zxid,
        sums: &mut Sums,
        long: &mut [Option<Long>; LONG_MAX],
    ) -> io::Result<Option<(Zxid, usize)>> {
        let head = self.window.peek(PREFIX_LENGTH + record::BLOB_MIN)?;
        let Some((prefix, blob)) = head.split_first_chunk::<PREFIX_LENGTH>() else { return Ok(None) };
        let Some(blob_length) = plausible_length(prefix) else { return Ok(None) };
        // Before anything is read for the sake of a length that may be none.
        let Some(zxid) = record::zxid_of(blob).filter(|zxid| may_be_near(after, *zxid)) else { return Ok(None) };
        let (sum, _) = split_prefix(prefix);
        let offset = self.window.offset;
        if blob_length > self.blob_max().max(LONG) {
            if let Some(free) = long.iter_mut().find(|long| long.is_none()) {
                *free = Some(Long { offset, zxid, end: offset + (blob_length + OVERHEAD) as u64 });
            }
            return Ok(None);
        }
        let bytes = self.window.peek(blob_length + OVERHEAD)?;
        if bytes.get(PREFIX_LENGTH + blob_length) != Some(&TERMINATOR) {
            return Ok(None);
        }
        let found = sums.of(offset, bytes, PREFIX_LENGTH, PREFIX_LENGTH + blob_length);
        Ok((i64::from(found) == sum).then_some((zxid, blob_length + OVERHEAD)))
    }
}

/// Is the record that begins at `offset` whole, whatever length it names, if it ends anywhere up to `limit`? Adler-32 is known
/// after each byte, and the stored one hardly fits by chance.
fn is_whole_somewhere(source: &mut (impl Read + Seek + ?Sized), offset: u64, limit: u64) -> io::Result<bool> {
    let Some(mut left) = limit.checked_sub(offset + PREFIX_LENGTH as u64) else { return Ok(false) };
    source.seek(SeekFrom::Start(offset))?;
    let mut prefix = [0; PREFIX_LENGTH];
    source.read_exact(&mut prefix)?;
    let Ok(stored) = u32::try_from(split_prefix(&prefix).0) else { return Ok(false) };
    let (mut low, mut high, mut length) = (1, 0, 0);
    let mut chunk = vec![0; left.min(1 << 18) as usize];
    while left > 0 {
        let n = left.min(chunk.len() as u64) as usize;
        source.read_exact(&mut chunk[..n])?;
        left -= n as u64;
        for byte in &chunk[..n] {
            if *byte == TERMINATOR && length >= record::BLOB_MIN && stored == high << 16 | low {
                return Ok(true);
            }
            low = modulo(low + u32::from(*byte));
            high = modulo(high + low);
            length += 1;
        }
    }
    Ok(false)
}

/// Of what is less than twice the prime.
fn modulo(n: u32) -> u32 {
    if n >= ADLER as u32 { n - ADLER as u32 } else { n }
}

/// Would one other bit make the record from `offset` to `end` whole? Adler-32 tells which one it would have to be: a byte
/// that is larger by d, p bytes before the blob's end, makes its lower half larger by d and its upper half by p * d.
fn is_a_bit_away(source: &mut (impl Read + Seek + ?Sized), offset: u64, end: u64) -> io::Result<bool> {
    let Some(length) = end.checked_sub(offset + OVERHEAD as u64) else { return Ok(false) };
    source.seek(SeekFrom::Start(offset))?;
    let mut prefix = [0; PREFIX_LENGTH];
    source.read_exact(&mut prefix)?;
    let stored = split_prefix(&prefix).0 as u64;
    let mut adler = simd_adler32::Adler32::new();
    let mut chunk = vec![0; length.min(1 << 18) as usize];
    let mut left = length;
    while left > 0 {
        let n = left.min(chunk.len() as u64) as usize;
        source.read_exact(&mut chunk[..n])?;
        adler.write(&chunk[..n]);
        left -= n as u64;
    }
    let mut terminator = [0];
    source.read_exact(&mut terminator)?;
    let found = u64::from(adler.finish());
    let bits = (stored ^ found).count_ones() + u32::from(terminator[0] ^ TERMINATOR).count_ones();
    if bits <= 1 {
        return Ok(true);
    }
    if terminator != [TERMINATOR] || stored >> 32 != 0 {
        return Ok(false);
    }
    let difference = |shift: u64| ((stored >> shift & 0xffff) + ADLER - (found >> shift & 0xffff)) % ADLER;
    let (low, high) = (difference(0), difference(16));
    for bit in 0..8 {
        for (step, is_set) in [(1 << bit, false), (ADLER - (1 << bit), true)] {
            if step != low {
                continue;
            }
            // The places are those p for which p * step is the upper half's difference.
            let first = high * inverse(step) % ADLER;
            let mut place = if first == 0 { ADLER } else { first };
            while place <= length {
                source.seek(SeekFrom::Start(offset + PREFIX_LENGTH as u64 + length - place))?;
                let mut byte = [0];
                source.read_exact(&mut byte)?;
                if (byte[0] >> bit & 1 == 1) == is_set {
                    return Ok(true);
                }
                place += ADLER;
            }
        }
    }
    Ok(false)
}

/// The prime of Adler-32.
const ADLER: u64 = 65521;

/// What gives 1 when multiplied by `n`, modulo that prime.
fn inverse(n: u64) -> u64 {
    let (mut base, mut exponent, mut result) = (n % ADLER, ADLER - 2, 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % ADLER;
        }
        base = base * base % ADLER;
        exponent >>= 1;
    }
    result
}

/// The length of the blob that a record with this prefix would have.
fn plausible_length(prefix: &[u8; PREFIX_LENGTH]) -> Option<usize> {
    let (sum, length) = split_prefix(prefix);
    let length = usize::try_from(length).ok()?;
    let is_sum = u32::try_from(sum).is_ok_and(|sum| sum != 0);
    (is_sum && length >= record::BLOB_MIN).then_some(length)
}

/// Could a record of `zxid` stand a little behind one of `after`? Keeps data that only looks like a record out.
fn may_be_near(after: Zxid, zxid: Zxid) -> bool {
    let epochs = i64::from(zxid.epoch().0) - i64::from(after.epoch().0);
    match epochs {
        0 => zxid > after && zxid.counter() - after.counter() < 1 << 24,
        _ => (1..1 << 16).contains(&epochs),
    }
}

fn leading_zeros(bytes: &[u8]) -> usize {
    let zero_blocks = bytes.chunks_exact(256).take_while(|block| block.iter().fold(0, |a, b| a | b) == 0).count();
    let from = 256 * zero_blocks;
    from + bytes[from..].iter().take_while(|b| **b == 0).count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// What looks like the prefix of a record, and the beginning of its txn.
    fn head(sum: u32, length: usize, zxid: Zxid) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&sum.to_be_bytes());
        bytes.extend_from_slice(&(length as i32).to_be_bytes());
        bytes.extend_from_slice(&[7; 12]);
        bytes.extend_from_slice(&zxid.0.to_be_bytes());
        bytes.extend_from_slice(&[7; 12]);
        bytes
    }

    #[test]
    fn data_that_looks_like_many_long_records_costs_no_more_than_its_length() {
        // Each reaches to the middle of the file or further, and ends with what ends a record.
        let (count, size) = (4000, 400_000);
        let mut bytes = vec![TERMINATOR; size];
        bytes[..record::HEADER.len()].copy_from_slice(&record::HEADER);
        bytes[16..28].copy_from_slice(&[0xff; 12]);
        for i in 0..count {
            let at = 40 + 44 * i;
            bytes[at..at + 44].copy_from_slice(&head(0x1234_5678, size / 2, Zxid(2 + i as i64)));
        }
        let (real, mut record, mut blob) = (Zxid(9000), Vec::new(), [7; 64]);
        blob[12..20].copy_from_slice(&real.0.to_be_bytes());
        record::encode(&blob, &mut record);
        bytes.extend_from_slice(&record);
        let mut reader = LogReader::open(bytes.as_slice(), 1 << 20).unwrap().unwrap();
        reader.step().unwrap();
        let mut sums = Sums::default();
        let behind = reader.look_behind_with(Zxid(1), &mut sums).unwrap();
        assert_eq!(behind.record, Some((size as u64, real)), "the one that is whole is found");
        assert!(sums.summed < 20 * size as u64, "{} bytes were summed up", sums.summed);
    }

    /// Remembers how many bytes it was asked for at once.
    struct Asked<R>(R, usize);

    impl<R: Read> Read for Asked<R> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1.max(out.len());
            self.0.read(out)
        }
    }

    #[test]
    fn a_length_with_a_bit_too_much_does_not_take_in_the_file() {
        let mut bytes = record::HEADER.to_vec();
        for zxid in 1..=3_i64 {
            let mut blob = vec![7; 100];
            blob[12..20].copy_from_slice(&zxid.to_be_bytes());
            record::encode(&blob, &mut bytes);
        }
        let length = (bytes.len() - 16) / 3;
        bytes[16 + length + 8] ^= 0x10;
        bytes.resize(40 << 20, 1);
        let mut source = Asked(&bytes[..], 0);
        let mut reader = LogReader::open(&mut source, 1 << 20).unwrap().unwrap();
        assert!(matches!(reader.step().unwrap(), super::super::reader::Step::Record(_)));
        assert!(matches!(reader.step().unwrap(), super::super::reader::Step::End(_)));
        let behind = reader.look_behind(Zxid(1)).unwrap();
        assert_eq!(behind.record, Some((16 + 2 * length as u64, Zxid(3))), "the one behind it is found");
        assert_eq!(behind.long().count(), 0, "it would end behind the file");
        drop(reader);
        assert!(source.1 <= 4 << 20, "asked for {} bytes", source.1);
    }
}
