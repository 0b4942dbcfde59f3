//! What a process wants of the world, and what the world tells it.

use std::collections::VecDeque;

use bytes::Bytes;
use wire::election::{HostPort, InitialMessage, InitialVersion};
use wire::jute::Field;
use wire::quorum::{Forwarded, Packet};
use wire::txn::{SetDataTxn, Txn, TxnEntry, TxnHeader};
use wire::{OpCode, ServerId, SessionId, Xid, Zxid};
use zab::connections::{self, ConnectionId};
use zab::ensemble::{Input, Output};
use zab::{Command, ConnId, Proposal, RoleId, ToLearner, leader, learner, member};

use super::client::{Op, Reply, Request};
use super::message::Message;
use super::net::{ConnNumber, Port, WINDOW, Who};
use super::server::Waiting;
use super::trace::{Kind, Words};
use super::{Event, World, words};

/// How often a learner tries to connect to its leader (`Learner.connectToLeader`), and how long it waits between
/// (`leaderConnectDelayDuringRetryMs`): where clocks differ, the leader may be elected hundreds of ms later.
pub(super) const CONNECT_TRIES: u32 = 5;
const CONNECT_PAUSE_US: u64 = 100_000;
/// The most bytes of a snapshot in one message.
const SNAPSHOT_CHUNK: usize = 256;

impl World {
    /// Tells a server's member something.
    pub(super) fn input(&mut self, s: usize, input: member::Input) {
        self.ensemble(s, Input::Member(input));
    }

    pub(super) fn ensemble(&mut self, s: usize, input: Input) {
        let server = &mut self.servers[s];
        let now_ms = server.local_ms(self.now_us);
        if let Some(process) = &mut server.process {
            process.ensemble.handle(now_ms, input);
        }
        self.drain(s);
    }

    /// Does what a process wants, until it wants nothing more.
    pub(super) fn drain(&mut self, s: usize) {
        while let Some(output) = self.servers[s].process.as_mut().and_then(|it| it.ensemble.next_output()) {
            match output {
                Output::Connections(output) => self.on_connections(s, output),
                Output::Member(output) => self.on_member(s, output),
                Output::ReadOnly(is_read_only) => self.on_read_only(s, is_read_only),
                _ => {}
            }
        }
    }

    /// No client reads then: what it would read may never have been committed. But it is looked at what else the server does.
    fn on_read_only(&mut self, s: usize, is_read_only: bool) {
        let Some(process) = &mut self.servers[s].process else { return };
        process.is_read_only = is_read_only;
        if is_read_only {
            self.tally.read_onlys += 1;
            self.truth.on_read_only(s);
        }
        let what = if is_read_only { "begins" } else { "ends" };
        self.words(s, Kind::Role, 3 + u64::from(is_read_only), || format!("{what} to serve reads without a leader"));
    }

    /// Behind each event: the disk gets its work, and the timer is set.
    pub(super) fn settle(&mut self, s: usize) {
        self.kick(s);
        let server = &self.servers[s];
        let Some(process) = &server.process else { return };
        process.ensemble.each_queue(&mut |queue| self.truth.on_queue(s, queue));
        let Some(at_ms) = process.ensemble.next_timeout() else { return };
        let at_us = server.world_us(at_ms).max(self.now_us + 1);
        if process.armed_us.is_none_or(|armed| at_us < armed) {
            let number = process.number;
            if let Some(process) = &mut self.servers[s].process {
                process.armed_us = Some(at_us);
            }
            self.queue.push(at_us, Event::Timer { server: s, process: number });
        }
    }

    fn on_connections(&mut self, s: usize, output: connections::Output) {
        match output {
            connections::Output::Connect { to, .. } => self.connect_election(s, to),
            connections::Output::Write { connection, message } => {
                self.send(s, connection.0, Message::Frame(message));
                self.ensemble(s, Input::Connections(connections::Input::Written(connection)));
            }
            connections::Output::Close(connection) => self.close(s, connection.0),
            _ => {}
        }
    }

    fn connect_election(&mut self, s: usize, to: ServerId) {
        let Some(number) = self.servers[s].process.as_ref().map(|it| it.number) else { return };
        let to = (to.0 - 1) as usize;
        let at_us = self.now_us + self.net.latency(&self.setup);
        self.queue.push(at_us, Event::Connect { from: s, process: number, to, role: None, tries: 0 });
    }

