//! What a reconfig asks for: the next configuration, or the error that is its answer; and `/zookeeper/config`, which tells
//! everybody what holds.
//!
//! The leader's consensus knows which configuration holds and who is in sync; whoever drives the pipeline tells it
//! ([`Members`]) before a reconfig can come. Source: Apache `PrepRequestProcessor.pRequest2Txn` (reconfig),
//! `QuorumServer.checkAddressDuplicate`.

use std::sync::Arc;

use tree::CONFIG_PATH;
use wire::election::HostPort;
use wire::request::ReconfigRequest;
use wire::{ErrorCode, ServerId, UStr, Zxid};
use zab::QuorumVerifier;
use zab::quorum_verifier::{Member, Rule, TextRules};

use crate::pipeline::Pipeline;
use crate::shared::{ShardSet, Shared};
use crate::time::Now;

/// What a leader knows of its ensemble, for reconfigs.
#[derive(Debug, Clone)]
pub struct Members {
    /// The committed configuration.
    pub committed: Arc<QuorumVerifier>,
    /// Another reconfig is proposed, and not committed. The first one that passes sets it.
    pub is_changing: bool,
    /// The leader itself, and the followers that are in sync with it, voters or not.
    pub synced: Vec<ServerId>,
    /// How texts are read.
    pub text_rules: TextRules,
}

impl Members {
    /// The configuration that is to follow, with the zxid of the reconfig as its version.
    pub(crate) fn next(&self, request: &ReconfigRequest<'_>, zxid: Zxid) -> Result<QuorumVerifier, ErrorCode> {
        if self.is_changing {
            return Err(ErrorCode::RECONFIG_IN_PROGRESS);
        }
        if request.cur_config_id != -1 && request.cur_config_id != self.committed.version() {
            return Err(ErrorCode::BAD_VERSION);
        }
        let next = match request.new_members.as_deref() {
            Some(all) => {
                QuorumVerifier::parse(&all.replace(',', "\n"), self.text_rules).map_err(|_| ErrorCode::BAD_ARGUMENTS)?
            }
            None => self.changed(&request.joining_servers, &request.leaving_servers)?,
        };
        let least = if self.text_rules.standalone_enabled { 2 } else { 1 };
        if next.voters().count() < least {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        if !next.contains_quorum(|id| self.synced.contains(&id)) {
            return Err(ErrorCode::NEW_CONFIG_NO_QUORUM);
        }
        Ok(next.with_version(zxid.0))
    }

    /// Without those who leave, then with those who join, who replace whoever has their number. Only where the majority
    /// decides: nobody says which group a newcomer is in.
    fn changed(&self, joining: &UStr<'_>, leaving: &UStr<'_>) -> Result<QuorumVerifier, ErrorCode> {
        if *self.committed.rule() != Rule::Majority && *self.committed.rule() != Rule::OracleMajority {
            return Err(ErrorCode::BAD_ARGUMENTS);
        }
        let mut members: Vec<Member> = self.committed.members().cloned().collect();
        for id in parts(leaving) {
            // Apache's parser throws here what becomes this error.
            let id: i64 = id.parse().map_err(|_| ErrorCode::MARSHALLING_ERROR)?;
            members.retain(|it| it.id != ServerId(id));
        }
        for line in parts(joining) {
            let (key, value) = line.split_once('=').ok_or(ErrorCode::BAD_ARGUMENTS)?;
            let number = key.rsplit_once('.').map_or(key, |(_, number)| number).trim();
            let id = ServerId(number.parse().map_err(|_| ErrorCode::MARSHALLING_ERROR)?);
            let joiner = Member::parse(id, value.trim(), self.text_rules).map_err(|_| ErrorCode::BAD_ARGUMENTS)?;
            members.retain(|it| it.id != id);
            if joiner.client.is_none() || members.iter().any(|it| share_an_address(&joiner, it)) {
                return Err(ErrorCode::BAD_ARGUMENTS);
            }
            members.push(joiner);
        }
        Ok(QuorumVerifier::majority(members, 0).with_rule(self.committed.rule().clone()))
    }
}

impl Pipeline {
    /// Before a leader is handed a reconfig, it is told what holds now; no reconfig can come without.
    pub fn set_members(&mut self, members: Option<Members>) {
        self.members = members;
    }

    /// The configuration that holds here goes into `/zookeeper/config`, unless a txn brings it there: one that is not applied
    /// yet, or a newer one that is. Without `reconfigEnabled` no txn does, and what this server was started with counts.
    /// Source: `ZKDatabase.initConfigInZKDatabase`.
    pub fn configured(&mut self, now: Now, shared: &Shared, configuration: &QuorumVerifier) -> ShardSet {
        let version = Zxid(configuration.version());
        let text = configuration.to_string();
        let mut tree = shared.tree.write();
        let Some(node) = tree.get(CONFIG_PATH) else { return ShardSet::default() };
        let is_there = node.data() == Some(text.as_bytes());
        let comes_by_txn = version.counter() != 0 && version > self.applied || node.stat_persisted().mzxid > version;
        if is_there || self.config.reconfig_enabled && comes_by_txn {
            return ShardSet::default();
        }
        self.triggers.clear();
        tree.set_configuration(text.as_bytes(), version, now.wall_ms, &mut self.triggers);
        self.send_events(self.applied);
        self.flush(shared)
    }
}

/// What commas separate, without what is empty.
fn parts<'a>(list: &'a UStr<'_>) -> impl Iterator<Item = &'a str> {
    list.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|it| !it.is_empty())
}

