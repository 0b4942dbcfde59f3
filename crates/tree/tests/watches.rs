//! The watch tables against Apache's two in their plainest form, and the interest that the tree keeps for shards: no
//! watch that an event concerns is ever without its bit.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use ostler_tree::owner::OwnerRules;
use ostler_tree::watch::{Modes, WatchTable, Watcher};
use ostler_tree::{HashKeys, Tree, TreeConfig, TriggerKind};
use proptest::collection::vec;
use proptest::prelude::*;
use support::history::{Step, Writer, history, parse};
use support::model::{Model, ModelEvent};
use support::{assert_equal, assert_same_result};
use wire::AclVec;

/// Apache's `WatcherMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Standard,
    Persistent,
    Recursive,
}

type Table = BTreeMap<(String, Watcher), BTreeSet<Mode>>;

/// Apache's `dataWatches` and `childWatches`.
#[derive(Debug, Clone, Default)]
struct Naive {
    data: Table,
    child: Table,
}

const ALL_MODES: [Modes; 4] = [Modes::DATA, Modes::CHILD, Modes::PERSISTENT, Modes::RECURSIVE];

impl Naive {
    fn tables(&mut self, mode: Modes) -> Vec<(&mut Table, Mode)> {
        match mode {
            Modes::DATA => vec![(&mut self.data, Mode::Standard)],
            Modes::CHILD => vec![(&mut self.child, Mode::Standard)],
            Modes::PERSISTENT => vec![(&mut self.data, Mode::Persistent), (&mut self.child, Mode::Persistent)],
            _ => vec![(&mut self.data, Mode::Recursive)],
        }
    }

    fn add(&mut self, watcher: Watcher, path: &str, mode: Modes) {
        for (table, mode) in self.tables(mode) {
            table.entry((path.to_owned(), watcher)).or_default().insert(mode);
        }
    }

    fn remove(&mut self, watcher: Watcher, path: &str, mode: Modes) -> bool {
        let mut had = false;
        for (table, mode) in self.tables(mode) {
            if let Some(modes) = table.get_mut(&(path.to_owned(), watcher)) {
                had |= modes.remove(&mode);
            }
        }
        self.clean();
        had
    }

    fn clean(&mut self) {
        self.data.retain(|_, modes| !modes.is_empty());
        self.child.retain(|_, modes| !modes.is_empty());
    }

    /// `WatchManager.triggerWatch`: those who hear of it, after which their one-shot watches are gone.
    fn trigger(table: &mut Table, path: &str, skip: &BTreeSet<Watcher>) -> BTreeSet<Watcher> {
        let mut heard = BTreeSet::new();
        let mut at = Some(path.to_owned());
        while let Some(here) = at {
            for ((watched, watcher), modes) in table.iter_mut().filter(|((watched, _), _)| *watched == here) {
                let is_exact = watched == path;
                if modes.contains(&Mode::Recursive) || is_exact && !modes.is_empty() {
                    heard.insert(*watcher);
                }
                if is_exact {
                    modes.remove(&Mode::Standard);
                }
            }
            at = match here.rfind('/') {
                _ if here == "/" => None,
                Some(0) => Some("/".to_owned()),
                Some(slash) => Some(here[..slash].to_owned()),
                None => None,
            };
        }
        heard.difference(skip).copied().collect()
    }

    fn fire(&mut self, kind: TriggerKind, path: &str) -> BTreeSet<Watcher> {
        let nobody = BTreeSet::new();
        let mut heard = BTreeSet::new();
        if kind != TriggerKind::ChildrenChanged {
            heard.extend(Self::trigger(&mut self.data, path, &nobody));
        }
        if matches!(kind, TriggerKind::ChildrenChanged | TriggerKind::Deleted) {
            let again = Self::trigger(&mut self.child, path, &heard);
            heard.extend(again);
        }
        self.clean();
        heard
    }

