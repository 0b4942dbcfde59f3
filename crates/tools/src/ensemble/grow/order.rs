//! The same change by hand, where `reconfigEnabled=false`: which lines go into which `zoo.cfg`, and who is restarted in
//! which order.
//!
//! In each step the newcomer is started first. It follows without a vote, since the leader does not know it, and when the
//! others come back with the longer list it counts at once. The leader is restarted at last: then all others have the
//! longer list, and elect among themselves.

use std::collections::BTreeMap;

use serde::Serialize;
use wire::ServerId;
use zab::QuorumVerifier;
use zab::quorum_verifier::Member;

use super::plan::{Change, Step, names};

/// Something to be done by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instruction {
    /// What to do, for programs.
    #[serde(rename = "do")]
    pub action: Action,
    /// With which servers, in this order.
    pub servers: Vec<i64>,
    /// The lines that their `zoo.cfg` is to have instead of the `server.N` lines that are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// For people.
    pub text: String,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Write lines into `zoo.cfg`.
    Write,
    /// Start.
    Start,
    /// Stop, start, and wait until it is in sync.
    Restart,
    /// Stop for good.
    Stop,
}

/// What a step takes. `leader` leads now, if that will still be so; `lists` are the numbers of the members that a server
/// runs with, as far as it tells.
pub fn by_hand(step: &Step, leader: Option<ServerId>, lists: &BTreeMap<ServerId, Vec<i64>>) -> Vec<Instruction> {
    let Step { change, before, after } = step;
    let id = change.id();
    let lines = lines(before, after);
    let wanted: Vec<i64> = after.members().map(|it| it.id.0).collect();
    let has_it = |id: &ServerId| !matches!(change, Change::Alter(_)) && lists.get(id) == Some(&wanted);
    let stays: Vec<ServerId> = before.members().map(|it| it.id).filter(|it| *it != id).collect();
    let mut restarts: Vec<ServerId> = stays.iter().copied().filter(|it| !has_it(it)).collect();
    restarts.sort_by_key(|it| (Some(*it) == leader, *it));
    let mut all = Vec::new();
    let mut add = |action, servers: &[ServerId], lines: &[String], text: String| {
        if !servers.is_empty() {
            all.push(Instruction {
                action,
                servers: servers.iter().map(|it| it.0).collect(),
                lines: lines.to_vec(),
                text,
            });
        }
    };
    let others = names(restarts.iter().copied());
    match change {
        Change::Join(_) => {
            let text = format!(
                "on the machine of server.{id}: {id} into myid, in a dataDir that is empty, and these lines into zoo.cfg"
            );
            add(Action::Write, &[id], &lines, text);
            let text = format!("start server.{id}: it takes a copy of all data, and follows without a vote");
            add(Action::Start, &[id], &[], text);
            let text = format!("the same lines, instead of those that are there, into zoo.cfg of {others}");
            add(Action::Write, &restarts, &lines, text);
        }
        Change::Alter(_) => {
            let everybody: Vec<ServerId> = [id].into_iter().chain(restarts.iter().copied()).collect();
            let text = format!(
                "these lines, instead of those that are there, into zoo.cfg of {}; a line peerType= of server.{id} has to go",
                names(everybody.iter().copied())
            );
            add(Action::Write, &everybody, &lines, text);
            restarts = everybody;
            restarts.sort_by_key(|it| (Some(*it) == leader, *it != id, *it));
        }
        Change::Leave(_) => {
            add(
                Action::Write,
                &restarts,
                &lines,
                format!("these lines, instead of those that are there, into zoo.cfg of {others}"),
            );
        }
    }
    add(Action::Restart, &restarts, &[], restart_text(&restarts, leader, id));
    if let Change::Leave(_) = change {
        let text = if leader == Some(id) {
            format!("stop server.{id}, which leads: the others elect one among themselves")
        } else {
            format!("stop server.{id}: nobody counts it any more")
        };
        add(Action::Stop, &[id], &[], text);
    }
    all
}

