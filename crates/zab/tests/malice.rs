//! Peers that lie: gaps, wrong epochs, a COMMIT without its PROPOSAL, packets out of their phase, in any order. The connection or
//! the role ends, with a line that says why; the log, what is acknowledged and what is applied stay as they must be.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use bytes::Bytes;
use ostler_zab::committed_log::follows;
use ostler_zab::leader::{Input as In, Output as Out};
use ostler_zab::learner::{Input as LearnerIn, Output as LearnerOut};
use ostler_zab::{
    Command, CommittedLog, ConnId, Leader, Learner, Logged, Options, Proposal, QuorumVerifier, Start, Token,
};
use wire::quorum::{LearnerInfo, PROTOCOL_VERSION, Packet};
use wire::{Epoch, ServerId, Zxid};

const SEEDS: u64 = 4000;

/// Numbers that look random (SplitMix64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// A zxid that may be right, or anything.
    fn zxid(&mut self, right: Zxid) -> Zxid {
        match self.below(12) {
            0 => Zxid::new(Epoch(self.below(4) as i32), self.below(4) as u32),
            1 => Zxid(right.0 + 1),
            2 => Zxid(right.0 - 1),
            3 => [Zxid(-1), Zxid(0), Zxid(i64::MIN), Zxid(i64::MAX)][self.below(4) as usize],
            _ => right,
        }
    }
}

fn options(me: i64) -> Options {
    Options::new(ServerId(me), QuorumVerifier::of_participants([1, 2, 3].map(ServerId)))
}

