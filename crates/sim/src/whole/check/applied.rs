//! A server applies only what its own log has, durably.

use wire::Zxid;

use super::Truth;

impl Truth {
    /// A server shows that it has applied all up to `zxid`.
    pub(in crate::whole) fn on_applied(&mut self, server: usize, zxid: Zxid) {
        let durable = self.durable[server];
        if !self.has(durable, zxid) {
            let what = format!("server {} has applied {zxid}, and its log is durable up to {durable}", server + 1);
            self.wrong("applies only what it logged", what);
        }
        if zxid <= self.end() {
            self.check_was_delivered(server, zxid);
        } else {
            self.commit(&format!("server {}", server + 1), zxid);
        }
    }
}
