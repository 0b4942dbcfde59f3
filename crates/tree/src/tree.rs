//! The tree itself: slots, lookups, and the elementary changes that [`crate::apply`] composes.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use ahash::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use wire::{AclVec, SessionId, Stat, StatPersisted, Zxid};

use crate::absent::Absent;
use crate::acl_table::{self, AclTable};
use crate::arena::Arena;
use crate::children::{NO_WIDE, Wide};
use crate::cursor::Cursors;
use crate::cut::Cut;
use crate::digest::{TreeDigest, node_digest, restat_digest};
use crate::index::{Index, PlaceHash};
use crate::interest::{Interest, ShardMask};
use crate::node::{Ext, NO_EXT, Node, NodeId, Slab};
use crate::owner::{Owner, OwnerRules};
use crate::quota::Quotas;
use crate::varint::{read_varint, write_varint};

/// The keys of the hash maps, so that clients who choose the paths can't choose the collisions. Random in production,
/// fixed in a simulation; nothing visible depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HashKeys(pub [u64; 4]);

impl HashKeys {
    /// A hasher with these keys.
    pub fn hasher(self) -> RandomState {
        let [a, b, c, d] = self.0;
        RandomState::with_seeds(a, b, c, d)
    }
}

/// What a tree is told at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeConfig {
    /// Keys of the hash maps.
    pub keys: HashKeys,
    /// Encodings of owners in force.
    pub owner_rules: OwnerRules,
}

/// The znodes of a server.
#[derive(Debug)]
pub struct Tree {
    pub(crate) nodes: Slab<Node>,
    pub(crate) exts: Slab<Ext>,
    pub(crate) wides: Slab<Wide>,
    /// Znodes to whom the txn that is being applied gave children that are not in the order of their names.
    pub(crate) unsorted: Vec<NodeId>,
    /// Did a replay bring children behind younger ones?
    pub(crate) is_disordered: bool,
    pub(crate) cursors: Mutex<Cursors>,
    pub(crate) arena: Arena,
    pub(crate) index: Index,
    pub(crate) acls: AclTable,
    /// The ephemerals of each session, in ascending order of slots.
    pub(crate) ephemerals: HashMap<SessionId, Ephemerals, RandomState>,
    pub(crate) ephemeral_count: usize,
    /// Containers and TTL znodes.
    pub(crate) timed: BTreeSet<NodeId>,
    pub(crate) quotas: Quotas,
    /// Interest in paths where there is no znode.
    pub(crate) absent: Absent,
    /// How many recursive-interest bits were ever set: while 0, no event looks at ancestors.
    pub(crate) recursive_seen: AtomicU8,
    pub(crate) cut: Mutex<Option<Cut>>,
    pub(crate) config: TreeConfig,
    pub(crate) digest: TreeDigest,
    pub(crate) last_processed: Zxid,
    pub(crate) count: usize,
    /// Bytes of all paths and data.
    pub(crate) data_size: i64,
    /// The digests of the last zxids that are divisible by [`DIGEST_EVERY`], oldest first.
    pub(crate) digests: VecDeque<(Zxid, TreeDigest)>,
}

/// Digests of zxids divisible by this are kept, for `hash`. Source: Apache `DataTree.DIGEST_LOG_INTERVAL`.
const DIGEST_EVERY: i64 = 128;

/// So many of them. Source: Apache `DataTree.DIGEST_LOG_LIMIT`.
const DIGESTS_MAX: usize = 1024;

impl Clone for Tree {
    fn clone(&self) -> Self {
        Self {
            nodes: self.nodes.clone(),
            exts: self.exts.clone(),
            wides: self.wides.clone(),
            unsorted: self.unsorted.clone(),
            is_disordered: self.is_disordered,
            cursors: Mutex::new(lock(&self.cursors).clone()),
            arena: self.arena.clone(),
            index: self.index.clone(),
            acls: self.acls.clone(),
            ephemerals: self.ephemerals.clone(),
            ephemeral_count: self.ephemeral_count,
            timed: self.timed.clone(),
            quotas: self.quotas.clone(),
            absent: self.absent.clone(),
            recursive_seen: AtomicU8::new(self.recursive_seen.load(Relaxed)),
            cut: Mutex::new(lock(&self.cut).clone()),
            config: self.config,
            digest: self.digest,
            last_processed: self.last_processed,
            count: self.count,
            data_size: self.data_size,
            digests: self.digests.clone(),
        }
    }
}

