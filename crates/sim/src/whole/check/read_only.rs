//! A server without a leader serves reads to those who asked for it, and to nobody else; it writes nothing, and stops that before
//! it has a role.

use wire::ErrorCode;

use super::Truth;

impl Truth {
    /// Behind each event. `is`: it has a role, and serves reads as one without a leader.
    pub(in crate::whole) fn on_role(&mut self, server: usize, is: bool) {
        if is {
            let what = format!("server {} has a role, and serves reads as one without a leader", server + 1);
            self.wrong("read-only mode", what);
        }
    }

    /// A server's log gets txns.
    pub(in crate::whole) fn on_logs(&mut self, server: usize, is_read_only: bool) {
        if is_read_only {
            self.wrong("read-only mode", format!("server {} serves reads without a leader, and logs", server + 1));
        }
    }

    /// A client that can't do with old answers has such a server.
    pub(in crate::whole) fn on_old_for_all(&mut self, client: usize) {
        let what = format!("client {client} did not say that it only reads, and gets a server that has no leader");
        self.wrong("read-only mode", what);
    }

    /// A client that only reads has asked for a write or a sync.
    pub(in crate::whole) fn on_reader_writes(&mut self, client: usize, err: ErrorCode) {
        if err != ErrorCode::NOT_READ_ONLY {
            let what = format!("client {client} writes to a server without a leader, and is answered {err:?}");
            self.wrong("read-only mode", what);
        }
    }
}
