//! The packed form of a znode.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use wire::{StatPersisted, Zxid};

use crate::arena::BlobId;

/// A znode's slot. A slot is used again after its znode was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl NodeId {
    /// No znode.
    pub const NONE: Self = Self(u32::MAX);
    /// The root.
    pub const ROOT: Self = Self(0);

    pub(crate) fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// No [`Ext`].
pub(crate) const NO_EXT: u32 = u32::MAX;

/// What every znode has, in 72 bytes. What it has beside is in its [`Ext`].
#[derive(Debug)]
pub(crate) struct Node {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime: i64,
    pub mtime: i64,
    /// [`NodeId::NONE`] in a free slot; the root is its own parent.
    pub parent: NodeId,
    /// Name length (varint), name, data.
    pub blob: BlobId,
    /// -1: null.
    pub data_length: i32,
    /// In the ACL table.
    pub acl: u32,
    pub version: i32,
    /// The siblings in the order of their creation.
    pub next: NodeId,
    pub previous: NodeId,
    pub ext: u32,
    /// What the znode adds to the tree's digest.
    pub digest: u32,
    /// A bit a shard with a watch on its data or existence.
    pub data_interest: AtomicU8,
    /// … on its children.
    pub child_interest: AtomicU8,
    /// … on it and all below it.
    pub recursive_interest: AtomicU8,
}

impl Clone for Node {
    fn clone(&self) -> Self {
        Self {
            data_interest: AtomicU8::new(self.data_interest.load(Relaxed)),
            child_interest: AtomicU8::new(self.child_interest.load(Relaxed)),
            recursive_interest: AtomicU8::new(self.recursive_interest.load(Relaxed)),
            ..*self
        }
    }
}

/// What a znode has once it had a child, an owner or another ACL than its first. Without one, a znode has no children,
/// its pzxid is its czxid, and the other numbers are 0.
#[derive(Debug, Clone)]
pub(crate) struct Ext {
    pub pzxid: Zxid,
    pub owner: i64,
    pub cversion: i32,
    pub aversion: i32,
    pub first: NodeId,
    pub last: NodeId,
    pub children: u32,
    /// The index of its children, when they are many.
    pub wide: u32,
}

impl Node {
    pub fn stat(&self, ext: Option<&Ext>) -> StatPersisted {
        StatPersisted {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: ext.map_or(0, |e| e.cversion),
            aversion: ext.map_or(0, |e| e.aversion),
            ephemeral_owner: ext.map_or(0, |e| e.owner),
            pzxid: ext.map_or(self.czxid, |e| e.pzxid),
        }
    }
}

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Slots that never move, 1024 to a chunk.
#[derive(Debug, Clone)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    used: u32,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), used: 0, free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = value;
            return id;
        }
        let id = self.used;
        assert!(id < u32::MAX - 1, "2^32 znodes are this tree's end");
        if id as usize >> CHUNK_BITS == self.chunks.len() {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[id as usize >> CHUNK_BITS].push(value);
        self.used += 1;
        id
    }

    pub fn free(&mut self, id: u32) {
        self.free.push(id);
    }

    pub fn get(&self, id: u32) -> &T {
        &self.chunks[id as usize >> CHUNK_BITS][id as usize & (CHUNK - 1)]
    }

    pub fn get_mut(&mut self, id: u32) -> &mut T {
        &mut self.chunks[id as usize >> CHUNK_BITS][id as usize & (CHUNK - 1)]
    }

    /// Slots ever used; ids are below it.
    pub fn high_water(&self) -> u32 {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_packed() {
        assert_eq!(size_of::<Node>(), 72);
        assert!(size_of::<Ext>() <= 40);
    }
}
