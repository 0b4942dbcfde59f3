//! A small world: servers with disks that crash, links that are cut, delayed and blocked one way, and elections: those that
//! the servers hold among themselves ([`World::with_elections`]), or those that the world makes, which may be wrong. One [`Action`] is one step; after each, the checks look at everything at once.
//!
//! The world is a value: it can be cloned, compared and hashed, so it can be walked at random or exhaustively.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "not every test uses all of it; it may panic and print"
)]

pub mod checks;
pub mod disk;
pub mod election_port;
pub mod machine;
mod net;
pub mod run;
pub mod schedule;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ostler_zab::connections::ConnectionId;
use ostler_zab::ensemble;
use ostler_zab::leader::{Input as LeaderInput, Output as LeaderOutput};
use ostler_zab::learner::Output as LearnerOutput;
use ostler_zab::member::{Input, Output};
use ostler_zab::quorum_verifier::{Member, MemberAddress, Role};
use ostler_zab::reconfig::configuration_in;
use ostler_zab::{
    CommittedLog, CommittedLogLimits, ConnId, LogPart, Logged, Options, Proposal, QuorumVerifier, Recovered, RoleId,
    State, StateSummary,
};
use wire::jute::Field;
use wire::quorum::Packet;
use wire::txn::{SetDataTxn, Txn, TxnEntry, TxnHeader};
use wire::{Epoch, OpCode, ServerId, SessionId, Xid, Zxid};

pub use self::checks::Truth;
pub use self::disk::{Disk, Finished, History, end};
pub use self::election_port::ElectionPorts;
pub use self::machine::Machine;
pub use self::net::Conn;

/// A small generator of pseudo-random numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// These look for a leader and are told that it is this one.
    Elect(Vec<ServerId>, ServerId),
    /// The connection to the leader is made, or refused if it does not lead.
    Connect(ServerId),
    /// The next message of this connection arrives.
    ToLeader(ConnId),
    ToLearner(ConnId),
    /// One side notices that the connection is gone.
    LeaderSeesEnd(ConnId),
    LearnerSeesEnd(ConnId),
    Cut(ConnId),
    LogStep(ServerId),
    EpochStep(ServerId),
    /// A leader's question to its own disk is answered.
    Read(ServerId),
    Propose(ServerId),
    Sync(ServerId),
    /// The leader proposes that these are the voters.
    Reconfig(ServerId, Vec<ServerId>),
    /// Of what the disk had under way, this much is there (`None`: all of it).
    Crash(ServerId, usize),
    /// Everything of it is gone.
    Wipe(ServerId),
    Restart(ServerId),
    Snapshot(ServerId, bool),
    /// An attempt to connect on the election port, from the first to the second.
    Dial(ServerId, ServerId),
    /// A socket of this server takes the frame that it was given.
    WriteFrame(ServerId, ConnectionId),
    /// The next frame reaches this server.
    ReadFrame(ConnectionId, ServerId),
    /// This server notices that the connection is gone.
    SeeLinkEnd(ConnectionId, ServerId),
    CutLink(ConnectionId),
    /// The clock goes on to the next timeout.
    Wait,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    pub options: Options,
    pub member: Option<Machine>,
    /// It takes part in elections of its own.
    elects: bool,
    pub disk: Disk,
    pub is_lost: bool,
    /// It looks for a leader.
    pub look: Option<(StateSummary, bool)>,
    /// It connects to this one.
    pub follow: Option<(RoleId, ServerId)>,
    pub role: Option<RoleId>,
    /// What it applied: the end.
    pub applied: Zxid,
    pub is_serving: bool,
    /// It serves reads without a leader.
    pub is_read_only: bool,
    reads: VecDeque<LeaderOutput>,
    /// The snapshots that are open for learners.
    open: BTreeMap<ConnId, History>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub now_ms: u64,
    pub servers: BTreeMap<ServerId, Server>,
    pub conns: BTreeMap<ConnId, Conn>,
    pub ports: ElectionPorts,
    next_conn: u64,
    next_value: u64,
    next_sync: u64,
    /// Nothing gets from the first to the second.
    pub blocked: BTreeSet<(ServerId, ServerId)>,
    pub truth: Truth,
    pub log_limits: CommittedLogLimits,
}

