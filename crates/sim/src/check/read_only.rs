//! A server that serves reads without a leader has not lost its state, logs nothing, and stops that before it has a role.

use wire::Zxid;

use super::Truth;

impl Truth {
    /// It begins.
    pub(crate) fn on_read_only(&mut self, server: usize) {
        if self.wiped.contains(&server) {
            let what = format!("server {} has lost its state, and serves reads of it", server + 1);
            self.wrong("read-only mode", what);
        }
    }

    /// A server follows, observes or is to lead.
    pub(crate) fn on_role(&mut self, server: usize, is_read_only: bool) {
        if is_read_only {
            let what = format!("server {} has a role, and serves reads as one without a leader", server + 1);
            self.wrong("read-only mode", what);
        }
    }

    /// A server's log gets a txn.
    pub(crate) fn on_logs(&mut self, server: usize, zxid: Zxid, is_read_only: bool) {
        if is_read_only {
            let what = format!("server {} serves reads without a leader, and logs {zxid}", server + 1);
            self.wrong("read-only mode", what);
        }
    }
}