    /// The attempt to connect arrives.
    pub(super) fn on_connect(&mut self, from: usize, process: u32, to: usize, role: Option<RoleId>, tries: u32) {
        if self.servers[from].process.as_ref().is_none_or(|it| it.number != process) {
            return;
        }
        let is_blocked = self.net.is_blocked(from, to) || self.net.is_blocked(to, from) || !self.servers[to].is_on;
        if is_blocked {
            let at_us = self.now_us + super::net::CONNECT_TIMEOUT_US;
            self.queue.push(at_us, Event::ConnectFailed { from, process, to, role, tries });
            return;
        }
        let Some(there) = &self.servers[to].process else {
            return self.on_connect_failed(from, to, role, tries);
        };
        let (here, there_number) = (Who::Server(from, process), there.number);
        let Some(role) = role else {
            let id = self.servers[from].id;
            let conn = self.net.open(Port::Election, here, Who::Server(to, there_number));
            let addresses = vec![HostPort { host: format!("s{}", id.0), port: 3888 }];
            let initial = InitialMessage { version: InitialVersion::V1, server: id, addresses };
            self.send(from, conn, Message::Initial(initial));
            let to = self.servers[to].id;
            let opened = connections::Input::Opened { to, connection: ConnectionId(conn) };
            return self.ensemble(from, Input::Connections(opened));
        };
        let observes_follower = self.servers[from].process.as_ref().is_some_and(|it| it.master == Some(to));
        let is_open = if observes_follower { there.takes_observers } else { there.leads };
        let Some(leader_role) = there.role.filter(|_| is_open) else {
            return self.on_connect_failed(from, to, Some(role), tries);
        };
        let mine = self.servers[from].process.as_ref().and_then(|it| it.role);
        if mine != Some(role) {
            return;
        }
        self.tally.observed_followers += u64::from(observes_follower);
        let conn = self.net.open(Port::Quorum(role, leader_role), here, Who::Server(to, there_number));
        if let Some(process) = &mut self.servers[from].process {
            process.leader = Some(conn);
        }
        self.input(to, member::Input::Leader(leader_role, leader::Input::Connected(ConnId(conn))));
        self.settle(to);
        self.input(from, member::Input::Learner(role, learner::Input::Connected));
    }

    pub(super) fn on_connect_failed(&mut self, from: usize, to: usize, role: Option<RoleId>, tries: u32) {
        let Some(role) = role else {
            let to = self.servers[to].id;
            return self.ensemble(from, Input::Connections(connections::Input::Failed { to }));
        };
        let Some(process) = &self.servers[from].process else { return };
        if process.role != Some(role) {
            return;
        }
        let process = process.number;
        self.words(from, Kind::Role, u64::from(tries), || {
            format!("has no connection to {}: try {} of {CONNECT_TRIES}", to + 1, tries + 1)
        });
        if tries + 1 < CONNECT_TRIES {
            let at_us = self.now_us + CONNECT_PAUSE_US;
            self.queue.push(at_us, Event::Connect { from, process, to, role: Some(role), tries: tries + 1 });
        } else {
            self.input(from, member::Input::Learner(role, learner::Input::Disconnected));
        }
    }

