//! Broadcast: proposals out, acks in, commits in order; PINGs, syncs, sessions, and stepping down.

use std::collections::VecDeque;

use wire::quorum::{Packet, Revalidation};
use wire::{OpCode, ServerId, SessionId, Zxid};

use super::handler::Stage;
use super::{CloseReason, ConnId, Leader, LeaderOver, Output, Phase};
use crate::committed_log::Proposal;
use crate::durable::{Command, Logged};
use crate::options::Defect;
use crate::quorum_verifier::QuorumVerifier;
use crate::reconfig::configuration_in;

/// The most PINGs of a learner without an answer; when full, none is sent, and its silence will close the connection.
pub(super) const PINGS_MAX: usize = 1 << 10;

/// A sync that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct PendingSync {
    /// Of a learner, or of a client of this server.
    conn: Option<ConnId>,
    tag: u64,
    /// Everything up to here must be committed.
    zxid: Zxid,
    /// This round of PINGs must be answered by a quorum.
    round: u64,
}

/// The syncs that wait, and the rounds of PINGs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Syncs {
    waiting: VecDeque<PendingSync>,
    /// The last round that began.
    begun: u64,
    /// The last round that a quorum answered.
    confirmed: u64,
}

impl Syncs {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn forget(&mut self, conn: ConnId) {
        self.waiting.retain(|sync| sync.conn != Some(conn));
    }
}

impl Leader {
    pub(super) fn on_broadcast_packet(&mut self, now_ms: u64, conn: ConnId, packet: Packet) {
        match packet {
            Packet::Ack { zxid } => self.on_ack(now_ms, conn, zxid),
            Packet::Ping { zxid, touched } => {
                self.on_pong(now_ms, conn, zxid);
                if let Some(touched) = touched.filter(|touched| !touched.is_empty()) {
                    self.outputs.push_back(Output::Touch(touched));
                }
            }
            Packet::Revalidate(Revalidation::Question { session, timeout_ms }) => {
                self.outputs.push_back(Output::Revalidate { conn, session, timeout_ms });
            }
            Packet::Request(request) if request.op == OpCode::Sync.code() && self.phase != Phase::Relay => {
                self.on_sync(now_ms, Some(conn), 0);
            }
            Packet::Request(request) => self.outputs.push_back(Output::Request(conn, request)),
            // Of a later version: whatever it is, it has to do without an answer.
            Packet::Unknown { .. } => {}
            // Apache warns, and goes on.
            other => self.close(now_ms, conn, CloseReason::Unexpected(other.name())),
        }
    }

    /// A proposal of this leader.
    pub(super) fn on_propose(&mut self, now_ms: u64, proposal: Proposal) {
        if !self.may_propose() {
            return;
        }
        let zxid = self.broadcast.propose();
        assert!(proposal.zxid == zxid, "txn {} was to be proposed, but {zxid} is next", proposal.zxid);
        assert!(zxid.counter() != u32::MAX, "the zxids of epoch {} are used up", self.epoch);
        if let Err(gap) = self.log.append(proposal.clone()) {
            unreachable!("{gap}");
        }
        if self.oldest_unlogged.is_none() {
            self.oldest_unlogged = Some((zxid, now_ms));
        }
        self.outputs.push_back(Output::Disk(Command::Append(proposal.clone())));
        if let Some(next) = configuration_in(&proposal, &self.options) {
            self.on_reconfig(next);
        }
        for conn in self.forwarding(false) {
            if let Some(handler) = self.handlers.get_mut(&conn) {
                handler.expect_ack(now_ms, zxid);
            }
            self.push(now_ms, conn, proposal.packet());
        }
    }

    /// The own log goes on.
    pub(super) fn on_own_log(&mut self, now_ms: u64) {
        let logged: Logged = self.logged;
        if self.oldest_unlogged.is_some_and(|(oldest, _)| oldest <= logged.zxid()) {
            let proposed = self.broadcast.proposed();
            self.oldest_unlogged = (proposed > logged.zxid()).then_some((proposed, now_ms));
        }
        let before = self.broadcast.committed();
        self.broadcast.on_logged(logged.zxid());
        if self.options.has(Defect::OwnLogDecides) {
            self.broadcast.force(logged.zxid());
        }
        self.advance(now_ms, before);
    }

