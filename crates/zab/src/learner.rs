//! A learner, follower or observer: from the connection to the leader to the end of the role.
//!
//! In: [`Input`], one at a time, with the time in ms. Out: [`Output`]s, to be drained after each input. Then ask
//! [`Learner::next_timeout`].
//!
//! ```text
//! FOLLOWERINFO ─► LEADERINFO ─► acceptedEpoch is written ─► ACKEPOCH
//!   DIFF: the log stays                    │
//!   TRUNC: the log is cut                  ├─► PROPOSAL + COMMIT: appended to the log, the only way in
//!   SNAP: the snapshot is the history      │
//! NEWLEADER ─► all of that is durable ─► currentEpoch is written ─► ACK
//! UPTODATE ─► serve; what was proposed since NEWLEADER goes to the log, and each gets its ACK
//! PROPOSAL ─► log ─► ACK;   COMMIT ─► apply, once it is logged here
//! ```
//!
//! What always holds:
//!
//! * History, then `currentEpoch`, then the ACK of NEWLEADER; `acceptedEpoch`, then ACKEPOCH; a proposal is logged, then
//!   acknowledged, and no such ACK overtakes that of NEWLEADER (ZOOKEEPER-4643, 4646, 4685). [`crate::durable`] makes it so.
//! * Txns come into this server by the log alone, in the sync as later (ZOOKEEPER-4785): what is applied is
//!   min(committed, logged here). What is not committed when NEWLEADER comes waits until UPTODATE (ZOOKEEPER-4394).
//! * A gap, a txn of another epoch, a COMMIT that is not the next, or a packet that is out of its place ends the role: this
//!   server syncs again (ZOOKEEPER-4925). Apache warns, or exits.
//! * A PING is answered from UPTODATE on, as Apache does it: before, the leader waits for something else.
//! * A snapshot may hold txns that are proposed again behind it. They are known, and not logged.
//!
//! Configurations that come as txns, and with NEWLEADER: see [`crate::reconfig`].
//!
//! A follower may serve observers, from UPTODATE on: see `observers`.
//!
//! Source: Apache `Learner`, `Follower`, `Observer`, `SendAckRequestProcessor`.

mod observers;
mod queues;
mod reconfig;
mod sync;

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use bytes::Bytes;
use wire::quorum::{Forwarded, LearnerInfo, Packet, Revalidation, Touch};
use wire::{Epoch, ServerId, SessionId, Zxid};

use crate::committed_log::{CommittedLog, Gap, Proposal};
use crate::durable::{
    Ack, Command, CurrentEpochWrite, Done, EpochIsAccepted, EpochIsCurrent, FromLearner, Logged, Token, Tokens,
};
use crate::leader::{self, ConnId, Leader, Learners, Start, ToLearner};
use crate::options::{Defect, Options};
use crate::quorum_verifier::Quorums;
use crate::reconfig::configuration_in;
use crate::state_summary::StateSummary;

/// The most sessions in an answer to a PING; the rest goes with the next. Apache reads a packet of `jute.maxbuffer`, 1 MiB.
const TOUCHES_MAX: usize = 32 * 1024;

/// What happens to a learner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// The connection to the leader is there.
    Connected,
    /// It could not be made, or ended.
    Disconnected,
    /// A packet came.
    Packet(Packet),
    /// The log is durable up to here.
    Logged(Logged),
    /// A command is done.
    Done(Done),
    /// A [`Command::Truncate`] could not be done: the log has no such txn. Nothing was changed.
    NotTruncated(Token),
    /// A [`Command::InstallSnapshot`] could not be done: what came is no snapshot. Nothing was changed.
    NotInstalled(Token),
    /// Some of the snapshot came. Say so at least every `syncLimit` while it comes.
    SnapshotProgress,
    /// The whole snapshot came, with what stands behind it, and is durable, under a name that nobody takes for a
    /// snapshot's. False: it broke off, or was none.
    SnapshotReceived(bool),
    /// A client's wish, for the leader.
    Request(Forwarded),
    /// Is this session alive?
    Revalidate {
        /// Which.
        session: SessionId,
        /// Its timeout.
        timeout_ms: i32,
    },
    /// This session was heard of. It is told with the next PING.
    Touched(Touch),
    /// At the port for observers: `Connected`, `Disconnected`, `Packet`, `LogRead` or `SnapshotOpened`.
    Observers(leader::Input),
    /// It is time.
    Timer,
}

