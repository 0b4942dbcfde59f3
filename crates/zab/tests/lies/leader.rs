//! A leader of which one learner lies.

use bytes::Bytes;
use ostler_zab::leader::{CloseReason, Input, Output};
use ostler_zab::{ConnId, Leader, Logged, Options, StateSummary, ToLearner};
use wire::quorum::{Forwarded, LearnerInfo, Packet, Revalidation};
use wire::{Epoch, OpCode, ServerId, SessionId, Xid, Zxid};

use super::{is_a_line, options, proposal, start, z};

/// An honest follower, an honest observer, and the one that lies.
const FOLLOWER: ConnId = ConnId(1);
const OBSERVER: ConnId = ConnId(2);
const LIAR: ConnId = ConnId(3);

/// A leader, and what it told each connection.
struct Led {
    leader: Leader,
    closed: Vec<(ConnId, CloseReason)>,
    applied: Zxid,
}

impl Led {
    fn new() -> Self {
        Self::of(options(1))
    }

    fn of(options: Options) -> Self {
        let start = start(&options);
        let mut this = Self { leader: Leader::new(options, start, 0), closed: vec![], applied: Zxid::ZERO };
        this.drain();
        this
    }

    fn drain(&mut self) {
        while let Some(output) = self.leader.next_output() {
            match output {
                Output::Disk(command) => {
                    if let Some(token) = command.token() {
                        self.leader.handle(0, Input::Done(token.done()));
                    }
                }
                Output::Close(conn, why) => {
                    is_a_line(&why.to_string());
                    self.closed.push((conn, why));
                }
                Output::Commit(zxid) => self.applied = zxid,
                Output::Over(why) => panic!("the leader gives up: {why}"),
                _ => {}
            }
        }
    }

    fn give(&mut self, input: Input) {
        self.leader.handle(0, input);
        self.drain();
    }

    fn hear(&mut self, conn: ConnId, packet: Packet) {
        self.give(Input::Packet(conn, packet));
    }

    fn said(&mut self, conn: ConnId) -> Vec<Packet> {
        let mut said = vec![];
        while let Some(ToLearner::Packet(packet)) = self.leader.next_packet(0, conn) {
            said.push(packet);
        }
        self.drain();
        said
    }

    /// As an honest one does it, so far.
    fn join(&mut self, conn: ConnId, id: i64, stage: Stage) {
        self.give(Input::Connected(conn));
        let info = LearnerInfo::new(ServerId(id), 0);
        let hello = match conn {
            OBSERVER => Packet::ObserverInfo { zxid: z(1, 0), info },
            _ => Packet::FollowerInfo { zxid: z(1, 0), info },
        };
        let honest = [
            (Stage::Hello, hello),
            (Stage::Epoch, Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(1) }),
            (Stage::Synced, Packet::Ack { zxid: z(2, 0) }),
        ];
        for (_, packet) in honest.into_iter().filter(|(until, _)| *until <= stage) {
            self.hear(conn, packet);
        }
    }
}

/// How far the liar came before it lied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Connected,
    Hello,
    Epoch,
    Synced,
}

/// The liar lies to an established leader, and to one that is still in discovery where that is another matter. Its
/// connection is closed for this reason, and no other; the others are served.
fn told(stage: Stage, lies: Vec<Packet>, why: CloseReason) {
    let shown = format!("{stage:?}: {lies:?}");
    for is_early in [true, false] {
        // An epoch needs a second server: what it says later can't come earlier than the others.
        if is_early && stage > Stage::Connected {
            continue;
        }
        let mut led = Led::new();
        if !is_early {
            led.join(FOLLOWER, 2, Stage::Synced);
            led.join(OBSERVER, 9, Stage::Synced);
            assert_eq!(led.leader.established(), Some(Epoch(2)));
        }
        led.join(LIAR, 3, stage);
        for lie in &lies {
            led.hear(LIAR, lie.clone());
        }
        assert_eq!(led.closed, [(LIAR, why.clone())], "{shown}");
        assert!(led.said(LIAR).is_empty(), "{shown}: nothing more is sent to it");
        led.give(Input::Disconnected(LIAR));
        if is_early {
            led.join(FOLLOWER, 2, Stage::Synced);
            led.join(OBSERVER, 9, Stage::Synced);
        }
        is_unharmed(led, &shown);
    }
}

