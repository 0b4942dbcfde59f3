//! The watches of one shard's connections. Source of the rules: Apache `WatchManager`, `DataTree.addWatch`.
//!
//! Apache keeps two tables, data and child, with modes in each. Here a watcher of a path has a set of modes: one entry a
//! path and connection, however many kinds of watches it holds.
//!
//! Millions are ordinary, so each step is small whatever the table holds: the index grows part by part, a path's ancestors are
//! found on the way to it (`paths`), a path and a connection know each other's places, so that nothing is ever searched for or
//! tidied up, and what a connection leaves behind is removed in pieces ([`WatchTable::remove_some`]).

mod paths;
mod report;
mod watchers;

use smallvec::SmallVec;

use crate::apply::TriggerKind;
use crate::interest::Interest;
use crate::tree::HashKeys;

use paths::Paths;
pub use report::{PathCursor, PathsCursor};
use watchers::{Entry, Watchers};
pub use watchers::{WATCHERS_MAX, Watcher};

/// A set of a watcher's modes on one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes(pub(crate) u8);

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

/// The watch tables.
#[derive(Debug, Clone)]
pub struct WatchTable {
    paths: Paths,
    /// What each connection watches: ids of paths, without gaps. An [`Entry`] knows its place here.
    watched: Vec<Vec<u32>>,
    count: usize,
    /// Recursive watches: while there is none, no event looks at its ancestors.
    recursive: usize,
    /// Entries in Apache's two tables.
    table_entries: usize,
}

/// A path's node with its place in the index, and that of the tree, without its text.
const NODE_BYTES: usize = 96;
/// A watcher of a path, and the path in its list.
const WATCHER_BYTES: usize = 12;

/// After so many bytes of paths a removal of many stops: a path may have a node for each two of its bytes.
const REMOVED_BYTES_MAX: usize = 16 * 1024;

/// Watchers among whom one is looked for one by one.
const FEW: usize = 16;

/// What a trigger led to.
#[derive(Debug, Clone, Default)]
pub struct Fired {
    /// Whom it concerns, each once.
    pub watchers: SmallVec<[Watcher; 8]>,
    /// The modes that are left on its path, of all watchers together.
    pub left: Modes,
}

impl WatchTable {
    /// Empty ones.
    pub fn new(keys: HashKeys) -> Self {
        Self { paths: Paths::new(keys.hasher()), watched: Vec::new(), count: 0, recursive: 0, table_entries: 0 }
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
        self.paths.len()
    }

    /// About how many bytes they take, here and in the tree, which keeps the paths where there are no znodes once more.
    pub fn bytes(&self) -> usize {
        let texts = self.paths.label_bytes() + self.paths.text_bytes();
        self.paths.node_count() * NODE_BYTES + texts + self.count * WATCHER_BYTES
    }

    /// On how many paths `watcher` has watches.
    pub fn paths_of(&self, watcher: Watcher) -> usize {
        self.watched.get(watcher as usize).map_or(0, Vec::len)
    }

    /// Every path, watcher and set of modes, in no particular order.
    pub(crate) fn all(&self) -> Vec<(String, Watcher, u8)> {
        let ids = self.watched.iter().enumerate().flat_map(|(watcher, ids)| ids.iter().map(move |id| (watcher, *id)));
        let one = |(watcher, id): (usize, u32)| {
            let modes = self.paths.get(id).of(watcher as Watcher).map_or(Modes::default(), Entry::modes);
            (self.paths.text(id), watcher as Watcher, modes.0)
        };
        ids.map(one).collect()
    }

    /// Adds `modes` to what `watcher` has on `path`.
    pub fn add(&mut self, watcher: Watcher, path: &str, modes: Modes) {
        assert!(watcher < WATCHERS_MAX, "a shard has fewer connections than {WATCHERS_MAX}");
        if self.watched.len() <= watcher as usize {
            self.watched.resize_with(watcher as usize + 1, Vec::new);
        }
        let watched = &mut self.watched[watcher as usize];
        let id = self.paths.find_or_add(path);
        let (before, after) = self.paths.get_mut(id).add(watcher, modes, watched.len() as u32);
        if before.is_empty() {
            if watched.capacity() == 0 {
                // Most connections have one or two.
                watched.reserve_exact(2);
            }
            watched.push(id);
        }
        self.counted(before, after);
    }

