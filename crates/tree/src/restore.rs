//! Filling a tree from a snapshot file. Source: Apache `DataTree.deserialize`, `SerializeUtils.deserializeSnapshot`.

use std::sync::Arc;

use hashbrown::HashMap;
use wire::{AclVec, StatPersisted, Zxid};

use crate::digest::node_digest;
use crate::node::NodeId;
use crate::tree::{Tree, TreeConfig};

/// A tree being filled.
#[derive(Debug)]
pub struct TreeBuilder {
    tree: Tree,
    acls: HashMap<i64, Arc<[u8]>, ahash::RandomState>,
    /// The path that the last znode was put under, and its slot: files list siblings together.
    parent: (String, NodeId),
    /// Znodes whose ACL the file does not hold: nobody may touch them until replay brings it (ZOOKEEPER-3306).
    missing_acls: usize,
    /// The list that gives nobody any right, once it is needed.
    nobody: Option<Vec<u8>>,
}

/// Why a snapshot's znode can't be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreError {
    /// The first znode is not the root.
    NoRoot(String),
    /// Its parent did not come before it.
    NoParent(String),
    /// It came twice.
    Twice(String),
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoRoot(path) => write!(f, "the first znode is {path:?}, not the root"),
            Self::NoParent(path) => write!(f, "the parent of {path:?} is missing"),
            Self::Twice(path) => write!(f, "{path:?} stands in it twice"),
        }
    }
}

impl std::error::Error for RestoreError {}

/// Nobody has any right.
fn nobody() -> Vec<u8> {
    AclVec::encode(&[wire::Acl::new(0, "world", "anyone")])
}

impl TreeBuilder {
    /// An empty one.
    pub fn new(config: TreeConfig) -> Self {
        Self {
            tree: Tree::bare(config),
            acls: HashMap::with_hasher(config.keys.hasher()),
            parent: (String::new(), NodeId::ROOT),
            missing_acls: 0,
            nobody: None,
        }
    }

    /// An ACL of the file.
    pub fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        self.acls.insert(id, acl.as_bytes().into());
    }

    /// A znode of the file.
    pub fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), RestoreError> {
        self.node_known(path, data, acl_id, stat, node_digest(path, data, stat))
    }

    /// [`node`](Self::node), with the [`node_digest`] that somebody else has computed: it is a part of the work that needs no
    /// tree, and so another thread's.
    pub fn node_known(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
        digest: u32,
    ) -> Result<(), RestoreError> {
        let acl = match self.acls.get(&acl_id) {
            _ if acl_id == -1 => AclVec::OPEN,
            Some(encoded) => AclVec::of_encoded(encoded),
            None => {
                self.missing_acls += 1;
                AclVec::of_encoded(self.nobody.get_or_insert_with(nobody))
            }
        };
        if self.tree.count == 0 {
            if !path.is_empty() {
                return Err(RestoreError::NoRoot(path.to_owned()));
            }
            self.tree.insert_root(data, acl, stat);
            return Ok(());
        }
        let Some((parent_path, name)) = wire::path::split(path) else {
            return Err(RestoreError::NoParent(path.to_owned()));
        };
        if self.parent.0 != parent_path {
            let parent = self.tree.find(parent_path).ok_or_else(|| RestoreError::NoParent(path.to_owned()))?;
            self.parent.0.clear();
            self.parent.0.push_str(parent_path);
            self.parent.1 = parent;
        }
        let parent = self.parent.1;
        let hash = self.tree.index.hash(parent, name.as_bytes());
        if self.tree.find_child_at(hash, parent, name).is_some() {
            return Err(RestoreError::Twice(path.to_owned()));
        }
        self.tree.insert_known(parent, hash, path, name, data, acl, stat, digest);
        // All are put in order at the end.
        self.tree.unsorted.clear();
        Ok(())
    }

    /// How many znodes have an ACL that the file does not hold.
    pub fn missing_acls(&self) -> usize {
        self.missing_acls
    }

    /// The tree, as of `zxid`. Children get the order of their creation, which a file of Apache's does not keep.
    pub fn finish(mut self, zxid: Zxid) -> Result<Tree, RestoreError> {
        if self.tree.count == 0 {
            return Err(RestoreError::NoRoot(String::new()));
        }
        self.tree.last_processed = zxid;
        self.tree.order_children();
        self.tree.load_quotas();
        Ok(self.tree)
    }
}
