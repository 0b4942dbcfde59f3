//! What a node wants of other servers, and what they tell it: the drivers of the election port and the quorum port.

use node::{Input, Output};
use peer::ShardSet;
use storage::names::{self, numbered};
use storage::snapshot::raw::{HEADER_LENGTH, RawSplitter};
use storage::{Dir, Disk};
use wire::election::{HostPort, InitialMessage, InitialVersion};
use wire::quorum::Packet;
use wire::{ServerId, Zxid};
use zab::connections::{self, ConnectionId};
use zab::{ConnId, RoleId, ToLearner, ensemble, leader, learner, member};

use super::server::{Receiving, Thread};
use super::{Event, Message, Sabotage, World};
use crate::world::Kind;
use crate::world::net::{CONNECT_TIMEOUT_US, ConnNumber, Port, WINDOW, Who};

/// How often a learner tries to connect to its leader (`Learner.connectToLeader`), and how long it waits between, in µs:
/// shorter than Apache's second, as limits are shorter here.
const CONNECT_TRIES: u32 = 5;
const CONNECT_PAUSE_US: u64 = 50_000;
/// The most bytes of a snapshot in one message.
const SNAPSHOT_CHUNK: usize = 256;

impl World {
    /// Tells a server's member something.
    pub(super) fn member(&mut self, s: usize, input: member::Input) {
        self.ensemble(s, ensemble::Input::Member(input));
    }

    pub(super) fn ensemble(&mut self, s: usize, input: ensemble::Input) {
        self.node(s, Input::Ensemble(input));
    }

    pub(super) fn node(&mut self, s: usize, input: Input) {
        let server = &mut self.servers[s];
        let now = server.now(self.now_us);
        let Some(process) = &mut server.process else { return };
        let woken = process.node.handle(now, &process.shared, input);
        self.wake(s, woken);
        self.drain(s);
    }

    /// Does what a node wants, until it wants nothing more.
    pub(super) fn drain(&mut self, s: usize) {
        let now_ms = self.servers[s].now(self.now_us).mono_ms();
        if let Some(process) = &self.servers[s].process {
            if process.leads {
                self.truth.on_leader_closing(s, process.number, now_ms, process.node.pipeline.closing_sessions());
            }
            self.truth.on_closing(process.node.pipeline.closing_sessions());
        }
        while let Some(output) = self.servers[s].process.as_mut().and_then(|it| it.node.next_output()) {
            match output {
                Output::Ensemble(ensemble::Output::Connections(output)) => self.on_connections(s, output),
                Output::Ensemble(ensemble::Output::Member(output)) => self.on_member(s, output),
                Output::Ensemble(_) => {}
                Output::Task(task) => {
                    if let Some(process) = &mut self.servers[s].process {
                        process.tasks.push_back(task);
                    }
                }
                Output::Note(note) => self.words(s, Kind::Disk, 9, || note),
                Output::Fatal(why) if self.truth.is_damaged(s) => self.exit(s, &why),
                Output::Fatal(why) => self.truth.wrong("a node gives up", format!("server {}: {why}", s + 1)),
            }
        }
        self.look_at_reader(s);
        self.look(s);
    }

    /// Does it serve reads without a leader, and nothing else?
    fn look_at_reader(&mut self, s: usize) {
        let Some(process) = &mut self.servers[s].process else { return };
        let is_read_only = process.node.ensemble().is_some_and(zab::Ensemble::is_read_only);
        let was = std::mem::replace(&mut process.is_read_only, is_read_only);
        self.truth.on_role(s, is_read_only && process.role.is_some());
        if was != is_read_only {
            self.tally.read_onlys += u64::from(is_read_only);
            if is_read_only && let Some(process) = &self.servers[s].process {
                self.truth.on_alone(s, process.number, process.applied());
            }
            let what = if is_read_only { "begins" } else { "ends" };
            self.words(s, Kind::Role, 3 + u64::from(is_read_only), || {
                format!("{what} to serve reads without a leader")
            });
        }
    }

