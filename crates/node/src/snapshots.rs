//! When a snapshot is taken: after so many txns, or because a learner needs one. One at a time.

use storage::policy::{SnapPolicy, SnapRetry};
use wire::Zxid;
use zab::{ConnId, RoleId, Token};

/// A learner that waits for a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub role: RoleId,
    pub conn: ConnId,
    pub token: Token,
    pub at_least: Zxid,
}

/// What a node knows of its snapshots.
#[derive(Debug, Clone)]
pub(crate) struct Snapshots {
    pub policy: SnapPolicy,
    pub wanted: bool,
    /// The zxid of the one that is being written.
    pub running: Option<Zxid>,
    /// When one that was given up or failed is tried again.
    pub retry: SnapRetry,
    pub waiting: Vec<Waiting>,
    seed: u64,
}

impl Snapshots {
    pub(crate) fn new(policy: SnapPolicy, seed: u64) -> Self {
        Self { policy, wanted: false, running: None, retry: SnapRetry::default(), waiting: Vec::new(), seed }
    }

    /// A txn of so many bytes went to the log. True: the log shall begin a new file, because a snapshot is due.
    pub(crate) fn logged(&mut self, bytes: usize) -> bool {
        let is_due = self.policy.logged(1, bytes as u64);
        if is_due {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.policy.reset(self.seed >> 16);
            self.wanted = true;
        }
        is_due
    }
}
