//! A learner and the configurations that it hears of. See [`crate::reconfig`].

use wire::{ServerId, Zxid};

use super::{Activated, Learner, LearnerOver, Output};
use crate::quorum_verifier::QuorumVerifier;

impl Learner {
    /// Its leader, or its own role, is another one: it leaves.
    pub(crate) fn leave(&mut self, designated: Option<ServerId>) {
        self.over(LearnerOver::Reconfigured(designated));
    }

    /// A reconfig is in the log.
    pub(super) fn see(&mut self, next: QuorumVerifier) {
        if self.options.see(next) {
            self.on_configured(None);
        }
    }

    /// The reconfig `zxid` is committed.
    pub(super) fn activate_seen(&mut self, zxid: Zxid, leader: ServerId) {
        let seen = self.options.last_seen.clone().filter(|it| it.version() == zxid.0);
        if let Some(seen) = seen.filter(|_| !self.is_over()) {
            self.activate(seen, Some(leader));
        }
    }

    /// The configuration of NEWLEADER: seen, with NEWLEADER, and then activated, with UPTODATE. Nothing that is not to be read
    /// changes anything.
    pub(super) fn config_of_new_leader(&self) -> Option<QuorumVerifier> {
        let text = self.config.as_ref().filter(|_| self.options.reconfig_enabled)?;
        QuorumVerifier::parse(&String::from_utf8_lossy(text), self.options.text_rules).ok()
    }

    pub(super) fn activate(&mut self, it: QuorumVerifier, designated: Option<ServerId>) {
        if self.options.activate(it) {
            self.on_configured(Some(Activated { designated }));
        }
    }

    /// The history was replaced, or ends at `last` now.
    pub(super) fn forget_cut(&mut self, last: Zxid, is_snapshot: bool) {
        // What the snapshot's history has seen comes with NEWLEADER.
        let is_forgotten = if is_snapshot { self.options.last_seen.take().is_some() } else { self.options.cut(last) };
        if is_forgotten {
            self.on_configured(None);
        }
    }

    fn on_configured(&mut self, activated: Option<Activated>) {
        self.tell_observers_options();
        self.outputs.push_back(Output::Configured { quorums: self.options.quorums(), activated });
    }
}
