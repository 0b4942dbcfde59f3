//! The watched paths: text in an arena, entries in a slab, both without moves, and an index in many small parts, so that
//! the growth of one moves a thousandth of the paths.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;
use hashbrown::HashTable;

use super::watchers::Watchers;
use crate::arena::{Arena, BlobId};
use crate::node::Slab;

const PARTS_BITS: u32 = 10;

/// The room for so many paths is kept when there are none.
const KEPT_PATHS: u32 = 4096;

#[derive(Debug, Clone)]
struct PathEntry {
    text: BlobId,
    length: u32,
    watchers: Watchers,
}

#[cfg(test)]
pub(super) const ENTRY_BYTES: usize = size_of::<PathEntry>();

#[derive(Debug, Clone)]
pub(super) struct Paths {
    entries: Slab<PathEntry>,
    texts: Arena,
    /// Empty until there is a path.
    index: Vec<HashTable<u32>>,
    hasher: RandomState,
    count: usize,
    /// Bytes of the paths.
    text_bytes: usize,
}

fn part(hash: u64) -> usize {
    (hash >> 32) as usize & ((1 << PARTS_BITS) - 1)
}

/// A path's hash is made of one name after the other, each with the slash before it: so it comes by those of all its
/// ancestors, but the root's.
fn hash(hasher: &RandomState, path: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    let mut rest = path;
    while !rest.is_empty() {
        let (name, behind) = rest.split_at(name_end(rest));
        state.write(name);
        rest = behind;
    }
    state.finish()
}

/// Where the first name of what begins with a slash, or with no name at all, ends.
fn name_end(path: &[u8]) -> usize {
    path.iter().skip(1).position(|&byte| byte == b'/').map_or(path.len(), |at| at + 1)
}

impl Paths {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { entries: Slab::default(), texts: Arena::default(), index: Vec::new(), hasher, count: 0, text_bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of the paths themselves.
    pub(super) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Ids are below this. One that is free has no watchers.
    pub(super) fn ids_end(&self) -> u32 {
        self.entries.high_water()
    }

    pub(super) fn get(&self, id: u32) -> &Watchers {
        &self.entries.get(id).watchers
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut Watchers {
        &mut self.entries.get_mut(id).watchers
    }

    fn bytes(&self, id: u32) -> &[u8] {
        let entry = self.entries.get(id);
        &self.texts.get(entry.text)[..entry.length as usize]
    }

    /// The path itself.
    pub(super) fn text(&self, id: u32) -> &str {
        // It was a string when it came.
        std::str::from_utf8(self.bytes(id)).unwrap_or_default()
    }

    pub(super) fn find(&self, path: &str) -> Option<u32> {
        self.find_hashed(hash(&self.hasher, path.as_bytes()), path.as_bytes())
    }

    fn find_hashed(&self, hash: u64, path: &[u8]) -> Option<u32> {
        self.index.get(part(hash))?.find(hash, |&id| self.bytes(id) == path).copied()
    }

    /// Those ancestors of `path` that are watched and have one of these lengths, which ascend, from the root on. However many
    /// there are, `path` is hashed once.
    pub(super) fn above(&self, path: &str, lengths: impl Iterator<Item = u32>, mut found: impl FnMut(u32)) {
        let bytes = path.as_bytes();
        let mut state = self.hasher.build_hasher();
        let mut hashed = 0;
        for length in lengths.map(|length| length as usize) {
            if length == 1 && bytes.len() > 1 && bytes[0] == b'/' {
                // The root's path is the slash itself.
                self.find("/").into_iter().for_each(&mut found);
            }
            if length == 0 || bytes.get(length) != Some(&b'/') {
                continue;
            }
            while hashed < length {
                let end = hashed + name_end(&bytes[hashed..length]);
                state.write(&bytes[hashed..end]);
                hashed = end;
            }
            if length > 1 {
                self.find_hashed(state.clone().finish(), &bytes[..length]).into_iter().for_each(&mut found);
            }
        }
    }

    pub(super) fn find_or_add(&mut self, path: &str) -> u32 {
        if let Some(id) = self.find(path) {
            return id;
        }
        if self.index.is_empty() {
            self.index = vec![HashTable::new(); 1 << PARTS_BITS];
        }
        let text = self.texts.alloc(path.len());
        self.texts.get_mut(text)[..path.len()].copy_from_slice(path.as_bytes());
        let id = self.entries.insert(PathEntry { text, length: path.len() as u32, watchers: Watchers::None });
        let Self { index, hasher, entries, texts, .. } = self;
        let hash_of_path = hash(hasher, path.as_bytes());
        index[part(hash_of_path)].insert_unique(hash_of_path, id, |&id| {
            let entry = entries.get(id);
            hash(hasher, &texts.get(entry.text)[..entry.length as usize])
        });
        self.count += 1;
        self.text_bytes += path.len();
        id
    }

    /// Removes a path that nobody watches.
    pub(super) fn remove(&mut self, id: u32) {
        let hash = hash(&self.hasher, self.bytes(id));
        let index = &mut self.index[part(hash)];
        if let Ok(entry) = index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        if index.is_empty() {
            *index = HashTable::new();
        }
        self.text_bytes -= self.entries.get(id).length as usize;
        self.texts.free(self.entries.get(id).text);
        self.entries.free(id);
        self.count -= 1;
        if self.count == 0 && self.entries.high_water() > KEPT_PATHS {
            // What many needed is given back when they are gone.
            *self = Self::new(self.hasher.clone());
        }
    }
}