    fn on_ack(&mut self, now_ms: u64, conn: ConnId, zxid: Zxid) {
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        // A second ACK of NEWLEADER comes at UPTODATE, and an observer's says nothing.
        if zxid.counter() == 0 || handler.is_observer {
            return;
        }
        if zxid > handler.sent {
            return self.close(now_ms, conn, CloseReason::AckOfNothing(zxid));
        }
        handler.on_ack(now_ms, zxid);
        let (mut acked, is_voter, server) = (handler.acked, handler.is_voter, handler.server);
        if self.options.has(Defect::AcksForEverything) {
            acked = self.broadcast.proposed();
        }
        if let Some(server) = server.filter(|_| is_voter)
            && acked <= self.broadcast.proposed()
        {
            let before = self.broadcast.committed();
            self.broadcast.on_ack(server, acked);
            self.advance(now_ms, before);
        }
    }

    /// What was committed since `before` is told.
    pub(super) fn advance(&mut self, now_ms: u64, mut before: Zxid) {
        if self.successor.is_some() {
            return;
        }
        while let Some(next) = self.reconfig_to_activate() {
            let leader = self.designated(&next);
            self.tell_commits(now_ms, before, Zxid(next.version()), Some(leader));
            before = Zxid(next.version());
            self.activate(next, leader);
        }
        let committed = if self.successor.is_some() { before } else { self.broadcast.committed() };
        self.tell_commits(now_ms, before, committed, None);
        let unlogged = self.options.has(Defect::AppliesUnlogged);
        let applicable = if unlogged { committed } else { self.broadcast.applicable().min(committed) };
        if applicable > self.applied && applicable.counter() > 0 {
            self.applied = applicable;
            self.outputs.push_back(Output::Commit(applicable));
        }
        self.answer_syncs(now_ms);
    }

    /// A reconfig that is committed.
    fn reconfig_to_activate(&self) -> Option<QuorumVerifier> {
        if self.successor.is_some() {
            return None;
        }
        let seen = self.options.last_seen.as_ref();
        seen.filter(|it| it.version() <= self.broadcast.committed().0).cloned()
    }

    /// What is behind `before` is committed up to `committed`; the last of it is a reconfig if there is a `leader`, who is to
    /// lead then.
    pub(super) fn tell_commits(&mut self, now_ms: u64, before: Zxid, committed: Zxid, leader: Option<ServerId>) {
        if committed > before {
            let news: Vec<Proposal> = self
                .log
                .after(before)
                .into_iter()
                .flatten()
                .take_while(|proposal| proposal.zxid <= committed)
                .cloned()
                .collect();
            for proposal in news {
                let Proposal { zxid, txn } = proposal;
                let leader = leader.filter(|_| zxid == committed);
                for conn in self.forwarding(false) {
                    let packet = match leader {
                        Some(leader) => Packet::CommitAndActivate { zxid, leader },
                        None => Packet::Commit { zxid },
                    };
                    self.push_commit(now_ms, conn, zxid, packet, leader);
                }
                for conn in self.forwarding(true) {
                    let txn = txn.clone();
                    let packet = match leader {
                        Some(leader) => Packet::InformAndActivate { zxid, leader, txn },
                        None => Packet::Inform { zxid, txn },
                    };
                    self.push_commit(now_ms, conn, zxid, packet, leader);
                }
            }
            self.log.commit(committed);
        }
    }

    /// A learner hears of a commit; not before the answer of a sync that it had forwarded before the txn was proposed.
    fn push_commit(&mut self, now_ms: u64, conn: ConnId, zxid: Zxid, packet: Packet, leader: Option<ServerId>) {
        if leader.is_some_and(|it| it != self.options.me) {
            // Another one is to lead: its learners begin anew, and nobody need answer here any more.
            self.release(conn, zxid);
        } else if let Some(handler) = self.handlers.get_mut(&conn).filter(|it| it.is_behind_sync(zxid)) {
            handler.hold(zxid, packet);
            return self.close_if_full(now_ms, conn);
        }
        self.push(now_ms, conn, packet);
    }