fn restart_text(restarts: &[ServerId], leader: Option<ServerId>, id: ServerId) -> String {
    let last = match leader {
        Some(leader) if restarts.last() == Some(&leader) => format!("; server.{leader}, which leads, comes last"),
        Some(leader) if leader == id => String::new(),
        _ => "; whoever leads then comes last".to_owned(),
    };
    format!(
        "restart {}, one after the other, each when `ostler status` shows the one before it as a follower again, with a lag \
         near 0{last}",
        names(restarts.iter().copied())
    )
}

/// The members as lines of a `zoo.cfg`, with client addresses if that is how they were written so far.
fn lines(before: &QuorumVerifier, after: &QuorumVerifier) -> Vec<String> {
    let has_clients = before.members().any(|it| it.client.is_some());
    let line = |it: &Member| {
        let it = Member { client_is_static: !has_clients, ..it.clone() };
        format!("server.{}={it}", it.id)
    };
    after.members().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Plan, RULES, parse_member};
    use super::*;

    const THREE: &str = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\nversion=0";

    fn steps(adds: &[&str], removes: &[i64]) -> Vec<Step> {
        let base = QuorumVerifier::parse(THREE, RULES).unwrap();
        let adds: Vec<Member> = adds.iter().map(|it| parse_member(it).unwrap()).collect();
        let removes: Vec<ServerId> = removes.iter().map(|&id| ServerId(id)).collect();
        Plan::new(&base, &adds, &removes, Some(ServerId(2))).unwrap().steps
    }

    fn told(all: &[Instruction]) -> Vec<String> {
        all.iter().map(|it| format!("{:?} {:?} {}", it.action, it.servers, it.lines.len())).collect()
    }

    #[test]
    fn the_newcomer_first_and_the_leader_last() {
        let steps = steps(&["4=d:1:2;3", "5=e:1:2;3"], &[]);
        let first = by_hand(&steps[0], Some(ServerId(2)), &BTreeMap::new());
        assert_eq!(told(&first), ["Write [4] 4", "Start [4] 0", "Write [1, 3, 2] 4", "Restart [1, 3, 2] 0"]);
        assert_eq!(first[0].lines[3], "server.4=d:1:2:participant");
        assert!(first[3].text.contains("server.2, which leads, comes last"), "{}", first[3].text);
        let second = by_hand(&steps[1], None, &BTreeMap::new());
        assert_eq!(told(&second), ["Write [5] 5", "Start [5] 0", "Write [1, 2, 3, 4] 5", "Restart [1, 2, 3, 4] 0"]);
        assert!(second[3].text.contains("whoever leads then comes last"), "{}", second[3].text);
    }

    #[test]
    fn who_has_the_list_already_is_left_alone() {
        let step = &steps(&["4=d:1:2;3"], &[])[0];
        let lists = [(ServerId(1), vec![1, 2, 3, 4]), (ServerId(3), vec![1, 2, 3])].into();
        assert_eq!(
            told(&by_hand(step, Some(ServerId(2)), &lists)),
            ["Write [4] 4", "Start [4] 0", "Write [3, 2] 4", "Restart [3, 2] 0"]
        );
    }

    #[test]
    fn who_leaves_is_stopped_at_last_and_a_new_role_begins_at_its_server() {
        let leaves = by_hand(&steps(&[], &[2])[0], Some(ServerId(2)), &BTreeMap::new());
        assert_eq!(told(&leaves), ["Write [1, 3] 2", "Restart [1, 3] 0", "Stop [2] 0"]);
        assert!(leaves[2].text.contains("which leads"));
        let observes = by_hand(&steps(&["3=c:1:2:observer;3"], &[])[0], Some(ServerId(2)), &BTreeMap::new());
        assert_eq!(told(&observes), ["Write [3, 1, 2] 3", "Restart [3, 1, 2] 0"]);
        assert_eq!(observes[0].lines[2], "server.3=c:1:2:observer");
    }
}
