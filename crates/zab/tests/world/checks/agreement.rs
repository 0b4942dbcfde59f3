//! Integrity, total order, agreement, local and global primary order, prefix consistency: what servers deliver are prefixes of
//! one history, which holds only what leaders proposed, in the order of zxids, without a gap.

use ostler_zab::committed_log::follows;
use wire::{ServerId, Zxid};

use super::Truth;
use crate::world::end;
use ostler_zab::Proposal;

impl Truth {
    /// `id` delivered `history` up to `last`.
    pub fn on_delivered(&mut self, id: ServerId, history: &[Proposal], last: Zxid) {
        let delivered: Vec<&Proposal> = history.iter().take_while(|it| it.zxid <= last).collect();
        if let Some(at) = delivered.iter().zip(&self.committed).position(|(a, b)| *a != b) {
            let (ours, theirs) = (delivered[at], &self.committed[at]);
            return self.wrong(format!("agreement: {id} delivers {ours:?}, but {theirs:?} is committed"));
        }
        for proposal in delivered.into_iter().skip(self.committed.len()) {
            let before = end(&self.committed);
            if !follows(before, proposal.zxid) {
                self.wrong(format!("primary order: {id} delivers {} behind {before}", proposal.zxid));
            }
            if !self.proposed.contains(&(proposal.zxid, proposal.txn.to_vec())) {
                self.wrong(format!("integrity: nobody proposed {proposal:?}"));
            }
            let later = self
                .initial
                .range(proposal.zxid.epoch()..)
                .skip(1)
                .find(|(epoch, initial)| self.established.contains_key(epoch) && !initial.contains(proposal));
            if let Some((epoch, _)) = later {
                self.wrong(format!("primary integrity: epoch {epoch} began without {}", proposal.zxid));
            }
            self.committed.push(proposal.clone());
        }
    }
}
