//! A snapshot holds what is committed, and nothing else: what is in it can't be cut away (ZOOKEEPER-1549).

use wire::Zxid;

use super::Truth;

impl Truth {
    /// A server begins to write a snapshot of its state.
    pub(crate) fn on_snapshot(&mut self, server: usize, zxid: Zxid) {
        let (end, _) = self.end();
        if zxid > end {
            let what =
                format!("server {} takes a snapshot of {zxid}, and {end} is the last that is committed", server + 1);
            self.wrong("snapshots", what);
        }
    }
}
