#![allow(clippy::unwrap_used, reason = "a test may panic")]

use wire::Zxid;

use super::*;
use crate::quorum_verifier::Member;

fn proposal(leader: i64, zxid: i64) -> Proposal {
    Proposal { leader: ServerId(leader), zxid: Zxid(zxid), peer_epoch: 0 }
}

fn of(n: i64) -> Quorums {
    Quorums::of(QuorumVerifier::of_participants((1..=n).map(ServerId)))
}

/// With Apache's wait, so that nothing ends before its time.
fn settings(me: i64) -> Settings {
    Settings { early_end: false, ..Settings::new(ServerId(me)) }
}

fn election(me: i64, n: i64) -> Election {
    Election::new(settings(me), of(n))
}

fn looking(me: i64, n: i64) -> Election {
    let mut it = election(me, n);
    after(&mut it, 0, Input::Look(proposal(me, 0)));
    it
}

fn after(it: &mut Election, now_ms: u64, input: Input) -> Vec<Output> {
    it.handle(now_ms, input);
    std::iter::from_fn(|| it.take_output()).collect()
}

fn says(from: i64, state: ServerState, it: Proposal, election_epoch: i64) -> Input {
    says_as(2, from, state, it, election_epoch)
}

fn says_as(version: i32, from: i64, state: ServerState, it: Proposal, election_epoch: i64) -> Input {
    let notification = Notification {
        state: Some(state),
        leader: it.leader,
        zxid: it.zxid,
        election_epoch,
        peer_epoch: it.peer_epoch,
        format: NotificationFormat::Version(version),
    };
    Input::Notification { from: ServerId(from), notification }
}

fn decided(outputs: &[Output]) -> Option<(ServerState, i64)> {
    outputs.iter().find_map(|it| match it {
        Output::Decided(it) => Some((it.state, it.leader.0)),
        _ => None,
    })
}

/// To whom what is sent: (to, state, leader, election epoch).
fn sent(outputs: &[Output]) -> Vec<(i64, ServerState, i64, i64)> {
    let of = |it: &Output| match it {
        Output::Send { to, notification: n } => Some((to.0, n.state.unwrap(), n.leader.0, n.election_epoch)),
        _ => None,
    };
    outputs.iter().filter_map(of).collect()
}

use ServerState::{Following, Leading, Looking, Observing};

#[test]
fn a_round_begins_with_the_own_proposal_to_all() {
    let mut it = election(2, 3);
    let outputs = after(&mut it, 0, Input::Look(proposal(2, 7)));
    assert_eq!(sent(&outputs), [(1, Looking, 2, 1), (3, Looking, 2, 1)]);
    let Output::Send { notification, .. } = &outputs[0] else { panic!("a notification") };
    assert_eq!(notification.zxid, Zxid(7));
    let text = b"server.1=:participant\nserver.2=:participant\nserver.3=:participant\nversion=0";
    assert_eq!(notification.config().unwrap(), &text[..]);
    assert_eq!(notification.version(), 2);
}

#[test]
fn a_better_proposal_is_adopted_and_told_to_all_and_a_worse_one_is_not() {
    let mut it = looking(2, 3);
    assert_eq!(sent(&after(&mut it, 0, says(1, Looking, proposal(1, 0), 1))), []);
    let outputs = after(&mut it, 0, says(3, Looking, proposal(3, 0), 1));
    assert_eq!(sent(&outputs), [(1, Looking, 3, 1), (3, Looking, 3, 1)]);
    assert_eq!(sent(&after(&mut it, 0, says(3, Looking, proposal(3, 0), 1))), [], "a second time it is no news");
}

