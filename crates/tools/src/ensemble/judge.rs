//! What the answers of all servers say together.

use std::collections::BTreeMap;

use wire::{ServerId, Zxid};
use zab::QuorumVerifier;
use zab::quorum_verifier::Role;

use super::ask::{Answer, Mode};
use super::members::{Members, Target};

/// A server and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whom was asked.
    pub target: Target,
    /// What came.
    pub answer: Answer,
}

impl Seen {
    /// Its name in a sentence.
    pub fn name(&self) -> String {
        match (self.id(), &self.target.client) {
            (Some(id), _) => format!("server.{id}"),
            (None, Some(client)) => client.to_string(),
            (None, None) => "a server".to_owned(),
        }
    }

    /// Its number, by the configuration or by itself.
    pub fn id(&self) -> Option<ServerId> {
        // A standalone server says 0, or what stands in a file that it does not use.
        let own = self.answer.server_id.filter(|_| self.answer.mode != Mode::Standalone).map(ServerId);
        self.target.id.or(own)
    }

    /// Does it count for a quorum?
    pub fn is_voter(&self) -> bool {
        match self.target.role {
            Some(role) => role == Role::Participant,
            None => self.answer.mode != Mode::Observer,
        }
    }
}

/// The ensemble as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// A quorum serves under one leader, or the one server serves.
    pub is_healthy: bool,
    /// In a line.
    pub line: String,
    /// What is wrong or odd, one line each.
    pub alarms: Vec<String>,
}

/// Judges.
pub fn judge(members: &Members, seen: &[Seen]) -> Verdict {
    let mut alarms = Vec::new();
    let leaders: Vec<&Seen> = seen.iter().filter(|it| it.answer.mode.leads()).collect();
    // One of them leads, and nobody can say which.
    let silent = if leaders.is_empty() { may_lead_silently(seen) } else { Vec::new() };
    let voters = seen.iter().filter(|it| it.is_voter()).count();
    let serving = seen.iter().filter(|it| it.is_voter() && it.answer.mode.serves()).count();
    if leaders.len() > 1 {
        let all: Vec<String> = leaders.iter().map(|it| format!("{} at {}", it.name(), zxid(it.answer.zxid))).collect();
        alarms.push(format!(
            "{} servers say that they lead ({}): only one of them has a quorum of the same members; compare their lists of \
             members, and stop the one with the lower epoch",
            leaders.len(),
            all.join(", ")
        ));
    }
    standalone_among_others(seen, &mut alarms);
    differing_lists(members, seen, &mut alarms);
    wrong_numbers(seen, &mut alarms);
    let has_quorum = has_quorum(members.verifier.as_ref(), seen, None, |_| true);
    let alone = seen.len() == 1 && seen[0].answer.mode == Mode::Standalone;
    let has_quorum_with = |leader: &&Seen| self::has_quorum(members.verifier.as_ref(), seen, Some(leader), |_| true);
    let has_leader = has_quorum && leaders.len() == 1 || !silent.is_empty() && silent.iter().all(has_quorum_with);
    // Who follows has a leader, and that one a quorum: else it would have left its place within syncLimit.
    let one_of_many = match seen {
        [it] if members.verifier.is_none() && matches!(it.answer.mode, Mode::Follower | Mode::Observer) => Some(it),
        _ => None,
    };
    let is_healthy = alone || one_of_many.is_some() || (has_leader && !seen.iter().any(|it| is_lone(it, seen)));
    let line = if alone {
        format!("healthy: a standalone server at {}", zxid(seen[0].answer.zxid))
    } else if let Some(it) = one_of_many {
        let mode = if it.answer.mode == Mode::Follower { "follows" } else { "observes" };
        format!("healthy, as far as one member can tell: {} {mode}; name the others too, or its zoo.cfg", it.name())
    } else if is_healthy && leaders.is_empty() {
        let names: Vec<String> = silent.iter().map(|it| it.name()).collect();
        format!(
            "healthy: {serving} of {voters} participants follow a leader that takes no clients (leaderServes=no): {}",
            names.join(" or ")
        )
    } else if let ([leader], true) = (leaders.as_slice(), is_healthy && leaders[0].answer.zxid.is_none()) {
        format!("healthy: {serving} of {voters} participants serve, {} leads and takes no clients", leader.name())
    } else if let ([leader], true) = (leaders.as_slice(), is_healthy) {
        let epoch = leader.answer.zxid.map_or("?".to_owned(), |it| it.epoch().to_string());
        format!("healthy: {serving} of {voters} participants serve, {} leads in epoch {epoch}", leader.name())
    } else if leaders.is_empty() {
        format!("not healthy: no leader among those that answer; {serving} of {voters} participants serve")
    } else {
        format!("not healthy: {serving} of {voters} participants serve")
    };
    Verdict { is_healthy, line, alarms }
}

