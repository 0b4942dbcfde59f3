//! Peers that lie: a leader to its learner, a learner to its leader, anybody on the election port. The connection or the role
//! ends, with one line that says why; the log, what is acknowledged and what is applied stay as they must be; and whoever
//! was lied to goes on with the others. What does not even come so far, because it is no packet, is for the ports
//! (`crates/server/src/quorum`).
//!
//! Not here: what a member of the ensemble may say and does not mean. Who votes can vote for anybody, and who connects
//! with another server's id takes the place of that one's connection, as with Apache.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, and says what it has tried"
)]

mod election;
mod leader;
mod learner;
mod random;
#[path = "../small/mod.rs"]
mod small;

use small::{options, proposal, start, z};
use wire::Zxid;

/// A reason is one line.
fn is_a_line(text: &str) {
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}

/// Numbers that look random (SplitMix64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// A zxid that may be right, or anything.
    fn zxid(&mut self, right: Zxid) -> Zxid {
        match self.below(12) {
            0 => z(self.below(4) as i32, self.below(4) as u32),
            1 => Zxid(right.0.wrapping_add(1)),
            2 => Zxid(right.0.wrapping_sub(1)),
            3 => [Zxid(-1), Zxid(0), Zxid(i64::MIN), Zxid(i64::MAX)][self.below(4) as usize],
            _ => right,
        }
    }
}