/// What a learner wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// Something for the leader.
    Send(FromLearner),
    /// Something for the disk.
    Disk(Command),
    /// Behind the SNAP packet comes the raw snapshot: read it into a file of its own, make it durable, and say so with
    /// [`Input::SnapshotReceived`]. What comes behind it are packets again.
    ReceiveSnapshot(Zxid),
    /// Apply what is in the log up to here: it is the leader's history. Nobody is served yet, and the leader may still
    /// fail to get a quorum for it.
    Replay(Zxid),
    /// This server may serve clients: the epoch is established.
    Serve {
        /// The epoch.
        epoch: Epoch,
        /// The text of the leader's configuration, from NEWLEADER.
        config: Option<Bytes>,
    },
    /// Accept observers at the port for them; behind [`Output::Serve`], as long as the role lasts.
    ServeObservers,
    /// For an observer, or about what it lacks: `Ready`, `Close`, `ReadLog` or `OpenSnapshot`.
    Observers(leader::Output),
    /// Everything up to here is committed, and in the own log: apply it.
    Commit(Zxid),
    /// Other configurations hold.
    Configured {
        /// From now on.
        quorums: Quorums,
        /// A configuration was activated; only seen otherwise.
        activated: Option<Activated>,
    },
    /// The answer to the oldest question about a session that has none.
    Revalidated {
        /// Which.
        session: SessionId,
        /// Is it alive?
        valid: bool,
    },
    /// The oldest sync that was forwarded, and has no answer, is through.
    Synced,
    /// The role is over. Close the connection; nothing more comes.
    Over(LearnerOver),
}

/// A configuration that was activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Activated {
    /// Who is to lead, as COMMITANDACTIVATE says; UPTODATE does not.
    pub designated: Option<ServerId>,
}

/// Why a learner learns no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LearnerOver {
    /// The connection could not be made, or ended.
    Disconnected,
    /// Nothing came for too long.
    Silent,
    /// The leader's epoch is older than what this server accepted.
    OldEpoch {
        /// The leader's.
        theirs: Epoch,
        /// What was accepted.
        accepted: Epoch,
    },
    /// A packet that may not come here.
    Unexpected(&'static str),
    /// A proposal that does not follow the one before it.
    Gap(Gap),
    /// A txn, or a snapshot, that is not of the leader's epoch, nor of one before where that may be.
    WrongEpoch {
        /// The leader's.
        epoch: Epoch,
        /// What came.
        got: Zxid,
    },
    /// A COMMIT that is not that of the next proposal.
    WrongCommit {
        /// What is next; `None`: nothing is proposed.
        expected: Option<Zxid>,
        /// What came.
        got: Zxid,
    },
    /// The log can't be cut there: its history is not the leader's, and a snapshot is needed.
    CantTruncate(Zxid),
    /// The snapshot broke off, or was none.
    BadSnapshot,
    /// More was sent than may be held back.
    QueueFull,
    /// A reconfig was committed, by which this server has another role, or another leader. Its id, if it was told.
    Reconfigured(Option<ServerId>),
}