/// The ephemerals of one session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ephemerals {
    nodes: BTreeSet<NodeId>,
    /// What a list of their paths takes: the paths, and four bytes each.
    bytes: usize,
}

/// A panic elsewhere does not make the map wrong: each change to it is one call.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn get_mut<T>(mutex: &mut Mutex<T>) -> &mut T {
    mutex.get_mut().unwrap_or_else(PoisonError::into_inner)
}

/// The znode with the ensemble's configuration.
pub const CONFIG_PATH: &str = "/zookeeper/config";

/// A znode under a guard.
#[derive(Debug, Clone, Copy)]
pub struct NodeRef<'a> {
    tree: &'a Tree,
    id: NodeId,
}

impl Tree {
    /// A fresh database: `/`, `/zookeeper`, `/zookeeper/quota`, `/zookeeper/config`, all with empty Stats.
    pub fn new(config: TreeConfig) -> Self {
        let mut tree = Self::bare(config);
        let zero = StatPersisted::default();
        tree.insert_root(Some(b""), AclVec::OPEN, &zero);
        let zookeeper = tree.insert(NodeId::ROOT, "/zookeeper", "zookeeper", Some(b""), AclVec::OPEN, &zero);
        tree.insert(zookeeper, "/zookeeper/quota", "quota", Some(b""), AclVec::OPEN, &zero);
        let of_config = StatPersisted { aversion: -1, ..zero };
        tree.insert(zookeeper, CONFIG_PATH, "config", Some(b""), AclVec::READ, &of_config);
        tree.sort_unsorted();
        tree
    }

    /// No znode at all, not even the root: what a snapshot is loaded into.
    pub(crate) fn bare(config: TreeConfig) -> Self {
        let hasher = config.keys.hasher();
        Self {
            nodes: Slab::default(),
            exts: Slab::default(),
            wides: Slab::default(),
            unsorted: Vec::new(),
            is_disordered: false,
            cursors: Mutex::default(),
            arena: Arena::default(),
            index: Index::new(hasher.clone()),
            acls: AclTable::new(hasher.clone()),
            ephemerals: HashMap::with_hasher(hasher.clone()),
            ephemeral_count: 0,
            timed: BTreeSet::new(),
            quotas: Quotas::default(),
            absent: Absent::new(hasher),
            recursive_seen: AtomicU8::new(0),
            cut: Mutex::new(None),
            config,
            digest: TreeDigest::default(),
            last_processed: Zxid::ZERO,
            count: 0,
            data_size: 0,
            digests: VecDeque::new(),
        }
    }

    /// The zxid of the last txn applied.
    pub fn last_processed(&self) -> Zxid {
        self.last_processed
    }

    /// The digest at [`last_processed`](Self::last_processed).
    pub fn digest(&self) -> TreeDigest {
        self.digest
    }

    /// A txn was applied, and the tree is what it was when that txn was proposed: keeps the digest if its zxid is one of
    /// those whose digests are kept. Without digests it is 0.
    pub fn record_digest(&mut self, has_digests: bool) {
        if self.last_processed.0 % DIGEST_EVERY != 0 {
            return;
        }
        if self.digests.len() >= DIGESTS_MAX {
            self.digests.pop_front();
        }
        let digest = if has_digests { self.digest } else { TreeDigest::default() };
        self.digests.push_back((self.last_processed, digest));
    }

    /// The digests that were kept, oldest first: at most 1024, one for each 128 zxids.
    pub fn recorded_digests(&self) -> impl Iterator<Item = (Zxid, TreeDigest)> {
        self.digests.iter().copied()
    }

    /// How many znodes, the root counted twice as in Apache, whose root has two keys.
    pub fn node_count(&self) -> usize {
        self.count + 1
    }

    /// How many ephemerals.
    pub fn ephemeral_count(&self) -> usize {
        self.ephemeral_count
    }

    /// The bytes of all paths and data, as Apache's `approximate_data_size` counts them: with the root's second key, `/`.
    pub fn approximate_data_size(&self) -> i64 {
        self.data_size + 1
    }

