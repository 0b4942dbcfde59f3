//! A server's part in an ensemble: its connections on the election port, the election, and the roles that follow from it,
//! as one machine.
//!
//! In: [`Input`], one at a time, with the time in ms on a clock that never goes back. Out: [`Output`]s, to be drained after
//! each input. Then ask [`Ensemble::next_timeout`].
//!
//! ```text
//!   election port ─► Connections ─► notifications ─► Election ─► who leads ─► Member ─► quorum port, disk
//!                        ▲                              │ ▲                      │
//!                        └──────── notifications ◄──────┘ └── look; established ◄┘
//! ```
//!
//! What passes between the three stays inside: a driver sees sockets, files and a clock, and never hears of a vote.
//!
//! * A member that looks for a leader ([`member::Output::Look`]) proposes what is durable on its own disk, no more; one that
//!   lost its state proposes nothing.
//! * When a role ends and the disk is not done with it, so that the server can't look yet, the election hears that at once.
//! * A decision begins the next role at once. It may be wrong; discovery finds out.
//! * A reconfig that names the next leader begins the next role without an election; if that comes to nothing, there is one.
//! * When an epoch is established, this server's vote names it, so that a newcomer hears the same from everybody.
//! * Without a leader for a while, a server may serve reads ([`Output::ReadOnly`]), and stops before a role begins, so that
//!   nobody takes an old answer for one of the ensemble's.
//! * Bytes that are no notification close their connection, and no other. Apache drops them (ZOOKEEPER-3769).
//!
//! Source: Apache `QuorumPeer.run`, `FastLeaderElection.Messenger`.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use wire::election::{Notification, NotificationFormat, ServerState};
use wire::{ServerId, Zxid};

use crate::connections::{self, Connections, STRANGERS_MAX};
use crate::election::{self, Election, Proposal, Settings, Vote};
use crate::leader::{self, ConnId, LeaderOver, ToLearner};
use crate::learner::{self, LearnerOver};
use crate::member::{self, Member, Recovered, RoleOver};
use crate::options::{Defect, Options};
use crate::quorum_verifier::QuorumVerifier;

/// What happens to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// On the election port. [`connections::Input::Send`] and `Configured` are not the driver's.
    Connections(connections::Input),
    /// On the quorum port, or on the disk. [`member::Input::Elected`] and `Timer` are not the driver's.
    Member(member::Input),
    /// What the oracle of an ensemble of two says: may this server elect itself, and lead, alone? It counts only while no
    /// follower is connected.
    Oracle(bool),
    /// It is time.
    Timer,
}

/// What a server wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// On the election port: [`connections::Output::Connect`], `Write` or `Close`.
    Connections(connections::Output),
    /// On the quorum port, or of the disk, or for the tree; never [`member::Output::Look`].
    Member(member::Output),
    /// True: no leader was found for max(2 s, `tickTime`): serve reads, and nothing else, of what is applied. False: a role
    /// begins; end that. Only with [`Options::read_only`].
    ReadOnly(bool),
    /// A peer has another list of members, committed under the same version: a line for the log, and a loud one. Said once of
    /// each of its lists.
    OtherMembers {
        /// Whose.
        from: ServerId,
        /// Its list, as text.
        list: String,
    },
    /// What is said of an election, for people: nothing depends on it.
    Election(ElectionNews),
    /// A frame on the election port was no notification: its connection is closed. A line for the log.
    NotANotification {
        /// Whose connection it was.
        from: ServerId,
        /// How long it was, in bytes.
        len: usize,
    },
}

/// What is said of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElectionNews {
    /// A member has sent its vote. Those of strangers count for nothing, and are not told.
    Heard {
        /// Who.
        from: ServerId,
        /// The vote, and what that server was doing.
        vote: Vote,
    },
    /// This server looks, and sends its vote: to each voter, and again and again.
    Votes(Vote),
    /// The round has ended.
    Decided(election::Decision),
}

/// A server of an ensemble.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ensemble {
    connections: Connections,
    election: Election,
    member: Member,
    read_only: ReadOnly,
    /// The lists of peers that were looked at last, as hashes.
    lists: BTreeMap<ServerId, u64>,
    /// What it offers while it looks.
    offer: Proposal,
    /// How many times in a row it found a leader and was not served by it.
    fruitless: u32,
    /// How many of the last roles in a row ended with a snapshot of the leader's that could not be taken.
    bad_snapshots: u32,
    /// It looks for a leader again, but not before this, in ms.
    look_at_ms: Option<u64>,
    outputs: VecDeque<Output>,
}

