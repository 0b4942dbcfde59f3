//! Which servers there are, and which of them make a quorum.
//!
//! A [`QuorumVerifier`] is a configuration: members, a rule, and the version that a reconfig gave it. It is data; it
//! connects to nobody and looks no name up. [`Quorums`] are the one or two of them that count at a moment: the committed
//! configuration and, while a reconfig is under way, the one that is to follow. `text` reads and writes the form in which
//! configurations are kept and sent.
//!
//! Nobody who asks is trusted to ask about voters only: strangers and observers never count (ZOOKEEPER-769).
//!
//! Source: Apache `QuorumMaj`, `QuorumHierarchical`, `QuorumOracleMaj`, `QuorumPeer.QuorumServer`,
//! `SyncedLearnerTracker`.

mod member;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::ServerId;

pub use member::{Member, MemberAddress, Role};
pub use text::{MEMBERS_MAX, OtherKeys, ParseError, Problem, TextRules};

/// A configuration of the ensemble. `==` compares all of it; [`is_same`](Self::is_same) is Apache's comparison.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QuorumVerifier {
    version: i64,
    members: BTreeMap<ServerId, Member>,
    rule: Rule,
}

/// The rule by which servers decide.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rule {
    /// More than half of the participants.
    Majority,
    /// The same; but with two participants, an oracle outside may stand for the one that is missing.
    OracleMajority,
    /// More than half of the weight in more than half of the groups.
    Hierarchical(Groups),
}

/// Groups and weights.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Groups {
    group_of: BTreeMap<ServerId, i64>,
    weight_of: BTreeMap<ServerId, i64>,
}

impl QuorumVerifier {
    /// A configuration where the majority of participants decides. Of two members with the same id the last one counts.
    pub fn majority(members: impl IntoIterator<Item = Member>, version: i64) -> Self {
        let members = members.into_iter().map(|it| (it.id, it)).collect();
        Self { version, members, rule: Rule::Majority }
    }

    /// The ensemble of one.
    pub fn standalone(me: ServerId) -> Self {
        Self::of_participants([me])
    }

    /// Participants without addresses, of version 0.
    pub fn of_participants(ids: impl IntoIterator<Item = ServerId>) -> Self {
        Self::majority(ids.into_iter().map(Member::participant), 0)
    }

    /// The same with another rule.
    pub fn with_rule(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }

    /// The same with another version.
    pub fn with_version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    /// The zxid of the reconfig that made it; 0: never agreed on.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// All members, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// The member with this id.
    pub fn member(&self, id: ServerId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// For the server's own line, which learns its client address from `clientPort`.
    pub fn member_mut(&mut self, id: ServerId) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    /// The participants, by id.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> {
        self.members.values().filter(|it| it.role == Role::Participant).map(|it| it.id)
    }

    /// The observers, by id.
    pub fn observers(&self) -> impl Iterator<Item = ServerId> {
        self.members.values().filter(|it| it.role == Role::Observer).map(|it| it.id)
    }

    /// Is it a participant?
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.members.get(&id).is_some_and(|it| it.role == Role::Participant)
    }

    /// How much a server's vote counts; who weighs 0 never leads. Without groups everybody weighs 1, members or not, as in
    /// Apache. With groups, strangers weigh nothing (Apache fails on them).
    pub fn weight(&self, id: ServerId) -> i64 {
        match &self.rule {
            Rule::Majority | Rule::OracleMajority => 1,
            Rule::Hierarchical(groups) => groups.weight_of.get(&id).copied().unwrap_or(0),
        }
    }

    /// Do the servers for which `is` holds make a quorum, with no help from an oracle?
    pub fn contains_quorum(&self, is: impl Fn(ServerId) -> bool) -> bool {
        self.contains_quorum_with(is, false)
    }

    /// The same; `oracle` is what the oracle says, and counts only if this configuration has one, has two participants,
    /// and one of them is there. Whoever asks must know that no follower is connected: that is when Apache asks it.
    pub fn contains_quorum_with(&self, is: impl Fn(ServerId) -> bool, oracle: bool) -> bool {
        let count = self.voters().filter(|&it| is(it)).count();
        let all = self.voters().count();
        match &self.rule {
            Rule::Majority => count > all / 2,
            Rule::OracleMajority => count > all / 2 || (oracle && all == 2 && count == 1),
            Rule::Hierarchical(groups) => groups.contains_quorum(self.voters().filter(|&it| is(it))),
        }
    }

    /// Apache's comparison of configurations: of the same kind, and then either of the same version, or with the same
    /// members, weights and groups. Names of hosts are compared as they are written, for nothing is looked up here.
    pub fn is_same(&self, other: &Self) -> bool {
        let kind = std::mem::discriminant(&self.rule) == std::mem::discriminant(&other.rule);
        kind && (self.version == other.version || self.has_same_members(other))
    }

    /// Do two lists name the same servers, roles, ports and weights? Hosts are compared where both are
    /// addresses: one machine may have several names, and 0.0.0.0 in its own line. Where clients go is of no concern here.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.rule == other.rule
            && self.members.len() == other.members.len()
            && self.members.values().zip(other.members.values()).all(|(ours, theirs)| ours.agrees_with(theirs))
    }

    fn has_same_members(&self, other: &Self) -> bool {
        self.members.len() == other.members.len()
            && self.members.values().zip(other.members.values()).all(|(ours, theirs)| ours.is_same(theirs))
            && self.rule == other.rule
    }
}