#[test]
fn a_quorum_waits_for_a_better_proposal_first() {
    let mut it = looking(1, 3);
    assert_eq!(decided(&after(&mut it, 10, says(2, Looking, proposal(2, 0), 1))), None);
    assert_eq!(it.next_timeout(), Some(200), "it would send its vote again before the wait is over");
    after(&mut it, 200, Input::Timeout);
    assert_eq!(it.next_timeout(), Some(210));
    assert_eq!(decided(&after(&mut it, 209, Input::Timeout)), None);
    let mut late = it.clone();
    assert_eq!(decided(&after(&mut it, 210, Input::Timeout)), Some((Following, 2)));
    assert_eq!(it.next_timeout(), None);
    after(&mut late, 209, says(3, Looking, proposal(3, 0), 1));
    assert_eq!(decided(&after(&mut late, 210, Input::Timeout)), None, "the wait begins again with the better one");
    assert_eq!(decided(&after(&mut late, 409, Input::Timeout)), Some((Following, 3)));
}

#[test]
fn who_wins_leads() {
    let mut it = looking(3, 3);
    after(&mut it, 0, says(1, Looking, proposal(3, 0), 1));
    assert_eq!(decided(&after(&mut it, 200, Input::Timeout)), Some((Leading, 3)));
    assert_eq!((it.state(), it.current_vote().election_epoch), (Leading, 1));
}

#[test]
fn votes_for_others_make_no_quorum() {
    let mut it = looking(3, 5);
    after(&mut it, 0, says(1, Looking, proposal(1, 0), 1));
    after(&mut it, 0, says(2, Looking, proposal(2, 0), 1));
    assert_eq!(decided(&after(&mut it, 1000, Input::Timeout)), None);
}

#[test]
fn the_wait_ends_when_nobody_connected_could_propose_better() {
    let mut it = Election::new(Settings::new(ServerId(2)), of(3));
    for peer in [1, 3] {
        after(&mut it, 0, Input::Up(ServerId(peer)));
    }
    after(&mut it, 0, Input::Look(proposal(2, 7)));
    assert_eq!(decided(&after(&mut it, 0, says(1, Looking, proposal(2, 7), 1))), None, "3 has not voted");
    let mut gone = it.clone();
    assert_eq!(decided(&after(&mut it, 1, says(3, Looking, proposal(3, 0), 1))), None, "nor has it now");
    assert_eq!(decided(&after(&mut it, 2, says(3, Looking, proposal(2, 7), 1))), Some((Leading, 2)));
    let mut lost = gone.clone();
    assert_eq!(decided(&after(&mut gone, 1, Input::Down(ServerId(3)))), Some((Leading, 2)));
    let without_state = says(3, Looking, proposal(3, -1), 1);
    assert_eq!(decided(&after(&mut lost, 1, without_state)), Some((Leading, 2)), "3 has nothing to propose");
}

/// 9 is to vote by a reconfig that it has not heard of, and has followed somebody into an epoch that came to nothing.
#[test]
fn who_can_not_be_voted_for_votes_for_who_has_its_history() {
    let of_epoch = |leader, peer_epoch, zxid| Proposal { peer_epoch, ..proposal(leader, zxid) };
    let mut it = election(9, 3);
    after(&mut it, 0, Input::Look(of_epoch(9, 2, 7)));
    after(&mut it, 0, says(1, Looking, of_epoch(1, 1, 6), 1));
    assert_eq!(it.proposal().unwrap().leader, Proposal::NOBODY.leader, "1 has less");
    after(&mut it, 0, says(1, Looking, of_epoch(1, 1, 7), 1));
    assert_eq!(it.proposal(), Some(of_epoch(1, 1, 7)));
    after(&mut it, 0, says(2, Looking, of_epoch(2, 0, 7), 1));
    assert_eq!(it.proposal(), Some(of_epoch(1, 1, 7)), "the better of theirs");
}

#[test]
fn a_later_round_is_joined_with_the_better_of_its_vote_and_the_own() {
    let mut it = looking(2, 3);
    after(&mut it, 0, says(3, Looking, proposal(3, 0), 1));
    let outputs = after(&mut it, 0, says(1, Looking, proposal(1, 0), 5));
    assert_eq!(sent(&outputs), [(1, Looking, 2, 5), (3, Looking, 2, 5)], "the vote for 3 was of an earlier round");
    assert_eq!(it.election_epoch(), 5);
    assert_eq!(decided(&after(&mut it, 1000, Input::Timeout)), None, "and so were those for 3");
}

