//! Election: who is to lead. Apache's FastLeaderElection, as a machine.
//!
//! In: notifications of other servers, which of them are connected, and when to look for a leader. Out: notifications,
//! and at last the decision. [`handle`](Election::handle) once, then drain [`take_output`](Election::take_output), then
//! ask for [`next_timeout`](Election::next_timeout).
//!
//! A server that looks for a leader proposes itself, and changes to any better proposal it hears of ([`Proposal`]); each
//! change is told to all voters. Rounds are numbered by a logical clock, the election epoch: who hears of a later round
//! joins it, who hears from an earlier one answers with its own vote. When a quorum has voted for its proposal, a server
//! waits a little for a better one, and then leads or follows. A server that is settled answers those who still look, so
//! that a late one finds the leader; and it believes in a leader only if that leader itself says so.
//!
//! An election is allowed to be wrong: two servers may think that they lead. What protects the data is discovery, where
//! a leader needs a quorum for its epoch. So nothing here is written to disk; the logical clock starts at 0 with each
//! process, as in Apache.
//!
//! Where this differs from Apache, seen from outside only in time:
//!
//! * The wait ends at once when every voter that is connected has sent the very vote that has the quorum: nobody is left
//!   who could propose better.
//! * While it waits, messages are handled as at any other time; Apache drops those that are not better.
//! * Votes are sent again after a fixed time, not only after silence, and to a peer that has just connected.
//! * Who votes for less in the same round is answered too, by a server that has looked for a while, and at once if it had said
//!   that it is settled. Apache waits until it is time to send its vote again, 200 ms up to a minute: it sent it once, but the
//!   other one was not looking then. When a leader dies, that is so in most elections: somebody sees it first.
//! * While a voter looks, it answers those without a vote only if they look too; and these tell nobody that he is behind. In
//!   Apache such a voter and an observer that is settled, or in a later round, answer each other without end.
//! * Who has seen a reconfig follows a leader for whom a quorum of the committed configuration speaks; Apache waits for one of
//!   both configurations, which never comes if that leader has not seen the reconfig.
//! * The same vote of the same server is answered once until everybody is told again.
//! * A peer's configuration is followed only with `reconfigEnabled`; Apache starts over even without.
//! * A server whose role is over is settled no more, however long its disk takes before it can look. Apache's answers with its
//!   old state until everything of the role is shut down.
//! * The oracle is asked about two voters only; Apache follows anybody who claims to lead when the oracle says no, in
//!   ensembles of any size.
//!
//! Source: Apache `FastLeaderElection`, `Vote`, `QuorumPeer.updateElectionVote`.

mod round;
mod vote;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use wire::election::{Notification, NotificationFormat, ServerState};
use wire::{Epoch, ServerId};

use crate::options::Defect;
use crate::quorum_verifier::{QuorumVerifier, Quorums, Role, Rule, TextRules};
use round::Round;

pub use vote::{Proposal, Vote};

/// How long a server waits for a better proposal when a quorum agrees, in ms. Source: `finalizeWait`.
pub const FINALIZE_WAIT_MS: u64 = 200;
/// After how long a vote is sent again, at first, in ms. Source: `zookeeper.fastleader.minNotificationInterval`.
pub const NOTIFICATION_INTERVAL_MS_MIN: u64 = 200;
/// And at last, after doubling each time, in ms. Source: `zookeeper.fastleader.maxNotificationInterval`.
pub const NOTIFICATION_INTERVAL_MS_MAX: u64 = 60_000;

/// The version of the notifications that are sent. Source: `Notification.CURRENTVERSION`.
const NOTIFICATION_VERSION: i32 = 2;

