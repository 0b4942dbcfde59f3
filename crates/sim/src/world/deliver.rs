//! What travels arrives, or not.

use wire::ServerId;
use wire::election::InitialMessage;
use wire::quorum::Packet;
use zab::connections::{self, ConnectionId};
use zab::ensemble::Input;
use zab::{ConnId, Ensemble, leader, learner, member};

use super::message::Message;
use super::net::{ConnNumber, Port, TCP_TIMEOUT_US, WINDOW, Who};
use super::trace::{Kind, Words};
use super::{Event, World, describe, words};

impl World {
    /// Sends from this server's end.
    pub(super) fn send(&mut self, s: usize, conn: ConnNumber, message: Message) {
        let number = self.servers[s].processes;
        let Some(it) = self.net.conns.get(&conn) else { return };
        let Some(from) = it.end_of(s, number).filter(|&end| it.is_open[end]) else { return };
        self.send_from(conn, from, message);
    }

    pub(super) fn send_from(&mut self, conn: ConnNumber, from: usize, message: Message) {
        if let Some(at_us) = self.net.send(&self.setup, self.now_us, conn, from, message) {
            self.queue.push(at_us, Event::Deliver { conn, from });
        }
    }

    /// A process closes its end.
    pub(super) fn close(&mut self, s: usize, conn: ConnNumber) {
        let number = self.servers[s].processes;
        let end = self.net.conns.get(&conn).and_then(|it| it.end_of(s, number));
        if let Some(end) = end {
            self.close_end(conn, end);
        }
        if let Some(process) = &mut self.servers[s].process {
            process.clients.remove(&conn);
        }
    }

    pub(super) fn close_end(&mut self, conn: ConnNumber, end: usize) {
        let Some(it) = self.net.conns.get_mut(&conn) else { return };
        if std::mem::replace(&mut it.is_open[end], false) {
            self.send_from(conn, end, Message::End);
        }
        self.forget(conn);
    }

    /// Nobody is left.
    fn forget(&mut self, conn: ConnNumber) {
        if self.net.conns.get(&conn).is_some_and(|it| it.is_open == [false; 2]) {
            self.net.conns.remove(&conn);
        }
    }

    pub(super) fn on_deliver(&mut self, number: ConnNumber, from: usize) {
        let Some(conn) = self.net.conns.get(&number) else { return };
        let to = 1 - from;
        let is_stalled = self.net.is_stalled(conn, from);
        let is_there = match conn.ends[to] {
            Who::Server(s, _) => self.servers[s].is_on,
            Who::Client(_) => true,
        };
        let Some(conn) = self.net.conns.get_mut(&number) else { return };
        if is_stalled && !conn.is_dead {
            conn.stalled[from] += 1;
            return;
        }
        let was_full = conn.flight[from].len() >= WINDOW;
        let Some(message) = conn.flight[from].pop_front() else { return };
        if conn.is_dead || !is_there {
            if !std::mem::replace(&mut conn.is_timing_out, true) {
                self.queue.push(self.now_us + TCP_TIMEOUT_US, Event::TcpTimeout { conn: number });
            }
            return;
        }
        if !conn.is_open[to] {
            // Its machine has forgotten it, and says so.
            if conn.is_open[from] && !matches!(message, Message::End) {
                self.send_from(number, to, Message::End);
            }
            return self.forget(number);
        }
        let (port, ends) = (conn.port, conn.ends);
        self.tally.messages += 1;
        self.tell(number, port, ends, from, &message);
        match ends[to] {
            Who::Server(s, _) => {
                self.arrive(s, number, port, from, message);
                self.settle(s);
            }
            Who::Client(client) => self.on_client_message(client, number, message),
        }
        if was_full
            && let (Port::Quorum(..), Who::Server(s, _), 1) = (port, ends[from], from)
            && self.servers[s].paused_until_us.is_none()
        {
            self.pump(s, number);
            self.settle(s);
        }
    }

    fn arrive(&mut self, s: usize, number: ConnNumber, port: Port, from: usize, message: Message) {
        let id = ConnectionId(number);
        match (port, message) {
            (_, Message::End) => {
                if let Some(conn) = self.net.conns.get_mut(&number) {
                    conn.is_open[1 - from] = false;
                }
                self.forget(number);
                self.on_end(s, number, port, from);
            }
            (Port::Election, Message::Initial(initial)) => self.on_initial(s, id, initial),
            (Port::Election, Message::Frame(message)) => {
                self.ensemble(s, Input::Connections(connections::Input::Received { connection: id, message }));
            }
            (Port::Quorum(..), Message::Packet(packet)) => self.on_packet(s, number, port, from, packet),
            (Port::Quorum(..), Message::Encoded(bytes)) => match Packet::read(&bytes) {
                Ok(packet) => self.on_packet(s, number, port, from, packet),
                Err(error) => self.truth.wrong("encoding", format!("a packet can't be read back: {error}")),
            },
            (Port::Quorum(role, _), Message::Snapshot(chunk, is_last)) => {
                let Some(process) = self.servers[s].process.as_mut().filter(|it| it.is_role(role)) else { return };
                if let Some(bytes) = &mut process.receiving {
                    bytes.extend_from_slice(&chunk);
                }
                if is_last {
                    self.write_received(s, role);
                } else {
                    self.input(s, member::Input::Learner(role, learner::Input::SnapshotProgress));
                }
            }
            (Port::Client, Message::Request(request)) => self.on_request(s, number, request),
            _ => {}
        }
    }

