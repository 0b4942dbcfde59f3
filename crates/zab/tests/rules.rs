//! Rules of the two machines, one by one: what is refused, what ends a role, what a full queue does, what is said when.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod small;

use bytes::Bytes;
use ostler_zab::connections::STRANGERS_MAX;
use ostler_zab::leader::{CloseReason, Input as In, Output as Out};
use ostler_zab::learner::{Input as LearnerIn, Output as LearnerOut};
use ostler_zab::quorum_verifier::{Member, Role};
use ostler_zab::{
    Command, CommittedLog, ConnId, Leader, LeaderOver, Learner, LearnerOver, Logged, Options, Proposal, QuorumVerifier,
    Start, ToLearner,
};
use wire::quorum::{Forwarded, LearnerInfo, PROTOCOL_VERSION, Packet, Touch};
use wire::{Epoch, OpCode, ServerId, SessionId, Xid, Zxid};

use small::{options, proposal, start, z};

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

/// A leader, and what came out of it.
struct Led {
    leader: Leader,
    now_ms: u64,
    outputs: Vec<Out>,
}

impl Led {
    fn new(options: Options) -> Self {
        Self::from(options.clone(), start(&options))
    }

    fn from(options: Options, start: Start) -> Self {
        let mut this = Self { leader: Leader::new(options, start, 0), now_ms: 0, outputs: vec![] };
        this.drain();
        this
    }

    /// Its own disk is quick with the epoch files.
    fn drain(&mut self) {
        while let Some(output) = self.leader.next_output() {
            let token = if let Out::Disk(command) = &output { command.token() } else { None };
            self.outputs.push(output);
            if let Some(token) = token {
                self.leader.handle(self.now_ms, In::Done(token.done()));
            }
        }
    }

    fn give(&mut self, input: In) {
        self.leader.handle(self.now_ms, input);
        self.drain();
    }

    fn hear(&mut self, conn: ConnId, packet: Packet) {
        self.give(In::Packet(conn, packet));
    }

    fn said(&mut self, conn: ConnId) -> Vec<Packet> {
        let mut said = vec![];
        while let Some(ToLearner::Packet(packet)) = self.leader.next_packet(self.now_ms, conn) {
            said.push(packet);
        }
        self.drain();
        said
    }

    /// FOLLOWERINFO, ACKEPOCH, ACK of NEWLEADER.
    fn join(&mut self, conn: ConnId, id: i64) {
        self.give(In::Connected(conn));
        self.hear(conn, Packet::FollowerInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(id), 0) });
        self.hear(conn, Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(1) });
        self.hear(conn, Packet::Ack { zxid: z(2, 0) });
    }

    /// In broadcast with one follower.
    fn established(options: Options) -> Self {
        let mut this = Self::new(options);
        this.join(A, 2);
        assert_eq!(this.leader.established(), Some(Epoch(2)));
        this.said(A);
        this.outputs.clear();
        this
    }

    fn propose(&mut self) -> Zxid {
        let zxid = self.leader.next_zxid().unwrap();
        self.give(In::Propose(proposal(zxid)));
        zxid
    }

    fn closed(&self, conn: ConnId) -> Option<&CloseReason> {
        self.outputs.iter().find_map(|it| match it {
            Out::Close(closed, why) if *closed == conn => Some(why),
            _ => None,
        })
    }

    fn is_over(&self, why: LeaderOver) -> bool {
        self.outputs.last() == Some(&Out::Over(why)) && self.leader.is_over() && self.leader.next_timeout().is_none()
    }

    /// Lets the time go on until `until_ms`, with all timers.
    fn wait(&mut self, until_ms: u64) {
        while let Some(next) = self.leader.next_timeout().filter(|&next| next <= until_ms) {
            self.now_ms = self.now_ms.max(next);
            self.give(In::Timer);
        }
        self.now_ms = until_ms;
    }
}

#[test]
fn a_whole_conversation_packet_by_packet() {
    let mut led = Led::new(options(1));
    led.give(In::Connected(A));
    assert!(led.said(A).is_empty(), "the learner speaks first");
    led.hear(A, Packet::FollowerInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(2), 0) });
    assert_eq!(led.said(A), [Packet::LeaderInfo { zxid: z(2, 0), protocol_version: PROTOCOL_VERSION }]);
    led.hear(A, Packet::AckEpoch { zxid: z(1, 1), current_epoch: Epoch(1) });
    let Proposal { zxid, txn } = proposal(z(1, 2));
    let new_leader = Packet::NewLeader { zxid: z(2, 0), config: Some(Bytes::new()) };
    let sync = [Packet::Diff { zxid }, Packet::Proposal { zxid, txn }, Packet::Commit { zxid }, new_leader];
    assert_eq!(led.said(A), sync);
    led.hear(A, Packet::Ack { zxid: z(2, 0) });
    assert_eq!(led.said(A), [Packet::UpToDate { zxid: Zxid(-1) }]);
    led.hear(A, Packet::Ack { zxid: z(2, 0) });
    assert_eq!(led.closed(A), None, "the second ACK of NEWLEADER means nothing");
    let zxid = led.propose();
    let txn = proposal(zxid).txn;
    assert_eq!((zxid, led.said(A)), (z(2, 1), vec![Packet::Proposal { zxid, txn }]));
    led.hear(A, Packet::Ack { zxid });
    assert!(led.said(A).is_empty(), "one of three");
    led.give(In::Logged(Logged::up_to(zxid)));
    assert_eq!(led.said(A), [Packet::Commit { zxid }]);
    assert!(led.outputs.contains(&Out::Commit(zxid)));
}