/// The others are served, what the liar acknowledged does not count, and it may come again.
fn is_unharmed(mut led: Led, shown: &str) {
    led.closed.clear();
    led.said(FOLLOWER);
    led.said(OBSERVER);
    let zxid = led.leader.next_zxid().unwrap();
    led.give(Input::Propose(proposal(zxid)));
    led.give(Input::Logged(Logged::up_to(zxid)));
    let Packet::Proposal { zxid: sent, .. } = led.said(FOLLOWER).remove(0) else { panic!("{shown}: no PROPOSAL") };
    assert_eq!((sent, led.applied < zxid), (zxid, true), "{shown}: one of three has it");
    led.hear(FOLLOWER, Packet::Ack { zxid });
    assert_eq!(led.applied, zxid, "{shown}");
    assert_eq!(led.said(FOLLOWER), [Packet::Commit { zxid }], "{shown}");
    assert!(matches!(led.said(OBSERVER)[..], [Packet::Inform { .. }]), "{shown}");
    led.join(ConnId(4), 3, Stage::Synced);
    assert!(matches!(led.said(ConnId(4)).last(), Some(Packet::UpToDate { .. })), "{shown}");
    assert_eq!(led.closed, [], "{shown}");
}

fn hello(id: i64, zxid: Zxid) -> Packet {
    Packet::FollowerInfo { zxid, info: LearnerInfo::new(ServerId(id), 0) }
}

#[test]
fn hellos_that_can_not_be_are_refused() {
    let info = LearnerInfo::new(ServerId(3), 0);
    let of = |info| Packet::FollowerInfo { zxid: z(1, 0), info };
    told(Stage::Connected, vec![hello(1, z(1, 0))], CloseReason::SameServer);
    told(Stage::Connected, vec![hello(3, Zxid(-1))], CloseReason::BadEpoch(Epoch(-1)));
    told(Stage::Connected, vec![hello(3, Zxid(i64::MIN))], CloseReason::BadEpoch(Epoch(i32::MIN)));
    told(Stage::Connected, vec![hello(3, Zxid(i64::MAX))], CloseReason::BadEpoch(Epoch(i32::MAX)));
    let old = LearnerInfo { protocol_version: Some(-1), ..info };
    told(Stage::Connected, vec![of(old)], CloseReason::OldProtocol(Some(-1)));
    let later = LearnerInfo { config_version: Some(i64::MAX), ..info };
    told(Stage::Connected, vec![of(later)], CloseReason::LaterConfig { theirs: i64::MAX, ours: 0 });
}

#[test]
fn packets_out_of_their_place_close_the_connection() {
    let request = Forwarded { session: SessionId(1), cxid: Xid(1), op: 1, body: Bytes::new(), identities: None };
    let touched = Some(vec![]);
    let all = [
        hello(3, z(1, 0)),
        Packet::ObserverInfo { zxid: z(1, 0), info: LearnerInfo::new(ServerId(3), 0) },
        Packet::AckEpoch { zxid: z(1, 2), current_epoch: Epoch(1) },
        Packet::Ack { zxid: z(2, 0) },
        Packet::Ping { zxid: z(2, 0), touched },
        Packet::Request(request),
        Packet::Revalidate(Revalidation::Question { session: SessionId(1), timeout_ms: 1 }),
        Packet::LeaderInfo { zxid: z(9, 0), protocol_version: 0x10000 },
        Packet::Diff { zxid: z(1, 2) },
        Packet::Trunc { zxid: z(1, 1) },
        Packet::Snap { zxid: z(1, 2) },
        Packet::NewLeader { zxid: z(9, 0), config: None },
        Packet::UpToDate { zxid: Zxid(-1) },
        Packet::Proposal { zxid: z(2, 1), txn: Bytes::new() },
        Packet::Commit { zxid: z(2, 1) },
        Packet::Inform { zxid: z(2, 1), txn: Bytes::new() },
        Packet::Unknown { kind: -9, zxid: Zxid::ZERO },
    ];
    let meant = [
        (Stage::Connected, vec!["FOLLOWERINFO", "OBSERVERINFO"]),
        (Stage::Hello, vec!["ACKEPOCH"]),
        (Stage::Epoch, vec!["ACK"]),
        // A PING has an answer only if it was sent.
        (Stage::Synced, vec!["ACK", "REQUEST", "REVALIDATE", "PING", "a packet of unknown type"]),
    ];
    let mut count = 0;
    for (stage, meant) in meant {
        for packet in all.iter().filter(|it| !meant.contains(&it.name())) {
            told(stage, vec![packet.clone()], CloseReason::Unexpected(packet.name()));
            count += 1;
        }
    }
    assert_eq!(count, 4 * all.len() - 9, "a name that no packet has");
}

