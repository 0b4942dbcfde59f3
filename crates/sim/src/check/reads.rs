//! Whatever a client is shown is a committed state, and none before what it saw.

use wire::Zxid;

use super::Truth;
use crate::store::history::Link;

impl Truth {
    pub(super) fn on_shown(&mut self, client: usize, seen: Zxid, zxid: Zxid, link: Link) {
        if self.link(zxid) != Some(link) {
            let what = format!("client {client} is shown a state at {zxid} that is not the committed one");
            self.wrong("reads", what);
        }
        if zxid < seen {
            self.wrong("reads", format!("client {client} saw {seen}, and is shown {zxid}"));
        }
    }
}