    /// What a watcher has on a path has changed.
    fn counted(&mut self, before: Modes, after: Modes) {
        self.count = self.count + after.count() - before.count();
        let recursive = |modes: Modes| usize::from(modes.has(Modes::RECURSIVE));
        self.recursive = self.recursive + recursive(after) - recursive(before);
        self.table_entries = self.table_entries + after.table_entries() - before.table_entries();
    }

    /// Which modes does anybody have on `path`?
    pub fn modes_on(&self, path: &str) -> Modes {
        let Some(id) = self.paths.find(path) else { return Modes::default() };
        let entries = self.paths.get(id).as_slice().iter();
        entries.fold(Modes::default(), |all, entry| all.with(entry.modes()))
    }

    /// Which modes does `watcher` have on `path`?
    pub fn modes_of(&self, watcher: Watcher, path: &str) -> Modes {
        let Some(id) = self.paths.find(path) else { return Modes::default() };
        self.paths.get(id).of(watcher).map_or(Modes::default(), Entry::modes)
    }

    /// The watchers that an event on `path` concerns; their one-shot watches are gone after it.
    pub fn fire(&mut self, kind: TriggerKind, path: &str) -> Fired {
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
        let mut fired = Fired::default();
        let is_told_above = kind != TriggerKind::ChildrenChanged && self.recursive > 0;
        let mut tell_above = |watchers: &Watchers| {
            if !is_told_above {
                return;
            }
            for entry in watchers.as_slice().iter().filter(|entry| entry.modes().has(Modes::RECURSIVE)) {
                let watcher = entry.watcher();
                // A few that watch each of thousands need not be sorted by thousands.
                let is_known = fired.watchers.len() <= FEW && fired.watchers.contains(&watcher);
                if !is_known {
                    fired.watchers.push(watcher);
                }
            }
        };
        let id = self.paths.find_below(path, &mut tell_above);
        if is_told_above && path.len() > 1 && path.starts_with('/') {
            self.paths.find("/").into_iter().for_each(|root| tell_above(self.paths.get(root)));
        }
        let above = fired.watchers.len();
        if let Some(id) = id {
            self.fire_path(id, hit, used, &mut fired);
        }
        if above > 0 {
            fired.watchers.sort_unstable();
            fired.watchers.dedup();
        }
        fired
    }

    fn fire_path(&mut self, id: u32, hit: Modes, used: Modes, fired: &mut Fired) {
        let mut entries = std::mem::take(self.paths.get_mut(id));
        let watchers = entries.as_slice().iter().filter(|entry| entry.modes().has(hit)).map(|entry| entry.watcher());
        fired.watchers.extend(watchers);
        let mut gone: SmallVec<[(Watcher, u32); 8]> = SmallVec::new();
        entries.retain(|entry| {
            let before = entry.modes();
            let after = before.without(used);
            if before != after {
                entry.set_modes(after);
                self.counted(before, after);
            }
            fired.left = fired.left.with(after);
            if after.is_empty() {
                gone.push((entry.watcher(), entry.place()));
            }
            !after.is_empty()
        });
        *self.paths.get_mut(id) = entries;
        for (watcher, place) in gone {
            self.unlist(watcher, place);
        }
        self.remove_if_unwatched(id);
    }

    /// Removes `modes` from what `watcher` has on `path`; was there any of them?
    pub fn remove(&mut self, watcher: Watcher, path: &str, modes: Modes) -> bool {
        let Some(id) = self.paths.find(path) else { return false };
        let Some(before) = self.paths.get(id).of(watcher).map(Entry::modes) else { return false };
        if !before.has(modes) {
            return false;
        }
        let after = before.without(modes);
        self.counted(before, after);
        if after.is_empty() {
            if let Some(entry) = self.paths.get_mut(id).remove(watcher) {
                self.unlist(watcher, entry.place());
            }
            self.remove_if_unwatched(id);
        } else if let Some(entry) = self.paths.get_mut(id).of_mut(watcher) {
            entry.set_modes(after);
        }
        true
    }

