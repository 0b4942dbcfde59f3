//! A cut is the tree at one zxid, however txns go on while it is read; and what is read from it makes the same tree.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use std::collections::BTreeMap;

use ostler_tree::cut::{Chunk, CutHeader};
use ostler_tree::owner::OwnerRules;
use ostler_tree::restore::TreeBuilder;
use ostler_tree::{Tree, TreeConfig};
use proptest::collection::vec;
use proptest::prelude::*;
use support::history::{Step, Writer, history, parse};
use support::model::Model;
use support::{assert_equal, assert_same_result};
use wire::{AclVec, SessionId, StatPersisted};

const CONFIG: TreeConfig = TreeConfig {
    keys: ostler_tree::HashKeys([1, 2, 3, 4]),
    owner_rules: OwnerRules { extended_types: true, emulate_353: false },
};

/// A znode as it came out of a cut.
#[derive(Debug, Clone)]
struct Read {
    path: String,
    data: Option<Vec<u8>>,
    acl_id: i64,
    stat: StatPersisted,
}

struct World {
    tree: Tree,
    model: Model,
    writer: Writer,
}

impl World {
    fn new() -> Self {
        let model = Model::new(CONFIG.owner_rules);
        Self { tree: Tree::new(CONFIG), model, writer: Writer::default() }
    }

    fn apply_all(&mut self, steps: &[Step]) {
        for step in steps {
            self.apply(step);
        }
    }

    fn apply(&mut self, step: &Step) {
        let bytes = self.writer.write(&self.model, step);
        let entry = parse(&bytes);
        let got = self.tree.apply(&entry, &mut Vec::new());
        self.tree.settle_children();
        assert_same_result(&got, &self.model.apply(&entry, &mut Vec::new()));
    }
}

fn read(tree: &Tree, bytes_max: usize, into: &mut Vec<Read>) -> Chunk {
    tree.read_cut(bytes_max, |node| {
        let data = node.data.map(<[u8]>::to_vec);
        into.push(Read { path: node.path.to_owned(), data, acl_id: node.acl_id, stat: node.stat });
    })
}

/// What was read is the model at the cut: each znode once, its parent before it.
fn assert_is_cut(header: &CutHeader, read: &[Read], at_cut: &Model) {
    assert_eq!(header.zxid, at_cut.last);
    assert_eq!(header.digest.0, at_cut.digest());
    assert_eq!(header.node_count, at_cut.nodes.len());
    let lists: BTreeMap<i64, &[u8]> = header.acls.iter().map(|(id, list)| (*id, &**list)).collect();
    let mut seen = BTreeMap::new();
    for node in read {
        if let Some((parent, _)) = node.path.rsplit_once('/') {
            assert!(seen.contains_key(parent), "{} before its parent", node.path);
        }
        let acl = if node.acl_id == -1 { AclVec::OPEN.as_bytes() } else { lists[&node.acl_id] };
        let found = (node.data.clone(), node.stat, acl.to_vec());
        assert!(seen.insert(node.path.as_str(), found).is_none(), "{} twice", node.path);
    }
    let expected: BTreeMap<&str, _> =
        at_cut.nodes.iter().map(|(path, n)| (path.as_str(), (n.data.clone(), n.stat, n.acl.clone()))).collect();
    assert_eq!(seen, expected);
}

/// The restored tree is the one of the cut, the order of children included.
fn assert_restores(header: &CutHeader, read: &[Read], at_cut: &Model) -> Tree {
    let mut builder = TreeBuilder::new(CONFIG);
    for (id, list) in &header.acls {
        builder.acl(*id, AclVec::parse(list).unwrap());
    }
    for node in read {
        builder.node(&node.path, node.data.as_deref(), node.acl_id, &node.stat).unwrap();
    }
    assert_eq!(builder.missing_acls(), 0);
    let tree = builder.finish(header.zxid).unwrap();
    assert_equal(&tree, &at_cut.restored());
    tree
}

