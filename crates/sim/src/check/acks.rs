//! An ACK implies durable.

use wire::Zxid;

use super::Truth;

impl Truth {
    /// A server sends an ACK.
    pub(crate) fn on_ack(&mut self, server: usize, zxid: Zxid) {
        let has = if zxid.counter() == 0 {
            self.has_epoch(server, zxid.epoch())
        } else {
            self.disks.floor(server) >= zxid && self.disks.has(server, zxid)
        };
        if !has {
            let what = format!("server {} acknowledges {zxid}, and has not got it on its disk", server + 1);
            self.wrong("ack implies durable", what);
        }
    }
}