    fn has(&self, watcher: Watcher, path: &str, mode: Modes) -> bool {
        let key = (path.to_owned(), watcher);
        let holds = |table: &Table, mode| table.get(&key).is_some_and(|modes| modes.contains(&mode));
        match mode {
            Modes::DATA => holds(&self.data, Mode::Standard),
            Modes::CHILD => holds(&self.child, Mode::Standard),
            Modes::PERSISTENT => holds(&self.data, Mode::Persistent),
            _ => holds(&self.data, Mode::Recursive),
        }
    }

    /// Path and watcher of everything, once.
    fn pairs(&self) -> BTreeSet<(String, Watcher)> {
        self.data.keys().chain(self.child.keys()).cloned().collect()
    }
}

fn assert_same(table: &WatchTable, naive: &Naive, paths: &[&str]) {
    let pairs = naive.pairs();
    let watched: BTreeSet<&str> = pairs.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(table.path_count(), watched.len());
    let count: usize =
        pairs.iter().map(|(path, w)| ALL_MODES.iter().filter(|mode| naive.has(*w, path, **mode)).count()).sum();
    assert_eq!((table.len(), table.is_empty()), (count, count == 0));
    for path in paths {
        for mode in ALL_MODES {
            for watcher in 0..WATCHERS {
                assert_eq!(table.modes_of(watcher, path).has(mode), naive.has(watcher, path, mode), "{watcher} {path}");
            }
            let anybody = (0..WATCHERS).any(|watcher| naive.has(watcher, path, mode));
            assert_eq!(table.modes_on(path).has(mode), anybody, "{path} {mode:?}");
        }
    }
}

const WATCHERS: Watcher = 4;
const PATHS: [&str; 13] = [
    "/",
    "/a",
    "/b",
    "/a/a",
    "/a/b",
    "/a/b/c",
    "/c/a",
    "/a/bb",
    "",
    "/a/é/c",
    "/a/é/c/d",
    "/a/b/c/d/e",
    "/a/b/c/d/f/g",
];

fn mode() -> impl Strategy<Value = Modes> {
    prop_oneof![Just(Modes::DATA), Just(Modes::CHILD), Just(Modes::PERSISTENT), Just(Modes::RECURSIVE)]
}

#[derive(Debug, Clone)]
enum Act {
    Add(Watcher, usize, Modes),
    Remove(Watcher, usize, Modes),
    Leave(Watcher),
    Fire(usize, usize),
    /// Many one-shot watches set and fired, so that lists with stale entries are cleaned.
    Churn(Watcher),
}

fn act() -> impl Strategy<Value = Act> {
    let (who, path) = (0..WATCHERS, 0..PATHS.len());
    prop_oneof![
        8 => (who.clone(), path.clone(), mode()).prop_map(|(w, p, m)| Act::Add(w, p, m)),
        2 => (who.clone(), path.clone(), mode()).prop_map(|(w, p, m)| Act::Remove(w, p, m)),
        1 => who.clone().prop_map(Act::Leave),
        5 => (0..4usize, path).prop_map(|(k, p)| Act::Fire(k, p)),
        1 => who.prop_map(Act::Churn),
    ]
}

const KINDS: [TriggerKind; 4] =
    [TriggerKind::Created, TriggerKind::Deleted, TriggerKind::DataChanged, TriggerKind::ChildrenChanged];

