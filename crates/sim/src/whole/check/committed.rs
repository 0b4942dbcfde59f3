//! What is committed is on the disks of a quorum, and stays there. What is delivered is committed, and goes to the checkers of what
//! clients see.

use wire::jute::Field;
use wire::txn::{Txn, TxnEntry};
use wire::{OpCode, ServerId, Zxid};
use zab::QuorumVerifier;
use zab::quorum_verifier::TextRules;

use super::Truth;

impl Truth {
    /// A client is answered at `zxid`. Whoever leaves its role by a reconfig has applied it, has an answer for its client, and serves
    /// nobody any more before anybody could look at it: then the answer shows it, if a quorum has it.
    pub(super) fn on_shown_to(&mut self, client: usize, zxid: Zxid) {
        if zxid > self.end() && self.is_on_quorum(zxid) {
            self.commit(&format!("an answer to client {client}"), zxid);
        }
    }

    /// The history up to `zxid` is delivered for the first time.
    pub(super) fn commit(&mut self, who: &str, zxid: Zxid) {
        let Some(new) = self.delivered_first(who, zxid) else { return };
        for zxid in new {
            self.committed.push(zxid);
            let Some(blob) = self.txns.get(&zxid).cloned() else { continue };
            let Ok(entry) = TxnEntry::from_slice(&blob) else { return self.on_unreadable(zxid) };
            if let Err(what) = self.sessions.on_committed(&entry) {
                self.wrong("session order", what);
            }
            if let Err(what) = self.lifetimes.on_committed(&entry, &self.model) {
                self.wrong("lifetimes", what);
            }
            if let Err(what) = self.model.apply(&entry) {
                self.wrong("model", format!("{zxid}: {what}"));
            }
            self.on_reconfig(&entry);
        }
        self.check_quorum_has(self.end());
    }

    /// If this committed txn is a reconfig, a quorum of both configurations has it, and from there on the new one decides alone.
    fn on_reconfig(&mut self, entry: &TxnEntry<'_>) {
        let (OpCode::Reconfig, Txn::SetData(set)) = (entry.header.op, &entry.txn) else { return };
        let zxid = entry.header.zxid;
        let text = String::from_utf8_lossy(set.data.unwrap_or_default());
        self.check_quorum_has(zxid);
        match QuorumVerifier::parse(&text, TextRules::default()) {
            Ok(next) => self.verifier = next,
            Err(error) => self.wrong("model", format!("{zxid} is a reconfig that can't be read: {error}")),
        }
        self.reconfigured += 1;
        self.check_quorum_has(zxid);
    }

    fn is_on_quorum(&self, zxid: Zxid) -> bool {
        self.verifier.contains_quorum(|id: ServerId| {
            let server = (id.0 - 1) as usize;
            self.has(self.durable[server], zxid) || self.wiped.contains(&server)
        })
    }

    pub(super) fn check_quorum_has(&mut self, zxid: Zxid) {
        if !self.is_on_quorum(zxid) {
            self.wrong("committed is never lost", format!("{zxid} is committed, and no quorum has it on its disks"));
        }
    }

    /// Was it delivered?
    pub(super) fn is_committed(&self, zxid: Zxid) -> bool {
        self.committed.binary_search(&zxid).is_ok()
    }
}
