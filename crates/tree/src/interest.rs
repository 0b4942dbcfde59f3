//! Which shards watch a path: a bit a shard, with the znode, or with the path where there is no znode.
//!
//! A set bit without a watch costs a spurious entry in that shard's inbox; a watch without its bit would be a lost
//! event. So a bit is set before the read that registers the watch is answered, and a shard clears its own only under a
//! guard that shows that its inbox is empty.

/// A bit a shard. Shards eight apart would share one, and take back each other's: a server has at most eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardMask(pub u8);

impl ShardMask {
    /// The bit of this shard.
    pub const fn of(shard: usize) -> Self {
        Self(1 << (shard % 8))
    }

    /// Does it hold the bit of this shard?
    pub const fn has(self, shard: usize) -> bool {
        self.0 & Self::of(shard).0 != 0
    }

    /// No shard at all.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What a shard is interested in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Existence and data of one path.
    Data,
    /// The children of one path.
    Child,
    /// A path and everything below it.
    Recursive,
}