    /// Behind each event: the disk gets its work, and the timer is set.
    pub(super) fn settle(&mut self, s: usize) {
        self.kick(s);
        self.drain(s);
        let server = &self.servers[s];
        let Some(process) = &server.process else { return };
        self.truth.on_queues(s, process);
        let Some(at_ms) = process.node.next_timeout_ms() else { return };
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
            connections::Output::Connect { to, .. } => {
                let Some(process) = self.servers[s].process.as_ref().map(|it| it.number) else { return };
                let to = (to.0 - 1) as usize;
                let at_us = self.now_us + self.net.latency(&self.setup);
                self.queue.push(at_us, Event::Connect { from: s, process, to, role: None, tries: 0 });
            }
            connections::Output::Write { connection, message } => {
                self.send(s, connection.0, Message::Frame(message));
                self.ensemble(s, ensemble::Input::Connections(connections::Input::Written(connection)));
            }
            connections::Output::Close(connection) => self.close(s, connection.0),
            _ => {}
        }
    }

    /// The attempt to connect arrives.
    pub(super) fn on_connect(&mut self, from: usize, process: u32, to: usize, role: Option<RoleId>, tries: u32) {
        if !self.is_process(from, process) {
            return;
        }
        let is_blocked = self.net.is_blocked(from, to) || self.net.is_blocked(to, from) || !self.servers[to].is_on;
        if is_blocked {
            let at_us = self.now_us + CONNECT_TIMEOUT_US;
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
            return self.ensemble(from, ensemble::Input::Connections(opened));
        };
        let observes_follower = self.servers[from].process.as_ref().is_some_and(|it| it.master == Some(to));
        let is_open = if observes_follower { there.takes_observers } else { there.leads };
        let Some(leader_role) = there.role.filter(|_| is_open) else {
            return self.on_connect_failed(from, to, Some(role), tries);
        };
        if self.servers[from].process.as_ref().is_none_or(|it| !it.is_role(role)) {
            return;
        }
        self.tally.observed_followers += u64::from(observes_follower);
        let conn = self.net.open(Port::Quorum(role, leader_role), here, Who::Server(to, there_number));
        if let Some(process) = &mut self.servers[from].process {
            process.leader = Some(conn);
        }
        self.member(to, member::Input::Leader(leader_role, leader::Input::Connected(ConnId(conn))));
        self.settle(to);
        self.member(from, member::Input::Learner(role, learner::Input::Connected));
    }

    pub(super) fn on_connect_failed(&mut self, from: usize, to: usize, role: Option<RoleId>, tries: u32) {
        let Some(role) = role else {
            let to: ServerId = self.servers[to].id;
            return self.ensemble(from, ensemble::Input::Connections(connections::Input::Failed { to }));
        };
        let Some(process) = self.servers[from].process.as_ref().filter(|it| it.is_role(role)) else { return };
        if tries + 1 < CONNECT_TRIES {
            let at_us = self.now_us + CONNECT_PAUSE_US;
            let process = process.number;
            self.queue.push(at_us, Event::Connect { from, process, to, role: Some(role), tries: tries + 1 });
        } else {
            self.member(from, member::Input::Learner(role, learner::Input::Disconnected));
        }
    }

    fn on_member(&mut self, s: usize, output: member::Output) {
        let Some(process) = &mut self.servers[s].process else { return };
        let number = process.number;
        let round = process.node.ensemble().map_or(0, |it| it.election().election_epoch());
        match output {
            member::Output::Follow { role, leader, master } => {
                process.role = Some(role);
                process.leads = false;
                process.master = master.map(|it| (it.0 - 1) as usize);
                self.tally.elected(round);
                self.words(s, Kind::Role, leader.0 as u64, || {
                    format!("follows {leader}{}", master.map_or_else(String::new, |it| format!(" by way of {it}")))
                });
                let at_us = self.now_us + self.net.latency(&self.setup);
                let to = (master.unwrap_or(leader).0 - 1) as usize;
                self.queue.push(at_us, Event::Connect { from: s, process: number, to, role: Some(role), tries: 0 });
            }
            member::Output::Lead { role } => {
                process.role = Some(role);
                process.leads = true;
                self.tally.elected(round);
                self.words(s, Kind::Role, 0, || "leads: discovery".to_owned());
            }
            member::Output::Leader(leader::Output::Ready(conn)) => self.pump(s, conn.0),
            member::Output::Leader(leader::Output::Close(conn, why)) => {
                self.words(s, Kind::Role, 2, || format!("closes a learner's connection: {why}"));
                self.close(s, conn.0);
            }
            member::Output::Learner(learner::Output::Send(packet)) => {
                if let Some(conn) = process.leader {
                    let packet = self.packed(packet.into_packet());
                    self.send(s, conn, packet);
                }
            }
            member::Output::Learner(learner::Output::ServeObservers) => process.takes_observers = true,
            member::Output::Learner(learner::Output::ReceiveSnapshot(zxid)) => self.begin_receiving(s, zxid),
            member::Output::Over(_, why) => self.on_role_over(s, &why.to_string()),
            member::Output::Configured(quorums) => self.on_configured(s, quorums.committed()),
            _ => {}
        }
    }

    fn begin_receiving(&mut self, s: usize, zxid: Zxid) {
        let Some(process) = &mut self.servers[s].process else { return };
        // What an earlier role has left of the same file is of no use to anybody.
        process.works[Thread::Receive as usize] = None;
        let mut receiving = Receiving { zxid, ..Receiving::default() };
        let mut out = Vec::new();
        receiving.encoder.begin(&mut out);
        let mut effects = receiving.receiver.start();
        effects.extend(receiving.receiver.chunk(out));
        process.receiving = Some(receiving);
        self.write_received(s, &effects);
    }

    fn on_role_over(&mut self, s: usize, why: &str) {
        self.words(s, Kind::Role, 1, || format!("looks for a leader: {why}"));
        let Some(process) = &mut self.servers[s].process else { return };
        process.role = None;
        process.leads = false;
        process.leader = None;
        process.master = None;
        process.takes_observers = false;
        process.receiving = None;
        process.behind.clear();
        let number = process.number;
        let quorum = self
            .net
            .conns
            .iter()
            .filter(|(_, conn)| matches!(conn.port, Port::Quorum(..)) && conn.end_of(s, number).is_some());
        let quorum: Vec<ConnNumber> = quorum.map(|(&conn, _)| conn).collect();
        for conn in quorum {
            self.close(s, conn);
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
            let server = &mut self.servers[s];
            let now = server.now(self.now_us);
            let Some(process) = server.process.as_mut().filter(|_| !is_full) else { return };
            let (packet, woken) = process.node.next_packet(now, &process.shared, ConnId(conn));
            self.wake(s, woken);
            match packet {
                None => return,
                Some(ToLearner::Packet(packet)) => {
                    let packet = self.packed(packet);
                    self.send(s, conn, packet);
                }
                Some(ToLearner::Snapshot { zxid }) => {
                    self.tally.snap_syncs += 1;
                    let Some(bytes) = self.raw_snapshot(s, zxid) else {
                        // It is gone, or can't be read: the connection ends, and the learner comes again.
                        return self.close(s, conn);
                    };
                    let chunks = bytes.len().div_ceil(SNAPSHOT_CHUNK);
                    for (at, chunk) in bytes.chunks(SNAPSHOT_CHUNK).enumerate() {
                        let chunk = chunk.to_vec().into();
                        self.send(s, conn, Message::Snapshot(chunk, at + 1 == chunks));
                    }
                }
            }
        }
    }

    /// What travels of a snapshot's file.
    fn raw_snapshot(&self, s: usize, zxid: Zxid) -> Option<Vec<u8>> {
        let disk = &self.servers[s].disk;
        let listing = disk.list(Dir::Data).ok()?;
        let file = numbered(&listing, names::SNAPSHOT).into_iter().rev().find(|it| it.zxid == zxid)?;
        let mut bytes = disk.bytes(&storage::FileRef::new(Dir::Data, file.name))?.split_off(HEADER_LENGTH);
        let mut splitter = RawSplitter::new(1 << 16);
        let taken = splitter.feed(&bytes).ok().filter(|_| splitter.is_end())?;
        bytes.truncate(taken);
        if self.sabotage == Sabotage::SnapshotsLoseBits
            && let Some(at) = bytes.windows(2).rposition(|it| it == b"0-")
        {
            // In the data of a znode: "0-7" becomes "1-7".
            bytes[at] ^= 1;
        }
        Some(bytes)
    }

    /// Rings the bells of these shards: they have their turns a moment later.
    pub(super) fn wake(&mut self, s: usize, woken: ShardSet) {
        for shard in woken.iter() {
            let Some(process) = &mut self.servers[s].process else { return };
            if !std::mem::replace(&mut process.is_woken[shard], true) {
                let process = process.number;
                let at_us = self.now_us + self.rng.between(1, 200);
                self.queue.push(at_us, Event::Shard { server: s, process, shard });
            }
        }
    }
}
