//! Why something happens, in words: which rule decides what becomes of a vote, of an election, and of a learner's history.

use std::fmt::Display;

use bytes::Bytes;
use wire::election::{Notification, ServerState};
use wire::quorum::Packet;
use wire::{ServerId, Zxid};
use zab::{Ensemble, Member};

/// A notification in a few words, and what becomes of it at its receiver.
pub(super) fn notification(bytes: &Bytes, from: ServerId, to: Option<&Ensemble>) -> String {
    let Ok(it) = Notification::read(bytes) else { return "?".to_owned() };
    let state = match it.state {
        Some(ServerState::Looking) => "LOOKING",
        Some(ServerState::Following) => "FOLLOWING",
        Some(ServerState::Leading) => "LEADING",
        Some(ServerState::Observing) => "OBSERVING",
        None => "?",
    };
    let (round, rule) = (it.election_epoch, to.map_or_else(String::new, |to| rule(&it, from, to)));
    if it.leader.0 < 0 {
        return format!("{state}, has no vote, round {round}{rule}");
    }
    format!("{state}, votes for {} (epoch {}, zxid {}), round {round}{rule}", it.leader, it.peer_epoch, it.zxid)
}

/// What becomes of a notification. `to` has not taken it yet.
fn rule(it: &Notification, from: ServerId, to: &Ensemble) -> String {
    let (election, options) = (to.election(), to.member().options());
    let quorums = options.quorums();
    let looks = it.state == Some(ServerState::Looking);
    if !quorums.is_voter(from) {
        let observes = options.verifier.member(from).is_some();
        let what = if observes { "observes" } else { "is in no configuration known here" };
        return format!(": {from} {what}, not counted");
    }
    if election.state() != ServerState::Looking {
        return if looks { ": is told who leads".to_owned() } else { String::new() };
    }
    let Some(ours) = election.proposal() else { return ": waits for a round".to_owned() };
    if it.leader.0 < 0 {
        return ": names nobody".to_owned();
    }
    if !quorums.is_voter(it.leader) {
        return format!(": {} does not vote, not counted", it.leader);
    }
    if it.state == Some(ServerState::Leading) {
        return ": counts with a quorum that follows".to_owned();
    }
    let round = election.election_epoch();
    if !looks {
        let is_own = it.leader == options.me;
        return match (is_own, it.election_epoch == round) {
            (true, false) => ": of another round, not counted".to_owned(),
            (true, true) => ": counts".to_owned(),
            (false, _) => format!(": counts if {} says that it leads", it.leader),
        };
    }
    if ours.zxid < Zxid::ZERO && ours.leader == options.me {
        return format!(": {} has lost its state, and has no vote", options.me);
    }
    if it.election_epoch != round {
        return compare("round", it.election_epoch, round);
    }
    if ours.leader.0 < 0 {
        return ": the first vote that it hears of".to_owned();
    }
    if it.peer_epoch != ours.peer_epoch {
        return compare("epoch", it.peer_epoch, ours.peer_epoch);
    }
    if it.zxid != ours.zxid {
        return compare("epoch equal, zxid", it.zxid, ours.zxid);
    }
    if it.leader != ours.leader {
        return compare("epoch and zxid equal, myid", it.leader, ours.leader);
    }
    ": the same vote".to_owned()
}

fn compare<T: Ord + Display>(what: &str, theirs: T, ours: T) -> String {
    let sign = if theirs > ours { '>' } else { '<' };
    format!(": {what} {theirs} {sign} {ours}")
}

/// Who has made the decision of an election.
pub(super) fn quorum(it: &Ensemble) -> String {
    let (supporters, options) = (it.election().supporters(), it.member().options());
    if supporters.is_empty() {
        return "appointed by a reconfig".to_owned();
    }
    let ids: Vec<String> = supporters.iter().map(ToString::to_string).collect();
    let voters = options.quorums().voters().len();
    format!("{} of {voters} vote so: {}", ids.len(), ids.join(", "))
}

/// Why a learner is told this first; its history ended at `last`. Nothing for any other packet. See [`zab::sync_plan`].
pub(super) fn plan(packet: &Packet, last: Zxid, leader: Option<&Member>) -> String {
    match *packet {
        Packet::Diff { zxid } if zxid == last => ": it has all of it".to_owned(),
        Packet::Diff { .. } => format!(": its last, {last}, is in the history"),
        Packet::Trunc { zxid } => format!(": its last, {last}, is not in the history, which has {zxid} before it"),
        Packet::Snap { .. } => {
            let Some(leader) = leader else { return String::new() };
            let start = leader.log().start();
            if last < Zxid::ZERO {
                ": it has lost its state".to_owned()
            } else if leader.options().force_snapshot_sync {
                ": forceSnapshotSync".to_owned()
            } else if last < start {
                format!(
                    ": its last, {last}, is older than what is in memory, and the log does not show it in the history"
                )
            } else {
                format!(": its last, {last}, is not in the history, which goes on in another epoch")
            }
        }
        _ => String::new(),
    }
}
