//! A leader: discovery, synchronization and broadcast, from the end of the election to the end of the role.
//!
//! In: [`Input`], one at a time, with the time in ms on a clock that never goes back. Out: [`Output`]s, to be drained after
//! each input; what a learner is to be sent waits in a queue a connection ([`Leader::next_packet`]), so that whoever owns
//! the socket takes as much as fits. Then ask [`Leader::next_timeout`].
//!
//! ```text
//! Discovery            FOLLOWERINFO from a quorum: a new epoch, greater than all that any of them accepted
//!   acceptedEpoch      is written, and then
//! EpochAcks            LEADERINFO out, ACKEPOCH from a quorum: nobody among them knows more than this leader
//!   currentEpoch       is written; meanwhile each learner is brought to this history (DIFF, TRUNC, SNAP, NEWLEADER)
//! Synchronization      ACK of NEWLEADER from a quorum: the history is committed, the epoch is established
//! Broadcast            UPTODATE; PROPOSAL, ACK, COMMIT (INFORM to observers); PING
//! ```
//!
//! What always holds:
//!
//! * LEADERINFO goes out after `acceptedEpoch` is durable here, and nothing is proposed before a quorum has the history.
//! * A proposal is committed when a quorum has it on its disks, in zxid order. Acks belong to a connection: a learner that
//!   comes back may be told to cut what it acknowledged, so it has to acknowledge it again.
//! * A learner gets, on one connection: what it lacks, NEWLEADER, and everything proposed and committed since, without a
//!   gap and without a COMMIT whose PROPOSAL it has not got.
//! * A sync is answered when everything proposed before it is committed, and a quorum has answered a PING that was sent
//!   after the sync came: so this leader still led then (ZOOKEEPER-1675).
//! * A learner hears of its own syncs and writes in the order in which it forwarded them: what was proposed behind a sync of its is
//!   told to it behind the answer. Apache's learners match them in that order, and answer nobody any more if one is out of turn.
//!
//! It steps down when a phase takes longer than `initLimit`; when, at a full tick, there is no quorum of learners that were
//! heard of within `syncLimit`; when the own disk hangs for `syncLimit`; and when an epoch or its zxids are used up.
//!
//! A proposal may be a reconfig: see [`crate::reconfig`].
//!
//! A follower that serves observers has this machine, too, with the half of it that has to do with learners: see `relay`.
//!
//! Source: Apache `Leader`, `LearnerHandler`, `LearnerSyncThrottler`.

mod broadcast;
mod discovery;
mod handler;
mod oracle;
mod queues;
mod reconfig;
mod relay;
mod sync;
mod why;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wire::quorum::{Forwarded, Packet, Touch};
use wire::{Epoch, ServerId, SessionId, Zxid};

pub use self::handler::ToLearner;
pub use self::reconfig::Learners;
pub use self::why::{CloseReason, LeaderOver};

use self::handler::{Handler, Stage};
use crate::broadcast::Broadcast;
use crate::committed_log::{CommittedLog, Proposal};
use crate::durable::{Command, CurrentEpochWrite, Done, Logged, Token, Tokens};
use crate::options::{Defect, Options};
use crate::quorum_verifier::Quorums;
use crate::state_summary::StateSummary;
use crate::sync_plan::LogPart;

/// A connection, as the driver numbers them; never used twice in the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What happens to a leader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// Somebody connected to the quorum port.
    Connected(ConnId),
    /// A connection ended, from the other side or by [`Output::Close`].
    Disconnected(ConnId),
    /// A packet came.
    Packet(ConnId, Packet),
    /// The own log is durable up to here.
    Logged(Logged),
    /// A command is done.
    Done(Done),
    /// The answer to [`Output::ReadLog`]; `None` if it can't be had without a gap, or would be too much.
    LogRead {
        /// For whom.
        conn: ConnId,
        /// The question's.
        token: Token,
        /// What was read.
        part: Option<LogPart>,
    },
    /// The answer to [`Output::OpenSnapshot`]; `None` if there is none.
    SnapshotOpened {
        /// For whom.
        conn: ConnId,
        /// The question's.
        token: Token,
        /// The snapshot's zxid.
        zxid: Option<Zxid>,
    },
    /// A proposal with the zxid that [`Leader::next_zxid`] gave.
    Propose(Proposal),
    /// A client of this server wants to be sure. [`Output::Synced`] answers.
    Sync(u64),
    /// The answer to [`Output::Revalidate`].
    Revalidated {
        /// Who asked.
        conn: ConnId,
        /// Which session.
        session: SessionId,
        /// Is it alive?
        valid: bool,
    },
    /// Of a follower: this observer hands on what may not be done any more. Its connection is closed.
    Refuse(ConnId),
    /// One of those who elected this server looks for a leader again.
    VoterLooks,
    /// What the oracle of an ensemble of two says. False until it says otherwise.
    Oracle(bool),
    /// It is time.
    Timer,
}

