//! The tree as it will be: what proposed txns that are not applied yet make of it. Source: Apache
//! `ZooKeeperServer.outstandingChanges`, `PrepRequestProcessor.getRecordForPath`.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use hashbrown::HashMap;
use tree::digest::{TreeDigest, node_digest, restat_digest};
use tree::owner::Owner;
use tree::{NodeId, Tree};
use wire::{Acl, SessionId, StatPersisted, Zxid};

use crate::state::hash_text;

/// Where a znode's data is.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    /// In the tree.
    Tree(NodeId),
    /// In a request that is not applied yet.
    Request(Option<Bytes>),
}

/// A znode as prep sees it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub zxid: Zxid,
    pub exists: bool,
    pub stat: StatPersisted,
    pub children: i32,
    /// `None`: open.
    pub acl: Option<Arc<[Acl]>>,
    pub data: Data,
    pub digest: u32,
    /// The session that it goes with; 0: none.
    pub owner: SessionId,
    /// It is being created by this very change.
    pub is_new: bool,
}

/// What proposals have changed.
#[derive(Debug, Clone)]
pub(crate) struct Outstanding {
    records: HashMap<Arc<str>, Record, RandomState>,
    /// What the txns changed, oldest first.
    changes: VecDeque<Change>,
    /// The digest after the newest proposal.
    digest: TreeDigest,
    /// The attempts under way, the innermost last.
    attempts: Vec<Attempt>,
    /// What they replaced, to be put back if they fail.
    replaced: Vec<(Arc<str>, Option<Record>)>,
    /// What becomes of each session's ephemerals that is not in the tree yet.
    ephemerals: HashMap<SessionId, Ephemerals, RandomState>,
    /// How many changes there ever were, those of failed attempts included.
    queued: u64,
}

/// The ephemerals of a session that outstanding txns create, oldest first, and how many they delete, the tree's and their
/// own.
#[derive(Debug, Clone, Default)]
struct Ephemerals {
    created: VecDeque<Arc<str>>,
    deleted: usize,
    /// By so much they make the list of the session's ephemerals longer.
    bytes: isize,
}

#[derive(Debug, Clone)]
struct Change {
    zxid: Zxid,
    path: Arc<str>,
    /// What it did to an ephemeral, and whose that was.
    ephemeral: Option<(SessionId, Fate)>,
}

/// What becomes of an ephemeral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Created,
    Deleted,
}

#[derive(Debug, Clone)]
struct Attempt {
    replaced: usize,
    changes: usize,
    digest: TreeDigest,
}

/// What a path adds to a closeSession txn beside itself: its length.
pub(crate) const PATH_OVERHEAD: usize = 4;

fn listed_bytes(path: &str) -> isize {
    (path.len() + PATH_OVERHEAD).cast_signed()
}

/// The root has two spellings.
fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

impl Outstanding {
    pub(crate) fn new(hasher: RandomState, digest: TreeDigest) -> Self {
        Self {
            records: HashMap::with_hasher(hasher.clone()),
            changes: VecDeque::new(),
            digest,
            attempts: Vec::new(),
            replaced: Vec::new(),
            ephemerals: HashMap::with_hasher(hasher),
            queued: 0,
        }
    }

    pub(crate) fn digest(&self) -> TreeDigest {
        self.digest
    }

    /// The znode at `path`, if it will be there.
    pub(crate) fn get(&self, tree: &Tree, path: &str) -> Option<Record> {
        if let Some(record) = self.records.get(key(path)) {
            return record.exists.then(|| record.clone());
        }
        let node = tree.get(path)?;
        Some(Record {
            zxid: Zxid::ZERO,
            exists: true,
            stat: node.stat_persisted(),
            children: node.child_count() as i32,
            acl: node.restricted_acl().cloned(),
            data: Data::Tree(node.id()),
            digest: node.digest(),
            owner: if let Owner::Session(session) = node.owner() { session } else { SessionId(0) },
            is_new: false,
        })
    }

    /// Puts a changed or new record; its digest is computed here.
    pub(crate) fn put(&mut self, tree: &Tree, path: &str, record: Record) {
        let new = match &record.data {
            _ if !record.exists => 0,
            Data::Tree(id) => node_digest(path, tree.node(*id).data(), &record.stat),
            Data::Request(data) => node_digest(path, data.as_deref(), &record.stat),
        };
        self.put_digested(path, record, new);
    }

    /// The same for a znode of which nothing but the Stat, which was `before`, and the ACL have changed.
    pub(crate) fn put_stat(&mut self, path: &str, record: Record, before: &StatPersisted) {
        let new = restat_digest(path, record.digest, before, &record.stat);
        self.put_digested(path, record, new);
    }

