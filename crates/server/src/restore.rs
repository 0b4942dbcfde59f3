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
use wire::txn::TxnEntry;
use wire::{AclVec, Buffer, SessionId, StatPersisted, Zxid};

use builder::Building;

/// What is being rebuilt: as a member does it while it runs ([`node::Rebuild`]), but on two threads, since everybody waits for a
/// start.
#[derive(Debug)]
pub struct Rebuild {
    config: TreeConfig,
    builder: Option<Building>,
    /// Is the tree built on a thread of its own?
    on_two_threads: bool,
    built: node::Rebuild,
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
            built: node::Rebuild::new(config, digests),
            snapshot_read: None,
        }
    }

    /// The tree and the sessions with their timeouts; a fresh tree if there was nothing. Then what an operator should know.
    pub fn finish(self) -> (Tree, BTreeMap<SessionId, i32>, Vec<String>) {
        self.built.finish()
    }
}

impl Restore for Rebuild {
    fn reset(&mut self) {
        // The thread of an attempt that failed goes first.
        let _ = self.builder.take().map(Building::settle);
        self.built.reset();
    }

    fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.built.session(session, timeout_ms);
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
        self.built.snapshot_built(builder, zxid, digest)?;
        self.snapshot_read = Some(Instant::now());
        Ok(())
    }

    fn txn(&mut self, entry: &TxnEntry<'_>) -> Result<(), String> {
        self.built.txn(entry)
    }

    fn fit(&self) -> Fit {
        self.built.fit()
    }

    fn misses_a_znode(&self) -> bool {
        self.built.misses_a_znode()
    }
}