#[cfg(feature = "seeded-defects")]
impl QuorumVerifier {
    /// The same without groups, or with groups in which everybody weighs something: for tests that must find it.
    pub(crate) fn spoiled(self, has_groups: bool) -> Self {
        let rule = match &self.rule {
            Rule::Hierarchical(groups) if has_groups => {
                let weight_of = groups.weight_of.iter().map(|(&id, &weight)| (id, weight.max(1))).collect();
                Rule::Hierarchical(Groups { weight_of, ..groups.clone() })
            }
            Rule::Hierarchical(_) => Rule::Majority,
            rule => rule.clone(),
        };
        self.with_rule(rule)
    }
}

impl Groups {
    /// Groups with their servers, and weights; a server without a weight weighs 1.
    ///
    /// `None`: a server is in two groups.
    pub fn new(
        groups: impl IntoIterator<Item = (i64, Vec<ServerId>)>,
        weights: impl IntoIterator<Item = (ServerId, i64)>,
    ) -> Option<Self> {
        let mut it = Self { group_of: BTreeMap::new(), weight_of: weights.into_iter().collect() };
        for (group, servers) in groups {
            for server in servers {
                if it.group_of.insert(server, group).is_some() {
                    return None;
                }
                it.weight_of.entry(server).or_insert(1);
            }
        }
        Some(it)
    }

    fn weight(&self, id: ServerId) -> i64 {
        self.weight_of.get(&id).copied().unwrap_or(0)
    }

    fn by_group(&self, servers: impl Iterator<Item = ServerId>) -> BTreeMap<i64, i64> {
        let mut sums = BTreeMap::new();
        for server in servers {
            if let Some(group) = self.group_of.get(&server) {
                let sum: &mut i64 = sums.entry(*group).or_default();
                *sum = sum.saturating_add(self.weight(server));
            }
        }
        sums
    }

    fn contains_quorum(&self, servers: impl Iterator<Item = ServerId>) -> bool {
        let all = self.by_group(self.group_of.keys().copied());
        let groups = all.values().filter(|weight| **weight != 0).count();
        let won = self.by_group(servers).into_iter().filter(|(group, sum)| *sum > all[group] / 2).count();
        // Without any group that weighs something, nobody decides.
        won > groups / 2
    }
}

/// The configurations of which each must have its quorum: the committed one, and the last seen one if it is newer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Quorums {
    committed: Arc<QuorumVerifier>,
    newer: Option<Arc<QuorumVerifier>>,
}

impl Quorums {
    /// A last seen configuration that is not newer than the committed one does not count.
    pub fn new(committed: Arc<QuorumVerifier>, last_seen: Option<Arc<QuorumVerifier>>) -> Self {
        let newer = last_seen.filter(|it| it.version > committed.version);
        Self { committed, newer }
    }

    /// Only a committed one.
    pub fn of(committed: QuorumVerifier) -> Self {
        Self::new(Arc::new(committed), None)
    }

    /// The committed configuration.
    pub fn committed(&self) -> &Arc<QuorumVerifier> {
        &self.committed
    }

