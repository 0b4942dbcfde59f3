//! A sync shows everything that was acknowledged to anybody when it was asked for.

use wire::Zxid;

use super::Truth;

impl Truth {
    pub(super) fn on_synced(&mut self, client: usize, floor: Zxid, zxid: Zxid) {
        if zxid < floor {
            let what = format!("client {client}: {floor} was acknowledged before it asked, and its sync shows {zxid}");
            self.wrong("sync", what);
        }
    }
}
