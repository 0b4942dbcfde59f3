//! The children of a znode: a list through the slots, always in ascending order of (czxid, name).
//!
//! A txn's creations come behind all earlier ones, so a list stays in order by appending; only a multi that creates
//! several children of one znode may bring them in another order, and is put right when it has been applied. Txns that
//! are replayed over a fuzzy snapshot may find younger children there already: [`Tree::order_children`] puts that right
//! before anything is served. The order is a function of the content alone, so all servers give the same pages.
//!
//! A znode with many children has a sparse index beside the list: about every 1024th child, by its czxid. It costs
//! small directories nothing.

use std::collections::BTreeMap;

use wire::Zxid;

use crate::node::NodeId;
use crate::tree::Tree;

/// From how many children on a znode has an index, and about how many lie between two of its entries.
const WIDE: u32 = 1024;
/// Below so many it has none any more.
const NARROW: u32 = 512;
/// No [`Wide`].
pub(crate) const NO_WIDE: u32 = u32::MAX;

/// What a znode with many children has beside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wide {
    /// The first child with this czxid. Deleting children never makes the gaps between entries larger.
    index: BTreeMap<Zxid, NodeId>,
    /// How many children were linked since the last entry.
    since: u32,
}

impl Tree {
    /// The place of a child among its siblings.
    pub(crate) fn place(&self, id: NodeId) -> (Zxid, &[u8]) {
        (self.nodes.get(id.0).czxid, self.name_bytes(id))
    }

    /// Makes `id`, whose slot is filled, its parent's last child.
    pub(crate) fn link_child(&mut self, parent: NodeId, id: NodeId) {
        let siblings = self.ext_mut(parent);
        let last = std::mem::replace(&mut siblings.last, id);
        siblings.children += 1;
        if last == NodeId::NONE {
            siblings.first = id;
        } else {
            self.nodes.get_mut(last.0).next = id;
        }
        self.nodes.get_mut(id.0).previous = last;
        let czxid = self.nodes.get(id.0).czxid;
        let before = last.some().map(|last| self.nodes.get(last.0).czxid);
        if before == Some(czxid) {
            if self.name_bytes(last) > self.name_bytes(id) && self.unsorted.last() != Some(&parent) {
                self.unsorted.push(parent);
            }
        } else if before > Some(czxid) {
            self.is_disordered = true;
        }
        self.index_child(parent, id, before != Some(czxid));
        self.count_created(id);
    }

    fn index_child(&mut self, parent: NodeId, id: NodeId, is_first_of_txn: bool) {
        let czxid = self.nodes.get(id.0).czxid;
        let siblings = self.ext_mut(parent);
        if siblings.children < WIDE && siblings.wide == NO_WIDE {
            return;
        }
        let wide = siblings.wide;
        let wide = if wide == NO_WIDE {
            let made = self.wides.insert(Wide { index: BTreeMap::new(), since: WIDE });
            self.ext_mut(parent).wide = made;
            made
        } else {
            wide
        };
        let wide = self.wides.get_mut(wide);
        wide.since = wide.since.saturating_add(1);
        if wide.since >= WIDE && is_first_of_txn {
            wide.index.insert(czxid, id);
            wide.since = 0;
        }
    }

    /// Takes a child, which is still whole, out of its parent's list.
    pub(crate) fn unlink_child(&mut self, id: NodeId) {
        self.tell_cursors(id);
        let node = self.nodes.get(id.0);
        let (parent, previous, next, czxid) = (node.parent, node.previous, node.next, node.czxid);
        match previous.some() {
            Some(previous) => self.nodes.get_mut(previous.0).next = next,
            None => self.ext_mut(parent).first = next,
        }
        match next.some() {
            Some(next) => self.nodes.get_mut(next.0).previous = previous,
            None => self.ext_mut(parent).last = previous,
        }
        let after = next.some().map(|next| (self.nodes.get(next.0).czxid, next));
        let siblings = self.ext_mut(parent);
        siblings.children -= 1;
        if siblings.wide == NO_WIDE {
            return;
        }
        let wide = siblings.wide;
        if siblings.children < NARROW {
            siblings.wide = NO_WIDE;
            *self.wides.get_mut(wide) = Wide::default();
            self.wides.free(wide);
            return;
        }
        let wide = self.wides.get_mut(wide);
        if wide.index.get(&czxid) != Some(&id) {
            return;
        }
        match after {
            Some((same, next)) if same == czxid => {
                wide.index.insert(czxid, next);
            }
            Some((later, next)) => {
                wide.index.remove(&czxid);
                wide.index.entry(later).or_insert(next);
            }
            None => {
                wide.index.remove(&czxid);
                // The next one takes its place: else the gap before it would grow each time this happens.
                wide.since = WIDE;
            }
        }
    }

