//! Two participants and an oracle: when one of them leads alone, and when it does not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod small;

use ostler_zab::leader::{Input as In, Output as Out};
use ostler_zab::quorum_verifier::Rule;
use ostler_zab::{ConnId, Leader, LeaderOver, Logged, Options, QuorumVerifier};
use wire::quorum::{LearnerInfo, Packet};
use wire::{Epoch, ServerId, Zxid};

use small::{proposal, start, z};

const B: ConnId = ConnId(2);

fn two(rule: Rule) -> Options {
    Options::new(ServerId(1), QuorumVerifier::of_participants([1, 2].map(ServerId)).with_rule(rule))
}

/// A leader whose disk is quick.
struct Led {
    leader: Leader,
    now_ms: u64,
    outputs: Vec<Out>,
}

impl Led {
    fn new(options: Options) -> Self {
        let start = start(&options);
        let mut this = Self { leader: Leader::new(options, start, 0), now_ms: 0, outputs: vec![] };
        this.drain();
        this
    }

    fn drain(&mut self) {
        while let Some(output) = self.leader.next_output() {
            if let Out::Disk(command) = &output {
                match command.token() {
                    Some(token) => self.leader.handle(self.now_ms, In::Done(token.done())),
                    None => {
                        let ostler_zab::Command::Append(proposal) = command else { continue };
                        self.leader.handle(self.now_ms, In::Logged(Logged::up_to(proposal.zxid)));
                    }
                }
            }
            self.outputs.push(output);
        }
    }

    fn give(&mut self, input: In) {
        self.leader.handle(self.now_ms, input);
        self.drain();
    }

    fn hear(&mut self, packet: Packet) {
        self.give(In::Packet(B, packet));
    }

    /// FOLLOWERINFO, ACKEPOCH: it is told what is proposed from now on.
    fn follower_comes(&mut self) {
        self.give(In::Connected(B));
        self.hear(Packet::FollowerInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(2), 0) });
        self.hear(Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(1) });
    }

    fn propose(&mut self) -> Zxid {
        let zxid = self.leader.next_zxid().unwrap();
        self.give(In::Propose(proposal(zxid)));
        zxid
    }

    fn has_committed(&self, zxid: Zxid) -> bool {
        self.outputs.contains(&Out::Commit(zxid))
    }

    fn wait(&mut self, until_ms: u64) {
        while let Some(next) = self.leader.next_timeout().filter(|&next| next <= until_ms) {
            self.now_ms = self.now_ms.max(next);
            self.give(In::Timer);
        }
        self.now_ms = until_ms;
    }
}

#[test]
fn one_of_two_leads_alone_where_the_oracle_says_so() {
    let mut led = Led::new(two(Rule::OracleMajority));
    assert_eq!(led.leader.established(), None);
    led.give(In::Oracle(true));
    assert_eq!(led.leader.established(), Some(Epoch(2)));
    let zxid = led.propose();
    assert!(led.has_committed(zxid));
    led.give(In::Sync(7));
    assert!(led.outputs.contains(&Out::Synced(7, true)));
    led.wait(60_000);
    assert!(!led.leader.is_over());

    // One that is connected is needed.
    led.follower_comes();
    let zxid = led.propose();
    assert!(!led.has_committed(zxid));
    led.hear(Packet::Ack { zxid: z(2, 0) });
    led.hear(Packet::Ack { zxid });
    assert!(led.has_committed(zxid));
    let zxid = led.propose();
    assert!(!led.has_committed(zxid));
    led.give(In::Disconnected(B));
    assert!(led.has_committed(zxid), "it is gone, and the oracle stands in");

    // It changes its mind.
    led.give(In::Oracle(false));
    let zxid = led.propose();
    assert!(!led.has_committed(zxid));
    led.wait(led.now_ms + 60_000);
    assert_eq!(led.outputs.last(), Some(&Out::Over(LeaderOver::QuorumLost)));
}

#[test]
fn a_follower_that_comes_meanwhile_is_waited_for() {
    let mut led = Led::new(two(Rule::OracleMajority));
    led.follower_comes();
    led.give(In::Oracle(true));
    assert_eq!(led.leader.established(), None, "it is being told the history");
    led.give(In::Disconnected(B));
    assert_eq!(led.leader.established(), Some(Epoch(2)));
}

#[test]
fn without_an_oracle_nothing_that_is_said_counts() {
    let mut led = Led::new(two(Rule::Majority));
    led.give(In::Oracle(true));
    assert_eq!(led.leader.established(), None);
    let three = QuorumVerifier::of_participants([1, 2, 3].map(ServerId)).with_rule(Rule::OracleMajority);
    let mut led = Led::new(Options::new(ServerId(1), three));
    led.give(In::Oracle(true));
    assert_eq!(led.leader.established(), None, "three need none");
}