#[test]
fn two_followers_commit_but_the_leader_applies_when_it_has_logged() {
    let mut led = Led::established(options(1));
    led.join(B, 3);
    let zxid = led.propose();
    led.hear(A, Packet::Ack { zxid });
    led.hear(B, Packet::Ack { zxid });
    assert!(led.said(A).contains(&Packet::Commit { zxid }));
    assert!(!led.outputs.contains(&Out::Commit(zxid)));
    led.give(In::Logged(Logged::up_to(zxid)));
    assert!(led.outputs.contains(&Out::Commit(zxid)));
}

#[test]
fn who_is_refused() {
    let hello = |zxid, info| Packet::FollowerInfo { zxid, info };
    let info = LearnerInfo::new(ServerId(2), 0);
    let old = LearnerInfo { protocol_version: Some(1), ..info };
    let ahead = LearnerInfo { config_version: Some(7), ..info };
    let unexpected = Packet::Ack { zxid: z(1, 1) };
    for (packet, why) in [
        (hello(z(1, 0), old), CloseReason::OldProtocol(Some(1))),
        (hello(z(1, 0), LearnerInfo { protocol_version: None, ..info }), CloseReason::OldProtocol(None)),
        (hello(z(1, 0), ahead), CloseReason::LaterConfig { theirs: 7, ours: 0 }),
        (hello(z(1, 0), LearnerInfo::new(ServerId(1), 0)), CloseReason::SameServer),
        (hello(z(i32::MAX, 0), info), CloseReason::BadEpoch(Epoch(i32::MAX))),
        (hello(Zxid(-1), info), CloseReason::BadEpoch(Epoch(-1))),
        (unexpected, CloseReason::Unexpected("ACK")),
    ] {
        let mut led = Led::new(options(1));
        led.give(In::Connected(A));
        led.hear(A, packet);
        assert_eq!(led.closed(A), Some(&why));
    }
}

/// Whoever floods a leader keeps no member out.
#[test]
fn strangers_take_no_room_from_members() {
    let mut led = Led::new(options(1));
    let hello = |id| Packet::FollowerInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(id), 0) };
    let strangers = 100..100 + STRANGERS_MAX as u64;
    for n in strangers.clone() {
        led.give(In::Connected(ConnId(n)));
        led.hear(ConnId(n), hello(n as i64));
        assert_eq!(led.closed(ConnId(n)), None);
    }
    led.give(In::Connected(ConnId(99)));
    led.hear(ConnId(99), hello(99));
    assert_eq!(led.closed(ConnId(99)), Some(&CloseReason::TooMany), "the one that came last");
    // It is the same server that comes again.
    led.give(In::Connected(ConnId(98)));
    led.hear(ConnId(98), hello(100));
    assert_eq!((led.closed(ConnId(100)), led.closed(ConnId(98))), (Some(&CloseReason::Replaced), None));
    // Those that say nothing push each other out, the oldest first.
    led.outputs.clear();
    for n in 0..=STRANGERS_MAX as u64 {
        led.give(In::Connected(ConnId(1000 + n)));
    }
    assert_eq!(led.closed(ConnId(1000)), Some(&CloseReason::TooMany));
    assert_eq!(led.closed(ConnId(1001)), None);
    // And the members come, after all of them, and make the quorum.
    led.join(A, 2);
    assert_eq!((led.closed(A), led.leader.established()), (None, Some(Epoch(2))));
    let zxid = led.propose();
    led.hear(A, Packet::Ack { zxid });
    led.give(In::Logged(Logged::up_to(zxid)));
    assert!(led.outputs.contains(&Out::Commit(zxid)));
}

/// What it knows beyond this version's protocol it does not use with an older server.
#[test]
fn a_learner_of_a_later_version_is_as_welcome() {
    let mut led = Led::new(options(1));
    led.give(In::Connected(A));
    let info = LearnerInfo { protocol_version: Some(PROTOCOL_VERSION + 1), ..LearnerInfo::new(ServerId(2), 0) };
    led.hear(A, Packet::FollowerInfo { zxid: z(1, 0), info });
    assert_eq!(led.said(A), [Packet::LeaderInfo { zxid: z(2, 0), protocol_version: PROTOCOL_VERSION }]);
}

