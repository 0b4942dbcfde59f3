//! From (parent, name) to id. Many small tables, so that the growth of one moves a thousandth of the entries.
//!
//! An entry holds half of its hash beside the id: a probe touches no znode but the one it is looking for, and a part that
//! grows touches none.

use ahash::RandomState;
use hashbrown::HashTable;

use crate::node::NodeId;

const PARTS_BITS: u32 = 10;

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: NodeId,
    half: u32,
}

/// The hash of a child's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlaceHash(u64);

impl PlaceHash {
    fn part(self) -> usize {
        (self.0 >> 32) as usize & ((1 << PARTS_BITS) - 1)
    }

    fn half(self) -> u32 {
        self.0 as u32
    }
}

/// hashbrown takes bits from both ends of its hash.
fn spread(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The index. Keyed: clients choose the names, and must not choose the collisions.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    parts: Vec<HashTable<Entry>>,
    hasher: RandomState,
}

impl Index {
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self { parts: vec![HashTable::new(); 1 << PARTS_BITS], hasher }
    }

    /// The hash of the child `name` of `parent`.
    pub(crate) fn hash(&self, parent: NodeId, name: &[u8]) -> PlaceHash {
        PlaceHash(self.hasher.hash_one((parent.0, name)))
    }

    /// The child with this hash that `is` it.
    pub(crate) fn find(&self, hash: PlaceHash, mut is: impl FnMut(NodeId) -> bool) -> Option<NodeId> {
        let half = hash.half();
        let found = self.parts[hash.part()].find(spread(half), |entry| entry.half == half && is(entry.id));
        found.map(|entry| entry.id)
    }

    /// Inserts `id`, which must not be there.
    pub(crate) fn insert(&mut self, hash: PlaceHash, id: NodeId) {
        let half = hash.half();
        self.parts[hash.part()].insert_unique(spread(half), Entry { id, half }, |entry| spread(entry.half));
    }

    /// Removes `id`.
    pub(crate) fn remove(&mut self, hash: PlaceHash, id: NodeId) {
        if let Ok(entry) = self.parts[hash.part()].find_entry(spread(hash.half()), |entry| entry.id == id) {
            entry.remove();
        }
    }
}