    /// Commits that wait go on, up to this one.
    fn release(&mut self, conn: ConnId, up_to: Zxid) {
        if self.handlers.get_mut(&conn).is_some_and(|it| it.release(up_to)) {
            self.outputs.push_back(Output::Ready(conn));
        }
    }

    /// A learner's sync is answered.
    fn answer_sync(&mut self, now_ms: u64, conn: ConnId, sync: Zxid) {
        self.release(conn, sync);
        self.push(now_ms, conn, Packet::Sync { zxid: Zxid::ZERO });
        if let Some(handler) = self.handlers.get_mut(&conn) {
            let up_to = handler.sync_answered().unwrap_or(Zxid(i64::MAX));
            self.release(conn, up_to);
        }
    }

    pub(super) fn forwarding(&self, observers: bool) -> Vec<ConnId> {
        let wanted = self.handlers.iter().filter(|(_, it)| it.is_forwarding && it.is_observer == observers);
        wanted.map(|(&conn, _)| conn).collect()
    }

    /// A learner's sync, or a local one.
    pub(super) fn on_sync(&mut self, now_ms: u64, conn: Option<ConnId>, tag: u64) {
        if self.established().is_none() || self.syncs.waiting.len() >= self.options.syncs_max {
            match conn {
                Some(conn) => self.close(now_ms, conn, CloseReason::TooManySyncs),
                None => self.outputs.push_back(Output::Synced(tag, false)),
            }
            return;
        }
        let round = if self.options.has(Defect::SyncUnconfirmed) { 0 } else { self.syncs.begun + 1 };
        let zxid = if self.options.has(Defect::SyncWaitsForNothing) { Zxid::ZERO } else { self.broadcast.proposed() };
        self.syncs.waiting.push_back(PendingSync { conn, tag, zxid, round });
        if let Some(handler) = conn.and_then(|conn| self.handlers.get_mut(&conn)) {
            handler.syncs.push_back(zxid);
        }
        // While a round is under way there is no answer for this one, and nothing to begin: a flood of syncs costs each of
        // them no look at all the others.
        if round <= self.syncs.confirmed || self.syncs.begun <= self.syncs.confirmed {
            self.answer_syncs(now_ms);
        }
    }

    /// Answers the syncs whose time has come; begins a round of PINGs if one is waited for and none is under way.
    pub(super) fn answer_syncs(&mut self, now_ms: u64) {
        if self.established().is_none() {
            return;
        }
        loop {
            self.confirm_rounds();
            let (committed, confirmed) = (self.broadcast.committed(), self.syncs.confirmed);
            // Who asks here reads here, and here a txn may be committed that the own disk has not got yet.
            let applicable = self.broadcast.applicable();
            let early = self.options.has(Defect::SyncBeforeOwnLog);
            let is_ready = |sync: &PendingSync| {
                let reached = if sync.conn.is_some() || early { committed } else { applicable };
                sync.zxid <= reached && sync.round <= confirmed
            };
            let mut ready = Vec::new();
            self.syncs.waiting.retain(|sync| {
                let is_ready = is_ready(sync);
                ready.extend(is_ready.then_some(*sync));
                !is_ready
            });
            for sync in ready {
                match sync.conn {
                    Some(conn) => self.answer_sync(now_ms, conn, sync.zxid),
                    None => self.outputs.push_back(Output::Synced(sync.tag, true)),
                }
            }
            let begun = self.syncs.begun;
            let wanted = self.syncs.waiting.iter().any(|sync| sync.round > begun);
            if !wanted || self.syncs.confirmed < begun {
                return;
            }
            self.begin_round(now_ms);
        }
    }

