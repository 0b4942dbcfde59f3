//! Writes are linearizable by zxid: each comes behind all that was acknowledged to anybody when it was asked for.

use wire::Zxid;

use super::Truth;

impl Truth {
    pub(super) fn on_written(&mut self, client: usize, floor: Zxid, zxid: Zxid) {
        if zxid <= floor {
            let what = format!("client {client}: {floor} was acknowledged before it asked, and its write is {zxid}");
            return self.wrong("writes", what);
        }
        self.acknowledged = self.acknowledged.max(zxid);
    }
}
