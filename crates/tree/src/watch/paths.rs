//! The watched paths: a trie whose edges are one name or more, so that a path and all its watched ancestors are found by going
//! down once, in time that is linear in its length, however many of them there are.
//!
//! A node stands for a watched path, or for the place where two of them part; every other name is inside of an edge. So there are
//! at most twice as many nodes as paths, and what the trie looks like depends on nothing but the paths. Nodes are in a slab and
//! labels in an arena, both without moves, and the children of all nodes in one index of many small parts, so that the growth of
//! one moves a thousandth of them. A watched path keeps its id whatever happens around it.

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;
use hashbrown::HashTable;

use super::watchers::Watchers;
use crate::arena::{Arena, BlobId};
use crate::node::Slab;
use crate::varint::{read_varint, write_varint};

const PARTS_BITS: u32 = 10;

/// The room for so many paths is kept when there are none.
const KEPT_PATHS: u32 = 4096;

/// The node of the empty path, above all others. The path `/` is a child of it, and so is `/a`.
const TOP: u32 = 0;

#[derive(Debug, Clone)]
struct Node {
    /// Length (varint), and the names, each with the slash before it, that lead here from the parent.
    label: BlobId,
    parent: u32,
    children: u32,
    /// Of the children's ids, by XOR: the only child's, when it is one.
    children_sum: u32,
    watchers: Watchers,
}

impl Node {
    fn new(label: BlobId, parent: u32) -> Self {
        Self { label, parent, children: 0, children_sum: 0, watchers: Watchers::None }
    }
}

#[cfg(test)]
pub(super) const NODE_BYTES: usize = size_of::<Node>();

#[derive(Debug, Clone)]
pub(super) struct Paths {
    nodes: Slab<Node>,
    labels: Arena,
    /// From a parent and the first name of a label to the node. Empty until there is a path.
    index: Vec<HashTable<u32>>,
    hasher: RandomState,
    /// Watched paths.
    count: usize,
    /// Bytes of the watched paths.
    text_bytes: usize,
    /// Nodes beside the one of the empty path, and bytes of their labels.
    node_count: usize,
    label_bytes: usize,
}

fn part(hash: u64) -> usize {
    (hash >> 32) as usize & ((1 << PARTS_BITS) - 1)
}

fn hash(hasher: &RandomState, parent: u32, name: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u32(parent);
    state.write(name);
    state.finish()
}

/// The first name of what begins with a slash, or, of a whole path, without one.
fn first_name(path: &[u8]) -> &[u8] {
    let end = path.iter().skip(1).position(|&byte| byte == b'/').map_or(path.len(), |at| at + 1);
    &path[..end]
}

/// Does a name end at this place?
fn is_end(path: &[u8], at: usize) -> bool {
    path.get(at).is_none_or(|&byte| byte == b'/')
}

/// How many bytes of two paths, whose first names are the same, are the same names.
fn common(a: &[u8], b: &[u8]) -> usize {
    let mut same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    while !(is_end(a, same) && is_end(b, same)) {
        same -= 1;
    }
    same
}

