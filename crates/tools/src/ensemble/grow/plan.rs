//! Which changes of the members there are to be, in which order, and what each does to the quorums. Nothing here asks
//! anybody.
//!
//! One member at a time: then any quorum of the members before a step and any quorum of those after it have a member in
//! common, whoever has heard of the step and whoever has not. With two at once that is no longer so: 1 and 3 are a quorum
//! of three, and 2, 4 and 5 one of five.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Result, anyhow, bail, ensure};
use wire::ServerId;
use wire::election::HostPort;
use zab::QuorumVerifier;
use zab::quorum_verifier::{Member, OtherKeys, Role, Rule, TextRules};

/// How `/zookeeper/config` and what is to be added are read: as a server with all that 3.9 knows reads them.
pub const RULES: TextRules =
    TextRules { multi_address: true, standalone_enabled: true, oracle: false, other_keys: OtherKeys::Ignored };

/// What is to be done with one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It joins.
    Join(Member),
    /// It is a member, and gets another role or client address.
    Alter(Member),
    /// It leaves.
    Leave(ServerId),
}

/// One change, and the configurations before and behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The change.
    pub change: Change,
    /// Who decides before.
    pub before: QuorumVerifier,
    /// Who decides behind it; its version is that of `before`.
    pub after: QuorumVerifier,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One after the other.
    pub steps: Vec<Step>,
    /// What is so already, and needs no step: a sentence each.
    pub done: Vec<String>,
}

/// How many vote, how many of them decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Participants.
    pub voters: usize,
    /// Observers.
    pub observers: usize,
    /// So many participants are needed.
    pub needed: usize,
}

impl Quorum {
    /// Of a configuration where the majority decides.
    pub fn of(verifier: &QuorumVerifier) -> Self {
        let voters = verifier.voters().count();
        Self { voters, observers: verifier.observers().count(), needed: voters / 2 + 1 }
    }

    /// So many may be away.
    pub fn may_fail(self) -> usize {
        self.voters - self.needed.min(self.voters)
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { voters, observers, needed } = *self;
        let s = if voters == 1 { "" } else { "s" };
        write!(f, "{voters} participant{s}, {needed} make a quorum, {} may fail", self.may_fail())?;
        match observers {
            0 => Ok(()),
            1 => write!(f, "; an observer besides"),
            n => write!(f, "; {n} observers besides"),
        }
    }
}

impl Change {
    /// Whom it is about.
    pub fn id(&self) -> ServerId {
        match self {
            Self::Join(member) | Self::Alter(member) => member.id,
            Self::Leave(id) => *id,
        }
    }

    /// What `-add` of a reconfig takes; empty for one that leaves.
    pub fn joining(&self) -> String {
        match self {
            Self::Join(member) | Self::Alter(member) => format!("server.{}={member}", member.id),
            Self::Leave(_) => String::new(),
        }
    }

    /// What `-remove` of a reconfig takes.
    pub fn leaving(&self) -> String {
        match self {
            Self::Leave(id) => id.to_string(),
            Self::Join(_) | Self::Alter(_) => String::new(),
        }
    }

    /// Does a configuration have it?
    pub fn is_in(&self, config: &QuorumVerifier) -> bool {
        match self {
            Self::Join(member) | Self::Alter(member) => {
                config.member(member.id).is_some_and(|it| is_what_was_asked(it, member))
            }
            Self::Leave(id) => config.member(*id).is_none(),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(member) => write!(f, "server.{} joins as {}", member.id, role(member)),
            Self::Alter(member) => write!(f, "server.{} becomes {}", member.id, role(member)),
            Self::Leave(id) => write!(f, "server.{id} leaves"),
        }
    }
}

fn role(member: &Member) -> &'static str {
    match member.role {
        Role::Participant => "a participant",
        Role::Observer => "an observer",
    }
}

/// The same member but for a client address that only the file of its own has.
fn is_what_was_asked(is: &Member, asked: &Member) -> bool {
    let client = if is.client.is_none() { None } else { asked.client.clone() };
    is.is_same(&Member { client, ..asked.clone() })
}

/// `4=host:2888:3888:observer;2181`, or with `server.` in front.
pub fn parse_member(text: &str) -> Result<Member, String> {
    let like = "write N=HOST:QUORUM-PORT:ELECTION-PORT[:observer];CLIENT-PORT, as 4=zk4:2888:3888;2181";
    let (id, value) = text.trim().split_once('=').ok_or_else(|| like.to_owned())?;
    let id = id.trim().trim_start_matches("server.").parse().map_err(|_| like.to_owned())?;
    let member = Member::parse(ServerId(id), value.trim(), RULES).map_err(|problem| format!("{problem}; {like}"))?;
    if member.client.is_none() {
        return Err(format!("where does server.{id} serve clients? {like}"));
    }
    Ok(member)
}

