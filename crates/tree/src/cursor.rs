//! Reads that go on over many short guards: a walk through a znode's children as they are at one zxid, a count of
//! descendants, and a set of znodes of which to hear whether they change.
//!
//! Apply tells them what they need: a walk is handed the children of its zxid that go before it comes by, a count is
//! kept right for the slots that it has counted. All of them are gone when nobody reads: then a write looks at one length.

use std::collections::BTreeSet;

use wire::Zxid;

use crate::node::NodeId;
use crate::tree::{NodeRef, Tree, get_mut, lock};

/// A read that goes on over several guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CursorId(u64);

/// How far a walk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walked {
    /// There may be more.
    More,
    /// All children have been seen; the cursor is gone.
    Done,
    /// So many children were deleted in front of it that they could not be kept; the cursor is gone.
    Lost,
}

/// The most bytes of deleted children that are kept for a walk.
const HANDED_BYTES_MAX: usize = 32 << 20;
/// What one of them costs beside its name.
const HANDED_BYTES: usize = 48;
/// What a look at a znode counts, in bytes.
const LOOK_BYTES: usize = 32;

#[derive(Debug, Clone, Default)]
pub(crate) struct Cursors {
    last_id: u64,
    walks: Vec<(CursorId, Walk)>,
    counts: Vec<(CursorId, Count)>,
    sets: Vec<(CursorId, ReadSet)>,
}

#[derive(Debug, Clone)]
struct Walk {
    /// [`NodeId::NONE`] when it is gone: then all its children went before it, and were handed over.
    parent: NodeId,
    /// Children of later txns are not part of it.
    at: Zxid,
    /// The first child that it has not seen.
    next: NodeId,
    /// Children that were deleted before it had seen them.
    handed: BTreeSet<(Zxid, Box<[u8]>)>,
    handed_bytes: usize,
    is_lost: bool,
}

#[derive(Debug, Clone)]
struct Count {
    root: NodeId,
    /// Slots below have been counted.
    slot: u32,
    /// How many descendants of the root are in slots that have been counted.
    count: i64,
}

#[derive(Debug, Clone)]
struct ReadSet {
    nodes: BTreeSet<NodeId>,
    is_stale: bool,
}

impl Cursors {
    fn id(&mut self) -> CursorId {
        self.last_id += 1;
        CursorId(self.last_id)
    }

    fn is_empty(&self) -> bool {
        self.walks.is_empty() && self.counts.is_empty() && self.sets.is_empty()
    }
}

fn take<T>(all: &mut Vec<(CursorId, T)>, id: CursorId) -> Option<T> {
    let at = all.iter().position(|(other, _)| *other == id)?;
    Some(all.swap_remove(at).1)
}

impl Tree {
    /// Begins a walk through the children of a znode as they are now, from about the first with this czxid on: those
    /// before it that come, too, are few.
    pub fn open_walk(&self, parent: NodeRef<'_>, from: Zxid) -> CursorId {
        let next = self.seek_child(parent.id(), from);
        let walk = Walk {
            parent: parent.id(),
            at: self.last_processed,
            next,
            handed: BTreeSet::new(),
            handed_bytes: 0,
            is_lost: false,
        };
        let mut cursors = lock(&self.cursors);
        let id = cursors.id();
        cursors.walks.push((id, walk));
        id
    }

    /// Goes on with a walk, in ascending order of (czxid, name), until `each` says false or about `work_max` bytes of
    /// names and looks at znodes have been seen. What `each` was shown is not shown again.
    pub fn walk(&self, id: CursorId, work_max: usize, mut each: impl FnMut(Zxid, &[u8]) -> bool) -> Walked {
        // Under the guard nothing is applied, so nobody misses it meanwhile, and walks of other threads don't wait.
        let Some(mut walk) = take(&mut lock(&self.cursors).walks, id) else { return Walked::Lost };
        if walk.is_lost {
            return Walked::Lost;
        }
        let mut work = 0;
        loop {
            let next = self.next_of(&walk);
            let is_handed = match (walk.handed.first(), next) {
                (Some((czxid, name)), Some(next)) => (*czxid, &**name) < self.place(next),
                (handed, None) => handed.is_some(),
                (None, Some(_)) => false,
            };
            let goes_on = if is_handed {
                let Some((czxid, name)) = walk.handed.pop_first() else { return Walked::Done };
                walk.handed_bytes -= name.len() + HANDED_BYTES;
                work += name.len() + LOOK_BYTES;
                each(czxid, &name)
            } else {
                let Some(next) = next else { return Walked::Done };
                walk.next = self.nodes.get(next.0).next;
                let (czxid, name) = self.place(next);
                work += name.len() + LOOK_BYTES;
                each(czxid, name)
            };
            if !goes_on || work >= work_max {
                lock(&self.cursors).walks.push((id, walk));
                return Walked::More;
            }
        }
    }

