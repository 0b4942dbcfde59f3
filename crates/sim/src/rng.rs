//! Random choices from a seed, and from nothing else.

use rand_core::{Rng as _, SeedableRng};
use rand_pcg::Pcg64;

/// Random choices: the same seed gives the same ones, on every machine and with every version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng(Pcg64);

impl Rng {
    /// The choices of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Pcg64::seed_from_u64(seed))
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The high half of a product: no visible bias for limits as small as ours.
        ((u128::from(self.any()) * u128::from(limit)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of them; `None` if there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut rng = Rng::new(7);
        let numbers: Vec<u64> = (0..4).map(|_| rng.below(1000)).collect();
        assert_eq!(numbers, [0, 231, 901, 835], "a replay of an old seed would be another history");
        assert!((0..1000).all(|_| (3..=5).contains(&rng.between(3, 5))));
        assert_eq!(rng.pick::<u8>(&[]), None);
    }
}
