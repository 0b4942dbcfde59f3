//! Total order, agreement, prefix consistency: what servers deliver are prefixes of one history. As the whole history is one
//! chain of checksums, one comparison at a zxid compares all that comes before it, for all pairs.

use wire::Zxid;
use zab::Proposal;

use super::Truth;
use crate::store::history::Link;

impl Truth {
    /// A leader proposes.
    pub(crate) fn on_proposed(&mut self, server: usize, proposal: &Proposal) {
        let zxid = proposal.zxid;
        if self.established.get(&zxid.epoch()) != Some(&server) {
            let what = format!("server {} proposes {zxid}, but has not established that epoch", server + 1);
            self.wrong("leadership", what);
        }
        self.check_is_new(proposal);
        self.sessions.on_proposed(proposal);
    }

    /// A server applies a committed txn; its chain is `link` then.
    pub(crate) fn on_delivered(&mut self, server: usize, zxid: Zxid, link: Link) {
        let (end, _) = self.end();
        if zxid > end {
            self.commit(server, zxid, link);
        } else if self.link(zxid) != Some(link) {
            self.diverges(server, zxid);
        }
    }

    /// A server begins to serve what it has: all of it is delivered.
    pub(crate) fn on_serve(&mut self, server: usize, applied: Zxid, link: Link) {
        let (end, _) = self.end();
        let rest = self.disks.between(server, end, applied);
        for (zxid, link) in rest {
            self.commit(server, zxid, link);
        }
        if self.link(applied) != Some(link) {
            self.diverges(server, applied);
        }
    }

    fn diverges(&mut self, server: usize, zxid: Zxid) {
        let what = format!("server {} delivers another history up to {zxid} than was delivered before", server + 1);
        self.wrong("agreement", what);
    }

    /// It is delivered for the first time.
    fn commit(&mut self, server: usize, zxid: Zxid, link: Link) {
        let (end, _) = self.end();
        self.check_primary_order(server, end, zxid);
        self.check_was_proposed(server, zxid);
        self.check_primary_integrity(server, zxid);
        self.committed.push((zxid, link));
        if let Some(what) = self.sessions.on_committed(zxid) {
            self.wrong("session order", what);
        }
        self.check_quorum_has(zxid, link);
        // A reconfig needs a quorum of both, and from there on the new configuration decides alone.
        if let Some(next) = self.reconfigs.get(&zxid) {
            self.verifiers = vec![next.clone()];
            self.reconfigured += 1;
            self.check_quorum_has(zxid, link);
        }
    }
}