#[test]
fn who_steps_down_lets_go_of_everybody_and_does_so_once() {
    let mut led = Led::established(options(1));
    led.leader.step_down(LeaderOver::Mispredicted);
    led.leader.step_down(LeaderOver::QuorumLost);
    led.drain();
    assert!(led.is_over(LeaderOver::Mispredicted));
    assert_eq!(led.leader.next_zxid(), None);
}

#[test]
fn who_knows_more_is_not_led() {
    let mut led = Led::new(options(1));
    led.give(In::Connected(A));
    led.hear(A, Packet::FollowerInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(2), 0) });
    led.hear(A, Packet::AckEpoch { zxid: z(1, 3), current_epoch: Epoch(1) });
    assert!(matches!(led.closed(A), Some(CloseReason::Ahead { .. })));
    led.wait(60_000);
    assert!(led.is_over(LeaderOver::NoQuorumForEpochAcks));
}

/// It had begun a later epoch with a leader that was gone before anything came of it.
#[test]
fn who_ends_with_the_same_txn_is_led_whatever_its_epoch() {
    let mut led = Led::new(options(1));
    led.give(In::Connected(A));
    led.hear(A, Packet::FollowerInfo { zxid: z(2, 0), info: LearnerInfo::new(ServerId(2), 0) });
    led.hear(A, Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(2) });
    led.hear(A, Packet::Ack { zxid: z(3, 0) });
    assert_eq!(led.closed(A), None);
    assert_eq!(led.leader.established(), Some(Epoch(3)));
    // With less, it has cut in that epoch what this leader still has.
    let mut led = Led::new(options(1));
    led.give(In::Connected(A));
    led.hear(A, Packet::FollowerInfo { zxid: z(2, 0), info: LearnerInfo::new(ServerId(2), 0) });
    led.hear(A, Packet::AckEpoch { zxid: z(1, 1), current_epoch: Epoch(2) });
    assert!(matches!(led.closed(A), Some(CloseReason::Ahead { .. })));
}

/// 4 observes, and is to vote by a reconfig that it has not heard of.
#[test]
fn an_observer_that_is_to_vote_promises_the_epoch_and_has_no_say_in_what_is_committed() {
    let newer = QuorumVerifier::of_participants([1, 4, 5].map(ServerId)).with_version(9);
    let mut led = Led::new(Options { last_seen: Some(newer), reconfig_enabled: true, ..options(1) });
    led.give(In::Connected(B));
    led.hear(B, Packet::ObserverInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(4), 0) });
    led.give(In::Connected(A));
    led.hear(A, Packet::FollowerInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(2), 0) });
    led.hear(A, Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(1) });
    assert!(!led.said(A).iter().any(|it| matches!(it, Packet::NewLeader { .. })), "there is no quorum of 1, 4 and 5");
    led.hear(B, Packet::AckEpoch { zxid: z(1, 1), current_epoch: Epoch(1) });
    assert!(led.said(A).iter().any(|it| matches!(it, Packet::NewLeader { .. })));
    led.hear(A, Packet::Ack { zxid: z(2, 0) });
    led.hear(B, Packet::Ack { zxid: z(2, 0) });
    assert_eq!(led.leader.established(), None, "an observer's history may be in its memory only");
    led.join(ConnId(3), 5);
    assert_eq!(led.leader.established(), Some(Epoch(2)));
}

#[test]
fn the_new_epoch_is_later_than_all_that_were_accepted() {
    let observer = Member { role: Role::Observer, ..Member::participant(ServerId(9)) };
    let members = [1, 2, 3].map(|id| Member::participant(ServerId(id))).into_iter().chain([observer]);
    let mut led = Led::new(Options::new(ServerId(1), QuorumVerifier::majority(members, 0)));
    led.give(In::Connected(B));
    led.hear(B, Packet::ObserverInfo { zxid: z(8, 0), info: LearnerInfo::new(ServerId(9), 0) });
    assert!(led.said(B).is_empty(), "an observer makes no quorum");
    led.give(In::Connected(A));
    led.hear(A, Packet::FollowerInfo { zxid: z(5, 0), info: LearnerInfo::new(ServerId(2), 0) });
    assert_eq!(led.said(A), [Packet::LeaderInfo { zxid: z(9, 0), protocol_version: PROTOCOL_VERSION }]);
}