#[test]
fn who_is_in_an_earlier_round_is_told_and_not_counted() {
    let mut it = looking(2, 3);
    after(&mut it, 0, says(1, Looking, proposal(2, 0), 5));
    after(&mut it, 0, says(3, Looking, proposal(1, 0), 6));
    let outputs = after(&mut it, 0, says(1, Looking, proposal(2, 0), 5));
    assert_eq!(sent(&outputs), [(1, Looking, 2, 6)]);
    let outputs = after(&mut it, 0, says(3, Looking, proposal(3, 9), 5));
    assert_eq!(sent(&outputs), [(3, Looking, 2, 6)], "a better proposal must be made in this round");
    assert_eq!(decided(&after(&mut it, 1000, Input::Timeout)), None);
}

#[test]
fn who_votes_for_less_is_told_when_that_was_a_while_ago() {
    let mut it = looking(3, 5);
    assert_eq!(sent(&after(&mut it, 0, says(1, Looking, proposal(1, 0), 1))), [], "it was sent a moment ago");
    after(&mut it, 200, Input::Timeout);
    assert_eq!(sent(&after(&mut it, 300, says(1, Looking, proposal(1, 0), 1))), [(1, Looking, 3, 1)]);
    assert_eq!(sent(&after(&mut it, 300, says(1, Looking, proposal(3, 0), 1))), []);
}

#[test]
fn who_was_settled_when_it_was_told_is_told_again_as_soon_as_it_looks() {
    // 3 sees first that their leader 2 has died. 1 still follows, and so takes no votes.
    let mut it = looking(3, 3);
    assert_eq!(sent(&after(&mut it, 0, says(1, Following, proposal(2, 0), 0))), []);
    let mut other = it.clone();
    assert_eq!(sent(&after(&mut it, 1, says(1, Looking, proposal(1, 0), 1))), [(1, Looking, 3, 1)]);
    assert_eq!(sent(&after(&mut it, 1, says(1, Looking, proposal(1, 0), 1))), [], "once for each vote");
    assert_eq!(sent(&after(&mut it, 1, says(2, Looking, proposal(2, 0), 1))), [], "who did not settle was told");
    assert_eq!(sent(&after(&mut other, 1, says(1, Looking, proposal(3, 0), 1))), [], "it knows");
}

#[test]
fn votes_are_sent_again_less_and_less_often() {
    let mut it = looking(1, 3);
    let mut times = Vec::new();
    for _ in 0..12 {
        let at = it.next_timeout().unwrap();
        assert_eq!(sent(&after(&mut it, at, Input::Timeout)).len(), 2);
        times.push(it.next_timeout().unwrap() - at);
    }
    assert_eq!(times[..4], [400, 800, 1600, 3200]);
    assert_eq!(times[10..], [60_000, 60_000]);
    assert_eq!(sent(&after(&mut it, 1, Input::Up(ServerId(3)))), [(3, Looking, 1, 1)], "who connects is told at once");
}

#[test]
fn a_late_one_follows_the_leader_that_says_so_itself() {
    let mut it = looking(1, 3);
    let vote = Proposal { peer_epoch: 4, ..proposal(3, 9) };
    assert_eq!(decided(&after(&mut it, 0, says(2, Following, vote, 7))), None);
    let mut only = it.clone();
    assert_eq!(decided(&after(&mut it, 0, says(3, Leading, vote, 7))), Some((Following, 3)));
    assert_eq!((it.election_epoch(), it.current_vote().election_epoch), (7, 7));
    // Nobody but followers: their leader may have crashed.
    let mut it = looking(1, 5);
    for from in [2, 4, 5] {
        assert_eq!(decided(&after(&mut it, 0, says(from, Following, vote, 7))), None);
    }
    assert_eq!(decided(&after(&mut it, 0, says(3, Looking, proposal(3, 0), 1))), None);
    // And not with another epoch.
    let other = Proposal { peer_epoch: 5, ..vote };
    assert_eq!(decided(&after(&mut only, 0, says(3, Leading, other, 7))), None);
}

