//! What clients are answered: each answer is that of its kind, and its checker's.

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
        self.on_shown(client, seen, zxid, link);
        match wish {
            Wish::Write => self.on_written(client, floor, zxid),
            Wish::Sync => self.on_synced(client, floor, zxid),
            Wish::Read => {}
        }
    }
}
