//! Integrity: each zxid is that of one txn, and what is committed can be read.

use wire::Zxid;

use super::Truth;

impl Truth {
    /// A log gets this txn, which no log has had so far.
    pub(super) fn check_one_txn(&mut self, zxid: Zxid, blob: &[u8]) {
        let is_other = self.txns.insert(zxid, blob.to_vec().into()).is_some();
        if is_other {
            self.wrong("integrity", format!("two txns have the zxid {zxid}"));
        }
    }

    /// It is committed, and can't be read.
    pub(super) fn on_unreadable(&mut self, zxid: Zxid) {
        self.wrong("integrity", format!("{zxid} can't be read"));
    }
}