    /// Takes the path at `place` from a connection's list; the last one takes its place.
    fn unlist(&mut self, watcher: Watcher, place: u32) {
        let watched = &mut self.watched[watcher as usize];
        watched.swap_remove(place as usize);
        if let Some(&moved) = watched.get(place as usize)
            && let Some(entry) = self.paths.get_mut(moved).of_mut(watcher)
        {
            entry.set_place(place);
        }
        shrink(&mut self.watched[watcher as usize]);
    }

    fn remove_if_unwatched(&mut self, id: u32) {
        if self.paths.get(id).is_empty() {
            self.paths.remove(id);
        }
    }

    /// Removes all that `watcher` has; tells each path that nobody watches any more.
    pub fn remove_watcher(&mut self, watcher: Watcher, mut unwatched: impl FnMut(&str, Modes)) {
        while !self.remove_some(watcher, usize::MAX, &mut unwatched) {}
    }

    /// Removes what `watcher` has on up to `paths_max` paths, fewer if they are long; tells each path that nobody watches any
    /// more. Is nothing left?
    pub fn remove_some(&mut self, watcher: Watcher, paths_max: usize, mut unwatched: impl FnMut(&str, Modes)) -> bool {
        let mut bytes = 0;
        for _ in 0..paths_max {
            if bytes > REMOVED_BYTES_MAX {
                break;
            }
            let Some(id) = self.watched.get_mut(watcher as usize).and_then(Vec::pop) else { break };
            let Some(entry) = self.paths.get_mut(id).remove(watcher) else { continue };
            self.counted(entry.modes(), Modes::default());
            if self.paths.get(id).is_empty() {
                let path = self.paths.text(id);
                unwatched(&path, entry.modes());
                bytes += path.len();
                self.paths.remove(id);
            }
        }
        let Some(watched) = self.watched.get_mut(watcher as usize) else { return true };
        if watched.is_empty() {
            *watched = Vec::new();
        }
        watched.is_empty()
    }
}