    fn on_member(&mut self, s: usize, output: member::Output) {
        let id = self.servers[s].id.0;
        let Some(process) = &mut self.servers[s].process else { return };
        let number = process.number;
        match output {
            member::Output::Look { .. } => {}
            member::Output::Follow { role, leader, master } => {
                process.role = Some(role);
                process.leads = false;
                process.master = master.map(|it| (it.0 - 1) as usize);
                self.truth.on_role(s, process.is_read_only);
                self.tally.elected(process.ensemble.election().election_epoch());
                self.trace.event(self.now_us, Kind::Role, [s as u64, leader.0 as u64, 0], || {
                    let by = master.map_or_else(String::new, |it| format!(" by way of {it}"));
                    Words::of(id, format!("follows {leader}{by}: {}", words::quorum(&process.ensemble)))
                });
                let at_us = self.now_us + self.net.latency(&self.setup);
                let to = (master.unwrap_or(leader).0 - 1) as usize;
                self.queue.push(at_us, Event::Connect { from: s, process: number, to, role: Some(role), tries: 0 });
            }
            member::Output::Lead { role } => {
                process.role = Some(role);
                process.leads = true;
                self.tally.elected(process.ensemble.election().election_epoch());
                self.truth.on_elected(s);
                self.truth.on_role(s, process.is_read_only);
                self.trace.event(self.now_us, Kind::Role, [s as u64, 0, 0], || {
                    Words::of(id, format!("leads: {}; discovery begins", words::quorum(&process.ensemble)))
                });
            }
            member::Output::Disk(command) => {
                match command {
                    Command::WriteAcceptedEpoch { epoch, .. } if process.leads => self.truth.on_epoch_chosen(s, epoch),
                    Command::WriteCurrentEpoch { epoch, .. } if process.leads => {
                        self.truth.on_initial_history(s, epoch);
                    }
                    _ => {}
                }
                self.disk_command(s, command);
            }
            member::Output::Leader(output) => self.on_leader(s, output),
            member::Output::Learner(output) => self.on_learner(s, output),
            member::Output::Configured(quorums) => self.on_configured(s, quorums.committed()),
            member::Output::Over(_, why) => self.on_role_over(s, &why.to_string()),
        }
    }

    fn on_role_over(&mut self, s: usize, why: &str) {
        self.words(s, Kind::Role, 1, || format!("looks for a leader: {why}"));
        let Some(process) = &mut self.servers[s].process else { return };
        process.role = None;
        process.leads = false;
        process.is_serving = false;
        process.leader = None;
        process.master = None;
        process.takes_observers = false;
        process.reads.clear();
        process.opened.clear();
        process.receiving = None;
        process.behind.clear();
        process.forwarded_syncs.clear();
        let number = process.number;
        let clients: Vec<ConnNumber> = std::mem::take(&mut process.clients).into_keys().collect();
        let quorum = self
            .net
            .conns
            .iter()
            .filter(|(_, conn)| matches!(conn.port, Port::Quorum(..)) && conn.end_of(s, number).is_some());
        let quorum: Vec<ConnNumber> = quorum.map(|(&conn, _)| conn).collect();
        for conn in clients.into_iter().chain(quorum) {
            self.close(s, conn);
        }
    }

    fn on_leader(&mut self, s: usize, output: leader::Output) {
        let Some(process) = &mut self.servers[s].process else { return };
        match output {
            leader::Output::ReadLog { .. } | leader::Output::OpenSnapshot { .. } => process.reads.push_back(output),
            leader::Output::Ready(conn) => self.pump(s, conn.0),
            leader::Output::Close(conn, why) => {
                self.words(s, Kind::Role, 2, || format!("closes a learner's connection: {why}"));
                self.close(s, conn.0);
                let role = self.servers[s].process.as_ref().and_then(|it| it.role);
                if let Some(role) = role {
                    self.input(s, member::Input::Leader(role, leader::Input::Disconnected(conn)));
                }
            }
            leader::Output::Replay(zxid) => self.replay(s, zxid),
            leader::Output::Serve { epoch } => {
                self.tally.epochs += 1;
                self.words(s, Kind::Role, epoch.0 as u64, || format!("leads epoch {epoch}: broadcast"));
                self.truth.on_established(s, epoch);
                self.serve(s);
            }
            leader::Output::Commit(zxid) => self.commit(s, zxid),
            leader::Output::Request(_, forwarded) => self.propose(s, forwarded.session, forwarded.cxid),
            leader::Output::Synced(tag, true) => self.synced(s, tag),
            leader::Output::Forgot { server, acknowledged, has } => self.words(s, Kind::Role, 5, || {
                let has = if has < Zxid::ZERO { "nothing".to_owned() } else { format!("a history up to {has}") };
                format!("{server} has come back with {has}, and had acknowledged {acknowledged}")
            }),
            leader::Output::Synced(..)
            | leader::Output::Touch(_)
            | leader::Output::Revalidate { .. }
            | leader::Output::Disk(_)
            | leader::Output::Configured(_)
            | leader::Output::SyncBegins(_)
            | leader::Output::SyncEnds { .. }
            | leader::Output::Over(_) => {}
        }
    }