/// A leader with `leaderServes=no` says of itself what a server does that has no leader; that others follow shows that
/// there is one. If only one of the voters can be it, it is.
pub fn tell_silent_leader(seen: &mut [Seen]) {
    let silent = may_lead_silently(seen);
    if let [only] = silent.as_slice() {
        let target = only.target.clone();
        for it in seen.iter_mut().filter(|it| it.target == target) {
            it.answer.mode = Mode::LeaderWithoutClients;
        }
    }
}

/// Those of whom one leads, without telling so: there are followers, and no leader.
pub fn may_lead_silently(seen: &[Seen]) -> Vec<&Seen> {
    let is = |it: &Seen, mode: Mode| it.is_voter() && it.answer.mode == mode;
    let has_leader = seen.iter().any(|it| it.answer.mode.leads());
    if has_leader || !seen.iter().any(|it| is(it, Mode::Follower)) {
        return Vec::new();
    }
    seen.iter().filter(|it| is(it, Mode::NotServing)).collect()
}

/// Do those that serve, and for which `is` holds, make a quorum? `leader`, who does not say so, counts as one that serves.
pub fn has_quorum(
    verifier: Option<&QuorumVerifier>,
    seen: &[Seen],
    leader: Option<&Seen>,
    is: impl Fn(&Seen) -> bool,
) -> bool {
    let serves = |it: &Seen| {
        it.answer.mode.leads() || it.answer.mode == Mode::Follower || leader.is_some_and(|leader| leader == it)
    };
    let counts = |it: &Seen| it.is_voter() && serves(it) && is(it);
    match verifier {
        Some(verifier) => verifier.contains_quorum(|id| seen.iter().any(|it| it.target.id == Some(id) && counts(it))),
        None => seen.iter().filter(|it| counts(it)).count() > seen.iter().filter(|it| it.is_voter()).count() / 2,
    }
}

fn is_lone(it: &Seen, seen: &[Seen]) -> bool {
    it.answer.mode == Mode::Standalone && seen.len() > 1
}

fn standalone_among_others(seen: &[Seen], alarms: &mut Vec<String>) {
    for lone in seen.iter().filter(|it| is_lone(it, seen)) {
        alarms.push(format!(
            "{} runs standalone and takes writes of its own: it has no server.N lines, or only one; stop it, and look at its \
             zoo.cfg before its data meets the others'",
            lone.name()
        ));
    }
}

/// A list of members that is not everybody's: the way to two leaders.
fn differing_lists(members: &Members, seen: &[Seen], alarms: &mut Vec<String>) {
    let mut lists: BTreeMap<&[String], Vec<String>> = BTreeMap::new();
    for it in seen {
        if let Some(list) = &it.answer.members {
            lists.entry(list.as_slice()).or_default().push(it.name());
        }
    }
    if lists.len() > 1 {
        let all: Vec<String> = lists
            .iter()
            .map(|(list, who)| {
                format!("{} {}: {}", who.join(", "), if who.len() == 1 { "has" } else { "have" }, list.join(" "))
            })
            .collect();
        alarms.push(format!("the lists of members differ, which can make two leaders: {}", all.join("; ")));
    }
    let Some(verifier) = &members.verifier else { return };
    for it in seen {
        let Some(list) = &it.answer.members else { continue };
        let theirs: Vec<i64> = list
            .iter()
            .filter_map(|line| line.strip_prefix("server.")?.split('=').next()?.trim().parse().ok())
            .collect();
        let lacks: Vec<String> = verifier
            .members()
            .filter(|member| !theirs.contains(&member.id.0))
            .map(|member| format!("server.{}", member.id))
            .collect();
        let more: Vec<String> = theirs
            .iter()
            .filter(|&&id| verifier.member(ServerId(id)).is_none())
            .map(|id| format!("server.{id}"))
            .collect();
        for (what, which) in [("does not know", lacks), ("knows, beyond that file,", more)] {
            if !which.is_empty() {
                alarms.push(format!("{} {what} {}", it.name(), which.join(", ")));
            }
        }
    }
}

