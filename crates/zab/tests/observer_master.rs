//! A follower that serves observers: what it tells them, what it passes on, whom it refuses; and how an observer finds one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod small;

use bytes::Bytes;
use ostler_zab::leader::{CloseReason, Input as In, Output as Out};
use ostler_zab::learner::{Input as LearnerIn, Output as LearnerOut};
use ostler_zab::member::{Input as MemberIn, Output as MemberOut};
use ostler_zab::{Command, ConnId, Learner, Logged, Member, Options, Proposal, Recovered, ToLearner};
use wire::quorum::{Forwarded, LearnerInfo, PROTOCOL_VERSION, Packet, Revalidation, Touch};
use wire::{Epoch, OpCode, ServerId, SessionId, Xid, Zxid};

use small::{options, proposal, start, z};

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

fn options_of_follower() -> Options {
    Options { observer_masters: true, ..options(2) }
}

/// A follower in epoch 2, whose disk is quick.
struct Follower {
    learner: Learner,
    now_ms: u64,
    to_leader: Vec<Packet>,
    outputs: Vec<LearnerOut>,
}

impl Follower {
    fn serving(options: Options) -> Self {
        let learner = Learner::new(options.clone(), start(&options), false, 0);
        let mut this = Self { learner, now_ms: 0, to_leader: vec![], outputs: vec![] };
        this.give(LearnerIn::Connected);
        this.hear(Packet::LeaderInfo { zxid: z(2, 0), protocol_version: PROTOCOL_VERSION });
        this.hear(Packet::Diff { zxid: z(1, 2) });
        this.hear(Packet::NewLeader { zxid: z(2, 0), config: None });
        this.hear(Packet::UpToDate { zxid: Zxid(-1) });
        assert!(this.learner.is_serving());
        this.to_leader.clear();
        this
    }

    fn give(&mut self, input: LearnerIn) {
        self.learner.handle(self.now_ms, input);
        while let Some(output) = self.learner.next_output() {
            match &output {
                LearnerOut::Disk(Command::Append(proposal)) => {
                    self.learner.handle(self.now_ms, LearnerIn::Logged(Logged::up_to(proposal.zxid)));
                }
                LearnerOut::Disk(command) => {
                    let done = command.token().unwrap().done();
                    self.learner.handle(self.now_ms, LearnerIn::Done(done));
                }
                LearnerOut::Send(packet) => self.to_leader.push(packet.packet().clone()),
                _ => {}
            }
            self.outputs.push(output);
        }
    }

    /// From the leader.
    fn hear(&mut self, packet: Packet) {
        self.give(LearnerIn::Packet(packet));
    }

    /// From an observer.
    fn observed(&mut self, conn: ConnId, packet: Packet) {
        self.give(LearnerIn::Observers(In::Packet(conn, packet)));
    }

    fn said(&mut self, conn: ConnId) -> Vec<Packet> {
        let mut said = vec![];
        while let Some(ToLearner::Packet(packet)) = self.learner.next_packet(self.now_ms, conn) {
            said.push(packet);
        }
        said
    }

    fn hello(&mut self, conn: ConnId, id: i64, last: Zxid) {
        self.give(LearnerIn::Observers(In::Connected(conn)));
        self.observed(conn, Packet::ObserverInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(id), 0) });
        self.observed(conn, Packet::AckEpoch { zxid: last, current_epoch: Epoch(1) });
    }

    /// An observer in sync.
    fn join(&mut self, conn: ConnId, id: i64) {
        self.hello(conn, id, z(1, 2));
        self.observed(conn, Packet::Ack { zxid: z(2, 0) });
        assert_eq!(self.said(conn).last(), Some(&Packet::UpToDate { zxid: Zxid(-1) }));
    }

    fn closed(&self, conn: ConnId) -> Option<&CloseReason> {
        self.outputs.iter().find_map(|it| match it {
            LearnerOut::Observers(Out::Close(closed, why)) if *closed == conn => Some(why),
            _ => None,
        })
    }

    fn propose(&mut self, zxid: Zxid) {
        let Proposal { zxid, txn } = proposal(zxid);
        self.hear(Packet::Proposal { zxid, txn });
    }
}

fn informed(zxid: Zxid) -> Packet {
    Packet::Inform { zxid, txn: proposal(zxid).txn }
}

fn request(op: OpCode, session: i64) -> Forwarded {
    Forwarded { session: SessionId(session), cxid: Xid(1), op: op.code(), body: Bytes::new(), identities: Some(vec![]) }
}