    fn on_learner(&mut self, s: usize, output: learner::Output) {
        let Some(process) = &mut self.servers[s].process else { return };
        match output {
            learner::Output::Send(packet) => {
                let packet = packet.into_packet();
                match &packet {
                    Packet::Ack { zxid } => self.truth.on_ack(s, *zxid),
                    Packet::AckEpoch { current_epoch, .. } => self.truth.on_ack_epoch(s, *current_epoch),
                    _ => {}
                }
                if let Some(conn) = process.leader {
                    let packet = self.packed(packet);
                    self.send(s, conn, packet);
                }
            }
            learner::Output::ReceiveSnapshot(_) => process.receiving = Some(Vec::new()),
            learner::Output::Replay(zxid) => self.replay(s, zxid),
            learner::Output::Serve { epoch, .. } => {
                self.words(s, Kind::Role, epoch.0 as u64, || format!("serves in epoch {epoch}"));
                self.serve(s);
            }
            learner::Output::Commit(zxid) => self.commit(s, zxid),
            learner::Output::Synced => {
                if let Some((_, tag)) = process.forwarded_syncs.pop_front() {
                    self.synced(s, tag);
                }
            }
            learner::Output::ServeObservers => process.takes_observers = true,
            learner::Output::Revalidated { .. }
            | learner::Output::Observers(_)
            | learner::Output::Disk(_)
            | learner::Output::Configured { .. }
            | learner::Output::Over(_) => {}
        }
    }

    /// A packet as it travels in this world.
    fn packed(&self, packet: Packet) -> Message {
        if self.setup.is_encoded { Message::Encoded(packet.to_vec().into()) } else { Message::Packet(packet) }
    }

    /// Sends a learner as much as its connection takes.
    pub(super) fn pump(&mut self, s: usize, conn: ConnNumber) {
        loop {
            let is_full = self.net.conns.get(&conn).is_none_or(|it| it.flight[1].len() >= WINDOW);
            if is_full {
                return;
            }
            let now_ms = self.servers[s].local_ms(self.now_us);
            let Some(process) = &mut self.servers[s].process else { return };
            let Some(packet) = process.ensemble.next_packet(now_ms, ConnId(conn)) else { return };
            match packet {
                ToLearner::Packet(packet) => {
                    let packet = self.packed(packet);
                    self.send(s, conn, packet);
                }
                ToLearner::Snapshot { .. } => {
                    let bytes = process.opened.remove(&ConnId(conn)).unwrap_or_default();
                    let chunks = bytes.len().div_ceil(SNAPSHOT_CHUNK);
                    for at in 0..chunks {
                        let chunk = bytes.slice(at * SNAPSHOT_CHUNK..bytes.len().min((at + 1) * SNAPSHOT_CHUNK));
                        self.send(s, conn, Message::Snapshot(chunk, at + 1 == chunks));
                    }
                }
            }
        }
    }

    /// Applies what is logged, without telling anybody.
    fn replay(&mut self, s: usize, zxid: Zxid) {
        self.apply(s, zxid, false);
    }

    fn commit(&mut self, s: usize, zxid: Zxid) {
        self.apply(s, zxid, true);
    }

    fn apply(&mut self, s: usize, zxid: Zxid, is_committed: bool) {
        loop {
            let server = &mut self.servers[s];
            let Some(process) = &mut server.process else { return };
            let Some(proposal) = process.unapplied.pop_front_if(|it| it.zxid <= zxid) else { break };
            process.link = process.link.then(&proposal.txn);
            process.applied = proposal.zxid;
            if let Some(it) = zab::reconfig::configuration_in(&proposal, &server.options) {
                process.configuration = Some(it);
            }
            if is_committed {
                self.truth.on_commit(s, proposal.zxid, process.log.durable());
                let link = process.link;
                self.tally.applied += 1;
                self.truth.on_delivered(s, proposal.zxid, link);
                self.words(s, Kind::Txn, proposal.zxid.0 as u64, || format!("applies {}", proposal.zxid));
                self.on_applied(s, &proposal);
            }
        }
        let applied = self.servers[s].process.as_ref().map_or(zxid, |it| it.applied);
        // An epoch may begin behind a counter that no txn has.
        if applied < zxid && self.truth.was_proposed(zxid) {
            let what = format!("server {} is to apply {zxid}, and has no txn behind {applied}", s + 1);
            self.truth.wrong("applies only what it logged", what);
        }
    }

