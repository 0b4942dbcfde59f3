//! One established leader an epoch, and it has everything that was committed before.

use ostler_zab::Proposal;
use wire::{Epoch, ServerId};

use super::Truth;
use crate::world::end;

impl Truth {
    /// `id` leads `epoch`, and has `history`.
    pub fn on_established(&mut self, id: ServerId, epoch: Epoch, history: &[Proposal]) {
        if let Some(other) = self.established.insert(epoch, id).filter(|&it| it != id) {
            self.wrong(format!("{other} and {id} both established epoch {epoch}"));
        }
        if !history.starts_with(&self.committed) {
            let last = end(&self.committed);
            self.wrong(format!("leader completeness: {id} leads epoch {epoch} without all up to {last}"));
        }
    }
}
