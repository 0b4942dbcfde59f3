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

    /// Goes on counting through at most so many slots. When it is through, the number is that of this moment, and the
    /// cursor is gone. A znode that was deleted meanwhile has no descendants.
    pub fn count(&self, id: CursorId, slots_max: u32) -> Option<i64> {
        let Some(mut count) = take(&mut lock(&self.cursors).counts, id) else { return Some(0) };
        let end = count.slot.saturating_add(slots_max).min(self.nodes.high_water());
        let mut last = (NodeId::NONE, false);
        for slot in count.slot..end {
            let parent = self.nodes.get(slot).parent;
            if parent == NodeId::NONE || slot == count.root.0 {
                continue;
            }
            // Siblings lie together.
            if last.0 != parent {
                last = (parent, self.is_at_or_below(parent, count.root));
            }
            count.count += i64::from(last.1);
        }
        count.slot = end;
        if end == self.nodes.high_water() || count.root == NodeId::NONE {
            return Some(count.count);
        }
        lock(&self.cursors).counts.push((id, count));
        None
    }

    fn is_at_or_below(&self, mut id: NodeId, root: NodeId) -> bool {
        loop {
            if id == root {
                return true;
            }
            if id == NodeId::ROOT || id == NodeId::NONE {
                return false;
            }
            id = self.nodes.get(id.0).parent;
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
            } else if id.0 < count.slot && self.is_at_or_below(parent, count.root) {
                count.count -= 1;
            }
        }
        *get_mut(&mut self.cursors) = cursors;
    }

    /// A znode has been created and linked.
    pub(crate) fn count_created(&mut self, id: NodeId) {
        if get_mut(&mut self.cursors).counts.is_empty() {
            return;
        }
        let mut counts = std::mem::take(&mut get_mut(&mut self.cursors).counts);
        let parent = self.nodes.get(id.0).parent;
        for (_, count) in &mut counts {
            if id.0 < count.slot && self.is_at_or_below(parent, count.root) {
                count.count += 1;
            }
        }
        get_mut(&mut self.cursors).counts = counts;
    }

    /// A znode is about to be changed, or removed, or to get or lose a child.
    pub(crate) fn tell_read_sets(&mut self, id: NodeId) {
        for (_, set) in &mut get_mut(&mut self.cursors).sets {
            set.is_stale |= set.nodes.contains(&id);
        }
    }
}