impl World {
    /// `voters` servers from 1 on, and `observers` behind them. The world makes their elections.
    pub fn new(voters: i64, observers: i64, change: impl Fn(&mut Options)) -> Self {
        let mut world = Self::at_rest(voters, observers, change);
        world.start_all();
        world
    }

    /// The same, and they elect among themselves.
    pub fn with_elections(voters: i64, observers: i64, change: impl Fn(&mut Options)) -> Self {
        let mut world = Self::at_rest(voters, observers, change);
        world.servers.values_mut().for_each(|it| it.elects = true);
        world.start_all();
        world
    }

    /// The same; the ensemble is `voters`, and `others`, who are in no configuration, may become members. None is observed.
    pub fn with_reconfig(voters: i64, others: i64, change: impl Fn(&mut Options)) -> Self {
        let verifier = QuorumVerifier::majority((1..=voters).map(|id| participant(ServerId(id))), 0);
        let mut world = Self::at_rest(voters + others, 0, |options| {
            options.verifier = verifier.clone();
            options.reconfig_enabled = true;
            change(options);
        });
        world.truth.verifier = Some(verifier);
        world.servers.values_mut().for_each(|it| it.elects = true);
        world.start_all();
        world
    }

    fn at_rest(voters: i64, observers: i64, change: impl Fn(&mut Options)) -> Self {
        let log_limits = CommittedLogLimits { txns: 3, bytes: 1 << 20 };
        let member = |id: i64| Member {
            role: if id <= voters { Role::Participant } else { Role::Observer },
            ..participant(ServerId(id))
        };
        let verifier = QuorumVerifier::majority((1..=voters + observers).map(member), 0);
        let servers = (1..=voters + observers).map(|id| {
            let mut options = Options::new(ServerId(id), verifier.clone());
            options.committed_log = log_limits;
            change(&mut options);
            (ServerId(id), Server::new(options, Disk::new(vec![], Epoch(0))))
        });
        Self {
            now_ms: 0,
            servers: servers.collect(),
            conns: BTreeMap::new(),
            ports: ElectionPorts::default(),
            next_conn: 1,
            next_value: 1,
            next_sync: 1,
            blocked: BTreeSet::new(),
            truth: Truth::default(),
            log_limits,
        }
    }

    /// Servers with a history behind them.
    pub fn with_disks(disks: Vec<Disk>, committed: usize, change: impl Fn(&mut Options)) -> Self {
        let mut world = Self::at_rest(disks.len() as i64, 0, change);
        let longest = disks.iter().map(Disk::history).max_by_key(|it| end(it)).unwrap();
        world.truth.committed = longest[..committed].to_vec();
        let all = disks.iter().flat_map(Disk::history);
        world.truth.proposed.extend(all.map(|it| (it.zxid, it.txn.to_vec())));
        for (server, disk) in world.servers.values_mut().zip(disks) {
            server.disk = disk;
        }
        world.start_all();
        world
    }

    fn start_all(&mut self) {
        for id in self.ids() {
            let server = self.servers.get_mut(&id).unwrap();
            server.start(self.now_ms, self.log_limits);
            self.drain(id);
        }
    }

    pub fn ids(&self) -> Vec<ServerId> {
        self.servers.keys().copied().collect()
    }

    pub fn server(&self, id: ServerId) -> &Server {
        &self.servers[&id]
    }

