//! A model of the tree, random histories, and how the two trees are compared.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

pub mod history;
pub mod model;

use model::{Model, ModelApplied};
use ostler_tree::{Applied, Outcome, Tree};
use proptest::prelude::ProptestConfig;
use wire::SessionId;

/// So many cases; a failing one is told, not kept in a file.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Is the tree what the model says, in everything that can be asked?
pub fn assert_equal(tree: &Tree, model: &Model) {
    assert_eq!(tree.last_processed(), model.last);
    assert_eq!(tree.node_count(), model.nodes.len() + 1);
    assert_eq!(tree.approximate_data_size(), model.data_size());
    assert_eq!(tree.digest().0, model.digest(), "digest");
    for (path, expected) in &model.nodes {
        let shown = if path.is_empty() { "/" } else { path };
        let Some(node) = tree.get(shown) else { panic!("{shown} is missing") };
        assert_eq!(node.path(), shown);
        assert_eq!(node.data(), expected.data.as_deref(), "data of {shown}");
        assert_eq!(node.stat_persisted(), expected.stat, "Stat of {shown}");
        assert_eq!(node.stat(), model.stat(path), "Stat of {shown} for clients");
        assert_eq!(node.acl_encoded().as_bytes(), expected.acl, "ACL of {shown}");
        let children: Vec<_> = node.children().map(|c| String::from_utf8_lossy(c.name()).into_owned()).collect();
        assert_eq!(children, model.children(path), "children of {shown}");
        assert_eq!(node.child_count() as usize, children.len());
        let mut back: Vec<_> = node.children().map(ostler_tree::NodeRef::id).collect();
        back.dedup();
        assert_eq!(back.len(), children.len());
    }
    let owners: Vec<i64> = tree.sessions_with_ephemerals().iter().map(|s| s.0).collect();
    assert_eq!(owners, model.owners(), "sessions with ephemerals");
    let mut all = 0;
    for owner in owners {
        let mut paths: Vec<_> = tree.ephemerals(SessionId(owner)).map(ostler_tree::NodeRef::path).collect();
        paths.sort_unstable();
        assert_eq!(paths, model.ephemerals(owner), "ephemerals of {owner}");
        all += paths.len();
    }
    assert_eq!(tree.ephemeral_count(), all);
    for absent in ["", "a", "/x", "/a/", "//", "/a//b", "/zookeeper/"] {
        assert_eq!(tree.get(absent).is_some(), absent.is_empty() || model.nodes.contains_key(absent), "{absent:?}");
    }
}

/// Did a txn lead to the same?
pub fn assert_same_result(got: &Applied, expected: &ModelApplied) {
    assert_eq!(got.err, expected.err);
    match &got.outcome {
        Outcome::None => assert_eq!((expected.stat, &expected.subs), (None, &None)),
        Outcome::Stat(stat) => assert_eq!((Some(*stat), &None), (expected.stat, &expected.subs)),
        Outcome::Multi(subs) => {
            let subs: Vec<_> =
                subs.iter().map(|s| (s.op, s.err, s.path.as_deref().map(str::to_owned), s.stat)).collect();
            assert_eq!(Some(subs), expected.subs);
        }
    }
}
