//! Local and global primary order: what is delivered comes in the order of zxids, without a gap.

use wire::Zxid;
use zab::committed_log::follows;

use super::Truth;

impl Truth {
    pub(super) fn check_primary_order(&mut self, server: usize, end: Zxid, zxid: Zxid) {
        if !follows(end, zxid) {
            self.wrong("primary order", format!("server {} delivers {zxid} behind {end}", server + 1));
        }
    }
}