/// What never changes while a server runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// This server.
    pub me: ServerId,
    /// See [`FINALIZE_WAIT_MS`].
    pub finalize_wait_ms: u64,
    /// See [`NOTIFICATION_INTERVAL_MS_MIN`]; at least 1.
    pub notification_interval_ms_min: u64,
    /// See [`NOTIFICATION_INTERVAL_MS_MAX`].
    pub notification_interval_ms_max: u64,
    /// Where the logical clock begins: 0, but where a test wants to reach its end.
    pub initial_clock: i64,
    /// May the wait end early, when no connected voter is left that could propose better?
    pub early_end: bool,
    /// `reconfigEnabled`: is a newer configuration of a peer followed?
    pub reconfig_enabled: bool,
    /// How a peer's configuration is read.
    pub text_rules: TextRules,
    /// What is wrong with it.
    #[cfg(feature = "seeded-defects")]
    pub defects: BTreeSet<Defect>,
}

impl Settings {
    /// Apache's times.
    pub fn new(me: ServerId) -> Self {
        Self {
            me,
            finalize_wait_ms: FINALIZE_WAIT_MS,
            notification_interval_ms_min: NOTIFICATION_INTERVAL_MS_MIN,
            notification_interval_ms_max: NOTIFICATION_INTERVAL_MS_MAX,
            initial_clock: 0,
            early_end: true,
            reconfig_enabled: false,
            text_rules: TextRules::default(),
            #[cfg(feature = "seeded-defects")]
            defects: BTreeSet::new(),
        }
    }

    #[cfg(feature = "seeded-defects")]
    fn has(&self, defect: Defect) -> bool {
        self.defects.contains(&defect)
    }

    #[cfg(not(feature = "seeded-defects"))]
    #[allow(clippy::unused_self, reason = "it has the same shape where there are defects")]
    fn has(&self, _: Defect) -> bool {
        false
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// This server has no leader: a round begins. What it has to offer is in its proposal, which an observer or a server
    /// that is in no configuration passes too: the machine knows that it has no vote.
    Look(Proposal),
    /// A notification came, over the connection of this server.
    Notification {
        /// Whose connection it was.
        from: ServerId,
        /// What it says.
        notification: Notification,
    },
    /// A peer is connected.
    Up(ServerId),
    /// A peer is not connected any more.
    Down(ServerId),
    /// The epoch that this server's leader established: its vote names it from now on, so that all answer alike to
    /// newcomers (ZOOKEEPER-1732).
    Established(Epoch),
    /// Other configurations hold, and perhaps another role. The logical clock starts again, as a new election object of
    /// Apache's does; a server that looks for a leader starts over.
    Configured(Quorums),
    /// What the oracle of an ensemble of two says.
    Oracle(bool),
    /// A reconfig has said who is to lead: there is nothing to be elected. For a server that is in no round.
    Appointed(Proposal),
    /// The role that the last decision began is over, and this server can't look yet, since its disk is not done with that
    /// role. Until it does it says nothing: as one that leads it would be elected again and again by those who look, and as
    /// one that follows it would count for a leader that it has left.
    Over,
    /// Nothing but time.
    Timeout,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output {
    /// Send a notification.
    Send {
        /// To whom; never to this server.
        to: ServerId,
        /// What.
        notification: Notification,
    },
    /// The round has ended: lead, follow or observe.
    Decided(Decision),
    /// A peer has a newer committed configuration. Install it, and answer with [`Input::Configured`].
    NewerConfiguration(Box<QuorumVerifier>),
    /// A voter looks for a leader that voted for this server, which leads (`Leader.reportLookingSid`).
    VoterLooks(ServerId),
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decision {
    /// LEADING, FOLLOWING or OBSERVING.
    pub state: ServerState,
    /// Who leads.
    pub leader: ServerId,
    /// The vote that won.
    pub proposal: Proposal,
    /// The round.
    pub election_epoch: i64,
}

/// The election of one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Election {
    settings: Settings,
    quorums: Quorums,
    /// The text of the committed configuration, which goes with each notification.
    config: Bytes,
    state: ServerState,
    /// The logical clock.
    clock: i64,
    /// What settled servers answer with: the vote of the last decision, or the own one before any.
    current: Vote,
    /// What this server offers.
    own: Proposal,
    round: Option<Round>,
    /// The latest votes that came before the first round, or between a role and the next round: at most one of each voter.
    heard: BTreeMap<ServerId, Vote>,
    up: BTreeSet<ServerId>,
    /// Whose votes made the last decision.
    supporters: BTreeSet<ServerId>,
    oracle: bool,
    outputs: VecDeque<Output>,
}

impl Election {
    /// A server that has not begun to look for a leader. Until [`Input::Look`] it says nothing.
    pub fn new(settings: Settings, quorums: Quorums) -> Self {
        let own = Proposal { leader: settings.me, ..Proposal::NOBODY };
        Self {
            config: text_of(&quorums),
            clock: settings.initial_clock,
            settings,
            quorums,
            state: ServerState::Looking,
            current: Vote::looking(own, NO_ROUND),
            own,
            round: None,
            heard: BTreeMap::new(),
            up: BTreeSet::new(),
            supporters: BTreeSet::new(),
            oracle: false,
            outputs: VecDeque::new(),
        }
    }

    /// One step, at `now_ms` of a clock that never goes back. What comes of it is then to be drained.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        match input {
            Input::Look(own) => self.look(now_ms, own),
            Input::Notification { from, notification } => self.on_notification(now_ms, from, &notification),
            Input::Up(peer) => self.on_up(now_ms, peer),
            Input::Down(peer) => {
                self.up.remove(&peer);
                self.conclude(now_ms);
            }
            Input::Established(epoch) => self.current.proposal.peer_epoch = i64::from(epoch.0),
            Input::Configured(quorums) => {
                self.config = text_of(&quorums);
                self.quorums = quorums;
                self.clock = self.settings.initial_clock;
                self.heard.clear();
                if self.round.is_some() {
                    self.look(now_ms, self.own);
                }
            }
            Input::Oracle(says) => {
                self.oracle = says;
                self.conclude(now_ms);
            }
            Input::Appointed(proposal) => self.decide_for(Vote::looking(proposal, self.clock), self.clock),
            Input::Over if self.settings.has(Defect::SettledWhileDraining) => {}
            Input::Over => {
                self.state = ServerState::Looking;
                self.round = None;
                self.supporters.clear();
            }
            Input::Timeout => self.on_timeout(now_ms),
        }
    }