#[test]
fn an_observer_gets_what_it_lacks_and_then_what_is_committed() {
    let mut follower = Follower::serving(options_of_follower());
    assert!(follower.outputs.contains(&LearnerOut::ServeObservers));
    follower.propose(z(2, 1));
    follower.hear(Packet::Commit { zxid: z(2, 1) });
    follower.propose(z(2, 2));
    follower.give(LearnerIn::Observers(In::Connected(A)));
    follower.observed(A, Packet::ObserverInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(9), 0) });
    assert_eq!(follower.said(A), [Packet::LeaderInfo { zxid: z(2, 0), protocol_version: PROTOCOL_VERSION }]);
    follower.observed(A, Packet::AckEpoch { zxid: z(1, 1), current_epoch: Epoch(1) });
    let mut sync = vec![Packet::Diff { zxid: z(2, 1) }];
    for zxid in [z(1, 2), z(2, 1)] {
        sync.extend([Packet::Proposal { zxid, txn: proposal(zxid).txn }, Packet::Commit { zxid }]);
    }
    sync.push(Packet::NewLeader { zxid: z(2, 0), config: Some(Bytes::new()) });
    assert_eq!(follower.said(A), sync, "not what is only proposed");
    follower.observed(A, Packet::Ack { zxid: z(2, 0) });
    assert_eq!(follower.said(A), [Packet::UpToDate { zxid: Zxid(-1) }]);
    follower.observed(A, Packet::Ack { zxid: z(2, 0) });
    assert_eq!(follower.learner.learners().unwrap().observers, 1);
    follower.hear(Packet::Commit { zxid: z(2, 2) });
    assert_eq!(follower.said(A), [informed(z(2, 2))]);
    follower.propose(z(2, 3));
    assert!(follower.said(A).is_empty(), "nobody has committed it");
}

#[test]
fn answers_go_to_whoever_asked() {
    let mut follower = Follower::serving(options_of_follower());
    follower.join(A, 8);
    follower.join(B, 9);
    let (ours, theirs) = (request(OpCode::Sync, 1), request(OpCode::Sync, 2));
    follower.observed(A, Packet::Request(theirs.clone()));
    follower.give(LearnerIn::Request(ours.clone()));
    follower.observed(B, Packet::Request(theirs.clone()));
    follower.observed(B, Packet::Request(request(OpCode::Create, 2)));
    let asked = [theirs.clone(), ours, theirs, request(OpCode::Create, 2)].map(Packet::Request);
    assert_eq!(follower.to_leader, asked);
    follower.propose(z(2, 1));
    follower.hear(Packet::Commit { zxid: z(2, 1) });
    let is_synced = |it: &LearnerOut| *it == LearnerOut::Synced;
    let sync = Packet::Sync { zxid: Zxid::ZERO };
    follower.hear(sync.clone());
    assert_eq!(follower.said(A), [informed(z(2, 1)), sync.clone()], "behind what was committed before");
    assert!(!follower.outputs.iter().any(is_synced));
    follower.hear(sync.clone());
    assert!(follower.outputs.iter().any(is_synced));
    assert_eq!(follower.said(B), [informed(z(2, 1))]);
    follower.hear(sync.clone());
    assert_eq!(follower.said(B), [sync]);

    follower.to_leader.clear();
    let question = |session| Packet::Revalidate(Revalidation::Question { session, timeout_ms: 4000 });
    let answer = |session, valid| Packet::Revalidate(Revalidation::Answer { session, valid });
    let [first, second] = [SessionId(5), SessionId(6)];
    follower.observed(B, question(first));
    follower.give(LearnerIn::Revalidate { session: first, timeout_ms: 4000 });
    follower.observed(A, question(second));
    assert_eq!(follower.to_leader, [question(first), question(first), question(second)]);
    follower.hear(answer(first, true));
    assert_eq!(follower.said(B), [answer(first, true)]);
    follower.hear(answer(first, false));
    assert!(follower.outputs.contains(&LearnerOut::Revalidated { session: first, valid: false }));
    // Of an observer that is gone.
    follower.give(LearnerIn::Observers(In::Disconnected(A)));
    follower.hear(answer(second, false));
    assert_eq!(follower.learner.learners().unwrap().observers, 1);
}

#[test]
fn sessions_that_observers_heard_of_are_told_with_the_next_ping() {
    let mut follower = Follower::serving(options_of_follower());
    follower.join(A, 9);
    follower.now_ms = 1000;
    follower.give(LearnerIn::Timer);
    let ping = Packet::Ping { zxid: z(1, 2), touched: None };
    assert_eq!(follower.said(A), std::slice::from_ref(&ping));
    let touch = Touch { session: SessionId(7), timeout_ms: 9000 };
    follower.observed(A, Packet::Ping { zxid: z(1, 2), touched: Some(vec![touch]) });
    assert!(follower.to_leader.is_empty());
    follower.hear(ping);
    assert_eq!(follower.to_leader, [Packet::Ping { zxid: z(1, 2), touched: Some(vec![touch]) }]);
    // One that says nothing for `syncLimit`.
    follower.now_ms = 11_000;
    follower.hear(Packet::Ping { zxid: z(1, 2), touched: None });
    follower.give(LearnerIn::Timer);
    assert_eq!(follower.closed(A), Some(&CloseReason::Silent));
}

