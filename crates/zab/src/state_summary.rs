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
}

impl fmt::Display for StateSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "current epoch {}, last txn {}", self.current, self.last)
    }
}