    /// The one that is to follow.
    pub fn newer(&self) -> Option<&Arc<QuorumVerifier>> {
        self.newer.as_ref()
    }

    /// Is it a participant of one of them?
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.all().any(|it| it.is_voter(id))
    }

    /// The participants of all of them.
    pub fn voters(&self) -> BTreeSet<ServerId> {
        self.all().flat_map(QuorumVerifier::voters).collect()
    }

    /// Has each of them a quorum of servers for which `is` holds?
    pub fn contain_quorum(&self, is: impl Fn(ServerId) -> bool) -> bool {
        self.contain_quorum_with(is, false)
    }

    /// The same with what the oracle says; see [`QuorumVerifier::contains_quorum_with`].
    pub fn contain_quorum_with(&self, is: impl Fn(ServerId) -> bool, oracle: bool) -> bool {
        self.all().all(|it| it.contains_quorum_with(&is, oracle))
    }

    fn all(&self) -> impl Iterator<Item = &QuorumVerifier> {
        std::iter::once(&*self.committed).chain(self.newer.as_deref())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn lists_agree_where_names_may_be_one_machine() {
        let list = |text: &str| QuorumVerifier::parse(text, TextRules::default()).unwrap();
        let ours = list("server.1=zk1:1:2\nserver.2=10.0.0.2:1:2");
        for same in ["server.1=0.0.0.0:1:2\nserver.2=10.0.0.2:1:2;9\nversion=5", "server.1=other:1:2\nserver.2=zk2:1:2"]
        {
            assert!(ours.agrees_with(&list(same)), "{same}");
        }
        for other in [
            "server.1=zk1:1:2\nserver.3=10.0.0.2:1:2",
            "server.1=zk1:1:2\nserver.2=10.0.0.3:1:2",
            "server.1=zk1:1:3\nserver.2=10.0.0.2:1:2",
            "server.1=zk1:1:2\nserver.2=10.0.0.2:1:2\nserver.3=zk3:1:2:observer",
            "server.1=zk1:1:2\nserver.2=10.0.0.2:1:2\ngroup.1=1:2\nweight.1=1",
        ] {
            assert!(!ours.agrees_with(&list(other)), "{other}");
        }
    }

    fn ids(n: i64) -> impl Iterator<Item = ServerId> {
        (1..=n).map(ServerId)
    }

    #[test]
    fn majorities() {
        let of = |n: i64| QuorumVerifier::of_participants(ids(n));
        for (n, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            assert!(of(n).contains_quorum(|s| s.0 <= needed), "{needed} of {n}");
            assert!(!of(n).contains_quorum(|s| s.0 < needed), "{} of {n}", needed - 1);
        }
        assert!(!of(3).contains_quorum(|s| s.0 > 3), "strangers don't count");
        assert!(!of(0).contains_quorum(|_| true), "nobody decides nothing");
    }

    #[test]
    fn observers_do_not_count() {
        let observers = (4..=9).map(|id| Member { role: Role::Observer, ..Member::participant(ServerId(id)) });
        let it = QuorumVerifier::majority(ids(3).map(Member::participant).chain(observers), 0);
        assert!(!it.contains_quorum(|s| s.0 >= 3));
        assert!(it.contains_quorum(|s| s.0 <= 2));
        assert_eq!((it.voters().count(), it.observers().count()), (3, 6));
    }

    /// Three data centers with three servers each.
    fn hierarchy(weights: &[(i64, i64)]) -> QuorumVerifier {
        let groups = (0..3).map(|g| (g, (1..=3).map(|n| ServerId(3 * g + n)).collect()));
        let groups = Groups::new(groups, weights.iter().map(|(id, weight)| (ServerId(*id), *weight))).unwrap();
        QuorumVerifier::of_participants(ids(9)).with_rule(Rule::Hierarchical(groups))
    }

    #[test]
    fn more_than_half_of_the_weight_in_more_than_half_of_the_groups() {
        let it = hierarchy(&[]);
        let of = |it: &QuorumVerifier, servers: &[i64]| it.contains_quorum(|s| servers.contains(&s.0));
        assert!(of(&it, &[1, 2, 4, 5]));
        assert!(!of(&it, &[1, 2, 3, 4, 7]), "five of nine, and one group of three");
        assert!(!of(&it, &[1, 2]) && !of(&it, &[]));
        let heavy = hierarchy(&[(1, 3)]);
        assert!(of(&heavy, &[1, 4, 5]), "1 alone decides its group");
        assert!(!of(&heavy, &[2, 3, 4, 5]), "2 and 3 do not");
        let empty = hierarchy(&[(7, 0), (8, 0), (9, 0)]);
        assert!(!of(&empty, &[1, 2, 7, 8, 9]), "a group without weight is no group");
        assert!(of(&empty, &[1, 2, 4, 5]) && !of(&empty, &[1, 2]), "of two groups both are needed");
        assert_eq!((empty.weight(ServerId(7)), empty.weight(ServerId(1)), empty.weight(ServerId(99))), (0, 1, 0));
        assert!(!hierarchy(&[1, 2, 3, 4, 5, 6, 7, 8, 9].map(|id| (id, 0))).contains_quorum(|_| true));
    }

    #[test]
    fn a_server_is_in_one_group() {
        let twice = [(1, vec![ServerId(1), ServerId(2)]), (2, vec![ServerId(2)])];
        assert_eq!(Groups::new(twice, []), None);
    }

    #[test]
    fn an_oracle_stands_for_the_missing_one_of_two() {
        let of = |n| QuorumVerifier::of_participants(ids(n)).with_rule(Rule::OracleMajority);
        let one = |s: ServerId| s == ServerId(1);
        assert!(of(2).contains_quorum_with(one, true));
        assert!(!of(2).contains_quorum_with(one, false));
        assert!(!of(2).contains_quorum_with(|_| false, true), "not for both");
        assert!(!of(3).contains_quorum_with(one, true), "three need no oracle");
        assert!(!QuorumVerifier::of_participants(ids(2)).contains_quorum_with(one, true), "there is none");
    }

    #[test]
    fn any_two_quorums_have_a_server_in_common() {
        for it in [
            QuorumVerifier::of_participants(ids(4)),
            QuorumVerifier::of_participants(ids(5)),
            hierarchy(&[]),
            hierarchy(&[(1, 3), (5, 0), (9, 2)]),
        ] {
            let count = it.voters().count();
            let quorums: Vec<u32> =
                (0..1 << count).filter(|set| it.contains_quorum(|s| set >> (s.0 - 1) & 1 == 1)).collect();
            assert!(!quorums.is_empty());
            assert!(quorums.iter().all(|a| quorums.iter().all(|b| a & b != 0)), "{it:?}");
            // And more servers are never less of a quorum.
            let grows = |set: &u32| (0..count).all(|bit| quorums.binary_search(&(set | 1 << bit)).is_ok());
            assert!(quorums.iter().all(grows), "{it:?}");
        }
    }

    #[test]
    fn both_configurations_need_their_quorum() {
        let old = Arc::new(QuorumVerifier::of_participants(ids(3)));
        let new = Arc::new(QuorumVerifier::of_participants((3..=5).map(ServerId)).with_version(7));
        let both = Quorums::new(Arc::clone(&old), Some(Arc::clone(&new)));
        assert!(!both.contain_quorum(|s| s.0 <= 3) && !both.contain_quorum(|s| s.0 >= 3));
        assert!(both.contain_quorum(|s| (2..=4).contains(&s.0)));
        assert_eq!(both.voters(), ids(5).collect());
        assert!(both.is_voter(ServerId(1)) && both.is_voter(ServerId(5)) && !both.is_voter(ServerId(6)));
        let back = Quorums::new(new, Some(old));
        assert_eq!(back.newer(), None, "an older one does not count");
    }

    #[test]
    fn sameness_is_apaches() {
        let three = QuorumVerifier::of_participants(ids(3));
        assert!(three.is_same(&QuorumVerifier::of_participants(ids(2))), "the same version is the same");
        let newer = three.clone().with_version(5);
        assert!(newer.is_same(&three) && newer != three);
        assert!(!newer.is_same(&QuorumVerifier::of_participants(ids(2))));
        assert!(!three.is_same(&three.clone().with_rule(Rule::OracleMajority)), "another kind");
        let (a, b) = (hierarchy(&[]), hierarchy(&[(1, 3)]).with_version(1));
        assert!(!a.is_same(&b) && a.is_same(&hierarchy(&[]).with_version(1)));
    }
}