impl fmt::Display for LearnerOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("there is no connection to the leader"),
            Self::Silent => f.write_str("nothing came from the leader for too long"),
            Self::OldEpoch { theirs, accepted } => {
                write!(f, "the leader's epoch, {theirs}, is older than what this server accepted, {accepted}")
            }
            Self::Unexpected(packet) => write!(f, "{packet} from the leader may not come at this point"),
            Self::Gap(gap) => write!(f, "from the leader: {gap}; this server has to sync again"),
            Self::WrongEpoch { epoch, got } => {
                write!(f, "the leader of epoch {epoch} sends {got}; this server has to sync again")
            }
            Self::WrongCommit { expected: Some(expected), got } => {
                write!(f, "the leader commits {got}, but {expected} is next; this server has to sync again")
            }
            Self::WrongCommit { expected: None, got } => {
                write!(f, "the leader commits {got}, which it has not proposed; this server has to sync again")
            }
            Self::CantTruncate(zxid) => {
                write!(f, "the log can't be truncated to {zxid}; this server needs a snapshot of the leader's")
            }
            Self::BadSnapshot => f.write_str("the leader's snapshot broke off, or was none"),
            Self::QueueFull => f.write_str("the leader sent more than can be held back during the sync"),
            Self::Reconfigured(None) => {
                f.write_str("the ensemble was reconfigured; this server's role or leader changes")
            }
            Self::Reconfigured(Some(leader)) => write!(f, "the ensemble was reconfigured; {leader} is to lead"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Stage {
    /// The connection is being made.
    Connecting,
    ExpectLeaderInfo,
    /// `acceptedEpoch` is being written.
    AcceptingEpoch {
        token: Token,
    },
    /// DIFF, TRUNC or SNAP.
    ExpectSync,
    ReceivingSnapshot {
        zxid: Zxid,
    },
    /// The log is being truncated to `zxid`, or replaced by the snapshot of `zxid`.
    Changing {
        token: Token,
        zxid: Zxid,
        is_snapshot: bool,
    },
    /// What this server lacks.
    Syncing,
    /// NEWLEADER came: first the history, then `currentEpoch`.
    Persisting {
        write: Option<CurrentEpochWrite>,
    },
    ExpectUpToDate {
        epoch: EpochIsCurrent,
    },
    Broadcasting,
    Over,
}

/// A proposal that waits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Queued {
    proposal: Proposal,
    /// The snapshot holds it already.
    is_known: bool,
}

/// A follower or an observer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Learner {
    options: Options,
    tokens: Tokens,
    is_observer: bool,
    is_lost: bool,
    accepted: Epoch,
    current: Epoch,
    log: CommittedLog,
    logged: Logged,
    stage: Stage,
    /// The leader's.
    epoch: Epoch,
    config: Option<Bytes>,
    /// A reconfig that was committed before UPTODATE, and who is to lead.
    activation: Option<(Zxid, ServerId)>,
    /// What came while the disk was being changed.
    stash: VecDeque<Packet>,
    /// Proposals that are not in the log yet; the first `committed_queued` of them are committed.
    queued: VecDeque<Queued>,
    committed_queued: usize,
    /// Bytes in `stash` and `queued`.
    held_bytes: usize,
    /// The last proposal that came in the sync.
    received: Zxid,
    /// The snapshot with which the sync began.
    snapshot: Option<Zxid>,
    /// What is in the log, and has to be acknowledged.
    unacked: VecDeque<Zxid>,
    /// How far this server was told to apply.
    applied: Zxid,
    /// Syncs that are answered, and wait for the own disk: what was committed then.
    syncs: VecDeque<Zxid>,
    touched: BTreeMap<SessionId, i32>,
    observers: observers::Observers,
    read_deadline_ms: u64,
    outputs: VecDeque<Output>,
}

impl Learner {
    /// A learner whose connection is being made.
    pub fn new(options: Options, start: Start, is_observer: bool, now_ms: u64) -> Self {
        let Start { accepted, current, is_lost, log, role } = start;
        let last = log.last();
        Self {
            tokens: Tokens::new(role),
            is_observer,
            is_lost,
            accepted,
            current,
            logged: Logged::up_to(last),
            stage: Stage::Connecting,
            epoch: accepted,
            config: None,
            activation: None,
            stash: VecDeque::new(),
            queued: VecDeque::new(),
            committed_queued: 0,
            held_bytes: 0,
            received: last,
            snapshot: None,
            unacked: VecDeque::new(),
            applied: Zxid(i64::MIN),
            syncs: VecDeque::new(),
            touched: BTreeMap::new(),
            observers: observers::Observers::default(),
            read_deadline_ms: now_ms + options.init_limit_ms(),
            outputs: VecDeque::new(),
            options,
            log,
        }
    }