/// Otherwise anybody who can connect uses up all epochs at once.
#[test]
fn who_is_in_no_configuration_does_not_raise_the_epoch() {
    const LAST: Epoch = Epoch(i32::MAX - 1);
    let strangers = [
        Packet::FollowerInfo { zxid: Zxid::new(LAST, 0), info: LearnerInfo::new(ServerId(9), 0) },
        Packet::ObserverInfo { zxid: Zxid::new(LAST, 0), info: LearnerInfo::new(ServerId(8), 0) },
        Packet::ObserverInfo {
            zxid: Zxid::new(LAST, 0),
            info: LearnerInfo { server: None, ..LearnerInfo::new(ServerId(7), 0) },
        },
        Packet::FollowerInfo { zxid: z(7, 0), info: LearnerInfo::new(ServerId(6), 0) },
    ];
    let mut led = Led::new(options(1));
    for (hello, n) in strangers.iter().zip(10..) {
        led.give(In::Connected(ConnId(n)));
        led.hear(ConnId(n), hello.clone());
        assert_eq!(led.said(ConnId(n)), vec![]);
    }
    // One whose epoch is not later is taken.
    led.give(In::Connected(B));
    led.hear(B, Packet::FollowerInfo { zxid: z(6, 0), info: LearnerInfo::new(ServerId(4), 0) });
    led.give(In::Connected(A));
    led.hear(A, Packet::FollowerInfo { zxid: z(5, 0), info: LearnerInfo::new(ServerId(2), 0) });
    let info = [Packet::LeaderInfo { zxid: z(6, 0), protocol_version: PROTOCOL_VERSION }];
    assert_eq!((led.said(A), led.said(B)), (info.to_vec(), info.to_vec()));
    for n in 10..14 {
        assert_eq!(led.said(ConnId(n)), info, "it sees that this one is older, and leaves");
    }
    // It is no other matter when the epoch is established.
    led.hear(A, Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(1) });
    led.hear(A, Packet::Ack { zxid: z(6, 0) });
    assert_eq!(led.leader.established(), Some(Epoch(6)));
    for (hello, n) in strangers.iter().zip(20..) {
        led.give(In::Connected(ConnId(n)));
        led.hear(ConnId(n), hello.clone());
        assert_eq!(led.said(ConnId(n)), info);
    }
    led.hear(B, Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(1) });
    led.hear(B, Packet::Ack { zxid: z(6, 0) });
    assert!(matches!(led.said(B).last(), Some(Packet::UpToDate { .. })), "a follower without a vote");
    let learners = led.leader.learners();
    assert_eq!((learners.followers, learners.without_vote), (2, 1));
}

#[test]
fn used_up_numbers_end_the_role() {
    let mut begin = start(&options(1));
    begin.accepted = Epoch(i32::MAX);
    assert!(Led::from(options(1), begin).is_over(LeaderOver::EpochsUsedUp));

    let alone = Options::new(ServerId(1), QuorumVerifier::standalone(ServerId(1)));
    let mut led = Led::new(Options { initial_counter: u32::MAX - 2, ..alone });
    assert_eq!(led.leader.established(), Some(Epoch(2)));
    let last = led.propose();
    assert_eq!(last, z(2, u32::MAX - 1));
    led.give(In::Logged(Logged::up_to(last)));
    assert!(led.outputs.contains(&Out::Commit(last)));
    assert_eq!(led.leader.next_zxid(), None, "the last counter is never used");
    led.drain();
    assert!(led.is_over(LeaderOver::ZxidsUsedUp));
}

#[test]
fn a_server_without_its_state_does_not_lead() {
    let lost = Start { is_lost: true, ..start(&options(1)) };
    assert!(Led::from(options(1), lost).is_over(LeaderOver::StateLost));
}

#[test]
fn alone_it_does_not_wait_for_ever() {
    let mut led = Led::new(options(1));
    led.wait(19_999);
    assert!(!led.leader.is_over());
    led.wait(20_000);
    assert!(led.is_over(LeaderOver::NoQuorumForEpoch));
}

#[test]
fn a_leader_whose_followers_are_silent_steps_down() {
    let mut led = Led::established(options(1));
    led.wait(9_000);
    assert!(!led.leader.is_over());
    led.wait(14_000);
    assert!(led.is_over(LeaderOver::QuorumLost));
}

#[test]
fn a_leader_whose_disk_hangs_steps_down() {
    let mut led = Led::established(options(1));
    let zxid = led.propose();
    for tick in 1..20 {
        led.wait(tick * 1000);
        for packet in led.said(A) {
            if let Packet::Ping { zxid, .. } = packet {
                led.hear(A, Packet::Ping { zxid, touched: Some(vec![]) });
            }
        }
        led.hear(A, Packet::Ack { zxid });
    }
    assert!(led.is_over(LeaderOver::DiskHangs));
}