/// Gives back what a list that was long does not need any more.
fn shrink(list: &mut Vec<u32>) {
    if list.capacity() > 1024 && list.len() < list.capacity() / 4 {
        list.shrink_to(list.capacity() / 2);
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
        assert_eq!(t.fire(TriggerKind::DataChanged, "/a").watchers.to_vec(), [3]);
        assert!(t.fire(TriggerKind::DataChanged, "/a").watchers.is_empty());
        assert_eq!(t.fire(TriggerKind::ChildrenChanged, "/a").watchers.to_vec(), [4]);
        assert_eq!((t.len(), t.path_count()), (0, 0));
    }

    #[test]
    fn a_deletion_tells_each_connection_once() {
        let mut t = table();
        t.add(1, "/a", Modes::DATA.with(Modes::CHILD));
        t.add(2, "/a", Modes::CHILD);
        assert_eq!(t.fire(TriggerKind::Deleted, "/a").watchers.to_vec(), [1, 2]);
        assert!(t.is_empty());
    }

    #[test]
    fn persistent_stay_and_recursive_never_hear_of_children() {
        let mut t = table();
        t.add(1, "/a", Modes::PERSISTENT);
        t.add(2, "/", Modes::RECURSIVE);
        t.add(2, "/a/b", Modes::DATA);
        assert_eq!(t.fire(TriggerKind::Created, "/a/b").watchers.to_vec(), [2], "one event for two registrations");
        assert_eq!(t.fire(TriggerKind::ChildrenChanged, "/a").watchers.to_vec(), [1]);
        assert!(t.fire(TriggerKind::ChildrenChanged, "/").watchers.is_empty());
        assert_eq!(t.fire(TriggerKind::DataChanged, "/a").watchers.to_vec(), [1, 2]);
        assert_eq!(t.len(), 2);
        assert!(t.remove(1, "/a", Modes::PERSISTENT));
        assert!(!t.remove(1, "/a", Modes::PERSISTENT));
    }

    /// A look at each of its ancestors by a hash of the whole of it would take minutes.
    #[test]
    fn a_path_of_half_a_million_slashes_is_looked_at_where_somebody_watches() {
        let deep = "/d".repeat(500_000);
        let mut t = table();
        t.add(1, "/", Modes::RECURSIVE);
        t.add(2, &deep[..600_000], Modes::RECURSIVE);
        t.add(3, "/d", Modes::RECURSIVE);
        t.add(4, &deep, Modes::RECURSIVE);
        t.add(5, "/dd", Modes::RECURSIVE);
        t.add(6, "/e", Modes::RECURSIVE);
        t.add(7, &deep[..599_999], Modes::RECURSIVE);
        t.add(8, "", Modes::RECURSIVE);
        assert_eq!(t.fire(TriggerKind::DataChanged, &deep).watchers.to_vec(), [1, 2, 3, 4]);
        assert!(t.remove(3, "/d", Modes::ALL));
        assert_eq!(
            t.fire(TriggerKind::Created, "/d/d").watchers.to_vec(),
            [1],
            "another path of that length is watched"
        );
        for watcher in 1..=8 {
            t.remove_watcher(watcher, |_, _| {});
        }
        assert_eq!(t.recursive, 0);
    }

    #[test]
    fn each_of_thousands_of_ancestors_is_found_and_each_watcher_told_once() {
        let deep = "/dir".repeat(3000);
        let mut t = table();
        for (depth, watchers) in [(2, 0..1), (1500, 1..3), (2999, 0..40), (3000, 40..41)] {
            for watcher in watchers {
                (1..=depth).for_each(|names| t.add(watcher, &deep[..4 * names], Modes::RECURSIVE));
            }
        }
        t.add(50, "/dir/dit", Modes::RECURSIVE);
        t.add(51, "/dir/di", Modes::RECURSIVE);
        t.add(52, "/", Modes::RECURSIVE);
        let fired = t.fire(TriggerKind::DataChanged, &deep).watchers;
        assert_eq!(fired.to_vec(), (0..=40).chain([52]).collect::<Vec<_>>());
        let sibling = format!("{}/other", &deep[..4 * 2999]);
        assert_eq!(t.fire(TriggerKind::Created, &sibling).watchers.to_vec(), fired.to_vec());
    }

    /// Two who watch each of thousands are two for whoever collects them, not thousands.
    #[test]
    fn few_who_watch_thousands_of_ancestors_are_collected_as_few() {
        let deep = "/dir".repeat(3000);
        let mut t = table();
        for watcher in 0..2 {
            (1..=3000).for_each(|names| t.add(watcher, &deep[..4 * names], Modes::RECURSIVE));
        }
        let fired = t.fire(TriggerKind::DataChanged, &deep).watchers;
        assert!(!fired.spilled(), "room for {}", fired.capacity());
        assert_eq!(fired.to_vec(), [0, 1]);
        // 6000 watches in the bytes of one path, the tree's own copies of all of them, and so much for each.
        let texts = deep.len() + 4 * (1..=3000).sum::<usize>();
        assert_eq!(t.bytes(), 3000 * NODE_BYTES + 6000 * WATCHER_BYTES + texts);
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

    #[test]
    fn what_a_connection_leaves_goes_in_pieces() {
        let mut t = table();
        for i in 0..100 {
            t.add(7, &format!("/{i}"), Modes::DATA);
        }
        let mut gone = 0;
        for left in (0..10).rev() {
            let is_done = t.remove_some(7, 10, |_, _| gone += 1);
            assert_eq!((t.paths_of(7), is_done), (10 * left, left == 0));
        }
        assert_eq!((gone, t.len()), (100, 0));
    }

    #[test]
    fn pieces_of_long_paths_are_smaller() {
        let deep = "/d".repeat(4000);
        let mut t = table();
        (1..=4000).for_each(|names| t.add(7, &deep[..2 * names], Modes::RECURSIVE));
        let (mut pieces, mut longest) = (1, 0);
        loop {
            let mut bytes = 0;
            let is_done = t.remove_some(7, 256, |path, _| bytes += path.len());
            longest = longest.max(bytes);
            if is_done {
                break;
            }
            pieces += 1;
        }
        assert!(longest <= REMOVED_BYTES_MAX + deep.len() && pieces > 100, "{pieces} of up to {longest} bytes");
    }

    #[test]
    fn entries_are_packed() {
        assert_eq!(paths::NODE_BYTES, 32);
        assert_eq!(size_of::<Entry>(), 8);
    }
}