fn z(epoch: i32, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

fn proposal(zxid: Zxid) -> Proposal {
    Proposal { zxid, txn: Bytes::from(zxid.to_string()) }
}

/// A server whose history ends with 1:2.
fn start(options: &Options) -> Start {
    let mut log = CommittedLog::new(options.committed_log, z(1, 0));
    log.append(proposal(z(1, 1))).unwrap();
    log.append(proposal(z(1, 2))).unwrap();
    Start { accepted: Epoch(1), current: Epoch(1), is_lost: false, log, role: 1 }
}

fn is_a_line(text: &str) {
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}

/// What a learner's disk holds.
struct Disk {
    appended: Zxid,
    logged: Zxid,
    accepted: Epoch,
    pending: Vec<(Token, Command)>,
}

impl Disk {
    fn take(&mut self, output: LearnerOut) {
        match output {
            LearnerOut::Disk(Command::Append(proposal)) => {
                assert!(follows(self.appended, proposal.zxid), "{} behind {}", proposal.zxid, self.appended);
                self.appended = proposal.zxid;
            }
            LearnerOut::Disk(command) => self.pending.push((command.token().unwrap(), command)),
            LearnerOut::Send(packet) => match packet.into_packet() {
                Packet::Ack { zxid } if zxid.counter() > 0 => {
                    assert!(zxid <= self.logged, "an ACK of {zxid}, and {} is logged", self.logged);
                }
                Packet::AckEpoch { .. } => assert!(self.accepted >= Epoch(1)),
                _ => {}
            },
            LearnerOut::Commit(zxid) | LearnerOut::Replay(zxid) => {
                assert!(zxid <= self.logged, "{zxid} is applied, and {} is logged", self.logged);
            }
            LearnerOut::Over(why) => is_a_line(&why.to_string()),
            _ => {}
        }
    }

    /// The oldest command is done.
    fn done(&mut self) -> Option<LearnerIn> {
        if self.pending.is_empty() {
            return None;
        }
        let (token, command) = self.pending.remove(0);
        match command {
            Command::WriteAcceptedEpoch { epoch, .. } => {
                assert!(epoch >= self.accepted, "acceptedEpoch goes back from {} to {epoch}", self.accepted);
                self.accepted = epoch;
            }
            // A log that has no such txn says so.
            Command::Truncate { to, .. } if to > self.appended || to.counter() == 0 => {
                return Some(LearnerIn::NotTruncated(token));
            }
            Command::Truncate { to: zxid, .. } | Command::InstallSnapshot { zxid, .. } => {
                (self.appended, self.logged) = (zxid, zxid);
            }
            _ => {}
        }
        Some(LearnerIn::Done(token.done()))
    }
}

#[test]
fn a_leader_that_lies_ends_the_role_and_nothing_else() {
    let (mut over, mut served) = (0, 0);
    for seed in 0..SEEDS {
        let mut rng = Rng(seed);
        let options = options(2);
        let mut learner = Learner::new(options.clone(), start(&options), rng.below(4) == 0, 0);
        let mut disk = Disk { appended: z(1, 2), logged: z(1, 2), accepted: Epoch(1), pending: Vec::new() };
        let (mut next, mut committed, mut stage) = (z(2, 1), z(2, 1), 0);
        learner.handle(0, LearnerIn::Connected);
        for step in 0..60 {
            let input = match rng.below(10) {
                0..2 => disk.done(),
                2 => {
                    disk.logged = disk.appended;
                    Some(LearnerIn::Logged(Logged::up_to(disk.logged)))
                }
                3 if rng.below(4) == 0 => Some(LearnerIn::SnapshotReceived(rng.below(4) > 0)),
                _ => {
                    // Mostly the packet that is due.
                    let due = if rng.below(8) == 0 { rng.below(14) } else { stage };
                    stage = if due == stage { (stage + 1).min(7) } else { stage };
                    let zxid = rng.zxid(next);
                    let txn = Bytes::from_static(b"txn");
                    Some(LearnerIn::Packet(match due {
                        0 => Packet::LeaderInfo { zxid: rng.zxid(z(2, 0)), protocol_version: PROTOCOL_VERSION },
                        1 => match rng.below(6) {
                            0 => Packet::Trunc { zxid: rng.zxid(z(1, 1)) },
                            1 => Packet::Snap { zxid: rng.zxid(z(1, 2)) },
                            _ => Packet::Diff { zxid: rng.zxid(z(1, 2)) },
                        },
                        2 => Packet::NewLeader { zxid: rng.zxid(z(2, 0)), config: None },
                        3 => Packet::UpToDate { zxid: Zxid(-1) },
                        4 | 6 | 8 => {
                            next = next.max(zxid).next();
                            Packet::Proposal { zxid, txn }
                        }
                        5 | 7 | 9 => {
                            let zxid = rng.zxid(committed);
                            committed = committed.next();
                            stage = stage.min(6);
                            Packet::Commit { zxid }
                        }
                        10 => Packet::Inform { zxid, txn },
                        11 => Packet::Ping { zxid, touched: None },
                        12 => Packet::InformAndActivate { zxid, leader: ServerId(9), txn },
                        _ => Packet::Ack { zxid },
                    }))
                }
            };
            let Some(input) = input else { continue };
            learner.handle(step, input);
            while let Some(output) = learner.next_output() {
                disk.take(output);
            }
        }
        over += u64::from(learner.is_over());
        served += u64::from(learner.is_serving());
    }
    assert!(over > SEEDS / 4 && served > 20, "{over} ended, {served} served: the lies are too many or too few");
}

#[test]
fn learners_that_lie_are_closed_and_the_leader_goes_on() {
    let (mut closed, mut established) = (0, 0);
    for seed in 0..SEEDS {
        let mut rng = Rng(seed);
        let options = options(1);
        let mut leader = Leader::new(options.clone(), start(&options), 0);
        let (mut logged, mut applied, mut proposed) = (z(1, 2), Zxid::ZERO, z(1, 2));
        // How far each connection has come.
        let mut stages = BTreeMap::from([(1, 0), (2, 0), (3, 0)]);
        (1..4).for_each(|conn| leader.handle(0, In::Connected(ConnId(conn))));
        for step in 0..80 {
            let conn = 1 + rng.below(3);
            let stage = stages[&conn];
            let due = if rng.below(10) == 0 { rng.below(6) } else { stage };
            let info = LearnerInfo::new(ServerId(rng.below(4) as i64), 0);
            let input = match rng.below(8) {
                0 => {
                    logged = proposed;
                    In::Logged(Logged::up_to(logged))
                }
                1 if let Some(zxid) = leader.next_zxid() => {
                    assert!(follows(proposed, zxid), "{zxid} behind {proposed}");
                    proposed = zxid;
                    In::Propose(proposal(zxid))
                }
                _ => {
                    stages.insert(conn, (stage + 1).min(3));
                    let packet = match due {
                        0 => {
                            let info =
                                if rng.below(4) == 0 { info } else { LearnerInfo::new(ServerId(conn as i64), 0) };
                            Packet::FollowerInfo { zxid: rng.zxid(z(1, 0)), info }
                        }
                        1 => Packet::AckEpoch { zxid: rng.zxid(z(1, 2)), current_epoch: Epoch(rng.below(3) as i32) },
                        2 => Packet::Ack { zxid: rng.zxid(z(2, 0)) },
                        3 => Packet::Ack { zxid: rng.zxid(proposed) },
                        4 => Packet::Ping { zxid: rng.zxid(proposed), touched: None },
                        _ => Packet::Commit { zxid: rng.zxid(proposed) },
                    };
                    In::Packet(ConnId(conn), packet)
                }
            };
            leader.handle(step, input);
            while let Some(output) = leader.next_output() {
                match output {
                    Out::Disk(command) => {
                        if let Some(token) = command.token() {
                            leader.handle(step, In::Done(token.done()));
                        }
                    }
                    Out::Close(conn, why) => {
                        is_a_line(&why.to_string());
                        closed += 1;
                        // It comes again.
                        leader.handle(step, In::Connected(conn));
                        stages.insert(conn.0, 0);
                    }
                    Out::Commit(zxid) | Out::Replay(zxid) => {
                        assert!(zxid <= logged && zxid > applied, "{zxid} behind {applied}, logged {logged}");
                        applied = zxid;
                    }
                    Out::Serve { .. } => established += 1,
                    Out::Over(why) => is_a_line(&why.to_string()),
                    _ => {}
                }
            }
            while leader.next_packet(step, ConnId(conn)).is_some() {}
            if leader.is_over() {
                break;
            }
        }
    }
    assert!(closed > SEEDS && established > 20, "{closed} closed, {established} epochs established");
}