    /// Takes a step. The first thing that is wrong ends the world.
    pub fn apply(&mut self, action: &Action, random: Option<&mut Random>) -> Result<(), String> {
        match action {
            Action::Elect(who, leader) => {
                for &id in who {
                    let server = self.servers.get_mut(&id).unwrap();
                    server.look = None;
                    self.input(id, Input::Elected(*leader));
                }
            }
            Action::Connect(id) => self.connect(*id),
            Action::ToLeader(conn) => self.leader_hears(*conn),
            Action::ToLearner(conn) => self.learner_hears(*conn),
            Action::LeaderSeesEnd(conn) => self.leader_sees_end(*conn),
            Action::LearnerSeesEnd(conn) => self.learner_sees_end(*conn),
            Action::Cut(conn) => self.cut(*conn),
            Action::LogStep(id) => {
                let server = self.servers.get_mut(id).unwrap();
                let finished = server.disk.log_step(&server.options);
                self.finished(*id, finished);
            }
            Action::EpochStep(id) => {
                let finished = self.servers.get_mut(id).unwrap().disk.epoch_step();
                self.finished(*id, finished);
            }
            Action::Read(id) => self.read(*id, random),
            Action::Propose(id) => self.propose(*id),
            Action::Reconfig(id, voters) => self.reconfigure(*id, voters),
            Action::Sync(id) => {
                let tag = self.next_sync;
                self.next_sync += 1;
                self.truth.on_sync_asked(tag);
                let role = self.server(*id).role.unwrap();
                self.input(*id, Input::Leader(role, LeaderInput::Sync(tag)));
            }
            Action::Crash(id, kept) => self.crash(*id, *kept),
            Action::Wipe(id) => {
                self.crash(*id, 0);
                let server = self.servers.get_mut(id).unwrap();
                server.disk = Disk::new(vec![], Epoch(0));
                server.is_lost = true;
                self.truth.wiped.insert(*id);
            }
            Action::Restart(id) => {
                self.servers.get_mut(id).unwrap().start(self.now_ms, self.log_limits);
                self.drain(*id);
            }
            Action::Snapshot(id, purge) => {
                let server = self.servers.get_mut(id).unwrap();
                let content = server.applied_history();
                server.disk.take_snapshot(content, *purge);
            }
            Action::Dial(from, to) => self.dial(*from, *to),
            Action::WriteFrame(id, link) => self.write_frame(*id, *link),
            Action::ReadFrame(link, to) => self.read_frame(*link, *to),
            Action::SeeLinkEnd(link, side) => self.see_link_end(*link, *side),
            Action::CutLink(link) => self.cut_link(*link),
            Action::Wait => {
                let timeouts = self.servers.values().filter_map(|it| it.member.as_ref()?.next_timeout());
                self.now_ms = timeouts.min().map_or(self.now_ms + 1, |it| it.max(self.now_ms));
                for id in self.ids() {
                    self.input(id, Input::Timer);
                }
            }
        }
        let servers = &self.servers;
        self.truth.check(servers)
    }

    fn finished(&mut self, id: ServerId, finished: Option<Finished>) {
        match finished {
            Some(Finished::Logged(zxid)) => self.input(id, Input::Logged(Logged::up_to(zxid))),
            Some(Finished::Done(token)) => self.input(id, Input::Done(token.done())),
            Some(Finished::NotTruncated(token)) => self.input(id, Input::NotTruncated(token)),
            None => {}
        }
    }

    fn propose(&mut self, id: ServerId) {
        let now_ms = self.now_ms;
        let server = self.servers.get_mut(&id).unwrap();
        let Some(zxid) = server.member.as_mut().and_then(|it| it.next_zxid(now_ms)) else {
            return self.drain(id);
        };
        let txn = Bytes::from(format!("{zxid} of {id} is {}", self.next_value));
        self.next_value += 1;
        let proposal = Proposal { zxid, txn };
        self.truth.on_proposed(id, &proposal);
        let role = server.role.unwrap();
        self.input(id, Input::Leader(role, LeaderInput::Propose(proposal)));
    }

