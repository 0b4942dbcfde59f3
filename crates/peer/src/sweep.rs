//! When containers and TTL znodes go. Source: Apache `ContainerManager`.
//!
//! Every interval, all of them are looked at, some at a time: a container that had children and has none, a TTL znode
//! that has none and was not changed for its time to live.

use tree::owner::Owner;
use tree::{NodeId, Tree};
use wire::StatPersisted;

use crate::time::Now;

/// The rules of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerRules {
    /// `znode.container.checkIntervalMs`.
    pub check_ms: i64,
    /// `znode.container.maxPerMinute`.
    pub per_minute_max: usize,
    /// `znode.container.maxNeverUsedIntervalMs`: when a container goes that never had a child. `None`: never.
    pub never_used_ms: Option<i64>,
}

impl Default for ContainerRules {
    fn default() -> Self {
        Self { check_ms: 60_000, per_minute_max: 10_000, never_used_ms: None }
    }
}

/// The most znodes that are looked at under one guard of the tree.
const LOOKS_MAX: usize = 512;
/// The most deletions proposed at once.
const DELETIONS_MAX: usize = 100;

/// A look at all of them, under way or to come.
#[derive(Debug, Clone)]
pub(crate) struct Sweep {
    /// When the next part is due, in ms of the clock that never goes back.
    due_ms: i64,
    /// When the sweep that is under way began.
    began_ms: i64,
    from: NodeId,
}

impl Sweep {
    pub(crate) fn new(rules: &ContainerRules, now: Now) -> Self {
        let due_ms = now.mono_ms() + rules.check_ms;
        Self { due_ms, began_ms: due_ms, from: NodeId::ROOT }
    }

    pub(crate) fn is_due(&self, now: Now) -> bool {
        now.mono_ms() >= self.due_ms
    }

    /// The next part: the paths whose time is up.
    pub(crate) fn next(&mut self, rules: &ContainerRules, tree: &Tree, now: Now) -> Vec<String> {
        if self.from == NodeId::ROOT {
            self.began_ms = now.mono_ms();
        }
        // A second's worth, or one.
        let at_once_max = (rules.per_minute_max / 60).clamp(1, DELETIONS_MAX);
        let mut looked = 0;
        let mut gone = Vec::new();
        for node in tree.timed(self.from, LOOKS_MAX) {
            looked += 1;
            self.from = NodeId(node.id().0 + 1);
            if is_over(rules, node.owner(), &node.stat_persisted(), node.child_count(), now.wall_ms) {
                gone.push(node.path());
                if gone.len() == at_once_max {
                    break;
                }
            }
        }
        // So many a minute, and no more.
        let pause_ms = (gone.len() as i64).saturating_mul(60_000) / rules.per_minute_max.max(1) as i64;
        self.due_ms = now.mono_ms() + pause_ms;
        if looked < LOOKS_MAX && gone.len() < at_once_max {
            self.from = NodeId::ROOT;
            self.due_ms = self.due_ms.max(self.began_ms + rules.check_ms);
        }
        gone
    }
}

/// Is the time up of a znode with this owner, Stat and number of children?
pub(crate) fn is_over(rules: &ContainerRules, owner: Owner, stat: &StatPersisted, children: u32, wall_ms: i64) -> bool {
    let unchanged_ms = wall_ms.saturating_sub(stat.mtime);
    children == 0
        && match owner {
            Owner::Container if stat.cversion > 0 => true,
            Owner::Container => rules.never_used_ms.is_some_and(|limit| limit > 0 && unchanged_ms > limit),
            // A directory may hold one with a TTL of 0: it has no end.
            Owner::Ttl(ttl) => ttl != 0 && unchanged_ms > ttl,
            Owner::Void | Owner::Session(_) => false,
        }
}
