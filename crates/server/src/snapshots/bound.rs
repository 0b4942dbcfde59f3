//! How much may be kept for a cut: the old image of each znode that is changed before it is read.
//!
//! A snapshot for which more would have to be kept is given up, and under a lasting load the next one would be, too, for ever.
//! So one that was given up lets the next one keep twice as much, and be read without rests; one that was written takes one such
//! step back. As each znode of the cut is kept once at most, that ends: no more is ever kept than the tree was at the cut.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// The most bytes of old images that a snapshot under way may keep, as long as none was given up.
pub const IMAGE_BYTES_MAX: usize = 256 << 20;

/// What the next snapshot may keep.
#[derive(Debug)]
pub struct ImageBound {
    first: usize,
    doublings: AtomicU32,
}

impl Default for ImageBound {
    fn default() -> Self {
        Self::new(IMAGE_BYTES_MAX)
    }
}

impl ImageBound {
    /// Begins with so many bytes.
    pub fn new(first: usize) -> Self {
        Self { first, doublings: AtomicU32::new(0) }
    }

    /// In bytes.
    pub fn bytes(&self) -> usize {
        self.first.saturating_mul(1 << self.doublings.load(Relaxed))
    }

    /// A snapshot was written, or given up.
    pub fn ended(&self, is_written: bool) {
        let doublings = self.doublings.load(Relaxed);
        let next = if is_written { doublings.saturating_sub(1) } else { (doublings + 1).min(DOUBLINGS_MAX) };
        self.doublings.store(next, Relaxed);
    }
}

/// 256 TiB.
const DOUBLINGS_MAX: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_as_much_for_each_that_was_given_up_and_a_step_back_for_each_that_was_written() {
        let bound = ImageBound::new(10);
        let ends = [false, false, false, true, true, false, true, true, true];
        let then = ends.map(|is_written| {
            bound.ended(is_written);
            bound.bytes()
        });
        assert_eq!(then, [20, 40, 80, 40, 20, 40, 20, 10, 10]);
        let bound = ImageBound::default();
        (0..100).for_each(|_| bound.ended(false));
        assert_eq!(bound.bytes(), IMAGE_BYTES_MAX << 20);
    }
}
