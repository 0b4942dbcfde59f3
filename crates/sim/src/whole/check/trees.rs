//! Equal zxids, equal trees and sessions.

use peer::Shared;
use wire::Zxid;

use super::Truth;
use crate::whole::server::Process;

impl Truth {
    /// A server shows a tree.
    pub(in crate::whole) fn on_tree(&mut self, server: usize, shared: &Shared) {
        let (zxid, digest) = {
            let tree = shared.tree.read();
            (tree.last_processed(), tree.digest().0)
        };
        if *self.digests.entry(zxid).or_insert(digest) != digest {
            self.wrong("equal trees", format!("server {} has another tree at {zxid} than another", server + 1));
        }
        if shared.pipeline_stats.digest_mismatches.get() > 0 {
            let what = format!("at server {} a txn led to another tree than its leader said, up to {zxid}", server + 1);
            self.wrong("equal trees", what);
        }
    }

    /// Two servers at the same zxid.
    pub(in crate::whole) fn compare(&mut self, zxid: Zxid, one: &Process, other: &Process) {
        let (one, other) = (dump(one), dump(other));
        if one != other {
            let differs = one.iter().zip(&other).find(|(one, other)| one != other);
            self.wrong("equal trees", format!("two servers differ at {zxid}: {differs:?}"));
        }
    }
}

/// Everything that a server's tree says, and its sessions.
fn dump(process: &Process) -> Vec<String> {
    let tree = process.shared.tree.read();
    let mut out = Vec::new();
    let mut paths = vec![String::new()];
    while let Some(path) = paths.pop() {
        let Some(node) = tree.get(if path.is_empty() { "/" } else { &path }) else { continue };
        // Each server writes its own configuration there by itself.
        if path != tree::CONFIG_PATH {
            out.push(format!("{path} {:?} {:?}", node.stat_persisted(), node.data()));
        }
        node.children().for_each(|child| paths.push(format!("{path}/{}", String::from_utf8_lossy(child.name()))));
    }
    out.sort_unstable();
    out.push(format!("{:?}", process.node.pipeline.sessions_of_txns()));
    out
}
