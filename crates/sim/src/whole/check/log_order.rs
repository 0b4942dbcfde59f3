//! A log holds its txns in the order of their zxids.

use wire::Zxid;

use super::Truth;

impl Truth {
    /// A server's log gets a txn behind another one.
    pub(super) fn check_log_order(&mut self, server: usize, before: Zxid, zxid: Zxid) {
        if before >= zxid {
            self.wrong("log order", format!("server {} logs {zxid} behind {before}", server + 1));
        }
    }
}
