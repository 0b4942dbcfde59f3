//! From a directory to a tree and sessions.

use std::collections::BTreeMap;

use storage::Restore;
use storage::recover::Fit;
use storage::snapshot::SnapshotDigest;
use tree::restore::TreeBuilder;
use tree::{Tree, TreeConfig};
use wire::txn::{DIGEST_VERSION, Txn, TxnEntry};
use wire::{AclVec, Buffer, ErrorCode, SessionId, StatPersisted, Zxid};

/// What is being rebuilt.
#[derive(Debug)]
pub struct Rebuild {
    config: TreeConfig,
    builder: Option<TreeBuilder>,
    tree: Option<Tree>,
    sessions: BTreeMap<SessionId, i32>,
    expected: Option<SnapshotDigest>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    fit: Fit,
    misses_a_znode: bool,
    digests: bool,
}

impl Rebuild {
    /// Nothing yet.
    ///
    /// `digests` is `digest.enabled`.
    pub fn new(config: TreeConfig, digests: bool) -> Self {
        Self {
            config,
            builder: None,
            tree: None,
            sessions: BTreeMap::new(),
            expected: None,
            warnings: Vec::new(),
            fit: Fit::Unknown,
            misses_a_znode: false,
            digests,
        }
    }

    /// The tree and the sessions with their timeouts; a fresh tree if there was nothing.
    pub fn finish(self) -> (Tree, BTreeMap<SessionId, i32>, Vec<String>) {
        let tree = self.tree.unwrap_or_else(|| Tree::new(self.config));
        (tree, self.sessions, self.warnings)
    }

    fn fit_of(&self, version: i32, digest: i64) -> Fit {
        self.tree.as_ref().map_or(Fit::Unknown, |tree| Fit::of(version, digest, tree.digest().0))
    }

    /// Takes the tree that a snapshot has come to, wherever it was built.
    pub fn snapshot_built(
        &mut self,
        builder: TreeBuilder,
        zxid: Zxid,
        digest: Option<SnapshotDigest>,
    ) -> Result<(), String> {
        if builder.missing_acls() > 0 {
            self.warnings.push(format!(
                "{} znodes of the snapshot have an ACL that it does not hold; until a txn sets it, nobody may touch them",
                builder.missing_acls()
            ));
        }
        self.tree = Some(builder.finish(zxid).map_err(|e| e.to_string())?);
        self.expected = digest.filter(|digest| digest.zxid > zxid);
        self.fit = match digest.filter(|digest| digest.zxid == zxid) {
            Some(digest) => self.fit_of(digest.version, digest.digest),
            // The first snapshot of all has no digest, and is of a tree that everybody knows.
            None if zxid == Zxid::ZERO => match self.fit_of(DIGEST_VERSION, Tree::new(self.config).digest().0) {
                Fit::Right => Fit::Right,
                _ => Fit::Unknown,
            },
            None => Fit::Unknown,
        };
        Ok(())
    }
}

impl Restore for Rebuild {
    fn reset(&mut self) {
        self.builder = None;
        self.tree = None;
        self.sessions.clear();
        self.expected = None;
        self.warnings.clear();
        self.fit = Fit::Unknown;
        self.misses_a_znode = false;
    }

    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.sessions.insert(session, timeout_ms);
    }

    fn acl(&mut self, id: i64, acl: AclVec<'_>) {
        self.builder.get_or_insert_with(|| TreeBuilder::new(self.config)).acl(id, acl);
    }

    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String> {
        let builder = self.builder.get_or_insert_with(|| TreeBuilder::new(self.config));
        builder.node(path, data, acl_id, stat).map_err(|e| e.to_string())
    }

    fn snapshot_end(&mut self, zxid: Zxid, digest: Option<SnapshotDigest>) -> Result<(), String> {
        let builder = self.builder.take().unwrap_or_else(|| TreeBuilder::new(self.config));
        self.snapshot_built(builder, zxid, digest)
    }

    fn txn(&mut self, entry: &TxnEntry<'_>) -> Result<(), String> {
        let tree = self.tree.get_or_insert_with(|| Tree::new(self.config));
        let mut triggers = Vec::new();
        let applied = tree.apply(entry, &mut triggers);
        self.misses_a_znode = applied.err == ErrorCode::NO_NODE && !matches!(entry.txn, Txn::Error(_) | Txn::Multi(_));
        match &entry.txn {
            Txn::CreateSession(txn) => {
                self.sessions.insert(entry.header.session, txn.timeout_ms);
            }
            Txn::CloseSession(_) => {
                self.sessions.remove(&entry.header.session);
            }
            _ => {}
        }
        let zxid = entry.header.zxid;
        if self.expected.is_none() {
            tree.record_digest(self.digests);
        }
        self.fit = match self.expected {
            // While a fuzzy snapshot is replayed over, the tree is ahead of the log.
            Some(expected) if zxid < expected.zxid => Fit::Unknown,
            Some(expected) => {
                self.expected = None;
                let is_it = zxid == expected.zxid;
                if is_it { self.fit_of(expected.version, expected.digest) } else { Fit::Unknown }
            }
            None => entry.digest.map_or(Fit::Unknown, |digest| self.fit_of(digest.version, digest.digest)),
        };
        Ok(())
    }

    fn fit(&self) -> Fit {
        self.fit
    }

    fn misses_a_znode(&self) -> bool {
        self.misses_a_znode
    }
}
