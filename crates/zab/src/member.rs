//! A member of an ensemble: LOOKING, FOLLOWING, LEADING or OBSERVING, one after another, over the same history.
//!
//! It keeps what outlives a role: the accepted and the current epoch, the newest part of the history, and the commands
//! that the disk has not finished. Between two roles it waits until the disk is done with everything (*draining*), so what
//! a server presents to an election, to a leader or as a leader is exactly what is on its disk (ZOOKEEPER-2845, 4712):
//! never a txn that is not logged yet, and never a write of an older role that lands in a newer one. A disk that hangs keeps
//! a server out of the election, which is right: meanwhile it says nothing to those who look, so they elect another one
//! ([`crate::election::Input::Over`]).
//!
//! A server that has lost its state, or whose history can't be cut where a leader demands it, presents none: it does not
//! vote, it acknowledges no epoch, and gets a snapshot (ZOOKEEPER-261).
//!
//! The election itself is not here: [`Output::Look`] asks for one, [`Input::Elected`] ends it; [`crate::ensemble`] joins
//! them.
//!
//! Source: Apache `QuorumPeer`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use wire::{Epoch, ServerId, Zxid};

use crate::committed_log::CommittedLog;
use crate::durable::{Command, Done, Logged, Token};
use crate::leader::{self, ConnId, Leader, LeaderOver, Learners, Start, ToLearner};
use crate::learner::{self, Activated, Learner, LearnerOver};
use crate::options::{Defect, Options};
use crate::queues::Visit;
use crate::quorum_verifier::{QuorumVerifier, Quorums};
use crate::reconfig::keeps_leader;
use crate::state_summary::StateSummary;

/// The number of a role in the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleId(pub u64);

/// What happens to a member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// The election is over: this server leads.
    Elected(ServerId),
    /// For the leader that [`Output::Lead`] announced, or for a follower, about its observers. Late ones are dropped.
    Leader(RoleId, leader::Input),
    /// For the learner that [`Output::Follow`] announced. Late ones are dropped.
    Learner(RoleId, learner::Input),
    /// One of those who elected this server looks for a leader again.
    VoterLooks,
    /// What the oracle of an ensemble of two says; see [`leader::Input::Oracle`].
    Oracle(bool),
    /// Another server has a newer committed configuration. Counts while this one has no role.
    Configured(Box<QuorumVerifier>),
    /// The log is durable up to here.
    Logged(Logged),
    /// A command is done.
    Done(Done),
    /// A [`Command::Truncate`] could not be done, and changed nothing.
    NotTruncated(Token),
    /// A [`Command::InstallSnapshot`] could not be done, since what came is no snapshot, and changed nothing.
    NotInstalled(Token),
    /// It is time.
    Timer,
}

/// What a member wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// Look for a leader. A server that lost its state does not vote.
    Look {
        /// What it knows.
        summary: StateSummary,
        /// It has lost its state.
        is_lost: bool,
    },
    /// Connect to this leader.
    Follow {
        /// The role that begins.
        role: RoleId,
        /// Whose quorum port.
        leader: ServerId,
        /// An observer that is to learn from this follower instead: its port for observers is called, and not the leader.
        master: Option<ServerId>,
    },
    /// Accept learners.
    Lead {
        /// The role that begins.
        role: RoleId,
    },
    /// Something for the disk.
    Disk(Command),
    /// Of the leader; commands for the disk and the end of the role come as outputs of their own. Of a follower, too, what is
    /// about its observers ([`learner::Output::Observers`]).
    Leader(leader::Output),
    /// Of the learner, likewise.
    Learner(learner::Output),
    /// Other configurations hold: write the committed one into its file, and the other, if there is one, into the file of the
    /// next; listen where the committed one says.
    Configured(Quorums),
    /// The role is over: close its connections, serve nobody.
    Over(RoleId, RoleOver),
}

/// Why a role is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoleOver {
    /// It led.
    Leading(LeaderOver),
    /// It followed or observed.
    Learning(LearnerOver),
}

impl fmt::Display for RoleOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leading(why) => why.fmt(f),
            Self::Learning(why) => why.fmt(f),
        }
    }
}

/// What a server finds on its disk when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recovered {
    /// `acceptedEpoch`.
    pub accepted: Epoch,
    /// `currentEpoch`.
    pub current: Epoch,
    /// The newest part of the history; all of it is durable.
    pub log: CommittedLog,
    /// The server has lost its state, or can't show that it has not.
    pub is_lost: bool,
}