proptest! {
    #![proptest_config(support::cases(800))]

    #[test]
    fn what_is_read_is_the_tree_at_the_cut(
        before in history(60),
        after in history(60),
        chunks in vec((1..600usize, 0..4usize), 1..60),
    ) {
        let mut world = World::new();
        world.apply_all(&before);
        let sessions = vec![(SessionId(1), 4000), (SessionId(2), 5000)];
        let header = world.tree.begin_cut(sessions.clone(), usize::MAX);
        let at_cut = world.model.clone();
        prop_assert_eq!(&header.sessions, &sessions);
        prop_assert!(world.tree.has_cut());
        let (mut got, mut rest) = (Vec::new(), after.iter());
        let mut is_done = false;
        for (bytes_max, txns) in chunks {
            for step in rest.by_ref().take(txns) {
                world.apply(step);
            }
            if read(&world.tree, bytes_max, &mut got) == Chunk::Done {
                is_done = true;
                break;
            }
        }
        // The tree itself is not disturbed by the reading.
        assert_equal(&world.tree, &world.model);
        while !is_done {
            rest.by_ref().take(1).for_each(|step| world.apply(step));
            match read(&world.tree, 1, &mut got) {
                Chunk::Done => is_done = true,
                Chunk::More => {}
                Chunk::GivenUp => panic!("given up without a cap"),
            }
        }
        prop_assert!(!world.tree.has_cut());
        assert_is_cut(&header, &got, &at_cut);
        assert_restores(&header, &got, &at_cut);
        prop_assert_eq!(read(&world.tree, 1, &mut got), Chunk::GivenUp, "there is no cut any more");
    }

    /// Over its cap a cut is given up, whatever was read before; it never yields a wrong znode and says that it is done.
    #[test]
    fn over_the_cap_it_is_given_up(
        before in history(40),
        after in history(60),
        cap in 0..4000usize,
        chunks in vec((1..300usize, 0..6usize), 1..40),
    ) {
        let mut world = World::new();
        world.apply_all(&before);
        let header = world.tree.begin_cut(Vec::new(), cap);
        let at_cut = world.model.clone();
        let (mut got, mut rest) = (Vec::new(), after.iter());
        for (bytes_max, txns) in chunks.iter().cycle() {
            rest.by_ref().take(*txns).for_each(|step| world.apply(step));
            match read(&world.tree, *bytes_max, &mut got) {
                Chunk::More => {}
                Chunk::Done => {
                    assert_is_cut(&header, &got, &at_cut);
                    break;
                }
                Chunk::GivenUp => {
                    prop_assert!(!world.tree.has_cut());
                    // The next one, with room, is right again.
                    let header = world.tree.begin_cut(Vec::new(), usize::MAX);
                    got.clear();
                    prop_assert_eq!(read(&world.tree, usize::MAX, &mut got), Chunk::Done);
                    assert_is_cut(&header, &got, &world.model);
                    break;
                }
            }
        }
        assert_equal(&world.tree, &world.model);
    }

    /// Txns on a restored tree do what they do on the one that it was taken from.
    #[test]
    fn a_restored_tree_goes_on_the_same(before in history(50), after in history(30)) {
        let mut world = World::new();
        world.apply_all(&before);
        let header = world.tree.begin_cut(Vec::new(), usize::MAX);
        let mut got = Vec::new();
        prop_assert_eq!(read(&world.tree, usize::MAX, &mut got), Chunk::Done);
        let mut restored = assert_restores(&header, &got, &world.model);
        // Apart from usage that was not what there is.
        let mut model = world.model.restored();
        for step in &after {
            let bytes = world.writer.write(&world.model, step);
            let entry = parse(&bytes);
            let expected = model.apply(&entry, &mut Vec::new());
            assert_same_result(&restored.apply(&entry, &mut Vec::new()), &expected);
            let live = world.model.apply(&entry, &mut Vec::new());
            assert_same_result(&world.tree.apply(&entry, &mut Vec::new()), &live);
            world.tree.settle_children();
            restored.settle_children();
            prop_assert_eq!(world.tree.digest(), restored.digest());
        }
        prop_assert_eq!(world.tree.node_count(), restored.node_count());
        prop_assert_eq!(world.tree.ephemeral_count(), restored.ephemeral_count());
        prop_assert_eq!(model.data_size(), restored.approximate_data_size());
        prop_assert_eq!(world.model.data_size(), world.tree.approximate_data_size());
        for (path, node) in &model.nodes {
            prop_assert_eq!(restored.get(path).and_then(ostler_tree::NodeRef::data), node.data.as_deref(), "data of {}", path);
        }
    }
}

/// A history that must outgrow a small cap.
#[test]
fn a_small_cap_does_not_hold_much() {
    let mut world = World::new();
    let create = |path: &str| Step::Create {
        path: path.into(),
        data: Some(vec![1; 100]),
        acl: 0,
        kind: 0,
        owner: 1,
        cversion: support::history::CVersion::Next,
    };
    world.apply(&create("/a"));
    world.apply(&create("/b"));
    world.tree.begin_cut(Vec::new(), 300);
    let set = |path: &str| Step::SetData { path: path.into(), data: None, version: None };
    world.apply(&set("/a"));
    world.apply(&set("/a"));
    assert_eq!(read(&world.tree, 1, &mut Vec::new()), Chunk::More, "one image fits");
    world.apply(&set("/b"));
    assert_eq!(read(&world.tree, 1, &mut Vec::new()), Chunk::GivenUp, "two don't");
}