impl Paths {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            nodes: Slab::default(),
            labels: Arena::default(),
            index: Vec::new(),
            hasher,
            count: 0,
            text_bytes: 0,
            node_count: 0,
            label_bytes: 0,
        }
    }

    /// How many paths are watched.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// How many nodes there are: those of the watched paths, and where they part.
    pub(super) fn node_count(&self) -> usize {
        self.node_count
    }

    /// Bytes of the paths, each in full.
    pub(super) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Bytes of the paths as they are kept here: what several begin with is there once.
    pub(super) fn label_bytes(&self) -> usize {
        self.label_bytes
    }

    /// Ids are below this. One that is free, or where paths only part, has no watchers.
    pub(super) fn ids_end(&self) -> u32 {
        self.nodes.high_water()
    }

    pub(super) fn get(&self, id: u32) -> &Watchers {
        &self.nodes.get(id).watchers
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut Watchers {
        &mut self.nodes.get_mut(id).watchers
    }

    /// The path itself.
    pub(super) fn text(&self, id: u32) -> String {
        let mut at = self.length(id);
        let mut text = vec![0; at];
        let mut node = id;
        while node != TOP {
            let label = self.label(node);
            text[at - label.len()..at].copy_from_slice(label);
            at -= label.len();
            node = self.nodes.get(node).parent;
        }
        // It was a string when it came.
        String::from_utf8(text).unwrap_or_default()
    }

    /// Bytes of the path.
    fn length(&self, id: u32) -> usize {
        let (mut length, mut node) = (0, id);
        while node != TOP {
            length += self.label(node).len();
            node = self.nodes.get(node).parent;
        }
        length
    }

    fn label(&self, id: u32) -> &[u8] {
        label_at(&self.labels, self.nodes.get(id).label)
    }

    /// The watched path that is `path`.
    pub(super) fn find(&self, path: &str) -> Option<u32> {
        self.find_below(path, |_| ())
    }

    /// The watched path that is `path`; on the way the watchers of each path above it are told, but for those of `/`, which is
    /// not on the way.
    pub(super) fn find_below(&self, path: &str, mut above: impl FnMut(&Watchers)) -> Option<u32> {
        if self.index.is_empty() {
            return None;
        }
        let (mut at, mut rest) = (TOP, path.as_bytes());
        while !rest.is_empty() {
            if at != TOP {
                above(self.get(at));
            }
            at = self.child(at, first_name(rest))?;
            rest = rest.strip_prefix(self.label(at)).filter(|rest| is_end(rest, 0))?;
        }
        (!self.get(at).is_empty()).then_some(at)
    }

    /// The child whose label begins with this name.
    fn child(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let begins_so = |id: u32| {
            let label = self.label(id);
            label.starts_with(name) && is_end(label, name.len())
        };
        let above = self.nodes.get(parent);
        if above.children <= 1 {
            return (above.children == 1 && begins_so(above.children_sum)).then_some(above.children_sum);
        }
        let hash = hash(&self.hasher, parent, name);
        self.index[part(hash)].find(hash, |&id| self.nodes.get(id).parent == parent && begins_so(id)).copied()
    }

    /// The id of a path, to which the caller adds a watcher.
    pub(super) fn find_or_add(&mut self, path: &str) -> u32 {
        if self.index.is_empty() {
            self.index = vec![HashTable::new(); 1 << PARTS_BITS];
            let label = alloc(&mut self.labels, b"");
            self.nodes.insert(Node::new(label, TOP));
        }
        let id = self.node_of(path.as_bytes());
        if self.get(id).is_empty() {
            self.count += 1;
            self.text_bytes += path.len();
        }
        id
    }

    fn node_of(&mut self, path: &[u8]) -> u32 {
        let (mut at, mut rest) = (TOP, path);
        while !rest.is_empty() {
            let Some(child) = self.child(at, first_name(rest)) else { return self.add_child(at, rest) };
            let label = self.label(child);
            let same = common(label, rest);
            at = if same == label.len() { child } else { self.split(child, same) };
            rest = &rest[same..];
        }
        at
    }

    fn add_child(&mut self, parent: u32, label: &[u8]) -> u32 {
        let id = self.nodes.insert(Node::new(alloc(&mut self.labels, label), parent));
        self.node_count += 1;
        self.label_bytes += label.len();
        self.link(id);
        id
    }

    /// Puts a node between `id` and its parent, with so many bytes of the label.
    fn split(&mut self, id: u32, upper_bytes: usize) -> u32 {
        let label = self.label(id).to_vec();
        let (upper, lower) = label.split_at(upper_bytes);
        self.unlink(id);
        let between = self.add_child(self.nodes.get(id).parent, upper);
        self.relabel(id, between, lower);
        between
    }

    /// Takes a node with one child, and nobody that watches it, out from between this and the parent.
    fn join(&mut self, id: u32) {
        let (child, parent) = (self.nodes.get(id).children_sum, self.nodes.get(id).parent);
        let label = [self.label(id), self.label(child)].concat();
        self.unlink(child);
        self.free(id);
        self.relabel(child, parent, &label);
    }

    /// Gives a node that is linked nowhere another place.
    fn relabel(&mut self, id: u32, parent: u32, label: &[u8]) {
        self.label_bytes = self.label_bytes - self.label(id).len() + label.len();
        self.labels.free(self.nodes.get(id).label);
        let text = alloc(&mut self.labels, label);
        let node = self.nodes.get_mut(id);
        (node.label, node.parent) = (text, parent);
        self.link(id);
    }

    fn link(&mut self, id: u32) {
        let parent = self.nodes.get(id).parent;
        let above = self.nodes.get_mut(parent);
        above.children += 1;
        above.children_sum ^= id;
        let Self { index, hasher, nodes, labels, .. } = self;
        let hash_of = |&id: &u32| {
            let node = nodes.get(id);
            hash(hasher, node.parent, first_name(label_at(labels, node.label)))
        };
        let hash = hash_of(&id);
        index[part(hash)].insert_unique(hash, id, hash_of);
    }

    fn unlink(&mut self, id: u32) {
        let parent = self.nodes.get(id).parent;
        let above = self.nodes.get_mut(parent);
        above.children -= 1;
        above.children_sum ^= id;
        let hash = hash(&self.hasher, parent, first_name(self.label(id)));
        let part = &mut self.index[part(hash)];
        if let Ok(entry) = part.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        if part.is_empty() {
            *part = HashTable::new();
        }
    }

    fn free(&mut self, id: u32) {
        self.unlink(id);
        self.node_count -= 1;
        self.label_bytes -= self.label(id).len();
        self.labels.free(self.nodes.get(id).label);
        self.nodes.free(id);
    }

    /// Removes a path that nobody watches any more.
    pub(super) fn remove(&mut self, id: u32) {
        self.text_bytes -= self.length(id);
        self.count -= 1;
        if self.count == 0 && self.nodes.high_water() > KEPT_PATHS {
            // What many needed is given back when they are gone.
            *self = Self::new(self.hasher.clone());
            return;
        }
        let node = self.nodes.get(id);
        let parent = node.parent;
        match node.children {
            _ if id == TOP => {}
            0 => {
                self.free(id);
                // Nothing parts there any more.
                if parent != TOP && self.get(parent).is_empty() && self.nodes.get(parent).children == 1 {
                    self.join(parent);
                }
            }
            1 => self.join(id),
            _ => {}
        }
    }
}