/// Does it serve reads without a leader?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum ReadOnly {
    No,
    /// From then on, in ms.
    At(u64),
    Yes,
}

impl Ensemble {
    /// A server that starts with what it found on its disk. It looks for a leader at once: drain
    /// [`next_output`](Self::next_output).
    ///
    /// `election` and `options` must name the same server.
    pub fn new(now_ms: u64, options: Options, election: Settings, recovered: Recovered) -> Self {
        assert!(options.me == election.me, "two ids for one server: {} and {}", options.me, election.me);
        #[cfg(feature = "seeded-defects")]
        let options = options.with_spoiled_rule();
        let (reconfig_enabled, text_rules) = (options.reconfig_enabled, options.text_rules);
        #[cfg(feature = "seeded-defects")]
        let election = Settings { defects: options.defects.clone(), ..election };
        let election = Settings { reconfig_enabled, text_rules, ..election };
        let quorums = options.quorums();
        let mut this = Self {
            connections: Connections::new(options.me, quorums.clone()),
            election: Election::new(election, quorums),
            member: Member::new(options, recovered),
            read_only: ReadOnly::No,
            lists: BTreeMap::new(),
            offer: Proposal::NOBODY,
            fruitless: 0,
            bad_snapshots: 0,
            look_at_ms: None,
            outputs: VecDeque::new(),
        };
        this.settle(now_ms);
        this
    }