    /// PINGs to all learners in sync.
    pub(super) fn begin_round(&mut self, now_ms: u64) {
        self.syncs.begun += 1;
        let round = self.syncs.begun;
        let zxid = if self.phase == Phase::Relay { self.log.committed() } else { self.broadcast.proposed() };
        for conn in self.handlers.keys().copied().collect::<Vec<_>>() {
            let Some(handler) = self.handlers.get_mut(&conn) else { continue };
            if !handler.is_forwarding || handler.pings.len() >= PINGS_MAX {
                continue;
            }
            // Before UPTODATE a learner does not answer.
            if handler.stage == Stage::Broadcasting {
                handler.pings.push_back((round, zxid));
            }
            self.push(now_ms, conn, Packet::Ping { zxid, touched: None });
        }
    }

    fn on_pong(&mut self, now_ms: u64, conn: ConnId, zxid: Zxid) {
        let Some(handler) = self.handlers.get_mut(&conn) else { return };
        match handler.pings.pop_front() {
            Some((round, sent)) if sent == zxid => handler.answered = round,
            _ => return self.close(now_ms, conn, CloseReason::Unexpected("the answer to another PING")),
        }
        self.answer_syncs(now_ms);
    }

    /// How far a quorum has answered.
    fn confirm_rounds(&mut self) {
        let me = self.options.me;
        let voters = || self.handlers.values().filter(|handler| handler.is_voter);
        let answered = |server, round| voters().any(|it| it.server == Some(server) && it.answered >= round);
        let mut rounds: Vec<u64> = voters().map(|handler| handler.answered).collect();
        rounds.push(self.syncs.begun);
        rounds.sort_unstable();
        let oracle = self.oracle_stands_in();
        let confirmed = rounds.into_iter().rev().find(|&round| {
            round <= self.syncs.confirmed || self.options.is_quorum(|it| it == me || answered(it, round), oracle)
        });
        self.syncs.confirmed = self.syncs.confirmed.max(confirmed.unwrap_or(0));
    }

    /// Every half tick: who is late, is there a quorum, and PINGs.
    pub(super) fn on_ping_timer(&mut self, now_ms: u64) {
        if now_ms < self.next_ping_ms || self.is_over() {
            return;
        }
        self.next_ping_ms = now_ms + (self.options.tick_ms / 2).max(1);
        let sync_limit_ms = self.options.sync_limit_ms();
        if self.oldest_unlogged.is_some_and(|(_, since_ms)| now_ms - since_ms >= sync_limit_ms) {
            return self.over(LeaderOver::DiskHangs);
        }
        if self.is_full_tick && !self.is_quorum_synced(now_ms) && !self.options.has(Defect::LeadsWithoutQuorum) {
            return self.over(LeaderOver::QuorumLost);
        }
        self.is_full_tick = !self.is_full_tick;
        let late: Vec<(ConnId, Zxid)> = self
            .handlers
            .iter()
            .filter(|(_, handler)| handler.stage == Stage::Broadcasting)
            .filter_map(|(&conn, handler)| {
                let (zxid, since_ms) = handler.oldest_unacked?;
                (now_ms - since_ms >= sync_limit_ms).then_some((conn, zxid))
            })
            .collect();
        for (conn, zxid) in late {
            self.close(now_ms, conn, CloseReason::AckTooLate(zxid));
        }
        self.begin_round(now_ms);
        // An ensemble of one confirms by itself.
        self.answer_syncs(now_ms);
    }

    /// Were a quorum's learners heard of in time?
    pub fn is_quorum_synced(&self, now_ms: u64) -> bool {
        let me = self.options.me;
        let mut synced = self.handlers.values().filter(|it| it.is_voter && now_ms < it.synced_until_ms);
        let synced: Vec<_> = synced.by_ref().filter_map(|handler| handler.server).collect();
        self.options.is_quorum(|it| it == me || synced.contains(&it), self.oracle_stands_in())
    }

    pub(super) fn on_revalidated(&mut self, now_ms: u64, conn: ConnId, session: SessionId, valid: bool) {
        self.push(now_ms, conn, Packet::Revalidate(Revalidation::Answer { session, valid }));
    }
}
