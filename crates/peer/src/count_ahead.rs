//! Before a quota's usage is created, its subtree is counted over many short read guards, so that reads go on: a million
//! znodes take up to a tenth of a second. Nothing is applied meanwhile, since that is the pipeline's to do: so the count
//! is that of the moment before the txn, on every server, whatever the steps.
//!
//! Writes wait, as behind any txn. Inside a multi it is counted under the multi's own guard.

use tree::UsageCount;
use wire::txn::TxnHeader;
use wire::{OpCode, Reader, UStr};

use crate::pipeline::Pipeline;
use crate::shared::Shared;

/// Znodes that are looked at under one guard: each may be a cache miss or two.
const LOOKS_MAX: usize = 1000;

/// How the path of a usage ends.
const STATS: &str = "/zookeeper_stats";

impl Pipeline {
    /// Counts, if the next txn creates a usage.
    pub(crate) fn count_ahead(&self, shared: &Shared) -> Option<UsageCount> {
        let path = created_usage(&self.pending.front()?.entry)?;
        let mut count = shared.tree.read().open_usage_count(&path)?;
        while !shared.tree.read().count_usage(&mut count, LOOKS_MAX) {}
        Some(count)
    }

    /// Must the guard be let go before the next txn, because a count comes first?
    pub(crate) fn counts_next(&self) -> bool {
        self.pending.front().is_some_and(|pending| created_usage(&pending.entry).is_some())
    }
}

/// The path of a creation that may be a usage's.
fn created_usage(entry: &[u8]) -> Option<String> {
    let mut r = Reader::with_limit(entry, entry.len());
    let header: TxnHeader = r.read().ok()?;
    if !matches!(header.op, OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl) {
        return None;
    }
    let path: UStr<'_> = r.read().ok()?;
    path.filter(|path| path.ends_with(STATS)).map(std::borrow::Cow::into_owned)
}
