//! One established leader an epoch, and its vote weighs something.

use wire::{Epoch, ServerId};

use super::Truth;

impl Truth {
    /// A server has established an epoch.
    pub(crate) fn on_established(&mut self, server: usize, epoch: Epoch) {
        if let Some(other) = self.established.insert(epoch, server).filter(|&it| it != server) {
            let what = format!("servers {} and {} both established epoch {epoch}", other + 1, server + 1);
            self.wrong("leadership", what);
        }
        let id = ServerId(server as i64 + 1);
        if self.verifiers.iter().all(|it| it.weight(id) == 0) {
            self.wrong("leadership", format!("server {} leads epoch {epoch}, and its vote weighs nothing", server + 1));
        }
        self.check_completeness(server, epoch);
    }
}