    /// Takes one input. Drain [`next_output`](Self::next_output) behind it.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        if self.is_over() {
            return;
        }
        match input {
            Input::Connected => self.on_connected(now_ms),
            Input::Disconnected => self.over(LearnerOver::Disconnected),
            Input::Packet(packet) => {
                self.heard(now_ms);
                self.on_packet(now_ms, packet);
            }
            Input::Logged(logged) => self.on_logged(logged),
            Input::Done(done) => self.on_done(now_ms, done),
            Input::NotTruncated(token) => self.on_not_truncated(token),
            Input::NotInstalled(token) => self.on_not_installed(token),
            Input::SnapshotProgress => self.heard(now_ms),
            Input::SnapshotReceived(is_whole) => self.on_snapshot_received(now_ms, is_whole),
            Input::Request(request) => {
                if self.stage == Stage::Broadcasting {
                    self.forward(None, request);
                }
            }
            Input::Revalidate { session, timeout_ms } => {
                if self.stage == Stage::Broadcasting {
                    self.ask(None, session, timeout_ms);
                }
            }
            Input::Observers(input) => self.on_observers(now_ms, input),
            Input::Touched(Touch { session, timeout_ms }) => {
                self.touched.insert(session, timeout_ms);
            }
            Input::Timer => {
                if now_ms >= self.read_deadline_ms {
                    self.over(LearnerOver::Silent);
                }
                self.on_observers(now_ms, leader::Input::Timer);
            }
        }
    }

    /// The next thing that it wants.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to give it [`Input::Timer`], in ms.
    pub fn next_timeout(&self) -> Option<u64> {
        let of_observers = self.observers.next_timeout().unwrap_or(u64::MAX);
        (!self.is_over()).then_some(self.read_deadline_ms.min(of_observers))
    }

    /// Is the role over?
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// May this server serve clients?
    pub fn is_serving(&self) -> bool {
        self.stage == Stage::Broadcasting
    }

    /// What it is doing, in a word, for people.
    pub fn phase(&self) -> &'static str {
        match self.stage {
            Stage::Connecting | Stage::ExpectLeaderInfo | Stage::AcceptingEpoch { .. } => "discovery",
            Stage::ExpectSync
            | Stage::ReceivingSnapshot { .. }
            | Stage::Changing { .. }
            | Stage::Syncing
            | Stage::Persisting { .. }
            | Stage::ExpectUpToDate { .. } => "synchronization",
            Stage::Broadcasting => "broadcast",
            Stage::Over => "over",
        }
    }

    /// The history, to begin the next role with.
    pub fn into_log(self) -> CommittedLog {
        self.log
    }

    /// The history.
    pub fn log(&self) -> &CommittedLog {
        &self.log
    }

    fn on_connected(&mut self, now_ms: u64) {
        if self.stage == Stage::Connecting {
            let info = LearnerInfo::new(self.options.me, self.options.committed_version());
            self.send(FromLearner::hello(self.is_observer, self.accepted, info));
            self.stage = Stage::ExpectLeaderInfo;
            self.heard(now_ms);
        }
    }

    fn on_packet(&mut self, now_ms: u64, packet: Packet) {
        match self.stage {
            Stage::ExpectLeaderInfo => match packet {
                Packet::LeaderInfo { zxid, .. } => self.on_leader_info(zxid.epoch()),
                other => self.over(LearnerOver::Unexpected(other.name())),
            },
            Stage::ExpectSync => self.on_sync_packet(packet),
            Stage::Changing { .. } => {
                self.hold(weight(&packet));
                self.stash.push_back(packet);
            }
            Stage::Syncing => self.on_syncing_packet(now_ms, packet),
            Stage::Persisting { .. } | Stage::ExpectUpToDate { .. } => self.on_queued_packet(now_ms, packet),
            Stage::Broadcasting => self.on_broadcast_packet(now_ms, packet),
            Stage::Connecting | Stage::AcceptingEpoch { .. } | Stage::ReceivingSnapshot { .. } => {
                self.over(LearnerOver::Unexpected(packet.name()));
            }
            Stage::Over => {}
        }
    }

    fn on_leader_info(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        match epoch.cmp(&self.accepted) {
            Ordering::Less if !self.options.has(Defect::OldEpochTaken) => {
                self.over(LearnerOver::OldEpoch { theirs: epoch, accepted: self.accepted });
            }
            // It may not count twice.
            Ordering::Equal if self.options.has(Defect::EpochAckedTwice) => {
                self.ack_epoch(EpochIsAccepted::before(epoch), self.current);
            }
            Ordering::Equal => self.ack_epoch(EpochIsAccepted::before(epoch), StateSummary::NO_EPOCH),
            Ordering::Less | Ordering::Greater => {
                let token = self.tokens.next();
                self.outputs.push_back(Output::Disk(Command::WriteAcceptedEpoch { token, epoch }));
                self.stage = Stage::AcceptingEpoch { token };
                if self.options.has(Defect::AckEpochBeforeAcceptedEpoch) {
                    self.ack_epoch(EpochIsAccepted::before(epoch), self.current);
                }
            }
        }
    }

    fn ack_epoch(&mut self, accepted: EpochIsAccepted, current: Epoch) {
        self.accepted = accepted.epoch();
        let (current, last) = if self.is_lost && !self.options.has(Defect::LostStateCounts) {
            (StateSummary::NO_EPOCH, StateSummary::NO_HISTORY)
        } else {
            (current, self.log.last())
        };
        self.send(FromLearner::ack_epoch(accepted, current, last));
        self.stage = Stage::ExpectSync;
    }

    fn on_done(&mut self, now_ms: u64, done: Done) {
        match self.stage {
            Stage::AcceptingEpoch { token } => {
                if let Some(accepted) = EpochIsAccepted::done(done, token, self.epoch) {
                    self.ack_epoch(accepted, self.current);
                }
            }
            Stage::Changing { token, zxid, is_snapshot } if token == done.token() => {
                self.on_changed(now_ms, zxid, is_snapshot);
            }
            Stage::Persisting { write: Some(write) } => {
                if let Some(epoch) = write.done(done) {
                    self.on_current_epoch(epoch);
                }
            }
            _ => {}
        }
    }

    fn on_logged(&mut self, logged: Logged) {
        self.logged = logged;
        match self.stage {
            Stage::Syncing => self.replay(),
            Stage::Persisting { write: None } => {
                self.replay();
                self.persist_epoch();
            }
            Stage::Broadcasting => {
                self.ack_logged();
                self.apply();
            }
            _ => {}
        }
    }

    fn on_broadcast_packet(&mut self, now_ms: u64, packet: Packet) {
        match packet {
            // An observer hears of a proposal when it is committed.
            Packet::Proposal { .. } | Packet::Commit { .. } | Packet::CommitAndActivate { .. } if self.is_observer => {}
            Packet::Proposal { zxid, txn } => {
                self.on_proposal(Proposal { zxid, txn });
                if self.options.has(Defect::InformBeforeCommit) && !self.is_over() {
                    self.inform(now_ms, zxid, None);
                }
            }
            Packet::Commit { zxid } => self.on_commit(now_ms, zxid, None),
            Packet::Inform { zxid, txn } => {
                self.on_proposal(Proposal { zxid, txn });
                self.on_commit(now_ms, zxid, None);
            }
            Packet::CommitAndActivate { zxid, leader } => {
                self.on_commit(now_ms, zxid, Some(leader));
                self.activate_seen(zxid, leader);
            }
            Packet::InformAndActivate { zxid, leader, txn } => {
                self.on_proposal(Proposal { zxid, txn });
                self.on_commit(now_ms, zxid, Some(leader));
                self.activate_seen(zxid, leader);
            }
            Packet::Ping { zxid, .. } => self.on_ping(zxid),
            Packet::Revalidate(Revalidation::Answer { session, valid }) => {
                self.on_revalidated(now_ms, session, valid);
            }
            Packet::Sync { .. } => self.on_synced(now_ms),
            // Of a later version: whatever it is, it has to do without an answer.
            Packet::Unknown { .. } => {}
            other => self.over(LearnerOver::Unexpected(other.name())),
        }
    }

    /// A leader proposes in its own epoch, and in no other.
    fn on_proposal(&mut self, proposal: Proposal) {
        if proposal.zxid.epoch() != self.epoch {
            return self.over(LearnerOver::WrongEpoch { epoch: self.epoch, got: proposal.zxid });
        }
        self.append(proposal);
    }

    fn on_commit(&mut self, now_ms: u64, zxid: Zxid, leader: Option<ServerId>) {
        if self.is_over() {
            return;
        }
        let expected = self.log.next_after(self.log.committed()).map(|next| next.zxid);
        if expected != Some(zxid) {
            return self.over(LearnerOver::WrongCommit { expected, got: zxid });
        }
        self.log.commit(zxid);
        self.inform(now_ms, zxid, leader);
        self.apply();
    }

    fn on_ping(&mut self, zxid: Zxid) {
        let mut touched = Vec::new();
        while touched.len() < TOUCHES_MAX
            && let Some((session, timeout_ms)) = self.touched.pop_first()
        {
            touched.push(Touch { session, timeout_ms });
        }
        self.send(FromLearner::pong(zxid, touched));
    }

    /// A proposal goes to the log.
    fn append(&mut self, proposal: Proposal) {
        if self.is_over() {
            return;
        }
        let zxid = proposal.zxid;
        if let Err(gap) = self.log.append(proposal.clone()) {
            return self.over(LearnerOver::Gap(gap));
        }
        self.relay(&proposal);
        let reconfig = configuration_in(&proposal, &self.options);
        self.outputs.push_back(Output::Disk(Command::Append(proposal)));
        if let Some(next) = reconfig {
            self.see(next);
        }
        if self.stage == Stage::Broadcasting && !self.is_observer {
            self.unacked.push_back(zxid);
            #[cfg(feature = "seeded-defects")]
            if self.options.has(Defect::AckBeforeItsSync) {
                self.unacked.pop_back();
                self.send(FromLearner::ack(Ack::forged(zxid)));
            }
        }
    }

    /// An ACK for each that is durable now.
    fn ack_logged(&mut self) {
        while let Some(&zxid) = self.unacked.front()
            && let Some(ack) = Ack::of_proposal(self.logged, zxid)
        {
            self.unacked.pop_front();
            self.send(FromLearner::ack(ack));
        }
    }

    /// Applies what is committed and logged.
    fn apply(&mut self) {
        let committed = self.log.committed();
        let unlogged = self.options.has(Defect::AppliesUnlogged);
        let applicable = if unlogged { committed } else { committed.min(self.logged.zxid()) };
        if applicable > self.applied {
            self.applied = applicable;
            self.outputs.push_back(Output::Commit(applicable));
        }
        self.answer_syncs();
    }

    /// A sync shows everything that was committed when its answer came; until the own disk has it, it waits.
    fn answer_syncs(&mut self) {
        let logged = self.logged.zxid();
        while self.syncs.pop_front_if(|committed| *committed <= logged).is_some() {
            self.outputs.push_back(Output::Synced);
        }
    }

    fn send(&mut self, packet: FromLearner) {
        self.outputs.push_back(Output::Send(packet));
    }

    fn heard(&mut self, now_ms: u64) {
        let in_sync =
            matches!(self.stage, Stage::Persisting { .. } | Stage::ExpectUpToDate { .. } | Stage::Broadcasting);
        let limit_ms = if in_sync { self.options.sync_limit_ms() } else { self.options.init_limit_ms() };
        self.read_deadline_ms = now_ms + limit_ms;
    }

    fn hold(&mut self, bytes: usize) {
        self.held_bytes += bytes;
        if self.held_bytes > self.options.sync_queue_bytes_max && !self.options.has(Defect::QueueHasNoBound) {
            self.over(LearnerOver::QueueFull);
        }
    }

    fn over(&mut self, why: LearnerOver) {
        if !self.is_over() {
            self.stage = Stage::Over;
            self.observers = observers::Observers::default();
            self.outputs.push_back(Output::Over(why));
        }
    }
}

/// What a packet counts for while it is held back.
fn weight(packet: &Packet) -> usize {
    match packet {
        Packet::Proposal { txn, .. } | Packet::Inform { txn, .. } => txn.len() + 64,
        _ => 64,
    }
}