    fn on_initial(&mut self, s: usize, connection: ConnectionId, initial: InitialMessage) {
        self.ensemble(s, Input::Connections(connections::Input::Accepted { connection, initial }));
    }

    fn on_packet(&mut self, s: usize, number: ConnNumber, port: Port, from: usize, packet: Packet) {
        let Port::Quorum(learner_role, leader_role) = port else { return };
        if let Packet::LeaderInfo { zxid, .. } = packet {
            self.truth.on_leader_info(s, zxid.epoch());
        }
        let input = if from == 0 {
            let its = self.servers[s].process.as_ref().filter(|it| it.leads && it.is_role(leader_role));
            // Who is in no configuration raises no epoch.
            let is_member = |server: ServerId| its.is_some_and(|it| it.ensemble.member().options().is_member(server));
            if let Packet::FollowerInfo { zxid, info } | Packet::ObserverInfo { zxid, info } = &packet
                && info.server.is_some_and(is_member)
            {
                self.truth.on_learner_info(s, zxid.epoch());
            }
            member::Input::Leader(leader_role, leader::Input::Packet(ConnId(number), packet))
        } else {
            if let Some(process) = self.servers[s].process.as_mut().filter(|it| it.receiving.is_some()) {
                process.behind.push_back(packet);
                return;
            }
            member::Input::Learner(learner_role, learner::Input::Packet(packet))
        };
        self.input(s, input);
    }

    /// The other side has closed.
    fn on_end(&mut self, s: usize, number: ConnNumber, port: Port, from: usize) {
        match port {
            Port::Election => {
                self.ensemble(s, Input::Connections(connections::Input::Closed(ConnectionId(number))));
            }
            Port::Quorum(_, role) if from == 0 => {
                self.input(s, member::Input::Leader(role, leader::Input::Disconnected(ConnId(number))));
            }
            Port::Quorum(role, _) => {
                let process = self.servers[s].process.as_mut();
                if let Some(process) = process.filter(|it| it.leader == Some(number)) {
                    process.leader = None;
                    self.input(s, member::Input::Learner(role, learner::Input::Disconnected));
                }
            }
            Port::Client => {
                if let Some(process) = &mut self.servers[s].process {
                    process.clients.remove(&number);
                }
            }
        }
    }

    /// Whoever still has an end is told.
    pub(super) fn on_tcp_timeout(&mut self, number: ConnNumber) {
        let Some(conn) = self.net.conns.get_mut(&number) else { return };
        conn.is_dead = false;
        conn.lose([0, 0]);
        let (port, ends, is_open) = (conn.port, conn.ends, conn.is_open);
        conn.is_open = [false; 2];
        self.forget(number);
        for end in 0..2 {
            match ends[end] {
                Who::Server(s, process) if is_open[end] && self.is_process(s, process) => {
                    self.on_end(s, number, port, 1 - end);
                    self.settle(s);
                }
                Who::Client(client) if is_open[end] => self.on_client_message(client, number, Message::End),
                _ => {}
            }
        }
    }

    /// The line of a message.
    fn tell(&mut self, conn: ConnNumber, port: Port, ends: [Who; 2], from: usize, message: &Message) {
        let (Who::Server(sender, _), Who::Server(receiver, _)) = (ends[from], ends[1 - from]) else { return };
        let number = match message {
            Message::Packet(Packet::Proposal { zxid, .. } | Packet::Ack { zxid } | Packet::Commit { zxid }) => {
                zxid.0 as u64
            }
            Message::Frame(bytes) | Message::Encoded(bytes) | Message::Snapshot(bytes, _) => bytes.len() as u64,
            _ => 0,
        };
        let numbers = [conn, (sender * 64 + receiver) as u64, number];
        if let Message::Packet(Packet::AckEpoch { zxid, .. }) = message {
            self.last_told[sender] = *zxid;
        }
        let (from, last) = (self.servers[sender].id, self.last_told[receiver]);
        let [of_sender, of_receiver] =
            [sender, receiver].map(|s| self.servers[s].process.as_ref().map(|it| &it.ensemble));
        let kind = if port == Port::Election { Kind::Election } else { Kind::Message };
        self.trace.event(self.now_us, kind, numbers, || {
            let what = match message {
                Message::Initial(_) => "connects (election)".to_owned(),
                Message::Frame(bytes) => words::notification(bytes, from, of_receiver),
                Message::Packet(packet) => {
                    describe(packet) + &words::plan(packet, last, of_sender.map(Ensemble::member))
                }
                Message::Encoded(bytes) => Packet::read(bytes).map_or_else(|_| "?".to_owned(), |it| describe(&it)),
                Message::Snapshot(bytes, true) => format!("the last {} bytes of a snapshot", bytes.len()),
                Message::Snapshot(bytes, false) => format!("{} bytes of a snapshot", bytes.len()),
                Message::End => "closes".to_owned(),
                Message::Request(_) | Message::Reply(_) => String::new(),
            };
            Words::between(sender as i64 + 1, receiver as i64 + 1, what)
        });
    }
}
