//! The watches of one shard's connections. Source of the rules: Apache `WatchManager`, `DataTree.addWatch`.
//!
//! Apache keeps two tables, data and child, with modes in each. Here a watcher of a path has a set of modes: one entry a
//! path and connection, however many kinds of watches it holds.
//!
//! A connection's list of paths is allowed to be stale (a one-shot watch that fired stays in it) and is cleaned when
//! stale entries outnumber live ones, so that firing costs nothing there.

use ahash::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::apply::TriggerKind;
use crate::interest::Interest;
use crate::tree::HashKeys;

/// A set of a watcher's modes on one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes(u8);

impl Modes {
    /// One-shot, of getData and exists.
    pub const DATA: Self = Self(1);
    /// One-shot, of getChildren.
    pub const CHILD: Self = Self(2);
    /// Persistent.
    pub const PERSISTENT: Self = Self(4);
    /// Persistent, and of everything below.
    pub const RECURSIVE: Self = Self(8);

    /// All modes.
    pub const ALL: Self = Self(15);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without those of the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Has it one of the other's?
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }

    const fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The interests that the tree has to know of for these modes.
    pub fn interests(self) -> impl Iterator<Item = Interest> {
        let data = self.has(Self::DATA.with(Self::PERSISTENT));
        let child = self.has(Self::CHILD.with(Self::PERSISTENT));
        let recursive = self.has(Self::RECURSIVE);
        [(data, Interest::Data), (child, Interest::Child), (recursive, Interest::Recursive)]
            .into_iter()
            .filter_map(|(is, interest)| is.then_some(interest))
    }
}

/// A connection's place in its shard.
pub type Watcher = u32;

#[derive(Debug, Clone)]
struct PathEntry {
    path: Box<str>,
    watchers: SmallVec<[(Watcher, Modes); 2]>,
}

#[derive(Debug, Clone, Default)]
struct Connection {
    paths: Vec<u32>,
    live: usize,
}

/// The watch tables.
#[derive(Debug, Clone)]
pub struct WatchTable {
    paths: Vec<PathEntry>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
    connections: Vec<Connection>,
    count: usize,
    recursive: usize,
}

impl WatchTable {
    /// Empty ones.
    pub fn new(keys: HashKeys) -> Self {
        Self {
            paths: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: keys.hasher(),
            connections: Vec::new(),
            count: 0,
            recursive: 0,
        }
    }