/// ZooKeeper's names for what a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It looks for a leader, or waits for its disk before it does.
    Looking,
    /// It follows.
    Following,
    /// It leads.
    Leading,
    /// It observes.
    Observing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Role {
    /// The disk is not done with the role before.
    Draining(CommittedLog),
    Looking(CommittedLog),
    Learning(Box<Learner>),
    Leading(Box<Leader>),
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    options: Options,
    is_observer: bool,
    accepted: Epoch,
    current: Epoch,
    is_lost: bool,
    logged: Zxid,
    /// Commands that are not done.
    pending: BTreeMap<Token, Command>,
    role: Role,
    roles: u64,
    /// Whom it learns from.
    leader: ServerId,
    /// Who is to lead next, by a reconfig.
    appointed: Option<ServerId>,
    masters: Masters,
    oracle: bool,
    outputs: VecDeque<Output>,
}

/// An observer's way through the followers that it may learn from.
///
/// It begins with another one than its neighbours do, and takes the next one each time. The leader itself is asked only if
/// none of them let it in since it last served. Apache shuffles the voters, the leader among them, whom it calls at a port
/// where nobody listens; and it never asks at the leader's own.
/// Source: `QuorumPeer.nextObserverMaster`, `updateObserverMasterList`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Masters {
    /// How many were tried, ever.
    tried: usize,
    /// And since it last served.
    failed: usize,
}

impl Masters {
    fn next(&mut self, options: &Options, leader: ServerId) -> Option<ServerId> {
        let masters: Vec<ServerId> = options.verifier.voters().filter(|&it| it != leader).collect();
        if self.failed >= masters.len() {
            self.failed = 0;
            return None;
        }
        let at = (options.me.0.unsigned_abs() as usize).wrapping_add(self.tried);
        self.tried += 1;
        self.failed += 1;
        masters.get(at % masters.len()).copied()
    }
}

impl Member {
    /// A server that starts. It looks for a leader at once.
    pub fn new(mut options: Options, recovered: Recovered) -> Self {
        let Recovered { accepted, current, log, is_lost } = recovered;
        let me = options.me;
        let committed = options.verifier.version();
        options.last_seen.take_if(|it| it.version() <= committed);
        let mut this = Self {
            is_observer: options.is_observer(),
            options,
            accepted,
            current,
            is_lost,
            logged: log.last(),
            pending: BTreeMap::new(),
            role: Role::Draining(log),
            roles: 0,
            leader: me,
            appointed: None,
            masters: Masters::default(),
            oracle: false,
            outputs: VecDeque::new(),
        };
        this.look_if_drained();
        this
    }

