//! Integrity: what is delivered was proposed, and each zxid once.

use wire::Zxid;
use zab::Proposal;

use super::Truth;
use crate::store::history::Link;

impl Truth {
    /// A leader proposes it.
    pub(super) fn check_is_new(&mut self, proposal: &Proposal) {
        let zxid = proposal.zxid;
        if zxid.counter() == 0 {
            self.wrong("integrity", format!("{zxid} was proposed"));
        }
        let link = Link::START.then(&proposal.txn);
        if self.proposed.insert(zxid, link).is_some_and(|other| other != link) {
            self.wrong("integrity", format!("two txns have the zxid {zxid}"));
        }
    }

    /// Is it the zxid of a txn?
    pub(crate) fn was_proposed(&self, zxid: Zxid) -> bool {
        self.proposed.contains_key(&zxid)
    }

    pub(super) fn check_was_proposed(&mut self, server: usize, zxid: Zxid) {
        if !self.was_proposed(zxid) {
            self.wrong("integrity", format!("server {} delivers {zxid}, which nobody proposed", server + 1));
        }
    }
}