    /// The ACL table.
    pub fn acls(&self) -> &AclTable {
        &self.acls
    }

    /// What the owners mean here.
    pub fn owner_rules(&self) -> OwnerRules {
        self.config.owner_rules
    }

    /// The znode at `path`; an odd path names none.
    pub fn get(&self, path: &str) -> Option<NodeRef<'_>> {
        self.find(path).map(|id| NodeRef { tree: self, id })
    }

    /// The znode in a slot that is known to be taken.
    pub fn node(&self, id: NodeId) -> NodeRef<'_> {
        NodeRef { tree: self, id }
    }

    /// The session's ephemerals, oldest slot first.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = NodeRef<'_>> {
        self.ephemerals.get(&session).into_iter().flat_map(|mine| &mine.nodes).map(|&id| self.node(id))
    }

    /// The session's ephemerals behind the slot `after`, in ascending order of slots.
    pub fn ephemerals_after(&self, session: SessionId, after: Option<NodeId>) -> impl Iterator<Item = NodeRef<'_>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mine = self.ephemerals.get(&session).into_iter();
        mine.flat_map(move |mine| mine.nodes.range((from, Bound::Unbounded))).map(|&id| self.node(id))
    }

    /// How many ephemerals the session has.
    pub fn ephemeral_count_of(&self, session: SessionId) -> usize {
        self.ephemerals.get(&session).map_or(0, |mine| mine.nodes.len())
    }

    /// How many sessions have ephemerals.
    pub fn owner_count(&self) -> usize {
        self.ephemerals.len()
    }

    /// Containers and TTL znodes from the slot `from` on, at most `max` of them, in ascending order of slots.
    pub fn timed(&self, from: NodeId, max: usize) -> impl Iterator<Item = NodeRef<'_>> {
        self.timed.range(from..).take(max).map(|&id| self.node(id))
    }

    /// The bytes that a list of the session's ephemerals takes, each path with its length.
    pub fn ephemeral_bytes(&self, session: SessionId) -> usize {
        self.ephemerals.get(&session).map_or(0, |mine| mine.bytes)
    }

    /// The sessions that have ephemerals, in ascending order.
    pub fn sessions_with_ephemerals(&self) -> Vec<SessionId> {
        let mut sessions: Vec<_> = self.ephemerals.keys().copied().collect();
        sessions.sort_unstable();
        sessions
    }

    pub(crate) fn find(&self, path: &str) -> Option<NodeId> {
        let rest = match path {
            "" | "/" => return Some(NodeId::ROOT),
            _ => path.strip_prefix('/')?,
        };
        rest.split('/').try_fold(NodeId::ROOT, |parent, name| self.find_child(parent, name))
    }

    pub(crate) fn find_child(&self, parent: NodeId, name: &str) -> Option<NodeId> {
        self.find_child_at(self.index.hash(parent, name.as_bytes()), parent, name)
    }

    /// The same, where the hash of its place is known already.
    pub(crate) fn find_child_at(&self, hash: PlaceHash, parent: NodeId, name: &str) -> Option<NodeId> {
        self.index.find(hash, |id| self.nodes.get(id.0).parent == parent && self.name_bytes(id) == name.as_bytes())
    }

    pub(crate) fn name_bytes(&self, id: NodeId) -> &[u8] {
        let blob = self.arena.get(self.nodes.get(id.0).blob);
        let (length, at) = read_varint(blob);
        &blob[at..at + length]
    }

    /// Appends the path of a znode; nothing for the root.
    pub(crate) fn write_path(&self, id: NodeId, path: &mut String) {
        // Not recursive: a client may nest znodes deeper than a stack is.
        let mut names: SmallVec<[NodeId; 16]> = SmallVec::new();
        let mut at = id;
        while at != NodeId::ROOT {
            names.push(at);
            at = self.nodes.get(at.0).parent;
        }
        for id in names.into_iter().rev() {
            self.write_name(id, path);
        }
    }

    /// Appends a slash and the name of a znode.
    pub(crate) fn write_name(&self, id: NodeId, path: &mut String) {
        path.push('/');
        match std::str::from_utf8(self.name_bytes(id)) {
            Ok(name) => path.push_str(name),
            // Names come from strings, so this can't be; a replaced character is the better failure.
            Err(_) => path.push('\u{fffd}'),
        }
    }

    pub(crate) fn data(&self, id: NodeId) -> Option<&[u8]> {
        let node = self.nodes.get(id.0);
        let length = usize::try_from(node.data_length).ok()?;
        let blob = self.arena.get(node.blob);
        let (name, at) = read_varint(blob);
        Some(&blob[at + name..at + name + length])
    }

    pub(crate) fn ext(&self, id: NodeId) -> Option<&Ext> {
        let ext = self.nodes.get(id.0).ext;
        (ext != NO_EXT).then(|| self.exts.get(ext))
    }

    /// The [`Ext`] of a znode, made when it has none.
    pub(crate) fn ext_mut(&mut self, id: NodeId) -> &mut Ext {
        let node = self.nodes.get_mut(id.0);
        if node.ext == NO_EXT {
            node.ext = self.exts.insert(Ext {
                pzxid: node.czxid,
                owner: 0,
                cversion: 0,
                aversion: 0,
                first: NodeId::NONE,
                last: NodeId::NONE,
                children: 0,
                wide: NO_WIDE,
            });
        }
        self.exts.get_mut(node.ext)
    }

    pub(crate) fn stat_of(&self, id: NodeId) -> StatPersisted {
        self.nodes.get(id.0).stat(self.ext(id))
    }

    pub(crate) fn insert_root(&mut self, data: Option<&[u8]>, acl: AclVec<'_>, stat: &StatPersisted) -> NodeId {
        let id = self.insert_slot(NodeId::ROOT, "", data, acl, stat);
        assert_eq!(id, NodeId::ROOT, "the root is the first znode of a tree");
        self.redigest(id, "");
        self.count += 1;
        self.data_size += data.map_or(0, <[u8]>::len) as i64;
        id
    }

    /// Adds a znode that is not there, as its parent's youngest child. The parent's Stat is the caller's to change.
    pub(crate) fn insert(
        &mut self,
        parent: NodeId,
        path: &str,
        name: &str,
        data: Option<&[u8]>,
        acl: AclVec<'_>,
        stat: &StatPersisted,
    ) -> NodeId {
        let hash = self.index.hash(parent, name.as_bytes());
        let digest = node_digest(path, data, stat);
        self.insert_known(parent, hash, path, name, data, acl, stat, digest)
    }

    /// The same, where the hash of its place and its digest are known already.
    #[allow(clippy::too_many_arguments, reason = "a znode")]
    pub(crate) fn insert_known(
        &mut self,
        parent: NodeId,
        hash: PlaceHash,
        path: &str,
        name: &str,
        data: Option<&[u8]>,
        acl: AclVec<'_>,
        stat: &StatPersisted,
        digest: u32,
    ) -> NodeId {
        let id = self.insert_slot(parent, name, data, acl, stat);
        self.index.insert(hash, id);
        self.link_child(parent, id);
        match self.config.owner_rules.decode(stat.ephemeral_owner) {
            Owner::Session(session) => {
                let mine = self.ephemerals.entry(session).or_default();
                mine.nodes.insert(id);
                mine.bytes += path.len() + 4;
                self.ephemeral_count += 1;
            }
            Owner::Container | Owner::Ttl(_) => {
                self.timed.insert(id);
            }
            Owner::Void => {}
        }
        self.digest = self.digest.replace(0, digest);
        self.nodes.get_mut(id.0).digest = digest;
        self.count += 1;
        self.data_size += (path.len() + data.map_or(0, <[u8]>::len)) as i64;
        id
    }

    fn insert_slot(
        &mut self,
        parent: NodeId,
        name: &str,
        data: Option<&[u8]>,
        acl: AclVec<'_>,
        stat: &StatPersisted,
    ) -> NodeId {
        let acl = self.acls.acquire(acl);
        let blob = self.write_blob(None, name.as_bytes(), data);
        let slot = self.nodes.insert(Node {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            parent,
            blob,
            data_length: data.map_or(-1, |d| d.len() as i32),
            acl,
            version: stat.version,
            next: NodeId::NONE,
            previous: NodeId::NONE,
            ext: NO_EXT,
            digest: 0,
            data_interest: AtomicU8::new(0),
            child_interest: AtomicU8::new(0),
            recursive_interest: AtomicU8::new(0),
        });
        let id = NodeId(slot);
        if stat.pzxid != stat.czxid || stat.cversion != 0 || stat.aversion != 0 || stat.ephemeral_owner != 0 {
            let ext = self.ext_mut(id);
            ext.pzxid = stat.pzxid;
            ext.cversion = stat.cversion;
            ext.aversion = stat.aversion;
            ext.owner = stat.ephemeral_owner;
        }
        id
    }

    /// Writes name and data into a slot: the old one if they fit there.
    fn write_blob(
        &mut self,
        old: Option<crate::arena::BlobId>,
        name: &[u8],
        data: Option<&[u8]>,
    ) -> crate::arena::BlobId {
        let mut prefix = [0; 5];
        let prefix_length = write_varint(name.len(), &mut prefix);
        let data = data.unwrap_or_default();
        let length = prefix_length + name.len() + data.len();
        let id = old.unwrap_or_else(|| self.arena.alloc(length));
        let blob = self.arena.get_mut(id);
        blob[..prefix_length].copy_from_slice(&prefix[..prefix_length]);
        blob[prefix_length..prefix_length + name.len()].copy_from_slice(name);
        blob[prefix_length + name.len()..length].copy_from_slice(data);
        id
    }

    /// Replaces a znode's data.
    pub(crate) fn replace_data(&mut self, id: NodeId, data: Option<&[u8]>) {
        let node = self.nodes.get(id.0);
        let (blob, before) = (node.blob, i64::from(node.data_length.max(0)));
        let after = data.map_or(0, <[u8]>::len);
        let (name_length, prefix) = read_varint(self.arena.get(blob));
        let at = prefix + name_length;
        if self.arena.fits(blob, at + after) {
            self.arena.get_mut(blob)[at..at + after].copy_from_slice(data.unwrap_or_default());
        } else {
            let name = self.name_bytes(id).to_vec();
            let moved = self.write_blob(None, &name, data);
            self.arena.free(blob);
            self.nodes.get_mut(id.0).blob = moved;
        }
        self.nodes.get_mut(id.0).data_length = data.map_or(-1, |d| d.len() as i32);
        self.data_size += after as i64 - before;
    }

    /// Removes a znode that has no children. Its parent's Stat is the caller's to change.
    pub(crate) fn remove(&mut self, id: NodeId, path: &str) {
        let node = self.nodes.get(id.0).clone();
        let data_length = node.data_length.max(0) as usize;
        let hash = self.index.hash(node.parent, self.name_bytes(id));
        self.index.remove(hash, id);
        self.unlink_child(id);
        if let Some(ext) = self.ext(id) {
            if let Owner::Session(session) = self.config.owner_rules.decode(ext.owner)
                && let Some(mine) = self.ephemerals.get_mut(&session)
                && mine.nodes.remove(&id)
            {
                mine.bytes -= path.len() + 4;
                self.ephemeral_count -= 1;
                if mine.nodes.is_empty() {
                    self.ephemerals.remove(&session);
                }
            }
            self.exts.free(node.ext);
            self.timed.remove(&id);
        }
        self.digest = self.digest.replace(node.digest, 0);
        self.acls.release(node.acl);
        self.arena.free(node.blob);
        self.nodes.get_mut(id.0).parent = NodeId::NONE;
        self.nodes.free(id.0);
        self.count -= 1;
        self.data_size -= (path.len() + data_length) as i64;
    }

    /// Computes a znode's digest anew after a change of its data.
    pub(crate) fn redigest(&mut self, id: NodeId, path: &str) {
        let new = node_digest(path, self.data(id), &self.stat_of(id));
        self.set_digest(id, new);
    }

    /// The same after a change of nothing but its Stat, which was `before`.
    pub(crate) fn redigest_stat(&mut self, id: NodeId, path: &str, before: &StatPersisted) {
        let new = restat_digest(path, self.nodes.get(id.0).digest, before, &self.stat_of(id));
        self.set_digest(id, new);
    }

    fn set_digest(&mut self, id: NodeId, new: u32) {
        let node = self.nodes.get_mut(id.0);
        self.digest = self.digest.replace(node.digest, new);
        node.digest = new;
    }

    /// Notes that `shard` watches `path`; call it before the read that does is answered, under its guard.
    ///
    /// The root's events have the path `/`; its other key, the empty one, has none, and must not share its bits.
    pub fn add_interest(&self, path: &str, kind: Interest, shard: usize) {
        if path.is_empty() {
            return;
        }
        let bit = ShardMask::of(shard).0;
        if kind == Interest::Recursive {
            self.recursive_seen.store(1, Relaxed);
        }
        match self.find(path) {
            Some(id) => {
                self.interest_cell(id, kind).fetch_or(bit, Relaxed);
            }
            None => self.absent.set(path, bit),
        }
    }

    /// Notes that `shard` no longer watches `path`. Only under a guard that shows that the shard's inbox is empty:
    /// else a registration on its way to the shard would lose its bit.
    pub fn remove_interest(&self, path: &str, kind: Interest, shard: usize) {
        if path.is_empty() {
            return;
        }
        let bit = ShardMask::of(shard).0;
        match self.find(path) {
            Some(id) => {
                self.interest_cell(id, kind).fetch_and(!bit, Relaxed);
            }
            None => self.absent.clear(path, bit),
        }
    }

    /// In how many paths that are not there some shard is interested.
    pub fn absent_paths(&self) -> usize {
        self.absent.len()
    }

    fn interest_cell(&self, id: NodeId, kind: Interest) -> &AtomicU8 {
        let node = self.nodes.get(id.0);
        match kind {
            Interest::Data => &node.data_interest,
            Interest::Child => &node.child_interest,
            Interest::Recursive => &node.recursive_interest,
        }
    }
}

