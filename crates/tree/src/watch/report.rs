//! What four-letter words and metrics tell of the watch tables: in the terms of Apache's two tables, and in pieces, since
//! a table may have millions of entries.
//!
//! Apache's table of data has the watches of getData and exists and both kinds of persistent ones; its table of children
//! those of getChildren and the persistent ones that are not recursive. A connection is in a table once for a path.

use super::watchers::Entry;
use super::{Modes, TriggerKind, WatchTable, Watcher};

const DATA_TABLE: Modes = Modes::DATA.with(Modes::PERSISTENT).with(Modes::RECURSIVE);
const CHILD_TABLE: Modes = Modes::CHILD.with(Modes::PERSISTENT);

impl Modes {
    /// In how many of Apache's tables a watcher with these modes is.
    pub(super) fn table_entries(self) -> usize {
        usize::from(self.has(DATA_TABLE)) + usize::from(self.has(CHILD_TABLE))
    }
}

/// A place in [`WatchTable::data_paths`]; the default is the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathCursor {
    path: u32,
    watcher: u32,
    is_told: bool,
}

impl PathCursor {
    /// Is it behind the first watchers of a path that was told?
    pub fn is_within(self) -> bool {
        self.is_told
    }
}

/// A place in [`WatchTable::data_paths_of_all`]; the default is the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathsCursor {
    watcher: u32,
    path: u32,
    /// A path of this watcher was told already.
    is_within: bool,
}

impl WatchTable {
    /// Entries of both tables together: Apache's `watch_count`.
    pub fn table_entries(&self) -> usize {
        self.table_entries
    }

    /// Before an event is [fired](Self::fire): for a deletion, which concerns both tables, how many watchers of the path
    /// are in the table of children, and how many of these in no other. For other events: none.
    pub fn in_child_table(&self, kind: TriggerKind, path: &str) -> (usize, usize) {
        if kind != TriggerKind::Deleted {
            return (0, 0);
        }
        let Some(id) = self.paths.find(path) else { return (0, 0) };
        let modes = self.paths.get(id).as_slice().iter().map(|entry| entry.modes());
        let in_child_table = modes.filter(|modes| modes.has(CHILD_TABLE));
        in_child_table.fold((0, 0), |(all, only), modes| (all + 1, only + usize::from(!modes.has(DATA_TABLE))))
    }

    /// Tells paths with a watcher in the table of data, from a place on; first the path, with `None`, then each watcher.
    /// A path that is gone on with is not told again. Stops after about `work` steps; returns where to go on.
    ///
    /// Between two calls the tables may change: what is there all the time is told, once.
    pub fn data_paths(
        &self,
        from: PathCursor,
        work: usize,
        mut tell: impl FnMut(&str, Option<Watcher>),
    ) -> Option<PathCursor> {
        let mut left = work.max(1);
        let (mut skip, mut is_told) = (from.watcher as usize, from.is_told);
        for id in from.path..self.paths.ids_end() {
            let mut text = None;
            let entries = self.paths.get(id).as_slice().iter();
            for (at, entry) in entries.enumerate().skip(std::mem::take(&mut skip)) {
                if left == 0 {
                    return Some(PathCursor { path: id, watcher: at as u32, is_told });
                }
                left -= 1;
                if entry.modes().has(DATA_TABLE) {
                    let text = text.get_or_insert_with(|| self.paths.text(id));
                    if !std::mem::replace(&mut is_told, true) {
                        tell(text, None);
                    }
                    tell(text, Some(entry.watcher()));
                }
            }
            is_told = false;
            left = left.saturating_sub(1);
        }
        None
    }

    /// The watchers of a path in the table of data, from the one at place `from` on, at most `max`; and the place to go on
    /// from.
    pub fn data_watchers(&self, path: &str, from: u32, max: usize) -> (Vec<Watcher>, Option<u32>) {
        let Some(id) = self.paths.find(path) else { return (Vec::new(), None) };
        let all = self.paths.get(id).as_slice();
        let mut found = Vec::new();
        for (at, entry) in all.iter().enumerate().skip(from as usize) {
            if found.len() >= max {
                return (found, Some(at as u32));
            }
            if entry.modes().has(DATA_TABLE) {
                found.push(entry.watcher());
            }
        }
        (found, None)
    }