    /// The next thing to be done.
    pub fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due, in ms; `None`: never, as things are.
    pub fn next_timeout(&self) -> Option<u64> {
        let round = self.round.as_ref()?;
        Some(round.finalize_at.map_or(round.send_at, |at| at.min(round.send_at)))
    }

    /// What this server is doing.
    pub fn state(&self) -> ServerState {
        self.state
    }

    /// The logical clock.
    pub fn election_epoch(&self) -> i64 {
        self.clock
    }

    /// The vote of the last decision.
    pub fn current_vote(&self) -> Vote {
        self.current
    }

    /// What it proposes, while it looks.
    pub fn proposal(&self) -> Option<Proposal> {
        self.round.as_ref().map(|it| it.proposal)
    }

    /// Whose votes made the last decision; nobody's, if that role is over, or a reconfig began it.
    pub fn supporters(&self) -> &BTreeSet<ServerId> {
        &self.supporters
    }

    /// The same machine, at the time 0 instead of `now_ms`: two machines that differ only in what the clock showed when
    /// something happened are then equal.
    pub fn rebased(&self, now_ms: u64) -> Self {
        let mut it = self.clone();
        if let Some(round) = &mut it.round {
            round.send_at = round.send_at.saturating_sub(now_ms);
            round.finalize_at = round.finalize_at.map(|at| at.saturating_sub(now_ms));
        }
        it
    }

    fn on_up(&mut self, now_ms: u64, peer: ServerId) {
        self.up.insert(peer);
        self.forget_answer_to(peer);
        if self.round.is_some() && self.quorums.is_voter(peer) && peer != self.settings.me {
            self.send_proposal(peer);
            self.conclude(now_ms);
        }
    }

