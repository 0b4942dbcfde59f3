//! The writes of one connection are committed in the order in which they were sent, whichever servers they went through.

use std::collections::BTreeMap;

use wire::{SessionId, Xid, Zxid};
use zab::Proposal;

use crate::world::{NOBODY, whose};

/// Whose writes were proposed and committed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions {
    proposed: BTreeMap<Zxid, (SessionId, Xid)>,
    committed: BTreeMap<SessionId, Xid>,
}

impl Sessions {
    pub(super) fn on_proposed(&mut self, proposal: &Proposal) {
        // A reconfig is nobody's.
        if let Some(it) = whose(&proposal.txn).filter(|(session, _)| *session != NOBODY) {
            self.proposed.insert(proposal.zxid, it);
        }
    }

    /// What is wrong with it.
    pub(super) fn on_committed(&mut self, zxid: Zxid) -> Option<String> {
        let (session, xid) = self.proposed.get(&zxid).copied()?;
        let last = self.committed.insert(session, xid).filter(|last| last.0 >= xid.0)?;
        Some(format!("write {} of session {session} is committed as {zxid}, behind write {}", xid.0, last.0))
    }
}
