//! The canonical hash of a tree: equal for equal states, whatever the slots and the order of hash maps.

use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering::Relaxed;

use crate::node::NodeId;
use crate::tree::{Tree, lock};
use crate::watch::WatchTable;

impl Tree {
    /// Feeds everything that later behaviour depends on to `hasher`: znodes with their ACLs and the order of children,
    /// interest, the last zxid, the digest.
    pub fn hash_state(&self, hasher: &mut impl Hasher) {
        self.last_processed.hash(hasher);
        self.digest.0.hash(hasher);
        self.count.hash(hasher);
        self.hash_subtree(NodeId::ROOT, hasher);
        self.absent.sorted().hash(hasher);
        self.has_cut().hash(hasher);
        format!("{:?}", lock(&self.cursors)).hash(hasher);
    }

    fn hash_subtree(&self, root: NodeId, hasher: &mut impl Hasher) {
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            let (node, slot) = (self.node(id), self.nodes.get(id.0));
            node.name().hash(hasher);
            node.data().hash(hasher);
            node.acl_encoded().hash(hasher);
            format!("{:?}", node.stat_persisted()).hash(hasher);
            for bits in [&slot.data_interest, &slot.child_interest, &slot.recursive_interest] {
                bits.load(Relaxed).hash(hasher);
            }
            node.child_count().hash(hasher);
            open.extend(node.children().map(crate::tree::NodeRef::id));
        }
    }
}

impl WatchTable {
    /// Feeds the watches to `hasher`, by path and watcher.
    pub fn hash_state(&self, hasher: &mut impl Hasher) {
        let mut all = self.all();
        all.sort_unstable();
        all.hash(hasher);
    }
}
