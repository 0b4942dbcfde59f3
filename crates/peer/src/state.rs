//! Canonical hashes of the machines: two worlds with equal hashes go on alike. For a simulator that explores states.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::pipeline::Pipeline;
use crate::shard::Shard;
use crate::shared::Shared;

impl Pipeline {
    /// The hash of its state; its configuration is not part of it.
    pub fn state_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_state(&mut hasher);
        hasher.finish()
    }
}

impl Shard {
    /// The hash of its state; its configuration and its counters are not part of it.
    pub fn state_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_state(&mut hasher);
        hasher.finish()
    }
}

impl Shared {
    /// The hash of the tree and of what is on its way to the shards.
    pub fn state_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.tree.read().hash_state(&mut hasher);
        self.hash_inboxes(&mut hasher);
        hasher.finish()
    }
}

/// Hashes what has no map inside by its Debug text, which names every field.
pub(crate) fn hash_text(value: &impl std::fmt::Debug, hasher: &mut impl Hasher) {
    format!("{value:?}").hash(hasher);
}
