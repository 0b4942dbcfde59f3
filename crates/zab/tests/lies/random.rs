//! Conversations that are right for the most part, with lies in any place.

use std::collections::BTreeMap;

use bytes::Bytes;
use ostler_zab::committed_log::follows;
use ostler_zab::leader::{Input as In, Output as Out};
use ostler_zab::learner::Input as LearnerIn;
use ostler_zab::{ConnId, Leader, Learner, Logged};
use wire::quorum::{LearnerInfo, PROTOCOL_VERSION, Packet};
use wire::{Epoch, ServerId, Zxid};

use super::learner::Disk;
use super::{Rng, is_a_line, options, proposal, start, z};

const SEEDS: u64 = 3000;

/// One packet of a leader of epoch 2 that is due, or nearly so.
struct Lesson {
    next: Zxid,
    committed: Zxid,
    stage: u64,
}

impl Lesson {
    fn packet(&mut self, rng: &mut Rng) -> Packet {
        let due = if rng.below(40) == 0 { rng.below(14) } else { self.stage };
        // Proposals and commits take turns.
        self.stage = if due == self.stage { [1, 2, 3, 4, 5, 4][self.stage.min(5) as usize] } else { self.stage };
        // Few lies, and different ones.
        let lies = rng.below(4) == 0;
        let mut lie = |right| if lies { rng.zxid(right) } else { right };
        let zxid = lie(self.next);
        let txn = Bytes::from_static(b"txn");
        match due {
            0 => Packet::LeaderInfo { zxid: lie(z(2, 0)), protocol_version: PROTOCOL_VERSION },
            1 => match lie(z(1, 2)) {
                Zxid(0) => Packet::Trunc { zxid: z(1, 1) },
                zxid if zxid == z(1, 2) => Packet::Diff { zxid },
                zxid if zxid.counter() % 2 == 0 => Packet::Snap { zxid },
                zxid => Packet::Trunc { zxid },
            },
            2 => Packet::NewLeader { zxid: lie(z(2, 0)), config: None },
            3 => Packet::UpToDate { zxid: Zxid(-1) },
            4 | 6 | 8 => {
                self.next = self.next.next();
                Packet::Proposal { zxid, txn }
            }
            5 | 7 | 9 => {
                let zxid = lie(self.committed);
                self.committed = self.committed.next();
                Packet::Commit { zxid }
            }
            10 => Packet::Inform { zxid, txn },
            11 => Packet::Ping { zxid, touched: None },
            12 => Packet::InformAndActivate { zxid, leader: ServerId(9), txn },
            _ => Packet::Ack { zxid },
        }
    }
}

/// What the disk is asked for, and what the learner says and applies, is looked at by [`Disk`].
#[test]
fn a_leader_that_lies_ends_the_role_and_nothing_else() {
    let (mut over, mut served) = (0, 0);
    for seed in 0..SEEDS {
        let mut rng = Rng(seed);
        let options = options(2);
        let mut learner = Learner::new(options.clone(), start(&options), rng.below(4) == 0, 0);
        let mut disk = Disk::new();
        let mut lesson = Lesson { next: z(2, 1), committed: z(2, 1), stage: 0 };
        let mut has_served = false;
        learner.handle(0, LearnerIn::Connected);
        for step in 0..80 {
            let input = match rng.below(10) {
                // A quick disk, most of the time.
                0..3 => disk.done(),
                3..5 => {
                    disk.logged = disk.last();
                    Some(LearnerIn::Logged(Logged::up_to(disk.logged)))
                }
                5 if rng.below(4) == 0 => Some(LearnerIn::SnapshotReceived(rng.below(4) > 0)),
                // An honest leader waits for ACKEPOCH and for the ACK of NEWLEADER.
                _ if !disk.pending.is_empty() && rng.below(20) > 0 => disk.done(),
                _ => Some(LearnerIn::Packet(lesson.packet(&mut rng))),
            };
            let Some(input) = input else { continue };
            learner.handle(step, input);
            while let Some(output) = learner.next_output() {
                disk.take(&output);
            }
            has_served |= learner.is_serving();
        }
        assert_eq!(learner.log().last(), disk.last(), "seed {seed}");
        over += u64::from(learner.is_over());
        served += u64::from(has_served);
    }
    // Either is worth nothing without the other.
    println!("{over} roles of {SEEDS} ended, {served} served before");
    assert!(over > SEEDS / 2 && served > SEEDS / 20, "{over} ended, {served} served: too many lies, or too few");
}

#[test]
fn learners_that_lie_are_closed_and_the_leader_goes_on() {
    let (mut closed, mut established, mut committed) = (0, 0, 0);
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
            let due = if rng.below(20) == 0 { rng.below(6) } else { stage };
            let lies = rng.below(4) == 0;
            let mut lie = |right| if lies { rng.zxid(right) } else { right };
            let (hello, last, ack, of) = (lie(z(1, 0)), lie(z(1, 2)), lie(z(2, 0)), lie(proposed));
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
                    let id = if rng.below(20) == 0 { rng.below(4) as i64 } else { conn as i64 + 1 };
                    let packet = match due {
                        0 => Packet::FollowerInfo { zxid: hello, info: LearnerInfo::new(ServerId(id), 0) },
                        1 => Packet::AckEpoch { zxid: last, current_epoch: Epoch(rng.below(3).min(1) as i32) },
                        2 => Packet::Ack { zxid: ack },
                        3 => Packet::Ack { zxid: of },
                        4 => Packet::Ping { zxid: of, touched: None },
                        _ => Packet::Commit { zxid: of },
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
                    Out::Commit(zxid) => {
                        assert!(zxid <= logged && zxid > applied, "{zxid} behind {applied}, logged {logged}");
                        applied = zxid;
                        committed += 1;
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
    println!("{closed} connections closed, {established} epochs of {SEEDS}, {committed} commits");
    assert!(closed > SEEDS && established > SEEDS / 20 && committed > SEEDS / 20, "too many lies, or too few");
}