proptest! {
    #![proptest_config(support::cases(1000))]

    #[test]
    fn the_tables_are_apaches(acts in vec(act(), 1..80), seed in any::<u64>()) {
        let (mut table, mut naive) = (WatchTable::new(HashKeys([seed, 0, 0, 0])), Naive::default());
        for act in acts {
            match act {
                Act::Add(watcher, path, mode) => {
                    table.add(watcher, PATHS[path], mode);
                    naive.add(watcher, PATHS[path], mode);
                }
                Act::Remove(watcher, path, mode) => {
                    let had = naive.remove(watcher, PATHS[path], mode);
                    prop_assert_eq!(table.remove(watcher, PATHS[path], mode), had);
                }
                Act::Leave(watcher) => {
                    let before: BTreeSet<String> = naive.pairs().into_iter().map(|(path, _)| path).collect();
                    naive.data.retain(|(_, w), _| *w != watcher);
                    naive.child.retain(|(_, w), _| *w != watcher);
                    let after: BTreeSet<String> = naive.pairs().into_iter().map(|(path, _)| path).collect();
                    let mut gone = Vec::new();
                    // In pieces, and nothing is heard of it meanwhile by others.
                    while !table.remove_some(watcher, 2, |path, _| gone.push(path.to_owned())) {}
                    gone.sort_unstable();
                    prop_assert_eq!(gone, before.difference(&after).cloned().collect::<Vec<_>>());
                }
                Act::Fire(kind, path) => {
                    let expected = naive.fire(KINDS[kind], PATHS[path]);
                    let fired = table.fire(KINDS[kind], PATHS[path]);
                    prop_assert_eq!(fired.left, table.modes_on(PATHS[path]));
                    let got = fired.watchers;
                    prop_assert_eq!(got.len(), expected.len(), "each once");
                    prop_assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), expected);
                }
                Act::Churn(watcher) => {
                    for i in 0..30 {
                        let path = format!("/churn/{}", i % 7);
                        table.add(watcher, &path, Modes::DATA);
                        naive.add(watcher, &path, Modes::DATA);
                        let expected = naive.fire(TriggerKind::DataChanged, &path);
                        let got: BTreeSet<_> = table.fire(TriggerKind::DataChanged, &path).watchers.into_iter().collect();
                        prop_assert_eq!(got, expected);
                    }
                }
            }
            assert_same(&table, &naive, &PATHS);
        }
    }
}

const SHARDS: usize = 3;

/// Between two txns.
#[derive(Debug, Clone)]
enum Doing {
    Txn(Step),
    Watch {
        shard: usize,
        watcher: Watcher,
        path: String,
        mode: Modes,
    },
    Unwatch {
        shard: usize,
        watcher: Watcher,
        path: String,
        mode: Modes,
    },
    Leave {
        shard: usize,
        watcher: Watcher,
    },
    /// A shard takes back the interest in what nobody there watches any more.
    TakeBack {
        shard: usize,
    },
}

fn doing() -> impl Strategy<Value = Doing> {
    let path = || {
        prop_oneof![
            6 => vec("[a-c]", 1..4).prop_map(|names| names.iter().fold(String::new(), |path, name| format!("{path}/{name}"))),
            1 => Just("/".to_owned()),
            1 => Just(String::new()),
        ]
    };
    let (shard, watcher) = (0..SHARDS, 0..WATCHERS);
    prop_oneof![
        5 => (shard.clone(), watcher.clone(), path(), mode())
            .prop_map(|(shard, watcher, path, mode)| Doing::Watch { shard, watcher, path, mode }),
        1 => (shard.clone(), watcher.clone(), path(), mode())
            .prop_map(|(shard, watcher, path, mode)| Doing::Unwatch { shard, watcher, path, mode }),
        1 => (shard.clone(), watcher).prop_map(|(shard, watcher)| Doing::Leave { shard, watcher }),
        2 => shard.prop_map(|shard| Doing::TakeBack { shard }),
    ]
}

fn doings() -> impl Strategy<Value = Vec<Doing>> {
    (history(40), vec(vec(doing(), 0..4), 40)).prop_map(|(steps, between)| {
        steps.into_iter().zip(between).flat_map(|(step, doings)| doings.into_iter().chain([Doing::Txn(step)])).collect()
    })
}

/// What each shard heard of one txn: who, in the order of events.
type Heard = Vec<(usize, TriggerKind, String, BTreeSet<Watcher>)>;

fn heard_naively(events: &[ModelEvent], naive: &mut [Naive]) -> Heard {
    let mut heard = Vec::new();
    for event in events {
        for (shard, tables) in naive.iter_mut().enumerate() {
            let who = tables.fire(event.kind, &event.path);
            if !who.is_empty() {
                heard.push((shard, event.kind, event.path.clone(), who));
            }
        }
    }
    heard
}

