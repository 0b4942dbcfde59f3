//! Quotas: who is charged for a znode, and the usage that clients read. Source: Apache `DataTree`, `Quotas`.
//!
//! The quota of `/a` is two znodes that clients make: `/zookeeper/quota/a/zookeeper_limits`, and beside it
//! `zookeeper_stats`, whose data the tree writes. While there are limits, each change at or below `/a` is charged to the
//! usage, unless a deeper quota takes it. The root has no quota.
//!
//! The usage is written into the znode as it changes: no txn, no event, no change of its Stat but for the data's length,
//! no part in the digest. So what is read, cut, cloned or hashed needs nothing of this module, and the table here is but
//! what the znodes below `/zookeeper/quota` say, parsed.
//!
//! It is counted, subtree and all, when `zookeeper_stats` is created and, where there are limits, when a snapshot is
//! loaded. Who applies the creation can count before, in steps, while others read ([`Tree::open_usage_count`]); without
//! that, as inside a multi, counting holds the tree for as long as the walk takes. The result is the same.
//!
//! Text that is no usage (a client may set what it likes) stays as it is, and nothing is charged; Apache's servers die of
//! it, as they do of limits for the root.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use wire::Zxid;
use wire::txn::{Txn, TxnEntry};

use crate::apply::{Applied, Trigger};
use crate::node::NodeId;
use crate::stats_track::StatsTrack;
use crate::tree::Tree;

/// Where quotas are.
const QUOTA: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

/// What [`Tree::quota_totals`] tells apart; clients make these names, and one may be as long as a frame.
const NAMESPACES_MAX: usize = 1024;
const NAMESPACE_BYTES_MAX: usize = 256;

/// The quotas of a tree, by the slot of the directory that holds their znodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Quotas {
    by_directory: BTreeMap<NodeId, Entry>,
    /// How many have limits; while 0, no write is charged.
    limited: usize,
    /// What was counted for the creation that is being applied.
    counted: Option<UsageCount>,
}

#[derive(Debug, Clone, Default)]
struct Entry {
    limits: Option<Text>,
    stats: Option<Text>,
}

#[derive(Debug, Clone)]
struct Text {
    node: NodeId,
    /// `None`: not the text of a quota.
    track: Option<StatsTrack>,
}

/// Znodes and bytes of data.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    count: i64,
    bytes: i64,
}

/// A count of what a usage will say that is about to be created, made over several guards. It is worth nothing once
/// something else has been applied.
#[derive(Debug, Clone)]
pub struct UsageCount {
    /// The path of the usage's znode.
    stats: Box<str>,
    /// The tree's last zxid.
    at: Zxid,
    root: NodeId,
    /// The next znode of the walk; `None`: it is through.
    next: Option<NodeId>,
    usage: Usage,
}

/// The quota that a path falls under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// The path that it is for.
    pub path: String,
    /// Its limits; `None`: a text that says none.
    pub limits: Option<StatsTrack>,
    /// Its usage: not there, or a text that says none, or the numbers.
    pub usage: Option<Option<StatsTrack>>,
}

/// What `mntr` tells of all quotas below one top-level path: count limit, bytes limit, count used, bytes used.
pub type QuotaTotals = [Option<i64>; 4];

/// Whether a znode is one of the two: its kind, and the path that the quota is for (empty: the root).
fn quota_znode(path: &str) -> Option<(Kind, &str)> {
    // By the end first: for all but the znodes in question that is the whole test.
    let (kind, directory) = if let Some(directory) = path.strip_suffix(LIMITS) {
        (Kind::Limits, directory)
    } else {
        (Kind::Stats, path.strip_suffix(STATS)?)
    };
    let of = directory.strip_prefix(QUOTA)?.strip_suffix('/')?;
    (of.is_empty() || of.starts_with('/')).then_some((kind, of))
}

