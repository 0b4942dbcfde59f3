//! Random histories of txns: the tree and the plainest form of its rules agree after each.

mod support;

use ostler_tree::owner::OwnerRules;
use ostler_tree::{HashKeys, Tree, TreeConfig};
use proptest::prelude::*;
use support::history::{CVersion, Step, Writer, history, parse};
use support::model::{Model, crc32};
use support::{assert_equal, assert_same_result};

fn config(extended_types: bool, seed: u64) -> TreeConfig {
    TreeConfig { keys: HashKeys([seed, 2, 3, 4]), owner_rules: OwnerRules { extended_types, emulate_353: false } }
}

#[test]
fn the_naive_checksum_is_crc_32() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

#[test]
fn a_fresh_tree() {
    for extended in [false, true] {
        let config = config(extended, 1);
        assert_equal(&Tree::new(config), &Model::new(config.owner_rules));
    }
    // As a fresh server of Apache's tells (`mntr`).
    let tree = Tree::new(TreeConfig::default());
    assert_eq!((tree.node_count(), tree.approximate_data_size()), (5, 44));
}

/// A quota whose usage lies in what it counts: of `/zookeeper`.
#[test]
fn a_usage_that_counts_itself() {
    let steps = ["", "/zookeeper_limits", "/zookeeper_stats"].map(|name| Step::Create {
        path: format!("/zookeeper/quota/zookeeper{name}"),
        data: None,
        acl: 0,
        kind: 0,
        owner: 1,
        cversion: CVersion::Next,
    });
    let config = config(false, 0);
    let (mut tree, mut model, mut writer) = (Tree::new(config), Model::new(config.owner_rules), Writer::default());
    for step in &steps {
        let bytes = writer.write(&model, step);
        let entry = parse(&bytes);
        assert_same_result(&tree.apply(&entry, &mut Vec::new()), &model.apply(&entry, &mut Vec::new()));
        tree.settle_children();
        assert_equal(&tree, &model);
    }
}

proptest! {
    #![proptest_config(support::cases(1000))]

    #[test]
    fn every_txn_does_what_the_rules_say(
        steps in history(60),
        extended in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let config = config(extended, seed);
        let (mut tree, mut model, mut writer) = (Tree::new(config), Model::new(config.owner_rules), Writer::default());
        for step in &steps {
            let bytes = writer.write(&model, step);
            let entry = parse(&bytes);
            let got = tree.apply(&entry, &mut Vec::new());
            tree.settle_children();
            let expected = model.apply(&entry, &mut Vec::new());
            assert_same_result(&got, &expected);
            assert_equal(&tree, &model);
        }
    }

    /// Other keys of the hash maps, and a tree cloned on the way, change nothing that can be seen.
    #[test]
    fn keys_and_clones_do_not_show(steps in history(60), at in any::<prop::sample::Index>()) {
        let (mut one, mut other) = (Tree::new(config(true, 1)), Tree::new(config(true, 99)));
        let (mut model, mut writer) = (Model::new(config(true, 1).owner_rules), Writer::default());
        let at = at.index(steps.len());
        for (i, step) in steps.iter().enumerate() {
            let bytes = writer.write(&model, step);
            let entry = parse(&bytes);
            model.apply(&entry, &mut Vec::new());
            if i == at {
                other = one.clone();
            }
            prop_assert_eq!(one.apply(&entry, &mut Vec::new()), other.apply(&entry, &mut Vec::new()));
        }
        one.settle_children();
        other.settle_children();
        assert_equal(&other, &model);
        assert_equal(&one, &model);
    }
}