/// What a leader wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// Something for the disk.
    Disk(Command),
    /// Read the log on the disk from `from` on: what is behind it, up to `up_to`, in part if it is much (some MiB). Answer
    /// with [`Input::LogRead`].
    ReadLog {
        /// For whom.
        conn: ConnId,
        /// The answer's.
        token: Token,
        /// What the learner has, or was sent.
        from: Zxid,
        /// Nothing behind this is needed.
        up_to: Zxid,
        /// The first question for this learner: `None` is right if all of it is more than `snapshotSizeFactor` of a
        /// snapshot, which then is the cheaper way.
        is_first: bool,
    },
    /// Open a snapshot that is not older than `at_least`, and may hold nothing that is not committed. Answer with
    /// [`Input::SnapshotOpened`].
    OpenSnapshot {
        /// For whom.
        conn: ConnId,
        /// The answer's.
        token: Token,
        /// The oldest one that will do.
        at_least: Zxid,
    },
    /// There is something in the queue of this connection ([`Leader::next_packet`]).
    Ready(ConnId),
    /// Close this connection.
    Close(ConnId, CloseReason),
    /// Apply the whole log, up to here: it is the history that this leader proposes to the others. Nobody is served yet.
    Replay(Zxid),
    /// The epoch is established: serve clients. Proposals may be made.
    Serve {
        /// The epoch.
        epoch: Epoch,
    },
    /// Everything up to here is committed, and in the own log: apply it.
    Commit(Zxid),
    /// Other configurations hold: a reconfig was proposed or committed. Of the leader's own election and files.
    Configured(Quorums),
    /// A learner forwards a client's wish.
    Request(ConnId, Forwarded),
    /// Learners heard of these sessions.
    Touch(Vec<Touch>),
    /// Is this session alive? If so it now lives with this learner. Answer with [`Input::Revalidated`], in the order of
    /// the questions of a connection.
    Revalidate {
        /// Who asks.
        conn: ConnId,
        /// Which.
        session: SessionId,
        /// Its timeout.
        timeout_ms: i32,
    },
    /// A voter has come back with less than it had acknowledged to this leader: its disk has lost it. People should know.
    Forgot {
        /// Who.
        server: ServerId,
        /// What it had acknowledged.
        acknowledged: Zxid,
        /// The last that it has now; below 0: it has lost its state.
        has: Zxid,
    },
    /// The answer to [`Input::Sync`]; false: too many wait.
    Synced(u64, bool),
    /// It begins to bring a learner to its history; for people.
    SyncBegins(SyncBegins),
    /// That is over; a connection that never began it may be named, too.
    SyncEnds {
        /// Whose.
        conn: ConnId,
        /// It has acknowledged NEWLEADER, so it has all of it.
        is_done: bool,
    },
    /// The role is over. Close all connections; nothing more comes.
    Over(LeaderOver),
}

/// How a learner is brought to the leader's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SyncBegins {
    /// Whose connection.
    pub conn: ConnId,
    /// The learner.
    pub server: ServerId,
    /// What comes first.
    pub how: SyncHow,
    /// The end of what it gets before NEWLEADER, as things are.
    pub to: Zxid,
    /// How many txns that is behind what comes first; `None`: not known before they are read.
    pub txns: Option<u64>,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyncHow {
    /// Nothing: it has all up to there.
    Diff(Zxid),
    /// It forgets what is behind this.
    Trunc(Zxid),
    /// It gets a snapshot, of this zxid.
    Snap(Zxid),
}