impl Plan {
    /// What it takes from `base` to a configuration with these members more, and without those.
    ///
    /// Who joins comes first, so that the ensemble never has fewer to spare than it needs; if the leader leaves, it
    /// leaves at last.
    pub fn new(base: &QuorumVerifier, adds: &[Member], removes: &[ServerId], leader: Option<ServerId>) -> Result<Self> {
        ensure!(
            matches!(base.rule(), Rule::Majority | Rule::OracleMajority),
            "the members have groups or weights, and nobody says which group a newcomer is in: give the whole new list to \
             `ostler shell reconfig -members`"
        );
        let mut plan = Self { steps: Vec::new(), done: Vec::new() };
        let mut now = base.clone();
        let mut seen = BTreeSet::new();
        for id in adds.iter().map(|it| it.id).chain(removes.iter().copied()) {
            ensure!(seen.insert(id), "server.{id} is named twice");
        }
        for member in adds {
            let change = match now.member(member.id) {
                Some(is) if is_what_was_asked(is, member) => {
                    plan.done.push(format!("server.{} is a member already", member.id));
                    continue;
                }
                Some(is) if is.addresses == member.addresses => Change::Alter(member.clone()),
                Some(is) => bail!(
                    "server.{} is a member already, at another place ({is}); choose another number, or let it leave first",
                    member.id
                ),
                None => Change::Join(member.clone()),
            };
            if let Some((other, at)) = shared_place(&now, member) {
                bail!("server.{other} is at {at} already: server.{} needs ports of its own", member.id);
            }
            plan.push(&mut now, change)?;
        }
        let mut removes = removes.to_vec();
        removes.sort_by_key(|id| Some(*id) == leader);
        for id in removes {
            if now.member(id).is_none() {
                plan.done.push(format!("server.{id} is no member"));
                continue;
            }
            plan.push(&mut now, Change::Leave(id))?;
        }
        Ok(plan)
    }

    fn push(&mut self, now: &mut QuorumVerifier, change: Change) -> Result<()> {
        let others = now.members().filter(|it| it.id != change.id()).cloned();
        let members: Vec<Member> = match &change {
            Change::Join(member) | Change::Alter(member) => others.chain([member.clone()]).collect(),
            Change::Leave(_) => others.collect(),
        };
        let after = QuorumVerifier::majority(members, now.version()).with_rule(now.rule().clone());
        if after.voters().count() < 2 {
            return Err(anyhow!(
                "behind that, when {change}, fewer than two participants are left: that is no ensemble"
            ));
        }
        self.steps.push(Step { change, before: now.clone(), after: after.clone() });
        *now = after;
        Ok(())
    }

    /// Two lists of members, the one before all steps and the one behind them, that can each decide without the other: a
    /// quorum of either. `None`: there are no such two.
    pub fn two_leaders(&self, leader: Option<ServerId>) -> Option<[Vec<ServerId>; 2]> {
        let (first, last) = (&self.steps.first()?.before, &self.steps.last()?.after);
        let needed = Quorum::of(first).needed;
        // Around the leader those who need not be in the other quorum, then those who come first.
        let mut old: Vec<ServerId> = first.voters().collect();
        old.sort_by_key(|id| (Some(*id) != leader, last.is_voter(*id), *id));
        old.truncate(needed);
        old.sort_unstable();
        let new: Vec<ServerId> = last.voters().filter(|id| !old.contains(id)).collect();
        last.contains_quorum(|id| new.contains(&id)).then_some([old, new])
    }
}

/// A member that would listen where another one does. On the loopback they may be in different containers.
fn shared_place(config: &QuorumVerifier, member: &Member) -> Option<(ServerId, HostPort)> {
    let places = |it: &Member| -> Vec<HostPort> {
        let all = it.addresses.iter().flat_map(|at| [at.quorum(), at.election()]);
        let lower = |at: HostPort| HostPort { host: at.host.to_lowercase(), port: at.port };
        let is_loopback = |at: &HostPort| {
            at.host == "localhost" || at.host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        };
        all.map(lower).filter(|at| !is_loopback(at)).collect()
    };
    let ours = places(member);
    let others = config.members().filter(|it| it.id != member.id);
    others.flat_map(|it| places(it).into_iter().map(|at| (it.id, at))).find(|(_, at)| ours.contains(at))
}