#[test]
fn a_proposal_that_is_not_acknowledged_in_time_ends_the_connection() {
    let mut led = Led::established(options(1));
    led.join(B, 3);
    let zxid = led.propose();
    led.give(In::Logged(Logged::up_to(zxid)));
    for tick in 1..12 {
        led.wait(tick * 1000);
        for conn in [A, B] {
            for packet in led.said(conn) {
                if let Packet::Ping { zxid, .. } = packet {
                    led.hear(conn, Packet::Ping { zxid, touched: None });
                }
            }
        }
        led.hear(A, Packet::Ack { zxid });
    }
    assert_eq!(led.closed(B), Some(&CloseReason::AckTooLate(zxid)));
    assert_eq!((led.closed(A), led.leader.is_over()), (None, false));
}

#[test]
fn a_learner_that_takes_nothing_is_closed_when_its_queue_is_full() {
    let mut led = Led::established(Options { learner_queue_bytes_max: 1000, ..options(1) });
    for _ in 0..30 {
        led.propose();
    }
    assert_eq!(led.closed(A), Some(&CloseReason::QueueFull));
    assert!(led.said(A).is_empty());
}

#[test]
fn an_ack_of_what_was_never_sent_ends_the_connection() {
    let mut led = Led::established(options(1));
    led.hear(A, Packet::Ack { zxid: z(2, 9) });
    assert_eq!(led.closed(A), Some(&CloseReason::AckOfNothing(z(2, 9))));
}

#[test]
fn a_stranger_gets_everything_and_counts_for_nothing() {
    let mut led = Led::established(options(1));
    led.join(B, 7);
    let zxid = led.propose();
    assert!(led.said(B).iter().any(|it| matches!(it, Packet::Proposal { .. })));
    led.hear(B, Packet::Ack { zxid });
    led.give(In::Logged(Logged::up_to(zxid)));
    assert!(!led.outputs.contains(&Out::Commit(zxid)));
}

#[test]
fn the_same_server_has_one_connection() {
    let mut led = Led::established(options(1));
    led.join(B, 2);
    assert_eq!(led.closed(A), Some(&CloseReason::Replaced));
    let zxid = led.propose();
    led.hear(B, Packet::Ack { zxid });
    led.give(In::Logged(Logged::up_to(zxid)));
    assert!(led.outputs.contains(&Out::Commit(zxid)));
}

/// Apache's learners keep what their clients want of the leader in one queue (`CommitProcessor`), and take a COMMIT that is not
/// the first in it for one of somebody else's: that client gets no answer any more, and nobody behind it.
#[test]
fn a_learner_hears_of_its_syncs_and_writes_in_the_order_in_which_it_sent_them() {
    let sync = |cxid| {
        let (session, op) = (SessionId(7), OpCode::Sync.code());
        Packet::Request(Forwarded { session, cxid: Xid(cxid), op, body: Bytes::new(), identities: None })
    };
    let (answer, ping) = (Packet::Sync { zxid: Zxid::ZERO }, |zxid| Packet::Ping { zxid, touched: None });
    let mut led = Led::established(options(1));
    led.hear(A, sync(1));
    assert_eq!(led.said(A), [ping(z(2, 0))]);
    // The round of PINGs that is under way says nothing of this one. What comes behind it is committed before the next is.
    led.hear(A, sync(2));
    let first = led.propose();
    led.hear(A, sync(3));
    let second = led.propose();
    led.hear(A, ping(z(2, 0)));
    led.hear(A, Packet::Ack { zxid: second });
    led.give(In::Logged(Logged::up_to(second)));
    assert!(led.outputs.contains(&Out::Commit(second)), "nobody else waits for the syncs of this one");
    let said: Vec<Packet> = led.said(A).into_iter().filter(|it| !matches!(it, Packet::Proposal { .. })).collect();
    assert_eq!(said, [answer.clone(), ping(second)], "the commits wait");
    led.hear(A, ping(second));
    let (first, second) = (Packet::Commit { zxid: first }, Packet::Commit { zxid: second });
    assert_eq!(led.said(A), [answer.clone(), first, answer, second]);
    // Several are committed at once, and the sync was between them.
    let first = led.propose();
    led.hear(A, sync(4));
    let second = led.propose();
    led.said(A);
    led.hear(A, ping(first));
    led.hear(A, Packet::Ack { zxid: second });
    led.give(In::Logged(Logged::up_to(second)));
    let (first, second) = (Packet::Commit { zxid: first }, Packet::Commit { zxid: second });
    assert_eq!(led.said(A), [first, Packet::Sync { zxid: Zxid::ZERO }, second]);
    let zxid = led.propose();
    led.hear(A, Packet::Ack { zxid });
    led.give(In::Logged(Logged::up_to(zxid)));
    assert_eq!(led.said(A).last(), Some(&Packet::Commit { zxid }), "no sync waits");
}