    fn reconfigure(&mut self, id: ServerId, voters: &[ServerId]) {
        let now_ms = self.now_ms;
        let server = self.servers.get_mut(&id).unwrap();
        let Some(zxid) = server.member.as_mut().and_then(|it| it.next_zxid(now_ms)) else {
            return self.drain(id);
        };
        let next = QuorumVerifier::majority(voters.iter().copied().map(participant), zxid.0);
        let proposal = Proposal { zxid, txn: reconfig_txn(zxid, &next).into() };
        self.truth.on_proposed(id, &proposal);
        let role = server.role.unwrap();
        self.input(id, Input::Leader(role, LeaderInput::Propose(proposal)));
    }

    fn crash(&mut self, id: ServerId, kept: usize) {
        let server = self.servers.get_mut(&id).unwrap();
        let mut left = kept;
        server.disk.crash(&mut || {
            let survives = left > 0;
            left = left.saturating_sub(1);
            survives
        });
        server.member = None;
        server.forget_role();
        server.look = None;
        self.crash_ports(id);
        for conn in self.conns_of(id) {
            self.cut(conn);
        }
    }

    /// A leader's question to its disk.
    fn read(&mut self, id: ServerId, random: Option<&mut Random>) {
        let server = self.servers.get_mut(&id).unwrap();
        let Some(question) = server.reads.pop_front() else { return };
        let role = server.role.unwrap();
        let input = match question {
            LeaderOutput::ReadLog { conn, token, from, up_to, .. } => {
                let part_max = random.map_or(usize::MAX, |random| 1 + random.below(4));
                LeaderInput::LogRead { conn, token, part: server.log_part(from, up_to, part_max) }
            }
            LeaderOutput::OpenSnapshot { conn, token, at_least } => {
                // An old one will do, if it may.
                let fresh = server.applied_history();
                let old = server.disk.snapshots.iter().rev().find(|it| end(it) >= at_least && end(it) <= end(&fresh));
                let content = old.cloned().unwrap_or(fresh);
                let zxid = Some(end(&content)).filter(|&it| it >= at_least);
                server.open.insert(conn, content);
                LeaderInput::SnapshotOpened { conn, token, zxid }
            }
            _ => return,
        };
        self.input(id, Input::Leader(role, input));
    }

    pub fn input(&mut self, id: ServerId, input: Input) {
        let now_ms = self.now_ms;
        if let Some(member) = &mut self.servers.get_mut(&id).unwrap().member {
            member.handle(now_ms, input);
            self.drain(id);
        }
    }

    /// Does what a server wants.
    fn drain(&mut self, id: ServerId) {
        while let Some(output) =
            self.servers.get_mut(&id).and_then(|it| it.member.as_mut()).and_then(Machine::next_output)
        {
            match output {
                ensemble::Output::Member(output) => self.output(id, output),
                ensemble::Output::Connections(output) => self.election_port(id, output),
                ensemble::Output::ReadOnly(is) => self.servers.get_mut(&id).unwrap().is_read_only = is,
                ensemble::Output::OtherMembers { .. } | ensemble::Output::Election(_) => {}
                ensemble::Output::NotANotification { .. } => panic!("{id}: {output:?}"),
            }
        }
    }

    fn output(&mut self, id: ServerId, output: Output) {
        let server = self.servers.get_mut(&id).unwrap();
        match output {
            Output::Look { summary, is_lost } => server.look = Some((summary, is_lost)),
            Output::Follow { role, leader, .. } => {
                server.role = Some(role);
                server.follow = Some((role, leader));
            }
            Output::Lead { role } => server.role = Some(role),
            Output::Configured(quorums) => server.options.verifier = QuorumVerifier::clone(quorums.committed()),
            Output::Disk(command) => {
                if server.member.as_ref().is_some_and(|it| it.as_leader().is_some())
                    && let ostler_zab::Command::WriteCurrentEpoch { epoch, .. } = command
                {
                    self.truth.on_initial_history(epoch, server.disk.in_memory());
                }
                server.disk.add(command);
            }
            Output::Leader(output) => self.leader_output(id, output),
            Output::Learner(output) => self.learner_output(id, output),
            Output::Over(_, _) => {
                server.forget_role();
                for conn in self.conns_of(id) {
                    self.cut(conn);
                }
            }
        }
    }

