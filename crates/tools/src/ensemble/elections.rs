//! What members of ours tell of elections: the votes that they gave and heard, Apache's among them, and what came of it.
//!
//! Each keeps the last of them and numbers them, so that nothing is missed between two looks. Apache's servers tell nothing
//! of it; their votes are seen where one of ours hears them.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use wire::election::{HostPort, ServerState};

use super::ask;
use super::judge::Seen;
use crate::text;

/// At the first look, so many of each member.
const FIRST_MAX: usize = 12;

/// What is known from the looks before.
#[derive(Debug, Default)]
pub struct Elections(BTreeMap<HostPort, Known>);

#[derive(Debug, Default)]
struct Known {
    is_ours: Option<bool>,
    process: Option<u32>,
    /// The last that was shown.
    number: u64,
    /// It was said that it does not tell.
    is_told: bool,
}

/// Something that a member told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    at_ms: i64,
    /// The member.
    who: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Heard {
        from: i64,
        state: ServerState,
        vote: Vote,
    },
    Votes(Vote),
    Decided {
        state: ServerState,
        leader: i64,
        vote: Vote,
    },
    /// `elec` is not in its whitelist.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Vote {
    round: i64,
    /// Whom it is for, its zxid and its epoch; who has no vote names nobody.
    of: Option<(i64, u64, i64)>,
}

impl Elections {
    /// Asks all of ours at once for what is new; in the order of the members' clocks.
    pub fn look(&mut self, seen: &[Seen], timeout: Duration) -> Vec<Told> {
        let mut asked = Vec::new();
        for it in seen {
            let Some(at) = it.target.client.clone() else { continue };
            let known = self.0.entry(at.clone()).or_default();
            known.is_ours = it.answer.is_ours.or(known.is_ours);
            let (is_ours, is_there) = (known.is_ours, it.answer.mode != ask::Mode::Down);
            if is_ours == Some(false) || !is_there {
                continue;
            }
            let name = it.name();
            asked.push(thread::spawn(move || {
                // Without a version, as from one that serves nobody, it must say first whose it is.
                let is_ours = is_ours.or_else(|| ask::is_ours(&at, timeout));
                let answer = (is_ours == Some(true)).then(|| ask::elections(&at, timeout).ok()).flatten();
                (at, name, is_ours, answer)
            }));
        }
        let mut all = Vec::new();
        for (at, name, is_ours, answer) in asked.into_iter().filter_map(|it| it.join().ok()) {
            let known = self.0.entry(at).or_default();
            known.is_ours = is_ours;
            if let Some(answer) = answer {
                all.extend(known.news(&name, &answer));
            }
        }
        all.sort_by_key(|it| it.at_ms);
        all
    }
}

impl Known {
    fn news(&mut self, who: &str, answer: &str) -> Vec<Told> {
        // One that serves nobody tells its number here alone.
        let id = answer.lines().find_map(|line| line.strip_prefix("serverId=")?.parse::<i64>().ok());
        let who = id.map_or_else(|| who.to_owned(), |id| format!("server.{id}"));
        let told = |at_ms, what| Told { at_ms, who: who.clone(), what };
        if answer.contains("is not executed because it is not in the whitelist") {
            let now_ms = jiff::Timestamp::now().as_millisecond();
            return if std::mem::replace(&mut self.is_told, true) {
                Vec::new()
            } else {
                vec![told(now_ms, What::Nothing)]
            };
        }
        let process = answer.lines().find_map(|line| line.strip_prefix("process=")?.parse().ok());
        let is_first = self.process.is_none();
        if process != self.process {
            (self.process, self.number) = (process, 0);
        }
        let before = self.number;
        let mut new: Vec<Told> = Vec::new();
        for (number, at_ms, what) in answer.lines().filter_map(read) {
            if number > before {
                self.number = self.number.max(number);
                new.push(told(at_ms, what));
            }
        }
        if is_first { new.split_off(new.len().saturating_sub(FIRST_MAX)) } else { new }
    }
}

