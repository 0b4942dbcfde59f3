//! What is true of the whole world, whoever knows it: what was proposed, what is committed, who was established. The checks
//! compare what servers do with it.

mod agreement;
mod durability;
mod epochs;
mod leadership;
mod sync;

use std::collections::{BTreeMap, BTreeSet};

use ostler_zab::{Proposal, QuorumVerifier};
use wire::{Epoch, ServerId, Zxid};

use super::Server;
use super::disk::History;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Truth {
    /// The one committed history.
    pub committed: History,
    /// Everything that a leader proposed.
    pub proposed: BTreeSet<Proposal2>,
    /// Which leader established an epoch.
    pub established: BTreeMap<Epoch, ServerId>,
    /// What each epoch began with.
    pub initial: BTreeMap<Epoch, History>,
    /// The epochs that were last seen on a disk.
    seen: BTreeMap<ServerId, (Epoch, Epoch)>,
    /// The epoch that each server was told of last.
    told: BTreeMap<ServerId, Epoch>,
    /// Servers that have lost their disk.
    pub wiped: BTreeSet<ServerId>,
    /// Syncs that have no answer: what was committed when they were asked for.
    syncs: BTreeMap<u64, Zxid>,
    /// The configuration at the beginning, in worlds that have several.
    pub verifier: Option<QuorumVerifier>,
    /// What is wrong.
    pub violation: Option<String>,
}

/// A proposal in a set.
pub type Proposal2 = (Zxid, Vec<u8>);

impl Truth {
    fn wrong(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// Looks at everything that can be seen at any moment.
    pub fn check(&mut self, servers: &BTreeMap<ServerId, Server>) -> Result<(), String> {
        self.check_quorum_has_committed(servers);
        self.check_epochs(servers);
        self.violation.clone().map_or(Ok(()), Err)
    }

    /// `id` proposes.
    pub fn on_proposed(&mut self, id: ServerId, proposal: &Proposal) {
        let epoch = proposal.zxid.epoch();
        if self.established.get(&epoch) != Some(&id) {
            self.wrong(format!("{id} proposes {}, but has not established epoch {epoch}", proposal.zxid));
        }
        self.proposed.insert((proposal.zxid, proposal.txn.to_vec()));
        if proposal.zxid.counter() == 0 {
            self.wrong(format!("{} was proposed", proposal.zxid));
        }
    }
}
