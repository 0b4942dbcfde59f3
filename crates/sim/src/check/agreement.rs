//! Integrity, total order, agreement, local and global primary order, primary integrity, prefix consistency: what servers
//! deliver are prefixes of one history, which holds only what leaders proposed, in the order of zxids, without a gap. As
//! the whole history is one chain of checksums, one comparison at a zxid compares all that comes before it, for all pairs.

use wire::Zxid;
use zab::Proposal;
use zab::committed_log::follows;

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
        if zxid.counter() == 0 {
            self.wrong("integrity", format!("{zxid} was proposed"));
        }
        let link = Link::START.then(&proposal.txn);
        if self.proposed.insert(zxid, link).is_some_and(|other| other != link) {
            self.wrong("integrity", format!("two txns have the zxid {zxid}"));
        }
        self.sessions.on_proposed(proposal);
    }

    /// Is it the zxid of a txn?
    pub(crate) fn was_proposed(&self, zxid: Zxid) -> bool {
        self.proposed.contains_key(&zxid)
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
        if !follows(end, zxid) {
            self.wrong("primary order", format!("server {} delivers {zxid} behind {end}", server + 1));
        }
        if !self.proposed.contains_key(&zxid) {
            self.wrong("integrity", format!("server {} delivers {zxid}, which nobody proposed", server + 1));
        }
        let later = self.initial.range(zxid.epoch()..).skip_while(|(epoch, _)| **epoch == zxid.epoch());
        let lacks = |initial: Zxid| initial < zxid;
        let mut later = later.filter(|(epoch, initial)| self.established.contains_key(epoch) && lacks(initial.0));
        if let Some((epoch, _)) = later.next() {
            let what = format!("server {} delivers {zxid}, without which epoch {epoch} began", server + 1);
            self.wrong("primary integrity", what);
        }
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