/// What a server begins a role with: what is on its disk, all of it durable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Start {
    /// `acceptedEpoch`.
    pub accepted: Epoch,
    /// `currentEpoch`.
    pub current: Epoch,
    /// The server has lost its state: it presents no history and does not count.
    pub is_lost: bool,
    /// The newest part of its history; the log ends where this does.
    pub log: CommittedLog,
    /// Differs from that of every role before.
    pub role: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    /// Who told its accepted epoch.
    Discovery {
        heard: BTreeSet<ServerId>,
    },
    /// `acceptedEpoch` is being written.
    AcceptingEpoch {
        token: Token,
    },
    /// Who accepted the epoch, and knows no more than this leader.
    EpochAcks {
        acked: BTreeSet<ServerId>,
    },
    /// Who has the history; this server, once `currentEpoch` is written.
    Synchronization {
        write: Option<CurrentEpochWrite>,
        acked: BTreeSet<ServerId>,
    },
    Broadcast,
    /// Not a leader, but a follower that serves observers.
    Relay,
    Over,
}

/// A leader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leader {
    options: Options,
    tokens: Tokens,
    accepted: Epoch,
    summary: StateSummary,
    log: CommittedLog,
    logged: Logged,
    phase: Phase,
    /// The epoch that is being proposed; in discovery it may still rise.
    epoch: Epoch,
    /// When the phase must be through.
    deadline_ms: u64,
    handlers: BTreeMap<ConnId, Handler>,
    /// The number for the next learner that does not say who it is.
    anonymous: i64,
    broadcast: Broadcast,
    /// How far this server was told to apply.
    applied: Zxid,
    /// A proposal that is not logged here, and since when it is on its way.
    oldest_unlogged: Option<(Zxid, u64)>,
    syncs: broadcast::Syncs,
    /// What voters whose connections are gone had acknowledged.
    left_with: BTreeMap<ServerId, Zxid>,
    next_ping_ms: u64,
    /// This one is to lead; nothing is committed here any more.
    successor: Option<ServerId>,
    is_full_tick: bool,
    /// What the oracle says.
    oracle: bool,
    outputs: VecDeque<Output>,
}

impl Leader {
    /// A leader at the end of its election.
    pub fn new(options: Options, start: Start, now_ms: u64) -> Self {
        let Start { accepted, current, is_lost, mut log, role } = start;
        let last = log.last();
        // What a leader has is what it proposes to all, and so counts as committed for how learners are synced.
        log.commit(last);
        let mut this = Self {
            tokens: Tokens::new(role),
            accepted,
            summary: StateSummary { current, last },
            logged: Logged::up_to(last),
            phase: Phase::Discovery { heard: BTreeSet::new() },
            epoch: accepted,
            deadline_ms: now_ms + options.init_limit_ms(),
            handlers: BTreeMap::new(),
            anonymous: -1,
            broadcast: Broadcast::new(options.me, options.verifier.clone(), last),
            applied: last,
            oldest_unlogged: None,
            syncs: broadcast::Syncs::default(),
            left_with: BTreeMap::new(),
            next_ping_ms: u64::MAX,
            successor: None,
            is_full_tick: false,
            oracle: false,
            outputs: VecDeque::new(),
            options,
            log,
        };
        if is_lost {
            this.over(LeaderOver::StateLost);
            return this;
        }
        this.outputs.push_back(Output::Replay(last));
        this.on_accepted_epoch(now_ms, this.options.me, accepted);
        this
    }

