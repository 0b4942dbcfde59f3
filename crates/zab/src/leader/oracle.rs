//! Two participants and an oracle: something outside that says which of them may go on alone.
//!
//! It is heard only while no follower is being told what is proposed: one that is connected is needed, as in any ensemble of
//! two. What it says decides over everything for which there must be a quorum: the epoch, the history, commits, and whether
//! this server leads on.
//!
//! ZAB holds only as far as the oracle does. Whoever goes on alone commits what nobody else has: if the oracle then names
//! the other one, that is lost; and if it names both, there are two histories.
//!
//! Source: Apache `QuorumOracleMaj`, `Leader.lead`.

use super::{Leader, Phase};

impl Leader {
    /// The oracle says something.
    pub(super) fn on_oracle(&mut self, now_ms: u64, says: bool) {
        self.oracle = says;
        self.ask_oracle(now_ms);
    }

    /// Does what it says count now?
    pub(super) fn oracle_stands_in(&self) -> bool {
        self.oracle && !self.handlers.values().any(|it| it.is_forwarding && !it.is_observer)
    }

    /// What waits for a quorum may have one.
    pub(super) fn ask_oracle(&mut self, now_ms: u64) {
        let stands_in = self.oracle_stands_in();
        match self.phase {
            Phase::Discovery { .. } if stands_in => self.on_accepted_epoch(now_ms, self.options.me, self.accepted),
            Phase::EpochAcks { .. } if stands_in => self.try_to_synchronize(now_ms),
            Phase::Synchronization { .. } if stands_in => self.try_to_establish(now_ms),
            Phase::Broadcast => {
                let before = self.broadcast.committed();
                self.broadcast.set_oracle(stands_in);
                self.advance(now_ms, before);
            }
            _ => {}
        }
    }
}