#[test]
fn who_is_refused() {
    let mut follower = Follower::serving(options_of_follower());
    follower.propose(z(2, 1));
    follower.give(LearnerIn::Observers(In::Connected(A)));
    let info = LearnerInfo::new(ServerId(3), 0);
    follower.observed(A, Packet::FollowerInfo { zxid: z(1, 0), info });
    assert_eq!(follower.closed(A), Some(&CloseReason::NoObserver));

    // It has heard of a commit that has not come here yet: its clients may have seen it.
    follower.hello(B, 9, z(2, 1));
    let why = CloseReason::AheadOfFollower { theirs: z(2, 1), ours: z(1, 2) };
    assert_eq!(follower.closed(B), Some(&why));

    // What was never committed in an older epoch goes.
    let later = ConnId(3);
    follower.hello(later, 9, z(1, 3));
    assert!(follower.said(later).contains(&Packet::Trunc { zxid: z(1, 2) }));

    // Who lacks more than is kept is served from the disk.
    let mut small = Follower::serving(Options { observer_log_bytes_max: 0, ..options_of_follower() });
    small.hello(A, 9, z(1, 1));
    assert!(small.outputs.iter().any(|it| matches!(it, LearnerOut::Observers(Out::ReadLog { conn: A, .. }))));

    let mut none = Follower::serving(options(2));
    none.give(LearnerIn::Observers(In::Connected(A)));
    assert!(!none.outputs.contains(&LearnerOut::ServeObservers) && none.learner.learners().is_none());
}

#[test]
fn too_many_syncs_cost_the_connection() {
    let mut follower = Follower::serving(Options { syncs_max: 2, ..options_of_follower() });
    follower.join(A, 9);
    for _ in 0..3 {
        follower.observed(A, Packet::Request(request(OpCode::Sync, 1)));
    }
    assert_eq!(follower.to_leader.len(), 2);
    assert_eq!(follower.closed(A), Some(&CloseReason::TooManySyncs));
}

/// An observer, elected `leader` again and again.
fn masters(me: i64, leader: i64, serves: impl Fn(usize) -> bool) -> Vec<Option<i64>> {
    let options = Options { observer_masters: true, ..options(me) };
    let start = start(&options);
    let recovered = Recovered { accepted: start.accepted, current: start.current, log: start.log, is_lost: false };
    let mut member = Member::new(options, recovered);
    let mut found = vec![];
    for round in 0..6 {
        member.handle(0, MemberIn::Elected(ServerId(leader)));
        let followed = std::iter::from_fn(|| member.next_output()).find_map(|it| match it {
            MemberOut::Follow { role, master, .. } => Some((role, master)),
            _ => None,
        });
        let (role, master) = followed.unwrap();
        found.push(master.map(|it| it.0));
        if serves(round) {
            let sync = [
                LearnerIn::Connected,
                LearnerIn::Packet(Packet::LeaderInfo { zxid: z(2, 0), protocol_version: PROTOCOL_VERSION }),
                LearnerIn::Packet(Packet::Diff { zxid: z(1, 2) }),
                LearnerIn::Packet(Packet::NewLeader { zxid: z(2, 0), config: None }),
                LearnerIn::Packet(Packet::UpToDate { zxid: Zxid(-1) }),
            ];
            for input in sync {
                member.handle(0, MemberIn::Learner(role, input));
                while let Some(output) = member.next_output() {
                    if let MemberOut::Disk(command) = output {
                        member.handle(0, MemberIn::Done(command.token().unwrap().done()));
                    }
                }
            }
            assert!(member.is_serving());
        }
        member.handle(0, MemberIn::Learner(role, LearnerIn::Disconnected));
    }
    found
}

#[test]
fn an_observer_tries_each_follower_before_the_leader() {
    let none_serves = |_| false;
    assert_eq!(masters(8, 3, none_serves), [Some(1), Some(2), None, Some(1), Some(2), None]);
    assert_eq!(
        masters(9, 3, none_serves),
        [Some(2), Some(1), None, Some(2), Some(1), None],
        "neighbours begin elsewhere"
    );
    // One that has served is left for the next one, and not for the leader.
    assert_eq!(masters(8, 3, |_| true), [Some(1), Some(2), Some(1), Some(2), Some(1), Some(2)]);
    // A voter learns from the leader.
    assert_eq!(masters(2, 3, none_serves), [None; 6]);
}
