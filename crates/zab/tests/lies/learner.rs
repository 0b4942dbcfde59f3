//! A learner whose leader lies.

use bytes::Bytes;
use ostler_zab::committed_log::follows;
use ostler_zab::learner::{Input, Output};
use ostler_zab::{Command, Learner, LearnerOver, Logged, Start, Token};
use wire::quorum::{PROTOCOL_VERSION, Packet, Revalidation};
use wire::{Epoch, ServerId, SessionId, Zxid};

use super::{is_a_line, options, proposal, start, z};

/// What a learner's disk holds. It says when the learner wants, or says, what it may not.
pub(super) struct Disk {
    pub(super) log: Vec<Zxid>,
    pub(super) logged: Zxid,
    pub(super) accepted: Epoch,
    pub(super) current: Epoch,
    pub(super) pending: Vec<(Token, Command)>,
    /// What comes from the leader is no snapshot.
    pub(super) refuses_snapshots: bool,
}

impl Disk {
    pub(super) fn new() -> Self {
        let log = vec![z(1, 1), z(1, 2)];
        Self {
            log,
            logged: z(1, 2),
            accepted: Epoch(1),
            current: Epoch(1),
            pending: Vec::new(),
            refuses_snapshots: false,
        }
    }

    pub(super) fn last(&self) -> Zxid {
        self.log.last().copied().unwrap_or(Zxid::ZERO)
    }

    /// What the learner wants of it, or says of it.
    pub(super) fn take(&mut self, output: &Output) {
        match output {
            Output::Disk(Command::Append(proposal)) => {
                assert!(follows(self.last(), proposal.zxid), "{} behind {}", proposal.zxid, self.last());
                self.log.push(proposal.zxid);
            }
            Output::Disk(command) => self.pending.push((command.token().unwrap(), command.clone())),
            Output::Send(packet) => match packet.clone().into_packet() {
                Packet::Ack { zxid } if zxid.counter() > 0 => {
                    assert!(zxid <= self.logged, "an ACK of {zxid}, and {} is logged", self.logged);
                }
                Packet::Ack { zxid } => assert_eq!(zxid.epoch(), self.current, "an ACK of NEWLEADER"),
                Packet::AckEpoch { .. } => assert!(self.accepted >= Epoch(1)),
                _ => {}
            },
            Output::Commit(zxid) | Output::Replay(zxid) => {
                assert!(*zxid <= self.logged, "{zxid} is applied, and {} is logged", self.logged);
            }
            Output::Over(why) => is_a_line(&why.to_string()),
            _ => {}
        }
    }

    /// The oldest command is done.
    pub(super) fn done(&mut self) -> Option<Input> {
        if self.pending.is_empty() {
            return None;
        }
        let (token, command) = self.pending.remove(0);
        match command {
            Command::WriteAcceptedEpoch { epoch, .. } => {
                assert!(epoch >= self.accepted, "acceptedEpoch goes back from {} to {epoch}", self.accepted);
                self.accepted = epoch;
            }
            Command::WriteCurrentEpoch { epoch, .. } => {
                assert!(epoch >= self.current && epoch <= self.accepted, "currentEpoch: {epoch}");
                self.current = epoch;
            }
            // A log that has no such txn says so.
            Command::Truncate { to, .. } if !self.log.contains(&to) => return Some(Input::NotTruncated(token)),
            Command::Truncate { to, .. } => {
                self.log.retain(|it| *it <= to);
                self.logged = to;
            }
            Command::InstallSnapshot { .. } if self.refuses_snapshots => return Some(Input::NotInstalled(token)),
            Command::InstallSnapshot { zxid, .. } => {
                self.log = vec![zxid];
                self.logged = zxid;
            }
            Command::Append(_) => {}
        }
        Some(Input::Done(token.done()))
    }
}

/// A learner on a quick disk.
struct Taught {
    learner: Learner,
    disk: Disk,
    over: Vec<LearnerOver>,
    said: Vec<Packet>,
    committed: Zxid,
}

impl Taught {
    fn new(start: Start, disk: Disk, is_observer: bool) -> Self {
        let learner = Learner::new(options(2), start, is_observer, 0);
        let mut this = Self { learner, disk, over: vec![], said: vec![], committed: Zxid::ZERO };
        this.give(Input::Connected);
        this
    }