    fn leader_output(&mut self, id: ServerId, output: LeaderOutput) {
        let server = self.servers.get_mut(&id).unwrap();
        match output {
            LeaderOutput::ReadLog { .. } | LeaderOutput::OpenSnapshot { .. } => server.reads.push_back(output),
            LeaderOutput::Ready(conn) => self.take_packets(id, conn),
            LeaderOutput::Close(conn, _) => self.cut(conn),
            LeaderOutput::Replay(zxid) => server.applied = zxid,
            LeaderOutput::Serve { epoch } => {
                server.is_serving = true;
                let (history, end) = (server.disk.in_memory(), server.applied);
                self.truth.on_established(id, epoch, &history);
                self.truth.on_delivered(id, &history, end);
            }
            LeaderOutput::Commit(zxid) => self.commit(id, zxid),
            LeaderOutput::Synced(tag, true) => {
                let end = server.applied;
                self.truth.on_sync_answered(tag, end);
            }
            LeaderOutput::Request(..)
            | LeaderOutput::Touch(_)
            | LeaderOutput::Revalidate { .. }
            | LeaderOutput::Synced(_, false)
            | LeaderOutput::Disk(_)
            | LeaderOutput::Configured(_)
            | LeaderOutput::Forgot { .. }
            | LeaderOutput::SyncBegins(_)
            | LeaderOutput::SyncEnds { .. }
            | LeaderOutput::Over(_) => {}
        }
    }

    fn learner_output(&mut self, id: ServerId, output: LearnerOutput) {
        let server = self.servers.get_mut(&id).unwrap();
        match output {
            LearnerOutput::Send(packet) => {
                if let Packet::Ack { zxid } = packet.packet() {
                    self.truth.on_ack(id, *zxid, &server.disk);
                }
                if let Packet::AckEpoch { .. } = packet.packet() {
                    self.truth.on_ack_epoch(id, &server.disk);
                }
                self.send_to_leader(id, packet.into_packet());
            }
            LearnerOutput::Replay(zxid) => server.applied = zxid,
            LearnerOutput::Serve { .. } => {
                server.is_serving = true;
                let (history, end) = (server.disk.in_memory(), server.applied);
                self.truth.on_delivered(id, &history, end);
            }
            LearnerOutput::Commit(zxid) => self.commit(id, zxid),
            LearnerOutput::ReceiveSnapshot(_)
            | LearnerOutput::Revalidated { .. }
            | LearnerOutput::Synced
            | LearnerOutput::ServeObservers
            | LearnerOutput::Observers(_)
            | LearnerOutput::Disk(_)
            | LearnerOutput::Configured { .. }
            | LearnerOutput::Over(_) => {}
        }
    }

    fn commit(&mut self, id: ServerId, zxid: Zxid) {
        let server = self.servers.get_mut(&id).unwrap();
        server.applied = zxid;
        let (history, logged) = (server.disk.in_memory(), end(&server.disk.history()));
        self.truth.on_applied(id, zxid, logged);
        self.truth.on_delivered(id, &history, zxid);
    }

    /// A line of a trace.
    pub fn describe(&self, action: &Action) -> String {
        let message = match action {
            Action::ToLeader(conn) => {
                let it = &self.conns[conn];
                format!("{} to {}: {:?}", it.learner, it.leader, it.to_leader.front())
            }
            Action::ToLearner(conn) => {
                let it = &self.conns[conn];
                format!("{} to {}: {:?}", it.leader, it.learner, it.to_learner.front())
            }
            _ => String::new(),
        };
        let state = |(id, it): (&ServerId, &Server)| {
            let last = end(&it.disk.history());
            let role = it.member.as_ref().map(Machine::state);
            format!("{id}: {role:?} {}/{} {last}", it.disk.accepted, it.disk.current)
        };
        let states: Vec<String> = self.servers.iter().map(state).collect();
        format!("{action:?} {message}   [{}]", states.join(", "))
    }

