//! What is applied is logged here, durably.

use wire::Zxid;

use super::Truth;

impl Truth {
    /// A server is to apply up to `zxid`; its log is durable up to `durable`.
    pub(crate) fn on_commit(&mut self, server: usize, zxid: Zxid, durable: Zxid) {
        if zxid > durable {
            let what = format!("server {} applies {zxid}, but its log is durable up to {durable}", server + 1);
            self.wrong("applies only what it logged", what);
        }
    }
}