    fn serve(&mut self, s: usize) {
        let Some(process) = &mut self.servers[s].process else { return };
        process.is_serving = true;
        let (applied, link) = (process.applied, process.link);
        self.truth.on_serve(s, applied, link);
    }

    /// A client's write, of this server's or of a learner's.
    fn propose(&mut self, s: usize, session: SessionId, cxid: Xid) {
        let server = &mut self.servers[s];
        let now_ms = server.local_ms(self.now_us);
        let Some(process) = &mut server.process else { return };
        let Some(role) = process.role else { return };
        if let Some(zxid) = process.ensemble.next_zxid(now_ms) {
            let txn = txn(session, cxid, zxid);
            let proposal = Proposal { zxid, txn };
            self.tally.proposed += 1;
            self.truth.on_proposed(s, &proposal);
            self.words(s, Kind::Txn, zxid.0 as u64, || format!("proposes {zxid}"));
            self.input(s, member::Input::Leader(role, leader::Input::Propose(proposal)));
        } else {
            self.drain(s);
        }
    }

    /// A write that nobody waits for.
    pub(super) fn write_at(&mut self, s: usize, number: usize) {
        let Some(process) = &self.servers[s].process else { return };
        let Some(role) = process.role else { return };
        let (session, cxid) = (SessionId(0), Xid(number as i32 + 1));
        if process.leads {
            return self.propose(s, session, cxid);
        }
        let op = OpCode::SetData.code();
        let forwarded = Forwarded { session, cxid, op, body: Bytes::new(), identities: Some(Vec::new()) };
        self.input(s, member::Input::Learner(role, learner::Input::Request(forwarded)));
    }

    /// A read at this server, which answers with what it has, and asks nobody.
    pub(super) fn read_at(&mut self, s: usize) {
        let Some(process) = self.servers[s].process.as_ref().filter(|it| it.is_serving) else { return };
        let applied = process.applied;
        self.words(s, Kind::Txn, applied.0 as u64, || format!("answers the read: up to {applied}"));
    }

    /// A sync that is asked for by nobody who could go away.
    pub(super) fn sync_at(&mut self, s: usize) {
        let Some(process) = &mut self.servers[s].process else { return };
        let Some(role) = process.role else { return };
        let tag = process.next_tag;
        process.next_tag += 1;
        if process.leads {
            return self.input(s, member::Input::Leader(role, leader::Input::Sync(tag)));
        }
        process.forwarded_syncs.push_back((0, tag));
        let (op, body, identities) = (OpCode::Sync.code(), Bytes::new(), Some(Vec::new()));
        let forwarded = Forwarded { session: SessionId(0), cxid: Xid(tag as i32), op, body, identities };
        self.input(s, member::Input::Learner(role, learner::Input::Request(forwarded)));
    }

    /// A txn is applied: whoever waits for it here is answered.
    fn on_applied(&mut self, s: usize, proposal: &Proposal) {
        let Some((session, cxid)) = whose(&proposal.txn) else { return };
        let Some(process) = &mut self.servers[s].process else { return };
        let conn = session.0 as ConnNumber;
        let Some(waiting) = process.clients.get_mut(&conn) else { return };
        if waiting.front() == Some(&Waiting::Write(cxid.0)) {
            waiting.pop_front();
            let reply = Reply { xid: cxid.0, zxid: process.applied, link: process.link };
            self.send(s, conn, Message::Reply(reply));
            self.answer_reads(s, conn);
        }
    }