    /// How many watches, each mode of a connection on a path being one.
    pub fn len(&self) -> usize {
        self.count
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many paths are watched.
    pub fn path_count(&self) -> usize {
        self.paths.len() - self.free.len()
    }

    /// Every path, watcher and set of modes, in no particular order.
    pub(crate) fn all(&self) -> Vec<(&str, Watcher, u8)> {
        let entries = self.paths.iter().flat_map(|entry| entry.watchers.iter().map(move |w| (entry, w)));
        entries.map(|(entry, (watcher, modes))| (&*entry.path, *watcher, modes.0)).collect()
    }

    fn find(&self, path: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(path);
        self.index.find(hash, |&id| &*self.paths[id as usize].path == path).copied()
    }

    /// Adds `modes` to what `watcher` has on `path`.
    pub fn add(&mut self, watcher: Watcher, path: &str, modes: Modes) {
        let id = self.find(path).unwrap_or_else(|| self.add_path(path));
        let entry = &mut self.paths[id as usize];
        let position = entry.watchers.iter().position(|(w, _)| *w == watcher);
        let before = position.map_or(Modes::default(), |at| entry.watchers[at].1);
        let after = before.with(modes);
        match position {
            Some(at) => entry.watchers[at].1 = after,
            None => entry.watchers.push((watcher, after)),
        }
        if self.connections.len() <= watcher as usize {
            self.connections.resize_with(watcher as usize + 1, Connection::default);
        }
        if position.is_none() {
            let connection = &mut self.connections[watcher as usize];
            connection.paths.push(id);
            connection.live += 1;
        }
        self.counted(before, after);
    }

    fn add_path(&mut self, path: &str) -> u32 {
        let entry = PathEntry { path: path.into(), watchers: SmallVec::new() };
        let id = if let Some(id) = self.free.pop() {
            self.paths[id as usize] = entry;
            id
        } else {
            self.paths.push(entry);
            self.paths.len() as u32 - 1
        };
        let Self { index, hasher, paths, .. } = self;
        index.insert_unique(hasher.hash_one(path), id, |&id| hasher.hash_one(&*paths[id as usize].path));
        id
    }

    fn counted(&mut self, before: Modes, after: Modes) {
        self.count = self.count + after.count() - before.count();
        let recursive = |modes: Modes| usize::from(modes.has(Modes::RECURSIVE));
        self.recursive = self.recursive + recursive(after) - recursive(before);
    }

    /// Which modes does anybody have on `path`?
    pub fn modes_on(&self, path: &str) -> Modes {
        let Some(id) = self.find(path) else { return Modes::default() };
        self.paths[id as usize].watchers.iter().fold(Modes::default(), |all, (_, modes)| all.with(*modes))
    }

    /// Which modes does `watcher` have on `path`?
    pub fn modes_of(&self, watcher: Watcher, path: &str) -> Modes {
        let Some(id) = self.find(path) else { return Modes::default() };
        let mut watchers = self.paths[id as usize].watchers.iter();
        watchers.find(|(w, _)| *w == watcher).map_or(Modes::default(), |(_, modes)| *modes)
    }

    /// The watchers that an event on `path` concerns, each once; their one-shot watches are gone after it.
    pub fn fire(&mut self, kind: TriggerKind, path: &str) -> SmallVec<[Watcher; 8]> {
        let (hit, used) = match kind {
            TriggerKind::Created | TriggerKind::DataChanged => {
                (Modes::DATA.with(Modes::PERSISTENT).with(Modes::RECURSIVE), Modes::DATA)
            }
            TriggerKind::ChildrenChanged => (Modes::CHILD.with(Modes::PERSISTENT), Modes::CHILD),
            TriggerKind::Deleted => (
                Modes::DATA.with(Modes::CHILD).with(Modes::PERSISTENT).with(Modes::RECURSIVE),
                Modes::DATA.with(Modes::CHILD),
            ),
        };
        let mut fired: SmallVec<[Watcher; 8]> = SmallVec::new();
        if let Some(id) = self.find(path) {
            let watchers = &self.paths[id as usize].watchers;
            fired.extend(watchers.iter().filter(|(_, modes)| modes.has(hit)).map(|(w, _)| *w));
            for &watcher in &fired {
                self.take(id, watcher, used);
            }
        }
        if kind != TriggerKind::ChildrenChanged && self.recursive > 0 {
            let direct = fired.len();
            let mut at = path;
            while at.len() > 1 {
                at = wire::path::split(at).map_or("/", |(parent, _)| if parent.is_empty() { "/" } else { parent });
                if let Some(id) = self.find(at) {
                    let above = self.paths[id as usize].watchers.iter();
                    fired.extend(above.filter(|(_, modes)| modes.has(Modes::RECURSIVE)).map(|(w, _)| *w));
                }
            }
            if fired.len() > direct {
                let mut seen = std::collections::BTreeSet::new();
                fired.retain(|watcher| seen.insert(*watcher));
            }
        }
        fired
    }

    /// Removes `modes` from what `watcher` has on `path`; was there any of them?
    pub fn remove(&mut self, watcher: Watcher, path: &str, modes: Modes) -> bool {
        let had = self.modes_of(watcher, path).has(modes);
        if let Some(id) = self.find(path).filter(|_| had) {
            self.take(id, watcher, modes);
        }
        had
    }

    fn take(&mut self, id: u32, watcher: Watcher, modes: Modes) {
        let entry = &mut self.paths[id as usize];
        let Some(at) = entry.watchers.iter().position(|(w, _)| *w == watcher) else { return };
        let before = entry.watchers[at].1;
        let after = before.without(modes);
        entry.watchers[at].1 = after;
        self.counted(before, after);
        if after.is_empty() {
            let entry = &mut self.paths[id as usize];
            entry.watchers.remove(at);
            if entry.watchers.is_empty() {
                self.remove_path(id);
            }
            self.one_path_less(watcher);
        }
    }

    fn remove_path(&mut self, id: u32) {
        let path = std::mem::take(&mut self.paths[id as usize].path);
        let hash = self.hasher.hash_one(&*path);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.free.push(id);
    }

    fn one_path_less(&mut self, watcher: Watcher) {
        let connection = &mut self.connections[watcher as usize];
        connection.live -= 1;
        if connection.paths.len() > 2 * connection.live + 16 {
            let mut paths = std::mem::take(&mut connection.paths);
            paths.sort_unstable();
            paths.dedup();
            paths.retain(|&id| self.paths[id as usize].watchers.iter().any(|(w, _)| *w == watcher));
            self.connections[watcher as usize].paths = paths;
        }
    }

    /// Removes all that `watcher` has; tells each path that nobody watches any more.
    pub fn remove_watcher(&mut self, watcher: Watcher, mut unwatched: impl FnMut(&str, Modes)) {
        let Some(connection) = self.connections.get_mut(watcher as usize) else { return };
        let paths = std::mem::take(connection).paths;
        for id in paths {
            let entry = &mut self.paths[id as usize];
            let Some(at) = entry.watchers.iter().position(|(w, _)| *w == watcher) else { continue };
            let modes = entry.watchers.remove(at).1;
            if entry.watchers.is_empty() {
                let path = entry.path.clone();
                self.remove_path(id);
                unwatched(&path, modes);
            }
            self.counted(modes, Modes::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> WatchTable {
        WatchTable::new(HashKeys::default())
    }

    #[test]
    fn one_shot_watches_fire_once_and_duplicates_collapse() {
        let mut t = table();
        t.add(3, "/a", Modes::DATA);
        t.add(3, "/a", Modes::DATA);
        t.add(4, "/a", Modes::CHILD);
        assert_eq!(t.len(), 2);
        assert_eq!(t.fire(TriggerKind::DataChanged, "/a").to_vec(), [3]);
        assert!(t.fire(TriggerKind::DataChanged, "/a").is_empty());
        assert_eq!(t.fire(TriggerKind::ChildrenChanged, "/a").to_vec(), [4]);
        assert_eq!((t.len(), t.path_count()), (0, 0));
    }

    #[test]
    fn a_deletion_tells_each_connection_once() {
        let mut t = table();
        t.add(1, "/a", Modes::DATA.with(Modes::CHILD));
        t.add(2, "/a", Modes::CHILD);
        assert_eq!(t.fire(TriggerKind::Deleted, "/a").to_vec(), [1, 2]);
        assert!(t.is_empty());
    }

    #[test]
    fn persistent_stay_and_recursive_never_hear_of_children() {
        let mut t = table();
        t.add(1, "/a", Modes::PERSISTENT);
        t.add(2, "/", Modes::RECURSIVE);
        t.add(2, "/a/b", Modes::DATA);
        assert_eq!(t.fire(TriggerKind::Created, "/a/b").to_vec(), [2], "one event for two registrations");
        assert_eq!(t.fire(TriggerKind::ChildrenChanged, "/a").to_vec(), [1]);
        assert!(t.fire(TriggerKind::ChildrenChanged, "/").is_empty());
        assert_eq!(t.fire(TriggerKind::DataChanged, "/a").to_vec(), [1, 2]);
        assert_eq!(t.len(), 2);
        assert!(t.remove(1, "/a", Modes::PERSISTENT));
        assert!(!t.remove(1, "/a", Modes::PERSISTENT));
    }

    #[test]
    fn a_closed_connection_leaves_nothing() {
        let mut t = table();
        for i in 0..100 {
            t.add(7, &format!("/{i}"), Modes::DATA);
            t.add(8, "/0", Modes::CHILD);
        }
        for i in 0..50 {
            t.fire(TriggerKind::DataChanged, &format!("/{i}"));
        }
        let mut gone = 0;
        t.remove_watcher(7, |_, _| gone += 1);
        assert_eq!((gone, t.len(), t.path_count()), (50, 1, 1));
    }
}