    /// Takes one input. Drain [`next_output`](Self::next_output) behind it.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        if self.is_over() {
            return;
        }
        match input {
            Input::Connected(conn) => self.on_connected(now_ms, conn),
            Input::Disconnected(conn) => self.remove(now_ms, conn),
            Input::Packet(conn, packet) => self.on_packet(now_ms, conn, packet),
            Input::Logged(logged) => self.on_logged(now_ms, logged),
            Input::Done(done) => self.on_done(now_ms, done),
            Input::LogRead { conn, token, part } => self.on_log_read(now_ms, conn, token, part),
            Input::SnapshotOpened { conn, token, zxid } => self.on_snapshot_opened(now_ms, conn, token, zxid),
            Input::Propose(proposal) => self.on_propose(now_ms, proposal),
            Input::Sync(tag) => self.on_sync(now_ms, None, tag),
            Input::Revalidated { conn, session, valid } => self.on_revalidated(now_ms, conn, session, valid),
            Input::Refuse(conn) => self.close(now_ms, conn, CloseReason::ClientElsewhere),
            Input::VoterLooks => self.on_voter_looks(now_ms),
            Input::Oracle(says) => self.on_oracle(now_ms, says),
            Input::Timer => self.on_timer(now_ms),
        }
    }

    /// The next thing that it wants.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to give it [`Input::Timer`], in ms.
    pub fn next_timeout(&self) -> Option<u64> {
        if self.is_over() {
            return None;
        }
        let handlers = self.handlers.values().map(|handler| handler.read_deadline_ms);
        let pings = matches!(self.phase, Phase::Broadcast | Phase::Relay);
        let own = if pings { self.next_ping_ms } else { self.deadline_ms };
        handlers.chain([own]).min()
    }

    /// What is to be sent to this learner next. Whoever takes it sends it before the one after.
    pub fn next_packet(&mut self, now_ms: u64, conn: ConnId) -> Option<ToLearner> {
        let handler = self.handlers.get_mut(&conn)?;
        let packet = handler.pop()?;
        if handler.stage != Stage::Broadcasting {
            // It takes what it is sent, so it may take its time for the answer.
            handler.read_deadline_ms = now_ms + self.options.init_limit_ms();
        }
        self.pump(now_ms, conn);
        Some(packet)
    }

    /// The zxid of the next proposal. `None`: nothing can be proposed; if the counter is used up, the role is over.
    pub fn next_zxid(&mut self) -> Option<Zxid> {
        if !self.may_propose() {
            return None;
        }
        let next = self.broadcast.proposed().next();
        if next.counter() == u32::MAX && !self.options.has(Defect::CounterRunsOver) {
            self.over(LeaderOver::ZxidsUsedUp);
            return None;
        }
        Some(next)
    }

    /// It may lead no more, for a reason that is not the protocol's.
    pub fn step_down(&mut self, why: LeaderOver) {
        if !self.is_over() {
            self.over(why);
        }
    }

    /// The established epoch.
    pub fn established(&self) -> Option<Epoch> {
        (self.phase == Phase::Broadcast).then_some(self.epoch)
    }

    /// Is the role over?
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// What it is doing, in a word, for people.
    pub fn phase(&self) -> &'static str {
        match self.phase {
            Phase::Discovery { .. } | Phase::AcceptingEpoch { .. } | Phase::EpochAcks { .. } => "discovery",
            Phase::Synchronization { .. } => "synchronization",
            Phase::Broadcast | Phase::Relay => "broadcast",
            Phase::Over => "over",
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

    fn may_propose(&self) -> bool {
        self.phase == Phase::Broadcast && self.successor.is_none()
            || self.options.has(Defect::ServesBeforeQuorum) && matches!(self.phase, Phase::Synchronization { .. })
    }

    fn on_connected(&mut self, now_ms: u64, conn: ConnId) {
        if self.nameless().count() >= self.options.strangers_max {
            // Whoever floods pushes itself out; a server says who it is at once.
            let oldest = self.nameless().min_by_key(|(conn, it)| (it.read_deadline_ms, **conn)).map(|(&conn, _)| conn);
            if let Some(oldest) = oldest {
                self.close(now_ms, oldest, CloseReason::TooMany);
            }
        }
        self.handlers.insert(conn, Handler::new(now_ms, &self.options));
    }

    /// The connections that have not said whose they are.
    fn nameless(&self) -> impl Iterator<Item = (&ConnId, &Handler)> {
        self.handlers.iter().filter(|(_, it)| it.server.is_none())
    }

    /// How many learners are in no configuration. A member has one connection, and room for it in any case.
    fn strangers(&self) -> usize {
        self.handlers.values().filter_map(|it| it.server).filter(|&it| !self.options.is_member(it)).count()
    }

    fn on_packet(&mut self, now_ms: u64, conn: ConnId, packet: Packet) {
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        match (&handler.stage, packet) {
            (Stage::ExpectInfo, Packet::FollowerInfo { zxid, info }) => {
                self.on_info(now_ms, conn, false, zxid.epoch(), info);
            }
            (Stage::ExpectInfo, Packet::ObserverInfo { zxid, info }) => {
                self.on_info(now_ms, conn, true, zxid.epoch(), info);
            }
            (Stage::ExpectAckEpoch, Packet::AckEpoch { zxid, current_epoch }) => {
                self.on_ack_epoch(now_ms, conn, StateSummary { current: current_epoch, last: zxid });
            }
            (Stage::ExpectAckNewLeader, Packet::Ack { zxid }) => self.on_ack_new_leader(now_ms, conn, zxid),
            (Stage::Broadcasting, packet) => {
                handler.read_deadline_ms = now_ms + self.options.sync_limit_ms();
                handler.synced_until_ms = now_ms + self.options.sync_limit_ms();
                self.on_broadcast_packet(now_ms, conn, packet);
            }
            (_, packet) => self.close(now_ms, conn, CloseReason::Unexpected(packet.name())),
        }
    }

    fn on_logged(&mut self, now_ms: u64, logged: Logged) {
        self.logged = logged;
        if self.may_propose() {
            self.on_own_log(now_ms);
        }
    }

    fn on_timer(&mut self, now_ms: u64) {
        let over = match self.phase {
            Phase::Discovery { .. } | Phase::AcceptingEpoch { .. } => LeaderOver::NoQuorumForEpoch,
            Phase::EpochAcks { .. } => LeaderOver::NoQuorumForEpochAcks,
            Phase::Synchronization { .. } => LeaderOver::NoQuorumForNewLeader,
            Phase::Relay => {
                self.on_relay_timer(now_ms);
                self.close_silent(now_ms);
                return;
            }
            Phase::Broadcast | Phase::Over => {
                self.on_ping_timer(now_ms);
                self.close_silent(now_ms);
                return;
            }
        };
        if now_ms >= self.deadline_ms {
            self.over(over);
        }
        self.close_silent(now_ms);
    }

    fn close_silent(&mut self, now_ms: u64) {
        let silent = |(_, handler): &(&ConnId, &Handler)| now_ms >= handler.read_deadline_ms;
        let late: Vec<ConnId> = self.handlers.iter().filter(silent).map(|(&conn, _)| conn).collect();
        for conn in late {
            self.close(now_ms, conn, CloseReason::Silent);
        }
    }

    fn close(&mut self, now_ms: u64, conn: ConnId, reason: CloseReason) {
        if self.handlers.contains_key(&conn) {
            self.outputs.push_back(Output::Close(conn, reason));
            self.remove(now_ms, conn);
        }
    }

    fn remove(&mut self, now_ms: u64, conn: ConnId) {
        let Some(handler) = self.handlers.remove(&conn) else { return };
        self.syncs.forget(conn);
        if handler.sync.is_some() {
            self.outputs.push_back(Output::SyncEnds { conn, is_done: false });
        }
        if let Some(server) = handler.server.filter(|_| handler.is_voter)
            && matches!(handler.stage, Stage::AwaitStartup | Stage::Broadcasting)
        {
            // NEWLEADER was acknowledged with the history that this leader began with.
            self.left_with.insert(server, handler.acked.max(self.summary.last));
        }
        if let Some(server) = handler.server
            && !self.options.has(Defect::AcksOutliveConnection)
        {
            self.broadcast.forget(server);
        }
        if let Some(successor) = self.successor
            && self.forwarding(false).is_empty()
        {
            // Everybody has heard who is to lead.
            return self.over(LeaderOver::Reconfigured(successor));
        }
        // Without it the oracle may stand in, and without its syncs others may be answered.
        self.ask_oracle(now_ms);
        self.answer_syncs(now_ms);
    }

    fn over(&mut self, why: LeaderOver) {
        self.phase = Phase::Over;
        self.handlers.clear();
        self.outputs.push_back(Output::Over(why));
    }

    fn push(&mut self, now_ms: u64, conn: ConnId, packet: Packet) {
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        handler.push(ToLearner::Packet(packet));
        self.outputs.push_back(Output::Ready(conn));
        self.close_if_full(now_ms, conn);
    }

    /// What waits for a learner in sync has a bound.
    fn close_if_full(&mut self, now_ms: u64, conn: ConnId) {
        let Some(handler) = self.handlers.get(&conn) else { return };
        let full =
            handler.queue_bytes > self.options.learner_queue_bytes_max && !self.options.has(Defect::QueueHasNoBound);
        if full && matches!(handler.stage, Stage::AwaitStartup | Stage::Broadcasting | Stage::ExpectAckNewLeader) {
            self.close(now_ms, conn, CloseReason::QueueFull);
        }
    }

    fn new_leader(&self) -> Packet {
        let config = self.config_for_learners();
        Packet::NewLeader { zxid: Zxid::new(self.epoch, 0), config: Some(config) }
    }
}
