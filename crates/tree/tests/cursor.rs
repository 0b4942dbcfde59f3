//! Reads over several guards, with txns in between: a walk shows the children of the zxid that it began at, all of them,
//! once and in order; a count is that of its end; a set of what was read knows whether it still holds.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use ostler_tree::cursor::{CursorId, Walked};
use ostler_tree::owner::OwnerRules;
use ostler_tree::{Tree, TreeConfig};
use proptest::collection::vec;
use proptest::prelude::*;
use support::history::{Step, Writer, history, parse};
use support::model::{Model, ModelNode, crc32};
use support::{assert_equal, assert_same_result};
use wire::Zxid;

const CONFIG: TreeConfig = TreeConfig {
    keys: ostler_tree::HashKeys([1, 2, 3, 4]),
    owner_rules: OwnerRules { extended_types: true, emulate_353: false },
};

const PATHS: [&str; 8] = ["/", "/a", "/b", "/a/a", "/a/b", "/c", "/ü", "/a/a/a"];

struct Walk {
    id: CursorId,
    from: Zxid,
    expected: Vec<(Zxid, String)>,
    seen: Vec<(Zxid, String)>,
}

struct Count {
    id: CursorId,
    path: &'static str,
    czxid: Zxid,
}

/// What was read at two paths: znode and children's names.
type Facts = Vec<(Option<ModelNode>, Vec<String>)>;

struct Set {
    id: CursorId,
    paths: Vec<&'static str>,
    facts: Facts,
}

fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

fn facts(model: &Model, paths: &[&str]) -> Facts {
    let children = |path: &str| model.children(path).into_iter().map(str::to_owned).collect();
    paths.iter().map(|path| (model.nodes.get(key(path)).cloned(), children(path))).collect()
}

fn descendants(model: &Model, path: &str) -> i64 {
    let below = format!("{}/", key(path));
    model.nodes.keys().filter(|path| path.starts_with(&below)).count() as i64
}

/// What is done between two txns.
#[derive(Debug, Clone)]
enum Act {
    Walk(usize, usize),
    Count(usize),
    Set(usize, usize),
    /// Goes on with everything that is under way, by so little.
    GoOn(usize),
    Close(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..PATHS.len(), 0..6usize).prop_map(|(path, back)| Act::Walk(path, back)),
        2 => (0..PATHS.len()).prop_map(Act::Count),
        2 => (0..PATHS.len(), 0..PATHS.len()).prop_map(|(a, b)| Act::Set(a, b)),
        6 => (1..120usize).prop_map(Act::GoOn),
        1 => (0..4usize).prop_map(Act::Close),
    ]
}

#[derive(Default)]
struct Reads {
    walks: Vec<Walk>,
    counts: Vec<Count>,
    sets: Vec<Set>,
}

impl Reads {
    fn act(&mut self, tree: &Tree, model: &Model, act: &Act) {
        match *act {
            Act::Walk(path, back) => {
                let path = PATHS[path];
                let Some(node) = tree.get(path) else { return };
                let from = Zxid(if back == 0 { 0 } else { model.last.0 - 3 * back as i64 });
                let czxid = |name: &str| model.nodes[&format!("{}/{name}", key(path))].stat.czxid;
                let expected = model.children(path).into_iter().map(|name| (czxid(name), name.to_owned()));
                let expected = expected.filter(|(czxid, _)| *czxid >= from).collect();
                self.walks.push(Walk { id: tree.open_walk(node, from), from, expected, seen: Vec::new() });
            }
            Act::Count(path) => {
                let Some(node) = tree.get(PATHS[path]) else { return };
                let czxid = node.stat_persisted().czxid;
                self.counts.push(Count { id: tree.open_count(node), path: PATHS[path], czxid });
            }
            Act::Set(a, b) => {
                let set = Set { id: tree.open_read_set(), paths: Vec::new(), facts: Facts::new() };
                self.sets.push(set);
                let set = self.sets.last_mut().unwrap();
                for path in [PATHS[a], PATHS[b]] {
                    set.paths.push(path);
                    set.facts.extend(facts(model, &[path]));
                }
                assert!(tree.add_to_read_set(set.id, set.paths.iter().copied()));
            }
            Act::GoOn(work) => self.go_on(tree, model, work),
            Act::Close(at) => {
                if at < self.walks.len() {
                    tree.close_cursor(self.walks.remove(at).id);
                }
            }
        }
    }