#[test]
fn servers_that_settled_in_different_rounds_are_one_ensemble() {
    let mut it = looking(1, 3);
    after(&mut it, 0, says(2, Following, Proposal { zxid: Zxid(5), ..proposal(3, 9) }, 7));
    assert_eq!(decided(&after(&mut it, 0, says(3, Leading, proposal(3, 9), 8))), Some((Following, 3)));
    // A release before 3.4.6 answers with the epoch of its vote, not the established one.
    let mut it = looking(1, 3);
    after(&mut it, 0, says_as(0, 2, Following, Proposal { peer_epoch: 3, ..proposal(3, 9) }, 7));
    assert_eq!(decided(&after(&mut it, 0, says(3, Leading, proposal(3, 9), 7))), Some((Following, 3)));
}

#[test]
fn in_the_same_round_a_leader_is_believed_by_its_id() {
    let mut it = looking(1, 3);
    after(&mut it, 0, says(2, Following, Proposal { peer_epoch: 1, ..proposal(3, 9) }, 1));
    assert_eq!(
        decided(&after(&mut it, 0, says(3, Leading, Proposal { peer_epoch: 2, ..proposal(3, 9) }, 1))),
        Some((Following, 3))
    );
}

#[test]
fn what_counted_in_an_earlier_round_is_forgotten() {
    let mut it = looking(1, 5);
    for from in [2, 4] {
        after(&mut it, 0, says(from, Following, Proposal { peer_epoch: 1, ..proposal(3, 9) }, 1));
    }
    // A round later the epochs must agree, for 2 and 4 follow a leader of another epoch.
    after(&mut it, 0, says(5, Looking, proposal(5, 0), 2));
    let outputs = after(&mut it, 0, says(3, Leading, Proposal { peer_epoch: 2, ..proposal(3, 9) }, 2));
    assert_eq!(decided(&outputs), None);
}

#[test]
fn a_server_leads_by_what_others_say_only_in_its_own_round() {
    let vote = proposal(1, 9);
    let mut it = looking(1, 3);
    for from in [2, 3] {
        assert_eq!(
            decided(&after(&mut it, 0, says(from, Following, vote, 7))),
            None,
            "it crashed, and they do not know"
        );
    }
    let mut it = looking(1, 3);
    after(&mut it, 0, says(2, Following, vote, 1));
    assert_eq!(decided(&after(&mut it, 0, says(3, Following, vote, 1))), Some((Leading, 1)));
}

#[test]
fn a_settled_server_answers_those_that_look_and_nobody_else() {
    let mut it = looking(3, 3);
    after(&mut it, 0, says(1, Looking, proposal(3, 0), 1));
    after(&mut it, 200, Input::Timeout);
    let outputs = after(&mut it, 300, says(2, Looking, proposal(2, 0), 9));
    assert_eq!((outputs.len(), sent(&outputs)), (1, vec![(2, Leading, 3, 1)]));
    let outputs = after(&mut it, 300, says(1, Looking, proposal(1, 0), 2));
    assert_eq!(outputs[0], Output::VoterLooks(ServerId(1)), "it had voted for this server");
    for state in [Following, Leading, Observing] {
        assert_eq!(after(&mut it, 300, says(1, state, proposal(3, 0), 1)), []);
    }
    let outputs = after(&mut it, 300, says(7, Following, proposal(3, 0), 9));
    assert_eq!(sent(&outputs), [(7, Leading, 3, 1)], "who has no vote is answered whatever it does");
    it.handle(400, Input::Established(Epoch(6)));
    let outputs = after(&mut it, 500, says(2, Looking, proposal(2, 0), 9));
    let Some(Output::Send { notification, .. }) = outputs.first() else { panic!("an answer") };
    assert_eq!(notification.peer_epoch, 6, "the established epoch");
    let outputs = after(&mut it, 600, Input::Look(proposal(3, 0)));
    assert_eq!(sent(&outputs)[0], (1, Looking, 3, 2), "a round on");
}

