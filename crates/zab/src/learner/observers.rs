//! A follower and its observers: what they ask for goes on to the leader, what that answers goes back to them, and what is
//! committed is told to them. How they are brought to this history: [`crate::leader`], `relay`.
//!
//! The leader answers syncs, and questions about sessions, in the order in which a connection asked, and knows nothing of
//! observers behind it; so who asked is remembered here, in that order, this server's own clients included.
//!
//! Source: Apache `ObserverMaster`, `Follower.processPacket`, `FollowerZooKeeperServer.sync`.

use std::collections::VecDeque;

use wire::quorum::{Forwarded, Touch};
use wire::{OpCode, ServerId, SessionId, Zxid};

use super::{ConnId, Defect, FromLearner, Leader, Learner, Learners, Output, Proposal, ToLearner, leader};

/// What a follower has for observers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Observers {
    /// From UPTODATE on, where there is a port for them.
    master: Option<Box<Leader>>,
    /// Who asked for a sync that has no answer: an observer, or a client of this server.
    syncs: VecDeque<Option<ConnId>>,
    /// Who asked for a session, likewise.
    questions: VecDeque<Question>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    session: SessionId,
    timeout_ms: i32,
    conn: Option<ConnId>,
}

impl Observers {
    /// Syncs, and questions about sessions, that observers wait for.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let syncs = self.syncs.iter().filter(|asked| asked.is_some()).count();
        (syncs, self.questions.iter().filter(|asked| asked.conn.is_some()).count())
    }

    pub(super) fn next_timeout(&self) -> Option<u64> {
        self.master.as_ref()?.next_timeout()
    }

    pub(super) fn master(&self) -> Option<&Leader> {
        self.master.as_deref()
    }
}

impl Learner {
    /// What is to be sent to this observer next; see [`Leader::next_packet`].
    pub fn next_packet(&mut self, now_ms: u64, conn: ConnId) -> Option<ToLearner> {
        let packet = self.observers.master.as_mut()?.next_packet(now_ms, conn);
        self.pass_on(now_ms);
        packet
    }

    /// Who observes through this follower; `None`: it serves no observers.
    pub fn learners(&self) -> Option<Learners> {
        self.observers.master.as_ref().map(|master| master.learners())
    }

    /// This server serves clients, and observers from now on.
    pub(super) fn begin_observers(&mut self, now_ms: u64) {
        if self.options.observer_masters && !self.is_observer && !self.is_over() {
            let (options, log) = (self.options.clone(), self.log.clone());
            let master = Leader::relay(options, log, self.epoch, self.tokens.role(), now_ms);
            self.observers.master = Some(Box::new(master));
            self.outputs.push_back(Output::ServeObservers);
        }
    }

    pub(super) fn on_observers(&mut self, now_ms: u64, input: leader::Input) {
        if let Some(master) = &mut self.observers.master {
            master.handle(now_ms, input);
            self.pass_on(now_ms);
        }
    }

    /// A proposal is in this server's history.
    pub(super) fn relay(&mut self, proposal: &Proposal) {
        if let Some(master) = &mut self.observers.master {
            master.relay_proposal(proposal.clone());
        }
    }

    /// It is committed.
    pub(super) fn inform(&mut self, now_ms: u64, zxid: Zxid, leader: Option<ServerId>) {
        if let Some(master) = &mut self.observers.master {
            master.relay_commit(now_ms, zxid, leader);
            self.pass_on(now_ms);
        }
    }

    /// Other configurations hold here.
    pub(super) fn tell_observers_options(&mut self) {
        if let Some(master) = &mut self.observers.master {
            master.relay_options(self.options.clone());
        }
    }

    /// A wish of a client, of this server's or of an observer's.
    pub(super) fn forward(&mut self, conn: Option<ConnId>, request: Forwarded) {
        if request.op == OpCode::Sync.code() {
            self.observers.syncs.push_back(conn);
        }
        self.send(FromLearner::request(request));
    }

    /// Is this session alive? An observer wants to know, or this server.
    pub(super) fn ask(&mut self, conn: Option<ConnId>, session: SessionId, timeout_ms: i32) {
        self.observers.questions.push_back(Question { session, timeout_ms, conn });
        self.send(FromLearner::revalidate(session, timeout_ms));
    }

    /// The leader has answered the oldest sync.
    pub(super) fn on_synced(&mut self, now_ms: u64) {
        let asked = self.observers.syncs.pop_front().flatten();
        match (asked, &mut self.observers.master) {
            (Some(conn), Some(master)) => {
                master.relay_synced(now_ms, conn);
                self.pass_on(now_ms);
            }
            _ => {
                self.syncs.push_back(self.log.committed());
                self.answer_syncs();
            }
        }
    }

    /// The leader has answered a question about a session.
    pub(super) fn on_revalidated(&mut self, now_ms: u64, session: SessionId, valid: bool) {
        let asked = self.observers.questions.pop_front_if(|it| it.session == session);
        let Some(Question { timeout_ms, conn: Some(conn), .. }) = asked else {
            return self.outputs.push_back(Output::Revalidated { session, valid });
        };
        if valid {
            self.touched.insert(session, timeout_ms);
        }
        self.on_observers(now_ms, leader::Input::Revalidated { conn, session, valid });
    }

    /// What observers want goes to the leader; what they get, to whoever owns their sockets.
    fn pass_on(&mut self, now_ms: u64) {
        while let Some(master) = &mut self.observers.master
            && let Some(output) = master.next_output()
        {
            match output {
                leader::Output::Request(conn, request) => {
                    if request.op == OpCode::Sync.code() && self.options.has(Defect::ObserverSyncUnasked) {
                        master.relay_synced(now_ms, conn);
                    } else if request.op == OpCode::Sync.code() && self.observers.syncs.len() >= self.options.syncs_max
                    {
                        master.refuse_relay(now_ms, conn);
                    } else {
                        self.forward(Some(conn), request);
                    }
                }
                leader::Output::Revalidate { conn, session, timeout_ms } => {
                    if self.observers.questions.len() >= self.options.syncs_max {
                        master.refuse_relay(now_ms, conn);
                    } else {
                        self.ask(Some(conn), session, timeout_ms);
                    }
                }
                leader::Output::Touch(touched) => {
                    self.touched.extend(touched.into_iter().map(|Touch { session, timeout_ms }| (session, timeout_ms)));
                }
                output @ (leader::Output::Ready(_)
                | leader::Output::Close(..)
                | leader::Output::ReadLog { .. }
                | leader::Output::SyncBegins(_)
                | leader::Output::SyncEnds { .. }
                | leader::Output::OpenSnapshot { .. }) => self.outputs.push_back(Output::Observers(output)),
                // Of those who lead.
                leader::Output::Disk(_)
                | leader::Output::Replay(_)
                | leader::Output::Serve { .. }
                | leader::Output::Commit(_)
                | leader::Output::Configured(_)
                | leader::Output::Forgot { .. }
                | leader::Output::Synced(..)
                | leader::Output::Over(_) => {}
            }
        }
    }
}
