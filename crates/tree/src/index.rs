//! From (parent, name) to id. Many small tables, so that the growth of one moves a thousandth of the entries.

use ahash::RandomState;
use hashbrown::HashTable;

use crate::node::NodeId;

const PARTS_BITS: u32 = 10;

/// The index. Keyed: clients choose the names, and must not choose the collisions.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    parts: Vec<HashTable<NodeId>>,
    hasher: RandomState,
}

impl Index {
    pub fn new(hasher: RandomState) -> Self {
        Self { parts: vec![HashTable::new(); 1 << PARTS_BITS], hasher }
    }

    /// The keyed hasher, for entries that a growing part moves.
    pub fn clone_hasher(&self) -> RandomState {
        self.hasher.clone()
    }

    /// The hash of a child's place.
    pub fn hash(&self, parent: NodeId, name: &[u8]) -> u64 {
        self.hasher.hash_one((parent.0, name))
    }

    /// hashbrown takes bits from both ends, so the part comes from the middle.
    fn part(hash: u64) -> usize {
        (hash >> 40) as usize & ((1 << PARTS_BITS) - 1)
    }

    pub fn find(&self, hash: u64, is: impl FnMut(&NodeId) -> bool) -> Option<NodeId> {
        self.parts[Self::part(hash)].find(hash, is).copied()
    }

    /// Inserts `id`, which must not be there. `rehash` gives the hash of an entry that a growing part moves.
    pub fn insert(&mut self, hash: u64, id: NodeId, rehash: impl Fn(&NodeId) -> u64) {
        self.parts[Self::part(hash)].insert_unique(hash, id, rehash);
    }

    pub fn remove(&mut self, hash: u64, id: NodeId) {
        if let Ok(entry) = self.parts[Self::part(hash)].find_entry(hash, |&other| other == id) {
            entry.remove();
        }
    }
}
