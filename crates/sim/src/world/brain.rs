//! Election, connections of the election port and roles of one server, joined.

use std::collections::VecDeque;

use bytes::Bytes;
use wire::election::Notification;
use wire::{Epoch, ServerId};
use zab::connections::{self, Connections};
use zab::election::{self, Election, Proposal, Settings};
use zab::member::{self, Member};
use zab::{ConnId, Options, Quorums, Recovered, ToLearner, leader, learner};

/// What happens to it.
#[derive(Debug, Clone)]
pub(super) enum Input {
    /// On the election port.
    Connections(connections::Input),
    /// On the quorum port, or on the disk.
    Member(member::Input),
    /// It is time.
    Timer,
}

/// What it wants.
#[derive(Debug, Clone)]
pub(super) enum Output {
    /// On the election port.
    Connections(connections::Output),
    /// On the quorum port, or on the disk.
    Member(member::Output),
}

/// The joined machines.
#[derive(Debug, Clone)]
pub(super) struct Brain {
    me: ServerId,
    connections: Connections,
    election: Election,
    member: Member,
    outputs: VecDeque<Output>,
}

impl Brain {
    pub(super) fn new(options: Options, settings: Settings, now_ms: u64, recovered: Recovered) -> Self {
        let quorums = Quorums::of(options.verifier.clone());
        let mut brain = Self {
            me: options.me,
            connections: Connections::new(options.me, quorums.clone()),
            election: Election::new(settings, quorums),
            member: Member::new(options, recovered),
            outputs: VecDeque::new(),
        };
        brain.settle(now_ms);
        brain
    }

    pub(super) fn handle(&mut self, now_ms: u64, input: Input) {
        match input {
            Input::Connections(input) => self.connections.handle(input),
            Input::Member(input) => self.member.handle(now_ms, input),
            Input::Timer => {
                if self.election.next_timeout().is_some_and(|at| at <= now_ms) {
                    self.election.handle(now_ms, election::Input::Timeout);
                }
                if self.member.next_timeout().is_some_and(|at| at <= now_ms) {
                    self.member.handle(now_ms, member::Input::Timer);
                }
            }
        }
        self.settle(now_ms);
    }

    pub(super) fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn next_timeout(&self) -> Option<u64> {
        match (self.election.next_timeout(), self.member.next_timeout()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    pub(super) fn next_packet(&mut self, now_ms: u64, conn: ConnId) -> Option<ToLearner> {
        let packet = self.member.next_packet(now_ms, conn);
        self.settle(now_ms);
        packet
    }

    pub(super) fn next_zxid(&mut self, now_ms: u64) -> Option<wire::Zxid> {
        let zxid = self.member.next_zxid(now_ms);
        self.settle(now_ms);
        zxid
    }

    pub(super) fn member(&self) -> &Member {
        &self.member
    }

    pub(super) fn election(&self) -> &Election {
        &self.election
    }

    /// Passes on what one machine wants of another until none does.
    fn settle(&mut self, now_ms: u64) {
        loop {
            if let Some(output) = self.connections.take_output() {
                self.on_connections(now_ms, output);
            } else if let Some(output) = self.election.take_output() {
                self.on_election(now_ms, output);
            } else if let Some(output) = self.member.next_output() {
                self.on_member(now_ms, output);
            } else {
                return;
            }
        }
    }

    fn on_connections(&mut self, now_ms: u64, output: connections::Output) {
        let input = match output {
            connections::Output::Deliver { from, message } => {
                let Ok(notification) = Notification::read(&message) else { return };
                election::Input::Notification { from, notification }
            }
            connections::Output::Up(peer) => election::Input::Up(peer),
            connections::Output::Down(peer) => election::Input::Down(peer),
            output => return self.outputs.push_back(Output::Connections(output)),
        };
        self.election.handle(now_ms, input);
    }

    fn on_election(&mut self, now_ms: u64, output: election::Output) {
        match output {
            election::Output::Send { to, notification } => {
                let mut message = Vec::new();
                notification.write(&mut message);
                let message = Bytes::from(message);
                self.connections.handle(connections::Input::Send { to, message });
            }
            election::Output::Decided(decision) => {
                self.member.handle(now_ms, member::Input::Elected(decision.leader));
            }
            election::Output::NewerConfiguration(_) | election::Output::VoterLooks(_) => {}
        }
    }

    fn on_member(&mut self, now_ms: u64, output: member::Output) {
        if let member::Output::Look { summary, .. } = output {
            let own = Proposal { leader: self.me, zxid: summary.last, peer_epoch: i64::from(summary.current.0) };
            self.election.handle(now_ms, election::Input::Look(own));
            return;
        }
        let established = match &output {
            member::Output::Leader(leader::Output::Serve { epoch })
            | member::Output::Learner(learner::Output::Serve { epoch, .. }) => Some(*epoch),
            _ => None,
        };
        self.outputs.push_back(Output::Member(output));
        if let Some(epoch) = established {
            self.established(now_ms, epoch);
        }
    }

    fn established(&mut self, now_ms: u64, epoch: Epoch) {
        self.election.handle(now_ms, election::Input::Established(epoch));
    }
}