    fn give(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.learner.handle(0, input);
            while let Some(output) = self.learner.next_output() {
                self.disk.take(&output);
                match output {
                    Output::Over(why) => self.over.push(why),
                    Output::Send(packet) => self.said.push(packet.into_packet()),
                    Output::Commit(zxid) => self.committed = zxid,
                    _ => {}
                }
            }
            inputs.extend(self.disk.done());
            if self.disk.logged < self.disk.last() {
                self.disk.logged = self.disk.last();
                inputs.push(Input::Logged(Logged::up_to(self.disk.logged)));
            }
        }
    }

    fn hear(&mut self, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets {
            self.give(Input::Packet(packet));
        }
    }
}

/// How far an honest leader of epoch 2 has brought it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Hello,
    Epoch,
    Sync,
    NewLeader,
    Serving,
}

fn leader_info(zxid: Zxid) -> Packet {
    Packet::LeaderInfo { zxid, protocol_version: PROTOCOL_VERSION }
}

fn propose(zxid: Zxid) -> Packet {
    let it = proposal(zxid);
    Packet::Proposal { zxid: it.zxid, txn: it.txn }
}

fn inform(zxid: Zxid) -> Packet {
    Packet::Inform { zxid, txn: proposal(zxid).txn }
}

fn commit(zxid: Zxid) -> Packet {
    Packet::Commit { zxid }
}

fn brought_to(stage: Stage, is_observer: bool) -> Taught {
    let mut taught = Taught::new(start(&options(2)), Disk::new(), is_observer);
    let honest = [
        (Stage::Epoch, vec![leader_info(z(2, 0))]),
        (Stage::Sync, vec![Packet::Diff { zxid: z(1, 3) }, propose(z(1, 3)), commit(z(1, 3))]),
        (Stage::NewLeader, vec![Packet::NewLeader { zxid: z(2, 0), config: None }]),
        (Stage::Serving, vec![Packet::UpToDate { zxid: Zxid(-1) }]),
    ];
    for (_, packets) in honest.into_iter().filter(|(until, _)| *until <= stage) {
        taught.hear(packets);
    }
    assert_eq!((taught.over.len(), taught.learner.is_serving()), (0, stage == Stage::Serving));
    taught
}

/// Nothing but the role has ended: the next leader, an honest one, finds a learner that is as good as any.
fn is_unharmed(taught: Taught) {
    let Taught { learner, disk, .. } = taught;
    let log = learner.into_log();
    assert_eq!(log.last(), disk.last(), "the log in memory is the one on the disk");
    let (accepted, current) = (disk.accepted, disk.current);
    let start = Start { accepted, current, is_lost: false, log, role: 2 };
    let last = disk.last();
    let next = Epoch(accepted.0 + 1);
    let mut taught = Taught::new(start, disk, false);
    let first = Zxid::new(next, 1);
    taught.hear([
        leader_info(Zxid::new(next, 0)),
        Packet::Diff { zxid: last },
        Packet::NewLeader { zxid: Zxid::new(next, 0), config: None },
        Packet::UpToDate { zxid: Zxid(-1) },
        propose(first),
        commit(first),
    ]);
    assert!(taught.learner.is_serving(), "{:?}", taught.over);
    assert_eq!((taught.committed, taught.said.last()), (first, Some(&Packet::Ack { zxid: first })));
}

/// Tells a learner lies; it ends its role for this reason, with what it had, and is unharmed.
fn told(stage: Stage, is_observer: bool, lies: Vec<Packet>, why: LearnerOver) {
    let mut taught = brought_to(stage, is_observer);
    let (log, committed) = (taught.disk.log.clone(), taught.committed);
    let shown = format!("{stage:?}: {lies:?}");
    // What comes behind a lie is nothing any more.
    let behind = [propose(z(2, 1)), commit(z(2, 1)), Packet::UpToDate { zxid: Zxid(-1) }];
    taught.hear(lies.into_iter().chain(behind));
    assert_eq!(taught.over, [why], "{shown}");
    // Nothing is taken back, and what came is what an honest leader may have sent.
    let (had, got) = taught.disk.log.split_at(log.len());
    let may_be = [z(2, 1), z(2, 2)];
    assert!(had == log && may_be.starts_with(got), "{shown}: {got:?}");
    assert!(taught.committed == committed || got.contains(&taught.committed), "{shown}");
    is_unharmed(taught);
}

fn gap(last: Zxid, next: Zxid) -> LearnerOver {
    LearnerOver::Gap(ostler_zab::committed_log::Gap { last, next })
}

