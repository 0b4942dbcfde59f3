//! A sync is linearizable: its answer shows everything that was committed anywhere when it was asked for.

use wire::Zxid;

use super::Truth;
use crate::world::end;

impl Truth {
    pub fn on_sync_asked(&mut self, tag: u64) {
        self.syncs.insert(tag, end(&self.committed));
    }

    /// The server that was asked has applied up to `applied`.
    pub fn on_sync_answered(&mut self, tag: u64, applied: Zxid) {
        let asked = self.syncs.remove(&tag).unwrap_or_default();
        if applied < asked {
            self.wrong(format!("sync: {asked} was committed when it was asked for, and the answer shows {applied}"));
        }
    }
}