#[test]
fn a_sync_waits_for_a_quorum_and_for_what_was_proposed_before() {
    let mut led = Led::established(options(1));
    led.give(In::Sync(5));
    let pings = led.said(A);
    assert_eq!(pings, [Packet::Ping { zxid: z(2, 0), touched: None }]);
    assert!(!led.outputs.contains(&Out::Synced(5, true)));
    led.hear(A, Packet::Ping { zxid: z(2, 0), touched: Some(vec![]) });
    assert!(led.outputs.contains(&Out::Synced(5, true)));

    let zxid = led.propose();
    let sync = Forwarded {
        session: SessionId(7),
        cxid: Xid(1),
        op: OpCode::Sync.code(),
        body: Bytes::new(),
        identities: None,
    };
    led.hear(A, Packet::Request(sync));
    led.hear(A, Packet::Ping { zxid, touched: Some(vec![Touch { session: SessionId(7), timeout_ms: 9 }]) });
    assert!(led.outputs.contains(&Out::Touch(vec![Touch { session: SessionId(7), timeout_ms: 9 }])));
    assert!(!led.said(A).contains(&Packet::Sync { zxid: Zxid::ZERO }), "not committed");
    led.hear(A, Packet::Ack { zxid });
    led.give(In::Logged(Logged::up_to(zxid)));
    let said = led.said(A);
    assert_eq!(said, [Packet::Commit { zxid }, Packet::Sync { zxid: Zxid::ZERO }], "behind its COMMIT");
}

#[test]
fn who_has_no_vote_is_sent_away_beyond_the_limit_and_voters_are_not() {
    let mut led = Led::established(Options { diff_syncs_max: 0, ..options(1) });
    led.give(In::Connected(B));
    led.hear(B, Packet::ObserverInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(9), 0) });
    led.hear(B, Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(1) });
    assert_eq!(led.closed(B), Some(&CloseReason::Throttled));
    led.join(ConnId(3), 3);
    assert_eq!(led.closed(ConnId(3)), None);
}

/// A sync is work: whoever calls itself a follower gets no more of them at once than observers do.
#[test]
fn followers_without_a_vote_are_not_synced_in_any_number() {
    let mut led = Led::established(Options { diff_syncs_max: 2, ..options(1) });
    for n in 10..13 {
        led.give(In::Connected(ConnId(n)));
        led.hear(ConnId(n), Packet::FollowerInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(n as i64), 0) });
        led.hear(ConnId(n), Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(1) });
    }
    let closed = [10, 11, 12].map(|n| led.closed(ConnId(n)));
    assert_eq!(closed, [None, None, Some(&CloseReason::Throttled)]);
    led.join(ConnId(3), 3);
    assert_eq!(led.closed(ConnId(3)), None, "a voter is needed");
    // One whose sync is done makes room for the next.
    led.hear(ConnId(10), Packet::Ack { zxid: z(2, 0) });
    led.join(ConnId(13), 13);
    assert_eq!(led.closed(ConnId(13)), None);
}

/// A learner, and what came out of it.
struct Taught {
    learner: Learner,
    outputs: Vec<LearnerOut>,
}

impl Taught {
    fn new(options: Options) -> Self {
        let begin = start(&options);
        let mut this = Self { learner: Learner::new(options, begin, false, 0), outputs: vec![] };
        this.give(LearnerIn::Connected);
        this
    }

    fn give(&mut self, input: LearnerIn) {
        self.learner.handle(0, input);
        while let Some(output) = self.learner.next_output() {
            self.outputs.push(output);
        }
    }

    fn hear(&mut self, packet: Packet) {
        self.give(LearnerIn::Packet(packet));
    }

    fn propose(&mut self, zxid: Zxid) {
        let Proposal { zxid, txn } = proposal(zxid);
        self.hear(Packet::Proposal { zxid, txn });
    }

    /// The disk is done with the last command.
    fn done(&mut self) {
        let token = self.outputs.iter().rev().find_map(|it| match it {
            LearnerOut::Disk(command) => command.token(),
            _ => None,
        });
        self.give(LearnerIn::Done(token.unwrap().done()));
    }

    /// What was sent since the last call.
    fn said(&mut self) -> Vec<Packet> {
        let sent = self.outputs.extract_if(.., |it| matches!(it, LearnerOut::Send(_)));
        sent.filter_map(|it| if let LearnerOut::Send(packet) = it { Some(packet.into_packet()) } else { None })
            .collect()
    }

    /// LEADERINFO of epoch 2, answered.
    fn accepted(options: Options) -> Self {
        let mut this = Self::new(options);
        this.hear(Packet::LeaderInfo { zxid: z(2, 0), protocol_version: PROTOCOL_VERSION });
        this.done();
        this.said();
        this
    }

