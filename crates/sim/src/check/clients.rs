//! What clients see: writes are linearizable by zxid, reads of one client never go back, and a sync shows everything that
//! was acknowledged to anybody when it was asked for.

use wire::Zxid;

use super::Truth;
use crate::store::history::Link;

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Write,
    Read,
    Sync,
}

impl Truth {
    /// A client is answered: the server shows `zxid`. `seen` is the last that this client saw, `floor` what was acknowledged to
    /// anybody when it asked.
    pub(crate) fn on_answer(&mut self, client: usize, wish: Wish, floor: Zxid, seen: Zxid, zxid: Zxid, link: Link) {
        if self.link(zxid) != Some(link) {
            let what = format!("client {client} is shown a state at {zxid} that is not the committed one");
            self.wrong("reads", what);
        }
        if zxid < seen {
            self.wrong("reads", format!("client {client} saw {seen}, and is shown {zxid}"));
        }
        match wish {
            Wish::Write if zxid <= floor => {
                let what =
                    format!("client {client}: {floor} was acknowledged before it asked, and its write is {zxid}");
                self.wrong("writes", what);
            }
            Wish::Sync if zxid < floor => {
                let what =
                    format!("client {client}: {floor} was acknowledged before it asked, and its sync shows {zxid}");
                self.wrong("sync", what);
            }
            Wish::Write => self.acknowledged = self.acknowledged.max(zxid),
            _ => {}
        }
    }
}
