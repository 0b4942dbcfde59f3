//! Dynamic reconfiguration: how a configuration follows another one, as a txn.
//!
//! A reconfig is a txn as any other: its type is `reconfig`, its data the text of the configuration that is to follow, and
//! its zxid is that configuration's version. Whoever makes it (the pipeline of the leader) gives it to
//! [`leader::Input::Propose`](crate::leader::Input::Propose) with the rest; leader and learners know it by its type. From there:
//!
//! * It is *seen* when it is proposed: from then on an election, an epoch and the reconfig itself need a quorum of the old
//!   configuration and one of the new. Since it stands in the log, what is seen outlives a crash with the log and is cut with
//!   it: whoever starts a member reads it there (or in the tree, once it is applied) and puts it into
//!   [`Options::last_seen`](crate::Options::last_seen).
//! * It is *activated* when it is committed: COMMITANDACTIVATE and INFORMANDACTIVATE say so, and who is to lead. What is
//!   proposed behind it is committed by the new configuration, and not before it is activated.
//! * A leader that is not to lead commits nothing more; its learners leave it, and all take the new roles without an election.
//! * NEWLEADER carries a configuration, so that a learner that comes later knows it: with UPTODATE it is activated. While
//!   a leader has not established its epoch, that is what it has seen, for the acks of NEWLEADER commit it; later, what is
//!   committed. Apache sends what was seen in any case, and its learners activate a configuration that may yet be cut.
//! * The first leader of an ensemble gives the configuration of the files a version, its epoch's (ZOOKEEPER-1783).
//!
//! At most one reconfig is under way: who proposes asks [`Leader::may_reconfig`](crate::Leader::may_reconfig) first.
//!
//! Source: Apache `Leader.propose`, `tryToCommit`, `getDesignatedLeader`; `QuorumPeer.processReconfig`.

use wire::jute::Field;
use wire::txn::{Txn, TxnEntry};
use wire::{OpCode, ServerId};

use crate::committed_log::Proposal;
use crate::options::Options;
use crate::quorum_verifier::{MemberAddress, QuorumVerifier};

/// Where the type of a txn stands in its header.
const TYPE_AT: std::ops::Range<usize> = 28..32;

/// The configuration that this txn is about, if it is a reconfig. Without `reconfigEnabled` none is.
pub fn configuration_in(proposal: &Proposal, options: &Options) -> Option<QuorumVerifier> {
    let kind = proposal.txn.get(TYPE_AT)?;
    if !options.reconfig_enabled || *kind != OpCode::Reconfig.code().to_be_bytes() {
        return None;
    }
    let entry = TxnEntry::from_slice(&proposal.txn).ok()?;
    let Txn::SetData(set) = entry.txn else { return None };
    let text = String::from_utf8_lossy(set.data?);
    let verifier = QuorumVerifier::parse(&text, options.text_rules).ok()?;
    Some(verifier.with_version(proposal.zxid.0))
}

/// Where this server's learners connect; `None`: it is no voter.
fn quorum_addresses(verifier: &QuorumVerifier, id: ServerId) -> Option<Vec<(String, u16)>> {
    let member = verifier.member(id).filter(|_| verifier.is_voter(id))?;
    let mut addresses: Vec<_> =
        member.addresses.iter().map(MemberAddress::quorum).map(|it| (it.host, it.port)).collect();
    addresses.sort_unstable();
    Some(addresses)
}

/// Can `leader` go on when `new` follows `old`? It must be a voter, at the same place.
pub(crate) fn keeps_leader(old: &QuorumVerifier, new: &QuorumVerifier, leader: ServerId) -> bool {
    quorum_addresses(new, leader).is_some_and(|it| Some(it) == quorum_addresses(old, leader))
}