fn wrong_commit(expected: Option<Zxid>, got: Zxid) -> LearnerOver {
    LearnerOver::WrongCommit { expected, got }
}

fn wrong_epoch(got: Zxid) -> LearnerOver {
    LearnerOver::WrongEpoch { epoch: Epoch(2), got }
}

#[test]
fn gaps_and_commits_without_a_proposal_end_the_role() {
    use Stage::{Epoch, NewLeader, Serving, Sync};
    let diff = Packet::Diff { zxid: z(1, 3) };
    told(Epoch, false, vec![diff.clone(), propose(z(1, 4))], gap(z(1, 2), z(1, 4)));
    told(Epoch, false, vec![diff.clone(), propose(z(1, 2))], gap(z(1, 2), z(1, 2)));
    told(Epoch, false, vec![diff.clone(), commit(z(1, 3))], wrong_commit(None, z(1, 3)));
    told(Epoch, false, vec![diff, propose(z(1, 3)), commit(z(1, 2))], wrong_commit(Some(z(1, 3)), z(1, 2)));
    told(Sync, false, vec![propose(z(1, 5))], gap(z(1, 3), z(1, 5)));
    told(NewLeader, false, vec![propose(z(2, 1)), propose(z(2, 3))], gap(z(2, 1), z(2, 3)));
    told(NewLeader, false, vec![commit(z(2, 1))], wrong_commit(None, z(2, 1)));
    told(Serving, false, vec![propose(z(2, 1)), propose(z(2, 3))], gap(z(2, 1), z(2, 3)));
    told(Serving, false, vec![propose(z(2, 1)), propose(z(2, 1))], gap(z(2, 1), z(2, 1)));
    told(Serving, false, vec![commit(z(2, 1))], wrong_commit(None, z(2, 1)));
    told(Serving, false, vec![propose(z(2, 1)), commit(z(2, 2))], wrong_commit(Some(z(2, 1)), z(2, 2)));
    told(Serving, false, vec![propose(z(2, 1)), commit(z(2, 1)), commit(z(2, 1))], wrong_commit(None, z(2, 1)));
    told(Serving, true, vec![inform(z(2, 1)), inform(z(2, 3))], gap(z(2, 1), z(2, 3)));
    let activate = Packet::CommitAndActivate { zxid: z(2, 1), leader: ServerId(3) };
    told(Serving, false, vec![activate], wrong_commit(None, z(2, 1)));
    let activate = Packet::InformAndActivate { zxid: z(2, 2), leader: ServerId(3), txn: Bytes::new() };
    told(Serving, true, vec![inform(z(2, 1)), activate.clone(), activate], gap(z(2, 2), z(2, 2)));
}

#[test]
fn epochs_that_are_not_the_leaders_end_the_role() {
    use Stage::{Epoch as InEpoch, Hello, NewLeader, Serving, Sync};
    let old = |epoch| LearnerOver::OldEpoch { theirs: Epoch(epoch), accepted: Epoch(1) };
    told(Hello, false, vec![leader_info(z(0, 0))], old(0));
    told(Hello, false, vec![leader_info(Zxid(-1))], old(-1));
    told(Hello, false, vec![leader_info(Zxid(i64::MIN))], old(i32::MIN));
    for zxid in [z(3, 0), z(2, 1), z(1, 0), Zxid(-1)] {
        let lie = Packet::NewLeader { zxid, config: None };
        told(Sync, false, vec![lie], LearnerOver::Unexpected("NEWLEADER of another epoch"));
    }
    told(InEpoch, false, vec![Packet::Diff { zxid: z(1, 2) }, propose(z(3, 1))], wrong_epoch(z(3, 1)));
    told(NewLeader, false, vec![propose(z(9, 1))], wrong_epoch(z(9, 1)));
    told(Serving, false, vec![propose(z(3, 1))], wrong_epoch(z(3, 1)));
    // It would follow what is there.
    told(Serving, false, vec![propose(z(1, 4))], wrong_epoch(z(1, 4)));
    told(Serving, false, vec![propose(Zxid(i64::MAX))], wrong_epoch(Zxid(i64::MAX)));
    told(Serving, true, vec![inform(z(1, 4))], wrong_epoch(z(1, 4)));
    for zxid in [z(3, 0), Zxid(i64::MAX), Zxid(-2), Zxid(i64::MIN)] {
        told(InEpoch, false, vec![Packet::Snap { zxid }], wrong_epoch(zxid));
    }
}