impl<'a> NodeRef<'a> {
    /// Its slot.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// Its last path component; the root's is empty.
    pub fn name(self) -> &'a [u8] {
        self.tree.name_bytes(self.id)
    }

    /// Its data.
    pub fn data(self) -> Option<&'a [u8]> {
        self.tree.data(self.id)
    }

    /// How long its data is; 0 when null.
    pub fn data_length(self) -> usize {
        self.tree.nodes.get(self.id.0).data_length.max(0) as usize
    }

    /// Its Stat as files and the digest hold it.
    pub fn stat_persisted(self) -> StatPersisted {
        self.tree.stat_of(self.id)
    }

    /// Its Stat as clients see it.
    pub fn stat(self) -> Stat {
        let stat = self.stat_persisted();
        let is_session = matches!(self.tree.config.owner_rules.decode(stat.ephemeral_owner), Owner::Session(_));
        let data_length = self.tree.nodes.get(self.id.0).data_length.max(0);
        stat.to_stat(data_length, self.child_count() as i32, is_session)
    }

    /// Who or what ends it.
    pub fn owner(self) -> Owner {
        self.tree.ext(self.id).map_or(Owner::Void, |e| self.tree.config.owner_rules.decode(e.owner))
    }

    /// How many children.
    pub fn child_count(self) -> u32 {
        self.tree.ext(self.id).map_or(0, |e| e.children)
    }

    /// Its children in the order of their creation; those that one txn created, in the order of their names.
    pub fn children(self) -> impl Iterator<Item = NodeRef<'a>> {
        let tree = self.tree;
        let first = tree.ext(self.id).and_then(|e| e.first.some());
        std::iter::successors(first, |id| tree.nodes.get(id.0).next.some()).map(|id| NodeRef { tree, id })
    }

    /// The id of its ACL in [`Tree::acls`].
    pub fn acl_id(self) -> u32 {
        self.tree.nodes.get(self.id.0).acl
    }

    /// Its ACL, if it is not the open one that allows everyone everything.
    pub fn restricted_acl(self) -> Option<&'a std::sync::Arc<[wire::Acl]>> {
        let id = self.acl_id();
        (id != acl_table::OPEN).then(|| self.tree.acls.decoded(id))
    }

    /// Its ACL in wire form.
    pub fn acl_encoded(self) -> AclVec<'a> {
        self.tree.acls.encoded(self.acl_id())
    }

    /// What it adds to the tree's digest.
    pub fn digest(self) -> u32 {
        self.tree.nodes.get(self.id.0).digest
    }

    /// Its path, put together from its ancestors' names.
    pub fn path(self) -> String {
        let mut path = String::new();
        self.tree.write_path(self.id, &mut path);
        if path.is_empty() {
            path.push('/');
        }
        path
    }
}
