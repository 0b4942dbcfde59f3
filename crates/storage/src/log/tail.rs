//! Is a broken record a torn tail, or damage?
//!
//! A crash during a write leaves a prefix of the file's sectors' worth of luck: any sector of the last batch may be there or
//! not, and one that is not shows zeros, because the file had been filled with zeros, or grew. Bytes that were
//! acknowledged are all there. So what a crash may leave at the end of the last file is
//!
//! * something broken and no whole record behind it, or
//! * something broken *because a sector of it is missing*, with whole records behind it that belong to the same batch.
//!
//! Everything else was there once and has changed: damage.

use std::io::{self, Read};

use wire::Zxid;

use super::reader::{End, Flaw, LogReader, split_prefix};
use super::record::{self, OVERHEAD, PREFIX_LENGTH, TERMINATOR};

/// What a device writes as a whole, at least.
const SECTOR: u64 = 512;

/// What stands behind the place where the records of a file end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// The first whole record of a later txn: its offset and zxid.
    pub record: Option<(u64, Zxid)>,
    /// Behind the last such record.
    pub records_end: u64,
    /// Is any byte, from that place on, not zero?
    pub is_dirty: bool,
    /// Does what is broken look as if a sector of it had never been written, or the file's growth?
    pub is_unwritten: bool,
    /// The file's length in bytes.
    pub length: u64,
}

impl Behind {
    /// May a crash have left this at `end`, if the last batch had at most `batch_max` bytes?
    pub fn is_torn(&self, end: End, batch_max: u64) -> bool {
        self.record.is_none() || (self.is_unwritten && self.records_end - end.offset() <= batch_max)
    }
}

impl<R: Read> LogReader<R> {
    /// Reads the rest of the file, behind an end that [`step`](Self::step) has given. `after` is the last zxid before.
    pub fn look_behind(&mut self, after: Zxid) -> io::Result<Behind> {
        let start = self.window.offset;
        let mut behind = Behind {
            record: None,
            records_end: start,
            is_dirty: false,
            is_unwritten: self.has_unwritten_sector()?,
            length: start,
        };
        let mut after = after;
        loop {
            let offset = self.window.offset;
            let bytes = self.window.peek(OVERHEAD + record::BLOB_MIN)?;
            if bytes.len() < OVERHEAD + record::BLOB_MIN {
                behind.is_dirty |= bytes.iter().any(|b| *b != 0);
                behind.length = offset + bytes.len() as u64;
                return Ok(behind);
            }
            // A record begins with four to seven zeros, so a longer run holds none but at its end.
            let zeros = leading_zeros(bytes);
            if zeros > 7 {
                self.window.consume(zeros - 7);
                continue;
            }
            behind.is_dirty = true;
            match self.later_record(after)? {
                Some((zxid, length)) => {
                    behind.record.get_or_insert((offset, zxid));
                    behind.records_end = offset + length as u64;
                    after = zxid;
                    self.window.consume(length);
                }
                None => self.window.consume(1),
            }
        }
    }

    /// The record that begins just here, if it is whole and its txn may come after `after`: its zxid and length.
    fn later_record(&mut self, after: Zxid) -> io::Result<Option<(Zxid, usize)>> {
        let blob_max = self.blob_max();
        let Some(prefix) = self.window.peek(PREFIX_LENGTH)?.first_chunk::<PREFIX_LENGTH>() else { return Ok(None) };
        let Some(blob_length) = plausible_length(prefix, blob_max) else { return Ok(None) };
        let (sum, _) = split_prefix(prefix);
        let bytes = self.window.peek(blob_length + OVERHEAD)?;
        if bytes.get(PREFIX_LENGTH + blob_length) != Some(&TERMINATOR) {
            return Ok(None);
        }
        let blob = &bytes[PREFIX_LENGTH..PREFIX_LENGTH + blob_length];
        let Some(zxid) = record::zxid_of(blob).filter(|zxid| may_be_near(after, *zxid)) else { return Ok(None) };
        Ok((i64::from(record::checksum(blob)) == sum).then_some((zxid, blob_length + OVERHEAD)))
    }

    /// Is there, in what begins here, a sector of nothing but zeros (of the first one: the part from here on), or does
    /// the file end in it?
    fn has_unwritten_sector(&mut self) -> io::Result<bool> {
        let (offset, blob_max) = (self.window.offset, self.blob_max());
        let prefix = self.window.peek(PREFIX_LENGTH)?;
        let extent = match prefix.first_chunk::<PREFIX_LENGTH>() {
            Some(prefix) => plausible_length(prefix, blob_max).unwrap_or(blob_max) + OVERHEAD,
            None => return Ok(true),
        };
        let first = (SECTOR - offset % SECTOR) as usize;
        let bytes = self.window.peek(extent + SECTOR as usize)?;
        if bytes.len() < extent.min(first) {
            return Ok(true);
        }
        let is_zero = |bytes: &[u8]| bytes.iter().all(|b| *b == 0);
        let (head, rest) = bytes.split_at(first.min(bytes.len()));
        let rest = &rest[..rest.len().min(extent.saturating_sub(first).next_multiple_of(SECTOR as usize))];
        Ok(bytes.len() < extent || is_zero(head) || rest.chunks(SECTOR as usize).any(is_zero))
    }
}

/// The length of the blob that a record with this prefix would have.
fn plausible_length(prefix: &[u8; PREFIX_LENGTH], blob_max: usize) -> Option<usize> {
    let (sum, length) = split_prefix(prefix);
    let length = usize::try_from(length).ok()?;
    let is_sum = u32::try_from(sum).is_ok_and(|sum| sum != 0);
    (is_sum && (record::BLOB_MIN..=blob_max).contains(&length)).then_some(length)
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
    let zero_blocks = bytes.chunks_exact(64).take_while(|block| block.iter().fold(0, |a, b| a | b) == 0).count();
    let from = 64 * zero_blocks;
    from + bytes[from..].iter().take_while(|b| **b == 0).count()
}

impl Flaw {
    /// Can a write that was interrupted, and nothing else, leave this? (A file that ends early, an end that is missing.)
    pub fn is_of_interrupted_write(self) -> bool {
        matches!(self, Self::CutOff | Self::Terminator(0))
    }
}