#[test]
fn who_has_no_vote_is_not_counted() {
    let mut it = looking(1, 3);
    for from in [4, 5, -1] {
        assert_eq!(decided(&after(&mut it, 0, says(from, Looking, proposal(1, 0), 1))), None);
    }
    assert_eq!(decided(&after(&mut it, 1000, Input::Timeout)), None);
    after(&mut it, 0, says(2, Looking, proposal(9, 99), 1));
    assert_eq!(it.proposal().unwrap().leader, ServerId(1), "nor is it voted for");
    let mut unknown = says(2, Looking, proposal(2, 0), 1);
    if let Input::Notification { notification, .. } = &mut unknown {
        notification.state = None;
    }
    assert_eq!(after(&mut it, 0, unknown), []);
}

fn with_observer() -> Quorums {
    let observer = Member { role: Role::Observer, ..Member::participant(ServerId(4)) };
    let members = (1..=3).map(|id| Member::participant(ServerId(id))).chain([observer]);
    Quorums::of(QuorumVerifier::majority(members, 0))
}

#[test]
fn an_observer_asks_and_observes() {
    let mut it = Election::new(settings(4), with_observer());
    let outputs = after(&mut it, 0, Input::Look(proposal(4, 99)));
    let nobody = i64::MIN;
    assert_eq!(sent(&outputs), [(1, Looking, nobody, 1), (2, Looking, nobody, 1), (3, Looking, nobody, 1)]);
    after(&mut it, 0, says(1, Following, proposal(3, 0), 7));
    assert_eq!(decided(&after(&mut it, 0, says(3, Leading, proposal(3, 0), 7))), Some((Observing, 3)));
}

/// Its ACKs may be those that the reconfig lacks.
#[test]
fn an_observer_that_is_to_vote_by_a_reconfig_that_it_has_seen_follows() {
    let newer = QuorumVerifier::of_participants([3, 4].map(ServerId)).with_version(9);
    let quorums = Quorums::new(with_observer().committed().clone(), Some(newer.into()));
    let mut it = Election::new(settings(4), quorums);
    after(&mut it, 0, Input::Look(proposal(4, 7)));
    after(&mut it, 0, says(1, Following, proposal(3, 0), 7));
    assert_eq!(decided(&after(&mut it, 0, says(3, Leading, proposal(3, 0), 7))), Some((Following, 3)));
}

/// Otherwise they would answer each other without end.
#[test]
fn a_voter_that_looks_and_an_observer_do_not_answer_each_others_answers() {
    let mut voter = Election::new(settings(1), with_observer());
    after(&mut voter, 0, Input::Look(proposal(1, 0)));
    let settled = says(4, Observing, proposal(2, 0), 1);
    assert_eq!(sent(&after(&mut voter, 0, settled)), [], "it knows who leads");
    let looks = says(4, Looking, Proposal::NOBODY, 1);
    assert_eq!(sent(&after(&mut voter, 0, looks)).len(), 1);
    let mut observer = Election::new(settings(4), with_observer());
    for _ in 0..3 {
        after(&mut observer, 0, Input::Look(Proposal::NOBODY));
    }
    assert_eq!(sent(&after(&mut observer, 0, says(1, Looking, proposal(1, 0), 1))), [], "it is in no round of voters");
}

#[test]
fn a_server_of_no_configuration_follows_without_a_vote() {
    let mut it = election(9, 3);
    assert_eq!(sent(&after(&mut it, 0, Input::Look(proposal(9, 99))))[0], (1, Looking, i64::MIN, 1));
    after(&mut it, 0, says(1, Following, proposal(3, 0), 7));
    assert_eq!(decided(&after(&mut it, 0, says(3, Leading, proposal(3, 0), 7))), Some((Following, 3)));
}