    /// Tells the watchers that are in the table of data, from a place on: each first with `None`, then with its paths.
    /// Stops after about `work` steps; returns where to go on.
    pub fn data_paths_of_all(
        &self,
        from: PathsCursor,
        work: usize,
        mut tell: impl FnMut(Watcher, Option<&str>),
    ) -> Option<PathsCursor> {
        let mut left = work.max(1);
        let PathsCursor { watcher: first, path: mut skip, mut is_within } = from;
        for (watcher, paths) in self.watched.iter().enumerate().skip(first as usize) {
            for (at, &id) in paths.iter().enumerate().skip(std::mem::take(&mut skip) as usize) {
                if left == 0 {
                    return Some(PathsCursor { watcher: watcher as u32, path: at as u32, is_within });
                }
                left -= 1;
                let modes = self.paths.get(id).of(watcher as Watcher).map_or(Modes::default(), Entry::modes);
                if modes.has(DATA_TABLE) {
                    if !std::mem::replace(&mut is_within, true) {
                        tell(watcher as Watcher, None);
                    }
                    tell(watcher as Watcher, Some(&self.paths.text(id)));
                }
            }
            is_within = false;
            left = left.saturating_sub(1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::tree::HashKeys;

    /// One path with very many watchers of each kind, others with a few, and gaps where paths were.
    fn table() -> WatchTable {
        let mut t = WatchTable::new(HashKeys::default());
        let kinds = [Modes::DATA, Modes::CHILD, Modes::PERSISTENT, Modes::RECURSIVE, Modes::CHILD.with(Modes::DATA)];
        for watcher in 0..60 {
            t.add(watcher, "/gone", Modes::DATA);
            t.add(watcher, "/children", Modes::CHILD);
            t.add(watcher, "/all", kinds[watcher as usize % 5]);
            t.add(watcher, &format!("/own/{watcher}"), kinds[watcher as usize % 3]);
        }
        t.fire(TriggerKind::Deleted, "/gone");
        t
    }

    /// What is in the table of data, told in pieces of `work` steps.
    fn in_pieces(
        t: &WatchTable,
        work: usize,
    ) -> (BTreeMap<String, BTreeSet<Watcher>>, BTreeMap<Watcher, BTreeSet<String>>) {
        let (mut by_path, mut by_watcher) = (BTreeMap::<String, BTreeSet<_>>::new(), BTreeMap::<_, BTreeSet<_>>::new());
        let mut next = Some(PathCursor::default());
        while let Some(from) = next {
            next = t.data_paths(from, work, |path, watcher| match watcher {
                None => assert!(by_path.insert(path.to_owned(), BTreeSet::new()).is_none(), "{path} twice"),
                Some(watcher) => assert!(by_path.get_mut(path).is_some_and(|all| all.insert(watcher)), "{path}"),
            });
        }
        let mut next = Some(PathsCursor::default());
        while let Some(from) = next {
            next = t.data_paths_of_all(from, work, |watcher, path| match path {
                None => assert!(by_watcher.insert(watcher, BTreeSet::new()).is_none(), "{watcher} twice"),
                Some(path) => {
                    assert!(by_watcher.get_mut(&watcher).is_some_and(|all| all.insert(path.to_owned())), "{path}");
                }
            });
        }
        (by_path, by_watcher)
    }

    #[test]
    fn pieces_of_any_size_tell_the_same() {
        let t = table();
        let (by_path, by_watcher) = in_pieces(&t, usize::MAX);
        assert_eq!((by_path["/all"].len(), by_path.len()), (48, 41));
        assert!(by_watcher.values().all(|paths| !paths.is_empty()) && !by_path.contains_key("/children"));
        for work in 1..70 {
            assert_eq!(in_pieces(&t, work), (by_path.clone(), by_watcher.clone()), "{work}");
        }
        for (path, watchers) in &by_path {
            let (mut all, mut next) = (BTreeSet::new(), Some(0));
            while let Some(from) = next {
                let (some, more) = t.data_watchers(path, from, 7);
                all.extend(some);
                next = more;
            }
            assert_eq!(&all, watchers);
        }
    }

    #[test]
    fn entries_are_those_of_two_tables() {
        let mut t = WatchTable::new(HashKeys::default());
        t.add(1, "/a", Modes::DATA);
        t.add(1, "/a", Modes::PERSISTENT);
        assert_eq!((t.table_entries(), t.in_child_table(TriggerKind::Deleted, "/a")), (2, (1, 0)));
        t.add(2, "/a", Modes::CHILD);
        t.add(3, "/a", Modes::RECURSIVE);
        assert_eq!((t.table_entries(), t.in_child_table(TriggerKind::Deleted, "/a")), (4, (2, 1)));
        t.fire(TriggerKind::Deleted, "/a");
        assert_eq!(t.table_entries(), 3);
        t.remove_watcher(1, |_, _| ());
        t.remove_watcher(3, |_, _| ());
        assert_eq!(t.table_entries(), 0);
    }
}
