//! Other configurations, while it goes on: what a leader is asked for, and the file in which each server has its own.

use wire::jute::Field;
use wire::txn::{SetDataTxn, Txn, TxnEntry, TxnHeader};
use wire::{OpCode, SessionId, Xid, Zxid};
use zab::quorum_verifier::{Member, Role};
use zab::{Proposal, QuorumVerifier, leader, member};

use super::setup::Change;
use super::trace::Kind;
use super::{World, member as member_of};

/// Who asks for reconfigs.
pub(crate) const NOBODY: SessionId = SessionId(-1);
/// Where the configuration stands in a tree, and so in a snapshot.
pub(super) const CONFIG_PATH: &str = "/zookeeper/config";

impl Change {
    /// The configuration that follows `old`.
    pub(crate) fn of(&self, old: &QuorumVerifier) -> QuorumVerifier {
        let others = |s: usize| old.members().filter(move |it| it.id.0 != s as i64 + 1).cloned();
        let members: Vec<Member> = match self {
            Self::Vote(s) => others(*s).chain([member_of(*s, Role::Participant)]).collect(),
            Self::Observe(s) => others(*s).chain([member_of(*s, Role::Observer)]).collect(),
            Self::Leave(s) => others(*s).collect(),
            Self::Whole { voters, observers } => {
                let voters = voters.iter().map(|&s| member_of(s, Role::Participant));
                voters.chain(observers.iter().map(|&s| member_of(s, Role::Observer))).collect()
            }
        };
        QuorumVerifier::majority(members, 0)
    }
}

impl World {
    /// Everybody who leads is asked for it: one of them may be a leader whom the others have left. False: nobody proposes it.
    pub(super) fn reconfigure(&mut self, change: &Change) -> bool {
        let mut is_proposed = false;
        for s in 0..self.servers.len() {
            let now_ms = self.servers[s].local_ms(self.now_us);
            let Some(process) = self.servers[s].process.as_mut().filter(|it| it.leads && it.is_serving) else {
                continue;
            };
            let Some((role, leader)) = process.role.zip(process.ensemble.member().as_leader()) else { continue };
            let next = change.of(&process.ensemble.member().options().verifier);
            if !leader.may_reconfig(now_ms, &next) {
                self.words(s, Kind::Txn, 0, || "refuses the reconfig".to_owned());
                continue;
            }
            if let Some(zxid) = process.ensemble.next_zxid(now_ms) {
                let proposal = Proposal { zxid, txn: txn(zxid, &next.with_version(zxid.0)).into() };
                is_proposed = true;
                self.tally.proposed += 1;
                self.truth.on_proposed(s, &proposal);
                self.truth.on_reconfig_proposed(&proposal, &self.servers[s].options);
                self.words(s, Kind::Txn, zxid.0 as u64, || format!("proposes {zxid}: a reconfig"));
                self.input(s, member::Input::Leader(role, leader::Input::Propose(proposal)));
            } else {
                self.drain(s);
            }
            self.settle(s);
        }
        is_proposed
    }

    /// A server has another committed configuration: it is written, which takes a moment.
    pub(super) fn on_configured(&mut self, s: usize, committed: &QuorumVerifier) {
        let written_us = self.now_us + self.setup.sync.draw(&mut self.rng);
        let server = &mut self.servers[s];
        server.read_file(self.now_us);
        if server.options.verifier != *committed {
            server.file = Some((written_us, committed.clone()));
            self.words(s, Kind::Role, committed.version() as u64, || {
                format!("has the configuration of {}", Zxid(committed.version()))
            });
        }
    }
}

fn txn(zxid: Zxid, next: &QuorumVerifier) -> Vec<u8> {
    let text = next.to_string();
    let set = SetDataTxn { path: Some(CONFIG_PATH.into()), data: Some(text.as_bytes()), version: -1 };
    let header = TxnHeader { session: NOBODY, cxid: Xid(0), zxid, time_ms: 0, op: OpCode::Reconfig };
    TxnEntry { header, txn: Txn::SetData(set), digest: None }.to_vec()
}
