//! What was said in elections last, for people: the word `elec` tells it, and `ostler status --follow` shows it.
//!
//! A vote that is sent or heard again and again is kept once; the oldest goes when there are too many. Votes of servers that
//! are in no configuration are not here, so nobody else can push those of the members out.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use parking_lot::Mutex;
use wire::ServerId;
use zab::election::{Decision, Vote};
use zab::ensemble::ElectionNews;

/// So many are kept.
const EVENTS_MAX: usize = 256;

/// The last of them.
#[derive(Debug, Default)]
pub(crate) struct Elections(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    /// How many there were.
    count: u64,
    /// What each server, this one as `None`, said last since the last decision: at most one for each member.
    last: BTreeMap<Option<ServerId>, Vote>,
}

#[derive(Debug)]
struct Event {
    number: u64,
    /// Wall clock.
    at_ms: i64,
    news: ElectionNews,
}

impl Elections {
    /// Keeps it, unless it was just said.
    pub(crate) fn add(&self, at_ms: i64, news: ElectionNews) {
        let state = &mut *self.0.lock();
        let said = match news {
            ElectionNews::Heard { from, vote } => Some((Some(from), vote)),
            ElectionNews::Votes(vote) => Some((None, vote)),
            ElectionNews::Decided(_) => None,
        };
        match said {
            Some((who, vote)) => {
                if state.last.insert(who, vote) == Some(vote) {
                    return;
                }
            }
            None => state.last.clear(),
        }
        if state.events.len() == EVENTS_MAX {
            state.events.pop_front();
        }
        state.count += 1;
        state.events.push_back(Event { number: state.count, at_ms, news });
    }

    /// The answer to `elec`, of this server: a line an event, the oldest first. Numbers begin at 1 with each process.
    pub(crate) fn text(&self, me: ServerId, process: u32) -> String {
        let state = self.0.lock();
        let mut out = format!("serverId={me}\nprocess={process}\n");
        for Event { number, at_ms, news } in &state.events {
            // Writing to a string can't fail.
            let _ = match news {
                ElectionNews::Heard { from, vote } => {
                    writeln!(out, "{number} {at_ms} heard from={from} state={} {}", vote.state.name(), of_vote(vote))
                }
                ElectionNews::Votes(vote) => writeln!(out, "{number} {at_ms} votes {}", of_vote(vote)),
                ElectionNews::Decided(Decision { state, leader, proposal, election_epoch }) => {
                    let vote = Vote::looking(*proposal, *election_epoch);
                    writeln!(out, "{number} {at_ms} decided state={} follows={leader} {}", state.name(), of_vote(&vote))
                }
            };
        }
        out
    }
}

/// Who has no vote names nobody, with the smallest numbers there are.
fn of_vote(vote: &Vote) -> String {
    let it = vote.proposal;
    if it.leader.0 == i64::MIN {
        return format!("leader=nobody round={}", vote.election_epoch);
    }
    format!("leader={} zxid=0x{:x} epoch={} round={}", it.leader, it.zxid.0, it.peer_epoch, vote.election_epoch)
}

#[cfg(test)]
mod tests {
    use wire::Zxid;
    use wire::election::ServerState;
    use zab::election::Proposal;

    use super::*;

    fn vote(leader: i64, round: i64) -> Vote {
        Vote::looking(Proposal { leader: ServerId(leader), zxid: Zxid(0x5_0000_0001), peer_epoch: 5 }, round)
    }

    #[test]
    fn what_is_said_again_is_kept_once() {
        let elections = Elections::default();
        let heard = |leader, round| ElectionNews::Heard { from: ServerId(3), vote: vote(leader, round) };
        for news in [ElectionNews::Votes(vote(1, 7)), heard(3, 7), ElectionNews::Votes(vote(1, 7)), heard(3, 7)] {
            elections.add(11, news);
        }
        elections.add(12, ElectionNews::Votes(vote(3, 7)));
        let decided = Decision {
            state: ServerState::Following,
            leader: ServerId(3),
            proposal: vote(3, 7).proposal,
            election_epoch: 7,
        };
        elections.add(13, ElectionNews::Decided(decided));
        // The next election may be as the last one was.
        elections.add(14, heard(3, 7));
        let nobody = Vote::looking(Proposal::NOBODY, 8);
        elections.add(15, ElectionNews::Heard { from: ServerId(4), vote: nobody });
        assert_eq!(
            elections.text(ServerId(1), 77),
            "serverId=1\nprocess=77\n\
             1 11 votes leader=1 zxid=0x500000001 epoch=5 round=7\n\
             2 11 heard from=3 state=LOOKING leader=3 zxid=0x500000001 epoch=5 round=7\n\
             3 12 votes leader=3 zxid=0x500000001 epoch=5 round=7\n\
             4 13 decided state=FOLLOWING follows=3 leader=3 zxid=0x500000001 epoch=5 round=7\n\
             5 14 heard from=3 state=LOOKING leader=3 zxid=0x500000001 epoch=5 round=7\n\
             6 15 heard from=4 state=LOOKING leader=nobody round=8\n"
        );
    }

    #[test]
    fn a_member_that_never_ends_is_kept_in_a_bound() {
        let elections = Elections::default();
        for round in 0..10_000 {
            elections.add(round, ElectionNews::Heard { from: ServerId(3), vote: vote(3, round) });
        }
        let text = elections.text(ServerId(1), 1);
        assert_eq!(text.lines().count(), 2 + EVENTS_MAX);
        assert!(text.ends_with("round=9999\n"), "the newest are kept");
        assert!(text.len() < 64 << 10);
    }
}