    /// Puts the children that the last txn created in the order of their names.
    pub(crate) fn sort_unsorted(&mut self) {
        for parent in std::mem::take(&mut self.unsorted) {
            // It may be gone again, and even another znode in its slot: to that one this does nothing.
            let Some(last) = self.ext(parent).and_then(|ext| ext.last.some()) else { continue };
            if self.nodes.get(parent.0).parent == NodeId::NONE {
                continue;
            }
            let czxid = self.nodes.get(last.0).czxid;
            let mut group = Vec::new();
            let mut at = last;
            while at != NodeId::NONE && self.nodes.get(at.0).czxid == czxid {
                group.push(at);
                at = self.nodes.get(at.0).previous;
            }
            group.sort_unstable_by(|a, b| self.name_bytes(*a).cmp(self.name_bytes(*b)));
            self.relink(parent, at, &group);
            if let Some(&first) = group.first() {
                let wide = self.ext_mut(parent).wide;
                if wide != NO_WIDE
                    && let Some(entry) = self.wides.get_mut(wide).index.get_mut(&czxid)
                {
                    *entry = first;
                }
            }
        }
    }

    /// Makes `children`, in this order, the end of a list, behind `before`.
    fn relink(&mut self, parent: NodeId, before: NodeId, children: &[NodeId]) {
        let mut last = before;
        for &child in children {
            let node = self.nodes.get_mut(child.0);
            node.previous = last;
            node.next = NodeId::NONE;
            if last == NodeId::NONE {
                self.ext_mut(parent).first = child;
            } else {
                self.nodes.get_mut(last.0).next = child;
            }
            last = child;
        }
        self.ext_mut(parent).last = last;
    }

    /// Puts all lists in order, and makes their indices anew, if a replay has left some out of order.
    pub fn settle_children(&mut self) {
        if self.is_disordered {
            self.order_children();
        }
    }

    pub(crate) fn order_children(&mut self) {
        self.is_disordered = false;
        self.unsorted.clear();
        for slot in 0..self.nodes.high_water() {
            let id = NodeId(slot);
            if self.nodes.get(slot).parent == NodeId::NONE || self.ext(id).is_none_or(|ext| ext.children == 0) {
                continue;
            }
            let mut previous = None;
            let is_ordered = self.node(id).children().all(|child| {
                let place = self.place(child.id());
                previous.replace(place) <= Some(place)
            });
            if !is_ordered {
                let mut children: Vec<NodeId> = self.node(id).children().map(crate::tree::NodeRef::id).collect();
                children.sort_unstable_by(|a, b| self.place(*a).cmp(&self.place(*b)));
                self.relink(id, NodeId::NONE, &children);
            }
            self.reindex(id);
        }
    }

    fn reindex(&mut self, id: NodeId) {
        let siblings = self.ext_mut(id);
        if siblings.children < WIDE && siblings.wide == NO_WIDE {
            return;
        }
        let (children, old) = (siblings.children, siblings.wide);
        let mut wide = Wide::default();
        let mut previous = None;
        for child in self.node(id).children() {
            let czxid = self.nodes.get(child.id().0).czxid;
            wide.since += 1;
            if wide.since >= WIDE && previous != Some(czxid) {
                wide.index.insert(czxid, child.id());
                wide.since = 0;
            }
            previous = Some(czxid);
        }
        if children < WIDE {
            *self.wides.get_mut(old) = Wide::default();
            self.wides.free(old);
            self.ext_mut(id).wide = NO_WIDE;
        } else if old == NO_WIDE {
            let made = self.wides.insert(wide);
            self.ext_mut(id).wide = made;
        } else {
            *self.wides.get_mut(old) = wide;
        }
    }