fn wrong_numbers(seen: &[Seen], alarms: &mut Vec<String>) {
    for it in seen {
        if let (Some(expected), Some(own)) = (it.target.id, it.answer.server_id)
            && expected.0 != own
            && it.answer.mode != Mode::Standalone
        {
            let at = it.target.client.as_ref().map(ToString::to_string).unwrap_or_default();
            alarms.push(format!(
                "at {at}, where server.{expected} should be, is server.{own}: its myid or the address is wrong"
            ));
        }
    }
}

/// How many txns a server is behind the newest one, as far as that can be counted.
pub fn lag(seen: &[Seen], it: &Seen) -> Option<String> {
    let (newest, own) = (seen.iter().filter_map(|it| it.answer.zxid).max()?, it.answer.zxid?);
    if newest.epoch() == own.epoch() {
        return Some((newest.counter() - own.counter()).to_string());
    }
    Some(format!("{} epochs", newest.epoch().0 - own.epoch().0))
}

/// As Apache writes it.
pub fn zxid(zxid: Option<Zxid>) -> String {
    zxid.map_or("-".to_owned(), |it| format!("0x{:x}", it.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::election::HostPort;

    fn seen(id: i64, mode: Mode, zxid: i64) -> Seen {
        let client = Some(HostPort { host: format!("zk{id}"), port: 2181 });
        Seen {
            target: Target { id: Some(ServerId(id)), role: Some(Role::Participant), client },
            answer: Answer {
                mode,
                version: None,
                is_ours: None,
                zxid: Some(Zxid(zxid)),
                connections: None,
                znodes: None,
                server_id: Some(id),
                members: None,
                observes: None,
                syncs: Vec::new(),
                note: None,
            },
        }
    }

    fn of_three() -> Members {
        Members {
            targets: Vec::new(),
            verifier: Some(QuorumVerifier::of_participants([ServerId(1), ServerId(2), ServerId(3)])),
        }
    }

    #[test]
    fn two_of_three_under_one_leader_are_healthy() {
        let seen =
            [seen(1, Mode::Down, 0), seen(2, Mode::Leader, 0x5_0000_0012), seen(3, Mode::Follower, 0x5_0000_0010)];
        let verdict = judge(&of_three(), &seen);
        assert!(verdict.is_healthy);
        assert_eq!(verdict.line, "healthy: 2 of 3 participants serve, server.2 leads in epoch 5");
        assert_eq!(verdict.alarms, Vec::<String>::new());
        assert_eq!(lag(&seen, &seen[2]).as_deref(), Some("2"));
    }

    #[test]
    fn a_leader_that_takes_no_clients_is_told_by_its_followers() {
        let mut three = [
            seen(1, Mode::Follower, 0x5_0000_0012),
            seen(2, Mode::NotServing, 0),
            seen(3, Mode::Follower, 0x5_0000_0010),
        ];
        three[1].answer.zxid = None;
        tell_silent_leader(&mut three);
        assert_eq!(three[1].answer.mode, Mode::LeaderWithoutClients);
        let verdict = judge(&of_three(), &three);
        assert!(verdict.is_healthy);
        assert_eq!(verdict.line, "healthy: 3 of 3 participants serve, server.2 leads and takes no clients");
        let without =
            |id: i64| has_quorum(of_three().verifier.as_ref(), &three, None, |it| it.id() != Some(ServerId(id)));
        assert!(without(2) && without(3), "two of three are left");

        let mut looking = [seen(1, Mode::NotServing, 0), seen(2, Mode::NotServing, 0), seen(3, Mode::Down, 0)];
        tell_silent_leader(&mut looking);
        assert!(!judge(&of_three(), &looking).is_healthy, "who has no followers leads nobody");
        let mut beside = [seen(1, Mode::Leader, 1), seen(2, Mode::NotServing, 0), seen(3, Mode::Follower, 1)];
        tell_silent_leader(&mut beside);
        assert_eq!(beside[1].answer.mode, Mode::NotServing, "there is a leader");
    }

    #[test]
    fn one_of_two_leads_without_clients() {
        let verifier = Some(QuorumVerifier::of_participants((1..=5).map(ServerId)));
        let of_five = Members { targets: Vec::new(), verifier };
        let modes = [Mode::Follower, Mode::NotServing, Mode::Follower, Mode::NotServing, Mode::Down];
        let mut five: Vec<Seen> = (1..).zip(modes).map(|(id, mode)| seen(id, mode, 1)).collect();
        tell_silent_leader(&mut five);
        let verdict = judge(&of_five, &five);
        assert!(verdict.is_healthy);
        assert!(verdict.line.contains("2 of 5") && verdict.line.ends_with("server.2 or server.4"), "{}", verdict.line);
        five[2].answer.mode = Mode::Down;
        assert!(!judge(&of_five, &five).is_healthy, "one follower and a leader are no quorum of five");
    }

    #[test]
    fn one_that_follows_has_a_leader() {
        let nobody_said = Members { targets: Vec::new(), verifier: None };
        for (mode, is_healthy) in [(Mode::Follower, true), (Mode::Observer, true), (Mode::NotServing, false)] {
            let verdict = judge(&nobody_said, &[seen(2, mode, 1)]);
            assert_eq!(verdict.is_healthy, is_healthy, "{}", verdict.line);
        }
        let of_two = judge(&nobody_said, &[seen(2, Mode::Follower, 1), seen(3, Mode::Down, 1)]);
        assert!(!of_two.is_healthy, "of two that were named, one may be cut off: {}", of_two.line);
    }

    #[test]
    fn a_leader_alone_is_not() {
        let seen = [seen(1, Mode::Down, 0), seen(2, Mode::Leader, 1), seen(3, Mode::NotServing, 1)];
        assert!(!judge(&of_three(), &seen).is_healthy);
    }

    #[test]
    fn two_leaders_are_an_alarm() {
        let seen =
            [seen(1, Mode::Leader, 0x6_0000_0001), seen(2, Mode::Leader, 0x5_0000_0012), seen(3, Mode::Follower, 1)];
        let verdict = judge(&of_three(), &seen);
        assert!(!verdict.is_healthy);
        assert!(verdict.alarms[0].contains("server.1 at 0x600000001, server.2 at 0x500000012"), "{:?}", verdict.alarms);
    }

    #[test]
    fn a_quorum_of_voters_is_needed_not_of_observers() {
        let mut observer = seen(4, Mode::Observer, 1);
        observer.target.role = Some(Role::Observer);
        let seen = [seen(1, Mode::Down, 0), seen(2, Mode::Leader, 1), seen(3, Mode::Down, 1), observer];
        assert!(!judge(&of_three(), &seen).is_healthy);
    }

    #[test]
    fn lists_that_differ_and_a_lone_server_are_named() {
        let mut all = [seen(1, Mode::Leader, 1), seen(2, Mode::Follower, 1), seen(3, Mode::Standalone, 1)];
        all[0].answer.members = Some(vec!["server.1=a".to_owned(), "server.2=b".to_owned(), "server.3=c".to_owned()]);
        all[1].answer.members = Some(vec!["server.1=a".to_owned(), "server.2=b".to_owned()]);
        let verdict = judge(&of_three(), &all);
        assert!(!verdict.is_healthy);
        let alarms = verdict.alarms.join("\n");
        assert!(alarms.contains("server.3 runs standalone"), "{alarms}");
        assert!(alarms.contains("server.2 has: server.1=a server.2=b"), "{alarms}");
        assert!(alarms.contains("server.2 does not know server.3"), "{alarms}");
    }

    #[test]
    fn somebody_else_at_an_address() {
        let mut all = [seen(1, Mode::Leader, 1), seen(2, Mode::Follower, 1)];
        all[1].answer.server_id = Some(7);
        let verdict = judge(&of_three(), &all);
        assert!(verdict.alarms[0].contains("where server.2 should be, is server.7"), "{:?}", verdict.alarms);
    }
}