    /// Is a quorum's worth of servers in the same epoch, with the same history, and serving?
    pub fn is_converged(&self) -> bool {
        let committed = &self.truth.committed;
        self.servers.values().all(|it| it.is_serving && it.disk.history() == *committed && it.applied == end(committed))
    }
}

/// A voter with addresses.
pub fn participant(id: ServerId) -> Member {
    let at = MemberAddress { host: format!("s{}", id.0), quorum_port: 2888, election_port: 3888 };
    Member { addresses: vec![at], ..Member::participant(id) }
}

fn reconfig_txn(zxid: Zxid, next: &QuorumVerifier) -> Vec<u8> {
    let text = next.to_string();
    let set = SetDataTxn { path: Some("/zookeeper/config".into()), data: Some(text.as_bytes()), version: -1 };
    let header = TxnHeader { session: SessionId(1), cxid: Xid(1), zxid, time_ms: 0, op: OpCode::Reconfig };
    TxnEntry { header, txn: Txn::SetData(set), digest: None }.to_vec()
}

impl Server {
    fn new(options: Options, disk: Disk) -> Self {
        Self {
            options,
            member: None,
            elects: false,
            disk,
            is_lost: false,
            look: None,
            follow: None,
            role: None,
            applied: Zxid::ZERO,
            is_serving: false,
            is_read_only: false,
            reads: VecDeque::new(),
            open: BTreeMap::new(),
        }
    }

    fn start(&mut self, now_ms: u64, limits: CommittedLogLimits) {
        self.forget_role();
        self.look = None;
        let history = self.disk.history();
        // A reconfig in the log is seen.
        self.options.last_seen = history.iter().rev().find_map(|it| configuration_in(it, &self.options));
        if self.options.has(ostler_zab::Defect::SeenConfigurationForgotten) {
            self.options.last_seen = None;
        }
        if !history.is_empty() {
            // It has synced since.
            self.is_lost = false;
        }
        // As `storage::epoch` does after a crash between a history and its `currentEpoch`.
        self.disk.current = self.disk.current.max(end(&history).epoch());
        let last = if self.is_lost { Zxid(-1) } else { end(&history) };
        // What was replayed is in memory, as far as it fits.
        let mut log = CommittedLog::new(limits, last);
        let from = history.len().saturating_sub(limits.txns);
        if !history.is_empty() && end(&history[..from]) >= self.disk.log_start() {
            log = CommittedLog::new(limits, end(&history[..from]));
            for proposal in &history[from..] {
                log.append(proposal.clone()).unwrap();
            }
        }
        let recovered =
            Recovered { accepted: self.disk.accepted, current: self.disk.current, log, is_lost: self.is_lost };
        self.member = Some(Machine::new(now_ms, self.elects, self.options.clone(), recovered));
        self.applied = end(&history);
    }

    fn forget_role(&mut self) {
        self.role = None;
        self.follow = None;
        self.is_serving = false;
        self.is_read_only = false;
        self.reads.clear();
        self.open.clear();
    }

    pub fn state(&self) -> Option<State> {
        self.member.as_ref().map(Machine::state)
    }

    pub fn may_propose_early(&self) -> bool {
        self.options.has(ostler_zab::Defect::ServesBeforeQuorum)
    }

    fn applied_history(&self) -> History {
        self.disk.in_memory().into_iter().filter(|it| it.zxid <= self.applied).collect()
    }

    fn log_part(&self, from: Zxid, up_to: Zxid, part_max: usize) -> Option<LogPart> {
        let history = self.disk.in_memory();
        let at = history.partition_point(|it| it.zxid <= from);
        let before = end(&history[..at]);
        if before < self.disk.log_start() {
            return None;
        }
        let rest = history[at..].iter().take_while(|it| it.zxid <= up_to).take(part_max).cloned();
        Some(LogPart { before, proposals: rest.collect() })
    }
}