#[test]
fn who_lost_its_state_neither_votes_nor_is_voted_for() {
    let lost = |id| proposal(id, -1);
    let mut it = election(3, 3);
    after(&mut it, 0, Input::Look(lost(3)));
    after(&mut it, 0, says(1, Looking, proposal(1, 0), 1));
    after(&mut it, 0, says(2, Looking, proposal(1, 0), 1));
    assert_eq!(decided(&after(&mut it, 1000, Input::Timeout)), None);
    after(&mut it, 0, says(2, Following, proposal(1, 0), 1));
    assert_eq!(decided(&after(&mut it, 0, says(1, Leading, proposal(1, 0), 1))), Some((Following, 1)));
    let mut it = looking(1, 3);
    after(&mut it, 0, says(3, Looking, lost(3), 1));
    assert_eq!(it.proposal().unwrap().leader, ServerId(1));
    // Nor do two of three that lost it make a leader.
    let mut it = election(2, 3);
    after(&mut it, 0, Input::Look(lost(2)));
    after(&mut it, 0, says(1, Looking, lost(2), 1));
    assert_eq!(decided(&after(&mut it, 1000, Input::Timeout)), None);
}

#[test]
fn both_configurations_of_a_reconfig_must_agree() {
    let newer = QuorumVerifier::of_participants([3, 4, 5].map(ServerId)).with_version(9);
    let quorums = Quorums::new(of(3).committed().clone(), Some(newer.into()));
    let mut it = Election::new(settings(3), quorums);
    assert_eq!(sent(&after(&mut it, 0, Input::Look(proposal(3, 7)))).len(), 4, "all voters of both");
    after(&mut it, 0, says(1, Looking, proposal(3, 7), 1));
    assert_eq!(it.next_timeout(), Some(200));
    after(&mut it, 200, Input::Timeout);
    assert_eq!(decided(&after(&mut it, 500, Input::Timeout)), None);
    after(&mut it, 500, says(5, Looking, proposal(3, 7), 1));
    assert_eq!(decided(&after(&mut it, 700, Input::Timeout)), Some((Leading, 3)));
}

/// 4 is to vote, and does not know it, so it offers nobody; but without it there is no quorum of the new configuration.
#[test]
fn a_later_round_is_joined_though_its_giver_knows_of_no_vote_of_its_own() {
    let newer = QuorumVerifier::of_participants([3, 4, 5].map(ServerId)).with_version(9);
    let quorums = Quorums::new(of(3).committed().clone(), Some(newer.into()));
    let mut it = Election::new(settings(3), quorums);
    after(&mut it, 0, Input::Look(proposal(3, 7)));
    after(&mut it, 0, says(1, Looking, proposal(3, 7), 1));
    assert_eq!(sent(&after(&mut it, 10, says(4, Observing, Proposal::NOBODY, 8))), [], "who has a role is in no round");
    assert_eq!(
        sent(&after(&mut it, 10, says(9, Looking, Proposal::NOBODY, 8))),
        [(9, Looking, 3, 1)],
        "nor a stranger"
    );
    let all = [1, 2, 4, 5].map(|to| (to, Looking, 3, 5));
    assert_eq!(sent(&after(&mut it, 10, says(4, Looking, Proposal::NOBODY, 5))), all);
    assert_eq!(decided(&after(&mut it, 300, Input::Timeout)), None, "nobody has voted in this round");
    after(&mut it, 300, says(1, Looking, proposal(3, 7), 5));
    after(&mut it, 300, says(4, Looking, proposal(3, 7), 5));
    assert_eq!(decided(&after(&mut it, 600, Input::Timeout)), Some((Leading, 3)));
}

/// Server `me`, which has seen a reconfig from three voters to seven, and looks for a leader.
fn with_reconfig_seen(me: i64) -> Election {
    let newer = QuorumVerifier::of_participants((1..=7).map(ServerId)).with_version(9);
    let quorums = Quorums::new(of(3).committed().clone(), Some(newer.into()));
    let mut it = Election::new(settings(me), quorums);
    after(&mut it, 0, Input::Look(proposal(me, 9)));
    it
}