    /// Served.
    fn up_to_date() -> Self {
        let mut this = Self::accepted(options(2));
        this.hear(Packet::Diff { zxid: z(1, 2) });
        this.hear(Packet::NewLeader { zxid: z(2, 0), config: None });
        this.done();
        this.hear(Packet::UpToDate { zxid: Zxid(-1) });
        this.said();
        this
    }

    fn over(&self) -> Option<LearnerOver> {
        let LearnerOut::Over(why) = self.outputs.last()? else { return None };
        Some(*why)
    }
}

#[test]
fn a_learner_says_nothing_before_it_is_on_its_disk() {
    let mut it = Taught::new(options(2));
    let info = LearnerInfo::new(ServerId(2), 0);
    assert_eq!(it.said(), [Packet::FollowerInfo { zxid: z(1, 0), info }]);
    it.hear(Packet::LeaderInfo { zxid: z(2, 0), protocol_version: PROTOCOL_VERSION });
    assert!(it.said().is_empty(), "acceptedEpoch is on its way");
    it.done();
    assert_eq!(it.said(), [Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(1) }]);
    it.hear(Packet::Diff { zxid: z(1, 3) });
    it.propose(z(1, 3));
    it.hear(Packet::Commit { zxid: z(1, 3) });
    it.propose(z(2, 1));
    it.hear(Packet::NewLeader { zxid: z(2, 0), config: None });
    assert_eq!(it.outputs.last(), Some(&LearnerOut::Disk(Command::Append(proposal(z(1, 3))))), "no epoch before it");
    it.give(LearnerIn::Logged(Logged::up_to(z(1, 3))));
    assert!(it.said().is_empty(), "currentEpoch is on its way");
    it.done();
    assert_eq!(it.said(), [Packet::Ack { zxid: z(2, 0) }]);
    it.hear(Packet::Ping { zxid: z(2, 1), touched: None });
    it.hear(Packet::Commit { zxid: z(2, 1) });
    assert!(it.said().is_empty(), "no answer to a PING yet");
    it.hear(Packet::UpToDate { zxid: Zxid(-1) });
    assert_eq!(it.said(), [Packet::Ack { zxid: z(2, 0) }]);
    assert_eq!(it.outputs.last(), Some(&LearnerOut::Disk(Command::Append(proposal(z(2, 1))))));
    it.give(LearnerIn::Logged(Logged::up_to(z(2, 1))));
    assert_eq!(it.said(), [Packet::Ack { zxid: z(2, 1) }]);
    assert_eq!(it.outputs.last(), Some(&LearnerOut::Commit(z(2, 1))), "committed while it waited");
    it.give(LearnerIn::Touched(Touch { session: SessionId(4), timeout_ms: 9 }));
    it.hear(Packet::Ping { zxid: z(2, 1), touched: None });
    let touched = Some(vec![Touch { session: SessionId(4), timeout_ms: 9 }]);
    assert_eq!(it.said(), [Packet::Ping { zxid: z(2, 1), touched }]);
}

#[test]
fn an_epoch_that_was_accepted_before_is_not_counted_twice_and_an_older_one_not_followed() {
    let mut it = Taught::new(options(2));
    it.said();
    it.hear(Packet::LeaderInfo { zxid: z(1, 0), protocol_version: PROTOCOL_VERSION });
    assert_eq!(it.said(), [Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(-1) }]);
    let mut it = Taught::new(options(2));
    it.hear(Packet::LeaderInfo { zxid: z(0, 0), protocol_version: PROTOCOL_VERSION });
    assert_eq!(it.over(), Some(LearnerOver::OldEpoch { theirs: Epoch(0), accepted: Epoch(1) }));
}

#[test]
fn gaps_and_wrong_commits_end_the_role() {
    let mut it = Taught::accepted(options(2));
    it.hear(Packet::Diff { zxid: z(1, 4) });
    it.propose(z(1, 4));
    assert!(matches!(it.over(), Some(LearnerOver::Gap(_))), "in the sync");

    let mut it = Taught::up_to_date();
    it.propose(z(2, 1));
    it.propose(z(2, 3));
    assert!(matches!(it.over(), Some(LearnerOver::Gap(_))), "later");

    let mut it = Taught::up_to_date();
    it.hear(Packet::Commit { zxid: z(2, 1) });
    assert_eq!(it.over(), Some(LearnerOver::WrongCommit { expected: None, got: z(2, 1) }));

    let mut it = Taught::up_to_date();
    it.propose(z(2, 1));
    it.propose(z(2, 2));
    it.hear(Packet::Commit { zxid: z(2, 2) });
    assert_eq!(it.over(), Some(LearnerOver::WrongCommit { expected: Some(z(2, 1)), got: z(2, 2) }));

    let mut it = Taught::accepted(options(2));
    it.hear(Packet::Diff { zxid: z(1, 3) });
    it.hear(Packet::Commit { zxid: z(1, 3) });
    assert_eq!(
        it.over(),
        Some(LearnerOver::WrongCommit { expected: None, got: z(1, 3) }),
        "Apache's learner fails here"
    );
}