    fn next_of(&self, walk: &Walk) -> Option<NodeId> {
        walk.next.some().filter(|next| self.nodes.get(next.0).czxid <= walk.at)
    }

    /// Begins to count the descendants of a znode.
    pub fn open_count(&self, root: NodeRef<'_>) -> CursorId {
        let mut cursors = lock(&self.cursors);
        let id = cursors.id();
        cursors.counts.push((id, Count { root: root.id(), slot: 0, count: 0 }));
        id
    }

    /// Goes on counting until about `work_max` slots, and znodes above theirs, have been looked at: at least one slot, and
    /// beyond it no more than the znodes above the last. When it is through, the number is that of this moment, and the
    /// cursor is gone. A znode that was deleted meanwhile has no descendants.
    pub fn count(&self, id: CursorId, work_max: usize) -> Option<i64> {
        let Some(mut count) = take(&mut lock(&self.cursors).counts, id) else { return Some(0) };
        if count.root == NodeId::NONE {
            return Some(count.count);
        }
        let end = self.nodes.high_water();
        // Siblings lie together, and so do a new znode and its first child: what was found last often holds again.
        let (mut parents, mut own) = ((NodeId::NONE, false), (NodeId::NONE, false));
        let mut work = 0;
        while count.slot < end && work < work_max {
            let slot = NodeId(count.slot);
            count.slot += 1;
            work += 1;
            let parent = self.nodes.get(slot.0).parent;
            if parent == NodeId::NONE || slot == count.root {
                continue;
            }
            if parent == own.0 {
                parents = own;
            } else if parent != parents.0 {
                parents = (parent, self.is_at_or_below(parent, count.root, &mut work));
            }
            own = (slot, parents.1);
            count.count += i64::from(parents.1);
        }
        if count.slot == end {
            return Some(count.count);
        }
        lock(&self.cursors).counts.push((id, count));
        None
    }

    /// Adds to `work` how many znodes it looked at.
    fn is_at_or_below(&self, mut id: NodeId, root: NodeId, work: &mut usize) -> bool {
        while id != root && root != NodeId::ROOT {
            if id == NodeId::ROOT || id == NodeId::NONE {
                return false;
            }
            id = self.parent_of(id);
            *work += 1;
        }
        true
    }

    fn parent_of(&self, id: NodeId) -> NodeId {
        #[cfg(test)]
        tests::LOOKS.with(|looks| looks.set(looks.get() + 1));
        self.nodes.get(id.0).parent
    }

    /// Adds to the counts that have passed the slot of `id`, and are of a znode above it. However many they are, one way
    /// up is all it takes.
    fn add_to_counts(&self, counts: &mut [(CursorId, Count)], id: NodeId, by: i64) {
        let has_passed = |count: &Count| id.0 < count.slot && count.root != NodeId::NONE;
        let mut left = counts.iter().filter(|(_, count)| has_passed(count)).count();
        let mut at = id;
        while left > 0 && at != NodeId::ROOT && at != NodeId::NONE {
            at = self.parent_of(at);
            for (_, count) in counts.iter_mut().filter(|(_, count)| has_passed(count) && count.root == at) {
                count.count += by;
                left -= 1;
            }
        }
    }

    /// Begins a set of znodes that were read.
    pub fn open_read_set(&self) -> CursorId {
        let mut cursors = lock(&self.cursors);
        let id = cursors.id();
        cursors.sets.push((id, ReadSet { nodes: BTreeSet::new(), is_stale: false }));
        id
    }