/// A line of the answer; `None`: it is none that is known.
fn read(line: &str) -> Option<(u64, i64, What)> {
    let mut parts = line.split(' ');
    let (number, at_ms, kind) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    let keys: BTreeMap<&str, &str> = parts.filter_map(|it| it.split_once('=')).collect();
    let integer = |key| keys.get(key)?.parse::<i64>().ok();
    let state = || {
        use ServerState::{Following, Leading, Looking, Observing};
        [Looking, Following, Leading, Observing].into_iter().find(|it| keys.get("state") == Some(&it.name()))
    };
    let of = match *keys.get("leader")? {
        "nobody" => None,
        id => {
            let zxid = u64::from_str_radix(keys.get("zxid")?.strip_prefix("0x")?, 16).ok()?;
            Some((id.parse().ok()?, zxid, integer("epoch")?))
        }
    };
    let vote = Vote { round: integer("round")?, of };
    let what = match kind {
        "heard" => What::Heard { from: integer("from")?, state: state()?, vote },
        "votes" => What::Votes(vote),
        "decided" => What::Decided { state: state()?, leader: integer("follows")?, vote },
        _ => return None,
    };
    Some((number, at_ms, what))
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Some((id, zxid, epoch)) => {
                write!(f, "votes for server.{id} (zxid 0x{zxid:x}, epoch {epoch}, round {})", self.round)
            }
            None => write!(f, "votes for nobody (round {})", self.round),
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", text::time(self.at_ms), self.who)?;
        match &self.what {
            What::Heard { from, state, vote } => write!(f, "hears server.{from}: {}, {vote}", state.name()),
            What::Votes(vote) => vote.fmt(f),
            What::Decided { state: ServerState::Leading, vote, .. } => write!(f, "is elected in round {}", vote.round),
            What::Decided { state, leader, vote } => {
                write!(f, "finds its leader in round {}: {} server.{leader}", vote.round, state.name())
            }
            What::Nothing => f.write_str("tells no votes: elec is not in its 4lw.commands.whitelist"),
        }
    }
}

impl Told {
    /// For programs.
    pub fn as_json(&self) -> Value {
        let (what, from, state, leader, vote) = match &self.what {
            What::Heard { from, state, vote } => ("heard", Some(*from), Some(*state), None, Some(vote)),
            What::Votes(vote) => ("votes", None, Some(ServerState::Looking), None, Some(vote)),
            What::Decided { state, leader, vote } => ("decided", None, Some(*state), Some(*leader), Some(vote)),
            What::Nothing => ("tells-nothing", None, None, None, None),
        };
        let of = vote.and_then(|vote| vote.of);
        json!({
            "time": text::time(self.at_ms),
            "election": what,
            "member": self.who,
            "from": from,
            "state": state.map(ServerState::name),
            "leader": leader,
            "vote": of.map(|(id, ..)| id),
            "zxid": of.map(|(_, zxid, _)| format!("0x{zxid:x}")),
            "epoch": of.map(|(.., epoch)| epoch),
            "round": vote.map(|vote| vote.round),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "serverId=1\nprocess=77\n\
        1 11 votes leader=1 zxid=0x500000001 epoch=5 round=7\n\
        2 12 heard from=3 state=LOOKING leader=3 zxid=0x500000001 epoch=5 round=7\n\
        3 13 heard from=4 state=LOOKING leader=nobody round=8\n\
        4 14 decided state=FOLLOWING follows=3 leader=3 zxid=0x500000001 epoch=5 round=7\n";

    fn lines(told: Vec<Told>) -> Vec<String> {
        told.iter().map(|it| it.to_string().split_once("Z ").unwrap().1.to_owned()).collect()
    }

    #[test]
    fn what_is_new_is_shown_once() {
        let mut known = Known::default();
        assert_eq!(
            lines(known.news("zk1:2181", TEXT)),
            [
                "server.1 votes for server.1 (zxid 0x500000001, epoch 5, round 7)",
                "server.1 hears server.3: LOOKING, votes for server.3 (zxid 0x500000001, epoch 5, round 7)",
                "server.1 hears server.4: LOOKING, votes for nobody (round 8)",
                "server.1 finds its leader in round 7: FOLLOWING server.3",
            ]
        );
        assert_eq!(known.news("server.1", TEXT), []);
        let more = format!("{TEXT}5 15 votes leader=1 zxid=0x500000001 epoch=5 round=9\n");
        assert_eq!(lines(known.news("server.1", &more)).len(), 1);
        // Another process counts from 1 again.
        assert_eq!(lines(known.news("server.1", &TEXT.replace("77", "78"))).len(), 4);
    }

    #[test]
    fn the_first_look_shows_the_last_ones() {
        let told = (1..100).map(|n| format!("{n} {n} votes leader=nobody round={n}\n"));
        let many = told.collect::<Vec<_>>().concat();
        let shown = lines(Known::default().news("server.1", &format!("process=1\n{many}")));
        assert_eq!((shown.len(), shown[11].as_str()), (FIRST_MAX, "server.1 votes for nobody (round 99)"));
    }

    #[test]
    fn nothing_else_of_an_answer_is_shown() {
        for line in
            ["1 1 heard from=\u{1b}[2J state=LOOKING leader=nobody round=1", "1 1 votes leader=x", "1", "\u{1b}[2J"]
        {
            assert_eq!(read(line), None, "{line:?}");
        }
        let refusal = "elec is not executed because it is not in the whitelist.\n";
        let mut known = Known::default();
        assert_eq!(known.news("server.1", refusal).len(), 1);
        assert_eq!(known.news("server.1", refusal), [], "said once");
    }
}