#[test]
fn packets_out_of_their_place_end_the_role() {
    let sid = SessionId(7);
    let all = [
        leader_info(z(2, 0)),
        Packet::Diff { zxid: z(1, 3) },
        Packet::Trunc { zxid: z(1, 1) },
        Packet::Snap { zxid: z(1, 3) },
        Packet::NewLeader { zxid: z(2, 0), config: None },
        Packet::UpToDate { zxid: Zxid(-1) },
        Packet::Ack { zxid: z(2, 0) },
        Packet::AckEpoch { zxid: z(1, 3), current_epoch: Epoch(1) },
        Packet::Sync { zxid: Zxid::ZERO },
        Packet::Revalidate(Revalidation::Answer { session: sid, valid: true }),
        Packet::Unknown { kind: 99, zxid: Zxid::ZERO },
        propose(z(1, 3)),
        commit(z(1, 3)),
        inform(z(1, 3)),
    ];
    // Which of them have a meaning then; what a later version may send is passed over.
    let later = "a packet of unknown type";
    let meant = [
        (Stage::Hello, vec!["LEADERINFO"]),
        (Stage::Epoch, vec!["DIFF", "TRUNC", "SNAP"]),
        (Stage::Sync, vec!["NEWLEADER", "PROPOSAL", "COMMIT", "INFORM", later]),
        (Stage::NewLeader, vec!["UPTODATE", "PROPOSAL", "COMMIT", "INFORM", later]),
        (Stage::Serving, vec!["SYNC", "REVALIDATE", "PROPOSAL", "COMMIT", "INFORM", later]),
    ];
    let mut count = 0;
    for (stage, meant) in meant {
        for packet in all.iter().filter(|it| !meant.contains(&it.name())) {
            told(stage, false, vec![packet.clone()], LearnerOver::Unexpected(packet.name()));
            count += 1;
        }
    }
    assert_eq!(count, 5 * all.len() - 20, "a name that no packet has");
}

#[test]
fn a_log_that_can_not_be_cut_so_stays_as_it_is() {
    for zxid in [z(1, 0), z(1, 9), z(2, 1), Zxid::ZERO, Zxid(-1), Zxid(i64::MAX)] {
        told(Stage::Epoch, false, vec![Packet::Trunc { zxid }], LearnerOver::CantTruncate(zxid));
    }
}

#[test]
fn a_damaged_snapshot_is_not_installed() {
    let mut taught = brought_to(Stage::Epoch, false);
    taught.hear([Packet::Snap { zxid: z(1, 3) }]);
    taught.give(Input::SnapshotReceived(false));
    taught.hear([Packet::NewLeader { zxid: z(2, 0), config: None }]);
    assert_eq!(taught.over, [LearnerOver::BadSnapshot]);
    assert_eq!(taught.disk.log, [z(1, 1), z(1, 2)], "the old history is still there");
    is_unharmed(taught);
    // One that came whole, and that no tree can take.
    let mut taught = brought_to(Stage::Epoch, false);
    taught.disk.refuses_snapshots = true;
    taught.hear([Packet::Snap { zxid: z(1, 3) }]);
    taught.give(Input::SnapshotReceived(true));
    assert_eq!(taught.over, [LearnerOver::BadSnapshot]);
    assert_eq!(taught.disk.log, [z(1, 1), z(1, 2)], "the old history is still there");
    is_unharmed(taught);
    // A packet in its midst would have been read as a part of it.
    let mut taught = brought_to(Stage::Epoch, false);
    taught.hear([Packet::Snap { zxid: z(1, 3) }, Packet::NewLeader { zxid: z(2, 0), config: None }]);
    assert_eq!(taught.over, [LearnerOver::Unexpected("NEWLEADER")]);
    is_unharmed(taught);
}

#[test]
fn a_leader_that_sends_without_end_is_left() {
    let mut small = options(2);
    small.sync_queue_bytes_max = 10_000;
    let learner = Learner::new(small.clone(), start(&small), false, 0);
    let mut taught = Taught { learner, disk: Disk::new(), over: vec![], said: vec![], committed: Zxid::ZERO };
    taught.give(Input::Connected);
    taught.hear([leader_info(z(2, 0)), Packet::Diff { zxid: z(1, 2) }]);
    taught.hear((3..1000).map(|counter| propose(z(1, counter))));
    assert_eq!(taught.over, [LearnerOver::QueueFull]);
    is_unharmed(taught);
}