#[test]
fn acknowledgements_of_what_was_not_sent_close_the_connection() {
    for zxid in [z(1, 0), z(2, 1), z(3, 0), Zxid(-1), Zxid(i64::MAX), Zxid(i64::MIN)] {
        told(Stage::Epoch, vec![Packet::Ack { zxid }], CloseReason::AckOfNothing(zxid));
    }
    for zxid in [z(2, 1), z(2, 9), z(3, 1), Zxid(i64::MAX)] {
        told(Stage::Synced, vec![Packet::Ack { zxid }], CloseReason::AckOfNothing(zxid));
    }
    let why = CloseReason::Unexpected("the answer to another PING");
    told(Stage::Synced, vec![Packet::Ping { zxid: z(2, 0), touched: Some(vec![]) }], why);
}

#[test]
fn who_says_that_it_knows_more_before_the_epoch_has_a_quorum_is_sent_away() {
    for (current, last) in [(2, z(2, 1)), (1, z(1, 3)), (i32::MAX, Zxid(i64::MAX))] {
        let mut led = Led::new();
        led.join(LIAR, 3, Stage::Hello);
        led.hear(LIAR, Packet::AckEpoch { zxid: last, current_epoch: Epoch(current) });
        let theirs = StateSummary { current: Epoch(current), last };
        let ours = StateSummary { current: Epoch(1), last: z(1, 2) };
        assert_eq!(led.closed, [(LIAR, CloseReason::Ahead { theirs, ours })]);
        led.give(Input::Disconnected(LIAR));
        led.join(FOLLOWER, 2, Stage::Synced);
        led.join(OBSERVER, 9, Stage::Synced);
        is_unharmed(led, "ahead");
    }
}

#[test]
fn histories_that_can_not_be_are_cut_or_replaced() {
    for zxid in [Zxid(i64::MIN), Zxid(-1), z(1, 9), z(7, 7), Zxid(i64::MAX)] {
        let mut led = Led::new();
        led.join(FOLLOWER, 2, Stage::Synced);
        led.join(OBSERVER, 9, Stage::Synced);
        led.join(LIAR, 3, Stage::Hello);
        led.said(LIAR);
        led.hear(LIAR, Packet::AckEpoch { zxid, current_epoch: Epoch(i32::MAX) });
        let said = led.said(LIAR);
        let is_cut = matches!(said.first(), Some(Packet::Trunc { zxid }) if *zxid == z(1, 2));
        // For a SNAP the disk is asked first.
        assert!(is_cut || zxid < Zxid::ZERO && said.is_empty(), "{zxid}: {said:?}");
        led.give(Input::Disconnected(LIAR));
        is_unharmed(led, "a history of its own");
    }
}

#[test]
fn a_learner_that_asks_without_end_is_closed() {
    let small = Options { syncs_max: 100, ..options(1) };
    let mut led = Led::of(small.clone());
    led.join(FOLLOWER, 2, Stage::Synced);
    led.join(OBSERVER, 9, Stage::Synced);
    led.join(LIAR, 3, Stage::Synced);
    let op = OpCode::Sync.code();
    let sync = Forwarded { session: SessionId(1), cxid: Xid(1), op, body: Bytes::new(), identities: None };
    for _ in 0..=small.syncs_max {
        led.hear(LIAR, Packet::Request(sync.clone()));
    }
    assert_eq!(led.closed, [(LIAR, CloseReason::TooManySyncs)]);
    led.give(Input::Disconnected(LIAR));
    is_unharmed(led, "syncs");
}