fn label_at(labels: &Arena, id: BlobId) -> &[u8] {
    let bytes = labels.get(id);
    let (length, at) = read_varint(bytes);
    &bytes[at..at + length]
}

fn alloc(labels: &mut Arena, label: &[u8]) -> BlobId {
    let mut prefix = [0; 5];
    let at = write_varint(label.len(), &mut prefix);
    let id = labels.alloc(at + label.len());
    let bytes = labels.get_mut(id);
    bytes[..at].copy_from_slice(&prefix[..at]);
    bytes[at..at + label.len()].copy_from_slice(label);
    id
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::tree::HashKeys;
    use crate::watch::Modes;

    fn paths() -> Paths {
        Paths::new(HashKeys([1, 2, 3, 4]).hasher())
    }

    fn add(paths: &mut Paths, path: &str) -> u32 {
        let id = paths.find_or_add(path);
        paths.get_mut(id).add(1, Modes::DATA, id);
        id
    }

    fn remove(paths: &mut Paths, id: u32) {
        paths.get_mut(id).remove(1);
        paths.remove(id);
    }

    /// The paths above `path`, whether watched or not, by what a path is.
    fn above(path: &str) -> BTreeSet<&str> {
        path.char_indices().filter(|&(at, c)| c == '/' && at > 0).map(|(at, _)| &path[..at]).collect()
    }

    /// Where two of these paths part.
    fn forks(watched: &BTreeMap<String, u32>) -> BTreeSet<String> {
        let mut next: BTreeMap<String, BTreeSet<&[u8]>> = BTreeMap::new();
        for path in watched.keys() {
            for upper in above(path).into_iter().filter(|upper| !upper.is_empty()) {
                next.entry(upper.to_owned()).or_default().insert(first_name(&path.as_bytes()[upper.len()..]));
            }
        }
        let forks = next.into_iter().filter(|(path, next)| next.len() > 1 && !watched.contains_key(path));
        forks.map(|(path, _)| path).collect()
    }

    fn assert_is(paths: &Paths, watched: &BTreeMap<String, u32>, looked_for: &[String]) {
        let texts: usize = watched.keys().map(String::len).sum();
        assert_eq!((paths.len(), paths.text_bytes()), (watched.len(), texts));
        for (path, &id) in watched {
            assert_eq!(paths.text(id), *path, "it keeps its id");
        }
        for path in looked_for {
            assert_eq!(paths.find(path), watched.get(path).copied(), "{path:?}");
            let mut found = BTreeSet::new();
            paths.find_below(path, |watchers| found.extend(watchers.as_slice().iter().map(|entry| entry.place())));
            let expected = above(path).into_iter().filter_map(|path| watched.get(path).copied());
            assert_eq!(found, expected.collect(), "above {path:?}");
        }
        let nodes = watched.keys().filter(|path| !path.is_empty()).count() + forks(watched).len();
        assert_eq!(paths.node_count(), nodes, "a node a path, and one where they part");
        assert_eq!(paths.index.iter().map(HashTable::len).sum::<usize>(), nodes);
    }

    fn some_path() -> impl Strategy<Value = String> {
        let name = prop_oneof![8 => Just("/a"), 4 => Just("/b"), 3 => Just("/aa"), 1 => Just("/é"), 1 => Just("/")];
        prop_oneof![
            12 => vec(name.clone(), 1..7).prop_map(|names| names.concat()),
            1 => vec(name, 0..3).prop_map(|names| format!("a{}", names.concat())),
            1 => Just(String::new()),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_paths(steps in vec((some_path(), any::<bool>()), 1..60), seed in any::<u64>()) {
            let (mut paths, mut watched) = (Paths::new(HashKeys([seed, 0, 0, 0]).hasher()), BTreeMap::new());
            let looked_for: Vec<String> = steps.iter().map(|(path, _)| path.clone()).collect();
            for (path, is_added) in steps {
                if is_added {
                    let id = add(&mut paths, &path);
                    prop_assert_eq!(*watched.entry(path).or_insert(id), id);
                } else if let Some(id) = watched.remove(&path) {
                    remove(&mut paths, id);
                }
                assert_is(&paths, &watched, &looked_for);
            }
            for id in watched.into_values() {
                remove(&mut paths, id);
            }
            prop_assert_eq!((paths.len(), paths.node_count(), paths.text_bytes(), paths.label_bytes()), (0, 0, 0, 0));
        }
    }

    /// What an event on the deepest one compares is the labels on its way: not the path of each that is above it.
    #[test]
    fn thousands_above_each_other_are_kept_in_the_bytes_of_the_deepest() {
        let deep = "/dir".repeat(3000);
        for is_upwards in [false, true] {
            let mut paths = paths();
            let mut depths: Vec<usize> = (1..=3000).collect();
            if is_upwards {
                depths.reverse();
            }
            let ids: Vec<u32> = depths.iter().map(|depth| add(&mut paths, &deep[..4 * depth])).collect();
            assert_eq!((paths.node_count(), paths.label_bytes()), (3000, deep.len()));
            let mut found = 0;
            paths.find_below(&deep, |_| found += 1);
            assert_eq!(found, 2999);
            for id in ids {
                remove(&mut paths, id);
            }
            assert_eq!((paths.node_count(), paths.label_bytes()), (0, 0));
        }
    }

    #[test]
    fn one_that_is_watched_alone_is_one_node_however_deep() {
        let deep = "/d".repeat(100_000);
        let mut paths = paths();
        let id = add(&mut paths, &deep);
        let upper = add(&mut paths, &deep[..100_000]);
        assert_eq!((paths.node_count(), paths.label_bytes()), (2, deep.len()));
        remove(&mut paths, upper);
        assert_eq!((paths.node_count(), paths.find(&deep), paths.text(id)), (1, Some(id), deep));
    }
}