    /// Adds what was read under this guard to a set: the znodes at these paths, or where there is none, the nearest
    /// above, without which none can be created there. Returns false if one that was added before has changed since.
    pub fn add_to_read_set<'a>(&self, id: CursorId, paths: impl Iterator<Item = &'a str>) -> bool {
        let Some(mut set) = take(&mut lock(&self.cursors).sets, id) else { return false };
        set.nodes.extend(paths.map(|path| self.find_nearest(path)));
        let is_fresh = !set.is_stale;
        lock(&self.cursors).sets.push((id, set));
        is_fresh
    }

    fn find_nearest(&self, path: &str) -> NodeId {
        let mut at = NodeId::ROOT;
        for name in path.strip_prefix('/').unwrap_or_default().split('/') {
            match self.find_child(at, name) {
                Some(child) => at = child,
                None => break,
            }
        }
        at
    }

    /// Ends a read before it is through.
    pub fn close_cursor(&self, id: CursorId) {
        let mut cursors = lock(&self.cursors);
        take(&mut cursors.walks, id);
        take(&mut cursors.counts, id);
        take(&mut cursors.sets, id);
    }

    /// This tree takes the place of `old`: reads that were under way there, and are ended here, are none of this one's.
    pub fn continue_cursors(&self, old: &Self) {
        let last_id = lock(&old.cursors).last_id;
        let mut cursors = lock(&self.cursors);
        cursors.last_id = cursors.last_id.max(last_id);
    }

    /// How many reads are under way.
    pub fn cursor_count(&self) -> usize {
        let cursors = lock(&self.cursors);
        cursors.walks.len() + cursors.counts.len() + cursors.sets.len()
    }

    /// A znode is about to be unlinked and removed; it is still whole.
    pub(crate) fn tell_cursors(&mut self, id: NodeId) {
        if get_mut(&mut self.cursors).is_empty() {
            return;
        }
        let mut cursors = std::mem::take(get_mut(&mut self.cursors));
        let node = self.nodes.get(id.0);
        let (parent, next) = (node.parent, node.next);
        for (_, walk) in &mut cursors.walks {
            if walk.parent == id {
                walk.parent = NodeId::NONE;
            }
            if walk.parent != parent {
                continue;
            }
            // In front of the walk are, of its own children, those from its next one on.
            if let Some(first) = self.next_of(walk)
                && node.czxid <= walk.at
                && self.place(id) >= self.place(first)
                && !walk.is_lost
            {
                let name = self.name_bytes(id);
                walk.handed_bytes += name.len() + HANDED_BYTES;
                if walk.handed_bytes > HANDED_BYTES_MAX {
                    walk.is_lost = true;
                    walk.handed.clear();
                } else {
                    walk.handed.insert((node.czxid, name.into()));
                }
            }
            if walk.next == id {
                walk.next = next;
            }
        }
        for (_, count) in &mut cursors.counts {
            if count.root == id {
                count.root = NodeId::NONE;
            }
        }
        self.add_to_counts(&mut cursors.counts, id, -1);
        *get_mut(&mut self.cursors) = cursors;
    }

    /// A znode has been created and linked.
    pub(crate) fn count_created(&mut self, id: NodeId) {
        if get_mut(&mut self.cursors).counts.is_empty() {
            return;
        }
        let mut counts = std::mem::take(&mut get_mut(&mut self.cursors).counts);
        self.add_to_counts(&mut counts, id, 1);
        get_mut(&mut self.cursors).counts = counts;
    }

    /// A znode is about to be changed, or removed, or to get or lose a child.
    pub(crate) fn tell_read_sets(&mut self, id: NodeId) {
        for (_, set) in &mut get_mut(&mut self.cursors).sets {
            set.is_stale |= set.nodes.contains(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use wire::{AclVec, StatPersisted};

    use super::*;
    use crate::tree::TreeConfig;

    thread_local! {
        /// How often a parent was looked up.
        pub(super) static LOOKS: Cell<usize> = const { Cell::new(0) };
    }

    const DEPTH: usize = 1500;

    fn looks_of<T>(what: impl FnOnce() -> T) -> (T, usize) {
        let before = LOOKS.get();
        let done = what();
        (done, LOOKS.get() - before)
    }

    /// Chains of this depth, each level of all of them before the next, so that no slot lies beside its parent's unless
    /// there is but one. Returns the ends.
    fn chains(tree: &mut Tree, names: &[&str]) -> Vec<(NodeId, String)> {
        let mut ends: Vec<_> = names.iter().map(|_| (NodeId::ROOT, String::new())).collect();
        for level in 0..DEPTH {
            for (name, (end, path)) in names.iter().zip(&mut ends) {
                let zxid = Zxid(1 + level as i64);
                let stat = StatPersisted { czxid: zxid, pzxid: zxid, ..StatPersisted::default() };
                *path += "/";
                *path += name;
                *end = tree.insert(*end, path, name, None, AclVec::OPEN, &stat);
            }
        }
        ends
    }

    #[test]
    fn a_step_of_a_count_is_short_in_deep_trees() {
        let mut tree = Tree::new(TreeConfig::default());
        chains(&mut tree, &["a", "b", "c"]);
        let id = tree.open_count(tree.get("/b").unwrap());
        let (work_max, mut steps) = (100, 0);
        let counted = loop {
            steps += 1;
            assert!(steps <= 4 * DEPTH, "each makes progress");
            let (counted, looks) = looks_of(|| tree.count(id, work_max));
            assert!(looks <= work_max + DEPTH, "{looks} looks in a step");
            if let Some(counted) = counted {
                break counted;
            }
        };
        assert_eq!(counted, DEPTH as i64 - 1);
    }

    #[test]
    fn a_chain_in_the_order_of_its_creation_is_counted_in_one_go() {
        let mut tree = Tree::new(TreeConfig::default());
        chains(&mut tree, &["a"]);
        let id = tree.open_count(tree.get("/a").unwrap());
        let (counted, looks) = looks_of(|| tree.count(id, 4 * DEPTH));
        assert_eq!(counted, Some(DEPTH as i64 - 1));
        assert!(looks < 100, "{looks}");
    }

    #[test]
    fn a_deletion_goes_up_once_for_all_counts() {
        let mut tree = Tree::new(TreeConfig::default());
        let ends = chains(&mut tree, &["a", "b"]);
        let ids: Vec<_> = ["/a", "/a", "/b", "/a/a"].map(|path| tree.open_count(tree.get(path).unwrap())).into();
        // They have passed all slots but the last, which is not of their chains.
        let stat = StatPersisted::default();
        tree.insert(NodeId::ROOT, "/z", "z", None, AclVec::OPEN, &stat);
        for (_, count) in &mut get_mut(&mut tree.cursors).counts {
            (count.slot, count.count) = (tree.nodes.high_water() - 1, DEPTH as i64 - 1);
        }
        let (end, path) = &ends[0];
        let ((), looks) = looks_of(|| tree.remove(*end, path));
        assert!(looks <= DEPTH, "{looks}");
        let counted: Vec<_> = ids.iter().map(|id| tree.count(*id, 10).unwrap() - DEPTH as i64).collect();
        assert_eq!(counted, [-2, -2, -1, -2]);
    }
    /// `/d` with children of eight letters each, one txn after the other; their slots.
    fn directory(tree: &mut Tree, children: usize) -> (NodeId, Vec<(NodeId, String)>) {
        let parent = tree.insert(NodeId::ROOT, "/d", "d", None, AclVec::OPEN, &StatPersisted::default());
        let child = |at: usize| {
            let (name, zxid) = (format!("child-{at:02}"), Zxid(1 + at as i64));
            let (path, stat) = (format!("/d/{name}"), StatPersisted { czxid: zxid, ..StatPersisted::default() });
            (tree.insert(parent, &path, &name, None, AclVec::OPEN, &stat), path)
        };
        let made = (0..children).map(child).collect();
        tree.last_processed = Zxid(1 + children as i64);
        (parent, made)
    }

    fn seen(tree: &Tree, id: CursorId, work_max: usize, most: usize) -> (Walked, usize) {
        let mut seen = 0;
        let walked = tree.walk(id, work_max, |_, _| {
            seen += 1;
            seen < most
        });
        (walked, seen)
    }

    #[test]
    fn a_step_of_a_walk_ends_with_its_work_or_when_it_is_told_to() {
        let mut tree = Tree::new(TreeConfig::default());
        let (_, made) = directory(&mut tree, 20);
        let id = tree.open_walk(tree.get("/d").unwrap(), Zxid(i64::MIN));
        // A name of 8 and a look of 32.
        assert_eq!(seen(&tree, id, 100, 20), (Walked::More, 3));
        assert_eq!(seen(&tree, id, 1000, 2), (Walked::More, 2));
        assert_eq!(seen(&tree, id, 80, 20), (Walked::More, 2));
        // The same for those that are handed over.
        made[7..17].iter().for_each(|(child, path)| tree.remove(*child, path));
        assert_eq!(seen(&tree, id, 100, 20), (Walked::More, 3));
        assert_eq!(seen(&tree, id, 1000, 2), (Walked::More, 2));
        assert_eq!(seen(&tree, id, 81, 20), (Walked::More, 3));
        assert_eq!(seen(&tree, id, 1000, 20), (Walked::Done, 5));
        assert_eq!(tree.cursor_count(), 0);
    }

    #[test]
    fn what_is_handed_over_is_counted_until_it_is_seen_and_too_much_of_it_ends_the_walk() {
        let mut tree = Tree::new(TreeConfig::default());
        let (_, made) = directory(&mut tree, 20);
        let id = tree.open_walk(tree.get("/d").unwrap(), Zxid(i64::MIN));
        let bytes = |tree: &mut Tree| get_mut(&mut tree.cursors).walks[0].1.handed_bytes;
        made[2..6].iter().for_each(|(child, path)| tree.remove(*child, path));
        assert_eq!(bytes(&mut tree), 4 * (8 + HANDED_BYTES));
        assert_eq!(seen(&tree, id, 1000, 5), (Walked::More, 5));
        assert_eq!(bytes(&mut tree), 8 + HANDED_BYTES);
        // What it has passed is not handed over.
        tree.remove(made[1].0, &made[1].1);
        assert_eq!(seen(&tree, id, 1, 20), (Walked::More, 1));
        assert_eq!(bytes(&mut tree), 0);
        // As much as is allowed, and then one byte more.
        get_mut(&mut tree.cursors).walks[0].1.handed_bytes = HANDED_BYTES_MAX - 8 - HANDED_BYTES;
        tree.remove(made[10].0, &made[10].1);
        assert_eq!(bytes(&mut tree), HANDED_BYTES_MAX);
        assert!(!get_mut(&mut tree.cursors).walks[0].1.is_lost);
        tree.remove(made[11].0, &made[11].1);
        assert!(get_mut(&mut tree.cursors).walks[0].1.handed.is_empty());
        assert_eq!(seen(&tree, id, 1000, 20), (Walked::Lost, 0));
        assert_eq!(tree.cursor_count(), 0);
    }

    #[test]
    fn a_step_of_a_count_of_all_is_short_too() {
        let mut tree = Tree::new(TreeConfig::default());
        directory(&mut tree, 95);
        let id = tree.open_count(tree.get("/").unwrap());
        let steps = (1..100).find(|_| tree.count(id, 10).is_some());
        assert!(steps.is_some_and(|steps| (10..=20).contains(&steps)), "{steps:?}");
    }

    #[test]
    fn every_kind_of_cursor_is_counted_until_it_is_closed() {
        let mut tree = Tree::new(TreeConfig::default());
        directory(&mut tree, 3);
        let node = tree.get("/d").unwrap();
        let walk = tree.open_walk(node, Zxid(i64::MIN));
        let count = tree.open_count(node);
        let sets = [tree.open_read_set(), tree.open_read_set()];
        assert_eq!(tree.cursor_count(), 4);
        tree.close_cursor(count);
        assert_eq!(tree.cursor_count(), 3);
        for id in [walk, sets[0], sets[1]] {
            tree.close_cursor(id);
        }
        assert_eq!(tree.cursor_count(), 0);
    }
}