    /// Takes one input. Drain [`next_output`](Self::next_output) behind it.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        match input {
            Input::Connections(input) => self.connections.handle(input),
            Input::Member(input) => self.member.handle(now_ms, input),
            Input::Oracle(says) => {
                self.election.handle(now_ms, election::Input::Oracle(says));
                self.member.handle(now_ms, member::Input::Oracle(says));
            }
            Input::Timer => {
                if self.look_at_ms.take_if(|at_ms| now_ms >= *at_ms).is_some() {
                    self.election.handle(now_ms, election::Input::Look(self.offer));
                }
                self.election.handle(now_ms, election::Input::Timeout);
                self.member.handle(now_ms, member::Input::Timer);
            }
        }
        self.settle(now_ms);
        self.serve_reads_if_alone(now_ms);
    }

    /// The next thing that it wants.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to give it [`Input::Timer`], in ms; `None`: never, as things are.
    pub fn next_timeout(&self) -> Option<u64> {
        let read_only = if let ReadOnly::At(at_ms) = self.read_only { Some(at_ms) } else { None };
        let timeouts = [self.election.next_timeout(), self.member.next_timeout(), read_only, self.look_at_ms];
        timeouts.into_iter().flatten().min()
    }

    /// What is to be sent to this learner next; see [`leader::Leader::next_packet`]. Drain
    /// [`next_output`](Self::next_output) behind it.
    pub fn next_packet(&mut self, now_ms: u64, conn: ConnId) -> Option<ToLearner> {
        let packet = self.member.next_packet(now_ms, conn);
        self.settle(now_ms);
        packet
    }

    /// The zxid of the next proposal; see [`leader::Leader::next_zxid`]. Drain [`next_output`](Self::next_output) behind it.
    pub fn next_zxid(&mut self, now_ms: u64) -> Option<Zxid> {
        let zxid = self.member.next_zxid(now_ms);
        self.settle(now_ms);
        zxid
    }

    /// A leader leads no more; see [`leader::Leader::step_down`]. Drain [`next_output`](Self::next_output) behind it.
    pub fn step_down(&mut self, now_ms: u64, why: LeaderOver) {
        self.member.step_down(now_ms, why);
        self.settle(now_ms);
    }

    /// Does it serve reads without a leader?
    pub fn is_read_only(&self) -> bool {
        self.read_only == ReadOnly::Yes
    }

    /// The roles.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// The election.
    pub fn election(&self) -> &Election {
        &self.election
    }

    /// The connections on the election port.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The vote that others get, and the round in which it looks or looked.
    pub fn vote(&self) -> (Vote, i64) {
        (self.election.current_vote(), self.election.election_epoch())
    }

    /// Hands on what the three parts have for each other, until they have nothing more.
    fn settle(&mut self, now_ms: u64) {
        loop {
            if let Some(output) = self.member.next_output() {
                self.member_wants(now_ms, output);
            } else if let Some(output) = self.election.take_output() {
                self.election_wants(now_ms, output);
            } else if let Some(output) = self.connections.take_output() {
                self.connections_want(now_ms, output);
            } else {
                if self.member.is_draining() {
                    self.election.handle(now_ms, election::Input::Over);
                }
                return;
            }
        }
    }

    /// A server without a leader serves reads after a while. Its history may be old, or end with what will be cut.
    fn serve_reads_if_alone(&mut self, now_ms: u64) {
        if let ReadOnly::At(at_ms) = self.read_only
            && now_ms >= at_ms
        {
            self.read_only = ReadOnly::Yes;
            self.outputs.push_back(Output::ReadOnly(true));
        }
    }

    fn end_read_only(&mut self) {
        if self.member.options().has(Defect::ReadOnlyGoesOn) {
            return;
        }
        if std::mem::replace(&mut self.read_only, ReadOnly::No) == ReadOnly::Yes {
            self.outputs.push_back(Output::ReadOnly(false));
        }
    }

    fn member_wants(&mut self, now_ms: u64, output: member::Output) {
        match output {
            member::Output::Look { summary, is_lost } => {
                let leader = self.member.options().me;
                let peer_epoch = i64::from(summary.current.0);
                let own = Proposal { leader, zxid: summary.last, peer_epoch };
                // What a server that lost its state has is no old state of the ensemble's: it shows it to nobody.
                if is_lost {
                    self.end_read_only();
                } else if self.member.options().read_only && self.read_only == ReadOnly::No {
                    self.read_only = ReadOnly::At(now_ms.saturating_add(self.member.options().read_only_after_ms()));
                }
                self.offer = own;
                let appointed = self.member.take_appointed();
                if self.fruitless >= FRUITLESS_MAX && appointed.is_none() {
                    // Else a leader that sends it away and those who elected that one would hear of it thousands of times a second.
                    self.look_at_ms = Some(now_ms.saturating_add(self.rest_ms()));
                    return;
                }
                let input = match appointed {
                    Some(leader) => election::Input::Appointed(Proposal { leader, ..own }),
                    None => election::Input::Look(own),
                };
                self.election.handle(now_ms, input);
                return;
            }
            member::Output::Over(_, RoleOver::Learning(LearnerOver::BadSnapshot)) => {
                self.bad_snapshots = self.bad_snapshots.saturating_add(1);
            }
            member::Output::Over(..) => self.bad_snapshots = 0,
            member::Output::Lead { .. } => {
                self.fruitless = 0;
                self.end_read_only();
            }
            member::Output::Follow { .. } => {
                self.fruitless = self.fruitless.saturating_add(1);
                self.end_read_only();
            }
            member::Output::Configured(ref quorums) => {
                self.connections.handle(connections::Input::Configured(quorums.clone()));
                let looks = self.election.proposal().is_some();
                self.election.handle(now_ms, election::Input::Configured(quorums.clone()));
                if looks {
                    // It may have another vote now.
                    self.election.handle(now_ms, election::Input::Look(self.offer));
                }
            }
            member::Output::Leader(leader::Output::Serve { epoch })
            | member::Output::Learner(learner::Output::Serve { epoch, .. }) => {
                self.fruitless = 0;
                self.election.handle(now_ms, election::Input::Established(epoch));
            }
            _ => {}
        }
        self.outputs.push_back(Output::Member(output));
    }

    /// How long it waits before it asks again, when it was served by nobody several times in a row. A snapshot costs the leader all
    /// its data each time: whoever can't take it waits longer and longer.
    fn rest_ms(&self) -> u64 {
        let tick_ms = self.member.options().tick_ms;
        let doublings = self.bad_snapshots.saturating_sub(FRUITLESS_MAX).min(REST_DOUBLINGS_MAX);
        (tick_ms << doublings).min(REST_MS_MAX).max(tick_ms)
    }

    /// A voter looks, so its vote may be needed: who rests for long does so for a tick more.
    fn wake_for(&mut self, now_ms: u64, from: ServerId, notification: &Notification) {
        if notification.state == Some(ServerState::Looking)
            && self.member.options().verifier.is_voter(from)
            && let Some(at_ms) = &mut self.look_at_ms
        {
            *at_ms = (*at_ms).min(now_ms.saturating_add(self.member.options().tick_ms));
        }
    }

    fn election_wants(&mut self, now_ms: u64, output: election::Output) {
        match output {
            election::Output::Send { to, notification } => {
                if notification.state == Some(ServerState::Looking) {
                    let vote = Vote::of(&notification, ServerState::Looking);
                    self.outputs.push_back(Output::Election(ElectionNews::Votes(vote)));
                }
                let mut message = Vec::new();
                notification.write(&mut message);
                self.connections.handle(connections::Input::Send { to, message: message.into() });
            }
            election::Output::Decided(decision) => {
                self.outputs.push_back(Output::Election(ElectionNews::Decided(decision)));
                self.member.handle(now_ms, member::Input::Elected(decision.leader));
            }
            election::Output::NewerConfiguration(it) => {
                self.member.handle(now_ms, member::Input::Configured(it));
            }
            election::Output::VoterLooks(_) => self.member.handle(now_ms, member::Input::VoterLooks),
        }
    }

    fn connections_want(&mut self, now_ms: u64, output: connections::Output) {
        match output {
            connections::Output::Deliver { from, message } => self.on_message(now_ms, from, &message),
            connections::Output::Up(peer) => self.election.handle(now_ms, election::Input::Up(peer)),
            connections::Output::Down(peer) => self.election.handle(now_ms, election::Input::Down(peer)),
            output => self.outputs.push_back(Output::Connections(output)),
        }
    }

    /// Members that count different servers may elect two leaders.
    fn look_at_list(&mut self, from: ServerId, notification: &Notification) {
        let NotificationFormat::WithConfig { config, .. } = &notification.format else { return };
        let options = self.member.options();
        let mut hasher = DefaultHasher::new();
        (config, options.verifier.version()).hash(&mut hasher);
        if self.lists.get(&from) == Some(&hasher.finish()) {
            return;
        }
        // A stranger that is in no list is told of too. When there are too many, all are forgotten: they were not real.
        let is_member = |id: ServerId| options.is_member(id);
        if !is_member(from) && !self.lists.contains_key(&from) {
            let strangers = self.lists.keys().filter(|id| !is_member(**id)).count();
            if strangers >= STRANGERS_MAX {
                self.lists.retain(|id, _| is_member(*id));
            }
        }
        self.lists.insert(from, hasher.finish());
        let list = String::from_utf8_lossy(config).into_owned();
        let Ok(theirs) = QuorumVerifier::parse(&list, options.text_rules) else { return };
        let is_newer = options.reconfig_enabled && theirs.version() != options.verifier.version();
        if !is_newer && !options.verifier.agrees_with(&theirs) {
            self.outputs.push_back(Output::OtherMembers { from, list });
        }
    }

    fn on_message(&mut self, now_ms: u64, from: ServerId, message: &Bytes) {
        match Notification::read(message) {
            Ok(notification) => {
                self.look_at_list(from, &notification);
                self.wake_for(now_ms, from, &notification);
                if let Some(state) = notification.state.filter(|_| self.member.options().is_member(from)) {
                    let vote = Vote::of(&notification, state);
                    self.outputs.push_back(Output::Election(ElectionNews::Heard { from, vote }));
                }
                self.election.handle(now_ms, election::Input::Notification { from, notification });
            }
            Err(_) => {
                self.outputs.push_back(Output::NotANotification { from, len: message.len() });
                self.connections.handle(connections::Input::SentNonsense(from));
            }
        }
    }
}

/// So many leaders in a row may send it away at once; then it asks once a tick.
const FRUITLESS_MAX: u32 = 3;
/// The longest rest of one that can't take its leader's snapshot, in ms, unless a tick is longer.
const REST_MS_MAX: u64 = 60_000;
/// How often a rest is doubled at most: from 1 ms up to the longest.
const REST_DOUBLINGS_MAX: u32 = 16;
