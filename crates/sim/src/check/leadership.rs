//! One established leader an epoch, and it has everything that was committed before.

use wire::Epoch;

use super::Truth;

impl Truth {
    /// A server has established an epoch.
    pub(crate) fn on_established(&mut self, server: usize, epoch: Epoch) {
        if let Some(other) = self.established.insert(epoch, server).filter(|&it| it != server) {
            let what = format!("servers {} and {} both established epoch {epoch}", other + 1, server + 1);
            self.wrong("leadership", what);
        }
        let (end, link) = self.end();
        if self.disks.lacks(server, end, link) {
            let what = format!("server {} leads epoch {epoch} without all that is committed, up to {end}", server + 1);
            self.wrong("leader completeness", what);
        }
    }
}
