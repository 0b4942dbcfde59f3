//! Checksums of many overlapping pieces of the same bytes, at the price of a few of them.
//!
//! Behind damage a record may begin at any byte, and each that seems to begin has a length of its own choice: summing up each
//! of them would cost the square of the file's length, where somebody has written data that looks like many long records.
//! Adler-32 is two sums, so that of a piece follows from those of all bytes up to its beginning and up to its end. They are
//! kept at the borders of blocks; what a piece has beside whole blocks is less than two of them.

use std::collections::VecDeque;

use simd_adler32::Adler32;

/// The bytes of a block.
const BLOCK: u64 = 1024;
/// The prime of Adler-32.
const PRIME: u64 = 65521;

/// Of bytes that are looked at from their beginning to their end.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    /// The number of the first block.
    first: u64,
    /// The Adler-32 of all bytes from there up to the beginning of each block; none of them: nothing is known.
    at: VecDeque<u32>,
    /// How many bytes were summed up in all.
    pub(super) summed: u64,
}

impl Sums {
    /// The Adler-32 of `bytes[from..to]`. `base` is where `bytes` begin in the file; it and `from` never go back.
    pub(super) fn of(&mut self, base: u64, bytes: &[u8], from: usize, to: usize) -> u32 {
        let (first, last) = ((base + from as u64).div_ceil(BLOCK), (base + to as u64) / BLOCK);
        let place = |block: u64| (block * BLOCK - base) as usize;
        if last <= first {
            return self.add(1, &bytes[from..to]);
        }
        match first.checked_sub(self.first) {
            Some(gone) if gone < self.at.len() as u64 => drop(self.at.drain(..gone as usize)),
            _ => self.at = VecDeque::from([1]),
        }
        self.first = first;
        let mut sum = self.at.back().copied().unwrap_or(1);
        for block in first + self.at.len() as u64 - 1..last {
            sum = self.add(sum, &bytes[place(block)..place(block + 1)]);
            self.at.push_back(sum);
        }
        let head = self.add(1, &bytes[from..place(first)]);
        let behind = self.at.get((last - first) as usize).copied().unwrap_or(sum);
        let before = self.at.front().copied().unwrap_or(1);
        let blocks = between(before, behind, (last - first) * BLOCK);
        let tail = joined(head, blocks, (last - first) * BLOCK);
        self.add(tail, &bytes[place(last)..to])
    }

    fn add(&mut self, sum: u32, bytes: &[u8]) -> u32 {
        self.summed += bytes.len() as u64;
        let mut adler = Adler32::from_checksum(sum);
        adler.write(bytes);
        adler.finish()
    }
}

/// The two sums, the lower half first.
fn halves(sum: u32) -> (u64, u64) {
    (u64::from(sum & 0xffff), u64::from(sum >> 16))
}

fn sum_of(low: u64, high: u64) -> u32 {
    ((high % PRIME) << 16 | (low % PRIME)) as u32
}

/// That of the `n` bytes between two places, from those of everything up to each.
fn between(before: u32, behind: u32, n: u64) -> u32 {
    let ((low, high), (low_behind, high_behind), n) = (halves(before), halves(behind), n % PRIME);
    // Each of the n steps has added the lower half that was there before, and the beginning's is 1.
    let high = high_behind + n + 2 * PRIME - high - n * low % PRIME;
    sum_of(1 + low_behind + PRIME - low, high)
}

/// That of two pieces one behind the other, of which the second has `n` bytes.
fn joined(one: u32, other: u32, n: u64) -> u32 {
    let ((low, high), (low_behind, high_behind)) = (halves(one), halves(other));
    let rise = low + PRIME - 1;
    sum_of(rise + low_behind, high + high_behind + n % PRIME * (rise % PRIME))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::record::checksum;

    proptest! {
        #[test]
        fn each_is_that_of_its_piece(
            bytes in proptest::collection::vec(any::<u8>(), 1..12_000),
            base in 0u64..3000,
            pieces in proptest::collection::vec((any::<u16>(), any::<u16>(), any::<u16>()), 1..40),
        ) {
            let mut sums = Sums::default();
            let mut pieces: Vec<_> = pieces
                .into_iter()
                .map(|(skip, from, to)| {
                    let from = usize::from(from) % bytes.len();
                    (usize::from(skip) % (from + 1), from, from + usize::from(to) % (bytes.len() - from + 1))
                })
                .collect();
            // What was looked at before is gone from the front.
            pieces.sort_by_key(|(_, from, _)| *from);
            let mut begin = 0;
            for (skip, from, to) in pieces {
                begin = begin.max(skip);
                let found = sums.of(base + begin as u64, &bytes[begin..], from - begin, to - begin);
                prop_assert_eq!(found, checksum(&bytes[from..to]), "{}..{}", from, to);
            }
        }
    }

    #[test]
    fn bytes_of_the_largest_value() {
        let bytes = vec![0xff; 300_000];
        let mut sums = Sums::default();
        for from in (0..100_000).step_by(7001) {
            for to in [from, from + 1, from + 1024, from + 70_000, bytes.len()] {
                assert_eq!(sums.of(0, &bytes, from, to), checksum(&bytes[from..to]), "{from}..{to}");
            }
        }
    }
}