    fn on_notification(&mut self, now_ms: u64, from: ServerId, n: &Notification) {
        if self.takes_configuration_of(n) {
            return;
        }
        if !self.quorums.is_voter(from) {
            // An observer, or one that is to join: it learns who leads, and does not count.
            let looks = n.state == Some(ServerState::Looking);
            if self.has_begun() && (looks || self.state != ServerState::Looking) {
                self.send(from, self.state, self.current.proposal, self.clock);
            }
            return;
        }
        let Some(state) = n.state else { return };
        let vote = Vote::of(n, state);
        let looks = state == ServerState::Looking;
        if !self.has_begun() {
            self.heard.insert(from, vote);
        } else if self.state != ServerState::Looking {
            if looks {
                if self.state == ServerState::Leading && self.supporters.contains(&from) {
                    self.outputs.push_back(Output::VoterLooks(from));
                }
                self.send(from, self.state, self.current.proposal, self.current.election_epoch);
            }
        } else {
            self.on_vote(now_ms, from, vote);
            // Whose vote does not count has nobody to tell.
            if looks && self.quorums.is_voter(self.settings.me) && self.is_behind(from, vote) {
                self.send_proposal(from);
            }
        }
    }

    fn has_begun(&self) -> bool {
        self.round.is_some() || self.state != ServerState::Looking
    }

    /// Is the sender's configuration another one, that this server must take over before anything else?
    fn takes_configuration_of(&mut self, n: &Notification) -> bool {
        if self.state != ServerState::Looking || !self.settings.reconfig_enabled {
            return false;
        }
        let Some(text) = n.config() else { return false };
        // Most are our own, letter by letter.
        if *text == self.config {
            return false;
        }
        let Ok(theirs) = QuorumVerifier::parse(&String::from_utf8_lossy(text), self.settings.text_rules) else {
            return false;
        };
        let ours = self.quorums.committed();
        if theirs.version() <= ours.version() {
            return false;
        }
        let differs = !theirs.is_same(ours);
        self.outputs.push_back(Output::NewerConfiguration(Box::new(theirs)));
        differs
    }

    /// FOLLOWING, or OBSERVING for who has no vote. A server that is in no configuration counts as a participant.
    fn learning_state(&self) -> ServerState {
        if self.is_observer() { ServerState::Observing } else { ServerState::Following }
    }

    /// One that is to vote by a reconfig that it has seen follows: without its ACKs there may be no quorum to decide that.
    fn is_observer(&self) -> bool {
        let me = self.settings.me;
        let observes = self.quorums.committed().member(me).is_some_and(|it| it.role == Role::Observer);
        observes && !self.quorums.is_voter(me)
    }

    /// With two voters, and an oracle, what it says; otherwise nothing.
    fn oracle_of_two(&self) -> Option<bool> {
        let committed = self.quorums.committed();
        let two = *committed.rule() == Rule::OracleMajority && committed.voters().count() == 2;
        two.then_some(self.oracle)
    }

    fn send(&mut self, to: ServerId, state: ServerState, it: Proposal, election_epoch: i64) {
        let notification = Notification {
            state: Some(state),
            leader: it.leader,
            zxid: it.zxid,
            election_epoch,
            peer_epoch: it.peer_epoch,
            format: NotificationFormat::WithConfig { version: NOTIFICATION_VERSION, config: self.config.clone() },
        };
        self.outputs.push_back(Output::Send { to, notification });
    }
}

/// The round of a vote that was given in none. Source: `Vote`.
const NO_ROUND: i64 = -1;

fn text_of(quorums: &Quorums) -> Bytes {
    let committed: &Arc<QuorumVerifier> = quorums.committed();
    Bytes::from(committed.to_string())
}

#[cfg(test)]
#[path = "election/tests.rs"]
mod tests;