proptest! {
    #![proptest_config(support::cases(1000))]

    /// Shards that are told only what their bits ask for hear all that shards would that are told everything.
    #[test]
    fn no_interest_is_lost(doings in doings()) {
        let rules = OwnerRules { extended_types: true, emulate_353: false };
        let config = TreeConfig { keys: HashKeys([5, 6, 7, 8]), owner_rules: rules };
        let (mut tree, mut model, mut writer) = (Tree::new(config), Model::new(rules), Writer::default());
        let mut naive = vec![Naive::default(); SHARDS];
        let mut tables = vec![WatchTable::new(config.keys); SHARDS];
        let mut unwatched: Vec<BTreeSet<String>> = vec![BTreeSet::new(); SHARDS];
        for doing in doings {
            match doing {
                Doing::Watch { shard, watcher, path, mode } => {
                    for interest in mode.interests() {
                        tree.add_interest(&path, interest, shard);
                    }
                    tables[shard].add(watcher, &path, mode);
                    naive[shard].add(watcher, &path, mode);
                }
                Doing::Unwatch { shard, watcher, path, mode } => {
                    naive[shard].remove(watcher, &path, mode);
                    tables[shard].remove(watcher, &path, mode);
                    unwatched[shard].insert(path);
                }
                Doing::Leave { shard, watcher } => {
                    naive[shard].data.retain(|(_, w), _| *w != watcher);
                    naive[shard].child.retain(|(_, w), _| *w != watcher);
                    let gone = &mut unwatched[shard];
                    tables[shard].remove_watcher(watcher, |path, _| {
                        gone.insert(path.to_owned());
                    });
                }
                Doing::TakeBack { shard } => {
                    for path in std::mem::take(&mut unwatched[shard]) {
                        let left = tables[shard].modes_on(&path);
                        let kept: Vec<_> = left.interests().collect();
                        // Where there is no znode, one bit stands for all kinds.
                        if !kept.is_empty() && tree.get(&path).is_none() {
                            continue;
                        }
                        for interest in Modes::ALL.interests().filter(|interest| !kept.contains(interest)) {
                            tree.remove_interest(&path, interest, shard);
                        }
                    }
                }
                Doing::Txn(step) => {
                    let bytes = writer.write(&model, &step);
                    let entry = parse(&bytes);
                    let (mut triggers, mut events) = (Vec::new(), Vec::new());
                    let got = tree.apply(&entry, &mut triggers);
                    assert_same_result(&got, &model.apply(&entry, &mut events));
                    let expected = heard_naively(&events, &mut naive);
                    let mut heard = Vec::new();
                    let mut told = events.iter();
                    for trigger in &triggers {
                        let event = told.find(|e| e.kind == trigger.kind && *e.path == *trigger.path);
                        let Some(event) = event else { panic!("{trigger:?} is not one of {events:?}, in order") };
                        let acl = AclVec::parse(&event.acl).unwrap();
                        let restricted = (acl != AclVec::OPEN).then(|| acl.decode().unwrap());
                        prop_assert_eq!(trigger.acl.as_deref(), restricted.as_deref(), "the ACL it had");
                        for shard in (0..SHARDS).filter(|&shard| trigger.shards.has(shard)) {
                            let who: BTreeSet<_> = tables[shard].fire(trigger.kind, &trigger.path).watchers.into_iter().collect();
                            unwatched[shard].insert(trigger.path.to_string());
                            if !who.is_empty() {
                                heard.push((shard, trigger.kind, trigger.path.to_string(), who));
                            }
                        }
                    }
                    prop_assert_eq!(heard, expected);
                }
            }
        }
        tree.settle_children();
        assert_equal(&tree, &model);
        for shard in 0..SHARDS {
            assert_same(&tables[shard], &naive[shard], &PATHS);
        }
    }
}