    /// A child of `id` with no child of this czxid or a later one before it, and not far in front of the first of these.
    pub(crate) fn seek_child(&self, id: NodeId, czxid: Zxid) -> NodeId {
        let Some(ext) = self.ext(id) else { return NodeId::NONE };
        if ext.wide == NO_WIDE {
            return ext.first;
        }
        let mut before = self.wides.get(ext.wide).index.range(..=czxid);
        before.next_back().map_or(ext.first, |(_, &child)| child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreeConfig;
    use wire::{AclVec, StatPersisted};

    impl Tree {
        /// Panics unless the children of `id` are in order and its index is right; returns its longest gap.
        fn check_children(&self, id: NodeId) -> usize {
            let children: Vec<NodeId> = self.node(id).children().map(crate::tree::NodeRef::id).collect();
            assert!(children.windows(2).all(|two| self.place(two[0]) < self.place(two[1])), "in order");
            let ext = self.ext(id).unwrap();
            assert_eq!(ext.children as usize, children.len());
            if ext.wide == NO_WIDE {
                assert!(ext.children < WIDE);
                return children.len();
            }
            let wide = self.wides.get(ext.wide);
            let mut gaps = vec![0];
            let mut found = 0;
            let mut previous = None;
            for &child in &children {
                let czxid = self.nodes.get(child.0).czxid;
                if let Some(&entry) = wide.index.get(&czxid)
                    && previous != Some(czxid)
                {
                    assert_eq!(entry, child, "an entry names the first of its czxid");
                    found += 1;
                    gaps.push(0);
                }
                *gaps.last_mut().unwrap() += 1;
                previous = Some(czxid);
            }
            assert_eq!(found, wide.index.len(), "no entry without its child");
            gaps.into_iter().max().unwrap()
        }
    }

    fn add(tree: &mut Tree, zxid: i64, name: &str) {
        let stat = StatPersisted { czxid: Zxid(zxid), pzxid: Zxid(zxid), ..StatPersisted::default() };
        tree.insert(NodeId::ROOT, &format!("/{name}"), name, None, AclVec::OPEN, &stat);
    }

    #[test]
    fn the_index_stays_right_and_its_gaps_short() {
        let mut random = 1u64;
        let mut below = |n: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % n
        };
        let mut tree = Tree::new(TreeConfig::default());
        let (mut zxid, mut name) = (0, 0);
        for round in 0..60 {
            for _ in 0..below(3000) {
                zxid += 1;
                let of_txn = if below(200) == 0 { below(300) } else { 1 };
                for _ in 0..of_txn {
                    name += 1;
                    // Within a txn in descending order.
                    add(&mut tree, zxid, &format!("n{}", 9_999_999 - name));
                }
                tree.sort_unsorted();
            }
            let mut children: Vec<NodeId> =
                tree.node(NodeId::ROOT).children().map(crate::tree::NodeRef::id).skip(1).collect();
            let deletions = below(children.len() + 1);
            for _ in 0..deletions {
                // From the front, the end, or anywhere.
                let at = [0, children.len() - 1, below(children.len())][round % 3];
                let id = children.remove(at);
                let path = tree.node(id).path();
                tree.remove(id, &path);
            }
            let gap = tree.check_children(NodeId::ROOT);
            assert!(gap <= 2 * WIDE as usize + 600, "{gap} children between two entries");
        }
    }

    #[test]
    fn a_stack_of_children_keeps_its_gaps_short() {
        let mut tree = Tree::new(TreeConfig::default());
        let mut zxid = 0;
        for _ in 0..8 {
            for _ in 0..WIDE {
                zxid += 1;
                add(&mut tree, zxid, &format!("s{zxid}"));
            }
            for _ in 0..3 {
                let last = tree.ext(NodeId::ROOT).unwrap().last;
                let path = tree.node(last).path();
                tree.remove(last, &path);
            }
        }
        let gap = tree.check_children(NodeId::ROOT);
        assert!(gap <= 2 * WIDE as usize, "{gap}");
    }

    #[test]
    fn what_a_replay_left_out_of_order_is_put_right() {
        let mut tree = Tree::new(TreeConfig::default());
        for i in 0..3000i64 {
            add(&mut tree, 1 + i * 7 % 1009, &format!("n{i}"));
        }
        assert!(tree.is_disordered);
        tree.settle_children();
        tree.check_children(NodeId::ROOT);
        for z in [0, 1, 500, 1008, 5000] {
            let mut at = tree.seek_child(NodeId::ROOT, Zxid(z));
            assert!(tree.nodes.get(at.0).previous.some().is_none_or(|p| tree.nodes.get(p.0).czxid < Zxid(z)));
            let mut steps = 0;
            while at != NodeId::NONE && tree.nodes.get(at.0).czxid < Zxid(z) {
                at = tree.nodes.get(at.0).next;
                steps += 1;
            }
            assert!(steps <= 1100, "{steps} to {z}");
        }
    }
}