/// Servers 1 and 2 have never seen the reconfig, need nobody for a quorum, and will cut it: who has seen it follows them.
/// Otherwise 3, 4, 5, 6 and 7 would wait for each other for ever.
#[test]
fn who_has_seen_a_reconfig_follows_a_leader_that_has_not() {
    for me in [3, 7] {
        let mut it = with_reconfig_seen(me);
        assert_eq!(decided(&after(&mut it, 0, says(2, Following, proposal(1, 0), 5))), None);
        assert_eq!(
            decided(&after(&mut it, 0, says(1, Leading, proposal(1, 0), 5))),
            Some((Following, 1)),
            "server {me}"
        );
    }
    // Who leads needs both, whatever others say.
    let mut it = with_reconfig_seen(3);
    after(&mut it, 0, says(1, Following, proposal(3, 0), 1));
    assert_eq!(decided(&after(&mut it, 0, says(2, Following, proposal(3, 0), 1))), None);
}

/// 7 has a vote as it sees it, and none as 1 does, which therefore answers whatever 7 says. They don't go on and on.
#[test]
fn servers_that_disagree_on_who_votes_do_not_answer_each_other_for_ever() {
    let (mut one, mut seven) = (looking(1, 3), with_reconfig_seen(7));
    after(&mut seven, 200, Input::Timeout);
    let told = |outputs: &[Output], to: i64| {
        outputs.iter().rev().find_map(|it| match it {
            Output::Send { to: it, notification } if it.0 == to => Some(notification.clone()),
            _ => None,
        })
    };
    let (mut answers, mut next) = (0, told(&after(&mut one, 250, Input::Timeout), 3));
    while let Some(notification) = next {
        answers += 1;
        assert!(answers < 10, "they go on and on");
        let outputs = after(&mut seven, 300, Input::Notification { from: ServerId(1), notification });
        let Some(notification) = told(&outputs, 1) else { break };
        next = told(&after(&mut one, 300, Input::Notification { from: ServerId(7), notification }), 7);
    }
    assert!(answers > 1, "they answer at all");
    // Once it tells everybody again, it answers again.
    after(&mut seven, 5000, Input::Timeout);
    let outputs = after(&mut seven, 5000, says(1, Looking, proposal(1, 0), 1));
    assert_eq!(sent(&outputs).len(), 1);
}

fn configured(from: i64, text: &str) -> Input {
    let mut input = says(from, Looking, proposal(3, 0), 1);
    if let Input::Notification { notification, .. } = &mut input {
        let config = Bytes::copy_from_slice(text.as_bytes());
        notification.format = NotificationFormat::WithConfig { version: 2, config };
    }
    input
}

#[test]
fn a_newer_configuration_comes_before_its_sender_is_counted() {
    let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2\nversion=100000000";
    let mut it = Election::new(Settings { reconfig_enabled: true, ..settings(1) }, of(3));
    after(&mut it, 0, Input::Look(proposal(1, 0)));
    let outputs = after(&mut it, 0, configured(2, text));
    let [Output::NewerConfiguration(newer)] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((newer.version(), newer.voters().count()), (1 << 32, 4));
    let outputs = after(&mut it, 0, Input::Configured(Quorums::of((**newer).clone())));
    assert_eq!(
        sent(&outputs).iter().map(|it| (it.0, it.3)).collect::<Vec<_>>(),
        [(2, 1), (3, 1), (4, 1)],
        "over again"
    );
    assert_eq!(decided(&after(&mut it, 0, configured(2, text))), None);
    assert_eq!(it.proposal().unwrap().leader, ServerId(3), "now it counts");
    for ignored in ["", "server.1=x", "server.1=a:1:2\nserver.2=b:1:2\nversion=ffffffff", "version=zz"] {
        let outputs = after(&mut it, 0, configured(2, ignored));
        assert!(!outputs.iter().any(|it| matches!(it, Output::NewerConfiguration(_))), "{ignored}");
    }
    let mut off = looking(1, 3);
    after(&mut off, 0, configured(2, text));
    assert_eq!(off.proposal().unwrap().leader, ServerId(3), "without reconfigEnabled it is not looked at");
}