    /// Takes one input. Drain [`next_output`](Self::next_output) behind it.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        match input {
            Input::Elected(leader) => self.on_elected(now_ms, leader),
            Input::Leader(role, input) if role.0 == self.roles => match &self.role {
                Role::Learning(_) => self.learner(now_ms, learner::Input::Observers(input)),
                _ => self.leader(now_ms, input),
            },
            Input::Learner(role, input) if role.0 == self.roles => self.learner(now_ms, input),
            Input::Leader(..) | Input::Learner(..) => {}
            Input::Logged(logged) => {
                self.logged = logged.zxid();
                self.leader(now_ms, leader::Input::Logged(logged));
                self.learner(now_ms, learner::Input::Logged(logged));
            }
            Input::Configured(it) => self.on_newer_configuration(*it),
            Input::VoterLooks => self.leader(now_ms, leader::Input::VoterLooks),
            Input::Oracle(says) => {
                self.oracle = says;
                self.leader(now_ms, leader::Input::Oracle(says));
            }
            Input::Done(done) => self.on_done(now_ms, done),
            Input::NotTruncated(token) => {
                self.pending.remove(&token);
                self.learner(now_ms, learner::Input::NotTruncated(token));
            }
            Input::NotInstalled(token) => {
                self.pending.remove(&token);
                self.learner(now_ms, learner::Input::NotInstalled(token));
            }
            Input::Timer => {
                self.leader(now_ms, leader::Input::Timer);
                self.learner(now_ms, learner::Input::Timer);
            }
        }
        self.look_if_drained();
    }

    /// The next thing that it wants.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to give it [`Input::Timer`], in ms.
    pub fn next_timeout(&self) -> Option<u64> {
        match &self.role {
            Role::Draining(_) | Role::Looking(_) => None,
            Role::Learning(learner) => learner.next_timeout(),
            Role::Leading(leader) => leader.next_timeout(),
        }
    }

    /// What is to be sent to this learner next; see [`Leader::next_packet`].
    pub fn next_packet(&mut self, now_ms: u64, conn: ConnId) -> Option<ToLearner> {
        let packet = match &mut self.role {
            Role::Leading(leader) => leader.next_packet(now_ms, conn),
            Role::Learning(learner) => learner.next_packet(now_ms, conn),
            Role::Draining(_) | Role::Looking(_) => None,
        };
        self.drain(now_ms);
        packet
    }

    /// See [`Leader::next_zxid`].
    pub fn next_zxid(&mut self, now_ms: u64) -> Option<Zxid> {
        let Role::Leading(leader) = &mut self.role else { return None };
        let zxid = leader.next_zxid();
        self.drain(now_ms);
        self.look_if_drained();
        zxid
    }

    /// See [`Leader::step_down`]; who does not lead goes on.
    pub fn step_down(&mut self, now_ms: u64, why: LeaderOver) {
        let Role::Leading(leader) = &mut self.role else { return };
        leader.step_down(why);
        self.drain(now_ms);
        self.look_if_drained();
    }

    /// LOOKING, FOLLOWING, LEADING, OBSERVING.
    pub fn state(&self) -> State {
        match &self.role {
            Role::Draining(_) | Role::Looking(_) => State::Looking,
            Role::Learning(_) if self.is_observer => State::Observing,
            Role::Learning(_) => State::Following,
            Role::Leading(_) => State::Leading,
        }
    }

    /// Is a role over, and the disk not done with it?
    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.role, Role::Draining(_))
    }

    /// May it serve clients?
    pub fn is_serving(&self) -> bool {
        match &self.role {
            Role::Draining(_) | Role::Looking(_) => false,
            Role::Learning(learner) => learner.is_serving(),
            Role::Leading(leader) => leader.established().is_some(),
        }
    }

    /// How it behaves.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The leader, if it is one.
    pub fn as_leader(&self) -> Option<&Leader> {
        if let Role::Leading(leader) = &self.role { Some(leader) } else { None }
    }

    /// Who learns from it: from a leader, or from a follower that serves observers.
    pub fn learners(&self) -> Option<Learners> {
        match &self.role {
            Role::Leading(leader) => Some(leader.learners()),
            Role::Learning(learner) => learner.learners(),
            Role::Draining(_) | Role::Looking(_) => None,
        }
    }

    /// What it knows and has on its disk: accepted epoch, current epoch, end of the history.
    pub fn durable(&self) -> (Epoch, Epoch, Zxid) {
        (self.accepted, self.current, self.logged)
    }

    /// The newest part of its history.
    pub fn log(&self) -> &CommittedLog {
        match &self.role {
            Role::Draining(log) | Role::Looking(log) => log,
            Role::Learning(learner) => learner.log(),
            Role::Leading(leader) => leader.log(),
        }
    }

    /// Shows the queues of its history and its role.
    pub(crate) fn each_queue(&self, visit: &mut Visit<'_>) {
        self.log().each_queue(visit);
        match &self.role {
            Role::Draining(_) | Role::Looking(_) => {}
            Role::Learning(learner) => learner.each_queue(visit),
            Role::Leading(leader) => leader.each_queue(visit),
        }
    }

    fn on_elected(&mut self, now_ms: u64, leader: ServerId) {
        let Role::Looking(log) = &self.role else { return };
        self.roles += 1;
        self.leader = leader;
        self.is_observer = self.options.is_observer();
        let (role, options) = (RoleId(self.roles), self.options.clone());
        let start = Start {
            accepted: self.accepted,
            current: self.current,
            is_lost: self.is_lost,
            log: log.clone(),
            role: self.roles,
        };
        if leader == self.options.me {
            self.outputs.push_back(Output::Lead { role });
            let mut leader = Leader::new(options, start, now_ms);
            leader.handle(now_ms, leader::Input::Oracle(self.oracle));
            self.role = Role::Leading(Box::new(leader));
        } else {
            let observes_follower = self.is_observer && self.options.observer_masters;
            let master = if observes_follower { self.masters.next(&self.options, leader) } else { None };
            self.outputs.push_back(Output::Follow { role, leader, master });
            self.role = Role::Learning(Box::new(Learner::new(options, start, self.is_observer, now_ms)));
        }
        self.drain(now_ms);
    }

    fn leader(&mut self, now_ms: u64, input: leader::Input) {
        if let Role::Leading(leader) = &mut self.role {
            leader.handle(now_ms, input);
            self.drain(now_ms);
        }
    }

    fn learner(&mut self, now_ms: u64, input: learner::Input) {
        if let Role::Learning(learner) = &mut self.role {
            learner.handle(now_ms, input);
            self.drain(now_ms);
        }
    }

    fn on_done(&mut self, now_ms: u64, done: Done) {
        let Some(command) = self.pending.remove(&done.token()) else { return };
        match command {
            Command::WriteAcceptedEpoch { epoch, .. } => self.accepted = epoch,
            Command::WriteCurrentEpoch { epoch, .. } => self.current = epoch,
            Command::Truncate { to, .. } => {
                self.logged = to;
                self.on_cut(to);
                if let Role::Draining(log) = &mut self.role {
                    log.truncate(to);
                }
            }
            Command::InstallSnapshot { zxid, .. } => {
                self.logged = zxid;
                self.is_lost = false;
                if let Role::Draining(log) = &mut self.role {
                    log.reset(zxid);
                }
            }
            Command::Append(_) => {}
        }
        self.leader(now_ms, leader::Input::Done(done));
        self.learner(now_ms, learner::Input::Done(done));
    }

    /// Passes on what the role wants, and notes what the disk gets to do.
    fn drain(&mut self, _now_ms: u64) {
        loop {
            let output = match &mut self.role {
                Role::Draining(_) | Role::Looking(_) => return,
                Role::Leading(leader) => leader.next_output().map(|output| match output {
                    leader::Output::Disk(command) => Output::Disk(command),
                    leader::Output::Over(why) => Output::Over(RoleId(self.roles), RoleOver::Leading(why)),
                    output => Output::Leader(output),
                }),
                Role::Learning(learner) => learner.next_output().map(|output| match output {
                    learner::Output::Disk(command) => Output::Disk(command),
                    learner::Output::Over(why) => Output::Over(RoleId(self.roles), RoleOver::Learning(why)),
                    output => Output::Learner(output),
                }),
            };
            let Some(output) = output else { return };
            match output {
                Output::Leader(leader::Output::Configured(quorums)) => {
                    self.configure(quorums);
                    continue;
                }
                Output::Learner(learner::Output::Serve { .. }) => self.masters.failed = 0,
                Output::Learner(learner::Output::Observers(output)) => {
                    self.outputs.push_back(Output::Leader(output));
                    continue;
                }
                Output::Learner(learner::Output::Configured { quorums, activated }) => {
                    self.learner_is_configured(quorums, activated);
                    continue;
                }
                _ => {}
            }
            if let Output::Disk(command) = &output
                && let Some(token) = command.token()
            {
                self.pending.insert(token, command.clone());
            }
            if let Output::Over(_, why) = &output {
                let log = self.log().clone();
                self.appointed = match why {
                    RoleOver::Leading(LeaderOver::Reconfigured(it)) => Some(*it),
                    RoleOver::Learning(LearnerOver::Reconfigured(it)) => *it,
                    _ => None,
                };
                self.is_lost |= matches!(why, RoleOver::Learning(LearnerOver::CantTruncate(_)));
                self.role = Role::Draining(log);
            }
            self.outputs.push_back(output);
        }
    }

    /// Who is to lead next by a reconfig that ended the last role; asked once.
    pub(crate) fn take_appointed(&mut self) -> Option<ServerId> {
        self.appointed.take()
    }

    fn configure(&mut self, quorums: Quorums) {
        self.options.verifier = QuorumVerifier::clone(quorums.committed());
        self.options.last_seen = quorums.newer().map(|it| QuorumVerifier::clone(it));
        self.outputs.push_back(Output::Configured(quorums));
    }

    /// A learner whose role or whose leader changes leaves, when all that came before is passed on.
    fn learner_is_configured(&mut self, quorums: Quorums, activated: Option<Activated>) {
        let old = self.options.verifier.clone();
        self.configure(quorums);
        let Some(Activated { designated }) = activated else { return };
        let keeps_role = self.options.is_observer() == self.is_observer;
        let keeps_leader = match designated {
            Some(it) => it == self.leader,
            None => keeps_leader(&old, &self.options.verifier, self.leader),
        };
        if let Role::Learning(learner) = &mut self.role
            && !(keeps_role && keeps_leader)
        {
            learner.leave(designated);
        }
    }

    fn on_newer_configuration(&mut self, it: QuorumVerifier) {
        if matches!(self.role, Role::Draining(_) | Role::Looking(_)) && self.options.activate(it) {
            self.outputs.push_back(Output::Configured(self.options.quorums()));
        }
    }

    /// The log was cut, and perhaps a reconfig in it.
    fn on_cut(&mut self, last: Zxid) {
        if self.options.cut(last) {
            self.outputs.push_back(Output::Configured(self.options.quorums()));
        }
    }

    /// Nothing is under way any more: what is presented is on the disk.
    fn look_if_drained(&mut self) {
        let Role::Draining(log) = &self.role else { return };
        let is_drained = self.pending.is_empty() && self.logged == log.last();
        if is_drained || self.options.has(Defect::LooksBeforeDrained) {
            let last = if self.is_lost { StateSummary::NO_HISTORY } else { log.last() };
            let summary = StateSummary { current: self.current, last };
            self.role = Role::Looking(log.clone());
            self.outputs.push_back(Output::Look { summary, is_lost: self.is_lost });
        }
    }
}
