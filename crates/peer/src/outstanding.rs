//! The tree as it will be: what proposed txns that are not applied yet make of it. Source: Apache
//! `ZooKeeperServer.outstandingChanges`, `PrepRequestProcessor.getRecordForPath`.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use hashbrown::HashMap;
use tree::digest::{TreeDigest, node_digest};
use tree::{NodeId, Tree};
use wire::{Acl, StatPersisted, Zxid};

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
}

/// What proposals have changed.
#[derive(Debug, Clone)]
pub(crate) struct Outstanding {
    records: HashMap<Arc<str>, Record, RandomState>,
    /// Which txn changed which path, oldest first.
    changes: VecDeque<(Zxid, Arc<str>)>,
    /// The digest after the newest proposal.
    digest: TreeDigest,
    /// Inside a multi: what its changes replaced, to be put back if it fails.
    undo: Option<Undo>,
}

#[derive(Debug, Clone)]
struct Undo {
    replaced: Vec<(Arc<str>, Option<Record>)>,
    changes: usize,
    digest: TreeDigest,
}

/// The root has two spellings.
fn key(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

impl Outstanding {
    pub(crate) fn new(hasher: RandomState, digest: TreeDigest) -> Self {
        Self { records: HashMap::with_hasher(hasher), changes: VecDeque::new(), digest, undo: None }
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
        })
    }

    /// Puts a changed or new record; its digest is computed here.
    pub(crate) fn put(&mut self, tree: &Tree, path: &str, mut record: Record) {
        let new = match &record.data {
            _ if !record.exists => 0,
            Data::Tree(id) => node_digest(path, tree.node(*id).data(), &record.stat),
            Data::Request(data) => node_digest(path, data.as_deref(), &record.stat),
        };
        self.digest = self.digest.replace(record.digest, new);
        record.digest = new;
        let path = key(path);
        let shared = match self.records.get_key_value(path) {
            Some((shared, _)) => shared.clone(),
            None => path.into(),
        };
        self.changes.push_back((record.zxid, shared.clone()));
        let replaced = self.records.insert(shared.clone(), record);
        if let Some(undo) = &mut self.undo {
            undo.replaced.push((shared, replaced));
        }
    }

    /// A multi begins.
    pub(crate) fn begin_multi(&mut self) {
        self.undo = Some(Undo { replaced: Vec::new(), changes: self.changes.len(), digest: self.digest });
    }

    /// A multi ends; if it failed, all is as it was before.
    pub(crate) fn end_multi(&mut self, failed: bool) {
        let Some(undo) = self.undo.take().filter(|_| failed) else { return };
        for (path, record) in undo.replaced.into_iter().rev() {
            match record {
                Some(record) => self.records.insert(path, record),
                None => self.records.remove(&path),
            };
        }
        self.changes.truncate(undo.changes);
        self.digest = undo.digest;
    }

    /// All txns up to `zxid` are in the tree.
    pub(crate) fn applied(&mut self, zxid: Zxid) {
        while let Some((at, _)) = self.changes.front() {
            if *at > zxid {
                break;
            }
            let Some((_, path)) = self.changes.pop_front() else { break };
            if self.records.get(&path).is_some_and(|record| record.zxid <= zxid) {
                self.records.remove(&path);
            }
        }
    }

    pub(crate) fn hash_state(&self, hasher: &mut impl std::hash::Hasher) {
        let mut all: Vec<_> = self.records.iter().collect();
        all.sort_unstable_by_key(|(path, _)| *path);
        hash_text(&(all, &self.changes, self.digest), hasher);
    }

    /// What is not applied yet, in no particular order: sort before use.
    pub(crate) fn records(&self) -> impl Iterator<Item = (&Arc<str>, &Record)> {
        self.records.iter()
    }
}