/// `server.1, server.2 and server.3`
pub fn names(ids: impl IntoIterator<Item = ServerId>) -> String {
    let names: Vec<String> = ids.into_iter().map(|id| format!("server.{id}")).collect();
    match names.as_slice() {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\nversion=0";

    fn three() -> QuorumVerifier {
        QuorumVerifier::parse(THREE, RULES).unwrap()
    }

    fn members(texts: &[&str]) -> Vec<Member> {
        texts.iter().map(|it| parse_member(it).unwrap()).collect()
    }

    fn ids(ids: &[i64]) -> Vec<ServerId> {
        ids.iter().map(|&id| ServerId(id)).collect()
    }

    fn plan(adds: &[&str], removes: &[i64]) -> Result<Plan> {
        Plan::new(&three(), &members(adds), &ids(removes), Some(ServerId(3)))
    }

    fn told(plan: &Plan) -> Vec<String> {
        let step = |it: &Step| format!("{}: {} → {}", it.change, Quorum::of(&it.before), Quorum::of(&it.after));
        plan.steps.iter().map(step).collect()
    }

    #[test]
    fn from_three_to_five_in_two_steps() {
        let plan = plan(&["4=d:1:2;3", "server.5=e:1:2;3"], &[]).unwrap();
        assert_eq!(
            told(&plan),
            [
                "server.4 joins as a participant: 3 participants, 2 make a quorum, 1 may fail → 4 participants, 3 make a \
                 quorum, 1 may fail",
                "server.5 joins as a participant: 4 participants, 3 make a quorum, 1 may fail → 5 participants, 3 make a \
                 quorum, 2 may fail",
            ]
        );
        assert_eq!(plan.steps[1].change.joining(), "server.5=e:1:2:participant;0.0.0.0:3");
        assert_eq!(plan.two_leaders(Some(ServerId(3))), Some([ids(&[1, 3]), ids(&[2, 4, 5])]));
        assert_eq!(plan.two_leaders(Some(ServerId(1))), Some([ids(&[1, 2]), ids(&[3, 4, 5])]));
    }

    /// The reason for all of this: before and behind each step, any two quorums meet.
    #[test]
    fn quorums_of_a_step_meet() {
        let plans = [
            plan(&["4=d:1:2;3", "5=e:1:2;3", "6=f:1:2:observer;3", "7=g:1:2;3"], &[]).unwrap(),
            plan(&["4=d:1:2;3"], &[1, 2]).unwrap(),
            plan(&["1=a:1:2:observer;3", "4=d:1:2;3"], &[3]).unwrap(),
        ];
        for step in plans.iter().flat_map(|it| &it.steps) {
            let has = |bits: u32, id: ServerId| bits >> id.0 & 1 == 1;
            for old in (0..256).filter(|&bits| step.before.contains_quorum(|id| has(bits, id))) {
                assert!(!step.after.contains_quorum(|id| !has(old, id)), "{} {old:b}", step.change);
            }
        }
    }

    #[test]
    fn one_more_alone_makes_no_two_leaders() {
        assert_eq!(plan(&["4=d:1:2;3"], &[]).unwrap().two_leaders(None), None);
        assert_eq!(plan(&["4=d:1:2:observer;3", "5=e:1:2:observer;3"], &[]).unwrap().two_leaders(None), None);
    }

    #[test]
    fn who_joins_comes_first_and_the_leader_leaves_last() {
        let plan = plan(&["4=d:1:2;3"], &[3, 1]).unwrap();
        let told: Vec<String> = plan.steps.iter().map(|it| it.change.to_string()).collect();
        assert_eq!(told, ["server.4 joins as a participant", "server.1 leaves", "server.3 leaves"]);
        assert_eq!(plan.steps[1].change.leaving(), "1");
    }

    #[test]
    fn what_is_so_already_is_no_step() {
        let plan = plan(&["2=B:1:2;3", "3=c:1:2:observer;3"], &[9]).unwrap();
        assert_eq!(plan.done, ["server.2 is a member already", "server.9 is no member"]);
        assert_eq!(plan.steps.len(), 1);
        assert_eq!(plan.steps[0].change.to_string(), "server.3 becomes an observer");
        assert!(!plan.steps[0].change.is_in(&three()) && plan.steps[0].change.is_in(&plan.steps[0].after));
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let refused = |adds: &[&str], removes: &[i64]| plan(adds, removes).unwrap_err().to_string();
        assert!(refused(&["2=x:1:2;3"], &[]).contains("at another place (b:1:2:participant)"));
        assert!(refused(&["4=A:5:2;3"], &[]).contains("server.1 is at a:2 already"));
        assert!(refused(&["4=d:1:2;3", "4=e:1:2;3"], &[]).contains("server.4 is named twice"));
        assert!(refused(&[], &[1, 2]).contains("fewer than two"));
        let groups = format!("{THREE}\ngroup.1=1:2:3\nweight.1=1\nweight.2=1\nweight.3=1");
        let groups = QuorumVerifier::parse(&groups, RULES).unwrap();
        assert!(Plan::new(&groups, &members(&["4=d:1:2;3"]), &[], None).unwrap_err().to_string().contains("-members"));
        for text in ["4", "x=d:1:2;3", "4=d:1;3", "4=d:1:2", "4=d:1:2:boss;3"] {
            assert!(parse_member(text).unwrap_err().contains("write N=HOST"), "{text}");
        }
    }
}