    fn put_digested(&mut self, path: &str, mut record: Record, new: u32) {
        self.digest = self.digest.replace(record.digest, new);
        record.digest = new;
        let path = key(path);
        let shared = match self.records.get_key_value(path) {
            Some((shared, _)) => shared.clone(),
            None => path.into(),
        };
        let fate = if record.exists { record.is_new.then_some(Fate::Created) } else { Some(Fate::Deleted) };
        let ephemeral = fate.filter(|_| record.owner != SessionId(0)).map(|fate| (record.owner, fate));
        if let Some((owner, fate)) = ephemeral {
            let of_owner = self.ephemerals.entry(owner).or_default();
            match fate {
                Fate::Created => {
                    of_owner.bytes += listed_bytes(&shared);
                    of_owner.created.push_back(shared.clone());
                }
                Fate::Deleted => {
                    of_owner.bytes -= listed_bytes(&shared);
                    of_owner.deleted += 1;
                }
            }
        }
        record.is_new = false;
        self.queued += 1;
        self.changes.push_back(Change { zxid: record.zxid, path: shared.clone(), ephemeral });
        let replaced = self.records.insert(shared.clone(), record);
        if !self.attempts.is_empty() {
            self.replaced.push((shared, replaced));
        }
    }

    /// By how many bytes a closeSession of this session becomes longer, or shorter, through what is not in the tree yet.
    pub(crate) fn ephemeral_bytes(&self, session: SessionId) -> isize {
        self.ephemerals.get(&session).map_or(0, |of_session| of_session.bytes)
    }

    /// The ephemerals that outstanding txns create for this session, in the order of their creation. One that was deleted
    /// again is named too, and one that was created twice is named twice.
    pub(crate) fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = &Arc<str>> {
        self.ephemerals.get(&session).into_iter().flat_map(|of_session| &of_session.created)
    }

    /// A change is in the tree, the oldest first, or undone, the newest first.
    fn forget(&mut self, change: &Change, is_applied: bool) {
        let Some((owner, fate)) = change.ephemeral else { return };
        let Some(of_owner) = self.ephemerals.get_mut(&owner) else { return };
        match fate {
            Fate::Created => {
                of_owner.bytes -= listed_bytes(&change.path);
                if is_applied {
                    of_owner.created.pop_front();
                } else {
                    of_owner.created.pop_back();
                }
            }
            Fate::Deleted => {
                of_owner.bytes += listed_bytes(&change.path);
                of_owner.deleted -= 1;
            }
        }
        if of_owner.created.is_empty() && of_owner.deleted == 0 {
            self.ephemerals.remove(&owner);
        }
    }

    /// Something that may fail begins; it may be part of another such thing.
    pub(crate) fn attempt(&mut self) {
        let attempt = Attempt { replaced: self.replaced.len(), changes: self.changes.len(), digest: self.digest };
        self.attempts.push(attempt);
    }

    /// It ends; if it failed, all is as it was before.
    pub(crate) fn end_attempt(&mut self, failed: bool) {
        let Some(attempt) = self.attempts.pop() else { return };
        if failed {
            while self.replaced.len() > attempt.replaced {
                match self.replaced.pop() {
                    Some((path, Some(record))) => self.records.insert(path, record),
                    Some((path, None)) => self.records.remove(&path),
                    None => None,
                };
            }
            while self.changes.len() > attempt.changes {
                if let Some(change) = self.changes.pop_back() {
                    self.forget(&change, false);
                }
            }
            self.digest = attempt.digest;
        }
        if self.attempts.is_empty() {
            self.replaced.clear();
        }
    }

    /// How many changes there ever were.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// All txns up to `zxid` are in the tree. Returns how many changes need not be kept any more.
    pub(crate) fn applied(&mut self, zxid: Zxid) -> u64 {
        let mut gone = 0;
        while let Some(change) = self.changes.pop_front_if(|change| change.zxid <= zxid) {
            self.forget(&change, true);
            gone += 1;
            if self.records.get(&change.path).is_some_and(|record| record.zxid <= zxid) {
                self.records.remove(&change.path);
            }
        }
        gone
    }

    pub(crate) fn hash_state(&self, hasher: &mut impl std::hash::Hasher) {
        let mut all: Vec<_> = self.records.iter().collect();
        all.sort_unstable_by_key(|(path, _)| *path);
        hash_text(&(all, &self.changes, self.digest), hasher);
    }
}
