//! Connections between servers: first in, first out, each way; cut at any moment, and each side notices when it does.

use std::collections::VecDeque;

use ostler_zab::leader::Input as LeaderInput;
use ostler_zab::learner::Input as LearnerInput;
use ostler_zab::member::Input;
use ostler_zab::{ConnId, RoleId, State, ToLearner};
use wire::ServerId;
use wire::quorum::Packet;

use super::{History, World};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Message {
    Packet(Packet),
    Snapshot(History),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conn {
    pub learner: ServerId,
    pub leader: ServerId,
    pub learner_role: RoleId,
    pub leader_role: RoleId,
    pub to_leader: VecDeque<Packet>,
    pub to_learner: VecDeque<Message>,
    pub is_cut: bool,
    pub leader_knows: bool,
    pub learner_knows: bool,
}

impl World {
    pub(super) fn conns_of(&self, id: ServerId) -> Vec<ConnId> {
        let of = self.conns.iter().filter(|(_, it)| it.learner == id || it.leader == id);
        of.map(|(&conn, _)| conn).collect()
    }

    /// What was sent before the cut may still arrive.
    pub(super) fn cut(&mut self, conn: ConnId) {
        if let Some(it) = self.conns.get_mut(&conn) {
            it.is_cut = true;
        }
    }

    pub(super) fn connect(&mut self, id: ServerId) {
        let Some((learner_role, leader)) = self.servers.get_mut(&id).unwrap().follow.take() else { return };
        let (now, there) = (self.server(leader).state(), self.server(leader).role);
        let Some(leader_role) = there.filter(|_| now == Some(State::Leading)) else {
            return self.input(id, Input::Learner(learner_role, LearnerInput::Disconnected));
        };
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.conns.insert(
            conn,
            Conn {
                learner: id,
                leader,
                learner_role,
                leader_role,
                to_leader: VecDeque::new(),
                to_learner: VecDeque::new(),
                is_cut: false,
                leader_knows: false,
                learner_knows: false,
            },
        );
        self.input(leader, Input::Leader(leader_role, LeaderInput::Connected(conn)));
        self.input(id, Input::Learner(learner_role, LearnerInput::Connected));
    }

    pub(super) fn send_to_leader(&mut self, id: ServerId, packet: Packet) {
        let role = self.server(id).role;
        let mine = |it: &&mut Conn| it.learner == id && Some(it.learner_role) == role;
        if let Some(conn) = self.conns.values_mut().find(mine) {
            conn.to_leader.push_back(packet);
        }
    }

    pub(super) fn take_packets(&mut self, id: ServerId, conn: ConnId) {
        let now_ms = self.now_ms;
        loop {
            let server = self.servers.get_mut(&id).unwrap();
            let Some(packet) = server.member.as_mut().and_then(|it| it.next_packet(now_ms, conn)) else { return };
            let message = match packet {
                ToLearner::Packet(packet) => Message::Packet(packet),
                ToLearner::Snapshot { .. } => Message::Snapshot(server.open.remove(&conn).unwrap_or_default()),
            };
            if let Some(conn) = self.conns.get_mut(&conn) {
                conn.to_learner.push_back(message);
            }
        }
    }

    pub(super) fn leader_hears(&mut self, id: ConnId) {
        let conn = self.conns.get_mut(&id).unwrap();
        let Some(packet) = conn.to_leader.pop_front() else { return };
        let (leader, role) = (conn.leader, conn.leader_role);
        // As on the wire.
        let packet = Packet::read(&packet.to_vec().into()).unwrap();
        self.input(leader, Input::Leader(role, LeaderInput::Packet(id, packet)));
    }

    pub(super) fn learner_hears(&mut self, id: ConnId) {
        let conn = self.conns.get_mut(&id).unwrap();
        let Some(message) = conn.to_learner.pop_front() else { return };
        let (learner, role) = (conn.learner, conn.learner_role);
        if let Message::Packet(Packet::LeaderInfo { zxid, .. }) = &message {
            self.truth.on_leader_info(learner, zxid.epoch());
        }
        let input = match message {
            Message::Packet(packet) => LearnerInput::Packet(Packet::read(&packet.to_vec().into()).unwrap()),
            Message::Snapshot(content) => {
                let server = self.servers.get_mut(&learner).unwrap();
                if server.role == Some(role) {
                    server.disk.staged = Some(content);
                }
                LearnerInput::SnapshotReceived(true)
            }
        };
        self.input(learner, Input::Learner(role, input));
    }

    pub(super) fn leader_sees_end(&mut self, id: ConnId) {
        let conn = self.conns.get_mut(&id).unwrap();
        conn.leader_knows = true;
        let (leader, role) = (conn.leader, conn.leader_role);
        self.forget(id);
        self.input(leader, Input::Leader(role, LeaderInput::Disconnected(id)));
    }

    pub(super) fn learner_sees_end(&mut self, id: ConnId) {
        let conn = self.conns.get_mut(&id).unwrap();
        conn.learner_knows = true;
        let (learner, role) = (conn.learner, conn.learner_role);
        self.forget(id);
        self.input(learner, Input::Learner(role, LearnerInput::Disconnected));
    }

    fn forget(&mut self, id: ConnId) {
        self.conns.retain(|&it, conn| it != id || !(conn.leader_knows && conn.learner_knows));
    }
}
