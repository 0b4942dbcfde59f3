//! What a server knows, in two numbers: the epoch whose history it took last, and where its history ends.
//!
//! Source: Apache `StateSummary`.

use std::fmt;

use wire::{Epoch, Zxid};

/// A server's knowledge. The greater one knows more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateSummary {
    /// `currentEpoch`.
    pub current: Epoch,
    /// The last zxid of the history.
    pub last: Zxid,
}

impl StateSummary {
    /// The epoch that stands for "I said it before" or "I have none".
    pub const NO_EPOCH: Epoch = Epoch(-1);
    /// The zxid of a server that has lost its state.
    pub const NO_HISTORY: Zxid = Zxid(-1);

    /// Must who knows `other` not lead who knows this? Where both histories end with the same txn they are the same, whatever
    /// the epochs: whoever proposed something in the later one, and had it acknowledged, left it in a quorum, of which
    /// somebody shows it to the next leader. A leader that loses power before it has written its own `currentEpoch` would otherwise
    /// have to wait for one that did as it said, also if that one can't be voted for. Apache compares the epochs first.
    pub fn knows_more_than(&self, other: &Self) -> bool {
        self.last != other.last && self > other
    }
}

impl fmt::Display for StateSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "current epoch {}, last txn {}", self.current, self.last)
    }
}