/// Whether a znode created at `path` would be the usage of a quota, for which a subtree is counted.
pub fn is_quota_usage(path: &str) -> bool {
    matches!(quota_znode(path), Some((Kind::Stats, _)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Limits,
    Stats,
}

impl Tree {
    /// The quota that a znode at `path` is charged to.
    pub fn quota_of(&self, path: &str) -> Option<Quota> {
        if self.quotas.limited == 0 {
            return None;
        }
        let directory = self.charged(path)?;
        let entry = self.quotas.by_directory.get(&directory)?;
        let track = |text: &Text| text.track.clone();
        Some(Quota {
            path: self.quota_path(directory),
            limits: entry.limits.as_ref().and_then(track),
            usage: entry.stats.as_ref().map(track),
        })
    }

    /// The sums over all quotas, by the top-level path that they lie below, without its slash: of at most 1024 such paths
    /// with names of at most 256 bytes. Source: `QuotaMetricsUtils`, which has no bounds.
    pub fn quota_totals(&self) -> BTreeMap<String, QuotaTotals> {
        let mut totals: BTreeMap<String, QuotaTotals> = BTreeMap::new();
        for (&directory, entry) in &self.quotas.by_directory {
            let path = self.quota_path(directory);
            // For the root Apache takes the znode's own name.
            let namespace = |own: &'static str| path.split('/').nth(1).unwrap_or(own).to_owned();
            let mut add = |at: usize, own: &'static str, value: i64| {
                let namespace = namespace(own);
                if !totals.contains_key(&namespace)
                    && (totals.len() >= NAMESPACES_MAX || namespace.len() > NAMESPACE_BYTES_MAX)
                {
                    return;
                }
                let total = &mut totals.entry(namespace).or_default()[at];
                *total = Some(total.unwrap_or(0).wrapping_add(value));
            };
            let hard_or_soft = |hard, soft| if hard > -1 { hard } else { soft };
            if let Some(track) = entry.limits.as_ref().and_then(|text| text.track.as_ref()) {
                add(0, LIMITS, hard_or_soft(track.count_hard, track.count));
                add(1, LIMITS, hard_or_soft(track.bytes_hard, track.bytes));
            }
            if let Some(track) = entry.stats.as_ref().and_then(|text| text.track.as_ref()) {
                add(2, STATS, track.count);
                add(3, STATS, track.bytes);
            }
        }
        totals
    }

    /// Begins to count for the creation of a znode at `path`, if that is a usage of something that is there.
    pub fn open_usage_count(&self, path: &str) -> Option<UsageCount> {
        let (kind, of) = quota_znode(path)?;
        let root = self.find(of).filter(|_| kind == Kind::Stats)?;
        let (at, usage) = (self.last_processed, Usage::default());
        Some(UsageCount { stats: path.into(), at, root, next: Some(root), usage })
    }

    /// Goes on counting for about `looks_max` znodes; true when it is through. Nothing may have been applied since it began.
    pub fn count_usage(&self, count: &mut UsageCount, looks_max: usize) -> bool {
        for _ in 0..looks_max {
            let Some(id) = count.next.filter(|_| count.at == self.last_processed) else { return true };
            count.usage.count += 1;
            count.usage.bytes += self.data_bytes(id);
            count.next = self.next_in(count.root, id, true);
        }
        count.next.is_none()
    }

    /// [`Tree::apply`] of a creation that was counted for. A count of another moment, or one that is not through, is not used.
    pub fn apply_counted(&mut self, entry: &TxnEntry<'_>, counted: UsageCount, triggers: &mut Vec<Trigger>) -> Applied {
        // What a multi does before its creation is not counted.
        let is_multi = matches!(entry.txn, Txn::Multi(_));
        let is_through = counted.next.is_none() && counted.at == self.last_processed;
        self.quotas.counted = Some(counted).filter(|_| is_through && !is_multi);
        let applied = self.apply(entry, triggers);
        self.quotas.counted = None;
        applied
    }

    /// A znode has been created.
    pub(crate) fn quota_created(&mut self, id: NodeId, path: &str) {
        // What it was created with: a usage that is counted below is written over it, and is nobody's to pay for.
        let bytes = self.data_bytes(id);
        if let Some((kind, of)) = quota_znode(path) {
            self.add_quota_znode(id, kind, of);
            if kind == Kind::Stats {
                let usage = match (self.quotas.counted.take(), self.find(of)) {
                    (_, None) => Usage::default(),
                    (Some(UsageCount { stats, usage, .. }), _) if *stats == *path => {
                        // Counted without the znode itself, which a quota of all, or one for quotas, has below it.
                        let is_below = path.strip_prefix(of).is_some_and(|rest| rest.starts_with('/'));
                        let own = if is_below { Usage { count: 1, bytes } } else { Usage::default() };
                        Usage { count: usage.count + own.count, bytes: usage.bytes + own.bytes }
                    }
                    (_, Some(root)) => self.usage_of(root, &BTreeMap::new()),
                };
                self.put_usage(self.nodes.get(id.0).parent, usage);
            }
        }
        if self.quotas.limited > 0 {
            self.charge(path, 1, bytes);
        }
    }

    /// A znode with so many bytes of data is gone; `parent` is the one that it had.
    pub(crate) fn quota_deleted(&mut self, parent: NodeId, path: &str, bytes: i64) {
        if let Some((kind, of)) = quota_znode(path)
            && let Some(entry) = self.quotas.by_directory.get_mut(&parent)
        {
            match kind {
                Kind::Limits => {
                    self.quotas.limited -= usize::from(entry.limits.take().is_some() && !of.is_empty());
                }
                Kind::Stats => entry.stats = None,
            }
            if entry.limits.is_none() && entry.stats.is_none() {
                self.quotas.by_directory.remove(&parent);
            }
        }
        if self.quotas.limited > 0 {
            self.charge(path, -1, -bytes);
        }
    }

    /// A znode's data was set; it had so many bytes before.
    pub(crate) fn quota_set(&mut self, id: NodeId, path: &str, bytes_before: i64) {
        if quota_znode(path).is_some() {
            let track = StatsTrack::parse(self.data(id));
            let parent = self.nodes.get(id.0).parent;
            let entry = self.quotas.by_directory.get_mut(&parent);
            let texts = entry.into_iter().flat_map(|entry| [&mut entry.limits, &mut entry.stats]).flatten();
            for text in texts.filter(|text| text.node == id) {
                text.track.clone_from(&track);
            }
        }
        if self.quotas.limited > 0 {
            self.charge(path, 0, self.data_bytes(id) - bytes_before);
        }
    }

    /// Finds the quotas of a tree that was filled from a snapshot, and counts anew where there are limits, as Apache does.
    pub(crate) fn load_quotas(&mut self) {
        let Some(root) = self.find(QUOTA) else { return };
        let mut found = Vec::new();
        let mut at = Some(root);
        while let Some(id) = at {
            // The names first: paths are put together for few.
            if [LIMITS.as_bytes(), STATS.as_bytes()].contains(&self.name_bytes(id)) {
                found.push(id);
            }
            at = self.next_in(root, id, true);
        }
        let mut limited = Vec::new();
        for id in found {
            let mut path = String::new();
            self.write_path(id, &mut path);
            let Some((kind, of)) = quota_znode(&path) else { continue };
            self.add_quota_znode(id, kind, of);
            if kind == Kind::Limits && !of.is_empty() {
                limited.push((Reverse(of.matches('/').count()), of.to_owned(), self.nodes.get(id.0).parent));
            }
        }
        // The deepest first: what is counted once need not be walked through again.
        limited.sort_unstable();
        let mut counted = BTreeMap::new();
        let mut usages = Vec::new();
        for (_, of, directory) in limited {
            let mut usage = Usage::default();
            if let Some(id) = self.find(&of) {
                usage = self.usage_of(id, &counted);
                counted.insert(id, usage);
            }
            usages.push((directory, usage));
        }
        // Written when all are counted: where a quota is for quotas, no order shows.
        for (directory, usage) in usages {
            self.put_usage(directory, usage);
        }
    }

    fn add_quota_znode(&mut self, id: NodeId, kind: Kind, of: &str) {
        let text = Text { node: id, track: StatsTrack::parse(self.data(id)) };
        let entry = self.quotas.by_directory.entry(self.nodes.get(id.0).parent).or_default();
        match kind {
            Kind::Limits => {
                entry.limits = Some(text);
                self.quotas.limited += usize::from(!of.is_empty());
            }
            Kind::Stats => entry.stats = Some(text),
        }
    }

    fn data_bytes(&self, id: NodeId) -> i64 {
        i64::from(self.nodes.get(id.0).data_length.max(0))
    }

    /// The directory of the deepest quota with limits for `path` or what is above it.
    fn charged(&self, path: &str) -> Option<NodeId> {
        let mut directory = self.find(QUOTA)?;
        let mut deepest = None;
        for name in path.strip_prefix('/')?.split('/') {
            let Some(next) = self.find_child(directory, name) else { break };
            directory = next;
            if self.quotas.by_directory.get(&directory).is_some_and(|entry| entry.limits.is_some()) {
                deepest = Some(directory);
            }
        }
        deepest
    }

    #[cold]
    fn charge(&mut self, path: &str, count: i64, bytes: i64) {
        let Some(directory) = self.charged(path) else { return };
        let Some(Entry { stats: Some(stats), .. }) = self.quotas.by_directory.get_mut(&directory) else { return };
        let Some(track) = &mut stats.track else { return };
        track.count = track.count.wrapping_add(count);
        track.bytes = track.bytes.wrapping_add(bytes);
        let (id, text) = (stats.node, track.text());
        self.write_usage(id, &text);
    }

    /// Writes a usage down, if there is a place to.
    fn put_usage(&mut self, directory: NodeId, usage: Usage) {
        let Some(Entry { stats: Some(stats), .. }) = self.quotas.by_directory.get_mut(&directory) else { return };
        let track = StatsTrack::of_usage(usage.count, usage.bytes);
        let (id, text) = (stats.node, track.text());
        stats.track = Some(track);
        self.write_usage(id, &text);
    }

    fn write_usage(&mut self, id: NodeId, text: &str) {
        if self.data(id) != Some(text.as_bytes()) {
            self.touch(id);
            self.replace_data(id, Some(text.as_bytes()));
        }
    }

    fn usage_of(&self, root: NodeId, counted: &BTreeMap<NodeId, Usage>) -> Usage {
        let mut usage = Usage::default();
        let mut at = Some(root);
        while let Some(id) = at {
            let known = if counted.is_empty() { None } else { counted.get(&id) };
            let of_this = known.copied().unwrap_or(Usage { count: 1, bytes: self.data_bytes(id) });
            usage.count += of_this.count;
            usage.bytes += of_this.bytes;
            at = self.next_in(root, id, known.is_none());
        }
        usage
    }

    /// The znode after `id` in a walk from `root`, parents first; without `descend` not one below `id`.
    fn next_in(&self, root: NodeId, mut id: NodeId, descend: bool) -> Option<NodeId> {
        if descend && let Some(first) = self.ext(id).and_then(|e| e.first.some()) {
            return Some(first);
        }
        while id != root {
            let node = self.nodes.get(id.0);
            if let Some(next) = node.next.some() {
                return Some(next);
            }
            id = node.parent;
        }
        None
    }

    /// The path that the quota in `directory` is for; empty for the root.
    fn quota_path(&self, directory: NodeId) -> String {
        let mut path = String::new();
        self.write_path(directory, &mut path);
        path.split_off(QUOTA.len().min(path.len()))
    }
}

#[cfg(test)]
mod tests {
    use wire::txn::{CreateTxn, MultiTxn, SubTxn, TxnHeader};
    use wire::{AclVec, ErrorCode, Field, OpCode, Reader, SessionId, Xid};

    use super::*;
    use crate::tree::TreeConfig;

    fn create(path: &str, data: &[u8]) -> Vec<u8> {
        let (path, acl) = (Some(path.into()), AclVec::OPEN);
        CreateTxn { path, data: Some(data), acl, ephemeral: false, parent_cversion: -1 }.to_vec()
    }

    fn apply(tree: &mut Tree, op: OpCode, body: &[u8], counted: Option<UsageCount>) {
        let txn = Txn::read_body(op, false, &mut Reader::new(body)).unwrap();
        let zxid = Zxid(tree.last_processed().0 + 1);
        let header = TxnHeader { session: SessionId(1), cxid: Xid(1), zxid, time_ms: 1, op };
        let entry = TxnEntry { header, txn, digest: None };
        let applied = match counted {
            Some(counted) => tree.apply_counted(&entry, counted, &mut Vec::new()),
            None => tree.apply(&entry, &mut Vec::new()),
        };
        assert_eq!(applied.err, ErrorCode::OK);
    }

    /// A few levels, with data of several lengths, and the directories of quotas.
    fn filled() -> Tree {
        let mut tree = Tree::new(TreeConfig::default());
        let mut make = |path: &str, data: &[u8]| apply(&mut tree, OpCode::Create, &create(path, data), None);
        make("/a", b"1");
        make("/ab", b"not below");
        for i in 0..20 {
            make(&format!("/a/{i}"), &vec![b'x'; i]);
            make(&format!("/a/{i}/below"), b"22");
        }
        make("/zookeeper/quota/a", b"");
        make("/zookeeper/quota/zookeeper", b"");
        make("/zookeeper/quota/zookeeper/quota", b"three");
        tree
    }

    fn counted(tree: &Tree, path: &str, looks_max: usize) -> (UsageCount, usize) {
        let mut count = tree.open_usage_count(path).unwrap();
        let mut steps = 1;
        while !tree.count_usage(&mut count, looks_max) {
            steps += 1;
        }
        (count, steps)
    }

    #[test]
    fn a_usage_counted_in_steps_is_the_one_that_is_counted_at_once() {
        for of in ["/a", "", "/zookeeper/quota"] {
            let stats = format!("/zookeeper/quota{of}/zookeeper_stats");
            let (mut one, mut other) = (filled(), filled());
            apply(&mut one, OpCode::Create, &create(&stats, b"own"), None);
            let (count, steps) = counted(&other, &stats, 7);
            apply(&mut other, OpCode::Create, &create(&stats, b"own"), Some(count));
            let text = |tree: &Tree| String::from_utf8(tree.get(&stats).unwrap().data().unwrap().to_vec()).unwrap();
            assert_eq!(text(&one), text(&other), "{of}");
            if of == "/a" {
                assert_eq!((text(&one).as_str(), steps), ("count=41,bytes=231", 6));
            }
        }
    }

    #[test]
    fn a_count_of_another_moment_is_not_used() {
        let stats = "/zookeeper/quota/a/zookeeper_stats";
        let text = |tree: &Tree| String::from_utf8(tree.get(stats).unwrap().data().unwrap().to_vec()).unwrap();
        let mut tree = filled();
        let (count, _) = counted(&tree, stats, 1000);
        apply(&mut tree, OpCode::Create, &create("/a/more", b"333"), None);
        apply(&mut tree, OpCode::Create, &create(stats, b""), Some(count));
        assert_eq!(text(&tree), "count=42,bytes=234");
        // One that something came in between of ends, and is none.
        let mut tree = filled();
        let mut count = tree.open_usage_count(stats).unwrap();
        assert!(!tree.count_usage(&mut count, 3));
        apply(&mut tree, OpCode::Create, &create("/a/more", b"333"), None);
        assert!(tree.count_usage(&mut count, 3));
        apply(&mut tree, OpCode::Create, &create(stats, b""), Some(count));
        assert_eq!(text(&tree), "count=42,bytes=234");
        // Inside a multi, behind something that counts; and one for another usage.
        let mut tree = filled();
        let (count, _) = counted(&tree, stats, 1000);
        let subs = [create("/a/more", b"333"), create(stats, b"")];
        let subs = subs.iter().map(|body| SubTxn { kind: OpCode::Create.code(), data: Some(body) }).collect();
        apply(&mut tree, OpCode::Multi, &MultiTxn { txns: Some(subs) }.to_vec(), Some(count));
        assert_eq!(text(&tree), "count=42,bytes=234");
        let mut tree = filled();
        let (count, _) = counted(&tree, "/zookeeper/quota/zookeeper_stats", 1000);
        apply(&mut tree, OpCode::Create, &create(stats, b""), Some(count));
        assert_eq!(text(&tree), "count=41,bytes=231");
    }

    #[test]
    fn nothing_is_counted_for_other_znodes_and_for_what_is_not_there() {
        let tree = filled();
        for path in
            ["/a/x", "/zookeeper/quota/a/zookeeper_limits", "/zookeeper/quota/none/zookeeper_stats", "/zookeeper_stats"]
        {
            assert!(tree.open_usage_count(path).is_none(), "{path}");
        }
    }
}