#[test]
fn packets_that_may_not_come_end_the_role() {
    let mut it = Taught::accepted(options(2));
    it.hear(Packet::NewLeader { zxid: z(2, 0), config: None });
    assert_eq!(it.over(), Some(LearnerOver::Unexpected("NEWLEADER")));
    let mut it = Taught::accepted(options(2));
    it.hear(Packet::Diff { zxid: z(1, 2) });
    it.hear(Packet::UpToDate { zxid: Zxid(-1) });
    assert_eq!(it.over(), Some(LearnerOver::Unexpected("UPTODATE")));
    let mut it = Taught::up_to_date();
    it.hear(Packet::CommitAndActivate { zxid: z(2, 1), leader: ServerId(1) });
    assert_eq!(it.over(), Some(LearnerOver::WrongCommit { expected: None, got: z(2, 1) }));
    let mut it = Taught::up_to_date();
    it.hear(Packet::Unknown { kind: 99, zxid: z(2, 1) });
    assert_eq!(it.over(), None, "what nobody knows changes nothing");
}

#[test]
fn a_snapshot_may_hold_what_is_proposed_again() {
    let mut it = Taught::accepted(options(2));
    it.hear(Packet::Snap { zxid: z(1, 9) });
    it.give(LearnerIn::SnapshotReceived(true));
    // What comes while the snapshot is installed waits.
    it.propose(z(1, 8));
    it.hear(Packet::Commit { zxid: z(1, 8) });
    it.propose(z(1, 9));
    it.hear(Packet::Commit { zxid: z(1, 9) });
    it.done();
    it.propose(z(1, 10));
    it.hear(Packet::Commit { zxid: z(1, 10) });
    let appended: Vec<_> = it.outputs.iter().filter(|it| matches!(it, LearnerOut::Disk(Command::Append(_)))).collect();
    assert_eq!(appended, [&LearnerOut::Disk(Command::Append(proposal(z(1, 10))))]);
    assert_eq!((it.over(), it.learner.log().last()), (None, z(1, 10)));

    let mut it = Taught::accepted(options(2));
    it.hear(Packet::Snap { zxid: z(1, 9) });
    it.give(LearnerIn::SnapshotReceived(false));
    assert_eq!(it.over(), Some(LearnerOver::BadSnapshot));
}

#[test]
fn what_is_held_back_is_bounded() {
    let mut it = Taught::accepted(Options { sync_queue_bytes_max: 500, ..options(2) });
    it.hear(Packet::Diff { zxid: z(1, 2) });
    it.hear(Packet::NewLeader { zxid: z(2, 0), config: None });
    for counter in 1..20 {
        it.propose(z(2, counter));
    }
    assert_eq!(it.over(), Some(LearnerOver::QueueFull));
}

#[test]
fn a_silent_leader_is_left() {
    let mut it = Taught::up_to_date();
    let timeout = it.learner.next_timeout().unwrap();
    assert_eq!(timeout, 10_000, "syncLimit ticks");
    it.learner.handle(timeout, LearnerIn::Timer);
    assert_eq!(it.learner.next_output().or(it.outputs.pop()), Some(LearnerOut::Over(LearnerOver::Silent)));
}

#[test]
fn a_server_that_lost_its_state_says_so() {
    let begin =
        Start { is_lost: true, log: CommittedLog::new(options(2).committed_log, Zxid(-1)), ..start(&options(2)) };
    let mut it = Taught { learner: Learner::new(options(2), begin, false, 0), outputs: vec![] };
    it.give(LearnerIn::Connected);
    it.said();
    it.hear(Packet::LeaderInfo { zxid: z(2, 0), protocol_version: PROTOCOL_VERSION });
    it.done();
    assert_eq!(it.said(), [Packet::AckEpoch { zxid: Zxid(-1), current_epoch: Epoch(-1) }]);
}

#[test]
fn a_leader_that_waits_too_long_for_its_epoch_gives_up_when_a_voter_looks_again() {
    let limited = Options { epoch_wait_ms_max: Some(3000), ..options(1) };
    let mut led = Led::new(limited.clone());
    led.now_ms = 3000;
    led.give(In::VoterLooks);
    assert!(!led.leader.is_over(), "not longer than that yet");
    led.now_ms = 3001;
    led.give(In::VoterLooks);
    assert!(led.is_over(LeaderOver::VotersLookElsewhere));
    // Without the limit, and once the epoch is fixed, it goes on.
    for mut led in [Led::new(options(1)), Led::established(limited)] {
        led.now_ms = 3001;
        led.give(In::VoterLooks);
        assert!(!led.leader.is_over());
    }
}