/// Would both listen in the same place? On the loopback and on all interfaces they may be on different machines.
fn share_an_address(one: &Member, other: &Member) -> bool {
    let others = places(other);
    places(one).iter().any(|it| others.contains(it))
}

fn places(member: &Member) -> Vec<(String, u16)> {
    let between = member.addresses.iter().flat_map(|it| [it.quorum(), it.election()]);
    between.chain(member.client.clone()).filter(is_one_machines).map(|it| (it.host.to_lowercase(), it.port)).collect()
}

fn is_one_machines(at: &HostPort) -> bool {
    let is_loopback = at.host.eq_ignore_ascii_case("localhost")
        || at.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !at.is_wildcard() && !is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = "server.1=a:1:2:participant;3\nserver.2=b:1:2:participant;3\nserver.3=c:1:2:participant;3\n\
                         version=100000000";

    fn members(text: &str, synced: &[i64]) -> Members {
        let text_rules = TextRules::default();
        let committed = Arc::new(QuorumVerifier::parse(text, text_rules).unwrap());
        Members { committed, is_changing: false, synced: synced.iter().map(|&id| ServerId(id)).collect(), text_rules }
    }

    fn request<'a>(
        joining: Option<&'a str>,
        leaving: Option<&'a str>,
        all: Option<&'a str>,
        version: i64,
    ) -> ReconfigRequest<'a> {
        ReconfigRequest {
            joining_servers: joining.map(Into::into),
            leaving_servers: leaving.map(Into::into),
            new_members: all.map(Into::into),
            cur_config_id: version,
        }
    }

    fn next(of: &Members, request: &ReconfigRequest<'_>) -> Result<String, ErrorCode> {
        of.next(request, Zxid(0x1_0000_0007)).map(|it| it.to_string())
    }

    #[test]
    fn one_joins_and_one_leaves() {
        let three = members(THREE, &[1, 2, 4]);
        let text = next(&three, &request(Some("server.4=d:1:2;3"), Some("3,9"), None, 0x1_0000_0000)).unwrap();
        assert_eq!(
            text,
            "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant;0.0.0.0:3\n\
             server.4=d:1:2:participant;0.0.0.0:3\nversion=100000007"
        );
        // Another role for one that is there.
        let text = next(&three, &request(Some("server.3=c:1:2:observer;3"), None, None, -1)).unwrap();
        assert!(text.contains("server.3=c:1:2:observer;0.0.0.0:3"), "{text}");
    }

    #[test]
    fn a_whole_new_list_may_have_groups() {
        let three = members(THREE, &[1, 2, 3]);
        let all = "server.1=a:1:2;3,server.2=b:1:2;3,server.3=c:1:2;3,group.1=1:2:3,weight.1=1,weight.2=1,weight.3=0";
        assert!(next(&three, &request(None, None, Some(all), -1)).unwrap().contains("group.1=1:2:3"));
        let grouped =
            Members { committed: Arc::new(three.next(&request(None, None, Some(all), -1), Zxid(9)).unwrap()), ..three };
        assert_eq!(next(&grouped, &request(None, Some("3"), None, -1)), Err(ErrorCode::BAD_ARGUMENTS));
    }

    #[test]
    fn what_can_not_be_is_refused_in_apaches_order() {
        let three = members(THREE, &[1, 2, 3]);
        let changing = Members { is_changing: true, ..three.clone() };
        assert_eq!(next(&changing, &request(None, Some("x"), None, 5)), Err(ErrorCode::RECONFIG_IN_PROGRESS));
        assert_eq!(next(&three, &request(None, Some("x"), None, 5)), Err(ErrorCode::BAD_VERSION));
        assert_eq!(next(&three, &request(None, Some("x"), None, -1)), Err(ErrorCode::MARSHALLING_ERROR));
        for joining in ["server.4", "server.4=d:1:2", "server.4=d:1:1;3", "server.4=A:5:2;6", "server.4=d:1:2;3,x"] {
            assert_eq!(
                next(&three, &request(Some(joining), None, None, -1)),
                Err(ErrorCode::BAD_ARGUMENTS),
                "{joining}"
            );
        }
        assert_eq!(next(&three, &request(None, None, Some("what=ever"), -1)), Err(ErrorCode::BAD_ARGUMENTS));
        // Too few are left, and then: they are not in sync.
        let alone = members(THREE, &[1]);
        assert_eq!(next(&alone, &request(None, Some("2,3"), None, -1)), Err(ErrorCode::BAD_ARGUMENTS));
        assert_eq!(next(&alone, &request(None, Some("3"), None, -1)), Err(ErrorCode::NEW_CONFIG_NO_QUORUM));
    }

    #[test]
    fn on_the_loopback_addresses_may_be_the_same() {
        let text = THREE.replace("=a:", "=127.0.0.1:");
        let of = members(&text, &[1, 2, 3]);
        assert!(next(&of, &request(Some("server.4=127.0.0.1:1:2;9"), None, None, -1)).is_ok());
    }
}
