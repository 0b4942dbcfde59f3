//! From a directory to a tree and sessions.

mod builder;
#[cfg(test)]
mod digest_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Instant;

use storage::Restore;
use storage::recover::Fit;
use storage::snapshot::SnapshotDigest;
use tree::{Tree, TreeConfig};
use wire::txn::{DIGEST_VERSION, Txn, TxnEntry};
use wire::{AclVec, Buffer, ErrorCode, SessionId, StatPersisted, Zxid};

use builder::Building;

/// What is being rebuilt.
#[derive(Debug)]
pub struct Rebuild {
    config: TreeConfig,
    builder: Option<Building>,
    /// Is the tree built on a thread of its own?
    on_two_threads: bool,
    tree: Option<Tree>,
    sessions: BTreeMap<SessionId, i32>,
    expected: Option<SnapshotDigest>,
    /// What an operator should know.
    pub warnings: Vec<String>,
    fit: Fit,
    misses_a_znode: bool,
    digests: bool,
    /// When the snapshot was read to its end.
    pub snapshot_read: Option<Instant>,
}

impl Rebuild {
    /// Nothing yet.
    ///
    /// `digests` is `digest.enabled`.
    pub fn new(config: TreeConfig, digests: bool) -> Self {
        Self {
            config,
            builder: None,
            // With a single core, a second thread only costs.
            on_two_threads: std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1),
            tree: None,
            sessions: BTreeMap::new(),
            expected: None,
            warnings: Vec::new(),
            fit: Fit::Unknown,
            misses_a_znode: false,
            digests,
            snapshot_read: None,
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
}

impl Restore for Rebuild {
    fn reset(&mut self) {
        // The thread of an attempt that failed goes first.
        let _ = self.builder.take().map(Building::settle);
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
        self.builder.get_or_insert_with(|| Building::new(self.config)).acl(id, acl);
    }

    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String> {
        // The root, which comes first, has no name.
        if path.is_empty() && self.on_two_threads {
            let builder = self.builder.take().unwrap_or_else(|| Building::new(self.config));
            self.builder = Some(builder.elsewhere());
        }
        self.builder.get_or_insert_with(|| Building::new(self.config)).node(path, data, acl_id, stat)
    }

    fn refused(&mut self) -> Option<(String, String)> {
        match self.builder.take()?.settle() {
            Ok(builder) => {
                self.builder = Some(Building::Here(Box::new(builder)));
                None
            }
            Err(refusal) => Some((refusal.path, refusal.reason)),
        }
    }

    fn snapshot_end(&mut self, zxid: Zxid, digest: Option<SnapshotDigest>) -> Result<(), String> {
        let builder = self.builder.take().unwrap_or_else(|| Building::new(self.config));
        let builder = builder.settle().map_err(|refusal| refusal.reason)?;
        if builder.missing_acls() > 0 {
            self.warnings.push(format!(
                "{} znodes of the snapshot have an ACL that it does not hold; until a txn sets it, nobody may touch them",
                builder.missing_acls()
            ));
        }
        self.tree = Some(builder.finish(zxid).map_err(|e| e.to_string())?);
        self.snapshot_read = Some(Instant::now());
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