#[test]
fn an_oracle_stands_for_the_other_one_of_two() {
    let quorums = Quorums::of(QuorumVerifier::of_participants([1, 2].map(ServerId)).with_rule(Rule::OracleMajority));
    let mut it = Election::new(settings(1), quorums.clone());
    after(&mut it, 0, Input::Look(proposal(1, 0)));
    assert_eq!(it.next_timeout(), Some(200), "alone it goes on looking");
    after(&mut it, 0, Input::Oracle(true));
    assert_eq!(decided(&after(&mut it, 200, Input::Timeout)), Some((Leading, 1)));
    // Whom the oracle lets lead alone waits all the same: the other one may do that already.
    let mut back = Election::new(Settings { early_end: true, ..settings(1) }, quorums.clone());
    after(&mut back, 0, Input::Oracle(true));
    assert_eq!(decided(&after(&mut back, 0, Input::Look(proposal(1, 0)))), None);
    assert_eq!(decided(&after(&mut back, 100, says(2, Leading, proposal(2, 5), 7))), Some((Following, 2)));
    let mut other = Election::new(settings(2), quorums);
    after(&mut other, 0, Input::Look(proposal(2, 0)));
    assert_eq!(decided(&after(&mut other, 0, says(1, Leading, proposal(1, 0), 7))), Some((Following, 1)));
    // Three need nobody from outside.
    let three = QuorumVerifier::of_participants([1, 2, 3].map(ServerId)).with_rule(Rule::OracleMajority);
    let mut it = Election::new(settings(2), Quorums::of(three));
    after(&mut it, 0, Input::Look(proposal(2, 0)));
    assert_eq!(decided(&after(&mut it, 0, says(1, Leading, proposal(1, 0), 7))), None);
}

#[test]
fn votes_that_came_before_the_round_are_part_of_it() {
    let mut it = election(1, 3);
    assert_eq!(after(&mut it, 0, says(3, Looking, proposal(3, 0), 1)), []);
    assert_eq!(after(&mut it, 0, says(4, Looking, proposal(3, 0), 1)), [], "nothing to answer with yet");
    after(&mut it, 0, Input::Look(proposal(1, 0)));
    assert_eq!(it.proposal().unwrap().leader, ServerId(3));
    assert_eq!(decided(&after(&mut it, 200, Input::Timeout)), Some((Following, 3)));
}

#[test]
fn who_has_left_its_role_says_nothing_before_it_looks() {
    for leads in [true, false] {
        let leader = if leads { 1 } else { 3 };
        let mut it = looking(1, 3);
        after(&mut it, 0, says(3, Looking, proposal(leader, 5), 1));
        after(&mut it, 0, says(2, Looking, proposal(leader, 5), 1));
        let decision = decided(&after(&mut it, 200, Input::Timeout));
        assert_eq!(decision, Some((if leads { Leading } else { Following }, leader)));
        assert_eq!(sent(&after(&mut it, 300, says(2, Looking, proposal(2, 0), 2))).len(), 1, "a settled one answers");
        after(&mut it, 400, Input::Over);
        assert_eq!(it.state(), Looking);
        assert_eq!(after(&mut it, 500, says(2, Looking, proposal(2, 9), 2)), []);
        assert_eq!(after(&mut it, 500, says(4, Looking, proposal(-1, 0), 2)), [], "nor to one without a vote");
        assert_eq!((after(&mut it, 500, Input::Up(ServerId(2))), it.next_timeout()), (vec![], None));
        // What the others said meanwhile counts when it looks.
        let outputs = after(&mut it, 600, Input::Look(proposal(1, 5)));
        assert_eq!(it.proposal().unwrap().leader, ServerId(2), "{outputs:?}");
        assert!(sent(&outputs).iter().all(|&(_, state, ..)| state == Looking), "{outputs:?}");
    }
}

#[test]
fn an_ensemble_of_one_decides_at_once() {
    let mut it = Election::new(Settings::new(ServerId(1)), of(1));
    assert_eq!(decided(&after(&mut it, 0, Input::Look(proposal(1, 0)))), Some((Leading, 1)));
}

#[test]
fn time_can_be_set_back_to_compare() {
    let at = |start: u64| {
        let mut it = election(1, 3);
        it.handle(start, Input::Look(proposal(1, 0)));
        it.handle(start + 5, says(2, Looking, proposal(2, 0), 1));
        it.rebased(start + 5)
    };
    assert_eq!(at(0), at(1_000_000));
}