    fn go_on(&mut self, tree: &Tree, model: &Model, work: usize) {
        self.walks.retain_mut(|walk| {
            let seen = &mut walk.seen;
            let walked = tree.walk(walk.id, work, |czxid, name| {
                seen.push((czxid, String::from_utf8(name.to_vec()).unwrap()));
                true
            });
            assert_ne!(walked, Walked::Lost);
            if walked == Walked::Done {
                let from = walk.from;
                let seen: Vec<_> = walk.seen.drain(..).filter(|(czxid, _)| *czxid >= from).collect();
                assert_eq!(seen, walk.expected, "the children at the zxid of its beginning");
            }
            walked == Walked::More
        });
        self.counts.retain(|count| {
            let Some(counted) = tree.count(count.id, 1 + work / 40) else { return true };
            let is_same = tree.get(count.path).is_some_and(|node| node.stat_persisted().czxid == count.czxid);
            let expected = if is_same { descendants(model, count.path) } else { 0 };
            assert_eq!(counted, expected, "the descendants of {} at the end", count.path);
            false
        });
        for set in &self.sets {
            let is_fresh = tree.add_to_read_set(set.id, std::iter::empty());
            if is_fresh {
                assert_eq!(facts(model, &set.paths), set.facts, "nothing has changed");
            }
        }
    }
}

proptest! {
    #![proptest_config(support::cases(1500))]

    #[test]
    fn reads_over_many_guards(steps in history(80), acts in vec(vec(act(), 0..4), 80)) {
        prop_assert_eq!(crc32(b""), 0);
        let (mut tree, mut model, mut writer) = (Tree::new(CONFIG), Model::new(CONFIG.owner_rules), Writer::default());
        let mut reads = Reads::default();
        // An entry of the past is replayed before anything is served, not while it is.
        let steps = steps.iter().filter(|step| !matches!(step, Step::Replay(_)));
        for (step, acts) in steps.zip(&acts) {
            let bytes = writer.write(&model, step);
            let entry = parse(&bytes);
            let applied = tree.apply(&entry, &mut Vec::new());
            assert_same_result(&applied, &model.apply(&entry, &mut Vec::new()));
            for act in acts {
                reads.act(&tree, &model, act);
            }
        }
        let mut rounds = 0;
        while !reads.walks.is_empty() || !reads.counts.is_empty() {
            reads.go_on(&tree, &model, 100);
            rounds += 1;
            prop_assert!(rounds < 1000, "they come to an end");
        }
        for set in &reads.sets {
            tree.close_cursor(set.id);
        }
        assert_equal(&tree, &model);
        prop_assert_eq!(tree.cursor_count(), 0, "nothing is left behind");
    }
}

/// A set hears of every change; it may hear of more.
#[test]
fn a_set_of_what_was_read_is_not_always_stale() {
    use wire::txn::{SetDataTxn, Txn, TxnEntry, TxnHeader};
    let mut tree = Tree::new(CONFIG);
    let set = tree.open_read_set();
    assert!(tree.add_to_read_set(set, ["/zookeeper", "/nowhere"].into_iter()));
    let write = |tree: &mut Tree, zxid: i64, path: &str| {
        let header = TxnHeader {
            session: wire::SessionId(1),
            cxid: wire::Xid(1),
            zxid: Zxid(zxid),
            time_ms: 1,
            op: wire::OpCode::SetData,
        };
        let txn = Txn::SetData(SetDataTxn { path: Some(path.into()), data: None, version: 1 });
        tree.apply(&TxnEntry { header, txn, digest: None }, &mut Vec::new());
    };
    write(&mut tree, 1, "/zookeeper/quota");
    assert!(tree.add_to_read_set(set, std::iter::empty()));
    write(&mut tree, 2, "/zookeeper");
    assert!(!tree.add_to_read_set(set, std::iter::empty()));
}