    fn synced(&mut self, s: usize, tag: u64) {
        let Some(process) = &mut self.servers[s].process else { return };
        let its = |(_, waiting): &(&ConnNumber, &VecDeque<Waiting>)| {
            waiting.iter().any(|it| matches!(it, Waiting::Sync(_, of) if *of == tag))
        };
        let Some(conn) = process.clients.iter().find(its).map(|(&conn, _)| conn) else {
            let applied = process.applied;
            return self.words(s, Kind::Txn, tag, || format!("answers the sync: up to {applied}"));
        };
        if let Some(waiting) = process.clients.get_mut(&conn) {
            for it in waiting.iter_mut() {
                if let Waiting::Sync(xid, of) = *it
                    && of == tag
                {
                    *it = Waiting::Read(xid);
                }
            }
        }
        self.answer_reads(s, conn);
    }

    fn answer_reads(&mut self, s: usize, conn: ConnNumber) {
        loop {
            let Some(process) = &mut self.servers[s].process else { return };
            let (zxid, link) = (process.applied, process.link);
            let Some(waiting) = process.clients.get_mut(&conn) else { return };
            let Some(&Waiting::Read(xid)) = waiting.front() else { return };
            waiting.pop_front();
            self.send(s, conn, Message::Reply(Reply { xid, zxid, link }));
        }
    }

    /// A client asks.
    pub(super) fn on_request(&mut self, s: usize, conn: ConnNumber, request: Request) {
        let Some(process) = &mut self.servers[s].process else { return };
        let session = SessionId(conn as i64);
        if let Op::Connect(seen) = request.op {
            if process.is_serving && process.applied >= seen {
                process.clients.insert(conn, VecDeque::new());
                let reply = Reply { xid: request.xid, zxid: process.applied, link: process.link };
                self.send(s, conn, Message::Reply(reply));
            } else {
                self.close(s, conn);
            }
            return;
        }
        let Some(waiting) = process.clients.get_mut(&conn) else { return self.close(s, conn) };
        let Some(role) = process.role.filter(|_| process.is_serving) else { return self.close(s, conn) };
        match request.op {
            Op::Write => waiting.push_back(Waiting::Write(request.xid)),
            Op::Sync => waiting.push_back(Waiting::Sync(request.xid, process.next_tag)),
            _ => waiting.push_back(Waiting::Read(request.xid)),
        }
        let tag = process.next_tag;
        process.next_tag += 1;
        let forwarded = |op: OpCode| Forwarded {
            session,
            cxid: Xid(request.xid),
            op: op.code(),
            body: Bytes::new(),
            identities: Some(Vec::new()),
        };
        match (request.op, process.leads) {
            (Op::Write, true) => self.propose(s, session, Xid(request.xid)),
            (Op::Write, false) => {
                let input = learner::Input::Request(forwarded(OpCode::SetData));
                self.input(s, member::Input::Learner(role, input));
            }
            (Op::Sync, true) => self.input(s, member::Input::Leader(role, leader::Input::Sync(tag))),
            (Op::Sync, false) => {
                process.forwarded_syncs.push_back((conn, tag));
                let input = learner::Input::Request(forwarded(OpCode::Sync));
                self.input(s, member::Input::Learner(role, input));
            }
            _ => self.answer_reads(s, conn),
        }
    }

    /// A line about a server.
    pub(super) fn words(&mut self, s: usize, kind: Kind, number: u64, words: impl FnOnce() -> String) {
        let id = self.servers[s].id.0;
        self.trace.event(self.now_us, kind, [s as u64, number, 0], || Words::of(id, words()));
    }

    pub(super) fn note(&mut self, s: usize, kind: Kind, words: impl FnOnce() -> String) {
        self.words(s, kind, u64::MAX, words);
    }
}

/// A write's txn.
fn txn(session: SessionId, cxid: Xid, zxid: Zxid) -> Bytes {
    let data = zxid.0.to_be_bytes();
    let entry = TxnEntry {
        header: TxnHeader { session, cxid, zxid, time_ms: 0, op: OpCode::SetData },
        txn: Txn::SetData(SetDataTxn { path: Some("/a".into()), data: Some(&data), version: 0 }),
        digest: None,
    };
    entry.to_vec().into()
}

/// Whose write a txn is.
pub(crate) fn whose(txn: &[u8]) -> Option<(SessionId, Xid)> {
    let (session, rest) = txn.split_first_chunk::<8>()?;
    let cxid = rest.first_chunk::<4>()?;
    Some((SessionId(i64::from_be_bytes(*session)), Xid(i32::from_be_bytes(*cxid))))
}
